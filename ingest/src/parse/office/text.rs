//! Blocks of text and how they become Markdown: what Word and PowerPoint share.

use crate::parse::{Limits, ParseError};

/// A block of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: Kind,
    /// Its text without markup. Line breaks are the author's own.
    pub(crate) text: String,
}

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Paragraph,
    /// A heading and its level, from 1.
    Heading(u8),
    /// An item of a list.
    Item {
        /// Depth from 0.
        level: u8,
        /// `-`, or the item's number as the author sees it: `1.`, `iv)`, `2.1.3`.
        marker: String,
    },
    /// A line of a program.
    Code,
    /// Pipe rows.
    Table,
}

impl Block {
    pub(crate) fn paragraph(text: impl Into<String>) -> Self {
        Self { kind: Kind::Paragraph, text: text.into() }
    }

    pub(crate) fn item(level: u8, text: impl Into<String>) -> Self {
        Self { kind: Kind::Item { level, marker: "-".to_owned() }, text: text.into() }
    }
}

/// Writes blocks as Markdown, without a line break at the end.
pub(crate) fn markdown(blocks: &[Block]) -> String {
    let mut text = String::new();
    // Levels of the items that the next one may stand below.
    let mut levels: Vec<u8> = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &blocks[i].kind);
        if !matches!((&block.kind, before), (Kind::Item { .. }, Some(Kind::Item { .. }))) {
            levels.clear();
        }
        push_gap(&mut text, &block.kind, before);
        match &block.kind {
            Kind::Paragraph => push_lines(&mut text, &block.text, ""),
            Kind::Heading(level) => {
                text.push_str(&"#".repeat(usize::from((*level).clamp(1, 6))));
                text.push(' ');
                text.push_str(&one_line(&block.text));
            }
            Kind::Item { level, marker } => {
                while levels.last().is_some_and(|above| above >= level) {
                    levels.pop();
                }
                let indent = "    ".repeat(levels.len());
                levels.push(*level);
                text.push_str(&indent);
                text.push_str(marker_prefix(marker));
                text.push_str(marker);
                text.push(' ');
                push_lines(&mut text, &block.text, &format!("{indent}    "));
            }
            Kind::Code => {
                if before != Some(&Kind::Code) {
                    text.push_str("```\n");
                }
                text.push_str(&block.text);
                if blocks.get(i + 1).map(|it| &it.kind) != Some(&Kind::Code) {
                    text.push_str("\n```");
                }
            }
            Kind::Table => text.push_str(block.text.trim_end()),
        }
    }
    text
}

fn push_gap(text: &mut String, kind: &Kind, before: Option<&Kind>) {
    text.push_str(match (kind, before) {
        (_, None) => "",
        (Kind::Item { .. }, Some(Kind::Item { .. })) | (Kind::Code, Some(Kind::Code)) => "\n",
        _ => "\n\n",
    });
}

/// Markdown numbers with `1.` and `1)` only. Any other number becomes part of a bullet's text.
fn marker_prefix(marker: &str) -> &'static str {
    let is_number = marker.strip_suffix(['.', ')']).is_some_and(|digits| {
        (1..=9).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit())
    });
    if is_number || marker == "-" { "" } else { "- " }
}

/// Writes lines, and escapes those that Markdown would take for a heading or a fence.
fn push_lines(text: &mut String, lines: &str, indent: &str) {
    for (i, line) in lines.trim().lines().map(str::trim).enumerate() {
        if i > 0 {
            text.push('\n');
            text.push_str(indent);
        }
        let after_hashes = line.trim_start_matches('#');
        let is_heading = line.len() - after_hashes.len() <= 6
            && after_hashes.len() < line.len()
            && (after_hashes.is_empty() || after_hashes.starts_with(' '));
        let is_fence = line.starts_with("```") || line.starts_with("~~~");
        let is_underline = i > 0
            && !line.is_empty()
            && (line.bytes().all(|it| it == b'-') || line.bytes().all(|it| it == b'='));
        if is_heading || is_fence || is_underline {
            text.push('\\');
        }
        text.push_str(line);
    }
}

/// Refuses more text than allowed.
pub(crate) fn check_size(n_bytes: usize, limits: &Limits) -> Result<(), ParseError> {
    if n_bytes <= limits.text_bytes_max {
        return Ok(());
    }
    let limit = format!("{} bytes", limits.text_bytes_max);
    Err(ParseError::OverLimit { what: "extracted text".to_owned(), limit })
}

/// Text on one line, with single spaces.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Blocks as the text of a table's cell: on one line, markers kept, headings without marks.
pub(crate) fn cell(blocks: &[Block]) -> String {
    let mut line = String::new();
    for block in blocks {
        if !line.is_empty() {
            line.push(' ');
        }
        if let Kind::Item { marker, .. } = &block.kind {
            line.push_str(marker);
            line.push(' ');
        }
        match block.kind {
            Kind::Table => line.push_str(&flat_table(&block.text)),
            _ => line.push_str(&one_line(&block.text)),
        }
    }
    line
}

/// Pipe rows as text: cells parted by spaces, rows by semicolons.
fn flat_table(rows: &str) -> String {
    let rows = rows.lines().filter(|row| !row.starts_with("| ---"));
    let rows = rows.map(|row| {
        let mut before = ' ';
        let bare: String = row
            .chars()
            .map(|c| {
                let is_border = c == '|' && before != '\\';
                before = c;
                if is_border { ' ' } else { c }
            })
            .collect();
        one_line(&bare)
    });
    rows.filter(|row| !row.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A reviewer's comment, in the form that all formats give it.
pub(crate) fn comment(author: &str, initials: &str, time: &str, text: &str) -> Option<String> {
    let text = one_line(text);
    if text.is_empty() {
        return None;
    }
    let mut comment = format!("Comment [author: {}", if author.is_empty() { "?" } else { author });
    if !initials.is_empty() {
        comment.push_str(&format!(" ({initials})"));
    }
    if !time.is_empty() {
        comment.push_str(&format!(", time: {time}"));
    }
    comment.push_str("]: ");
    comment.push_str(&text);
    Some(comment)
}

/// How a list counts (ST_NumberFormat, ISO/IEC 29500-1, 17.18.59; the common ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counting {
    Decimal,
    /// `01`, `02`.
    DecimalZero,
    LowerLetter,
    UpperLetter,
    LowerRoman,
    UpperRoman,
}

impl Counting {
    /// A number as it is shown. Numbers too large for letters or Roman digits stay decimal.
    pub(crate) fn show(self, n: u32) -> String {
        match self {
            Self::Decimal => n.to_string(),
            Self::DecimalZero => format!("{n:02}"),
            Self::LowerLetter => letters(n),
            Self::UpperLetter => letters(n).to_uppercase(),
            Self::LowerRoman => roman(n),
            Self::UpperRoman => roman(n).to_uppercase(),
        }
    }
}

/// Word counts a to z, then aa, bb, cc.
fn letters(n: u32) -> String {
    let Some(i) = n.checked_sub(1).filter(|i| *i < 26 * 30) else { return n.to_string() };
    let letter = char::from(b'a' + u8::try_from(i % 26).expect("below 26"));
    std::iter::repeat_n(letter, usize::try_from(i / 26).expect("below 30") + 1).collect()
}

fn roman(n: u32) -> String {
    const DIGITS: [(u32, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    if !(1..4000).contains(&n) {
        return n.to_string();
    }
    let mut left = n;
    let mut roman = String::new();
    for (value, digits) in DIGITS {
        while left >= value {
            roman.push_str(digits);
            left -= value;
        }
    }
    roman
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(level: u8, marker: &str, text: &str) -> Block {
        let kind = Kind::Item { level, marker: marker.to_owned() };
        Block { kind, text: text.to_owned() }
    }

    fn check(blocks: &[Block], expected: &str) {
        assert_eq!(markdown(blocks), expected);
    }

    #[test]
    fn items_nest_below_the_item_before_them() {
        check(
            &[item(0, "1.", "a"), item(1, "-", "b"), item(1, "-", "c"), item(0, "2.", "d")],
            "1. a\n    - b\n    - c\n2. d",
        );
    }

    #[test]
    fn a_list_that_starts_deep_is_not_indented_into_code() {
        check(&[Block::paragraph("p"), item(3, "-", "a"), item(4, "-", "b")], "p\n\n- a\n    - b");
    }

    #[test]
    fn numbers_that_markdown_lacks_stay_in_the_text() {
        check(&[item(0, "iv)", "a"), item(0, "2.1.", "b")], "- iv) a\n- 2.1. b");
    }

    #[test]
    fn lines_that_look_like_markup_are_escaped() {
        check(&[Block::paragraph("# no\n---\n```\n#tag")], "\\# no\n\\---\n\\```\n#tag");
    }

    #[test]
    fn lines_of_code_share_one_fence() {
        let code = |text: &str| Block { kind: Kind::Code, text: text.to_owned() };
        check(&[code("if a:"), code("    b")], "```\nif a:\n    b\n```");
    }

    #[test]
    fn a_table_inside_a_cell_is_flattened() {
        let text = "| a | b\\|c |\n| --- | --- |\n| 1 |  |\n".to_owned();
        assert_eq!(cell(&[Block { kind: Kind::Table, text }]), "a b\\|c; 1");
    }

    #[test]
    fn counting_follows_word() {
        assert_eq!(Counting::LowerLetter.show(28), "bb");
        assert_eq!(Counting::UpperRoman.show(1994), "MCMXCIV");
        assert_eq!(Counting::DecimalZero.show(7), "07");
        assert_eq!(Counting::LowerLetter.show(u32::MAX), "4294967295");
        assert_eq!(Counting::LowerRoman.show(0), "0");
    }
}
