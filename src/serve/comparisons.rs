//! Comparisons that `souffleur compare` kept. For administrators: their answers may come from any
//! document.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{access::Admin, error::ApiError, extract::Id, state::App, work::on_thread};
use crate::compare::reports::{self, KeptReport, LISTED_MAX};

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
        let found = kept(app)?.into_iter().find(|it| it.id == id);
        let found = found.ok_or_else(|| ApiError::not_found("comparison", &id))?;
        let mut report = found.read().map_err(|error| ApiError::internal(&error))?;
        report["id"] = json!(found.id);
        report["at"] = json!(found.at);
        Ok(report)
    })
    .await?;
    Ok(Json(out))
}
