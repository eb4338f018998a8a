//! Documents become chunks: exact spans of a document's text, small enough for the embedder.
//!
//! Lines are grouped into blocks (`blocks`), blocks that are too large are cut by text-splitter
//! into pieces (`pieces`), and pieces are packed into chunks here. Each piece's tokens are counted
//! once and each chunk's once more, which is most of the time that chunking takes.

use std::cell::RefCell;
use std::rc::Rc;

use unicode_segmentation::UnicodeSegmentation;

use crate::document::{Document, Language, Span};
use crate::language;

mod blocks;
mod context;
mod pieces;

use blocks::blocks;
use context::{Outline, context};
use pieces::{AT_BLOCK, Cutter, Piece, Split, TableHeader, parts};

/// Bytes from which a chunk's language is worth telling by itself.
const LANGUAGE_BYTES_MIN: usize = 160;

/// How large chunks may be, in the embedder's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Tokens of a chunk's [`embedding_text`] at most: context, table header and span.
    /// At least [`ChunkLimits::TOKENS_MIN`].
    pub tokens_max: usize,
    /// Tokens that neighbouring chunks of running text share at most, in whole sentences. Less
    /// than half of `tokens_max`.
    pub overlap: usize,
}

impl ChunkLimits {
    /// The least `tokens_max`: below it, a single character might not fit.
    pub const TOKENS_MIN: usize = 24;
}

/// A piece of a document.
///
/// Invariants: `span` and `table_header` lie on UTF-8 boundaries of the document's text; the
/// spans of a document's chunks together cover all of its text that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it stands in its document's text.
    pub span: Span,
    /// The headings that its first content stands under, outermost first. Headings at the very
    /// start of the span are among them.
    pub heading_path: Vec<String>,
    /// What is embedded in front of it: the document's title and the headings that stand above
    /// the span, ` > ` between them, capped to a third of the limit. Outer headings go first,
    /// then the end of the title. May be empty.
    pub context: String,
    /// The page on which it begins.
    pub page: Option<u32>,
    /// The header rows of the table that it continues, when it does not hold them itself. A
    /// header of more than about a third of the limit is not repeated.
    pub table_header: Option<Span>,
    /// Its language, where it can be told; else its document's.
    pub language: Option<Language>,
}

/// Cuts a document into chunks, in order.
///
/// `count_tokens` counts the tokens of a text for the embedder, without special tokens. For every
/// chunk, the count of its [`embedding_text`] is at most `limits.tokens_max`; only a single
/// character that is more by itself could exceed it.
///
/// A chunk ends at a heading if it is half full, else at the end of a block, of a row, of a
/// sentence or of a word, in that order. Headings stay with what follows them. Rows of tables stay
/// whole unless one alone is over the limit.
///
/// # Panics
///
/// When `limits` break the bounds that their fields state.
#[must_use]
pub fn chunk(
    document: &Document,
    limits: &ChunkLimits,
    count_tokens: &dyn Fn(&str) -> usize,
) -> Vec<Chunk> {
    assert!(
        limits.tokens_max >= ChunkLimits::TOKENS_MIN,
        "chunks need at least {} tokens, not {}",
        ChunkLimits::TOKENS_MIN,
        limits.tokens_max
    );
    assert!(limits.overlap < limits.tokens_max.div_ceil(2), "overlap must leave room to advance");
    let outline = Outline::of(&document.headings);
    let context_max = limits.tokens_max / 3;
    let joint = joint(count_tokens);
    // Neighbouring pieces mostly stand under one heading.
    let mut last: Option<(Option<usize>, usize)> = None;
    let mut room = |heading: Option<usize>| match last {
        Some((known, room)) if known == heading => room,
        _ => {
            let path = outline.path(heading);
            let (_, n_tokens) = context(document, &path, context_max, count_tokens);
            let room = limits.tokens_max - n_tokens - 2 * joint;
            last = Some((heading, room));
            room
        }
    };
    let blocks = blocks(&document.text, &document.headings);
    let mut cutter = Cutter::new(&document.text, &document.headings, count_tokens, &mut room);
    cutter.overlap = limits.overlap;
    cutter.cut(&blocks);
    let (pieces, tables) = (cutter.pieces, cutter.tables);
    let last = RefCell::default();
    let packer = Packer { document, limits, count_tokens, outline, tables, joint, last };
    packer.pack(&pieces)
}

/// What the embedder reads for a chunk: its context, the header of the table that it continues,
/// and its text, each on lines of its own.
#[must_use]
pub fn embedding_text(document: &Document, chunk: &Chunk) -> String {
    let header = chunk.table_header.map_or("", |header| &document.text[header.range()]);
    let mut parts = vec![chunk.context.as_str(), header, &document.text[chunk.span.range()]];
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// Tokens that a line break between two texts costs beyond their own: none for most embedders.
fn joint(count_tokens: &dyn Fn(&str) -> usize) -> usize {
    count_tokens("a\n\na").saturating_sub(2 * count_tokens("a")).min(4)
}

struct Packer<'a> {
    document: &'a Document,
    limits: &'a ChunkLimits,
    count_tokens: &'a dyn Fn(&str) -> usize,
    outline: Outline<'a>,
    tables: Vec<TableHeader>,
    joint: usize,
    /// The context found last: neighbouring chunks mostly have the same.
    last: RefCell<Option<Rc<Context>>>,
}

/// What is known of a place from the headings around it.
struct Context {
    heading: Option<usize>,
    /// How many of the headings stand above the place.
    n_above: usize,
    /// The headings in force.
    path: Vec<String>,
    text: String,
    n_tokens: usize,
}

impl Packer<'_> {
    fn pack(&self, pieces: &[Piece]) -> Vec<Chunk> {
        let mut res: Vec<Chunk> = Vec::new();
        let mut first = 0;
        while first < pieces.len() {
            let previous = first.checked_sub(1).map(|at| &pieces[at]);
            let start = self.start_with_overlap(previous, &pieces[first]);
            let end = self.end_of_chunk(&pieces[first..], start) + first;
            let n_taken = self.push_fitting(&pieces[first..end], start, &mut res);
            first += n_taken;
            let is_last = first == pieces.len();
            if let (true, [.., before, last]) = (is_last, res.as_mut_slice())
                && let Some(merged) = self.merged(before, last, &pieces[first - n_taken..])
            {
                *before = merged;
                res.pop();
            }
        }
        res
    }

    /// Where a chunk that begins with a piece starts: earlier than it, when it continues running
    /// text and whole sentences fit into the overlap.
    fn start_with_overlap(&self, previous: Option<&Piece>, piece: &Piece) -> usize {
        let start = piece.span.start;
        let Some(previous) = previous else { return start };
        let continues = piece.is_prose && previous.is_prose && piece.heading == previous.heading;
        if self.limits.overlap == 0 || !continues || piece.boundary < AT_BLOCK {
            return start;
        }
        let mut res = start;
        let before = &self.document.text[previous.span.range()];
        for (at, _) in before.split_sentence_bound_indices().collect::<Vec<_>>().into_iter().rev() {
            let candidate = previous.span.start + at;
            if (self.count_tokens)(&self.document.text[candidate..start]) > self.limits.overlap {
                break;
            }
            res = candidate;
        }
        res
    }

    /// How many of the pieces make up a chunk: as many as fit, back to the best place to end.
    fn end_of_chunk(&self, pieces: &[Piece], start: usize) -> usize {
        let context = self.context(&pieces[0], start);
        let header = pieces[0].table.map_or(0, |table| self.tables[table].n_tokens + self.joint);
        let shared = (self.count_tokens)(&self.document.text[start..pieces[0].span.start]);
        let room =
            self.limits.tokens_max.saturating_sub(context.n_tokens + self.joint + header + shared);
        let mut n_tokens = pieces[0].n_tokens;
        let mut best: Option<(u8, usize)> = None;
        for (at, piece) in pieces.iter().enumerate().skip(1) {
            let is_half_full = 2 * n_tokens >= room;
            if is_half_full && best.is_none_or(|(boundary, _)| piece.boundary <= boundary) {
                best = Some((piece.boundary, at));
            }
            if is_half_full && piece.boundary < AT_BLOCK {
                return at;
            }
            if n_tokens + self.joint + piece.n_tokens > room {
                return best.map_or(at, |(_, at)| at);
            }
            n_tokens += self.joint + piece.n_tokens;
        }
        pieces.len()
    }

    /// Adds a chunk of as many of the pieces as fit, by the count of its whole text; returns how
    /// many. Counts of parts and of the whole differ where the tokenizer joins over white space.
    fn push_fitting(&self, pieces: &[Piece], start: usize, res: &mut Vec<Chunk>) -> usize {
        let mut starts = vec![start];
        if start < pieces[0].span.start {
            starts.push(pieces[0].span.start);
        }
        for start in starts {
            for n_taken in (1..=pieces.len()).rev() {
                let end = pieces[n_taken - 1].span.end;
                let chunk = self.chunk(&pieces[0], Span { start, end });
                if self.fits(&chunk) {
                    res.push(chunk);
                    return n_taken;
                }
                if n_taken == 1 || start < pieces[0].span.start {
                    break;
                }
            }
        }
        self.push_parts(&pieces[0], res);
        1
    }

    /// Cuts a piece that turned out too large for a chunk. The room shrinks until each part fits;
    /// at one character, the context goes too.
    fn push_parts(&self, piece: &Piece, res: &mut Vec<Chunk>) {
        let mut room = self.limits.tokens_max / 2;
        loop {
            let spans =
                parts(&self.document.text, piece.span, room, Split::Markdown, self.count_tokens);
            let chunks: Vec<_> = spans.into_iter().map(|span| self.chunk(piece, span)).collect();
            if chunks.iter().all(|chunk| self.fits(chunk)) {
                res.extend(chunks);
                return;
            }
            if room <= 1 {
                res.extend(chunks.into_iter().map(|chunk| {
                    if self.fits(&chunk) {
                        return chunk;
                    }
                    Chunk { context: String::new(), table_header: None, ..chunk }
                }));
                return;
            }
            room /= 2;
        }
    }

    fn fits(&self, chunk: &Chunk) -> bool {
        (self.count_tokens)(&embedding_text(self.document, chunk)) <= self.limits.tokens_max
    }

    /// The headings in force at a chunk's content, and the context from those above its start.
    fn context(&self, piece: &Piece, start: usize) -> Rc<Context> {
        let heading = piece.heading;
        let path = self.outline.path(heading);
        let n_above = path.partition_point(|it| it.offset < start);
        let mut last = self.last.borrow_mut();
        let known = last.as_ref().filter(|it| it.heading == heading && it.n_above == n_above);
        if let Some(context) = known {
            return Rc::clone(context);
        }
        let tokens_max = self.limits.tokens_max / 3;
        let (text, n_tokens) =
            context(self.document, &path[..n_above], tokens_max, self.count_tokens);
        let path = path.into_iter().map(|it| it.title.clone()).collect();
        Rc::clone(last.insert(Rc::new(Context { heading, n_above, path, text, n_tokens })))
    }

    fn chunk(&self, first: &Piece, span: Span) -> Chunk {
        let context = self.context(first, span.start);
        let text = &self.document.text[span.range()];
        let own = (text.len() >= LANGUAGE_BYTES_MIN).then(|| language::detect(text)).flatten();
        Chunk {
            span,
            heading_path: context.path.clone(),
            context: context.text.clone(),
            page: self.document.page_at(span.start),
            table_header: first.table.map(|table| self.tables[table].span),
            language: own.or(self.document.language),
        }
    }

    /// The last two chunks as one, when the last is tiny, stands in the same section and fits.
    fn merged(&self, before: &Chunk, last: &Chunk, pieces: &[Piece]) -> Option<Chunk> {
        let is_tiny =
            pieces.iter().map(|piece| piece.n_tokens).sum::<usize>() <= self.limits.tokens_max / 8;
        if !is_tiny || pieces[0].boundary < AT_BLOCK || before.heading_path != last.heading_path {
            return None;
        }
        let span = Span { start: before.span.start, end: last.span.end };
        let merged = Chunk { span, ..before.clone() };
        self.fits(&merged).then_some(merged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clean::headings;
    use crate::document::{MediaType, Metadata};

    pub(super) fn count_words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    pub(super) fn document(text: &str) -> Document {
        Document {
            title: String::new(),
            text: text.to_owned(),
            media_type: MediaType::Markdown,
            language: None,
            pages: Vec::new(),
            headings: headings(text),
            metadata: Metadata::default(),
            findings: Vec::new(),
        }
    }

    /// What must hold for every text, every limit and every counter.
    #[track_caller]
    fn check_properties(
        document: &Document,
        limits: &ChunkLimits,
        count_tokens: &dyn Fn(&str) -> usize,
    ) -> Vec<Chunk> {
        let chunks = chunk(document, limits, count_tokens);
        let text = &document.text;
        let mut covered = 0;
        for chunk in &chunks {
            assert!(
                text.is_char_boundary(chunk.span.start) && text.is_char_boundary(chunk.span.end)
            );
            assert!(!text[chunk.span.range()].trim().is_empty(), "a chunk holds something");
            let n_tokens = count_tokens(&embedding_text(document, chunk));
            assert!(n_tokens <= limits.tokens_max, "{n_tokens} tokens: {chunk:?}");
            if chunk.span.start > covered {
                assert!(text[covered..chunk.span.start].trim().is_empty(), "text was lost");
            }
            assert!(chunk.span.end > covered, "a chunk adds something");
            covered = chunk.span.end;
            assert_eq!(chunk.page, document.page_at(chunk.span.start));
            if let Some(header) = chunk.table_header {
                assert!(header.end <= chunk.span.start, "a header stands before its rows");
            }
        }
        assert!(text[covered..].trim().is_empty(), "text was lost at the end");
        assert_eq!(chunks, chunk(document, limits, count_tokens), "twice the same");
        chunks
    }

    #[track_caller]
    fn check(text: &str, tokens_max: usize, expected: &[&str]) -> Vec<Chunk> {
        let document = document(text);
        let limits = ChunkLimits { tokens_max, overlap: 0 };
        let chunks = check_properties(&document, &limits, &count_words);
        let texts: Vec<_> = chunks.iter().map(|it| &text[it.span.range()]).collect();
        assert_eq!(texts, expected);
        chunks
    }

    /// `n` words that begin with `start`, in one sentence.
    fn words(start: &str, n: usize) -> String {
        (0..n).map(|i| format!("{start}{i}")).collect::<Vec<_>>().join(" ") + "."
    }

    #[test]
    fn a_short_text_stays_whole() {
        check("# Un\n\nDeux.\n\n- trois", 24, &["# Un\n\nDeux.\n\n- trois"]);
        check("  \n ", 24, &[]);
        check("", 24, &[]);
    }

    #[test]
    fn cuts_at_a_heading_when_half_full_rather_than_when_full() {
        let (a, b) = (words("a", 14), words("b", 5));
        let text = format!("# A\n\n{a}\n\n# B\n\n{b}");
        check(&text, 30, &[&format!("# A\n\n{a}"), &format!("# B\n\n{b}")]);
    }

    #[test]
    fn packs_small_sections_together() {
        let text = "# A\n\nun\n\n## B\n\ndeux\n\n## C\n\ntrois";
        check(text, 30, &[text]);
    }

    #[test]
    fn a_heading_stays_with_what_follows() {
        let (a, b) = (words("a", 20), words("b", 12));
        let text = format!("{a}\n\n## B\n\n{b}");
        check(&text, 30, &[&a, &format!("## B\n\n{b}")]);
        // Even where what follows must be cut itself.
        let long = format!("{} {}", words("c", 20), words("d", 20));
        let chunks = check_properties(
            &document(&format!("## C\n\n{long}")),
            &ChunkLimits { tokens_max: 30, overlap: 0 },
            &count_words,
        );
        assert!(chunks[0].span.len() > 50, "the heading is alone");
    }

    #[test]
    fn the_heading_path_is_that_of_the_first_content() {
        let (a, b) = (words("a", 20), words("b", 20));
        let text = format!("# Guide\n\n## A\n\n{a}\n\n### B\n\n{b}\n\n{b}");
        let chunks = check_properties(
            &document(&text),
            &ChunkLimits { tokens_max: 36, overlap: 0 },
            &count_words,
        );
        let paths: Vec<_> = chunks.iter().map(|it| it.heading_path.join("/")).collect();
        assert_eq!(paths, ["Guide/A", "Guide/A/B", "Guide/A/B"]);
        let contexts: Vec<_> = chunks.iter().map(|it| it.context.as_str()).collect();
        assert_eq!(contexts, ["", "Guide > A", "Guide > A > B"]);
    }

    #[test]
    fn a_table_is_cut_between_rows_and_its_header_is_repeated() {
        let row = |i: usize| format!("| {i} | {} |\n", words("x", 5));
        let rows: String = (0..12).map(row).collect();
        let header = "| n | texte |\n| --- | --- |";
        let text = format!("{header}\n{rows}");
        let document = document(&text);
        let limits = ChunkLimits { tokens_max: 48, overlap: 0 };
        let chunks = check_properties(&document, &limits, &count_words);
        assert!(chunks.len() > 2);
        assert_eq!(chunks[0].table_header, None);
        for chunk in &chunks[1..] {
            assert_eq!(&text[chunk.table_header.unwrap().range()], header);
            assert!(text[chunk.span.range()].lines().all(|row| row.ends_with('|')));
        }
    }

    #[test]
    fn a_row_over_the_limit_is_cut() {
        let text = format!("| a |\n| --- |\n| {} |\n| fin |", words("x", 90));
        let chunks = check_properties(
            &document(&text),
            &ChunkLimits { tokens_max: 30, overlap: 0 },
            &count_words,
        );
        assert!(chunks.len() > 3);
    }

    #[test]
    fn running_text_overlaps_by_whole_sentences() {
        let sentences: Vec<_> = (0..12).map(|i| format!("La règle {i} vaut toujours.")).collect();
        let text = sentences.join(" ");
        let document = document(&text);
        let limits = ChunkLimits { tokens_max: 24, overlap: 8 };
        let chunks = check_properties(&document, &limits, &count_words);
        for pair in chunks.windows(2) {
            let shared = &text[pair[1].span.start..pair[0].span.end];
            assert_eq!(count_words(shared), 5, "{shared}");
        }
    }

    #[test]
    fn lists_do_not_overlap() {
        let text: String =
            (0..20).map(|i| format!("- {}\n", words(&format!("i{i}x"), 4))).collect();
        let limits = ChunkLimits { tokens_max: 24, overlap: 8 };
        let chunks = check_properties(&document(&text), &limits, &count_words);
        assert!(chunks.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
    }

    #[test]
    fn a_tiny_end_joins_what_stands_before() {
        let text = format!("{}\n\n{}\n\nfin", words("a", 14), words("b", 13));
        check(&text, 29, &[&text]);
    }

    #[test]
    fn what_is_embedded_begins_with_its_context() {
        let mut document = document(&format!("# A\n\n{}\n\n{}", words("a", 20), words("b", 20)));
        document.title = "Guide".to_owned();
        let limits = ChunkLimits { tokens_max: 30, overlap: 0 };
        let chunks = check_properties(&document, &limits, &count_words);
        assert!(embedding_text(&document, &chunks[0]).starts_with("Guide\n# A\n\na0 a1"));
        assert!(embedding_text(&document, &chunks[1]).starts_with("Guide > A\nb0 b1"));
    }

    #[test]
    #[should_panic(expected = "chunks need at least 24 tokens")]
    fn refuses_limits_that_cannot_be_kept() {
        let limits = ChunkLimits { tokens_max: 8, overlap: 0 };
        let _ = chunk(&document("a"), &limits, &count_words);
    }

    /// Markdown with everything that could go wrong.
    fn texts() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "[a-zéà ,.]{0,80}",
            "[A-Z][a-z ]{0,30}[.!?] [A-Z][a-z ]{5,60}[.]",
            "#{1,7} [a-z ]{0,40}",
            "(\\| [a-z0-9 ]{0,30} ){1,6}\\|",
            Just("| --- | --- |".to_owned()),
            "( {0,6})[-*+] [a-z ]{0,60}",
            "[0-9]{1,3}\\. [a-z ]{0,60}",
            "`{3,4}[a-z]{0,3}",
            Just("===".to_owned()),
            Just("---".to_owned()),
            "> [a-z ]{0,40}",
            // Words without spaces, and characters that look like one and are several.
            "[a-z]{100,400}",
            "[👩🏽\u{200d}💻🇫🇷e\u{301}\u{fe0f}]{0,40}",
            "[\u{4e00}-\u{4e40}。]{0,60}",
            "\\PC{0,60}",
            Just(String::new()),
        ];
        proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
    }

    /// Words, characters, and bytes with a price for each line: as unlike as tokenizers are.
    fn count_characters(text: &str) -> usize {
        text.chars().count()
    }

    fn count_bytes_and_lines(text: &str) -> usize {
        text.len().div_ceil(3) + 2 * text.matches('\n').count()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn chunks_are_exact_spans_that_lose_nothing_and_keep_the_limit(
            text in texts(),
            title in "[a-z ]{0,300}",
            tokens_max in ChunkLimits::TOKENS_MIN..120,
            overlap in 0..12_usize,
        ) {
            let mut document = document(&text);
            document.title = title;
            let limits = ChunkLimits { tokens_max, overlap };
            check_properties(&document, &limits, &count_words);
            check_properties(&document, &limits, &count_characters);
            check_properties(&document, &limits, &count_bytes_and_lines);
        }
    }
}
