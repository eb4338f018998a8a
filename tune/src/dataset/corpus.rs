//! A document's text as what questions can be made of: sections with their paragraphs, lists and
//! tables. Every block keeps its place, so that a row can name the words that it rests on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use ingest::document::{Language, Span};

/// A document of the catalog, as far as rows need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its number in the catalog.
    pub id: i64,
    /// Its path below the folder ingested.
    pub path: String,
    /// BLAKE3 of its file's bytes, in hexadecimal.
    pub content_hash: String,
    /// Its title.
    pub title: String,
    /// Its main language.
    pub language: Option<Language>,
    /// Its licence, as written.
    pub licence: Option<String>,
    /// Groups whose members may read it. Empty: everyone may.
    pub groups: Vec<String>,
    /// Documents that say nearly the same share a cluster: the smallest number of one of them.
    pub cluster: i64,
    /// Its text, as Markdown.
    pub text: String,
    /// Its chunks, in reading order.
    pub chunks: Vec<SourceChunk>,
}

/// A chunk of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceChunk {
    /// Its number in the catalog.
    pub id: i64,
    /// Where it stands in the document's text.
    pub span: Span,
    /// The page on which it begins.
    pub page: Option<u32>,
    /// Its language.
    pub language: Option<Language>,
}

impl Source {
    /// The chunk that holds all of a range of the text; of several, the first one.
    #[must_use]
    pub fn chunk_of(&self, range: &Range<usize>) -> Option<&SourceChunk> {
        self.chunks.iter().find(|it| it.span.start <= range.start && range.end <= it.span.end)
    }

    /// The text that stands under each heading, in reading order.
    #[must_use]
    pub fn sections(&self) -> Vec<Section<'_>> {
        sections(&self.text)
    }
}

/// What stands under a heading, up to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// The headings above it, outermost first; empty before the first one.
    pub path: Vec<&'a str>,
    /// Its bytes in the text, heading included.
    pub span: Range<usize>,
    /// Its blocks.
    pub blocks: Vec<Block<'a>>,
}

impl<'a> Section<'a> {
    /// The innermost heading.
    #[must_use]
    pub fn heading(&self) -> Option<&'a str> {
        self.path.last().copied()
    }
}

/// A part of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block<'a> {
    /// Running text.
    Paragraph {
        /// Its bytes in the document's text.
        span: Range<usize>,
        /// Its words, lines joined.
        text: String,
    },
    /// A list.
    List {
        /// Its bytes in the document's text.
        span: Range<usize>,
        /// Its items: where each stands, and its words without the mark.
        items: Vec<(Range<usize>, String)>,
        /// Whether the items are numbered.
        ordered: bool,
    },
    /// A table.
    Table(Table<'a>),
}

impl Block<'_> {
    /// Its bytes in the document's text.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        match self {
            Self::Paragraph { span, .. } | Self::List { span, .. } => span.clone(),
            Self::Table(it) => it.span.clone(),
        }
    }
}

/// A table with a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its bytes in the document's text.
    pub span: Range<usize>,
    /// Names of its columns.
    pub header: Vec<&'a str>,
    /// Its rows: where each stands, and its cells, as many as there are columns.
    pub rows: Vec<(Range<usize>, Vec<&'a str>)>,
}

/// A line with its place.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: usize,
    text: &'a str,
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    let mut res: Vec<Section<'_>> = Vec::new();
    let mut open: Vec<Line<'_>> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    for raw in text.split_inclusive('\n') {
        let line = Line { start: at, text: raw.trim_end() };
        at += raw.len();
        let Some((level, title)) = heading(line.text) else {
            open.push(line);
            continue;
        };
        push(&mut res, &path, &mut open, start..line.start);
        start = line.start;
        path.retain(|(it, _)| *it < level);
        path.push((level, title));
    }
    push(&mut res, &path, &mut open, start..text.len());
    res
}

fn push<'a>(
    res: &mut Vec<Section<'a>>,
    path: &[(usize, &'a str)],
    open: &mut Vec<Line<'a>>,
    span: Range<usize>,
) {
    let blocks = blocks(&std::mem::take(open));
    if !blocks.is_empty() {
        res.push(Section { path: path.iter().map(|(_, it)| *it).collect(), span, blocks });
    }
}

/// Level and words of a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|it| *it == b'#').count();
    let rest = line[level..].strip_prefix(' ')?.trim();
    ((1..=6).contains(&level) && !rest.is_empty()).then_some((level, rest))
}

fn blocks<'a>(lines: &[Line<'a>]) -> Vec<Block<'a>> {
    let mut res = Vec::new();
    // A paragraph ends at a blank line; so does a list, unless another item follows.
    for group in lines.split(|it| it.text.trim().is_empty()).filter(|it| !it.is_empty()) {
        let mut rest = group;
        while let Some(first) = rest.first() {
            let same = |it: &&Line<'a>| kind(it.text) == kind(first.text);
            let n = match kind(first.text) {
                // What follows an item on lines of its own belongs to it.
                Kind::Item => rest.iter().take_while(|it| kind(it.text) != Kind::Row).count(),
                Kind::Row | Kind::Words => rest.iter().take_while(same).count(),
            };
            let (now, later) = rest.split_at(n);
            block(now, &mut res);
            rest = later;
        }
    }
    res
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Words,
    Item,
    Row,
}

fn kind(line: &str) -> Kind {
    let line = line.trim_start();
    match () {
        () if line.starts_with('|') => Kind::Row,
        () if item(line).is_some() => Kind::Item,
        () => Kind::Words,
    }
}

/// The words of a list item, and whether it is numbered.
fn item(line: &str) -> Option<(&str, bool)> {
    let line = line.trim_start();
    if let Some(rest) = ["- ", "* ", "+ "].iter().find_map(|it| line.strip_prefix(it)) {
        return Some((rest.trim(), false));
    }
    let n_digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line[n_digits..].strip_prefix(". ").or(line[n_digits..].strip_prefix(") "))?;
    (1..=2).contains(&n_digits).then_some((rest.trim(), true))
}

fn block<'a>(lines: &[Line<'a>], res: &mut Vec<Block<'a>>) {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
    let span = first.start..last.start + last.text.len();
    match kind(first.text) {
        Kind::Words => {
            let words: Vec<&str> = lines.iter().map(|it| it.text.trim()).collect();
            res.push(Block::Paragraph { span, text: words.join(" ") });
        }
        Kind::Row => res.extend(table(lines, span).map(Block::Table)),
        Kind::Item => {
            let mut items: Vec<(Range<usize>, String)> = Vec::new();
            for line in lines {
                let end = line.start + line.text.len();
                match (item(line.text), items.last_mut()) {
                    (Some((words, _)), _) => {
                        items.push((
                            line.start + line.text.find(words).unwrap_or(0)..end,
                            words.to_owned(),
                        ));
                    }
                    (None, Some((span, open))) => {
                        span.end = end;
                        open.push(' ');
                        open.push_str(line.text.trim());
                    }
                    (None, None) => {}
                }
            }
            let ordered = item(first.text).is_some_and(|(_, it)| it);
            match res.last_mut() {
                // Items with blank lines between them are one list.
                Some(Block::List { span: before, items: open, ordered: was })
                    if *was == ordered =>
                {
                    before.end = span.end;
                    open.append(&mut items);
                }
                _ => res.push(Block::List { span, items, ordered }),
            }
        }
    }
}

/// A table whose second line is the rule below its header.
fn table<'a>(lines: &[Line<'a>], span: Range<usize>) -> Option<Table<'a>> {
    let [header, rule, rows @ ..] = lines else { return None };
    let is_rule = rule.text.chars().all(|it| "|-: ".contains(it)) && rule.text.contains("--");
    let header = cells(header.text);
    if !is_rule || header.len() < 2 {
        return None;
    }
    let rows = rows.iter().filter_map(|it| {
        let cells = cells(it.text);
        (cells.len() == header.len()).then(|| (it.start..it.start + it.text.len(), cells))
    });
    let rows = rows.collect();
    Some(Table { span, rows, header })
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let line = line.strip_suffix('|').unwrap_or(line);
    let mut res = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if c == '|' && !escaped {
            res.push(line[start..at].trim());
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    res.push(line[start..].trim());
    res
}

/// The text of a document for continued pre-training, in pieces of at most `chars_max` characters
/// that end where a section does, or else a paragraph: without tables of contents, page numbers and
/// lines that repeat on every page. A single paragraph that is longer stays whole.
#[must_use]
pub fn training_texts(source: &Source, chars_max: usize) -> Vec<(Range<usize>, String)> {
    let furniture = furniture(&source.text);
    let mut res: Vec<(Range<usize>, String)> = Vec::new();
    let mut at = 0;
    for part in source.text.split_inclusive("\n\n") {
        let span = at..at + part.len();
        at = span.end;
        let lines = part.lines().filter(|it| !furniture.contains(it.trim()) && !is_page_mark(it));
        let kept: Vec<&str> = lines.map(str::trim_end).filter(|it| !it.is_empty()).collect();
        let text = kept.join("\n");
        if text.is_empty() || text.contains(". . .") {
            continue;
        }
        let n_chars = text.chars().count();
        let is_heading = heading(&text).is_some();
        match res.last_mut() {
            // A heading begins a piece where the open one is half full.
            Some((open, before))
                if before.chars().count() + n_chars + 2 <= chars_max
                    && !(is_heading && before.chars().count() > chars_max / 2) =>
            {
                open.end = span.end;
                before.push_str("\n\n");
                before.push_str(&text);
            }
            _ => res.push((span, text)),
        }
    }
    res
}

/// Short lines that belong to pages and not to the text, tables and headings apart: those that stand
/// in it three times or more, and those that twice are a paragraph of their own and no sentence.
pub(super) fn furniture(text: &str) -> BTreeSet<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut alone: BTreeMap<&str, usize> = BTreeMap::new();
    for part in text.split("\n\n") {
        let lines = part.lines().map(str::trim);
        for line in lines.filter(|it| !it.is_empty() && it.len() < 80 && kind(it) == Kind::Words) {
            *counts.entry(line).or_default() += 1;
            if part.trim() == line && !line.ends_with(['.', '!', '?', ':', ';', '…', '»', '"']) {
                *alone.entry(line).or_default() += 1;
            }
        }
    }
    let stands_twice = |it: &str| alone.get(it).is_some_and(|n| *n >= 2);
    let is_furniture =
        |(it, n): &(&str, usize)| heading(it).is_none() && (*n >= 3 || stands_twice(it));
    counts.into_iter().filter(is_furniture).map(|(it, _)| it).collect()
}

/// A line that only says which page it stands on: `Finance team Page 2`, `page 3/7`.
pub(super) fn is_page_mark(line: &str) -> bool {
    let folded = line.trim().to_lowercase();
    let Some((before, after)) = folded.rsplit_once("page ") else { return false };
    let number = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit());
    let after: Vec<&str> = after.split(['/', ' ']).filter(|it| !it.is_empty()).collect();
    let is_number = match &after[..] {
        [one] => number(one),
        [one, all] => number(one) && number(all),
        [one, "of" | "sur", all] => number(one) && number(all),
        _ => false,
    };
    is_number && before.len() < 80 && !before.contains(". ")
}

/// The documents that rows are made of, in a stable order, without those that must not be trained
/// on.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Words that a licence must not hold, in lower case.
    pub licences_forbidden: Vec<String>,
    /// Groups whose documents may be trained on, beside those that everyone may read.
    pub groups: Vec<String>,
}

/// Why a document is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// Its licence forbids it.
    Licence {
        /// As written.
        licence: String,
    },
    /// Only these groups may read it.
    Groups {
        /// Their names.
        groups: Vec<String>,
    },
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Licence { licence } => write!(f, "licence `{licence}`"),
            Self::Groups { groups } => write!(f, "restricted to {}", groups.join(", ")),
        }
    }
}

impl Allowed {
    /// Why a document must not be trained on, if so.
    #[must_use]
    pub fn left_out(&self, licence: Option<&str>, groups: &[String]) -> Option<LeftOut> {
        if let Some(licence) = licence {
            let folded = licence.to_lowercase();
            if self.licences_forbidden.iter().any(|it| folded.contains(&it.to_lowercase())) {
                return Some(LeftOut::Licence { licence: licence.to_owned() });
            }
        }
        // A document of several groups is open to the members of each.
        let is_open = groups.is_empty() || groups.iter().any(|it| self.groups.contains(it));
        (!is_open).then(|| LeftOut::Groups { groups: groups.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Frais\n\nRéférence X-1.\nDeux lignes.\n\n## Plafonds\n\n\
        | Repas | Paris |\n| --- | --- |\n| Dîner | 28 € |\n| Midi | 19 € |\n\nAprès.\n\n\
        1. Un.\n2. Deux\n   suite.\n";

    #[test]
    fn a_text_becomes_sections_with_blocks_in_their_places() {
        let sections = sections(TEXT);
        assert_eq!(sections.len(), 2);
        assert_eq!(sections[1].path, ["Frais", "Plafonds"]);
        let Block::Paragraph { text, span } = &sections[0].blocks[0] else { panic!() };
        assert_eq!(text, "Référence X-1. Deux lignes.");
        assert_eq!(&TEXT[span.clone()], "Référence X-1.\nDeux lignes.");
        let Block::Table(table) = &sections[1].blocks[0] else { panic!() };
        assert_eq!(table.header, ["Repas", "Paris"]);
        assert_eq!(table.rows[1].1, ["Midi", "19 €"]);
        assert_eq!(&TEXT[table.rows[1].0.clone()], "| Midi | 19 € |");
        let Block::List { items, ordered, .. } = &sections[1].blocks[2] else { panic!() };
        let words: Vec<&str> = items.iter().map(|(_, it)| it.as_str()).collect();
        assert_eq!((words.as_slice(), *ordered), (&["Un.", "Deux suite."][..], true));
        assert_eq!(&TEXT[items[1].0.clone()], "Deux\n   suite.");
    }

    #[test]
    fn texts_to_train_on_have_no_page_numbers() {
        let text = "# Titre\n\nUn.\n\nService des achats Page 1\n\nNotice 7\n\nDeux, page 3 du \
            guide.\n\nNotice 7\n\nNotice 7\n\nSommaire . . . . 4\n";
        let span = Span { start: 0, end: text.len() };
        let source = Source {
            id: 1,
            path: String::new(),
            content_hash: String::new(),
            title: "Titre".to_owned(),
            language: None,
            licence: None,
            groups: Vec::new(),
            cluster: 1,
            text: text.to_owned(),
            chunks: vec![SourceChunk { id: 1, span, page: None, language: None }],
        };
        let texts = training_texts(&source, 1000);
        assert_eq!(texts.len(), 1);
        assert_eq!(texts[0].1, "# Titre\n\nUn.\n\nDeux, page 3 du guide.");
        assert_eq!(training_texts(&source, 11).len(), 3);
        // Two pages are enough for a line that is no sentence.
        let text = "Notice X-1\n\nUn point.\n\nNotice X-1\n\nUn point.\n\n- Item\n\n- Item\n";
        assert_eq!(furniture(text).into_iter().collect::<Vec<_>>(), ["Notice X-1"]);
    }

    #[test]
    fn licences_and_groups_leave_documents_out() {
        let allowed = Allowed {
            licences_forbidden: vec!["all rights reserved".to_owned()],
            groups: vec!["rh".to_owned()],
        };
        let no: [String; 0] = [];
        assert_eq!(allowed.left_out(Some("internal use"), &no), None);
        assert!(allowed.left_out(Some("© X. All rights reserved."), &no).is_some());
        assert!(allowed.left_out(None, &["direction".to_owned()]).is_some());
        assert_eq!(allowed.left_out(None, &["rh".to_owned()]), None);
    }
}
