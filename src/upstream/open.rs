//! Servers of the settings, opened for a session.

use std::{path::Path, sync::Arc, time::Duration};

use index::fingerprint::EmbedderPrint;
use model::tokens::Counter;

use super::{
    OPENAI,
    breaker::BreakerLimits,
    chat::{Chat, ChatOptions},
    client::{Client, ClientOptions, list_models},
    embeddings::{EmbedderOptions, UpstreamEmbedder},
    error::UpstreamError,
    estimate::Tokens,
    http::{BaseUrl, Timeouts},
    retry::RetryLimits,
    settings::Secret,
};
use crate::{
    embedder::{Embedder, OpenedEmbedder},
    session::Session,
    writer::Writer,
};

/// What stands in an index's fingerprint for the hash of weights that only the server has.
const UNVERIFIED: &str = "unverified";

/// What stands there for how vectors are pooled.
const ON_SERVER: &str = "server";

impl Session {
    /// The server that writes answers. Says where questions and passages go, unless they stay on
    /// this machine.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections.
    pub fn upstream_writer(&self) -> Result<Writer, UpstreamError> {
        let chat = self.upstream_chat(self.timeouts())?;
        self.tell(chat.base(), "questions and the passages found for them");
        Ok(Writer::Upstream(Box::new(chat)))
    }

    /// The server that embeds. Says where texts go, unless they stay on this machine.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections.
    pub fn upstream_embedder(&self) -> Result<OpenedEmbedder, UpstreamError> {
        let config = &self.config.upstream.embeddings;
        let embedder = self.upstream_embeddings(self.timeouts())?;
        if config.dimension == 0 {
            return Err(UpstreamError::NotSet { key: "upstream.embeddings.dimension" });
        }
        self.tell(embedder.base(), "questions and the texts of all documents");
        let print = EmbedderPrint {
            id: served_id(&config.model),
            weights_sha256: UNVERIFIED.to_owned(),
            dim: u32::try_from(config.dimension).unwrap_or(u32::MAX),
            pooling: ON_SERVER.to_owned(),
            query_prefix: config.query_prefix.clone(),
            passage_prefix: config.passage_prefix.clone(),
            // What a server computes in is its own affair.
            precision: "f32".to_owned(),
        };
        let languages = (!config.languages.is_empty()).then(|| config.languages.clone());
        Ok(OpenedEmbedder {
            embedder: Embedder::Upstream(Box::new(embedder)),
            print,
            languages,
            cosine_unrelated: config.cosine_unrelated,
        })
    }

    /// The id under which an index knows the embedder of the settings.
    #[must_use]
    pub fn embedder_id(&self) -> String {
        match self.config.models.embedder.as_str() {
            OPENAI => served_id(&self.config.upstream.embeddings.model),
            id => id.to_owned(),
        }
    }

    /// The server that writes answers, without a word about it.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections.
    pub fn upstream_chat(&self, timeouts: Timeouts) -> Result<Chat, UpstreamError> {
        let config = &self.config.upstream;
        let client = self.chat_client(timeouts)?;
        if config.model.is_empty() {
            return Err(UpstreamError::NotSet { key: "upstream.model" });
        }
        let options = ChatOptions {
            model: config.model.clone(),
            context_tokens: config.context_tokens.get(),
            tokens: tokens_of("upstream.tokenizer", &config.tokenizer)?,
            small: config.small,
        };
        Ok(Chat::new(client, options))
    }

    /// The models of the server that writes answers.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections, or the server does not say.
    pub fn upstream_models(&self, timeouts: Timeouts) -> Result<Vec<String>, UpstreamError> {
        list_models(&Client::new(self.chat_client(timeouts)?))
    }

    /// The models of the server that embeds.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections, or the server does not say.
    pub fn upstream_embedding_models(
        &self,
        timeouts: Timeouts,
    ) -> Result<Vec<String>, UpstreamError> {
        list_models(&Client::new(self.embeddings_client(timeouts)?))
    }

    /// The server that embeds, without a word about it, and whatever its dimension.
    ///
    /// # Errors
    /// When the settings are not complete or forbid connections.
    pub fn upstream_embeddings(
        &self,
        timeouts: Timeouts,
    ) -> Result<UpstreamEmbedder, UpstreamError> {
        let config = &self.config.upstream.embeddings;
        let client = self.embeddings_client(timeouts)?;
        if config.model.is_empty() {
            return Err(UpstreamError::NotSet { key: "upstream.embeddings.model" });
        }
        let options = EmbedderOptions {
            model: config.model.clone(),
            dimension: config.dimension,
            tokens_max: config.tokens_max.get(),
            batch_max: config.batch_max.get(),
            query_prefix: config.query_prefix.clone(),
            passage_prefix: config.passage_prefix.clone(),
            tokens: tokens_of("upstream.embeddings.tokenizer", &config.tokenizer)?,
        };
        Ok(UpstreamEmbedder::new(client, options))
    }

    fn chat_client(&self, timeouts: Timeouts) -> Result<ClientOptions, UpstreamError> {
        let config = &self.config.upstream;
        let base = BaseUrl::parse("upstream.base_url", &config.base_url)?;
        self.allow("models.generator", &base)?;
        let key = key_of(&config.api_key, "upstream.api_key_env", &config.api_key_env)?;
        Ok(self.client(base, key, timeouts))
    }

    fn embeddings_client(&self, timeouts: Timeouts) -> Result<ClientOptions, UpstreamError> {
        let (shared, config) = (&self.config.upstream, &self.config.upstream.embeddings);
        // A key goes only to the server that it was given for.
        let (base, key) = if config.base_url.is_empty() {
            let base = BaseUrl::parse("upstream.base_url", &shared.base_url)?;
            (base, key_of(&shared.api_key, "upstream.api_key_env", &shared.api_key_env))
        } else {
            let base = BaseUrl::parse("upstream.embeddings.base_url", &config.base_url)?;
            let variable = "upstream.embeddings.api_key_env";
            (base, key_of(&config.api_key, variable, &config.api_key_env))
        };
        self.allow("models.embedder", &base)?;
        Ok(self.client(base, key?, timeouts))
    }

    /// The limits of the settings.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        let config = &self.config.upstream;
        let seconds = |it: std::num::NonZeroU64| Duration::from_secs(it.get());
        Timeouts {
            connect: seconds(config.connect_seconds),
            first_byte: seconds(config.first_byte_seconds),
            between_chunks: seconds(config.between_chunks_seconds),
            total: seconds(config.total_seconds),
        }
    }

    fn client(&self, base: BaseUrl, key: Secret, timeouts: Timeouts) -> ClientOptions {
        let config = &self.config.upstream;
        ClientOptions {
            base,
            key,
            timeouts,
            retry: RetryLimits {
                retries: config.retries,
                wait: Duration::from_millis(config.retry_wait_ms),
                wait_max: Duration::from_millis(config.retry_wait_ms_max),
            },
            breaker: BreakerLimits {
                failures_max: config.breaker_failures.get(),
                open_for: Duration::from_secs(config.breaker_seconds),
            },
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    fn allow(&self, key: &'static str, base: &BaseUrl) -> Result<(), UpstreamError> {
        if self.config.offline {
            return Err(UpstreamError::Offline { key, host: base.host().to_owned() });
        }
        Ok(())
    }

    fn tell(&self, base: &BaseUrl, what: &str) {
        if base.is_loopback() {
            return;
        }
        let plain = if base.is_plain() { ", unencrypted (http)" } else { "" };
        self.printer.notice(format!("{what} go to {}{plain}", base.host()));
    }
}

fn served_id(model: &str) -> String {
    format!("{OPENAI}:{model}")
}

fn key_of(key: &Secret, setting: &'static str, variable: &str) -> Result<Secret, UpstreamError> {
    if key.is_empty() && !variable.is_empty() {
        return Err(UpstreamError::NoKey { key: setting, variable: variable.to_owned() });
    }
    Ok(key.clone())
}

fn tokens_of(key: &'static str, path: &Path) -> Result<Tokens, UpstreamError> {
    if path.as_os_str().is_empty() {
        return Ok(Tokens::Estimated);
    }
    let counter = Counter::load(path)
        .map_err(|source| UpstreamError::Tokenizer { key, source: Box::new(source) })?;
    Ok(Tokens::Counted(Box::new(counter)))
}
