//! Footnotes, endnotes and comments: each follows the block that refers to it.

use crate::parse::office::text::{self, Block};
use crate::parse::office::xml::Tag;
use std::collections::HashMap;

/// What kind of note an element is or refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum NoteKind {
    Footnote,
    Endnote,
    Comment,
}

impl NoteKind {
    /// By the name of the element that holds a note.
    pub(super) fn of_element(name: &str) -> Option<Self> {
        match name {
            "footnote" => Some(Self::Footnote),
            "endnote" => Some(Self::Endnote),
            "comment" => Some(Self::Comment),
            _ => None,
        }
    }

    /// By the name of the element that refers to a note.
    pub(super) fn of_reference(name: &str) -> Option<Self> {
        Self::of_element(name.strip_suffix("Reference")?)
    }
}

/// The notes of a document, and those that wait for the end of their block.
#[derive(Default)]
pub(super) struct Notes {
    texts: HashMap<(NoteKind, String), String>,
    n_numbered: usize,
    waiting: Vec<String>,
}

/// A note's start tag.
pub(super) struct NoteStart {
    kind: NoteKind,
    id: String,
    author: String,
    initials: String,
    date: String,
}

impl NoteStart {
    pub(super) fn read(kind: NoteKind, tag: &Tag<'_>) -> Self {
        let attr = |name| tag.attr(name).unwrap_or_default();
        Self {
            kind,
            id: attr("id"),
            author: attr("author"),
            initials: attr("initials"),
            date: attr("date"),
        }
    }
}

impl Notes {
    /// Keeps a note that was read.
    pub(super) fn add(&mut self, start: NoteStart, blocks: &[Block]) {
        let text = text::cell(blocks);
        let text = match start.kind {
            NoteKind::Comment => text::comment(&start.author, &start.initials, &start.date, &text),
            NoteKind::Footnote | NoteKind::Endnote => Some(text).filter(|it| !it.is_empty()),
        };
        if let Some(text) = text {
            self.texts.insert((start.kind, start.id), text);
        }
    }

    /// Takes a reference; gives the mark to put into the text.
    pub(super) fn refer(&mut self, kind: NoteKind, id: &str) -> Option<String> {
        // Taken out: a note that is referred to twice is given once.
        let text = self.texts.remove(&(kind, id.to_owned()))?;
        if kind == NoteKind::Comment {
            self.waiting.push(text);
            return None;
        }
        self.n_numbered += 1;
        let mark = format!("[^{}]", self.n_numbered);
        self.waiting.push(format!("{mark}: {text}"));
        Some(mark)
    }

    /// Makes comments that nothing in the body refers to wait as well: those on notes, on deletions.
    pub(super) fn refer_to_rest(&mut self) {
        let rest = std::mem::take(&mut self.texts).into_iter();
        let mut rest: Vec<_> = rest.filter(|((kind, _), _)| *kind == NoteKind::Comment).collect();
        rest.sort_by(|a, b| a.0.1.cmp(&b.0.1));
        self.waiting.extend(rest.into_iter().map(|(_, text)| text));
    }

    /// The notes of the block that just ended.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Block> {
        std::mem::take(&mut self.waiting).into_iter().map(Block::paragraph)
    }
}
