//! What explains: `inspect`, reasoning apart, `tokens`, `doctor`, `status`, `--help`, completions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::process::Output;

use serde_json::Value;
use support::{
    EMBEDDER, GENERATOR, POLICY, QUESTION, World, error_of, json_of, program, with_input,
};

fn indexed() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    world.json(&["ingest", "docs"]);
    Some(world)
}

#[track_caller]
fn check_words(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "must say `{word}`: {text}");
    }
}

#[test]
fn reasoning_is_shown_apart_from_the_answer() {
    let Some(world) = indexed() else { return };
    let args = ["ask", "--style", "cot", "--answer-tokens", "80", QUESTION];
    let answer = world.json(&args);
    let reasoning = answer["reasoning"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(!reasoning.trim().is_empty());
    assert!(!answer["answer"].as_str().unwrap().contains(reasoning.trim()), "{answer}");
    let text = world.text(&args);
    check_words(&text, &["Reasoning\n", reasoning.trim(), "Sources"]);
    let plain = world.json(&["ask", "--answer-tokens", "20", QUESTION]);
    assert_eq!(plain.get("reasoning"), None, "only where it was asked for");
}

#[test]
fn inspect_shows_ranks_scores_cuts_and_the_prompt() {
    let Some(world) = indexed() else { return };
    let args = ["inspect", "--answer-tokens", "20", QUESTION];
    let value = world.json(&args);
    assert_eq!(value["question"], QUESTION);
    let source = &value["answer"]["sources"][0];
    assert_eq!(source["document"], "remote.md");
    for key in ["rank_bm25", "rank_dense"] {
        assert_eq!(source[key], 1, "{source}");
    }
    assert!(source["score"].as_f64() > Some(0.0));
    let cut = value["cut"].as_array().unwrap();
    let parking = cut.iter().find(|it| it["document"] == "parking.md").unwrap();
    assert_eq!(parking["reason"], "does not seem to bear on the question");
    let prompt = value["prompt"].as_array().unwrap();
    assert_eq!(prompt[0]["role"], "system");
    let last = prompt.last().unwrap();
    assert_eq!(last["role"], "user");
    check_words(last["content"].as_str().unwrap(), &[QUESTION, "three days per week"]);
    assert!(value["answer"]["context"]["tokens"].as_u64().unwrap() > 20);

    let text = world.text(&args);
    check_words(&text, &["rank 1", "bm25", "dense", "relevance", "Passages left out"]);
    check_words(&text, &["does not seem to bear on the question", "── system", "── user"]);
    check_words(&text, &[QUESTION, "Prompt (", "Answer"]);
}

#[test]
fn inspect_says_which_passages_found_no_room() {
    let Some(world) = World::new() else { return };
    for i in 0..6 {
        let text = format!("{POLICY}\nOffice {i} lies on floor {i}.\n");
        world.write(&format!("docs/{i}.md"), text);
    }
    world.json(&["ingest", "docs"]);
    let settings = "[generation]\ncontext_tokens_max = 420\nanswer_tokens_max = 20\n";
    world.write("souffleur.toml", settings);
    // A small model is given sentences; reasoning needs whole passages.
    let args = ["inspect", "--style", "cot", "--passages", "6", QUESTION];
    let value = world.json(&args);
    let cut = value["cut"].as_array().unwrap();
    assert!(cut.iter().any(|it| it["reason"] == "does not fit the prompt"), "{value}");
    let dropped = value["answer"]["context"]["passages_dropped"].as_u64().unwrap();
    assert!(dropped > 0, "{value}");
    let tokens = value["answer"]["context"]["tokens"].as_u64().unwrap();
    assert!(tokens <= 400, "{tokens}");
    check_words(&world.text(&args), &["does not fit the prompt"]);
}

#[test]
fn inspect_of_a_refusal_shows_what_was_found_and_that_no_model_was_called() {
    let Some(world) = indexed() else { return };
    let question = "Who won the football cup in 1998?";
    let value = world.json(&["inspect", question]);
    assert_eq!(value["prompt"], Value::Null);
    assert!(!value["cut"].as_array().unwrap().is_empty(), "{value}");
    check_words(&world.text(&["inspect", question]), &["no model was called"]);
}

#[test]
fn tokens_cover_the_text() {
    let Some(world) = World::new() else { return };
    let text = "Le télétravail : 3 jours, 19,40 € — d’accord ?";
    let value = world.json(&["tokens", text]);
    assert_eq!(value["model"], GENERATOR);
    let tokens = value["tokens"].as_array().unwrap();
    assert_eq!(value["n_tokens"], tokens.len());
    assert!(tokens.iter().all(|it| it["id"].is_u64() && it["text"].is_string()));
    let joined: String = tokens.iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert_eq!(joined, text);

    let shown = world.text(&["tokens", text]);
    assert!(shown.starts_with(text), "{shown}");
    check_words(
        &shown,
        &[&format!("{} tokens, {} characters", tokens.len(), text.chars().count())],
    );
}

#[test]
fn characters_of_several_tokens_are_shown_whole() {
    let Some(world) = World::new() else { return };
    for text in ["🦀", "漢字かな", "e\u{301}", "👩🏽‍💻 été"] {
        let value = world.json(&["tokens", text]);
        let tokens = value["tokens"].as_array().unwrap();
        let joined: String = tokens.iter().map(|it| it["text"].as_str().unwrap()).collect();
        assert_eq!(joined, text, "{value}");
        assert!(world.text(&["tokens", text]).starts_with(text));
    }
}

#[test]
fn tokens_of_an_embedder_of_standard_input_and_of_nothing() {
    let Some(world) = World::new() else { return };
    let value = world.json(&["tokens", "remote work", "--model", EMBEDDER]);
    assert_eq!(value["n_tokens"], 2);
    assert_eq!(value["tokens"][0]["text"], "remote");
    let out = with_input(world.command(&["tokens", "-", "--json"]), "été".as_bytes());
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(value["n_tokens"].as_u64() > Some(0));
    assert_eq!(world.json(&["tokens", ""])["n_tokens"], 0);
    world.fails(&["tokens", "x", "--model", "extract"], 2, &["extract", "--model"]);
}

fn doctor(command: &mut std::process::Command) -> (Output, Value) {
    let out = command.args(["doctor", "--json"]).output().unwrap();
    let value = serde_json::from_slice(&out.stdout).unwrap();
    (out, value)
}

#[track_caller]
fn check<'a>(value: &'a Value, name: &str) -> &'a Value {
    let checks = value["checks"].as_array().unwrap();
    checks.iter().find(|it| it["check"] == name).unwrap_or_else(|| panic!("no {name}: {value}"))
}

#[test]
fn doctor_finds_a_healthy_set_up_healthy() {
    let Some(world) = indexed() else { return };
    let (out, value) = doctor(&mut world.command(&[]));
    assert_eq!(out.status.code(), Some(0), "{value}");
    assert_eq!(value["healthy"], true);
    for name in ["processor", "memory", "data", "models", "embedder", "generator", "index"] {
        let it = check(&value, name);
        assert!(it["detail"].is_string() && it["level"].is_string(), "{it}");
    }
    for name in ["embedder", "generator", "index"] {
        assert_eq!(check(&value, name)["level"], "ok");
        assert_eq!(check(&value, name)["fix"], Value::Null);
    }
    check_words(&world.text(&["doctor"]), &["✓ index", "2 documents", EMBEDDER, GENERATOR]);
}

#[test]
fn doctor_names_the_command_that_fixes() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["--offline", "--models-dir", "models"]).current_dir(dir.path());
    let (out, value) = doctor(&mut command);
    assert_eq!(out.status.code(), Some(0), "nothing is broken yet: {value}");
    let fixes = [
        ("embedder", format!("souffleur models pull {EMBEDDER}")),
        ("generator", format!("souffleur models pull {GENERATOR}")),
        ("index", "souffleur ingest FOLDER".to_owned()),
    ];
    for (name, fix) in &fixes {
        assert_eq!(check(&value, name)["fix"], **fix);
        assert_eq!(check(&value, name)["level"], "advice");
    }
    let mut command = program();
    command.args(["doctor", "--offline", "--models-dir", "models"]).current_dir(dir.path());
    let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
    check_words(&text, &["is not installed yet", &fixes[0].1, &fixes[1].1, &fixes[2].1]);
}

#[test]
fn doctor_tells_what_is_broken() {
    let Some(world) = indexed() else { return };
    let copy = world.copy_model(EMBEDDER);
    let weights = fs_err::File::options().write(true).open(copy.join("model.safetensors")).unwrap();
    weights.set_len(1000).unwrap();
    let mut command = program();
    command.args(["--offline", "--models-dir", "models"]).current_dir(world.path());
    let (out, value) = doctor(&mut command);
    assert_eq!(out.status.code(), Some(1), "{value}");
    assert_eq!(value["healthy"], false);
    let embedder = check(&value, "embedder");
    assert_eq!(embedder["level"], "problem");
    assert_eq!(embedder["fix"], format!("souffleur models pull {EMBEDDER}"));
    check_words(embedder["detail"].as_str().unwrap(), &["model.safetensors", "1000 bytes"]);

    let mut command = world.command(&[]);
    command.env("SOUFFLEUR_MODELS__GENERATOR", "no-such-model");
    let (out, value) = doctor(&mut command);
    assert_eq!(out.status.code(), Some(1));
    check_words(
        check(&value, "generator")["detail"].as_str().unwrap(),
        &["no-such-model", GENERATOR],
    );

    let mut command = world.command(&[]);
    command.env("SOUFFLEUR_INGEST__CHUNK_TOKENS_MAX", "100");
    let (out, value) = doctor(&mut command);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(check(&value, "index")["fix"], "souffleur ingest --rebuild");
}

#[test]
fn french_documents_and_an_english_embedder_are_noticed() {
    let Some(world) = World::new() else { return };
    let text = "# Télétravail\n\nLes salariés peuvent télétravailler trois jours par semaine, avec \
                l'accord de leur responsable.\n";
    world.write("docs/teletravail.md", text);
    let mut ingest = world.command(&["ingest", "docs"]);
    // Not quiet: advice is progress.
    let args: Vec<_> =
        ingest.get_args().filter(|it| *it != "--quiet").map(ToOwned::to_owned).collect();
    let out = program().args(args).current_dir(world.path()).output().unwrap();
    assert!(out.status.success(), "{}", error_of(&out));
    let advice = ["French", EMBEDDER, "souffleur models pull multilingual-e5-small"];
    check_words(&error_of(&out), &advice);
    check_words(&error_of(&out), &["souffleur ingest --rebuild"]);
    assert!(ingest.status().unwrap().success());

    let (out, value) = doctor(&mut world.command(&[]));
    assert_eq!(out.status.code(), Some(0), "it works, only not as well as it could: {value}");
    let languages = check(&value, "languages");
    check_words(languages["detail"].as_str().unwrap(), &advice);
    let fix = languages["fix"].as_str().unwrap();
    check_words(fix, &["souffleur models pull multilingual-e5-small", "ingest --rebuild"]);
    check_words(&world.text(&["doctor"]), &[fix]);
    let status = world.json(&["status"]);
    check_words(status["advice"][0].as_str().unwrap(), &advice);
}

#[test]
fn status_shows_what_is_indexed_without_any_model() {
    let Some(world) = indexed() else { return };
    let text = world.text(&["status"]);
    check_words(&text, &["2 documents", "remote.md", "parking.md", EMBEDDER]);
    let mut bare = program();
    bare.args(["status", "--offline", "--models-dir", "nowhere"]).current_dir(world.path());
    let text = String::from_utf8(bare.output().unwrap().stdout).unwrap();
    check_words(&text, &["2 documents", "remote.md"]);
    let value = json_of(bare.arg("--json"));
    assert_eq!(value, world.json(&["status"]));
}

/// Every command, with those below it.
const COMMANDS: [&str; 50] = [
    "",
    "ask",
    "chat",
    "search",
    "ingest",
    "forget",
    "migrate",
    "inspect",
    "status",
    "doctor",
    "feedback",
    "feedback list",
    "feedback export",
    "feedback promote",
    "models",
    "models list",
    "models pull",
    "models verify",
    "models merge",
    "models remove",
    "tokens",
    "eval",
    "eval retrieval",
    "eval answers",
    "compare",
    "dataset",
    "dataset build",
    "dataset check",
    "dataset show",
    "dataset split",
    "dataset export",
    "dataset import",
    "tune",
    "adapters",
    "adapters list",
    "adapters show",
    "adapters load",
    "adapters unload",
    "adapters import",
    "adapters export",
    "adapters remove",
    "serve",
    "mcp",
    "keys",
    "keys create",
    "keys list",
    "keys revoke",
    "completions",
    "help",
    "help models",
];

#[test]
fn help_teaches_with_examples() {
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        if args.first() != Some(&"help") {
            args.push("--help");
        }
        let out = program().args(&args).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{command}");
        let text = String::from_utf8(out.stdout).unwrap();
        check_words(&text, &["Usage: souffleur"]);
        let groups = [
            "",
            "help",
            "models",
            "help models",
            "eval",
            "keys",
            "dataset",
            "adapters",
            "feedback",
        ];
        if groups.contains(&command) {
            check_words(&text, &["Commands:"]);
        } else {
            check_words(&text, &["Examples:", &format!("souffleur {command}"), "--data-dir"]);
        }
    }
    let out = program().arg("--help").output().unwrap();
    check_words(&String::from_utf8(out.stdout).unwrap(), &["Start here:", "Exit status"]);
}

/// No command is left out of the list above.
#[test]
fn help_lists_every_command() {
    for (command, above) in [
        ("", ""),
        ("models", "models "),
        ("eval", "eval "),
        ("keys", "keys "),
        ("dataset", "dataset "),
        ("adapters", "adapters "),
        ("feedback", "feedback "),
    ] {
        let out = program().args(command.split_whitespace()).arg("--help").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let list = text.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        // Wrapped lines stand further to the right.
        for line in list.lines().filter(|it| !it.starts_with("     ")) {
            let name = line.split_whitespace().next().unwrap();
            let name = format!("{above}{name}");
            assert!(name.ends_with("help") || COMMANDS.contains(&name.as_str()), "{name}");
        }
    }
}

#[test]
fn wrong_usage_is_status_2() {
    for args in [
        vec!["asc"],
        vec!["ask"],
        vec!["ask", "x", "--style", "haiku"],
        vec!["search", "x", "-k", "0"],
    ] {
        let out = program().args(&args).output().unwrap();
        support::check_failure(&out, 2, &["error"]);
    }
}

#[test]
fn completions_are_scripts_for_each_shell() {
    for (shell, words) in [
        ("bash", ["complete -F _souffleur", "--data-dir"]),
        ("zsh", ["#compdef souffleur", "--data-dir"]),
        ("fish", ["complete -c souffleur", "data-dir"]),
    ] {
        let out = program().args(["completions", shell]).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(out.stdout).unwrap();
        check_words(&script, &words);
        check_words(&script, &["ingest", "inspect"]);
        let value = json_of(program().args(["completions", shell, "--json"]));
        assert_eq!(value["script"], script);
    }
    // A shell that is here must be able to read its script.
    let script = program().args(["completions", "bash"]).output().unwrap().stdout;
    let mut bash = std::process::Command::new("bash");
    bash.arg("-n");
    let out = with_input(bash, &script);
    assert!(out.status.success(), "{}", error_of(&out));
}
