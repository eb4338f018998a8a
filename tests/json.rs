//! The JSON that other tools rely on: one value on standard output, and its keys and types.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use serde_json::Value;
use support::{
    EMBEDDER, GENERATOR, POLICY, QUESTION, World, check_failure, check_keys, error_of, program,
};

fn indexed() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    world.json(&["ingest", "docs"]);
    Some(world)
}

const ANSWER: [(&str, &str); 10] = [
    ("answer", "string"),
    ("language", "string"),
    ("refused", "bool"),
    ("generator", "string?"),
    ("truncated", "bool"),
    ("sentences", "array"),
    ("sources", "array"),
    ("context", "object"),
    ("timings_ms", "object"),
    ("quoting", "string?"),
];

const SOURCE: [(&str, &str); 17] = [
    ("index", "int"),
    ("document", "string"),
    ("title", "string"),
    ("page", "int?"),
    ("heading", "string"),
    ("char_start", "int"),
    ("char_end", "int"),
    ("text", "string"),
    ("score", "number"),
    ("score_bm25", "number?"),
    ("score_dense", "number?"),
    ("rank_bm25", "int?"),
    ("rank_dense", "int?"),
    ("relevance", "number"),
    ("collection", "string?"),
    ("language", "string?"),
    ("near_duplicates", "int"),
];

#[track_caller]
fn check_answer(answer: &Value) {
    check_keys(answer, &ANSWER);
    let language = answer["language"].as_str().unwrap();
    assert!(["en", "fr"].contains(&language), "{language}");
    let sources = answer["sources"].as_array().unwrap();
    for (i, source) in sources.iter().enumerate() {
        check_keys(source, &SOURCE);
        assert_eq!(source["index"], i + 1);
        let n_chars = source["text"].as_str().unwrap().chars().count() as u64;
        let (start, end) = (source["char_start"].as_u64(), source["char_end"].as_u64());
        assert_eq!(end.unwrap() - start.unwrap(), n_chars, "characters, not bytes");
    }
    for sentence in answer["sentences"].as_array().unwrap() {
        check_keys(sentence, &[("text", "string"), ("verdict", "string"), ("citations", "array")]);
        check_keys(
            sentence,
            &[("attributed", "bool"), ("support", "number"), ("missing", "array")],
        );
        let verdict = sentence["verdict"].as_str().unwrap();
        assert!(["supported", "partly", "unsupported"].contains(&verdict), "{verdict}");
        for citation in sentence["citations"].as_array().unwrap() {
            let n = citation.as_u64().unwrap();
            assert!((1..=sources.len() as u64).contains(&n), "no source {n}");
        }
    }
    let context = &answer["context"];
    for key in ["tokens", "passages_used", "passages_dropped"] {
        check_keys(context, &[(key, "int")]);
    }
    assert_eq!(context["passages_used"], sources.len());
    for key in ["retrieve", "prompt", "first_token", "total"] {
        check_keys(&answer["timings_ms"], &[(key, "number")]);
    }
}

#[test]
fn ask_gives_the_shape_that_it_promises() {
    let Some(world) = indexed() else { return };
    let written = world.json(&["ask", "--answer-tokens", "30", QUESTION]);
    check_answer(&written);
    assert_eq!(written["generator"], GENERATOR);
    assert_eq!(written["quoting"], Value::Null);
    assert!(written["context"]["tokens"].as_u64() > Some(0));
    let timings = &written["timings_ms"];
    let ms = |key: &str| timings[key].as_f64().unwrap();
    assert!(ms("retrieve") > 0.0 && ms("first_token") > 0.0, "{timings}");
    assert!(ms("total") >= ms("first_token") && ms("first_token") >= ms("retrieve"), "{timings}");

    let quoted = world.json(&["ask", "--generator", "extract", QUESTION]);
    check_answer(&quoted);
    assert_eq!(quoted["generator"], "extract");
    assert_eq!(quoted["sentences"][0]["verdict"], "supported");
    assert_eq!(quoted["sentences"][0]["citations"][0], 1);

    let refused = world.json(&["ask", "Who won the football cup in 1998?"]);
    check_answer(&refused);
    assert_eq!(refused["refused"], true);
    assert_eq!(refused["sources"].as_array().unwrap().len(), 0);
}

#[test]
fn an_answer_that_quotes_against_the_settings_says_why() {
    let Some(world) = indexed() else { return };
    world.write("docs/repas.md", "# Repas\n\nLe repas est remboursé jusqu'à 19,40 € par jour.\n");
    world.json(&["ingest", "docs"]);
    let answer = world.json(&["ask", "Jusqu'à combien le repas est-il remboursé ?"]);
    check_answer(&answer);
    assert_eq!(answer["language"], "fr");
    let reason = answer["quoting"].as_str().unwrap();
    assert!(reason.contains(GENERATOR) && reason.contains("models pull"), "{reason}");
}

#[test]
fn ingest_gives_the_shape_that_it_promises() {
    let Some(world) = indexed() else { return };
    world.write("docs/broken.pdf", "%PDF-1.4 and then nothing");
    world.remove("docs/parking.md");
    world.write("docs/remote.md", POLICY.replace("three", "four"));
    world.write("docs/new.md", "# Canteen\n\nLunch is served from noon.\n");
    let report = world.json(&["ingest", "docs"]);
    check_keys(&report, &[("documents", "object"), ("chunks", "int"), ("seconds", "number")]);
    check_keys(&report, &[("interrupted", "bool"), ("findings", "array"), ("duplicates", "array")]);
    let documents = &report["documents"];
    for (key, n) in [("added", 1), ("updated", 1), ("removed", 1), ("unchanged", 0), ("moved", 0)] {
        check_keys(documents, &[(key, "int")]);
        assert_eq!(documents[key], n, "{key}: {report}");
    }
    check_keys(documents, &[("skipped", "array")]);
    check_keys(&documents["skipped"][0], &[("path", "string"), ("reason", "string")]);
    assert!(report["chunks"].as_u64() >= Some(2), "{report}");
    let survey = world.json(&["ingest", "docs", "--dry-run"]);
    check_keys(&survey, &[("documents", "int"), ("chunks", "int"), ("seconds", "number")]);
    check_keys(&survey, &[("source_bytes", "int"), ("text_bytes", "int"), ("skipped", "array")]);
}

#[test]
fn search_status_and_inspect_give_the_shapes_that_they_promise() {
    let Some(world) = indexed() else { return };
    let found = world.json(&["search", QUESTION]);
    check_keys(&found, &[("query", "string"), ("language", "string?"), ("hits", "array")]);
    found["hits"].as_array().unwrap().iter().for_each(|it| check_keys(it, &SOURCE));

    let status = world.json(&["status"]);
    for key in ["documents", "chunks", "text_bytes", "duplicates", "pending"] {
        check_keys(&status, &[(key, "int")]);
    }
    check_keys(&status, &[("embedder", "string"), ("advice", "array"), ("list", "array")]);
    let row = &status["list"][0];
    check_keys(row, &[("root", "string"), ("document", "string"), ("title", "string")]);
    check_keys(row, &[("language", "string?"), ("collection", "string?"), ("groups", "array")]);
    check_keys(row, &[("licence", "string?"), ("modified", "int?"), ("chunks", "int")]);

    let inspected = world.json(&["inspect", "--answer-tokens", "10", QUESTION]);
    check_keys(&inspected, &[("question", "string"), ("answer", "object"), ("cut", "array")]);
    check_answer(&inspected["answer"]);
    let cut = &inspected["cut"][0];
    check_keys(cut, &[("document", "string"), ("heading", "string"), ("reason", "string")]);
    check_keys(cut, &[("score", "number"), ("score_bm25", "number?"), ("score_dense", "number?")]);
    check_keys(cut, &[("rank_bm25", "int?"), ("rank_dense", "int?"), ("relevance", "number")]);
    check_keys(&inspected["prompt"][0], &[("role", "string"), ("content", "string")]);
}

/// A judged set of three documents and two questions in BEIR's layout.
fn beir(world: &World) {
    let documents = [
        ("a", "Remote work", "Employees may work remotely up to three days per week."),
        ("b", "Parking", "The car park opens at 7:00 and closes at 20:00."),
        ("c", "Canteen", "Lunch is served from noon in the canteen."),
    ];
    let corpus = documents.map(|(id, title, text)| {
        format!("{{\"_id\": \"{id}\", \"title\": \"{title}\", \"text\": \"{text}\"}}\n")
    });
    world.write("beir/corpus.jsonl", corpus.concat());
    world.write(
        "beir/queries.jsonl",
        "{\"_id\": \"1\", \"text\": \"How many days may employees work remotely?\"}\n{\"_id\": \
         \"2\", \"text\": \"When does the car park open?\"}\n",
    );
    world.write("beir/qrels.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n");
}

#[test]
fn evaluations_give_the_shapes_that_they_promise() {
    let Some(world) = indexed() else { return };
    beir(&world);
    let value = world.json(&["eval", "retrieval", "beir"]);
    for leg in ["bm25", "dense", "hybrid"] {
        for figure in ["ndcg_at_10", "recall_at_10", "mrr_at_10"] {
            check_keys(&value[leg], &[(figure, "number")]);
            assert_eq!(value[leg][figure], 1.0, "{leg} {figure}: {value}");
        }
    }
    world.write(
        "questions.jsonl",
        format!(
            "{{\"question\": \"{QUESTION}\", \"answers\": [\"three days\"], \"document\": \
             \"remote.md\"}}\n{{\"question\": \"Who won the football cup in 1998?\", \"answers\": \
             []}}\n"
        ),
    );
    let value = world.json(&["eval", "answers", "questions.jsonl", "--generator", "extract"]);
    check_keys(&value, &[("n_questions", "int")]);
    assert_eq!(value["n_questions"], 2);
    for figure in ["exact_match", "f1", "citation_precision", "refusal_accuracy"] {
        assert!(value.get(figure).is_some(), "no {figure}: {value}");
    }
}

/// Every command, and what it needs on its line.
const COMMANDS: [&[&str]; 17] = [
    &["ask", QUESTION, "--generator", "extract"],
    &["ask", QUESTION, "--answer-tokens", "5"],
    &["ask", "Who won the football cup in 1998?", "--docs", "docs"],
    &["search", QUESTION],
    &["ingest", "docs"],
    &["ingest"],
    &["ingest", "docs", "--dry-run"],
    &["ingest", "docs", "--rebuild"],
    &["inspect", QUESTION, "--answer-tokens", "5"],
    &["status"],
    &["doctor"],
    &["models", "list"],
    &["models", "verify", EMBEDDER],
    &["models", "pull", EMBEDDER],
    &["tokens", "été"],
    &["eval", "retrieval", "beir"],
    &["completions", "bash"],
];

#[test]
fn every_command_prints_one_value_and_progress_elsewhere() {
    let Some(world) = indexed() else { return };
    beir(&world);
    for args in COMMANDS {
        // Not quiet, and with as much said as can be.
        let mut command = program();
        command.args(args).args(["--json", "--offline", "--models-dir", &world.models]);
        command.current_dir(world.path()).env("SOUFFLEUR_LOG", "debug");
        let out = command.output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", error_of(&out));
        let value: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| {
            panic!("{args:?}: {error}: {}", String::from_utf8_lossy(&out.stdout))
        });
        assert!(value.is_object(), "{args:?}: {value}");
        assert!(out.stdout.ends_with(b"}\n"), "{args:?}");
    }
}

#[test]
fn a_failure_prints_nothing_on_standard_output() {
    let Some(world) = World::new() else { return };
    for args in COMMANDS.iter().take(1).chain(&COMMANDS[3..4]).chain(&COMMANDS[8..10]) {
        let out = world.command(args).arg("--json").output().unwrap();
        check_failure(&out, 1, &["error", "no index", "hint"]);
    }
}

#[test]
fn quiet_says_nothing_but_results() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    for args in [["ingest", "docs"], ["search", QUESTION]] {
        let out = world.run(&args);
        assert!(out.status.success());
        assert_eq!(error_of(&out), "", "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let Some(world) = indexed() else { return };
    let mut child = world
        .command(&["models", "list", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), error_of(&out).as_str()), (Some(0), ""));
}
