//! Datasets and their rows, approved, changed and rejected one by one. For administrators: rows may
//! hold words of any document.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use tune::dataset::{
    jsonl::{BadLines, Rows, read},
    review::{self, Decision, Review, Reviews, fits, texts},
    row::{Body as RowBody, BodyKind, Row, id_of},
};

use super::{
    access::Admin,
    error::ApiError,
    extract::{Body, Id, Params},
    state::App,
    work::on_thread,
};
use crate::{dataset::folder::Folder, records::now};

/// Rows of one response at most.
const ROWS_MAX: usize = 100;

/// Characters of a changed text at most.
const TEXT_CHARS_MAX: usize = 100_000;

/// A dataset's folder.
pub(crate) struct Dataset {
    id: String,
    name: String,
    pub(crate) dir: PathBuf,
}

impl App {
    /// Where datasets are that were made here.
    pub(crate) fn own_datasets(&self) -> PathBuf {
        self.session.config.data_dir.join("datasets")
    }

    /// The datasets in the folders of the settings and in the data folder, and those right below
    /// them.
    fn datasets(&self) -> Result<Vec<Dataset>, ApiError> {
        let failed = |error: std::io::Error| ApiError::internal(&error);
        let mut dirs = Vec::new();
        let own = self.own_datasets();
        let roots = self.session.config.serve.dataset_dirs.iter().chain([&own]);
        for root in roots.filter(|it| it.is_dir()) {
            if is_dataset(root) {
                dirs.push(root.clone());
                continue;
            }
            for entry in fs_err::read_dir(root).map_err(failed)? {
                let dir = entry.map_err(failed)?.path();
                if is_dataset(&dir) {
                    dirs.push(dir);
                }
            }
        }
        dirs.sort();
        dirs.dedup();
        let dataset = |dir: PathBuf| Dataset {
            id: id_of(&[&dir.to_string_lossy()]),
            name: dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned(),
            dir,
        };
        Ok(dirs.into_iter().map(dataset).collect())
    }

    pub(crate) fn dataset(&self, id: &str) -> Result<Dataset, ApiError> {
        let found = self.datasets()?.into_iter().find(|it| it.id == id);
        found.ok_or_else(|| ApiError::not_found("dataset", id))
    }
}

fn is_dataset(dir: &Path) -> bool {
    BodyKind::ALL.iter().any(|it| Folder::file(dir, *it).is_file())
}

fn rows_of(dir: &Path, kind: BodyKind) -> Result<Rows, ApiError> {
    let path = Folder::file(dir, kind);
    match path.is_file() {
        true => read(&path, BadLines::Skip).map_err(|error| ApiError::internal(&error)),
        false => Ok(Rows::default()),
    }
}

fn reviews_of(dir: &Path) -> Result<Reviews, ApiError> {
    let path = dir.join(review::FILE);
    match path.is_file() {
        true => Reviews::read(&path).map_err(|error| ApiError::internal(&error)),
        false => Ok(Reviews::default()),
    }
}

/// Lists the datasets.
#[utoipa::path(get, path = "/v1/datasets", tag = "Datasets",
    responses((status = 200, description = "`data` with `id`, `name`, `path`, and of each kind how many rows there are, \
                  are approved, rejected and changed", body = Value)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, |app| {
        let mut data = Vec::new();
        for it in app.datasets()? {
            let reviews = reviews_of(&it.dir)?;
            let mut kinds = serde_json::Map::new();
            for kind in BodyKind::ALL {
                let rows = rows_of(&it.dir, kind)?;
                if !rows.rows.is_empty() {
                    kinds.insert(kind.as_str().to_owned(), counts(&rows, &reviews));
                }
            }
            let (id, name, path) = (it.id, it.name, it.dir.display().to_string());
            data.push(json!({ "id": id, "name": name, "path": path, "kinds": kinds }));
        }
        Ok(json!({ "object": "list", "data": data }))
    })
    .await?;
    Ok(Json(out))
}

fn counts(rows: &Rows, reviews: &Reviews) -> Value {
    let mut decided: BTreeMap<&str, usize> = BTreeMap::new();
    let mut n_changed = 0;
    for it in rows.rows.iter().filter_map(|it| reviews.of(&it.id)) {
        *decided.entry(word(it.decision)).or_default() += 1;
        n_changed += usize::from(!it.texts.is_empty());
    }
    let of = |decision| decided.get(word(decision)).copied().unwrap_or_default();
    json!({
        "rows": rows.rows.len(),
        "approved": of(Decision::Approved),
        "rejected": of(Decision::Rejected),
        "changed": n_changed,
        "unreadable": rows.bad.len(),
    })
}

fn word(it: Decision) -> &'static str {
    match it {
        Decision::Approved => "approved",
        Decision::Rejected => "rejected",
        Decision::Open => "open",
    }
}

/// `GET /v1/datasets/{id}/rows`
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsQuery {
    /// `supervised`, `preference`, `unpaired` or `text`.
    kind: Option<String>,
    /// Only rows that are `open`, `approved`, `rejected` or `changed`.
    state: Option<String>,
    /// Only rows that hold these words.
    q: Option<String>,
    /// Rows passed over, from 0.
    offset: Option<usize>,
    /// Rows at most, 20 where not given.
    limit: Option<usize>,
}

/// Rows of a dataset with their provenance.
#[utoipa::path(get, path = "/v1/datasets/{id}/rows", tag = "Datasets",
    params(("id" = String, Path, description = "The dataset's id"), RowsQuery),
    responses((status = 200, description = "`data`, and `total`: how many rows are like that", body = Value),
              (status = 404, description = "There is no such dataset", body = Value)))]
pub(crate) async fn rows(
    State(app): State<Arc<App>>,
    _: Admin,
    Id(id): Id<String>,
    Params(query): Params<RowsQuery>,
) -> Result<Json<Value>, ApiError> {
    let kind = match query.kind.as_deref() {
        None => BodyKind::Supervised,
        Some(word) => BodyKind::ALL
            .into_iter()
            .find(|it| it.as_str() == word)
            .ok_or_else(|| ApiError::bad_field("kind", format!("there is no kind `{word}`")))?,
    };
    if let Some(state) = &query.state
        && !["open", "approved", "rejected", "changed"].contains(&state.as_str())
    {
        return Err(ApiError::bad_field("state", format!("there is no state `{state}`")));
    }
    let limit = query.limit.unwrap_or(20);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(ApiError::bad_field("limit", format!("limit must be from 1 to {ROWS_MAX}")));
    }
    let out = on_thread(&app, move |app| {
        let dataset = app.dataset(&id)?;
        let reviews = reviews_of(&dataset.dir)?;
        let rows = rows_of(&dataset.dir, kind)?.rows;
        let wanted: Vec<&Row> = rows.iter().filter(|it| is_wanted(it, &reviews, &query)).collect();
        let page = wanted.iter().skip(query.offset.unwrap_or(0)).take(limit);
        let data: Vec<Value> = page.map(|it| describe(it, &reviews)).collect();
        Ok(json!({
            "object": "list", "name": dataset.name, "total": wanted.len(), "data": data,
        }))
    })
    .await?;
    Ok(Json(out))
}

fn is_wanted(row: &Row, reviews: &Reviews, query: &RowsQuery) -> bool {
    let review = reviews.of(&row.id);
    let in_state = match query.state.as_deref() {
        None => true,
        Some("changed") => review.is_some_and(|it| !it.texts.is_empty()),
        Some(state) => review.map_or("open", |it| word(it.decision)) == state,
    };
    let words = query.q.as_deref().unwrap_or_default().to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&words);
    in_state
        && (words.is_empty()
            || row.question().is_some_and(holds)
            || row.meta.path.as_deref().is_some_and(holds)
            || texts(&row.body).iter().any(|it| holds(it)))
}

fn describe(row: &Row, reviews: &Reviews) -> Value {
    let review = reviews.of(&row.id);
    let meta = &row.meta;
    let label = match row.body {
        RowBody::Unpaired { label, .. } => Some(label),
        RowBody::Messages(_) | RowBody::Preference { .. } | RowBody::Text(_) => None,
    };
    json!({
        "id": row.id,
        "kind": row.body.kind().as_str(),
        "question": row.question(),
        "prompt": row.body.prompt(),
        "texts": texts(&row.body),
        "changed": review.map(|it| &it.texts).filter(|it| !it.is_empty()),
        "decision": review.map_or("open", |it| word(it.decision)),
        "label": label,
        "meta": meta,
    })
}

/// `POST /v1/datasets/{id}/rows/{row}`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct ReviewRequest {
    /// `approved`, `rejected` or `open`.
    #[schema(value_type = String)]
    decision: Decision,
    /// The row's texts in place of those that were made, as many as it has; none to leave them.
    #[serde(default)]
    texts: Vec<String>,
}

/// Decides about a row: `tune` leaves out what is rejected, and learns texts as they were changed.
#[utoipa::path(post, path = "/v1/datasets/{id}/rows/{row}", tag = "Datasets", request_body = ReviewRequest,
    params(("id" = String, Path, description = "The dataset's id"), ("row" = String, Path, description = "The row's id")),
    responses((status = 200, description = "The row", body = Value),
              (status = 404, description = "There is no such dataset or row", body = Value)))]
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Admin(reader): Admin,
    Id((id, row)): Id<(String, String)>,
    Body(request): Body<ReviewRequest>,
) -> Result<Json<Value>, ApiError> {
    if request.texts.iter().any(|it| it.chars().count() > TEXT_CHARS_MAX) {
        let why = format!("a text is longer than {TEXT_CHARS_MAX} characters");
        return Err(ApiError::bad_field("texts", why));
    }
    let out = on_thread(&app, move |app| {
        let dataset = app.dataset(&id)?;
        let found = row_of(&dataset.dir, &row)?;
        if !fits(&found.body, &request.texts) {
            let n = texts(&found.body).len();
            let why = format!("texts must be none, or {n} that are not empty");
            return Err(ApiError::bad_field("texts", why));
        }
        let own = texts(&found.body);
        let review = Review {
            id: row.clone(),
            decision: request.decision,
            // As it was made is not changed.
            texts: if request.texts == own { Vec::new() } else { request.texts },
            by: reader.owner().to_owned(),
            at: now(),
        };
        review::add(&dataset.dir, &review).map_err(|error| ApiError::internal(&error))?;
        let object = format!("{}/{row}", dataset.name);
        app.audit(&reader, "dataset.review", Some(&object), Some(word(review.decision)))?;
        Ok(describe(&found, &reviews_of(&dataset.dir)?))
    })
    .await?;
    Ok(Json(out))
}

fn row_of(dir: &Path, id: &str) -> Result<Row, ApiError> {
    for kind in BodyKind::ALL {
        let found = rows_of(dir, kind)?.rows.into_iter().find(|it| it.id == id);
        if let Some(row) = found.filter(|it| !it.id.is_empty()) {
            return Ok(row);
        }
    }
    Err(ApiError::not_found("row", id))
}
