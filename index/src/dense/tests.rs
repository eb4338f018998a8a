use super::*;

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

fn found(dense: &Dense, path: &str) -> Vec<ChunkId> {
    let filter = Filter { path_prefix: Some(path.to_owned()), ..Filter::default() };
    let hits = dense.search(&vector(1), &filter, usize::MAX).unwrap();
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
    let hits = dense.search(&same, &Filter::default(), 3).unwrap();
    let ids: Vec<i64> = hits.iter().map(|it| it.chunk.0).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_question_of_another_dimension_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dense = Dense::open(dir.path(), DIM).unwrap();
    let short = UnitVector::new(vec![1.0; 3]).unwrap();
    let error = dense.search(&short, &Filter::default(), 3).unwrap_err();
    assert!(matches!(error, DenseError::BadQuery { expected: DIM, found: 3 }), "{error}");
}
