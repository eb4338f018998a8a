//! Slack's Events API: mentions and direct messages.
//!
//! An event is acknowledged at once and answered by `chat.postMessage` or `chat.postEphemeral`. Slack
//! delivers again what was not acknowledged within three seconds; the event's id tells ("Events API").

use std::sync::Arc;

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
    Tool, ToolQuestion, finish,
    outgoing::Message,
    prepare, send,
    slack::{frame, signed},
    slack_blocks::message,
    slack_text::plain,
    words::Words,
};
use crate::serve::{access::request_id, answering::base_url, error::ApiError, state::App};

/// What Slack delivers; more stands in it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delivery {
    /// Slack asks whether the address is ours.
    UrlVerification {
        challenge: String,
    },
    EventCallback {
        event_id: String,
        event: Box<Event>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    subtype: Option<String>,
    channel_type: Option<String>,
    bot_id: Option<String>,
    #[serde(default)]
    user: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    ts: String,
    thread_ts: Option<String>,
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    channel: String,
    /// Who alone sees it; `None` for everyone in the channel.
    user: Option<String>,
    thread: Option<String>,
}

/// `POST /integrations/slack/events`
pub(super) async fn event(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = signed(&app, &headers, body)?;
    let delivery: Delivery = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("no event of Slack: {error}")))?;
    let (event_id, event) = match delivery {
        Delivery::UrlVerification { challenge } => {
            return Ok(Json(json!({ "challenge": challenge })).into_response());
        }
        Delivery::EventCallback { event_id, event } => (event_id, event),
        Delivery::Other => return Ok(StatusCode::OK.into_response()),
    };
    let acknowledged = Ok(StatusCode::OK.into_response());
    if !event.is_question() || !app.tools.is_new(&event_id) {
        return acknowledged;
    }
    if app.session.config.offline {
        tracing::warn!("a mention in Slack is not answered: `offline` forbids posting to Slack");
        return acknowledged;
    }
    let question = ToolQuestion {
        tool: Tool::Slack,
        text: plain(&event.text),
        user: event.user.clone(),
        thread: format!("{} {}", event.channel, event.root()),
        base: base_url(&app, &headers),
        request: request_id(&headers),
    };
    let place = event.place(app.session.config.serve.slack.ephemeral);
    let on = Arc::clone(&app);
    app.tools.go_on(async move {
        let body = answer(&on, question).await;
        send(&on, Tool::Slack, place.message(&on, body)).await;
    });
    acknowledged
}

/// The text and blocks that answer a question.
async fn answer(app: &Arc<App>, question: ToolQuestion) -> Value {
    if question.text.is_empty() {
        return json!({ "text": Words::usage_in_both() });
    }
    let words = Words::for_question(&question.text);
    let outcome = match prepare(app, question).await {
        Ok(pending) => finish(app, pending).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(reply) => message(&reply, frame(app, false)),
        Err(error) => json!({ "text": words.error(&error) }),
    }
}

impl Event {
    /// Whether somebody asks us: bots, us among them, are not answered, and neither are edits and
    /// what else is told of messages.
    fn is_question(&self) -> bool {
        let is_for_us = match self.kind.as_str() {
            "app_mention" => true,
            "message" => self.is_direct(),
            _ => false,
        };
        is_for_us && self.bot_id.is_none() && self.subtype.is_none() && !self.user.is_empty()
    }

    fn is_direct(&self) -> bool {
        self.channel_type.as_deref() == Some("im")
    }

    /// The message that its thread begins with.
    fn root(&self) -> &str {
        self.thread_ts.as_deref().unwrap_or(&self.ts)
    }

    fn place(&self, is_private: bool) -> Place {
        let is_private = is_private && !self.is_direct();
        Place {
            channel: self.channel.clone(),
            user: is_private.then(|| self.user.clone()),
            // Slack shows what only one person sees in a thread only if that thread is open already
            // ("chat.postEphemeral").
            thread: match is_private {
                true => self.thread_ts.clone(),
                false => Some(self.root().to_owned()),
            },
        }
    }
}

impl Place {
    fn message(self, app: &App, mut body: Value) -> Message {
        let slack = &app.session.config.serve.slack;
        let method = if self.user.is_some() { "chat.postEphemeral" } else { "chat.postMessage" };
        body["channel"] = json!(self.channel);
        if let Some(user) = self.user {
            body["user"] = json!(user);
        }
        if let Some(thread) = self.thread {
            body["thread_ts"] = json!(thread);
        }
        body["unfurl_links"] = json!(false);
        body["unfurl_media"] = json!(false);
        Message {
            url: format!("{}/{method}", slack.api_url.trim_end_matches('/')),
            token: slack.bot_token.clone(),
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: Value) -> Event {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_people_who_speak_to_us_are_answered() {
        let mention = json!({"type": "app_mention", "user": "U1", "channel": "C1", "text": "<@U0> ?",
                             "ts": "1.2"});
        assert!(event(mention.clone()).is_question());
        let with = |key: &str, value: &str| {
            let mut it = mention.clone();
            it[key] = json!(value);
            event(it)
        };
        assert!(!with("bot_id", "B1").is_question());
        assert!(!with("subtype", "message_changed").is_question());
        assert!(!with("user", "").is_question());
        assert!(!with("type", "message").is_question(), "of a channel, without a mention");
        assert!(!with("type", "reaction_added").is_question());
        let direct = json!({"type": "message", "channel_type": "im", "user": "U1", "text": "?"});
        assert!(event(direct).is_question());
    }

    #[test]
    fn an_answer_goes_where_it_can_be_seen() {
        let mut json = json!({"type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.2"});
        let place = |user: Option<&str>, thread: Option<&str>| Place {
            channel: "C1".to_owned(),
            user: user.map(str::to_owned),
            thread: thread.map(str::to_owned),
        };
        assert_eq!(event(json.clone()).place(true), place(Some("U1"), None));
        assert_eq!(event(json.clone()).place(false), place(None, Some("1.2")));
        json["thread_ts"] = json!("0.9");
        assert_eq!(event(json.clone()).place(true), place(Some("U1"), Some("0.9")));
        assert_eq!(event(json.clone()).place(false), place(None, Some("0.9")));
        json["type"] = json!("message");
        json["channel_type"] = json!("im");
        assert_eq!(event(json).place(true), place(None, Some("0.9")));
    }

    #[test]
    fn deliveries_are_told_apart() {
        let parse = |json: Value| serde_json::from_value::<Delivery>(json).unwrap();
        let known = parse(json!({"type": "url_verification", "token": "x", "challenge": "3eZ"}));
        assert!(matches!(known, Delivery::UrlVerification { challenge } if challenge == "3eZ"));
        assert!(matches!(parse(json!({"type": "app_rate_limited"})), Delivery::Other));
    }
}
