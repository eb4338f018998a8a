//! Messages that we post to a chat tool: a few tries, each with limits, on a thread that may wait.

use std::{ops::ControlFlow, thread, time::Duration};

use serde_json::Value;

use crate::upstream::{
    error::{Said, UpstreamError},
    http::{BaseUrl, Http, Timeouts},
    retry::RetryLimits,
    settings::Secret,
};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    between_chunks: Duration::from_secs(5),
    total: Duration::from_secs(15),
};

const RETRY: RetryLimits =
    RetryLimits { retries: 2, wait: Duration::from_millis(500), wait_max: Duration::from_secs(30) };

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) url: String,
    /// Sent as a bearer's; empty for none.
    pub(super) token: Secret,
    pub(super) body: Value,
}

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    /// The tool could not be reached.
    #[error(transparent)]
    Http(#[from] UpstreamError),
    /// It said no.
    #[error("status {status}: {said}")]
    Status { status: u16, said: Said, retry_after: Option<Duration> },
    /// It took the request and refused the message: Slack's `ok: false`.
    #[error("refused: {0}")]
    Refused(Said),
    /// An address that is none of the tool's.
    #[error("`{0}` is not below the address of the settings")]
    Elsewhere(Said),
}

impl PostError {
    /// Whether the message was not taken, and may be in a moment.
    fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            Self::Refused(_) | Self::Elsewhere(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Http(_) | Self::Refused(_) | Self::Elsewhere(_) => None,
        }
    }
}

/// Posts a message, waiting where it has to.
pub(super) fn post(message: &Message) -> Result<(), PostError> {
    let mut n_tries = 0;
    loop {
        let error = match attempt(message) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        n_tries += 1;
        let wait = RETRY.wait_after(n_tries, error.retry_after(), 0.5);
        match wait.filter(|_| error.is_transient()) {
            Some(wait) => thread::sleep(wait),
            None => return Err(error),
        }
    }
}

fn attempt(message: &Message) -> Result<(), PostError> {
    let (origin, path) = split(&message.url);
    let base = BaseUrl::parse("response_url", origin)?;
    let http = Http::new(base, message.token.clone(), TIMEOUTS);
    let mut exchange = http.send(path, Some(message.body.to_string().into_bytes()))?;
    let mut wait = || ControlFlow::Continue(());
    let head = exchange.head(&mut wait)?;
    let text = exchange.text(&mut wait)?;
    let said = || Said::new(&message.token.strike(&text));
    if !(200..300).contains(&head.status) {
        let retry_after = head.retry_after;
        return Err(PostError::Status { status: head.status, said: said(), retry_after });
    }
    // Slack says no with status 200 and a reason.
    match serde_json::from_str::<Value>(&text) {
        Ok(it) if it["ok"] == false => {
            let error = it["error"].as_str().map(Said::new);
            Err(PostError::Refused(error.unwrap_or_else(said)))
        }
        _ => Ok(()),
    }
}

/// An address as where it begins, `https://host:port`, and the rest.
fn split(url: &str) -> (&str, &str) {
    let authority = url.find("://").map_or(0, |it| it + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |it| authority + it);
    url.split_at(end)
}

/// Checks that an address that a request named is the host of the settings, or below it: whoever
/// can make requests must not choose where answers go.
pub(super) fn check_place(url: &str, settings: &str) -> Result<(), PostError> {
    let parts = |it: &str| {
        let (scheme, host) = split(it).0.split_once("://")?;
        Some((scheme.to_ascii_lowercase(), host.to_ascii_lowercase()))
    };
    let is_there = match (parts(url), parts(settings)) {
        (Some((scheme, host)), Some((own_scheme, own_host))) => {
            scheme == own_scheme
                && !host.contains('@')
                && (host == own_host || host.ends_with(&format!(".{own_host}")))
        }
        _ => false,
    };
    if is_there { Ok(()) } else { Err(PostError::Elsewhere(Said::new(url))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_the_tool_and_nowhere_else() {
        let slack = "https://slack.com/api";
        for url in ["https://hooks.slack.com/commands/T1/2/x", "https://slack.com/x"] {
            check_place(url, slack).unwrap();
        }
        for url in [
            "http://hooks.slack.com/commands/1",
            "https://hooks.slack.com.evil.example/",
            "https://evilslack.com/",
            "https://evil.example/?x=.slack.com",
            "https://evil.example#.slack.com",
            "https://hooks.slack.com:8443/",
            "https://user@hooks.slack.com/",
            "slack.com",
            "",
        ] {
            check_place(url, slack).unwrap_err();
        }
        check_place("http://127.0.0.1:8065/hooks/commands/1", "http://127.0.0.1:8065").unwrap();
        check_place("http://127.0.0.1:8066/hooks/commands/1", "http://127.0.0.1:8065").unwrap_err();
    }

    #[test]
    fn an_address_is_split_where_its_path_begins() {
        assert_eq!(split("https://a.example/b/c?d"), ("https://a.example", "/b/c?d"));
        assert_eq!(split("http://a:1"), ("http://a:1", ""));
    }
}
