//! `chat` over a pipe: turns, follow-ups, commands, the end of input.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use support::{World, check_keys, error_of, signal, wait_until, with_input};

/// A conversation with `extra` arguments; gives its output for people and what it said beside.
#[track_caller]
fn chat(world: &World, lines: &str, extra: &[&str]) -> (String, String) {
    let mut args = vec!["chat", "--docs", "docs"];
    args.extend(extra);
    let out = with_input(world.command(&args), lines.as_bytes());
    assert!(out.status.success(), "{}", error_of(&out));
    (String::from_utf8(out.stdout.clone()).unwrap(), error_of(&out))
}

/// As above with `--json`: one value a line.
#[track_caller]
fn turns(world: &World, lines: &str, extra: &[&str]) -> Vec<Value> {
    let mut args = vec!["--json"];
    args.extend(extra);
    let (out, _) = chat(world, lines, &args);
    out.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

fn world() -> Option<World> {
    let world = World::new()?;
    world.write(
        "docs/remote.md",
        "# Remote work\n\nEmployees may work remotely up to three days per week. Interns may work \
         remotely one day per week.\n",
    );
    world.write(
        "docs/managers.md",
        "# Managers\n\nManagers may work remotely up to two days per week.\n",
    );
    world.write(
        "docs/teletravail.md",
        "# Télétravail\n\nLes salariés peuvent télétravailler trois jours par semaine. Les \
         stagiaires peuvent télétravailler un jour par semaine.\n",
    );
    Some(world)
}

const ENGLISH: &str = "How many days per week may employees work remotely?";
const FRENCH: &str = "Combien de jours par semaine les salariés peuvent-ils télétravailler ?";

#[test]
fn a_follow_up_is_understood_from_the_turn_before_and_shown() {
    let Some(world) = world() else { return };
    let lines = format!("{ENGLISH}\nAnd for managers?\n");
    let found = turns(&world, &lines, &["--generator", "extract"]);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["question"], ENGLISH);
    assert_eq!(found[0]["understood_as"], Value::Null);
    assert_eq!(found[1]["question"], "And for managers?");
    let understood = found[1]["understood_as"].as_str().unwrap();
    assert!(understood.contains("employees work remotely"), "{understood}");
    assert!(understood.contains("managers"), "{understood}");
    let sources = found[1]["sources"].as_array().unwrap();
    let managers = sources.iter().any(|it| it["document"] == "managers.md");
    assert!(managers, "the follow-up's own words are searched for: {}", found[1]);

    let (out, _) = chat(&world, &lines, &["--generator", "extract"]);
    assert!(out.contains(&format!("understood as: {understood}")), "{out}");
}

#[test]
fn a_french_follow_up_is_understood_in_french() {
    let Some(world) = world() else { return };
    let lines = format!("{FRENCH}\nEt pour les stagiaires ?\n");
    let found = turns(&world, &lines, &[]);
    let understood = found[1]["understood_as"].as_str().unwrap();
    assert!(
        understood.contains("télétravailler") && understood.contains("stagiaires"),
        "{understood}"
    );
    assert_eq!(found[1]["language"], "fr");
    assert!(found[1]["answer"].as_str().unwrap().contains("un jour par semaine"), "{}", found[1]);
    let (out, _) = chat(&world, &lines, &[]);
    assert!(out.contains(&format!("compris comme : {understood}")), "{out}");
}

#[test]
fn the_language_model_converses() {
    let Some(world) = world() else { return };
    let lines = format!("{ENGLISH}\nAnd for interns?\nWho won the football cup in 1998?\n");
    let found = turns(&world, &lines, &["--answer-tokens", "40"]);
    assert_eq!(found.len(), 3);
    for turn in &found[..2] {
        assert_eq!(turn["generator"], support::GENERATOR, "{turn}");
        check_keys(turn, &[("answer", "string"), ("sentences", "array"), ("sources", "array")]);
    }
    let understood = found[1]["understood_as"].as_str().unwrap();
    assert!(understood.contains("interns"), "{understood}");
    assert_eq!(found[2]["understood_as"], Value::Null, "it stands alone");
    assert_eq!(found[2]["refused"], true);
}

#[test]
fn new_forgets_what_was_said() {
    let Some(world) = world() else { return };
    let lines = format!("{ENGLISH}\n/new\nAnd for managers?\n");
    let found = turns(&world, &lines, &["--generator", "extract"]);
    assert_eq!(found[1]["understood_as"], Value::Null);
}

#[test]
fn quit_ends_and_what_follows_is_not_asked() {
    let Some(world) = world() else { return };
    for word in ["/quit", "/exit"] {
        let lines = format!("{ENGLISH}\n{word}\n{ENGLISH}\n");
        assert_eq!(turns(&world, &lines, &["--generator", "extract"]).len(), 1);
    }
}

#[test]
fn nothing_said_ends_cleanly() {
    let Some(world) = world() else { return };
    assert!(turns(&world, "", &["--generator", "extract"]).is_empty());
    assert!(turns(&world, "\n  \n", &["--generator", "extract"]).is_empty());
}

#[test]
fn commands_are_explained_and_unknown_ones_named() {
    let Some(world) = world() else { return };
    let (out, error) = chat(&world, "/help\n/hlep\n", &["--generator", "extract"]);
    for word in ["/new", "/quit"] {
        assert!(out.contains(word), "{out}");
    }
    assert!(error.contains("/hlep") && error.contains("/help"), "{error}");
}

#[test]
fn a_bad_line_does_not_end_the_conversation() {
    let Some(world) = world() else { return };
    let long = "word ".repeat(20_000);
    let mut lines = format!("{long}\n").into_bytes();
    lines.extend(b"caf\xe9 ?\n");
    lines.extend(format!("{ENGLISH}\n").bytes());
    let args = ["chat", "--docs", "docs", "--json", "--generator", "extract"];
    let out = with_input(world.command(&args), &lines);
    assert!(out.status.success(), "{}", error_of(&out));
    let out = String::from_utf8(out.stdout).unwrap();
    let found: Vec<Value> = out.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0]["error"].as_str().unwrap().contains("characters"), "{}", found[0]);
    check_keys(&found[1], &[("error", "string")]);
    assert!(found[2]["answer"].as_str().unwrap().contains("three days"), "{}", found[2]);
}

#[test]
fn a_long_chain_of_follow_ups_goes_on() {
    let Some(world) = world() else { return };
    let part = "and for managers who work in the office of the north ".repeat(30);
    let lines = format!("{ENGLISH}\nAnd {part}?\nAnd {part}?\nAnd {part}?\n");
    let found = turns(&world, &lines, &["--generator", "extract"]);
    assert_eq!(found.len(), 4);
    found.iter().for_each(|it| check_keys(it, &[("answer", "string")]));
}

/// A tool writes a line and reads the answer before it writes the next one.
#[cfg(unix)]
#[test]
fn each_answer_comes_before_the_next_question_and_ctrl_c_ends_the_wait() {
    let Some(world) = world() else { return };
    world.json(&["ingest", "docs"]);
    let mut child = world
        .command(&["chat", "--json", "--generator", "extract"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        writeln!(stdin, "{ENGLISH}").unwrap();
        let turn: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(turn["refused"], false);
    }
    signal(&child, "INT");
    let limit = Duration::from_secs(10);
    wait_until("it ends", limit, || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
