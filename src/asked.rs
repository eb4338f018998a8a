//! What a question asks, and how well the sentences of a passage bear on it.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use index::catalog::StoredChunk;
use ingest::document::Language;

use crate::{
    cite::{Claims, SourceFacts, fold},
    compose::passage_text,
    expected::Expected,
    ranges::{Amount, amounts, ranges},
    units::{Unit, units},
    words::{Finder, Lookup, Vocabulary, Wanted, compounds, languages, stems, words},
};

/// Words that make a question and say nothing of its topic.
const QUESTION_WORDS: [&str; 2] = [
    "much many how long often someone anyone need get there must may happen happens tell",
    "combien comment pourquoi est-ce doit dois doivent devoir devons puis peux pouvons pouvez \
     existe lieu sert nomme nom appelle appelait nommait dit trouve trouver celui passe faut-il",
];
/// Words that say what is measured: the answer often uses others for the same.
const MEASURE_WORDS: [&str; 2] = [
    "amount maximum minimum price cost costs rate limit number receive received paid pay allowed \
     time value level total",
    "montant maximum maximal maximale minimum minimal minimale prix tarif coût coûte coûter touche \
     toucher délai durée dure plafond plafonné taux date nombre droit temps niveau valeur total \
     somme part",
];
/// Words that say in what it is measured.
const UNIT_WORDS: [&str; 2] = [
    "day days week month year hour hours minute",
    "jour jours semaine mois an ans année heure heures minute",
];

/// What a stem weighs at least: in a corpus about one thing, the words that name it are common.
const WEIGHT_MIN: f32 = 0.3;
/// What a stem weighs that no chunk holds: it may be a word of the question's form, or the one
/// thing that the documents do not treat.
const WEIGHT_UNKNOWN: f32 = 0.6;
/// What words of measure weigh beside others.
const MEASURE_SHARE: f32 = 0.25;
/// What words of unit weigh beside others.
const UNIT_SHARE: f32 = 0.5;
/// By how much a stem's idf may fall short of that of an unknown stem and count as unknown: chunks
/// that wait for deletion shift it.
const UNKNOWN_SLACK: f32 = 0.5;
/// What a sentence without the expected kind of answer is worth beside one that has it.
const UNEXPECTED_SHARE: f32 = 0.6;
/// How surely a sentence with the kind of answer that is asked for has the words that say what is
/// measured: `montant maximal` is asked, `plafonné à 20 €` answers.
const MEASURE_BY_KIND: f32 = 0.8;
/// What the neighbours of a sentence count beside it.
const NEIGHBOUR_SHARE: f32 = 0.5;

static QUESTION: LazyLock<[Vec<String>; 2]> = LazyLock::new(|| listed(&QUESTION_WORDS));
static UNIT: LazyLock<[Vec<String>; 2]> = LazyLock::new(|| listed(&UNIT_WORDS));
static MEASURE: LazyLock<[Vec<String>; 2]> = LazyLock::new(|| listed(&MEASURE_WORDS));

fn listed(words: &[&str; 2]) -> [Vec<String>; 2] {
    let of = |words: &str, language| stems(words, Some(language)).into_iter().collect();
    [of(words[0], Language::English), of(words[1], Language::French)]
}

fn is_in(lists: &[Vec<String>; 2], stem: &str, language: Option<Language>) -> bool {
    languages(language).iter().any(|it| {
        let list = match it {
            Language::English => &lists[0],
            Language::French => &lists[1],
        };
        list.iter().any(|it| it == stem)
    })
}

/// A stem of the question.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    wanted: Wanted,
    /// How much it tells, from 0 to 1.
    weight: f32,
    /// Whether it says what is measured.
    is_measure: bool,
}

/// A question, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    question: String,
    language: Option<Language>,
    terms: Vec<Term>,
    /// What is needed of a text to find its stems there.
    lookup: Lookup,
    expected: Option<Expected>,
    /// Figures, codes, quotes and names of the question.
    pub claims: Claims,
    amounts: Vec<Amount>,
}

/// How a sentence bears on a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    /// How surely it has each of the question's stems, from 0 to 1, its table's header included.
    own: Vec<f32>,
    /// The same, with the headings above it.
    with_heading: Vec<f32>,
    /// For a row: the share of its first cell's stems that the question has.
    pub key: f32,
    /// How well it may answer, from 0 to 1: its words, those above it and beside it, and whether
    /// it holds the kind of answer that is asked for.
    pub score: f32,
}

/// Reads passages for a question.
#[derive(Debug)]
pub struct Reader<'a> {
    asked: &'a Asked,
    finder: Finder<'a>,
}

/// A passage, read for a question.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// The passage's text.
    pub text: String,
    /// Its sentences and rows.
    pub units: Vec<Unit>,
    /// What each of them is worth.
    pub supports: Vec<Support>,
    /// Share of the question's stems, by weight, that passage and headings have.
    pub coverage: f32,
}

impl Reading {
    /// The score of the best sentence.
    #[must_use]
    pub fn evidence(&self) -> f32 {
        self.supports.iter().map(|it| it.score).fold(0.0, f32::max)
    }
}

impl Asked {
    /// Reads a question. `idf` weighs its stems ([`index::Index::term_weights`]) over an index of
    /// `n_chunks`.
    #[must_use]
    pub fn new(
        question: &str,
        language: Option<Language>,
        idf: &BTreeMap<String, f32>,
        n_chunks: u64,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "only the logarithm's order counts")]
        let unknown = (2.0 * n_chunks as f32 + 2.0).ln().max(1.0);
        let stemmed = |texts: Vec<String>| -> Vec<(String, BTreeSet<String>)> {
            texts.into_iter().map(|it| (it.clone(), stems(&it, language))).collect()
        };
        let compounds = stemmed(compounds(question));
        let words = stemmed(words(question));
        let source = |texts: &[(String, BTreeSet<String>)], stem: &String| {
            texts.iter().find(|(_, stems)| stems.contains(stem)).map(|(it, _)| it.clone())
        };
        let term = |(stem, idf): (&String, &f32)| {
            let rarity = match *idf {
                idf if idf >= unknown - UNKNOWN_SLACK => WEIGHT_UNKNOWN,
                idf => (idf / unknown).max(WEIGHT_MIN),
            };
            let is_measure = is_in(&MEASURE, stem, language);
            let weight = match () {
                () if is_measure => MEASURE_SHARE * rarity,
                () if is_in(&UNIT, stem, language) => UNIT_SHARE * rarity,
                () => rarity,
            };
            let compound = source(&compounds, stem);
            let word = source(&words, stem).unwrap_or_else(|| stem.clone());
            Term { wanted: Wanted { stem: stem.clone(), word, compound }, weight, is_measure }
        };
        let of_form = |stem: &str| is_in(&QUESTION, stem, language);
        let mut terms: Vec<Term> =
            idf.iter().filter(|(stem, _)| !of_form(stem)).map(term).collect();
        if terms.is_empty() {
            terms = idf.iter().map(term).collect();
        }
        Self {
            question: question.to_owned(),
            language,
            lookup: Lookup::of(terms.iter().map(|it| &it.wanted)),
            terms,
            expected: Expected::of(question),
            claims: Claims::of(question),
            amounts: amounts(question),
        }
    }

    /// Its words.
    #[must_use]
    pub fn question(&self) -> &str {
        &self.question
    }

    /// The weight of all its stems: how much it says.
    #[must_use]
    pub fn weight(&self) -> f32 {
        self.terms.iter().map(|it| it.weight).sum()
    }

    /// Reads a passage for the question.
    #[must_use]
    pub fn read(&self, chunk: &StoredChunk) -> Reading {
        self.reader().read(chunk)
    }

    /// Reads passages for the question, each word that several have once.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { asked: self, finder: self.lookup.finder(self.language) }
    }

    /// Levels of a text that holds the kind of answer that is asked for, or does not.
    fn with_measures(&self, mut levels: Vec<f32>, fits: bool) -> Vec<f32> {
        if self.expected.is_some() && fits {
            for (term, level) in self.terms.iter().zip(&mut levels) {
                if term.is_measure {
                    *level = level.max(MEASURE_BY_KIND);
                }
            }
        }
        levels
    }

    /// The share of the stems of a row's first cell that the question has.
    fn key(&self, row: &str) -> f32 {
        let cell = row.trim_start_matches('|').split('|').next().unwrap_or_default();
        let own = stems(cell, self.language);
        let asked = |it: &&String| self.terms.iter().any(|term| term.wanted.stem == **it);
        #[expect(clippy::cast_precision_loss, reason = "words of a cell are few")]
        let share = own.iter().filter(asked).count() as f32 / own.len().max(1) as f32;
        share
    }

    /// The share of the question's weight that levels add up to.
    fn share(&self, levels: &[f32]) -> f32 {
        let total = self.weight();
        if total <= 0.0 {
            return 0.0;
        }
        self.terms.iter().zip(levels).map(|(term, level)| term.weight * level).sum::<f32>() / total
    }

    /// What a sentence has of the question's weight that `others` and their headings have not, as a
    /// share.
    #[must_use]
    pub fn adds(&self, own: &Support, others: &[&Support]) -> f32 {
        let mut known = vec![0.0; self.terms.len()];
        for it in others {
            known = larger(&known, &it.with_heading);
        }
        self.share(&larger(&known, &own.own)) - self.share(&known)
    }

    /// Whether the text lacks a name, figure or code of the question. A figure is there too when
    /// a range holds it.
    #[must_use]
    pub fn lacks(&self, text: &str) -> bool {
        let facts = SourceFacts::of(text);
        let ranges = LazyCell::new(|| ranges(text));
        let in_range = |it: &String| {
            amounts(it).iter().any(|it| ranges.iter().any(|range| range.holds(it) == Some(true)))
        };
        // Words in capitals look like names: `DEJEUNERS` is there where `déjeuner` is.
        let own = LazyCell::new(|| Vocabulary::of(text, self.language));
        let is_word = |name: &String| {
            stems(name, self.language)
                .into_iter()
                .all(|stem| own.has(&Wanted { stem, word: fold(name), compound: None }) > 0.0)
        };
        !self.claims.missing_names(&facts).iter().all(is_word)
            || !self.claims.missing(&facts).iter().all(in_range)
    }

    /// How the figures of a sentence stand to those that the question gives.
    #[must_use]
    pub fn figures(&self, text: &str) -> Figures {
        if self.claims.figures.is_empty() {
            return Figures::Other;
        }
        let ranges: Vec<_> = ranges(text);
        let held = ranges
            .iter()
            .filter(|range| self.amounts.iter().any(|it| range.holds(it) == Some(true)));
        // The narrower of two rules that hold an amount was made for it.
        let low = held.map(|it| it.low).reduce(f64::max);
        let only = Claims { figures: self.claims.figures.clone(), ..Claims::default() };
        let excluded =
            ranges.iter().any(|range| self.amounts.iter().any(|it| range.holds(it) == Some(false)));
        match low {
            Some(low) => Figures::InRange { low },
            None if excluded => Figures::OutOfRange,
            None if only.missing(&SourceFacts::of(text)).is_empty() => Figures::Stated,
            None => Figures::Other,
        }
    }

    /// Whether a text has all codes of the question.
    #[must_use]
    pub fn has_codes(&self, text: &str) -> bool {
        let only = Claims { codes: self.claims.codes.clone(), ..Claims::default() };
        only.missing(&SourceFacts::of(text)).is_empty()
    }
}

impl Reader<'_> {
    /// Reads a passage.
    #[must_use]
    pub fn read(&mut self, chunk: &StoredChunk) -> Reading {
        let asked = self.asked;
        let text = passage_text(chunk);
        let units = units(chunk, &text);
        let header = |it: &Unit| it.header.clone().map(|it| &text[it]);
        let fits: Vec<bool> = units
            .iter()
            .map(|it| {
                asked.expected.is_none_or(|kind| kind.is_in(&text[it.span.clone()], header(it)))
            })
            .collect();
        let own: Vec<Vec<f32>> = units
            .iter()
            .zip(&fits)
            .map(|(it, fits)| asked.with_measures(self.levels(&it.with_header(&text)), *fits))
            .collect();
        let mut above: Option<(&str, Vec<f32>)> = None;
        let mut supports = Vec::with_capacity(units.len());
        for (i, unit) in units.iter().enumerate() {
            if above.as_ref().is_none_or(|(heading, _)| *heading != unit.heading) {
                above = Some((&unit.heading, self.levels(&unit.heading)));
            }
            let heading = above.as_ref().map_or(&[][..], |(_, levels)| levels);
            let beside = |i: usize| units.get(i).filter(|it| it.header.is_none()).map(|_| &own[i]);
            let before = i.checked_sub(1).and_then(beside);
            let with_heading = larger(&own[i], heading);
            let mut with_neighbours = with_heading.clone();
            for it in [before, beside(i + 1)].into_iter().flatten() {
                with_neighbours = larger(&with_neighbours, it);
            }
            let share = (asked.share(&own[i])
                + asked.share(&with_heading)
                + NEIGHBOUR_SHARE * asked.share(&with_neighbours))
                / (2.0 + NEIGHBOUR_SHARE);
            let score = if fits[i] { share } else { UNEXPECTED_SHARE * share };
            let key = if unit.header.is_some() { asked.key(&text[unit.span.clone()]) } else { 0.0 };
            supports.push(Support { own: own[i].clone(), with_heading, key, score });
        }
        let all = format!("{}\n{}\n{text}", chunk.title, chunk.heading_path.join("\n"));
        let is_kind_there = asked.expected.is_some() && fits.contains(&true);
        let coverage = asked.share(&asked.with_measures(self.levels(&all), is_kind_there));
        Reading { coverage, text, units, supports }
    }

    /// How surely a text has each of the question's stems.
    fn levels(&mut self, text: &str) -> Vec<f32> {
        let own = self.finder.read(text);
        self.asked.terms.iter().map(|it| own.has(&it.wanted)).collect()
    }
}

/// How the figures of a sentence stand to those of the question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figures {
    /// It states all of them.
    Stated,
    /// It gives a range that holds one.
    InRange {
        /// The least amount of that range.
        low: f64,
    },
    /// It gives ranges, and none holds one.
    OutOfRange,
    /// It says nothing of them.
    Other,
}

/// The larger level of each stem.
fn larger(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a.max(*b)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::samples::chunk;

    /// Reads a French question over a corpus in which its stems are neither rare nor common.
    pub(crate) fn asked(question: &str) -> Asked {
        let language = Some(Language::French);
        let idf = stems(question, language).into_iter().map(|it| (it, 3.0)).collect();
        Asked::new(question, language, &idf, 500)
    }

    fn evidence(question: &str, text: &str) -> f32 {
        asked(question).read(&chunk("Guide", text)).evidence()
    }

    #[test]
    fn a_row_answers_with_its_header_and_its_heading() {
        let table =
            "## Plafonds\n\n| Repas | Paris | Lyon |\n|---|---|---|\n| Dîner | 28 € | 21 € |";
        let question = "Quel est le plafond d'un dîner à Paris ?";
        assert!(evidence(question, table) > 0.9, "{}", evidence(question, table));
    }

    #[test]
    fn the_kind_of_answer_that_is_asked_for_must_be_there() {
        let question = "Combien rembourse-t-on pour un taxi ?";
        let with = evidence(question, "Le taxi est remboursé à 40 €.");
        let without = evidence(question, "Le taxi est remboursé.");
        assert!(with > 1.5 * without, "{with} {without}");
    }

    #[test]
    fn one_shared_word_of_measure_is_little() {
        let found = evidence("Quel est le plafond du taxi ?", "Le plafond des repas est de 20 €.");
        assert!(found < 0.3, "{found}");
    }

    #[test]
    fn words_of_the_question_s_form_do_not_count() {
        let idf: BTreeMap<String, f32> =
            [("much", 2.6), ("standard", 0.1), ("laptop", 0.1)].map(|(a, b)| (a.into(), b)).into();
        let asked =
            Asked::new("How much is the standard laptop?", Some(Language::English), &idf, 6);
        let chunk = chunk("Laptops", "The standard laptop costs €1,100.");
        assert!(asked.read(&chunk).coverage > 0.99);
    }

    #[test]
    fn a_word_in_capitals_is_no_unknown_name() {
        let asked = asked("Quel est le plafond des DEJEUNERS à Oslo ?");
        assert!(!asked.lacks("Un déjeuner à Oslo."));
        assert!(asked.lacks("Un déjeuner à Paris."));
    }

    #[test]
    fn an_amount_is_looked_up_in_ranges() {
        let asked = asked("Qui valide une dépense de 60 000 € ?");
        assert!(!asked.lacks("Qui valide ? Les dépenses de plus de 5 000 €."));
        assert!(asked.lacks("Qui valide ? Les dépenses de moins de 5 000 €."));
        assert_eq!(asked.figures("plus de 5 000 €"), Figures::InRange { low: 5000.0 });
        assert_eq!(asked.figures("moins de 5 000 €"), Figures::OutOfRange);
        assert_eq!(asked.figures("Le stand coûte 60 000 €"), Figures::Stated);
    }
}
