//! Answers without a language model: the sentences of the passages that bear on the question,
//! quoted.

use std::collections::BTreeSet;

use ingest::document::Language;

use crate::{cite::split, compose::passage_text, retrieve::Passage, words::stems};

/// Sentences quoted at most.
const SENTENCES_MAX: usize = 3;
/// A further sentence is quoted when it scores at least this share of the best one.
const SCORE_SHARE_MIN: f32 = 0.75;
/// As above, for the sentences that a small model is given.
const EVIDENCE_SHARE_MIN: f32 = 0.6;
/// Jaccard similarity from which two sentences count as two versions of one.
const ALIKE_MIN: f32 = 0.6;
/// What a passage of rank r is worth beside the best one: 1 / (1 + r × this).
const RANK_DISCOUNT: f32 = 0.15;

/// A sentence that could be quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its passage, from 0.
    pub passage: usize,
    /// Its place in the passage.
    pub place: usize,
    /// Its words, as the passage has them.
    pub text: String,
    /// The header of its table, when it is a row of one.
    header: Option<String>,
}

/// The sentences of the passages. Table rows count as sentences; headings and rules do not.
#[must_use]
pub fn candidates(passages: &[Passage]) -> Vec<Candidate> {
    let mut res = Vec::new();
    for (i, passage) in passages.iter().enumerate() {
        let text = passage_text(&passage.chunk);
        let mut header: Option<&str> = None;
        let mut in_table = false;
        for (place, range) in split(&text).into_iter().enumerate() {
            let sentence = &text[range];
            let is_row = sentence.starts_with('|') && sentence.ends_with('|');
            if is_row && !in_table {
                header = Some(sentence);
            }
            let is_header = is_row && !in_table;
            in_table = is_row;
            if is_header || is_rule(sentence) || sentence.starts_with('#') {
                continue;
            }
            let header = header.filter(|_| is_row).map(str::to_owned);
            res.push(Candidate { passage: i, place, text: sentence.to_owned(), header });
        }
    }
    res
}

fn is_rule(sentence: &str) -> bool {
    !sentence.chars().any(char::is_alphanumeric)
}

/// Quotes the best candidates, each with the mark of its passage, in reading order. `cosines`
/// compares the question with each candidate, where an embedder speaks the language.
///
/// `None` when no candidate has anything to do with the question.
#[must_use]
pub fn quote(
    question: &str,
    language: Option<Language>,
    candidates: &[Candidate],
    cosines: Option<&[f32]>,
) -> Option<String> {
    let chosen = best(question, language, candidates, cosines, SCORE_SHARE_MIN);
    let lines: Vec<String> =
        chosen.iter().map(|it| format!("{} [{}]", readable(it), it.passage + 1)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The sentences that bear most on the question, in reading order, as passage (from 0) and words:
/// what a small model is given instead of whole passages.
#[must_use]
pub fn evidence(
    question: &str,
    language: Option<Language>,
    candidates: &[Candidate],
    cosines: Option<&[f32]>,
) -> Vec<(usize, String)> {
    let chosen = best(question, language, candidates, cosines, EVIDENCE_SHARE_MIN);
    chosen.iter().map(|it| (it.passage, readable(it))).collect()
}

/// The best candidates, in reading order, each at least `share_min` as good as the best one.
fn best<'a>(
    question: &str,
    language: Option<Language>,
    candidates: &'a [Candidate],
    cosines: Option<&[f32]>,
    share_min: f32,
) -> Vec<&'a Candidate> {
    let asked = stems(question, language);
    let mut scored: Vec<(f32, usize)> = candidates
        .iter()
        .enumerate()
        .map(|(i, it)| (score(&asked, language, it, cosines.map(|it| it[i])), i))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let Some((top, _)) = scored.first().copied() else { return Vec::new() };
    scored.retain(|(score, _)| *score >= top * share_min);
    let mut chosen: Vec<(&Candidate, BTreeSet<String>)> = Vec::new();
    for (_, i) in scored {
        // Nearly the same words with another figure are an older version of the same rule: the
        // better ranked one speaks.
        let own = stems(&candidates[i].text, language);
        if chosen.len() < SENTENCES_MAX && !chosen.iter().any(|(_, it)| alike(it, &own)) {
            chosen.push((&candidates[i], own));
        }
    }
    let mut chosen: Vec<&Candidate> = chosen.into_iter().map(|(it, _)| it).collect();
    chosen.sort_by_key(|it| (it.passage, it.place));
    chosen
}

/// Whether two sentences have nearly the same stems, by their Jaccard similarity.
#[expect(clippy::cast_precision_loss, reason = "the stems of a sentence are few")]
fn alike(a: &BTreeSet<String>, b: &BTreeSet<String>) -> bool {
    let shared = a.intersection(b).count() as f32;
    shared >= ALIKE_MIN * a.union(b).count() as f32
}

/// How well a sentence answers: the share of the question's words that it has, joined with what
/// the embedder says, less for passages of lower rank.
fn score(
    asked: &BTreeSet<String>,
    language: Option<Language>,
    candidate: &Candidate,
    cosine: Option<f32>,
) -> f32 {
    let mut text = candidate.text.clone();
    if let Some(header) = &candidate.header {
        text.push(' ');
        text.push_str(header);
    }
    let own = stems(&text, language);
    #[expect(clippy::cast_precision_loss, reason = "words and ranks are few")]
    let (shared, asked, rank) = (
        asked.intersection(&own).count() as f32,
        asked.len().max(1) as f32,
        candidate.passage as f32,
    );
    let words = shared / asked;
    let meaning = cosine.unwrap_or(words).max(0.0);
    0.5 * (words + meaning) / (1.0 + rank * RANK_DISCOUNT)
}

/// A table row with the names of its columns; other sentences as they are, without list marks.
fn readable(candidate: &Candidate) -> String {
    let Some(header) = &candidate.header else {
        return candidate.text.trim_start_matches(['-', '*', '•', '>', ' ']).to_owned();
    };
    let names = cells(header);
    let pairs: Vec<String> = cells(&candidate.text)
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.is_empty())
        .map(|(i, value)| match names.get(i).filter(|it| !it.is_empty()) {
            Some(name) => format!("{name} : {value}"),
            None => (*value).to_owned(),
        })
        .collect();
    pairs.join(" ; ")
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split(" | ").map(|it| it.trim_matches(['|', ' '])).collect()
}
