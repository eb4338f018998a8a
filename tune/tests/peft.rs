//! Training here and in PEFT on the same rows: the loss of each step is the same.

#![expect(clippy::print_stdout, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use model::device::DeviceName;
use serde_json::Value;
use tune::train::run::{Event, Setup, train};
use tune::train::settings::Settings;

#[expect(clippy::disallowed_methods, reason = "a test asks its environment for real models")]
fn smollm2() -> Option<PathBuf> {
    let Ok(models) = std::env::var("SOUFFLEUR_TEST_MODELS") else {
        assert!(std::env::var("CI").is_err(), "CI must not skip: it has the quick-start models");
        println!("SKIPPED: set SOUFFLEUR_TEST_MODELS to a models folder to run this test");
        return None;
    };
    Some(Path::new(&models).join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"))
}

/// Steps whose losses are compared.
const STEPS: u64 = 20;

/// Those of `golden/make_losses.py`.
fn settings() -> Settings {
    Settings {
        rank: 8,
        alpha: 16.0,
        batch: 4,
        epochs: 7.0,
        steps_max: STEPS,
        learning_rate: 1e-3,
        warmup: 0.1,
        weight_decay: 0.01,
        seed: 7,
        save_every: 0,
        ability: false,
        ..Settings::default()
    }
}

#[test]
fn the_first_steps_have_the_losses_of_peft() {
    let Some(model) = smollm2() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = fs_err::read(golden.join("losses.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let (data, settings) = (golden.join("rows.jsonl"), settings());

    let expected: Vec<f64> =
        expected["losses"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect();
    assert_eq!(expected.len() as u64, STEPS);

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("adapter");
    let setup = Setup {
        model: &model,
        data: &data,
        validation: None,
        out: &out,
        settings: &settings,
        device: DeviceName::Cpu,
        restart: false,
    };
    let mut losses = Vec::new();
    train(&setup, &mut |event| {
        if let Event::Step(line) = event {
            losses.push(line.loss);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(losses.len(), expected.len());
    let mut furthest: f64 = 0.0;
    for (step, (actual, expected)) in losses.iter().zip(&expected).enumerate() {
        let off = (actual - expected).abs() / expected;
        furthest = furthest.max(off);
        assert!(off < 1e-3, "step {step}: {actual} instead of {expected}");
    }
    println!("the furthest of {} losses is off by {furthest:.1e} of its value", losses.len());
}
