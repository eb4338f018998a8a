//! The made-up corpus: documents, their vectors, and questions about them.
//!
//! Sentences are made of French function words and of content words by Zipf's law, vectors by a mixture
//! of Gaussians, each document from its own seed, so that nothing of it is kept in memory and any part
//! can be made again. What vectors share by topic and by document, and how their variance falls off
//! from direction to direction, is as in 3,208 chunks of SciFact by all-MiniLM-L6-v2: two at random
//! have a cosine of 0.12 ± 0.12, and half of the variance lies in 30 of the 384 directions.

use std::path::Path;

use index::{
    Index,
    catalog::{EmbeddedChunk, Labels, NewDocument, Source},
    fingerprint::{EmbedderPrint, Recipe},
    unit_vector::UnitVector,
};
use ingest::{
    chunk::Chunk,
    document::{Document, Language, MediaType, Metadata, Span},
};

const DIM: usize = 384;
pub(crate) const CHUNKS_A_DOCUMENT: usize = 10;
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
/// In the same words. All but `Combien` are left out by searches, or content words: few, because
/// all-MiniLM-L6-v2 cuts each into five tokens. With these a question has 28, where the French ones of
/// `examples/questions.jsonl` have 21.
const QUESTIONS: [&str; 4] = [
    "Quel est le W de la W pour un W ?",
    "Qui est avec le W quand la W est sans W ?",
    "Combien de W sont dans la W par W avant le W ?",
    "Pour qui est le W de la W, et avec quelle W ?",
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
/// Folders: a filter by one keeps 1 %.
const N_FOLDERS: usize = 100;

/// Splitmix64, so that every run measures the same corpus.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Those of a thing of a kind.
    pub(crate) fn of(kind: u64, i: usize) -> Self {
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
    pub(crate) fn word(&mut self) -> String {
        format!("mot{}", (RANK_MIN * (RANK_MAX / RANK_MIN).powf(self.unit())) as u64)
    }

    /// One of some templates, with words.
    fn sentence(&mut self, templates: &[&str], into: &mut String) {
        let template = templates[(self.unit() * templates.len() as f64) as usize];
        let mut parts = template.split('W');
        into.push_str(parts.next().unwrap_or_default());
        for part in parts {
            into.push_str(&self.word());
            into.push_str(part);
        }
    }

    /// A question as people write it.
    pub(crate) fn asked(&mut self) -> String {
        let mut res = String::new();
        self.sentence(&QUESTIONS, &mut res);
        res
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

    /// The vector of a question about some document.
    pub(crate) fn question(&mut self, n_documents: usize) -> UnitVector {
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

pub(crate) fn open(dir: &Path) -> Index {
    Index::open_or_create(dir, &recipe(), &mut |_| {}).expect("the folder is writable")
}

/// The vectors of a document.
pub(crate) fn vectors(i: usize) -> impl Iterator<Item = UnitVector> {
    let (subject, mut numbers) = (Subject::of(i), Numbers::of(1, i));
    (0..CHUNKS_A_DOCUMENT).map(move |_| numbers.vector(&subject, OWN))
}

pub(crate) fn path_of(i: usize) -> String {
    format!("dossier-{}/{i}.md", i % N_FOLDERS)
}

pub(crate) fn collection_of(i: usize) -> String {
    format!("collection-{}", i % 10)
}

/// Puts a document; one with a `mark` begins with that word.
pub(crate) fn put(index: &Index, i: usize, mark: &str) {
    let mut numbers = Numbers::of(2, i);
    let mut text = String::new();
    let mut chunks = Vec::new();
    for vector in vectors(i) {
        let start = text.len();
        text.push_str(mark);
        (0..SENTENCES_A_CHUNK).for_each(|_| numbers.sentence(&SENTENCES, &mut text));
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
