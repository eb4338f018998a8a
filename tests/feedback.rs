//! `souffleur feedback`: what people thought of answers becomes questions, rows and examples.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::path::Path;

use serde_json::{Value, json};
use souffleur::records::{
    AnswerRecord, Choice, Feedback, Labels, Match, Rating, Reason, Records, Side,
};
use support::{POLICY, QUESTION, World, error_of};

const RIGHT: &str = "Employees may work remotely up to three days per week [1].";

/// A world with two answers as the server records them: one from an open document, one from a
/// document of a group.
fn world() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.write("docs/pay.md", "---\ngroups: [rh]\n---\n# Pay\n\nThe bonus is 900 euros.\n");
    world.json(&["ingest", "docs"]);
    let records = Records::open(&world.path().join("data")).unwrap();
    for (id, question, text) in
        [("a_1", QUESTION, RIGHT), ("a_2", "How much is the bonus?", "The bonus is 900 euros [1].")]
    {
        let json = world.json(&["ask", "--generator", "extract", question]);
        let documents = json["sources"].as_array().unwrap().iter();
        let documents =
            documents.map(|it| index::hit::DocumentId(it["document_id"].as_i64().unwrap()));
        records
            .record_answer(&AnswerRecord {
                id: id.to_owned(),
                owner: String::new(),
                conversation: None,
                question: question.to_owned(),
                understood_as: None,
                text: text.to_owned(),
                documents: documents.collect(),
                json,
                why: json!({ "prompt": [{ "role": "user", "content": "P" }] }),
            })
            .unwrap();
    }
    Some(world)
}

fn judge(world: &World, answer: &str, rating: Rating, correction: Option<&str>) {
    let records = Records::open(&world.path().join("data")).unwrap();
    let feedback = Feedback {
        answer: answer.to_owned(),
        rating,
        reason: (rating == Rating::Down).then_some(Reason::Incomplete),
        correction: correction.map(str::to_owned),
        labels: Labels { helpful: Some(rating == Rating::Up), ..Labels::default() },
        comment: Some("Ask again in May.".to_owned()),
    };
    assert!(records.give_feedback(&feedback, "").unwrap());
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn feedback_is_listed_with_what_was_shown() {
    let Some(world) = world() else { return };
    assert_eq!(world.json(&["feedback", "list"])["feedback"], json!([]));
    judge(&world, "a_1", Rating::Down, Some("Two days [1]."));
    judge(&world, "a_2", Rating::Up, None);
    let listed = world.json(&["feedback", "list"]);
    let it = &listed["feedback"][0];
    assert_eq!(it["question"], QUESTION);
    assert_eq!(it["correction"], "Two days [1].");
    assert_eq!(it["sources"][0]["document"], "remote.md");
    assert_eq!(it["prompt"][0]["content"], "P");
    let up = world.json(&["feedback", "list", "--rating", "up", "--limit", "1"]);
    assert_eq!(up["feedback"].as_array().unwrap().len(), 1);
    assert_eq!(up["feedback"][0]["answer"], "a_2");
    let text = world.text(&["feedback", "list"]);
    assert!(text.contains("a_1") && text.contains("Two days"), "{text}");
}

#[test]
fn feedback_becomes_questions_that_are_compared() {
    let Some(world) = world() else { return };
    let asked = ["compare", "--questions", "feedback", "--arms", "extract"];
    world.fails(&asked, 1, &["no feedback says what is right"]);
    judge(&world, "a_1", Rating::Up, None);
    judge(&world, "a_2", Rating::Down, None);
    let export = ["feedback", "export", "--as", "questions", "--out", "q.jsonl"];
    let written = world.json(&export);
    assert_eq!((written["written"].clone(), written["left_out"].clone()), (1.into(), 1.into()));
    let questions = lines(&world.path().join("q.jsonl"));
    assert_eq!(questions[0]["question"], QUESTION);
    assert_eq!(questions[0]["answers"][0], RIGHT.replace(" [1]", ""));
    assert_eq!(questions[0]["document"], "remote.md");
    assert_eq!(questions[0]["checks"], json!(["rated_up", "label_helpful_yes"]));
    assert_eq!(questions[0]["comment"], "Ask again in May.");
    let of_records = world.json(&asked);
    let of_file = world.json(&["compare", "--questions", "q.jsonl", "--arms", "extract"]);
    assert_eq!(of_records["questions"], of_file["questions"]);
    assert_eq!(of_records["arms"][0]["metrics"]["right"]["mean"], 1.0, "{of_records:#}");
}

#[test]
fn feedback_becomes_rows_of_documents_that_may_be_learnt() {
    let Some(world) = world() else { return };
    judge(&world, "a_1", Rating::Down, Some("Two days [1]."));
    judge(&world, "a_2", Rating::Up, None);
    let export = |form: &str| {
        let written = world.json(&["feedback", "export", "--as", form, "--out", "rows.jsonl"]);
        assert_eq!(written["left_out"], 1, "a document of a group is not learnt: {written}");
        lines(&world.path().join("rows.jsonl"))
    };
    let rows = export("sft");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["messages"][1]["content"], "Two days [1].");
    assert_eq!(rows[0]["meta"]["made_by"], "feedback");
    let checks = json!(["rated_down", "reason_incomplete", "label_helpful_no"]);
    assert_eq!(rows[0]["meta"]["checks"], checks);
    assert_eq!(rows[0]["meta"]["comment"], "Ask again in May.");
    let rows = export("dpo");
    let content = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
    assert!(content(&rows[0]["chosen"]).contains("Two days"), "{rows:?}");
    assert!(content(&rows[0]["rejected"]).contains("three days"), "{rows:?}");
    let rows = export("kto");
    assert_eq!(rows[0]["label"], false);
    assert_eq!(rows[0]["meta"]["checks"], checks);
    // A vote is a preference as well.
    let records = Records::open(&world.path().join("data")).unwrap();
    let side = |answer: &str| Side { answer: answer.to_owned(), arm: Some("rag".to_owned()) };
    let it = Match {
        id: "m_1".to_owned(),
        owner: String::new(),
        question: QUESTION.to_owned(),
        left: side("a_1"),
        right: side("a_1"),
    };
    records.open_match(&it).unwrap();
    records.vote("m_1", "", Choice::Both, None).unwrap();
    assert_eq!(export("kto").len(), 3);
}

fn promote<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["feedback", "promote"], more].concat()
}

#[test]
fn an_example_is_written_when_it_is_approved_and_answers_are_asked_with_it() {
    let Some(world) = world() else { return };
    judge(&world, "a_1", Rating::Up, None);
    judge(&world, "a_2", Rating::Up, None);
    world.fails(&promote(&["a_1"]), 2, &["prompts.dir", "--prompts-dir"]);
    world.fails(&promote(&["a_9", "--prompts-dir", "p"]), 1, &["nobody has judged", "a_9"]);
    world.fails(&promote(&["a_2", "--prompts-dir", "p"]), 1, &["only rh may read `pay.md`"]);
    let shown = world.json(&promote(&["a_1", "--prompts-dir", "p"]));
    assert_eq!(shown["written"], false);
    assert!(!world.path().join("p").exists(), "nothing without approval");
    let written = world.json(&promote(&["a_1", "--prompts-dir", "p", "--approve"]));
    let path = world.path().join("p/examples/en-feedback-a_1.toml");
    assert_eq!(
        Path::new(written["path"].as_str().unwrap()),
        Path::new("p/examples/en-feedback-a_1.toml")
    );
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.starts_with("# From answer a_1"), "{text}");
    assert!(text.contains("remote.md") && text.contains("three days per week"), "{text}");
    let prompts = souffleur::prompts::Prompts::load(Some(&world.path().join("p"))).unwrap();
    let mut examples = prompts.examples(ingest::document::Language::English);
    assert!(examples.any(|it| it.question == QUESTION), "the prompts find it");
    // A corrected answer that the passages do not say is no example.
    judge(&world, "a_1", Rating::Down, Some("Employees may work remotely five days per week [1]."));
    world.fails(&promote(&["a_1", "--prompts-dir", "p"]), 1, &["do not support", "five days"]);
}

#[test]
fn a_forgotten_document_takes_its_votes_along() {
    let Some(world) = world() else { return };
    judge(&world, "a_1", Rating::Up, None);
    assert_eq!(world.json(&["forget", "docs/remote.md"])["examples"], json!([]));
    let left = world.json(&["feedback", "list"]);
    assert_eq!((left["feedback_total"].clone(), left["votes_total"].clone()), (0.into(), 0.into()));
}

#[test]
fn a_forgotten_document_takes_its_examples_along_and_names_copies() {
    let Some(world) = world() else { return };
    judge(&world, "a_1", Rating::Up, None);
    for folder in ["p", "q"] {
        world.json(&promote(&["a_1", "--prompts-dir", folder, "--approve"]));
    }
    let example = world.path().join("p/examples/en-feedback-a_1.toml");
    let text = fs_err::read_to_string(&example).unwrap();
    let copy = text.replace("From answer a_1", "My own").replace("feedback\"", "mine\"");
    world.write("p/examples/mine.toml", copy);
    world.json(&["forget", "docs/pay.md"]);
    assert!(example.exists(), "another document");
    // From another folder than it was written from, and with no folder of prompts in the settings.
    fs_err::create_dir(world.path().join("elsewhere")).unwrap();
    let mut command = world.command(&["forget", "../docs/remote.md", "--json"]);
    let out = command.current_dir(world.path().join("elsewhere")).output().unwrap();
    assert!(out.status.success() && error_of(&out).contains("mine.toml"), "{}", error_of(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let ends = |key: &str, names: &[&str]| {
        let found = report[key].as_array().unwrap();
        let is_so = |(it, name): (&Value, &&str)| it.as_str().unwrap().ends_with(name);
        assert!(found.len() == names.len() && found.iter().zip(names).all(is_so), "{report}");
    };
    ends("examples", &["p/examples/en-feedback-a_1.toml", "q/examples/en-feedback-a_1.toml"]);
    ends("unreached", &["p/examples/mine.toml"]);
    assert!(!example.exists() && !world.path().join("q/examples/en-feedback-a_1.toml").exists());
    assert!(world.path().join("p/examples/mine.toml").exists());
    let records = Records::open(&world.path().join("data")).unwrap();
    let entries = records.audit_after(0, 99).unwrap();
    assert_eq!(entries.iter().filter(|it| it.action == "example.forget").count(), 2);
}
