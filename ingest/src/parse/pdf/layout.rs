//! From characters at positions to lines of text, and lines in reading order.

use super::bidi;
use super::columns;
use super::geometry::{Matrix, Rect};
use super::page::{Drawn, Run};
use super::table::{self, Table};

/// Gap between two words, in sizes. Word spaces measure 0.2 to 0.35, kerning less than 0.1.
const WORD_GAP_MIN: f64 = 0.17;
/// Gap that ends a piece of a line, in sizes: columns begin at about 1.
const PIECE_GAP_MIN: f64 = 0.9;

/// A character on a page whose text runs from left to right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Char {
    pub(super) c: char,
    pub(super) x0: f64,
    pub(super) x1: f64,
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) is_bold: bool,
    pub(super) is_monospaced: bool,
}

/// Characters that stand side by side on one baseline, without a gap as wide as a column's.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) chars: Vec<Char>,
    /// Baseline and size of its largest character, so that a footnote mark changes neither.
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) x0: f64,
    pub(super) x1: f64,
}

/// A line of text in reading order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) x0: f64,
    pub(super) x1: f64,
    pub(super) y: f64,
    pub(super) size: f64,
    /// All of its letters are bold.
    pub(super) is_bold: bool,
    pub(super) is_monospaced: bool,
}

/// What a page consists of, in reading order.
#[derive(Debug, Clone)]
pub(super) enum Block {
    /// Lines of one column, from top to bottom.
    Lines(Vec<Line>),
    /// A table.
    Table(Table),
}

/// Reads a page's lines and tables in order.
pub(super) fn blocks(drawn: &Drawn) -> Vec<Block> {
    let mut res = Vec::new();
    for (degrees, chars) in upright(&drawn.runs) {
        let mut pieces = pieces(chars);
        let mut items = Vec::new();
        if degrees == 0 {
            for (area, table) in table::ruled(&drawn.rules, &mut pieces) {
                items.push(columns::Item::Table(area, table));
            }
        }
        items.extend(pieces.into_iter().map(columns::Item::Piece));
        res.extend(columns::in_reading_order(items));
    }
    res
}

/// The characters by the direction of their text, each turned to run from left to right. The
/// direction of most text comes first; a stamp up the margin does not cut through the lines.
fn upright(runs: &[Run]) -> Vec<(i32, Vec<Char>)> {
    let mut res: Vec<(i32, Vec<Char>)> = Vec::new();
    for run in runs {
        let degrees = (run.angle.to_degrees().round() as i32).rem_euclid(360);
        let idx = res.iter().position(|it| it.0 == degrees).unwrap_or_else(|| {
            res.push((degrees, Vec::new()));
            res.len() - 1
        });
        let turn = Matrix::rotate(-f64::from(degrees).to_radians());
        res[idx].1.extend(run.glyphs.iter().map(|glyph| {
            let (x, y) = turn.apply(glyph.x, glyph.y);
            Char {
                c: glyph.c,
                x0: x,
                x1: x + glyph.advance,
                y,
                size: run.size,
                is_bold: run.is_bold,
                is_monospaced: run.is_monospaced,
            }
        }));
    }
    res.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then(a.0.cmp(&b.0)));
    res
}

impl Piece {
    fn new(first: Char) -> Self {
        let Char { x0, x1, y, size, .. } = first;
        Self { chars: vec![first], y, size, x0, x1 }
    }

    fn push(&mut self, next: Char) {
        if next.size > self.size && next.c != ' ' {
            (self.y, self.size) = (next.y, next.size);
        }
        self.x0 = self.x0.min(next.x0);
        self.x1 = self.x1.max(next.x1);
        self.chars.push(next);
    }

    pub(super) fn area(&self) -> Rect {
        let (descent, ascent) = (self.size * 0.2, self.size * 0.75);
        Rect::new(self.x0, self.y - descent, self.x1, self.y + ascent)
    }

    /// Its text from left to right, as it stands.
    fn drawn_text(&self) -> String {
        let mut res = String::new();
        let mut end: Option<f64> = None;
        for it in &self.chars {
            let gap = end.map_or(0.0, |end| it.x0 - end);
            let is_gap = it.c == ' ' || gap > WORD_GAP_MIN * it.size.min(self.size);
            if is_gap && !res.is_empty() && !res.ends_with(' ') {
                res.push(' ');
            }
            if it.c != ' ' {
                res.push(it.c);
            }
            end = Some(end.map_or(it.x1, |end| end.max(it.x1)));
        }
        res.truncate(res.trim_end().len());
        res
    }

    /// Its text in the order of reading.
    pub(super) fn text(&self) -> String {
        bidi::logical(&self.drawn_text())
    }

    /// Letters, digits and marks, without spaces.
    pub(super) fn n_chars(&self) -> usize {
        self.chars.iter().filter(|it| it.c != ' ').count()
    }

    /// Its words as pieces of their own.
    pub(super) fn words(&self) -> Vec<Self> {
        let mut res: Vec<Self> = Vec::new();
        let mut is_open = false;
        for &next in &self.chars {
            if next.c == ' ' {
                is_open = false;
                continue;
            }
            match res.last_mut() {
                Some(word) if is_open && next.x0 - word.x1 <= WORD_GAP_MIN * self.size => {
                    word.push(next);
                }
                _ => res.push(Self::new(next)),
            }
            is_open = true;
        }
        res
    }
}

/// Joins pieces of one baseline, from left to right, into a line.
pub(super) fn line(mut row: Vec<Piece>) -> Line {
    row.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    let drawn: Vec<String> = row.iter().map(Piece::drawn_text).collect();
    let mut chars = row.iter().flat_map(|piece| &piece.chars);
    let letters = |it: &&Char| it.c.is_alphanumeric();
    let largest = row.iter().max_by(|a, b| a.size.total_cmp(&b.size));
    Line {
        text: bidi::logical(&drawn.join(" ")),
        x0: row.iter().map(|it| it.x0).fold(f64::INFINITY, f64::min),
        x1: row.iter().map(|it| it.x1).fold(f64::NEG_INFINITY, f64::max),
        y: largest.map_or(0.0, |it| it.y),
        size: largest.map_or(0.0, |it| it.size),
        is_bold: chars.clone().filter(letters).count() > 0
            && chars.clone().filter(letters).all(|it| it.is_bold),
        is_monospaced: chars.all(|it| it.is_monospaced || it.c == ' '),
    }
}

/// Pieces whose baselines agree, as rows from top to bottom.
pub(super) fn rows(mut pieces: Vec<Piece>) -> Vec<Vec<Piece>> {
    pieces.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x0.total_cmp(&b.x0)));
    let mut res: Vec<Vec<Piece>> = Vec::new();
    // Baseline and size of the row's largest piece.
    let mut base = (0.0, 0.0);
    for piece in pieces {
        let (small, large) = (piece.size.min(base.1), piece.size.max(base.1));
        // A raised mark belongs to the line that it stands at, as long as it is smaller.
        let slack = if small < large * 0.8 { large * 0.45 } else { large * 0.3 };
        match res.last_mut() {
            Some(row) if (piece.y - base.0).abs() <= slack && !is_stacked(row, &piece) => {
                if piece.size > base.1 {
                    base = (piece.y, piece.size);
                }
                row.push(piece);
            }
            _ => {
                base = (piece.y, piece.size);
                res.push(vec![piece]);
            }
        }
    }
    res
}

/// Whether a piece stands above or below one of a row rather than beside it: the lines of a
/// cell in small type next to a larger one.
fn is_stacked(row: &[Piece], piece: &Piece) -> bool {
    // A look at the nearest is enough, and keeps a page of one endless line quick.
    row.iter().rev().take(64).any(|it| {
        let (small, overlap) = (it.size.min(piece.size), it.x1.min(piece.x1) - it.x0.max(piece.x0));
        (it.y - piece.y).abs() > 0.25 * small && overlap > 0.5 * small
    })
}

/// Joins characters to pieces: first as they were drawn, then by where they stand, because some
/// programs draw word by word in any order.
fn pieces(chars: Vec<Char>) -> Vec<Piece> {
    let mut drawn: Vec<Piece> = Vec::new();
    let mut at = 0.0;
    // Lines from right to left are drawn leftwards, so that their spaces join nothing at first.
    let keeps_spaces = chars.iter().any(|it| bidi::is_rtl(it.c));
    for next in chars {
        let joins = drawn.last().is_some_and(|piece| {
            let (small, large) = (next.size.min(piece.size), next.size.max(piece.size));
            let slack = if small < large * 0.85 { large * 0.6 } else { large * 0.2 };
            let gap = next.x0 - at;
            (next.y - piece.y).abs() <= slack
                && (-0.5 * large..PIECE_GAP_MIN * large).contains(&gap)
        });
        at = next.x1;
        match drawn.last_mut() {
            Some(piece) if joins => piece.push(next),
            // Else space alone begins nothing: pages are full of it.
            _ if next.c == ' ' && !keeps_spaces => {}
            _ => drawn.push(Piece::new(next)),
        }
    }
    let mut res: Vec<Piece> = Vec::new();
    for mut row in rows(drawn) {
        row.sort_by(|a, b| a.x0.total_cmp(&b.x0));
        let n_before = res.len();
        for piece in row {
            match res[n_before..].last_mut() {
                Some(last) if piece.x0 - last.x1 < PIECE_GAP_MIN * piece.size.max(last.size) => {
                    for next in piece.chars {
                        last.push(next);
                    }
                }
                _ => res.push(piece),
            }
        }
        for piece in &mut res[n_before..] {
            tidy(piece);
        }
    }
    res.retain(|piece| !piece.chars.is_empty());
    res
}

/// Puts a piece's characters in order, and drops those drawn twice to look bold.
fn tidy(piece: &mut Piece) {
    piece.chars.sort_by(|a, b| a.x0.total_cmp(&b.x0));
    piece.chars.dedup_by(|b, a| {
        let offset = (a.x0 - b.x0).abs();
        a.c == b.c
            && offset < 0.1 * a.size
            && offset <= 0.5 * (a.x1 - a.x0)
            && (a.y - b.y).abs() < 0.1 * a.size
    });
    // Space around the words would make the piece reach into the next column.
    while piece.chars.pop_if(|it| it.c == ' ').is_some() {}
    let n_leading = piece.chars.iter().take_while(|it| it.c == ' ').count();
    piece.chars.drain(..n_leading);
    piece.x0 = piece.chars.first().map_or(piece.x0, |it| it.x0);
    piece.x1 = piece.chars.iter().map(|it| it.x1).fold(piece.x0, f64::max);
}
