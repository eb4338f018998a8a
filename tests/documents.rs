//! Documents come, go and are forgotten, as a user sees it: folders that vanish or empty, links,
//! folders closed for a moment, damaged files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::path::Path;

use serde_json::Value;
use support::{POLICY, World, error_of};

/// A word that no other text holds, in a text that says nothing else worth finding.
const MARKER: &str = "zorblaxique";

fn n_hits(world: &World, words: &str) -> usize {
    world.json(&["search", "--mode", "bm25", words])["hits"].as_array().unwrap().len()
}

/// The files below a folder that hold `word` in their bytes, in upper or lower case.
fn files_with(folder: &Path, word: &str) -> Vec<String> {
    let mut res = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            res.extend(files_with(&path, word));
            continue;
        }
        let bytes = fs_err::read(&path).unwrap().to_ascii_lowercase();
        if bytes.windows(word.len()).any(|it| it == word.as_bytes()) {
            res.push(path.display().to_string());
        }
    }
    res
}

/// The old text once went on answering, and no command could remove it.
#[test]
fn documents_of_a_folder_that_is_gone_are_named_and_can_be_forgotten() {
    let Some(world) = World::new() else { return };
    world.write("kept/remote.md", POLICY);
    let text = format!("# Dossier {MARKER}\n\nLe dossier {MARKER} est clos.\n");
    world.write(&format!("w/{MARKER}/{MARKER}.md"), &text);
    world.json(&["ingest", "kept", "w"]);
    assert!(!files_with(&world.path().join("data"), MARKER).is_empty(), "the test sees nothing");
    fs_err::rename(world.path().join("w"), world.path().join("elsewhere")).unwrap();

    let out = world.command(&["ingest", "--json"]).output().unwrap();
    assert!(out.status.success(), "{}", error_of(&out));
    assert!(error_of(&out).contains("souffleur forget"), "{}", error_of(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["gone"][0]["documents"], 1, "{report}");
    assert_eq!(n_hits(&world, MARKER), 1);

    world.fails(&["forget", "w", "nowhere"], 1, &["nowhere", "nothing was forgotten"]);
    assert_eq!(n_hits(&world, MARKER), 1);
    let report = world.json(&["forget", "w"]);
    assert_eq!(report["documents"], 1, "{report}");
    assert_eq!(report["forgotten"][0]["path"], format!("{MARKER}/{MARKER}.md"), "{report}");
    assert_eq!(files_with(&world.path().join("data"), MARKER), [""; 0]);
    assert_eq!(n_hits(&world, MARKER), 0);
    assert_eq!(n_hits(&world, "remotely"), 1, "the others stay");
    world.fails(&["forget", "w"], 1, &["no document of `w`"]);
    assert_eq!(world.json(&["ingest"])["documents"]["unchanged"], 1);

    fs_err::rename(world.path().join("kept"), world.path().join("moved")).unwrap();
    world.fails(&["ingest"], 1, &["is gone", "souffleur forget"]);
    world.json(&["forget", "kept/remote.md"]);
    assert_eq!(world.json(&["status"])["documents"], 0);
    world.fails(&["forget"], 2, &["PATH"]);
}

#[test]
fn a_folder_that_was_emptied_loses_its_documents_and_a_new_empty_one_is_an_error() {
    let Some(world) = World::new() else { return };
    world.write("w/remote.md", POLICY);
    world.json(&["ingest", "w"]);
    world.remove("w/remote.md");
    fs_err::create_dir(world.path().join("new")).unwrap();
    world.fails(&["ingest", "new"], 1, &["no document in `new`"]);
    let report = world.json(&["ingest", "w"]);
    assert_eq!(report["documents"]["removed"], 1, "{report}");
    assert_eq!(n_hits(&world, "remotely"), 0);
    world.fails(&["ingest", "w"], 1, &["no document in `w`"]);
}

#[cfg(unix)]
#[test]
fn links_out_of_a_folder_are_not_followed_unless_asked_for() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    world.write("private/pay.md", "# Pay\n\nSalaries are paid on the 28th.\n");
    std::os::unix::fs::symlink(world.path().join("private"), world.path().join("docs/more"))
        .unwrap();
    let text = world.text(&["ingest", "docs"]);
    assert!(text.contains("1 symbolic links not followed"), "{text}");
    assert_eq!(n_hits(&world, "salaries"), 0);
    let report = world.json(&["ingest", "docs", "--follow-links"]);
    assert_eq!(report["documents"]["added"], 1, "{report}");
    assert_eq!(report["links"], Value::Array(Vec::new()), "{report}");
    assert_eq!(n_hits(&world, "salaries"), 1);
}

/// A program of the library wrote raw lines of its log, with colours, even when quiet.
#[test]
fn a_damaged_pdf_is_a_line_of_the_report_and_nothing_else() {
    let Some(world) = World::new() else { return };
    let text = "BT /F1 11 Tf 70 700 Td (Salaries are paid on the 28th.) Tj ET";
    let pdf = format!(
        "%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n\
         2 0 obj\n<</Type/Pages/Kids[4 0 R 6 0 R]/Count 2/MediaBox[0 0 595 842]\
         /Resources<</Font<</F1 3 0 R>>>>>>\nendobj\n\
         3 0 obj\n<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>\nendobj\n\
         4 0 obj\n<</Type/Page/Parent 2 0 R/Contents 5 0 R>>\nendobj\n\
         5 0 obj\n<</Length {}>>\nstream\n{text}\nendstream\nendobj\n\
         6 0 obj\n<</Type/Page/Parent 2 0 R/Contents 7 0 R>>\nendobj\n7 0 obj\n<</Len",
        text.len()
    );
    world.write("docs/pay.pdf", pdf);
    let out = world.run(&["ingest", "docs"]);
    let report = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(report.contains("pay.pdf: damaged: 1 of 2 pages read"), "{report}");
    let error = error_of(&out);
    assert!(!error.contains('\u{1b}') && !error.contains("lopdf"), "{error}");
    assert!(!error.contains("ERROR"), "{error}");
}

#[test]
fn duplicates_are_listed_one_way_and_a_rebuild_says_what_it_built() {
    let Some(world) = World::new() else { return };
    for name in ["a", "b"] {
        world.write(&format!("docs/{name}.md"), POLICY.repeat(20));
    }
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 1, "{report}");
    for name in ["a", "b"] {
        world.write(&format!("docs/{name}.md"), POLICY.repeat(20) + "Fin.\n");
    }
    let report = world.json(&["ingest", "docs"]);
    assert_eq!(report["documents"]["updated"], 2, "{report}");
    assert_eq!(report["duplicates"].as_array().unwrap().len(), 1, "{report}");
    // What a document repeats may go away in the run that adds a third.
    world.remove("docs/a.md");
    world.write("docs/c.md", POLICY.repeat(20) + "Fin du troisième.\n");
    let report = world.json(&["ingest", "docs"]);
    let duplicates = report["duplicates"].as_array().unwrap();
    assert_eq!(duplicates.len(), 1, "{report}");
    assert_eq!(duplicates[0]["path"], "c.md", "{report}");
    assert_eq!(duplicates[0]["of"], "b.md", "{report}");
    let chunks = world.json(&["status"])["chunks"].clone();
    let report = world.json(&["ingest", "--rebuild"]);
    assert_eq!(report["rebuilt"]["documents"], 2, "{report}");
    assert_eq!(report["rebuilt"]["chunks"], chunks, "{report}");
    assert!(world.text(&["ingest", "--rebuild"]).contains("rebuilt: 2 documents"));
}
