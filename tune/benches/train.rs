//! Speed and memory of LoRA training, one JSON line a step, to put beside PEFT's in one run.
//!
//! `cargo bench --workspace --bench train -- MODEL TOKENS BATCH STEPS [recompute|quantised|full]`:
//! rank 16 on all matrices, or all weights; random tokens, every one of them learned.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::path::Path;
use std::time::Instant;

use model::trainable::{
    BaseForm, LoraSpec, Target, TokenBatch, TrainOptions, TrainableDecoder, Trained,
};
use serde_json::json;
use tune::train::adamw::AdamW;
use tune::train::run::peak_bytes;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let [model, numbers @ ..] = args.as_slice() else {
        println!("usage: train MODEL TOKENS BATCH STEPS [recompute|quantised|full]");
        return; // `cargo test --benches`.
    };
    let number = |idx: usize, default: usize| {
        numbers.get(idx).map_or(default, |it| it.parse().expect("a number"))
    };
    let (n_tokens, batch, n_steps) = (number(0, 256), number(1, 4), number(2, 4));
    let mode = numbers.get(3).map_or("", String::as_str);
    let options = TrainOptions {
        base: if mode == "quantised" { BaseForm::Stored } else { BaseForm::Dense },
        trained: match mode {
            "full" => Trained::Full,
            _ => Trained::Lora(LoraSpec::default()),
        },
        recompute: mode == "recompute",
        ..TrainOptions::default()
    };
    let decoder = TrainableDecoder::load(Path::new(model), &options).expect("the model loads");
    let mut values = decoder.values().expect("factors are numbers");
    let sizes: Vec<usize> = values.iter().map(Vec::len).collect();
    let mut optimiser = AdamW::new(sizes.into_iter(), 0.0);
    let mut state = 1u64;
    let mut id = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u32 % 40_000
    };
    let texts: Vec<Vec<u32>> = (0..batch).map(|_| (0..n_tokens).map(|_| id()).collect()).collect();
    let sequences: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let n_learned = (batch * (n_tokens - 1)) as f32;
    let mut targets = Vec::new();
    for (idx, text) in texts.iter().enumerate() {
        targets.extend(text.iter().enumerate().skip(1).map(|(at, &id)| Target {
            row: idx * n_tokens + at - 1,
            id,
            weight: 1.0 / n_learned,
        }));
    }
    for step in 0..n_steps {
        let start = Instant::now();
        let batch_of_step = TokenBatch { sequences: &sequences, dropout_seed: None };
        let out = decoder.weighted(&batch_of_step, &targets).expect("a step computes");
        optimiser.step(&mut values, &out.grads, 1e-4);
        decoder.set_values(&values).expect("factors fit");
        let seconds = start.elapsed().as_secs_f64();
        let loss = -out.log_probs.iter().sum::<f32>() / n_learned;
        let line = json!({
            "system": format!("souffleur f32 {mode}").trim(),
            "step": step,
            "loss": loss,
            "tokens_per_s": ((batch * n_tokens) as f64 / seconds * 10.0).round() / 10.0,
            "peak_gb": peak_bytes().map(|it| it as f64 / 1e9),
        });
        println!("{line}");
    }
}
