//! Answers without a language model: the sentences of the passages that bear on the question,
//! quoted.

use crate::{
    asked::{Asked, Figures, Support},
    retrieve::Passage,
    units::Unit,
};

/// Sentences quoted at most, the items of a list that one announces not counted.
const SENTENCES_MAX: usize = 3;
/// A further sentence is looked at when it scores at least this share of the best one.
const SCORE_SHARE_MIN: f32 = 0.6;
/// Sentences that a small model is given at most: a third one distracts it.
const EVIDENCE_MAX: usize = 2;
/// A further sentence is quoted when it brings this share of the question's weight, which the
/// sentences before it do not have.
const NEWS_MIN: f32 = 0.12;
/// Or when it is nearly as good as the best one.
const EQUAL_SHARE: f32 = 0.94;
/// What a passage of rank r is worth beside the best one: 1 / (1 + r × this).
const RANK_DISCOUNT: f32 = 0.1;
/// What a sentence without the question's code is worth, where another one has it.
const OTHER_CODE_SHARE: f32 = 0.2;
/// What a sentence without the question's figures is worth, where another one has them.
const OTHER_FIGURE_SHARE: f32 = 0.6;
/// What a sentence is worth whose range leaves out the question's amount.
const OUT_OF_RANGE_SHARE: f32 = 0.3;
/// What a row gains whose first cell is what the question asks about.
const KEY_GAIN: f32 = 0.3;
/// Items of a list that are quoted after the sentence that announces it.
const ITEMS_MAX: usize = 6;

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
    /// How it bears on the question.
    support: Support,
    /// What the question's codes and figures make of it, from 0 to 1.
    decided: f32,
}

/// The sentences of passages that were read for the question. Table rows count as sentences;
/// headings and rules do not.
#[must_use]
pub fn candidates(asked: &Asked, passages: &[Passage]) -> Vec<Candidate> {
    let mut res = Vec::new();
    let mut findings = Vec::new();
    for (i, passage) in passages.iter().enumerate() {
        let reading = &passage.reading;
        let text = &reading.text;
        for (place, (unit, support)) in reading.units.iter().zip(&reading.supports).enumerate() {
            findings.push(Finding::of(asked, unit, text));
            res.push(Candidate {
                passage: i,
                place,
                text: text[unit.span.clone()].to_owned(),
                header: unit.header.clone().map(|it| text[it].to_owned()),
                support: support.clone(),
                decided: 1.0,
            });
        }
    }
    for (candidate, decided) in res.iter_mut().zip(decide(&findings)) {
        candidate.decided = decided;
    }
    res
}

/// What a sentence has of the question's codes and figures.
struct Finding {
    /// 2 for all codes in the sentence, 1 for with its headings, 0 for less.
    codes: u8,
    figures: Figures,
}

impl Finding {
    fn of(asked: &Asked, unit: &Unit, text: &str) -> Self {
        let own = unit.with_header(text);
        let codes = match () {
            () if asked.claims.codes.is_empty() => 0,
            () if asked.has_codes(&own) => 2,
            () => u8::from(asked.has_codes(&format!("{}\n{own}", unit.heading))),
        };
        Self { codes, figures: asked.figures(&own) }
    }
}

/// What the question's codes and figures make of each sentence, from 0 to 1.
fn decide(findings: &[Finding]) -> Vec<f32> {
    let codes_max = findings.iter().map(|it| it.codes).max().unwrap_or(0);
    let figures = |it: &Finding| match it.figures {
        Figures::InRange { low } => Some(low),
        Figures::Stated | Figures::OutOfRange | Figures::Other => None,
    };
    let low_max = findings.iter().filter_map(figures).reduce(f64::max);
    let is_stated =
        findings.iter().any(|it| matches!(it.figures, Figures::Stated | Figures::InRange { .. }));
    let one = |it: &Finding| {
        let codes = if it.codes < codes_max { OTHER_CODE_SHARE } else { 1.0 };
        let figures = match it.figures {
            Figures::InRange { low } if low_max.is_some_and(|max| low < max) => OUT_OF_RANGE_SHARE,
            Figures::OutOfRange => OUT_OF_RANGE_SHARE,
            Figures::Other if is_stated => OTHER_FIGURE_SHARE,
            Figures::InRange { .. } | Figures::Stated | Figures::Other => 1.0,
        };
        codes * figures
    };
    findings.iter().map(one).collect()
}

/// Quotes the best candidates, each with the mark of its passage, in reading order. `cosines`
/// compares the question with each candidate, where an embedder speaks the language.
///
/// `None` when no candidate has anything to do with the question.
#[must_use]
pub fn quote(asked: &Asked, candidates: &[Candidate], cosines: Option<&[f32]>) -> Option<String> {
    let chosen = needed(asked, &ranked(candidates, cosines), SENTENCES_MAX);
    let chosen = with_items(candidates, chosen);
    let lines: Vec<String> =
        chosen.iter().map(|it| format!("{} [{}]", readable(it), it.passage + 1)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The sentences that bear most on the question, in reading order, as passage (from 0) and words:
/// what a small model is given instead of whole passages.
#[must_use]
pub fn evidence(
    asked: &Asked,
    candidates: &[Candidate],
    cosines: Option<&[f32]>,
) -> Vec<(usize, String)> {
    let chosen = needed(asked, &ranked(candidates, cosines), EVIDENCE_MAX);
    chosen.iter().map(|it| (it.passage, readable(it))).collect()
}

/// Candidates with their scores, best first, each at least [`SCORE_SHARE_MIN`] as good as the
/// best one.
fn ranked<'a>(candidates: &'a [Candidate], cosines: Option<&[f32]>) -> Vec<(&'a Candidate, f32)> {
    let mut res: Vec<(&Candidate, f32)> = candidates
        .iter()
        .enumerate()
        .map(|(i, it)| (it, score(it, cosines.map(|it| it[i]))))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    // The sort is stable: of equals, the first in reading order.
    res.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = res.first().map_or(0.0, |it| it.1);
    res.retain(|(_, score)| *score >= top * SCORE_SHARE_MIN);
    res
}

/// The best candidate, and those that answer a part of the question that it leaves open: `n_max` at
/// most, in reading order.
fn needed<'a>(asked: &Asked, ranked: &[(&'a Candidate, f32)], n_max: usize) -> Vec<&'a Candidate> {
    let mut chosen: Vec<&Candidate> = Vec::new();
    let top = ranked.first().map_or(0.0, |it| it.1);
    for (candidate, score) in ranked {
        let known: Vec<&Support> = chosen.iter().map(|it| &it.support).collect();
        let is_new =
            *score >= top * EQUAL_SHARE || asked.adds(&candidate.support, &known) >= NEWS_MIN;
        let repeats = chosen.iter().any(|it| it.text == candidate.text);
        if chosen.is_empty() || is_new && !repeats {
            chosen.push(candidate);
        }
        if chosen.len() == n_max {
            break;
        }
    }
    in_reading_order(chosen)
}

/// The chosen sentences, with the list that one of them announces.
fn with_items<'a>(all: &'a [Candidate], chosen: Vec<&'a Candidate>) -> Vec<&'a Candidate> {
    let mut res: Vec<&Candidate> = Vec::new();
    for it in chosen {
        if res.contains(&it) {
            continue;
        }
        res.push(it);
        if it.text.ends_with(':') {
            let after =
                all.iter().filter(|item| item.passage == it.passage && item.place > it.place);
            res.extend(after.take_while(|it| is_item(&it.text)).take(ITEMS_MAX));
        }
    }
    res
}

/// Whether a line is an item of a list.
fn is_item(text: &str) -> bool {
    let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.starts_with(['-', '*', '•'])
        || after_number.len() < text.len() && after_number.starts_with(['.', ')'])
}

fn in_reading_order(mut chosen: Vec<&Candidate>) -> Vec<&Candidate> {
    chosen.sort_by_key(|it| (it.passage, it.place));
    chosen
}

/// How well a sentence answers: how it bears on the question, joined with what the embedder says,
/// less for passages of lower rank and where codes and figures decide against it.
fn score(candidate: &Candidate, cosine: Option<f32>) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "ranks are few")]
    let rank = candidate.passage as f32;
    let words = candidate.support.score;
    let meaning = cosine.unwrap_or(words).max(0.0);
    let decided = candidate.decided * (1.0 + KEY_GAIN * candidate.support.key);
    decided * 0.5 * (words + meaning) / (1.0 + rank * RANK_DISCOUNT)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asked::tests::asked,
        samples::{passage, read},
    };

    #[track_caller]
    fn check(question: &str, texts: &[&str], expected: &[&str]) {
        let asked = asked(question);
        let passages: Vec<Passage> =
            texts.iter().enumerate().map(|(i, it)| passage(i as i64 + 1, "Guide", it)).collect();
        let passages = read(&asked, passages);
        let quoted = quote(&asked, &candidates(&asked, &passages), None).unwrap_or_default();
        assert_eq!(quoted.lines().collect::<Vec<_>>(), expected, "{question}");
    }

    #[test]
    fn the_code_that_is_asked_for_decides() {
        let table = "| Référence | Prix |\n|---|---|\n| MX-110 | 120 € |\n| MX-220 | 210 € |\n\
                     | MX-330 | 389 € |";
        check(
            "Quel est le prix de la référence MX-330 ?",
            &[table],
            &["Référence : MX-330 ; Prix : 389 € [1]"],
        );
    }

    #[test]
    fn the_number_that_is_asked_for_decides() {
        let table = "| Échelon | Indice |\n|---|---|\n| 23 | 400 |\n| 24 | 410 |\n| 42 | 640 |";
        check("Quel indice pour l'échelon 42 ?", &[table], &["Échelon : 42 ; Indice : 640 [1]"]);
    }

    #[test]
    fn the_range_that_holds_the_amount_decides() {
        let text = "Les dépenses supérieures à 5 000 € sont validées par la directrice. Celles \
                    qui dépassent 50 000 € sont validées par le comité de direction.";
        check(
            "Qui valide une dépense de 60 000 € ?",
            &[text],
            &["Celles qui dépassent 50 000 € sont validées par le comité de direction. [1]"],
        );
        check(
            "Qui valide une dépense de 6 000 € ?",
            &[text],
            &["Les dépenses supérieures à 5 000 € sont validées par la directrice. [1]"],
        );
    }

    #[test]
    fn the_section_that_is_asked_for_decides() {
        let text = "## Achats\n\nLe seuil d'alerte est de 150,5.\n\n## Audits\n\n\
                    Le seuil d'alerte est de 250,5.";
        check(
            "Quel est le seuil d'alerte des audits ?",
            &[text],
            &["Le seuil d'alerte est de 250,5. [1]"],
        );
    }

    #[test]
    fn a_second_sentence_is_quoted_when_it_brings_something() {
        check(
            "Quel est le prix du menu et à quelle heure ouvre la cantine ?",
            &["Le menu coûte 8 €, prix public. La cantine ouvre à 11 h 30. Le prix change chaque \
               année."],
            &["Le menu coûte 8 €, prix public. [1]", "La cantine ouvre à 11 h 30. [1]"],
        );
    }

    #[test]
    fn a_list_comes_with_the_sentence_that_announces_it() {
        check(
            "Quels justificatifs joindre à la demande ?",
            &["Joignez ces justificatifs à la demande :\n- la facture\n- le devis\n\nMerci."],
            &["Joignez ces justificatifs à la demande : [1]", "la facture [1]", "le devis [1]"],
        );
    }
}
