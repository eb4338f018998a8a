//! Numbers written in letters, in French and English, up to the thousands.

use std::ops::Range;

/// A number in letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NumberWord {
    /// Its words, in bytes of the text.
    pub words: Vec<Range<usize>>,
    /// Its value.
    pub value: i64,
}

impl NumberWord {
    /// The bytes from its first word to its last.
    pub(crate) fn span(&self) -> Range<usize> {
        let start = self.words.first().map_or(0, |it| it.start);
        start..self.words.last().map_or(start, |it| it.end)
    }
}

/// Value of a single word.
fn value_of(word: &str) -> Option<i64> {
    Some(match word {
        "zéro" | "zero" => 0,
        "un" | "une" | "one" => 1,
        "deux" | "two" => 2,
        "trois" | "three" => 3,
        "quatre" | "four" => 4,
        "cinq" | "five" => 5,
        "six" => 6,
        "sept" | "seven" => 7,
        "huit" | "eight" => 8,
        "neuf" | "nine" => 9,
        "dix" | "ten" => 10,
        "onze" | "eleven" => 11,
        "douze" | "twelve" => 12,
        "treize" | "thirteen" => 13,
        "quatorze" | "fourteen" => 14,
        "quinze" | "fifteen" => 15,
        "seize" | "sixteen" => 16,
        "seventeen" => 17,
        "eighteen" => 18,
        "nineteen" => 19,
        "vingt" | "vingts" | "twenty" => 20,
        "trente" | "thirty" => 30,
        "quarante" | "forty" => 40,
        "cinquante" | "fifty" => 50,
        "soixante" | "sixty" => 60,
        "septante" | "seventy" => 70,
        "huitante" | "eighty" => 80,
        "nonante" | "ninety" => 90,
        "cent" | "cents" | "hundred" => 100,
        "mille" | "thousand" => 1000,
        _ => return None,
    })
}

/// Words that may build one number, and their values.
type NumberWords = (Vec<Range<usize>>, Vec<i64>);

/// The numbers in letters of a text. `un`, `une` and `one` are among them, articles and pronouns as
/// often as numbers.
pub(crate) fn take(text: &str) -> Vec<NumberWord> {
    let mut res = Vec::new();
    let mut open: Option<NumberWords> = None;
    for piece in text.split(|c: char| !(c.is_alphabetic() || c == '-')) {
        if piece.is_empty() {
            continue;
        }
        let start = piece.as_ptr().addr() - text.as_ptr().addr();
        let range = start..start + piece.len();
        let lower = piece.to_lowercase();
        let parts: Vec<Option<i64>> = lower
            .split('-')
            .filter(|it| !it.is_empty() && *it != "et" && *it != "and")
            .map(value_of)
            .collect();
        let numeric = !parts.is_empty() && parts.iter().all(Option::is_some);
        match (&mut open, numeric) {
            (Some((pieces, values)), true) => {
                pieces.push(range);
                values.extend(parts.into_iter().flatten());
            }
            (None, true) => {
                open = Some((vec![range], parts.into_iter().flatten().collect()));
            }
            // `vingt et un`, `one hundred and five`: the number may go on.
            (Some(_), false) if lower == "et" || lower == "and" => {}
            (Some(_), false) => close(open.take(), &mut res),
            (None, false) => {}
        }
    }
    close(open, &mut res);
    res
}

fn close(open: Option<NumberWords>, res: &mut Vec<NumberWord>) {
    let Some((words, values)) = open else { return };
    // Words that do not build one number (`two three`) are numbers of their own.
    match compose(&values) {
        Some(value) => res.push(NumberWord { words, value }),
        None => res
            .extend(values.iter().map(|value| NumberWord { words: words.clone(), value: *value })),
    }
}

/// The number that a sequence of word values builds; `None` when it builds none.
fn compose(values: &[i64]) -> Option<i64> {
    let (mut total, mut group) = (0_i64, 0_i64);
    let mut last = i64::MAX;
    for &value in values {
        match value {
            1000 if total == 0 => {
                total = group.max(1) * 1000;
                group = 0;
                last = 1000;
            }
            100 if group < 100 => {
                group = group.max(1) * 100;
                last = 100;
            }
            // `quatre-vingt`
            20 if group % 100 == 4 => {
                group += 76;
                last = 80;
            }
            // `soixante-dix`, `vingt-cinq`, `dix-sept`
            _ if value < last && (last >= 20 || (last == 10 && value < 10)) => {
                group += value;
                last = value;
            }
            _ => return None,
        }
    }
    Some(total + group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[i64]) {
        let found: Vec<i64> = take(text).into_iter().map(|it| it.value).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn reads_french_numbers() {
        check("vingt-cinq jours", &[25]);
        check("vingt et un jours", &[21]);
        check("soixante-dix-sept", &[77]);
        check("quatre-vingt-dix-neuf", &[99]);
        check("deux cents euros et trois mille cinq cents", &[200, 3500]);
        check("un jour, une nuit", &[1, 1]);
    }

    #[test]
    fn reads_english_numbers() {
        check("twenty-five days", &[25]);
        check("one hundred and five", &[105]);
        check("two thousand three hundred", &[2300]);
        check("between two and three", &[2, 3]);
    }
}
