//! Does a passage bear on a question? A small logistic model over signals that any corpus has.
//!
//! It decides between an answer and a refusal. Where its weights come from, and what they give on
//! questions that they were not fitted on: docs/benchmarks.md, "Refusals".

use index::catalog::StoredChunk;

use crate::asked::{Asked, Reading};

/// The weight of a question's stems from which it says enough: a question of two words is easily
/// covered by chance.
const WEIGHT_ENOUGH: f32 = 4.0;

/// What speaks for a passage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// Share of the question's stems, by weight, that the passage and its headings have.
    pub coverage: f32,
    /// How well the passage's best sentence answers, from 0 to 1: its share of the stems, with the
    /// header of its table, its headings and its neighbours, less where it does not hold the kind
    /// of answer that is asked for.
    pub evidence: f32,
    /// How much the question says, from 0 to 1.
    pub substance: f32,
    /// Cosine of question and passage, where the dense leg found it.
    pub cosine: Option<f32>,
    /// Whether the question gives a name, figure or code that the passage does not have.
    pub lacks: bool,
    /// Whether the embedder is at home in the question's language.
    pub embedder_speaks: bool,
}

impl Signals {
    /// What a passage, as it was read for a question, says for itself.
    #[must_use]
    pub fn of(chunk: &StoredChunk, reading: &Reading, asked: &Asked) -> Self {
        let heading = format!("{}\n{}", chunk.title, chunk.heading_path.join("\n"));
        Self {
            coverage: reading.coverage,
            evidence: reading.evidence(),
            substance: asked.weight().min(WEIGHT_ENOUGH) / WEIGHT_ENOUGH,
            cosine: None,
            lacks: asked.lacks(&format!("{heading}\n{}", reading.text)),
            embedder_speaks: false,
        }
    }

    /// How sure it is that the passage bears on the question, from 0 to 1.
    #[must_use]
    pub fn relevance(&self) -> f32 {
        let cosine = self.cosine.unwrap_or(0.0);
        let lacks = f32::from(u8::from(self.lacks));
        let of_cosine = if self.embedder_speaks { 3.0 } else { 0.88 };
        let z = -4.79
            + 2.83 * self.coverage
            + 2.51 * self.evidence
            + 1.89 * self.substance
            + of_cosine * cosine
            - 1.61 * lacks;
        1.0 / (1.0 + (-z).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Signals = Signals {
        coverage: 0.9,
        evidence: 0.8,
        substance: 0.6,
        cosine: Some(0.6),
        lacks: false,
        embedder_speaks: true,
    };

    #[test]
    fn a_passage_with_the_questions_words_is_relevant() {
        for embedder_speaks in [true, false] {
            assert!(Signals { embedder_speaks, ..SURE }.relevance() > 0.5);
        }
    }

    #[test]
    fn every_signal_moves_relevance_its_own_way() {
        for embedder_speaks in [true, false] {
            let sure = Signals { embedder_speaks, ..SURE };
            for less in [
                Signals { coverage: 0.1, ..sure },
                Signals { evidence: 0.1, ..sure },
                Signals { substance: 0.1, ..sure },
                Signals { cosine: Some(0.1), ..sure },
                Signals { lacks: true, ..sure },
            ] {
                assert!(less.relevance() < sure.relevance(), "{less:?}");
            }
        }
    }

    #[test]
    fn a_passage_that_shares_nothing_is_not_relevant() {
        let nothing = Signals { coverage: 0.0, evidence: 0.0, cosine: Some(0.2), ..SURE };
        for embedder_speaks in [true, false] {
            assert!(Signals { embedder_speaks, ..nothing }.relevance() < 0.2);
        }
    }
}
