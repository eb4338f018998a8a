//! `souffleur compare`: arms, reports, limits, and runs that end early, with real models.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use model::testing::write_tiny_model;
use serde_json::{Value, json};
use support::{
    POLICY, World, check_failure, check_keys, error_of, json_of, program, signal, wait_until,
};

const QUESTIONS: &str = r#"{"question": "How many days per week may employees work remotely?", "answers": ["three days per week"], "document": "remote.md", "language": "en", "type": "fact"}
{"question": "What does the company lend?", "answers": ["a screen and a chair"], "document": "remote.md", "language": "en", "type": "list"}
{"question": "When does the car park open?", "answers": ["7:00"], "document": "parking.md", "language": "en", "type": "fact"}
{"question": "Who won the football cup in 1998?", "answers": [], "language": "en", "type": "unanswerable"}
"#;

fn world() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    world.write("q.jsonl", QUESTIONS);
    world.json(&["ingest", "docs"]);
    Some(world)
}

fn compare<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["compare", "--questions", "q.jsonl"], more].concat()
}

/// The one file of answers.
fn answers(world: &World) -> PathBuf {
    let runs = world.path().join("data/runs/compare");
    let mut dirs = fs_err::read_dir(runs).unwrap();
    let dir = dirs.next().unwrap().unwrap().path();
    assert!(dirs.next().is_none(), "one state of documents and settings, one folder");
    dir.join("answers.jsonl")
}

fn n_lines(path: &Path) -> usize {
    fs_err::read_to_string(path).map_or(0, |it| it.lines().count())
}

/// A report without what a clock measured: in its words, seconds are masked.
fn without_times(mut report: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(it) => {
                it.retain(|key, _| !key.ends_with("_ms"));
                it.values_mut().for_each(strip);
            }
            Value::Array(it) => it.iter_mut().for_each(strip),
            _ => {}
        }
    }
    for language in ["en", "fr"] {
        let said = report["verdict"][language].as_str().unwrap();
        let is_number = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
        let rest = said.split("\u{a0}s").map(|it| it.trim_end_matches(is_number));
        let masked = rest.collect::<Vec<_>>().join("…\u{a0}s");
        assert_ne!(masked, said, "the verdict tells times");
        report["verdict"][language] = json!(masked);
    }
    report["pairs"]
        .as_array_mut()
        .unwrap()
        .retain(|it| !it["metric"].as_str().unwrap().ends_with("_ms"));
    strip(&mut report);
    report
}

#[test]
fn arms_are_compared_and_reported() {
    let Some(world) = world() else { return };
    let args = compare(&["--html", "report.html", "--markdown", "report.md"]);
    let report = world.json(&args);
    check_keys(&report, &[("arms", "array"), ("pairs", "array"), ("slices", "array")]);
    check_keys(&report, &[("verdict", "object"), ("questions", "array"), ("n_questions", "int")]);
    let labels: Vec<&str> =
        report["arms"].as_array().unwrap().iter().map(|it| it["arm"].as_str().unwrap()).collect();
    assert_eq!(labels, ["base", "rag", "extract"]);
    for pair in report["pairs"].as_array().unwrap() {
        check_keys(pair, &[("a", "string"), ("b", "string"), ("metric", "string"), ("n", "int")]);
        check_keys(pair, &[("difference", "number"), ("interval", "array"), ("p", "number")]);
        check_keys(pair, &[("verdict", "string"), ("p_holm", "number"), ("wins", "int")]);
        assert_eq!(pair["verdict"], "cannot_tell", "four questions tell nothing: {pair}");
    }
    assert_eq!(report["verdict"]["decision"], "too_few_questions");
    let extract = &report["arms"][2]["metrics"];
    assert_eq!(extract["right"]["mean"], 1.0, "{report:#}");
    assert_eq!(extract["citation_recall"]["mean"], 1.0);
    assert_eq!(extract["refusal"]["n"], 4);
    assert_eq!(
        report["arms"][0]["metrics"].get("citation_recall"),
        None,
        "alone, nothing is cited"
    );
    assert_eq!(report["questions"][0]["answers"][0]["sources"], json!([]));
    // The model, the embedder that finds and quotes, and both.
    let bytes = |arm: usize, of: &str| report["arms"][arm][of].as_u64().unwrap();
    let weights = [0, 1, 2].map(|arm| bytes(arm, "weights_bytes"));
    assert!(weights[0] > 50_000_000 && weights[2] > 10_000_000, "{weights:?}");
    assert_eq!(weights[1], weights[0] + weights[2]);
    assert_eq!(bytes(2, "memory_bytes"), weights[2], "quotations have no cache");
    for arm in [0, 1] {
        let cache = bytes(arm, "memory_bytes") - weights[arm];
        // 30 layers, 3 heads of 64 values, keys and values, f32.
        assert!(cache > 0 && cache.is_multiple_of(30 * 3 * 64 * 2 * 4), "{cache}");
    }
    assert_eq!(report["questions"][3]["answers"][1]["refused"], true);
    let page = fs_err::read_to_string(world.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("car park"), "{page}");
    let text = fs_err::read_to_string(world.path().join("report.md")).unwrap();
    assert!(text.contains("Nothing can be concluded: 4 questions"), "{text}");

    // Nothing is asked again, and all is said again.
    assert_eq!(n_lines(&answers(&world)), 12);
    assert_eq!(world.json(&args), report);
    assert_eq!(n_lines(&answers(&world)), 12);
    // An arm more is asked alone.
    let more = compare(&["--arms", "extract,rag[passages=1],extract", "--only", "type=fact"]);
    let report = world.json(&more);
    assert_eq!(n_lines(&answers(&world)), 14);
    assert_eq!(report["n_questions"], 2);
    assert_eq!(report["arms"][2]["arm"], "extract#2");
}

/// Begins a run again and kills it. Lines that are kept, where those are some and not all.
fn killed_half_way(world: &World, args: &[&str], path: &Path) -> Option<usize> {
    fs_err::remove_file(path).unwrap();
    let mut child =
        world.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the first answers", Duration::from_secs(120), || n_lines(path) >= 2);
    signal(&child, "KILL");
    child.wait().unwrap();
    let n_kept = n_lines(path);
    (2..8).contains(&n_kept).then_some(n_kept)
}

#[test]
fn a_killed_run_resumes_to_the_same_report() {
    let Some(world) = world() else { return };
    // A model alone takes its time over each answer.
    let args = compare(&["--arms", "base,extract", "--answer-tokens", "80"]);
    let whole = world.json(&args);
    let path = answers(&world);
    assert_eq!(n_lines(&path), 8);
    let mut tries = (0..5).map(|_| killed_half_way(&world, &args, &path));
    let n_kept = tries.find_map(|it| it).expect("one kill of five hits the run half-way");
    // As if the kill had hit the writing of a line.
    let mut torn = fs_err::read_to_string(&path).unwrap();
    torn.push_str("{\"arm\":\"rag");
    fs_err::write(&path, &torn).unwrap();
    let resumed = world.json(&args);
    let after = fs_err::read_to_string(&path).unwrap();
    assert_eq!(after.lines().count(), 8);
    let first = |text: &str| text.lines().take(n_kept).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(first(&after), first(&torn), "what was answered is not asked again");
    assert_eq!(without_times(resumed.clone()), without_times(whole));
    assert_eq!(world.json(&args), resumed);
}

#[test]
fn ctrl_c_keeps_what_was_answered() {
    let Some(world) = world() else { return };
    let args = compare(&["--arms", "base,rag"]);
    let child = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = world.path().join("data/runs/compare");
    let ready = || fs_err::read_dir(&runs).is_ok_and(|mut it| it.next().is_some());
    wait_until("the run's folder", Duration::from_secs(120), ready);
    wait_until("an answer", Duration::from_secs(120), || n_lines(&answers(&world)) >= 1);
    signal(&child, "INT");
    let out = child.wait_with_output().unwrap();
    if out.status.success() {
        // It was done before the signal came: nothing to look at.
        assert_eq!(n_lines(&answers(&world)), 8);
        return;
    }
    check_failure(&out, 130, &["what was done is kept"]);
    let n_kept = n_lines(&answers(&world));
    assert!((1..8).contains(&n_kept), "{n_kept}");
    world.json(&args);
    assert_eq!(n_lines(&answers(&world)), 8);
}

#[test]
fn limits_decide_the_exit_status() {
    let Some(world) = world() else { return };
    let args = compare(&["--arms", "extract", "--fail-under", "extract:right=0.9"]);
    assert!(world.run(&args).status.success());
    let out = world.run(&compare(&["--arms", "extract", "--fail-under", "f1=0.99"]));
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{error}");
    assert!(error.contains("f1 of `extract` is 0."), "{error}");
    assert!(error.contains("under 0.99"), "{error}");
    assert!(!out.stdout.is_empty(), "the result is printed all the same");
}

#[test]
fn wrong_input_is_refused_before_anything_is_read() {
    let Some(world) = world() else { return };
    let fails = |more: &[&str], code, words: &[&str]| world.fails(&compare(more), code, words);
    fails(&["--arms", "base,raag"], 2, &["no arm `raag`", "known are base, rag"]);
    fails(&["--arms", "rag[seed=1]"], 2, &["no setting `seed`"]);
    fails(&["--arms", "ft:rh=nowhere"], 2, &["no adapter at `nowhere`", "ft:rh=PATH"]);
    fails(&["--arms", "rag+ft:rh"], 2, &["no adapter at `", "adapters/rh`"]);
    fails(&["--arms", "base", "--generator", "extract"], 2, &["needs a language model"]);
    fails(&["--fail-under", "f2=1"], 2, &["no metric `f2`", "rouge_l"]);
    fails(&["--fail-under", "ft:f1=1"], 2, &["no arm `ft`"]);
    fails(&["--only", "type=none"], 2, &["no question", "--only"]);
    fails(&["--arms", "base[style=cot]"], 2, &["`style` has no meaning", "reads no documents"]);
    let asks = |lines: &str, code, words: &[&str]| {
        world.write("odd.jsonl", lines);
        world.fails(&["compare", "--questions", "odd.jsonl"], code, words);
    };
    asks("{\"question\": \"Who?\"}\n", 1, &["line 1", "missing field `answers`"]);
    asks("\n{\"answers\": []}\n", 1, &["line 2", "missing field `question`"]);
    asks("", 1, &["`odd.jsonl` holds no question"]);
    asks("{\"question\": \"Who?\", \"answers\": [\"The\"]}\n", 1, &["line 1", "no word"]);
    asks("{\"question\": \" \", \"answers\": []}\n", 2, &["the question is empty"]);
    asks("{\"data\": [{\"title\": \"T\"}]}", 1, &["not SQuAD's JSON", "`paragraphs`"]);
    world.write("twice.jsonl", [QUESTIONS, QUESTIONS].concat());
    world.fails(&["compare", "--questions", "twice.jsonl"], 2, &["twice"]);
    assert!(!world.path().join("data/runs").exists(), "nothing was asked");
    // An adapter of another base, or none at all.
    world.write("adapter/adapter_config.json", "{}");
    let mut command = world.command(&compare(&["--arms", "ft:rh=adapter"]));
    check_failure(&command.output().unwrap(), 1, &["could not load the adapter of `ft:rh`"]);
    let report =
        json_of(world.command(&compare(&["--arms", "extract", "--limit", "1"])).arg("--json"));
    assert_eq!(report["verdict"]["decision"], "one_arm");
}

#[test]
fn an_adapter_of_another_base_is_refused_before_anything_is_asked() {
    let Some(world) = world() else { return };
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/adapter-all");
    for arm in ["ft:rh", "rag+ft:rh"] {
        let arms = format!("rag,{arm}={}", other.display());
        let words = [&format!("could not load the adapter of `{arm}`"), "for another base"];
        world.fails(&compare(&["--arms", &arms]), 1, &words);
    }
    assert!(!world.path().join("data/runs").exists(), "nothing was asked");
}

#[test]
fn a_judge_is_asked_once_and_never_says_nan() {
    let Some(world) = world() else { return };
    let args = compare(&["--arms", "extract,extract[passages=1],base", "--answer-tokens", "12"]);
    let args = [&args[..], &["--judge", "local"]].concat();
    let report = world.json(&args);
    let judge = &report["judge"];
    assert_eq!(judge["model"], "smollm2-135m-instruct");
    assert_eq!(judge["agreement"], Value::Null, "nobody has voted");
    let pairs = judge["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 3);
    for pair in pairs {
        let of = |key: &str| pair[key].as_u64().unwrap();
        assert_eq!(of("a_wins") + of("b_wins") + of("ties"), 4, "each question once: {pair}");
        assert_eq!(of("no_judgement"), 0, "a grammar cannot fail to parse: {pair}");
        assert!(pair["p_holm"].as_f64().unwrap() <= 1.0);
    }
    let kept = answers(&world).with_file_name("judged.jsonl");
    let n = n_lines(&kept);
    assert!(n > 0 && n.is_multiple_of(2), "both orders: {n}");
    assert_eq!(world.json(&args), report);
    assert_eq!(n_lines(&kept), n, "what was judged is not judged again");
    let text = world.text(&[&args[..], &["--html", "r.html", "--markdown", "r.md"]].concat());
    assert!(text.contains("judge smollm2-135m-instruct"), "{text}");
    for name in ["r.html", "r.md"] {
        let page = fs_err::read_to_string(world.path().join(name)).unwrap();
        assert!(page.contains("Nobody has voted"), "{page}");
        assert!(!page.contains("NaN"), "{page}");
    }
    world.fails(&compare(&["--judge", "extract"]), 2, &["--judge needs a language model"]);
}

/// A base of a few thousand weights, documents and questions, in a folder of their own; commands run
/// in another one.
struct Tiny {
    dir: tempfile::TempDir,
    elsewhere: tempfile::TempDir,
}

impl Tiny {
    fn new() -> Self {
        let res =
            Self { dir: tempfile::tempdir().unwrap(), elsewhere: tempfile::tempdir().unwrap() };
        write_tiny_model(&res.dir.path().join("base"), 3).unwrap();
        write_tiny_model(&res.dir.path().join("other"), 4).unwrap();
        let embedder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden/tiny-bert-reranker");
        res.write("souffleur.toml", &format!("[models]\nembedder = {embedder:?}\n"));
        res.write("docs/remote.md", POLICY);
        res.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
        let questions = QUESTIONS.lines().filter(|it| it.contains("\"fact\""));
        res.write("q.jsonl", &questions.map(|it| format!("{it}\n")).collect::<String>());
        res
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Makes one step on rows; paths are given as whoever is in the folder gives them.
    fn tune(&self, out: &str, rows: &[Value]) {
        self.write("rows.jsonl", &rows.iter().map(|it| format!("{it}\n")).collect::<String>());
        let mut command = program();
        command.args(["tune", "--data", "rows.jsonl", "--base", "base", "--out", out]);
        command.args(["--steps", "1", "--rank", "4", "--batch", "2", "--no-ability"]);
        command.args(["--offline", "--quiet", "--models-dir", "none"]).current_dir(self.dir.path());
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", error_of(&out));
    }

    fn compare(&self, arms: &str, more: &[&str]) -> Command {
        let mut command = program();
        command.args(["compare", "--questions", &self.at("q.jsonl"), "--docs", &self.at("docs")]);
        command.args(["--generator", &self.at("base"), "--arms", arms, "--answer-tokens", "4"]);
        command.args(["--config", &self.at("souffleur.toml"), "--data-dir", &self.at("data")]);
        command.args(["--offline", "--quiet", "--models-dir", "none"]).args(more);
        command.current_dir(self.elsewhere.path());
        command
    }
}

#[test]
fn questions_that_flatter_an_adapter_are_marked_or_refused() {
    let tiny = Tiny::new();
    let row = |meta: Value| json!({"prompt": "Say red.", "completion": "red!", "meta": meta});
    let hash = blake3::hash(POLICY.as_bytes()).to_hex().to_string();
    // The file had another name when rows were made of it.
    let named = row(json!({"path": "charter.md", "content_hash": hash}));
    tiny.tune("learnt", &[named.clone(), named.clone()]);
    tiny.tune("silent", &[named, row(json!({}))]);
    // What training ran on is no longer there: the adapter itself says it.
    fs_err::remove_file(tiny.dir.path().join("rows.jsonl")).unwrap();
    let arms = format!("rag,rag+ft:a={},extract", tiny.at("learnt"));
    let report = json_of(&mut tiny.compare(&arms, &["--json", "--html", "r.html"]));
    let trained_on = |i: usize| report["questions"][i]["trained_on"].clone();
    assert_eq!((trained_on(0), trained_on(1)), (json!(["rag+ft:a"]), json!([])));
    let adapter = &report["arms"][1];
    assert_eq!(adapter["questions_trained_on"], 1, "{report:#}");
    assert_eq!(
        adapter["staleness"],
        json!({
            "stale": false, "documents": 1, "changed": 0, "deleted": 0,
        })
    );
    assert_eq!(adapter["ability"], Value::Null);
    assert!(adapter["training_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(report["arms"][0]["questions_trained_on"], Value::Null);
    let said = report["verdict"]["en"].as_str().unwrap();
    for words in [
        "1 question is about a document that `rag+ft:a` was trained on",
        "Forgetting (`rag+ft:a`): not measured.",
        "Staleness (`rag+ft:a`): the documents of its training (1) did not change.",
    ] {
        assert!(said.contains(words), "`{words}`: {said}");
    }
    assert!(!said.contains("does not say"), "{said}");
    let page = fs_err::read_to_string(tiny.elsewhere.path().join("r.html")).unwrap();
    assert_eq!(page.matches("trained on its document: rag+ft:a").count(), 1, "{page}");
    let refused = tiny.compare(&arms, &["--refuse-trained-on"]).output().unwrap();
    check_failure(&refused, 2, &["1 questions", "`rag+ft:a` was trained on", "`remote.md`"]);

    let arms = format!("rag,rag+ft:b={}", tiny.at("silent"));
    let report = json_of(tiny.compare(&arms, &[]).arg("--json"));
    let said = report["verdict"]["en"].as_str().unwrap();
    assert!(said.contains("`rag+ft:b` does not say what it was trained on"), "{said}");
    let said = report["verdict"]["fr"].as_str().unwrap();
    assert!(said.contains("`rag+ft:b` ne dit pas de quoi elle a été affinée"), "{said}");
    assert_eq!(report["arms"][1]["questions_trained_on"], Value::Null);
    let refused = tiny.compare(&arms, &["--refuse-trained-on"]).output().unwrap();
    check_failure(&refused, 2, &["`rag+ft:b`", "does not say what it was trained on"]);
    let report = json_of(tiny.compare("extract", &["--refuse-trained-on"]).arg("--json"));
    assert_eq!(report["n_questions"], 2, "without adapters there is nothing to refuse");

    // The document changes: what was learnt of it is out of date.
    tiny.write("docs/remote.md", &POLICY.replace("three", "two"));
    let arms = format!("rag,rag+ft:a={}", tiny.at("learnt"));
    let report = json_of(tiny.compare(&arms, &[]).arg("--json"));
    assert_eq!(report["arms"][1]["staleness"]["deleted"], 1, "{report:#}");
}

#[test]
fn an_arm_may_have_another_model() {
    let tiny = Tiny::new();
    let arms = format!("rag,rag[model={}]", tiny.at("other"));
    let report = json_of(tiny.compare(&arms, &[]).arg("--json"));
    let wrote = |arm: usize| {
        let of = report["arms"][arm]["written_by"].as_object().unwrap();
        of.keys().cloned().collect::<Vec<String>>()
    };
    assert!(wrote(0).iter().all(|it| it.ends_with("base")), "{report:#}");
    assert!(wrote(1).iter().all(|it| it.ends_with("other")), "{report:#}");
    assert!(!wrote(0).is_empty() && !wrote(1).is_empty(), "{report:#}");
}

#[test]
fn answers_that_are_out_of_date_are_counted() {
    let Some(world) = world() else { return };
    let line = |question: &str, right: &str, before: &str| {
        let of = json!({
            "question": question, "answers": [right], "outdated": [before],
            "document": "remote.md",
        });
        format!("{of}\n")
    };
    // As if the policy had changed to two days, and the index were behind.
    let days =
        line("How many days per week may employees work remotely?", "two days", "three days");
    let lent = line("What does the company lend?", "a screen and a chair", "a lamp");
    world.write("changed.jsonl", days + &lent);
    let report =
        world.json(&["compare", "--questions", "changed.jsonl", "--arms", "extract,extract"]);
    assert_eq!(report["arms"][0]["outdated"], 1, "{report:#}");
    assert_eq!(report["slices"], json!([]), "all of them have changed: nothing to sort");
    let said = report["verdict"]["en"].as_str().unwrap();
    assert!(said.contains("in 1 of 2 questions whose answer has changed"), "{said}");
}

#[test]
fn what_a_dataset_holds_back_is_asked() {
    let Some(world) = world() else { return };
    let row = |question: &str, (made_by, split): (&str, &str), answer: &str, value: Value| {
        let of = json!({
            "id": question,
            "messages": [
                { "role": "user", "content": format!("[1] …\n{question}") },
                { "role": "assistant", "content": answer },
            ],
            "meta": {
                "question": question, "made_by": made_by, "split": split, "path": "remote.md",
                "language": "en", "value": value,
            },
        });
        format!("{of}\n")
    };
    let days = "How many days per week may employees work remotely?";
    let length = "The company lends them for as long as somebody works there [1].";
    let rows = [
        row(days, ("table_cell", "test"), "It is three days [1].", json!("three days")),
        row(
            "What does the company lend?",
            ("model", "test"),
            "A screen and a chair [1].",
            json!(null),
        ),
        row("What is learnt?", ("table_cell", "train"), "Much [1].", json!("much")),
        row("What was rejected?", ("table_cell", "test"), "This [1].", json!("this")),
        row("For how long?", ("section", "test"), length, json!(null)),
    ];
    let args = ["compare", "--questions", "dataset:set", "--arms", "extract"];
    world.write("set/supervised.jsonl", &rows[2]);
    world.fails(&args, 1, &["`set` holds no question in its test part"]);
    world.write("set/supervised.jsonl", &rows[4]);
    world.fails(&args, 1, &["those of 1 are none"]);
    world.write("set/supervised.jsonl", rows.concat());
    world.write("set/review.jsonl", "{\"id\":\"What was rejected?\",\"decision\":\"rejected\"}\n");
    let report = world.json(&args);
    assert_eq!(report["n_questions"], 2);
    assert_eq!(report["questions_generated"], 1);
    assert_eq!(report["questions_made_by_rules"], 1);
    assert_eq!(report["questions_left_out"], 1);
    assert_eq!(report["questions"][0]["generated"], "rules");
    assert_eq!(report["questions"][0]["accepted"], json!(["three days"]));
    assert_eq!(report["questions"][1]["generated"], "model");
    assert_eq!(report["questions"][1]["accepted"], json!(["A screen and a chair"]));
    assert_eq!(report["arms"][0]["metrics"]["right"]["mean"], 1.0, "{report:#}");
    let said = report["verdict"]["en"].as_str().unwrap();
    assert!(said.contains("1 question was written by a language model"), "{said}");
    assert!(said.contains("1 question was made from the documents by rules"), "{said}");
    assert!(said.contains("not asked, because their answers are not a value: 1."), "{said}");
}
