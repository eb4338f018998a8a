//! Comparisons that `souffleur compare` kept. For administrators: their answers may come from any
//! document.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use ingest::document::Language;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::Admin,
    error::ApiError,
    extract::{Id, Params},
    state::App,
    work::on_thread,
};
use crate::compare::{
    report_files::{self, Form},
    reports::{self, KeptReport, LISTED_MAX},
};

/// Lists the comparisons, the newest first.
#[utoipa::path(get, path = "/v1/comparisons", tag = "Comparisons",
    responses((status = 200, description = "`data` with `id`, `at`, `arms`, `n_questions` and `verdict`; `total` counts all", body = Value)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, |app| {
        let found = kept(app)?;
        let mut data = Vec::new();
        for it in found.iter().take(LISTED_MAX) {
            data.push(summary(it)?);
        }
        Ok(json!({ "object": "list", "total": found.len(), "data": data }))
    })
    .await?;
    Ok(Json(out))
}

fn kept(app: &App) -> Result<Vec<KeptReport>, ApiError> {
    reports::list(&app.session.config.data_dir).map_err(|error| ApiError::internal(&error))
}

fn kept_as(app: &App, id: &str) -> Result<KeptReport, ApiError> {
    let found = kept(app)?.into_iter().find(|it| it.id == id);
    found.ok_or_else(|| ApiError::not_found("comparison", id))
}

fn summary(it: &KeptReport) -> Result<Value, ApiError> {
    let report = it.read().map_err(|error| ApiError::internal(&error))?;
    let arms = report["arms"].as_array().into_iter().flatten();
    Ok(json!({
        "id": it.id,
        "at": it.at,
        "arms": arms.map(|it| it["arm"].clone()).collect::<Vec<Value>>(),
        "n_questions": report["n_questions"],
        "verdict": report["verdict"],
    }))
}

/// A comparison: what `souffleur compare --json` printed, with `id` and `at`.
#[utoipa::path(get, path = "/v1/comparisons/{id}", tag = "Comparisons",
    params(("id" = String, Path, description = "Its id, as the list gives it")),
    responses((status = 200, description = "The comparison", body = Value),
              (status = 404, description = "There is no such comparison", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _: Admin,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let found = kept_as(app, &id)?;
        let mut report = found.read().map_err(|error| ApiError::internal(&error))?;
        report["id"] = json!(found.id);
        report["at"] = json!(found.at);
        Ok(report)
    })
    .await?;
    Ok(Json(out))
}

/// `GET /v1/comparisons/{id}/report.html` and `report.md`
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// `fr` or `en`, which it is where not given.
    language: Option<String>,
}

/// A comparison's report as a page that stands alone, to keep.
#[utoipa::path(get, path = "/v1/comparisons/{id}/report.html", tag = "Comparisons",
    params(("id" = String, Path, description = "Its id, as the list gives it"), ReportQuery),
    responses((status = 200, description = "The page, as a file", body = String, content_type = "text/html"),
              (status = 404, description = "There is no such comparison, or an older program kept it", body = Value)))]
pub(crate) async fn report_html(
    State(app): State<Arc<App>>,
    _: Admin,
    Id(id): Id<String>,
    Params(query): Params<ReportQuery>,
) -> Result<(HeaderMap, String), ApiError> {
    report(&app, id, Form::Html, query).await
}

/// A comparison's report as Markdown, to keep.
#[utoipa::path(get, path = "/v1/comparisons/{id}/report.md", tag = "Comparisons",
    params(("id" = String, Path, description = "Its id, as the list gives it"), ReportQuery),
    responses((status = 200, description = "The text, as a file", body = String, content_type = "text/markdown"),
              (status = 404, description = "There is no such comparison, or an older program kept it", body = Value)))]
pub(crate) async fn report_markdown(
    State(app): State<Arc<App>>,
    _: Admin,
    Id(id): Id<String>,
    Params(query): Params<ReportQuery>,
) -> Result<(HeaderMap, String), ApiError> {
    report(&app, id, Form::Markdown, query).await
}

async fn report(
    app: &Arc<App>,
    id: String,
    form: Form,
    query: ReportQuery,
) -> Result<(HeaderMap, String), ApiError> {
    let language = match query.language.as_deref() {
        None | Some("en") => Language::English,
        Some("fr") => Language::French,
        Some(_) => return Err(ApiError::bad_field("language", "language must be `fr` or `en`")),
    };
    let name = format!("comparison-{id}.{}", form.extension());
    let text = on_thread(app, move |app| {
        let id = kept_as(app, &id)?.id;
        let found = report_files::read(&app.session.config.data_dir, &id, form, language);
        found.map_err(|error| ApiError::internal(&error))?.ok_or_else(|| {
            let what = "an older program kept this comparison without a report: compare again; its \
                        answers are there";
            ApiError::new(StatusCode::NOT_FOUND, what)
        })
    })
    .await?;
    let kind = match form {
        Form::Html => "text/html; charset=utf-8",
        Form::Markdown => "text/markdown; charset=utf-8",
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // To keep, and not to show: its styles stand in the page, which our policy for pages forbids.
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let disposition = disposition.map_err(|error| ApiError::internal(&error))?;
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok((headers, text))
}
