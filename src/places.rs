//! Where in its document the evidence of an answer's sentence stands.

use std::ops::Range;

use index::{
    Index,
    catalog::{CatalogError, StoredChunk, StoredText},
    hit::DocumentId,
};

use crate::{answer::Answer, cite::Verdict, compose::passage_text, retrieve::Passage};

/// Where the words stand that speak for a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which passage of the answer, from 0.
    pub source: usize,
    /// Unicode characters of the document's text, from 0.
    pub chars: Range<usize>,
    /// The words.
    pub text: String,
    /// The heading above them.
    pub heading: Option<String>,
    /// Their page.
    pub page: Option<u32>,
}

/// The place of each sentence's evidence, in the order of the answer's sentences; `None` where
/// nothing speaks for a sentence.
///
/// # Errors
/// When the catalog cannot be read.
pub fn places(index: &Index, answer: &Answer) -> Result<Vec<Option<Place>>, CatalogError> {
    let mut res = Vec::with_capacity(answer.sentences.len());
    // Sentences that follow each other mostly speak of one document, whose text may be long.
    let mut last: Option<(DocumentId, Option<StoredText>)> = None;
    for sentence in &answer.sentences {
        let evidence =
            sentence.evidence.as_ref().filter(|_| sentence.verdict > Verdict::Unsupported);
        let passage = evidence.and_then(|it| answer.passages.get(it.source));
        let (Some(evidence), Some(passage)) = (evidence, passage) else {
            res.push(None);
            continue;
        };
        let id = passage.chunk.document;
        let text = match last.take() {
            Some((of, text)) if of == id => text,
            _ => index.catalog().text(id)?,
        };
        let place = text.as_ref().and_then(|it| place(&passage.chunk, it, evidence.span.clone()));
        last = Some((id, text));
        res.push(place.map(|it| Place { source: evidence.source, ..it }));
    }
    Ok(res)
}

/// `span` is in bytes of the passage as it is checked ([`passage_text`]).
fn place(chunk: &StoredChunk, document: &StoredText, span: Range<usize>) -> Option<Place> {
    let text = passage_text(chunk);
    let words = text.get(span.clone())?;
    let trimmed = chunk.text.trim();
    let lead = chunk.text.len() - chunk.text.trim_start().len();
    let header_len = text.len() - trimmed.len();
    let start = match span.start.checked_sub(header_len) {
        Some(at) => chunk.span.start + lead + at,
        // The header of the table that the passage continues stands further up.
        None => document.text.get(..chunk.span.start)?.rfind(words)?,
    };
    // A newer text under an old chunk would show words that say something else.
    if document.text.get(start..start + words.len()) != Some(words) {
        return None;
    }
    let chars_before = document.text[..start].chars().count();
    Some(Place {
        source: 0,
        chars: chars_before..chars_before + words.chars().count(),
        text: words.to_owned(),
        heading: document
            .headings
            .iter()
            .rev()
            .find(|it| it.offset <= start)
            .map(|it| it.title.clone()),
        page: document.pages.iter().rev().find(|it| it.offset <= start).map(|it| it.page),
    })
}

/// The spans of passages in Unicode characters of their documents' texts.
///
/// # Errors
/// When the catalog cannot be read.
pub fn char_spans(
    index: &Index,
    passages: &[Passage],
) -> Result<Vec<(usize, usize)>, CatalogError> {
    let mut last: Option<(DocumentId, String)> = None;
    let mut res = Vec::with_capacity(passages.len());
    for passage in passages {
        let chunk = &passage.chunk;
        if last.as_ref().is_none_or(|(id, _)| *id != chunk.document) {
            let text = index.catalog().text(chunk.document)?.map(|it| it.text).unwrap_or_default();
            last = Some((chunk.document, text));
        }
        let text = last.as_ref().map_or("", |(_, text)| text.as_str());
        let start = text.get(..chunk.span.start).map_or(0, |it| it.chars().count());
        res.push((start, start + chunk.text.chars().count()));
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use ingest::document::{Heading, PageStart, Span};

    use super::*;
    use crate::samples::chunk;

    fn document(text: &str) -> StoredText {
        let offset = text.find("## Délais").unwrap();
        let headings = vec![
            Heading { level: 1, title: "Été".to_owned(), offset: 0 },
            Heading { level: 2, title: "Délais".to_owned(), offset },
        ];
        let pages = vec![PageStart { page: 1, offset: 0 }, PageStart { page: 2, offset }];
        StoredText { text: text.to_owned(), headings, pages }
    }

    #[test]
    fn evidence_has_the_characters_heading_and_page_of_its_own_place() {
        let text = "# Été\n\nAvant.\n\n## Délais\n\nLe 5 du mois.\n";
        let chunk = chunk("Été", text);
        let at = text.find("Le 5").unwrap();
        let found = place(&chunk, &document(text), at..at + "Le 5 du mois.".len()).unwrap();
        assert_eq!(found.text, "Le 5 du mois.");
        let chars: String = text.chars().skip(found.chars.start).take(found.chars.len()).collect();
        assert_eq!(chars, found.text);
        assert_eq!((found.heading.as_deref(), found.page), (Some("Délais"), Some(2)));
    }

    #[test]
    fn evidence_in_a_repeated_table_header_stands_where_the_table_begins() {
        let text = "## Délais\n\n| Jour | Heure |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n";
        let mut chunk = chunk("T", text);
        let start = text.find("| 3").unwrap();
        chunk.span = Span { start, end: text.len() };
        chunk.text = text[start..].to_owned();
        chunk.table_header = Some("| Jour | Heure |\n|---|---|".to_owned());
        let found = place(&chunk, &document(text), 0.."| Jour | Heure |".len()).unwrap();
        assert_eq!(found.chars.start, "## Délais\n\n".chars().count());
        let row = passage_text(&chunk).find("| 3").unwrap();
        let found = place(&chunk, &document(text), row..row + "| 3 | 4 |".len()).unwrap();
        assert_eq!(found.text, "| 3 | 4 |");
    }
}
