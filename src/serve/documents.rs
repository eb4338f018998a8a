//! Documents: what is indexed, uploads, deletions, originals and texts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Multipart, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use index::{
    ClusterError,
    catalog::StoredDocument,
    hit::{ChunkId, DocumentId},
};
use ingest::document::{Language, MediaType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::{Admin, Author, Reader},
    error::ApiError,
    extract::{Id, Params},
    state::App,
    uploads::{self, Upload},
    work::on_thread,
};
use crate::{
    build_index::place,
    reasons::told,
    records::{Scope, SkippedFile},
};

/// Documents of one page of the list at most.
const LIMIT_MAX: usize = 1_000;

#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
pub(crate) struct ListParams {
    /// Only documents of this collection.
    collection: Option<String>,
    /// Only documents whose path or title holds this text.
    query: Option<String>,
    /// 100 where not given.
    limit: Option<usize>,
    /// The last document of the page before.
    after: Option<i64>,
}

/// Lists the documents that this key may read.
#[utoipa::path(get, path = "/v1/documents", tag = "Documents", params(ListParams),
    responses((status = 200, description = "`data`, `has_more` and `total`", body = Value)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let why = format!("limit must be from 1 to {LIMIT_MAX}");
        return Err(ApiError::bad_field("limit", why));
    }
    let out = on_thread(&app, move |app| {
        let query = params.query.map(|it| it.to_lowercase());
        let mut documents = app.engine.index.catalog().list()?;
        documents.retain(|it| {
            let holds = |query: &String| {
                it.source.path.to_lowercase().contains(query)
                    || it.title.to_lowercase().contains(query)
            };
            reader.reads(&it.labels.groups)
                && params
                    .collection
                    .as_ref()
                    .is_none_or(|of| it.labels.collection.as_ref() == Some(of))
                && query.as_ref().is_none_or(holds)
        });
        documents.sort_by_key(|it| it.id);
        let total = documents.len();
        let from = params.after.map_or(0, |after| documents.partition_point(|it| it.id.0 <= after));
        let page = &documents[from..total.min(from + limit)];
        let data = page.iter().map(|it| describe(app, &reader, it));
        let data = data.collect::<Result<Vec<Value>, _>>()?;
        Ok(json!({
            "object": "list",
            "data": data,
            "has_more": from + page.len() < total,
            "total": total,
        }))
    })
    .await?;
    Ok(Json(out))
}

/// A document as it is told to a reader. What it repeats is named where they may read that too;
/// where its folder lies on the server's machine is for administrators.
fn describe(app: &App, reader: &Reader, it: &StoredDocument) -> Result<Value, ApiError> {
    let catalog = app.engine.index.catalog();
    let duplicate = match it.duplicate {
        Some(duplicate) => {
            let of = catalog.get(duplicate.of)?.filter(|of| reader.reads(&of.labels.groups));
            of.map(|of| {
                json!({ "id": of.id.0, "path": of.source.path, "similarity": duplicate.similarity })
            })
        }
        None => None,
    };
    let mut res = json!({
        "id": it.id.0,
        "object": "document",
        "path": it.source.path,
        "title": it.title,
        "collection": it.labels.collection,
        "language": it.language.map(Language::code),
        "licence": it.labels.licence,
        "groups": it.labels.groups,
        "media_type": mime(it.media_type),
        "bytes": it.source.size,
        "chunks": it.n_chunks,
        "modified": it.labels.modified,
        "ingested_at": it.ingested_at,
        "state": if it.n_chunks == 0 { "empty" } else { "indexed" },
        "duplicate_of": duplicate,
        "findings": told(&it.findings, Language::English),
        "findings_fr": told(&it.findings, Language::French),
        "uploaded": place(it).starts_with(uploads::root(&app.session.config.data_dir)),
    });
    if reader.may(Scope::Admin) {
        res["root"] = json!(it.source.root);
    }
    Ok(res)
}

/// A document that the reader may see.
pub(crate) fn find(app: &App, reader: &Reader, id: i64) -> Result<StoredDocument, ApiError> {
    let found = app.engine.index.catalog().get(DocumentId(id))?;
    let found = found.filter(|it| reader.reads(&it.labels.groups));
    found.ok_or_else(|| ApiError::not_found("document", id))
}

/// Describes a document.
#[utoipa::path(get, path = "/v1/documents/{id}", tag = "Documents",
    params(("id" = i64, Path, description = "The document's number")),
    responses((status = 200, description = "The document", body = Value),
              (status = 404, description = "There is no such document", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<i64>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let document = find(app, &reader, id)?;
        describe(app, &reader, &document)
    });
    Ok(Json(out.await?))
}

/// Files that the last ingestion left aside, and why.
#[utoipa::path(get, path = "/v1/documents/skipped", tag = "Documents",
    responses((status = 200, description = "`data` with `path`, `reason`, `reason_fr` and `at`", body = Value)))]
pub(crate) async fn skipped(
    State(app): State<Arc<App>>,
    _: Admin,
) -> Result<Json<Value>, ApiError> {
    let skipped = on_thread(&app, |app| Ok(app.records.skipped()?)).await?;
    let data = skipped.into_iter().map(|it| {
        let SkippedFile { path, reason, reason_fr, at } = it;
        json!({ "path": path, "reason": reason, "reason_fr": reason_fr, "at": at })
    });
    Ok(Json(json!({ "object": "list", "data": data.collect::<Vec<Value>>() })))
}

/// The parts of an upload.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what `Upload::receive` reads")]
pub(crate) struct UploadForm {
    /// One file, or several parts of this name.
    #[schema(format = Binary)]
    file: String,
    collection: Option<String>,
    /// Separated by commas.
    groups: Option<String>,
}

/// Takes files and ingests them.
#[utoipa::path(post, path = "/v1/documents", tag = "Documents",
    request_body(content_type = "multipart/form-data", content = UploadForm),
    responses((status = 202, description = "The job that ingests them", body = Value),
              (status = 400, description = "No file, or a name that cannot be one", body = Value),
              (status = 413, description = "Larger than the server takes", body = Value),
              (status = 507, description = "The server's disk is full", body = Value)))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Author(reader): Author,
    multipart: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Response, ApiError> {
    writes(&app)?;
    let multipart = multipart.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let _place = app.uploading.ticket()?.place().await;
    let upload = Upload::receive(&app, multipart).await?;
    // The job outlives the request.
    let whole = Arc::clone(&app);
    let out = on_thread(&app, move |app| {
        let (files, names) = (upload.n_files(), upload.names());
        let saved = upload.save(app, &reader)?;
        let root = uploads::root(&app.session.config.data_dir);
        let job = app.jobs.ingest(&whole, reader.owner(), vec![root], saved.clone())?;
        tracing::info!(files, "documents were uploaded");
        app.audit(&reader, "document.upload", Some(&job.id), Some(&names.join(", ")))?;
        let mut out = job.json(true);
        out["files"] = json!(saved);
        Ok(out)
    });
    Ok((StatusCode::ACCEPTED, Json(out.await?)).into_response())
}

/// Deletes a document: it answers no more from this moment on. Answers that hold its passages and
/// few-shot examples made of them go too. An uploaded file is deleted; one of a folder stays, and
/// comes back with the folder's next ingestion.
#[utoipa::path(delete, path = "/v1/documents/{id}", tag = "Documents",
    params(("id" = i64, Path, description = "The document's number")),
    responses((status = 200, description = "`deleted`, `examples_deleted`, and whether it `returns`", body = Value),
              (status = 404, description = "There is no such document", body = Value)))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Author(reader): Author,
    Id(id): Id<i64>,
) -> Result<Json<Value>, ApiError> {
    writes(&app)?;
    let out = on_thread(&app, move |app| {
        let document = find(app, &reader, id)?;
        let file = place(&document);
        let is_upload = file.starts_with(uploads::root(&app.session.config.data_dir));
        if is_upload && file.exists() {
            fs_err::remove_file(&file).map_err(|error| ApiError::of_disk(&error))?;
        }
        let index = &app.engine.index;
        index.catalog().delete(document.id)?;
        index.apply()?;
        app.records.forget_documents(&[document.id])?;
        app.audit(
            &reader,
            "document.delete",
            Some(&document.id.0.to_string()),
            Some(&document.source.path),
        )?;
        let n_examples = app.forget_examples()?;
        Ok(json!({
            "id": document.id.0,
            "object": "document.deleted",
            "deleted": true,
            "examples_deleted": n_examples,
            "returns": !is_upload && file.exists(),
        }))
    })
    .await?;
    Ok(Json(out))
}

/// Refuses changes where documents are only read: from a cluster that another process fills.
fn writes(app: &App) -> Result<(), ApiError> {
    if app.engine.index.only_reads() {
        return Err((&ClusterError::ReadsOnly).into());
    }
    Ok(())
}

/// The media type as IANA registers it.
pub(super) fn mime(of: MediaType) -> &'static str {
    match of {
        MediaType::Markdown => "text/markdown",
        MediaType::Html => "text/html",
        MediaType::Pdf => "application/pdf",
        MediaType::Docx => {
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
        }
        MediaType::Pptx => {
            "application/vnd.openxmlformats-officedocument.presentationml.presentation"
        }
        MediaType::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        MediaType::Csv => "text/csv",
        MediaType::Text => "text/plain",
        MediaType::Email => "message/rfc822",
    }
}

/// The text that was read from a document.
#[utoipa::path(get, path = "/v1/documents/{id}/text", tag = "Documents",
    params(("id" = i64, Path, description = "The document's number")),
    responses((status = 200, description = "`text` as Markdown, `pages` and `headings`; places in \
                  Unicode characters", body = Value),
              (status = 404, description = "There is no such document", body = Value)))]
pub(crate) async fn text(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<i64>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let document = find(app, &reader, id)?;
        let stored = app.engine.index.catalog().text(document.id)?;
        let stored = stored.ok_or_else(|| ApiError::not_found("document", id))?;
        let chars = |at: usize| stored.text.get(..at).map_or(0, |it| it.chars().count());
        let pages = stored
            .pages
            .iter()
            .map(|it| json!({ "page": it.page, "char_start": chars(it.offset) }));
        let headings = stored.headings.iter().map(
            |it| json!({ "level": it.level, "text": it.title, "char_start": chars(it.offset) }),
        );
        Ok(json!({
            "id": document.id.0,
            "title": document.title,
            "text": stored.text,
            "pages": pages.collect::<Vec<Value>>(),
            "headings": headings.collect::<Vec<Value>>(),
        }))
    })
    .await?;
    Ok(Json(out))
}

/// Lists the collections that this key may read.
#[utoipa::path(get, path = "/v1/collections", tag = "Documents",
    responses((status = 200, description = "`data` with `id`, `documents` and `chunks`", body = Value)))]
pub(crate) async fn collections(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let found = on_thread(&app, move |app| {
        let groups = reader.groups();
        Ok(app.engine.index.catalog().collections(groups.as_deref())?)
    })
    .await?;
    let data = found
        .into_iter()
        .map(|it| json!({ "id": it.name, "documents": it.documents, "chunks": it.chunks }));
    Ok(Json(json!({ "object": "list", "data": data.collect::<Vec<Value>>() })))
}

/// A passage in its document, for whoever follows a citation with a program. Browsers get a page.
pub(crate) fn source(app: &App, reader: &Reader, chunk: i64) -> Result<Value, ApiError> {
    let missing = || ApiError::not_found("source", chunk);
    let catalog = app.engine.index.catalog();
    let found = catalog.chunks(&[ChunkId(chunk)])?.into_iter().next().ok_or_else(missing)?;
    if !reader.reads(&found.facets.groups) {
        return Err(missing());
    }
    let document = catalog.get(found.document)?.ok_or_else(missing)?;
    let text = catalog.text(found.document)?.ok_or_else(missing)?.text;
    let (before, after) = (text.get(..found.span.start), text.get(found.span.end..));
    let char_start = before.map_or(0, |it| it.chars().count());
    Ok(json!({
        "chunk": chunk,
        "document": describe(app, reader, &document)?,
        "page": found.page,
        "heading": found.heading_path.join(" > "),
        "char_start": char_start,
        "char_end": char_start + found.text.chars().count(),
        "text": found.text,
        "before": before,
        "after": after,
        "original_url": format!("/v1/documents/{}/original", document.id.0),
    }))
}
