//! The checkable facts of a text: figures, amounts, dates, times, codes, quotes and names, in the
//! formats of French and English.
//!
//! Two texts state the same fact when their normalised forms agree: `1 250,50 €` and `€1,250.50`,
//! `3 mars 2026` and `2026-03-03`, `14 h 30` and `2:30 pm`, `trois` and `3`.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use regex::{Captures, Regex};

use super::{fold::fold, number_words};

/// What a figure counts, as far as its sign says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    /// No sign beside it.
    None,
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
enum Reading {
    Number { thousandths: i64, unit: Unit },
    Date { year: Option<u16>, month: u8, day: Option<u8> },
    Time { minutes: u16 },
    Weekday { day: usize },
}

/// A fact as written, with every way to read it: `03/04/2026` is in March or in April.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// As the text writes it.
    pub text: String,
    readings: Vec<Reading>,
}

impl Fact {
    /// Whether `source` states the fact in any of its readings.
    fn stated_in(&self, source: &SourceFacts) -> bool {
        self.readings.iter().any(|mine| source.readings.iter().any(|its| agree(mine, its)))
    }
}

/// Whether what a sentence says follows from what a source says.
fn agree(claim: &Reading, source: &Reading) -> bool {
    match (claim, source) {
        (
            Reading::Number { thousandths: a, unit },
            Reading::Number { thousandths: b, unit: stated },
        ) => a == b && (*unit == Unit::None || *stated == Unit::None || unit == stated),
        (
            Reading::Date { year, month, day },
            Reading::Date { year: its_year, month: its_month, day: its_day },
        ) => {
            // A claim may be less exact than its source, never more.
            month == its_month
                && (year.is_none() || year == its_year)
                && (day.is_none() || day == its_day)
        }
        // A year alone is a number, and a source's date states it.
        (Reading::Number { thousandths, unit: Unit::None }, Reading::Date { year, .. }) => {
            year.is_some_and(|year| i64::from(year) * 1000 == *thousandths)
        }
        (Reading::Time { minutes: a }, Reading::Time { minutes: b }) => a == b,
        (Reading::Weekday { day: a }, Reading::Weekday { day: b }) => a == b,
        (
            Reading::Number { .. }
            | Reading::Date { .. }
            | Reading::Time { .. }
            | Reading::Weekday { .. },
            _,
        ) => false,
    }
}

/// What a sentence claims and its source must state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Figures, amounts, dates and times.
    pub figures: Vec<Fact>,
    /// Reference codes such as `RH-2024-017`.
    pub codes: Vec<String>,
    /// Words in quotation marks.
    pub quotes: Vec<String>,
    /// Capitalised words inside a sentence, and acronyms.
    pub names: Vec<String>,
}

/// What a source states, in a form to look claims up in.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    readings: BTreeSet<Reading>,
    folded: String,
    words: BTreeSet<String>,
}

impl SourceFacts {
    /// Reads a source: a passage with its title and headings.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut rest = LIST_MARKERS.replace_all(text, "").into_owned();
        // A claim's codes are taken before its figures: read the source both ways.
        let mut without_codes = rest.clone();
        take_dates(&mut without_codes);
        take(&mut without_codes, &CODE, |_| Some(()));
        let mut figures = take_figures(&mut without_codes);
        figures.extend(take_figures(&mut rest));
        figures.extend(number_words::take(&rest, true).into_iter().map(|it| number_fact(&it)));
        let folded = fold(text);
        Self {
            readings: figures.into_iter().flat_map(|it| it.readings).collect(),
            words: words_of(&folded).map(str::to_owned).collect(),
            folded: squeeze(&folded),
        }
    }
}

impl Claims {
    /// The claims of a sentence (without citation marks).
    #[must_use]
    pub fn of(sentence: &str) -> Self {
        let mut rest = LIST_MARKER.replace(sentence, "").into_owned();
        let quotes = QUOTE
            .captures_iter(&rest)
            .filter_map(|it| it.iter().skip(1).flatten().next().map(|it| it.as_str().to_owned()))
            .collect();
        let names = names_of(&rest);
        let figures_first = take_dates(&mut rest);
        let codes =
            take(&mut rest, &CODE, |it| Some(it[0].trim_end_matches(['.', '-']).to_owned()));
        let mut figures = figures_first;
        figures.extend(take_figures(&mut rest));
        figures.extend(number_words::take(&rest, false).into_iter().map(|it| number_fact(&it)));
        Self { figures, codes, quotes, names }
    }

    /// Figures, codes and quotes that `source` does not state, as written.
    #[must_use]
    pub fn missing(&self, source: &SourceFacts) -> Vec<String> {
        let figures = self.figures.iter().filter(|it| !it.stated_in(source)).map(|it| &it.text);
        let words = self
            .codes
            .iter()
            .chain(&self.quotes)
            .filter(|it| !source.folded.contains(squeeze(&fold(it)).trim()));
        figures.chain(words).cloned().collect()
    }

    /// Names that `source` does not mention.
    #[must_use]
    pub fn missing_names(&self, source: &SourceFacts) -> Vec<String> {
        self.names.iter().filter(|it| !source.words.contains(&fold(it))).cloned().collect()
    }

    /// Whether nothing can be looked up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.codes.is_empty() && self.quotes.is_empty()
    }
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
fn regex(pattern: &str) -> Regex {
    let mut months: Vec<&str> = MONTHS.iter().flat_map(|it| it.iter().copied()).collect();
    // Longer names first: `mar` must not cut `mars` short.
    months.sort_by_key(|it| std::cmp::Reverse(it.len()));
    let pattern = pattern
        .replace("{month}", &format!("({})\\.?", months.join("|")))
        .replace("{s}", "[ \u{a0}\u{202f}\u{2009}]");
    Regex::new(&pattern).expect("a pattern of this file is valid")
}

static LIST_MARKER: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+"));
static LIST_MARKERS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*\d{1,2}[.)]\s+"));
static WEEKDAY: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(r"(?i)\b(?:{})s?\b", WEEKDAYS.map(|it| it.join("|")).join("|")))
});
static QUOTE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"«\s*([^»]+?)\s*»|“([^”]+)”|"([^"\n]+)""#));
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(?:\p{L}+[-._/]?\d[\p{L}\d]*|\p{L}+(?:[-._/]\p{L}+)*[-._/]\d+)(?:[-._/][\p{L}\d]+)*")
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

fn take_figures(rest: &mut String) -> Vec<Fact> {
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
    res.extend(take(rest, &NUMBER, |it| {
        let unit = unit_of(it.get(1).or(it.get(3)).map_or("", |it| it.as_str()));
        let readings = amounts(&it[2])
            .into_iter()
            .map(|thousandths| Reading::Number { thousandths, unit })
            .collect();
        Some(fact(it, readings))
    }));
    res
}

fn take_dates(rest: &mut String) -> Vec<Fact> {
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
fn take<T>(
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

fn number_fact(found: &number_words::NumberWord) -> Fact {
    let reading = Reading::Number { thousandths: found.value * 1000, unit: Unit::None };
    Fact { text: found.text.clone(), readings: vec![reading] }
}

fn number(found: &Captures<'_>, group: usize) -> Option<u8> {
    found.get(group)?.as_str().parse().ok()
}

fn month(name: &str) -> Option<u8> {
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
/// hundred and fifty in English and one and a quarter in French.
fn amounts(written: &str) -> Vec<i64> {
    let digits: String =
        written.chars().filter(|c| c.is_ascii_digit() || ".,".contains(*c)).collect();
    let mut res = Vec::new();
    let last = digits.rfind(['.', ',']);
    let whole = |text: &str| text.replace(['.', ','], "").parse::<i64>().ok();
    let Some(last) = last else {
        return whole(&digits).and_then(|it| it.checked_mul(1000)).into_iter().collect();
    };
    let (head, tail) = (&digits[..last], &digits[last + 1..]);
    if tail.len() == 3 {
        res.extend(whole(&digits).and_then(|it| it.checked_mul(1000)));
    }
    if !tail.is_empty() && tail.len() <= 3 {
        let fraction: i64 = format!("{tail:0<3}").parse().unwrap_or(0);
        let value = whole(head).and_then(|it| it.checked_mul(1000)?.checked_add(fraction));
        res.extend(value);
    }
    if tail.len() > 3 {
        // More digits than we count: compare what is written, scaled down.
        res.extend(whole(&format!("{head}{}", &tail[..3])));
    }
    res
}

/// Words that begin with a capital inside a sentence, and acronyms anywhere.
fn names_of(sentence: &str) -> Vec<String> {
    let mut res: Vec<String> = Vec::new();
    let mut first = true;
    for raw in sentence.split(|c: char| c.is_whitespace() || "()«»“”\"/;:".contains(c)) {
        let word = raw.trim_matches(|c: char| !c.is_alphanumeric());
        // `l’Oréal`, `d'Artagnan`, `Acme's`
        let word = word.split_once(['\'', '’']).map_or(word, |(before, after)| {
            if before.chars().count() <= 2 { after } else { before }
        });
        if word.is_empty() {
            continue;
        }
        let capital = word.chars().next().is_some_and(char::is_uppercase);
        let acronym = word.chars().count() > 1 && !word.chars().any(char::is_lowercase);
        let plain = word.chars().all(|c| c.is_alphabetic() || c == '-');
        if plain
            && (acronym || (capital && !first && word.chars().count() > 1))
            && !is_calendar(word)
        {
            res.push(word.to_owned());
        }
        first = raw.ends_with(['.', '!', '?', ':', '…']);
    }
    res.dedup();
    res
}

/// English writes the names of days, months and languages with a capital; French does not.
fn is_calendar(word: &str) -> bool {
    const DAYS: [&str; 9] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "french",
        "english",
    ];
    let word = word.to_lowercase();
    DAYS.contains(&word.as_str()) || month(&word).is_some()
}

/// Words of a folded text, whole and without hyphens.
fn words_of(folded: &str) -> impl Iterator<Item = &str> {
    let whole = folded
        .split(|c: char| !(c.is_alphanumeric() || c == '-'))
        .map(|it| it.trim_matches('-'))
        .filter(|it| !it.is_empty());
    let parts = folded.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty());
    whole.chain(parts)
}

/// One space for every run of blanks.
fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sentence: &str, source: &str, missing: &[&str]) {
        let claims = Claims::of(sentence);
        assert_eq!(claims.missing(&SourceFacts::of(source)), missing, "{claims:?}");
    }

    #[test]
    fn amounts_agree_across_french_and_english() {
        check("Le plafond est de 1 250,50 €.", "The cap is €1,250.50 a year.", &[]);
        check("The cap is 1,250 euros.", "Le plafond est de 1\u{202f}250 €.", &[]);
        check("It pays 12.5%.", "Le taux est de 12,5 %.", &[]);
        check("It pays 12%.", "Le taux est de 12,5 %.", &["12%"]);
    }

    #[test]
    fn a_unit_that_differs_is_another_amount() {
        check("It costs 12 €.", "It costs $12.", &["12 €"]);
        check("It costs 12.", "It costs $12.", &[]);
    }

    #[test]
    fn dates_agree_across_formats() {
        for source in
            ["2026-03-03", "3 mars 2026", "March 3, 2026", "03/03/2026", "the 3rd of March 2026"]
        {
            check("Effective 3 March 2026.", source, &[]);
            check("Depuis le 3 mars.", source, &[]);
            check("Depuis mars 2026.", source, &[]);
            check("Depuis 2026.", source, &[]);
            check("Effective 4 March 2026.", source, &["4 March 2026"]);
        }
        check("Le 1er janvier 2025", "On 1 January 2025", &[]);
        check("On 3 March 2026.", "In March 2026.", &["3 March 2026"]);
    }

    #[test]
    fn times_agree_across_formats() {
        check("À 14 h 30.", "At 2:30 pm.", &[]);
        check("At 9 a.m.", "Ouvert dès 9h.", &[]);
        check("At 9:15.", "Ouvert dès 9h.", &["9:15"]);
        check("Sous 48h.", "Within 48 hours.", &[]);
    }

    #[test]
    fn days_of_the_week_agree_across_languages() {
        check("Closed on Mondays.", "Fermé le lundi.", &[]);
        check("Fermé le mardi.", "Closed on Mondays.", &["mardi"]);
    }

    #[test]
    fn list_numbers_of_a_source_state_nothing() {
        check("There are 3.", "1. Ask.\n2. Wait.\n3. Go.", &["3"]);
    }

    #[test]
    fn number_words_are_numbers() {
        check("Three days.", "Jusqu’à 3 jours.", &[]);
        check("3 days.", "up to three days", &[]);
        check("Vingt-cinq jours.", "25 days", &[]);
        check("Four days.", "up to three days", &["Four"]);
        check("Une personne.", "les personnes", &[]);
    }

    #[test]
    fn codes_and_quotes_must_stand_in_the_source() {
        check("See RH-2024-017.", "Note rh-2024-017 du 3 mai", &[]);
        check("See RH-2024-018.", "Note RH-2024-017", &["RH-2024-018"]);
        check("It says « trois jours par semaine ».", "soit Trois  jours par semaine.", &[]);
        check("It says “never on Fridays”.", "always on Fridays", &["never on Fridays"]);
    }

    #[test]
    fn a_code_before_a_figure_hides_none() {
        check("é0,1", "é0,1", &[]);
    }

    #[test]
    fn list_numbers_are_no_claims() {
        check("2. Ask your manager.", "Ask your manager.", &[]);
    }

    #[test]
    fn names_inside_sentences_are_claims() {
        let claims =
            Claims::of("The head of Acme's Lyon office is Marie Curie, says the DSI on Monday.");
        assert_eq!(claims.names, ["Acme", "Lyon", "Marie", "Curie", "DSI"]);
        let source = SourceFacts::of("MARIE CURIE dirige l’agence de Lyon (Acme).");
        assert_eq!(claims.missing_names(&source), ["DSI"]);
    }

    proptest::proptest! {
        #[test]
        fn every_text_states_its_own_facts(text in "[a-zA-Z0-9 .,€%:/'’é-]{0,80}") {
            let claims = Claims::of(&text);
            proptest::prop_assert_eq!(claims.missing(&SourceFacts::of(&text)), Vec::<String>::new());
        }
    }
}
