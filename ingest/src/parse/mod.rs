//! A file's bytes become pages of Markdown.
//!
//! One file a format; each parser is a function from bytes to [`Parsed`] and knows nothing of the
//! others. A bad file is an answer ([`ParseError`]), never a panic that ends a run.

use std::path::Path;

use crate::discover::media_type;
use crate::document::{Finding, MediaType, Metadata};

pub mod csv;
pub mod docx;
pub mod email;
pub mod guard;
pub mod html;
pub mod markdown;
pub mod pdf;
pub mod pptx;
pub mod text;
pub mod xlsx;

pub(crate) mod office;
pub(crate) mod table;

/// Messages attached to messages attached to messages: past this many, the rest is left out.
const ATTACHMENT_DEPTH_MAX: u32 = 4;

/// A file to parse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// All its bytes.
    pub bytes: &'a [u8],
    /// Its format.
    pub media_type: MediaType,
    /// Passwords to try if it is encrypted.
    pub passwords: &'a [String],
}

/// Parses a file by its format. `cancelled` is asked now and then whether to stop.
pub(crate) fn parse(
    source: &Source<'_>,
    limits: &Limits,
    cancelled: &dyn Fn() -> bool,
) -> Result<Parsed, ParseError> {
    let parsed = parse_nested(source, limits, cancelled, 0)?;
    let n_bytes: usize = parsed.pages.iter().map(|page| page.text.len()).sum();
    if n_bytes > limits.text_bytes_max {
        return Err(ParseError::OverLimit {
            what: format!("text of {n_bytes} bytes"),
            limit: format!("{} bytes", limits.text_bytes_max),
        });
    }
    Ok(parsed)
}

fn parse_nested(
    source: &Source<'_>,
    limits: &Limits,
    cancelled: &dyn Fn() -> bool,
    depth: u32,
) -> Result<Parsed, ParseError> {
    let bytes = source.bytes;
    match source.media_type {
        MediaType::Markdown => markdown::parse(bytes, limits),
        MediaType::Html => html::parse(bytes, limits),
        MediaType::Pdf => pdf::parse(bytes, limits, source.passwords, cancelled),
        MediaType::Docx => docx::parse(bytes, limits),
        MediaType::Pptx => pptx::parse(bytes, limits),
        MediaType::Xlsx => xlsx::parse(bytes, limits),
        MediaType::Csv => csv::parse(bytes, limits),
        MediaType::Text => text::parse(bytes, limits),
        MediaType::Email => email::parse(bytes, limits, &|name, bytes| {
            let path = Path::new(name);
            let Some(media_type) = media_type(path) else {
                let extension = path.extension().unwrap_or_default().to_string_lossy();
                return Err(ParseError::Unsupported { extension: extension.into_owned() });
            };
            if depth == ATTACHMENT_DEPTH_MAX {
                return Err(ParseError::OverLimit {
                    what: "attachments inside attachments".to_owned(),
                    limit: format!("{ATTACHMENT_DEPTH_MAX} levels"),
                });
            }
            let attached = Source { bytes, media_type, passwords: source.passwords };
            parse_nested(&attached, limits, cancelled, depth + 1)
        }),
    }
}

/// What a parser makes of a file: Markdown by page, as found. Cleaning comes after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The file's own title (PDF information, HTML `<title>`, document properties).
    pub title: Option<String>,
    /// The pages in order. A format without pages gives one with no number.
    pub pages: Vec<Page>,
    /// What the file states of itself.
    pub metadata: Metadata,
    /// What its reader should know.
    pub findings: Vec<Finding>,
}

/// One page of Markdown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Its number from 1, or `None` when the format has no pages.
    pub number: Option<u32>,
    /// Its text: headings as `#`, tables as pipe rows, lists as `-`, code fenced.
    pub text: String,
}

/// Limits on one file. They exist so that no file can take the machine with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes_max: u64,
    /// Pages.
    pub pages_max: u32,
    /// Bytes after decompression, all members of an archive together.
    pub decompressed_bytes_max: u64,
    /// Bytes of text that come out.
    pub text_bytes_max: usize,
    /// Seconds of parsing.
    pub seconds_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            pages_max: 5_000,
            decompressed_bytes_max: 512 << 20,
            text_bytes_max: 64 << 20,
            seconds_max: 60,
        }
    }
}

/// Why a file could not be read. Each becomes a line in the report, and the run goes on.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The file could not be opened or read.
    #[error("could not be read: {0}")]
    Read(#[from] std::io::Error),
    /// The format is none of ours.
    #[error("unsupported format `{extension}`")]
    Unsupported {
        /// The file's extension.
        extension: String,
    },
    /// The file holds nothing.
    #[error("the file is empty")]
    Empty,
    /// A limit was reached.
    #[error("{what} over the limit of {limit}")]
    OverLimit {
        /// What was counted, with its value where known: `file of 1.2 GB`.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Parsing took too long.
    #[error("parsing took more than {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// A password is needed.
    #[error("encrypted: state `password = \"…\"` in a `souffleur.toml` beside it")]
    Encrypted,
    /// None of the stated passwords opens it.
    #[error("encrypted, and no password in `souffleur.toml` opens it")]
    WrongPassword,
    /// No text layer at all.
    #[error("no text layer: it looks like a scan, and needs OCR first")]
    Scan,
    /// Pages that show drawings and no text.
    #[error("no text layer: its pages hold drawings only")]
    Drawings,
    /// The file is damaged.
    #[error("damaged: {detail}")]
    Corrupt {
        /// What the parser found.
        detail: String,
    },
    /// The parser panicked. A defect of ours or of a library.
    #[error("the parser failed on it: {detail}")]
    Panicked {
        /// The panic's message.
        detail: String,
    },
    /// The document and the administrator name groups that have nothing in common.
    #[error(
        "its own groups ({}) are none of those that `souffleur.toml` allows ({})",
        own.join(", "),
        allowed.join(", ")
    )]
    NoCommonGroup {
        /// Groups that the document names.
        own: Vec<String>,
        /// Groups that the administrator names.
        allowed: Vec<String>,
    },
}
