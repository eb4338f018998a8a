//! The lines of a text grouped into blocks that a reader sees as one thing.

use crate::document::{Heading, Span};
use crate::lines::{Fence, is_prose, is_table_row, is_table_separator, setext_level};

/// A run of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Without the blank lines around it.
    pub(super) span: Span,
    pub(super) kind: BlockKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// The heading of this index.
    Heading(usize),
    /// Running text, of which neighbouring chunks may share some.
    Prose,
    /// Lists, quotations, code, markup.
    Other,
    /// A pipe table: its header with the separator, where it has one, and its rows.
    Table { header: Option<Span>, rows: Vec<Span> },
}

/// Groups lines into blocks, in order. Blocks do not overlap, and hold all that is not blank.
pub(super) fn blocks(text: &str, headings: &[Heading]) -> Vec<Block> {
    let mut builder = Builder { text, blocks: Vec::new(), open: None };
    let mut fence = Fence::default();
    let mut next_heading = headings.iter().map(|heading| heading.offset).enumerate().peekable();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let span = Span { start, end: start + line.trim_end().len() };
        let fenced = fence.holds(line);
        while next_heading.next_if(|&(_, offset)| offset < start).is_some() {}
        let heading = next_heading.next_if(|&(_, offset)| offset < end);
        if let Some((heading_idx, _)) = heading {
            builder.push(span, BlockKind::Heading(heading_idx));
        } else if fenced {
            builder.extend(span, BlockKind::Other);
        } else if span.is_empty() {
            builder.close();
        } else if is_table_row(line) {
            builder.push_row(span);
        } else if builder.underlines_heading(line) {
            builder.extend_last(span);
        } else {
            builder.extend(span, if is_prose(line) { BlockKind::Prose } else { BlockKind::Other });
        }
        start = end;
    }
    builder.close();
    builder.blocks
}

struct Builder<'a> {
    text: &'a str,
    blocks: Vec<Block>,
    /// The block that the next line may belong to.
    open: Option<Block>,
}

impl Builder<'_> {
    fn close(&mut self) {
        self.blocks.extend(self.open.take());
    }

    fn push(&mut self, span: Span, kind: BlockKind) {
        self.close();
        self.blocks.push(Block { span, kind });
    }

    /// Adds a line to the open block, or opens one. A block that is prose only in part (a list
    /// with lazy continuation lines) is not prose.
    fn extend(&mut self, span: Span, kind: BlockKind) {
        match &mut self.open {
            Some(block) if !matches!(block.kind, BlockKind::Table { .. }) => {
                block.span.end = span.end.max(block.span.end);
                if kind == BlockKind::Other {
                    block.kind = kind;
                }
            }
            _ => {
                self.close();
                self.open = Some(Block { span, kind });
            }
        }
    }

    fn push_row(&mut self, span: Span) {
        if !matches!(&self.open, Some(Block { kind: BlockKind::Table { .. }, .. })) {
            self.close();
            let kind = BlockKind::Table { header: None, rows: Vec::new() };
            self.open = Some(Block { span, kind });
        }
        let Some(Block { span: whole, kind: BlockKind::Table { header, rows } }) = &mut self.open
        else {
            return;
        };
        whole.end = span.end;
        let is_separator = is_table_separator(&self.text[span.range()]);
        match rows.as_slice() {
            &[first] if header.is_none() && is_separator => {
                *header = Some(Span { start: first.start, end: span.end });
                rows.clear();
            }
            _ => rows.push(span),
        }
    }

    /// Whether a line is the underline of the heading just before it.
    fn underlines_heading(&self, line: &str) -> bool {
        setext_level(line).is_some()
            && self.open.is_none()
            && self.blocks.last().is_some_and(|block| {
                matches!(block.kind, BlockKind::Heading(_))
                    && !self.text[block.span.range()].trim_start().starts_with('#')
                    && !self.text[block.span.end..]
                        .trim_start_matches([' ', '\t'])
                        .starts_with("\n\n")
            })
    }

    fn extend_last(&mut self, span: Span) {
        if let Some(block) = self.blocks.last_mut() {
            block.span.end = span.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows blocks as `H text`, `P text`, `O text`, `T header / row / row`.
    #[track_caller]
    fn check(text: &str, heading_at: &[&str], expected: &[&str]) {
        let headings: Vec<_> = heading_at
            .iter()
            .map(|title| Heading {
                level: 1,
                title: (*title).to_owned(),
                offset: text.find(title).unwrap(),
            })
            .collect();
        let of = |span: Span| &text[span.range()];
        let blocks = blocks(text, &headings);
        let shown: Vec<_> = blocks
            .iter()
            .map(|block| match &block.kind {
                BlockKind::Heading(_) => format!("H {}", of(block.span)),
                BlockKind::Prose => format!("P {}", of(block.span)),
                BlockKind::Other => format!("O {}", of(block.span)),
                BlockKind::Table { header, rows } => {
                    let rows: Vec<_> = rows.iter().map(|row| of(*row)).collect();
                    format!("T {} / {}", header.map(of).unwrap_or_default(), rows.join(" / "))
                }
            })
            .collect();
        assert_eq!(shown, expected);
        assert!(blocks.is_sorted_by(|a, b| a.span.end <= b.span.start), "blocks overlap");
        let held: usize = blocks.iter().map(|it| of(it.span).split_whitespace().count()).sum();
        assert_eq!(held, text.split_whitespace().count(), "blocks must lose nothing");
    }

    #[test]
    fn groups_lines() {
        check(
            "# A\nun\ndeux\n\n- trois\nquatre\n\n| a |\n|---|\n| b |\n| c |\nfin",
            &["# A"],
            &[
                "H # A",
                "P un\ndeux",
                "O - trois\nquatre",
                "T | a |\n|---| / | b | / | c |",
                "P fin",
            ],
        );
    }

    #[test]
    fn code_is_one_block_with_its_blank_lines() {
        check("```\na\n\n# b\n| c |\n```\nfin", &[], &["O ```\na\n\n# b\n| c |\n```\nfin"]);
    }

    #[test]
    fn a_heading_keeps_its_underline() {
        check("Titre\n===\ntexte", &["Titre"], &["H Titre\n===", "P texte"]);
    }

    #[test]
    fn rows_without_a_header_are_rows() {
        check("| a |\n| b |", &[], &["T  / | a | / | b |"]);
    }
}
