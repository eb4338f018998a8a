//! Lengths of time and rates: `24 months` is `deux ans`, `per week` is `hebdomadaire`.
//!
//! Texts are read in their plain form ([`super::plain`]).

use std::{ops::Range, sync::LazyLock};

use regex::{Captures, Regex};

use super::fold::LETTER;

/// A length of time that figures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Period {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// The period that a word in lower case names, French or English.
    fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "minute" | "minutes" | "min" => Self::Minute,
            "hour" | "hours" | "heure" | "heures" => Self::Hour,
            "day" | "days" | "jour" | "jours" | "journee" | "journees" => Self::Day,
            "week" | "weeks" | "semaine" | "semaines" => Self::Week,
            "month" | "months" | "mois" => Self::Month,
            "year" | "years" | "an" | "ans" | "annee" | "annees" => Self::Year,
            _ => return None,
        })
    }

    /// Its length in a unit that it shares with others: minutes up to weeks, months from there.
    /// How many days a month has depends on the month.
    fn length(self) -> (bool, i64) {
        match self {
            Self::Minute => (false, 1),
            Self::Hour => (false, 60),
            Self::Day => (false, 1440),
            Self::Week => (false, 7 * 1440),
            Self::Month => (true, 1),
            Self::Year => (true, 12),
        }
    }
}

/// Whether `a` times one period is as long as `b` times another.
pub(super) fn same_length(a: i64, of: Period, b: i64, its: Period) -> bool {
    let ((calendar, length), (its_calendar, its_length)) = (of.length(), its.length());
    calendar == its_calendar && a.checked_mul(length) == b.checked_mul(its_length)
}

/// What is counted by a figure that ends where `after` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Nothing that can be told.
    Unknown,
    /// Time.
    Time(Period),
    /// Something else.
    Other,
}

/// Reads what a figure counts from the words after it: `5 working days` counts days.
pub(super) fn counted(after: &str) -> Counted {
    /// Words that come between a figure and what it counts, or show that it counts nothing.
    const LINKING: [&str; 13] =
        ["of", "per", "a", "de", "d", "par", "to", "and", "et", "or", "ou", "in", "dans"];
    // `à` in its plain form.
    let is_linking = |word: &str| LINKING.contains(&word) || word.chars().eq([LETTER]);
    let here = after.split(['.', ',', ';', ':', '(', ')', '|', '\n', '\u{1}']).next();
    let here = here.unwrap_or_default().to_lowercase();
    let words: Vec<&str> =
        here.split(|c: char| !c.is_alphabetic()).filter(|it| !it.is_empty()).take(3).collect();
    for word in &words {
        if is_linking(word) {
            break;
        }
        if let Some(period) = Period::of_word(word) {
            return Counted::Time(period);
        }
    }
    match words.first() {
        Some(word) if !is_linking(word) && starts_beside(after) => Counted::Other,
        _ => Counted::Unknown,
    }
}

/// Whether a word follows at once, with one blank or hyphen between at most.
fn starts_beside(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some(c) if c.is_alphabetic() => true,
        Some(c) if c.is_whitespace() || c == '-' => chars.next().is_some_and(char::is_alphabetic),
        _ => false,
    }
}

static RATE: LazyLock<Regex> = LazyLock::new(|| {
    let period =
        r"(minutes?|hours?|heures?|days?|jours?|weeks?|semaines?|months?|mois|years?|ans?|annees?)";
    let pattern =
        format!(r"(?i)(?:\b(?:per|par|each|every|chaque|an?)\s+(?:\p{{L}}+\s+)?|/\s?){period}\b");
    Regex::new(&pattern).expect("a literal pattern is valid")
});

static RATE_WORD: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = concat!(
        r"(?i)\b(?:(hourly|horaires?)|(daily|quotidien\p{L}*|journali\p{L}*)",
        r"|(weekly|hebdomadaires?)|(monthly|mensuel\p{L}*)|(yearly|annual\p{L}*|annuel\p{L}*))\b",
    );
    Regex::new(pattern).expect("a literal pattern is valid")
});

/// The rates that a text states, and where: `per week`, `monthly`.
pub(super) fn rates(text: &str) -> Vec<(Range<usize>, Period)> {
    let place = |it: &Captures<'_>| it.get(0).expect("group 0 is the whole match").range();
    let named = RATE
        .captures_iter(text)
        .filter_map(|it| Some((place(&it), Period::of_word(&it[1].to_lowercase())?)));
    const WORDS: [Period; 5] =
        [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
    let adjectives = RATE_WORD.captures_iter(text).filter_map(|it| {
        let period = (1..=5).find(|group| it.get(*group).is_some()).map(|it| WORDS[it - 1])?;
        Some((place(&it), period))
    });
    named.chain(adjectives).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::plain, *};

    #[test]
    fn figures_count_what_stands_after_them() {
        for (after, expected) in [
            (" days per week", Counted::Time(Period::Day)),
            (" jours ouvrés", Counted::Time(Period::Day)),
            (" working days", Counted::Time(Period::Day)),
            ("\u{a0}mois", Counted::Time(Period::Month)),
            (" TB of disk", Counted::Other),
            (" personnes", Counted::Other),
            (". Days go by", Counted::Unknown),
            (" per day", Counted::Unknown),
            (" à 10 jours", Counted::Unknown),
            (" | 3 days", Counted::Unknown),
            ("", Counted::Unknown),
        ] {
            assert_eq!(counted(&plain(after)), expected, "{after}");
        }
    }

    #[test]
    fn lengths_compare_across_periods() {
        assert!(same_length(24, Period::Month, 2, Period::Year));
        assert!(same_length(48, Period::Hour, 2, Period::Day));
        assert!(!same_length(30, Period::Day, 1, Period::Month));
    }

    #[test]
    fn rates_are_read_in_both_languages() {
        let periods =
            |text: &str| rates(&plain(text)).into_iter().map(|it| it.1).collect::<Vec<_>>();
        assert_eq!(periods("three days a week"), [Period::Week]);
        assert_eq!(periods("par année civile, per calendar year"), [Period::Year, Period::Year]);
        assert_eq!(periods("40 €/jour"), [Period::Day]);
        assert_eq!(periods("une prime mensuelle"), [Period::Month]);
        assert_eq!(periods("le mois dernier"), []);
        assert_eq!(periods("à quelles heures, à deux jours"), []);
    }
}
