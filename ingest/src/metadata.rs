//! What an administrator says about documents: `souffleur.toml` files beside them.
//!
//! ```toml
//! collection = "rh"
//! licence = "internal"
//! groups = ["rh", "direction"]
//! language = "fr"
//! passwords = ["the one that opens our PDFs"]
//!
//! [files."accord-2024.pdf"]
//! title = "Accord d'entreprise 2024"
//! groups = ["direction"]
//! ```
//!
//! A file applies to its folder and everything below; the nearest file that states a key wins, and
//! an entry for the file itself wins over that. A path in `files` is relative to the folder.
//!
//! A document may state things of itself too (front matter, document properties). For its title,
//! language and licence the document wins: its author knows best. For collection and groups the
//! administrator wins, and a document can only narrow: where both name groups, those in both may
//! read it; where they share none the file is refused, because an empty list would mean everyone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::Metadata;
use crate::parse::ParseError;

/// What `souffleur.toml` files say about one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// The nearest statements.
    pub metadata: Metadata,
    /// Passwords to try on an encrypted file, nearest first.
    pub passwords: Vec<String>,
}

impl FileSettings {
    /// Changes exactly when the metadata does. A file whose bytes are unchanged must still be
    /// recorded again when its rights or its title changed.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        unimplemented!()
    }
}

/// All `souffleur.toml` files of the folders read, by folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderSettings {
    by_folder: BTreeMap<PathBuf, FileSettings>,
}

/// Why a `souffleur.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not valid TOML, or holds a key or a value that is not known.
    #[error("`{}`: {detail}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line and the key.
        detail: String,
    },
}

impl FolderSettings {
    /// What applies to the file at `path` (absolute).
    #[must_use]
    pub fn of(&self, path: &Path) -> FileSettings {
        let _ = path;
        unimplemented!()
    }
}

/// Joins what the administrator and the document say, by the rules at the top of this file.
pub fn merge(administrator: &Metadata, own: &Metadata) -> Result<Metadata, ParseError> {
    let _ = (administrator, own);
    unimplemented!()
}
