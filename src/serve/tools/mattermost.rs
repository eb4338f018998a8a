//! Mattermost: slash commands and outgoing webhooks.
//!
//! A command may answer later, at `response_url`; Mattermost keeps it in the thread that the command
//! was given in. A webhook answers at once or not at all, as a comment below the message.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolQuestion, finish, finish_within, form, header_text, json_body, not_signed,
    outgoing::{Message, PostError, check_place},
    prepare, received,
    reply::{Markup, Reply},
    send, signature,
    words::Words,
};
use crate::{
    serve::{access::request_id, answering::base_url, error::ApiError, state::App},
    upstream::settings::Secret,
};

/// What commands and webhooks send; more stands in it.
#[derive(Debug, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    token: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    channel_id: String,
    /// Of commands.
    #[serde(default)]
    response_url: String,
    /// Of commands that are given in a thread.
    #[serde(default)]
    root_id: String,
    /// Of webhooks: what the message begins with.
    #[serde(default)]
    trigger_word: String,
}

/// `POST /integrations/mattermost/command`
pub(super) async fn command(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let sent = sent(&app, &headers, body).await?;
    let text = sent.text.trim().to_owned();
    if matches!(text.as_str(), "" | "help" | "aide") {
        return Ok(Json(message(&Words::usage_in_both(), "ephemeral")));
    }
    let settings = &app.session.config.serve.mattermost;
    let response_type = if settings.ephemeral { "ephemeral" } else { "in_channel" };
    if app.session.config.offline || settings.url.is_empty() {
        let question = question(&app, &headers, sent, text);
        let text = at_once(&app, question).await;
        return Ok(Json(message(&text, response_type)));
    }
    let url = sent.response_url.clone();
    check_place(&url, &settings.url)
        .map_err(|error: PostError| ApiError::bad_field("response_url", error.to_string()))?;
    let words = Words::for_question(&text);
    let pending = match prepare(&app, question(&app, &headers, sent, text)).await {
        Ok(pending) => pending,
        Err(error) => return Ok(Json(message(&words.error(&error), "ephemeral"))),
    };
    let on = Arc::clone(&app);
    app.tools.go_on(async move {
        let body = match finish(&on, pending).await {
            Ok(reply) => message(&shown(&reply, true), response_type),
            Err(error) => message(&words.error(&error), "ephemeral"),
        };
        send(&on, Tool::Mattermost, Message { url, token: Secret::default(), body }).await;
    });
    Ok(Json(message(words.searching, "ephemeral")))
}

/// `POST /integrations/mattermost/webhook`
pub(super) async fn webhook(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let sent = sent(&app, &headers, body).await?;
    let text = sent.text.trim();
    let text = text.strip_prefix(sent.trigger_word.as_str()).unwrap_or(text);
    let text = text.trim_start_matches([':', ',']).trim().to_owned();
    if text.is_empty() {
        return Ok(Json(message(&Words::usage_in_both(), "comment")));
    }
    let text = at_once(&app, question(&app, &headers, sent, text)).await;
    Ok(Json(message(&text, "comment")))
}

/// What was sent, once it is sure that Mattermost sent it.
async fn sent(
    app: &App,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Sent, ApiError> {
    let body = received(app, body)?;
    let is_json = header_text(headers, "content-type").starts_with("application/json");
    let sent: Sent = match is_json {
        true => serde_json::from_value(json_body(&body)?)
            .map_err(|error| ApiError::bad_request(format!("no request of Mattermost: {error}")))?,
        false => form(body).await?,
    };
    let tokens = app.session.config.serve.mattermost.tokens.reveal();
    match signature::is_one_of(tokens, &sent.token) {
        true => Ok(sent),
        false => Err(not_signed(Tool::Mattermost)),
    }
}

fn question(app: &App, headers: &HeaderMap, sent: Sent, text: String) -> ToolQuestion {
    let Sent { user_id, channel_id, root_id, .. } = sent;
    let thread = match root_id.is_empty() {
        true => String::new(),
        false => format!("{channel_id} {root_id}"),
    };
    let (base, request) = (base_url(app, headers), request_id(headers));
    ToolQuestion { tool: Tool::Mattermost, text, user: user_id, thread, base, request }
}

/// The answer if it is there in time, or why it is not.
async fn at_once(app: &Arc<App>, question: ToolQuestion) -> String {
    let words = Words::for_question(&question.text);
    let late = format!("{} [{}]({}/).", words.late, words.page, question.base);
    let limit = Duration::from_secs(app.session.config.serve.mattermost.wait_seconds.get());
    let pending = match prepare(app, question).await {
        Ok(pending) => pending,
        Err(error) => return words.error(&error),
    };
    match finish_within(app, pending, limit).await {
        Some(Ok(reply)) => shown(&reply, false),
        Some(Err(error)) => words.error(&error),
        None => late,
    }
}

fn shown(reply: &Reply, with_question: bool) -> String {
    let text = reply.text(Markup::Markdown);
    match with_question {
        true => format!("> {}\n\n{text}", Markup::Markdown.escape(&reply.question)),
        false => text,
    }
}

fn message(text: &str, response_type: &str) -> Value {
    // Otherwise Mattermost reads `<` and `>` as Slack does.
    json!({ "response_type": response_type, "text": text, "skip_slack_parsing": true })
}
