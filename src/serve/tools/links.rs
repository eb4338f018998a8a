//! Links below the answers of chat tools, to a form that says what was wrong.
//!
//! Whoever holds a link needs no key: people of a chat tool have none. It is worth what the message
//! above it is worth. It names one answer, ends after [`DAYS`] days, is signed with a secret of the
//! records, and gives what the tool was shown and nothing else: no text of passages, no passage that
//! is not cited, no prompt, and not what others thought of the answer. It ends earlier with the
//! answer itself (`souffleur forget`, `serve.keep_days`) and with the tool's settings.
//!
//! The link stands after the `#` of an address, which browsers send to nobody, so that no log on the
//! way holds it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::{Tool, reply::Reply, signature::hmac};
use crate::{
    records::{AnswerRecord, Feedback, Labels, Rating, Reason, hex, now},
    serve::{
        access::request_id, conversations::check_texts, error::ApiError, extract::Body, state::App,
        work::on_thread,
    },
};

/// Days that a link can be used.
pub(super) const DAYS: i64 = 7;

/// What the secret of links is called in the records.
const SECRET: &str = "answer links";

/// What the feedback of whoever followed a link is kept under, after the tool's name.
const BY_LINK: &str = "link";

/// `POST /v1/links/answer`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct LinkRequest {
    /// What stands after the `#` of the link.
    link: String,
}

/// `POST /v1/links/feedback`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct LinkFeedbackRequest {
    /// What stands after the `#` of the link.
    link: String,
    /// Whether the answer was good.
    rating: Rating,
    /// What was wrong.
    #[serde(default)]
    reason: Option<Reason>,
    /// What it should have said.
    #[serde(default)]
    correction: Option<String>,
    /// More about it.
    #[serde(default)]
    labels: Labels,
    /// In words.
    #[serde(default)]
    comment: Option<String>,
}

/// Gives a reply the link to its form, if it can be judged: only what is kept can.
pub(super) fn with_link(app: &App, mut reply: Reply, base: &str) -> Result<Reply, ApiError> {
    if !app.keeps_answers() {
        return Ok(reply);
    }
    let secret = app.records.secret(SECRET)?;
    let signed = sign(&secret, &reply.id, now() + DAYS * 86_400);
    reply.link = Some(format!("{base}/judge#{signed}"));
    Ok(reply)
}

/// `ANSWER.END.SIGNATURE`: the answer's id, the second since 1970 (UTC) at which the link ends, and
/// the HMAC-SHA256 of both in hexadecimal.
fn sign(secret: &[u8], answer: &str, end: i64) -> String {
    format!("{answer}.{end}.{}", signature(secret, answer, end))
}

fn signature(secret: &[u8], answer: &str, end: i64) -> String {
    hex(&hmac(secret, &[format!("{answer}.{end}").as_bytes()]))
}

/// What a link is worth.
#[derive(Debug, PartialEq, Eq)]
enum Read<'a> {
    /// It opens the answer of this id.
    Answer(&'a str),
    /// It did once.
    Ended,
    /// Nobody here signed it.
    Forged,
}

fn read<'a>(secret: &[u8], link: &'a str, now: i64) -> Read<'a> {
    let mut parts = link.splitn(3, '.');
    let (Some(answer), Some(end), Some(given)) = (parts.next(), parts.next(), parts.next()) else {
        return Read::Forged;
    };
    let Ok(end) = end.parse::<i64>() else { return Read::Forged };
    let expected = signature(secret, answer, end);
    if !bool::from(expected.as_bytes().ct_eq(given.as_bytes())) {
        return Read::Forged;
    }
    if end < now { Read::Ended } else { Read::Answer(answer) }
}

/// The answer that a link opens, and the tool that was shown it.
fn opened(app: &App, link: &str) -> Result<(AnswerRecord, Tool), ApiError> {
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "this link leads to no answer");
    let secret = app.records.secret(SECRET)?;
    let id = match read(&secret, link, now()) {
        Read::Answer(id) => id,
        Read::Ended => {
            let what = format!("this link has ended: they last {DAYS} days");
            return Err(ApiError::new(StatusCode::GONE, what).with_code("link_ended"));
        }
        Read::Forged => return Err(gone()),
    };
    app.rates.take(&format!("link {id}"))?;
    let found = app.records.answer(id)?.ok_or_else(gone)?;
    let tool = Tool::of_owner(&found.owner).filter(|it| it.is_set_up(&app.session.config.serve));
    Ok((found, tool.ok_or_else(gone)?))
}

/// The answer that a link of a chat tool leads to, as the tool showed it. Needs no key.
#[utoipa::path(post, path = "/v1/links/answer", tag = "Conversations", security(()),
    request_body = LinkRequest,
    responses((status = 200, description = "`question`, `answer`, `language`, `refused`, `sentences` with `text`, \
                  `verdict` and `citations`, and the cited `sources` with `index`, `title`, `heading` and `url`", body = Value),
              (status = 404, description = "The link is not ours, or its answer is not kept any more", body = Value),
              (status = 410, description = "The link has ended", body = Value)))]
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Body(request): Body<LinkRequest>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let (found, _) = opened(app, &request.link)?;
        Ok(Reply::new(&found.json).shown())
    })
    .await?;
    Ok(Json(out))
}

/// Records what whoever follows a link of a chat tool thinks of its answer, instead of what was
/// thought before. Needs no key.
#[utoipa::path(post, path = "/v1/links/feedback", tag = "Conversations", security(()),
    request_body = LinkFeedbackRequest,
    responses((status = 201, description = "It is recorded", body = Value),
              (status = 404, description = "The link is not ours, or its answer is not kept any more", body = Value),
              (status = 410, description = "The link has ended", body = Value)))]
pub(crate) async fn feedback(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Body(request): Body<LinkFeedbackRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let LinkFeedbackRequest { link, rating, reason, correction, labels, comment } = request;
    let id = request_id(&headers);
    let out = on_thread(&app, move |app| {
        let (found, tool) = opened(app, &link)?;
        let answer = found.id;
        let feedback = Feedback { answer, rating, reason, correction, labels, comment };
        check_texts(&feedback)?;
        let reader = tool.reader(&app.session.config.serve, BY_LINK, id);
        if !app.records.give_feedback(&feedback, reader.owner())? {
            return Err(ApiError::not_found("answer", &feedback.answer));
        }
        app.audit(&reader, "link.feedback", Some(&feedback.answer), None)?;
        Ok(json!({ "recorded": true }))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_one_answer_until_it_ends() {
        let secret = b"a secret";
        let link = sign(secret, "a_1", 1_000);
        assert_eq!(read(secret, &link, 999), Read::Answer("a_1"));
        assert_eq!(read(secret, &link, 1_000), Read::Answer("a_1"));
        assert_eq!(read(secret, &link, 1_001), Read::Ended);
        assert_eq!(read(b"another", &link, 999), Read::Forged);
        for forged in [
            link.replace("a_1", "a_2"),
            link.replace(".1000.", ".9000."),
            link[..link.len() - 1].to_owned(),
            format!("{link}0"),
            link.to_uppercase(),
            "a_1.1000".to_owned(),
            "a_1.soon.00".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(secret, &forged, 999), Read::Forged, "{forged}");
        }
    }
}
