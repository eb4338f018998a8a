//! Reranking as a user meets it: with a tiny embedder and a tiny reranker in folders, so that no
//! model has to be fetched.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use model::{embed::Precision, rerank::Reranker};
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/golden").join(name)
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A few documents, ingested with the tiny embedder.
    fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.settings("");
        let docs = world.dir.path().join("docs");
        fs_err::create_dir_all(&docs).unwrap();
        for (name, text) in [
            ("remote.md", "# Remote work\n\nEmployees may work remotely three days per week.\n"),
            ("desk.md", "# Desk\n\nThe company lends a screen and a chair for work at home.\n"),
            ("park.md", "# Car park\n\nThe car park opens at seven in the morning.\n"),
            ("repas.md", "# Repas\n\nLe repas est remboursé jusqu'à 19,40 € par jour.\n"),
            ("work.md", "# Work\n\nRemote work starts after three days of work per week.\n"),
        ] {
            fs_err::write(docs.join(name), text).unwrap();
        }
        let out = world.run(&["ingest", "docs", "--json"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        world
    }

    /// Settings with the tiny embedder, and more.
    fn settings(&self, more: &str) {
        let embedder = golden("tiny-bert-reranker");
        let text = format!("[models]\nembedder = {embedder:?}\ngenerator = \"extract\"\n{more}");
        fs_err::write(self.dir.path().join("souffleur.toml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_souffleur"));
        command.args(args).args(["--offline", "--quiet", "--models-dir", "models"]);
        command.current_dir(self.dir.path()).output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

const QUESTION: &str = "How many days of remote work per week?";

fn documents(found: &Value) -> Vec<&str> {
    let hits = found["hits"].as_array().unwrap();
    hits.iter().map(|it| it["document"].as_str().unwrap()).collect()
}

/// The order of hits by what a reranker gives each text, best first.
fn by_score<'a>(reranker: &Reranker, found: &'a Value) -> Vec<&'a str> {
    let mut res: Vec<(f32, &str)> = found["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let heading = it["heading"].as_str().unwrap();
            assert_eq!(it["title"], heading, "titles are these documents' only headings");
            let text = format!("{heading}\n{}", it["text"].as_str().unwrap().trim());
            let score = reranker.score(QUESTION, &[&text]).unwrap().scores[0];
            let shown = it["score_rerank"].as_f64().unwrap() as f32;
            assert!((score.score - shown).abs() < 1e-5, "{score:?} {shown}");
            (score.logit, it["document"].as_str().unwrap())
        })
        .collect();
    res.sort_by(|a, b| b.0.total_cmp(&a.0));
    res.into_iter().map(|(_, document)| document).collect()
}

#[test]
fn a_reranker_orders_what_was_found_by_its_scores() {
    let world = World::new();
    let plain = world.json(&["search", QUESTION]);
    assert!(documents(&plain).len() >= 4, "{plain}");
    assert_eq!(plain["hits"][0]["score_rerank"], Value::Null);
    assert_eq!(plain["rerank"], Value::Null);
    for name in ["tiny-bert-reranker", "tiny-xlm-roberta-reranker"] {
        let folder = golden(name);
        let found = world.json(&["search", "--rerank", folder.to_str().unwrap(), QUESTION]);
        let reranker = Reranker::load(&folder, 512, Precision::F32).unwrap();
        assert_eq!(documents(&found), by_score(&reranker, &found), "{name}");
        assert_ne!(documents(&found), documents(&plain), "{name} changes the order");
        let mut sorted = [documents(&found), documents(&plain)];
        sorted.iter_mut().for_each(|it| it.sort_unstable());
        assert_eq!(sorted[0], sorted[1], "nothing is lost");
        assert!(found["hits"][0]["score"].as_f64().is_some(), "the fused score is kept");
        assert_eq!(found["rerank"]["candidates"], documents(&found).len());
        assert!(found["rerank"]["tokens"].as_u64().unwrap() > 50, "{found}");
    }
}

#[test]
fn only_the_best_candidates_are_read_and_the_cost_is_told() {
    let world = World::new();
    let plain = world.json(&["search", QUESTION]);
    let folder = golden("tiny-bert-reranker");
    world.settings(&format!("[retrieval]\nreranker = {folder:?}\nrerank_max = 2\n"));
    let found = world.json(&["search", QUESTION]);
    assert_eq!(found["rerank"]["candidates"], 2);
    assert_eq!(documents(&found)[2..], documents(&plain)[2..], "the others stay behind them");
    assert_eq!(found["hits"][2]["score_rerank"], Value::Null);
    let off = world.json(&["search", "--rerank=", QUESTION]);
    assert_eq!(documents(&off), documents(&plain), "an empty name switches it off");

    let answer = world.json(&["ask", QUESTION]);
    assert!(answer["timings_ms"]["rerank"].as_f64().is_some(), "{answer}");
    assert_eq!(answer["rerank"]["candidates"], 2);
    let answer = world.json(&["ask", "--rerank=", QUESTION]);
    assert_eq!(answer["timings_ms"]["rerank"], Value::Null);
    let shown = world.run(&["inspect", QUESTION]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("reranked 2 candidates") && shown.contains("logit"), "{shown}");
    let doctor = world.json(&["doctor"]);
    let check = doctor["checks"].as_array().unwrap().iter().find(|it| it["check"] == "reranker");
    assert_eq!(check.unwrap()["level"], "ok", "{doctor}");
}

#[test]
fn what_a_model_does_not_read_to_its_end_is_told() {
    let world = World::new();
    let long = format!("{QUESTION} {}", "And what about work at home? ".repeat(20));
    let folder = golden("tiny-bert-reranker");
    let args = ["search", "--rerank", folder.to_str().unwrap(), &long];
    let found = world.json(&args);
    assert_eq!(found["question_cut_at"], 64, "{found}");
    assert_eq!(found["rerank"]["truncated"], found["rerank"]["candidates"]);
    let said = String::from_utf8_lossy(&world.run(&args).stderr).into_owned();
    assert!(said.contains("read its first 64 tokens"), "{said}");
}

#[test]
fn a_model_that_cannot_rerank_is_refused() {
    let world = World::new();
    let folder = golden("tiny-bert");
    let out = world.run(&["search", "--rerank", folder.to_str().unwrap(), QUESTION]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(error.contains("classification head") && error.contains("tiny-bert"), "{error}");
    let out = world.run(&["search", "--rerank", "no-such-model", QUESTION]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(error.contains("mmarco-mminilmv2-l12"), "names those that are known: {error}");
    world.settings(&format!("[retrieval]\nreranker = {folder:?}\n"));
    let doctor = world.run(&["doctor", "--json"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let check = doctor["checks"].as_array().unwrap().iter().find(|it| it["check"] == "reranker");
    assert_eq!(check.unwrap()["level"], "problem", "{doctor}");
}

#[test]
fn an_index_in_f32_does_not_open_in_int8() {
    let world = World::new();
    let embedder = golden("tiny-bert-reranker");
    let int8 = format!("[models]\nembedder = {embedder:?}\nembedder_precision = \"int8\"\n");
    fs_err::write(world.dir.path().join("souffleur.toml"), int8).unwrap();
    let out = world.run(&["search", QUESTION]);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    for word in ["int8", "f32", "--rebuild"] {
        assert!(error.contains(word), "must say {word}: {error}");
    }
    let rebuilt = world.run(&["ingest", "--rebuild"]);
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert!(!documents(&world.json(&["search", QUESTION])).is_empty());
}
