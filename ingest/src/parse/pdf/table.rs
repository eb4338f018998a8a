//! Tables: by the lines drawn around their cells, else by columns that stand in line.
//!
//! Both err towards plain text: a table read as lines loses its shape, text read as a table
//! loses its order. Nothing is lost either way.

use super::geometry::Rect;
use super::layout::{Piece, line, rows};
use super::paint::Rule;

/// Distance within which lines count as touching, in points.
const TOUCH: f64 = 3.0;
/// Rules of one direction beyond which a drawing is a chart, not a table.
const RULES_MAX: usize = 1_500;
/// Cells beyond which a grid is graph paper.
const CELLS_MAX: usize = 5_000;
/// Columns beyond which aligned pieces are a drawing.
const COLUMNS_MAX: usize = 60;
/// Characters of a cell beyond which a grid is the layout of a page, not a table.
const CELL_CHARS_MAX: usize = 1_500;
/// Gap between two rows of a table without lines, in sizes.
const ROW_GAP_MAX: f64 = 3.0;

/// Cells by row. All rows are equally long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) rows: Vec<Vec<String>>,
}

/// What [`aligned`] makes of rows.
#[derive(Debug)]
pub(super) enum Part {
    /// Rows that are text.
    Rows(Vec<Vec<Piece>>),
    /// Rows that are a table.
    Table(Table),
}

impl Table {
    /// Cells without empty rows and columns; `None` when fewer than two of either remain.
    fn new(mut rows: Vec<Vec<String>>) -> Option<Self> {
        rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
        let n_columns = rows.iter().map(Vec::len).max()?;
        let is_used =
            |idx: usize| rows.iter().any(|row| row.get(idx).is_some_and(|cell| !cell.is_empty()));
        let used: Vec<bool> = (0..n_columns).map(is_used).collect();
        for row in &mut rows {
            row.resize(n_columns, String::new());
            let mut keep = used.iter();
            row.retain(|_| keep.next().copied().unwrap_or(false));
        }
        let n_used = used.iter().filter(|it| **it).count();
        (rows.len() >= 2 && n_used >= 2).then_some(Self { rows })
    }
}

/// Finds tables by their lines, and takes their text out of `pieces`.
pub(super) fn ruled(rules: &[Rule], pieces: &mut Vec<Piece>) -> Vec<(Rect, Table)> {
    let mut res = Vec::new();
    for grid in grids(rules) {
        let area = grid.area();
        let touches =
            |it: &Piece| it.x1 >= area.x0 && it.x0 <= area.x1 && it.y >= area.y0 && it.y <= area.y1;
        let (touching, mut others): (Vec<Piece>, Vec<Piece>) =
            std::mem::take(pieces).into_iter().partition(touches);
        let is_inside = |word: &Piece| {
            area.contains(f64::midpoint(word.x0, word.x1), word.y + word.size * 0.3, 0.0)
        };
        let (inside, outside): (Vec<Piece>, Vec<Piece>) =
            touching.iter().flat_map(Piece::words).partition(is_inside);
        if let Some(table) = grid.fill(inside) {
            res.push((area, table));
            others.extend(outside);
        } else {
            others.extend(touching);
        }
        *pieces = others;
    }
    res
}

/// The lines of one table.
#[derive(Debug)]
struct Grid {
    horizontal: Vec<Rule>,
    vertical: Vec<Rule>,
    /// Edges of columns from left to right, and of rows from top to bottom.
    xs: Vec<f64>,
    ys: Vec<f64>,
}

/// Groups lines that touch each other.
fn grids(rules: &[Rule]) -> Vec<Grid> {
    let horizontal = merge(rules.iter().filter(|it| it.is_horizontal && it.to - it.from > 8.0));
    let vertical = merge(rules.iter().filter(|it| !it.is_horizontal && it.to - it.from > 4.0));
    if horizontal.len() > RULES_MAX || vertical.len() > RULES_MAX {
        return Vec::new();
    }
    // The group of each rule: horizontal ones first, then vertical ones.
    let mut groups: Vec<usize> = (0..horizontal.len() + vertical.len()).collect();
    for (i, h) in horizontal.iter().enumerate() {
        for (j, v) in vertical.iter().enumerate() {
            let touches = (h.from - TOUCH..=h.to + TOUCH).contains(&v.at)
                && (v.from - TOUCH..=v.to + TOUCH).contains(&h.at);
            if touches {
                let (a, b) = (root(&mut groups, i), root(&mut groups, horizontal.len() + j));
                groups[a.max(b)] = a.min(b);
            }
        }
    }
    let groups: Vec<usize> = (0..groups.len()).map(|it| root(&mut groups, it)).collect();
    let mut res = Vec::new();
    for group in 0..horizontal.len() {
        if groups[group] != group {
            continue;
        }
        let members = |offset: usize, all: &[Rule]| -> Vec<Rule> {
            let of_group = |it: &(usize, &Rule)| groups[offset + it.0] == group;
            all.iter().enumerate().filter(of_group).map(|it| *it.1).collect()
        };
        let horizontal_of = members(0, &horizontal);
        let vertical_of = members(horizontal.len(), &vertical);
        // Outer edges are often left undrawn: there the lines across them end.
        let xs = edges(&vertical_of, &horizontal_of);
        let mut ys = edges(&horizontal_of, &vertical_of);
        ys.reverse();
        if xs.len() >= 3 && ys.len() >= 3 && xs.len() * ys.len() <= CELLS_MAX {
            res.push(Grid { horizontal: horizontal_of, vertical: vertical_of, xs, ys });
        }
    }
    res
}

/// The first member of a group, with the way to it shortened.
fn root(groups: &mut [usize], mut at: usize) -> usize {
    while groups[at] != at {
        groups[at] = groups[groups[at]];
        at = groups[at];
    }
    at
}

/// Joins rules of one direction that continue each other: many programs draw cell by cell.
fn merge<'a>(rules: impl Iterator<Item = &'a Rule>) -> Vec<Rule> {
    let mut sorted: Vec<Rule> = rules.copied().collect();
    sorted.sort_by(|a, b| a.at.total_cmp(&b.at).then(a.from.total_cmp(&b.from)));
    let mut res: Vec<Rule> = Vec::new();
    for rule in sorted {
        // The nearest are enough: rules are sorted by place.
        let mut open = res.iter_mut().rev().take(256).take_while(|it| rule.at - it.at <= 1.5);
        match open.find(|it| rule.from <= it.to + TOUCH && rule.to >= it.from - TOUCH) {
            Some(last) => {
                last.from = last.from.min(rule.from);
                last.to = last.to.max(rule.to);
            }
            None => res.push(rule),
        }
    }
    res
}

/// The distinct positions of rules, ascending, and the ends that most rules across them share.
fn edges(rules: &[Rule], across: &[Rule]) -> Vec<f64> {
    let mut all: Vec<f64> = rules.iter().map(|it| it.at).collect();
    let from = across.iter().map(|it| it.from).fold(f64::INFINITY, f64::min);
    let to = across.iter().map(|it| it.to).fold(f64::NEG_INFINITY, f64::max);
    let n_from = across.iter().filter(|it| it.from - from <= TOUCH).count();
    let n_to = across.iter().filter(|it| to - it.to <= TOUCH).count();
    if n_from * 2 > across.len() {
        all.push(from);
    }
    if n_to * 2 > across.len() {
        all.push(to);
    }
    all.sort_by(f64::total_cmp);
    all.dedup_by(|b, a| *b - *a <= TOUCH);
    all
}

impl Grid {
    fn area(&self) -> Rect {
        let (x0, x1) = (self.xs[0], self.xs[self.xs.len() - 1]);
        Rect::new(x0, self.ys[self.ys.len() - 1], x1, self.ys[0])
    }

    /// Puts words into cells. `None` when the result is no table.
    fn fill(&self, words: Vec<Piece>) -> Option<Table> {
        let (n_rows, n_columns) = (self.ys.len() - 1, self.xs.len() - 1);
        let origins: Vec<(usize, usize)> =
            (0..n_rows * n_columns).map(|it| self.origin(it / n_columns, it % n_columns)).collect();
        let mut cells: Vec<Vec<Piece>> = Vec::new();
        cells.resize_with(n_rows * n_columns, Vec::new);
        for word in words {
            let (x, y) = (f64::midpoint(word.x0, word.x1), word.y + word.size * 0.3);
            let column = self.xs.partition_point(|it| *it <= x).clamp(1, n_columns) - 1;
            let row = self.ys.partition_point(|it| *it > y).clamp(1, n_rows) - 1;
            let (row, column) = origins[row * n_columns + column];
            cells[row * n_columns + column].push(word);
        }
        let is_first = |it: &(usize, &(usize, usize))| it.0 == it.1.0 * n_columns + it.1.1;
        let n_cells = origins.iter().enumerate().filter(is_first).count();
        let n_filled = cells.iter().filter(|cell| !cell.is_empty()).count();
        if n_filled < 3 || n_filled * 4 < n_cells {
            return None;
        }
        let texts: Vec<String> = cells.into_iter().map(cell_text).collect();
        if texts.iter().any(|text| text.len() > CELL_CHARS_MAX) {
            return None;
        }
        Table::new(texts.chunks(n_columns).map(<[String]>::to_vec).collect())
    }

    /// The first cell of the merged cell that holds a cell: no line lies in between.
    fn origin(&self, row: usize, column: usize) -> (usize, usize) {
        let (mut row, mut column) = (row, column);
        let y = f64::midpoint(self.ys[row], self.ys[row + 1]);
        let covers = |rules: &[Rule], at: f64, along: f64| {
            let is_there =
                |it: &Rule| (it.at - at).abs() <= TOUCH && (it.from..=it.to).contains(&along);
            rules.iter().any(is_there)
        };
        while column > 0 && !covers(&self.vertical, self.xs[column], y) {
            column -= 1;
        }
        let x = f64::midpoint(self.xs[column], self.xs[column + 1]);
        while row > 0 && !covers(&self.horizontal, self.ys[row], x) {
            row -= 1;
        }
        (row, column)
    }
}

fn cell_text(words: Vec<Piece>) -> String {
    let lines: Vec<String> = rows(words).into_iter().map(|row| line(row).text).collect();
    lines.join(" ")
}

/// Finds tables without lines: rows of short pieces that stand in columns.
pub(super) fn aligned(rows: Vec<Vec<Piece>>) -> Vec<Part> {
    let mut res = Vec::new();
    let mut text: Vec<Vec<Piece>> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(row) = rows.next() {
        if row.len() < 2 {
            text.push(row);
            continue;
        }
        let left = row.iter().map(|it| it.x0).fold(f64::INFINITY, f64::min);
        let mut run = vec![row];
        while let Some(next) = rows.next_if(|next| continues(&run, left, next)) {
            run.push(next);
        }
        // Lines of one piece at the end are the text that follows.
        let mut after = Vec::new();
        while let Some(row) = run.pop_if(|row| row.len() < 2) {
            after.push(row);
        }
        match read_aligned(&run) {
            Some(table) => {
                if !text.is_empty() {
                    res.push(Part::Rows(std::mem::take(&mut text)));
                }
                res.push(Part::Table(table));
            }
            None => text.append(&mut run),
        }
        text.extend(after.into_iter().rev());
    }
    if !text.is_empty() {
        res.push(Part::Rows(text));
    }
    res
}

/// Whether a row may belong to the table that a run of rows begins.
fn continues(run: &[Vec<Piece>], left: f64, next: &[Piece]) -> bool {
    let (Some(above), Some(piece)) = (run.last().and_then(|row| row.first()), next.first()) else {
        return false;
    };
    let is_near = above.y - piece.y <= ROW_GAP_MAX * piece.size.max(above.size);
    // A second line of a cell stands under it, not under the first column.
    let is_cell = next.len() >= 2 || piece.x0 > left + piece.size;
    is_near && is_cell
}

fn read_aligned(run: &[Vec<Piece>]) -> Option<Table> {
    let full: Vec<&Vec<Piece>> = run.iter().filter(|row| row.len() >= 2).collect();
    if full.len() < 3 {
        return None;
    }
    let columns = column_extents(&full)?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let (mut n_cells, mut n_astray) = (0usize, 0usize);
    let mut lengths = Vec::new();
    let mut above_y = f64::INFINITY;
    for pieces in run {
        let mut row = vec![String::new(); columns.len()];
        for piece in pieces {
            let touches = |it: &(f64, f64)| piece.x0 < it.1 && piece.x1 > it.0;
            let idx = columns.iter().position(touches)?;
            n_astray += usize::from(columns.iter().filter(|it| touches(it)).count() > 1);
            let text = piece.text();
            n_cells += 1;
            lengths.push(piece.n_chars());
            if !row[idx].is_empty() {
                row[idx].push(' ');
            }
            row[idx].push_str(&text);
        }
        let (y, size) = (pieces.first()?.y, pieces.first()?.size);
        let is_second_line = row[0].is_empty() && above_y - y <= 1.4 * size;
        above_y = y;
        match rows.last_mut() {
            Some(above) if is_second_line => {
                for (cell, more) in above.iter_mut().zip(row).filter(|it| !it.1.is_empty()) {
                    if !cell.is_empty() {
                        cell.push(' ');
                    }
                    cell.push_str(&more);
                }
            }
            _ => rows.push(row),
        }
    }
    lengths.sort_unstable();
    let typical = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let is_short = typical <= if columns.len() == 2 { 25 } else { 30 };
    let is_full = n_cells * 2 >= rows.len() * columns.len();
    let is_list = rows.iter().all(|row| is_list_mark(&row[0]));
    if !is_short || !is_full || is_list || n_astray * 5 > n_cells {
        return None;
    }
    Table::new(rows)
}

/// The extents of columns: where pieces of rows with the usual number of cells stand. `None`
/// when they do not stand in at least two columns.
fn column_extents(rows: &[&Vec<Piece>]) -> Option<Vec<(f64, f64)>> {
    let mut counts = std::collections::BTreeMap::new();
    for row in rows {
        *counts.entry(row.len()).or_insert(0usize) += 1;
    }
    let usual = counts.into_iter().max_by_key(|it| (it.1, it.0))?.0;
    let mut extents: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.len() >= usual)
        .flat_map(|row| row.iter().map(|it| (it.x0, it.x1)))
        .collect();
    extents.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut res: Vec<(f64, f64)> = Vec::new();
    for (x0, x1) in extents {
        match res.last_mut() {
            Some(last) if x0 <= last.1 + 1.0 => last.1 = last.1.max(x1),
            _ => res.push((x0, x1)),
        }
    }
    // Columns reach to the middle of the gaps between them, so that every piece is in one.
    for i in 1..res.len() {
        let middle = f64::midpoint(res[i - 1].1, res[i].0);
        res[i - 1].1 = middle;
        res[i].0 = middle;
    }
    if let Some(first) = res.first_mut() {
        first.0 = f64::NEG_INFINITY;
    }
    if let Some(last) = res.last_mut() {
        last.1 = f64::INFINITY;
    }
    (2..=COLUMNS_MAX).contains(&res.len()).then_some(res)
}

/// Whether a cell is the mark of a list item: a bullet, `1.`, `a)`, `[3]`.
fn is_list_mark(cell: &str) -> bool {
    let mut chars = cell.chars();
    let is_short = cell.chars().count() <= 5;
    is_short
        && (cell.is_empty()
            || chars.clone().all(|c| !c.is_alphanumeric())
            || chars.next_back().is_some_and(|c| matches!(c, '.' | ')' | ']')))
}
