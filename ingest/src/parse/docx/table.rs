//! One table while it is read: a grid in which merged cells repeat their text.

use crate::parse::office::text::{Block, Kind, cell};
use crate::parse::office::xml::Tree;
use crate::parse::table::markdown_table;

/// Columns of a table in Word.
const COLUMNS_MAX: usize = 63;

/// A table's rows so far.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    row: Vec<String>,
    /// The row is hidden, or deleted in a tracked change.
    pub(super) row_state: RowState,
    after: usize,
    n_columns: usize,
    vertical: Vertical,
    is_cell_deleted: bool,
    /// The blocks of a table of one cell: a frame around text, not a table.
    frame: Vec<Block>,
    n_cells: usize,
    /// Word laid out a page break in this row.
    pub(super) breaks_page: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowState {
    #[default]
    Shown,
    Hidden,
    Deleted,
}

/// A cell's part in a vertical merge.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Vertical {
    #[default]
    Single,
    Continued,
}

impl Table {
    /// Takes over the properties of a `trPr`: columns left empty, and whether the row is there.
    pub(super) fn set_row(&mut self, tree: &Tree) {
        let count = |name| -> usize {
            let value = tree.child_val(0, name).and_then(|it| it.parse().ok());
            value.unwrap_or(0).min(COLUMNS_MAX)
        };
        self.row.resize(count("gridBefore"), String::new());
        self.after = count("gridAfter");
        if tree.toggle(0, "hidden").unwrap_or(false) {
            self.row_state = RowState::Hidden;
        }
        if tree.child(0, "del").is_some() {
            self.row_state = RowState::Deleted;
        }
    }

    /// Takes over the properties of a `tcPr`.
    pub(super) fn set_cell(&mut self, tree: &Tree) {
        let span = tree.child_val(0, "gridSpan").and_then(|it| it.parse().ok());
        self.n_columns = span.unwrap_or(1).clamp(1, COLUMNS_MAX);
        let merge = tree.child(0, "vMerge");
        let continues = merge.is_some_and(|it| tree.attr(it, "val") != Some("restart"));
        self.vertical = if continues { Vertical::Continued } else { Vertical::Single };
        self.is_cell_deleted = tree.child(0, "cellDel").is_some();
    }

    /// Ends a cell. Gives the bytes that its repetition added.
    pub(super) fn end_cell(&mut self, blocks: Vec<Block>) -> usize {
        let n_columns = std::mem::take(&mut self.n_columns).max(1);
        let vertical = std::mem::take(&mut self.vertical);
        if std::mem::take(&mut self.is_cell_deleted) {
            return 0;
        }
        let above = self.rows.last().and_then(|row| row.get(self.row.len()));
        let text = match (vertical, above) {
            (Vertical::Continued, Some(above)) => above.clone(),
            _ => cell(&blocks),
        };
        self.n_cells += 1;
        if self.n_cells == 1 {
            self.frame = blocks;
        } else {
            self.frame.clear();
        }
        let n_bytes = text.len() * n_columns;
        self.row.extend(std::iter::repeat_n(text, n_columns));
        n_bytes
    }

    /// Ends a row. Gives the characters that were hidden with it.
    pub(super) fn end_row(&mut self) -> usize {
        let mut row = std::mem::take(&mut self.row);
        row.extend(std::iter::repeat_n(String::new(), std::mem::take(&mut self.after)));
        match std::mem::take(&mut self.row_state) {
            RowState::Shown => {
                self.rows.push(row);
                0
            }
            RowState::Hidden => row.iter().map(|it| it.chars().count()).sum(),
            RowState::Deleted => 0,
        }
    }

    /// The finished blocks: pipe rows, or what a frame holds.
    pub(super) fn blocks(&mut self) -> Vec<Block> {
        if self.n_cells == 1 && !self.rows.is_empty() {
            return std::mem::take(&mut self.frame);
        }
        let text = markdown_table(&self.rows);
        if text.is_empty() {
            return Vec::new();
        }
        vec![Block { kind: Kind::Table, text }]
    }

    /// Gives the rows so far as a table of their own, and keeps the header for those to come.
    pub(super) fn split(&mut self) -> Vec<Block> {
        let blocks = self.blocks();
        self.rows.truncate(1);
        blocks
    }
}
