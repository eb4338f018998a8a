//! A passage cut into what can answer: sentences and table rows, each with what stands above it.

use std::ops::Range;

use index::catalog::StoredChunk;

use crate::cite::{heading, split};

/// A sentence or table row of a passage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its bytes in the passage's text.
    pub span: Range<usize>,
    /// The header of its table, in bytes of the passage's text, when it is a row of one.
    pub header: Option<Range<usize>>,
    /// Title of the document and headings above it, one a line.
    pub heading: String,
}

impl Unit {
    /// Its words, with the names of its columns.
    #[must_use]
    pub fn with_header(&self, text: &str) -> String {
        let own = &text[self.span.clone()];
        match &self.header {
            Some(header) => format!("{} {own}", &text[header.clone()]),
            None => own.to_owned(),
        }
    }
}

/// What stands above a line.
struct Above {
    start: usize,
    /// Header of the table that the line is a row of.
    header: Option<Range<usize>>,
    /// Whether the line is the header of a table, or a heading.
    is_frame: bool,
    /// Which of the passage's headings it stands under.
    heading: usize,
}

/// The units of a passage whose text ([`crate::compose::passage_text`]) is `text`. Headings, table
/// headers and rules are none.
#[must_use]
pub fn units(chunk: &StoredChunk, text: &str) -> Vec<Unit> {
    let (lines, headings) = lines(chunk, text);
    let mut res = Vec::new();
    for span in split(text) {
        let at = lines.partition_point(|it| it.start <= span.start).saturating_sub(1);
        let Some(line) = lines.get(at) else { continue };
        if line.is_frame || !text[span.clone()].chars().any(char::is_alphanumeric) {
            continue;
        }
        let heading = headings[line.heading].clone();
        res.push(Unit { span, header: line.header.clone(), heading });
    }
    res
}

/// Reads a passage's lines, Markdown headings and tables; and what its lines stand under, each
/// title and headings as in [`Unit::heading`].
fn lines(chunk: &StoredChunk, text: &str) -> (Vec<Above>, Vec<String>) {
    let mut headings = chunk.heading_path.clone();
    let shown = |headings: &[String]| format!("{}\n{}", chunk.title, headings.join("\n"));
    let mut all = vec![shown(&headings)];
    let mut header: Option<Range<usize>> = None;
    let mut res = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let is_row = trimmed.starts_with('|');
        let begins_table = is_row && header.is_none();
        if begins_table {
            header = Some(start..start + line.trim_end().len());
        } else if !is_row {
            header = None;
        }
        let heading = heading(line);
        if let Some((level, words)) = heading {
            headings.truncate(level - 1);
            headings.push(words.to_owned());
            all.push(shown(&headings));
        }
        res.push(Above {
            start,
            header: header.clone().filter(|_| !begins_table),
            is_frame: heading.is_some() || begins_table,
            heading: all.len() - 1,
        });
        start += line.len();
    }
    (res, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::chunk;

    #[test]
    fn rows_know_their_header_and_sentences_their_headings() {
        let text = "# Frais\n\nAvant. Puis.\n\n## Plafonds\n\n| Repas | Paris |\n|---|---|\n\
                    | Dîner | 28 € |\n\nAprès.";
        let chunk = chunk("Politique", text);
        let units = units(&chunk, text);
        let found: Vec<&str> = units.iter().map(|it| &text[it.span.clone()]).collect();
        assert_eq!(found, ["Avant.", "Puis.", "| Dîner | 28 € |", "Après."]);
        assert_eq!(units[2].with_header(text), "| Repas | Paris | | Dîner | 28 € |");
        assert_eq!(units[2].heading, "Politique\nFrais\nPlafonds");
        assert_eq!(units[3].header, None);
    }
}
