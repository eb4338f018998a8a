//! Random operations on an index against a map that is obviously right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cluster::TestCluster;
use index::catalog::{CatalogError, Labels};
use index::filter::Filter;
use index::hit::{ChunkId, DocumentId, Hit};
use index::{Home, Index, Store};
use ingest::document::Language;
use proptest::prelude::*;
use support::{DIM, embed, put, recipe, source};

const WORDS: [&str; 6] = ["télétravail", "congé", "facture", "VPN", "contrat", "badge"];
const PATHS: [&str; 5] = ["a.md", "rh/b.md", "rh/c.md", "rh-2019/b.md", "it/poste/d.md"];

#[derive(Debug, Clone)]
enum Op {
    Put {
        path: usize,
        paragraphs: Vec<Vec<usize>>,
        labels: Labels,
    },
    Delete {
        path: usize,
    },
    Restate {
        path: usize,
        to: usize,
        labels: Labels,
    },
    Apply,
    Optimize,
    Reopen,
    /// What a crash leaves: files as they are, nothing closed.
    Crash,
}

fn labels() -> impl Strategy<Value = Labels> {
    let collection = prop::option::of(prop::sample::select(vec!["rh", "it"]));
    let groups = prop::collection::btree_set(prop::sample::select(vec!["staff", "board"]), 0..3);
    (collection, groups, prop::option::of(0..100_i64)).prop_map(|(collection, groups, modified)| {
        Labels {
            collection: collection.map(str::to_owned),
            licence: None,
            groups: groups.into_iter().map(str::to_owned).collect(),
            modified,
        }
    })
}

fn op() -> impl Strategy<Value = Op> {
    let path = || 0..PATHS.len();
    let paragraph = prop::collection::vec(0..WORDS.len(), 1..4);
    prop_oneof![
        6 => (path(), prop::collection::vec(paragraph, 0..4), labels())
            .prop_map(|(path, paragraphs, labels)| Op::Put { path, paragraphs, labels }),
        2 => path().prop_map(|path| Op::Delete { path }),
        3 => (path(), path(), labels())
            .prop_map(|(path, to, labels)| Op::Restate { path, to, labels }),
        3 => Just(Op::Apply),
        1 => Just(Op::Optimize),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let names = |names: &[&'static str]| {
        prop::collection::vec(prop::sample::select(names.to_vec()).prop_map(str::to_owned), 0..2)
    };
    let prefix =
        prop::sample::select(vec!["rh", "rh/", "it/poste", "rh/b.md", "/", "r", "nowhere"]);
    let languages = prop::sample::select(vec![
        vec![],
        vec![Language::French],
        vec![Language::English],
        vec![Language::English, Language::French],
    ]);
    (
        names(&["rh", "it"]),
        languages,
        prop::option::weighted(0.3, prefix.prop_map(str::to_owned)),
        prop::option::weighted(0.3, 0..100_i64),
        prop::option::weighted(0.3, 0..100_i64),
        prop::option::weighted(0.4, names(&["staff", "board"])),
    )
        .prop_map(|(collections, languages, path_prefix, from, to, groups)| Filter {
            collections,
            languages,
            path_prefix,
            modified_from: from,
            modified_to: to,
            groups,
        })
}

#[derive(Debug, Clone, PartialEq)]
struct ModelDocument {
    id: DocumentId,
    paragraphs: Vec<String>,
    labels: Labels,
}

/// The documents that there should be, by path.
type Model = BTreeMap<&'static str, ModelDocument>;

fn create(dir: &Path, store: &Store) -> Index {
    Index::open_or_create(Home { dir, store }, &recipe(), &mut |_| {}).unwrap()
}

struct World {
    store: Store,
    // Before the folder, so that it is closed first.
    index: Option<Index>,
    dir: tempfile::TempDir,
    model: Model,
    ids_given: BTreeSet<DocumentId>,
    chunks_seen: BTreeMap<ChunkId, String>,
}

impl World {
    fn new(store: Store) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Some(create(dir.path(), &store));
        let model = Model::new();
        Self { store, index, dir, model, ids_given: BTreeSet::new(), chunks_seen: BTreeMap::new() }
    }

    fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put { path, paragraphs, labels } => self.put(PATHS[path], &paragraphs, labels),
            Op::Delete { path } => {
                if let Some(it) = self.model.remove(PATHS[path]) {
                    assert!(self.index().catalog().delete(it.id).unwrap());
                    assert!(!self.index().catalog().delete(it.id).unwrap());
                }
            }
            Op::Restate { path, to, labels } => self.restate(PATHS[path], PATHS[to], labels),
            Op::Apply => {
                self.index().apply().unwrap();
                assert_eq!(self.index().catalog().counts().unwrap().pending, 0);
            }
            Op::Optimize => self.index().optimize().unwrap(),
            Op::Reopen => {
                self.index = None;
                self.index = Some(create(self.dir.path(), &self.store));
            }
            Op::Crash => {
                let copy = tempfile::tempdir().unwrap();
                copy_files(self.dir.path(), copy.path());
                self.index = None;
                self.dir = copy;
                self.index = Some(create(self.dir.path(), &self.store));
            }
        }
    }

    fn put(&mut self, path: &'static str, paragraphs: &[Vec<usize>], labels: Labels) {
        let texts: Vec<String> = paragraphs
            .iter()
            .map(|words| words.iter().map(|&it| WORDS[it]).collect::<Vec<_>>().join(" "))
            .collect();
        let id = put(self.index(), path, &texts.join("\n\n"), &labels);
        match self.model.get(path) {
            Some(before) => assert_eq!(id, before.id, "a replaced document keeps its identity"),
            None => assert!(self.ids_given.insert(id), "an identity is never used again"),
        }
        self.model.insert(path, ModelDocument { id, paragraphs: texts, labels });
    }

    fn restate(&mut self, path: &'static str, to: &'static str, labels: Labels) {
        let Some(document) = self.model.get(path).cloned() else { return };
        let text = document.paragraphs.join("\n\n");
        let res = self.index().catalog().restate(document.id, &source(to, &text), &labels);
        if to != path && self.model.contains_key(to) {
            assert!(matches!(res.unwrap_err(), CatalogError::Occupied { path } if path == to));
            return;
        }
        assert!(res.unwrap());
        self.model.remove(path);
        self.model.insert(to, ModelDocument { labels, ..document });
    }

    fn live(mut self, steps: Vec<(Op, Filter, usize)>) {
        for (op, filter, word) in steps {
            self.run(op);
            self.check(&filter, WORDS[word]);
        }
        self.run(Op::Apply);
        for word in WORDS {
            self.check(&Filter::default(), word);
        }
    }

    /// Compares everything that can be asked.
    fn check(&mut self, filter: &Filter, query: &str) {
        let live = self.check_catalog();
        let pending = self.index().catalog().counts().unwrap().pending > 0;
        for k in [3, 40] {
            self.check_dense(&live, pending, filter, query, k);
        }
        self.check_lexical(&live, pending, filter, query);
    }

    /// Checks documents and chunks, and returns the chunks that a search may find: text by id.
    fn check_catalog(&mut self) -> BTreeMap<ChunkId, (String, DocumentId)> {
        let catalog = self.index.as_ref().unwrap().catalog();
        let stored = catalog.list().unwrap();
        assert_eq!(stored.len(), self.model.len());
        let mut live = BTreeMap::new();
        for document in stored {
            let expected = &self.model[document.source.path.as_str()];
            assert_eq!(document.id, expected.id);
            assert_eq!(document.labels, expected.labels);
            let ids = catalog.chunk_ids(document.id).unwrap();
            let chunks = catalog.chunks(&ids).unwrap();
            let texts: Vec<&str> = chunks.iter().map(|it| it.text.as_str()).collect();
            assert_eq!(texts, expected.paragraphs);
            for chunk in chunks {
                assert_eq!(chunk.facets.path, document.source.path);
                assert_eq!(chunk.facets.groups, expected.labels.groups);
                let first = self.chunks_seen.entry(chunk.id).or_insert_with(|| chunk.text.clone());
                assert_eq!(*first, chunk.text, "a chunk's identity is never used again");
                live.insert(chunk.id, (chunk.text, document.id));
            }
        }
        live
    }

    fn passes(&self, filter: &Filter, chunk: ChunkId) -> bool {
        let chunks = self.index().catalog().chunks(&[chunk]).unwrap();
        chunks.first().is_some_and(|it| filter.matches(&it.facets))
    }

    fn check_dense(
        &self,
        live: &BTreeMap<ChunkId, (String, DocumentId)>,
        pending: bool,
        filter: &Filter,
        query: &str,
        k: usize,
    ) {
        let query = embed(query, DIM);
        let hits = self.index().search_dense(&query, filter, k).unwrap();
        assert_valid(&hits);
        for hit in &hits {
            let score = embed(&live[&hit.chunk].0, DIM).cosine(&query);
            assert!((hit.score - score).abs() < 1e-5, "{hit:?} should score {score}");
            assert!(self.passes(filter, hit.chunk), "{hit:?} does not pass {filter:?}");
        }
        // Until the outbox is applied a hit may be missing, but none may be wrong.
        if pending {
            return;
        }
        let mut scores: Vec<f32> = live
            .iter()
            .filter(|&(&id, _)| self.passes(filter, id))
            .map(|(_, (text, _))| embed(text, DIM).cosine(&query))
            .collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(k);
        assert_eq!(hits.len(), scores.len(), "{filter:?}");
        for (hit, score) in hits.iter().zip(scores) {
            assert!((hit.score - score).abs() < 1e-5, "{hit:?} stands where {score} should");
        }
    }

    fn check_lexical(
        &self,
        live: &BTreeMap<ChunkId, (String, DocumentId)>,
        pending: bool,
        filter: &Filter,
        query: &str,
    ) {
        let hits = self.index().search_lexical(query, None, filter, 40).unwrap();
        assert_valid(&hits);
        let found: BTreeSet<ChunkId> = hits.iter().map(|it| it.chunk).collect();
        let expected: BTreeSet<ChunkId> = live
            .iter()
            .filter(|(id, (text, _))| text.contains(query) && self.passes(filter, **id))
            .map(|(&id, _)| id)
            .collect();
        if pending {
            assert!(found.is_subset(&expected), "{found:?} {expected:?}");
        } else {
            assert_eq!(found, expected, "`{query}` {filter:?}");
        }
    }
}

#[track_caller]
fn assert_valid(hits: &[Hit]) {
    let order = |a: &Hit, b: &Hit| b.score.total_cmp(&a.score).then(a.chunk.cmp(&b.chunk));
    assert!(hits.is_sorted_by(|a, b| order(a, b).is_lt()), "each once, best first: {hits:?}");
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs_err::create_dir(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn the_index_agrees_with_a_map(
        steps in prop::collection::vec((op(), filter(), 0..WORDS.len()), 1..20),
    ) {
        World::new(Store::Embedded).live(steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn an_index_on_a_cluster_agrees_with_a_map(
        steps in prop::collection::vec((op(), filter(), 0..WORDS.len()), 1..12),
    ) {
        if let Some(cluster) = TestCluster::named("model") {
            World::new(cluster.store()).live(steps);
        }
    }
}
