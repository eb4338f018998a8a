//! Right-to-left text: from the order on the page to the order of reading.

/// Whether a character belongs to a script written from right to left.
pub(super) fn is_rtl(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
        && !is_number(c)
}

/// Digits keep their order from left to right in every script.
fn is_number(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}')
}

/// Whether most letters of a text are written from right to left.
pub(super) fn is_mostly_rtl(chars: impl Iterator<Item = char>) -> bool {
    let (mut n_rtl, mut n_letters) = (0usize, 0usize);
    for c in chars.filter(|c| c.is_alphabetic()) {
        n_letters += 1;
        n_rtl += usize::from(is_rtl(c));
    }
    n_rtl * 2 > n_letters
}

/// A line as it stands on the page, from left to right, in the order in which it is read.
///
/// The inverse of Unicode's rule L2 for the two levels that documents have: the line is turned
/// round when it is mostly right-to-left, and each stretch of the other direction turned back.
pub(super) fn logical(line: &str) -> String {
    if !line.chars().any(is_rtl) {
        return line.to_owned();
    }
    let base_is_rtl = is_mostly_rtl(line.chars());
    let mut chars: Vec<char> = line.chars().collect();
    if base_is_rtl {
        chars.reverse();
    }
    let mut start = 0;
    while start < chars.len() {
        let Some(first) = direction(chars[start]) else {
            start += 1;
            continue;
        };
        // A stretch goes on over spaces and punctuation to the last letter of its direction.
        let mut end = start + 1;
        let mut at = end;
        while let Some(&c) = chars.get(at) {
            match direction(c) {
                Some(it) if it != first => break,
                Some(_) => end = at + 1,
                None => {}
            }
            at += 1;
        }
        if (first == Direction::Rtl) != base_is_rtl {
            chars[start..end].reverse();
        }
        start = end;
    }
    chars.into_iter().collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ltr,
    Rtl,
}

/// `None` for what takes its direction from its neighbours.
fn direction(c: char) -> Option<Direction> {
    if is_rtl(c) {
        Some(Direction::Rtl)
    } else if c.is_alphanumeric() {
        Some(Direction::Ltr)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(drawn: &str, expected: &str) {
        assert_eq!(logical(drawn), expected);
    }

    #[test]
    fn latin_text_stays() {
        check("Une page, 12 mots.", "Une page, 12 mots.");
    }

    #[test]
    fn hebrew_is_turned_round() {
        check("םלוע םולש", "שלום עולם");
    }

    #[test]
    fn numbers_and_latin_names_keep_their_order_inside_hebrew() {
        check(".2024 תנשב PDF ץבוק", "קובץ PDF בשנת 2024.");
    }

    #[test]
    fn a_hebrew_word_inside_latin_is_turned_round() {
        check("The word םולש means peace", "The word שלום means peace");
    }
}
