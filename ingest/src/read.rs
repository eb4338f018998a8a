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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::{DiscoverOptions, discover};

    /// Reads the first file of a folder that holds the given ones.
    fn read_first(files: &[(&str, &[u8])], limits: &Limits) -> Result<Document, ParseError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs_err::write(dir.path().join(name), bytes).unwrap();
        }
        let found = discover(&[dir.path().to_owned()], &DiscoverOptions::default()).unwrap();
        let file = &found.files[0];
        let loaded = load(file, limits)?;
        assert_eq!(loaded.content_hash, *blake3::hash(&loaded.bytes).as_bytes());
        read(file, loaded, &found.settings.of(&file.path), limits)
    }

    #[track_caller]
    fn check_error(files: &[(&str, &[u8])], limits: &Limits, expected: &str) {
        let error = read_first(files, limits).unwrap_err().to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn a_file_becomes_a_document_with_what_is_stated_of_it() {
        let files: [(&str, &[u8]); 2] = [
            (
                "a.md",
                b"---\ntitle: Guide\ngroups: [rh]\n---\n# Un\r\n\r\nLe t\xc3\xa9l\xc3\xa9travail.",
            ),
            ("souffleur.toml", b"groups = ['rh', 'direction']\ncollection = 'internal'"),
        ];
        let document = read_first(&files, &Limits::default()).unwrap();
        assert_eq!(document.title, "Guide");
        assert_eq!(document.text, "# Un\n\nLe télétravail.");
        assert_eq!(document.metadata.groups, ["rh"]);
        assert_eq!(document.metadata.collection.as_deref(), Some("internal"));
    }

    #[test]
    fn a_document_that_claims_other_groups_is_refused() {
        let files: [(&str, &[u8]); 2] =
            [("a.md", b"---\ngroups: [tous]\n---\nTexte."), ("souffleur.toml", b"groups = ['rh']")];
        check_error(&files, &Limits::default(), "its own groups (tous) are none of those");
    }

    #[test]
    fn files_without_text_or_over_a_limit_are_refused() {
        let limits = Limits { bytes_max: 10, ..Limits::default() };
        check_error(&[("a.txt", b"")], &limits, "the file is empty");
        check_error(&[("a.md", b" \n \n")], &limits, "the file is empty");
        check_error(&[("a.txt", b"01234567890")], &limits, "file of 0.1 MB over the limit");
        let limits = Limits { text_bytes_max: 4, ..Limits::default() };
        check_error(&[("a.md", b"01234567890")], &limits, "over the limit");
    }

    #[test]
    fn files_that_are_not_what_their_name_says_are_refused() {
        for name in ["a.pdf", "a.docx", "a.pptx", "a.xlsx"] {
            let error = read_first(&[(name, b"not at all")], &Limits::default()).unwrap_err();
            assert!(matches!(error, ParseError::Corrupt { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn messages_inside_messages_end_somewhere() {
        let mut mail = b"From: a@b.c\r\nSubject: fin\r\n\r\nLe dernier message.\r\n".to_vec();
        for depth in 0..20 {
            let head = format!(
                "From: a@b.c\r\nSubject: {depth}\r\nMIME-Version: 1.0\r\n\
                 Content-Type: multipart/mixed; boundary=\"b{depth}\"\r\n\r\n\
                 --b{depth}\r\nContent-Type: text/plain\r\n\r\nNiveau {depth}.\r\n\
                 --b{depth}\r\nContent-Type: application/octet-stream; name=\"m.eml\"\r\n\
                 Content-Disposition: attachment; filename=\"m.eml\"\r\n\r\n"
            );
            let tail = format!("\r\n--b{depth}--\r\n");
            mail = [head.as_bytes(), &mail, tail.as_bytes()].concat();
        }
        let document = read_first(&[("a.eml", &mail)], &Limits::default()).unwrap();
        assert!(document.text.contains("Niveau 19."), "the outermost message is read");
        assert!(!document.text.contains("Le dernier message."), "the innermost is not");
    }
}
