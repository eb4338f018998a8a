//! What a model can do that it is not trained for here: measured before and after, so that
//! forgetting shows.
//!
//! `tune/data/general.jsonl` holds texts about everyday things and questions that have nothing to do
//! with any company, in English and French. Of the texts the perplexity counts; a question counts as
//! answered where the right answer is likelier than three wrong ones, byte by byte.

use std::ops::ControlFlow;

use model::prompt::ModelText;
use model::trainable::{Target, TokenBatch, TrainableDecoder, With};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::TuneError;
use super::order::groups;

const GENERAL: &str = include_str!("../../data/general.jsonl");

/// How much higher the perplexity may be afterwards.
const PERPLEXITY_RATIO_MAX: f64 = 1.1;
/// The share of the questions that may be lost.
const LOST_SHARE_MAX: f64 = 0.1;

/// What a model that knows nothing at all is said to have.
const PERPLEXITY_MAX: f64 = 1e9;

/// How well a model does on the sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ability {
    /// On all of it.
    pub all: Score,
    /// On its English half.
    pub en: Score,
    /// On its French half.
    pub fr: Score,
}

/// How well a model does on some texts and questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// `e` to the mean of `-ln p` of the texts' tokens.
    pub perplexity: f64,
    /// Questions whose right answer is the likeliest.
    pub n_right: usize,
    /// Of how many.
    pub n_questions: usize,
}

/// How well a model does before training and after.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The base.
    pub before: Ability,
    /// What was trained.
    pub after: Ability,
}

impl Change {
    /// As records and reports tell it.
    pub fn json(&self) -> Value {
        json!({ "before": self.before, "after": self.after, "dropped": self.is_drop() })
    }

    /// Whether so much was lost that it should be told: a tenth of the perplexity or of the
    /// questions, in all or in one language.
    pub fn is_drop(&self) -> bool {
        let Self { before, after } = self;
        [(before.all, after.all), (before.en, after.en), (before.fr, after.fr)].iter().any(
            |(before, after)| {
                let n_lost = before.n_right as f64 - after.n_right as f64;
                // Not less than: what is no number any more is lost, too.
                let keeps = after.perplexity <= before.perplexity * PERPLEXITY_RATIO_MAX;
                !keeps || n_lost > LOST_SHARE_MAX * before.n_questions as f64
            },
        )
    }
}

/// A line of the sample.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Text { language: Language, text: String },
    Question { language: Language, question: String, answer: String, others: [String; 3] },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Language {
    En,
    Fr,
}

impl Language {
    /// How a question is asked of a model that goes on with a text.
    fn asked(self, question: &str) -> String {
        match self {
            Self::En => format!("Question: {question}\nAnswer:"),
            Self::Fr => format!("Question : {question}\nRéponse :"),
        }
    }
}

/// A sequence whose last tokens are looked at.
struct Sequence {
    language: Language,
    ids: Vec<u32>,
    /// The first token that counts; never the first of all.
    first: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// An answer to a question, by its number; the right one comes first.
    Answer {
        question: usize,
        n_bytes: usize,
    },
}

/// Looks at what a decoder makes of the sample now. `flow` is asked before each group of sequences;
/// `None` where it says to stop.
pub(super) fn measure(
    decoder: &TrainableDecoder,
    text: &ModelText,
    tokens_at_once: usize,
    flow: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Ability>, TuneError> {
    let sequences = sequences(text)?;
    let mut sums = vec![0.0; sequences.len()];
    let n_tokens = |it: usize| sequences[it].ids.len();
    for group in groups((0..sequences.len()).collect(), n_tokens, tokens_at_once) {
        if flow().is_break() {
            return Ok(None);
        }
        let ids: Vec<&[u32]> = group.iter().map(|&it| sequences[it].ids.as_slice()).collect();
        let batch = TokenBatch { sequences: &ids, dropout_seed: None };
        let (mut targets, mut row) = (Vec::new(), 0);
        for &idx in &group {
            let Sequence { ids, first, .. } = &sequences[idx];
            let of_token = |at: usize| Target { row: row + at - 1, id: ids[at], weight: 1.0 };
            targets.extend((*first..ids.len()).map(of_token));
            row += ids.len();
        }
        let mut log_probs = decoder.log_probs(&batch, &targets, With::Adapter)?.into_iter();
        for &idx in &group {
            let n = sequences[idx].ids.len() - sequences[idx].first;
            sums[idx] = log_probs.by_ref().take(n).map(f64::from).sum();
        }
    }
    let of = |language: Option<Language>| score(&sequences, &sums, language);
    Ok(Some(Ability { all: of(None), en: of(Some(Language::En)), fr: of(Some(Language::Fr)) }))
}

fn score(sequences: &[Sequence], sums: &[f64], language: Option<Language>) -> Score {
    let (mut of_texts, mut n_tokens) = (0.0, 0usize);
    // By question: the score of the right answer, and the best of the others.
    let mut questions: Vec<(usize, f64, f64)> = Vec::new();
    for (sequence, &sum) in sequences.iter().zip(sums) {
        if language.is_some_and(|it| it != sequence.language) {
            continue;
        }
        match sequence.kind {
            Kind::Text => {
                of_texts -= sum;
                n_tokens += sequence.ids.len() - sequence.first;
            }
            Kind::Answer { question, n_bytes } => {
                let score = sum / n_bytes as f64;
                match questions.last_mut().filter(|it| it.0 == question) {
                    Some((_, _, best)) => *best = best.max(score),
                    None => questions.push((question, score, f64::NEG_INFINITY)),
                }
            }
        }
    }
    // In so many digits that a checkpoint gives back the same number; what is none is the worst.
    let perplexity = (of_texts / n_tokens.max(1) as f64).exp().min(PERPLEXITY_MAX);
    Score {
        perplexity: (perplexity * 1e4).round() / 1e4,
        n_right: questions.iter().filter(|(_, right, others)| right > others).count(),
        n_questions: questions.len(),
    }
}

/// The sample in tokens. Texts are cut where the context ends.
fn sequences(text: &ModelText) -> Result<Vec<Sequence>, TuneError> {
    let encode = |text_of: &str| {
        let ids = text.encoder.encode_text(text_of);
        ids.map_err(|source| TuneError::Ability { source: Box::new(source) })
    };
    let mut res = Vec::new();
    for (number, line) in GENERAL.lines().enumerate() {
        match serde_json::from_str(line).expect("the sample is compiled in, and tested") {
            Item::Text { language, text: content } => {
                let ids = encode(&content)?;
                let blocks = ids.chunks(text.encoder.context_length()).filter(|it| it.len() > 1);
                let sequence = |ids: &[u32]| Sequence {
                    language,
                    ids: ids.to_vec(),
                    first: 1,
                    kind: Kind::Text,
                };
                res.extend(blocks.map(sequence));
            }
            Item::Question { language, question, answer, others } => {
                let prompt = encode(&language.asked(&question))?;
                for answer in std::iter::once(&answer).chain(&others) {
                    let mut ids = prompt.clone();
                    ids.extend(encode(&format!(" {answer}"))?);
                    let kind = Kind::Answer { question: number, n_bytes: answer.len() };
                    res.push(Sequence { language, ids, first: prompt.len(), kind });
                }
            }
        }
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score_of(perplexity: f64, n_right: usize) -> Score {
        Score { perplexity, n_right, n_questions: 40 }
    }

    fn ability(all: Score, fr: Score) -> Ability {
        Ability { all, en: score_of(10.0, 30), fr }
    }

    #[test]
    fn the_sample_is_sound() {
        let mut n = [[0; 2]; 2];
        for line in GENERAL.lines() {
            match serde_json::from_str(line).unwrap() {
                Item::Text { language, text } => {
                    assert!(text.len() > 500, "{text}");
                    n[usize::from(language == Language::Fr)][0] += 1;
                }
                Item::Question { language, question, answer, others } => {
                    assert!(question.ends_with('?'), "{question}");
                    assert!(!others.contains(&answer), "{question}");
                    n[usize::from(language == Language::Fr)][1] += 1;
                }
            }
        }
        assert_eq!(n, [[2, 20], [2, 20]], "as much of both languages");
    }

    #[test]
    fn a_loss_is_told_in_all_and_in_one_language() {
        let before = ability(score_of(20.0, 30), score_of(30.0, 12));
        let drops = |after: Ability| Change { before, after }.is_drop();
        assert!(!drops(before));
        assert!(!drops(ability(score_of(21.9, 26), score_of(32.9, 12))));
        assert!(drops(ability(score_of(22.1, 30), score_of(30.0, 12))));
        assert!(drops(ability(score_of(20.0, 25), score_of(30.0, 12))));
        assert!(drops(ability(score_of(20.0, 30), score_of(33.1, 12))));
        assert!(drops(ability(score_of(f64::NAN, 30), score_of(30.0, 12))));
    }

    #[test]
    fn a_question_is_answered_where_the_right_answer_is_the_likeliest_by_its_length() {
        let answer = |question, n_bytes| Sequence {
            language: Language::En,
            ids: vec![1, 2],
            first: 1,
            kind: Kind::Answer { question, n_bytes },
        };
        let text = Sequence { kind: Kind::Text, ..answer(0, 0) };
        let sequences = [text, answer(1, 4), answer(1, 2), answer(2, 4), answer(2, 2)];
        let score = score(&sequences, &[-2.0, -4.0, -3.0, -4.0, -1.0], None);
        assert_eq!((score.n_right, score.n_questions), (1, 2));
        assert_eq!(score.perplexity, 7.3891);
        let broken = super::score(&sequences, &[f64::NAN; 5], None);
        assert_eq!((broken.perplexity, broken.n_right), (PERPLEXITY_MAX, 0));
        assert_eq!(super::score(&sequences, &[0.0; 5], Some(Language::Fr)).n_questions, 0);
    }
}
