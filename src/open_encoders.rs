//! The encoders of the settings, opened: the embedder, and the reranker where one is named.

use std::path::Path;

use anyhow::{Context as _, Result};
use index::fingerprint::EmbedderPrint;
use model::{
    catalogue::{ModelRole, PoolingKind},
    embed::{Embedder, EmbedderSpec, Pooling, Precision, encoder_files},
    rerank::Reranker,
    store::sha256_of,
};

use crate::{
    config::ModelsConfig,
    session::{CHUNK_TOKENS_MAX, OpenedEmbedder, Session},
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
        let ModelsConfig { embedder: name, embedder_precision: precision, .. } =
            &self.config.models;
        let precision = *precision;
        let folder = Path::new(name);
        if folder.is_dir() {
            return folder_embedder(folder, precision);
        }
        let entry = self.entry(name, Some(ModelRole::Embedder))?;
        let files = self.files(entry)?;
        let pooling = entry.pooling.unwrap_or(PoolingKind::Mean);
        let spec = EmbedderSpec {
            pooling: pooling_of(pooling),
            query_prefix: entry.query_prefix.clone(),
            passage_prefix: entry.passage_prefix.clone(),
            tokens_max: entry.context_length,
            precision,
        };
        let embedder = Embedder::load(&files.dir, &spec)
            .with_context(|| format!("could not load the embedder `{name}`"))?;
        let print = print_of(&entry.id, files.fingerprint(), &embedder, &spec);
        Ok(OpenedEmbedder {
            embedder,
            print,
            languages: Some(entry.languages.clone()),
            cosine_unrelated: entry.cosine_unrelated,
        })
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
            let loaded = Reranker::load(dir, tokens_max);
            loaded.with_context(|| format!("could not load the reranker `{name}`")).map(Some)
        };
        if folder.is_dir() {
            return load(folder, RERANK_TOKENS_MAX);
        }
        let entry = self.entry(name, Some(ModelRole::Reranker))?;
        load(&self.files(entry)?.dir, entry.context_length)
    }
}

/// An embedder in a folder of the user's, used as the folder's own files say.
fn folder_embedder(folder: &Path, precision: Precision) -> Result<OpenedEmbedder> {
    let context = || format!("could not load the embedder in `{}`", folder.display());
    let spec = EmbedderSpec::of_folder(folder, CHUNK_TOKENS_MAX).with_context(context)?;
    let spec = EmbedderSpec { precision, ..spec };
    let embedder = Embedder::load(folder, &spec).with_context(context)?;
    let mut hashes = Vec::new();
    for file in encoder_files(folder).with_context(context)? {
        hashes.push(sha256_of(&file)?);
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let print = print_of(&name, hashes.join("+"), &embedder, &spec);
    Ok(OpenedEmbedder { embedder, print, languages: None, cosine_unrelated: 0.0 })
}

fn pooling_of(kind: PoolingKind) -> Pooling {
    match kind {
        PoolingKind::Mean => Pooling::Mean,
        PoolingKind::Cls => Pooling::Cls,
    }
}

fn print_of(
    id: &str,
    weights_sha256: String,
    embedder: &Embedder,
    spec: &EmbedderSpec,
) -> EmbedderPrint {
    EmbedderPrint {
        id: id.to_owned(),
        weights_sha256,
        dim: u32::try_from(embedder.dim()).unwrap_or(u32::MAX),
        pooling: match spec.pooling {
            Pooling::Mean => "mean".to_owned(),
            Pooling::Cls => "cls".to_owned(),
        },
        query_prefix: spec.query_prefix.clone(),
        passage_prefix: spec.passage_prefix.clone(),
        precision: spec.precision.as_str().to_owned(),
    }
}
