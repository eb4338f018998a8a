//! What an adapter says of its own training: how long it took, and on which documents.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::eval::answers::{KnownQuestion, same_document};

/// The record beside an adapter's files.
const RECORD: &str = "training.json";

/// An adapter's training, as far as its folder tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trained {
    /// Seconds that it took.
    pub seconds: Option<f64>,
    /// Paths of the documents that its rows come from; `None` where that is not known.
    pub documents: Option<BTreeSet<String>>,
}

impl Trained {
    /// Whether a question is about a document that it was trained on.
    #[must_use]
    pub fn saw(&self, known: &KnownQuestion) -> bool {
        let mut seen = self.documents.iter().flatten();
        known.document.as_ref().is_some_and(|it| seen.any(|seen| same_document(it, seen)))
    }
}

#[derive(Deserialize)]
struct Record {
    seconds: Option<f64>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    file: PathBuf,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    path: Option<String>,
}

/// Reads the record of an adapter. One without a record, from another tool, tells nothing.
///
/// # Errors
/// When a record is there and cannot be read.
pub fn trained(adapter: &Path) -> std::io::Result<Trained> {
    let path = adapter.join(RECORD);
    if !path.is_file() {
        return Ok(Trained::default());
    }
    let record: Record = serde_json::from_slice(&fs_err::read(&path)?)?;
    let rows = record.data.map(|it| it.file).filter(|it| it.is_file());
    let documents = match rows {
        Some(rows) => documents_of(&fs_err::read_to_string(rows)?),
        None => None,
    };
    Ok(Trained { seconds: record.seconds, documents })
}

/// The documents of rows; `None` where a row does not name its own.
fn documents_of(rows: &str) -> Option<BTreeSet<String>> {
    let lines = rows.lines().filter(|it| !it.trim().is_empty());
    lines.map(|it| serde_json::from_str::<Row>(it).ok()?.meta.path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_time_and_documents() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(trained(dir.path()).unwrap(), Trained::default());
        let rows = dir.path().join("rows.jsonl");
        fs_err::write(&rows, "{\"meta\":{\"path\":\"rh/a.md\"}}\n{\"meta\":{\"path\":\"b.md\"}}\n")
            .unwrap();
        let record = serde_json::json!({ "seconds": 12.5, "data": { "file": rows } });
        fs_err::write(dir.path().join(RECORD), record.to_string()).unwrap();
        let found = trained(dir.path()).unwrap();
        assert_eq!(found.seconds, Some(12.5));
        let documents = found.documents.unwrap();
        assert_eq!(documents.iter().collect::<Vec<_>>(), ["b.md", "rh/a.md"]);
        fs_err::write(&rows, "{\"meta\":{}}\n").unwrap();
        assert_eq!(trained(dir.path()).unwrap().documents, None);
    }
}
