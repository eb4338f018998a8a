//! Does a passage bear on a question? A small logistic model over signals that any corpus has.
//!
//! It decides between an answer and a refusal. Its weights were fitted on the questions of
//! `examples/questions.jsonl` (143, 20 of them not answered by the sample handbook, most of those
//! on topics that it does treat); `souffleur eval answers` shows what they give.

use std::collections::BTreeMap;

use index::catalog::StoredChunk;
use ingest::document::Language;

use crate::{
    cite::{Claims, SourceFacts, split},
    compose::passage_text,
    words::stems,
};

/// What speaks for a passage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Share of the question's stems, weighted by how rare they are, that the passage has.
    pub coverage: f32,
    /// Largest share of the question's stems that one sentence of the passage has: words that
    /// stand together answer more often than words that stand apart.
    pub sentence_coverage: f32,
    /// Cosine of question and passage, where the dense leg found it.
    pub cosine: Option<f32>,
    /// Whether the question names something that the passage does not mention.
    pub lacks_name: bool,
    /// Whether the embedder is at home in the question's language.
    pub embedder_speaks: bool,
}

impl Signals {
    /// Reads a passage for a question, given what each of the question's stems tells.
    #[must_use]
    pub fn of(
        chunk: &StoredChunk,
        question: &str,
        language: Option<Language>,
        weights: &BTreeMap<String, f32>,
    ) -> Self {
        let heading = format!("{}\n{}", chunk.title, chunk.heading_path.join("\n"));
        let text = format!("{heading}\n{}", passage_text(chunk));
        let claims = Claims::of(question);
        let facts = SourceFacts::of(&text);
        Self {
            coverage: coverage(&text, chunk.facets.language, weights),
            sentence_coverage: sentence_coverage(&text, question, language),
            cosine: None,
            lacks_name: !claims.missing_names(&facts).is_empty()
                || !claims.missing(&facts).is_empty(),
            embedder_speaks: false,
        }
    }

    /// How sure it is that the passage bears on the question, from 0 to 1.
    #[must_use]
    pub fn relevance(&self) -> f32 {
        let cosine = self.cosine.unwrap_or(0.0);
        let lacks_name = f32::from(u8::from(self.lacks_name));
        let z = if self.embedder_speaks {
            -3.82 + 4.76 * self.coverage + 4.94 * cosine - 1.76 * lacks_name
        } else {
            -2.73 + 1.1 * self.coverage + 0.7 * cosine + 3.9 * self.sentence_coverage
                - 0.74 * lacks_name
        };
        1.0 / (1.0 + (-z).exp())
    }
}

/// Share of the weight of a question's stems that a text has.
fn coverage(text: &str, language: Option<Language>, weights: &BTreeMap<String, f32>) -> f32 {
    let total: f32 = weights.values().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let own = stems(text, language);
    let covered: f32 =
        weights.iter().filter(|(term, _)| own.contains(*term)).map(|(_, weight)| weight).sum();
    covered / total
}

#[expect(clippy::cast_precision_loss, reason = "the stems of a question are few")]
fn sentence_coverage(text: &str, question: &str, language: Option<Language>) -> f32 {
    let asked = stems(question, language);
    let shared = |sentence: &str| stems(sentence, language).intersection(&asked).count();
    let best = split(text).into_iter().map(|it| shared(&text[it])).max().unwrap_or(0);
    best as f32 / asked.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Signals = Signals {
        coverage: 0.9,
        sentence_coverage: 0.8,
        cosine: Some(0.6),
        lacks_name: false,
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
                Signals { cosine: Some(0.1), ..sure },
                Signals { lacks_name: true, ..sure },
            ] {
                assert!(less.relevance() < sure.relevance(), "{less:?}");
            }
        }
    }

    #[test]
    fn a_passage_that_shares_nothing_is_not_relevant() {
        let nothing = Signals { coverage: 0.0, sentence_coverage: 0.0, cosine: Some(0.2), ..SURE };
        for embedder_speaks in [true, false] {
            assert!(Signals { embedder_speaks, ..nothing }.relevance() < 0.2);
        }
    }
}
