//! Whether a figure or a name of a sentence stands where its source speaks of the same thing.
//!
//! A passage on contracts holds many amounts; that `€950` occurs somewhere in it does not make it
//! the monthly fee. So sources are cut into statements: clauses, and for tables a statement for
//! each cell, with the label of its row and the header of its column. A figure is out of place when
//! another statement speaks more clearly of what the sentence is about, and has another figure of
//! the same kind.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use ingest::document::Language;
use regex::Regex;

use super::{
    clauses::telling,
    facts::{Claims, Fact, SourceFacts},
    opposite::Tone,
    sentences::{is_row, split},
};

/// By how much another statement must match better for a figure to be doubtful, in content words.
const DOUBTFUL_MIN: f32 = 0.45;
/// As above, for it to be wrong.
const WRONG_MIN: f32 = 0.9;

/// What words of a statement are worth: those of the clause 1, and these.
const OF_WHOLE_SENTENCE: f32 = 0.25;
/// A word of the statement of which the sentence says nothing.
const UNASKED: f32 = -0.2;
/// Words of that kind that count at most: long statements are not to be punished for ever.
const N_UNASKED_MAX: usize = 3;

/// Where one statement ends and the next begins. `and` between figures joins a range.
static CUT: LazyLock<Regex> = LazyLock::new(|| {
    let words = "and|but|while|whereas|et|mais|tandis que|alors que";
    Regex::new(&format!(r"(?i)[;()—–]|[:,]\s|\s(?:{words})\s+(?:\D)")).expect("a literal pattern")
});

/// A statement of a source, or of a sentence that is checked.
#[derive(Debug)]
pub(super) struct Statement {
    text: String,
    stems: BTreeSet<String>,
    /// Stems of the sentence that it is part of.
    around: BTreeSet<String>,
    claims: Claims,
    facts: SourceFacts,
}

/// How far a figure or name can be trusted to be about what its sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Placement {
    Right,
    Doubtful,
    Wrong,
}

impl Statement {
    fn new(text: &str, around: &BTreeSet<String>, language: Option<Language>) -> Self {
        let claims = Claims::read(text, language);
        Self {
            stems: about(text, &claims, language),
            around: around.clone(),
            facts: SourceFacts::read(text, language),
            claims,
            text: text.to_owned(),
        }
    }

    /// How much of what a statement of a sentence is about this one speaks of.
    #[expect(clippy::cast_precision_loss, reason = "the words of a statement are few")]
    fn match_with(&self, asked: &Self) -> f32 {
        let shared = asked.stems.intersection(&self.stems).count() as f32;
        let near = asked.stems.intersection(&self.around).filter(|it| !self.stems.contains(*it));
        let wide = asked.around.intersection(&self.stems).filter(|it| !asked.stems.contains(*it));
        let unasked = self.stems.difference(&asked.around).count().min(N_UNASKED_MAX);
        shared + OF_WHOLE_SENTENCE * (near.count() + wide.count()) as f32 + UNASKED * unasked as f32
    }

    /// Of `statements`, the one that speaks most clearly of the same; `None` where even that one
    /// shares little with it, and so cannot contradict it.
    #[expect(clippy::cast_precision_loss, reason = "the words of a statement are few")]
    pub(super) fn nearest<'a>(&self, statements: &'a [Self]) -> Option<&'a Self> {
        let best = statements.iter().max_by(|a, b| {
            a.match_with(self).total_cmp(&b.match_with(self)).then(b.text.len().cmp(&a.text.len()))
        })?;
        let shared = self.stems.intersection(&best.stems).count();
        (self.stems.len() >= 2 && shared as f32 >= 0.6 * self.stems.len() as f32).then_some(best)
    }

    pub(super) fn tone(&self) -> Tone {
        Tone::of(&self.text)
    }
}

/// The statements of a sentence.
pub(super) fn of_sentence(sentence: &str, language: Option<Language>) -> Vec<Statement> {
    let around = about(sentence, &Claims::read(sentence, language), language);
    clauses(sentence)
        .into_iter()
        .map(|it| Statement::new(&sentence[it], &around, language))
        .collect()
}

/// The statements of a source's text.
pub(super) fn of_source(text: &str, language: Option<Language>) -> Vec<Statement> {
    let mut res = Vec::new();
    let mut header: Vec<&str> = Vec::new();
    let mut in_table = false;
    for range in split(text) {
        let unit = &text[range];
        let is_row = is_row(unit);
        if is_row && !in_table {
            header = cells(unit);
        } else if is_row {
            res.extend(of_row(&header, &cells(unit), language));
        } else {
            res.extend(of_sentence(unit, language));
        }
        in_table = is_row;
    }
    res
}

/// One statement a cell, with the label of its row and the header of its column.
fn of_row(header: &[&str], row: &[&str], language: Option<Language>) -> Vec<Statement> {
    let row_text = row.join(" ");
    let around = about(&row_text, &Claims::read(&row_text, language), language);
    let label = row.first().copied().unwrap_or_default();
    let first = header.first().copied().unwrap_or_default();
    let cell = |(column, it): (usize, &&str)| {
        let name = header.get(column).copied().unwrap_or_default();
        Statement::new(&format!("{label} {first} {name} {it}"), &around, language)
    };
    row.iter().enumerate().skip(usize::from(row.len() > 1)).map(cell).collect()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// Byte ranges of a sentence's clauses.
fn clauses(sentence: &str) -> Vec<Range<usize>> {
    let mut res = Vec::new();
    let mut start = 0;
    for cut in CUT.find_iter(sentence) {
        // The last character of a cut at a word belongs to the next clause.
        let last = cut.as_str().chars().next_back().map_or(0, char::len_utf8);
        let is_word = cut.as_str().trim_start().starts_with(char::is_alphabetic);
        res.push(start..cut.start());
        start = if is_word { cut.end() - last } else { cut.end() };
    }
    res.push(start..sentence.len());
    res.retain(|it| !sentence[it.clone()].trim().is_empty());
    res
}

/// The stems of what a text speaks of: its content words without its figures.
fn about(text: &str, claims: &Claims, language: Option<Language>) -> BTreeSet<String> {
    let figures: BTreeSet<String> =
        claims.figures.iter().flat_map(|it| telling(&it.text, language)).collect();
    let mut res = telling(text, language);
    res.retain(|it| !figures.contains(it) && !it.chars().any(|c| c.is_ascii_digit()));
    res
}

/// The figures and names of a sentence that its source states, but of something else.
pub(super) fn misplaced(sentence: &[Statement], source: &[Statement]) -> Vec<(String, Placement)> {
    let mut res = Vec::new();
    for asked in sentence {
        for figure in &asked.claims.figures {
            let states = |it: &Statement| figure.stated_in(&it.facts);
            let rivals = |it: &Statement| has_other(it, figure);
            let placement = placement(asked, source, &states, &rivals);
            res.push((figure.text.clone(), placement));
        }
        for name in &asked.claims.names {
            let states = |it: &Statement| it.facts.mentions(name);
            let rivals =
                |it: &Statement| it.claims.names.iter().any(|other| !asked.facts.mentions(other));
            // Names are read less surely than figures: at most doubtful.
            let placement = placement(asked, source, &states, &rivals).min(Placement::Doubtful);
            res.push((name.clone(), placement));
        }
    }
    res.retain(|(_, placement)| *placement > Placement::Right);
    res
}

/// Whether a statement has a figure of the same kind as another one, and not that one.
fn has_other(statement: &Statement, figure: &Fact) -> bool {
    statement.claims.figures.iter().any(|it| it.is_like(figure) && !figure.agrees(it))
}

/// Where a fact stands that some statements state, beside those that have another such fact.
fn placement(
    asked: &Statement,
    source: &[Statement],
    states: &dyn Fn(&Statement) -> bool,
    rivals: &dyn Fn(&Statement) -> bool,
) -> Placement {
    let best = |of: &dyn Fn(&Statement) -> bool| {
        let matches = source.iter().filter(|it| of(it)).map(|it| it.match_with(asked));
        matches.max_by(f32::total_cmp)
    };
    let Some(own) = best(states) else { return Placement::Right };
    let Some(rival) = best(&|it| !states(it) && rivals(it)) else { return Placement::Right };
    match rival - own {
        by if by >= WRONG_MIN => Placement::Wrong,
        by if by >= DOUBTFUL_MIN => Placement::Doubtful,
        _ => Placement::Right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = "The monthly fee of Northwind is €7,400. A late payment costs €950. The \
        Supplier's total liability does not exceed €250,000. The agreement, signed on 14 February \
        2025, takes effect on 1 March 2025. It is governed by the laws of Ireland; notices are \
        sent to Dublin.";
    const TABLE: &str = "| Dépense | Paris | Autres villes |\n| --- | --- | --- |\n\
        | Nuit d'hôtel | 140,00 € | 98,00 € |\n| Dîner | 31,00 € | 24,00 € |\n";

    #[track_caller]
    fn check(sentence: &str, source: &str, language: Language, expected: &[&str]) {
        let source = of_source(source, Some(language));
        let sentence = of_sentence(sentence, Some(language));
        let found = misplaced(&sentence, &source);
        let found: Vec<&str> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_figure_of_another_statement_is_out_of_place() {
        let english = |sentence: &str, expected: &[&str]| {
            check(sentence, CONTRACT, Language::English, expected);
        };
        english("The monthly fee of Northwind is €950.", &["€950"]);
        english("The total liability does not exceed €7,400.", &["€7,400"]);
        english("The agreement was signed on 1 March 2025.", &["1 March 2025"]);
        english("It is governed by the laws of Dublin.", &["Dublin"]);
    }

    #[test]
    fn a_figure_of_the_right_statement_is_in_place() {
        for sentence in [
            "The monthly fee of Northwind is €7,400.",
            "A late payment costs €950 and the monthly fee is €7,400.",
            "Total liability is capped at €250,000.",
            "The agreement was signed on 14 February 2025 and takes effect on 1 March 2025.",
            "It is governed by the laws of Ireland.",
        ] {
            check(sentence, CONTRACT, Language::English, &[]);
        }
    }

    #[test]
    fn cells_belong_to_their_row_and_column() {
        let french = |sentence: &str, expected: &[&str]| {
            check(sentence, TABLE, Language::French, expected);
        };
        french("Le dîner à Paris est plafonné à 31 €.", &[]);
        french("Dépense : Dîner ; Paris : 31,00 € ; Autres villes : 24,00 €", &[]);
        french("Le dîner à Paris est plafonné à 24 €.", &["24 €"]);
        french("La nuit d'hôtel à Paris coûte 31 €.", &["31 €"]);
    }
}
