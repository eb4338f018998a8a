//! Searches of the index alone, with vectors as questions: how long they take, what they find, and what
//! changes cost.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use index::{
    Index,
    filter::Filter,
    fuse::{FuseSettings, fuse},
    unit_vector::UnitVector,
};
use ingest::document::Language;

use crate::{
    corpus::{CHUNKS_A_DOCUMENT, Numbers, collection_of, open, path_of, put, vectors},
    process::memory,
    questions,
};

/// Searches of a kind.
pub(crate) const N_QUERIES: usize = 1_000;
/// Questions whose hits are compared with all chunks.
const N_COMPARED: usize = 200;
/// Hits that a search asks each leg for: as many as the program does by default.
pub(crate) const K: usize = 100;

pub(crate) fn measure(dir: &Path, n_chunks: usize, model: Option<&Path>) -> Result<()> {
    let mut numbers = Numbers::of(4, 0);
    let start = Instant::now();
    let index = open(dir);
    let opened = start.elapsed();
    let n_documents = n_chunks / CHUNKS_A_DOCUMENT;
    hybrid(&index, &Filter::default(), n_documents, &mut numbers);
    println!(
        "open: {:.0} ms, with the first search {:.0} ms",
        opened.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
    let few = Filter { path_prefix: Some("dossier-7".to_owned()), ..Filter::default() };
    let tenth = Filter { collections: vec![collection_of(7)], ..Filter::default() };
    let filters =
        [("no filter", Filter::default()), ("1 in 100 passes", few), ("1 in 10 passes", tenth)];
    for (what, filter) in &filters {
        searches(&index, what, filter, n_documents, &mut numbers);
        recall(&index, what, n_documents, filter);
    }
    report_memory("the searching process");
    if let Some(model) = model {
        let embedder = questions::embedder(model)?;
        for (what, filter) in &filters {
            questions::searches(&index, &embedder, what, filter, n_documents)?;
        }
        report_memory("the searching process with the embedder");
    }
    change(&index, n_documents);
    Ok(())
}

fn report_memory(of: &str) {
    println!(
        "memory of {of}: {} MB, of which {} MB are not mapped files",
        memory("VmRSS"),
        memory("RssAnon")
    );
}

/// Prints how long searches took, and their parts.
pub(crate) fn report<const N: usize>(names: [&str; N], what: &str, all: &[[Duration; N]]) {
    for (i, name) in names.into_iter().enumerate() {
        let mut times: Vec<Duration> = all.iter().map(|it| it[i]).collect();
        times.sort_unstable();
        let at = |share: f64| times[(share * times.len() as f64) as usize].as_secs_f64() * 1e3;
        println!("{name}, {what}: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    }
}

/// A question of six words with a vector near some document's: both legs at once, and their fusion.
fn hybrid(
    index: &Index,
    filter: &Filter,
    n_documents: usize,
    numbers: &mut Numbers,
) -> [Duration; 3] {
    let words: Vec<String> = (0..6).map(|_| numbers.word()).collect();
    let (question, vector) = (words.join(" "), numbers.question(n_documents));
    let start = Instant::now();
    let (lexical, dense, times) = thread::scope(|scope| {
        let lexical = scope.spawn(|| {
            let found = index.search_lexical(&question, Some(Language::French), filter, K);
            (found.expect("the lexical leg answers"), start.elapsed())
        });
        let dense = index.search_dense(&vector, filter, K).expect("the dense leg answers");
        let of_dense = start.elapsed();
        let (lexical, of_lexical) = lexical.join().expect("it does not panic");
        (lexical, dense, (of_lexical, of_dense))
    });
    let fused = fuse(&lexical, &dense, &FuseSettings::measured(true));
    assert!(!fused.is_empty(), "a question finds something");
    [start.elapsed(), times.0, times.1]
}

fn searches(index: &Index, what: &str, filter: &Filter, n_documents: usize, numbers: &mut Numbers) {
    let all: Vec<[Duration; 3]> =
        (0..N_QUERIES).map(|_| hybrid(index, filter, n_documents, numbers)).collect();
    report(["hybrid search", "lexical search", "dense search"], what, &all);
}

/// Share of the ten nearest vectors that a search finds among its first ten. The corpus is made
/// again and compared with all questions, a document at a time.
fn recall(index: &Index, what: &str, n_documents: usize, filter: &Filter) {
    let mut numbers = Numbers::of(5, 0);
    let questions: Vec<UnitVector> =
        (0..N_COMPARED).map(|_| numbers.question(n_documents)).collect();
    let mut nearest: Vec<Vec<f32>> = vec![Vec::new(); N_COMPARED];
    let passes = |i: usize| {
        let prefix = filter.path_prefix.as_ref().map(|it| format!("{it}/"));
        let collections = &filter.collections;
        prefix.is_none_or(|it| path_of(i).starts_with(&it))
            && (collections.is_empty() || collections.contains(&collection_of(i)))
    };
    for i in (0..n_documents).filter(|&i| passes(i)) {
        for vector in vectors(i) {
            for (question, nearest) in questions.iter().zip(&mut nearest) {
                let score = dot(question.as_slice(), vector.as_slice());
                let at = nearest.partition_point(|it| *it >= score);
                if at < 10 {
                    nearest.insert(at, score);
                    nearest.truncate(10);
                }
            }
        }
    }
    let (mut n_found, mut n_all) = (0, 0);
    for (question, nearest) in questions.iter().zip(&nearest) {
        let hits = index.search_dense(question, filter, 10).expect("the dense leg answers");
        let least = nearest.last().copied().unwrap_or_default();
        n_found += hits.iter().filter(|it| it.score > least - 1e-5).count();
        n_all += nearest.len();
    }
    println!("recall@10 of the dense leg, {what}: {:.4}", n_found as f64 / n_all as f64);
}

/// In lanes, so that the compiler may use vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// One document more until it is found, and gone again.
fn change(index: &Index, new: usize) {
    let found = |index: &Index| {
        let hits = index.search_lexical("trouvaille", None, &Filter::default(), 1);
        !hits.expect("the lexical leg answers").is_empty()
    };
    let start = Instant::now();
    put(index, new, "trouvaille ");
    index.apply().expect("both legs take the document");
    assert!(found(index), "a document that was added is found");
    let added = start.elapsed();
    let found_now = index.catalog().find("/corpus", &path_of(new)).expect("the catalog answers");
    let id = found_now.expect("it is there").id;
    let start = Instant::now();
    index.catalog().delete(id).expect("the catalog deletes");
    assert!(!found(index), "a document that was deleted is gone at once");
    let gone = start.elapsed();
    index.apply().expect("both legs drop the document");
    println!(
        "one document: found {:.0} ms after it came, gone {:.1} ms after it was deleted, and from \
         both legs after {:.0} ms",
        added.as_secs_f64() * 1e3,
        gone.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
}
