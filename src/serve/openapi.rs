//! All routes of the API, and their description as an OpenAPI document.

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    adapters, ask, conversations, documents, health, job_routes, openai, pages, state::App,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Souffleur",
        description = "Answers over your documents, with proven citations. Requests need a key once \
            one was made: `Authorization: Bearer KEY`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    modifiers(&Keys),
    security(("key" = [])),
)]
struct Description;

struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("key", scheme);
    }
}

/// The routes and what they are.
pub(super) fn routes(app: &App) -> (Router<Arc<App>>, utoipa::openapi::OpenApi) {
    let uploads = OpenApiRouter::new()
        .routes(routes!(documents::upload, documents::list))
        .layer(DefaultBodyLimit::max(app.config.serve.upload_bytes_max.get()));
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(openai::chat::complete))
        .routes(routes!(openai::embeddings::embed))
        .routes(routes!(openai::rerank::rerank))
        .routes(routes!(openai::models::list))
        .routes(routes!(openai::models::get))
        .routes(routes!(ask::ask))
        .routes(routes!(ask::search))
        .merge(uploads)
        .routes(routes!(documents::skipped))
        .routes(routes!(documents::get, documents::delete))
        .routes(routes!(documents::original))
        .routes(routes!(documents::text))
        .routes(routes!(documents::collections))
        .routes(routes!(pages::source))
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::get, conversations::delete))
        .routes(routes!(conversations::answer))
        .routes(routes!(conversations::feedback))
        .routes(routes!(job_routes::create, job_routes::list))
        .routes(routes!(job_routes::get))
        .routes(routes!(job_routes::cancel))
        .routes(routes!(job_routes::events))
        .routes(routes!(adapters::list, adapters::load))
        .routes(routes!(adapters::unload))
        .routes(routes!(adapters::unload_as_vllm))
        .routes(routes!(pages::open_session, pages::close_session))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(health::status))
        .routes(routes!(health::audit))
        .split_for_parts()
}
