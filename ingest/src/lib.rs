//! Files to documents to chunks. No network, no model.
//!
//! The flow, each step with one noun and one verb:
//!
//! 1. [`discover`]: folders become [`SourceFile`](discover::SourceFile)s, and the settings that
//!    stand beside them are read.
//! 2. [`read`]: a file becomes one [`Document`](document::Document), under limits. Inside,
//!    [`parse`] makes pages of Markdown of its bytes, and [`clean`] makes one text of the pages:
//!    running headers and invisible text gone, pages and headings mapped.
//! 3. [`chunk`]: a document becomes [`Chunk`](chunk::Chunk)s, exact spans of its text.
//!
//! Beside the flow: which [`language`] a text is in, which texts are near [`duplicates`], and
//! which sentences look like instructions to a model ([`injection`]).

pub mod chunk;
pub mod clean;
pub mod discover;
pub mod document;
pub mod duplicates;
pub mod injection;
pub mod language;
mod lines;
pub mod metadata;
pub mod parse;
pub mod read;
