//! Files to documents to chunks. No network, no model.
//!
//! The flow, each step with one noun and one verb:
//!
//! 1. `discover`: a folder becomes source files.
//! 2. [`parse`]: a file's bytes become [`Parsed`](parse::Parsed) pages of Markdown.
//! 3. `clean`: pages become one [`Document`](document::Document): running headers gone,
//!    invisible text gone, pages and headings mapped.
//! 4. [`chunk`]: a document becomes [`Chunk`](chunk::Chunk)s, exact spans of its text.

pub mod chunk;
pub mod document;
pub mod parse;
