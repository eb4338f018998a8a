//! Training as a user meets it: with a tiny model in a folder, so that it takes seconds and no
//! fetched model.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

#[cfg(target_os = "linux")]
use std::ops::ControlFlow;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

#[cfg(target_os = "linux")]
use model::device::DeviceName;
use model::testing::write_tiny_model;
use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use support::SmallDisk;
use support::{check_failure, check_keys, error_of, json_of, program, signal, wait_until};
#[cfg(target_os = "linux")]
use tune::train::{
    run::{Event, Outcome, Setup, run_dir, train},
    settings::Settings,
};

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

/// What happens in a run over the echo rows, with the disk filled when the first validation has been
/// kept, and emptied before the last step.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_a_better_adapter_and_not_the_run() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(world.at("small"), 2) else { return };
    let (model, data, validation) =
        (world.at("base"), world.at("echo.jsonl"), world.at("others.jsonl"));
    let out = world.at("small/parts");
    let settings = Settings {
        rank: 4,
        batch: 3,
        epochs: 4.0,
        learning_rate: 0.02,
        validate_every: 1,
        save_every: 0,
        ability: false,
        ..Settings::default()
    };
    let setup = Setup {
        model: &model,
        data: &data,
        validation: Some(&validation),
        out: &out,
        settings: &settings,
        device: DeviceName::Cpu,
        restart: false,
    };
    let run = run_dir(&out);
    let (mut best_step, mut n_full, mut is_filled) = (0, 0, false);
    let outcome = train(&setup, &mut |event| {
        match event {
            Event::Validated(line) if line.is_best => {
                best_step = line.step;
                if !is_filled {
                    is_filled = true;
                    disk.fill(8);
                }
            }
            Event::DiskFull(_) => {
                n_full += 1;
                // Nothing that is half written takes the room that is left.
                let names = |dir: &Path| -> Vec<String> {
                    let entries = fs_err::read_dir(dir).unwrap();
                    entries
                        .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
                        .collect()
                };
                let names = names(&run);
                assert!(names.contains(&"best".to_owned()), "{names:?}");
                assert!(!names.iter().any(|it| it.contains("best.new")), "{names:?}");
            }
            Event::Step(line) if line.step == line.n_steps => {
                fs_err::remove_file(world.at("small/filler")).unwrap();
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let Ok(Outcome::Done { step, n_steps: 12, early: false, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(is_filled && n_full > 0, "the disk was full for {n_full} writes");
    assert_eq!(step, best_step, "the adapter is that of the best that could be kept");
    assert!(out.join("adapter_model.safetensors").is_file());
}

#[test]
fn parts_beside_the_data_are_not_to_touch_it_either() {
    let world = World::new();
    let echo = fs_err::read_to_string(world.at("echo.jsonl")).unwrap();
    let others = fs_err::read_to_string(world.at("others.jsonl")).unwrap();
    let refused = |words: &[&str]| {
        let mut tune = world.command(&["tune", "--data", "parts/train.jsonl", "--base", "base"]);
        world.fails(&mut tune, 1, words);
        assert!(!world.at("data/adapters/train.run").exists());
    };
    world.write("parts/train.jsonl", &echo);
    world.write("parts/test.jsonl", &(others.clone() + echo.lines().next().unwrap() + "\n"));
    refused(&["parts/test.jsonl", "1 leaks", "`Say red.`", "dataset split"]);
    world.write("parts/test.jsonl", &others);
    // Rows that only trainers read: two turns of one person are none of ours.
    let user = |text: &str| json!({"role": "user", "content": text});
    let row = json!({"messages": [user("Hello!"), user("Say blue."),
        {"role": "assistant", "content": "blue!"}]});
    world.write("parts/valid.jsonl", &format!("{row}\n"));
    refused(&["parts/valid.jsonl", "1 leaks", "`Say blue.`"]);
    world.write("parts/valid.jsonl", "no JSON at all\n");
    let mut tune =
        world.command(&["tune", "--data", "parts/train.jsonl", "--base", "base", "--json"]);
    json_of(tune.args(["--epochs", "1", "--rank", "2", "--no-ability"]));
}

#[test]
fn an_adapter_is_asked_as_it_was_taught() {
    let world = World::new();
    // The same weights, with room for whole passages: a prompt is as long as it has bytes here.
    let config = world.at("base/config.json");
    let mut roomy: Value = serde_json::from_slice(&fs_err::read(&config).unwrap()).unwrap();
    roomy["max_position_embeddings"] = json!(8192);
    fs_err::write(&config, roomy.to_string()).unwrap();
    let embedder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/tiny-bert-reranker");
    let models = format!("[models]\nembedder = {embedder:?}\n");
    let room = "[prompts]\nexamples_tokens_max = 2000\n[generation]\ncontext_tokens_max = 8000\n";
    world.write("souffleur.toml", &(models + room));
    world.write("docs/remote.md", support::POLICY);
    world.json(&["ingest", "docs"]);
    let taught = |name: &str, prompt: Value| {
        let row = json!({"prompt": "Say red.", "completion": "red!", "meta": {"prompt": prompt}});
        world.write(&format!("{name}.jsonl"), &format!("{row}\n"));
        let data = format!("{name}.jsonl");
        let mut tune = world.command(&["tune", "--data", &data, "--base", "base", "--json"]);
        json_of(tune.args(["--epochs", "1", "--rank", "2", "--no-ability"]));
        world.json(&["adapters", "show", name])["training"]["prompt"].clone()
    };
    let full = json!({"style": "full", "examples_max": 0});
    assert_eq!(taught("whole", full.clone()), full);
    assert_eq!(taught("shots", json!({"style": "full", "examples_max": 1}))["examples_max"], 1);
    assert_eq!(taught("silent", Value::Null), Value::Null);
    let prompt = |more: &[&str]| {
        let args = ["inspect", "--generator", "base", "--answer-tokens", "4"];
        let shown = world.json(&[&args[..], more, &[support::QUESTION]].concat());
        let prompt = shown["prompt"].as_array().unwrap().clone();
        (prompt[0]["content"].as_str().unwrap().to_owned(), prompt.len())
    };
    // So small a model is given sentences, unless its adapter has learnt from whole passages.
    let (small, whole) = ("in one short sentence", "in one to three short sentences");
    for (adapter, expected, n_turns) in [
        (None, small, 2),
        (Some("silent"), small, 2),
        (Some("whole"), whole, 2),
        (Some("shots"), whole, 4),
    ] {
        let flag = adapter.map(|it| vec!["--adapter", it]).unwrap_or_default();
        let (system, n) = prompt(&flag);
        assert!(system.contains(expected), "{adapter:?}: {system}");
        assert_eq!(n, n_turns, "{adapter:?}");
    }
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
    let alpaca = r#"{"instruction": "Say red.", "output": "red!"}"#;
    let hint = "souffleur dataset import FILE --out rows.jsonl";
    for (name, text, what) in [
        ("alpaca.jsonl", format!("{alpaca}\n"), "line 1: a row in the format `alpaca`"),
        ("alpaca.json", format!("[{alpaca}]"), "a JSON array"),
        (
            "share.jsonl",
            r#"{"conversations": [{"from": "human", "value": "a"}]}"#.to_owned() + "\n",
            "`sharegpt`",
        ),
        (
            "raft.jsonl",
            r#"{"question": "a", "context": {}, "cot_answer": "b"}"#.to_owned() + "\n",
            "`raft`",
        ),
    ] {
        world.write(name, &text);
        refused(&["--data", name, "--out", "data/adapters/echo"], 1, &[what, hint]);
    }
    leaves_nothing();
    refused(
        &["--learning-rate", "1e30", "--warmup", "0", "--epochs", "20"],
        1,
        &["has diverged", "--learning-rate"],
    );
}
