//! Rules for ranges of amounts: `de 5 000 à 50 000 €`, `above €20,000`, `jusqu'à 30 jours`.
//!
//! A question gives one amount; the rule that holds it answers, and its neighbours do not.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::cite::{EURO, POUND, fold, number_words, plain};

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
    r"([{money}]?) ?((?:\d{1,3}(?:[ ,.]\d{3})+|\d+)(?:[.,]\d{1,2})?) ?",
    r"(k?[{money}%]|[a-z]+)?",
);

/// A pattern for folded texts in their plain form.
fn regex(pattern: &str) -> Regex {
    let money = format!("${EURO}{POUND}");
    let pattern = pattern.replace("{number}", NUMBER).replace("{money}", &money);
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
        it.ends_with([EURO, '$', POUND]) || matches!(it, "euro" | "euros" | "eur" | "dollars")
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

/// The amounts of a text; numbers may be written as words.
#[must_use]
pub fn amounts(text: &str) -> Vec<Amount> {
    let digits = with_digits(&plain(&fold(text)));
    AMOUNT.captures_iter(&digits).filter_map(|it| amount(&it, 1)).collect()
}

/// A text with digits for its numbers in letters, but for `un`, `une` and `one`, which are articles
/// and pronouns more often.
fn with_digits(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    let mut end = 0;
    for number in number_words(text).into_iter().filter(|it| it.value != 1) {
        let span = number.span();
        // Words that build no number together come one by one, with one span.
        if span.start >= end {
            res.push_str(&text[end..span.start]);
            end = span.end;
        } else {
            // Not a blank, which would group thousands.
            res.push_str(" ; ");
        }
        res.push_str(&number.value.to_string());
    }
    res + &text[end..]
}

/// The ranges of a text.
#[must_use]
pub fn ranges(text: &str) -> Vec<Range> {
    let folded = plain(&fold(text));
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
        check("| De 10 à 30 ans | 45 |", "J'ai vingt-cinq ans d'ancienneté", &[Some(true)]);
        check("au-delà de 100 €", "cent vingt euros", &[Some(true)]);
        check("| De 1 à 5 ans | 45 |", "J'ai trois ans d'ancienneté", &[Some(true)]);
        check("up to 30 days", "45 days", &[Some(false)]);
        check("à partir de 20 k€", "20 000 €", &[Some(true)]);
    }

    #[test]
    fn other_units_do_not_compare() {
        check("au-delà de 15 jours", "60 000 €", &[None]);
    }

    #[test]
    fn numbers_in_letters_are_read_whole() {
        let values = |text: &str| amounts(text).iter().map(|it| it.value).collect::<Vec<_>>();
        assert_eq!(values("vingt-cinq jours"), [25.0]);
        assert_eq!(values("between two and five days, five hundred euros"), [2.0, 5.0, 500.0]);
        assert!(values("une note pour un repas, one of them").is_empty());
    }

    #[test]
    fn decimals_are_no_thousands() {
        assert_eq!(amounts("1 250,50 €")[0], Amount { value: 1250.5, unit: "€".to_owned() });
        assert_eq!(amounts("€1,250")[0], Amount { value: 1250.0, unit: "€".to_owned() });
    }
}
