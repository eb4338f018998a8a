//! Folding: the form in which words are compared regardless of case and accents, and the form in
//! which they are searched fast.

use std::ops::Range;

use unicode_normalization::char::{decompose_canonical, decompose_compatible, is_combining_mark};

/// What stands for `€` in a [`plain`] text.
pub const EURO: char = '\u{2}';
/// What stands for `£` in a [`plain`] text.
pub const POUND: char = '\u{3}';
/// What stands for a letter of no word that is looked for, and for `à`: the English article is
/// another word.
pub(super) const LETTER: char = 'o';
/// What stands for a character that is neither a letter nor one of those that are looked for.
const OTHER: char = '\u{4}';

/// Lowercase, without accents; ligatures, typographic apostrophes and spaces made plain.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for c in text.chars() {
        // Most are; tables are for the others.
        if c.is_ascii() {
            res.push(if c.is_whitespace() { ' ' } else { c.to_ascii_lowercase() });
        } else {
            decompose_compatible(c, |c| push_folded(c, &mut res));
        }
    }
    res
}

/// Adds a character of a decomposed text. Marks go, so their order does not matter.
fn push_folded(c: char, res: &mut String) {
    if !c.is_ascii() && is_combining_mark(c) {
        return;
    }
    for c in c.to_lowercase() {
        match c {
            'œ' => res.push_str("oe"),
            'æ' => res.push_str("ae"),
            '’' => res.push('\''),
            '\u{2010}'..='\u{2015}' => res.push('-'),
            c if c.is_whitespace() => res.push(' '),
            c => res.push(c),
        }
    }
}

/// A text with one ASCII character for each of its own: letters without accents, spaces and
/// apostrophes of one kind, `€` and `£` as [`EURO`] and [`POUND`].
///
/// The fast engines of `regex` know word boundaries in ASCII only; with one accent or `€` in a
/// text, a search takes the slow one, and is some twenty times slower.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { plain_char(c) }).collect()
}

fn plain_char(c: char) -> char {
    match c {
        '’' => '\'',
        '€' => EURO,
        '£' => POUND,
        '\u{a0}' | '\u{202f}' | '\u{2009}' => ' ',
        'à' | 'À' => LETTER,
        c if c.is_alphabetic() => {
            let mut base = None;
            decompose_canonical(c, |c| base = base.or(Some(c)));
            base.filter(char::is_ascii_alphabetic).unwrap_or(LETTER)
        }
        c if c.is_whitespace() => '\u{b}',
        // Part of a word, and no letter.
        c if is_combining_mark(c) => '_',
        _ => OTHER,
    }
}

/// The characters of a text at a range of its [`plain`] form.
#[must_use]
pub fn as_written(text: &str, range: Range<usize>) -> &str {
    if text.is_ascii() {
        return &text[range];
    }
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]).skip(range.start);
    let start = ends.next().unwrap_or(text.len());
    let end = if range.is_empty() { Some(start) } else { ends.nth(range.len() - 1) };
    &text[start..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    #[test]
    fn folds_case_accents_and_ligatures() {
        assert_eq!(fold("ÉLÈVE, Œuvre d’art — 1\u{202f}250"), "eleve, oeuvre d'art - 1 250");
    }

    #[test]
    fn plain_texts_keep_their_characters_places() {
        let text = "Été : 12\u{a0}€, l’œuvre";
        assert_eq!(plain(text), "Ete : 12 \u{2}, l'ouvre");
        assert_eq!(as_written(text, 0..3), "Été");
        assert_eq!(as_written(text, 6..10), "12\u{a0}€");
        assert_eq!(as_written(text, 14..19), "œuvre");
        assert_eq!(as_written(text, 19..19), "");
    }

    proptest::proptest! {
        #[test]
        fn folding_is_that_of_the_whole_text(text in "\\PC{0,20}") {
            let mut expected = String::new();
            text.nfkd().for_each(|c| push_folded(c, &mut expected));
            proptest::prop_assert_eq!(fold(&text), expected);
        }

        #[test]
        fn a_plain_text_has_as_many_characters(text in "\\PC{0,20}") {
            let plain = plain(&text);
            proptest::prop_assert!(plain.is_ascii());
            proptest::prop_assert_eq!(plain.len(), text.chars().count());
            proptest::prop_assert_eq!(as_written(&text, 0..plain.len()), text.as_str());
        }
    }
}
