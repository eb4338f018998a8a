//! Rows of cells to a Markdown pipe table: the one form that tables of every format take.

/// Cells after padding, for each cell that was there. A hostile row of a million cells would otherwise
/// widen every other row to its length.
const PADDED_CELLS_PER_CELL: usize = 16;

/// Writes rows as a pipe table whose header is the first row.
///
/// `|` is escaped, white space inside a cell (line breaks too) becomes one space, and ragged rows
/// are padded to the widest. Rows and columns without any text are left out, since spreadsheets
/// are full of them. The result ends with a line break; no text at all gives an empty string.
///
/// Where padding would multiply the table's size, rows stay ragged: Markdown allows it.
#[must_use]
pub(crate) fn markdown_table(rows: &[Vec<String>]) -> String {
    let used = used_columns(rows);
    let n_columns = used.iter().filter(|&&used| used).count();
    if n_columns == 0 {
        return String::new();
    }
    let n_cells: usize = rows.iter().map(Vec::len).sum();
    let pad = rows.len().saturating_mul(n_columns) <= n_cells.saturating_mul(PADDED_CELLS_PER_CELL);
    let mut table = String::with_capacity(n_cells * 8);
    let mut header_written = false;
    for row in rows {
        if row.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        push_row(&mut table, row, &used, if pad || !header_written { n_columns } else { 0 });
        if !header_written {
            table.push('|');
            table.push_str(&" --- |".repeat(n_columns));
            table.push('\n');
            header_written = true;
        }
    }
    table
}

/// Which columns hold text in some row.
fn used_columns(rows: &[Vec<String>]) -> Vec<bool> {
    let mut used = vec![false; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            used[column] |= !cell.trim().is_empty();
        }
    }
    used
}

/// Writes one row, padded with empty cells to `n_columns`.
fn push_row(table: &mut String, row: &[String], used: &[bool], n_columns: usize) {
    table.push('|');
    let mut n_written = 0;
    for (cell, _) in row.iter().zip(used).filter(|&(_, &used)| used) {
        push_cell(table, cell);
        n_written += 1;
    }
    for _ in n_written..n_columns {
        table.push_str("  |");
    }
    table.push('\n');
}

/// Writes one cell: its words, separated by single spaces, and the closing pipe.
fn push_cell(table: &mut String, cell: &str) {
    table.push(' ');
    for (i, word) in cell.split_whitespace().enumerate() {
        if i > 0 {
            table.push(' ');
        }
        for c in word.chars() {
            if c == '|' {
                table.push('\\');
            }
            table.push(c);
        }
    }
    table.push_str(" |");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[&[&str]], expected: &str) {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(markdown_table(&rows), expected);
    }

    #[test]
    fn first_row_is_the_header() {
        check(
            &[&["Poste", "Jours"], &["Cadre", "12"]],
            "| Poste | Jours |\n| --- | --- |\n| Cadre | 12 |\n",
        );
    }

    #[test]
    fn pipes_are_escaped_and_line_breaks_become_spaces() {
        check(&[&["a|b", "c\n  d"]], "| a\\|b | c d |\n| --- | --- |\n");
    }

    #[test]
    fn ragged_rows_are_padded() {
        check(
            &[&["a"], &["1", "2", "3"], &["4", "5"]],
            "| a |  |  |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n| 4 | 5 |  |\n",
        );
    }

    #[test]
    fn rows_and_columns_without_text_are_left_out() {
        check(
            &[&["a", "", "b"], &[" ", "", ""], &["1", "", "2"]],
            "| a | b |\n| --- | --- |\n| 1 | 2 |\n",
        );
    }

    #[test]
    fn nothing_gives_nothing() {
        check(&[], "");
        check(&[&["", " "], &[]], "");
    }

    #[test]
    fn one_very_wide_row_does_not_widen_the_others() {
        let mut rows = vec![vec!["x".to_owned()]; 1_000];
        rows.push(vec!["y".to_owned(); 100_000]);
        assert!(markdown_table(&rows).len() < 3_000_000);
    }
}
