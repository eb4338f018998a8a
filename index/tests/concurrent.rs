//! Threads search while one ingests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use index::Index;
use index::catalog::Labels;
use index::filter::Filter;
use support::{DIM, embed, put, recipe};

#[test]
fn searches_during_ingestion_never_fail_and_never_show_what_is_not_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open_or_create(dir.path(), &recipe(), &mut |_| {}).unwrap();
    let (done, n_hits) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    n_hits.fetch_add(search(&index), Ordering::Relaxed);
                }
            });
        }
        let ingestion = scope.spawn(|| ingest(&index));
        // Set even when the ingestion fails, so that the test ends.
        let res = ingestion.join();
        done.store(true, Ordering::Relaxed);
        res.unwrap();
    });
    assert!(n_hits.into_inner() > 0, "the searches found something to check");
    assert_eq!(search(&index), 40);
}

/// Documents change between open and secret, all in the same words.
fn ingest(index: &Index) {
    for round in 0..8 {
        for i in 0..20 {
            let secret = (round + i) % 2 == 1;
            let word = if secret { "secret" } else { "ouvert" };
            let groups = if secret { vec!["board".to_owned()] } else { Vec::new() };
            let labels = Labels { groups, ..Labels::default() };
            let text = format!("partout {word} un\n\npartout {word} deux");
            let id = put(index, &format!("{i}.md"), &text, &labels);
            if i % 7 == 6 && round < 7 {
                assert!(index.catalog().delete(id).unwrap());
            }
        }
        index.apply().unwrap();
        index.optimize().unwrap();
    }
}

/// Searches as a reader without groups; returns how many hits there were.
fn search(index: &Index) -> u64 {
    let reader = Filter { groups: Some(Vec::new()), ..Filter::default() };
    let query = embed("partout secret un", DIM);
    let dense = index.search_dense(&query, &reader, 100).unwrap();
    let lexical = index.search_lexical("partout secret", None, &reader, 100).unwrap();
    let n_hits = (dense.len() + lexical.len()) as u64;
    for hit in dense.into_iter().chain(lexical) {
        // It may be gone again, but never become something else.
        for chunk in index.catalog().chunks(&[hit.chunk]).unwrap() {
            assert!(chunk.text.contains("ouvert"), "{chunk:?}");
        }
    }
    n_hits
}
