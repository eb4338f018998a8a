//! Rows of preferences to a reward, and how well it foretells those that it was not fitted to.

use std::{collections::BTreeMap, path::Path};

use index::fingerprint::EmbedderPrint;
use ingest::document::Language;
use model::embed::TextRole;
use serde_json::{Value, json};
use tune::{
    dataset::row::{Body, Row},
    reward::{Foretold, Head, Preference, fit, foretold},
};

use super::{FORMAT, Judged, Reward, SUPPORT, features};
use crate::{
    cite::{Case, CheckedSentence, Cosines, Source},
    compare::stats::sign_flips,
    embedder::{EmbedError, Embedder},
    engine::dot,
    eval::metrics::{Bootstrap, Mean, sums_of_groups},
    prompts::Prompts,
};

/// Preferences embedded together.
const AT_ONCE: usize = 32;

/// Why no reward was trained.
#[derive(Debug, thiserror::Error)]
pub enum RewardTrainError {
    /// There is nothing to learn from.
    #[error("none of the {n_rows} rows says which of two answers is better")]
    NoPreference {
        /// Rows of the file.
        n_rows: usize,
    },
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The folder cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What reads rows.
#[derive(Debug, Clone, Copy)]
pub struct Readers<'a> {
    /// Reads answers.
    pub embedder: &'a Embedder,
    /// What it is.
    pub print: &'a EmbedderPrint,
    /// Know a refusal.
    pub prompts: &'a Prompts,
}

/// How often each way of telling the better answer is right, on preferences that were held out.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Preferences.
    pub n: usize,
    /// Groups of them that were held out together: of one cluster of documents, else of one question.
    /// The intervals and the test are over groups, for preferences of one are no independent votes.
    pub n_groups: usize,
    /// The reward.
    pub reward: Mean,
    /// The citation check alone: the answer whose sentences have more support.
    pub check: Mean,
    /// The reward less the citation check.
    pub difference: Mean,
    /// The probability of a difference at least as large if both were alike.
    pub p: f64,
    /// Mean of −ln of the probability that the reward gave to what was chosen; ln 2 by chance.
    pub loss: f64,
}

/// A reward that was trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// It.
    pub reward: Reward,
    /// On the parts that it was not fitted to, in turn; `None` where all rows are of one group.
    pub held_out: Option<Measured>,
    /// On the rows to look at only, where there are some.
    pub validation: Option<Measured>,
}

/// Fits a reward to preferences. Rows of other kinds are passed over. `on_progress` is told how many
/// of all rows were read.
///
/// # Errors
/// [`RewardTrainError`]
pub fn train(
    name: &str,
    readers: Readers<'_>,
    (rows, validation): (&[Row], &[Row]),
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<Trained, RewardTrainError> {
    let n_all = rows.len() + validation.len();
    let preferences = preferences(readers, rows, &mut |done| on_progress(done, n_all))?;
    if preferences.is_empty() {
        return Err(RewardTrainError::NoPreference { n_rows: rows.len() });
    }
    let (head, margins) = fit(&preferences);
    let held_out = measured(&margins, &preferences);
    let looked_at =
        self::preferences(readers, validation, &mut |done| on_progress(rows.len() + done, n_all))?;
    let validation = measured(&margins_of(&head, &looked_at), &looked_at);
    let record = json!({
        "program": concat!("souffleur ", env!("CARGO_PKG_VERSION")),
        "preferences": preferences.len(),
        "penalty": head.penalty,
        "held_out": held_out.as_ref().map(json),
        "validation": validation.as_ref().map(json),
    });
    let embedder = readers.print.clone();
    let reward = Reward { format: FORMAT, name: name.to_owned(), embedder, head, record };
    Ok(Trained { reward, held_out, validation })
}

impl Trained {
    /// Writes the reward into a folder of its own.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn save(&self, dir: &Path) -> std::io::Result<()> {
        self.reward.save(dir)
    }
}

/// What was measured, as data.
#[must_use]
pub fn json(it: &Measured) -> Value {
    let mean = |it: &Mean| json!({ "value": it.value, "interval": [it.low, it.high] });
    json!({
        "n": it.n,
        "groups": it.n_groups,
        "reward": mean(&it.reward),
        "check": mean(&it.check),
        "difference": mean(&it.difference),
        "p": it.p,
        "loss": it.loss,
    })
}

fn margins_of(head: &Head, preferences: &[Preference]) -> Vec<f64> {
    let margin = |it: &Preference| head.reward(&it.chosen) - head.reward(&it.rejected);
    preferences.iter().map(margin).collect()
}

/// margins: of the reward, as many as preferences, or none
fn measured(margins: &[f64], preferences: &[Preference]) -> Option<Measured> {
    let right = |margin: &f64| foretold(&[*margin]).accuracy;
    let of_check =
        |it: &Preference| f64::from(it.chosen[SUPPORT]) - f64::from(it.rejected[SUPPORT]);
    let reward: Vec<f64> = margins.iter().map(right).collect();
    let check: Vec<f64> = preferences.iter().map(|it| right(&of_check(it))).collect();
    if reward.is_empty() {
        return None;
    }
    let Foretold { loss, .. } = foretold(margins);
    let groups: Vec<usize> = preferences.iter().map(|it| it.group).collect();
    let differences: Vec<f64> = reward.iter().zip(&check).map(|(a, b)| a - b).collect();
    let mean = |values: &[f64]| Bootstrap::default().mean_of_groups(values, &groups);
    let sums = sums_of_groups(&differences, &groups);
    Some(Measured {
        n: reward.len(),
        n_groups: sums.len(),
        reward: mean(&reward)?,
        check: mean(&check)?,
        difference: mean(&differences)?,
        // The number of preferences stays, so that the sum is as good as the mean.
        p: sign_flips(&sums),
        loss,
    })
}

/// The preferences among rows. Those of one cluster of documents are of one group; where none is
/// known, those of one question are.
fn preferences(
    readers: Readers<'_>,
    rows: &[Row],
    on_progress: &mut dyn FnMut(usize),
) -> Result<Vec<Preference>, RewardTrainError> {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    let mut res = Vec::new();
    for (at, rows) in rows.chunks(AT_ONCE).enumerate() {
        let mut read = Vec::new();
        for row in rows {
            if let Body::Preference { chosen, rejected, .. } = &row.body {
                read.push((
                    row,
                    [read_answer(readers, row, chosen)?, read_answer(readers, row, rejected)?],
                ));
            }
        }
        let judged: Vec<Judged<'_>> = read
            .iter()
            .flat_map(|(row, answers)| answers.iter().map(|it| it.judged(question_of(row))))
            .collect();
        let mut features = features(readers.embedder, &judged)?.into_iter();
        for (row, _) in &read {
            let n_groups = groups.len();
            let group = *groups.entry(group_of(row)).or_insert(n_groups);
            let (Some(chosen), Some(rejected)) = (features.next(), features.next()) else { break };
            res.push(Preference { chosen, rejected, group });
        }
        on_progress(at * AT_ONCE + rows.len());
    }
    Ok(res)
}

fn group_of(row: &Row) -> String {
    match row.meta.cluster {
        Some(cluster) => format!("cluster {cluster}"),
        None => question_of(row).to_lowercase(),
    }
}

fn question_of(row: &Row) -> &str {
    row.question().unwrap_or_default()
}

/// An answer of a row, checked against the passages that the row says were shown.
struct Answered<'a> {
    text: &'a str,
    sentences: Vec<CheckedSentence>,
    refused: bool,
}

impl Answered<'_> {
    fn judged<'a>(&'a self, question: &'a str) -> Judged<'a> {
        let Self { text, sentences, refused } = self;
        Judged { question, answer: text, sentences, refused: *refused }
    }
}

fn read_answer<'a>(
    readers: Readers<'_>,
    row: &Row,
    text: &'a str,
) -> Result<Answered<'a>, RewardTrainError> {
    let language = row.language();
    let shown = row.meta.context.iter();
    let sources: Vec<Source<'_>> = shown
        .map(|it| Source {
            heading: String::new(),
            text: &it.text,
            language: ingest::language::detect(&it.text),
        })
        .collect();
    let case = Case::new(text, &sources);
    let (sentences, units) = (case.sentences(), case.units());
    let cosines: Option<Cosines> = match sentences.is_empty() || units.is_empty() {
        true => None,
        false => {
            let texts: Vec<&str> = sentences.iter().chain(&units).copied().collect();
            let embedded = readers.embedder.embed(&texts, TextRole::Passage)?;
            let all: Vec<&[f32]> = embedded.rows().collect();
            let (mine, units) = all.split_at(sentences.len());
            Some(mine.iter().map(|a| units.iter().map(|b| dot(a, b)).collect()).collect())
        }
    };
    let sentences = case.check(language, cosines.as_ref());
    let refused = readers.prompts.is_refusal(language.unwrap_or(Language::English), text);
    Ok(Answered { text, sentences, refused })
}
