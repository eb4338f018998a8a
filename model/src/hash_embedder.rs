//! An embedder without weights, for tests.

use crate::embed::{Embeddings, normalise};

/// Embeds a text as the counts of its words, each hashed to a place and a sign (Weinberger et al.
/// 2009): texts that share words are near each other. Deterministic and without files, for tests.
#[derive(Debug, Clone)]
pub struct HashEmbedder {
    pub(crate) dim: usize,
    pub(crate) tokens_max: usize,
}

impl HashEmbedder {
    /// An embedder of vectors of length `dim`, which must not be zero.
    pub fn new(dim: usize) -> Self {
        assert!(dim > 0, "a vector has a length");
        Self { dim, tokens_max: 256 }
    }

    pub(crate) fn embed(&self, texts: &[&str]) -> Embeddings {
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
    use crate::embed::{Embedder, TextRole};

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
}
