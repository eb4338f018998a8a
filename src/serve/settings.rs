//! Settings of the server: the shape of `[serve]`.

use std::{
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// How the server listens, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// Where to listen.
    pub addr: SocketAddr,
    /// What users reach the server under; empty for what their request says.
    pub public_url: String,
    /// Origins whose pages may call the API, such as `https://intranet.example`.
    pub cors_origins: Vec<String>,
    /// Certificates (PEM), the server's own first; empty for plain HTTP.
    pub tls_cert: PathBuf,
    /// The private key (PEM).
    pub tls_key: PathBuf,
    /// Connections at a time at most.
    pub connections_max: NonZeroUsize,
    /// Seconds for the head of a request, and for its body to go on.
    pub read_seconds: NonZeroU64,
    /// Bytes of a request's body at most, uploads aside.
    pub body_bytes_max: NonZeroUsize,
    /// Bytes of one upload at most.
    pub upload_bytes_max: NonZeroUsize,
    /// Answers that are written at a time.
    pub answers_max: NonZeroUsize,
    /// Requests that wait for one of those places at most.
    pub queue_max: NonZeroUsize,
    /// Requests a minute of one key, or of one address where no key is needed; 0 for any number.
    pub requests_per_minute: u32,
    /// Seconds that a shutdown waits for answers that are being written.
    pub drain_seconds: u64,
    /// Days that conversations and answers are kept; 0 for not at all.
    pub keep_days: u32,
    /// Whether the audit record holds the text of questions.
    pub audit_questions: bool,
}
