//! Microsoft Teams: an outgoing webhook. It answers at once or not at all.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
};
use serde_json::{Value, json};

use super::{
    Tool, ToolQuestion, finish_within, header_text, json_body, not_signed, prepare, received,
    reply::Markup, signature, words::Words,
};
use crate::serve::{access::request_id, answering::base_url, error::ApiError, state::App};

/// `POST /integrations/teams`
pub(super) async fn message(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let body = received(&app, body)?;
    let settings = &app.session.config.serve.teams;
    let authorization = header_text(&headers, "authorization");
    if !signature::is_of_teams(settings.secret.reveal(), authorization, &body) {
        return Err(not_signed(Tool::Teams));
    }
    let activity = json_body(&body)?;
    let of = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let text = plain(activity["text"].as_str().unwrap_or_default());
    if text.is_empty() {
        return Ok(Json(reply(&Words::usage_in_both().replace('\n', "\n\n"))));
    }
    let words = Words::for_question(&text);
    let from = &activity["from"];
    let user = from["aadObjectId"].as_str().map_or_else(|| of(&from["id"]), str::to_owned);
    let base = base_url(&app, &headers);
    let late = format!("{} [{}]({base}/).", words.late, words.page);
    let question = ToolQuestion {
        tool: Tool::Teams,
        text,
        user,
        thread: of(&activity["conversation"]["id"]),
        base,
        request: request_id(&headers),
    };
    let pending = match prepare(&app, question).await {
        Ok(pending) => pending,
        Err(error) => return Ok(Json(reply(&words.error(&error)))),
    };
    let limit = Duration::from_secs(settings.wait_seconds.get());
    let text = match finish_within(&app, pending, limit).await {
        Some(Ok(it)) => it.text(Markup::Markdown),
        Some(Err(error)) => words.error(&error),
        None => late,
    };
    Ok(Json(reply(&text)))
}

fn reply(text: &str) -> Value {
    json!({ "type": "message", "textFormat": "markdown", "text": text })
}

/// A message of Teams without what calls us, its tags and its entities.
fn plain(html: &str) -> String {
    let mut res = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        res.push_str(&rest[..start]);
        let inner = &rest[start..];
        let end = match inner.starts_with("<at>") || inner.starts_with("<at ") {
            true => inner.find("</at>").map(|it| it + "</at>".len()),
            false => inner.find('>').map(|it| it + 1),
        };
        res.push(' ');
        rest = end.map_or("", |end| &inner[end..]);
    }
    res.push_str(rest);
    let entities = [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    for (entity, text) in entities {
        res = res.replace(entity, text);
    }
    res.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_teams_becomes_a_question() {
        for (html, expected) in [
            ("<at>Souffleur</at> Combien de jours ?\n", "Combien de jours ?"),
            ("<p><at id=\"0\">Souffleur</at>&nbsp;R&amp;D &lt;b&gt; ?</p>", "R&D <b> ?"),
            ("a < b", "a"),
            ("<at>Souffleur</at>", ""),
        ] {
            assert_eq!(plain(html), expected, "{html}");
        }
    }
}
