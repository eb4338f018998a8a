//! How the server is: for probes, for Prometheus, for the page, and for auditors.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Admin, Reader},
    error::ApiError,
    extract::Params,
    state::App,
    work::on_thread,
};
use crate::{records::Scope, writer::Writer};

/// Says that the process lives, whatever it is busy with.
#[utoipa::path(get, path = "/health", tag = "Health", security(()),
    responses((status = 200, description = "It lives", body = Value)))]
pub(crate) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Says whether questions can be answered.
#[utoipa::path(get, path = "/ready", tag = "Health", security(()),
    responses((status = 200, description = "They can", body = Value),
              (status = 503, description = "They cannot, and why", body = Value)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let problem = if app.is_stopping() {
        Some("the server is stopping".to_owned())
    } else if let Writer::Model(model) = &*app.engine.writer
        && let Some(reason) = model.status().gone
    {
        Some(format!("the generator has ended: {reason}"))
    } else {
        // A cluster that holds the index may be away.
        let checked = on_thread(&app, |app| Ok(app.engine.index.check()?)).await;
        checked.err().map(|error| error.message().to_owned())
    };
    match problem {
        None => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Some(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not ready", "reason": why })))
        }
    }
}

/// Figures in Prometheus' text format; those of the index, which holds documents of all groups, for
/// administrators only.
#[utoipa::path(get, path = "/metrics", tag = "Health",
    responses((status = 200, description = "OpenMetrics text", content_type = "text/plain")))]
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Response, ApiError> {
    let of_index = reader.may(Scope::Admin);
    let text = on_thread(&app, move |app| app.metrics.text(app, of_index)).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Models, index, queue and recent latencies.
#[utoipa::path(get, path = "/v1/status", tag = "Health",
    responses((status = 200, description = "`models`, `index`, `queue`, `latency_ms`", body = Value)))]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let index = index_figures(app, &reader)?;
        let (running, waiting) = app.answering.load();
        let (places, queue) = app.answering.limits();
        let generator = match &*app.engine.writer {
            Writer::Model(model) => json!({ "id": model.name, "kind": "local" }),
            Writer::Upstream(chat) => {
                json!({ "id": chat.model(), "kind": "server", "host": chat.base().host() })
            }
            Writer::Extract { .. } => json!({ "id": "extract", "kind": "none" }),
        };
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "models": {
                "embedder": { "id": app.embedder, "dimensions": app.engine.embedder.dim() },
                "generator": generator,
                "reranker": app.reranker,
                "adapters": app.adapters(),
            },
            "index": index,
            "queue": {
                "running": running, "waiting": waiting, "places": places, "limit": queue,
            },
            "latency_ms": app.metrics.recent(),
            "uptime_s": app.started.elapsed().as_secs(),
            "needs_key": app.needs_keys()?,
            "scope": reader.key.as_ref().map_or("admin", |it| it.scope.as_str()),
            "keeps_answers": app.keeps_answers(),
        }))
    })
    .await?;
    Ok(Json(out))
}

/// How much there is for a reader to read. Administrators see all of the index.
fn index_figures(app: &App, reader: &Reader) -> Result<Value, ApiError> {
    let catalog = app.engine.index.catalog();
    let groups = reader.groups();
    let collections = catalog.collection_names(groups.as_deref())?.len();
    if !reader.may(Scope::Admin) {
        let counts = catalog.readable(groups.as_deref())?;
        return Ok(json!({
            "documents": counts.documents,
            "chunks": counts.chunks,
            "collections": collections,
        }));
    }
    let counts = catalog.counts()?;
    Ok(json!({
        "documents": counts.documents,
        "chunks": counts.chunks,
        "duplicates": counts.duplicates,
        "text_bytes": counts.text_bytes,
        "pending": counts.pending,
        "collections": collections,
    }))
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
pub(crate) struct AuditParams {
    /// The last entry of the page before.
    after: Option<i64>,
    /// 100 where not given.
    limit: Option<usize>,
}

/// The audit record, oldest first.
#[utoipa::path(get, path = "/v1/audit", tag = "Health", params(AuditParams),
    responses((status = 200, description = "`data`", body = Value),
              (status = 403, description = "The key is no administrator's", body = Value)))]
pub(crate) async fn audit(
    State(app): State<Arc<App>>,
    _: Admin,
    Params(params): Params<AuditParams>,
) -> Result<Json<Value>, ApiError> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=1_000).contains(&limit) {
        return Err(ApiError::bad_field("limit", "limit must be from 1 to 1000"));
    }
    let entries = on_thread(&app, move |app| {
        Ok(app.records.audit_after(params.after.unwrap_or(0), limit)?)
    })
    .await?;
    Ok(Json(json!({ "object": "list", "data": entries })))
}
