//! Settings of the servers: the shape of `[upstream]`.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A server that writes answers.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where its protocol begins, `/v1` included.
    pub base_url: String,
    /// The model's name on it.
    pub model: String,
    /// The environment variable that holds the key; empty for none.
    pub api_key_env: String,
    /// The key itself, for who wants it in the file.
    pub api_key: Secret,
    /// Seconds to connect.
    pub connect_seconds: NonZeroU64,
    /// Seconds until the answer begins.
    pub first_byte_seconds: NonZeroU64,
    /// Seconds between two pieces of an answer.
    pub between_chunks_seconds: NonZeroU64,
    /// Seconds of one request, all of it.
    pub total_seconds: NonZeroU64,
    /// Tries after the first one.
    pub retries: u32,
    /// Milliseconds before the first further try.
    pub retry_wait_ms: u64,
    /// Milliseconds before any further try at most.
    pub retry_wait_ms_max: u64,
    /// Failures in a row after which the server is left alone.
    pub breaker_failures: NonZeroU32,
    /// Seconds for which it is left alone.
    pub breaker_seconds: u64,
    /// Tokens that the server's model attends to, prompt and answer together.
    pub context_tokens: NonZeroUsize,
    /// A `tokenizer.json` or `.gguf` file to count tokens with; empty for an estimate.
    pub tokenizer: PathBuf,
    /// Whether the model is too small to read whole passages and examples.
    pub small: bool,
    /// A server that embeds.
    pub embeddings: EmbeddingsConfig,
}

/// A server that embeds. Timeouts, retries and the breaker are those of the other one.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingsConfig {
    /// Where its protocol begins; empty for the server that writes answers, with its key.
    pub base_url: String,
    /// The model's name on it.
    pub model: String,
    /// The environment variable that holds the key, where it is another server.
    pub api_key_env: String,
    /// The key itself, where it is another server.
    pub api_key: Secret,
    /// Components of its vectors.
    pub dimension: usize,
    /// Tokens that it reads of one text.
    pub tokens_max: NonZeroUsize,
    /// Texts of one request at most.
    pub batch_max: NonZeroUsize,
    /// Put before every question.
    pub query_prefix: String,
    /// Put before every passage.
    pub passage_prefix: String,
    /// ISO 639-1 codes of the languages that it handles well; empty for any.
    pub languages: Vec<String>,
    /// The cosine that it gives to unrelated texts.
    pub cosine_unrelated: f32,
    /// A `tokenizer.json` or `.gguf` file to count tokens with; empty for an estimate.
    pub tokenizer: PathBuf,
}

/// A text that is never shown: neither by `Debug`, nor by a serializer, nor by an error about it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text without this one in it: servers repeat a wrong key in what they say about it.
    #[must_use]
    pub fn strike(&self, text: &str) -> String {
        if self.is_empty() { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(none)" } else { "***" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { "***" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not as a text: some formats refuse another kind by themselves, and show it.
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// What is said of a key that is no text. The usual message would show it.
const NOT_TEXT: &str = "a key must be a text in quotes";

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret(text.trim().to_owned()))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NOT_TEXT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_nothing() {
        let secret = Secret::new("sk-12345");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.strike("wrong key sk-12345!"), "wrong key ***!");
        for bad in ["1234567", "-1234567", "1234567.5", "true"] {
            let error = serde_json::from_str::<Secret>(bad).unwrap_err().to_string();
            assert!(error.contains(NOT_TEXT) && !error.contains("123"), "{error}");
        }
        assert_eq!(serde_json::from_str::<Secret>("\" a \"").unwrap().reveal(), "a");
    }

    #[test]
    fn no_secret_strikes_nothing() {
        assert_eq!(Secret::default().strike("as it is"), "as it is");
    }
}
