//! Does a passage bear on a question? A small logistic model over signals that any corpus has.
//!
//! It decides between an answer and a refusal, so it errs on the side of answering: what a passage
//! does not say, the citation check shows.

use std::collections::BTreeMap;

use index::catalog::StoredChunk;

use crate::words::stems;

/// What speaks for a passage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Share of the question's words, weighted by how rare they are, that the passage has.
    pub coverage: f32,
    /// Cosine of question and passage, where the dense leg found it.
    pub cosine: Option<f32>,
    /// Whether the embedder is at home in the question's language.
    pub embedder_speaks: bool,
}

/// How sure it is that the passage bears on the question, from 0 to 1.
#[must_use]
pub fn relevance(signals: &Signals) -> f32 {
    let cosine = signals.cosine.unwrap_or(0.0);
    let z = if signals.embedder_speaks {
        -5.0 + 4.5 * signals.coverage + 7.0 * cosine
    } else {
        -3.5 + 7.0 * signals.coverage + 1.0 * cosine
    };
    1.0 / (1.0 + (-z).exp())
}

/// Share of the weight of a question's terms that a chunk, its title and its headings have.
#[must_use]
pub fn coverage(chunk: &StoredChunk, weights: &BTreeMap<String, f32>) -> f32 {
    let total: f32 = weights.values().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let text = [
        chunk.title.as_str(),
        &chunk.heading_path.join(" "),
        chunk.table_header.as_deref().unwrap_or_default(),
        &chunk.text,
    ]
    .join("\n");
    let own = stems(&text, chunk.facets.language);
    let covered: f32 =
        weights.iter().filter(|(term, _)| own.contains(*term)).map(|(_, weight)| weight).sum();
    covered / total
}
