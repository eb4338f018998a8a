//! Flags of the command line that stand in the place of settings.

use std::{num::NonZeroUsize, path::PathBuf};

use serde::Serialize;

use super::Style;

/// Settings given as flags. `None` leaves the setting to the environment, the file or the default.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// `--data-dir`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// `--models-dir`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models_dir: Option<PathBuf>,
    /// `--offline`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<bool>,
    /// Of the retrieval.
    pub retrieval: RetrievalOverrides,
    /// Of the generation.
    pub generation: GenerationOverrides,
    /// Of the prompts.
    pub prompts: PromptsOverrides,
    /// Of the server.
    pub serve: ServeOverrides,
}

/// Flags that set how the server listens.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServeOverrides {
    /// `--addr`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addr: Option<std::net::SocketAddr>,
}

/// Flags that set how passages are found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RetrievalOverrides {
    /// `--passages`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passages_max: Option<NonZeroUsize>,
    /// `--rerank`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reranker: Option<String>,
}

/// Flags that set how answers are written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GenerationOverrides {
    /// `--temperature`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// `--seed`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `--answer-tokens`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_tokens_max: Option<NonZeroUsize>,
    /// `--best-of`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_of: Option<NonZeroUsize>,
    /// `--reward`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<String>,
}

/// Flags that set how the model is asked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PromptsOverrides {
    /// `--prompts-dir`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// `--style`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
}
