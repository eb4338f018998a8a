//! A file becomes a document: its bytes are loaded, parsed under guard, and cleaned.

use crate::discover::SourceFile;
use crate::document::Document;
use crate::metadata::FileSettings;
use crate::parse::{Limits, ParseError};

/// A file's bytes and their hash. The hash tells whether the file needs reading at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// All bytes of the file.
    pub bytes: Vec<u8>,
    /// Their BLAKE3 hash.
    pub content_hash: [u8; 32],
}

/// Loads a file, unless it is empty or larger than `limits.bytes_max`.
pub fn load(file: &SourceFile, limits: &Limits) -> Result<Loaded, ParseError> {
    let _ = (file, limits);
    unimplemented!()
}

/// Parses and cleans a loaded file, on a thread of its own that is given up when it takes longer
/// than `limits.seconds_max`. A panic of the parser is an error of this one file.
pub fn read(
    file: &SourceFile,
    loaded: Loaded,
    settings: &FileSettings,
    limits: &Limits,
) -> Result<Document, ParseError> {
    let _ = (file, loaded, settings, limits);
    unimplemented!()
}
