//! Whether a server answers and has the model: what `doctor` asks.

use super::{
    chat::Chat,
    client::{Client, list_models},
    embeddings::UpstreamEmbedder,
    error::UpstreamError,
};

/// What a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whether the model of the settings is among its models.
    pub has_model: bool,
    /// All of them.
    pub models: Vec<String>,
}

impl Chat {
    /// Asks the server for its models, once.
    ///
    /// # Errors
    /// [`UpstreamError`]
    pub fn listed(&self) -> Result<Listed, UpstreamError> {
        listed(&self.client, self.model())
    }
}

impl UpstreamEmbedder {
    /// Asks the server for its models, once.
    ///
    /// # Errors
    /// [`UpstreamError`]
    pub fn listed(&self) -> Result<Listed, UpstreamError> {
        listed(&self.client, &self.options().model)
    }
}

fn listed(client: &Client, model: &str) -> Result<Listed, UpstreamError> {
    let models = list_models(client)?;
    // Ollama lists `name:latest` and takes `name`.
    let latest = format!("{model}:latest");
    let has_model = models.iter().any(|it| it == model || *it == latest);
    Ok(Listed { has_model, models })
}
