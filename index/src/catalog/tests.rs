//! What the model test of the whole index does not reach.

use ingest::chunk::Chunk;
use ingest::document::{
    Document, Finding, Heading, Hidden, Language, MediaType, Metadata, PageStart, Span,
};

use super::*;
use crate::filter::{Facets, Filter};
use crate::fingerprint::EmbedderPrint;
use crate::hit::{DocumentId, Hit};
use crate::unit_vector::UnitVector;

/// Of vectors of two dimensions.
pub(crate) fn recipe() -> Recipe {
    Recipe {
        embedder: EmbedderPrint {
            id: "two".to_owned(),
            weights_sha256: "0".repeat(64),
            dim: 2,
            pooling: "cls".to_owned(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
            precision: "f32".to_owned(),
        },
        chunk_tokens_max: 8,
        chunk_overlap: 0,
    }
}

fn catalog(dir: &tempfile::TempDir) -> Catalog {
    let catalog = Catalog::open(&dir.path().join(Catalog::FILE)).unwrap();
    catalog.start(&recipe()).unwrap();
    catalog
}

fn source(path: &str) -> Source {
    Source {
        root: "/corpus".to_owned(),
        path: path.to_owned(),
        content_hash: "abc".to_owned(),
        size: 3,
        mtime_ns: -5,
    }
}

/// A document with something in every field.
fn document(text: &str) -> Document {
    Document {
        title: "Congés payés".to_owned(),
        text: text.to_owned(),
        media_type: MediaType::Pptx,
        language: Some(Language::French),
        pages: vec![PageStart { page: 1, offset: 0 }, PageStart { page: 2, offset: 5 }],
        headings: vec![Heading { level: 2, title: "Été".to_owned(), offset: 0 }],
        metadata: Metadata::default(),
        findings: vec![
            Finding::InvisibleText { kind: Hidden::Tag, n_chars: 3 },
            Finding::Instruction { quote: "ignore \"all\"".to_owned() },
            Finding::NoTextLayer { pages: vec![4, 5] },
            Finding::LeftOut { what: "a macro".to_owned() },
        ],
    }
}

fn chunk(start: usize, end: usize, table_header: Option<Span>) -> EmbeddedChunk {
    EmbeddedChunk {
        chunk: Chunk {
            context: String::new(),
            span: Span { start, end },
            heading_path: vec!["Été".to_owned(), "a / b".to_owned()],
            page: Some(2),
            table_header,
            language: Some(Language::English),
        },
        vector: UnitVector::new(vec![3.0, 4.0]).unwrap(),
        simhash: u64::MAX - 1,
    }
}

fn put(
    catalog: &Catalog,
    path: &str,
    text: &str,
    chunks: &[EmbeddedChunk],
    duplicate: Option<Duplicate>,
) -> Result<DocumentId, CatalogError> {
    catalog.put(&NewDocument {
        source: &source(path),
        document: &document(text),
        labels: &Labels {
            collection: Some("rh".to_owned()),
            licence: Some("interne".to_owned()),
            groups: vec!["staff".to_owned()],
            modified: Some(-1),
        },
        made_by: "parser 3",
        ingested_at: 9,
        duplicate,
        signature: &[1, 255],
        chunks,
    })
}

#[test]
fn a_document_comes_back_as_it_was_put() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let text = "|é|b|\n|c|d|";
    let header = Span { start: 0, end: 6 };
    let id = put(&catalog, "a.pptx", text, &[chunk(7, 12, Some(header))], None).unwrap();

    let stored = catalog.find("/corpus", "a.pptx").unwrap().unwrap();
    assert_eq!(stored.id, id);
    assert_eq!(stored.source, source("a.pptx"));
    assert_eq!((stored.title.as_str(), stored.made_by.as_str()), ("Congés payés", "parser 3"));
    assert_eq!((stored.media_type, stored.language), (MediaType::Pptx, Some(Language::French)));
    assert_eq!(stored.labels.licence.as_deref(), Some("interne"));
    assert_eq!(stored.findings, document(text).findings);
    assert_eq!((stored.ingested_at, stored.n_chunks), (9, 1));
    assert_eq!(catalog.with_hash("abc").unwrap(), [stored]);
    assert_eq!(catalog.signatures().unwrap(), [(id, vec![1, 255])]);

    let kept = catalog.text(id).unwrap().unwrap();
    assert_eq!(kept.text, text);
    assert_eq!((kept.pages, kept.headings), (document(text).pages, document(text).headings));

    let ids = catalog.chunk_ids(id).unwrap();
    let [chunk] = &catalog.chunks(&ids).unwrap()[..] else { panic!("one chunk was put") };
    assert_eq!(chunk.text, "|c|d|");
    assert_eq!(chunk.table_header.as_deref(), Some("|é|b|"));
    assert_eq!(chunk.heading_path, ["Été", "a / b"]);
    assert_eq!((chunk.page, chunk.simhash), (Some(2), u64::MAX - 1));
    assert_eq!(chunk.facets.language, Some(Language::English), "its own, not its document's");
}

/// A catalog of documents of several collections and groups, one of them in no collection.
fn shared_catalog(dir: &tempfile::TempDir) -> Catalog {
    let catalog = catalog(dir);
    for (path, collection, groups) in [
        ("hr/leave.md", Some("people"), &[][..]),
        ("hr/pay/levels.md", Some("people"), &["board", "it's \"hr\""][..]),
        ("hr-2019/old.md", Some("archive"), &["board"][..]),
        ("loose.md", None, &[][..]),
    ] {
        catalog
            .put(&NewDocument {
                source: &source(path),
                document: &document("abc"),
                labels: &Labels {
                    collection: collection.map(str::to_owned),
                    groups: groups.iter().map(|&it| it.to_owned()).collect(),
                    ..Labels::default()
                },
                made_by: "parser 3",
                ingested_at: 9,
                duplicate: None,
                signature: &[],
                chunks: &[chunk(0, 1, None), chunk(1, 3, None)],
            })
            .unwrap();
    }
    catalog
}

#[test]
fn collections_and_paths_are_those_that_the_reader_may_see() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = shared_catalog(&dir);
    let readers = |groups: &[&str]| groups.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    for (groups, expected) in [
        (None, &[("archive", 1, 2), ("people", 2, 4)][..]),
        (Some(readers(&["board", "staff"])), &[("archive", 1, 2), ("people", 2, 4)]),
        (Some(readers(&["it's \"hr\""])), &[("people", 2, 4)]),
        (Some(readers(&["staff"])), &[("people", 1, 2)]),
        (Some(readers(&[])), &[("people", 1, 2)]),
    ] {
        let found = catalog.collections(groups.as_deref()).unwrap();
        let found: Vec<_> =
            found.iter().map(|it| (it.name.as_str(), it.documents, it.chunks)).collect();
        assert_eq!(found, expected, "{groups:?}");
        let names = catalog.collection_names(groups.as_deref()).unwrap();
        assert_eq!(names, found.iter().map(|it| it.0).collect::<Vec<_>>(), "{groups:?}");
        for name in ["archive", "people", "loose"] {
            let has = catalog.has_collection(name, groups.as_deref()).unwrap();
            assert_eq!(has, names.iter().any(|it| it == name), "{name} {groups:?}");
        }
        // One document more is in no collection, and open to all.
        let expected = ReadableCounts {
            documents: found.iter().map(|it| it.1).sum::<u64>() + 1,
            chunks: found.iter().map(|it| it.2).sum::<u64>() + 2,
        };
        assert_eq!(catalog.readable(groups.as_deref()).unwrap(), expected, "{groups:?}");
    }
    for (prefix, groups, expected) in [
        ("hr", None, true),
        ("/hr/", None, true),
        ("", None, true),
        ("hr/leave.md", None, true),
        ("h", None, false),
        ("hr/lea", None, false),
        ("hr-2019", None, true),
        ("hr-2019", Some(readers(&["staff"])), false),
        ("hr/pay", Some(readers(&[])), false),
        ("hr/pay", Some(readers(&["board"])), true),
    ] {
        let found = catalog.has_path(prefix, groups.as_deref()).unwrap();
        assert_eq!(found, expected, "{prefix} {groups:?}");
        // It is what a filter lets through.
        let filter = Filter { path_prefix: Some(prefix.to_owned()), groups, ..Filter::default() };
        let documents = catalog.list().unwrap();
        let passes = documents.iter().any(|it| {
            let (path, groups) = (it.source.path.clone(), it.labels.groups.clone());
            filter.matches(&Facets { path, groups, ..Facets::default() })
        });
        assert_eq!(found, passes, "{filter:?}");
    }
}

#[test]
fn every_media_type_has_a_name_of_its_own() {
    for media_type in encode::MEDIA_TYPES {
        assert_eq!(encode::media_type(encode::media_type_name(media_type)).unwrap(), media_type);
    }
}

#[test]
fn neighbours_come_in_reading_order_and_stop_at_the_ends() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let chunks: Vec<_> = (0..5).map(|i| chunk(i, i + 1, None)).collect();
    let id = put(&catalog, "a", "abcde", &chunks, None).unwrap();
    let ids = catalog.chunk_ids(id).unwrap();
    let texts = |at: usize, before, after| -> String {
        let chunks = catalog.neighbours(ids[at], before, after).unwrap();
        chunks.into_iter().map(|it| it.text).collect()
    };
    assert_eq!(texts(2, 1, 1), "bcd");
    assert_eq!(texts(0, 3, 1), "ab");
    assert_eq!(texts(4, 0, u32::MAX), "e");
    assert!(catalog.delete(id).unwrap());
    assert_eq!(catalog.neighbours(ids[2], 1, 1).unwrap(), []);
}

#[test]
fn hits_are_scored_again_by_the_vectors_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let with_vector =
        |x, y| EmbeddedChunk { vector: UnitVector::new(vec![x, y]).unwrap(), ..chunk(0, 1, None) };
    let chunks = [with_vector(3.0, 4.0), with_vector(1.0, 0.0), with_vector(0.0, -2.0)];
    let id = put(&catalog, "a.pptx", "a", &chunks, None).unwrap();
    let ids = catalog.chunk_ids(id).unwrap();
    let gone = crate::hit::ChunkId(ids[2].0 + 1);
    // As a leg might score them, in its order.
    let asked = [gone, ids[2], ids[0], ids[1]].map(|chunk| Hit { chunk, score: 0.5 });
    let question = UnitVector::new(vec![1.0, 0.0]).unwrap();
    let scored = catalog.rescore(&question, asked.to_vec()).unwrap();
    let expected = [(ids[0], 0.6), (ids[1], 1.0), (ids[2], 0.0)];
    assert_eq!(scored, expected.map(|(chunk, score)| Hit { chunk, score }));
    let three = UnitVector::new(vec![1.0, 0.0, 0.0]).unwrap();
    let error = catalog.rescore(&three, asked.to_vec()).unwrap_err();
    assert!(matches!(error, CatalogError::Damaged { .. }), "{error}");
}

#[test]
fn a_duplicate_stands_alone_once_its_original_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let of = put(&catalog, "a", "text", &[], None).unwrap();
    let duplicate = Duplicate { of, similarity: 0.5 };
    let id = put(&catalog, "b", "text", &[], Some(duplicate)).unwrap();
    assert_eq!(catalog.get(id).unwrap().unwrap().duplicate, Some(duplicate));
    assert_eq!(catalog.counts().unwrap().duplicates, 1);
    let originals = || {
        let found = catalog.signatures_of_originals().unwrap().into_iter();
        found.map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(originals(), [of]);
    assert!(catalog.delete(of).unwrap());
    assert_eq!(originals(), [id]);
    assert_eq!(catalog.get(id).unwrap().unwrap().duplicate, None);
}

#[test]
fn chunks_that_do_not_fit_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    for (start, end) in [(1, 2), (0, 9), (3, 2)] {
        let error = put(&catalog, "a", "é!", &[chunk(start, end, None)], None).unwrap_err();
        assert!(matches!(error, CatalogError::BadSpan { ordinal: 0, .. }), "{error}");
    }
    let outside = Some(Span { start: 1, end: 3 });
    let error = put(&catalog, "a", "é!", &[chunk(0, 2, outside)], None).unwrap_err();
    assert!(matches!(error, CatalogError::BadSpan { .. }), "{error}");
    let mut wide = chunk(0, 2, None);
    wide.vector = UnitVector::new(vec![1.0; 3]).unwrap();
    let error = put(&catalog, "a", "é!", &[chunk(0, 2, None), wide], None).unwrap_err();
    assert!(
        matches!(error, CatalogError::BadVector { ordinal: 1, expected: 2, found: 3, .. }),
        "{error}"
    );
    assert_eq!(catalog.counts().unwrap(), Counts::default());
}

#[test]
fn a_full_disk_changes_nothing_and_the_next_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    put(&catalog, "a", "kept", &[chunk(0, 4, None)], None).unwrap();
    let before = (catalog.list().unwrap(), catalog.counts().unwrap());
    let large = "x".repeat(1 << 20);

    // SQLite reports a file that may not grow in the same way as a full disk.
    catalog.writer().unwrap().pragma_update(None, "max_page_count", 60).unwrap();
    let error = put(&catalog, "b", &large, &[chunk(0, 4, None)], None).unwrap_err();
    assert!(matches!(error, CatalogError::DiskFull), "{error:?}");
    assert!(error.hint().is_some());
    assert_eq!((catalog.list().unwrap(), catalog.counts().unwrap()), before);

    catalog.writer().unwrap().pragma_update(None, "max_page_count", 1 << 30).unwrap();
    put(&catalog, "b", &large, &[chunk(0, 4, None)], None).unwrap();
    assert_eq!(catalog.counts().unwrap().documents, 2);
}

#[test]
fn a_deleted_text_leaves_no_trace_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let secret = "numéro de dossier 8431-confidentiel";
    let id = put(&catalog, "a", &secret.repeat(200), &[], None).unwrap();
    assert!(catalog.delete(id).unwrap());
    drop(catalog);
    let bytes = fs_err::read(dir.path().join(Catalog::FILE)).unwrap();
    let found = bytes.windows(secret.len()).any(|it| it == secret.as_bytes());
    assert!(!found, "a deletion is a deletion");
}

/// It once walked all chunks of the catalog, for each document twice.
#[test]
fn a_document_costs_no_more_in_a_large_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&dir);
    let n_steps = |id: DocumentId| {
        let writer = catalog.writer().unwrap();
        let mut statement = writer.prepare(write::ANNOUNCE).unwrap();
        statement.execute([id.0]).unwrap();
        statement.get_status(rusqlite::StatementStatus::VmStep)
    };
    let chunks = vec![chunk(0, 4, None); 3];
    let id = put(&catalog, "a", "text", &chunks, None).unwrap();
    let alone = n_steps(id);
    for i in 0..100 {
        put(&catalog, &format!("other {i}"), "text", &chunks, None).unwrap();
    }
    let among_others = n_steps(id);
    assert!(among_others <= 2 * alone, "{alone} steps became {among_others}");
}
