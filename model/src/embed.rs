//! Texts to unit vectors.

use std::path::Path;
use std::{fmt, iter};

use rayon::prelude::*;
use thiserror::Error;

use crate::LoadError;
use crate::bert::Bert;
use crate::count::TokenCounter;
use crate::encode::TextEncoder;
use crate::packed::{Encoded, Packed, batches};
use crate::tokenizer;

pub use crate::checkpoint::encoder_files;
pub use crate::hash_embedder::HashEmbedder;

/// How one vector is made of a text's token vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The vector of the first token.
    Cls,
}

/// What an encoder's weights and products are in. Norms, softmax, GELU and attention stay in f32.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point, as the model was published.
    #[default]
    F32,
    /// Weights rounded to 16 bits, products in f32: half the memory to read, which is what the time
    /// of a question mostly goes to. Vectors are those of f32 within rounding.
    F16,
    /// 8-bit integers, save for queries, keys and values; vectors differ a little. Whether it
    /// is faster depends on the processor: measure with `benches/speed.rs` before choosing it.
    Int8,
}

impl Precision {
    /// The precision whose vectors these are: those of f16 are f32's within rounding, so that an
    /// index made in one answers questions that are embedded in the other.
    #[must_use]
    pub fn of_vectors(self) -> Self {
        match self {
            Self::F32 | Self::F16 => Self::F32,
            Self::Int8 => Self::Int8,
        }
    }

    /// The word that settings and fingerprints use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
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
    /// What products are computed in.
    pub precision: Precision,
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
    pub(crate) data: Vec<f32>,
    pub(crate) dim: usize,
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
    /// Loads an encoder from a folder with `config.json`, `tokenizer.json` and weights
    /// (`model.safetensors`, one or sharded, or `pytorch_model.bin`).
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
            Self::Bert(it) => it.counter.count(it.encoder.tokenizer(), text),
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

    /// The same numbers for one question, as soon as they can be had: by several threads, of which
    /// one does `beside` before it helps. Where the question cannot be read, nobody does it.
    pub fn embed_question(
        &self,
        question: &str,
        beside: impl FnOnce() + Send,
    ) -> Result<Embeddings, EmbedError> {
        match self {
            Self::Bert(it) => it.embed_question(question, beside),
            Self::Hash(it) => {
                beside();
                Ok(it.embed(&[question]))
            }
        }
    }

    /// The same numbers for some questions, by the calling thread alone: for whoever shares the
    /// processor with others.
    pub fn embed_questions_here(&self, questions: &[&str]) -> Result<Vec<Embeddings>, EmbedError> {
        match self {
            Self::Bert(it) => it.embed_questions_here(questions),
            Self::Hash(it) => Ok(questions.iter().map(|text| it.embed(&[text])).collect()),
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
    encoder: TextEncoder,
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
        let bert = Bert::load(dir, spec.precision)?;
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
        let encoder = TextEncoder::new(tokenizer, spec.tokens_max)
            .map_err(|error| LoadError::Corrupt { path, reason: error.to_string() })?;
        Ok(Self { bert, encoder, counter, spec: spec.clone() })
    }

    fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, EmbedError> {
        let one = |(idx, text): (usize, &&str)| self.encode(idx, text, role);
        let encoded: Vec<Encoded> = match texts {
            // The pool's threads may be busy for long.
            [_] => texts.iter().enumerate().map(one).collect::<Result<_, _>>()?,
            _ => texts.par_iter().enumerate().map(one).collect::<Result<_, _>>()?,
        };
        let batches = batches(&encoded);
        let pooled = match &batches[..] {
            [batch] => {
                let pass = |it: &Packed| self.bert.forward_together(it, || {});
                vec![self.pooled(&encoded, batch, pass)]
            }
            _ => {
                let pass = |it: &Packed| self.bert.forward(it);
                batches
                    .par_iter()
                    .with_max_len(1)
                    .map(|it| self.pooled(&encoded, it, pass))
                    .collect()
            }
        };
        let data = self.in_order(&batches, &pooled)?;
        let n_tokens = encoded.iter().map(|it| it.ids.len()).sum();
        let n_truncated = encoded.iter().filter(|it| it.truncated).count();
        Ok(Embeddings { data, dim: self.bert.hidden(), n_tokens, n_truncated })
    }

    fn embed_question(
        &self,
        question: &str,
        beside: impl FnOnce() + Send,
    ) -> Result<Embeddings, EmbedError> {
        let encoded = [self.encode(0, question, TextRole::Query)?];
        let pooled = self.pooled(&encoded, &[0], |it| self.bert.forward_together(it, beside));
        let data = self.in_order(&[vec![0]], &[pooled])?;
        Ok(self.one(&encoded[0], data))
    }

    fn embed_questions_here(&self, questions: &[&str]) -> Result<Vec<Embeddings>, EmbedError> {
        let one = |(idx, text): (usize, &&str)| self.encode(idx, text, TextRole::Query);
        let encoded: Vec<Encoded> =
            questions.iter().enumerate().map(one).collect::<Result<_, _>>()?;
        let batches = batches(&encoded);
        let pass = |it: &Packed| self.bert.forward(it);
        let pooled: Vec<Vec<f32>> =
            batches.iter().map(|it| self.pooled(&encoded, it, pass)).collect();
        let data = self.in_order(&batches, &pooled)?;
        let vectors = data.chunks_exact(self.bert.hidden());
        Ok(encoded.iter().zip(vectors).map(|(it, vector)| self.one(it, vector.to_vec())).collect())
    }

    /// data: (1, dim)
    fn one(&self, encoded: &Encoded, data: Vec<f32>) -> Embeddings {
        Embeddings {
            data,
            dim: self.bert.hidden(),
            n_tokens: encoded.ids.len(),
            n_truncated: usize::from(encoded.truncated),
        }
    }

    /// result: (texts of the batch, dim), of any length
    fn pooled(
        &self,
        encoded: &[Encoded],
        batch: &[usize],
        pass: impl FnOnce(&Packed) -> Vec<f32>,
    ) -> Vec<f32> {
        let packed = Packed::of(encoded, batch);
        pool(&pass(&packed), &packed.lens, self.spec.pooling)
    }

    /// Unit vectors in the order of the texts. result: (texts, dim)
    fn in_order(
        &self,
        batches: &[Vec<usize>],
        pooled: &[Vec<f32>],
    ) -> Result<Vec<f32>, EmbedError> {
        let dim = self.bert.hidden();
        let mut data = vec![0.0; batches.iter().map(Vec::len).sum::<usize>() * dim];
        for (batch, pooled) in iter::zip(batches, pooled) {
            for (&text_idx, vector) in iter::zip(batch, pooled.chunks_exact(dim)) {
                let out = &mut data[text_idx * dim..][..dim];
                out.copy_from_slice(vector);
                if !normalise(out) {
                    return Err(EmbedError::NotFinite { text_idx });
                }
            }
        }
        Ok(data)
    }

    fn encode(&self, text_idx: usize, text: &str, role: TextRole) -> Result<Encoded, EmbedError> {
        let prefix = match role {
            TextRole::Query => &self.spec.query_prefix,
            TextRole::Passage => &self.spec.passage_prefix,
        };
        let encoded = match prefix.is_empty() {
            true => self.encoder.one(text),
            false => self.encoder.one(&format!("{prefix}{text}")),
        };
        encoded.map_err(|source| EmbedError::Tokenize { text_idx, source })
    }
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
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if !norm.is_normal() {
        return false;
    }
    for x in vector {
        *x = (f64::from(*x) / norm) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

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
