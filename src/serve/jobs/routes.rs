//! `/v1/jobs`: long work, its progress, and its end.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{Response, sse::Event},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Job, compare::CompareRequest, dataset::DatasetRequest, tune::TuneRequest};
use crate::{
    known_roots::known_roots,
    records::Scope,
    serve::{
        access::{Author, Reader},
        error::ApiError,
        extract::{Body, Id},
        openai::chat::sse,
        state::App,
        uploads,
        work::on_thread,
    },
};

/// `POST /v1/jobs`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum JobRequest {
    /// Reads all folders again that were ingested before.
    Ingest,
    /// Makes a dataset of the documents.
    Dataset(DatasetRequest),
    /// Trains an adapter on a dataset.
    Tune(TuneRequest),
    /// Asks several arms the same questions.
    Compare(CompareRequest),
}

/// Whether a reader may see a job, and all of it.
fn sees(reader: &Reader, job: &Job) -> bool {
    reader.may(Scope::Admin) || job.owner == reader.owner()
}

fn find(app: &App, reader: &Reader, id: &str) -> Result<Arc<Job>, ApiError> {
    let found = app.jobs.get(id).filter(|it| sees(reader, it));
    found.ok_or_else(|| ApiError::not_found("job", id))
}

/// Reports name documents of all groups: only administrators read them.
fn tell(reader: &Reader, job: &Job) -> Value {
    job.json(reader.may(Scope::Admin))
}

/// Begins a job. To read folders takes the scope `write`; all else reads documents of all groups and
/// takes `admin`.
#[utoipa::path(post, path = "/v1/jobs", tag = "Jobs", request_body = JobRequest,
    responses((status = 202, description = "The job", body = Value),
              (status = 404, description = "There is no such dataset", body = Value),
              (status = 409, description = "There is nothing to do, or nothing to do it with", body = Value)))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Author(reader): Author,
    Body(request): Body<JobRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !matches!(request, JobRequest::Ingest) && !reader.may(Scope::Admin) {
        return Err(ApiError::forbidden("this needs a key of the scope `admin`"));
    }
    let whole = Arc::clone(&app);
    let out = on_thread(&app, move |_| begin(&whole, &reader, request)).await?;
    Ok((StatusCode::ACCEPTED, Json(out)))
}

/// Looks whether there is something to do, and queues it.
fn begin(app: &Arc<App>, reader: &Reader, request: JobRequest) -> Result<Value, ApiError> {
    let owner = reader.owner();
    let job = match request {
        JobRequest::Ingest => app.jobs.ingest(app, owner, roots(app)?, Vec::new())?,
        JobRequest::Dataset(it) => app.jobs.dataset(app, owner, it)?,
        JobRequest::Tune(it) => app.jobs.tune(app, owner, it)?,
        JobRequest::Compare(it) => app.jobs.compare(app, owner, it)?,
    };
    app.audit(reader, "job.create", Some(&job.id), Some(job.kind.as_str()))?;
    Ok(tell(reader, &job))
}

/// The folders that were read before.
fn roots(app: &App) -> Result<Vec<PathBuf>, ApiError> {
    let (there, _) = known_roots(&app.engine.index)?;
    let mut roots: Vec<_> = there.into_keys().collect();
    let uploads = uploads::root(&app.session.config.data_dir);
    if uploads.exists() && !roots.contains(&uploads) {
        roots.push(uploads);
    }
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(ApiError::conflict(
            "nothing was ingested before: upload documents, or run `souffleur ingest FOLDER` while \
             the server is stopped, or start it with `--docs FOLDER`",
        )),
    }
}

/// Lists the jobs that this key may see, the last one first.
#[utoipa::path(get, path = "/v1/jobs", tag = "Jobs",
    responses((status = 200, description = "`data`", body = Value)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let jobs = app.jobs.list();
    let seen = jobs.iter().filter(|it| sees(&reader, it)).map(|it| tell(&reader, it));
    Ok(Json(json!({ "object": "list", "data": seen.collect::<Vec<Value>>() })))
}

/// Describes a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "Jobs",
    params(("id" = String, Path, description = "Its id, `j_…`")),
    responses((status = 200, description = "The job", body = Value),
              (status = 404, description = "There is no such job", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(tell(&reader, &*find(&app, &reader, &id)?)))
}

/// Asks a job to end where it can; what it did until then stays.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "Jobs",
    params(("id" = String, Path, description = "Its id, `j_…`")),
    responses((status = 200, description = "The job", body = Value),
              (status = 404, description = "There is no such job", body = Value)))]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Author(reader): Author,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let job = find(app, &reader, &id)?;
        job.cancel();
        app.audit(&reader, "job.cancel", Some(&id), None)?;
        Ok(tell(&reader, &job))
    });
    Ok(Json(out.await?))
}

/// Tells each change of a job, until it ends or the server stops.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", tag = "Jobs",
    params(("id" = String, Path, description = "Its id, `j_…`")),
    responses((status = 200, description = "Server-sent events `job`", content_type = "text/event-stream"),
              (status = 404, description = "There is no such job", body = Value)))]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
) -> Result<Response, ApiError> {
    let job = find(&app, &reader, &id)?;
    // The state of the moment first, then each change, the end being the last.
    let first = Some((job.states(), app.stopping(), true));
    let states = stream::unfold(first, |next| async {
        let (mut states, mut stopping, is_first) = next?;
        if !is_first {
            let is_told = tokio::select! {
                changed = states.changed() => changed.is_ok(),
                // Whoever only watches must not keep the server from its end.
                _ = stopping.wait_for(|it| *it) => false,
            };
            if !is_told {
                return None;
            }
        }
        let has_ended = states.borrow_and_update().name.has_ended();
        Some(((), (!has_ended).then_some((states, stopping, false))))
    });
    let events = futures_util::StreamExt::map(states, move |()| {
        Ok::<_, Infallible>(Event::default().event("job").data(tell(&reader, &job).to_string()))
    });
    Ok(sse(events))
}
