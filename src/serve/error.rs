//! Errors of the HTTP API, in the shape of OpenAI's.

use axum::{
    Json,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use index::{CatalogError, ClusterError, IndexError};
use serde_json::{Value, json};

use crate::{
    engine::AskError, hints, records::RecordsError, retrieve::QuestionError, writer::WriteError,
};

/// The code of a request without a key that is known here.
const INVALID_KEY: &str = "invalid_api_key";

/// An error with its status. What it says is for whoever called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// The field that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn bad_field(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad_request(message) }
    }

    /// What is not there, or may not be seen by who asks.
    pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} `{id}`"))
    }

    pub(crate) fn unauthorized() -> Self {
        Self {
            code: Some(INVALID_KEY),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "a key is needed: send `Authorization: Bearer KEY`; an administrator makes one \
                 with `souffleur keys create`",
            )
        }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn too_large(what: &str, bytes_max: usize) -> Self {
        let message = format!("{what} is larger than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(crate) fn too_many(retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            code: Some("rate_limit_exceeded"),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many requests a minute: try again in {retry_after} s"),
            )
        }
    }

    pub(crate) fn overloaded(what: &str) -> Self {
        Self {
            retry_after: Some(2),
            code: Some("overloaded"),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{what} has too much to do: try again in a moment"),
            )
        }
    }

    /// What is there and takes no such request. The header `Allow` is set by the router.
    pub(crate) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let message = format!("`{path}` takes no {method}: the header `Allow` says what it takes");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// There is no room left for what the caller sends. The cause goes to the log.
    fn no_room(cause: &dyn std::error::Error) -> Self {
        tracing::warn!(error = %chain(cause), "the disk is full");
        Self {
            code: Some("no_room"),
            ..Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the server's disk is full: an administrator must make room on it",
            )
        }
    }

    /// A file could not be read or written.
    pub(crate) fn of_disk(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Self::no_room(error),
            _ => Self::internal(error),
        }
    }

    /// A failure that the caller can do nothing about. The cause goes to the log.
    pub(crate) fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(cause), "a request failed");
        let message = "the server failed; its log says why, under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The field that is wrong.
    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// As it stands in a response or an event. Events have no header to say when to try again.
    pub(crate) fn json(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.kind(),
            "param": self.param,
            "code": self.code,
        });
        if let Some(seconds) = self.retry_after {
            error["retry_after"] = seconds.into();
        }
        json!({ "error": error })
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::CONFLICT => "conflict_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
            it if it.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut res = error.to_string();
    let mut cause = error.source();
    while let Some(it) = cause {
        let text = it.to_string();
        if !res.ends_with(&text) {
            res = format!("{res}: {text}");
        }
        cause = it.source();
    }
    res
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        if self.code == Some(INVALID_KEY) {
            let scheme = HeaderValue::from_static("Bearer realm=\"souffleur\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<QuestionError> for ApiError {
    fn from(error: QuestionError) -> Self {
        Self::bad_field("question", error.to_string())
    }
}

impl From<RecordsError> for ApiError {
    fn from(error: RecordsError) -> Self {
        match error.is_for_want_of_room() {
            true => Self::no_room(&error),
            false => Self::internal(&error),
        }
    }
}

impl From<IndexError> for ApiError {
    fn from(error: IndexError) -> Self {
        if matches!(error, IndexError::NoRoom { .. } | IndexError::Catalog(CatalogError::DiskFull))
        {
            return Self::no_room(&error);
        }
        hints::cluster_in(&error).map_or_else(|| Self::internal(&error), Self::from)
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        if matches!(error, CatalogError::DiskFull) {
            return Self::no_room(&error);
        }
        hints::cluster_in(&error).map_or_else(|| Self::internal(&error), Self::from)
    }
}

impl From<&ClusterError> for ApiError {
    /// Where the cluster's nodes are is not for everybody: that goes to the log.
    fn from(error: &ClusterError) -> Self {
        if matches!(error, ClusterError::ReadsOnly) {
            return Self::conflict(error.to_string()).with_code("reads_only");
        }
        if !error.is_passing() {
            return Self::internal(error);
        }
        tracing::warn!(%error, "the index cannot be searched");
        Self {
            retry_after: Some(5),
            code: Some("index_unavailable"),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the Qdrant cluster that holds the index does not answer: try again in a moment",
            )
        }
    }
}

impl From<crate::retrieve::RetrieveError> for ApiError {
    fn from(error: crate::retrieve::RetrieveError) -> Self {
        AskError::from(error).into()
    }
}

impl From<AskError> for ApiError {
    fn from(error: AskError) -> Self {
        use model::{generate::GenerateError, serve::SubmitError};
        match &error {
            AskError::Write(WriteError::Submit(SubmitError::Busy { .. })) => {
                Self::overloaded("the model")
            }
            AskError::Write(WriteError::Generate(
                it @ (GenerateError::PromptTooLong { .. }
                | GenerateError::Options { .. }
                | GenerateError::Constraint { .. }
                | GenerateError::UnknownAdapter { .. }),
            )) => Self::bad_request(it.to_string()),
            AskError::NoModel => Self::conflict(error.to_string()),
            AskError::Compose(it) => Self::bad_request(it.to_string()),
            AskError::Upstream(it) => {
                tracing::warn!(error = %chain(it), "the upstream server failed");
                let hint = hints::upstream(it).map(|it| format!("; {it}")).unwrap_or_default();
                Self::new(StatusCode::BAD_GATEWAY, format!("{it}{hint}"))
            }
            _ => hints::cluster_in(&error).map_or_else(|| Self::internal(&error), Self::from),
        }
    }
}
