//! The index on a real Qdrant server: that it finds what the embedded one finds, and that nothing
//! of others is taken for ours. Skipped, loudly, unless `QDRANT_URL` names a server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster::TestCluster;
use index::catalog::Labels;
use index::filter::Filter;
use index::fingerprint::Recipe;
use index::hit::Hit;
use index::{ClusterError, Home, Index, IndexError, OpenError, Store};
use ingest::document::Language;
use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, VectorParamsBuilder};
use support::{DIM, embed, put, recipe};

/// Texts of different lengths in two languages, in which words repeat.
const TEXTS: [&str; 8] = [
    "Les congés payés sont de cinq semaines par an.\n\nLe congé sans solde se demande par écrit.",
    "Paid leave is five weeks a year.\n\nUnpaid leave is asked for in writing, and leave is leave.",
    "Le télétravail : deux jours par semaine, sur accord du responsable.",
    "Remote work: two days a week, when your manager agrees. Code RH-2024-017.",
    "Le badge ouvre la porte du parking et celle du bureau ; un badge perdu se signale.",
    "VPN",
    "The VPN needs your badge number, RH-2024-017 on the form, and a password of the IT desk.",
    "Facture, factures, facturation : la facture part le 5 du mois et la facture suit le contrat.",
];

const QUESTIONS: [(&str, Option<Language>); 6] = [
    ("combien de congés payés par an ?", Some(Language::French)),
    ("how many weeks of paid leave?", Some(Language::English)),
    ("badge VPN", None),
    ("RH-2024-017", None),
    ("facture du mois", Some(Language::French)),
    ("rien de tout cela", Some(Language::French)),
];

fn open(dir: &Path, store: &Store) -> Result<Index, OpenError> {
    Index::open_or_create(Home { dir, store }, &recipe(), &mut |_| {})
}

fn filled(dir: &Path, store: &Store) -> Index {
    let index = open(dir, store).unwrap();
    for (i, text) in TEXTS.iter().enumerate() {
        let groups = if i % 3 == 0 { vec!["staff".to_owned()] } else { Vec::new() };
        let collection = Some(if i % 2 == 0 { "rh" } else { "it" }.to_owned());
        let labels = Labels { collection, licence: None, groups, modified: Some(i as i64) };
        put(&index, &format!("docs/{i}.md"), text, &labels);
    }
    index.apply().unwrap();
    index.optimize().unwrap();
    index
}

#[track_caller]
fn check_alike(a: &[Hit], b: &[Hit]) {
    assert_eq!(a.len(), b.len(), "{a:?} {b:?}");
    for (a, b) in a.iter().zip(b) {
        // The embedded leg keeps lengths in one byte.
        assert!((a.score - b.score).abs() <= 0.02 * a.score.abs(), "{a:?} {b:?}");
    }
    let ids = |hits: &[Hit]| hits.iter().map(|it| it.chunk).collect::<BTreeSet<_>>();
    assert_eq!(ids(a), ids(b));
}

#[test]
fn it_finds_what_the_embedded_legs_find() {
    let Some(cluster) = TestCluster::named("alike") else { return };
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let embedded = filled(dir_a.path(), &Store::Embedded);
    let remote = filled(dir_b.path(), &cluster.store());
    assert_eq!(remote.leg_counts().unwrap(), embedded.leg_counts().unwrap());
    let filters = [
        Filter::default(),
        Filter { collections: vec!["rh".to_owned()], ..Filter::default() },
        Filter { groups: Some(Vec::new()), ..Filter::default() },
        Filter { groups: Some(vec!["staff".to_owned()]), ..Filter::default() },
        Filter { modified_from: Some(2), modified_to: Some(5), ..Filter::default() },
        Filter { path_prefix: Some("docs/3.md".to_owned()), ..Filter::default() },
        Filter { languages: vec![Language::English], ..Filter::default() },
    ];
    for (question, language) in QUESTIONS {
        for filter in &filters {
            let words = |it: &Index| it.search_lexical(question, language, filter, 50).unwrap();
            check_alike(&words(&embedded), &words(&remote));
            let vector = embed(question, DIM);
            let near = |it: &Index| it.search_dense(&vector, filter, 50).unwrap();
            check_alike(&near(&embedded), &near(&remote));
        }
        let weights = |it: &Index| it.term_weights(question, language).unwrap();
        let (a, b) = (weights(&embedded), weights(&remote));
        assert!(a.keys().eq(b.keys()), "{a:?} {b:?}");
        for (term, weight) in &a {
            assert!((weight - b[term]).abs() < 1e-3, "{term}: {weight} {}", b[term]);
        }
        for hit in remote.search_lexical(question, language, &Filter::default(), 3).unwrap() {
            let terms = remote.explain_lexical(question, language, hit.chunk).unwrap();
            let sum: f32 = terms.iter().map(|it| it.score).sum();
            assert!((sum - hit.score).abs() < 1e-3 * hit.score, "{terms:?} {hit:?}");
        }
    }
    assert_eq!(remote.n_searchable().unwrap(), embedded.n_searchable().unwrap());
}

#[test]
fn changes_and_rights_reach_the_cluster_and_a_lost_collection_is_made_anew() {
    let Some(cluster) = TestCluster::named("changes") else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = cluster.store();
    let index = filled(dir.path(), &store);
    let find = |index: &Index, groups: Option<Vec<String>>| {
        let filter = Filter { groups, ..Filter::default() };
        index.search_lexical("congé", Some(Language::French), &filter, 10).unwrap().len()
    };
    assert_eq!((find(&index, None), find(&index, Some(Vec::new()))), (2, 0));
    put(&index, "docs/0.md", TEXTS[0], &Labels::default());
    index.apply().unwrap();
    assert_eq!((find(&index, None), find(&index, Some(Vec::new()))), (2, 2));
    let id = index.catalog().find("/corpus", "docs/0.md").unwrap().unwrap().id;
    index.catalog().delete(id).unwrap();
    assert_eq!(find(&index, None), 0, "gone at once");
    index.apply().unwrap();
    let before = index.leg_counts().unwrap();
    assert_eq!(before.dense, index.catalog().counts().unwrap().chunks);
    drop(index);

    let [collection] = cluster.collections().try_into().unwrap();
    cluster.ask(|it| async move { it.delete_collection(collection).await }).unwrap();
    let index = open(dir.path(), &store).unwrap();
    assert_eq!(index.leg_counts().unwrap(), before);
    drop(index);
    // With a new generation, the former one goes, and searches find the new one by the same name.
    let again = Index::rebuild(
        Home { dir: dir.path(), store: &store },
        &recipe(),
        &mut |_| unreachable!("the recipe is the same"),
        &mut |_| {},
    );
    assert_eq!(again.unwrap().leg_counts().unwrap(), before);
    assert_eq!(cluster.collections().len(), 1);
}

#[test]
fn a_name_that_stands_for_something_else_is_refused_and_left_alone() {
    let Some(cluster) = TestCluster::named("others") else { return };
    let name = cluster.settings.collection.clone();
    let vectors = VectorParamsBuilder::new(4, Distance::Dot);
    let foreign = CreateCollectionBuilder::new(&name).vectors_config(vectors);
    cluster.ask(|it| async move { it.create_collection(foreign).await }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = cluster_error(open(dir.path(), &cluster.store()));
    assert!(matches!(&error, ClusterError::NotOurs { collection } if *collection == name));
    assert!(error.hint().unwrap().contains("qdrant.collection"));
    assert_eq!(cluster.collections(), std::slice::from_ref(&name));
    cluster.ask(|it| async move { it.delete_collection(name).await }).unwrap();

    let first = filled(dir.path(), &cluster.store());
    let other = tempfile::tempdir().unwrap();
    let error = cluster_error(open(other.path(), &cluster.store()));
    assert!(matches!(error, ClusterError::OtherCatalog { .. }), "{error}");
    assert_eq!(first.leg_counts().unwrap().dense, first.catalog().counts().unwrap().chunks);
}

#[test]
fn another_embedder_is_refused_until_the_index_is_rebuilt() {
    let Some(cluster) = TestCluster::named("embedder") else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = cluster.store();
    drop(filled(dir.path(), &store));
    let mut other = recipe();
    other.embedder.dim = 8;
    let home = Home { dir: dir.path(), store: &store };
    let open = |recipe: &Recipe| Index::open(home, recipe, &mut |_| {});
    assert!(matches!(open(&other), Err(OpenError::EmbedderMismatch { .. })));
    let mut recut = |documents: &[(_, index::catalog::StoredText)]| {
        Ok(documents.iter().map(|(_, it)| support::cut(&it.text, 8)).collect())
    };
    let rebuilt = Index::rebuild(home, &other, &mut recut, &mut |_| {}).unwrap();
    let question = embed("badge", 8);
    assert!(!rebuilt.search_dense(&question, &Filter::default(), 3).unwrap().is_empty());
    let wrong = rebuilt.search_dense(&embed("badge", DIM), &Filter::default(), 3).unwrap_err();
    assert!(matches!(wrong, IndexError::Cluster(ClusterError::BadQuery { .. })), "{wrong}");
}

#[test]
fn a_folder_of_one_store_is_not_opened_with_another() {
    let Some(cluster) = TestCluster::named("stores") else { return };
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), &Store::Embedded));
    let error = open(dir.path(), &cluster.store()).unwrap_err();
    assert!(matches!(error, OpenError::OtherStore { .. }), "{error}");
    assert!(error.hint().unwrap().contains("migrate --to qdrant"));
    assert!(cluster.collections().is_empty());
}

#[test]
fn a_reader_needs_nothing_but_the_cluster() {
    let Some(cluster) = TestCluster::named("reader") else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = cluster.store();
    let owner = filled(dir.path(), &store);
    let (built, reader) = Index::follow(&cluster.settings, Some(&recipe())).unwrap();
    assert_eq!(built, recipe());
    assert!(reader.only_reads() && !owner.only_reads());
    let (a, b) = (owner.catalog(), reader.catalog());
    let documents = a.list().unwrap();
    assert_eq!(documents, b.list().unwrap());
    for it in &documents {
        assert_eq!(a.get(it.id).unwrap(), b.get(it.id).unwrap());
        assert_eq!(a.text(it.id).unwrap(), b.text(it.id).unwrap());
        let ids = a.chunk_ids(it.id).unwrap();
        assert_eq!(ids, b.chunk_ids(it.id).unwrap());
        assert_eq!(a.chunks(&ids).unwrap(), b.chunks(&ids).unwrap());
        let around = |catalog: &index::Catalog| catalog.neighbours(ids[0], 1, 1).unwrap();
        assert_eq!(around(a), around(b));
    }
    for groups in [None, Some(vec![]), Some(vec!["staff".to_owned()])] {
        let groups = groups.as_deref();
        assert_eq!(a.collections(groups).unwrap(), b.collections(groups).unwrap());
        assert_eq!(a.collection_names(groups).unwrap(), b.collection_names(groups).unwrap());
        assert_eq!(a.readable(groups).unwrap(), b.readable(groups).unwrap());
        for name in ["rh", "it", "nowhere"] {
            let has = |it: &index::Catalog| it.has_collection(name, groups).unwrap();
            assert_eq!(has(a), has(b), "{name}");
        }
        for path in ["docs", "docs/3.md", "nowhere", ""] {
            assert_eq!(a.has_path(path, groups).unwrap(), b.has_path(path, groups).unwrap());
        }
    }
    assert_eq!(a.counts().unwrap(), b.counts().unwrap());
    assert_eq!(a.languages().unwrap(), b.languages().unwrap());
    let find = |it: &Index| {
        it.search_lexical("badge", Some(Language::French), &Filter::default(), 5).unwrap()
    };
    assert_eq!(find(&owner), find(&reader));
    let error = b.delete(documents[0].id).unwrap_err();
    assert!(error.to_string().contains("only reads"), "{error}");
    drop(owner);

    // A new generation takes the place of the one that the reader knew.
    let home = Home { dir: dir.path(), store: &store };
    let mut recut = |_: &[_]| unreachable!("the recipe is the same");
    let rebuilt = Index::rebuild(home, &recipe(), &mut recut, &mut |_| {}).unwrap();
    assert_eq!(find(&rebuilt), find(&reader));
    drop(rebuilt);
    // One of another embedder is not answered from.
    let mut other = recipe();
    other.embedder.id = "others".to_owned();
    let mut recut = |documents: &[(_, index::catalog::StoredText)]| {
        Ok(documents.iter().map(|(_, it)| support::cut(&it.text, DIM)).collect())
    };
    Index::rebuild(home, &other, &mut recut, &mut |_| {}).unwrap();
    let error = reader.search_dense(&embed("badge", DIM), &Filter::default(), 5).unwrap_err();
    let is_told = matches!(error, IndexError::Cluster(ClusterError::EmbedderMismatch { .. }));
    assert!(is_told, "{error}");
    let error = Index::follow(&cluster.settings, Some(&recipe())).unwrap_err();
    assert!(matches!(error, OpenError::EmbedderMismatch { .. }), "{error}");
}

#[test]
fn an_index_moves_to_the_cluster_and_back() {
    let Some(cluster) = TestCluster::named("moves") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (store, embedded) = (cluster.store(), Store::Embedded);
    let before = filled(dir.path(), &embedded).leg_counts().unwrap();
    let to_cluster = Home { dir: dir.path(), store: &store };
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Index::migrate(to_cluster, &Store::Embedded, &mut |it| {
            // As a run that is killed once all is there.
            assert!(!matches!(it, index::Preparing::Comparing { .. }), "killed");
        })
    }));
    assert!(stopped.is_err());
    let begun = cluster.collections();
    assert_eq!(begun.len(), 1);
    // Until the end, what was live is.
    assert_eq!(open(dir.path(), &embedded).unwrap().leg_counts().unwrap(), before);
    let mut first = None;
    let there = Index::migrate(to_cluster, &embedded, &mut |it| {
        first.get_or_insert(it);
    });
    let there = there.unwrap();
    let total = before.dense;
    assert_eq!(first, Some(index::Preparing::Rebuilding { done: total, total }));
    assert_eq!((there.n_chunks, there.was_live), (before.dense, false));
    assert_eq!(cluster.collections(), begun, "it went on with what was begun");
    let again = Index::migrate(to_cluster, &embedded, &mut |_| {}).unwrap();
    assert_eq!((again.was_live, &again.checksum), (true, &there.checksum));
    assert_eq!(open(dir.path(), &store).unwrap().leg_counts().unwrap(), before);
    assert!(matches!(open(dir.path(), &embedded), Err(OpenError::OtherStore { .. })));

    let to_folder = Home { dir: dir.path(), store: &embedded };
    let back = Index::migrate(to_folder, &store, &mut |_| {}).unwrap();
    assert_eq!(back.checksum, there.checksum);
    assert!(back.left_behind.is_none() && cluster.collections().is_empty());
    assert_eq!(open(dir.path(), &embedded).unwrap().leg_counts().unwrap(), before);
}

/// Needs no server.
#[test]
fn a_cluster_that_is_away_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = index::ClusterSettings {
        // Nothing listens there.
        urls: vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()],
        api_key: None,
        collection: "away".to_owned(),
        connect: Duration::from_secs(2),
        search: Duration::from_secs(2),
        write: Duration::from_secs(2),
        shards: 0,
        replicas: 1,
        patience: index::Patience::None,
    };
    let start = Instant::now();
    let error = cluster_error(open(dir.path(), &Store::Qdrant(settings)));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(matches!(error, ClusterError::Away { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:2"), "{error}");
    assert!(error.hint().unwrap().contains("qdrant.urls"));
}

#[track_caller]
fn cluster_error(opened: Result<Index, OpenError>) -> ClusterError {
    match opened.unwrap_err() {
        OpenError::Prepare(IndexError::Cluster(error)) => error,
        error => panic!("{error}"),
    }
}
