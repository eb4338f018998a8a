//! Text, headings, lists and tables as they come, written as Markdown.

use crate::parse::table::markdown_table;

/// Lists and quotations inside each other beyond this depth are not indented further. Without a
/// bound, hostile nesting would make every line as long as it is deep.
const DEPTH_MAX: usize = 12;

/// Columns that one cell may span. HTML allows 1,000; no reader's table has that.
const COLUMNS_SPANNED_MAX: usize = 100;

/// Bytes of repeated cells, for each byte of a table.
const COPIES_PER_BYTE: usize = 16;

/// Writes Markdown from the events of a document, in its order.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: String,
    /// The inline text of the block that is open, white space collapsed.
    line: String,
    space_pending: bool,
    heading: Option<u8>,
    containers: Vec<Container>,
    /// Containers that were opened beyond [`DEPTH_MAX`].
    n_deeper: usize,
    lists: Vec<List>,
    n_lists_deeper: usize,
    /// No item of the current outermost list has been written yet.
    list_fresh: bool,
    table: Option<Table>,
    /// The language of the open code block.
    code: Option<String>,
}

#[derive(Debug)]
enum Container {
    Quote,
    Item { marker: String, written: bool },
}

#[derive(Debug)]
struct List {
    ordered: bool,
    next: u64,
}

/// A table whose cells are being read. Tables inside its cells become text.
#[derive(Debug, Default)]
struct Table {
    caption: String,
    rows: Vec<Vec<Cell>>,
    in_cell: bool,
}

/// A cell, and how many columns and rows it covers.
#[derive(Debug, Default)]
pub(super) struct Cell {
    text: String,
    columns: usize,
    rows: usize,
}

impl Writer {
    /// The Markdown, complete.
    pub(super) fn finish(mut self) -> String {
        self.close_table();
        self.end_block();
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.out.len() + self.line.len()
    }

    /// Whether text now goes into a cell of a data table.
    pub(super) fn in_cell(&self) -> bool {
        self.table.as_ref().is_some_and(|table| table.in_cell)
    }

    /// Whether the text is that of a code block, where white space counts.
    pub(super) fn in_code_block(&self) -> bool {
        self.code.is_some()
    }

    /// Takes text.
    pub(super) fn text(&mut self, text: &str) {
        if self.in_code_block() {
            self.line.push_str(text);
            return;
        }
        for (i, word) in text.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            self.space_pending |= i > 0;
            if !word.is_empty() {
                self.flush_space();
                self.line.push_str(word);
            }
        }
    }

    /// Takes a mark that belongs to the text after it (an opening backtick or quote).
    pub(super) fn mark(&mut self, mark: &str) {
        self.flush_space();
        self.line.push_str(mark);
    }

    /// Takes a mark that belongs to the text before it.
    pub(super) fn mark_after(&mut self, mark: &str) {
        self.line.push_str(mark);
    }

    /// Takes the closing mark of a pair; a pair around nothing is dropped.
    pub(super) fn close_mark(&mut self, mark: &str) {
        match self.line.strip_suffix(mark) {
            Some(before) => self.line.truncate(before.len()),
            None => self.line.push_str(mark),
        }
    }

    /// Breaks the line inside a block.
    pub(super) fn line_break(&mut self) {
        if self.in_code_block() {
            self.line.push('\n');
        } else if self.in_cell() || self.heading.is_some() {
            self.space_pending = true;
        } else if !self.line.is_empty() {
            self.space_pending = false;
            self.line.push('\n');
        }
    }

    /// Ends the open paragraph or heading; inside a cell, only separates words.
    pub(super) fn end_block(&mut self) {
        if self.in_cell() {
            self.space_pending = true;
            return;
        }
        if self.in_code_block() {
            return;
        }
        self.space_pending = false;
        let line = std::mem::take(&mut self.line);
        let text = line.trim();
        if text.is_empty() {
            return;
        }
        match self.heading {
            Some(level) => {
                let hashes = "#".repeat(usize::from(level));
                self.block(&format!("{hashes} {}", text.replace('\n', " ")));
            }
            None => self.block(&escape_line_starts(text)),
        }
    }

    /// Separates the parts of a cell that are more than words of one sentence.
    pub(super) fn end_part(&mut self) {
        self.end_block();
        if self.in_cell() && self.line.ends_with(|c: char| c.is_alphanumeric() || c == ')') {
            self.line.push(';');
        }
    }

    /// Opens a heading. Inside a cell it is text.
    pub(super) fn open_heading(&mut self, level: u8) {
        self.end_block();
        self.heading = (!self.in_cell()).then_some(level);
    }

    /// Closes the heading.
    pub(super) fn close_heading(&mut self) {
        self.end_block();
        self.heading = None;
    }

    /// Opens a quotation.
    pub(super) fn open_quote(&mut self) {
        self.end_block();
        self.open_container(Container::Quote);
    }

    /// Opens a list.
    pub(super) fn open_list(&mut self, ordered: bool, start: u64) {
        self.end_block();
        self.list_fresh |= self.lists.is_empty();
        if self.lists.len() < DEPTH_MAX {
            self.lists.push(List { ordered, next: start });
        } else {
            self.n_lists_deeper += 1;
        }
    }

    /// Closes the list.
    pub(super) fn close_list(&mut self) {
        self.end_block();
        if self.n_lists_deeper > 0 {
            self.n_lists_deeper -= 1;
        } else {
            self.lists.pop();
        }
    }

    /// Opens an item of the list.
    pub(super) fn open_item(&mut self) {
        self.end_part();
        let marker = match self.lists.last_mut() {
            Some(List { ordered: true, next }) => {
                let marker = format!("{next}. ");
                *next = next.saturating_add(1);
                marker
            }
            _ => "- ".to_owned(),
        };
        self.open_container(Container::Item { marker, written: false });
    }

    /// Opens the description of a term, below the term's item.
    pub(super) fn open_description(&mut self) {
        self.end_part();
        self.open_container(Container::Item { marker: "  - ".to_owned(), written: false });
    }

    fn open_container(&mut self, container: Container) {
        if self.containers.len() < DEPTH_MAX {
            self.containers.push(container);
        } else {
            self.n_deeper += 1;
        }
    }

    /// Closes the item or quotation.
    pub(super) fn close_container(&mut self) {
        self.end_block();
        if self.n_deeper > 0 {
            self.n_deeper -= 1;
        } else {
            self.containers.pop();
        }
    }

    /// Opens a code block. Inside a cell it is text.
    pub(super) fn open_code_block(&mut self, language: &str) {
        self.end_block();
        if !self.in_cell() {
            self.code = Some(language.to_owned());
        }
    }

    /// Closes the code block.
    pub(super) fn close_code_block(&mut self) {
        let Some(language) = self.code.take() else { return };
        let code = std::mem::take(&mut self.line);
        let code = code.strip_prefix('\n').unwrap_or(&code).trim_end();
        if code.trim().is_empty() {
            return;
        }
        let fence = "`".repeat(longest_run(code, '`').max(2) + 1);
        self.block(&format!("{fence}{language}\n{code}\n{fence}"));
    }

    /// Opens a data table.
    pub(super) fn open_table(&mut self) {
        self.end_block();
        self.table = Some(Table::default());
    }

    /// Opens a row of the data table.
    pub(super) fn open_row(&mut self) {
        if let Some(table) = &mut self.table {
            table.rows.push(Vec::new());
        }
    }

    /// Opens a cell of the data table.
    pub(super) fn open_cell(&mut self, columns: usize, rows: usize) {
        self.end_outside_cell();
        let Some(table) = &mut self.table else { return };
        table.in_cell = true;
        if table.rows.is_empty() {
            table.rows.push(Vec::new());
        }
        let columns = columns.clamp(1, COLUMNS_SPANNED_MAX);
        let row = table.rows.last_mut().expect("a row was pushed above");
        row.push(Cell { text: String::new(), columns, rows: rows.max(1) });
    }

    /// Closes the cell.
    pub(super) fn close_cell(&mut self) {
        let text = self.take_line();
        let Some(table) = &mut self.table else { return };
        table.in_cell = false;
        if let Some(cell) = table.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.text = text.trim_end_matches(';').to_owned();
        }
    }

    /// Ends what stands in a table but in no cell: its caption.
    pub(super) fn end_outside_cell(&mut self) {
        if self.in_cell() {
            return;
        }
        let text = self.take_line();
        if let Some(table) = &mut self.table
            && !text.is_empty()
        {
            table.caption.push_str(&text);
            table.caption.push(' ');
        }
    }

    fn take_line(&mut self) -> String {
        self.space_pending = false;
        std::mem::take(&mut self.line).trim().to_owned()
    }

    /// Closes the data table and writes it under its caption.
    pub(super) fn close_table(&mut self) {
        if self.in_cell() {
            self.close_cell();
        }
        self.end_outside_cell();
        let Some(table) = self.table.take() else { return };
        let caption = table.caption.trim();
        if !caption.is_empty() {
            self.block(caption);
        }
        let rows = markdown_table(&spread(table.rows));
        if !rows.is_empty() {
            self.block(rows.trim_end());
        }
    }

    fn flush_space(&mut self) {
        if self.space_pending && !self.line.is_empty() && !self.line.ends_with('\n') {
            self.line.push(' ');
        }
        self.space_pending = false;
    }

    /// Writes one block, indented and marked as its containers say.
    fn block(&mut self, block: &str) {
        let starts_item =
            matches!(self.containers.last(), Some(Container::Item { written: false, .. }));
        if !self.out.is_empty() {
            self.out.push('\n');
            if !starts_item || std::mem::take(&mut self.list_fresh) {
                let blank_at = self.out.len();
                self.push_prefix(false);
                let blank_len = self.out[blank_at..].trim_end().len();
                self.out.truncate(blank_at + blank_len);
                self.out.push('\n');
            }
        }
        self.list_fresh &= !starts_item;
        for (i, line) in block.lines().enumerate() {
            if i > 0 {
                self.out.push('\n');
            }
            self.push_prefix(i == 0);
            self.out.push_str(line.trim_end());
        }
    }

    fn push_prefix(&mut self, with_markers: bool) {
        for container in &mut self.containers {
            match container {
                Container::Quote => self.out.push_str("> "),
                Container::Item { marker, written } if with_markers && !*written => {
                    self.out.push_str(marker);
                    *written = true;
                }
                Container::Item { marker, .. } => {
                    self.out.extend(std::iter::repeat_n(' ', marker.len()));
                }
            }
        }
    }
}

/// Lays cells out on a grid: a cell that covers several columns or rows stands in each of them,
/// so that every row can be read alone.
///
/// Copies are bounded by the table's own size; what goes beyond stands in its first place only.
fn spread(rows: Vec<Vec<Cell>>) -> Vec<Vec<String>> {
    let own_bytes: usize = rows.iter().flatten().map(|cell| cell.text.len() + 8).sum();
    let mut budget = own_bytes * COPIES_PER_BYTE + 4_096;
    let n_rows = rows.len();
    let mut grid = Vec::with_capacity(n_rows);
    // For each column, the text that reaches down into it and for how many rows more.
    let mut reaching: Vec<(usize, String)> = Vec::new();
    for (i, cells) in rows.into_iter().enumerate() {
        // A row of nothing but cells that reach further down only labels the rows below.
        let labels_only = i + 1 < n_rows && !cells.is_empty() && cells.iter().all(|it| it.rows > 1);
        let row = spread_row(cells, &mut reaching, &mut budget);
        if !labels_only {
            grid.push(row);
        }
    }
    grid
}

/// Lays out one row, under what reaches down from the rows above.
fn spread_row(
    cells: Vec<Cell>,
    reaching: &mut Vec<(usize, String)>,
    budget: &mut usize,
) -> Vec<String> {
    let mut row = Vec::new();
    let mut cells = cells.into_iter();
    loop {
        let column = row.len();
        if let Some((left, text)) = reaching.get_mut(column).filter(|(left, _)| *left > 0) {
            *left -= 1;
            row.push(text.clone());
            *budget = budget.saturating_sub(text.len() + 8);
            if *budget == 0 {
                reaching.clear();
            }
            continue;
        }
        let Some(cell) = cells.next() else {
            // Cells may still reach into columns to the right of the row's last one.
            if reaching.iter().skip(column).any(|(left, _)| *left > 0) {
                row.push(String::new());
                *budget = budget.saturating_sub(8);
                continue;
            }
            return row;
        };
        let copies = cell.columns.min(*budget / (cell.text.len() + 8)).max(1);
        *budget -= (copies - 1) * (cell.text.len() + 8);
        for column in column..column + copies {
            if cell.rows > 1 {
                if reaching.len() <= column {
                    reaching.resize(column + 1, (0, String::new()));
                }
                reaching[column] = (cell.rows - 1, cell.text.clone());
            }
            row.push(cell.text.clone());
        }
    }
}

/// Keeps a paragraph a paragraph: text that begins like a heading or a fence gets a backslash.
fn escape_line_starts(text: &str) -> String {
    let special = |line: &str| {
        let after_hashes = line.trim_start_matches('#');
        (line.starts_with('#') && (after_hashes.is_empty() || after_hashes.starts_with(' ')))
            || line.starts_with("```")
            || line.starts_with("~~~")
    };
    let mut res = String::with_capacity(text.len());
    for (i, line) in text.lines().enumerate() {
        if i > 0 {
            res.push('\n');
        }
        if special(line.trim_start()) {
            res.push('\\');
        }
        res.push_str(line.trim());
    }
    res
}

/// Length of the longest run of a character.
fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}
