//! One sheet, streamed: its filled cells and what hides them.

use super::styles::{read_string, unescaped};
use crate::parse::office::number_format::{Epoch, NumberFormat, general};
use crate::parse::office::xml::{Tag, Token, Xml};
use crate::parse::{Limits, ParseError};

/// Columns of a sheet in Excel; its rows are 1,048,576.
const COLUMNS_MAX: u32 = 16_384;

/// What a workbook's sheets share.
pub(super) struct Workbook {
    pub(super) strings: Vec<String>,
    /// Number formats by style.
    pub(super) formats: Vec<NumberFormat>,
    pub(super) epoch: Epoch,
    pub(super) limits: Limits,
}

/// A cell that holds text, at its place from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) row: u32,
    pub(super) column: u32,
    pub(super) text: String,
}

/// A rectangle of merged cells, its corners included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merge {
    pub(super) first: (u32, u32),
    pub(super) last: (u32, u32),
}

/// A sheet's visible cells.
#[derive(Default)]
pub(super) struct Sheet {
    pub(super) cells: Vec<Cell>,
    pub(super) merges: Vec<Merge>,
    /// Hidden rows, ascending.
    pub(super) hidden_rows: Vec<u32>,
    /// Hidden columns, ascending.
    pub(super) hidden_columns: Vec<u32>,
    pub(super) n_hidden_chars: usize,
    /// Formulas whose result the file does not hold.
    pub(super) n_uncomputed: usize,
}

/// Where the next cell stands when it does not say so.
#[derive(Default)]
struct Cursor {
    row: u32,
    column: u32,
    row_hidden: bool,
}

impl Sheet {
    /// Reads a worksheet part.
    pub(super) fn read(text: &str, workbook: &Workbook) -> Result<Self, ParseError> {
        let mut sheet = Self::default();
        let mut xml = Xml::new(text);
        let mut cursor = Cursor::default();
        let mut next_row = 0;
        loop {
            match xml.next()? {
                Token::Open(tag) => match tag.name() {
                    "col" => sheet.read_columns(&tag),
                    "row" => {
                        let row = tag.attr("r").and_then(|it| it.parse::<u32>().ok());
                        let row = row.and_then(|it| it.checked_sub(1)).unwrap_or(next_row);
                        let row_hidden = tag.is_on("hidden");
                        next_row = row.saturating_add(1);
                        cursor = Cursor { row, column: 0, row_hidden };
                        if row_hidden {
                            sheet.hidden_rows.push(row);
                        }
                    }
                    "c" => sheet.read_cell(&tag, &mut xml, &mut cursor, workbook)?,
                    "mergeCell" => {
                        let range = tag.attr("ref");
                        sheet.merges.extend(range.as_deref().and_then(merge));
                    }
                    _ => {}
                },
                Token::End => break,
                Token::Close(_) | Token::Text(_) => {}
            }
        }
        sheet.cells.sort_by_key(|it| (it.row, it.column));
        sheet.cells.dedup_by_key(|it| (it.row, it.column));
        sheet.hidden_rows.sort_unstable();
        sheet.hidden_rows.dedup();
        Ok(sheet)
    }

    /// Visible characters.
    pub(super) fn n_chars(&self) -> usize {
        self.cells.iter().map(|it| it.text.chars().count()).sum()
    }

    fn read_columns(&mut self, tag: &Tag<'_>) {
        if !tag.is_on("hidden") {
            return;
        }
        let number = |name| tag.attr(name).and_then(|it| it.parse::<u32>().ok());
        // Ranges ascend. One that goes back says nothing new, however often a file repeats it.
        let known = self.hidden_columns.last().map_or(0, |it| it + 1);
        let first = number("min").unwrap_or(1).max(1) - 1;
        let end = number("max").unwrap_or(first + 1).min(COLUMNS_MAX);
        self.hidden_columns.extend(first.max(known)..end);
    }

    fn read_cell(
        &mut self,
        tag: &Tag<'_>,
        xml: &mut Xml<'_>,
        cursor: &mut Cursor,
        workbook: &Workbook,
    ) -> Result<(), ParseError> {
        let place = tag.attr("r").as_deref().and_then(place);
        let (row, column) = place.unwrap_or((cursor.row, cursor.column));
        cursor.column = column.saturating_add(1);
        let style = tag.attr("s").and_then(|it| it.parse::<usize>().ok());
        let format =
            style.and_then(|it| workbook.formats.get(it)).unwrap_or(&NumberFormat::General);
        let stored = read_stored(xml)?;
        let text = match tag.attr("t").as_deref() {
            Some("s") => {
                let string = stored.value.trim().parse::<usize>().ok();
                string.and_then(|it| workbook.strings.get(it)).cloned().unwrap_or_default()
            }
            Some("inlineStr") => stored.inline,
            Some("str") => unescaped(stored.value),
            Some("b") if stored.value.trim() == "1" => "TRUE".to_owned(),
            Some("b") if stored.value.trim() == "0" => "FALSE".to_owned(),
            Some("d") => stored.value.trim_end_matches("T00:00:00").to_owned(),
            Some("e") => stored.value,
            _ => match stored.value.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => format.show(number, workbook.epoch),
                _ => stored.value,
            },
        };
        if text.trim().is_empty() {
            self.n_uncomputed += usize::from(stored.has_formula && !stored.has_value);
            return Ok(());
        }
        let hidden_column = self.hidden_columns.binary_search(&column).is_ok();
        if cursor.row_hidden || hidden_column || *format == NumberFormat::Hidden {
            self.n_hidden_chars += text.chars().count();
            return Ok(());
        }
        self.cells.push(Cell { row, column, text });
        Ok(())
    }
}

/// What a cell's element holds.
#[derive(Default)]
struct Stored {
    value: String,
    inline: String,
    has_formula: bool,
    has_value: bool,
}

fn read_stored(xml: &mut Xml<'_>) -> Result<Stored, ParseError> {
    let mut stored = Stored::default();
    let mut in_value = false;
    loop {
        match xml.next()? {
            Token::Open(tag) => match tag.name() {
                "v" => {
                    in_value = true;
                    stored.has_value = true;
                }
                "is" => stored.inline = read_string(xml)?,
                "f" => {
                    stored.has_formula = true;
                    xml.skip()?;
                }
                _ => xml.skip()?,
            },
            Token::Close(tag) if tag.name() == "v" => in_value = false,
            Token::Close(_) | Token::End => return Ok(stored),
            Token::Text(text) if in_value => stored.value.push_str(&text),
            Token::Text(_) => {}
        }
    }
}

/// Reads `B3` as row 2, column 1.
fn place(reference: &str) -> Option<(u32, u32)> {
    let letters = reference.trim_end_matches(|c: char| c.is_ascii_digit());
    let row: u32 = reference[letters.len()..].parse().ok()?;
    let mut column = 0_u32;
    for letter in letters.bytes().filter(|it| *it != b'$') {
        if !letter.is_ascii_alphabetic() {
            return None;
        }
        let digit = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
        column = column.checked_mul(26)?.checked_add(digit)?;
    }
    Some((row.checked_sub(1)?, column.checked_sub(1)?))
}

/// Writes a place as a reader knows it: row 2, column 1 as `B3`.
pub(super) fn reference(row: u32, column: u32) -> String {
    let mut letters = Vec::new();
    let mut left = column + 1;
    while left > 0 {
        letters.push(char::from(b'A' + u8::try_from((left - 1) % 26).expect("below 26")));
        left = (left - 1) / 26;
    }
    let letters: String = letters.iter().rev().collect();
    format!("{letters}{}", general(f64::from(row) + 1.0))
}

fn merge(range: &str) -> Option<Merge> {
    let (first, last) = range.split_once(':')?;
    Some(Merge { first: place(first)?, last: place(last)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        for (text, expected) in
            [("A1", (0, 0)), ("B3", (2, 1)), ("XFD1048576", (1_048_575, 16_383))]
        {
            assert_eq!(place(text), Some(expected));
            assert_eq!(reference(expected.0, expected.1), text);
        }
        for text in ["", "A", "1", "A0", "É1", "ZZZZZZZZZZ1", "A99999999999"] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
