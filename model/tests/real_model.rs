//! The real quick-start models agree with the reference implementations.
//!
//! Runs when `SOUFFLEUR_TEST_MODELS` names a folder with both; says so when it does not, and fails
//! then if `CI` is set.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::chat::{Role, Turn};
use model::constrain::Constraint;
use model::device::{Backend, BaseForm, DeviceName};
use model::embed::{Embedder, EmbedderSpec, Pooling, Precision, TextRole};
use model::generate::{Draft, FinishReason, Generator, Request};
use model::sample::SampleOptions;
use model::serve::{Reply, ServeOptions, Service};
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration file")]
fn models() -> Option<PathBuf> {
    let dir = std::env::var_os("SOUFFLEUR_TEST_MODELS").map(PathBuf::from);
    if dir.is_none() {
        assert!(std::env::var_os("CI").is_none(), "set SOUFFLEUR_TEST_MODELS in CI");
        eprintln!("SKIPPED: set SOUFFLEUR_TEST_MODELS to a folder of models to run this test");
    }
    dir
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|it| it.as_u64().unwrap() as u32).collect()
}

fn minilm(models: &Path, precision: Precision) -> Embedder {
    let spec = EmbedderSpec {
        pooling: Pooling::Mean,
        query_prefix: String::new(),
        passage_prefix: String::new(),
        tokens_max: 256,
        precision,
    };
    Embedder::load(&models.join("all-minilm-l6-v2"), &spec).unwrap()
}

/// Cosines of two lists of unit vectors.
fn cosines(a: &model::embed::Embeddings, b: &Value) -> Vec<f64> {
    let b = b.as_array().unwrap().iter().map(|row| row.as_array().unwrap());
    let product = |(a, b): (&[f32], &Vec<Value>)| {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * b.as_f64().unwrap()).sum()
    };
    a.rows().zip(b).map(product).collect()
}

#[test]
fn minilm_agrees_with_sentence_transformers() {
    check_minilm(Precision::F32);
}

/// As near as f32: an index made in one answers questions embedded in the other.
#[test]
fn minilm_with_weights_of_sixteen_bits_agrees_with_sentence_transformers() {
    check_minilm(Precision::F16);
}

#[track_caller]
fn check_minilm(precision: Precision) {
    let Some(models) = models() else { return };
    let embedder = minilm(&models, precision);
    let golden = golden("minilm.json");
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let res = embedder.embed(&texts, TextRole::Passage).unwrap();
    assert_eq!(res.n_tokens as u32, ids(&golden["n_tokens"]).iter().sum::<u32>());
    for (text, n) in texts.iter().zip(ids(&golden["n_plain_tokens"])) {
        assert_eq!(embedder.count_tokens(text), n as usize, "{text:?}");
    }
    assert_eq!(res.n_truncated, 2);
    for (idx, cosine) in cosines(&res, &golden["vectors"]).into_iter().enumerate() {
        assert!(cosine >= 0.99999, "text {idx}: {cosine}");
    }
}

#[test]
fn minilm_in_eight_bits_stays_near_f32() {
    let Some(models) = models() else { return };
    let embedder = minilm(&models, Precision::Int8);
    let golden = golden("minilm.json");
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    let res = embedder.embed(&texts, TextRole::Passage).unwrap();
    let cosines = cosines(&res, &golden["vectors"]);
    eprintln!("cosines to f32: {cosines:.5?}");
    for (idx, cosine) in cosines.into_iter().enumerate() {
        assert!(cosine >= 0.995, "text {idx}: {cosine}");
    }
}

#[test]
fn minilm_counts_repeated_words_fast() {
    let Some(models) = models() else { return };
    let embedder = minilm(&models, Precision::F32);
    let text = "Les congés payés s'acquièrent chaque mois, see the handbook. ".repeat(20_000);
    embedder.count_tokens(&text[..1_000]);
    let start = Instant::now();
    let n = embedder.count_tokens(&text);
    let mb_per_s = text.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    eprintln!("{n} tokens, {mb_per_s:.0} MB/s");
}

fn smollm2(models: &Path) -> Generator {
    smollm2_on(models, &Backend::Processor)
}

fn smollm2_on(models: &Path, backend: &Backend) -> Generator {
    let start = Instant::now();
    let file = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
    let res = Generator::load_on(&models.join(file), backend).unwrap();
    eprintln!("loaded in {} ms", start.elapsed().as_millis());
    res
}

/// One golden run: a conversation, its prompt and what transformers writes.
struct Run {
    prompt: Vec<u32>,
    text: String,
    n_tokens: usize,
}

/// The runs, whose prompts are compared with what we make of their conversations.
fn runs(generator: &Generator, golden: &Value) -> Vec<Run> {
    let mut res = Vec::new();
    for run in golden["runs"].as_array().unwrap() {
        let turns: Vec<Turn> = run["turns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|turn| {
                let role = match turn["role"].as_str().unwrap() {
                    "system" => Role::System,
                    "user" => Role::User,
                    _ => Role::Assistant,
                };
                Turn { role, content: turn["content"].as_str().unwrap().to_owned() }
            })
            .collect();
        let prompt = generator.encode_chat(&turns).unwrap();
        assert_eq!(prompt, ids(&run["prompt"]), "{}", run["text"]);
        let text = run["new_text"].as_str().unwrap().to_owned();
        res.push(Run { prompt, text, n_tokens: ids(&run["new"]).len() });
    }
    assert_eq!(res.len(), 10);
    res
}

fn greedy() -> SampleOptions {
    SampleOptions { tokens_max: 64, ..SampleOptions::default() }
}

#[track_caller]
fn check(run: &Run, draft: &Draft) {
    assert_eq!((draft.text.as_str(), draft.n_tokens), (run.text.as_str(), run.n_tokens));
}

#[test]
fn smollm2_writes_what_transformers_writes() {
    let Some(models) = models() else { return };
    let mut generator = smollm2(&models);
    let golden = golden("smollm2.json");
    let runs = runs(&generator, &golden);
    for run in &runs {
        let draft =
            generator.generate(&run.prompt, &greedy(), &mut |_| ControlFlow::Continue(())).unwrap();
        check(run, &draft);
        // Once more, now that its beginning is known.
        let again =
            generator.generate(&run.prompt, &greedy(), &mut |_| ControlFlow::Continue(())).unwrap();
        check(run, &again);
        assert_eq!(again.n_cached_tokens, run.prompt.len() - 1);
    }
    // A prompt that is known up to its middle.
    generator.set_prefix_bytes_max(0);
    generator.set_prefix_bytes_max(1 << 30);
    for run in &runs {
        let half = &run.prompt[..run.prompt.len() / 2];
        let one = SampleOptions { tokens_max: 1, ..greedy() };
        generator.generate(half, &one, &mut |_| ControlFlow::Continue(())).unwrap();
        let draft =
            generator.generate(&run.prompt, &greedy(), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(draft.n_cached_tokens >= half.len());
        check(run, &draft);
    }
    for text in golden["texts"].as_array().unwrap() {
        let expected = ids(&text["ids"]).len();
        assert_eq!(generator.count_tokens(text["text"].as_str().unwrap()), expected, "{text}");
    }
}

#[test]
fn smollm2_writes_the_same_in_a_batch() {
    let Some(models) = models() else { return };
    let generator = smollm2(&models);
    let runs = runs(&generator, &golden("smollm2.json"));
    let service = Service::spawn(generator, ServeOptions::default()).unwrap();
    for _ in 0..2 {
        let request =
            |run: &Run| Request { prompt: run.prompt.clone(), options: greedy(), adapter: None };
        // A long prompt beside them makes theirs be read in small pieces.
        let long = Request { prompt: vec![400; 700], options: greedy(), adapter: None };
        let long = service.submit(long).unwrap();
        let replies: Vec<Reply> =
            runs.iter().map(|run| service.submit(request(run)).unwrap()).collect();
        for (run, reply) in runs.iter().zip(replies) {
            check(run, &reply.wait().unwrap());
        }
        long.wait().unwrap();
    }
}

/// The path of a GPU: on one where this was built for it, else on the processor.
#[test]
fn smollm2_over_tensors_writes_what_transformers_writes() {
    let Some(models) = models() else { return };
    let name = if cfg!(feature = "cuda") { DeviceName::Cuda(0) } else { DeviceName::Cpu };
    let backend = Backend::Tensors { device: name.open().unwrap(), base: BaseForm::Dense };
    let mut generator = smollm2_on(&models, &backend);
    let runs = runs(&generator, &golden("smollm2.json"));
    // One alone; then all beside each other, the first one's prompt known.
    let start = Instant::now();
    let draft = generator.generate(&runs[0].prompt, &greedy(), &mut |_| ControlFlow::Continue(()));
    check(&runs[0], &draft.unwrap());
    eprintln!("alone in {} ms", start.elapsed().as_millis());
    let options = ServeOptions { batch_max: 10.try_into().unwrap(), ..ServeOptions::default() };
    let service = Service::spawn(generator, options).unwrap();
    let request =
        |run: &Run| Request { prompt: run.prompt.clone(), options: greedy(), adapter: None };
    let replies: Vec<Reply> =
        runs.iter().map(|run| service.submit(request(run)).unwrap()).collect();
    for (run, reply) in runs.iter().zip(replies) {
        check(run, &reply.wait().unwrap());
    }
    eprintln!("all in {} ms on {name}", start.elapsed().as_millis());
}

#[test]
fn smollm2_writes_json_that_fits_its_schema() {
    let Some(models) = models() else { return };
    let mut generator = smollm2(&models);
    let turns = [Turn::user("Give the name, age and languages of a fictional person as JSON.")];
    let prompt = generator.encode_chat(&turns).unwrap();
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["name", "age", "languages"],
        "properties": {
            "name": { "type": "string", "maxLength": 40 },
            "age": { "type": "integer", "minimum": 0, "maximum": 120 },
            "languages": {
                "type": "array", "maxItems": 3, "items": { "enum": ["fr", "en", "de"] }
            },
        },
    });
    for temperature in [0.0, 1.0] {
        let constraint = Some(Constraint::JsonSchema(schema.clone()));
        let options = SampleOptions { constraint, temperature, tokens_max: 200, ..greedy() };
        let start = Instant::now();
        let draft =
            generator.generate(&prompt, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        eprintln!(
            "{} tokens in {} ms: {}",
            draft.n_tokens,
            start.elapsed().as_millis(),
            draft.text
        );
        assert_eq!(draft.finish, FinishReason::Stop);
        let value: Value = serde_json::from_str(&draft.text).unwrap();
        assert!(value["name"].as_str().unwrap().chars().count() <= 40);
        assert!((0..=120).contains(&value["age"].as_i64().unwrap()));
        assert!(value["languages"].as_array().unwrap().len() <= 3);
    }
}
