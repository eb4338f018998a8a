//! What requests carry, with errors in our shape.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{error::ApiError, state::App};

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, app).await {
            Ok(Json(it)) => Ok(Self(it)),
            Err(error) => Err(refused(app, &error)),
        }
    }
}

fn refused(app: &App, error: &JsonRejection) -> ApiError {
    use axum::http::StatusCode;
    match (error, error.status()) {
        (_, StatusCode::PAYLOAD_TOO_LARGE) => {
            ApiError::too_large("the request", app.session.config.serve.body_bytes_max.get())
        }
        (JsonRejection::MissingJsonContentType(_), status) => {
            ApiError::new(status, "the body must be JSON: send `content-type: application/json`")
        }
        // 422 is what axum says; OpenAI's clients know 400.
        _ => ApiError::bad_request(error.body_text()),
    }
}

/// Parameters of the address after `?`.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(it)) => Ok(Self(it)),
            Err(error) => Err(ApiError::bad_request(error.body_text())),
        }
    }
}

/// A part of the address that names a thing of a kind; what cannot be a name of one names none.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, app).await {
            Ok(Path(it)) => Ok(Self(it)),
            Err(_) => Err(ApiError::not_found("thing at", parts.uri.path())),
        }
    }
}
