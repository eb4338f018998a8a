//! Opening: locks, mismatches, damage, other versions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use index::catalog::{CatalogError, Labels, StoredDocument};
use index::filter::Filter;
use index::fingerprint::Recipe;
use index::hit::ChunkId;
use index::{Index, OpenError, Preparing, live_recipe};
use support::{DIM, cut, embed, put, recipe};

fn try_open(dir: &Path, recipe: &Recipe) -> Result<Index, OpenError> {
    Index::open(dir, recipe, &mut |_| {})
}

fn create(dir: &Path) -> Index {
    Index::open_or_create(dir, &recipe(), &mut |_| {}).unwrap()
}

/// A folder with one document of two chunks, indexed.
fn indexed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let index = create(dir.path());
    put(&index, "a.md", "télétravail deux jours\n\ncongés payés", &Labels::default());
    index.apply().unwrap();
    dir
}

/// Both legs find what they should.
#[track_caller]
fn check_answers(index: &Index) {
    let ids = all_chunks(index);
    assert_eq!(ids.len(), 2);
    let hits = index.search_dense(&embed("congés payés", DIM), &Filter::default(), 9).unwrap();
    let found: Vec<ChunkId> = hits.iter().map(|it| it.chunk).collect();
    assert_eq!(found, [ids[1], ids[0]]);
    assert!((hits[0].score - 1.0).abs() < 1e-5, "{hits:?}");
    let hits = index.search_lexical("télétravail", None, &Filter::default(), 9).unwrap();
    let found: Vec<ChunkId> = hits.iter().map(|it| it.chunk).collect();
    assert_eq!(found, [ids[0]]);
}

fn all_chunks(index: &Index) -> Vec<ChunkId> {
    let documents = index.catalog().list().unwrap();
    documents.iter().flat_map(|it| index.catalog().chunk_ids(it.id).unwrap()).collect()
}

#[test]
fn a_folder_without_index_is_missing_and_stays_empty() {
    let dir = tempfile::tempdir().unwrap();
    for folder in [dir.path().to_owned(), dir.path().join("none")] {
        let error = try_open(&folder, &recipe()).unwrap_err();
        assert!(matches!(&error, OpenError::Missing { path } if *path == folder), "{error:?}");
        assert!(error.hint().unwrap().contains("ingest"));
    }
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(live_recipe(dir.path()).unwrap(), None);
}

#[test]
fn a_second_holder_is_told_at_once_who_has_the_folder() {
    let dir = indexed();
    let first = try_open(dir.path(), &recipe()).unwrap();
    let error = try_open(dir.path(), &recipe()).unwrap_err();
    let me = std::process::id();
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == me), "{error:?}");
    assert_eq!(live_recipe(dir.path()).unwrap(), Some(recipe()));
    drop(first);
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

#[test]
fn another_embedder_is_refused_by_name() {
    let dir = indexed();
    let mut other = recipe();
    other.embedder.weights_sha256 = "1".repeat(64);
    let error = try_open(dir.path(), &other).unwrap_err();
    assert!(error.to_string().contains("000000000000"), "{error}");
    assert!(error.to_string().contains("111111111111"), "{error}");
    assert!(matches!(error, OpenError::EmbedderMismatch { .. }));
    assert!(error.hint().unwrap().contains("--rebuild"));
    let mut other = recipe();
    other.embedder.precision = "int8".to_owned();
    let error = try_open(dir.path(), &other).unwrap_err();
    assert!(matches!(error, OpenError::EmbedderMismatch { .. }));
    assert!(error.to_string().contains("f32") && error.to_string().contains("int8"), "{error}");
    let mut other = recipe();
    other.chunk_tokens_max = 256;
    let error = try_open(dir.path(), &other).unwrap_err();
    assert!(
        matches!(error, OpenError::LimitsMismatch { built: 128, running: 256, .. }),
        "{error:?}"
    );
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

#[test]
fn a_rebuild_embeds_every_document_again_and_leaves_nothing_of_the_old() {
    let dir = indexed();
    let before = all_chunks(&try_open(dir.path(), &recipe()).unwrap());
    let mut other = recipe();
    other.embedder.dim = 24;
    let mut events = Vec::new();
    let index = Index::rebuild(
        dir.path(),
        &other,
        &mut |documents| Ok(documents.iter().map(|(_, it)| cut(&it.text, 24)).collect()),
        &mut |event| events.push(event),
    )
    .unwrap();
    assert!(events.contains(&Preparing::Cutting { done: 0, total: 1 }), "{events:?}");
    assert!(events.contains(&Preparing::Rebuilding { done: 2, total: 2 }), "{events:?}");
    let hits = index.search_dense(&embed("congés payés", 24), &Filter::default(), 9).unwrap();
    assert_eq!(hits.len(), 2);
    assert!(all_chunks(&index).iter().all(|it| !before.contains(it)), "ids are never used again");
    assert_eq!(index.catalog().chunks(&before).unwrap(), []);
    drop(index);
    let generations = fs_err::read_dir(dir.path().join("generations")).unwrap();
    assert_eq!(generations.count(), 1);
    assert!(matches!(
        try_open(dir.path(), &recipe()).unwrap_err(),
        OpenError::EmbedderMismatch { .. }
    ));
}

#[test]
fn a_failed_rebuild_leaves_the_index_as_it_was() {
    let dir = indexed();
    let mut other = recipe();
    other.embedder.dim = 24;
    let mut fail = |_: &[_]| Err("the model is gone".into());
    let error = Index::rebuild(dir.path(), &other, &mut fail, &mut |_| {}).unwrap_err();
    assert!(matches!(error, index::RebuildError::Recut(_)), "{error:?}");
    // Vectors that do not fit the recipe are found before anything is switched.
    let error = Index::rebuild(
        dir.path(),
        &other,
        &mut |documents| Ok(documents.iter().map(|(_, it)| cut(&it.text, 8)).collect()),
        &mut |_| {},
    )
    .unwrap_err();
    assert!(
        matches!(
            error,
            index::RebuildError::Open(OpenError::Catalog(CatalogError::BadVector { .. }))
        ),
        "{error:?}"
    );
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

/// Damages the generation of an index that answers, and expects the index to heal.
#[track_caller]
fn check_heals(damage: impl FnOnce(&Path)) {
    let dir = indexed();
    damage(&dir.path().join("generations/1"));
    let mut rebuilt = false;
    let index = Index::open(dir.path(), &recipe(), &mut |event| {
        rebuilt |= matches!(event, Preparing::Rebuilding { .. });
    })
    .unwrap();
    assert!(rebuilt, "damage must be noticed");
    check_answers(&index);
    drop(index);
    check_answers(&Index::open(dir.path(), &recipe(), &mut |it| panic!("{it:?}")).unwrap());
}

#[test]
fn a_damaged_generation_is_built_anew_from_the_catalog() {
    check_heals(|path| fs_err::remove_dir_all(path).unwrap());
    check_heals(|path| fs_err::remove_file(path.join("manifest.json")).unwrap());
    check_heals(|path| fs_err::write(path.join("manifest.json"), "{").unwrap());
    check_heals(|path| fs_err::remove_dir_all(path.join("dense")).unwrap());
    check_heals(|path| fs_err::remove_dir_all(path.join("lexical")).unwrap());
    check_heals(|path| fs_err::write(path.join("dense/watermark"), "many").unwrap());
    check_heals(|path| fs_err::write(path.join("lexical/meta.json"), "{").unwrap());
}

#[test]
fn settings_of_the_dense_leg_are_those_of_the_program() {
    let dir = indexed();
    let path = dir.path().join("generations/1/dense/edge_config.json");
    fs_err::write(&path, "{").unwrap();
    check_answers(&Index::open(dir.path(), &recipe(), &mut |it| panic!("{it:?}")).unwrap());
    assert!(fs_err::read_to_string(&path).unwrap().contains("full_scan_threshold"));
}

#[test]
fn points_left_in_two_segments_by_a_killed_optimisation_are_noticed() {
    check_heals(|path| {
        let segments = path.join("dense/segments");
        let segment = fs_err::read_dir(&segments).unwrap().next().unwrap().unwrap().path();
        let copy = segments.join("00000000-0000-4000-8000-000000000000");
        copy_folder(&segment, &copy);
    });
}

fn copy_folder(from: &Path, to: &Path) {
    fs_err::create_dir(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs_err::copy(&path, &copy).unwrap();
        }
    }
}

#[test]
fn a_generation_of_another_version_is_built_anew() {
    check_heals(|path| {
        let manifest = path.join("manifest.json");
        let json = fs_err::read_to_string(&manifest).unwrap();
        let older = json.replace("\"format_version\": 1", "\"format_version\": 0");
        assert_ne!(json, older);
        fs_err::write(manifest, older).unwrap();
    });
}

#[test]
fn an_older_copy_of_the_catalog_takes_its_indexes_back_with_it() {
    let dir = indexed();
    let copy = fs_err::read(dir.path().join("catalog.db")).unwrap();
    let index = try_open(dir.path(), &recipe()).unwrap();
    put(&index, "b.md", "plus tard", &Labels::default());
    index.apply().unwrap();
    drop(index);
    fs_err::write(dir.path().join("catalog.db"), copy).unwrap();
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

#[test]
fn a_file_that_is_no_catalog_is_an_error_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.db");
    fs_err::write(&path, "a note to myself, long enough to be read as a header ".repeat(99))
        .unwrap();
    let before = fs_err::read(&path).unwrap();
    let error = Index::open_or_create(dir.path(), &recipe(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, OpenError::Catalog(CatalogError::Damaged { .. })), "{error:?}");
    assert_eq!(fs_err::read(&path).unwrap(), before);
}

#[test]
fn what_was_committed_but_not_applied_is_found_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    let index = create(dir.path());
    put(&index, "a.md", "télétravail deux jours\n\ncongés payés", &Labels::default());
    drop(index);
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

/// The files below a folder that hold `word` in their bytes.
fn files_with(folder: &Path, word: &str) -> Vec<String> {
    let mut res = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            res.extend(files_with(&path, word));
        } else if fs_err::read(&path).unwrap().windows(word.len()).any(|it| it == word.as_bytes()) {
            res.push(path.display().to_string());
        }
    }
    res
}

#[test]
fn what_is_forgotten_is_in_no_file_any_more() {
    let dir = indexed();
    let index = create(dir.path());
    let labels = Labels { collection: Some("zorblax".to_owned()), ..Labels::default() };
    put(&index, "zorblax.md", &"le zorblax est secret\n\n".repeat(2_000), &labels);
    let last = put(&index, "zorblax-2.md", "un mot de zorblax", &labels);
    index.apply().unwrap();
    // One that was deleted before leaves traces in the segments too.
    index.catalog().delete(last).unwrap();
    index.apply().unwrap();
    drop(index);
    assert!(files_with(dir.path(), "zorblax").len() > 1, "the test sees nothing");
    let mut none = |_: &[StoredDocument]| Vec::new();
    Index::forget(dir.path(), &mut none, &mut |_| {}).unwrap();
    assert!(!files_with(dir.path(), "zorblax").is_empty(), "choosing none changes nothing");
    let mut choose = |documents: &[StoredDocument]| {
        let chosen = documents.iter().filter(|it| it.source.path.starts_with("zorblax"));
        chosen.map(|it| it.id).collect()
    };
    Index::forget(dir.path(), &mut choose, &mut |_| {}).unwrap();
    assert_eq!(files_with(dir.path(), "zorblax"), [""; 0]);
    check_answers(&try_open(dir.path(), &recipe()).unwrap());
}

/// The catalog holds the text of documents that not everyone may read.
#[cfg(unix)]
#[test]
fn a_data_folder_that_we_make_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = tempfile::tempdir().unwrap();
    drop(create(&dir.path().join("a/data")));
    assert_eq!(mode(&dir.path().join("a/data")), 0o700);
    // One that is there keeps what it was given.
    let given = dir.path().join("given");
    fs_err::create_dir(&given).unwrap();
    fs_err::set_permissions(&given, std::fs::Permissions::from_mode(0o750)).unwrap();
    drop(create(&given));
    assert_eq!(mode(&given), 0o750);
}
