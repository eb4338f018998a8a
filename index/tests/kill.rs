//! A process that ingests is killed at random moments. What it acknowledged must be there,
//! nothing may be doubled, and nothing that was deleted may come back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use index::catalog::Labels;
use index::filter::Filter;
use index::fingerprint::Recipe;
use index::hit::ChunkId;
use index::{Index, LegCounts, Preparing, live_recipe};
use support::{DIM, cut, embed, put, recipe, source};

const KILLS: u64 = 32;
const N_PATHS: u64 = 40;
const CHILD: &str = "INDEX_KILL_TEST_CHILD";

/// Path to text: what the catalog should hold.
type Model = BTreeMap<String, String>;

/// Splitmix64: the parent and the child need numbers, not randomness.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }
}

fn text(path: &str, version: u64) -> String {
    let n_paragraphs = 1 + version % 12;
    let paragraphs =
        (0..n_paragraphs).map(|i| format!("partout {path} version {version} alinéa {i}"));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// One change of the catalog, as the child announces it: `begin …` before, `done …` after.
fn change(model: &mut Model, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["put", path, version] => {
            model.insert(path.to_owned(), text(path, version.parse().unwrap()));
        }
        ["delete", path] => {
            model.remove(path);
        }
        ["move", path, to] => {
            let text = model.remove(path).unwrap();
            model.insert(to.to_owned(), text);
        }
        _ => panic!("`{line}`"),
    }
}

/// Ingests until it is killed. Runs only as a child of the test below.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "a test talks to its child")]
    let Ok(argument) = std::env::var(CHILD) else { return };
    let (seed, dir) = argument.split_once(' ').unwrap();
    let mut numbers = Numbers(seed.parse().unwrap());
    let dir = Path::new(dir);
    let (index, _) = open_any(dir);
    for round in 0.. {
        one_change(&index, &mut numbers);
        if round % 5 == 4 {
            index.apply().unwrap();
        }
        if round % 20 == 19 {
            index.optimize().unwrap();
        }
        if round == 50 {
            break;
        }
    }
    drop(index);
    // Another recipe: everything is cut and embedded again, and the kill may fall into that.
    let next = other_recipe(&live_recipe(dir).unwrap().unwrap());
    let dim = next.embedder.dim;
    let mut recut = |documents: &[(_, index::catalog::StoredText)]| {
        Ok(documents.iter().map(|(_, it)| cut(&it.text, dim)).collect())
    };
    drop(Index::rebuild(dir, &next, &mut recut, &mut |_| {}).unwrap());
    say("rebuilt");
    std::thread::sleep(Duration::from_secs(60));
}

fn one_change(index: &Index, numbers: &mut Numbers) {
    let path = format!("dossier/{}.md", numbers.next(N_PATHS));
    let there = index.catalog().find("/corpus", &path).unwrap();
    match (numbers.next(10), there) {
        (0..2, Some(document)) => announced(&format!("delete {path}"), || {
            index.catalog().delete(document.id).unwrap();
        }),
        (2..4, Some(document)) => {
            let to = format!("ailleurs/{}.md", document.id.0);
            if document.source.path != to {
                announced(&format!("move {path} {to}"), || {
                    let text = index.catalog().text(document.id).unwrap().unwrap().text;
                    let source = source(&to, &text);
                    index.catalog().restate(document.id, &source, &Labels::default()).unwrap();
                });
            }
        }
        _ => {
            let version = numbers.next(1_000);
            announced(&format!("put {path} {version}"), || {
                put(index, &path, &text(&path, version), &Labels::default());
            });
        }
    }
}

fn announced(what: &str, action: impl FnOnce()) {
    say(&format!("begin {what}"));
    action();
    say(&format!("done {what}"));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

/// The child rebuilds with one of two embedders, one of which has half the dimensions; the
/// vectors that `put` makes must fit, so these differ in name only.
fn other_recipe(live: &Recipe) -> Recipe {
    let mut res = recipe();
    if live.embedder.id == res.embedder.id {
        res.embedder.id = "other words".to_owned();
    }
    res
}

/// Opens the index, and says whether that took a new generation.
fn open_any(dir: &Path) -> (Index, bool) {
    let recipe = live_recipe(dir).unwrap().unwrap_or_else(recipe);
    let mut rebuilt = false;
    let index = Index::open_or_create(dir, &recipe, &mut |event| {
        rebuilt |= matches!(event, Preparing::Rebuilding { total: 1.., .. });
    })
    .unwrap();
    (index, rebuilt)
}

#[test]
fn a_kill_at_any_moment_loses_nothing_doubles_nothing_and_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(42);
    let mut model = Model::new();
    let (mut n_changes, mut n_in_flight, mut n_rebuilt, mut n_healed) = (0, 0, 0, 0);
    for kill in 0..KILLS {
        let delay = Duration::from_millis(30 + numbers.next(900));
        let lines = run_and_kill(dir.path(), kill, delay);
        let mut in_flight = None;
        for line in &lines {
            if let Some(begun) = line.strip_prefix("begin ") {
                in_flight = Some(begun);
            } else if let Some(done) = line.strip_prefix("done ") {
                change(&mut model, done);
                in_flight = None;
                n_changes += 1;
            } else {
                n_rebuilt += 1;
            }
        }
        let (index, healed) = open_any(dir.path());
        n_healed += u64::from(healed);
        assert_eq!(index.leg_counts().unwrap(), live_counts(&index), "a leg holds too much");
        let found = documents(&index);
        if let Some(line) = in_flight {
            n_in_flight += 1;
            let mut after = model.clone();
            change(&mut after, line);
            assert!(found == model || found == after, "`{line}` was done in part");
            model = found;
        } else {
            assert_eq!(found, model);
        }
        check_legs(&index);
    }
    println!(
        "{KILLS} kills, {n_changes} changes, {n_in_flight} in flight, {n_rebuilt} rebuilt, \
        {n_healed} healed"
    );
    // A kill costs the work since the last commit, and a whole generation only when it falls
    // between two steps of replacing a segment.
    assert!(n_healed <= KILLS / 4, "{n_healed} generations lost");
    // The test would prove little if kills came before any work. Whether one falls into a change
    // or into applying it depends on the machine.
    assert!(n_changes > 100, "{n_changes}");
}

/// Runs the child for some time and kills it; returns what it said.
fn run_and_kill(dir: &Path, seed: u64, delay: Duration) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{seed} {}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(out).lines().map(Result::unwrap);
        // The harness's own lines do not begin so, and one of ours may follow its `test child ...`.
        lines.filter_map(|it| Some(it.split_once('@')?.1.to_owned())).collect()
    });
    std::thread::sleep(delay);
    // On Unix this is SIGKILL.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the child ended by itself: {status}");
    reader.join().unwrap()
}

fn live_counts(index: &Index) -> LegCounts {
    let n_chunks = index.catalog().counts().unwrap().chunks;
    LegCounts { lexical: n_chunks, dense: n_chunks }
}

fn documents(index: &Index) -> Model {
    let catalog = index.catalog();
    let documents = catalog.list().unwrap();
    let model: Model = documents
        .iter()
        .map(|it| (it.source.path.clone(), catalog.text(it.id).unwrap().unwrap().text))
        .collect();
    assert_eq!(model.len(), documents.len(), "each path once");
    model
}

/// Both legs hold exactly the live chunks, each once and with its own text.
fn check_legs(index: &Index) {
    let catalog = index.catalog();
    assert_eq!(catalog.counts().unwrap().pending, 0);
    let mut live = BTreeMap::new();
    for document in catalog.list().unwrap() {
        let text = catalog.text(document.id).unwrap().unwrap().text;
        let ids = catalog.chunk_ids(document.id).unwrap();
        let chunks = catalog.chunks(&ids).unwrap();
        let joined: Vec<&str> = chunks.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(joined.join("\n\n"), text);
        live.extend(chunks.into_iter().map(|it| (it.id, it.text)));
    }
    let all = live.len() + 100;
    let query = embed("partout version", DIM);
    let dense = index.search_dense(&query, &Filter::default(), all).unwrap();
    let lexical = index.search_lexical("partout", None, &Filter::default(), all).unwrap();
    for hit in &dense {
        let score = embed(&live[&hit.chunk], DIM).cosine(&query);
        assert!((hit.score - score).abs() < 1e-5, "{hit:?} has another chunk's vector");
    }
    let expected: Vec<ChunkId> = live.keys().copied().collect();
    for (leg, hits) in [("dense", dense), ("lexical", lexical)] {
        let mut found: Vec<ChunkId> = hits.iter().map(|it| it.chunk).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{leg}");
    }
}
