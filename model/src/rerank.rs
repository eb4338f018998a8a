//! A question and passages to scores: cross-encoders, which read both at once.
//!
//! Slower than comparing vectors, because nothing can be computed before the question is known, and
//! better, because every word of the one is seen beside every word of the other (Nogueira and Cho
//! 2019, "Passage Re-ranking with BERT").

use std::path::Path;
use std::{fmt, iter};

use rayon::prelude::*;
use thiserror::Error;

use crate::LoadError;
use crate::bert::{Bert, Head};
use crate::embed::Precision;
use crate::encode::TextEncoder;
use crate::packed::{Encoded, Packed, batches};
use crate::tokenizer;

/// Fewer tokens than this leave no room for a question and a passage.
const TOKENS_MIN: usize = 16;

/// A BERT or XLM-RoBERTa cross-encoder with its tokenizer.
pub struct Reranker {
    bert: Bert,
    head: Head,
    encoder: TextEncoder,
    tokens_max: usize,
}

/// How well one passage answers the question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairScore {
    /// What the network says; larger is better.
    pub logit: f32,
    /// The logit through the model's own last function: between 0 and 1 for most.
    pub score: f32,
}

/// Scores in the order of the passages, and what they took.
#[derive(Debug, Clone, PartialEq)]
pub struct Reranking {
    /// One for each passage.
    pub scores: Vec<PairScore>,
    /// Tokens that were read, special ones included; the question's once for each passage.
    pub n_tokens: usize,
    /// Pairs of which the end of one text or both was cut.
    pub n_truncated: usize,
}

/// Pairs could not be scored.
#[derive(Debug, Error)]
pub enum RerankError {
    /// The tokenizer failed.
    #[error("could not cut the question with passage {passage_idx} into tokens")]
    Tokenize {
        /// Which of the passages.
        passage_idx: usize,
        /// The tokenizer's reason.
        source: tokenizers::Error,
    },
    /// The weights gave a score that is not a number, which damaged weights do.
    #[error("passage {passage_idx} got no score: verify the reranker's files")]
    NotFinite {
        /// Which of the passages.
        passage_idx: usize,
    },
}

impl fmt::Debug for Reranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reranker").field("tokens_max", &self.tokens_max).finish_non_exhaustive()
    }
}

impl Reranker {
    /// Loads a cross-encoder with one label from a folder with `config.json`, `tokenizer.json` and
    /// weights (`model.safetensors`, one or sharded, or `pytorch_model.bin`).
    ///
    /// Pairs are cut at `tokens_max` tokens, or at the model's positions where those are fewer. With
    /// [`Precision::Int8`] the network multiplies in 8 bits, its head in f32: scores differ a little.
    ///
    /// # Errors
    ///
    /// When a file is missing, damaged or does not fit the others, or the model has no head that
    /// scores pairs.
    pub fn load(dir: &Path, tokens_max: usize, precision: Precision) -> Result<Self, LoadError> {
        let (bert, head) = Bert::load_with_head(dir, precision)?;
        let tokens_max = tokens_max.min(bert.positions_max());
        if tokens_max < TOKENS_MIN {
            let what = format!("pairs of only {tokens_max} tokens");
            return Err(LoadError::Unsupported { path: dir.to_owned(), what });
        }
        let path = dir.join("tokenizer.json");
        let tokenizer = tokenizer::load_for_encoder(&path, tokens_max)?;
        let n_tokens = tokenizer::n_ids(&tokenizer);
        if n_tokens > bert.vocab_size() {
            let n_rows = bert.vocab_size();
            return Err(LoadError::TokenizerMismatch { path: dir.to_owned(), n_tokens, n_rows });
        }
        let encoder = TextEncoder::new(tokenizer, tokens_max)
            .map_err(|error| LoadError::Corrupt { path, reason: error.to_string() })?;
        Ok(Self { bert, head, encoder, tokens_max })
    }

    /// Most tokens of a question and a passage together, special tokens included.
    pub fn tokens_max(&self) -> usize {
        self.tokens_max
    }

    /// Scores passages of any number and length against a question. Where a pair is too long, the
    /// longer text loses its end first.
    ///
    /// # Errors
    ///
    /// When the tokenizer fails or the weights are damaged.
    pub fn score(&self, question: &str, passages: &[&str]) -> Result<Reranking, RerankError> {
        let encoded = self.encode(question, passages)?;
        let batches = batches(&encoded);
        let of_batch = |batch: &Vec<usize>, pass: &(dyn Fn(&Packed) -> Vec<f32> + Sync)| {
            let packed = Packed::of(&encoded, batch);
            let hidden = pass(&packed); // (tokens, hidden)
            self.head.logits(&first_rows(&hidden, &packed.lens))
        };
        let logits: Vec<Vec<f32>> = match &batches[..] {
            // The pool's threads may be busy for long.
            [batch] => vec![of_batch(batch, &|it| self.bert.forward_together(it, || {}))],
            _ => batches
                .par_iter()
                .with_max_len(1)
                .map(|it| of_batch(it, &|it| self.bert.forward(it)))
                .collect(),
        };
        let mut scores = vec![PairScore { logit: 0.0, score: 0.0 }; passages.len()];
        for (batch, logits) in iter::zip(&batches, &logits) {
            for (&passage_idx, &logit) in iter::zip(batch, logits) {
                if !logit.is_finite() {
                    return Err(RerankError::NotFinite { passage_idx });
                }
                scores[passage_idx] = PairScore { logit, score: self.head.score(logit) };
            }
        }
        Ok(Reranking {
            scores,
            n_tokens: encoded.iter().map(|it| it.ids.len()).sum(),
            n_truncated: encoded.iter().filter(|it| it.truncated).count(),
        })
    }

    fn encode(&self, question: &str, passages: &[&str]) -> Result<Vec<Encoded>, RerankError> {
        let failed = |passage_idx| move |source| RerankError::Tokenize { passage_idx, source };
        let question = self.encoder.plain(question).map_err(failed(0))?;
        let one = |(passage_idx, passage): (usize, &&str)| {
            let pair = |it| self.encoder.pair(question.clone(), it);
            self.encoder.plain(passage).and_then(pair).map_err(failed(passage_idx))
        };
        passages.par_iter().enumerate().map(one).collect()
    }
}

/// The hidden vector of each text's first token. hidden: (tokens, dim), result: (texts, dim)
fn first_rows(hidden: &[f32], lens: &[usize]) -> Vec<f32> {
    let dim = hidden.len() / lens.iter().sum::<usize>().max(1);
    let mut res = Vec::with_capacity(lens.len() * dim);
    let mut start = 0;
    for len in lens {
        res.extend_from_slice(&hidden[start * dim..][..dim]);
        start += len;
    }
    res
}
