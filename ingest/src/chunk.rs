//! Documents become chunks: exact spans of a document's text, small enough for the embedder.

use crate::document::{Document, Language, Span};

/// How large chunks may be, in the embedder's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Tokens of a chunk's [`embedding_text`] at most: context, table header and span.
    /// At least [`ChunkLimits::TOKENS_MIN`].
    pub tokens_max: usize,
    /// Tokens that neighbouring chunks of running text share at most. Less than half of
    /// `tokens_max`.
    pub overlap: usize,
}

impl ChunkLimits {
    /// The least `tokens_max`: below it, a single character with its context might not fit.
    pub const TOKENS_MIN: usize = 24;
}

/// A piece of a document.
///
/// Invariants: `span` and `table_header` lie on UTF-8 boundaries of the document's text; the
/// spans of a document's chunks together cover all of its text that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it stands in its document's text.
    pub span: Span,
    /// The headings that its first content stands under, outermost first. Headings at the very
    /// start of the span are among them.
    pub heading_path: Vec<String>,
    /// What is embedded in front of it: the document's title and the headings that stand above
    /// the span, ` > ` between them, capped to a third of the limit. Outer headings go first,
    /// then the end of the title. May be empty.
    pub context: String,
    /// The page on which it begins.
    pub page: Option<u32>,
    /// The header rows of the table that it continues, when it does not hold them itself.
    pub table_header: Option<Span>,
    /// Its language, where it can be told; else its document's.
    pub language: Option<Language>,
}

/// Cuts a document into chunks, in order.
///
/// `count_tokens` counts the tokens of a text for the embedder, without special tokens. For every
/// chunk, the count of its [`embedding_text`] is at most `limits.tokens_max`.
///
/// # Panics
///
/// When `limits` break the bounds that their fields state.
#[must_use]
pub fn chunk(
    document: &Document,
    limits: &ChunkLimits,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<Chunk> {
    let _ = (document, limits, count_tokens);
    unimplemented!()
}

/// What the embedder reads for a chunk: its context, the header of the table that it continues,
/// and its text, each on lines of its own.
#[must_use]
pub fn embedding_text(document: &Document, chunk: &Chunk) -> String {
    let _ = (document, chunk);
    unimplemented!()
}
