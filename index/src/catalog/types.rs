//! What goes into the catalog and what comes out.

use ingest::chunk::Chunk;
use ingest::document::{Document, Finding, Heading, Language, MediaType, PageStart, Span};

use crate::filter::Facets;
use crate::hit::{ChunkId, DocumentId};
use crate::unit_vector::UnitVector;

/// The file that a document was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder that was ingested, as an absolute path.
    pub root: String,
    /// The file's path below it, with `/` between parts. A root and a path name one document.
    pub path: String,
    /// BLAKE3 of the file's bytes, in hexadecimal.
    pub content_hash: String,
    /// Bytes of the file.
    pub size: u64,
    /// Last change of the file, in nanoseconds since 1970 (UTC).
    pub mtime_ns: i64,
}

/// What an administrator or the document itself says of it, and what filters ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The collection that it belongs to.
    pub collection: Option<String>,
    /// Licence, as written.
    pub licence: Option<String>,
    /// Groups whose members may read it. Empty: everyone may.
    pub groups: Vec<String>,
    /// Last change, in seconds since 1970 (UTC): as stated, or else the file's.
    pub modified: Option<i64>,
}

/// Another document that says the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duplicate {
    /// The document that came first.
    pub of: DocumentId,
    /// Estimated share of common shingles; 1 for the same bytes.
    pub similarity: f32,
}

/// A document to be stored, with everything that was made of it.
#[derive(Debug, Clone)]
pub struct NewDocument<'a> {
    /// Where it comes from.
    pub source: &'a Source,
    /// Its text, title, language, pages, headings and findings.
    pub document: &'a Document,
    /// Its labels.
    pub labels: &'a Labels,
    /// Version and settings of parser and chunker, as one string: a caller that finds another one
    /// than its own on a stored document reads the file again.
    pub made_by: &'a str,
    /// Now, in seconds since 1970 (UTC).
    pub ingested_at: i64,
    /// The document that it repeats, if any.
    pub duplicate: Option<Duplicate>,
    /// Its MinHash signature, to find those that repeat it later.
    pub signature: &'a [u8],
    /// Its chunks in reading order.
    pub chunks: &'a [EmbeddedChunk],
}

/// A chunk with its vector: what the index takes.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedChunk {
    /// The chunk.
    pub chunk: Chunk,
    /// What the embedder made of its text.
    pub vector: UnitVector,
    /// SimHash of its text. Chunks whose hashes differ in few bits say the same.
    pub simhash: u64,
}

/// A document of the catalog, without its text.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredDocument {
    /// Its identity.
    pub id: DocumentId,
    /// Where it comes from.
    pub source: Source,
    /// Title.
    pub title: String,
    /// Format of its file.
    pub media_type: MediaType,
    /// Main language.
    pub language: Option<Language>,
    /// Its labels.
    pub labels: Labels,
    /// As in [`NewDocument::made_by`].
    pub made_by: String,
    /// As in [`NewDocument::ingested_at`].
    pub ingested_at: i64,
    /// The document that it repeats, if any. Empty again once that one is deleted.
    pub duplicate: Option<Duplicate>,
    /// What its reader should know.
    pub findings: Vec<Finding>,
    /// How many chunks it has.
    pub n_chunks: u64,
}

/// A document's text and its maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredText {
    /// The text, as Markdown.
    pub text: String,
    /// Page starts; empty when the format has no pages.
    pub pages: Vec<PageStart>,
    /// Headings.
    pub headings: Vec<Heading>,
}

/// A live chunk, with all that an answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChunk {
    /// Its identity.
    pub id: ChunkId,
    /// Its document.
    pub document: DocumentId,
    /// The folder that its document was found in.
    pub root: String,
    /// Title of its document.
    pub title: String,
    /// Place among its document's chunks, from 0.
    pub ordinal: u32,
    /// Where it stands in its document's text, in bytes.
    pub span: Span,
    /// That part of the document's text.
    pub text: String,
    /// The header rows of the table that it continues, when it does not hold them itself.
    pub table_header: Option<String>,
    /// The headings above it, outermost first.
    pub heading_path: Vec<String>,
    /// The page on which it begins.
    pub page: Option<u32>,
    /// SimHash of its text.
    pub simhash: u64,
    /// What filters ask for: its document's path below the root, collection, language, date,
    /// groups.
    pub facets: Facets,
}

/// A collection, as far as a reader may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionCounts {
    /// Its name.
    pub name: String,
    /// Documents in it.
    pub documents: u64,
    /// Their live chunks.
    pub chunks: u64,
}

/// How much there is for a reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadableCounts {
    /// Documents.
    pub documents: u64,
    /// Their live chunks.
    pub chunks: u64,
}

/// Sizes of the catalog.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Chunks.
    pub chunks: u64,
    /// Documents that repeat another one.
    pub duplicates: u64,
    /// Bytes of extracted text.
    pub text_bytes: u64,
    /// Changes that an index leg has not yet made durable.
    pub pending: u64,
}
