//! Blocks become pieces: the smallest parts that a chunk is made of, each small enough for one.

use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

use super::blocks::{Block, BlockKind};
use crate::document::{Heading, Span};

/// The splitters look at all that is left for each part that they cut, so they are given no more
/// than this at a time. Where a window ends does not matter much: pieces are packed afterwards.
const WINDOW_BYTES: usize = 8 << 10;

/// How good a place a piece's start is to begin a chunk; the least is the best. Headings count by
/// their level, 1 to 6.
pub(super) const AT_BLOCK: u8 = 7;
pub(super) const AT_ROW: u8 = 8;
pub(super) const INSIDE: u8 = 9;

/// A part of a text that is not cut further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) span: Span,
    pub(super) n_tokens: usize,
    /// How good a place to begin a chunk its start is.
    pub(super) boundary: u8,
    /// The innermost heading above its content. Headings that the piece begins with count.
    pub(super) heading: Option<usize>,
    /// Whether it is running text, headings at its start aside.
    pub(super) is_prose: bool,
    /// The table whose rows it continues, without the header.
    pub(super) table: Option<usize>,
}

/// The header of a table, to be repeated in front of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableHeader {
    pub(super) span: Span,
    pub(super) n_tokens: usize,
}

/// What pieces are cut with.
pub(super) struct Cutter<'a> {
    pub(super) text: &'a str,
    pub(super) headings: &'a [Heading],
    pub(super) count_tokens: &'a dyn Fn(&str) -> usize,
    /// Tokens that are left for a piece under a heading, its context and joints aside.
    pub(super) room: &'a mut dyn FnMut(Option<usize>) -> usize,
    /// Tokens left free in each part of running text that is too large for one chunk, so that the
    /// end of the part before it fits in front.
    pub(super) overlap: usize,
    pub(super) pieces: Vec<Piece>,
    pub(super) tables: Vec<TableHeader>,
    /// Headings whose content has not been seen yet: from the start of the first to the end of
    /// the last, with the first one's level.
    pending: Option<(Span, u8)>,
    heading: Option<usize>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(
        text: &'a str,
        headings: &'a [Heading],
        count_tokens: &'a dyn Fn(&str) -> usize,
        room: &'a mut dyn FnMut(Option<usize>) -> usize,
    ) -> Self {
        let (pieces, tables) = (Vec::new(), Vec::new());
        let (overlap, pending, heading) = (0, None, None);
        Self { text, headings, count_tokens, room, overlap, pieces, tables, pending, heading }
    }

    /// Cuts all blocks. Headings are one piece with the start of what follows them.
    pub(super) fn cut(&mut self, blocks: &[Block]) {
        for block in blocks {
            match &block.kind {
                BlockKind::Heading(heading_idx) => self.push_heading(block.span, *heading_idx),
                BlockKind::Prose => self.push_block(block.span, true),
                BlockKind::Other => self.push_block(block.span, false),
                BlockKind::Table { header, rows } => self.push_table(*header, rows),
            }
        }
        self.flush_headings();
    }

    fn push_heading(&mut self, span: Span, heading_idx: usize) {
        let level = self.headings[heading_idx].level;
        self.pending = Some(match self.pending {
            Some((first, level)) => (Span { start: first.start, end: span.end }, level),
            None => (span, level),
        });
        self.heading = Some(heading_idx);
    }

    /// Headings that cannot be glued to what follows become pieces of their own.
    fn flush_headings(&mut self) {
        if let Some((span, level)) = self.pending.take() {
            let room = (self.room)(self.heading);
            let at = self.pieces.len();
            self.push_split(span, room, Split::Markdown, false, None);
            self.pieces[at].boundary = level;
        }
    }

    /// Headings and what follows go into one piece, if they leave it half of the room. Returns
    /// them, and the room that is left.
    fn glue_headings(&mut self, room: usize) -> (Option<(Span, u8)>, usize) {
        let Some((span, level)) = self.pending else { return (None, room) };
        let n_tokens = (self.count_tokens)(&self.text[span.range()]) + 2;
        if n_tokens > room / 2 {
            self.flush_headings();
            return (None, room);
        }
        self.pending = None;
        (Some((span, level)), room - n_tokens)
    }

    fn push_block(&mut self, span: Span, is_prose: bool) {
        let room = (self.room)(self.heading);
        let (glued, room) = self.glue_headings(room);
        let first = self.pieces.len();
        let is_cut = is_prose && self.overlap > 0 && self.count(span) > room;
        let room = if is_cut { room.saturating_sub(self.overlap).max(1) } else { room };
        self.push_split(span, room, Split::Markdown, is_prose, None);
        self.glue(first, glued);
    }

    fn push_table(&mut self, header: Option<Span>, rows: &[Span]) {
        let room = (self.room)(self.heading);
        let (glued, room) = self.glue_headings(room);
        let first = self.pieces.len();
        let mut rows = rows.iter();
        let mut table = None;
        let mut room_of_rows = room;
        if let Some(header) = header {
            let n_tokens = self.count(header);
            // A header that would take most of each chunk is not repeated.
            if n_tokens <= room / 2 {
                table = Some(self.tables.len());
                self.tables.push(TableHeader { span: header, n_tokens });
                room_of_rows = room - n_tokens;
            }
            // The first row keeps the header company, if both fit.
            let with_row = rows.as_slice().first().map(|row| Span { end: row.end, ..header });
            let with_row = with_row.filter(|&span| table.is_some() && self.count(span) <= room);
            if with_row.is_some() {
                rows.next();
            }
            self.push_split(with_row.unwrap_or(header), room, Split::Text, false, None);
        }
        for row in rows {
            let at = self.pieces.len();
            self.push_split(*row, room_of_rows, Split::Text, false, table);
            if let Some(piece) = self.pieces.get_mut(at).filter(|_| at > first) {
                piece.boundary = AT_ROW;
            }
        }
        self.glue(first, glued);
    }

    /// Puts headings in front of the piece at `first`.
    fn glue(&mut self, first: usize, glued: Option<(Span, u8)>) {
        let (Some((span, level)), Some(piece)) = (glued, self.pieces.get_mut(first)) else {
            return;
        };
        piece.span.start = span.start;
        piece.boundary = level;
        piece.n_tokens = (self.count_tokens)(&self.text[piece.span.range()]);
    }

    fn count(&self, span: Span) -> usize {
        (self.count_tokens)(&self.text[span.range()])
    }

    /// Adds a span as one piece, or as several where it is larger than `room`.
    fn push_split(
        &mut self,
        span: Span,
        room: usize,
        split: Split,
        is_prose: bool,
        table: Option<usize>,
    ) {
        let mut boundary = AT_BLOCK;
        for span in parts(self.text, span, room, split, self.count_tokens) {
            let n_tokens = self.count(span);
            let heading = self.heading;
            self.pieces.push(Piece { span, n_tokens, boundary, heading, is_prose, table });
            boundary = INSIDE;
        }
    }
}

/// Where a span that is too large is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// By the structure of Markdown first: items of lists, lines of code, inline elements.
    Markdown,
    /// By sentences, words and characters only: for what is a row of a table.
    Text,
}

struct Sizer<'a>(&'a dyn Fn(&str) -> usize);

impl ChunkSizer for Sizer<'_> {
    fn size(&self, chunk: &str) -> usize {
        (self.0)(chunk)
    }
}

/// Cuts a span into parts of `room` tokens at most (one character at least). Together the parts
/// hold all of it that is not blank.
pub(super) fn parts(
    text: &str,
    span: Span,
    room: usize,
    split: Split,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<Span> {
    if span.len() <= WINDOW_BYTES && count_tokens(&text[span.range()]) <= room {
        return vec![span];
    }
    let mut res = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let end = window_end(text, Span { start, end: span.end });
        let window = &text[start..end];
        let config = ChunkConfig::new(room.max(1)).with_sizer(Sizer(count_tokens));
        let cut = |(at, part): (usize, &str)| {
            let at = start + at;
            Span { start: at, end: at + part.len() }
        };
        match split {
            Split::Markdown => {
                res.extend(MarkdownSplitter::new(config).chunk_indices(window).map(cut));
            }
            Split::Text => res.extend(TextSplitter::new(config).chunk_indices(window).map(cut)),
        }
        start = end;
    }
    res
}

/// The end of the window that begins at a span's start: after a line, else after a word, else
/// after a character.
fn window_end(text: &str, span: Span) -> usize {
    if span.len() <= WINDOW_BYTES {
        return span.end;
    }
    let end = text.floor_char_boundary(span.start + WINDOW_BYTES);
    let window = &text[span.start..end];
    let after =
        window.rfind('\n').or_else(|| window.rfind(' ')).map_or(end, |at| span.start + at + 1);
    if after > span.start { after } else { end }
}
