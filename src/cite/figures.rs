//! Figures, amounts, dates and times, in the formats of French and English.
//!
//! Texts are read in their plain form ([`plain`]), which patterns and tables are written for.

use std::{ops::Range, sync::LazyLock};

use ingest::document::Language;
use regex::{Captures, Regex};

use super::{
    facts::Fact,
    fold::{EURO, POUND, as_written, plain},
    number_words,
    periods::{Counted, Period, counted, rates},
};

/// What a figure counts, as far as the sign or the word beside it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// Nothing that can be told.
    None,
    /// Something that is no time and no money.
    Other,
    /// Time.
    Time(Period),
    /// `%`
    Percent,
    /// `€`
    Euro,
    /// `$`
    Dollar,
    /// `£`
    Pound,
}

/// One reading of a fact. Amounts are counted in thousandths, so that equality is exact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    Number { thousandths: i64, unit: Unit },
    Date { year: Option<u16>, month: u8, day: Option<u8> },
    Time { minutes: u16 },
    Weekday { day: usize },
    Rate { period: Period },
}

const MONTHS: [&[&str]; 12] = [
    &["janvier", "janv", "january", "jan"],
    &["fevrier", "fevr", "february", "feb"],
    &["mars", "march", "mar"],
    &["avril", "avr", "april", "apr"],
    &["mai", "may"],
    &["juin", "june", "jun"],
    &["juillet", "juil", "july", "jul"],
    &["aout", "august", "aug"],
    &["septembre", "sept", "september", "sep"],
    &["octobre", "oct", "october"],
    &["novembre", "nov", "november"],
    &["decembre", "december", "dec"],
];

const WEEKDAYS: [[&str; 2]; 7] = [
    ["lundi", "monday"],
    ["mardi", "tuesday"],
    ["mercredi", "wednesday"],
    ["jeudi", "thursday"],
    ["vendredi", "friday"],
    ["samedi", "saturday"],
    ["dimanche", "sunday"],
];

/// A pattern that was written with the code. `{month}` stands for the names of months, `{euro}` and
/// `{pound}` for what stands for these signs.
pub(super) fn regex(pattern: &str) -> Regex {
    let mut months: Vec<&str> = MONTHS.iter().flat_map(|it| it.iter().copied()).collect();
    // Longer names first: `mar` must not cut `mars` short.
    months.sort_by_key(|it| std::cmp::Reverse(it.len()));
    let pattern = pattern
        .replace("{month}", &format!("({})\\.?", months.join("|")))
        .replace("{euro}", &EURO.to_string())
        .replace("{pound}", &POUND.to_string());
    Regex::new(&pattern).expect("a pattern of this file is valid")
}

static WEEKDAY: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"(?i)\b(?:{})s?\b", WEEKDAYS.map(|it| it.join("|")).join("|")))
});
static ISO_DATE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d{4})-(\d{2})-(\d{2})\b"));
static NUMERIC_DATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(\d{1,2})[/.](\d{1,2})[/.](\d{4})\b"));
static DAY_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\b(\d{1,2})(?:er|st|nd|rd|th)? +(?:of +)?{month}(?:,? +(\d{4}))?\b")
});
static MONTH_FIRST: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b{month} +(\d{1,2})(?:st|nd|rd|th)?(?:,? +(\d{4}))?\b"));
static MONTH_YEAR: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b{month} +(\d{4})\b"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\b(\d{1,2})(?: ?h ?(\d{2})\b|:(\d{2})(?: ?([ap])\.?m\b\.?)?| ?([ap])\.?m\b\.?)")
});
static HOURS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d{1,2}) ?[hH]\b"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)([{euro}${pound}] ?)?(\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?)(?: ?(%|{euro}|\$|{pound}|k{euro}|euros?\b|eur\b|dollars?\b|usd\b|percent\b|per cent\b|pour cent\b))?",
    )
});

/// A text from which figures are taken, one kind after the other: none is read twice.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    written: &'a str,
    plain: String,
}

/// A figure that was taken out of a text.
#[derive(Debug)]
pub(super) struct Taken<T> {
    /// Its characters.
    at: Range<usize>,
    /// What it is.
    pub what: T,
}

/// What stands for a character that was taken.
const GONE: &str = "\u{1}";

impl<'a> Scan<'a> {
    pub(super) fn new(written: &'a str) -> Self {
        Self { written, plain: plain(written) }
    }

    /// Takes what a pattern matches out of the text, so that no later pattern reads it again.
    /// `read` is given the text after the match too.
    pub(super) fn take<T>(
        &mut self,
        pattern: &Regex,
        read: impl Fn(&Captures<'_>, &str) -> Option<T>,
    ) -> Vec<Taken<T>> {
        let mut res = Vec::new();
        for found in pattern.captures_iter(&self.plain) {
            let at = found.get(0).expect("group 0 is the whole match").range();
            if let Some(what) = read(&found, &self.plain[at.end..]) {
                res.push(Taken { at, what });
            }
        }
        for it in &res {
            self.plain.replace_range(it.at.clone(), &GONE.repeat(it.at.len()));
        }
        res
    }

    /// Something that was taken, as it was written.
    pub(super) fn text<T>(&self, taken: &Taken<T>) -> &'a str {
        as_written(self.written, taken.at.clone()).trim()
    }

    /// Figures that were taken, as facts.
    pub(super) fn facts(&self, figures: Vec<Taken<Vec<Reading>>>) -> Vec<Fact> {
        let fact = |it| Fact { text: self.text(&it).to_owned(), readings: it.what };
        figures.into_iter().map(fact).collect()
    }

    /// The numbers in letters that are left.
    pub(super) fn number_words(&self, with_one: bool) -> Vec<Fact> {
        let read = |it: number_words::NumberWord| {
            let unit = unit_after(&self.plain[it.span().end..]);
            // `une`, `one` are articles, but `un an` and `one month` are lengths of time.
            let is_article = it.value == 1 && !with_one && !matches!(unit, Unit::Time(_));
            let words: Vec<&str> =
                it.words.into_iter().map(|word| as_written(self.written, word)).collect();
            let reading = Reading::Number { thousandths: it.value * 1000, unit };
            (!is_article).then(|| Fact { text: words.join(" "), readings: vec![reading] })
        };
        number_words::take(&self.plain).into_iter().filter_map(read).collect()
    }

    /// The rates of the text.
    pub(super) fn rates(&self) -> Vec<Fact> {
        let fact = |(at, period)| Fact {
            text: as_written(self.written, at).trim().to_owned(),
            readings: vec![Reading::Rate { period }],
        };
        rates(&self.plain).into_iter().map(fact).collect()
    }

    /// Takes the figures out of the text.
    pub(super) fn take_figures(&mut self, language: Option<Language>) -> Vec<Taken<Vec<Reading>>> {
        let mut res = self.take_dates();
        res.extend(self.take(&WEEKDAY, |it, _| {
            let word = it[0].to_lowercase();
            let is_of = |names: &[&str; 2]| names.iter().any(|it| word.starts_with(it));
            Some(vec![Reading::Weekday { day: WEEKDAYS.iter().position(is_of)? }])
        }));
        res.extend(self.take(&TIME, |it, _| Some(vec![time(it)?])));
        res.extend(self.take(&HOURS, |it, _| {
            let hours: u16 = it[1].parse().ok()?;
            let number = Reading::Number { thousandths: i64::from(hours) * 1000, unit: Unit::None };
            Some(vec![number, Reading::Time { minutes: hours * 60 }])
        }));
        res.extend(self.take(&NUMBER, |it, after| {
            let unit = match unit_of(it.get(1).or(it.get(3)).map_or("", |it| it.as_str())) {
                Unit::None => unit_after(after),
                unit => unit,
            };
            let number = |thousandths| Reading::Number { thousandths, unit };
            Some(amounts(&it[2], unit, language).into_iter().map(number).collect())
        }));
        res
    }

    /// Takes the dates out of the text.
    pub(super) fn take_dates(&mut self) -> Vec<Taken<Vec<Reading>>> {
        let year = |it: &Captures<'_>, i| it.get(i).and_then(|it| it.as_str().parse().ok());
        let mut res = self
            .take(&ISO_DATE, |it, _| Some(vec![date(year(it, 1), number(it, 2)?, number(it, 3))?]));
        res.extend(self.take(&NUMERIC_DATE, |it, _| {
            let (a, b, year) = (number(it, 1)?, number(it, 2)?, year(it, 3));
            // Day first in French, month first in American English: either may be meant.
            let readings: Vec<Reading> =
                [date(year, b, Some(a)), date(year, a, Some(b))].into_iter().flatten().collect();
            (!readings.is_empty()).then_some(readings)
        }));
        res.extend(self.take(&DAY_FIRST, |it, _| {
            Some(vec![date(year(it, 3), month(&it[2])?, number(it, 1))?])
        }));
        res.extend(self.take(&MONTH_FIRST, |it, _| {
            Some(vec![date(year(it, 3), month(&it[1])?, number(it, 2))?])
        }));
        res.extend(
            self.take(&MONTH_YEAR, |it, _| Some(vec![date(year(it, 2), month(&it[1])?, None)?])),
        );
        res
    }
}

/// What a number counts that has no sign, by the words after it.
fn unit_after(after: &str) -> Unit {
    match counted(after) {
        Counted::Unknown => Unit::None,
        Counted::Time(period) => Unit::Time(period),
        Counted::Other => Unit::Other,
    }
}

fn number(found: &Captures<'_>, group: usize) -> Option<u8> {
    found.get(group)?.as_str().parse().ok()
}

/// The month that a word names.
pub(super) fn month(name: &str) -> Option<u8> {
    let name = plain(name).to_lowercase();
    let place = MONTHS.iter().position(|names| names.contains(&name.as_str()))?;
    u8::try_from(place + 1).ok()
}

fn date(year: Option<u16>, month: u8, day: Option<u8>) -> Option<Reading> {
    let valid = (1..=12).contains(&month) && day.is_none_or(|day| (1..=31).contains(&day));
    valid.then_some(Reading::Date { year, month, day })
}

fn time(found: &Captures<'_>) -> Option<Reading> {
    let hours: u16 = found[1].parse().ok()?;
    let minutes = found.get(2).or(found.get(3)).map_or(Some(0), |it| it.as_str().parse().ok())?;
    let half = found.get(4).or(found.get(5)).map(|it| it.as_str().to_lowercase());
    let hours = match half.as_deref() {
        Some("p") if hours < 12 => hours + 12,
        Some("a") if hours == 12 => 0,
        _ => hours,
    };
    (hours < 25 && minutes < 60).then_some(Reading::Time { minutes: hours * 60 + minutes })
}

fn unit_of(sign: &str) -> Unit {
    match sign.trim().to_lowercase().as_str() {
        "\u{2}" => Unit::Euro,
        "\u{3}" => Unit::Pound,
        "%" | "percent" | "per cent" | "pour cent" => Unit::Percent,
        "euro" | "euros" | "eur" => Unit::Euro,
        "$" | "dollar" | "dollars" | "usd" => Unit::Dollar,
        _ => Unit::None,
    }
}

/// The values, in thousandths, that a written number may stand for: `1,250` is one thousand two
/// hundred and fifty in English and one and a quarter in French. Money never has three decimals;
/// otherwise the language of the text decides, and where it cannot be told both readings stand.
fn amounts(written: &str, unit: Unit, language: Option<Language>) -> Vec<i64> {
    let digits: String =
        written.chars().filter(|c| c.is_ascii_digit() || ".,".contains(*c)).collect();
    let whole = |text: &str| text.replace(['.', ','], "").parse::<i64>().ok();
    let Some(last) = digits.rfind(['.', ',']) else {
        return whole(&digits).and_then(|it| it.checked_mul(1000)).into_iter().collect();
    };
    let (head, tail) = (&digits[..last], &digits[last + 1..]);
    let is_money = matches!(unit, Unit::Euro | Unit::Dollar | Unit::Pound);
    let is_comma = digits[last..].starts_with(',');
    let groups = tail.len() == 3 && !head.starts_with('0');
    let decimals = tail.len() != 3 || !is_money;
    let (groups, decimals) = match (groups && decimals, language) {
        (true, Some(Language::English)) => (is_comma, !is_comma),
        (true, Some(Language::French)) if is_comma => (false, true),
        _ => (groups, decimals),
    };
    let mut res = Vec::new();
    if groups {
        res.extend(whole(&digits).and_then(|it| it.checked_mul(1000)));
    }
    if decimals && !tail.is_empty() {
        // More digits than we count are cut: what is written is compared, scaled down.
        let fraction: i64 = format!("{tail:0<3}")[..3].parse().unwrap_or(0);
        let value = whole(head).and_then(|it| it.checked_mul(1000)?.checked_add(fraction));
        res.extend(value);
    }
    res
}
