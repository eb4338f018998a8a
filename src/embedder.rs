//! What makes vectors: a model of this process, or one on a server.

use std::{path::Path, thread};

use anyhow::{Context as _, Result};
use index::fingerprint::EmbedderPrint;
use model::{
    catalogue::{ModelEntry, PoolingKind},
    embed::{self, EmbedderSpec, Embeddings, Pooling, Precision, TextRole, encoder_files},
    store::{InstalledModel, sha256_of},
};

use crate::{
    crowd::CROWD,
    together::Together,
    upstream::{embeddings::UpstreamEmbedder, error::UpstreamError},
};

/// What makes vectors.
#[derive(Debug)]
pub enum Embedder {
    /// A model of this process.
    Local(Box<LocalEmbedder>),
    /// A model on a server.
    Upstream(Box<UpstreamEmbedder>),
}

/// A model of this process.
#[derive(Debug)]
pub struct LocalEmbedder {
    model: embed::Embedder,
    questions: Together<Embeddings>,
}

/// Texts could not be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// By the model of this process.
    #[error(transparent)]
    Local(#[from] embed::EmbedError),
    /// By the server.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl From<embed::Embedder> for Embedder {
    fn from(it: embed::Embedder) -> Self {
        let questions = Together::new(rayon::current_num_threads());
        Self::Local(Box::new(LocalEmbedder { model: it, questions }))
    }
}

impl Embedder {
    /// Length of the vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        match self {
            Self::Local(it) => it.model.dim(),
            Self::Upstream(it) => it.options().dimension,
        }
    }

    /// Most tokens of one text, prefix and special tokens included.
    #[must_use]
    pub fn tokens_max(&self) -> usize {
        match self {
            Self::Local(it) => it.model.tokens_max(),
            Self::Upstream(it) => it.options().tokens_max,
        }
    }

    /// Tokens of a text, without prefix and special tokens: estimated high for a server whose
    /// tokenizer is not at hand.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        match self {
            Self::Local(it) => it.model.count_tokens(text),
            Self::Upstream(it) => it.options().tokens.of(text),
        }
    }

    /// Embeds texts of any number.
    ///
    /// # Errors
    /// When the model or the server fails.
    pub fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, EmbedError> {
        match self {
            Self::Local(it) => {
                let _present = CROWD.enter();
                Ok(it.model.embed(texts, role)?)
            }
            Self::Upstream(it) => Ok(it.embed(texts, role)?),
        }
    }

    /// Embeds a question, and does `beside` before or meanwhile: by several threads for one who
    /// `is_alone`, else by this thread, together with other questions. Where the question cannot be
    /// embedded, `beside` may not have been done.
    ///
    /// # Errors
    /// When the model or the server fails.
    pub fn embed_question(
        &self,
        question: &str,
        is_alone: bool,
        beside: impl FnOnce() + Send,
    ) -> Result<Embeddings, EmbedError> {
        match self {
            Self::Local(it) if is_alone => Ok(it.model.embed_question(question, beside)?),
            Self::Local(it) => {
                beside();
                Ok(it.questions.compute(question, |all| it.model.embed_questions_here(all))?)
            }
            Self::Upstream(it) => thread::scope(|scope| {
                scope.spawn(beside);
                Ok(it.embed(&[question], TextRole::Query)?)
            }),
        }
    }
}

/// An embedder with what the index must know of it.
#[derive(Debug)]
pub struct OpenedEmbedder {
    /// The model.
    pub embedder: Embedder,
    /// What its vectors depend on.
    pub print: EmbedderPrint,
    /// Languages (ISO 639-1) that it handles well; `None` where nobody has said so.
    pub languages: Option<Vec<String>>,
    /// The cosine that it gives to unrelated texts.
    pub cosine_unrelated: f32,
}

impl OpenedEmbedder {
    /// Whether it handles a language well, as far as is known.
    #[must_use]
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.as_ref().is_none_or(|it| it.iter().any(|it| it == language))
    }

    /// An embedder of the catalogue, from its files.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_catalogue(
        entry: &ModelEntry,
        files: &InstalledModel,
        precision: Precision,
    ) -> Result<Self> {
        let spec = EmbedderSpec {
            pooling: match entry.pooling.unwrap_or(PoolingKind::Mean) {
                PoolingKind::Mean => Pooling::Mean,
                PoolingKind::Cls => Pooling::Cls,
            },
            query_prefix: entry.query_prefix.clone(),
            passage_prefix: entry.passage_prefix.clone(),
            tokens_max: entry.context_length,
            precision,
        };
        let embedder: Embedder = embed::Embedder::load(&files.dir, &spec)
            .with_context(|| format!("could not load the embedder `{}`", entry.id))?
            .into();
        let print = print_of(&entry.id, files.fingerprint(), &embedder, &spec);
        Ok(Self {
            embedder,
            print,
            languages: Some(entry.languages.clone()),
            cosine_unrelated: entry.cosine_unrelated,
        })
    }

    /// An embedder in a folder of the user's, used as the folder's own files say; at most
    /// `tokens_max` tokens of a text where they do not say it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_folder(folder: &Path, tokens_max: usize, precision: Precision) -> Result<Self> {
        let context = || format!("could not load the embedder in `{}`", folder.display());
        let spec = EmbedderSpec::of_folder(folder, tokens_max).with_context(context)?;
        let spec = EmbedderSpec { precision, ..spec };
        let embedder: Embedder = embed::Embedder::load(folder, &spec).with_context(context)?.into();
        let mut hashes = Vec::new();
        for file in encoder_files(folder).with_context(context)? {
            hashes.push(sha256_of(&file)?);
        }
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let print = print_of(&name, hashes.join("+"), &embedder, &spec);
        Ok(Self { embedder, print, languages: None, cosine_unrelated: 0.0 })
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
        precision: spec.precision.of_vectors().as_str().to_owned(),
    }
}
