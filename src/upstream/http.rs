//! One request and its answer, as it arrives. The only place that opens a socket to a server.
//!
//! Each request runs on a thread of its own and sends what arrives through a bounded channel. So
//! every wait has its own limit (until the answer begins, between two pieces of it, all of it),
//! and the caller can leave at any moment: the thread ends with its next piece, and closes the
//! connection, which tells the server to stop.

use std::{
    io::Read,
    net::IpAddr,
    ops::ControlFlow,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use ureq::http::{HeaderValue, Uri, header};

use super::{
    error::{Phase, Said, UpstreamError},
    retry::retry_after,
    settings::Secret,
};

/// Bytes of one answer at most.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How often a waiting caller is asked whether it still waits.
const POLL: Duration = Duration::from_millis(50);

/// Pieces that wait for a slow reader; more make the thread wait.
const PIECES_WAITING_MAX: usize = 64;

/// Bytes read at once.
const PIECE_BYTES: usize = 16 << 10;

/// How long the thread outlives the caller's limits, so that the caller's are the ones that count.
const GRACE: Duration = Duration::from_secs(2);

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// From the request to the beginning of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub between_chunks: Duration,
    /// For all of it.
    pub total: Duration,
}

/// Where a server's protocol begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
    is_loopback: bool,
    is_plain: bool,
}

impl BaseUrl {
    /// Checks an address; `key` is the setting that it comes from.
    ///
    /// # Errors
    /// When it is none of `http` or `https`, or has a user, a query or no host.
    pub fn parse(key: &'static str, text: &str) -> Result<Self, UpstreamError> {
        let bad = |problem: &str| UpstreamError::BadUrl { key, problem: problem.to_owned() };
        let text = text.trim().trim_end_matches('/');
        if text.is_empty() {
            return Err(UpstreamError::NotSet { key });
        }
        let scheme = text.split_once("://").map_or("", |(it, _)| it).to_ascii_lowercase();
        let is_plain = match scheme.as_str() {
            "http" => true,
            "https" => false,
            _ => return Err(bad("it must begin with http:// or https://")),
        };
        let uri: Uri = text.parse().map_err(|_| bad("it does not parse"))?;
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds a user or a password, which belong in a key"));
        }
        if uri.query().is_some() {
            return Err(bad("it has a query"));
        }
        let name = authority.host().trim_matches(['[', ']']);
        if name.is_empty() {
            return Err(bad("it names no host"));
        }
        let is_loopback = name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        Ok(Self { text: text.to_owned(), host: authority.to_string(), is_loopback, is_plain })
    }

    /// Host and port, as they are shown.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether texts travel unencrypted.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }
}

/// A server and how to speak to it.
#[derive(Debug)]
pub struct Http {
    agent: ureq::Agent,
    base: BaseUrl,
    key: Secret,
    timeouts: Timeouts,
}

/// How an answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Media type in lowercase, without parameters.
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) location: String,
}

enum Message {
    Head(Head),
    Piece(Vec<u8>),
    End,
    /// The connection was never made.
    NotSent(Box<ureq::Error>),
    /// The connection ended in the middle.
    Broken,
}

/// An answer on its way.
pub(crate) struct Exchange {
    host: String,
    messages: Receiver<Message>,
    timeouts: Timeouts,
    start: Instant,
    /// When the last piece came.
    last: Instant,
    n_bytes: usize,
}

/// Asked while waiting: `Break` gives up.
pub(crate) type Poll<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

impl Http {
    /// Prepares to speak to a server; opens nothing yet.
    #[must_use]
    pub fn new(base: BaseUrl, key: Secret, timeouts: Timeouts) -> Self {
        let mut config = ureq::Agent::config_builder()
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.total + GRACE))
            .timeout_per_read(Some(timeouts.first_byte.max(timeouts.between_chunks) + GRACE))
            // Texts go to the host of the settings and nowhere else.
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    // Company proxies bring their own certificates: trust what the system trusts.
                    .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                    .build(),
            );
        if base.is_loopback {
            // A proxy of the environment is not on the way to this machine.
            config = config.proxy(None);
        }
        Self { agent: config.build().into(), base, key, timeouts }
    }

    /// The server.
    #[must_use]
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// What a server said, fit to be shown, without the key.
    pub(super) fn said(&self, text: &str) -> Said {
        Said::new(&self.key.strike(text))
    }

    /// Sends a request: JSON to be posted, or nothing to be got.
    pub(crate) fn send(
        &self,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<Exchange, UpstreamError> {
        let (sender, messages) = sync_channel(PIECES_WAITING_MAX);
        let url = format!("{}{path}", self.base.text);
        let (agent, key) = (self.agent.clone(), self.key.clone());
        let host = self.base.host.clone();
        tracing::debug!(host, path, "request");
        thread::Builder::new()
            .name("upstream".to_owned())
            .spawn(move || exchange(&agent, &url, &key, json, &sender))
            .map_err(|error| UpstreamError::Connect {
                host: host.clone(),
                reason: format!("no thread for the connection: {error}"),
                transient: false,
            })?;
        let start = Instant::now();
        Ok(Exchange { host, messages, timeouts: self.timeouts, start, last: start, n_bytes: 0 })
    }
}

impl Exchange {
    /// Waits for the answer to begin.
    pub(crate) fn head(&mut self, poll: Poll<'_>) -> Result<Head, UpstreamError> {
        match self.receive(Phase::FirstByte, poll)? {
            Message::Head(head) => Ok(head),
            Message::NotSent(error) => Err(self.not_sent(&error)),
            Message::Piece(_) | Message::End | Message::Broken => Err(self.gone(true)),
        }
    }

    /// Waits for the next piece; `None` at the end. `phase` says what for: the beginning of the
    /// answer, or its going on.
    pub(super) fn piece(
        &mut self,
        phase: Phase,
        poll: Poll<'_>,
    ) -> Result<Option<Vec<u8>>, UpstreamError> {
        match self.receive(phase, poll)? {
            Message::Piece(piece) => {
                self.n_bytes += piece.len();
                if self.n_bytes > ANSWER_BYTES_MAX {
                    let host = self.host.clone();
                    return Err(UpstreamError::TooLarge { host, bytes_max: ANSWER_BYTES_MAX });
                }
                Ok(Some(piece))
            }
            Message::End => Ok(None),
            Message::Broken => Err(UpstreamError::Cut { host: self.host.clone(), n_chars: 0 }),
            Message::Head(_) | Message::NotSent(_) => Err(self.gone(false)),
        }
    }

    /// Waits for all of the answer.
    pub(crate) fn text(&mut self, poll: Poll<'_>) -> Result<String, UpstreamError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(Phase::FirstByte, poll)? {
            bytes.extend(piece);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn receive(&mut self, phase: Phase, poll: Poll<'_>) -> Result<Message, UpstreamError> {
        let limits = &self.timeouts;
        let total = (Phase::Total, limits.total, self.start + limits.total);
        let own = match phase {
            Phase::BetweenChunks => {
                (phase, limits.between_chunks, self.last + limits.between_chunks)
            }
            Phase::Connect | Phase::FirstByte | Phase::Total => {
                (phase, limits.first_byte, self.start + limits.first_byte)
            }
        };
        let (phase, after, deadline) = if own.2 <= total.2 { own } else { total };
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(UpstreamError::Timeout { host: self.host.clone(), phase, after });
            }
            match self.messages.recv_timeout(POLL.min(deadline - now)) {
                Ok(message) => {
                    self.last = Instant::now();
                    return Ok(message);
                }
                Err(RecvTimeoutError::Timeout) if poll().is_break() => {
                    return Err(UpstreamError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone(false)),
            }
        }
    }

    fn gone(&self, transient: bool) -> UpstreamError {
        let reason = "the connection ended without an answer".to_owned();
        UpstreamError::Connect { host: self.host.clone(), reason, transient }
    }

    fn not_sent(&self, error: &ureq::Error) -> UpstreamError {
        let host = self.host.clone();
        let (reason, transient) = match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let after = self.timeouts.connect;
                return UpstreamError::Timeout { host, phase: Phase::Connect, after };
            }
            ureq::Error::Timeout(_) => {
                let after = self.timeouts.total;
                return UpstreamError::Timeout { host, phase: Phase::Total, after };
            }
            ureq::Error::HostNotFound => ("there is no host of that name".to_owned(), true),
            ureq::Error::Io(error) => (error.to_string(), true),
            ureq::Error::ConnectionFailed => ("the connection failed".to_owned(), true),
            error => (error.to_string(), false),
        };
        UpstreamError::Connect { host, reason, transient }
    }
}

/// Sends a request and passes on what comes, until it ends or nobody listens.
fn exchange(
    agent: &ureq::Agent,
    url: &str,
    key: &Secret,
    json: Option<Vec<u8>>,
    out: &SyncSender<Message>,
) {
    let response = match request(agent, url, key, json) {
        Ok(response) => response,
        Err(error) => {
            let _ = out.send(Message::NotSent(Box::new(error)));
            return;
        }
    };
    if out.send(Message::Head(head_of(&response))).is_err() {
        return;
    }
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let message = match reader.read(&mut buffer) {
            Ok(0) => Message::End,
            Ok(n) => Message::Piece(buffer[..n].to_vec()),
            Err(error) => {
                tracing::debug!(%error, "the connection broke");
                Message::Broken
            }
        };
        let is_last = !matches!(message, Message::Piece(_));
        // Nobody listens any more: dropping the reader closes the connection.
        if out.send(message).is_err() || is_last {
            return;
        }
    }
}

fn request(
    agent: &ureq::Agent,
    url: &str,
    key: &Secret,
    json: Option<Vec<u8>>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let authorization = if key.is_empty() {
        None
    } else {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
            .map_err(|error| ureq::Error::Http(error.into()))?;
        // Keeps it out of the HTTP library's own logs.
        value.set_sensitive(true);
        Some(value)
    };
    match json {
        Some(json) => {
            let mut request = agent.post(url).header(header::CONTENT_TYPE, "application/json");
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            request.send(&json)
        }
        None => {
            let mut request = agent.get(url);
            if let Some(value) = authorization {
                request = request.header(header::AUTHORIZATION, value);
            }
            request.call()
        }
    }
}

fn head_of(response: &ureq::http::Response<ureq::Body>) -> Head {
    let text = |name: header::HeaderName| {
        let value = response.headers().get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let content_type = text(header::CONTENT_TYPE);
    let content_type = content_type.split(';').next().unwrap_or_default();
    Head {
        status: response.status().as_u16(),
        content_type: content_type.trim().to_ascii_lowercase(),
        retry_after: retry_after(&text(header::RETRY_AFTER), Timestamp::now()),
        location: text(header::LOCATION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whether_it_is_this_machine() {
        for (text, host, is_loopback) in [
            ("http://127.0.0.1:8080/v1", "127.0.0.1:8080", true),
            ("http://[::1]:8080/v1/", "[::1]:8080", true),
            ("http://LocalHost:1/v1", "LocalHost:1", true),
            ("https://models.example/v1", "models.example", false),
            ("http://127.0.0.1.example/v1", "127.0.0.1.example", false),
            ("http://10.0.0.7:8000/v1", "10.0.0.7:8000", false),
        ] {
            let url = BaseUrl::parse("k", text).unwrap();
            assert_eq!((url.host(), url.is_loopback()), (host, is_loopback), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_it() {
        for (text, word) in [
            ("127.0.0.1:8080/v1", "http://"),
            ("ftp://host/v1", "http://"),
            ("http", "http://"),
            ("http://me:secret@host/v1", "password"),
            ("http://host/v1?key=secret", "query"),
            ("http:///v1", "parse"),
            ("ht tp://secret", "http://"),
            ("http://sec ret/v1", "parse"),
        ] {
            let error = BaseUrl::parse("k", text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("sec"), "{text}: {error}");
        }
        assert!(matches!(BaseUrl::parse("k", " "), Err(UpstreamError::NotSet { key: "k" })));
    }
}
