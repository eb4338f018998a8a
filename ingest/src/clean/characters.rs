//! Characters: composed, visible, and one kind of space.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::document::{Finding, Hidden};

/// Counts of invisible characters that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Removed {
    zero_width: usize,
    bidi: usize,
    tag: usize,
}

impl Removed {
    pub(super) fn findings(self) -> impl Iterator<Item = Finding> {
        let kinds = [
            (Hidden::ZeroWidth, self.zero_width),
            (Hidden::Bidi, self.bidi),
            (Hidden::Tag, self.tag),
        ];
        kinds
            .into_iter()
            .filter(|&(_, n_chars)| n_chars > 0)
            .map(|(kind, n_chars)| Finding::InvisibleText { kind, n_chars })
    }
}

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    Space,
    LineBreak,
    /// Not text: a control character, or one that only says where a word may break.
    Drop,
    /// Invisible, and a way to hide text in a document.
    Hide(Hidden),
    /// Kept only beside an emoji, whose shape it changes.
    Join,
    /// Kept only after a symbol, whose shape it chooses.
    Select,
}

/// Normalises a text: NFC, line breaks as `\n`, every other white space as a plain space (or a
/// tab), invisible and control characters removed and counted in `removed`.
///
/// French typography sets narrow and ordinary no-break spaces inside numbers and before
/// punctuation. They become plain spaces: nobody types them in a question or in a quote.
pub(super) fn normalize(text: String, removed: &mut Removed) -> String {
    let text = if is_plain_ascii(text.as_bytes()) { return text } else { visible(&text, removed) };
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => text,
        IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
    }
}

/// Whether there is nothing to do, which is so for most files.
fn is_plain_ascii(bytes: &[u8]) -> bool {
    // In blocks without a branch inside, so that the compiler can use wide registers.
    bytes.chunks(64).all(|block| block.iter().fold(true, |plain, &byte| plain & is_plain(byte)))
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\t' | b' '..=b'~')
}

fn visible(text: &str, removed: &mut Removed) -> String {
    let mut res = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let n_plain = rest.bytes().take_while(|&byte| is_plain(byte)).count();
        res.push_str(&rest[..n_plain]);
        rest = &rest[n_plain..];
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { break };
        let at_start = rest.len() == text.len();
        rest = chars.as_str();
        match fate(c) {
            Fate::Keep => res.push(c),
            Fate::Space => res.push(' '),
            // The second of `\r\n` makes the line break.
            Fate::LineBreak if c == '\r' && rest.starts_with('\n') => {}
            Fate::LineBreak => res.push('\n'),
            Fate::Drop if c == '\u{ad}' => rest = joined_word(rest),
            Fate::Drop => {}
            // A byte order mark hides nothing.
            Fate::Hide(_) if c == '\u{feff}' && at_start => {}
            Fate::Hide(Hidden::Tag) => removed.tag += 1,
            Fate::Hide(Hidden::Bidi) => removed.bidi += 1,
            Fate::Join if res.ends_with(is_emoji_part) && rest.starts_with(is_emoji_part) => {
                res.push(c);
            }
            Fate::Select if res.ends_with(is_symbol) => res.push(c),
            Fate::Hide(_) | Fate::Join | Fate::Select => removed.zero_width += 1,
        }
    }
    res
}

fn fate(c: char) -> Fate {
    match c {
        '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Fate::LineBreak,
        '\n' | '\t' => Fate::Keep,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' => Fate::Drop,
        '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' => Fate::Drop,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' => Fate::Space,
        '\u{202f}' | '\u{205f}' | '\u{3000}' => Fate::Space,
        '\u{200d}' => Fate::Join,
        '\u{fe0e}' | '\u{fe0f}' => Fate::Select,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => Fate::Hide(Hidden::Bidi),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Fate::Hide(Hidden::Bidi),
        '\u{e0000}'..='\u{e007f}' => Fate::Hide(Hidden::Tag),
        // Joiners, fillers, invisible operators, deprecated format characters, and the variation
        // selectors that emoji do not need.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'
        | '\u{200c}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0d}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{e0100}'..='\u{e01ef}' => Fate::Hide(Hidden::ZeroWidth),
        _ => Fate::Keep,
    }
}

/// What follows a soft hyphen, with the line break that it was made for left out.
fn joined_word(rest: &str) -> &str {
    let Some(next_line) = rest.trim_start_matches([' ', '\r']).strip_prefix('\n') else {
        return rest;
    };
    let word = next_line.trim_start_matches(' ');
    if word.starts_with(char::is_lowercase) { word } else { rest }
}

/// Arrows, technical signs, dingbats and everything in the emoji planes.
fn is_emoji_part(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}')
}

fn is_symbol(c: char) -> bool {
    is_emoji_part(c) && c != '\u{fe0f}'
        || matches!(
            c,
            '0'..='9' | '#' | '*' | '©' | '®' | '‼' | '⁉' | '™' | 'ℹ' | '〰' | '〽' | '㊗' | '㊙'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str, removed: [usize; 3]) {
        let mut counted = Removed::default();
        let res = normalize(text.to_owned(), &mut counted);
        assert_eq!(res, expected);
        assert_eq!([counted.zero_width, counted.bidi, counted.tag], removed);
        let again = normalize(res.clone(), &mut Removed::default());
        assert_eq!(again, res, "normalising twice must change nothing");
    }

    #[test]
    fn plain_text_stays() {
        check("a\tb\nc", "a\tb\nc", [0; 3]);
        check("déjà vu, œuvre, 12 €, 日本", "déjà vu, œuvre, 12 €, 日本", [0; 3]);
    }

    #[test]
    fn line_breaks_are_one_kind() {
        check("a\r\nb\rc\u{85}d\u{2028}e\u{c}f", "a\nb\nc\nd\ne\nf", [0; 3]);
    }

    #[test]
    fn no_break_spaces_become_plain() {
        check("12\u{202f}000\u{a0}€\u{a0}!", "12 000 € !", [0; 3]);
    }

    #[test]
    fn decomposed_letters_are_composed() {
        check("re\u{301}gle", "r\u{e9}gle", [0; 3]);
        // A zero-width character between a letter and its accent must not hinder that.
        check("re\u{200b}\u{301}gle", "r\u{e9}gle", [1, 0, 0]);
    }

    #[test]
    fn invisible_characters_are_removed_and_counted() {
        check("pa\u{200b}y\u{feff}", "pay", [2, 0, 0]);
        check("a\u{202e}b\u{2066}c", "abc", [0, 2, 0]);
        check("a\u{e0041}\u{e0042}b", "ab", [0, 0, 2]);
        // Bytes hidden in variation selectors after a letter.
        check("a\u{fe0f}\u{e0101}b", "ab", [2, 0, 0]);
        check("\u{feff}a", "a", [0; 3]);
    }

    #[test]
    fn emoji_keep_their_joiners_and_selectors() {
        check(
            "👩\u{200d}💻 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
            "👩\u{200d}💻 ❤\u{fe0f} 1\u{fe0f}\u{20e3}",
            [0; 3],
        );
        check("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}", [1, 0, 0]);
    }

    #[test]
    fn control_characters_and_soft_hyphens_go_without_a_word() {
        check("a\0b\u{1b}[31mc\u{ad}d", "ab[31mcd", [0; 3]);
        check("exten\u{ad}\nsion", "extension", [0; 3]);
        check("exten\u{ad}\n\nSion", "exten\n\nSion", [0; 3]);
    }
}
