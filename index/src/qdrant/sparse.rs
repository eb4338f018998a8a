//! Words as sparse vectors: BM25 whose inverse document frequency the server adds.
//!
//! Each term of the lexical analysis is a dimension. A chunk's value there is the rest of BM25's
//! formula: how often it holds the term, saturated, and set against its length. A question's value
//! is the term's weight. Their dot product, with the frequency that the server knows, is BM25
//! (Robertson & Zaragoza 2009) with the constants of tantivy, so that both stores rank alike.

use std::collections::BTreeMap;

use ingest::document::Language;
use serde::{Deserialize, Serialize};

use crate::lexical::{ChunkTerms, QuestionTerms, TermKind};

/// How soon repetitions of a term stop counting; tantivy's.
const K1: f32 = 1.2;

/// How much a long chunk's terms count less; tantivy's.
const B: f32 = 0.75;

/// Average numbers of terms of chunks. They are part of every chunk's values, so they are measured
/// once for many, and kept with the collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Averages {
    french: f32,
    english: f32,
    exact: f32,
    /// Chunks that they were measured on.
    pub(crate) n_chunks: u64,
}

impl Averages {
    fn of(&self, kind: TermKind) -> f32 {
        match kind {
            TermKind::Stem(Language::French) => self.french,
            TermKind::Stem(Language::English) => self.english,
            TermKind::Exact => self.exact,
        }
    }

    /// Whether they are so far from others that ranking with them would differ.
    pub(super) fn is_far_from(&self, other: &Self) -> bool {
        let kinds = [Language::French, Language::English]
            .map(TermKind::Stem)
            .into_iter()
            .chain([TermKind::Exact]);
        kinds.into_iter().any(|kind| {
            let (a, b) = (self.of(kind), other.of(kind));
            (a - b).abs() > 0.02 * a.max(b)
        })
    }
}

/// Sums from which [`Averages`] come.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    n_terms: BTreeMap<&'static str, (u64, u64)>,
    n_chunks: u64,
}

impl Lengths {
    pub(super) fn add(&mut self, terms: &ChunkTerms) {
        let mut add = |kind: TermKind, n: usize| {
            let (n_terms, n_chunks) = self.n_terms.entry(name(kind)).or_default();
            *n_terms += n as u64;
            *n_chunks += 1;
        };
        for (language, stems) in &terms.stems {
            add(TermKind::Stem(*language), stems.len());
        }
        add(TermKind::Exact, terms.exact.len());
        self.n_chunks += 1;
    }

    pub(super) fn averages(&self) -> Averages {
        let of = |kind| {
            let (n_terms, n_chunks) = self.n_terms.get(name(kind)).copied().unwrap_or_default();
            n_terms as f32 / n_chunks.max(1) as f32
        };
        Averages {
            french: of(TermKind::Stem(Language::French)),
            english: of(TermKind::Stem(Language::English)),
            exact: of(TermKind::Exact),
            n_chunks: self.n_chunks,
        }
    }
}

/// Names are part of what is hashed: they never change.
fn name(kind: TermKind) -> &'static str {
    match kind {
        TermKind::Stem(Language::French) => "fr",
        TermKind::Stem(Language::English) => "en",
        TermKind::Exact => "exact",
    }
}

/// The dimension of a term: 32 bits of a hash. Of a million terms, about a hundred share theirs
/// with another one.
pub(super) fn dimension(kind: TermKind, term: &str) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name(kind).as_bytes()).update(b":").update(term.as_bytes());
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A chunk's values by dimension, in ascending order; empty for a chunk without words.
pub(super) fn chunk_values(terms: &ChunkTerms, averages: &Averages) -> (Vec<u32>, Vec<f32>) {
    let mut res = BTreeMap::<u32, f32>::new();
    let stems = terms.stems.iter().map(|(language, it)| (TermKind::Stem(*language), it));
    for (kind, terms) in stems.chain([(TermKind::Exact, &terms.exact)]) {
        let mut counts = BTreeMap::<&str, f32>::new();
        for term in terms {
            *counts.entry(term).or_default() += 1.0;
        }
        // A field that nothing was measured of has this length on average.
        let average = averages.of(kind).max(1.0);
        let length = 1.0 - B + B * terms.len() as f32 / average;
        for (term, count) in counts {
            *res.entry(dimension(kind, term)).or_default() +=
                (K1 + 1.0) * count / (count + K1 * length);
        }
    }
    res.into_iter().unzip()
}

/// A term of a question.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) dimension: u32,
    pub(super) term: String,
    pub(super) kind: TermKind,
    pub(super) weight: f32,
}

/// A question as one list of terms for each language that it may be in. Exact terms are in all.
pub(super) fn readings(terms: QuestionTerms) -> Vec<Vec<Asked>> {
    let asked = |kind: TermKind, terms: BTreeMap<String, f32>| {
        terms.into_iter().map(move |(term, weight)| {
            let dimension = dimension(kind, &term);
            Asked { dimension, term, kind, weight }
        })
    };
    let exact: Vec<Asked> = asked(TermKind::Exact, terms.exact).collect();
    let readings = terms.stems.into_iter().map(|(language, stems)| {
        asked(TermKind::Stem(language), stems).chain(exact.iter().cloned()).collect()
    });
    readings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(french: &[&str], exact: &[&str]) -> ChunkTerms {
        let owned = |it: &[&str]| it.iter().map(|&it| it.to_owned()).collect();
        ChunkTerms { stems: vec![(Language::French, owned(french))], exact: owned(exact) }
    }

    #[test]
    fn a_value_is_the_saturated_count_set_against_the_length() {
        let terms = terms(&["cong", "cong", "pai"], &[]);
        let mut lengths = Lengths::default();
        lengths.add(&terms);
        let (dimensions, values) = chunk_values(&terms, &lengths.averages());
        assert!(dimensions.is_sorted());
        let of = |term| {
            let wanted = dimension(TermKind::Stem(Language::French), term);
            values[dimensions.iter().position(|&it| it == wanted).unwrap()]
        };
        // Of average length, a term counts (k1 + 1) tf / (tf + k1).
        assert!((of("cong") - 2.2 * 2.0 / 3.2).abs() < 1e-6);
        assert!((of("pai") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn languages_and_exact_terms_have_dimensions_of_their_own() {
        let kinds =
            [TermKind::Stem(Language::French), TermKind::Stem(Language::English), TermKind::Exact];
        let dimensions = kinds.map(|kind| dimension(kind, "badge"));
        assert_eq!(dimensions[0], dimension(kinds[0], "badge"));
        assert!(dimensions[0] != dimensions[1] && dimensions[1] != dimensions[2]);
    }

    #[test]
    fn averages_that_drifted_are_told() {
        let mut short = Lengths::default();
        short.add(&terms(&["a"; 10], &["a"; 10]));
        let mut long = Lengths::default();
        long.add(&terms(&["a"; 11], &["a"; 11]));
        assert!(short.averages().is_far_from(&long.averages()));
        assert!(!short.averages().is_far_from(&short.averages()));
    }
}
