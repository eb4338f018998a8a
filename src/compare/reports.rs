//! Reports of comparisons, kept beside their answers: `runs/compare/HASH/report-ID.json`.

use std::{
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use index::atomic_file;
use serde_json::Value;

/// Reports listed at most, the newest first.
pub const LISTED_MAX: usize = 100;

const PREFIX: &str = "report-";
const SUFFIX: &str = ".json";

/// A report on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptReport {
    /// `HASH-ID`: letters and digits of both.
    pub id: String,
    /// Seconds since 1970 (UTC) when it was last written.
    pub at: u64,
    path: PathBuf,
}

/// Where comparisons are kept.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("runs/compare")
}

/// Writes a report into the folder of its answers, and gives its id. The same arms and questions have
/// one report.
///
/// # Errors
/// When the disk fails.
pub fn keep(dir: &Path, keys: &[String], report: &Value) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for key in keys {
        hasher.update(&key.len().to_le_bytes());
        hasher.update(key.as_bytes());
    }
    let id = &hasher.finalize().to_hex()[..12];
    let path = dir.join(format!("{PREFIX}{id}{SUFFIX}"));
    atomic_file::write(&path, report.to_string().as_bytes())?;
    Ok(id_of(dir, id))
}

/// `HASH-ID`: letters and digits of both.
fn id_of(dir: &Path, id: &str) -> String {
    format!("{}-{id}", dir.file_name().unwrap_or_default().to_string_lossy())
}

/// The reports that are kept, the newest first.
///
/// # Errors
/// When the disk fails.
pub fn list(data_dir: &Path) -> io::Result<Vec<KeptReport>> {
    let root = folder(data_dir);
    let mut res = Vec::new();
    if !root.is_dir() {
        return Ok(res);
    }
    for run in fs_err::read_dir(root)? {
        let run = run?.path();
        if !run.is_dir() {
            continue;
        }
        for file in fs_err::read_dir(&run)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let id = name.strip_prefix(PREFIX).and_then(|it| it.strip_suffix(SUFFIX));
            let Some(id) = id else { continue };
            let changed = file.metadata()?.modified()?.duration_since(UNIX_EPOCH);
            res.push(KeptReport {
                id: id_of(&run, id),
                at: changed.unwrap_or_default().as_secs(),
                path: file.path(),
            });
        }
    }
    res.sort_by(|a, b| b.at.cmp(&a.at).then(a.id.cmp(&b.id)));
    Ok(res)
}

impl KeptReport {
    /// The report, as `compare --json` printed it.
    ///
    /// # Errors
    /// When the disk fails, or the file is none of ours.
    pub fn read(&self) -> io::Result<Value> {
        Ok(serde_json::from_slice(&fs_err::read(&self.path)?)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_comparison_has_one_report() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list(dir.path()).unwrap().is_empty());
        let run = folder(dir.path()).join("0123456789abcdef");
        fs_err::create_dir_all(&run).unwrap();
        let keys = ["rag 1".to_owned(), "How many?".to_owned()];
        keep(&run, &keys, &json!({"n": 1})).unwrap();
        let id = keep(&run, &keys, &json!({"n": 2})).unwrap();
        let found = list(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, id);
        assert!(found[0].id.starts_with("0123456789abcdef-"));
        assert_eq!(found[0].read().unwrap(), json!({"n": 2}));
        keep(&run, &keys[..1], &json!({})).unwrap();
        assert_eq!(list(dir.path()).unwrap().len(), 2);
    }
}
