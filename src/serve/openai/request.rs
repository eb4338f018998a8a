//! What a chat completion is asked for.

use axum::http::HeaderMap;
use model::{
    chat::{Role, Turn},
    constrain::Constraint,
    sample::SampleOptions,
};
use serde::Deserialize;
use serde_json::Value;

use super::models::Mode;
use crate::serve::error::ApiError;

/// `POST /v1/chat/completions`. Fields that are not listed are ignored, as OpenAI ignores them.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct ChatRequest {
    /// A model id: `rag`, `rag:COLLECTION`, `base`, `ft:ADAPTER`, `rag+ft:COLLECTION/ADAPTER`.
    pub(crate) model: String,
    /// The conversation; the last message is the question.
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    pub(crate) stream: Option<bool>,
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
    /// From 0 to 2.
    #[serde(default)]
    pub(crate) temperature: Option<f32>,
    /// From 0 to 1.
    #[serde(default)]
    pub(crate) top_p: Option<f32>,
    #[serde(default)]
    pub(crate) seed: Option<i64>,
    /// Tokens to write at most.
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) max_completion_tokens: Option<u32>,
    /// A text, or several, that end the answer.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub(crate) stop: Option<OneOrMany>,
    #[serde(default)]
    pub(crate) frequency_penalty: Option<f32>,
    #[serde(default)]
    pub(crate) presence_penalty: Option<f32>,
    #[serde(default)]
    pub(crate) logprobs: Option<bool>,
    #[serde(default)]
    pub(crate) top_logprobs: Option<u8>,
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub(crate) logit_bias: Option<std::collections::BTreeMap<String, f32>>,
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub(crate) response_format: Option<Value>,
    /// Only 1.
    #[serde(default)]
    pub(crate) n: Option<u32>,
    /// Refused when not empty: the documents are searched by the server itself.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Value>>)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<Value>>)]
    functions: Option<Vec<Value>>,
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    audio: Option<Value>,
    #[serde(default)]
    modalities: Option<Vec<String>>,
    /// Chunks with a top-level `event`, which Open WebUI shows.
    #[serde(default)]
    pub(crate) openwebui_events: Option<bool>,
    /// `message.context`, as Azure has it.
    #[serde(default)]
    pub(crate) azure_context: Option<bool>,
    /// A list of sources at the end of the text.
    #[serde(default)]
    pub(crate) markdown_sources: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
pub(crate) struct StreamOptions {
    /// A last chunk says how many tokens there were.
    #[serde(default)]
    pub(crate) include_usage: Option<bool>,
}

/// A message of the conversation.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct Message {
    /// `system`, `developer`, `user` or `assistant`.
    role: String,
    /// A text, or a list of parts of the type `text`.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    content: Option<Content>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Dialects in which sources are told beside the usual ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialects {
    pub(crate) events: bool,
    pub(crate) azure: bool,
    pub(crate) markdown: bool,
}

impl ChatRequest {
    /// Refuses what would change the meaning of the answer and is not supported.
    pub(crate) fn check(&self, mode: &Mode) -> Result<(), ApiError> {
        let refuse = |param: &str, why: &str| Err(ApiError::bad_field(param, why));
        if self.n.is_some_and(|n| n != 1) {
            return refuse("n", "only one answer is written for a request: n must be 1");
        }
        if self.tools.as_ref().is_some_and(|it| !it.is_empty()) {
            return refuse("tools", "tools are not supported: the server searches by itself");
        }
        if self.functions.as_ref().is_some_and(|it| !it.is_empty()) {
            return refuse("functions", "functions are not supported");
        }
        if self.audio.is_some() {
            return refuse("audio", "answers are text");
        }
        if self.modalities.iter().flatten().any(|it| it != "text") {
            return refuse("modalities", "answers are text");
        }
        if self.messages.is_empty() {
            return refuse("messages", "there is no message");
        }
        if self.top_logprobs.is_some_and(|it| it > 0) && self.logprobs != Some(true) {
            return refuse("top_logprobs", "top_logprobs goes with logprobs: true");
        }
        if let Mode::Rag { .. } = mode {
            self.check_for_documents()?;
        }
        let in_range = |param: &str, value: Option<f32>, low: f32, high: f32| match value {
            Some(it) if !(low..=high).contains(&it) => {
                let why = format!("{param} is {it} and must be from {low} to {high}");
                Err(ApiError::bad_field(param, why))
            }
            _ => Ok(()),
        };
        in_range("temperature", self.temperature, 0.0, 2.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        if self.tokens_max() == Some(0) {
            return refuse("max_tokens", "at least one token must be asked for");
        }
        if self.top_logprobs.is_some_and(|it| it > 20) {
            return refuse("top_logprobs", "top_logprobs must be at most 20");
        }
        Ok(())
    }

    /// Refuses what an answer from the documents cannot keep to: its prompt is ours, and its text is
    /// checked sentence by sentence and given its marks.
    fn check_for_documents(&self) -> Result<(), ApiError> {
        let format = self.response_format.as_ref().is_some_and(|it| it["type"] != "text");
        let stop = match &self.stop {
            None => false,
            Some(OneOrMany::One(it)) => !it.is_empty(),
            Some(OneOrMany::Many(all)) => all.iter().any(|it| !it.is_empty()),
        };
        let is_set = |it: Option<f32>| it.is_some_and(|it| it != 0.0);
        let bias = self.logit_bias.iter().flatten().any(|(_, it)| *it != 0.0);
        let given = [
            ("response_format", format),
            ("stop", stop),
            ("logprobs", self.logprobs == Some(true)),
            ("logit_bias", bias),
            ("frequency_penalty", is_set(self.frequency_penalty)),
            ("presence_penalty", is_set(self.presence_penalty)),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((param, _)) => Err(ApiError::bad_field(
                param,
                format!(
                    "{param} does not go with a `rag` model, whose answers are checked sentence by \
                     sentence against the documents: leave it out, or ask `base` or `ft:ADAPTER`"
                ),
            )),
        }
    }

    pub(crate) fn tokens_max(&self) -> Option<usize> {
        self.max_completion_tokens.or(self.max_tokens).map(|it| it as usize)
    }

    /// The conversation.
    pub(crate) fn turns(&self) -> Result<Vec<Turn>, ApiError> {
        self.messages.iter().map(Message::turn).collect()
    }

    /// Options of a draft that the generator writes alone.
    pub(crate) fn sample_options(
        &self,
        defaults: SampleOptions,
        tokens_max: usize,
    ) -> Result<SampleOptions, ApiError> {
        let mut bias = Vec::new();
        for (token, value) in self.logit_bias.iter().flatten() {
            let id = token.parse().map_err(|_| {
                ApiError::bad_field("logit_bias", format!("`{token}` is no token id"))
            })?;
            bias.push((id, *value));
        }
        let stop = match self.stop.clone() {
            None => Vec::new(),
            Some(OneOrMany::One(it)) => vec![it],
            Some(OneOrMany::Many(it)) => it,
        };
        Ok(SampleOptions {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_p: self.top_p.or(defaults.top_p),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            logit_bias: bias,
            logprobs: match self.logprobs {
                Some(true) => Some(usize::from(self.top_logprobs.unwrap_or(0))),
                _ => None,
            },
            constraint: self.constraint()?,
            seed: self.seed.map_or(defaults.seed, i64::cast_unsigned),
            // No more than the administrator allows.
            tokens_max: self.tokens_max().map_or(tokens_max, |it| it.min(tokens_max)),
            stop,
            ..defaults
        })
    }

    fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        let Some(format) = &self.response_format else { return Ok(None) };
        let wrong = |why: &str| ApiError::bad_field("response_format", why);
        match format["type"].as_str() {
            Some("text") => Ok(None),
            Some("json_object") => {
                Ok(Some(Constraint::JsonSchema(serde_json::json!({"type": "object"}))))
            }
            Some("json_schema") => match &format["json_schema"]["schema"] {
                schema @ Value::Object(_) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
                _ => Err(wrong("json_schema.schema must be a JSON schema")),
            },
            _ => Err(wrong("type must be `text`, `json_object` or `json_schema`")),
        }
    }

    /// The dialects that the body or the headers ask for.
    pub(crate) fn dialects(&self, headers: &HeaderMap) -> Dialects {
        let is_on = |field: Option<bool>, header: &str| {
            let value = headers.get(header).and_then(|it| it.to_str().ok());
            field.unwrap_or_else(|| value.is_some_and(|it| it == "1" || it == "true"))
        };
        Dialects {
            events: is_on(self.openwebui_events, "x-souffleur-events"),
            azure: is_on(self.azure_context, "x-souffleur-azure"),
            markdown: is_on(self.markdown_sources, "x-souffleur-markdown-sources"),
        }
    }
}

impl Message {
    fn turn(&self) -> Result<Turn, ApiError> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                let why = format!(
                    "`{other}` is no role of a message here: system, developer, user and \
                     assistant are"
                );
                return Err(ApiError::bad_field("messages", why));
            }
        };
        let content = match &self.content {
            None => String::new(),
            Some(Content::Text(it)) => it.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().map(|it| match (it.kind.as_str(), &it.text) {
                    ("text" | "input_text" | "output_text", Some(text)) => Ok(text.as_str()),
                    (kind, _) => {
                        let why = format!("parts of the type `{kind}` cannot be read: only text");
                        Err(ApiError::bad_field("messages", why))
                    }
                });
                texts.collect::<Result<Vec<_>, _>>()?.join("\n")
            }
        };
        Ok(Turn { role, content })
    }
}

/// The question of a conversation, and the exchanges before it, oldest first.
pub(crate) fn question_of(turns: &[Turn]) -> Result<(String, Vec<(String, String)>), ApiError> {
    let mut exchanges: Vec<(String, String)> = Vec::new();
    let mut question: Option<String> = None;
    // System turns of the client are for a model that it would prompt itself.
    for turn in turns.iter().filter(|it| it.role != Role::System) {
        match turn.role {
            Role::User => match &mut question {
                // Two in a row are one question.
                Some(it) => *it = format!("{it}\n{}", turn.content),
                None => question = Some(turn.content.clone()),
            },
            _ => {
                if let Some(it) = question.take() {
                    exchanges.push((it, turn.content.clone()));
                }
            }
        }
    }
    match question {
        Some(it) => Ok((it, exchanges)),
        None => Err(ApiError::bad_field("messages", "the last message must be the user's")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(body: Value) -> ChatRequest {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_would_change_the_meaning_is_refused_and_the_rest_ignored() {
        let user = json!([{"role": "user", "content": "?"}]);
        let rag = Mode::parse("rag:rh").unwrap();
        let base = Mode::parse("base").unwrap();
        let with = |mode: &Mode, key: &str, value: Value| {
            request(json!({"model": "rag", "messages": user, key: value})).check(mode)
        };
        for (key, value) in [
            ("n", json!(2)),
            ("tools", json!([{"type": "function"}])),
            ("modalities", json!(["text", "audio"])),
            ("temperature", json!(3)),
            ("max_tokens", json!(0)),
            ("top_logprobs", json!(2)),
        ] {
            for mode in [&rag, &base] {
                let error = with(mode, key, value.clone()).unwrap_err();
                assert_eq!(error.param(), Some(key));
            }
        }
        for (key, value) in [
            ("response_format", json!({"type": "json_object"})),
            ("response_format", json!({"type": "json_schema", "json_schema": {"schema": {}}})),
            ("stop", json!("\n")),
            ("stop", json!(["", "END"])),
            ("logprobs", json!(true)),
            ("logit_bias", json!({"50256": -100})),
            ("frequency_penalty", json!(0.5)),
            ("presence_penalty", json!(-0.5)),
        ] {
            with(&base, key, value.clone()).unwrap();
            let error = with(&rag, key, value).unwrap_err();
            assert_eq!(error.param(), Some(key));
            assert!(error.message().contains(key), "{}", error.message());
        }
        for (key, value) in [
            ("n", json!(1)),
            ("tools", json!([])),
            ("user", json!("u")),
            ("store", json!(true)),
            ("reasoning_effort", json!("low")),
            ("temperature", Value::Null),
            // What says nothing is no wish.
            ("response_format", json!({"type": "text"})),
            ("response_format", Value::Null),
            ("stop", json!([])),
            ("stop", json!("")),
            ("logprobs", json!(false)),
            ("top_logprobs", json!(0)),
            ("logit_bias", json!({})),
            ("frequency_penalty", json!(0)),
            ("presence_penalty", json!(0.0)),
        ] {
            with(&rag, key, value).unwrap();
        }
    }

    #[test]
    fn no_more_tokens_are_written_than_the_settings_allow() {
        let user = json!([{"role": "user", "content": "?"}]);
        for (asked, expected) in [(None, 200), (Some(8), 8), (Some(100_000), 200)] {
            let body = json!({"model": "base", "messages": user, "max_tokens": asked});
            let options = request(body).sample_options(SampleOptions::default(), 200).unwrap();
            assert_eq!(options.tokens_max, expected);
        }
    }

    #[test]
    fn the_question_is_what_the_user_said_last() {
        let turns = [
            Turn::system("Tu es un pirate."),
            Turn::user("Combien de jours ?"),
            Turn::assistant("Trois."),
            Turn::user("Et"),
            Turn::user("le mercredi ?"),
        ];
        let (question, exchanges) = question_of(&turns).unwrap();
        assert_eq!(question, "Et\nle mercredi ?");
        assert_eq!(exchanges, [("Combien de jours ?".to_owned(), "Trois.".to_owned())]);
        question_of(&turns[..3]).unwrap_err();
        question_of(&turns[..1]).unwrap_err();
    }

    #[test]
    fn parts_of_text_are_joined_and_others_refused() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let body = json!({"model": "rag", "messages": [{"role": "user", "content": parts}]});
        assert_eq!(request(body).turns().unwrap(), [Turn::user("a\nb")]);
        let parts = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
        let body = json!({"model": "rag", "messages": [{"role": "user", "content": parts}]});
        request(body).turns().unwrap_err();
    }
}
