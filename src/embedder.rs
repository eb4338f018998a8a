//! What makes vectors: a model of this process, or one on a server.

use model::embed::{self, Embeddings, TextRole};

use crate::upstream::{embeddings::UpstreamEmbedder, error::UpstreamError};

/// What makes vectors.
#[derive(Debug)]
pub enum Embedder {
    /// A model of this process.
    Local(Box<embed::Embedder>),
    /// A model on a server.
    Upstream(Box<UpstreamEmbedder>),
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
        Self::Local(Box::new(it))
    }
}

impl Embedder {
    /// Length of the vectors.
    #[must_use]
    pub fn dim(&self) -> usize {
        match self {
            Self::Local(it) => it.dim(),
            Self::Upstream(it) => it.options().dimension,
        }
    }

    /// Most tokens of one text, prefix and special tokens included.
    #[must_use]
    pub fn tokens_max(&self) -> usize {
        match self {
            Self::Local(it) => it.tokens_max(),
            Self::Upstream(it) => it.options().tokens_max,
        }
    }

    /// Tokens of a text, without prefix and special tokens: estimated high for a server whose
    /// tokenizer is not at hand.
    #[must_use]
    pub fn count_tokens(&self, text: &str) -> usize {
        match self {
            Self::Local(it) => it.count_tokens(text),
            Self::Upstream(it) => it.options().tokens.of(text),
        }
    }

    /// Embeds texts of any number.
    ///
    /// # Errors
    /// When the model or the server fails.
    pub fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, EmbedError> {
        match self {
            Self::Local(it) => Ok(it.embed(texts, role)?),
            Self::Upstream(it) => Ok(it.embed(texts, role)?),
        }
    }
}
