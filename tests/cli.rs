//! From a folder to a cited answer, with the real quick-start models, and without a socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

#[cfg(target_os = "linux")]
use std::process::{Command, Output};

use serde_json::Value;
#[cfg(target_os = "linux")]
use support::program;
use support::{POLICY, QUESTION, World};

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

    let answer = world.json(&["ask", "--generator", "extract", QUESTION]);
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
    let answer = world.json(&["ask", "--docs", "docs", QUESTION]);
    assert_eq!(answer["generator"], "smollm2-135m-instruct");
    assert!(!answer["sentences"].as_array().unwrap().is_empty(), "{answer}");
    assert!(answer["context"]["tokens"].as_u64().unwrap() > 0);
    let again = world.json(&["ask", QUESTION]);
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

/// Under a filter that kills the process at its first socket, everything offline must work, and a
/// pull must die: the filter is really there.
#[cfg(target_os = "linux")]
#[test]
fn offline_opens_no_socket_at_all() {
    use std::os::unix::process::ExitStatusExt;

    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    let out = without_sockets(world.command(&["ask", "--docs", "docs", "--json", QUESTION]));
    assert!(out.status.success(), "{:?} {}", out.status, String::from_utf8_lossy(&out.stderr));
    let mut online = program();
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
