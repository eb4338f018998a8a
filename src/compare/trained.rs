//! What an adapter says of its own training: what it cost, on which documents, what it forgot, and
//! whether those documents are still what they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use tune::train::{TuneError, ability::Change, rows::Rows, settings::Method};

use crate::{
    eval::answers::{KnownQuestion, same_document},
    stale::{Documents, Stale, record_of},
};

/// An adapter's training, as far as its folder tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trained {
    /// Seconds that it took.
    pub seconds: Option<f64>,
    /// Bytes of memory that it took at most.
    pub peak_bytes: Option<u64>,
    /// Paths of the documents that its rows come from, where they were and where they are now.
    pub documents: BTreeSet<String>,
    /// Whether that is all of them: every row says what it was made of.
    pub tells_documents: bool,
    /// What it did to abilities that have nothing to do with its rows; `None` where nobody looked.
    pub ability: Option<Change>,
    /// Which of its documents have changed since; `None` where it names none.
    pub stale: Option<Stale>,
}

/// Path and content hash of each document of the index.
pub type Indexed = [(String, String)];

impl Trained {
    /// Whether a question is about a document that it was trained on.
    #[must_use]
    pub fn saw(&self, known: &KnownQuestion) -> bool {
        let mut seen = self.documents.iter();
        known.document.as_ref().is_some_and(|it| seen.any(|seen| same_document(it, seen)))
    }
}

/// Reads the record of an adapter, and looks for its documents in the index. An adapter without a
/// record, from another tool, tells nothing.
///
/// # Errors
/// When a record is there and cannot be read.
pub fn trained(adapter: &Path, indexed: &Indexed) -> io::Result<Trained> {
    let Some(record) = record_of(adapter)? else { return Ok(Trained::default()) };
    let learnt = learnt(&record)?;
    let hashes: BTreeSet<&String> = learnt.documents.values().flatten().collect();
    let here = indexed.iter().filter(|(_, hash)| hashes.contains(hash)).map(|(path, _)| path);
    let documents = learnt.documents.keys().chain(here).cloned().collect();
    Ok(Trained {
        seconds: record["seconds"].as_f64(),
        peak_bytes: record["peak_bytes"].as_u64(),
        documents,
        tells_documents: learnt.is_all,
        ability: match &record["ability"] {
            Value::Null => None,
            it => Some(serde_json::from_value(it.clone())?),
        },
        stale: Documents::new(indexed.to_vec()).stale(&record),
    })
}

/// The documents that an adapter's rows come from, with the hashes of their bytes.
#[derive(Default)]
struct Learnt {
    documents: BTreeMap<String, Option<String>>,
    /// Whether each row says its own.
    is_all: bool,
}

/// What a record says, or else the file of rows, where it is the one that was trained on.
fn learnt(record: &Value) -> io::Result<Learnt> {
    let data = &record["data"];
    let named = data["documents"].as_array();
    let n_unnamed = data["rows_without_document"].as_u64();
    if let (Some(named), Some(n_unnamed)) = (named, n_unnamed) {
        return Ok(Learnt { documents: documents_of(named), is_all: n_unnamed == 0 });
    }
    // Older records count no rows, the oldest name no documents.
    let rows = rows_of(record)?.map(|it| {
        let each = it.documents.into_iter().map(|it| (it.path, it.content_hash));
        Learnt { documents: each.collect(), is_all: it.n_unnamed == 0 }
    });
    let named = named.map(|it| documents_of(it)).unwrap_or_default();
    Ok(match rows {
        Some(rows) => {
            Learnt { documents: rows.documents.into_iter().chain(named).collect(), ..rows }
        }
        None => Learnt { documents: named, is_all: false },
    })
}

fn documents_of(named: &[Value]) -> BTreeMap<String, Option<String>> {
    let each = named.iter().filter_map(|it| {
        let hash = it["content_hash"].as_str().map(str::to_owned);
        Some((it["path"].as_str()?.to_owned(), hash))
    });
    each.collect()
}

/// The rows that a record names, where they are still what was trained on. Their path is as it was
/// given where training ran, so that another file may lie there: the hash decides.
fn rows_of(record: &Value) -> io::Result<Option<Rows>> {
    let data = &record["data"];
    let path = data["file"].as_str().map(PathBuf::from).filter(|it| it.is_file());
    let method = Method::deserialize(&record["settings"]["method"]).ok();
    let (Some(path), Some(method)) = (path, method) else { return Ok(None) };
    let rows = match Rows::read(&path, method, true) {
        Err(TuneError::Foreign { .. }) => return Ok(None),
        it => it.map_err(io::Error::other)?,
    };
    Ok((data["blake3"].as_str() == Some(rows.hash.as_str())).then_some(rows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tune::train::run::RECORD;

    fn write(dir: &Path, record: &Value) {
        fs_err::write(dir.join(RECORD), record.to_string()).unwrap();
    }

    fn indexed(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(path, hash)| ((*path).to_owned(), (*hash).to_owned())).collect()
    }

    fn about(document: &str) -> KnownQuestion {
        KnownQuestion { document: Some(document.to_owned()), ..KnownQuestion::default() }
    }

    #[test]
    fn a_record_tells_costs_documents_and_what_was_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(trained(dir.path(), &[]).unwrap(), Trained::default());
        let of = |perplexity: f64, n_right: usize| {
            let score = json!({"perplexity": perplexity, "n_right": n_right, "n_questions": 40});
            json!({"all": score, "en": score, "fr": score})
        };
        let record = json!({
            "seconds": 12.5, "peak_bytes": 900,
            "ability": {"before": of(20.0, 30), "after": of(26.0, 21), "dropped": true},
            "data": {
                "file": "elsewhere.jsonl",
                "documents": [
                    {"path": "rh/a.md", "content_hash": "1"},
                    {"path": "b.md", "content_hash": "2"},
                    {"path": "c.md", "content_hash": null},
                ],
                "rows_without_document": 0,
            },
        });
        write(dir.path(), &record);
        let now = indexed(&[("new/a.md", "1"), ("b.md", "9"), ("c.md", "3")]);
        let found = trained(dir.path(), &now).unwrap();
        assert_eq!((found.seconds, found.peak_bytes), (Some(12.5), Some(900)));
        assert!(found.tells_documents);
        for seen in ["rh/a.md", "handbook/b.md", "new/a.md"] {
            assert!(found.saw(&about(seen)), "{seen}");
        }
        assert!(!found.saw(&about("d.md")));
        let ability = found.ability.unwrap();
        assert!(ability.is_drop());
        assert_eq!((ability.before.all.n_right, ability.after.all.n_right), (30, 21));
        let stale = found.stale.unwrap();
        assert_eq!((stale.changed, stale.deleted.len()), (vec!["b.md".to_owned()], 0));
        let mut unsure = record;
        unsure["data"]["rows_without_document"] = json!(3);
        write(dir.path(), &unsure);
        assert!(!trained(dir.path(), &now).unwrap().tells_documents);
    }

    #[test]
    fn rows_speak_for_an_older_record_where_they_are_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let row = |path: &str| json!({"prompt": "a", "completion": "b", "meta": {"path": path}});
        let rows = format!("{}\n{}\n", row("rh/a.md"), row("b.md"));
        fs_err::write(&path, &rows).unwrap();
        let hash = Rows::read(&path, Method::Lora, true).unwrap().hash;
        let record = json!({
            "settings": {"method": "lora"}, "data": {"file": path, "blake3": hash},
        });
        write(dir.path(), &record);
        let found = trained(dir.path(), &[]).unwrap();
        assert_eq!(found.documents.iter().collect::<Vec<_>>(), ["b.md", "rh/a.md"]);
        assert!(found.tells_documents);
        // A row that does not say where it comes from.
        let unnamed = rows.clone() + "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
        fs_err::write(&path, unnamed).unwrap();
        assert_eq!(trained(dir.path(), &[]).unwrap(), Trained::default(), "another file");
        let hash = Rows::read(&path, Method::Lora, true).unwrap().hash;
        let mut same = record;
        same["data"]["blake3"] = json!(hash);
        write(dir.path(), &same);
        let found = trained(dir.path(), &[]).unwrap();
        assert_eq!((found.documents.len(), found.tells_documents), (2, false));
        fs_err::write(&path, "[]").unwrap();
        assert_eq!(trained(dir.path(), &[]).unwrap(), Trained::default(), "of another form");
        fs_err::remove_file(&path).unwrap();
        same["data"]["documents"] = json!([{"path": "b.md", "content_hash": "2"}]);
        write(dir.path(), &same);
        let found = trained(dir.path(), &[]).unwrap();
        assert_eq!((found.documents.len(), found.tells_documents), (1, false));
    }
}
