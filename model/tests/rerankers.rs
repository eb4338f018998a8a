//! Cross-encoders and embedders from text to number agree with sentence-transformers, on tiny random
//! models of both families; what cannot be used is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use model::embed::{Embedder, EmbedderSpec, Pooling, Precision, TextRole};
use model::rerank::Reranker;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    tokens_max: usize,
    pairs: Vec<(String, String)>,
    ids: Vec<Vec<u32>>,
    logits: Vec<f32>,
    scores: Vec<f32>,
    n_truncated: usize,
    texts: Vec<String>,
    prefix: String,
    vectors: Vectors,
}

#[derive(Deserialize)]
struct Vectors {
    mean: Vec<Vec<f32>>,
    cls: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn golden(name: &str) -> Golden {
    let text = fs_err::read_to_string(folder(name).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[track_caller]
fn check_scores(dir: &Path, golden: &Golden) {
    let reranker = Reranker::load(dir, golden.tokens_max, Precision::F32).unwrap();
    let mut n_truncated = 0;
    for (idx, (question, passage)) in golden.pairs.iter().enumerate() {
        let alone = reranker.score(question, &[passage]).unwrap();
        assert_eq!(alone.n_tokens, golden.ids[idx].len(), "{question:?} {passage:?}");
        n_truncated += alone.n_truncated;
        // Among others it gets the same score: nothing leaks from pair to pair.
        let long = passage.repeat(3);
        let among = reranker.score(question, &["x", passage, &long]).unwrap();
        for score in [alone.scores[0], among.scores[1]] {
            let off = (score.logit - golden.logits[idx]).abs();
            assert!(off < 1e-4, "{} instead of {}", score.logit, golden.logits[idx]);
            assert!((score.score - golden.scores[idx]).abs() < 1e-4, "{score:?}");
        }
    }
    assert_eq!(n_truncated, golden.n_truncated);
}

#[test]
fn bert_scores_as_sentence_transformers_does() {
    check_scores(&folder("tiny-bert-reranker"), &golden("tiny-bert-reranker"));
}

#[test]
fn eight_bits_score_nearly_the_same() {
    for name in ["tiny-bert-reranker", "tiny-xlm-roberta-reranker"] {
        let golden = golden(name);
        let reranker = Reranker::load(&folder(name), golden.tokens_max, Precision::Int8).unwrap();
        let mut off = Vec::new();
        for ((question, passage), score) in golden.pairs.iter().zip(&golden.scores) {
            let actual = reranker.score(question, &[passage]).unwrap().scores[0].score;
            off.push((actual - score).abs());
        }
        assert!(off.iter().all(|it| *it < 0.05), "{name}: {off:?}");
        assert!(off.iter().any(|it| *it > 1e-6), "{name} was computed in 8 bits");
    }
}

#[test]
fn xlm_roberta_scores_as_sentence_transformers_does() {
    check_scores(&folder("tiny-xlm-roberta-reranker"), &golden("tiny-xlm-roberta-reranker"));
}

/// A copy of a golden model, to damage.
fn copy(name: &str, files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        fs_err::copy(folder(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

const SMALL_FILES: [&str; 2] = ["config.json", "tokenizer.json"];
const ALL_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

#[test]
fn pickled_and_sharded_weights_are_read_as_well() {
    let name = "tiny-bert-reranker";
    let dir = copy(name, &SMALL_FILES);
    fs_err::copy(folder(name).join("pytorch_model.bin"), dir.path().join("pytorch_model.bin"))
        .unwrap();
    check_scores(dir.path(), &golden(name));

    let dir = copy(name, &SMALL_FILES);
    let file = folder(name).join("model.safetensors");
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let mut map = serde_json::Map::new();
    for shard in ["a.safetensors", "b.safetensors"] {
        let half = |key: &str| key.contains("layer.1") == (shard == "b.safetensors");
        let part: std::collections::HashMap<_, _> =
            tensors.iter().filter(|(key, _)| half(key)).map(|(k, v)| (k, v.clone())).collect();
        map.extend(part.keys().map(|&key| (key.clone(), shard.into())));
        candle_core::safetensors::save(&part, dir.path().join(shard)).unwrap();
    }
    let index = dir.path().join("model.safetensors.index.json");
    let json = serde_json::json!({"metadata": {}, "weight_map": map});
    fs_err::write(&index, json.to_string()).unwrap();
    check_scores(dir.path(), &golden(name));

    fs_err::remove_file(dir.path().join("b.safetensors")).unwrap();
    let error = Reranker::load(dir.path(), 64, Precision::F32).unwrap_err().to_string();
    assert!(error.contains("b.safetensors"), "{error}");
    let json = json.to_string().replace("b.safetensors", "../b.safetensors");
    fs_err::write(&index, json).unwrap();
    let error = Reranker::load(dir.path(), 64, Precision::F32).unwrap_err().to_string();
    assert!(error.contains("index.json") && error.contains("../b.safetensors"), "{error}");
}

#[test]
fn damaged_pickles_are_refused_with_their_file() {
    let dir = copy("tiny-bert-reranker", &SMALL_FILES);
    let bytes = fs_err::read(folder("tiny-bert-reranker").join("pytorch_model.bin")).unwrap();
    let path = dir.path().join("pytorch_model.bin");
    let mut damaged: Vec<Vec<u8>> =
        [0, 1, 2, 100, bytes.len() / 2, bytes.len() - 1].map(|n| bytes[..n].to_vec()).into();
    // Every opcode of the description in turn, as far as tensors' names and shapes go.
    for at in (60..3_000).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x1f;
        damaged.push(bytes);
    }
    let mut n_refused = 0;
    for bytes in &damaged {
        fs_err::write(&path, bytes).unwrap();
        // A flipped bit of a name that is not read harms nothing.
        if let Err(error) = Reranker::load(dir.path(), 64, Precision::F32) {
            let folder = dir.path().display().to_string();
            assert!(error.to_string().contains(&folder), "{error}");
            n_refused += 1;
        }
    }
    assert!(n_refused > damaged.len() / 4, "{n_refused} of {}", damaged.len());
}

#[test]
fn pooling_and_prefixes_are_those_of_sentence_transformers() {
    for name in ["tiny-bert-reranker", "tiny-xlm-roberta-reranker"] {
        let golden = golden(name);
        let texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
        for (pooling, vectors) in
            [(Pooling::Mean, &golden.vectors.mean), (Pooling::Cls, &golden.vectors.cls)]
        {
            let spec = EmbedderSpec {
                pooling,
                query_prefix: golden.prefix.clone(),
                passage_prefix: "passage: ".to_owned(),
                tokens_max: golden.tokens_max,
                precision: Precision::F32,
            };
            let embedder = Embedder::load(&folder(name), &spec).unwrap();
            let res = embedder.embed(&texts, TextRole::Query).unwrap();
            for (row, expected) in res.rows().zip(vectors) {
                let cosine: f32 = row.iter().zip(expected).map(|(a, b)| a * b).sum();
                assert!((1.0 - cosine).abs() < 1e-5, "{name} {pooling:?}: {cosine}");
            }
            assert_eq!(res.n_truncated, 1);
            let passages = embedder.embed(&texts, TextRole::Passage).unwrap();
            assert_ne!(res, passages, "the prefix counts");
        }
    }
}

/// Keeps every thread of the pool until it is dropped.
struct Busy(#[expect(dead_code, reason = "held for its drop")] mpsc::Sender<()>);

fn busy_pool() -> Busy {
    let (end, ended) = mpsc::channel();
    let ended = Arc::new(Mutex::new(ended));
    let began = Arc::new(Barrier::new(rayon::current_num_threads() + 1));
    for _ in 0..rayon::current_num_threads() {
        let (began, ended) = (Arc::clone(&began), Arc::clone(&ended));
        rayon::spawn(move || {
            began.wait();
            let _ = ended.lock().unwrap().recv();
        });
    }
    began.wait();
    Busy(end)
}

#[test]
fn a_question_has_one_vector_and_does_not_wait_for_the_pool() {
    let golden = golden("tiny-bert-reranker");
    let spec = EmbedderSpec {
        pooling: Pooling::Mean,
        query_prefix: golden.prefix.clone(),
        passage_prefix: String::new(),
        tokens_max: golden.tokens_max,
        precision: Precision::F16,
    };
    let embedder = Arc::new(Embedder::load(&folder("tiny-bert-reranker"), &spec).unwrap());
    let busy = busy_pool();
    let (tell, told) = mpsc::channel();
    let (own, texts) = (Arc::clone(&embedder), golden.texts.clone());
    thread::spawn(move || {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut n_beside = 0;
        let each: Vec<_> =
            texts.iter().map(|it| own.embed_question(it, || n_beside += 1).unwrap()).collect();
        assert_eq!(n_beside, texts.len());
        tell.send((each, own.embed_questions_here(&texts).unwrap())).unwrap();
    });
    let (each, here) =
        told.recv_timeout(Duration::from_secs(60)).expect("the pool is not waited for");
    drop(busy);
    assert_eq!(each, here);
    let texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
    let all = embedder.embed(&texts, TextRole::Query).unwrap();
    for (one, row) in each.iter().zip(all.rows()) {
        assert_eq!(one.row(0), row);
    }
}

#[track_caller]
fn check_refusal(dir: &Path, expected: &[&str]) {
    let error = Reranker::load(dir, 64, Precision::F32).unwrap_err().to_string();
    for word in expected {
        assert!(error.contains(word), "must say {word:?}: {error}");
    }
}

#[test]
fn what_cannot_score_pairs_is_refused_with_its_folder() {
    check_refusal(&folder("tiny-bert"), &["tiny-bert", "classification head", "models list"]);
    check_refusal(&folder("tiny-xlm-roberta"), &["out_proj", "models list"]);

    let dir = copy("tiny-bert-reranker", &ALL_FILES);
    let config = fs_err::read_to_string(dir.path().join("config.json")).unwrap();
    for (from, to, expected) in [
        ("\"model_type\": \"bert\"", "\"model_type\": \"modernbert\"", "type `modernbert`"),
        ("\"type_vocab_size\": 2", "\"type_vocab_size\": 1", "one token type"),
        ("\"vocab_size\": ", "\"vocab_size\": 1", "shape"),
        (
            "\"use_cache\"",
            "\"sentence_transformers\": {\"activation_fn\": \"torch.nn.Tanh\"}, \"use_cache\"",
            "`Tanh`",
        ),
    ] {
        fs_err::write(dir.path().join("config.json"), config.replace(from, to)).unwrap();
        check_refusal(dir.path(), &[expected]);
    }
    fs_err::write(dir.path().join("config.json"), config).unwrap();
    fs_err::write(dir.path().join("model.safetensors"), "cut").unwrap();
    check_refusal(dir.path(), &["model.safetensors", "models pull"]);

    let dir = copy("tiny-xlm-roberta-reranker", &ALL_FILES);
    let foreign = folder("tiny-bert-reranker").join("tokenizer.json");
    fs_err::copy(foreign, dir.path().join("tokenizer.json")).unwrap();
    check_refusal(dir.path(), &["102 tokens", "rows for 80"]);
    fs_err::write(dir.path().join("tokenizer.json"), "{").unwrap();
    check_refusal(dir.path(), &["tokenizer.json"]);
    fs_err::remove_file(dir.path().join("tokenizer.json")).unwrap();
    check_refusal(dir.path(), &["tokenizer.json", "models pull"]);
}

#[test]
fn a_model_may_say_that_its_logit_is_the_score() {
    let dir = copy("tiny-bert-reranker", &ALL_FILES);
    let path = dir.path().join("config.json");
    let config = fs_err::read_to_string(&path).unwrap();
    let noted = "\"sbert_ce_default_activation_function\": \"torch.nn.Identity\", \"use_cache\"";
    fs_err::write(&path, config.replace("\"use_cache\"", noted)).unwrap();
    let reranker = Reranker::load(dir.path(), 64, Precision::F32).unwrap();
    let score = reranker.score("a", &["b"]).unwrap().scores[0];
    assert_eq!(score.logit, score.score);
    assert!(reranker.score("a", &[]).unwrap().scores.is_empty());
}
