//! Speed and memory of LoRA training, one JSON line a step, to put beside PEFT's in one run.
//!
//! `cargo bench --workspace --bench train -- MODEL TOKENS BATCH STEPS [WORD ...]`: rank 16 on all
//! matrices, or all weights; random tokens, every one of them learned. Words: `recompute`,
//! `quantised`, `full`, `cuda` (with `--features cuda`), `bf16` there or where the processor
//! multiplies it, `from=DIR` for the factors to begin with, `parts` for the time of the parts of a
//! step. `peft_peer.py` beside this does the same with PEFT.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::path::Path;
use std::time::Instant;

use model::device::DeviceName;
use model::trainable::{
    AdamW, BaseForm, LoraSpec, Precision, Target, TokenBatch, TrainOptions, TrainableDecoder,
    Trained, With,
};
use serde_json::json;
use tune::train::run::peak_bytes;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let [model, numbers @ ..] = args.as_slice() else {
        println!("usage: train MODEL TOKENS BATCH STEPS [recompute|quantised|full|cuda|bf16|...]");
        return; // `cargo test --benches`.
    };
    let number = |idx: usize, default: usize| {
        numbers.get(idx).map_or(default, |it| it.parse().expect("a number"))
    };
    let (n_tokens, batch, n_steps) = (number(0, 256), number(1, 4), number(2, 4));
    let words = numbers.get(3..).unwrap_or_default();
    let asked = |word: &str| words.iter().any(|it| it == word);
    let device = if asked("cuda") { DeviceName::Cuda(0) } else { DeviceName::Cpu };
    let precision = if asked("bf16") { Precision::Bf16 } else { Precision::F32 };
    let options = TrainOptions {
        device: device.open().expect("the device is there"),
        dtype: precision.dtype(),
        base: if asked("quantised") { BaseForm::Stored } else { BaseForm::Dense },
        trained: match asked("full") {
            true => Trained::Full,
            false => Trained::Lora(LoraSpec::default()),
        },
        recompute: asked("recompute"),
        ..TrainOptions::default()
    };
    let start = Instant::now();
    let decoder = TrainableDecoder::load(Path::new(model), &options).expect("the model loads");
    if let Some(from) = words.iter().find_map(|it| it.strip_prefix("from=")) {
        decoder.restore(Path::new(from)).expect("the factors are those of this model");
    }
    let load_seconds = start.elapsed().as_secs_f64();
    let mut optimiser = AdamW::new(&decoder, 0.0).expect("there is room for the optimiser");
    let texts = texts(batch, n_tokens);
    let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let targets = targets(&texts);
    let batch_of_step = TokenBatch { sequences: &sequences, dropout_seed: None };
    for step in 0..n_steps {
        let start = Instant::now();
        let forward = asked("parts").then(|| {
            let forward = decoder.log_probs(&batch_of_step, &targets, With::Adapter);
            forward.expect("a pass computes");
            start.elapsed().as_secs_f64()
        });
        let start = Instant::now();
        let mut out = decoder.weighted(&batch_of_step, &targets).expect("a step computes");
        let of_gradients = start.elapsed().as_secs_f64();
        let grad_norm = out.grads.clip(1.0).expect("gradients are numbers");
        let until_norm = start.elapsed().as_secs_f64();
        optimiser.step(&decoder, &out.grads, 1e-4).expect("factors fit");
        let seconds = start.elapsed().as_secs_f64();
        let line = json!({
            "system": format!("souffleur {}", words.join(" ")).trim(),
            "tokens": format!("{batch}x{n_tokens}"),
            "step": step,
            "loss": -out.log_probs.iter().sum::<f32>() / targets.len() as f32,
            "grad_norm": grad_norm,
            "seconds": seconds,
            "forward_s": forward,
            "gradients_s": of_gradients,
            "until_norm_s": until_norm,
            "load_s": load_seconds,
            "tokens_per_s": ((batch * n_tokens) as f64 / seconds * 10.0).round() / 10.0,
            "peak_gb": peak_bytes().map(|it| it as f64 / 1e9),
        });
        println!("{line}");
    }
}

/// Random tokens, the same in every run and in `peft_peer.py`.
fn texts(batch: usize, n_tokens: usize) -> Vec<Vec<u32>> {
    let mut state = 1u64;
    let mut id = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32 % 40_000
    };
    (0..batch).map(|_| (0..n_tokens).map(|_| id()).collect()).collect()
}

/// Every next token; together they count 1.
fn targets(texts: &[Vec<u32>]) -> Vec<Target> {
    let n_learned: usize = texts.iter().map(|it| it.len() - 1).sum();
    let mut res = Vec::with_capacity(n_learned);
    let mut first = 0;
    for text in texts {
        let next = text.iter().skip(1).enumerate();
        let weight = 1.0 / n_learned as f32;
        res.extend(next.map(|(at, &id)| Target { row: first + at, id, weight }));
        first += text.len();
    }
    res
}
