//! A file becomes a document: its bytes are loaded, parsed under guard, and cleaned.

use std::io::Read as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clean::clean;
use crate::discover::SourceFile;
use crate::document::Document;
use crate::metadata::{FileSettings, merge};
use crate::parse::guard::guarded;
use crate::parse::{Limits, ParseError, Source, parse};

/// A file's bytes and their hash. The hash tells whether the file needs reading at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// All bytes of the file.
    pub bytes: Vec<u8>,
    /// Their BLAKE3 hash.
    pub content_hash: [u8; 32],
}

/// Loads a file, unless it is empty or larger than `limits.bytes_max`.
///
/// # Errors
///
/// [`ParseError::Read`], [`ParseError::Empty`] or [`ParseError::OverLimit`].
pub fn load(file: &SourceFile, limits: &Limits) -> Result<Loaded, ParseError> {
    let mut source = fs_err::File::open(&file.path)?;
    // The size is asked for again: the file may have grown since it was discovered.
    let size = source.metadata()?.len();
    let over = |size: u64| ParseError::OverLimit {
        what: format!("file of {}", megabytes(size)),
        limit: megabytes(limits.bytes_max),
    };
    if size > limits.bytes_max {
        return Err(over(size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One byte more than the limit tells a file that grows while it is read.
    source.by_ref().take(limits.bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limits.bytes_max {
        return Err(over(bytes.len() as u64));
    }
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    let content_hash = blake3::hash(&bytes).into();
    Ok(Loaded { bytes, content_hash })
}

/// Parses and cleans a loaded file, on a thread of its own that is given up when it takes longer
/// than `limits.seconds_max`. A panic of the parser is an error of this one file.
///
/// # Errors
///
/// Why the file could not be read; [`ParseError::Empty`] when it holds no text at all.
pub fn read(
    file: &SourceFile,
    loaded: Loaded,
    settings: &FileSettings,
    limits: &Limits,
) -> Result<Document, ParseError> {
    let name = file.relative.rsplit('/').next().unwrap_or_default().to_owned();
    let (media_type, limits, settings) = (file.media_type, *limits, settings.clone());
    guarded(Duration::from_secs(limits.seconds_max), move |late| {
        let late = || late.load(Ordering::Relaxed);
        let passwords = &settings.passwords;
        let source = Source { bytes: &loaded.bytes, media_type, passwords };
        let mut parsed = parse(&source, &limits, &late)?;
        drop(loaded);
        let metadata = merge(&settings.metadata, &std::mem::take(&mut parsed.metadata))?;
        let document = clean(parsed, media_type, &name, metadata);
        if document.text.is_empty() { Err(ParseError::Empty) } else { Ok(document) }
    })
}

/// Rounded up, so that a file over a limit never reads as being of the limit's size.
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", (bytes as f64 / 100_000.0).ceil() / 10.0)
}
