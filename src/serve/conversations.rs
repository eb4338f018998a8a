//! Conversations, answers, and what people thought of them.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{
    access::Reader,
    error::ApiError,
    extract::{Body, Id},
    state::App,
    work::on_thread,
};
use crate::records::{AnswerRecord, Feedback, Scope};

/// Conversations of one list at most.
const LISTED_MAX: usize = 200;

/// Characters of a correction or a comment at most.
const TEXT_CHARS_MAX: usize = 20_000;

/// Lists the reader's conversations, the last one first.
#[utoipa::path(get, path = "/v1/conversations", tag = "Conversations",
    responses((status = 200, description = "`data` with `id`, `title`, `created`, `updated`", body = Value)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader,
) -> Result<Json<Value>, ApiError> {
    let found =
        on_thread(&app, move |app| Ok(app.records.conversations(reader.owner(), LISTED_MAX)?))
            .await?;
    Ok(Json(json!({ "object": "list", "data": found })))
}

/// A conversation with its turns.
#[utoipa::path(get, path = "/v1/conversations/{id}", tag = "Conversations",
    params(("id" = String, Path, description = "Its id, `c_…`")),
    responses((status = 200, description = "The conversation", body = Value),
              (status = 404, description = "The reader has no such conversation", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let found = app.records.conversation(&id, reader.owner())?;
        let found = found.ok_or_else(|| ApiError::not_found("conversation", &id))?;
        let turns = app.records.turns(&id)?.into_iter().map(|(it, feedback)| {
            json!({
                "question": it.question,
                "understood_as": it.understood_as,
                "answer": it.json,
                "feedback": feedback,
            })
        });
        Ok(json!({
            "id": found.id,
            "title": found.title,
            "created": found.created,
            "updated": found.updated,
            "turns": turns.collect::<Vec<Value>>(),
        }))
    })
    .await?;
    Ok(Json(out))
}

/// Deletes a conversation with its answers, their feedback and few-shot examples made of them.
#[utoipa::path(delete, path = "/v1/conversations/{id}", tag = "Conversations",
    params(("id" = String, Path, description = "Its id, `c_…`")),
    responses((status = 200, description = "It is gone, and `examples_deleted`", body = Value),
              (status = 404, description = "The reader has no such conversation", body = Value)))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        if !app.records.delete_conversation(&id, reader.owner())? {
            return Err(ApiError::not_found("conversation", &id));
        }
        app.audit(&reader, "conversation.delete", Some(&id), None)?;
        let n_examples = app.forget_examples()?;
        Ok(json!({ "id": id, "deleted": true, "examples_deleted": n_examples }))
    })
    .await?;
    Ok(Json(out))
}

/// An answer with its prompt and what was not in it.
#[utoipa::path(get, path = "/v1/answers/{id}", tag = "Conversations",
    params(("id" = String, Path, description = "Its id, `a_…`")),
    responses((status = 200, description = "The answer, with `why`", body = Value),
              (status = 404, description = "The reader has no such answer", body = Value)))]
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let AnswerRecord { mut json, why, .. } = own_answer(app, &reader, &id)?;
        json["why"] = why;
        Ok(json)
    })
    .await?;
    Ok(Json(out))
}

pub(super) fn own_answer(app: &App, reader: &Reader, id: &str) -> Result<AnswerRecord, ApiError> {
    let found = app.records.answer(id)?;
    let found = found.filter(|it| it.owner == reader.owner() || reader.may(Scope::Admin));
    found.ok_or_else(|| ApiError::not_found("answer", id))
}

/// Refuses feedback whose texts are too long.
pub(super) fn check_texts(feedback: &Feedback) -> Result<(), ApiError> {
    for (field, text) in [("correction", &feedback.correction), ("comment", &feedback.comment)] {
        if text.as_ref().is_some_and(|it| it.chars().count() > TEXT_CHARS_MAX) {
            let why = format!("{field} is longer than {TEXT_CHARS_MAX} characters");
            return Err(ApiError::bad_field(field, why));
        }
    }
    Ok(())
}

/// Records what the reader thinks of an answer, instead of what they thought before.
#[utoipa::path(post, path = "/v1/feedback", tag = "Conversations", request_body = Feedback,
    responses((status = 201, description = "It is recorded", body = Value),
              (status = 404, description = "The reader has no such answer", body = Value)))]
pub(crate) async fn feedback(
    State(app): State<Arc<App>>,
    reader: Reader,
    Body(feedback): Body<Feedback>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    check_texts(&feedback)?;
    let out = on_thread(&app, move |app| {
        own_answer(app, &reader, &feedback.answer)?;
        app.records.give_feedback(&feedback, reader.owner())?;
        app.audit(&reader, "feedback", Some(&feedback.answer), None)?;
        Ok(json!({ "recorded": true, "feedback": feedback }))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(out)))
}
