//! Generators in folders and adapters, as a user meets them. Needs no real models: the golden files
//! of `model/` are small ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden").join(name)
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_souffleur"));
    command.args(args).args(["--offline", "--quiet", "--models-dir", "models"]);
    command.current_dir(dir).output().unwrap()
}

#[track_caller]
fn json(dir: &Path, args: &[&str]) -> Value {
    let output = run(dir, &[args, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn error(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    error
}

#[test]
fn tokens_of_a_folder_and_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("generator");
    fs_err::create_dir(&folder).unwrap();
    let model = folder.to_string_lossy();
    let text = error(dir.path(), &["tokens", "--model", &model, "x"]);
    assert!(text.contains("tokenizer.json"), "{text}");
    fs_err::copy(golden("tokenizer_bytes.json"), folder.join("tokenizer.json")).unwrap();
    let tokens = json(dir.path(), &["tokens", "--model", &model, "Remote work <s>"]);
    let texts: String = tokens["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, "Remote work <s>");

    let file = golden("sentencepiece.gguf");
    let tokens = json(dir.path(), &["tokens", "--model", &file.to_string_lossy(), "Remote work"]);
    assert_eq!(tokens["tokens"][0]["text"], " ");
}

#[test]
fn an_adapter_is_merged_into_a_folder_and_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    for (base, adapter, out, n_matrices) in [
        ("tiny-qwen2-folder", "adapter-all", "merged", 14),
        ("tiny-llama.gguf", "adapter-plain", "merged.gguf", 6),
    ] {
        let (base, adapter) = (golden(base), golden(adapter));
        let (base, adapter) = (base.to_string_lossy(), adapter.to_string_lossy());
        let args = ["models", "merge", "--base", &base, "--adapter", &adapter, "--out", out];
        assert_eq!(json(dir.path(), &args)["n_matrices"], n_matrices);
        assert!(dir.path().join(out).exists());
        let text = error(dir.path(), &args);
        assert!(text.contains("exists already"), "{text}");
    }
    assert!(dir.path().join("merged/config.json").is_file());
}

#[test]
fn an_adapter_for_another_base_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = (golden("tiny-llama.gguf"), golden("adapter-all"));
    let (base, adapter) = (base.to_string_lossy(), adapter.to_string_lossy());
    let args = ["models", "merge", "--base", &base, "--adapter", &adapter, "--out", "out.gguf"];
    let text = error(dir.path(), &args);
    assert!(text.contains("for another base") && text.contains("mlp.gate_proj"), "{text}");
    assert!(fs_err::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn a_damaged_generator_is_refused_before_anything_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.gguf");
    let bytes = fs_err::read(golden("tiny-llama.gguf")).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let text = error(dir.path(), &["tokens", "--model", "cut.gguf", "x"]);
    assert!(text.contains("cut.gguf"), "{text}");
}
