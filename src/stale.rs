//! Whether the documents that an adapter was trained on are still what they were.
//!
//! Its record names them with the hashes of their files (`tune::train`). A document is what it was
//! while any document of the index has its bytes, wherever it lies by now; it has changed where its
//! path holds other bytes, and is gone where there is no such path any more.

use std::collections::BTreeSet;
use std::path::Path;

use index::{CatalogError, content_hashes};
use serde_json::{Value, json};
use tune::train::run::RECORD;

/// What the index holds, by path and by content.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    paths: BTreeSet<String>,
    hashes: BTreeSet<String>,
}

/// Documents of an adapter that are no longer what it was trained on, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// They have other bytes.
    pub changed: Vec<String>,
    /// They are no longer in the index.
    pub deleted: Vec<String>,
    /// How many documents the record names.
    pub n_documents: usize,
}

impl Documents {
    /// Those of a data folder; `None` where it has no index. The index is not locked: a server may
    /// be using it.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub fn of_index(data_dir: &Path) -> Result<Option<Self>, CatalogError> {
        Ok(content_hashes(data_dir)?.map(Self::new))
    }

    /// Those of these paths and content hashes.
    #[must_use]
    pub fn new(all: Vec<(String, String)>) -> Self {
        let (paths, hashes) = all.into_iter().unzip();
        Self { paths, hashes }
    }

    /// Looks for the documents of an adapter's record; `None` where the record names none.
    #[must_use]
    pub fn stale(&self, record: &Value) -> Option<Stale> {
        let named = record["data"]["documents"].as_array()?;
        let mut res = Stale { n_documents: named.len(), ..Stale::default() };
        for it in named {
            let Some(path) = it["path"].as_str() else { continue };
            let hash = it["content_hash"].as_str();
            let is_path = self.paths.contains(path);
            match hash {
                Some(hash) if self.hashes.contains(hash) => {}
                // Rows that only showed its passages do not say what it was.
                None if is_path => {}
                _ if is_path => res.changed.push(path.to_owned()),
                _ => res.deleted.push(path.to_owned()),
            }
        }
        (res.n_documents > 0).then_some(res)
    }
}

impl Stale {
    /// Whether nothing has changed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.changed.is_empty() && self.deleted.is_empty()
    }

    /// In JSON: with the paths for who may see all documents, else in numbers only.
    #[must_use]
    pub fn json(&self, with_paths: bool) -> Value {
        let Self { changed, deleted, n_documents } = self;
        let mut res = json!({
            "stale": !self.is_fresh(),
            "documents": n_documents,
            "changed": changed.len(),
            "deleted": deleted.len(),
        });
        if with_paths {
            res["changed_paths"] = json!(changed);
            res["deleted_paths"] = json!(deleted);
        }
        res
    }
}

/// The record of an adapter's training; `None` where it has none, from another trainer.
///
/// # Errors
/// When it is there and cannot be read.
pub fn record_of(adapter: &Path) -> std::io::Result<Option<Value>> {
    let path = adapter.join(RECORD);
    if !path.is_file() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&fs_err::read(&path)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(all: &[(&str, &str)]) -> Documents {
        let (paths, hashes) =
            all.iter().map(|(path, hash)| ((*path).to_owned(), (*hash).to_owned())).unzip();
        Documents { paths, hashes }
    }

    #[test]
    fn documents_that_changed_or_went_are_named() {
        let record = json!({ "data": { "documents": [
            { "path": "a.md", "content_hash": "1" },
            { "path": "b.md", "content_hash": "2" },
            { "path": "c.md", "content_hash": "3" },
            { "path": "d.md", "content_hash": null },
            { "path": "e.md", "content_hash": null },
        ] } });
        // `c.md` was moved: its bytes are there.
        let now = documents(&[("a.md", "1"), ("b.md", "9"), ("new.md", "3"), ("d.md", "4")]);
        let stale = now.stale(&record).unwrap();
        assert_eq!(stale.changed, ["b.md"]);
        assert_eq!(stale.deleted, ["e.md"]);
        assert!(!stale.is_fresh());
        assert_eq!(
            stale.json(false),
            json!({
                "stale": true, "documents": 5, "changed": 1, "deleted": 1,
            })
        );
        assert_eq!(stale.json(true)["changed_paths"], json!(["b.md"]));
        let same =
            documents(&[("a.md", "1"), ("b.md", "2"), ("c.md", "3"), ("d.md", "4"), ("e.md", "5")]);
        assert!(same.stale(&record).unwrap().is_fresh());
        assert_eq!(now.stale(&json!({ "data": { "rows": 3 } })), None);
    }
}
