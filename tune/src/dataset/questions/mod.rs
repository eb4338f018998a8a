//! Questions with answers that need no language model: what a document asks and answers by its own
//! structure. Everything is deterministic; which of several phrasings is taken depends on the
//! question alone.

mod nouns;
mod phrases;
mod records;
mod sections;
mod tables;
pub mod unanswerable;

use std::{collections::BTreeSet, ops::Range};

use ingest::document::Language;

use super::{
    corpus::{Source, furniture},
    row::MadeBy,
};

/// Cuts a text into sentences: bytes of each.
pub type Sentences<'a> = &'a dyn Fn(&str) -> Vec<Range<usize>>;

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qa {
    /// How it was made.
    pub made_by: MadeBy,
    /// Its language.
    pub language: Language,
    /// What is asked.
    pub question: String,
    /// The answer's sentences, without citation marks.
    pub answer: Vec<String>,
    /// The answer in as few words as can be, where it is a value.
    pub value: Option<Value>,
    /// Where the words stand that the answer rests on, in bytes of the document's text.
    pub span: Range<usize>,
    /// What a passage must mention to answer it.
    pub subject: String,
}

/// An answer in as few words as can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The words.
    pub text: String,
    /// Whether they are an answer by themselves: a figure whose column names its unit is none.
    pub is_enough: bool,
}

/// The questions of a document, in reading order.
#[must_use]
pub fn questions(source: &Source, sentences: Sentences<'_>) -> Vec<Qa> {
    if is_superseded(source) {
        return Vec::new();
    }
    let document = Asked { source, sentences, furniture: furniture(&source.text) };
    let mut res = records::of(&document);
    for section in source.sections() {
        res.extend(sections::of(&document, &section));
        res.extend(tables::of(&document, &section));
        res.extend(records::rules(&document, &section));
    }
    res.retain(|it| source.chunk_of(&it.span).is_some());
    res
}

/// The reference that a document gives itself at its beginning, such as `RH-2026-003`: its
/// translations have the same.
#[must_use]
pub fn reference(text: &str) -> Option<&str> {
    records::reference(text)
}

/// A document that questions are made of.
struct Asked<'a> {
    source: &'a Source,
    sentences: Sentences<'a>,
    /// Lines that stand at the head or the foot of its pages.
    furniture: BTreeSet<&'a str>,
}

impl Asked<'_> {
    /// The language of a place: its chunk's, else its document's, else English.
    fn language_at(&self, span: &Range<usize>) -> Language {
        let of_chunk = self.source.chunk_of(span).and_then(|it| it.language);
        of_chunk.or(self.source.language).unwrap_or(Language::English)
    }

    /// Sentences of a text, without Markdown's marks and without blanks around them.
    fn sentences(&self, text: &str) -> Vec<String> {
        let plain = phrases::plain(text);
        let all = (self.sentences)(&plain).into_iter().map(|it| plain[it].trim().to_owned());
        all.filter(|it| !it.is_empty()).collect()
    }
}

/// Whether a document says that another one has replaced it: what it states no longer holds.
#[must_use]
pub fn is_superseded(source: &Source) -> bool {
    const WORDS: [&str; 9] = [
        "abrogé",
        "remplacée par",
        "remplacé par",
        "n’est plus en vigueur",
        "n'est plus en vigueur",
        "superseded",
        "replaced by",
        "no longer in force",
        "withdrawn",
    ];
    let end = source.text.char_indices().map(|(at, _)| at).nth(600).unwrap_or(source.text.len());
    let head = format!("{}\n{}", source.title, &source.text[..end]).to_lowercase();
    WORDS.iter().any(|it| head.contains(it))
}

#[cfg(test)]
mod tests;
