//! Documents and an embedder that need no model.

use index::Index;
use index::catalog::{EmbeddedChunk, Labels, NewDocument, Source};
use index::fingerprint::{EmbedderPrint, Recipe};
use index::hit::DocumentId;
use index::unit_vector::UnitVector;
use ingest::chunk::Chunk;
use ingest::document::{Document, Language, MediaType, Metadata, Span};

pub(crate) const DIM: u32 = 16;

pub(crate) fn recipe() -> Recipe {
    Recipe {
        embedder: EmbedderPrint {
            id: "words".to_owned(),
            weights_sha256: "0".repeat(64),
            dim: DIM,
            pooling: "mean".to_owned(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
            precision: "f32".to_owned(),
        },
        chunk_tokens_max: 128,
        chunk_overlap: 16,
    }
}

/// FNV-1a, of which every bit depends on every byte.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The sum of a pseudo-random vector for each word.
pub(crate) fn embed(text: &str, dim: u32) -> UnitVector {
    let mut sum = vec![0.0_f32; dim as usize];
    for word in text.split_whitespace().chain(["."]) {
        for (i, x) in sum.iter_mut().enumerate() {
            let bits = hash(&format!("{word}/{i}"));
            *x += (bits >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
        }
    }
    UnitVector::new(sum).expect("pseudo-random numbers do not cancel out")
}

/// Cuts a text at its empty lines.
pub(crate) fn cut(text: &str, dim: u32) -> Vec<EmbeddedChunk> {
    let mut res = Vec::new();
    let mut start = 0;
    for paragraph in text.split_inclusive("\n\n") {
        let span = Span { start, end: start + paragraph.trim_end().len() };
        start += paragraph.len();
        res.push(EmbeddedChunk {
            chunk: Chunk {
                context: String::new(),
                span,
                heading_path: vec!["Guide".to_owned(), "Règles".to_owned()],
                page: None,
                table_header: None,
                language: None,
            },
            vector: embed(&text[span.range()], dim),
            simhash: hash(&text[span.range()]),
        });
    }
    res
}

pub(crate) fn source(path: &str, text: &str) -> Source {
    Source {
        root: "/corpus".to_owned(),
        path: path.to_owned(),
        content_hash: format!("{:016x}", hash(text)),
        size: text.len() as u64,
        mtime_ns: 1_700_000_000_000_000_000,
    }
}

/// Stores a document of which each paragraph is a chunk.
pub(crate) fn put(index: &Index, path: &str, text: &str, labels: &Labels) -> DocumentId {
    let document = Document {
        title: format!("Titre de {path}"),
        text: text.to_owned(),
        media_type: MediaType::Markdown,
        language: Some(Language::French),
        pages: Vec::new(),
        headings: Vec::new(),
        metadata: Metadata::default(),
        findings: Vec::new(),
    };
    let new = NewDocument {
        source: &source(path, text),
        document: &document,
        labels,
        made_by: "test 1",
        ingested_at: 1_700_000_000,
        duplicate: None,
        signature: &hash(text).to_le_bytes(),
        chunks: &cut(text, DIM),
    };
    index.catalog().put(&new).unwrap()
}
