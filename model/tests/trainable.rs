//! The derivative that is written by hand agrees with that of candle's tape, in every family, and
//! with finite differences.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
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

fn size(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |size: f32, it| size.max(it.abs()))
}

#[test]
fn by_hand_and_on_the_tape_gradients_are_the_same() {
    for model in MODELS {
        for recompute in [false, true] {
            let decoder = load(model, recompute);
            let texts = texts();
            let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            let batch = TokenBatch { sequences: &sequences, dropout_seed: None };
            let targets = targets(&texts);
            let by_hand = decoder.weighted(&batch, &targets).unwrap();
            let alone = decoder.log_probs(&batch, &targets, With::Adapter).unwrap();
            assert_eq!(alone, by_hand.log_probs, "{model}");

            let loss = |hidden: &Tensor| {
                let logits = decoder.logits(hidden)?;
                let log_probs = candle_nn::ops::log_softmax(&logits, 1)?;
                let mut sum = Tensor::zeros((), DType::F32, &Device::Cpu)?;
                for it in &targets {
                    let part = log_probs.get(it.row)?.get(it.id as usize)?;
                    sum = (sum - (part * f64::from(it.weight))?)?;
                }
                Ok(sum)
            };
            let (sum, tape) = decoder.gradients(&batch, loss).unwrap();
            let own: f32 = by_hand.log_probs.iter().zip(&targets).map(|(a, b)| -a * b.weight).sum();
            assert!((own - sum.to_scalar::<f32>().unwrap()).abs() < 1e-4, "{model}");
            for (idx, (name, _)) in decoder.vars().iter().enumerate() {
                let tape: Vec<f32> = tape[idx].flatten_all().unwrap().to_vec1().unwrap();
                let own = &by_hand.grads[idx];
                let off: Vec<f32> = own.iter().zip(&tape).map(|(a, b)| a - b).collect();
                assert!(size(&tape) > 0.0, "{model} {name} has a gradient");
                let limit = 1e-3 * size(&tape) + 1e-6;
                assert!(size(&off) < limit, "{model} {name}: {} of {}", size(&off), size(&tape));
            }
        }
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
        let loss = || -> f64 {
            let log_probs = decoder.log_probs(&batch, &targets, With::Adapter).unwrap();
            let parts = log_probs.iter().zip(&targets);
            parts.map(|(a, b)| -f64::from(*a) * f64::from(b.weight)).sum()
        };
        for (idx, (name, _)) in decoder.vars().iter().enumerate() {
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
