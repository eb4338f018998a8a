//! What goes wrong with a server, in data. What to do about it stands in `src/hints.rs`.

use std::{fmt, time::Duration};

use thiserror::Error;

/// Characters of what a server said that are shown.
const SAID_CHARS_MAX: usize = 300;

/// A server could not be used.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The settings name a server and forbid connections.
    #[error("`{key}` is a server, {host}, and --offline forbids every connection")]
    Offline {
        /// The setting that makes it one.
        key: &'static str,
        /// The server.
        host: String,
    },
    /// A setting that is needed is empty.
    #[error("`{key}` is not set")]
    NotSet {
        /// The setting.
        key: &'static str,
    },
    /// A setting is no address.
    #[error("`{key}` is no address of a server: {problem}")]
    BadUrl {
        /// The setting.
        key: &'static str,
        /// What is wrong. The address itself is not shown: it may hold a password.
        problem: String,
    },
    /// The variable that should hold the key is not set.
    #[error("the environment variable `{variable}`, which `{key}` names, is not set")]
    NoKey {
        /// The setting.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// The file to count tokens with cannot be used.
    #[error("`{key}` cannot be used")]
    Tokenizer {
        /// The setting.
        key: &'static str,
        /// Why.
        source: Box<model::LoadError>,
    },
    /// No connection, or none that stayed.
    #[error("could not reach {host}: {reason}")]
    Connect {
        /// The server.
        host: String,
        /// Why.
        reason: String,
        /// Whether it may be otherwise in a moment.
        transient: bool,
    },
    /// The server was too slow.
    #[error("{host} {phase} {} s", after.as_secs_f32())]
    Timeout {
        /// The server.
        host: String,
        /// What it was too slow for.
        phase: Phase,
        /// The limit.
        after: Duration,
    },
    /// The connection ended before the answer did.
    #[error("{host} broke off the answer after {n_chars} characters")]
    Cut {
        /// The server.
        host: String,
        /// Characters of the answer that had come.
        n_chars: usize,
    },
    /// The server wants a key, or another one.
    #[error("{host} refuses the key (status {status}): {said}")]
    Unauthorized {
        /// The server.
        host: String,
        /// 401 or 403.
        status: u16,
        /// What it said.
        said: Said,
    },
    /// The server has no such model.
    #[error("{host} has no model `{model}`: {said}")]
    ModelNotFound {
        /// The server.
        host: String,
        /// The model asked for.
        model: String,
        /// What it said.
        said: Said,
    },
    /// The server has nothing at the address.
    #[error("{host} has nothing at {path}: {said}")]
    NotFound {
        /// The server.
        host: String,
        /// The path asked for.
        path: String,
        /// What it said.
        said: Said,
    },
    /// The prompt is longer than the model's context.
    #[error("{host} refuses the prompt, which is too long for its model: {said}")]
    ContextTooLong {
        /// The server.
        host: String,
        /// What it said.
        said: Said,
    },
    /// The server refuses the request for another reason.
    #[error("{host} refuses the request (status {status}): {said}")]
    Refused {
        /// The server.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: Said,
    },
    /// The server cannot answer now.
    #[error("{host} cannot answer now (status {status}): {said}")]
    Unavailable {
        /// The server.
        host: String,
        /// The HTTP status: 408, 429 or 5xx.
        status: u16,
        /// What it said.
        said: Said,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The server sends elsewhere. Texts go only to the host of the settings.
    #[error("{host} redirects to {location}, which is not followed")]
    Redirected {
        /// The server.
        host: String,
        /// Where to.
        location: String,
    },
    /// The answer is not of the protocol: a web page, for example.
    #[error("{host} answered {path} with {content_type}, not with the protocol: {beginning}")]
    NotProtocol {
        /// The server.
        host: String,
        /// The path asked for.
        path: String,
        /// What it says that it sent.
        content_type: String,
        /// How that begins.
        beginning: Said,
    },
    /// The answer is damaged JSON, or JSON of another shape.
    #[error("{host} sent JSON that cannot be read: {problem}, in {beginning}")]
    BadJson {
        /// The server.
        host: String,
        /// What is wrong with it.
        problem: String,
        /// How it begins.
        beginning: Said,
    },
    /// The server reported a failure in the middle of an answer.
    #[error("{host} failed while it answered: {said}")]
    InStream {
        /// The server.
        host: String,
        /// What it said.
        said: Said,
        /// Whether its code is one of those that pass.
        transient: bool,
    },
    /// The answer ended without a word.
    #[error("{host} wrote no answer, and {n_reasoning_chars} characters of reasoning")]
    NoAnswer {
        /// The server.
        host: String,
        /// Characters of reasoning.
        n_reasoning_chars: usize,
    },
    /// The answer is longer than any answer.
    #[error("{host} sent more than {bytes_max} bytes")]
    TooLarge {
        /// The server.
        host: String,
        /// The limit.
        bytes_max: usize,
    },
    /// Another number of vectors than of texts.
    #[error("{host} gave {n_vectors} vectors for {n_texts} texts")]
    VectorCount {
        /// The server.
        host: String,
        /// Texts sent.
        n_texts: usize,
        /// Vectors received.
        n_vectors: usize,
    },
    /// Vectors of another length than the settings say.
    #[error("{host} gave vectors of {found} dimensions, and the settings say {expected}")]
    Dimension {
        /// The server.
        host: String,
        /// Of the settings.
        expected: usize,
        /// Received.
        found: usize,
    },
    /// A vector that is zero, or not of numbers.
    #[error("{host} gave a vector without direction for text {text_idx}")]
    NoDirection {
        /// The server.
        host: String,
        /// Which of the texts.
        text_idx: usize,
    },
    /// It failed so often that it is left alone.
    #[error(
        "{host} failed {n_failures} times in a row and is left alone for {} s more",
        wait.as_secs() + 1
    )]
    LeftAlone {
        /// The server.
        host: String,
        /// Failures in a row.
        n_failures: u32,
        /// How long still.
        wait: Duration,
    },
    /// It failed more often than a request is tried.
    #[error("{last}; tried {n_tries} times")]
    GaveUp {
        /// Tries.
        n_tries: u32,
        /// What the last one gave.
        last: Box<UpstreamError>,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a server can be too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// To take the connection.
    Connect,
    /// To begin the answer.
    FirstByte,
    /// To go on with it.
    BetweenChunks,
    /// To end it.
    Total,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "took no connection within",
            Self::FirstByte => "did not begin to answer within",
            Self::BetweenChunks => "stopped in the middle of its answer for",
            Self::Total => "did not complete its answer within",
        })
    }
}

/// What a server said: short, on one line, without control characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Makes a text fit to be shown.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = flat.chars().filter(|it| !it.is_control()).collect();
        if let Some((end, _)) = shown.char_indices().nth(SAID_CHARS_MAX) {
            shown.truncate(end);
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(nothing)" } else { &self.0 })
    }
}

impl UpstreamError {
    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { transient, .. } | Self::InStream { transient, .. } => *transient,
            Self::Unavailable { .. } | Self::Cut { .. } => true,
            Self::Timeout { phase, .. } => *phase == Phase::Connect,
            Self::Offline { .. }
            | Self::NotSet { .. }
            | Self::BadUrl { .. }
            | Self::NoKey { .. }
            | Self::Tokenizer { .. }
            | Self::Unauthorized { .. }
            | Self::ModelNotFound { .. }
            | Self::NotFound { .. }
            | Self::ContextTooLong { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::NotProtocol { .. }
            | Self::BadJson { .. }
            | Self::NoAnswer { .. }
            | Self::TooLarge { .. }
            | Self::VectorCount { .. }
            | Self::Dimension { .. }
            | Self::NoDirection { .. }
            | Self::LeftAlone { .. }
            | Self::GaveUp { .. }
            | Self::Interrupted => false,
        }
    }

    /// Whether it shows that the server is not working, rather than that it refuses this request.
    #[must_use]
    pub fn is_failure_of_server(&self) -> bool {
        self.is_transient() || matches!(self, Self::Connect { .. } | Self::Timeout { .. })
    }

    /// How long the server asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The error itself, for one that was tried several times.
    #[must_use]
    pub fn last(&self) -> &Self {
        match self {
            Self::GaveUp { last, .. } => last.last(),
            it => it,
        }
    }

    /// Whether the settings, and not the server, are to be changed.
    #[must_use]
    pub fn is_of_settings(&self) -> bool {
        matches!(
            self.last(),
            Self::Offline { .. } | Self::NotSet { .. } | Self::BadUrl { .. } | Self::NoKey { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_shown_short_and_plain() {
        assert_eq!(Said::new(" a\n\u{1b}[31mb\t c ").to_string(), "a [31mb c");
        assert_eq!(Said::new(&"é".repeat(400)).to_string().chars().count(), SAID_CHARS_MAX + 1);
        assert_eq!(Said::new(" \n").to_string(), "(nothing)");
    }

    #[test]
    fn a_timeout_names_what_was_waited_for() {
        let error = UpstreamError::Timeout {
            host: "h:1".to_owned(),
            phase: Phase::BetweenChunks,
            after: Duration::from_millis(1500),
        };
        assert_eq!(error.to_string(), "h:1 stopped in the middle of its answer for 1.5 s");
        assert!(!error.is_transient() && error.is_failure_of_server());
    }
}
