//! The page, the widget and the description of the API: files of `web/`, compiled in.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use include_dir::{Dir, include_dir};
use serde_json::{Value, json};

use super::{
    access::{COOKIE, Reader, session},
    documents,
    error::ApiError,
    extract::{Body, Id},
    state::App,
    work::on_thread,
};

static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// A page asks for some of its files twice while it loads; a new program is noticed soon.
const CACHING: &str = "max-age=10";

/// Seconds that a browser's cookie lasts: as long as its session.
const COOKIE_SECONDS: u32 = 30 * 86_400;

/// The page.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

/// The description of the API.
pub(crate) async fn docs(headers: HeaderMap) -> Response {
    page("docs.html", &headers)
}

/// The form of a link that stands below an answer in a chat tool.
pub(crate) async fn judge(headers: HeaderMap) -> Response {
    page("judge.html", &headers)
}

fn page(path: &str, headers: &HeaderMap) -> Response {
    file(path, headers).unwrap_or_else(|| ApiError::not_found("page", path).into_response())
}

/// A file of the page, or that the browser has it already; `None` where there is none.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let found = WEB.get_file(path)?;
    let contents = found.contents();
    let tag = format!("\"{}\"", &blake3::hash(contents).to_hex()[..16]);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|it| it == tag.as_str());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => contents.into_response(),
    };
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHING));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Some(response)
}

/// A passage in its document: a page for browsers, JSON for programs.
#[utoipa::path(get, path = "/v1/sources/{chunk}", tag = "Documents",
    params(("chunk" = i64, Path, description = "The chunk's number, as sources give it")),
    responses((status = 200, description = "The passage with what stands around it; a page where \
                  HTML is accepted", body = Value),
              (status = 404, description = "There is no such passage", body = Value)))]
pub(crate) async fn source(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    reader: Result<Reader, ApiError>,
    Id(chunk): Id<i64>,
) -> Result<Response, ApiError> {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    // The page asks for its passage itself, and for a key where that is needed.
    let mut response = if accepted.contains("text/html") {
        page("source.html", &headers)
    } else {
        let reader = reader?;
        let out = on_thread(&app, move |app| documents::source(app, &reader, chunk)).await?;
        Json(out).into_response()
    };
    // One address, two forms: neither may be taken for the other.
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[derive(Debug, Clone, serde::Deserialize, utoipa::ToSchema)]
pub(crate) struct SessionRequest {
    key: String,
}

/// Gives a browser a cookie for a key.
#[utoipa::path(post, path = "/v1/session", tag = "Access", request_body = SessionRequest, security(()),
    responses((status = 200, description = "The cookie is set", body = Value),
              (status = 401, description = "The key is not known", body = Value)))]
pub(crate) async fn open_session(
    State(app): State<Arc<App>>,
    Body(request): Body<SessionRequest>,
) -> Result<Response, ApiError> {
    // As slow for a wrong key as for a right one, and never fast enough to guess many.
    app.rates.take("session")?;
    let (key, secret) = on_thread(&app, move |app| {
        let key = app.records.key_of(request.key.trim())?.ok_or_else(ApiError::unauthorized)?;
        let secret = app.records.open_session(&key)?;
        Ok((key, secret))
    })
    .await?;
    let out = Json(json!({ "name": key.name, "scope": key.scope, "groups": key.groups }));
    Ok(with_cookie(&app, &secret, COOKIE_SECONDS, out))
}

/// Ends a browser's session.
#[utoipa::path(delete, path = "/v1/session", tag = "Access", security(()),
    responses((status = 200, description = "The cookie is gone", body = Value)))]
pub(crate) async fn close_session(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(secret) = session(&headers) {
        let secret = secret.to_owned();
        on_thread(&app, move |app| Ok(app.records.close_session(&secret)?)).await?;
    }
    Ok(with_cookie(&app, "", 0, Json(json!({ "closed": true }))))
}

fn with_cookie(app: &App, secret: &str, seconds: u32, body: Json<Value>) -> Response {
    // Links from chat tools to sources must find the session, so not `Strict`.
    let is_tls = !app.session.config.serve.tls_cert.as_os_str().is_empty()
        || app.session.config.serve.public_url.starts_with("https:");
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie =
        format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    let mut response = body.into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}
