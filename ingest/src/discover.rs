//! Folders become source files: which files there are to read, and which are left aside and why.

use std::path::{Path, PathBuf};

use crate::document::MediaType;
use crate::metadata::FolderSettings;
use crate::parse::ParseError;

/// What to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoverOptions {
    /// Patterns in the syntax of `.gitignore`, relative to each root; what they match is left out.
    pub exclude: Vec<String>,
    /// Whether files and folders whose name begins with a dot are read too.
    pub hidden: bool,
}

/// A file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is: absolute, symbolic links of the root resolved.
    pub path: PathBuf,
    /// The root that it was found under: absolute; the folder of a root that is a file.
    pub root: PathBuf,
    /// Its place below the root, with `/` between names on every system.
    pub relative: String,
    /// Its format.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// When it last changed, in seconds since 1970 (UTC); `None` where the system does not tell.
    pub modified: Option<i64>,
}

/// A file that was left aside.
#[derive(Debug)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: ParseError,
}

/// What the roots hold, each list sorted by path.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Files to read.
    pub files: Vec<SourceFile>,
    /// Files left aside. Files that an ignore file or an `exclude` pattern names are not listed.
    pub skipped: Vec<Skipped>,
    /// The `souffleur.toml` files beside them.
    pub settings: FolderSettings,
}

/// Why discovery stopped. Nothing has been changed by then.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// No root was given.
    #[error("no folder or file to read was given")]
    NoRoots,
    /// A root does not exist.
    #[error("no file or folder at `{}`", path.display())]
    Missing {
        /// The root as given.
        path: PathBuf,
    },
    /// A root cannot be listed.
    #[error("could not list `{}`", path.display())]
    Unreadable {
        /// The root as given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A root holds no file of a format that can be read.
    #[error("no document in `{}` ({n_skipped} files of other formats)", path.display())]
    Empty {
        /// The root as given.
        path: PathBuf,
        /// Files that are there but cannot be read.
        n_skipped: usize,
    },
    /// An `exclude` pattern is not valid.
    #[error("exclude pattern `{pattern}`: {detail}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A `souffleur.toml` is not valid. It stops the run, since it may hold access rights.
    #[error(transparent)]
    Settings(#[from] crate::metadata::SettingsError),
}

/// Lists what there is to read under `roots` (folders, or single files), in a stable order.
///
/// `.gitignore`, `.ignore` and `.souffleurignore` files inside a root are honoured, those above it
/// are not: what is named is read. Hidden files are left out unless asked for. Symbolic links are
/// followed, loops are cut, and a file reached twice is listed once.
pub fn discover(roots: &[PathBuf], options: &DiscoverOptions) -> Result<Discovered, DiscoverError> {
    let _ = (roots, options);
    unimplemented!()
}

/// The format that a file's name tells, by its extension without regard to case.
#[must_use]
pub fn media_type(path: &Path) -> Option<MediaType> {
    let _ = path;
    unimplemented!()
}
