//! The derivative agrees with finite differences, in every family, and is the same where layers are
//! computed again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use model::trainable::{
    LoraSpec, Target, TokenBatch, TrainOptions, TrainableDecoder, Trained, With,
};

const MODELS: [&str; 9] = [
    "tiny-llama.gguf",
    "tiny-llama3.gguf",
    "tiny-mistral.gguf",
    "tiny-qwen2.gguf",
    "tiny-qwen3.gguf",
    "tiny-tied-llama-folder",
    "tiny-biased-llama-folder",
    "tiny-mistral-folder",
    "tiny-qwen3-folder",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A decoder whose factors all have values.
fn load(model: &str, recompute: bool) -> TrainableDecoder {
    // All of them, the output matrix included.
    let targets =
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"];
    let targets = targets.map(str::to_owned).to_vec();
    let lora = LoraSpec { rank: 2, alpha: 6.0, targets, ..LoraSpec::default() };
    let trained = Trained::Lora(lora);
    let options = TrainOptions { trained, recompute, seed: 5, ..TrainOptions::default() };
    let decoder = TrainableDecoder::load(&golden(model), &options).unwrap();
    let mut state = 9u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.2
    };
    let mut values = decoder.values().unwrap();
    values.iter_mut().flatten().for_each(|it| *it = next());
    decoder.set_values(&values).unwrap();
    decoder
}

fn texts() -> Vec<Vec<u32>> {
    [3, 40, 2, 27].map(|n| (0..n).map(|it| (it * 7 + n) % 70).collect()).to_vec()
}

/// Most next tokens of all sequences; some count more than others, some less than nothing.
fn targets(texts: &[Vec<u32>]) -> Vec<Target> {
    let mut res = Vec::new();
    let mut row = 0;
    for text in texts {
        for (idx, id) in text.iter().skip(1).enumerate().filter(|(idx, _)| idx % 5 != 2) {
            let weight = if idx % 3 == 0 { -0.05 } else { 0.1 };
            res.push(Target { row: row + idx, id: *id, weight });
        }
        row += text.len();
    }
    res
}

#[test]
fn kept_or_computed_again_gradients_are_the_same() {
    for model in MODELS {
        let texts = texts();
        let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let batch = TokenBatch { sequences: &sequences, dropout_seed: None };
        let targets = targets(&texts);
        let [kept, again] = [false, true].map(|recompute| {
            let decoder = load(model, recompute);
            let out = decoder.weighted(&batch, &targets).unwrap();
            let alone = decoder.log_probs(&batch, &targets, With::Adapter).unwrap();
            assert_eq!(alone, out.log_probs, "{model}");
            let names = decoder.vars().unwrap().into_iter().map(|it| it.0);
            for (grad, name) in decoder.on_processor(&out.grads).unwrap().iter().zip(names) {
                assert!(grad.iter().any(|it| *it != 0.0), "{model} {name} has a gradient");
            }
            decoder.on_processor(&out.grads).unwrap()
        });
        assert_eq!(kept, again, "{model}");
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    let full = TrainOptions { trained: Trained::Full, ..TrainOptions::default() };
    for (model, trained) in [
        ("tiny-qwen3.gguf", None),
        ("tiny-mistral-folder", None),
        ("tiny-biased-llama-folder", None),
        ("tiny-qwen3-folder", Some(&full)),
        ("tiny-qwen2-folder", Some(&full)),
        ("tiny-tied-llama-folder", Some(&full)),
        ("tiny-biased-llama-folder", Some(&full)),
    ] {
        let decoder = match trained {
            Some(full) => TrainableDecoder::load(&golden(model), full).unwrap(),
            None => load(model, false),
        };
        let texts = texts();
        let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let batch = TokenBatch { sequences: &sequences, dropout_seed: None };
        let targets = targets(&texts);
        let start = decoder.values().unwrap();
        let grads = decoder.weighted(&batch, &targets).unwrap().grads;
        let grads = decoder.on_processor(&grads).unwrap();
        let loss = || -> f64 {
            let log_probs = decoder.log_probs(&batch, &targets, With::Adapter).unwrap();
            let parts = log_probs.iter().zip(&targets);
            parts.map(|(a, b)| -f64::from(*a) * f64::from(b.weight)).sum()
        };
        for (idx, (name, _)) in decoder.vars().unwrap().iter().enumerate() {
            // Along the gradient itself, where the difference stands out from rounding.
            let length = grads[idx].iter().map(|it| it * it).sum::<f32>().sqrt();
            let step = 2e-3;
            let at = |factor: f32| {
                let mut values = start.clone();
                for (value, grad) in values[idx].iter_mut().zip(&grads[idx]) {
                    *value += grad / length * factor;
                }
                decoder.set_values(&values).unwrap();
                loss()
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            decoder.set_values(&start).unwrap();
            let off = (slope - f64::from(length)).abs();
            assert!(off < 0.03 * f64::from(length) + 1e-4, "{model} {name}: {slope} {length}");
        }
    }
}

#[test]
fn without_its_adapter_the_model_is_its_base() {
    let texts = texts();
    let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let batch = TokenBatch { sequences: &sequences, dropout_seed: None };
    let targets = targets(&texts);
    let fresh =
        TrainableDecoder::load(&golden("tiny-qwen3.gguf"), &TrainOptions::default()).unwrap();
    let expected = fresh.log_probs(&batch, &targets, With::Base).unwrap();
    assert_eq!(fresh.log_probs(&batch, &targets, With::Adapter).unwrap(), expected, "B is zero");
    let trained = load("tiny-qwen3.gguf", false);
    assert_eq!(trained.log_probs(&batch, &targets, With::Base).unwrap(), expected);
    assert_ne!(trained.log_probs(&batch, &targets, With::Adapter).unwrap(), expected);
}
