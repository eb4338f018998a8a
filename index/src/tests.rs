//! What hits are confirmed by, whatever happens during a search.

use ingest::chunk::Chunk;
use ingest::document::{Document, Language, MediaType, Metadata, Span};

use super::*;
use crate::catalog::tests::recipe;
use crate::catalog::{EmbeddedChunk, Labels, NewDocument, Source};

const TEXT: &str = "Le télétravail est permis.";

fn index(dir: &tempfile::TempDir) -> Index {
    Index::open_or_create(dir.path(), &recipe(), &mut |_| {}).unwrap()
}

fn source(path: &str) -> Source {
    Source {
        root: "/corpus".to_owned(),
        path: path.to_owned(),
        content_hash: path.to_owned(),
        size: 3,
        mtime_ns: 0,
    }
}

fn put(index: &Index, path: &str) -> DocumentId {
    let chunk = EmbeddedChunk {
        chunk: Chunk {
            context: String::new(),
            span: Span { start: 0, end: TEXT.len() },
            heading_path: Vec::new(),
            page: None,
            table_header: None,
            language: Some(Language::French),
        },
        vector: UnitVector::new(vec![3.0, 4.0]).unwrap(),
        simhash: 0,
    };
    let document = Document {
        title: "Charte".to_owned(),
        text: TEXT.to_owned(),
        media_type: MediaType::Markdown,
        language: Some(Language::French),
        pages: Vec::new(),
        headings: Vec::new(),
        metadata: Metadata::default(),
        findings: Vec::new(),
    };
    let new = NewDocument {
        source: &source(path),
        document: &document,
        labels: &Labels::default(),
        made_by: "test",
        ingested_at: 0,
        duplicate: None,
        signature: &[],
        chunks: &[chunk],
    };
    index.catalog().put(&new).unwrap()
}

/// What a search by words finds for somebody without a group when `change` happens, and reaches the
/// legs, between the leg's answer and the catalog's.
#[track_caller]
fn found_despite(index: &Index, change: impl Fn()) -> usize {
    let open_to_all = Filter { groups: Some(Vec::new()), ..Filter::default() };
    let hits = index.confirmed(&open_to_all, 9, |k| {
        let hits = index.legs.search_lexical("télétravail", None, &open_to_all, k)?;
        assert!(!hits.is_empty(), "the leg finds it");
        change();
        index.apply()?;
        assert_eq!(index.catalog().n_pending()?, 0);
        Ok(hits)
    });
    hits.unwrap().len()
}

#[test]
fn a_change_that_comes_and_is_applied_during_a_search_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let index = index(&dir);
    let (gone, closed) = (put(&index, "gone.md"), put(&index, "closed.md"));
    put(&index, "open.md");
    index.apply().unwrap();
    assert_eq!(found_despite(&index, || {}), 3);
    let delete = || assert!(index.catalog().delete(gone).unwrap());
    assert_eq!(found_despite(&index, delete), 2);
    let labels = Labels { groups: vec!["rh".to_owned()], ..Labels::default() };
    let close = || assert!(index.catalog().restate(closed, &source("closed.md"), &labels).unwrap());
    assert_eq!(found_despite(&index, close), 1);
}

#[test]
fn hits_are_looked_up_only_while_something_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let index = index(&dir);
    put(&index, "a.md");
    index.apply().unwrap();
    // No leg answers with a chunk that never was: here it shows whether the catalog was asked.
    let odd = || vec![Hit { chunk: ChunkId(999), score: 1.0 }];
    let confirmed = || index.confirmed(&Filter::default(), 9, |_| Ok(odd())).unwrap();
    assert_eq!(confirmed(), odd());
    put(&index, "b.md");
    assert!(confirmed().is_empty());
    index.apply().unwrap();
    assert_eq!(confirmed(), odd());
}
