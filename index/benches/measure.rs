//! Measures an index of a size given in chunks (10,000 where none is): writing, searching, opening,
//! changing, and memory.
//!
//!     cargo bench --workspace --bench measure -- 1000000 [FOLDER]
//!
//! The corpus is made up: sentences of French function words and of content words by Zipf's law,
//! vectors from a mixture of Gaussians, each document from its own seed, so that nothing of it is kept
//! in memory and any part can be made again. What vectors share by topic and by document, and how
//! their variance falls off from direction to direction, is as in 3,208 chunks of SciFact by
//! all-MiniLM-L6-v2: two at random have a cosine of 0.12 ± 0.12, and half of the variance lies in 30
//! of the 384 directions. A folder that is named is kept, and measured again
//! without being written. Searches run in a process of their own: its memory is what serving takes.
//! Figures worth keeping go to `docs/benchmarks.md`.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use index::Index;
use index::catalog::{EmbeddedChunk, Labels, NewDocument, Source};
use index::filter::Filter;
use index::fingerprint::{EmbedderPrint, Recipe};
use index::fuse::{FuseSettings, fuse};
use index::unit_vector::UnitVector;
use ingest::chunk::Chunk;
use ingest::document::{Document, Language, MediaType, Metadata, Span};

const DIM: usize = 384;
const CHUNKS_A_DOCUMENT: usize = 10;
const SENTENCES_A_CHUNK: usize = 11;
/// Each `W` becomes a content word; the others are mostly such that searches leave out.
const SENTENCES: [&str; 6] = [
    "Le W de la W est W par le W avant W. ",
    "Les W sont à W dans les W du W, avec une W. ",
    "Pour une W, le W se W auprès de W W. ",
    "Au W de W, la W des W n'est pas W. ",
    "Il faut W la W et W le W qui a été W. ",
    "Ce W vaut pour W, W et W sans autre W. ",
];
/// Ranks of content words. What would come before are function words: searches leave them out.
const RANK_MIN: f64 = 100.0;
const RANK_MAX: f64 = 200_000.0;
const N_TOPICS: usize = 2_000;
/// How much of a vector's length is what all share, what those of its topic share, what those of its
/// document share, and its own. The squares add up to one.
const COMMON: f64 = 0.35;
const OF_TOPIC: f64 = 0.57;
const OF_DOCUMENT: f64 = 0.55;
const OWN: f64 = 0.5;
/// What a question has of its own: its cosine to the chunks that answer it is about 0.67.
const OF_QUESTION: f64 = 0.7;
const N_QUERIES: usize = 1_000;
/// Questions whose hits are compared with all chunks.
const N_COMPARED: usize = 200;
/// Folders: a filter by one keeps 1 %.
const N_FOLDERS: usize = 100;
/// Hits that a search asks each leg for: as many as the program does by default.
const K: usize = 100;
/// How often what was put is applied beside the putting.
const APPLY_EVERY: Duration = Duration::from_secs(5);

/// Splitmix64, so that every run measures the same corpus.
struct Numbers(u64);

impl Numbers {
    /// Those of a thing of a kind.
    fn of(kind: u64, i: usize) -> Self {
        Self((kind << 48) ^ i as u64)
    }

    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of the standard normal distribution, nearly: four numbers of [`Self::unit`] added.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.unit()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }

    /// A content word: how frequent it is follows Zipf's law.
    fn word(&mut self) -> String {
        format!("mot{}", (RANK_MIN * (RANK_MAX / RANK_MIN).powf(self.unit())) as u64)
    }

    fn sentence(&mut self, into: &mut String) {
        let template = SENTENCES[(self.unit() * SENTENCES.len() as f64) as usize];
        let mut parts = template.split('W');
        into.push_str(parts.next().unwrap_or_default());
        for part in parts {
            into.push_str(&self.word());
            into.push_str(part);
        }
    }

    /// A vector of a subject.
    fn vector(&mut self, Subject(shared): &Subject, own: f64) -> UnitVector {
        let spread = |j: usize| (j as f64 + 8.0).powf(-0.65) * 0.72;
        let mut values: Vec<f64> =
            (0..DIM).map(|j| spread(j) * (shared[j] + own * self.normal())).collect();
        values[0] += COMMON;
        let turned = turned(values).into_iter().map(|it| it as f32);
        UnitVector::new(turned.collect()).expect("noise has a direction")
    }

    /// A question about some document.
    fn question(&mut self, n_documents: usize) -> UnitVector {
        let subject = Subject::of((self.unit() * n_documents as f64) as usize);
        self.vector(&subject, OF_QUESTION)
    }
}

/// What the vectors of a document share, before it is stretched.
struct Subject(Vec<f64>);

impl Subject {
    fn of(document: usize) -> Self {
        let mut numbers = Numbers::of(6, document);
        let mut topic = Numbers::of(3, (numbers.unit() * N_TOPICS as f64) as usize);
        let shared = |_| OF_TOPIC * topic.normal() + OF_DOCUMENT * numbers.normal();
        Self((0..DIM).map(shared).collect())
    }
}

/// Turned so that all coordinates get about as much of each direction, as embedders' do: two rounds
/// of Hadamard's transform of each third, after which they are dealt out anew.
fn turned(mut values: Vec<f64>) -> Vec<f64> {
    for _ in 0..2 {
        for third in values.chunks_exact_mut(DIM / 3) {
            let mut half = 1;
            while half < third.len() {
                for pair in third.chunks_exact_mut(2 * half) {
                    let (a, b) = pair.split_at_mut(half);
                    for (a, b) in a.iter_mut().zip(b) {
                        (*a, *b) = (*a + *b, *a - *b);
                    }
                }
                half *= 2;
            }
        }
        values = (0..DIM).map(|i| values[i * 5 % DIM]).collect();
    }
    values
}

fn recipe() -> Recipe {
    Recipe {
        embedder: EmbedderPrint {
            id: "noise".to_owned(),
            weights_sha256: "0".repeat(64),
            dim: DIM as u32,
            pooling: "mean".to_owned(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
            precision: "f32".to_owned(),
        },
        chunk_tokens_max: 256,
        chunk_overlap: 0,
    }
}

fn open(dir: &Path) -> Index {
    Index::open_or_create(dir, &recipe(), &mut |_| {}).expect("the folder is writable")
}

/// The vectors of a document.
fn vectors(i: usize) -> impl Iterator<Item = UnitVector> {
    let (subject, mut numbers) = (Subject::of(i), Numbers::of(1, i));
    (0..CHUNKS_A_DOCUMENT).map(move |_| numbers.vector(&subject, OWN))
}

fn path_of(i: usize) -> String {
    format!("dossier-{}/{i}.md", i % N_FOLDERS)
}

fn collection_of(i: usize) -> String {
    format!("collection-{}", i % 10)
}

/// Puts a document; one with a `mark` begins with that word.
fn put(index: &Index, i: usize, mark: &str) {
    let mut numbers = Numbers::of(2, i);
    let mut text = String::new();
    let mut chunks = Vec::new();
    for vector in vectors(i) {
        let start = text.len();
        text.push_str(mark);
        (0..SENTENCES_A_CHUNK).for_each(|_| numbers.sentence(&mut text));
        let span = Span { start, end: text.len() };
        let chunk = Chunk {
            context: String::new(),
            span,
            heading_path: Vec::new(),
            page: None,
            table_header: None,
            language: None,
        };
        chunks.push(EmbeddedChunk { chunk, vector, simhash: 0 });
    }
    let source = Source {
        root: "/corpus".to_owned(),
        path: path_of(i),
        content_hash: i.to_string(),
        size: text.len() as u64,
        mtime_ns: 0,
    };
    let document = Document {
        title: format!("Document {i}"),
        text,
        media_type: MediaType::Markdown,
        language: Some(Language::French),
        pages: Vec::new(),
        headings: Vec::new(),
        metadata: Metadata::default(),
        findings: Vec::new(),
    };
    let new = NewDocument {
        source: &source,
        document: &document,
        labels: &Labels {
            collection: Some(collection_of(i)),
            modified: Some(1_500_000_000 + 60 * i as i64),
            ..Labels::default()
        },
        made_by: "measure",
        ingested_at: 0,
        duplicate: None,
        signature: &[],
        chunks: &chunks,
    };
    index.catalog().put(&new).expect("the catalog takes a document");
}

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [mode, dir, n_chunks] = &args[..]
        && mode == "--search"
    {
        return search(Path::new(dir), n_chunks.parse().expect("a number"));
    }
    let n_chunks = args.iter().find_map(|it| it.parse().ok()).unwrap_or(10_000);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let named = args.iter().find(|it| it.parse::<usize>().is_err()).map(PathBuf::from);
    let dir = named.unwrap_or_else(|| temporary.path().to_owned());
    if !dir.join("catalog.db").exists() {
        write(&dir, n_chunks);
    }
    let program = std::env::current_exe().expect("a program has a path");
    let mut searching = Command::new(program);
    searching.arg("--search").arg(&dir).arg(n_chunks.to_string());
    assert!(searching.status().expect("it starts").success(), "the searches failed");
}

/// Writes the corpus, and prints how long that takes.
fn write(dir: &Path, n_chunks: usize) {
    let watch = Watch::start();
    let index = open(dir);
    let all = Step::start("all");
    let step = Step::start("put, and applied beside it");
    std::thread::scope(|scope| {
        let (until_put, is_put) = std::sync::mpsc::channel::<()>();
        let index = &index;
        scope.spawn(move || {
            while is_put.recv_timeout(APPLY_EVERY) == Err(RecvTimeoutError::Timeout) {
                index.apply().expect("both legs take the chunks");
            }
        });
        for i in 0..n_chunks / CHUNKS_A_DOCUMENT {
            put(index, i, "");
        }
        drop(until_put);
    });
    step.end(n_chunks);
    let step = Step::start("apply the rest");
    index.apply().expect("both legs take the chunks");
    step.end(n_chunks);
    let step = Step::start("optimise");
    index.optimize().expect("both legs can be optimised");
    step.end(n_chunks);
    all.end(n_chunks);
    println!(
        "peak memory while writing: {} MB, of which {} MB were not mapped files",
        memory("VmHWM"),
        watch.most()
    );
}

/// A part of the writing.
struct Step {
    what: &'static str,
    start: Instant,
    processor: f64,
}

impl Step {
    fn start(what: &'static str) -> Self {
        Self { what, start: Instant::now(), processor: processor_seconds() }
    }

    fn end(self, n_chunks: usize) {
        let seconds = self.start.elapsed().as_secs_f64();
        println!(
            "{}: {seconds:.1} s, of the processor {:.1} s; {:.0} chunks/s",
            self.what,
            processor_seconds() - self.processor,
            n_chunks as f64 / seconds
        );
    }
}

/// What this process has used so far, on all cores: beside other work it says more than the clock.
fn processor_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // What stands before is a name, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = fields.iter().skip(12).take(2).filter_map(|it| it.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Looks at memory now and then: the kernel keeps no peak of what is not mapped from files.
struct Watch {
    most: Arc<AtomicU64>,
}

impl Watch {
    fn start() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&most);
        std::thread::spawn(move || {
            while let Some(most) = seen.upgrade() {
                most.fetch_max(memory("RssAnon").parse().unwrap_or(0), Ordering::Relaxed);
                drop(most);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { most }
    }

    fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

/// Megabytes of a line of `/proc/self/status`: `VmRSS` now, `VmHWM` at most, `RssAnon` without
/// what is mapped from files.
fn memory(line: &str) -> String {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
    let kilobytes = found.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or_else(|| "unknown".to_owned(), |it| (it / 1_000).to_string())
}

fn search(dir: &Path, n_chunks: usize) {
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
    for (what, filter) in
        [("no filter", &Filter::default()), ("1 in 100 passes", &few), ("1 in 10 passes", &tenth)]
    {
        searches(&index, what, filter, n_documents, &mut numbers);
        recall(&index, what, n_documents, filter);
    }
    println!(
        "memory of the searching process: {} MB, of which {} MB are not mapped files",
        memory("VmRSS"),
        memory("RssAnon")
    );
    change(&index, n_documents);
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
    let (lexical, dense, times) = std::thread::scope(|scope| {
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
    for (i, leg) in ["hybrid", "lexical", "dense"].into_iter().enumerate() {
        let mut times: Vec<Duration> = all.iter().map(|it| it[i]).collect();
        times.sort_unstable();
        let at = |share: f64| times[(share * times.len() as f64) as usize].as_secs_f64() * 1e3;
        println!("{leg} search, {what}: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    }
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
