//! The program as a user runs it, with the real quick-start models.
//!
//! Reads `SOUFFLEUR_TEST_MODELS`, a models folder; says loudly that it was skipped without it, and
//! fails in CI.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test asks its environment for real models")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A data folder of its own and the shared models; `None` where there are no models.
struct World {
    dir: tempfile::TempDir,
    models: String,
}

impl World {
    fn new() -> Option<Self> {
        let Some(models) = variable("SOUFFLEUR_TEST_MODELS") else {
            assert!(variable("CI").is_none(), "CI must set SOUFFLEUR_TEST_MODELS");
            println!("SKIPPED: set SOUFFLEUR_TEST_MODELS to a models folder to run this test");
            return None;
        };
        Some(Self { dir: tempfile::tempdir().unwrap(), models })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_souffleur"));
        command.args(args).args(["--offline", "--quiet", "--models-dir", &self.models]);
        command.arg("--data-dir").arg(self.path().join("data")).current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs with `--json` and gives what it printed.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let out = self.command(args).arg("--json").output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {error}");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Expects a failure that says all of `words`.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let out = self.run(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{args:?} must say `{word}`: {error}");
        }
        assert!(!error.contains("panicked"), "{error}");
    }
}

const POLICY: &str = "# Remote work\n\nEmployees may work remotely up to three days per week.\n\n\
                      ## Equipment\n\nThe company lends a screen and a chair.\n";

#[test]
fn a_folder_is_ingested_once_and_answers_with_sources() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    world.write("docs/repas.md", "# Repas\n\nLe repas est remboursé jusqu'à 19,40 € par jour.\n");
    let first = world.json(&["ingest", "docs"]);
    assert_eq!(first["documents"]["added"], 2, "{first}");
    let again = world.json(&["ingest", "docs"]);
    assert_eq!(again["documents"]["unchanged"], 2, "{again}");
    assert_eq!(again["chunks"], 0);

    let question = "How many days per week may employees work remotely?";
    let answer = world.json(&["ask", "--generator", "extract", question]);
    assert_eq!(answer["refused"], false);
    assert!(answer["answer"].as_str().unwrap().contains("three days per week"), "{answer}");
    assert_eq!(answer["sentences"][0]["verdict"], "supported");
    assert_eq!(answer["sources"][0]["document"], "remote.md");
    let source = &answer["sources"][0];
    let (start, end) = (source["char_start"].as_u64(), source["char_end"].as_u64());
    assert!(start < end);

    let answer = world.json(&["ask", "Jusqu'à combien le repas est-il remboursé ?"]);
    assert_eq!(answer["language"], "fr");
    assert_eq!(answer["generator"], "extract", "an English model does not write French");
    assert!(answer["answer"].as_str().unwrap().contains("19,40 €"), "{answer}");
}

#[test]
fn the_language_model_answers_from_the_passages() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    let question = "How many days per week may employees work remotely?";
    let answer = world.json(&["ask", "--docs", "docs", question]);
    assert_eq!(answer["generator"], "smollm2-135m-instruct");
    assert!(!answer["sentences"].as_array().unwrap().is_empty(), "{answer}");
    assert!(answer["context"]["tokens"].as_u64().unwrap() > 0);
    let again = world.json(&["ask", question]);
    assert_eq!(again["answer"], answer["answer"], "greedy decoding repeats itself");
}

#[test]
fn what_the_documents_do_not_say_is_refused() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    let answer = world.json(&["ask", "--docs", "docs", "Who won the football cup in 1998?"]);
    assert_eq!(answer["refused"], true, "{answer}");
    assert_eq!(answer["generator"], Value::Null, "no model is called");
}

#[test]
fn changed_moved_and_deleted_files_are_followed() {
    let Some(world) = World::new() else { return };
    world.write("docs/a.md", POLICY);
    world.write("docs/b.md", "# Parking\n\nThe car park opens at 7:00.\n");
    world.json(&["ingest", "docs"]);
    let docs = world.path().join("docs");
    fs_err::rename(docs.join("b.md"), docs.join("c.md")).unwrap();
    let moved = world.json(&["ingest", "docs"]);
    assert_eq!(moved["documents"]["moved"], 1, "{moved}");
    world.write("docs/c.md", "# Parking\n\nThe car park opens at 6:00.\n");
    let updated = world.json(&["ingest", "docs"]);
    assert_eq!(updated["documents"]["updated"], 1, "{updated}");
    fs_err::remove_file(docs.join("c.md")).unwrap();
    let removed = world.json(&["ingest", "docs"]);
    assert_eq!(removed["documents"]["removed"], 1, "{removed}");
    let hits = world.json(&["search", "When does the car park open?"]);
    let found = hits["hits"].as_array().unwrap().iter().any(|it| it["document"] == "c.md");
    assert!(!found, "a deleted document must not answer: {hits}");
}

#[test]
fn groups_keep_documents_from_others() {
    let Some(world) = World::new() else { return };
    world.write("docs/open.md", POLICY);
    world.write("docs/board.md", "---\ngroups: [board]\n---\n# Merger\n\nWe buy Acme for 3 M€.\n");
    world.json(&["ingest", "docs"]);
    let paths = |args: &[&str]| -> Vec<String> {
        let found = world.json(args);
        let hits = found["hits"].as_array().unwrap().clone();
        hits.iter().map(|it| it["document"].as_str().unwrap().to_owned()).collect()
    };
    assert!(paths(&["search", "buy Acme", "--group", "board"]).contains(&"board.md".to_owned()));
    assert!(!paths(&["search", "buy Acme", "--group", "staff"]).contains(&"board.md".to_owned()));
}

#[test]
fn bad_input_says_what_to_do_and_changes_nothing() {
    let Some(world) = World::new() else { return };
    world.fails(&["ingest", "nowhere"], 1, &["nowhere", "hint"]);
    fs_err::create_dir_all(world.path().join("empty")).unwrap();
    world.fails(&["ingest", "empty"], 1, &["no document in"]);
    world.fails(&["ask", "What is it?"], 1, &["no index", "souffleur ingest"]);
    world.fails(&["ask", "  "], 2, &["empty"]);
    let long = "word ".repeat(20_000);
    world.fails(&["ask", &long], 2, &["characters", "limit"]);
    world.write("souffleur.toml", "[generation]\nsede = 1\n");
    world.fails(&["status"], 2, &["sede"]);
}

#[test]
fn bad_files_become_lines_of_the_report() {
    let Some(world) = World::new() else { return };
    world.write("docs/good.md", POLICY);
    world.write("docs/broken.pdf", b"%PDF-1.4 and then nothing");
    world.write("docs/broken.docx", b"PK\x03\x04 no archive");
    world.write("docs/bytes.txt", [0_u8, 1, 2, 3, 255, 254, 0, 0, 7].repeat(50));
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["documents"]["added"], 1, "{report}");
    assert_eq!(report["documents"]["skipped"].as_array().unwrap().len(), 3, "{report}");
}

#[test]
fn a_second_process_on_the_same_data_is_told_so() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    world.json(&["ingest", "docs"]);
    let lock = fs_err::File::options().write(true).open(world.path().join("data/lock")).unwrap();
    lock.file().lock().unwrap();
    world.fails(&["search", "remote"], 1, &["in use by another process", "--data-dir"]);
}

#[test]
fn a_truncated_model_file_is_named() {
    let Some(world) = World::new() else { return };
    let id = "all-minilm-l6-v2";
    let copy = world.path().join("models").join(id);
    fs_err::create_dir_all(&copy).unwrap();
    for entry in fs_err::read_dir(Path::new(&world.models).join(id)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let weights = fs_err::File::options().write(true).open(copy.join("model.safetensors")).unwrap();
    weights.file().set_len(1000).unwrap();
    let models = world.path().join("models").to_string_lossy().into_owned();
    world.write("docs/remote.md", POLICY);
    let out = Command::new(env!("CARGO_BIN_EXE_souffleur"))
        .args(["ingest", "docs", "--offline", "--models-dir", &models])
        .current_dir(world.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{error}");
    for word in ["model.safetensors", "1000 bytes", "models pull"] {
        assert!(error.contains(word), "must say `{word}`: {error}");
    }
}

/// Under a filter that kills the process at its first socket, everything offline must work, and a
/// pull must die: the filter is really there.
#[cfg(target_os = "linux")]
#[test]
fn offline_opens_no_socket_at_all() {
    use std::os::unix::process::ExitStatusExt;

    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    let question = "How many days per week may employees work remotely?";
    let out = without_sockets(world.command(&["ask", "--docs", "docs", "--json", question]));
    assert!(out.status.success(), "{:?} {}", out.status, String::from_utf8_lossy(&out.stderr));
    let mut online = Command::new(env!("CARGO_BIN_EXE_souffleur"));
    online.args(["models", "pull", "qwen3-0.6b", "--models-dir"]).arg(world.path().join("m"));
    let out = without_sockets(online);
    assert_eq!(out.status.signal(), Some(31), "a pull must try to open a socket: {out:?}");
}

/// Runs a command under a filter that kills it (SIGSYS) when it asks for a socket.
#[cfg(target_os = "linux")]
fn without_sockets(mut command: Command) -> Output {
    use std::collections::BTreeMap;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    // The filter holds for this thread and what it starts, and cannot be taken off again.
    std::thread::spawn(move || {
        let socket = if cfg!(target_arch = "x86_64") { 41 } else { 198 };
        let filter = SeccompFilter::new(
            BTreeMap::from([(socket, Vec::new())]),
            SeccompAction::Allow,
            SeccompAction::KillProcess,
            std::env::consts::ARCH.try_into().unwrap(),
        )
        .unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        command.output().unwrap()
    })
    .join()
    .unwrap()
}
