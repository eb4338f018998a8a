//! Speed of the quick-start models, one JSON line each, to put beside their peers' in one run.
//!
//! `cargo bench -p model --bench speed -- MODELS_DIR [CORPUS.jsonl [N_TEXTS]]`; the corpus has
//! one object with `title` and `text` per line and is embedded as the peers embed it: cut at 256
//! tokens.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::path::Path;
use std::time::Instant;

use model::chat::Turn;
use model::device::DeviceName;
use model::embed::{Embedder, EmbedderSpec, Embeddings, Pooling, Precision, TextRole};
use model::generate::{Generator, Request};
use model::rerank::{Reranker, Reranking};
use model::sample::SampleOptions;
use model::serve::{Reply, ReplyEvent, ServeOptions, Service};
use serde_json::{Value, json};

const FILLER: &str =
    "The employee handbook explains how leave is accrued and how to request it from a manager. ";

const QUESTION: &str = "How many days of remote work are allowed per week?";

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
        embed(&dir, Path::new(corpus), n_texts, Precision::F16, Some(&exact));
        embed(&dir, Path::new(corpus), n_texts, Precision::Int8, Some(&exact));
        for name in ["random-reranker", "random-reranker-xlm-r"] {
            let dir = models.join(name); // Of rerank_peer.py.
            if dir.is_dir() {
                rerank(&dir, Path::new(corpus), n_texts, Precision::F32);
                rerank(&dir, Path::new(corpus), n_texts, Precision::Int8);
            }
        }
    }
    let gguf = models.join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    generate(&gguf, DeviceName::Cpu);
    if cfg!(feature = "cuda") {
        generate(&gguf, DeviceName::Cuda(0));
    }
}

/// Titles and texts of the corpus.
fn read_texts(corpus: &Path, n_texts: usize) -> Vec<String> {
    let corpus = fs_err::read_to_string(corpus).expect("the corpus can be read");
    corpus
        .lines()
        .take(n_texts)
        .map(|line| {
            let doc: Value = serde_json::from_str(line).expect("the corpus is JSON lines");
            let field = |name: &str| doc[name].as_str().unwrap_or("").to_owned();
            format!("{} {}", field("title"), field("text")).trim().to_owned()
        })
        .collect()
}

/// Prints one line; logits are compared with those that the peer has left.
fn rerank(dir: &Path, corpus: &Path, n_texts: usize, precision: Precision) {
    let texts = read_texts(corpus, n_texts);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let reranker = Reranker::load(dir, 256, precision).expect("the reranker loads");
    reranker.score(QUESTION, &texts[..texts.len().min(8)]).expect("the passages are scored");
    let start = Instant::now();
    let Reranking { scores, n_tokens, .. } =
        reranker.score(QUESTION, &texts).expect("the passages are scored");
    let seconds = start.elapsed().as_secs_f64();
    let expected: Vec<f32> = fs_err::read_to_string(dir.join("logits.json"))
        .map(|it| serde_json::from_str(&it).expect("a list of numbers"))
        .unwrap_or_default();
    let off = scores.iter().zip(&expected).map(|(ours, theirs)| (ours.logit - theirs).abs());
    println!(
        "{}",
        json!({
            "model": dir.file_name().and_then(|it| it.to_str()),
            "system": format!("souffleur {}", precision.as_str()),
            "threads": model::device::threads(),
            "pairs_per_s": texts.len() as f64 / seconds, "tokens_per_s": n_tokens as f64 / seconds,
            "compared": expected.len(), "off_max": off.fold(0.0, f32::max),
        })
    );
}

/// Prints one line; `exact` are the vectors that these are compared with.
fn embed(
    dir: &Path,
    corpus: &Path,
    n_texts: usize,
    precision: Precision,
    exact: Option<&Embeddings>,
) -> Embeddings {
    let texts = read_texts(corpus, n_texts);
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
    for _ in 0..20 {
        embedder.embed(&[QUESTION], TextRole::Query).expect("a query embeds");
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

/// Tokens that SmolLM2 ends with, ruled out so that every draft has its full length.
const NO_END: [(u32, f32); 2] = [(0, -1e9), (2, -1e9)];

fn generate(gguf: &Path, device: DeviceName) {
    let start = Instant::now();
    let backend = device.backend().expect("the device is there");
    let generator = Generator::load_on(gguf, &backend).expect("the generator loads");
    let load_ms = start.elapsed().as_millis();
    println!("{}", json!({ "system": "souffleur load", "device": device, "load_ms": load_ms }));
    let encoder = generator.encoder();
    let options = ServeOptions::default();
    let service = Service::spawn(generator, options).expect("a thread starts");
    let n_filler = encoder.count_tokens(FILLER);
    for (n_sequences, n_prompt) in [(1, 1_024), (1, 32), (4, 32), (8, 32)] {
        let requests = (0..n_sequences).map(|idx| {
            // Prompts that differ from the start, so that none knows another's beginning.
            let text = format!("{idx}{n_prompt} {}", FILLER.repeat(n_prompt / n_filler + 1));
            let mut prompt =
                encoder.encode_chat(&[Turn::user(text)]).expect("a turn renders").split_off(20);
            prompt.truncate(n_prompt);
            prompt[0] = 300 + idx + n_prompt as u32;
            let options = SampleOptions {
                tokens_max: 129,
                logit_bias: NO_END.to_vec(),
                ..SampleOptions::default()
            };
            Request { prompt, options, adapter: None }
        });
        let requests: Vec<Request> = requests.collect();
        let start = Instant::now();
        let replies: Vec<Reply> =
            requests.into_iter().map(|it| service.submit(it).expect("room in the queue")).collect();
        // The first texts of all: their prompts are read.
        let mut drafts = 0;
        for reply in &replies {
            while !matches!(reply.next(), Some(ReplyEvent::Text { .. })) {}
        }
        let prefill = start.elapsed().as_secs_f64();
        for reply in replies {
            drafts += reply.wait().expect("it generates").n_tokens;
        }
        let decode = start.elapsed().as_secs_f64() - prefill;
        println!(
            "{}",
            json!({
                "system": "souffleur generate", "device": device,
                "threads": model::device::threads(),
                "sequences": n_sequences, "prompt_tokens": n_prompt, "tokens": drafts,
                "prefill_tokens_per_s": (n_prompt * n_sequences as usize) as f64 / prefill,
                "decode_tokens_per_s": (drafts - n_sequences as usize) as f64 / decode,
            })
        );
    }
}
