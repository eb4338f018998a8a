//! A sheet's cells as blocks of text: empty rows and columns part its tables.

use super::sheet::{Cell, Merge, Sheet, reference};
use crate::parse::office::text::{Block, Kind, check_size};
use crate::parse::table::markdown_table;
use crate::parse::{Limits, ParseError};

/// Places of a table for each cell that is filled. A table with more is no table but a scatter,
/// which a grid would blow up.
const PLACES_PER_CELL_MAX: usize = 16;
const PLACES_FREE: usize = 10_000;

/// Rows of titles above a table.
const CAPTIONS_MAX: usize = 3;

/// How often the cells may be looked at while they are parted. Honest sheets need three passes.
const PASSES_MAX: usize = 64;

/// The blocks of a sheet, from top to bottom and from left to right.
pub(super) fn blocks(mut sheet: Sheet, limits: &Limits) -> Result<Vec<Block>, ParseError> {
    fill_merges(&mut sheet, limits)?;
    close_gaps(&mut sheet);
    let mut blocks = Vec::new();
    let (mut n_bytes, mut n_blocks) = (0, 0);
    for part in parts(sheet.cells) {
        let (captions, table) = captions(&part);
        blocks.extend(captions.iter().map(|it| Block::paragraph(it.text.clone())));
        blocks.extend((!table.is_empty()).then(|| block(table)));
        n_bytes += blocks[n_blocks..].iter().map(|it| it.text.len()).sum::<usize>();
        n_blocks = blocks.len();
        check_size(n_bytes, limits)?;
    }
    Ok(blocks)
}

/// Repeats the text of merged cells in all their places, as far as the sheet is used.
fn fill_merges(sheet: &mut Sheet, limits: &Limits) -> Result<(), ParseError> {
    let (Some(last_row), Some(last_column)) =
        (sheet.cells.iter().map(|it| it.row).max(), sheet.cells.iter().map(|it| it.column).max())
    else {
        return Ok(());
    };
    let mut n_places_left = sheet.cells.len() * PLACES_PER_CELL_MAX + PLACES_FREE;
    let mut n_bytes = 0;
    let mut filled = Vec::new();
    for Merge { first, last } in &sheet.merges {
        let Ok(anchor) = sheet.cells.binary_search_by_key(first, |it| (it.row, it.column)) else {
            continue;
        };
        let text = &sheet.cells[anchor].text;
        let last = (last.0.min(last_row), last.1.min(last_column));
        let n_rows = (last.0 + 1).saturating_sub(first.0) as usize;
        let n_columns = (last.1 + 1).saturating_sub(first.1) as usize;
        let n_places = n_rows.saturating_mul(n_columns);
        // Merges over whole empty regions are made by the thousand in hostile files.
        if n_places > n_places_left {
            continue;
        }
        n_places_left -= n_places;
        n_bytes += n_places.saturating_mul(text.len());
        check_size(n_bytes, limits)?;
        for row in first.0..=last.0 {
            for column in first.1..=last.1 {
                if (row, column) != *first && !is_hidden(sheet, row, column) {
                    filled.push(Cell { row, column, text: text.clone() });
                }
            }
        }
    }
    sheet.cells.extend(filled);
    // Stable: where cells overlap, the one with a value of its own comes first and stays.
    sheet.cells.sort_by_key(|it| (it.row, it.column));
    sheet.cells.dedup_by_key(|it| (it.row, it.column));
    Ok(())
}

fn is_hidden(sheet: &Sheet, row: u32, column: u32) -> bool {
    sheet.hidden_rows.binary_search(&row).is_ok()
        || sheet.hidden_columns.binary_search(&column).is_ok()
}

/// Moves cells over hidden rows and columns, which would part a table that looks whole.
fn close_gaps(sheet: &mut Sheet) {
    let before = |hidden: &[u32], place: u32| {
        u32::try_from(hidden.partition_point(|it| *it < place)).unwrap_or(0)
    };
    for cell in &mut sheet.cells {
        cell.row -= before(&sheet.hidden_rows, cell.row);
        cell.column -= before(&sheet.hidden_columns, cell.column);
    }
}

/// Parts cells, which are sorted by row, at empty rows and columns until none is left.
fn parts(cells: Vec<Cell>) -> Vec<Vec<Cell>> {
    let mut n_looks_left = cells.len().saturating_mul(PASSES_MAX);
    let mut done = Vec::new();
    let mut waiting = vec![cells];
    while let Some(part) = waiting.pop() {
        if part.is_empty() {
            continue;
        }
        let Some(left) = n_looks_left.checked_sub(part.len()) else {
            done.push(part);
            continue;
        };
        n_looks_left = left;
        let mut bands = bands(part, |it| it.row);
        if bands.len() == 1 {
            bands = self::bands(bands.remove(0), |it| it.column);
        }
        match bands.len() {
            1 => done.append(&mut bands),
            _ => waiting.extend(bands.into_iter().rev()),
        }
    }
    done
}

/// Groups cells by runs of rows, or of columns, that follow each other without a gap.
fn bands(cells: Vec<Cell>, line: impl Fn(&Cell) -> u32) -> Vec<Vec<Cell>> {
    let mut lines: Vec<u32> = cells.iter().map(&line).collect();
    lines.sort_unstable();
    lines.dedup();
    // Where each band begins. The first line is one of them.
    let starts: Vec<u32> = lines
        .iter()
        .enumerate()
        .filter(|&(i, it)| i == 0 || lines[i - 1] + 1 < *it)
        .map(|(_, it)| *it)
        .collect();
    if starts.len() <= 1 {
        return vec![cells];
    }
    let mut bands: Vec<Vec<Cell>> = starts.iter().map(|_| Vec::new()).collect();
    for cell in cells {
        let band = starts.partition_point(|start| *start <= line(&cell)) - 1;
        bands[band].push(cell);
    }
    bands
}

/// Parts off the rows at the top that say one thing only: a title, often merged over the table. As
/// the table's header it would hide the names of the columns.
fn captions(part: &[Cell]) -> (Vec<&Cell>, &[Cell]) {
    let mut captions = Vec::new();
    let mut n_cells = 0;
    for row in part.chunk_by(|a, b| a.row == b.row).take(CAPTIONS_MAX + 1) {
        let is_title = row.iter().all(|it| it.text == row[0].text)
            && row[0].text.contains(char::is_alphabetic);
        if !is_title {
            return (captions, &part[n_cells..]);
        }
        captions.push(&row[0]);
        n_cells += row.len();
    }
    // No row that could be a header follows: it is a list.
    (Vec::new(), part)
}

/// One part as a table; as a paragraph when it says one thing only.
fn block(part: &[Cell]) -> Block {
    if let [first, rest @ ..] = part
        && rest.iter().all(|it| it.text == first.text)
    {
        return Block::paragraph(first.text.clone());
    }
    let bound = |line: fn(&Cell) -> u32| {
        let first = part.iter().map(line).min().unwrap_or(0);
        let last = part.iter().map(line).max().unwrap_or(0);
        (first, (last - first) as usize + 1)
    };
    let (top, n_rows) = bound(|it| it.row);
    let (left, n_columns) = bound(|it| it.column);
    let n_places_max = part.len() * PLACES_PER_CELL_MAX + PLACES_FREE;
    if n_rows.saturating_mul(n_columns) > n_places_max {
        return scatter(part);
    }
    let mut rows = vec![vec![String::new(); n_columns]; n_rows];
    for cell in part {
        rows[(cell.row - top) as usize][(cell.column - left) as usize] = cell.text.clone();
    }
    Block { kind: Kind::Table, text: markdown_table(&rows) }
}

/// Cells too far apart for a grid: a line for each row that has some.
fn scatter(part: &[Cell]) -> Block {
    let rows = part.chunk_by(|a, b| a.row == b.row).map(|row| {
        let cells = row.iter().map(|it| {
            let place = reference(it.row, it.column);
            format!("{place}: {}", crate::parse::office::text::one_line(&it.text))
        });
        cells.collect::<Vec<_>>().join("; ")
    });
    Block::paragraph(rows.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(row: u32, column: u32, text: &str) -> Cell {
        Cell { row, column, text: text.to_owned() }
    }

    fn check(sheet: Sheet, expected: &[&str]) {
        let blocks = blocks(sheet, &Limits::default()).unwrap();
        let texts: Vec<_> = blocks.iter().map(|it| it.text.trim_end().to_owned()).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn empty_rows_and_columns_part_tables() {
        let cells = vec![
            cell(0, 0, "a"),
            cell(0, 1, "b"),
            cell(0, 3, "c"),
            cell(0, 4, "d"),
            cell(2, 0, "title"),
        ];
        check(
            Sheet { cells, ..Sheet::default() },
            &["| a | b |\n| --- | --- |", "| c | d |\n| --- | --- |", "title"],
        );
    }

    #[test]
    fn merged_cells_repeat_their_text_inside_the_used_range() {
        let cells = vec![cell(0, 0, "x"), cell(0, 1, "y"), cell(1, 0, "both")];
        let merges = vec![Merge { first: (1, 0), last: (1, 16_000) }];
        check(
            Sheet { cells, merges, ..Sheet::default() },
            &["| x | y |\n| --- | --- |\n| both | both |"],
        );
    }

    #[test]
    fn a_title_over_a_table_is_not_its_header() {
        let cells = vec![
            cell(0, 0, "Title"),
            cell(1, 0, "a"),
            cell(1, 1, "b"),
            cell(2, 0, "1"),
            cell(2, 1, "2"),
        ];
        let merges = vec![Merge { first: (0, 0), last: (0, 1) }];
        check(
            Sheet { cells, merges, ..Sheet::default() },
            &["Title", "| a | b |\n| --- | --- |\n| 1 | 2 |"],
        );
    }

    #[test]
    fn a_hidden_row_does_not_part_a_table() {
        let cells = vec![cell(0, 0, "a"), cell(2, 0, "b")];
        let hidden_rows = vec![1];
        check(Sheet { cells, hidden_rows, ..Sheet::default() }, &["| a |\n| --- |\n| b |"]);
    }

    #[test]
    fn a_staircase_of_cells_is_not_blown_up_to_a_grid() {
        let n = 20_000;
        let step = |i: u32| [cell(i, i, "x"), cell(i, i + 1, "y")];
        let cells = (0..n).flat_map(step).collect();
        let blocks = blocks(Sheet { cells, ..Sheet::default() }, &Limits::default()).unwrap();
        assert_eq!(blocks.len(), 1);
        assert!(blocks[0].text.starts_with("A1: x; B1: y\nB2: x; C2: y\n"));
    }
}
