//! The index built anew from the catalog's texts, for another embedder or other limits.

use std::error::Error;

use index::{
    Home, Index, OpenError, Preparing, RebuildError,
    catalog::{EmbeddedChunk, StoredDocument, StoredText},
    fingerprint::Recipe,
    unit_vector::UnitVector,
};
use ingest::{
    chunk::{ChunkLimits, chunk, embedding_text},
    document::{Document, Metadata},
    duplicates::SimHash,
};
use model::embed::TextRole;

use crate::embedder::Embedder;

/// What a rebuilt index holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// Documents.
    pub n_documents: u64,
    /// Their chunks, as they are cut and embedded now.
    pub n_chunks: u64,
}

/// Cuts and embeds every stored text again beside the live index, then switches. The files
/// themselves are not needed.
///
/// # Errors
/// [`RebuildError`]; the live index is then as it was.
pub fn rebuild(
    home: Home<'_>,
    recipe: &Recipe,
    embedder: &Embedder,
    limits: &ChunkLimits,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Rebuilt, RebuildError> {
    let mut recut = |batch: &[(StoredDocument, StoredText)]| cut(embedder, limits, batch);
    let index = Index::rebuild(home, recipe, &mut recut, progress)?;
    let counts = index.catalog().counts().map_err(OpenError::from)?;
    Ok(Rebuilt { n_documents: counts.documents, n_chunks: counts.chunks })
}

type Failure = Box<dyn Error + Send + Sync>;

fn cut(
    embedder: &Embedder,
    limits: &ChunkLimits,
    batch: &[(StoredDocument, StoredText)],
) -> Result<Vec<Vec<EmbeddedChunk>>, Failure> {
    let mut texts = Vec::new();
    let mut cut = Vec::new();
    for (stored, text) in batch {
        let document = document(stored, text);
        let chunks = chunk(&document, limits, &|text| embedder.count_tokens(text));
        texts.extend(chunks.iter().map(|it| embedding_text(&document, it)));
        cut.push((document, chunks));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embedded = embedder.embed(&texts, TextRole::Passage)?;
    let mut rows = embedded.rows();
    let mut res = Vec::with_capacity(cut.len());
    for (document, chunks) in cut {
        let mut ready = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let row = rows.next().expect("the embedder gives one vector for each text");
            let vector = UnitVector::new(row.to_vec())
                .ok_or("the embedder gave no direction to a passage: its files are damaged")?;
            let simhash = SimHash::of(&document.text[chunk.span.range()]).0;
            ready.push(EmbeddedChunk { chunk, vector, simhash });
        }
        res.push(ready);
    }
    Ok(res)
}

/// A document as it was when it was cut first.
fn document(stored: &StoredDocument, text: &StoredText) -> Document {
    Document {
        title: stored.title.clone(),
        text: text.text.clone(),
        media_type: stored.media_type,
        language: stored.language,
        pages: text.pages.clone(),
        headings: text.headings.clone(),
        metadata: Metadata::default(),
        findings: Vec::new(),
    }
}
