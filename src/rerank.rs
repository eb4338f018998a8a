//! The optional last step of retrieval: a cross-encoder reads the best candidates beside the
//! question, and its scores decide their order.

use std::time::{Duration, Instant};

use index::catalog::StoredChunk;
use model::rerank::{PairScore, RerankError, Reranker};

use crate::{compose::passage_text, retrieve::Candidate};

/// What reranking took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RerankCost {
    /// Time.
    pub elapsed: Duration,
    /// Candidates that were read.
    pub n_pairs: usize,
    /// Tokens that were read; the question's once for each candidate.
    pub n_tokens: usize,
    /// Candidates of which the end, or the question's end beside them, was not read.
    pub n_truncated: usize,
}

/// Scores candidates in their order.
///
/// # Errors
/// [`RerankError`]
pub fn score(
    reranker: &Reranker,
    question: &str,
    chunks: &[&StoredChunk],
) -> Result<(Vec<PairScore>, RerankCost), RerankError> {
    let start = Instant::now();
    let texts: Vec<String> = chunks.iter().map(|it| candidate_text(it)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let res = reranker.score(question, &texts)?;
    let cost = RerankCost {
        elapsed: start.elapsed(),
        n_pairs: texts.len(),
        n_tokens: res.n_tokens,
        n_truncated: res.n_truncated,
    };
    Ok((res.scores, cost))
}

/// Puts the first `n` candidates in the reranker's order; the others stay behind them.
///
/// # Errors
/// [`RerankError`]
pub fn rerank(
    reranker: &Reranker,
    question: &str,
    candidates: &mut [Candidate],
    n: usize,
) -> Result<RerankCost, RerankError> {
    let n = n.min(candidates.len());
    let candidates = &mut candidates[..n];
    let chunks: Vec<&StoredChunk> = candidates.iter().map(|it| &it.chunk).collect();
    let (scores, cost) = score(reranker, question, &chunks)?;
    for (candidate, score) in candidates.iter_mut().zip(scores) {
        candidate.rerank = Some(score);
    }
    // By the logit: scores near 1 are the same number where logits still differ. The sort is
    // stable, so that ties stay in the fused order.
    let logit = |it: &Candidate| it.rerank.map_or(f32::NEG_INFINITY, |it| it.logit);
    candidates.sort_by(|a, b| logit(b).total_cmp(&logit(a)));
    Ok(cost)
}

/// A candidate as the reranker reads it: title and headings, then the passage.
fn candidate_text(chunk: &StoredChunk) -> String {
    let mut place = vec![chunk.title.as_str()];
    // The first heading of most documents is their title.
    let headings = chunk.heading_path.iter().map(String::as_str);
    place.extend(headings.filter(|it| it.to_lowercase() != chunk.title.to_lowercase()));
    place.retain(|it| !it.is_empty());
    let text = passage_text(chunk);
    if place.is_empty() { text } else { format!("{}\n{text}", place.join(" > ")) }
}
