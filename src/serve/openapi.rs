//! All routes of the API, and their description as an OpenAPI document.

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    adapters, arena, ask, comparisons, conversations, datasets, documents, health,
    jobs::routes as job_routes, openai, original, pages, runs, state::App, tools,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Souffleur",
        description = "Answers over your documents, with proven citations. Requests need a key once \
            one was made: `Authorization: Bearer KEY`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    components(schemas(ErrorBody)),
    modifiers(&Keys),
    security(("key" = [])),
)]
struct Description;

/// An error, as OpenAI's clients know it.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what `ApiError` writes")]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what `ApiError` writes")]
struct ErrorDetail {
    /// What is wrong, and what to do about it.
    message: String,
    /// Its kind, such as `invalid_request_error`.
    r#type: String,
    /// The field that is wrong.
    param: Option<String>,
    code: Option<String>,
}

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
        .layer(DefaultBodyLimit::max(app.session.config.serve.upload_bytes_max.get()));
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
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
        .routes(routes!(original::original))
        .routes(routes!(documents::text))
        .routes(routes!(documents::collections))
        .routes(routes!(pages::source))
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::get, conversations::delete))
        .routes(routes!(conversations::answer))
        .routes(routes!(conversations::feedback))
        .routes(routes!(tools::links::answer))
        .routes(routes!(tools::links::feedback))
        .routes(routes!(arena::prefer))
        .routes(routes!(arena::open))
        .routes(routes!(arena::vote))
        .routes(routes!(arena::table))
        .routes(routes!(comparisons::list))
        .routes(routes!(comparisons::get))
        .routes(routes!(comparisons::report_html))
        .routes(routes!(comparisons::report_markdown))
        .routes(routes!(datasets::list))
        .routes(routes!(datasets::rows))
        .routes(routes!(datasets::decide))
        .routes(routes!(runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(job_routes::create, job_routes::list))
        .routes(routes!(job_routes::get))
        .routes(routes!(job_routes::cancel))
        .routes(routes!(job_routes::events))
        .routes(routes!(adapters::list, adapters::load))
        .routes(routes!(adapters::unload))
        .routes(routes!(adapters::load_as_vllm))
        .routes(routes!(adapters::unload_as_vllm))
        .routes(routes!(pages::open_session, pages::close_session))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(health::status))
        .routes(routes!(health::audit))
        .split_for_parts();
    add_errors(&mut description);
    let with_slash = axum::routing::get(openai::models::get_with_slash);
    (router.route("/v1/models/{id}/{*rest}", with_slash), description)
}

/// What any request may be told, beside what its own handler says.
const ERRORS: [(&str, &str); 9] = [
    ("400", "The request cannot be answered as it stands"),
    ("401", "A key is needed"),
    ("403", "The key may not do this"),
    ("404", "There is no such thing, or not for this key"),
    ("409", "It does not go with the state of the server"),
    ("413", "The request is too large"),
    ("415", "The body is not of the right type"),
    ("429", "Too many requests a minute; `Retry-After` says when to come again"),
    ("503", "Too much to do; `Retry-After` says when to come again"),
];

fn add_errors(description: &mut utoipa::openapi::OpenApi) {
    for path in description.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            for (status, what) in ERRORS {
                let error = Ref::from_schema_name("ErrorBody");
                let content = ContentBuilder::new().schema(Some(error)).build();
                let response = ResponseBuilder::new()
                    .description(what)
                    .content("application/json", content)
                    .build();
                let responses = &mut operation.responses.responses;
                responses.entry(status.to_owned()).or_insert_with(|| response.into());
            }
        }
    }
}
