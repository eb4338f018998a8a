//! Slack: slash commands, and the buttons of answers.
//!
//! Slack waits three seconds for a response, and takes up to five messages at `response_url` within
//! the next half hour ("Slash commands", "Handling user interaction").

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Tool, ToolQuestion, finish, finish_within, form, header_text, links, not_signed,
    outgoing::{Message, PostError, check_place},
    prepare, received,
    reply::Reply,
    send, signature,
    slack_blocks::{DOWN, Frame, UP, WHY, message, read_reason},
    slack_text::plain,
    words::Words,
};
use crate::{
    records::{Feedback, Labels, Rating, Reason, now},
    serve::{
        access::{Reader, request_id},
        answering::base_url,
        error::ApiError,
        state::App,
        work::on_thread,
    },
    upstream::settings::Secret,
};

/// How long a command may wait for its answer where it cannot be posted later: Slack gives up after
/// three seconds.
const AT_ONCE: Duration = Duration::from_millis(2_000);

/// What a slash command sends; more stands in it.
#[derive(Debug, Deserialize)]
struct Command {
    #[serde(default)]
    text: String,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    response_url: String,
    /// Slack looks whether we are here, and wants no answer.
    ssl_check: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Interaction {
    payload: String,
}

/// The body, once it is sure that Slack sent it.
pub(super) fn signed(
    app: &App,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bytes, ApiError> {
    let body = received(app, body)?;
    let secret = app.session.config.serve.slack.signing_secret.reveal();
    let timestamp = header_text(headers, "x-slack-request-timestamp");
    let signature = header_text(headers, "x-slack-signature");
    match signature::is_of_slack(secret, timestamp, signature, &body, now()) {
        true => Ok(body),
        false => Err(not_signed(Tool::Slack)),
    }
}

/// `POST /integrations/slack/command`
pub(super) async fn command(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let command: Command = form(signed(&app, &headers, body)?).await?;
    if command.ssl_check.is_some() {
        return Ok(StatusCode::OK.into_response());
    }
    let text = plain(&command.text);
    if matches!(text.as_str(), "" | "help" | "aide") {
        return Ok(Json(private(&Words::usage_in_both())).into_response());
    }
    let words = Words::for_question(&text);
    let question = ToolQuestion {
        tool: Tool::Slack,
        text,
        user: command.user_id,
        thread: String::new(),
        base: base_url(&app, &headers),
        request: request_id(&headers),
    };
    let base = question.base.clone();
    let pending = match prepare(&app, question).await {
        Ok(pending) => pending,
        Err(error) => return Ok(Json(private(&words.error(&error))).into_response()),
    };
    let frame = frame(&app, true);
    if app.session.config.offline {
        let out = match finish_within(&app, pending, AT_ONCE).await {
            Some(outcome) => shown(&app, outcome, words, frame),
            None => private(&format!("{} <{base}/|{}>.", words.late, words.page)),
        };
        return Ok(Json(out).into_response());
    }
    let url = place(&app, command.response_url)?;
    let on = Arc::clone(&app);
    app.tools.go_on(async move {
        let body = shown(&on, finish(&on, pending).await, words, frame);
        send(&on, Tool::Slack, Message { url, token: Secret::default(), body }).await;
    });
    Ok(Json(private(words.searching)).into_response())
}

/// An address for responses, if it is Slack's.
fn place(app: &App, url: String) -> Result<String, ApiError> {
    check_place(&url, &app.session.config.serve.slack.api_url)
        .map_err(|error: PostError| ApiError::bad_field("response_url", error.to_string()))?;
    Ok(url)
}

pub(super) fn frame(app: &App, with_question: bool) -> Frame {
    // What is not kept cannot be judged.
    Frame { with_question, with_buttons: app.keeps_answers(), ..Frame::default() }
}

/// The answer as a response to a command.
fn shown(app: &App, outcome: Result<Reply, ApiError>, words: &Words, frame: Frame) -> Value {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return private(&words.error(&error)),
    };
    let mut out = message(&reply, frame);
    let is_private = app.session.config.serve.slack.ephemeral;
    out["response_type"] = json!(if is_private { "ephemeral" } else { "in_channel" });
    out["unfurl_links"] = json!(false);
    out
}

fn private(text: &str) -> Value {
    json!({ "response_type": "ephemeral", "text": text })
}

/// `POST /integrations/slack/interactions`: 👍, 👎, and what was wrong.
pub(super) async fn interaction(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let Interaction { payload } = form(signed(&app, &headers, body)?).await?;
    let payload: Value = super::json_body(payload.as_bytes())?;
    let actions = payload["actions"].as_array().map_or(&[][..], Vec::as_slice);
    // Other buttons are links, which need no answer.
    let Some(judged) = actions.iter().find_map(Judged::read) else { return Ok(StatusCode::OK) };
    let user = payload["user"]["id"].as_str().unwrap_or_default().to_owned();
    let (base, request) = (base_url(&app, &headers), request_id(&headers));
    let judging = on_thread(&app, move |app| {
        let reader = Tool::Slack.reader(&app.session.config.serve, &user, request);
        judge(app, &judged, &reader, &base)
    });
    let judged = judging.await?;
    let url = payload["response_url"].as_str().unwrap_or_default().to_owned();
    if app.session.config.offline || url.is_empty() {
        return Ok(StatusCode::OK);
    }
    let url = place(&app, url)?;
    let body = match judged {
        Some((reply, Feedback { rating, reason, .. })) => {
            let frame = frame(&app, has_question(&payload));
            let mut out = message(&reply, Frame { rating: Some(rating), reason, ..frame });
            out["replace_original"] = json!(true);
            out
        }
        None => {
            let words = Words::for_locale(payload["user"]["locale"].as_str());
            let mut out = private(words.forgotten);
            out["replace_original"] = json!(false);
            out
        }
    };
    let on = Arc::clone(&app);
    app.tools.go_on(async move {
        send(&on, Tool::Slack, Message { url, token: Secret::default(), body }).await;
    });
    Ok(StatusCode::OK)
}

/// Whether the message that is replaced shows the question.
fn has_question(payload: &Value) -> bool {
    payload["actions"][0]["block_id"] == super::slack_blocks::WITH_QUESTION
}

/// What a user said of an answer by a button, or by the list below one.
#[derive(Debug)]
struct Judged {
    answer: String,
    rating: Rating,
    reason: Option<Reason>,
}

impl Judged {
    fn read(action: &Value) -> Option<Self> {
        let rated = |rating| {
            let answer = action["value"].as_str()?.to_owned();
            Some(Self { answer, rating, reason: None })
        };
        match action["action_id"].as_str()? {
            UP => rated(Rating::Up),
            DOWN => rated(Rating::Down),
            WHY => {
                let (reason, answer) = read_reason(action["selected_option"]["value"].as_str()?)?;
                let answer = answer.to_owned();
                Some(Self { answer, rating: Rating::Down, reason: Some(reason) })
            }
            _ => None,
        }
    }
}

/// Records what a user thinks of an answer that Slack was given. Gives the answer, and all that is
/// known to be thought of it; `None` where it is not kept any more.
fn judge(
    app: &App,
    judged: &Judged,
    reader: &Reader,
    base: &str,
) -> Result<Option<(Reply, Feedback)>, ApiError> {
    let Judged { answer, rating, reason } = judged;
    let found = app.records.answer(answer)?;
    let Some(found) = found.filter(|it| Tool::of_owner(&it.owner) == Some(Tool::Slack)) else {
        return Ok(None);
    };
    // The same thumb again takes nothing back of what was said by the form.
    let before = app.records.feedback_on(answer)?.filter(|it| it.rating == *rating);
    let mut feedback = before.unwrap_or(Feedback {
        answer: answer.clone(),
        rating: *rating,
        reason: None,
        correction: None,
        labels: Labels::default(),
        comment: None,
    });
    feedback.reason = reason.or(feedback.reason);
    if !app.records.give_feedback(&feedback, reader.owner())? {
        return Ok(None);
    }
    app.audit(reader, "slack.feedback", Some(answer), None)?;
    let reply = links::with_link(app, Reply::new(&found.json), base)?;
    Ok(Some((reply, feedback)))
}
