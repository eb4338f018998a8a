//! Rules for ranges of amounts: `de 5 000 à 50 000 €`, `above €20,000`, `jusqu'à 30 jours`.
//!
//! A question gives one amount; the rule that holds it answers, and its neighbours do not.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::cite::fold;

/// Characters of the word that a figure counts, as far as they are compared: `jour`, `jours`.
const UNIT_CHARS: usize = 4;

/// A figure with what it counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Amount {
    value: f64,
    /// `€` for any currency, `%`, or the first letters of the next word; empty when nothing
    /// follows.
    unit: String,
}

/// A range of amounts.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The least amount; 0 when there is none.
    pub low: f64,
    high: f64,
    low_holds: bool,
    unit: String,
}

const NUMBER: &str = concat!(
    r"([€$£]?) ?((?:\d{1,3}(?:[ ,.]\d{3})+|\d+)(?:[.,]\d{1,2})?) ?",
    r"(k?[€$£%]|[a-z]+)?",
);

fn regex(pattern: &str) -> Regex {
    let pattern = pattern.replace("{number}", NUMBER);
    Regex::new(&pattern).expect("a literal pattern is valid")
}

static AMOUNT: LazyLock<Regex> = LazyLock::new(|| regex("{number}"));
static BETWEEN: LazyLock<Regex> =
    LazyLock::new(|| regex("(?:entre |between )?{number} ?(?:a|et|to|and|-) {number}"));
static ABOVE: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(au-dela de|plus de|superieure?s? a|au-dessus de|depass\w+|exced\w+|above|over|",
        r"more than|exceeding|a partir de|des|from|at least|au moins) {number}",
    ))
});
static BELOW: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\b(?:jusqu'a|moins de|inferieure?s? a|en dessous de|au-dessous de|up to|less than|",
        r"under|below|not exceeding) {number}",
    ))
});

/// An amount from the three groups of [`NUMBER`], the first of which is group `first`.
fn amount(found: &Captures<'_>, first: usize) -> Option<Amount> {
    let text = found.get(first + 1)?.as_str();
    // The last separator before one or two digits is the decimal one; others group thousands.
    let decimals = text.rfind([',', '.']).filter(|it| text.len() - it <= 3);
    let value: String = text
        .char_indices()
        .filter_map(|(i, c)| match c {
            c if c.is_ascii_digit() => Some(c),
            _ if Some(i) == decimals => Some('.'),
            _ => None,
        })
        .collect();
    let sign = found.get(first).map_or("", |it| it.as_str());
    let word = found.get(first + 2).map_or("", |it| it.as_str());
    let is_money = |it: &str| {
        it.ends_with(['€', '$', '£']) || matches!(it, "euro" | "euros" | "eur" | "dollars")
    };
    let thousands = if word.starts_with('k') && is_money(word) { 1000.0 } else { 1.0 };
    let unit = match word {
        word if is_money(sign) || is_money(word) => "€".to_owned(),
        // Not what is counted: `5 000 à 50 000`.
        "a" | "et" | "to" | "and" | "ou" | "or" | "par" | "per" => String::new(),
        word => word.trim_end_matches('s').chars().take(UNIT_CHARS).collect(),
    };
    Some(Amount { value: value.parse::<f64>().ok()? * thousands, unit })
}

/// Numbers that questions write as words, and their digits.
const WORDS: [(&str, &str); 22] = [
    ("deux", "2"),
    ("trois", "3"),
    ("quatre", "4"),
    ("cinq", "5"),
    ("six", "6"),
    ("sept", "7"),
    ("huit", "8"),
    ("neuf", "9"),
    ("dix", "10"),
    ("quinze", "15"),
    ("vingt", "20"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("twelve", "12"),
    ("fifteen", "15"),
    ("twenty", "20"),
];

static WORD: LazyLock<Regex> = LazyLock::new(|| regex(r"\b[a-z]+\b"));

/// The amounts of a text; small numbers may be written as words.
#[must_use]
pub fn amounts(text: &str) -> Vec<Amount> {
    let folded = fold(text);
    let digits = WORD.replace_all(&folded, |found: &Captures<'_>| {
        let word = &found[0];
        WORDS.iter().find(|(it, _)| *it == word).map_or(word, |(_, digits)| digits).to_owned()
    });
    AMOUNT.captures_iter(&digits).filter_map(|it| amount(&it, 1)).collect()
}

/// The ranges of a text.
#[must_use]
pub fn ranges(text: &str) -> Vec<Range> {
    let folded = fold(text);
    let mut res = Vec::new();
    for found in BETWEEN.captures_iter(&folded) {
        if let (Some(low), Some(high)) = (amount(&found, 1), amount(&found, 4)) {
            res.push(Range { low: low.value, high: high.value, low_holds: true, unit: high.unit });
        }
    }
    for found in ABOVE.captures_iter(&folded) {
        let low_holds =
            matches!(&found[1], "a partir de" | "des" | "from" | "at least" | "au moins");
        if let Some(it) = amount(&found, 2) {
            res.push(Range { low: it.value, high: f64::INFINITY, low_holds, unit: it.unit });
        }
    }
    for found in BELOW.captures_iter(&folded) {
        if let Some(it) = amount(&found, 1) {
            res.push(Range { low: 0.0, high: it.value, low_holds: true, unit: it.unit });
        }
    }
    res
}

impl Range {
    /// Whether the amount falls into the range; `None` where the two count different things.
    #[must_use]
    pub fn holds(&self, amount: &Amount) -> Option<bool> {
        let comparable = self.unit.is_empty() || amount.unit.is_empty() || self.unit == amount.unit;
        let above = amount.value > self.low || self.low_holds && amount.value >= self.low;
        comparable.then_some(above && amount.value <= self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, question: &str, expected: &[Option<bool>]) {
        let asked = amounts(question);
        let found: Vec<Option<bool>> = ranges(rule).iter().map(|it| it.holds(&asked[0])).collect();
        assert_eq!(found, expected, "{rule}: {:?}, {asked:?}", ranges(rule));
    }

    #[test]
    fn a_rule_holds_the_amounts_of_its_range() {
        check("de 5 000 à 50 000 €", "12 000 €", &[Some(true)]);
        check("| €5,000 to €50,000 | director |", "a purchase of 12,000 euros", &[Some(true)]);
        check("de 5 000 à 50 000 €", "60 000 €", &[Some(false)]);
        check("supérieures à 5\u{202f}000 €", "60 000 €", &[Some(true)]);
        check("Celles qui dépassent 50 000 €", "50 000 €", &[Some(false)]);
        check("above €50,000", "€60,000", &[Some(true)]);
        check("| De 1 à 5 ans | 45 |", "J'ai trois ans d'ancienneté", &[Some(true)]);
        check("up to 30 days", "45 days", &[Some(false)]);
        check("à partir de 20 k€", "20 000 €", &[Some(true)]);
    }

    #[test]
    fn other_units_do_not_compare() {
        check("au-delà de 15 jours", "60 000 €", &[None]);
    }

    #[test]
    fn decimals_are_no_thousands() {
        assert_eq!(amounts("1 250,50 €")[0], Amount { value: 1250.5, unit: "€".to_owned() });
        assert_eq!(amounts("€1,250")[0], Amount { value: 1250.0, unit: "€".to_owned() });
    }
}
