//! The encoders of the settings, opened: the embedder, and the reranker where one is named.

use std::path::Path;

use anyhow::{Context as _, Result};
use model::{catalogue::ModelRole, rerank::Reranker};

use crate::{
    embedder::OpenedEmbedder,
    session::{CHUNK_TOKENS_MAX, Session},
    upstream::OPENAI,
};

/// Tokens of a question and a passage that a reranker in a folder reads at most: what most were
/// trained on.
const RERANK_TOKENS_MAX: usize = 512;

impl Session {
    /// The embedder of the settings.
    ///
    /// # Errors
    /// When it cannot be had or read.
    pub fn embedder(&self) -> Result<OpenedEmbedder> {
        let name = &self.config.models.embedder;
        let precision = self.config.models.embedder_precision;
        if name == OPENAI {
            return Ok(self.upstream_embedder()?);
        }
        let folder = Path::new(name);
        if folder.is_dir() {
            return OpenedEmbedder::of_folder(folder, CHUNK_TOKENS_MAX, precision);
        }
        let entry = self.entry(name, Some(ModelRole::Embedder))?;
        OpenedEmbedder::of_catalogue(entry, &self.files(entry)?, precision)
    }

    /// The reranker of the settings, where they name one.
    ///
    /// # Errors
    /// When it cannot be had or read.
    pub fn reranker(&self) -> Result<Option<Reranker>> {
        let name = &self.config.retrieval.reranker;
        if name.is_empty() {
            return Ok(None);
        }
        let folder = Path::new(name);
        let load = |dir: &Path, tokens_max: usize| {
            let precision = self.config.retrieval.reranker_precision;
            let loaded = Reranker::load(dir, tokens_max, precision);
            loaded.with_context(|| format!("could not load the reranker `{name}`")).map(Some)
        };
        if folder.is_dir() {
            return load(folder, RERANK_TOKENS_MAX);
        }
        let entry = self.entry(name, Some(ModelRole::Reranker))?;
        load(&self.files(entry)?.dir, entry.context_length)
    }
}
