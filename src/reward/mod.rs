//! A reward: how much people would prefer an answer to others to the same question.
//!
//! The head is fitted in `tune::reward`; here is what it looks at. An answer is read by the embedder,
//! frozen, and by the citation check; which of two answers was preferred becomes a row of `tune`'s
//! data, and with the head comes a record of how far it can be trusted.

pub mod train;

use std::path::{Path, PathBuf};

use index::{atomic_file, fingerprint::EmbedderPrint};
use model::embed::TextRole;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tune::reward::Head;

use crate::{
    cite::{CheckedSentence, Origin, Verdict},
    embedder::{EmbedError, Embedder},
    engine::dot,
};

/// The file of a reward in its folder.
pub const FILE: &str = "reward.json";

/// What the file holds. Another version is another set of features.
const FORMAT: u32 = 1;

/// Features that are numbers about an answer; those of its meaning follow.
const N_PLAIN: usize = 6;

/// The feature that is the citation check alone.
pub const SUPPORT: usize = 0;

/// A reward model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    format: u32,
    /// What it is called.
    pub name: String,
    /// The embedder that reads answers for it.
    embedder: EmbedderPrint,
    head: Head,
    /// What it was fitted to, and how well it foretells what it was not.
    pub record: Value,
}

/// An answer to judge.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The question.
    pub question: &'a str,
    /// Its text.
    pub answer: &'a str,
    /// Its sentences, checked.
    pub sentences: &'a [CheckedSentence],
    /// Whether it says that the documents do not hold the answer.
    pub refused: bool,
}

/// Why a reward cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// There is none, or it cannot be read.
    #[error("no reward at `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is none of ours.
    #[error("`{}` is no reward of this program: train it again", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It looks at answers through another embedder.
    #[error(
        "the reward `{name}` was trained with the embedder `{of}`, and `{now}` reads answers now: \
         train it again"
    )]
    OtherEmbedder {
        /// The reward.
        name: String,
        /// Its embedder.
        of: String,
        /// The embedder of the settings.
        now: String,
    },
}

impl Reward {
    /// Reads a reward from its folder.
    ///
    /// # Errors
    /// [`RewardError`]
    pub fn load(dir: &Path, embedder: &EmbedderPrint) -> Result<Self, RewardError> {
        let path = dir.join(FILE);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(RewardError::Read { path, source }),
        };
        let res: Option<Self> = serde_json::from_slice(&bytes).ok();
        let n_features = N_PLAIN + 2 * embedder.dim as usize;
        match res.filter(|it| it.format == FORMAT) {
            None => Err(RewardError::NotOurs { path }),
            Some(it) if it.embedder != *embedder => Err(RewardError::OtherEmbedder {
                name: it.name,
                of: it.embedder.id,
                now: embedder.id.clone(),
            }),
            Some(it) if it.head.weights.len() != n_features => Err(RewardError::NotOurs { path }),
            Some(it) => Ok(it),
        }
    }

    /// Writes it into a folder of its own.
    fn save(&self, dir: &Path) -> std::io::Result<()> {
        fs_err::create_dir_all(dir)?;
        atomic_file::write(&dir.join(FILE), &serde_json::to_vec(self)?)
    }

    /// The rewards of answers. Only differences between answers to one question mean anything.
    ///
    /// # Errors
    /// When the embedder fails.
    pub fn rewards(
        &self,
        embedder: &Embedder,
        answers: &[Judged<'_>],
    ) -> Result<Vec<f64>, EmbedError> {
        let features = features(embedder, answers)?;
        Ok(features.iter().map(|it| self.head.reward(it)).collect())
    }
}

/// What the head looks at: six numbers, then the products of question and answer in each dimension,
/// then the answer's vector. Each of the two is about as long as one of the numbers, so that the
/// penalty on weights holds them no dearer than one of them.
///
/// result: (answers, 6 + 2 · dim)
///
/// # Errors
/// When the embedder fails.
pub fn features(embedder: &Embedder, answers: &[Judged<'_>]) -> Result<Vec<Vec<f32>>, EmbedError> {
    let questions: Vec<&str> = answers.iter().map(|it| it.question).collect();
    let texts: Vec<String> = answers.iter().map(words_of).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let questions = embedder.embed(&questions, TextRole::Query)?;
    let embedded = embedder.embed(&texts, TextRole::Passage)?;
    let scale = (embedder.dim() as f32).sqrt();
    let each = answers.iter().zip(questions.rows().zip(embedded.rows()));
    let of = |(it, (question, answer)): (&Judged<'_>, (&[f32], &[f32]))| {
        let mut res = numbers(it, dot(question, answer)).to_vec();
        res.extend(question.iter().zip(answer).map(|(a, b)| scale * a * b));
        res.extend_from_slice(answer);
        res
    };
    Ok(each.map(of).collect())
}

/// What an answer says, without its citation marks.
fn words_of(it: &Judged<'_>) -> String {
    let sentences: Vec<&str> = it.sentences.iter().map(|it| it.text.as_str()).collect();
    if sentences.is_empty() { it.answer.to_owned() } else { sentences.join(" ") }
}

/// How far the sources support the sentences, on average, from 0 to 1: what the citation check alone
/// says of an answer.
#[must_use]
pub fn support(sentences: &[CheckedSentence]) -> f32 {
    sentences.iter().map(|it| it.support).sum::<f32>() / sentences.len().max(1) as f32
}

/// Support, sentences that are supported, sentences that cite, length, refusal, nearness to the
/// question.
fn numbers(it: &Judged<'_>, cosine: f32) -> [f32; N_PLAIN] {
    let n = it.sentences.len().max(1) as f32;
    let share = |is: &dyn Fn(&CheckedSentence) -> bool| {
        it.sentences.iter().filter(|sentence| is(sentence)).count() as f32 / n
    };
    let n_words = it.answer.split_whitespace().count() as f32;
    [
        support(it.sentences),
        share(&|it| it.verdict == Verdict::Supported),
        share(&|it| it.origin == Origin::Cited),
        n_words.ln_1p() / 4.0,
        f32::from(u8::from(it.refused)),
        cosine,
    ]
}
