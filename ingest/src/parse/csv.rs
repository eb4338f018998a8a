//! Comma, semicolon, tab and pipe separated values: one file, one table.

use csv::{ReaderBuilder, StringRecord};

use super::table::{TableShape, TableWriter};
use super::text::{check_size, decode, one_page};
use super::{Limits, ParseError, Parsed};

/// Delimiters, the likelier first where the file leaves the choice. French spreadsheets write
/// `;`, because their numbers hold commas.
const DELIMITERS: [u8; 4] = [b'\t', b';', b',', b'|'];

/// Records that decide on the delimiter.
const SNIFFED_RECORDS: usize = 200;

/// Lines inside one quoted cell from which on the quote was a stray character, not a quotation.
const QUOTED_LINES_MAX: usize = 500;

/// Parses separated values (csv, tsv) into one Markdown table whose header is the first record.
///
/// Memory: the decoded text and the table. Records are read twice and never held.
///
/// # Errors
///
/// When the file is empty, binary, or over a limit.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let decoded = decode(bytes)?;
    let (stated, text) = stated_delimiter(&decoded.text);
    let delimiter = stated.unwrap_or_else(|| sniff(text));
    let mut form = Form { delimiter, quoting: true };
    let mut measured = measure(text, form, limits)?;
    if measured.cell_lines_max > QUOTED_LINES_MAX {
        form.quoting = false;
        measured = measure(text, form, limits)?;
    }
    let mut table = TableWriter::new(measured.shape);
    for_each_record(text, form, |record| {
        table.push_row(record.iter());
        check_size(table.text.len(), limits)
    })?;
    let findings = decoded.findings();
    one_page(Parsed { findings, ..Parsed::default() }, table.text, limits)
}

/// How a file separates its values.
#[derive(Debug, Clone, Copy)]
struct Form {
    delimiter: u8,
    quoting: bool,
}

/// What the first reading tells.
#[derive(Debug, Default)]
struct Measured {
    shape: TableShape,
    cell_lines_max: usize,
}

fn measure(text: &str, form: Form, limits: &Limits) -> Result<Measured, ParseError> {
    let mut res = Measured::default();
    let mut n_bytes = 0;
    for_each_record(text, form, |record| {
        res.shape.measure(record.iter());
        n_bytes += record.as_slice().len();
        if n_bytes > limits.text_bytes_max {
            return check_size(n_bytes, limits);
        }
        let lines = record.iter().map(|cell| cell.bytes().filter(|&b| b == b'\n').count());
        res.cell_lines_max = res.cell_lines_max.max(lines.max().unwrap_or(0));
        Ok(())
    })?;
    Ok(res)
}

/// Reads the records one by one into the same memory.
fn for_each_record(
    text: &str,
    form: Form,
    mut visit: impl FnMut(&StringRecord) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(form.delimiter)
        .quoting(form.quoting)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let corrupt = |error: csv::Error| ParseError::Corrupt { detail: error.to_string() };
    while reader.read_record(&mut record).map_err(corrupt)? {
        visit(&record)?;
    }
    Ok(())
}

/// The delimiter of a first line `sep=;`, which Excel writes and reads; and the text after it.
fn stated_delimiter(text: &str) -> (Option<u8>, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    match line.trim_matches('"').as_bytes() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] if delimiter.is_ascii() => {
            (Some(*delimiter), rest)
        }
        _ => (None, text),
    }
}

/// The delimiter that cuts the most records into the same number of cells, at least two.
fn sniff(text: &str) -> u8 {
    let mut best = (0, b',');
    for delimiter in DELIMITERS {
        let score = consistency(text, delimiter);
        if score > best.0 {
            best = (score, delimiter);
        }
    }
    best.1
}

/// How many of the first records have as many cells as the first one has.
fn consistency(text: &str, delimiter: u8) -> usize {
    // A sniffing error only ever costs the delimiter its score.
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let lengths: Vec<usize> = reader
        .records()
        .take(SNIFFED_RECORDS)
        .map_while(Result::ok)
        .map(|record| record.len())
        .collect();
    match lengths.first() {
        Some(&first) if first > 1 => lengths.iter().filter(|&&it| it == first).count(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let parsed = parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(parsed.pages.len(), 1);
        assert_eq!(parsed.pages[0].text, expected);
    }

    const TABLE: &str = "| Poste | Jours |\n| --- | --- |\n| Cadre | 12 |\n";

    #[test]
    fn every_delimiter_is_found() {
        check("Poste,Jours\nCadre,12\n", TABLE);
        check("Poste;Jours\r\nCadre;12\r\n", TABLE);
        check("Poste\tJours\nCadre\t12", TABLE);
        check("Poste|Jours\nCadre|12\n", TABLE);
        check("sep=;\nPoste;Jours\nCadre;12\n", TABLE);
    }

    #[test]
    fn decimal_commas_do_not_win_over_semicolons() {
        check(
            "Nom;Montant\nRepas;19,50\nNuit;110,00\n",
            "| Nom | Montant |\n| --- | --- |\n| Repas | 19,50 |\n| Nuit | 110,00 |\n",
        );
    }

    #[test]
    fn quoted_cells_keep_delimiters_quotes_and_lines() {
        check(
            "a,b\n\"x, \"\"y\"\"\",\"deux\nlignes\"\n",
            "| a | b |\n| --- | --- |\n| x, \"y\" | deux lignes |\n",
        );
    }

    #[test]
    fn ragged_rows_are_kept() {
        check("a,b\n1\n1,2,3\n", "| a | b |  |\n| --- | --- | --- |\n| 1 |  |  |\n| 1 | 2 | 3 |\n");
    }

    #[test]
    fn a_single_column_is_a_table_too() {
        check("Ville\nLyon\nNantes\n", "| Ville |\n| --- |\n| Lyon |\n| Nantes |\n");
    }

    #[test]
    fn a_stray_quote_does_not_swallow_the_rest() {
        let text = format!("a,b\n\"x,1\n{}", "y,2\n".repeat(QUOTED_LINES_MAX + 100));
        let parsed = parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(parsed.pages[0].text.matches("| y | 2 |").count(), QUOTED_LINES_MAX + 100);
        assert!(parsed.pages[0].text.contains("| \"x | 1 |"));
    }

    #[test]
    fn nothing_is_empty() {
        for text in ["", "\n\n", ",,\n,,\n"] {
            let res = parse(text.as_bytes(), &Limits::default());
            assert!(matches!(res, Err(ParseError::Empty)), "{text:?}: {res:?}");
        }
    }

    #[test]
    fn a_table_over_the_limit_is_refused() {
        let limits = Limits { text_bytes_max: 1_000, ..Limits::default() };
        let res = parse("a,b\n".repeat(1_000).as_bytes(), &limits);
        assert!(matches!(res, Err(ParseError::OverLimit { .. })), "{res:?}");
    }
}
