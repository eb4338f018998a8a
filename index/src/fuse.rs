//! Two ranked lists become one.
//!
//! A chunk's fused score is its BM25 score as a share of the question's best one, plus its cosine
//! times a weight. The cosine is not stretched to the list's own range, as rank fusion, min-max
//! and z-scores do in effect: where the embedder sees little difference between chunks, as with a
//! language that it never learnt, it then has little say. What was measured against that, on which
//! sets: docs/decisions/0004-fusion.md.

use std::collections::BTreeMap;

use crate::hit::{ChunkId, Hit};

/// How much the dense leg has to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FuseSettings {
    /// What a cosine of 1 counts beside the best BM25 score of the question, which counts 1.
    pub dense_weight: f32,
    /// The cosine that the embedder gives to unrelated texts: about 0 for most, 0.7 for the E5
    /// family, whose cosines fill only the range above. Less than 1.
    pub cosine_unrelated: f32,
}

impl FuseSettings {
    /// The measured setting for an embedder whose unrelated texts have a cosine of about 0.
    ///
    /// `embedder_reads_question`: whether the question's language is among the embedder's.
    #[must_use]
    pub fn measured(embedder_reads_question: bool) -> Self {
        let dense_weight = if embedder_reads_question { 3.0 } else { 1.0 };
        Self { dense_weight, cosine_unrelated: 0.0 }
    }
}

/// Where a leg had a chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// 1 for the leg's best.
    pub rank: usize,
    /// The leg's own score.
    pub score: f32,
}

/// A chunk that at least one leg found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedHit {
    /// The chunk.
    pub chunk: ChunkId,
    /// Larger is better. Compares within one question only.
    pub score: f32,
    /// Its place in the lexical leg.
    pub lexical: Option<Place>,
    /// Its place in the dense leg.
    pub dense: Option<Place>,
}

/// Joins what the two legs found, best first; ties go to the smaller id.
///
/// The order within the inputs does not matter: scores decide. A hit whose score is not finite is
/// dropped; of several hits for one chunk, the best counts. A chunk that only one leg found gets
/// nothing from BM25, or the least cosine that the dense leg returned: it cannot be closer than
/// what that leg preferred to it.
#[must_use]
pub fn fuse(lexical: &[Hit], dense: &[Hit], settings: &FuseSettings) -> Vec<FusedHit> {
    let lexical = places(lexical);
    let dense = places(dense);
    let best_bm25 = lexical.values().map(|it| it.score).fold(0.0, f32::max);
    let least_cosine = dense.values().map(|it| it.score).min_by(f32::total_cmp).unwrap_or(0.0);

    let score = |lexical: Option<&Place>, dense: Option<&Place>| {
        let bm25 = lexical.map_or(0.0, |it| it.score);
        let share = if best_bm25 > 0.0 { bm25 / best_bm25 } else { 0.0 };
        let cosine = dense.map_or(least_cosine, |it| it.score);
        let range = 1.0 - settings.cosine_unrelated;
        share + settings.dense_weight * (cosine - settings.cosine_unrelated) / range
    };
    let only_dense = dense.keys().filter(|chunk| !lexical.contains_key(chunk));
    let chunks = lexical.keys().chain(only_dense);
    let mut res: Vec<_> = chunks
        .map(|chunk| {
            let (lexical, dense) = (lexical.get(chunk), dense.get(chunk));
            FusedHit {
                chunk: *chunk,
                score: score(lexical, dense),
                lexical: lexical.copied(),
                dense: dense.copied(),
            }
        })
        .collect();
    res.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk)));
    res
}

/// A leg's chunks with their ranks.
fn places(hits: &[Hit]) -> BTreeMap<ChunkId, Place> {
    let mut sorted: Vec<_> = hits.iter().copied().filter(|hit| hit.score.is_finite()).collect();
    crate::hit::sort_hits(&mut sorted);
    let mut res = BTreeMap::new();
    for hit in sorted {
        let rank = res.len() + 1;
        res.entry(hit.chunk).or_insert(Place { rank, score: hit.score });
    }
    res
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: FuseSettings = FuseSettings { dense_weight: 2.0, cosine_unrelated: 0.0 };

    fn hits(hits: &[(i64, f32)]) -> Vec<Hit> {
        hits.iter().map(|&(id, score)| Hit { chunk: ChunkId(id), score }).collect()
    }

    #[track_caller]
    fn check(lexical: &[(i64, f32)], dense: &[(i64, f32)], expected: &[(i64, f32)]) {
        let fused = fuse(&hits(lexical), &hits(dense), &SETTINGS);
        let scores: Vec<_> = fused.iter().map(|it| (it.chunk.0, it.score)).collect();
        assert_eq!(scores, expected);
    }

    #[test]
    fn adds_the_share_of_the_best_bm25_score_and_the_weighted_cosine() {
        check(&[(1, 8.0), (2, 4.0)], &[(2, 0.75), (1, 0.25)], &[(2, 2.0), (1, 1.5)]);
    }

    #[test]
    fn a_chunk_that_the_dense_leg_left_out_gets_its_least_cosine() {
        check(&[(1, 8.0)], &[(2, 0.75), (3, 0.25)], &[(1, 1.5), (2, 1.5), (3, 0.5)]);
    }

    #[test]
    fn one_leg_alone_keeps_its_order() {
        check(&[(1, 4.0), (2, 8.0)], &[], &[(2, 1.0), (1, 0.5)]);
        check(&[], &[(1, 0.25), (2, 0.5)], &[(2, 1.0), (1, 0.5)]);
        check(&[], &[], &[]);
    }

    #[test]
    fn ties_go_to_the_smaller_id() {
        check(&[(3, 1.0), (1, 1.0), (2, 1.0)], &[], &[(1, 1.0), (2, 1.0), (3, 1.0)]);
    }

    #[test]
    fn hits_without_a_finite_score_are_dropped() {
        check(&[(1, f32::NAN), (2, f32::INFINITY), (3, 1.0)], &[(4, f32::NAN)], &[(3, 1.0)]);
    }

    #[test]
    fn tells_where_each_leg_had_the_chunk() {
        let fused = fuse(&hits(&[(1, 8.0), (2, 4.0)]), &hits(&[(2, 0.5)]), &SETTINGS);
        assert_eq!(fused[0].chunk, ChunkId(1));
        assert_eq!(fused[0].lexical, Some(Place { rank: 1, score: 8.0 }));
        assert_eq!(fused[0].dense, None);
        assert_eq!(fused[1].lexical, Some(Place { rank: 2, score: 4.0 }));
        assert_eq!(fused[1].dense, Some(Place { rank: 1, score: 0.5 }));
    }

    #[test]
    fn cosines_of_a_narrow_range_are_spread_over_the_whole() {
        let settings = FuseSettings { dense_weight: 1.0, cosine_unrelated: 0.5 };
        let fused = fuse(&[], &hits(&[(1, 1.0), (2, 0.5)]), &settings);
        assert_eq!(fused.iter().map(|it| it.score).collect::<Vec<_>>(), [1.0, 0.0]);
    }

    fn any_hits() -> impl Strategy<Value = Vec<Hit>> {
        let score = prop_oneof![9 => -1.0_f32..10.0, 1 => Just(f32::NAN)];
        let hit = (0_i64..20, score);
        let hit = hit.prop_map(|(id, score)| Hit { chunk: ChunkId(id), score });
        prop::collection::vec(hit, 0..30)
    }

    proptest! {
        #[test]
        fn the_order_of_the_inputs_does_not_matter(
            (lexical, mut shuffled) in any_hits().prop_flat_map(|hits| {
                (Just(hits.clone()), Just(hits).prop_shuffle())
            }),
            dense in any_hits(),
        ) {
            let expected = fuse(&lexical, &dense, &SETTINGS);
            prop_assert_eq!(fuse(&shuffled, &dense, &SETTINGS), expected.clone());
            shuffled.extend(lexical);
            prop_assert_eq!(fuse(&shuffled, &dense, &SETTINGS), expected);
        }

        #[test]
        fn every_finite_chunk_comes_out_once_and_best_first(
            lexical in any_hits(),
            dense in any_hits(),
        ) {
            let fused = fuse(&lexical, &dense, &SETTINGS);
            let mut chunks: Vec<_> = fused.iter().map(|it| it.chunk).collect();
            chunks.sort_unstable();
            let all = lexical.iter().chain(&dense).filter(|it| it.score.is_finite());
            let mut expected: Vec<_> = all.map(|it| it.chunk).collect();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(chunks, expected);
            prop_assert!(fused.iter().all(|it| it.score.is_finite()));
            prop_assert!(fused.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}
