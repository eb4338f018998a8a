//! Training as a user meets it: with a tiny model in a folder, so that it takes seconds and no
//! fetched model.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use model::testing::write_tiny_model;
use serde_json::{Value, json};
use support::{check_failure, check_keys, error_of, json_of, program, signal, wait_until};

const WORDS: [&str; 8] = ["red", "blue", "green", "black", "white", "pink", "grey", "brown"];

/// A folder with a tiny base and rows for it.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_tiny_model(&dir.path().join("base"), 3).unwrap();
        let world = Self(dir);
        let row = |word: &&str| {
            let row = json!({"prompt": format!("Say {word}."), "completion": format!("{word}!")});
            format!("{row}\n")
        };
        world.write("echo.jsonl", &WORDS.iter().map(row).collect::<String>());
        world.write("others.jsonl", &["ochre", "mauve"].iter().map(row).collect::<String>());
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).args(["--offline", "--quiet", "--models-dir", "none"]);
        command.current_dir(self.0.path());
        command
    }

    /// Trains on the echo rows.
    fn tune(&self, args: &[&str]) -> Command {
        let mut command = self.command(&["tune", "--data", "echo.jsonl", "--base", "base"]);
        command.args(["--rank", "4", "--batch", "3", "--learning-rate", "0.02"]).args(args);
        command
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        json_of(self.command(args).arg("--json"))
    }

    #[track_caller]
    fn fails(&self, command: &mut Command, code: i32, words: &[&str]) {
        check_failure(&command.output().unwrap(), code, words);
    }
}

fn weights(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn an_adapter_is_trained_listed_shown_and_removed() {
    let world = World::new();
    let made =
        json_of(world.tune(&["--epochs", "8", "--validation", "others.jsonl"]).arg("--json"));
    let keys = [
        ("out", "string"),
        ("name", "string"),
        ("step", "int"),
        ("steps", "int"),
        ("early", "bool"),
        ("rows", "int"),
        ("rows_unusable", "int"),
        ("rows_too_long", "int"),
        ("first_loss", "number"),
        ("last_loss", "number"),
        ("validation_losses", "array"),
        ("tokens", "int"),
        ("tokens_per_second", "number"),
    ];
    check_keys(&made, &keys);
    assert_eq!((&made["rows"], &made["steps"]), (&json!(8), &json!(24)));
    let loss = |key: &str| made[key].as_f64().unwrap();
    assert!(loss("last_loss") < loss("first_loss") * 0.9, "{made}");
    assert_eq!(made["name"], "echo");

    let list = world.json(&["adapters", "list"]);
    assert_eq!(list["adapters"][0]["name"], "echo");
    assert_eq!(list["adapters"][0]["rank"], 4);
    assert_eq!(list["adapters"][0]["method"], "lora");
    let shown = world.json(&["adapters", "show", "echo"]);
    assert_eq!(shown["training"]["data"]["rows"], 8);
    assert!(world.at("data/adapters/echo/report.html").is_file());

    // What is there is not written over.
    world.fails(&mut world.tune(&[]), 1, &["exists already", "adapters remove"]);
    world.fails(&mut world.command(&["adapters", "remove", "ecco"]), 2, &["no adapter `ecco`"]);
    world.json(&["adapters", "remove", "echo"]);
    assert_eq!(world.json(&["adapters", "list"])["adapters"], json!([]));
}

#[test]
fn a_question_is_answered_with_the_adapter() {
    let world = World::new();
    json_of(world.tune(&["--epochs", "20"]).arg("--json"));
    world.write("docs/remote.md", support::POLICY);
    let embedder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/tiny-bert-reranker");
    world.write("souffleur.toml", &format!("[models]\nembedder = {embedder:?}\n"));
    let ask = |more: &[&str]| -> Value {
        let mut args = vec!["ask", "--docs", "docs", "--generator", "base"];
        args.extend(["--answer-tokens", "12"]);
        args.extend(more);
        args.push(support::QUESTION);
        world.json(&args)
    };
    let (base, adapted) = (ask(&[]), ask(&["--adapter", "echo"]));
    assert_eq!(base["generator"], "base");
    assert_ne!(base["answer"], adapted["answer"], "{base} {adapted}");
    let path = world.at("data/adapters/echo");
    assert_eq!(ask(&["--adapter", &path.to_string_lossy()])["answer"], adapted["answer"]);
    let mut unknown =
        world.command(&["ask", "--generator", "base", "--adapter", "other", support::QUESTION]);
    world.fails(&mut unknown, 2, &["no adapter `other`", "echo"]);
}

#[test]
fn ctrl_c_saves_and_the_same_command_goes_on_to_the_same_adapter() {
    let world = World::new();
    let long = ["--epochs", "40", "--batch", "2", "--save-every", "1000"];
    let whole = world.tune(&long).args(["--out", "whole"]).output().unwrap();
    assert!(whole.status.success(), "{}", error_of(&whole));

    let child = world
        .tune(&long)
        .args(["--out", "parts"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = world.at("parts.run/log.jsonl");
    let n_steps = || fs_err::read_to_string(&log).map_or(0, |it| it.lines().count());
    wait_until("some steps are made", Duration::from_secs(60), || n_steps() > 2);
    signal(&child, "INT");
    let out: Output = child.wait_with_output().unwrap();
    // The machine may have been quicker than the signal.
    if out.status.code() == Some(130) {
        assert!(error_of(&out).contains("goes on from there"), "{}", error_of(&out));
        assert!(!world.at("parts").exists());
        let error = ["another settings", "--restart"];
        let mut changed = world.tune(&long);
        world.fails(changed.args(["--out", "parts", "--seed", "9"]), 1, &error);
        let out = world.tune(&long).args(["--out", "parts"]).output().unwrap();
        assert!(out.status.success(), "{}", error_of(&out));
    }
    assert_eq!(weights(&world.at("parts")), weights(&world.at("whole")));
    assert!(!world.at("parts.run").exists());
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_begins() {
    let world = World::new();
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        world.fails(&mut world.tune(args), code, words);
        assert!(!world.at("data/adapters/echo").exists());
    };
    let leaves_nothing = || assert!(!world.at("data/adapters/echo.run").exists());
    refused(&["--target", "fc1"], 1, &["fc1", "down_proj"]);
    refused(&["--warmup", "3"], 2, &["`warmup` is 3", "from 0 to 1"]);
    refused(&["--method", "dpo"], 1, &["echo.jsonl", "line 1", "`chosen`", "--skip-bad"]);
    refused(&["--tokens-max", "20"], 1, &["line 1", "--drop-long"]);
    refused(&["--tokens-max", "20", "--drop-long"], 1, &["no row to train on", "8 are too long"]);
    refused(&["--base", "elsewhere"], 2, &["elsewhere"]);
    refused(&["--validation", "echo.jsonl"], 1, &["8 leaks", "`Say red.`"]);
    leaves_nothing();
    refused(
        &["--learning-rate", "1e30", "--warmup", "0", "--epochs", "20"],
        1,
        &["has diverged", "--learning-rate"],
    );
}
