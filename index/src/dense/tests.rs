use super::*;
use crate::filter::Filter;
use crate::hit::Hit;

const DIM: usize = 1_024;

fn vector(i: i64) -> UnitVector {
    let x = i as f32;
    let raw = (0..DIM).map(|j| (x * 0.37 + j as f32 * 1.7).sin());
    UnitVector::new(raw.collect()).unwrap()
}

fn put(dense: &Dense, ids: std::ops::Range<i64>, path: &str) {
    let facets = Facets { path: path.to_owned(), ..Facets::default() };
    let points: Vec<_> = ids.map(|i| (ChunkId(i), vector(i))).collect();
    dense.put(points.iter().map(|(id, vector)| (*id, &facets, vector))).unwrap();
}

fn search(
    dense: &Dense,
    vector: &UnitVector,
    filter: &Filter,
    k: usize,
) -> Result<Vec<Hit>, DenseError> {
    dense.search(vector, filter, k, None)
}

fn found(dense: &Dense, path: &str) -> Vec<ChunkId> {
    let filter = Filter { path_prefix: Some(path.to_owned()), ..Filter::default() };
    let hits = search(dense, &vector(1), &filter, usize::MAX).unwrap();
    let mut ids: Vec<ChunkId> = hits.into_iter().map(|it| it.chunk).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn changes_still_take_effect_after_the_log_was_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let dense = Dense::open(dir.path(), DIM).unwrap();
    for first in (1..6_001).step_by(500) {
        put(&dense, first..first + 500, "old");
    }
    dense.commit(7).unwrap();
    drop(dense);
    assert!(closed_log_segments(dir.path()).unwrap().len() > 1, "the test needs a long log");

    let dense = Dense::open(dir.path(), DIM).unwrap();
    assert_eq!(closed_log_segments(dir.path()).unwrap().len(), 1);
    assert_eq!(dense.watermark(), 7);
    put(&dense, 1..3, "new");
    dense.delete(&[ChunkId(3)]).unwrap();
    dense.reopen().unwrap();
    put(&dense, 4..5, "new");
    assert_eq!(found(&dense, "new"), [ChunkId(1), ChunkId(2), ChunkId(4)]);
    assert_eq!(found(&dense, "old"), (5..6_001).map(ChunkId).collect::<Vec<_>>());
}

#[test]
fn equal_scores_are_cut_by_id() {
    let dir = tempfile::tempdir().unwrap();
    let dense = Dense::open(dir.path(), DIM).unwrap();
    let facets = Facets { path: "a".to_owned(), ..Facets::default() };
    let same = vector(1);
    for id in (1..200).rev() {
        dense.put([(ChunkId(id), &facets, &same)].into_iter()).unwrap();
    }
    let hits = search(&dense, &same, &Filter::default(), 3).unwrap();
    let ids: Vec<i64> = hits.iter().map(|it| it.chunk.0).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_question_of_another_dimension_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dense = Dense::open(dir.path(), DIM).unwrap();
    let short = UnitVector::new(vec![1.0; 3]).unwrap();
    let error = search(&dense, &short, &Filter::default(), 3).unwrap_err();
    assert!(matches!(error, DenseError::BadQuery { expected: DIM, found: 3 }), "{error}");
}

#[test]
fn vectors_kept_elsewhere_give_the_same_hits() {
    let dir = tempfile::tempdir().unwrap();
    let dense = Dense::open(dir.path(), DIM).unwrap();
    put(&dense, 1..3_001, "a");
    assert!(dense.optimize().unwrap(), "the test needs int8 copies");
    let query = vector(5_000);
    // Of one chunk, the catalog knows no vector any more.
    let rescore = |hits: Vec<Hit>| -> Result<Vec<Hit>, DenseError> {
        let live = hits.into_iter().filter(|it| it.chunk != ChunkId(7));
        Ok(live.map(|it| Hit { score: vector(it.chunk.0).cosine(&query), ..it }).collect())
    };
    for (k, filter) in [(1, Filter::default()), (20, Filter::default()), (9_999, Filter::default())]
    {
        let expected = search(&dense, &query, &filter, k + 1).unwrap();
        let expected: Vec<_> =
            expected.iter().map(|it| it.chunk).filter(|it| *it != ChunkId(7)).take(k).collect();
        let hits = dense.search(&query, &filter, k, Some(&rescore)).unwrap();
        assert_eq!(hits.iter().map(|it| it.chunk).collect::<Vec<_>>(), expected);
    }
}
