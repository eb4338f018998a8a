//! Documents become chunks: exact spans of a document's text, small enough for the embedder.

use crate::document::{Language, Span};

/// How large chunks may be, in the embedder's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Tokens of a chunk's embedded text at most: title, heading path, table header and span.
    pub tokens_max: usize,
    /// Tokens that neighbouring chunks of running text share.
    pub overlap: usize,
}

/// A piece of a document.
///
/// Invariants: `span` and `table_header` lie on UTF-8 boundaries of the document's text; the
/// spans of a document's chunks together cover all of its text that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it stands in its document's text.
    pub span: Span,
    /// The headings above it, outermost first.
    pub heading_path: Vec<String>,
    /// The page on which it begins.
    pub page: Option<u32>,
    /// The header rows of the table that it continues, when it does not hold them itself.
    pub table_header: Option<Span>,
    /// Its language, where it can be told; else its document's.
    pub language: Option<Language>,
}
