//! Rows of cells to a Markdown pipe table: the one form that tables of every format take.

/// Cells after padding, for each cell that was there. A hostile row of a million cells would
/// otherwise widen every other row to its length.
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
    let mut shape = TableShape::default();
    for row in rows {
        shape.measure(row.iter().map(String::as_str));
    }
    let mut table = TableWriter::new(shape);
    for row in rows {
        table.push_row(row.iter().map(String::as_str));
    }
    table.text
}

/// What must be known of a table before its first row can be written. With it, a table of any
/// size is written row by row.
#[derive(Debug, Default)]
pub(crate) struct TableShape {
    /// Which columns hold text in some row.
    used: Vec<bool>,
    n_rows: usize,
    n_cells: usize,
}

impl TableShape {
    /// Takes one row into account. Every row must be measured before the first is written.
    pub(crate) fn measure<'a>(&mut self, cells: impl Iterator<Item = &'a str>) {
        let mut blank = true;
        for (column, cell) in cells.enumerate() {
            if column == self.used.len() {
                self.used.push(false);
            }
            let has_text = !cell.trim().is_empty();
            self.used[column] |= has_text;
            blank &= !has_text;
            self.n_cells += 1;
        }
        self.n_rows += usize::from(!blank);
    }
}

/// Writes a table row by row.
#[derive(Debug)]
pub(crate) struct TableWriter {
    used: Vec<bool>,
    n_columns: usize,
    pad: bool,
    header_written: bool,
    /// The table so far.
    pub(crate) text: String,
}

impl TableWriter {
    /// Starts the table whose rows were measured.
    pub(crate) fn new(shape: TableShape) -> Self {
        let n_columns = shape.used.iter().filter(|&&used| used).count();
        let padded = shape.n_rows.saturating_mul(n_columns);
        Self {
            used: shape.used,
            n_columns,
            pad: padded <= shape.n_cells.saturating_mul(PADDED_CELLS_PER_CELL),
            header_written: false,
            text: String::with_capacity(shape.n_cells * 8),
        }
    }

    /// Writes one row, unless it is blank. The first one written is the header.
    pub(crate) fn push_row<'a>(&mut self, cells: impl Iterator<Item = &'a str>) {
        let row_start = self.text.len();
        let (mut n_written, mut blank) = (0, true);
        self.text.push('|');
        for (cell, _) in cells.zip(&self.used).filter(|&(_, &used)| used) {
            blank &= !push_cell(&mut self.text, cell);
            n_written += 1;
        }
        if blank {
            self.text.truncate(row_start);
            return;
        }
        if self.pad || !self.header_written {
            self.text.push_str(&"  |".repeat(self.n_columns.saturating_sub(n_written)));
        }
        self.text.push('\n');
        if !self.header_written {
            self.text.push('|');
            self.text.push_str(&" --- |".repeat(self.n_columns));
            self.text.push('\n');
            self.header_written = true;
        }
    }
}

/// Writes one cell: its words, separated by single spaces, and the closing pipe. Says whether
/// there were any.
fn push_cell(table: &mut String, cell: &str) -> bool {
    table.push(' ');
    let cell_start = table.len();
    for word in cell.split_whitespace() {
        if table.len() > cell_start {
            table.push(' ');
        }
        for (i, part) in word.split('|').enumerate() {
            if i > 0 {
                table.push_str("\\|");
            }
            table.push_str(part);
        }
    }
    let has_text = table.len() > cell_start;
    table.push_str(" |");
    has_text
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
