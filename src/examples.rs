//! Few-shot examples for a question.

use model::embed::TextRole;

use crate::{
    embedder::{EmbedError, Embedder},
    engine::dot,
    prompts::Example,
    retrieve::Question,
};

/// The few-shot examples nearest to the question, nearest first.
pub(crate) fn similar_examples<'a>(
    embedder: &Embedder,
    examples: Vec<&'a Example>,
    question: &Question,
    examples_max: usize,
) -> Result<Vec<&'a Example>, EmbedError> {
    if examples_max == 0 {
        return Ok(Vec::new());
    }
    let mut texts = vec![question.text()];
    texts.extend(examples.iter().map(|it| it.question.as_str()));
    let embedded = embedder.embed(&texts, TextRole::Query)?;
    let asked = embedded.row(0).to_vec();
    let mut scored: Vec<(f32, &Example)> =
        embedded.rows().skip(1).map(|row| dot(&asked, row)).zip(examples).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.question.cmp(&b.1.question)));
    scored.truncate(examples_max);
    Ok(scored.into_iter().map(|(_, it)| it).collect())
}
