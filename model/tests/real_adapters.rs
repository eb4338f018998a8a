//! Adapters of the real quick-start model: ours in PEFT, PEFT's here, exported ones in llama.cpp.
//!
//! Runs when `SOUFFLEUR_TEST_MODELS` names a folder with it; says so when it does not, and fails then
//! if `CI` is set. What the others make of the adapters is in `golden/` (its README.md).

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use model::export::export;
use model::generate::{Draft, Generator, Request};
use model::sample::SampleOptions;
use model::serve::{ServeOptions, Service};
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test has no configuration file")]
fn smollm2() -> Option<PathBuf> {
    let dir = std::env::var_os("SOUFFLEUR_TEST_MODELS").map(PathBuf::from);
    if dir.is_none() {
        assert!(std::env::var_os("CI").is_none(), "set SOUFFLEUR_TEST_MODELS in CI");
        eprintln!("SKIPPED: set SOUFFLEUR_TEST_MODELS to a folder of models to run this test");
    }
    Some(dir?.join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"))
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|it| it.as_u64().unwrap() as u32).collect()
}

/// What the base or an adapter writes, with the ten likeliest tokens at each place.
fn write(service: &Service, prompt: &Value, adapter: Option<&str>) -> Draft {
    let options = SampleOptions { tokens_max: 24, logprobs: Some(10), ..SampleOptions::default() };
    let adapter = adapter.map(str::to_owned);
    let request = Request { prompt: ids(prompt), options, adapter };
    service.submit(request).unwrap().wait().unwrap()
}

/// The log-probabilities after the prompt and what is written are those of PEFT.
#[track_caller]
fn check(draft: &Draft, expected: &Value) -> f64 {
    let mut furthest: f64 = 0.0;
    for (actual, expected) in draft.scores[0].top.iter().zip(expected["top"].as_array().unwrap()) {
        assert_eq!(u64::from(actual.id), expected[0].as_u64().unwrap());
        furthest = furthest.max((f64::from(actual.logprob) - expected[1].as_f64().unwrap()).abs());
    }
    assert!(furthest < 1e-3, "off by {furthest}");
    let written: Vec<u32> = draft.scores.iter().map(|it| it.id).collect();
    assert_eq!(written, ids(&expected["new"]));
    furthest
}

fn agrees_with_peft(name: &str) {
    let Some(model) = smollm2() else { return };
    let service =
        Service::spawn(Generator::load(&model).unwrap(), ServeOptions::default()).unwrap();
    service.add_adapter("it", &service.load_adapter(&golden(name)).unwrap()).unwrap();
    let (mut n_changed, mut furthest) = (0, 0.0f64);
    for run in json(&golden(name).join("golden.json"))["runs"].as_array().unwrap() {
        furthest = furthest.max(check(&write(&service, &run["prompt"], None), &run["base"]));
        furthest =
            furthest.max(check(&write(&service, &run["prompt"], Some("it")), &run["adapter"]));
        n_changed += usize::from(run["base"]["new"] != run["adapter"]["new"]);
    }
    assert!(n_changed >= 2, "the adapter changes what is written");
    eprintln!("{name}: log-probabilities are off by at most {furthest:.1e}");
}

#[test]
fn an_adapter_of_peft_is_the_same_here() {
    agrees_with_peft("smollm2-peft");
}

#[test]
fn an_adapter_that_was_trained_here_is_the_same_in_peft() {
    agrees_with_peft("smollm2-here");
}

/// llama.cpp rounds activations to 8 bits and cuts the unlikely tokens off: what is compared is how
/// much likelier one of the first tokens is than another.
#[test]
fn an_exported_adapter_does_in_llama_cpp_what_it_does_here() {
    let Some(model) = smollm2() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adapter.gguf");
    let folder = golden("smollm2-here");
    export(&folder, &model, &file).unwrap();
    let mut generator = Generator::load(&model).unwrap();
    let adapter = generator.load_adapter(&file).unwrap();
    generator.add_adapter("it", &adapter).unwrap();
    let service = Service::spawn(generator, ServeOptions::default()).unwrap();
    let theirs = json(&folder.join("llama_cpp.json"));
    let runs = json(&folder.join("golden.json"));
    let mut furthest: f64 = 0.0;
    for (idx, run) in runs["runs"].as_array().unwrap().iter().enumerate() {
        let of = |name: &str, id: u32| -> f64 {
            let all = theirs[name][idx].as_array().unwrap();
            let found = all.iter().find(|it| it[0] == id);
            found.unwrap_or_else(|| panic!("{name} {idx}: {id} is likely there, too"))[1]
                .as_f64()
                .unwrap()
        };
        let draft = write(&service, &run["prompt"], Some("it"));
        let top = &draft.scores[0].top[..5];
        assert_eq!(theirs["adapter"][idx][0][0], top[0].id, "the likeliest token");
        for it in top {
            let here = f64::from(it.logprob - top[0].logprob);
            let there = of("adapter", it.id) - of("adapter", top[0].id);
            furthest = furthest.max((here - there).abs());
        }
        assert_ne!(theirs["adapter"][idx], theirs["base"][idx]);
    }
    eprintln!("log-ratios of the likeliest tokens are off by at most {furthest:.2}");
    assert!(furthest < 0.4, "{furthest}");
}
