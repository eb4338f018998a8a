//! Training as a user meets it: with a tiny model in a folder, so that it takes seconds and no
//! fetched model.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use model::testing::write_tiny_model;
use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use support::SmallDisk;
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
        ("ability", "object"),
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
fn a_run_that_is_killed_goes_on_to_the_same_adapter() {
    let world = World::new();
    let long = ["--epochs", "40", "--batch", "2", "--save-every", "3", "--no-ability"];
    let whole = world.tune(&long).args(["--out", "whole"]).output().unwrap();
    assert!(whole.status.success(), "{}", error_of(&whole));
    let mut command = world.tune(&long);
    command.args(["--out", "parts"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let checkpoints = world.at("parts.run/checkpoints");
    let saved = || fs_err::read_dir(&checkpoints).is_ok_and(|mut it| it.next().is_some());
    wait_until("a checkpoint is written", Duration::from_secs(60), || {
        saved() || world.at("parts").exists()
    });
    // The machine may have been quicker than the signal.
    if child.try_wait().unwrap().is_none() {
        signal(&child, "KILL");
    }
    child.wait().unwrap();
    if !world.at("parts").exists() {
        let out = world.tune(&long).args(["--out", "parts"]).output().unwrap();
        assert!(out.status.success(), "{}", error_of(&out));
    }
    assert_eq!(weights(&world.at("parts")), weights(&world.at("whole")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_checkpoints_and_not_the_run() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(world.at("small"), 1) else { return };
    let args = ["--epochs", "8", "--save-every", "2", "--out"];
    let whole = world.tune(&args).arg("whole").output().unwrap();
    assert!(whole.status.success(), "{}", error_of(&whole));
    // Room for the first checkpoint, and not for a second beside it.
    disk.fill(130);
    let mut command = program();
    command.args(["tune", "--data", "echo.jsonl", "--base", "base", "--rank", "4", "--batch", "3"]);
    command.args(["--learning-rate", "0.02"]).args(args).arg("small/parts");
    command.args(["--offline", "--models-dir", "none"]).current_dir(world.0.path());
    let error = ["the disk is full, training goes on", "make room and run the same command again"];
    world.fails(&mut command, 1, &error);
    assert!(!world.at("small/parts").exists());
    fs_err::remove_file(world.at("small/filler")).unwrap();
    let out = world.tune(&args).arg("small/parts").output().unwrap();
    assert!(out.status.success(), "{}", error_of(&out));
    assert_eq!(weights(&world.at("small/parts")), weights(&world.at("whole")));
}

#[test]
fn all_weights_become_a_model_that_answers() {
    let world = World::new();
    let full = ["--method", "full", "--learning-rate", "0.003", "--epochs", "4"];
    let made = json_of(world.tune(&full).arg("--json"));
    let out = world.at("data/tuned/echo");
    assert!(out.join("model.safetensors").is_file(), "{made}");
    assert_eq!(world.json(&["adapters", "list"])["adapters"], json!([]), "it is no adapter");
    world.write("docs/remote.md", support::POLICY);
    let embedder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/tiny-bert-reranker");
    world.write("souffleur.toml", &format!("[models]\nembedder = {embedder:?}\n"));
    let args = ["ask", "--docs", "docs", "--answer-tokens", "8", "--generator", "data/tuned/echo"];
    let answer = world.json(&[&args[..], &[support::QUESTION]].concat());
    assert_eq!(answer["generator"], "data/tuned/echo");
    let mut quantised = world.tune(&["--method", "full", "--quantised", "--out", "other"]);
    world.fails(&mut quantised, 1, &["not quantised", "--method lora"]);
}

#[test]
fn adapters_come_from_other_programs_and_go_to_them() {
    let world = World::new();
    json_of(world.tune(&["--epochs", "2", "--no-ability"]).arg("--json"));
    // As another trainer leaves it: without our own files, and with much else.
    let theirs = world.at("saves/lora-out");
    fs_err::create_dir_all(theirs.join("checkpoint-20")).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(world.at("data/adapters/echo").join(name), theirs.join(name)).unwrap();
    }
    fs_err::write(theirs.join("training_args.bin"), "x").unwrap();
    let import = |more: &[&str]| {
        let mut command =
            world.command(&["adapters", "import", "saves/lora-out", "--base", "base"]);
        command.args(more);
        command
    };
    let made = json_of(import(&["--name", "handbook"]).arg("--json"));
    assert_eq!(made["name"], "handbook");
    let list = world.json(&["adapters", "list"]);
    let names: Vec<&str> =
        list["adapters"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, ["echo", "handbook"]);
    assert!(!world.at("data/adapters/handbook/training_args.bin").exists());
    world.fails(&mut import(&["--name", "handbook"]), 2, &["`handbook` already", "--name"]);
    world.fails(&mut import(&["--name", "a/b"]), 2, &["`a/b` is no name"]);
    let mut nothing = world.command(&["adapters", "import", "saves", "--base", "base"]);
    world.fails(&mut nothing, 2, &["adapter_config.json"]);
    write_tiny_model(&world.at("other"), 4).unwrap();
    let mut merged = world.command(&["adapters", "export", "handbook", "--base", "other"]);
    merged.args(["--out", "x.gguf"]);
    world.fails(&mut merged, 1, &["another base"]);
    assert!(!world.at("x.gguf").exists());

    // Its record names the base; an imported one has none.
    let args = ["adapters", "export", "echo", "--out", "echo.gguf"];
    assert_eq!(world.json(&args)["n_matrices"], 14);
    world.fails(&mut world.command(&args), 1, &["exists already"]);
    let mut wrong = world.command(&["adapters", "export", "echo", "--out", "echo.bin"]);
    world.fails(&mut wrong, 2, &[".gguf"]);
}

#[test]
fn an_adapter_says_when_its_documents_have_changed() {
    let world = World::new();
    let embedder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/tiny-bert-reranker");
    world.write("souffleur.toml", &format!("[models]\nembedder = {embedder:?}\n"));
    let texts = [("a.md", "# Parking\n\nIt opens at 7:00.\n"), ("b.md", support::POLICY)];
    let mut rows = String::new();
    for (name, text) in texts {
        world.write(&format!("docs/{name}"), text);
        let meta = json!({"path": name, "content_hash": blake3::hash(text.as_bytes()).to_hex().to_string()});
        let row = json!({"prompt": format!("Say {name}."), "completion": "Yes.", "meta": meta});
        rows.push_str(&format!("{row}\n"));
    }
    world.write("rows.jsonl", &rows);
    world.json(&["ingest", "docs"]);
    let mut tune = world.command(&["tune", "--data", "rows.jsonl", "--base", "base", "--json"]);
    json_of(tune.args(["--epochs", "1", "--no-ability"]));
    let stale = || world.json(&["adapters", "list"])["adapters"][0]["stale"].clone();
    let fresh = json!({"stale": false, "documents": 2, "changed": 0, "deleted": 0,
        "changed_paths": [], "deleted_paths": []});
    assert_eq!(stale(), fresh);

    world.write("docs/b.md", "# Remote work\n\nTwo days per week.\n");
    fs_err::remove_file(world.at("docs/a.md")).unwrap();
    world.json(&["ingest", "docs"]);
    let now = json!({"stale": true, "documents": 2, "changed": 1, "deleted": 1,
        "changed_paths": ["b.md"], "deleted_paths": ["a.md"]});
    assert_eq!(stale(), now);
    assert_eq!(world.json(&["adapters", "show", "rows"])["stale"], now);
    let out = world.command(&["adapters", "list"]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("of 2 documents 1 changed, 1 deleted"), "{text}");
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
    world.write("empty.jsonl", "\n");
    refused(&["--data", "empty.jsonl", "--out", "data/adapters/echo"], 1, &["no row to train on"]);
    refused(&["--validation", "empty.jsonl"], 1, &["`empty.jsonl` holds no row"]);
    refused(&["--validation", "nowhere.jsonl"], 1, &["nowhere.jsonl"]);
    world.write("odd.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{oops\n");
    let odd = ["--data", "odd.jsonl", "--out", "data/adapters/echo"];
    refused(&odd, 1, &["odd.jsonl`, line 2", "--skip-bad"]);
    leaves_nothing();
    refused(
        &["--learning-rate", "1e30", "--warmup", "0", "--epochs", "20"],
        1,
        &["has diverged", "--learning-rate"],
    );
}
