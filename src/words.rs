//! The words of a text as retrieval sees them, for the parts that compare texts.

use std::collections::BTreeSet;

use index::lexical::analyse;
use ingest::document::Language;

/// The stems of a text's content words; in both languages where its own cannot be told.
#[must_use]
pub fn stems(text: &str, language: Option<Language>) -> BTreeSet<String> {
    let languages: &[Language] = match language {
        Some(Language::English) => &[Language::English],
        Some(Language::French) => &[Language::French],
        None => &[Language::English, Language::French],
    };
    languages.iter().flat_map(|it| analyse(text, *it)).collect()
}
