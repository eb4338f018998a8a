//! The checkable facts of a text: figures, amounts, dates, times, codes, quotes and names, in the
//! formats of French and English.
//!
//! Two texts state the same fact when their normalised forms agree: `1 250,50 €` and `€1,250.50`,
//! `3 mars 2026` and `2026-03-03`, `14 h 30` and `2:30 pm`, `trois` and `3`.

use std::{cell::OnceCell, collections::BTreeSet, sync::LazyLock};

use ingest::document::Language;
use regex::Regex;

use super::{
    figures::{Reading, Scan, Unit, month, regex},
    fold::fold,
    periods::same_length,
};

/// A fact as written, with every way to read it: `03/04/2026` is in March or in April.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// As the text writes it.
    pub text: String,
    pub(super) readings: Vec<Reading>,
}

impl Fact {
    /// Whether `source` states the fact in any of its readings.
    pub(super) fn stated_in(&self, source: &SourceFacts) -> bool {
        // What is said to happen each week need not be a rate in the source (`from Monday to
        // Friday`), unless the source states another one.
        let is_rate = |it: &Reading| matches!(it, Reading::Rate { .. });
        let agrees_with = |its: &Reading| self.readings.iter().any(|mine| agree(mine, its));
        if self.readings.iter().all(is_rate) {
            return source.rates().is_empty() || source.rates().iter().any(agrees_with);
        }
        source.figures().iter().any(agrees_with)
    }

    /// Whether another fact is of the same kind: both are amounts of money, say.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let kind = |it: &Self| it.readings.first().map(kind);
        kind(self) == kind(other)
    }

    /// Whether `source` is the same fact in any of its readings.
    pub(super) fn agrees(&self, source: &Self) -> bool {
        self.readings.iter().any(|mine| source.readings.iter().any(|its| agree(mine, its)))
    }
}

/// What a reading is of: numbers by their unit, and the rest by what it is.
fn kind(reading: &Reading) -> (u8, Option<Unit>) {
    match reading {
        // Lengths of time are of one kind, whatever the period.
        Reading::Number { unit: Unit::Time(_), .. } => (0, None),
        Reading::Number { unit, .. } => (1, Some(*unit)),
        Reading::Date { .. } => (2, None),
        Reading::Time { .. } => (3, None),
        Reading::Weekday { .. } => (4, None),
        Reading::Rate { .. } => (5, None),
    }
}

/// Whether what a sentence says follows from what a source says.
fn agree(claim: &Reading, source: &Reading) -> bool {
    match (claim, source) {
        (
            Reading::Number { thousandths: a, unit },
            Reading::Number { thousandths: b, unit: stated },
        ) => match (unit, stated) {
            (Unit::Time(mine), Unit::Time(its)) => same_length(*a, *mine, *b, *its),
            // What a word names may be called otherwise, but time and percents are called so.
            (Unit::Time(_) | Unit::Percent, Unit::Other) => false,
            (Unit::None | Unit::Other, _) | (_, Unit::None | Unit::Other) => a == b,
            _ => a == b && unit == stated,
        },
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
        (Reading::Rate { period: a }, Reading::Rate { period: b }) => a == b,
        (
            Reading::Number { .. }
            | Reading::Date { .. }
            | Reading::Time { .. }
            | Reading::Weekday { .. }
            | Reading::Rate { .. },
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

/// What a source states, in a form to look claims up in. Each kind is read when a claim of that
/// kind is looked up: most are never asked for.
#[derive(Debug, Clone)]
pub struct SourceFacts {
    text: String,
    language: Option<Language>,
    rates: OnceCell<BTreeSet<Reading>>,
    figures: OnceCell<BTreeSet<Reading>>,
    folded: OnceCell<String>,
    lower: OnceCell<String>,
}

impl SourceFacts {
    /// Reads a source in a language that is not known: a passage with its title and headings.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::read(text, None)
    }

    /// Reads a source.
    #[must_use]
    pub fn read(text: &str, language: Option<Language>) -> Self {
        Self {
            text: text.to_owned(),
            language,
            rates: OnceCell::new(),
            figures: OnceCell::new(),
            folded: OnceCell::new(),
            lower: OnceCell::new(),
        }
    }

    /// Whether a name occurs.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let name = fold(name);
        words_of(self.lower.get_or_init(|| fold(&self.text))).any(|it| it == name)
    }

    /// Its text, folded, with one space for every run of blanks.
    fn folded(&self) -> &str {
        self.folded.get_or_init(|| squeeze(&fold(&self.text)))
    }

    fn rates(&self) -> &BTreeSet<Reading> {
        self.rates.get_or_init(|| {
            let text = LIST_MARKERS.replace_all(&self.text, "");
            Scan::new(&text).rates().into_iter().flat_map(|it| it.readings).collect()
        })
    }

    /// Figures, amounts, dates and times.
    fn figures(&self) -> &BTreeSet<Reading> {
        self.figures.get_or_init(|| {
            let text = LIST_MARKERS.replace_all(&self.text, "");
            let mut rest = Scan::new(&text);
            // A claim's codes are taken before its figures: read the source both ways.
            let mut without_codes = rest.clone();
            without_codes.take_dates();
            let has_codes = !without_codes.take(&CODE, |_, _| Some(())).is_empty();
            let mut figures = Vec::new();
            if has_codes {
                figures.extend(without_codes.take_figures(self.language));
            }
            figures.extend(rest.take_figures(self.language));
            let words = rest.number_words(true).into_iter().flat_map(|it| it.readings);
            figures.into_iter().flat_map(|it| it.what).chain(words).collect()
        })
    }
}

impl Claims {
    /// The claims of a sentence (without citation marks) in a language that is not known.
    #[must_use]
    pub fn of(sentence: &str) -> Self {
        Self::read(sentence, None)
    }

    /// The claims of a sentence (without citation marks).
    #[must_use]
    pub fn read(sentence: &str, language: Option<Language>) -> Self {
        let rest = LIST_MARKER.replace(sentence, "");
        let quotes = QUOTE
            .captures_iter(&rest)
            .filter_map(|it| it.iter().skip(1).flatten().next().map(|it| it.as_str().to_owned()))
            .collect();
        let names = names_of(&rest);
        let mut scan = Scan::new(&rest);
        let rates = scan.rates();
        let mut figures = scan.take_dates();
        let codes = scan.take(&CODE, |_, _| Some(()));
        let codes = codes.iter().map(|it| scan.text(it).trim_end_matches(['.', '-']).to_owned());
        let codes = codes.collect();
        figures.extend(scan.take_figures(language));
        let mut figures = scan.facts(figures);
        figures.extend(scan.number_words(false));
        figures.extend(rates);
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
            .filter(|it| !source.folded().contains(squeeze(&fold(it)).trim()));
        figures.chain(words).cloned().collect()
    }

    /// Names that `source` does not mention.
    #[must_use]
    pub fn missing_names(&self, source: &SourceFacts) -> Vec<String> {
        self.names.iter().filter(|it| !source.mentions(it)).cloned().collect()
    }

    /// Whether nothing can be looked up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.codes.is_empty() && self.quotes.is_empty()
    }
}

static LIST_MARKER: LazyLock<Regex> = LazyLock::new(|| regex(r"^\s*(?:\d{1,2}[.)]|[-*•])\s+"));
static LIST_MARKERS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^\s*\d{1,2}[.)]\s+"));
static QUOTE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"«\s*([^»]+?)\s*»|“([^”]+)”|"([^"\n]+)""#));
static CODE: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"\b(?:\p{L}+[-._/]?\d[\p{L}\d]*|\p{L}+(?:[-._/]\p{L}+)*[-._/]\d+)(?:[-._/][\p{L}\d]+)*")
});

/// Words that begin with a capital inside a sentence, and acronyms anywhere.
fn names_of(sentence: &str) -> Vec<String> {
    let mut res: Vec<String> = Vec::new();
    let mut first = true;
    for raw in sentence.split_inclusive(|c: char| c.is_whitespace() || "()«»“”\"/;:".contains(c))
    {
        let word = raw.trim_matches(|c: char| !c.is_alphanumeric());
        // `l’Oréal`, `d'Artagnan`, `Acme's`
        let word = word.split_once(['\'', '’']).map_or(word, |(before, after)| {
            if before.chars().count() <= 2 { after } else { before }
        });
        if word.is_empty() {
            first |= raw.ends_with([':', '«', '“', '"']);
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
        first = raw.trim_end().ends_with(['.', '!', '?', ':', '…']);
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
pub(super) fn squeeze(text: &str) -> String {
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
