//! Measures storing, applying, searching and opening at a size given in chunks (default 10,000):
//! `cargo bench -p index --bench measure -- 10000`.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

use std::path::Path;
use std::time::{Duration, Instant};

use index::Index;
use index::catalog::{EmbeddedChunk, Labels, NewDocument, Source};
use index::filter::Filter;
use index::fingerprint::{EmbedderPrint, Recipe};
use index::unit_vector::UnitVector;
use ingest::chunk::Chunk;
use ingest::document::{Document, Language, MediaType, Metadata, Span};

const DIM: u32 = 384;
const CHUNKS_A_DOCUMENT: usize = 10;
const WORDS_A_CHUNK: usize = 120;
const VOCABULARY: f64 = 20_000.0;
const N_CLUSTERS: u64 = 200;
const N_QUERIES: usize = 200;

/// Splitmix64, so that every run measures the same corpus.
struct Numbers(u64);

impl Numbers {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A word whose rank follows Zipf's law, roughly.
    fn word(&mut self) -> String {
        format!("mot{}", VOCABULARY.powf(self.unit()) as u64)
    }

    /// A point of one of the clusters.
    fn vector(&mut self) -> UnitVector {
        let mut center = Numbers((self.unit() * N_CLUSTERS as f64) as u64);
        let noise = (0..DIM).map(|_| center.unit() - 0.5 + 0.6 * (self.unit() - 0.5));
        UnitVector::new(noise.map(|x| x as f32).collect()).expect("noise has a direction")
    }
}

fn recipe() -> Recipe {
    Recipe {
        embedder: EmbedderPrint {
            id: "noise".to_owned(),
            weights_sha256: "0".repeat(64),
            dim: DIM,
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

/// Puts a document, and its vectors at the end of `vectors`.
fn put(index: &Index, i: usize, numbers: &mut Numbers, vectors: &mut Vec<f32>) {
    let mut text = String::new();
    let mut chunks = Vec::new();
    for _ in 0..CHUNKS_A_DOCUMENT {
        let start = text.len();
        for _ in 0..WORDS_A_CHUNK {
            text.push_str(&numbers.word());
            text.push(' ');
        }
        let span = Span { start, end: text.len() };
        let chunk = Chunk {
            context: String::new(),
            span,
            heading_path: Vec::new(),
            page: None,
            table_header: None,
            language: None,
        };
        let vector = numbers.vector();
        vectors.extend(vector.as_slice());
        chunks.push(EmbeddedChunk { chunk, vector, simhash: 0 });
    }
    let source = Source {
        root: "/corpus".to_owned(),
        path: format!("dossier-{}/{i}.md", i % 20),
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
        labels: &Labels::default(),
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
    let n_chunks = std::env::args().filter_map(|it| it.parse().ok()).next().unwrap_or(10_000);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut numbers = Numbers(1);

    let index = open(dir.path());
    let mut vectors = Vec::new(); // (n_chunks, DIM)
    let (mut made, start) = (Duration::ZERO, Instant::now());
    for i in 0..n_chunks / CHUNKS_A_DOCUMENT {
        put(&index, i, &mut numbers, &mut vectors);
        made = start.elapsed();
    }
    report("put", n_chunks, made);
    let start = Instant::now();
    index.apply().expect("both legs take the chunks");
    report("apply", n_chunks, start.elapsed());
    report("put and apply", n_chunks, made + start.elapsed());
    let start = Instant::now();
    index.optimize().expect("both legs can be optimised");
    println!("optimise: {:.1} s", start.elapsed().as_secs_f64());

    recall(&index, &vectors, &mut numbers);
    searches(&index, "", &Filter::default(), &mut numbers);
    let folder = Some("dossier-7".to_owned());
    let filter = Filter { path_prefix: folder, ..Filter::default() };
    searches(&index, ", 1 in 20 passes the filter", &filter, &mut numbers);
    drop(index);

    let start = Instant::now();
    let index = open(dir.path());
    println!("open: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    index.search_dense(&numbers.vector(), &Filter::default(), 10).expect("a search");
    index.search_lexical(&numbers.word(), None, &Filter::default(), 10).expect("a search");
    println!("open and first searches: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}

fn report(what: &str, n_chunks: usize, time: Duration) {
    let seconds = time.as_secs_f64();
    println!("{what}: {:.0} chunks/s ({seconds:.1} s)", n_chunks as f64 / seconds);
}

/// Share of the ten nearest vectors that a search finds among its first ten.
fn recall(index: &Index, vectors: &[f32], numbers: &mut Numbers) {
    let mut n_found = 0;
    for _ in 0..N_QUERIES {
        let query = numbers.vector();
        let mut scored: Vec<(f32, usize)> = vectors
            .chunks_exact(DIM as usize)
            .map(|it| dot(it, query.as_slice()))
            .zip(0..)
            .collect();
        let nearest = 10.min(scored.len());
        scored.select_nth_unstable_by(nearest - 1, |a, b| b.0.total_cmp(&a.0));
        let least = scored[nearest - 1].0;
        let hits =
            index.search_dense(&query, &Filter::default(), 10).expect("the dense leg answers");
        n_found += hits.iter().filter(|it| it.score > least - 1e-6).count();
    }
    let share = n_found as f64 / (10 * N_QUERIES) as f64;
    println!("recall@10 of the dense leg: {share:.4}");
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

/// Questions of six words and vectors near the corpus's, the best 50 chunks.
fn searches(index: &Index, what: &str, filter: &Filter, numbers: &mut Numbers) {
    let mut lexical = Vec::new();
    let mut dense = Vec::new();
    for _ in 0..N_QUERIES {
        let words: Vec<String> = (0..6).map(|_| numbers.word()).collect();
        let start = Instant::now();
        let question = words.join(" ");
        index
            .search_lexical(&question, Some(Language::French), filter, 50)
            .expect("the lexical leg answers");
        lexical.push(start.elapsed());
        let vector = numbers.vector();
        let start = Instant::now();
        index.search_dense(&vector, filter, 50).expect("the dense leg answers");
        dense.push(start.elapsed());
    }
    for (leg, mut times) in [("lexical", lexical), ("dense", dense)] {
        times.sort_unstable();
        let at = |share: f64| times[(share * times.len() as f64) as usize].as_secs_f64() * 1e3;
        println!("{leg} search{what}: p50 {:.2} ms, p95 {:.2} ms", at(0.5), at(0.95));
    }
}
