//! Rows of a dataset that a model on a server writes: what is kept, what is dropped and why, and
//! that a stopped build ends as a whole one.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::program::{World, chats, error_of, server};
use crate::server::Reply as Say;

const TRAVEL: &str = "# Business travel\n\nEmployees book trains through the agency fourteen days \
    before they leave. The ceiling for a hotel room in Paris is 140 euros a night. The desk answers \
    at +33 1 99 00 52 80 in the evening.\n";
const GARDEN: &str = "# The garden\n\nMushrooms from the garden must be shown to the cook before \
    lunch. Nobody waters the beds between noon and four in summer. The tools are kept in the green \
    shed behind the library.\n";

const BOOKED: &str = "Employees book trains through the agency fourteen days before they leave.";
const GOOD: &str = "How many days before they leave do employees book trains?";

/// What a model writes.
fn written(question: &str, answer: &str, quote: &str) -> String {
    json!({"question": question, "answer": answer, "quote": quote}).to_string()
}

/// One that holds, then one for each reason why one does not.
fn attempts() -> Vec<(&'static str, String)> {
    let ceiling = "The ceiling for a hotel room in Paris is 140 euros a night.";
    let call = "The desk answers at +33 1 99 00 52 80 in the evening.";
    let thirty = BOOKED.replace("fourteen", "thirty");
    vec![
        ("kept", format!("Here it is: {}", written(GOOD, BOOKED, BOOKED))),
        ("not_readable", "I would rather not.".to_owned()),
        ("bad_form", written("Book trains through the agency", BOOKED, BOOKED)),
        ("speaks_of_the_text", written("What does the text say about trains?", BOOKED, BOOKED)),
        (
            "wrong_language",
            written(
                "Combien de jours avant le départ les salariés réservent-ils ?",
                BOOKED,
                BOOKED,
            ),
        ),
        (
            "quote_not_found",
            written("Through whom do employees book their trains?", BOOKED, &thirty),
        ),
        ("not_supported", written("How early do employees have to book trains?", &thirty, BOOKED)),
        // The other document comes first, and only the first counts here.
        ("not_found", written("Does the company lend a screen and a chair?", ceiling, ceiling)),
        ("near_duplicate", written(&GOOD.to_uppercase(), BOOKED, BOOKED)),
        (
            "personal_data",
            written("At which number does the desk answer in the evening?", call, call),
        ),
    ]
}

#[track_caller]
fn json_of(command: &mut Command) -> Value {
    let out = command.args(["--json", "--quiet"]).output().unwrap();
    assert!(out.status.success(), "{}", error_of(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn what_a_model_writes_is_kept_where_it_holds_and_dropped_with_its_reason() {
    let all = attempts();
    let n_attempts = all.len().to_string();
    let server = server(move |n, _| match all.get(n) {
        Some((_, text)) => Say::texts(&[text.as_str()]),
        None => Say::texts(&["too often"]),
    });
    let world = World::new(&server.url());
    world.write("docs/travel.md", TRAVEL);
    let mut build = world.command(&["dataset", "build", "d", "--docs", "docs"]);
    build.args(["--questions", &n_attempts]).env("SOUFFLEUR_DATASET__FOUND_WITHIN", "1");
    let report = json_of(&mut build);
    // The other document is too short to ask about.
    let expected = attempts();
    assert_eq!(chats(&server).len(), expected.len());
    let asked = chats(&server)[1].body["messages"].to_string();
    assert!(asked.contains("140 euros") && asked.contains("How many days before"), "{asked}");

    assert_eq!(report["by_kind"]["supervised"]["model"], 1, "{report:#}");
    for (reason, _) in expected.iter().skip(1) {
        let dropped = report["dropped"].as_array().unwrap();
        let of_model = |it: &&Value| it["made_by"] == "model" && it["reason"] == *reason;
        let found: Vec<&Value> = dropped.iter().filter(of_model).collect();
        assert_eq!(found.len(), 1, "{reason}: {report:#}");
        assert_eq!(found[0]["rows"], 1, "{reason}");
    }
    let dropped = lines(&world.path().join("d/dropped.jsonl"));
    let reasons: Vec<&str> = dropped
        .iter()
        .filter(|it| it["made_by"] == "model")
        .map(|it| it["reason"].as_str().unwrap())
        .collect();
    let names: Vec<&str> = expected.iter().skip(1).map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, names, "in the order in which they were written");

    let rows = lines(&world.path().join("d/supervised.jsonl"));
    let kept: Vec<&Value> = rows.iter().filter(|it| it["meta"]["made_by"] == "model").collect();
    let [kept] = kept[..] else { panic!("{kept:#?}") };
    let meta = &kept["meta"];
    assert_eq!((meta["question"].as_str(), meta["quote"].as_str()), (Some(GOOD), Some(BOOKED)));
    assert_eq!(meta["generator"], "writer");
    assert_eq!((meta["path"].as_str(), meta["language"].as_str()), (Some("travel.md"), Some("en")));
    let recipe: Value =
        serde_json::from_slice(&fs_err::read(world.path().join("d/build.json")).unwrap()).unwrap();
    assert_eq!(meta["prompt_hash"], recipe["prompts"]);
    assert_eq!(recipe["embedder"]["id"], "openai:embedder", "{recipe:#}");
    let answer = kept["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let gold = meta["context"].as_array().unwrap().iter().position(|it| it["gold"] == true);
    assert!(answer.ends_with(&format!(" [{}].", gold.unwrap() + 1)), "{answer}");
    let everything = fs_err::read_to_string(world.path().join("d/supervised.jsonl")).unwrap();
    assert!(!everything.contains("99 00 52 80"), "{everything}");
}

#[test]
fn a_stopped_build_ends_as_a_whole_one() {
    // Of both documents it asks the same: the second time that is a repetition, after a stop too.
    let server = server(|_, request| {
        let asked = request.body["messages"].to_string();
        let tools = "Where are the tools for the beds kept?";
        let shed = "The tools are kept in the green shed behind the library.";
        match (asked.contains("agency"), asked.contains(tools)) {
            (true, _) => Say::texts(&[&written(GOOD, BOOKED, BOOKED)]),
            (false, false) => Say::texts(&[&written(tools, shed, shed)]),
            (false, true) => {
                let lunch = "Mushrooms from the garden must be shown to the cook before lunch.";
                Say::texts(&[&written(GOOD, lunch, lunch)])
            }
        }
    });
    let world = World::new(&server.url());
    world.write("docs/a-travel.md", TRAVEL);
    world.write("docs/b-garden.md", GARDEN);
    let args = |dir| ["dataset", "build", dir, "--docs", "docs", "--questions", "2"];
    let whole = world.json(&args("whole"));
    assert_eq!(whole["by_kind"]["supervised"]["model"], 2, "{whole:#}");
    let of = |dir: &str, name: &str| {
        let text = fs_err::read_to_string(world.path().join(dir).join(name)).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    // As if it had been stopped after the first document: nothing of the second is there.
    let is_done = |it: &String| it.contains("\"done\":true") && it.contains(GOOD);
    let dropped = of("whole", "dropped.jsonl");
    let n = dropped.iter().position(is_done).unwrap() + 1;
    assert!(n < dropped.len());
    let rows = of("whole", "supervised.jsonl");
    let is_second = |it: &&String| {
        let meta = serde_json::from_str::<Value>(it).unwrap()["meta"].clone();
        meta["made_by"] == "model" && meta["path"] == "b-garden.md"
    };
    let first: Vec<&String> = rows.iter().filter(|it| !is_second(it)).collect();
    assert_eq!(first.len(), rows.len() - 1);
    let text = |lines: &[&String]| lines.iter().map(|it| format!("{it}\n")).collect::<String>();
    world.write("parts/supervised.jsonl", &text(&first));
    world.write("parts/dropped.jsonl", &text(&dropped[..n].iter().collect::<Vec<_>>()));
    for name in ["build.json", "text.jsonl"] {
        fs_err::copy(world.path().join("whole").join(name), world.path().join("parts").join(name))
            .unwrap();
    }
    let n_chats = chats(&server).len();
    let again = world.json(&args("parts"));
    assert_eq!(chats(&server).len() - n_chats, 2, "only the second document is asked about");
    for key in ["rows", "by_kind", "dropped"] {
        assert_eq!(again[key], whole[key], "{key}");
    }
    for name in ["supervised.jsonl", "text.jsonl", "dropped.jsonl"] {
        assert_eq!(of("parts", name), of("whole", name), "{name}");
    }
    // A third run has nothing to do; one that samples otherwise would make other rows.
    assert_eq!(world.json(&args("parts"))["rows"], whole["rows"]);
    assert_eq!(chats(&server).len() - n_chats, 2);
    for (setting, value) in [("GENERATION__SEED", "9"), ("RETRIEVAL__RELEVANCE_MIN", "0.3")] {
        let mut other = world.command(&args("parts"));
        let out = other.env(format!("SOUFFLEUR_{setting}"), value).output().unwrap();
        let error = error_of(&out);
        assert!(error.contains("other documents, models, prompts or settings"), "{error}");
    }
}
