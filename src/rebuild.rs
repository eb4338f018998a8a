//! The index built anew from the catalog's texts, for another embedder or other limits.

use std::{error::Error, path::Path};

use index::{
    Index, Preparing, RebuildError,
    catalog::{EmbeddedChunk, StoredDocument, StoredText},
    fingerprint::Recipe,
    unit_vector::UnitVector,
};
use ingest::{
    chunk::{ChunkLimits, chunk, embedding_text},
    document::{Document, Metadata},
    duplicates::SimHash,
};
use model::embed::{Embedder, TextRole};

/// Cuts and embeds every stored text again beside the live index, then switches. The files
/// themselves are not needed.
///
/// # Errors
/// [`RebuildError`]; the live index is then as it was.
pub fn rebuild(
    data_dir: &Path,
    recipe: &Recipe,
    embedder: &Embedder,
    limits: &ChunkLimits,
    progress: &mut dyn FnMut(Preparing),
) -> Result<(), RebuildError> {
    let mut recut = |stored: &StoredDocument, text: &StoredText| cut(embedder, limits, stored, text);
    Index::rebuild(data_dir, recipe, &mut recut, progress)?;
    Ok(())
}

fn cut(
    embedder: &Embedder,
    limits: &ChunkLimits,
    stored: &StoredDocument,
    text: &StoredText,
) -> Result<Vec<EmbeddedChunk>, Box<dyn Error + Send + Sync>> {
    let document = Document {
        title: stored.title.clone(),
        text: text.text.clone(),
        media_type: stored.media_type,
        language: stored.language,
        pages: text.pages.clone(),
        headings: text.headings.clone(),
        metadata: Metadata::default(),
        findings: Vec::new(),
    };
    let chunks = chunk(&document, limits, &|text| embedder.count_tokens(text));
    let texts: Vec<String> = chunks.iter().map(|it| embedding_text(&document, it)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embedded = embedder.embed(&texts, TextRole::Passage)?;
    let mut res = Vec::with_capacity(chunks.len());
    for (chunk, row) in chunks.into_iter().zip(embedded.rows()) {
        let vector = UnitVector::new(row.to_vec())
            .ok_or("the embedder gave no direction to a passage: its model files are damaged")?;
        let simhash = SimHash::of(&document.text[chunk.span.range()]).0;
        res.push(EmbeddedChunk { chunk, vector, simhash });
    }
    Ok(res)
}
