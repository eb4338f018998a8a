//! Draft and passages to an answer whose every sentence is checked against what it cites.
//!
//! For each sentence: the passages that it cites must exist; its figures, dates, amounts, codes
//! and quotes must stand in them, and its names too; its words, or its meaning by the embedder,
//! must be found there, clause by clause; and it must not say the opposite. No language model
//! judges.
//!
//! A sentence without a mark is attributed to the passage that supports it best, and says so.

mod clauses;
mod facts;
mod figures;
mod fold;
mod number_words;
mod opposite;
mod periods;
mod placement;
mod sentences;

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use ingest::document::Language;
use regex::Regex;

use self::{
    facts::squeeze,
    placement::{Placement, Statement, misplaced, of_sentence, of_source},
};
use crate::words::stems;

pub(crate) use self::number_words::take as number_words;
pub use self::{
    facts::{Claims, SourceFacts},
    fold::{EURO, POUND, as_written, fold, plain},
    sentences::{heading, is_heading, split},
};

/// From this support on, a sentence is supported.
const SUPPORTED_MIN: f32 = 0.6;
/// From this support on, a sentence is partly supported.
const PARTLY_MIN: f32 = 0.35;
/// Cosine of two sentences under which the embedder says nothing, and at which it is sure.
const COSINE_RANGE: (f32, f32) = (0.35, 0.85);

/// A passage that was in the prompt, or could have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source<'a> {
    /// Title and headings above the passage: they may state what the passage is about.
    pub heading: String,
    /// The passage's text.
    pub text: &'a str,
    /// The passage's language.
    pub language: Option<Language>,
}

/// What the check says of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The sources do not say it.
    Unsupported,
    /// The sources say part of it.
    Partly,
    /// The sources say it.
    Supported,
}

impl Verdict {
    /// The word used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Partly => "partly",
            Self::Supported => "supported",
        }
    }
}

/// Where a sentence's citations come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The model wrote them.
    Cited,
    /// The model wrote none, or wrong ones: the passage that supports the sentence best.
    Attributed,
    /// Nothing supports the sentence.
    None,
}

/// The words of a source that speak for a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Which source, from 0.
    pub source: usize,
    /// Bytes of its text.
    pub span: Range<usize>,
}

/// A sentence of an answer, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedSentence {
    /// Its text without citation marks.
    pub text: String,
    /// What the check says.
    pub verdict: Verdict,
    /// Sources that it cites, from 0, each one existing.
    pub citations: Vec<usize>,
    /// Where the citations come from.
    pub origin: Origin,
    /// Facts that the cited sources do not state, as written.
    pub missing: Vec<String>,
    /// How far the sources support it, from 0 to 1.
    pub support: f32,
    /// The words that speak for it.
    pub evidence: Option<Evidence>,
}

/// A draft cut into what is to be checked, and its sources cut into what can speak for it: what
/// the embedder is asked to compare.
#[derive(Debug)]
pub struct Case<'a> {
    sources: &'a [Source<'a>],
    /// The draft's sentences without marks, and the marks that each had (as written, from 1).
    sentences: Vec<(String, Vec<usize>)>,
    /// Sentences of the sources: which source, where.
    units: Vec<Evidence>,
}

/// Cosines of the draft's sentences (rows) with the sources' sentences (columns).
pub type Cosines = Vec<Vec<f32>>;

static MARK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\s*\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]").expect("a literal pattern is valid")
});

impl<'a> Case<'a> {
    /// Cuts a draft and its sources into sentences.
    #[must_use]
    pub fn new(draft: &str, sources: &'a [Source<'a>]) -> Self {
        let mut sentences: Vec<(String, Vec<usize>)> = Vec::new();
        for range in split(draft) {
            let (text, marks) = without_marks(&draft[range]);
            match sentences.last_mut() {
                // A line of marks alone belongs to the sentence before it.
                Some(last) if text.is_empty() => last.1.extend(marks),
                _ if text.is_empty() => {}
                _ => sentences.push((text, marks)),
            }
        }
        let units = sources
            .iter()
            .enumerate()
            .flat_map(|(source, it)| {
                let spans = split(it.text).into_iter();
                // A heading says what is spoken of, and nothing of it.
                let spans = spans.filter(|span| !is_heading(&it.text[span.clone()]));
                spans.map(move |span| Evidence { source, span })
            })
            .collect();
        Self { sources, sentences, units }
    }

    /// The draft's sentences, without marks.
    #[must_use]
    pub fn sentences(&self) -> Vec<&str> {
        self.sentences.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// The sources' sentences.
    #[must_use]
    pub fn units(&self) -> Vec<&str> {
        self.units.iter().map(|it| &self.sources[it.source].text[it.span.clone()]).collect()
    }

    /// Checks every sentence. `cosines` compares [`Self::sentences`] with [`Self::units`]; without
    /// it (no embedder speaks the language), words decide alone.
    ///
    /// # Panics
    /// When `cosines` is not of that shape.
    #[must_use]
    pub fn check(
        &self,
        language: Option<Language>,
        cosines: Option<&Cosines>,
    ) -> Vec<CheckedSentence> {
        let sources: Vec<Checked> = self.sources.iter().map(Checked::of).collect();
        let units: Vec<BTreeSet<String>> = self
            .units
            .iter()
            .map(|it| {
                stems(
                    &self.sources[it.source].text[it.span.clone()],
                    self.sources[it.source].language,
                )
            })
            .collect();
        let mut res = Vec::new();
        for (row, (text, marks)) in self.sentences.iter().enumerate() {
            let sentence = Sentence {
                text,
                language,
                claims: Claims::read(text, language),
                stems: stems(text, language),
                statements: of_sentence(text, language),
                is_question: text.ends_with('?'),
            };
            let cosines = cosines.map(|it| it[row].as_slice());
            let judge = |source: usize| self.judge(&sentence, source, &sources, &units, cosines);
            res.push(conclude(text, marks, self.sources.len(), &judge));
        }
        res
    }

    fn judge(
        &self,
        sentence: &Sentence<'_>,
        source: usize,
        sources: &[Checked],
        units: &[BTreeSet<String>],
        cosines: Option<&[f32]>,
    ) -> Judgement {
        let checked = &sources[source];
        let mut best: (f32, Option<usize>) = (0.0, None);
        for (i, unit) in units.iter().enumerate().filter(|(i, _)| self.units[*i].source == source) {
            let close = cosines.map_or(0.0, |it| scaled_cosine(it[i]));
            let score = overlap(&sentence.stems, unit).max(close);
            if score > best.0 {
                best = (score, Some(i));
            }
        }
        let evidence = best.1.map(|i| self.units[i].clone());
        let mut missing = sentence.claims.missing(&checked.facts);
        let missing_names = sentence.claims.missing_names(&checked.facts);
        // A sentence may join what two sentences of its source say: the whole source counts too,
        // for a little less.
        let mut support = best.0.max(0.9 * overlap(&sentence.stems, &checked.stems));
        // A question says nothing, however much of the source it repeats.
        let is_empty = sentence.stems.is_empty() && sentence.claims.is_empty();
        if is_empty || sentence.is_question {
            support = 0.0;
        }
        // Words of two languages cannot be compared, and the source's own words need not be.
        let comparable = self.sources[source].language == sentence.language;
        let doubt = match comparable && !checked.holds(sentence.text) {
            true => sentence.doubt(checked, &mut missing),
            false => Doubt::None,
        };
        let verdict = if !missing.is_empty() || support < PARTLY_MIN || doubt == Doubt::Wrong {
            Verdict::Unsupported
        } else if support < SUPPORTED_MIN || !missing_names.is_empty() || doubt == Doubt::Some {
            Verdict::Partly
        } else {
            Verdict::Supported
        };
        let missing = missing.into_iter().chain(missing_names).collect();
        Judgement { source, verdict, support, missing, evidence }
    }
}

/// What speaks against a sentence whose words are those of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    None,
    Some,
    Wrong,
}

/// A sentence, read once for all sources.
struct Sentence<'a> {
    text: &'a str,
    language: Option<Language>,
    claims: Claims,
    stems: BTreeSet<String>,
    statements: Vec<Statement>,
    is_question: bool,
}

impl Sentence<'_> {
    /// What speaks against it in a source of its language. Figures that the source states of
    /// something else are added to `missing`.
    fn doubt(&self, source: &Checked, missing: &mut Vec<String>) -> Doubt {
        let mut res = Doubt::None;
        for (text, placement) in misplaced(&self.statements, &source.statements) {
            if placement == Placement::Wrong && !missing.contains(&text) {
                missing.push(text);
            }
            res = res.max(Doubt::Some);
        }
        for statement in &self.statements {
            let Some(nearest) = statement.nearest(&source.statements) else { continue };
            let (mine, its) = (statement.tone(), nearest.tone());
            if mine.contradicts(&its) {
                res = res.max(Doubt::Wrong);
            } else if mine.excludes_more_than(&its) {
                res = res.max(Doubt::Some);
            }
        }
        if clauses::has_unfounded(self.text, self.language, &source.stems) {
            res = res.max(Doubt::Some);
        }
        res
    }
}

/// A source, read once for all sentences.
struct Checked {
    /// Its text, folded, with one space for every run of blanks.
    folded: String,
    /// The rows of its tables, each after the header of its table, folded likewise.
    rows: Vec<String>,
    facts: SourceFacts,
    stems: BTreeSet<String>,
    statements: Vec<Statement>,
}

impl Checked {
    fn of(source: &Source<'_>) -> Self {
        let all = format!("{}\n{}", source.heading, source.text);
        Self {
            folded: squeezed(source.text),
            rows: rows_with_header(source.text),
            facts: SourceFacts::read(&all, source.language),
            stems: stems(&all, source.language),
            statements: of_source(source.text, source.language),
        }
    }

    /// Whether a sentence stands in the source word for word, or is a row of a table that is
    /// written out: `column : cell ; column : cell`.
    fn holds(&self, sentence: &str) -> bool {
        let squeezed = squeezed(sentence);
        let cells = squeezed.split(" ; ").flat_map(|it| it.split(" : "));
        let is_row = squeezed.contains(" : ");
        self.folded.contains(&squeezed)
            || (is_row && self.rows.iter().any(|row| cells.clone().all(|it| row.contains(it))))
    }
}

fn rows_with_header(text: &str) -> Vec<String> {
    let mut res = Vec::new();
    let mut header: Option<&str> = None;
    for line in text.lines() {
        match header {
            _ if !line.trim_start().starts_with('|') => header = None,
            None => header = Some(line),
            Some(header) => res.push(squeezed(&format!("{header} {line}"))),
        }
    }
    res
}

/// A text folded, with one space for every run of blanks.
fn squeezed(text: &str) -> String {
    squeeze(&fold(text))
}

/// What one source says of one sentence.
struct Judgement {
    source: usize,
    verdict: Verdict,
    support: f32,
    missing: Vec<String>,
    evidence: Option<Evidence>,
}

/// Joins what the sources say of a sentence.
fn conclude(
    text: &str,
    marks: &[usize],
    n_sources: usize,
    judge: &dyn Fn(usize) -> Judgement,
) -> CheckedSentence {
    let mut cited: Vec<usize> = Vec::new();
    for mark in marks {
        // A mark that names no passage is dropped: no citation may point at nothing.
        if (1..=n_sources).contains(mark) && !cited.contains(&(mark - 1)) {
            cited.push(mark - 1);
        }
    }
    let of_cited = best(cited.iter().map(|it| judge(*it)));
    if let Some(it) = of_cited.as_ref()
        && it.verdict > Verdict::Unsupported
    {
        return sentence(text, cited, Origin::Cited, of_cited);
    }
    let of_any = best((0..n_sources).map(judge));
    match of_any {
        Some(it) if it.verdict > Verdict::Unsupported => {
            sentence(text, vec![it.source], Origin::Attributed, Some(it))
        }
        // The model cites a passage that does not say it: the mark stays, with the verdict.
        _ if !cited.is_empty() => sentence(text, cited, Origin::Cited, of_cited),
        it => sentence(text, Vec::new(), Origin::None, it),
    }
}

fn sentence(
    text: &str,
    citations: Vec<usize>,
    origin: Origin,
    judgement: Option<Judgement>,
) -> CheckedSentence {
    let (verdict, support, missing, evidence) = match judgement {
        Some(it) => (it.verdict, it.support, it.missing, it.evidence),
        None => (Verdict::Unsupported, 0.0, Vec::new(), None),
    };
    CheckedSentence {
        text: text.to_owned(),
        verdict,
        citations,
        origin,
        missing,
        support,
        evidence,
    }
}

/// The best judgement; the first of equals.
fn best(judgements: impl Iterator<Item = Judgement>) -> Option<Judgement> {
    judgements.reduce(|a, b| {
        let order = b.verdict.cmp(&a.verdict).then(b.support.total_cmp(&a.support));
        if order.is_gt() { b } else { a }
    })
}

/// A sentence without its citation marks, and the marks, as written, from 1.
pub(crate) fn without_marks(sentence: &str) -> (String, Vec<usize>) {
    let marks = MARK
        .captures_iter(sentence)
        .flat_map(|it| {
            it[1].split(',').map(|it| it.trim().parse().unwrap_or(0)).collect::<Vec<_>>()
        })
        .collect();
    // A sentence that was wrapped over lines is one line of the answer.
    let text = MARK.replace_all(sentence, "");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    (lines.join(" ").trim().to_owned(), marks)
}

/// Share of the stems of a sentence that a source has, from 0 to 1.
fn overlap(sentence: &BTreeSet<String>, source: &BTreeSet<String>) -> f32 {
    if sentence.is_empty() {
        return 0.0;
    }
    let shared = sentence.intersection(source).count();
    #[expect(clippy::cast_precision_loss, reason = "words of one sentence are few")]
    let share = shared as f32 / sentence.len() as f32;
    share
}

fn scaled_cosine(cosine: f32) -> f32 {
    let (low, high) = COSINE_RANGE;
    ((cosine - low) / (high - low)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
