//! Reading order: columns one after the other, full-width lines in between.

use super::bidi;
use super::geometry::Rect;
use super::layout::{Block, Piece, line, rows};
use super::table::{self, Table};

/// Narrowest gutter between columns, in sizes of the text.
const GUTTER_MIN: f64 = 0.9;
/// Lines that each side of a gutter must have.
const COLUMN_LINES_MIN: usize = 4;
/// Characters of a typical line in a column of text. Shorter ones are cells of a table.
const COLUMN_CHARS_MIN: usize = 14;
/// Cuts within cuts.
const DEPTH_MAX: usize = 12;

/// Something with a place on the page.
#[derive(Debug)]
pub(super) enum Item {
    /// Part of a line.
    Piece(Piece),
    /// A table found by its lines.
    Table(Rect, Table),
}

impl Item {
    fn area(&self) -> Rect {
        match self {
            Self::Piece(piece) => piece.area(),
            Self::Table(area, _) => *area,
        }
    }
}

/// Puts a page's items in reading order.
pub(super) fn in_reading_order(items: Vec<Item>) -> Vec<Block> {
    let pieces = items.iter().filter_map(|item| match item {
        Item::Piece(piece) => Some(piece),
        Item::Table(..) => None,
    });
    let is_rtl = bidi::is_mostly_rtl(pieces.flat_map(|it| &it.chars).map(|it| it.c));
    let mut res = Vec::new();
    cut(items, is_rtl, 0, &mut res);
    res
}

/// Reads a region: column by column where a gutter runs through it.
fn cut(items: Vec<Item>, is_rtl: bool, depth: usize, res: &mut Vec<Block>) {
    let Some(gutter) = (if depth < DEPTH_MAX { find_gutter(&items) } else { None }) else {
        return read_lines(items, res);
    };
    let mut items = items;
    items.sort_by(|a, b| b.area().y1.total_cmp(&a.area().y1));
    // What crosses the gutter (a title, a wide figure's caption) ends the columns above it.
    let (mut left, mut right, mut wide) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        let area = item.area();
        if area.x0 < gutter && area.x1 > gutter {
            flush(&mut left, &mut right, is_rtl, depth, res);
            wide.push(item);
        } else {
            if !wide.is_empty() {
                cut(std::mem::take(&mut wide), is_rtl, depth + 1, res);
            }
            let side = if area.x1 <= gutter { &mut left } else { &mut right };
            side.push(item);
        }
    }
    flush(&mut left, &mut right, is_rtl, depth, res);
    cut(wide, is_rtl, depth + 1, res);
}

/// Reads both columns of a band, if they are columns of text; else line by line.
fn flush(
    left: &mut Vec<Item>,
    right: &mut Vec<Item>,
    is_rtl: bool,
    depth: usize,
    res: &mut Vec<Block>,
) {
    let (left, right) = (std::mem::take(left), std::mem::take(right));
    let (first, second) = if is_rtl { (right, left) } else { (left, right) };
    let few = first.len() < COLUMN_LINES_MIN && second.len() < COLUMN_LINES_MIN;
    if few && !first.is_empty() && !second.is_empty() {
        read_lines(first.into_iter().chain(second).collect(), res);
    } else {
        cut(first, is_rtl, depth + 1, res);
        cut(second, is_rtl, depth + 1, res);
    }
}

/// The middle of the best gutter: the strip that the fewest items cross and that has columns of
/// text on both sides.
fn find_gutter(items: &[Item]) -> Option<f64> {
    let areas: Vec<Rect> = items.iter().map(Item::area).collect();
    let bounds = areas.iter().fold(Rect::EMPTY, |all, it| all.union(*it));
    if items.len() < 2 * COLUMN_LINES_MIN || !(20.0..20_000.0).contains(&bounds.width()) {
        return None;
    }
    let mut sizes: Vec<f64> = items
        .iter()
        .filter_map(|item| match item {
            Item::Piece(piece) => Some(piece.size),
            Item::Table(..) => None,
        })
        .collect();
    sizes.sort_by(f64::total_cmp);
    let gutter = GUTTER_MIN * sizes.get(sizes.len() / 2)?;
    // How many items cover each point of the width, by a sum of beginnings and ends.
    let n_bins = bounds.width().ceil() as usize + 1;
    let bin = |x: f64| (((x - bounds.x0).max(0.0)) as usize).min(n_bins - 1);
    let mut cover = vec![0i64; n_bins + 1];
    for area in &areas {
        cover[bin(area.x0.ceil())] += 1;
        cover[(bin(area.x1.floor())).max(bin(area.x0.ceil()))] -= 1;
    }
    let mut sum = 0;
    for count in &mut cover {
        sum += *count;
        *count = sum;
    }
    let span = (gutter.floor() as usize).max(2);
    let range = n_bins / 6..n_bins.saturating_sub(n_bins / 6 + span);
    let mut best: Option<(i64, usize, usize)> = None;
    for start in range {
        let crossing = cover[start..start + span].iter().copied().max().unwrap_or(0);
        let middle = start + span / 2;
        let off_centre = middle.abs_diff(n_bins / 2);
        let candidate = (crossing, off_centre, middle);
        best = Some(best.map_or(candidate, |best| best.min(candidate)));
    }
    let middle = bounds.x0 + best?.2 as f64;
    let is_column = |side: &dyn Fn(Rect) -> bool| {
        let pieces: Vec<&Piece> = items
            .iter()
            .filter_map(|item| match item {
                Item::Piece(piece) if side(piece.area()) => Some(piece),
                _ => None,
            })
            .collect();
        is_column(&pieces)
    };
    let has_left = is_column(&|area| area.x1 <= middle + 1.0);
    let has_right = is_column(&|area| area.x0 >= middle - 1.0);
    (has_left && has_right).then_some(middle)
}

/// Whether pieces are lines of text that fill their column, rather than cells or scattered words.
fn is_column(pieces: &[&Piece]) -> bool {
    if pieces.len() < COLUMN_LINES_MIN {
        return false;
    }
    let x0 = pieces.iter().map(|it| it.x0).fold(f64::INFINITY, f64::min);
    let x1 = pieces.iter().map(|it| it.x1).fold(f64::NEG_INFINITY, f64::max);
    // Weighed by characters, so that the numbers of a chart do not outvote the text beside it.
    let (mut filled, mut n_chars, mut long) = (0.0, 0, 0);
    for piece in pieces {
        let n = piece.n_chars();
        n_chars += n;
        filled += (piece.x1 - piece.x0) / (x1 - x0).max(1.0) * n as f64;
        if n >= COLUMN_CHARS_MIN {
            long += n;
        }
    }
    filled >= 0.5 * n_chars as f64 && long * 2 >= n_chars
}

/// Reads a region from top to bottom, line by line, and finds tables without lines on the way.
fn read_lines(items: Vec<Item>, res: &mut Vec<Block>) {
    let mut tables = Vec::new();
    let mut pieces = Vec::new();
    for item in items {
        match item {
            Item::Piece(piece) => pieces.push(piece),
            Item::Table(area, table) => tables.push((area, table)),
        }
    }
    tables.sort_by(|a, b| b.0.y1.total_cmp(&a.0.y1));
    let mut tables = tables.into_iter().peekable();
    let mut band = Vec::new();
    for row in rows(pieces) {
        let y = row.first().map_or(0.0, |piece| piece.y);
        while let Some((_, table)) = tables.next_if(|(area, _)| area.y1 > y) {
            read_band(std::mem::take(&mut band), res);
            res.push(Block::Table(table));
        }
        band.push(row);
    }
    read_band(band, res);
    res.extend(tables.map(|(_, table)| Block::Table(table)));
}

/// Reads rows without ruled tables among them.
fn read_band(rows: Vec<Vec<Piece>>, res: &mut Vec<Block>) {
    for part in table::aligned(rows) {
        match part {
            table::Part::Rows(rows) => {
                res.push(Block::Lines(rows.into_iter().map(line).collect()));
            }
            table::Part::Table(table) => res.push(Block::Table(table)),
        }
    }
}
