use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert;

use serde::Deserialize;

use super::*;
use crate::crew::in_crew;
use crate::embed::Precision;
use crate::sample::Rng;

#[derive(Deserialize)]
struct Golden {
    ids: Vec<Vec<u32>>,
    hidden: Vec<Vec<[f32; 3]>>,
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn packed(texts: &[Vec<u32>]) -> Packed {
    let ids = texts.concat();
    Packed { types: vec![0; ids.len()], ids, lens: texts.iter().map(Vec::len).collect() }
}

/// All texts in one batch agree with transformers, which ran each alone.
#[track_caller]
fn check_golden(name: &str) {
    let text = fs_err::read_to_string(folder(name).join("golden.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let model = Bert::load(&folder(name), Precision::F32).unwrap();
    let hidden = model.forward(&packed(&golden.ids));
    let expected = golden.hidden.concat();
    assert_eq!(hidden.len(), expected.len() * model.hidden());
    for (row, expected) in hidden.chunks_exact(model.hidden()).zip(&expected) {
        for (x, expected) in row.iter().zip(expected) {
            assert!((x - expected).abs() < 2e-5, "{row:?} instead of {expected:?}");
        }
    }
}

#[test]
fn bert_agrees_with_transformers() {
    check_golden("tiny-bert");
}

#[test]
fn camembert_is_computed_as_xlm_roberta() {
    let dir = tempfile::tempdir().unwrap();
    let name = "tiny-xlm-roberta";
    let weights = "model.safetensors";
    fs_err::copy(folder(name).join(weights), dir.path().join(weights)).unwrap();
    let config = fs_err::read_to_string(folder(name).join("config.json")).unwrap();
    let other = config.replace("\"xlm-roberta\"", "\"camembert\"");
    assert_ne!(config, other);
    fs_err::write(dir.path().join("config.json"), other).unwrap();
    let texts = packed(&[vec![5, 9, 7], vec![3]]);
    let run = |dir: &Path| Bert::load(dir, Precision::F32).unwrap().forward(&texts);
    assert_eq!(run(dir.path()), run(&folder(name)));
}

#[test]
fn a_batch_that_threads_share_has_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    save_random(dir.path());
    let texts = packed(&[(0..40).collect(), vec![7], (10..30).collect()]);
    for precision in [Precision::F32, Precision::F16, Precision::Int8] {
        let model = Bert::load(dir.path(), precision).unwrap();
        let together = in_crew(|crew| model.pass(&texts, Some(crew)));
        assert_eq!(model.forward(&texts), together);
    }
}

#[test]
fn eight_bits_stay_near_f32() {
    let dir = tempfile::tempdir().unwrap();
    save_random(dir.path());
    let texts = packed(&[(0..40).collect(), vec![7], (10..30).collect()]);
    let run = |precision| Bert::load(dir.path(), precision).unwrap().forward(&texts);
    let (exact, rounded) = (run(Precision::F32), run(Precision::Int8));
    assert_ne!(exact, rounded);
    for (a, b) in exact.chunks_exact(90).zip(rounded.chunks_exact(90)) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        assert!(cosine > 0.999, "{cosine}");
    }
}

#[test]
fn sixteen_bits_are_f32_within_rounding() {
    let dir = tempfile::tempdir().unwrap();
    save_random(dir.path());
    let texts = packed(&[(0..40).collect(), vec![7], (10..30).collect()]);
    let run = |precision| Bert::load(dir.path(), precision).unwrap().forward(&texts);
    let (exact, rounded) = (run(Precision::F32), run(Precision::F16));
    assert_ne!(exact, rounded);
    for (a, b) in exact.iter().zip(&rounded) {
        assert!((a - b).abs() < 2e-3, "{a} {b}");
    }
}

#[test]
fn xlm_roberta_agrees_with_transformers() {
    check_golden("tiny-xlm-roberta");
}

/// Saves a random model whose sizes are no multiples of anything.
fn save_random(dir: &Path) -> bert::Config {
    let (hidden, inner) = (90, 70);
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": 50, "hidden_size": hidden,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": inner,
        "hidden_act": "gelu", "max_position_embeddings": 80, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.0, "initializer_range": 0.02,
        "pad_token_id": 0
    });
    let mut rng = Rng::new(5);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| (rng.unit() - 0.5) * 0.8).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    for (name, rows) in [("word", 50), ("position", 80), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden]);
    }
    let mut names = vec![("embeddings.LayerNorm".to_owned(), hidden, None)];
    for layer in 0..2 {
        for (name, n_out, n_in) in [
            ("attention.self.query", hidden, Some(hidden)),
            ("attention.self.key", hidden, Some(hidden)),
            ("attention.self.value", hidden, Some(hidden)),
            ("attention.output.dense", hidden, Some(hidden)),
            ("attention.output.LayerNorm", hidden, None),
            ("intermediate.dense", inner, Some(hidden)),
            ("output.dense", hidden, Some(inner)),
            ("output.LayerNorm", hidden, None),
        ] {
            names.push((format!("encoder.layer.{layer}.{name}"), n_out, n_in));
        }
    }
    for (name, n_out, n_in) in names {
        match n_in {
            Some(n_in) => add(format!("{name}.weight"), &[n_out, n_in]),
            None => add(format!("{name}.weight"), &[n_out]),
        }
        add(format!("{name}.bias"), &[n_out]);
    }
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
    fs_err::write(dir.join("config.json"), config.to_string()).unwrap();
    serde_json::from_value(config).unwrap()
}

#[test]
fn agrees_with_candles_padded_bert() {
    let dir = tempfile::tempdir().unwrap();
    let config = save_random(dir.path());
    let ours = Bert::load(dir.path(), Precision::F32).unwrap();
    let file = dir.path().join("model.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let vars = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let theirs = bert::BertModel::load(vars, &config).unwrap();

    let mut rng = Rng::new(6);
    let texts: Vec<Vec<u32>> = [33usize, 80, 1, 64]
        .iter()
        .map(|&len| (0..len).map(|_| (rng.next() % 50) as u32).collect())
        .collect();
    let hidden = ours.forward(&packed(&texts));
    let mut start = 0;
    for text in &texts {
        let ids = Tensor::new(text.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let expected = theirs.forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        for (x, expected) in hidden[start..][..expected.len()].iter().zip(&expected) {
            assert!((x - expected).abs() < 5e-5, "{x} instead of {expected}");
        }
        start += expected.len();
    }
}

#[test]
fn damaged_folders_are_refused_with_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let load = || Bert::load(dir.path(), Precision::F32).err().unwrap().to_string();
    assert!(load().contains("config.json"));
    save_random(dir.path());
    let weights = dir.path().join("model.safetensors");
    let bytes = fs_err::read(&weights).unwrap();
    for n in [0, 7, 100, bytes.len() - 1] {
        fs_err::write(&weights, &bytes[..n]).unwrap();
        assert!(load().contains("model.safetensors"), "cut at {n}");
    }
    fs_err::write(&weights, &bytes).unwrap();
    let config = fs_err::read_to_string(dir.path().join("config.json")).unwrap();
    for (from, to, expected) in [
        ("\"hidden_size\":90", "\"hidden_size\":64", ", 90] instead of ["),
        ("\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "is missing"),
        ("\"gelu\"", "\"swish\"", "the activation `swish`"),
        ("\"model_type\":\"bert\"", "\"model_type\":\"t5\"", "an encoder of type `t5`"),
        ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "0 heads"),
    ] {
        fs_err::write(dir.path().join("config.json"), config.replace(from, to)).unwrap();
        assert!(load().contains(expected), "{from}: {}", load());
    }
}
