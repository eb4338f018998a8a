//! What happens to every request and response, whatever it is about.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    timeout::RequestBodyTimeoutLayer,
};

use super::{REQUEST_ID, error::ApiError, pages, settings::Origin, state::App};

/// What pages may load: their own files, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'self'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
];

/// Adds the layers, the innermost first.
pub(super) fn add(app: &Arc<App>, router: Router<Arc<App>>) -> Router<Arc<App>> {
    let serve = &app.session.config.serve;
    let as_header = |it: &Origin| it.as_str().parse().expect("an origin is plain ASCII");
    let origins: Vec<HeaderValue> = serve.cors_origins.iter().map(as_header).collect();
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT]);
    router
        .layer(DefaultBodyLimit::max(serve.body_bytes_max.get()))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(serve.read_seconds.get())))
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn_with_state(Arc::clone(app), only_from_our_pages))
        .layer(cors)
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::internal(&std::io::Error::other("a handler panicked")).into_response()
        }))
        .layer(middleware::from_fn_with_state(Arc::clone(app), observe))
}

/// What no route is for: a file of the page, or nothing.
pub(super) async fn other(request: Request) -> Response {
    let path = request.uri().path();
    match pages::file(path.trim_start_matches('/'), request.headers()) {
        Some(file) if request.method().is_safe() => file,
        _ => ApiError::not_found("page or endpoint", path).into_response(),
    }
}

/// What a route is for, asked in another way.
pub(super) async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(&method, uri.path())
}

/// Names the request, counts it, and sets the headers of its response.
async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let start = Instant::now();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let since = app.started_at;
    let id = format!("r_{since:x}{number:06x}");
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("r_"));
    // Ours, whatever the client calls it: the audit record must not be written by strangers.
    request.headers_mut().insert(REQUEST_ID, value.clone());
    let route =
        request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let elapsed = start.elapsed();
    let status = response.status().as_u16();
    tracing::debug!(id, %method, route, status, ?elapsed, "request");
    app.metrics.request(method.as_str(), &route, status, elapsed);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, value);
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Refuses what a page of another site could have sent with the cookies of ours, or through a name
/// that it had our address given to (DNS rebinding).
async fn only_from_our_pages(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    check_origin(&app, &request)?;
    Ok(next.run(request).await)
}

fn check_origin(app: &App, request: &Request) -> Result<(), ApiError> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|it| it.to_str().ok());
    let serve = &app.session.config.serve;
    let host = text(header::HOST).unwrap_or_default();
    if !app.is_exposed && serve.public_url.is_empty() && !is_loopback(host) {
        return Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server answers to this machine only: call it 127.0.0.1 or localhost, or set \
             `serve.public_url`",
        ));
    }
    let Some(origin) = text(header::ORIGIN).filter(|_| !request.method().is_safe()) else {
        return Ok(());
    };
    let is_own = origin.split_once("://").is_some_and(|(_, it)| it == host);
    let is_allowed = serve.cors_origins.iter().any(|it| it.as_str() == origin)
        || origin == serve.public_url.trim_end_matches('/');
    if is_own || is_allowed {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "pages of `{origin}` may not call this server: `serve.cors_origins` allows them"
    )))
}

/// Whether a host, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["127.0.0.1:7878", "localhost", "LOCALHOST:1", "[::1]:7878", "127.0.0.2"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "evil.example:7878", "127.0.0.1.evil.example", "10.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
