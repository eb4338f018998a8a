//! One paragraph while it is read.

use super::numbering::Numbering;
use super::styles::{ListRef, Style, Styles, heading_level};
use crate::parse::office::text::{Block, Kind};
use crate::parse::office::xml::Tree;

/// A paragraph's text so far, and what its properties make of it.
#[derive(Default)]
pub(super) struct Paragraph {
    pub(super) text: String,
    /// Its properties, when it states any.
    style_id: Option<String>,
    outline: Option<u8>,
    list: Option<ListRef>,
    /// The paragraph's end was deleted in a tracked change: it goes on with the next one.
    pub(super) is_joined: bool,
    /// Whether the run being read says that it is hidden.
    pub(super) run_hidden: Option<bool>,
    /// Blocks of text boxes anchored in it. They follow it.
    pub(super) boxes: Vec<Block>,
}

impl Paragraph {
    /// Takes over the properties of a `pPr`.
    pub(super) fn set_properties(&mut self, tree: &Tree) {
        self.style_id = tree.child_val(0, "pStyle").map(str::to_owned);
        self.outline = tree.child_val(0, "outlineLvl").and_then(heading_level);
        self.list = tree.child(0, "numPr").map(|it| ListRef::read(tree, it));
        let mark = tree.child(0, "rPr");
        self.is_joined = mark.is_some_and(|mark| tree.child(mark, "del").is_some());
    }

    pub(super) fn style<'s>(&self, styles: &'s Styles) -> &'s Style {
        styles.paragraph(self.style_id.as_deref())
    }

    /// Whether text that is read now is hidden.
    pub(super) fn hides(&self, styles: &Styles) -> bool {
        self.run_hidden.or(self.style(styles).is_hidden).unwrap_or(false)
    }

    /// The finished block; `None` when there is no text. Counts its number in any case.
    pub(super) fn block(&mut self, styles: &Styles, numbering: &mut Numbering) -> Option<Block> {
        let style = self.style(styles);
        let list = match &self.list {
            Some(own) => Some(own.or(style.list.as_ref())),
            None => style.list.clone(),
        };
        let label = list.and_then(|list| numbering.label(&list, self.style_id.as_deref(), styles));
        if self.text.trim().is_empty() {
            return None;
        }
        let text = std::mem::take(&mut self.text);
        let heading = match self.outline {
            Some(level) => Some(level).filter(|level| *level > 0),
            None if style.is_title => Some(1),
            None => style.heading,
        };
        if style.is_code && heading.is_none() {
            return Some(Block { kind: Kind::Code, text });
        }
        Some(match (heading, label) {
            (Some(level), label) => {
                let number = label.and_then(|it| it.number);
                let text = number.map_or(text.clone(), |number| format!("{number} {text}"));
                Block { kind: Kind::Heading(level), text }
            }
            (None, Some(label)) => {
                let marker = label.number.unwrap_or_else(|| "-".to_owned());
                Block { kind: Kind::Item { level: label.level, marker }, text }
            }
            (None, None) => Block { kind: Kind::Paragraph, text },
        })
    }
}
