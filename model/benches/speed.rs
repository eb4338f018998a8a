//! Speed of the quick-start models, one JSON line each, to put beside their peers' in one run.
//!
//! `cargo bench -p model --bench speed -- MODELS_DIR [CORPUS.jsonl [N_TEXTS]]`; the corpus has
//! one object with `title` and `text` per line and is embedded as the peers embed it: cut at 256
//! tokens.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use model::embed::{Embedder, EmbedderSpec, Embeddings, Pooling, Precision, TextRole};
use model::generate::{Event, Generator};
use model::sample::SampleOptions;
use serde_json::{Value, json};

const FILLER: &str =
    "The employee handbook explains how leave is accrued and how to request it from a manager. ";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let Some(models) = args.first() else {
        println!("usage: speed MODELS_DIR [CORPUS.jsonl [N_TEXTS]]"); // `cargo test --benches`.
        return;
    };
    let models = Path::new(models);
    if let Some(corpus) = args.get(1) {
        let n_texts = args.get(2).map_or(500, |it| it.parse().expect("N_TEXTS is a number"));
        let dir = models.join("all-minilm-l6-v2");
        let exact = embed(&dir, Path::new(corpus), n_texts, Precision::F32, None);
        embed(&dir, Path::new(corpus), n_texts, Precision::Int8, Some(&exact));
    }
    generate(&models.join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"));
}

/// Prints one line; `exact` are the vectors that these are compared with.
fn embed(
    dir: &Path,
    corpus: &Path,
    n_texts: usize,
    precision: Precision,
    exact: Option<&Embeddings>,
) -> Embeddings {
    let corpus = fs_err::read_to_string(corpus).expect("the corpus can be read");
    let texts: Vec<String> = corpus
        .lines()
        .take(n_texts)
        .map(|line| {
            let doc: Value = serde_json::from_str(line).expect("the corpus is JSON lines");
            let field = |name: &str| doc[name].as_str().unwrap_or("").to_owned();
            format!("{} {}", field("title"), field("text")).trim().to_owned()
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let spec = EmbedderSpec {
        pooling: Pooling::Mean,
        query_prefix: String::new(),
        passage_prefix: String::new(),
        tokens_max: 256,
        precision,
    };
    let start = Instant::now();
    let embedder = Embedder::load(dir, &spec).expect("the embedder loads");
    let load_ms = start.elapsed().as_millis();
    let mut seconds = f64::MAX;
    let mut embed = || {
        let start = Instant::now();
        let res = embedder.embed(&texts, TextRole::Passage).expect("the texts embed");
        seconds = seconds.min(start.elapsed().as_secs_f64());
        res
    };
    embed();
    embed();
    let vectors = embed();
    let n_tokens = vectors.n_tokens;
    let cosines: Vec<f32> = std::iter::zip(vectors.rows(), exact.unwrap_or(&vectors).rows())
        .map(|(a, b)| std::iter::zip(a, b).map(|(a, b)| a * b).sum())
        .collect();
    let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
    let least = cosines.iter().fold(1.0, |least: f32, &it| least.min(it));
    let start = Instant::now();
    let query = "How many days of remote work are allowed per week?";
    for _ in 0..20 {
        embedder.embed(&[query], TextRole::Query).expect("a query embeds");
    }
    let query_ms = start.elapsed().as_secs_f64() * 1e3 / 20.0;
    let start = Instant::now();
    let n_counted: usize = texts.iter().map(|text| embedder.count_tokens(text)).sum();
    let n_bytes: usize = texts.iter().map(|text| text.len()).sum();
    let first = n_bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
    let start = Instant::now();
    assert_eq!(texts.iter().map(|text| embedder.count_tokens(text)).sum::<usize>(), n_counted);
    let again = n_bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!(
        "{}",
        json!({
            "system": format!("souffleur {}", precision.as_str()), "cosine": mean,
            "cosine_min": least, "threads": model::device::threads(), "load_ms": load_ms,
            "texts_per_s": texts.len() as f64 / seconds, "tokens_per_s": n_tokens as f64 / seconds,
            "query_ms": query_ms, "count_mb_per_s": [first, again],
        })
    );
    vectors
}

fn generate(gguf: &Path) {
    let start = Instant::now();
    let mut generator = Generator::load(gguf).expect("the generator loads");
    let load_ms = start.elapsed().as_millis();
    let one = |text: &str| generator.count_tokens(text);
    let n_tokens = one(FILLER);
    let turns = [model::chat::Turn::user(FILLER.repeat(1_024 / n_tokens))];
    let prompt = generator.encode_chat(&turns).expect("a turn renders");

    let options = SampleOptions { tokens_max: 129, ..SampleOptions::default() };
    let start = Instant::now();
    let mut prefill = 0.0;
    let mut on_event = |event: Event<'_>| {
        if matches!(event, Event::Read { n_tokens, n_prompt_tokens } if n_tokens == n_prompt_tokens)
        {
            prefill = start.elapsed().as_secs_f64();
        }
        ControlFlow::Continue(())
    };
    let draft = generator.generate(&prompt, &options, &mut on_event).expect("it generates");
    let decode = start.elapsed().as_secs_f64() - prefill;
    println!(
        "{}",
        json!({
            "system": "souffleur generate", "threads": model::device::threads(),
            "load_ms": load_ms, "prompt_tokens": prompt.len(),
            "prefill_tokens_per_s": prompt.len() as f64 / prefill,
            "decode_tokens_per_s": (draft.n_tokens - 1) as f64 / decode,
        })
    );
}
