//! Texts to unit vectors, on a server.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use model::embed::{EmbedError, Embeddings, TextRole};

use super::{
    client::{Client, ClientOptions, FailedTry, bytes_of},
    error::UpstreamError,
    estimate::Tokens,
    http::BaseUrl,
    protocol,
};

/// Where vectors are asked for.
const PATH: &str = "/embeddings";

/// Questions whose vectors are remembered: few-shot examples are compared with every question.
const REMEMBERED_MAX: usize = 256;

/// An embedding model on a server.
#[derive(Debug)]
pub struct UpstreamEmbedder {
    pub(super) client: Client,
    options: EmbedderOptions,
    /// Vectors of questions, by the text sent.
    remembered: Mutex<HashMap<String, Vec<f32>>>,
}

/// What is known of an embedding model on a server.
#[derive(Debug)]
pub struct EmbedderOptions {
    /// Its name on the server.
    pub model: String,
    /// Components of its vectors.
    pub dimension: usize,
    /// Tokens that it reads of one text.
    pub tokens_max: usize,
    /// Texts of one request at most.
    pub batch_max: usize,
    /// Put before every question.
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
    /// Counts its tokens.
    pub tokens: Tokens,
}

impl UpstreamEmbedder {
    /// Prepares to speak to a server; opens nothing yet.
    #[must_use]
    pub fn new(client: ClientOptions, options: EmbedderOptions) -> Self {
        Self { client: Client::new(client), options, remembered: Mutex::default() }
    }

    /// What is known of the model.
    #[must_use]
    pub fn options(&self) -> &EmbedderOptions {
        &self.options
    }

    /// The server.
    #[must_use]
    pub fn base(&self) -> &BaseUrl {
        self.client.base()
    }

    /// Embeds texts, in batches.
    ///
    /// Texts are counted as cut where the model's own tokenizer is at hand to tell; what the
    /// server cuts without saying so cannot be known.
    ///
    /// # Errors
    /// [`UpstreamError`]
    pub fn embed(&self, texts: &[&str], role: TextRole) -> Result<Embeddings, UpstreamError> {
        let prefix = match role {
            TextRole::Query => &self.options.query_prefix,
            TextRole::Passage => &self.options.passage_prefix,
        };
        let texts: Vec<String> = texts.iter().map(|it| format!("{prefix}{it}")).collect();
        let mut rows: Vec<Option<Vec<f32>>> = match role {
            TextRole::Query => texts.iter().map(|it| self.recall(it)).collect(),
            TextRole::Passage => vec![None; texts.len()],
        };
        let missing: Vec<usize> = (0..texts.len()).filter(|&i| rows[i].is_none()).collect();
        let mut n_tokens = 0;
        for batch in missing.chunks(self.options.batch_max.max(1)) {
            let sent: Vec<String> = batch.iter().map(|&i| texts[i].clone()).collect();
            let (vectors, n) = self.request(&sent)?;
            n_tokens += n;
            for (&i, vector) in batch.iter().zip(vectors) {
                if role == TextRole::Query {
                    self.remember(&texts[i], &vector);
                }
                rows[i] = Some(vector);
            }
        }
        let n_truncated = self.n_too_long(&texts);
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
        Embeddings::from_rows(rows, self.options.dimension, n_tokens, n_truncated)
            .map_err(|error| self.no_direction(&error))
    }

    /// The length of the vectors that the server gives.
    ///
    /// # Errors
    /// [`UpstreamError`]
    pub fn measure(&self) -> Result<usize, UpstreamError> {
        let json = self.json(&["test".to_owned()], &mut || self.client.flow())?;
        let vectors = protocol::vectors(&json).map_err(|problem| self.bad_json(problem, &json))?;
        Ok(vectors.first().map_or(0, Vec::len))
    }

    fn request(&self, texts: &[String]) -> Result<(Vec<Vec<f32>>, usize), UpstreamError> {
        let mut poll = || self.client.flow();
        let json = self
            .client
            .run(&mut poll, &mut |poll| self.json(texts, poll).map_err(FailedTry::from))?;
        let vectors = protocol::vectors(&json).map_err(|problem| self.bad_json(problem, &json))?;
        let host = || self.client.host();
        if vectors.len() != texts.len() {
            let (n_texts, n_vectors) = (texts.len(), vectors.len());
            return Err(UpstreamError::VectorCount { host: host(), n_texts, n_vectors });
        }
        let expected = self.options.dimension;
        if let Some(found) = vectors.iter().map(Vec::len).find(|it| *it != expected) {
            return Err(UpstreamError::Dimension { host: host(), expected, found });
        }
        Ok((vectors, protocol::usage(&json).map_or(0, |it| it.n_prompt_tokens)))
    }

    fn json(
        &self,
        texts: &[String],
        poll: super::http::Poll<'_>,
    ) -> Result<serde_json::Value, UpstreamError> {
        let body = bytes_of(&protocol::embeddings_request(&self.options.model, texts));
        let json = self.client.json(PATH, &self.options.model, Some(body), poll)?;
        match protocol::failure(&json) {
            Some(failure) => Err(self.client.error_in_stream(&failure)),
            None => Ok(json),
        }
    }

    fn bad_json(&self, problem: String, json: &serde_json::Value) -> UpstreamError {
        let beginning = self.client.said(&json.to_string());
        UpstreamError::BadJson { host: self.client.host(), problem, beginning }
    }

    fn no_direction(&self, error: &EmbedError) -> UpstreamError {
        let text_idx = match error {
            EmbedError::NotFinite { text_idx } | EmbedError::Tokenize { text_idx, .. } => *text_idx,
        };
        UpstreamError::NoDirection { host: self.client.host(), text_idx }
    }

    fn n_too_long(&self, texts: &[String]) -> usize {
        let Self { options: EmbedderOptions { tokens, tokens_max, .. }, .. } = self;
        match tokens.is_counted() {
            true => texts.iter().filter(|it| tokens.of(it) > *tokens_max).count(),
            false => 0,
        }
    }

    fn recall(&self, text: &str) -> Option<Vec<f32>> {
        // A poisoned map is still a map of right vectors: entries are inserted whole.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned()
    }

    fn remember(&self, text: &str, vector: &[f32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(text.to_owned(), vector.to_vec());
    }
}
