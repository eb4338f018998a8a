//! Requests that are tried again where that makes sense, and not made where the server is left
//! alone.

use std::{
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    breaker::{Breaker, BreakerLimits},
    error::{Said, UpstreamError},
    http::{BaseUrl, Exchange, Head, Http, Poll, Timeouts},
    protocol::{self, Failure},
    retry::RetryLimits,
    settings::Secret,
};

/// How often a wait asks whether to go on waiting.
const PAUSE: Duration = Duration::from_millis(20);

/// How to speak to a server.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where its protocol begins.
    pub base: BaseUrl,
    /// The key that it wants; empty for none.
    pub key: Secret,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often and how soon to try again.
    pub retry: RetryLimits,
    /// When to leave it alone.
    pub breaker: BreakerLimits,
    /// Set when the user asks to stop.
    pub interrupted: Arc<AtomicBool>,
}

/// Speaks to one server.
#[derive(Debug)]
pub struct Client {
    http: Http,
    retry: RetryLimits,
    breaker: Mutex<Breaker>,
    interrupted: Arc<AtomicBool>,
}

/// A try that failed.
#[derive(Debug)]
pub(super) struct FailedTry {
    pub(super) error: UpstreamError,
    /// Whether somebody has seen a part of the answer, so that another one must not follow.
    pub(super) shown: bool,
}

impl From<UpstreamError> for FailedTry {
    fn from(error: UpstreamError) -> Self {
        Self { error, shown: false }
    }
}

impl Client {
    /// Prepares to speak to a server; opens nothing yet.
    #[must_use]
    pub fn new(options: ClientOptions) -> Self {
        Self {
            http: Http::new(options.base, options.key, options.timeouts),
            retry: options.retry,
            breaker: Mutex::new(Breaker::new(options.breaker)),
            interrupted: options.interrupted,
        }
    }

    /// The server.
    #[must_use]
    pub fn base(&self) -> &BaseUrl {
        self.http.base()
    }

    /// Host and port, as they are shown.
    pub(super) fn host(&self) -> String {
        self.base().host().to_owned()
    }

    /// What a server said, fit to be shown.
    pub(super) fn said(&self, text: &str) -> Said {
        self.http.said(text)
    }

    /// Whether the user asked to stop.
    pub(super) fn flow(&self) -> ControlFlow<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Sends a request and waits for an answer of status 200; others are errors.
    pub(super) fn open(
        &self,
        path: &str,
        model: &str,
        json: Option<Vec<u8>>,
        poll: Poll<'_>,
    ) -> Result<(Head, Exchange), UpstreamError> {
        let mut exchange = self.http.send(path, json)?;
        let head = exchange.head(poll)?;
        if (200..300).contains(&head.status) {
            return Ok((head, exchange));
        }
        if (300..400).contains(&head.status) {
            let location = self.said(&head.location).to_string();
            return Err(UpstreamError::Redirected { host: self.host(), location });
        }
        let body = exchange.text(poll)?;
        tracing::debug!(path, status = head.status, "the server refuses");
        Err(self.error_of(path, model, &head, &body))
    }

    /// Sends a request and reads its answer as JSON.
    pub(super) fn json(
        &self,
        path: &str,
        model: &str,
        json: Option<Vec<u8>>,
        poll: Poll<'_>,
    ) -> Result<serde_json::Value, UpstreamError> {
        let (head, mut exchange) = self.open(path, model, json, poll)?;
        let text = exchange.text(poll)?;
        self.parse(path, &head, &text)
    }

    /// JSON, or what it is instead.
    pub(super) fn parse(
        &self,
        path: &str,
        head: &Head,
        text: &str,
    ) -> Result<serde_json::Value, UpstreamError> {
        serde_json::from_str(text).map_err(|error| {
            if head.content_type.contains("json") {
                let problem = error.to_string();
                let beginning = self.said(text);
                return UpstreamError::BadJson { host: self.host(), problem, beginning };
            }
            self.not_protocol(path, head, text)
        })
    }

    pub(super) fn not_protocol(&self, path: &str, head: &Head, text: &str) -> UpstreamError {
        let content_type = match head.content_type.as_str() {
            "" => "something of no type".to_owned(),
            "text/html" => "a web page".to_owned(),
            other => self.said(other).to_string(),
        };
        let (host, path) = (self.host(), path.to_owned());
        UpstreamError::NotProtocol { host, path, content_type, beginning: self.said(text) }
    }

    /// What an answer of another status than 200 means.
    fn error_of(&self, path: &str, model: &str, head: &Head, body: &str) -> UpstreamError {
        let host = self.host();
        let failure = Failure::of_body(body);
        let said = self.said(&failure.message);
        let status = head.status;
        if failure.is_context_too_long() && matches!(status, 400 | 413 | 422) {
            return UpstreamError::ContextTooLong { host, said };
        }
        match status {
            401 | 403 => UpstreamError::Unauthorized { host, status, said },
            404 if failure.names_model(model) => {
                UpstreamError::ModelNotFound { host, model: model.to_owned(), said }
            }
            404 | 405 => UpstreamError::NotFound { host, path: path.to_owned(), said },
            408 | 429 | 500.. => {
                let retry_after = head.retry_after;
                UpstreamError::Unavailable { host, status, said, retry_after }
            }
            // Some servers call an unknown model a bad request.
            400 | 422 if failure.denies_model(model) => {
                UpstreamError::ModelNotFound { host, model: model.to_owned(), said }
            }
            _ => UpstreamError::Refused { host, status, said },
        }
    }

    /// What a failure that a server reports inside an answer means.
    pub(super) fn error_in_stream(&self, failure: &Failure) -> UpstreamError {
        let (host, said) = (self.host(), self.said(&failure.message));
        if failure.is_context_too_long() {
            return UpstreamError::ContextTooLong { host, said };
        }
        UpstreamError::InStream { host, said, transient: failure.is_transient() }
    }

    /// Makes a try, and further ones after failures that may pass, as long as nobody has seen a
    /// part of the answer.
    pub(super) fn run<T>(
        &self,
        poll: Poll<'_>,
        attempt: &mut dyn FnMut(Poll<'_>) -> Result<T, FailedTry>,
    ) -> Result<T, UpstreamError> {
        let mut n_tries = 0;
        loop {
            self.admit()?;
            n_tries += 1;
            let outcome = attempt(poll);
            self.record(outcome.as_ref().err().map(|it| &it.error));
            let failed = match outcome {
                Ok(it) => return Ok(it),
                Err(it) => it,
            };
            let FailedTry { error, shown } = failed;
            let wait = self.retry.wait_after(n_tries, error.retry_after(), chance());
            let wait = wait.filter(|_| error.is_transient() && !shown);
            let Some(wait) = wait else {
                return Err(match n_tries {
                    1 => error,
                    _ => UpstreamError::GaveUp { n_tries, last: Box::new(error) },
                });
            };
            tracing::info!(n_tries, wait_ms = wait.as_millis(), %error, "trying again");
            self.pause(wait, poll)?;
        }
    }

    fn admit(&self) -> Result<(), UpstreamError> {
        self.breaker().admit(Instant::now()).map_err(|refused| UpstreamError::LeftAlone {
            host: self.host(),
            n_failures: refused.n_failures,
            wait: refused.wait,
        })
    }

    fn record(&self, error: Option<&UpstreamError>) {
        let mut breaker = self.breaker();
        match error {
            Some(UpstreamError::Interrupted) => breaker.abandoned(Instant::now()),
            Some(error) if error.is_failure_of_server() => breaker.failed(Instant::now()),
            // A refusal is an answer: the server works.
            Some(_) | None => breaker.succeeded(),
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        // Each change of it is whole: one that a panic left behind is a right one.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pause(&self, wait: Duration, poll: Poll<'_>) -> Result<(), UpstreamError> {
        let end = Instant::now() + wait;
        loop {
            if poll().is_break() {
                return Err(UpstreamError::Interrupted);
            }
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            thread::sleep(PAUSE.min(end - now));
        }
    }
}

/// The JSON of a request as bytes.
pub(super) fn bytes_of(json: &serde_json::Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

/// The ids of the models that the server lists.
pub(super) fn list_models(client: &Client) -> Result<Vec<String>, UpstreamError> {
    let json = client.json("/models", "", None, &mut || client.flow())?;
    protocol::model_ids(&json).ok_or_else(|| UpstreamError::BadJson {
        host: client.host(),
        problem: "no list of models".to_owned(),
        beginning: client.said(&json.to_string()),
    })
}

/// A number from 0 to 1 that differs each time: clients that failed together must not return
/// together.
#[expect(clippy::cast_precision_loss, reason = "jitter needs no more digits")]
fn chance() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}
