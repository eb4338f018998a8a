//! What the documents promise about the code: dependency arrows, sizes of files, who reads the
//! environment and who prints, and that every path named in a document exists.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Lines of a file without its tests, at most.
const FILE_LINES_MAX: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut res = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "data") && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|it| it == extension) {
                res.push(path);
            }
        }
    }
    res.sort();
    res
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Our own crates that a crate's manifest depends on, tests included.
fn own_dependencies(manifest: &str) -> BTreeSet<String> {
    let text = fs_err::read_to_string(root().join(manifest)).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    sections
        .iter()
        .filter_map(|it| table.get(*it)?.as_table())
        .flat_map(toml::Table::keys)
        .filter(|it| ["ingest", "model", "index", "tune", "souffleur"].contains(&it.as_str()))
        .cloned()
        .collect()
}

#[test]
fn dependencies_follow_the_data_flow() {
    let check = |manifest: &str, expected: &[&str]| {
        let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(own_dependencies(manifest), expected, "{manifest}");
    };
    check("ingest/Cargo.toml", &[]);
    check("model/Cargo.toml", &[]);
    check("index/Cargo.toml", &["ingest"]);
    check("tune/Cargo.toml", &["ingest", "model"]);
    check("Cargo.toml", &["ingest", "index", "model", "tune"]);
}

#[test]
fn the_rim_stays_at_the_rim() {
    for member in ["ingest", "model", "index", "tune"] {
        let text = fs_err::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        for rim in ["tokio", "axum", "clap", "anyhow", "indicatif"] {
            // Qdrant's client is asynchronous: see docs/decisions/0013-qdrant-store.md.
            let is_allowed = (member, rim) == ("index", "tokio");
            let depends = text.contains(&format!("\n{rim}."));
            assert_eq!(depends, is_allowed, "{member} depends on {rim}");
        }
    }
    let ingest = fs_err::read_to_string(root().join("ingest/Cargo.toml")).unwrap();
    for network in ["ureq", "reqwest", "hyper"] {
        assert!(!ingest.contains(network), "ingest opens no socket, and depends on {network}");
    }
}

#[test]
fn one_file_of_the_index_waits_for_a_runtime() {
    for path in files_below(&root().join("index/src"), "rs") {
        let name = shown(&path);
        let text = fs_err::read_to_string(&path).unwrap();
        let meets = ["tokio::", "block_on"].iter().any(|it| text.contains(it));
        assert_eq!(meets, name == "index/src/qdrant/client.rs", "{name}");
    }
}

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for path in ["src", "ingest", "model", "index", "tune"]
        .iter()
        .flat_map(|it| files_below(&root().join(it), "rs"))
    {
        if path.file_name().is_some_and(|it| it == "tests.rs") {
            continue;
        }
        let text = fs_err::read_to_string(&path).unwrap();
        let code = text.lines().take_while(|it| *it != "#[cfg(test)]").count();
        if code > FILE_LINES_MAX && !path.components().any(|it| it.as_os_str() == "tests") {
            long.push(format!("{} has {code} lines", shown(&path)));
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in ["src", "ingest", "model", "index", "tune"]
        .iter()
        .flat_map(|it| files_below(&root().join(it), "rs"))
    {
        let text = fs_err::read_to_string(&path).unwrap();
        let is_test = path.file_name().is_some_and(|it| it == "tests.rs");
        assert!(is_test || text.starts_with("//!"), "{} has no module doc", shown(&path));
    }
}

#[test]
fn one_file_prints_and_one_reads_settings() {
    for path in files_below(&root().join("src"), "rs") {
        let text = fs_err::read_to_string(&path).unwrap();
        let name = shown(&path);
        if name != "src/printer.rs" {
            let prints = ["println!", "stdout()", "stderr()"].iter().any(|it| text.contains(it));
            assert!(!prints, "{name} prints");
        }
        if name != "src/config.rs" {
            assert!(!text.contains("env::var"), "{name} reads the environment");
        }
    }
}

#[test]
fn paths_named_in_documents_exist() {
    let mut documents = vec![];
    for name in ["README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md"] {
        documents.push(root().join(name));
    }
    documents.extend(files_below(&root().join("docs"), "md"));
    documents.push(root().join("prompts/README.md"));
    let mut missing = Vec::new();
    for document in documents {
        let text = fs_err::read_to_string(&document).unwrap();
        for path in paths_in(&text) {
            let beside = document.parent().unwrap().join(&path);
            if !root().join(&path).exists() && !beside.exists() {
                missing.push(format!("{}: {path}", shown(&document)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Paths in back quotes that begin with one of our folders, and targets of relative links.
fn paths_in(text: &str) -> Vec<String> {
    const FOLDERS: [&str; 13] = [
        "src/",
        "ingest/",
        "model/",
        "index/",
        "tune/",
        "prompts/",
        "config/",
        "tests/",
        "benches/",
        "examples/",
        "docs/",
        ".ci/",
        ".cargo/",
    ];
    let quoted = text.split('`').skip(1).step_by(2).filter(|it| {
        let plain = it.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
        plain && FOLDERS.iter().any(|folder| it.starts_with(folder))
    });
    let linked = text.split("](").skip(1).filter_map(|it| it.split(')').next()).filter(|it| {
        !it.contains("://") && !it.starts_with('#') && !it.is_empty() && !it.contains(' ')
    });
    let bare = |it: &str| it.split('#').next().unwrap_or_default().to_owned();
    quoted.chain(linked).map(bare).collect()
}
