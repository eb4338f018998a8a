//! What a search returns, and the identities that all stores share.

/// A chunk's identity in the catalog. Never used again once its chunk is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub i64);

/// A document's identity in the catalog. It outlives a change of content and of path, and is
/// never used again once the document is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(pub i64);

/// A chunk that a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The chunk.
    pub chunk: ChunkId,
    /// How well it matches; larger is better. BM25 from the lexical leg, cosine from the dense
    /// one: scores of different legs do not compare.
    pub score: f32,
}

/// Sorts by score, best first. Ties go to the smaller id, so that the same input always gives the
/// same output.
pub fn sort_hits(hits: &mut [Hit]) {
    hits.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
}
