//! Pages of Markdown become one document.

use crate::document::{Document, MediaType, Metadata};
use crate::parse::Parsed;

/// Cleans what a parser made: one text, with what no reader sees removed and reported.
/// `name` is the file's name, the title of last resort; `metadata` is already merged.
#[must_use]
pub fn clean(parsed: Parsed, media_type: MediaType, name: &str, metadata: Metadata) -> Document {
    let _ = (parsed, media_type, name, metadata);
    unimplemented!()
}
