//! Texts to unit vectors.

use std::path::Path;
use std::{fmt, iter};

use rayon::prelude::*;
use thiserror::Error;
use tokenizers::Tokenizer;

use crate::LoadError;
use crate::bert::{Bert, Packed};
use crate::count::TokenCounter;
use crate::tokenizer;

/// Tokens computed together by one thread: enough to use the weights well once they are in the
/// cache, few enough that the activations stay there beside them.
const BATCH_TOKENS: usize = 384;

/// How one vector is made of a text's token vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The vector of the first token.
    Cls,
}

/// What an embedder was trained with, from the catalogue: its files do not say all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderSpec {
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Put before every query, such as `query: `.
    pub query_prefix: String,
    /// Put before every passage, such as `passage: `.
    pub passage_prefix: String,
    /// Longer texts are cut; counts the prefix and the special tokens.
    pub tokens_max: usize,
}

/// What a text is used for; some models are trained to embed the two differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRole {
    /// A question.
    Query,
    /// A text that may answer one.
    Passage,
}

/// An embedding model.
#[derive(Debug)]
pub enum Embedder {
    /// A BERT or XLM-RoBERTa encoder.
    Bert(Box<BertEmbedder>),
    /// For tests: needs no weights.
    Hash(HashEmbedder),
}

/// One unit vector per text, in the order of the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// (texts, dim)
    data: Vec<f32>,
    dim: usize,
    /// Tokens that were read, special ones included.
    pub n_tokens: usize,
    /// Texts of which the end was cut.
    pub n_truncated: usize,
}

/// Texts could not be embedded.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The tokenizer failed.
    #[error("could not cut text {text_idx} into tokens")]
    Tokenize {
        /// Which of the texts.
        text_idx: usize,
        /// The tokenizer's reason.
        source: tokenizers::Error,
    },
    /// The weights gave a vector that has no direction, which damaged weights do.
    #[error("text {text_idx} got a vector without direction: verify the embedder's files")]
    NotFinite {
        /// Which of the texts.
        text_idx: usize,
    },
}

impl Embedder {
    /// Loads an encoder from a folder with `config.json`, `model.safetensors`, `tokenizer.json`.
    pub fn load(dir: &Path, spec: &EmbedderSpec) -> Result<Self, LoadError> {
        Ok(Self::Bert(Box::new(BertEmbedder::load(dir, spec)?)))
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        match self {
            Self::Bert(it) => it.bert.hidden(),
            Self::Hash(it) => it.dim,
        }
    }

    /// Most tokens of one text, prefix and special tokens included.
    pub fn tokens_max(&self) -> usize {
        match self {
            Self::Bert(it) => it.spec.tokens_max,
            Self::Hash(it) => it.tokens_max,
        }
    }

    /// Tokens of a text, without prefix and special tokens. Cheap for words seen before.
    pub fn count_tokens(&self, text: &str) -> usize {
        match self {
            Self::Bert(it) => it.counter.count(&it.tokenizer, text),
            Self::Hash(_) => text.split_whitespace().count(),
        }
    }

    /// Embeds texts of any number and length; the slowest part of ingestion.
    pub fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, EmbedError> {
        match self {
            Self::Bert(it) => it.embed(texts, role),
            Self::Hash(it) => Ok(it.embed(texts)),
        }
    }
}

impl Embeddings {
    /// Vectors that were made elsewhere, brought to length one. `n_tokens` and `n_truncated` are
    /// what is known of their texts.
    ///
    /// # Errors
    /// When a vector has no direction, or not `dim` components.
    pub fn from_rows(
        rows: Vec<Vec<f32>>,
        dim: usize,
        n_tokens: usize,
        n_truncated: usize,
    ) -> Result<Self, EmbedError> {
        let mut data = Vec::with_capacity(rows.len() * dim);
        for (text_idx, mut row) in rows.into_iter().enumerate() {
            if row.len() != dim || !normalise(&mut row) {
                return Err(EmbedError::NotFinite { text_idx });
            }
            data.extend(row);
        }
        Ok(Self { data, dim, n_tokens, n_truncated })
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether there was no text.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vector of text `idx`, of length one.
    ///
    /// # Panics
    ///
    /// When there is no such text.
    pub fn row(&self, idx: usize) -> &[f32] {
        &self.data[idx * self.dim..][..self.dim]
    }

    /// All vectors in the order of the texts.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.dim)
    }
}

/// A BERT or XLM-RoBERTa encoder with its tokenizer.
pub struct BertEmbedder {
    bert: Bert,
    /// Adds the special tokens and cuts at `tokens_max`.
    tokenizer: Tokenizer,
    counter: TokenCounter,
    spec: EmbedderSpec,
}

impl fmt::Debug for BertEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BertEmbedder").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl BertEmbedder {
    fn load(dir: &Path, spec: &EmbedderSpec) -> Result<Self, LoadError> {
        let bert = Bert::load(dir)?;
        let path = dir.join("tokenizer.json");
        let tokenizer = tokenizer::load_for_encoder(&path, spec.tokens_max)?;
        let n_tokens = tokenizer::n_ids(&tokenizer);
        if n_tokens > bert.vocab_size() {
            let n_rows = bert.vocab_size();
            return Err(LoadError::TokenizerMismatch { path: dir.to_owned(), n_tokens, n_rows });
        }
        if spec.tokens_max > bert.positions_max() {
            let what = format!(
                "texts of {} tokens, where it has {} positions",
                spec.tokens_max,
                bert.positions_max()
            );
            return Err(LoadError::Unsupported { path: dir.to_owned(), what });
        }
        let counter = TokenCounter::new(&tokenizer);
        Ok(Self { bert, tokenizer, counter, spec: spec.clone() })
    }

    fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, EmbedError> {
        let encoded = self.encode(texts, role)?;
        let n_tokens = encoded.iter().map(|it| it.ids.len()).sum();
        let n_truncated = encoded.iter().filter(|it| it.truncated).count();

        let batches = batches(&encoded);
        let pooled: Vec<Vec<f32>> = batches
            .par_iter()
            .map(|batch| {
                let mut packed = Packed::default();
                for &text_idx in batch {
                    packed.ids.extend(&encoded[text_idx].ids);
                    packed.lens.push(encoded[text_idx].ids.len());
                }
                let hidden = self.bert.forward(&packed); // (tokens, dim)
                pool(&hidden, &packed.lens, self.spec.pooling)
            })
            .collect();

        let dim = self.bert.hidden();
        let mut data = vec![0.0; texts.len() * dim];
        for (batch, pooled) in iter::zip(&batches, &pooled) {
            for (&text_idx, vector) in iter::zip(batch, pooled.chunks_exact(dim)) {
                let out = &mut data[text_idx * dim..][..dim];
                out.copy_from_slice(vector);
                if !normalise(out) {
                    return Err(EmbedError::NotFinite { text_idx });
                }
            }
        }
        Ok(Embeddings { data, dim, n_tokens, n_truncated })
    }

    fn encode(&self, texts: &[&str], role: TextRole) -> Result<Vec<Encoded>, EmbedError> {
        let prefix = match role {
            TextRole::Query => &self.spec.query_prefix,
            TextRole::Passage => &self.spec.passage_prefix,
        };
        texts
            .par_iter()
            .enumerate()
            .map(|(text_idx, text)| {
                let encoding = if prefix.is_empty() {
                    self.tokenizer.encode_fast(*text, true)
                } else {
                    self.tokenizer.encode_fast(format!("{prefix}{text}"), true)
                };
                let encoding =
                    encoding.map_err(|source| EmbedError::Tokenize { text_idx, source })?;
                let truncated = !encoding.get_overflowing().is_empty();
                Ok(Encoded { ids: encoding.get_ids().to_vec(), truncated })
            })
            .collect()
    }
}

/// A text as token ids, special ones included.
struct Encoded {
    ids: Vec<u32>,
    truncated: bool,
}

/// Groups texts of similar length, the long ones first, so that the last batches to finish are the
/// short ones.
fn batches(encoded: &[Encoded]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..encoded.len()).collect();
    order.sort_by_key(|&idx| std::cmp::Reverse(encoded[idx].ids.len()));
    let mut res: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for idx in order {
        let len = encoded[idx].ids.len();
        match res.last_mut() {
            Some(batch) if len <= room => {
                batch.push(idx);
                room -= len;
            }
            _ => {
                res.push(vec![idx]);
                room = BATCH_TOKENS.saturating_sub(len);
            }
        }
    }
    res
}

/// hidden: (tokens, dim), result: (texts, dim)
fn pool(hidden: &[f32], lens: &[usize], pooling: Pooling) -> Vec<f32> {
    let dim = hidden.len() / lens.iter().sum::<usize>().max(1);
    let mut res = vec![0.0; lens.len() * dim];
    let mut start = 0;
    for (&len, out) in lens.iter().zip(res.chunks_exact_mut(dim.max(1))) {
        // The mean's divisor is left out, as only the direction is kept.
        let n_pooled = match pooling {
            Pooling::Mean => len,
            Pooling::Cls => len.min(1),
        };
        for token in hidden[start * dim..].chunks_exact(dim).take(n_pooled) {
            for (out, x) in out.iter_mut().zip(token) {
                *out += x;
            }
        }
        start += len;
    }
    res
}

/// Scales a vector to length one; false when it has no direction.
fn normalise(vector: &mut [f32]) -> bool {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if !norm.is_normal() {
        return false;
    }
    for x in vector {
        *x = (f64::from(*x) / norm) as f32;
    }
    true
}

/// Embeds a text as the counts of its words, each hashed to a place and a sign (Weinberger et al.
/// 2009): texts that share words are near each other. Deterministic and without files, for tests.
#[derive(Debug, Clone)]
pub struct HashEmbedder {
    dim: usize,
    tokens_max: usize,
}

impl HashEmbedder {
    /// An embedder of vectors of length `dim`, which must not be zero.
    pub fn new(dim: usize) -> Self {
        assert!(dim > 0, "a vector has a length");
        Self { dim, tokens_max: 256 }
    }

    fn embed(&self, texts: &[&str]) -> Embeddings {
        let mut data = vec![0.0; texts.len() * self.dim];
        let mut n_tokens = 0;
        let mut n_truncated = 0;
        for (text, out) in texts.iter().zip(data.chunks_exact_mut(self.dim)) {
            // Without a word in it a text still needs a direction.
            out[0] = 1e-3;
            let mut words = text.split_whitespace();
            for word in words.by_ref().take(self.tokens_max) {
                n_tokens += 1;
                let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
                let hash = fnv1a(word.as_bytes());
                let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
                out[(hash % self.dim as u64) as usize] += sign;
            }
            n_truncated += usize::from(words.next().is_some());
            if !normalise(out) {
                out.fill(0.0);
                out[0] = 1.0;
            }
        }
        Embeddings { data, dim: self.dim, n_tokens, n_truncated }
    }
}

/// FNV-1a: unlike the standard library's hasher, its values are fixed for ever.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn hashed_texts_with_common_words_are_near() {
        let embedder = Embedder::Hash(HashEmbedder::new(64));
        let texts = ["remote work is allowed", "Remote work, allowed!", "lunch menu", "", "?!"];
        let res = embedder.embed(&texts, TextRole::Passage).unwrap();
        assert_eq!((res.len(), res.dim(), res.n_tokens), (5, 64, 10));
        for row in res.rows() {
            assert!((cosine(row, row) - 1.0).abs() < 1e-6);
        }
        let near = cosine(res.row(0), res.row(1));
        assert!(near > 0.7 && near > cosine(res.row(0), res.row(2)) + 0.3);
        assert_eq!(res, embedder.embed(&texts, TextRole::Query).unwrap());
    }

    #[test]
    fn vectors_made_elsewhere_get_length_one_or_are_refused() {
        let rows = |second: &[f32]| vec![vec![3.0, 4.0], second.to_vec()];
        let res = Embeddings::from_rows(rows(&[0.0, 2.0]), 2, 7, 1).unwrap();
        assert_eq!((res.row(0), res.row(1)), (&[0.6, 0.8][..], &[0.0, 1.0][..]));
        assert_eq!((res.len(), res.n_tokens, res.n_truncated), (2, 7, 1));
        for bad in [&[0.0, 0.0][..], &[f32::NAN, 1.0], &[1.0], &[1.0, 0.0, 0.0]] {
            let error = Embeddings::from_rows(rows(bad), 2, 0, 0).unwrap_err();
            assert!(matches!(error, EmbedError::NotFinite { text_idx: 1 }));
        }
    }

    #[test]
    fn nothing_embeds_to_nothing() {
        let embedder = Embedder::Hash(HashEmbedder::new(8));
        assert!(embedder.embed(&[], TextRole::Query).unwrap().is_empty());
    }

    #[test]
    fn long_texts_are_counted_as_truncated() {
        let embedder = Embedder::Hash(HashEmbedder::new(8));
        let long = "word ".repeat(300);
        let res = embedder.embed(&[&long, "short"], TextRole::Query).unwrap();
        assert_eq!((res.n_truncated, res.n_tokens), (1, 257));
    }

    #[track_caller]
    fn check_batches(lens: &[usize], expected: &[&[usize]]) {
        let encoded: Vec<Encoded> =
            lens.iter().map(|&len| Encoded { ids: vec![0; len], truncated: false }).collect();
        assert_eq!(batches(&encoded), expected);
    }

    #[test]
    fn batches_are_bounded_by_tokens_and_begin_with_the_longest() {
        check_batches(&[], &[]);
        check_batches(&[100, 256, 128, 100], &[&[1, 2], &[0, 3]]);
        check_batches(&[1_000, 10], &[&[0], &[1]]);
    }

    #[test]
    fn pooling_takes_the_mean_or_the_first_token() {
        let hidden = [1.0, 0.0, 3.0, 2.0, 5.0, 5.0]; // Two tokens of one text, one of another.
        assert_eq!(pool(&hidden, &[2, 1], Pooling::Mean), [4.0, 2.0, 5.0, 5.0]);
        assert_eq!(pool(&hidden, &[2, 1], Pooling::Cls), [1.0, 0.0, 5.0, 5.0]);
    }

    #[test]
    fn a_vector_without_direction_is_noticed() {
        assert!(!normalise(&mut [0.0, 0.0]));
        assert!(!normalise(&mut [f32::NAN, 1.0]));
        assert!(normalise(&mut [3.0, 4.0]));
    }
}
