//! Figures, amounts, dates and times, in the formats of French and English.

use std::{ops::Range, sync::LazyLock};

use ingest::document::Language;
use regex::{Captures, Regex};

use super::{
    facts::Fact,
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
    &["février", "fevrier", "févr", "february", "feb"],
    &["mars", "march", "mar"],
    &["avril", "avr", "april", "apr"],
    &["mai", "may"],
    &["juin", "june", "jun"],
    &["juillet", "juil", "july", "jul"],
    &["août", "aout", "august", "aug"],
    &["septembre", "sept", "september", "sep"],
    &["octobre", "oct", "october"],
    &["novembre", "nov", "november"],
    &["décembre", "decembre", "déc", "december", "dec"],
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

/// A pattern that was written with the code. `{month}` stands for the names of months, `{s}` for
/// any space, the French narrow ones included.
pub(super) fn regex(pattern: &str) -> Regex {
    let mut months: Vec<&str> = MONTHS.iter().flat_map(|it| it.iter().copied()).collect();
    // Longer names first: `mar` must not cut `mars` short.
    months.sort_by_key(|it| std::cmp::Reverse(it.len()));
    let pattern = pattern
        .replace("{month}", &format!("({})\\.?", months.join("|")))
        .replace("{s}", "[ \u{a0}\u{202f}\u{2009}]");
    Regex::new(&pattern).expect("a pattern of this file is valid")
}

static WEEKDAY: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"(?i)\b(?:{})s?\b", WEEKDAYS.map(|it| it.join("|")).join("|")))
});
static ISO_DATE: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d{4})-(\d{2})-(\d{2})\b"));
static NUMERIC_DATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\b(\d{1,2})[/.](\d{1,2})[/.](\d{4})\b"));
static DAY_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"(?i)\b(\d{1,2})(?:er|st|nd|rd|th)?{s}+(?:of{s}+)?{month}(?:,?{s}+(\d{4}))?\b")
});
static MONTH_FIRST: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)\b{month}{s}+(\d{1,2})(?:st|nd|rd|th)?(?:,?{s}+(\d{4}))?\b"));
static MONTH_YEAR: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b{month}{s}+(\d{4})\b"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)\b(\d{1,2})(?:{s}?h{s}?(\d{2})\b|:(\d{2})(?:{s}?([ap])\.?m\b\.?)?|{s}?([ap])\.?m\b\.?)",
    )
});
static HOURS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d{1,2}){s}?[hH]\b"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?i)([€$£]{s}?)?(\d{1,3}(?:[{s}'’]\d{3})+(?:[.,]\d+)?|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?)(?:{s}?(%|€|\$|£|k€|euros?\b|eur\b|dollars?\b|usd\b|percent\b|per cent\b|pour cent\b))?",
    )
});

/// Takes the figures out of a text: what remains has a mark in their place.
pub(super) fn take_figures(rest: &mut String, language: Option<Language>) -> Vec<Fact> {
    let mut res = take_dates(rest);
    res.extend(take(rest, &WEEKDAY, |it| {
        let word = it[0].to_lowercase();
        let day = WEEKDAYS.iter().position(|names| names.iter().any(|it| word.starts_with(it)))?;
        Some(fact(it, vec![Reading::Weekday { day }]))
    }));
    res.extend(take(rest, &TIME, |it| Some(fact(it, vec![time(it)?]))));
    res.extend(take(rest, &HOURS, |it| {
        let hours: u16 = it[1].parse().ok()?;
        let number = Reading::Number { thousandths: i64::from(hours) * 1000, unit: Unit::None };
        Some(fact(it, vec![number, Reading::Time { minutes: hours * 60 }]))
    }));
    let text = rest.clone();
    res.extend(take(rest, &NUMBER, |it| {
        let end = it.get(0).expect("group 0 is the whole match").end();
        let unit = match unit_of(it.get(1).or(it.get(3)).map_or("", |it| it.as_str())) {
            Unit::None => unit_after(&text[end..]),
            unit => unit,
        };
        let readings = amounts(&it[2], unit, language)
            .into_iter()
            .map(|thousandths| Reading::Number { thousandths, unit })
            .collect();
        Some(fact(it, readings))
    }));
    res
}

/// What a number counts that has no sign, by the words after it.
fn unit_after(after: &str) -> Unit {
    match counted(after) {
        Counted::Unknown => Unit::None,
        Counted::Time(period) => Unit::Time(period),
        Counted::Other => Unit::Other,
    }
}

/// The numbers in letters that are left of a text.
pub(super) fn number_words(text: &str, with_one: bool) -> Vec<Fact> {
    let read = |it: number_words::NumberWord| {
        let unit = unit_after(&text[it.end..]);
        // `une`, `one` are articles, but `un an` and `one month` are lengths of time.
        let is_article = it.value == 1 && !with_one && !matches!(unit, Unit::Time(_));
        let reading = Reading::Number { thousandths: it.value * 1000, unit };
        (!is_article).then_some(Fact { text: it.text, readings: vec![reading] })
    };
    number_words::take(text).into_iter().filter_map(read).collect()
}

/// The rates of a text.
pub(super) fn rate_facts(text: &str) -> Vec<Fact> {
    let fact = |(text, period)| Fact { text, readings: vec![Reading::Rate { period }] };
    rates(text).into_iter().map(fact).collect()
}

/// Takes the dates out of a text.
pub(super) fn take_dates(rest: &mut String) -> Vec<Fact> {
    let mut res = take(rest, &ISO_DATE, |it| {
        Some(fact(it, vec![date(it.get(1)?.as_str().parse().ok(), number(it, 2)?, number(it, 3))?]))
    });
    res.extend(take(rest, &NUMERIC_DATE, |it| {
        let (a, b, year) = (number(it, 1)?, number(it, 2)?, it[3].parse().ok());
        // Day first in French, month first in American English: either may be meant.
        let readings: Vec<Reading> =
            [date(year, b, Some(a)), date(year, a, Some(b))].into_iter().flatten().collect();
        (!readings.is_empty()).then(|| fact(it, readings))
    }));
    let year = |it: &Captures<'_>, i| it.get(i).and_then(|it| it.as_str().parse().ok());
    res.extend(take(rest, &DAY_FIRST, |it| {
        Some(fact(it, vec![date(year(it, 3), month(&it[2])?, number(it, 1))?]))
    }));
    res.extend(take(rest, &MONTH_FIRST, |it| {
        Some(fact(it, vec![date(year(it, 3), month(&it[1])?, number(it, 2))?]))
    }));
    res.extend(take(rest, &MONTH_YEAR, |it| {
        Some(fact(it, vec![date(year(it, 2), month(&it[1])?, None)?]))
    }));
    res
}

/// Takes what a pattern matches out of a text, so that no later pattern reads it again.
pub(super) fn take<T>(
    rest: &mut String,
    pattern: &Regex,
    read: impl Fn(&Captures<'_>) -> Option<T>,
) -> Vec<T> {
    let mut res = Vec::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    for found in pattern.captures_iter(rest) {
        if let Some(it) = read(&found) {
            res.push(it);
            taken.push(found.get(0).expect("group 0 is the whole match").range());
        }
    }
    for range in taken.into_iter().rev() {
        rest.replace_range(range, "\u{1}");
    }
    res
}

fn fact(found: &Captures<'_>, readings: Vec<Reading>) -> Fact {
    Fact { text: found[0].trim().to_owned(), readings }
}

fn number(found: &Captures<'_>, group: usize) -> Option<u8> {
    found.get(group)?.as_str().parse().ok()
}

pub(super) fn month(name: &str) -> Option<u8> {
    let name = name.to_lowercase();
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
        "%" | "percent" | "per cent" | "pour cent" => Unit::Percent,
        "€" | "euro" | "euros" | "eur" => Unit::Euro,
        "$" | "dollar" | "dollars" | "usd" => Unit::Dollar,
        "£" => Unit::Pound,
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
