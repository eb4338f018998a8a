//! The document: one file's text as Markdown, with maps from offsets to pages and headings.

use std::ops::Range;

/// A half-open range of bytes of a document's text, on UTF-8 boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The span as a range, to slice with.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether the span holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A language that the product analyses: stems, stop words, prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// English, `en`.
    English,
    /// French, `fr`.
    French,
}

impl Language {
    /// The ISO 639-1 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }

    /// Reads an ISO 639-1 code, with or without a region (`fr`, `fr-CA`, `fr_FR`).
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "fr" => Some(Self::French),
            _ => None,
        }
    }
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaType {
    /// `.md`, `.markdown`, `.mdx`
    Markdown,
    /// `.html`, `.htm`, `.xhtml`
    Html,
    /// `.pdf`
    Pdf,
    /// `.docx`
    Docx,
    /// `.pptx`
    Pptx,
    /// `.xlsx`, `.xlsm`
    Xlsx,
    /// `.csv`, `.tsv`
    Csv,
    /// `.txt`, `.text`, `.log`
    Text,
    /// `.eml`
    Email,
}

/// Where a page begins in a document's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageStart {
    /// The page's number, from 1. A presentation's slide counts as a page.
    pub page: u32,
    /// Byte offset of its first character.
    pub offset: usize,
}

/// A heading of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// 1 for the outermost.
    pub level: u8,
    /// Its text, without markup.
    pub title: String,
    /// Byte offset of the line that holds it.
    pub offset: usize,
}

/// What an administrator or an author says about a document: front matter, or a `souffleur.toml`
/// beside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Overrides the title found in the text.
    pub title: Option<String>,
    /// Overrides the detected language.
    pub language: Option<Language>,
    /// The collection that the document belongs to.
    pub collection: Option<String>,
    /// Licence, as written.
    pub licence: Option<String>,
    /// Groups whose members may read the document. Empty: everyone may.
    pub groups: Vec<String>,
    /// Last change that the document states of itself, in seconds since 1970 (UTC).
    pub modified: Option<i64>,
}

/// Something in a document that its reader should know of. A finding never stops ingestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Text that a reader would not see was removed.
    InvisibleText {
        /// How it was hidden.
        kind: Hidden,
        /// Characters removed.
        n_chars: usize,
    },
    /// Text addressed to a language model, not to a reader. It stays, as data.
    Instruction {
        /// The words that gave it away.
        quote: String,
    },
    /// Pages without a text layer, probably scans.
    NoTextLayer {
        /// Their numbers, from 1.
        pages: Vec<u32>,
    },
    /// Running headers, footers and page numbers were removed.
    PageFurniture {
        /// Lines.
        n_lines: usize,
        /// Pages that lost one.
        n_pages: usize,
    },
    /// The file is damaged, and only part of it could be read.
    Damaged {
        /// What is missing, in words for a reader.
        what: String,
    },
    /// Part of the file was left out, and why.
    LeftOut {
        /// What and why, in words for a reader.
        what: String,
    },
}

/// How invisible text was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hidden {
    /// Zero-width characters.
    ZeroWidth,
    /// Bidirectional control characters.
    Bidi,
    /// Unicode tag characters (U+E0000 block).
    Tag,
    /// HTML hidden by attribute or style, or comments.
    Html,
    /// PDF text in rendering mode 3, or of no size, or drawn in the page's colour.
    Pdf,
    /// Office text marked as hidden.
    Office,
}

/// One file, read.
///
/// Invariants: `pages` and `headings` are sorted by offset; every offset lies on a UTF-8 boundary
/// of `text`; `text` is Markdown in NFC without invisible characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Title: from metadata, else the file's own, else its first heading, else its name.
    pub title: String,
    /// The text, as Markdown: headings as `#`, tables as pipe rows.
    pub text: String,
    /// The file's format.
    pub media_type: MediaType,
    /// Main language; `None` when it is neither of ours or too short to tell.
    pub language: Option<Language>,
    /// Page starts; empty when the format has no pages.
    pub pages: Vec<PageStart>,
    /// Headings.
    pub headings: Vec<Heading>,
    /// What was stated about the document.
    pub metadata: Metadata,
    /// What its reader should know.
    pub findings: Vec<Finding>,
}

impl Document {
    /// The page that holds a byte offset; `None` when the format has no pages.
    #[must_use]
    pub fn page_at(&self, offset: usize) -> Option<u32> {
        let after = self.pages.partition_point(|start| start.offset <= offset);
        after.checked_sub(1).map(|i| self.pages[i].page)
    }
}
