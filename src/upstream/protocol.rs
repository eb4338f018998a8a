//! JSON of OpenAI's protocol, as far as we speak it. The only place of the module that knows it.
//!
//! Read leniently: vLLM, llama.cpp's server, Ollama and proxies before them differ in what they
//! leave out and in how they report failures.

use model::{chat::Turn, constrain::Constraint, sample::SampleOptions};
use serde_json::{Value, json};

/// Tokens that the server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub n_prompt_tokens: usize,
    /// Written, reasoning included; 0 for embeddings.
    pub n_tokens: usize,
}

/// A failure that a server reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Its `type` and `code`, in lowercase.
    kind: String,
    /// Its `code` where that is an HTTP status.
    status: Option<u16>,
}

/// A part of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) text: String,
    pub(super) reasoning: String,
    /// Why the answer ends, in its last part.
    pub(super) finish: Option<String>,
    pub(super) usage: Option<Usage>,
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatEvent {
    Delta(Delta),
    Failed(Failure),
    /// `[DONE]`
    Done,
}

/// Asks for an answer, as a stream with the token counts at its end.
pub(super) fn chat_request(model: &str, turns: &[Turn], options: &SampleOptions) -> Value {
    let messages: Vec<Value> =
        turns.iter().map(|it| json!({"role": it.role.name(), "content": it.content})).collect();
    let mut res = json!({
        "model": model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        "temperature": number(options.temperature),
        "max_tokens": options.tokens_max,
        "seed": options.seed,
    });
    if let Some(top_p) = options.top_p {
        res["top_p"] = number(top_p);
    }
    if !options.stop.is_empty() {
        res["stop"] = json!(options.stop);
    }
    for (name, value) in [
        ("presence_penalty", options.presence_penalty),
        ("frequency_penalty", options.frequency_penalty),
    ] {
        if value != 0.0 {
            res[name] = number(value);
        }
    }
    if !options.logit_bias.is_empty() {
        // Token ids are those of the server's model.
        let bias = options.logit_bias.iter().map(|(id, it)| (id.to_string(), number(*it)));
        res["logit_bias"] = bias.collect::<serde_json::Map<_, _>>().into();
    }
    // Servers that do not know it answer freely: whoever asks reads what comes with care.
    if let Some(Constraint::JsonSchema(schema)) = &options.constraint {
        let named = json!({"name": "answer", "strict": true, "schema": schema});
        res["response_format"] = json!({"type": "json_schema", "json_schema": named});
    }
    res
}

/// A setting as the user wrote it: 0.95, not the 0.949999988 that f32 makes of it.
fn number(it: f32) -> Value {
    it.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Asks for vectors.
pub(super) fn embeddings_request(model: &str, texts: &[String]) -> Value {
    json!({"model": model, "input": texts})
}

/// Reads one event of a stream, or a whole answer that did not come as a stream.
pub(super) fn chat_event(data: &str) -> Result<ChatEvent, String> {
    if data.trim() == "[DONE]" {
        return Ok(ChatEvent::Done);
    }
    let json: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
    if let Some(failure) = Failure::of_json(&json) {
        return Ok(ChatEvent::Failed(failure));
    }
    let Some(choices) = json["choices"].as_array() else {
        return Err("no `choices`".to_owned());
    };
    // The last event of a stream may have the counts and no choice.
    let choice = choices.first().unwrap_or(&Value::Null);
    let part = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
    let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
    let reasoning = text("reasoning_content");
    Ok(ChatEvent::Delta(Delta {
        text: text("content"),
        reasoning: if reasoning.is_empty() { text("reasoning") } else { reasoning },
        finish: choice["finish_reason"].as_str().map(str::to_owned),
        usage: usage(&json),
    }))
}

/// The vectors of an answer, in the order of the texts.
pub(super) fn vectors(json: &Value) -> Result<Vec<Vec<f32>>, String> {
    let data = json["data"].as_array().ok_or("no `data`")?;
    let mut indexed = Vec::with_capacity(data.len());
    for (place, it) in data.iter().enumerate() {
        let index = it["index"].as_u64().map_or(place, |it| usize::try_from(it).unwrap_or(place));
        let numbers = it["embedding"].as_array().ok_or("an `embedding` that is no list")?;
        #[expect(clippy::cast_possible_truncation, reason = "vectors are kept in f32")]
        let vector: Option<Vec<f32>> =
            numbers.iter().map(|it| it.as_f64().map(|it| it as f32)).collect();
        indexed.push((index, vector.ok_or("an `embedding` that is not of numbers")?));
    }
    indexed.sort_by_key(|(index, _)| *index);
    if indexed.iter().enumerate().any(|(place, (index, _))| place != *index) {
        return Err("an `index` twice or left out".to_owned());
    }
    Ok(indexed.into_iter().map(|(_, it)| it).collect())
}

/// Token counts, where the server gives them.
pub(super) fn usage(json: &Value) -> Option<Usage> {
    let number =
        |key: &str| json["usage"][key].as_u64().map(|it| usize::try_from(it).unwrap_or(usize::MAX));
    Some(Usage {
        n_prompt_tokens: number("prompt_tokens")?,
        n_tokens: number("completion_tokens").unwrap_or(0),
    })
}

/// The failure that an answer of status 200 reports, which some proxies do.
pub(super) fn failure(json: &Value) -> Option<Failure> {
    (!json["data"].is_array()).then(|| Failure::of_json(json)).flatten()
}

/// The ids of a list of models; `None` when it is none.
pub(super) fn model_ids(json: &Value) -> Option<Vec<String>> {
    let data = json["data"].as_array()?;
    Some(data.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect())
}

impl Failure {
    /// Reads the body of an answer of an error status: JSON of some shape, or text.
    pub(super) fn of_body(body: &str) -> Self {
        let json = serde_json::from_str::<Value>(body).ok();
        json.as_ref()
            .and_then(Self::of_json)
            .unwrap_or_else(|| Self { message: body.to_owned(), ..Self::default() })
    }

    /// Reads a failure: `{"error": {…}}`, `{"error": "…"}`, `{"object": "error", …}`,
    /// `{"code": …, "message": …}`, `{"detail": …}`. `None` where the JSON reports none.
    fn of_json(json: &Value) -> Option<Self> {
        let error = match &json["error"] {
            Value::Null => json,
            Value::String(message) => {
                return Some(Self { message: message.clone(), ..Self::default() });
            }
            error => error,
        };
        let message = [&error["message"], &error["detail"]].into_iter().find(|it| !it.is_null());
        if json["choices"].is_array() && json["error"].is_null() {
            return None;
        }
        let message = match message {
            Some(Value::String(message)) => message.clone(),
            Some(other) => other.to_string(),
            None if json["error"].is_null() => return None,
            None => error.to_string(),
        };
        let (kind, code) = (&error["type"], &error["code"]);
        let text = |it: &Value| it.as_str().unwrap_or_default().to_lowercase();
        let status = code.as_u64().or_else(|| code.as_str()?.parse().ok());
        Some(Self {
            message,
            kind: format!("{} {}", text(kind), text(code)),
            status: status.and_then(|it| u16::try_from(it).ok()),
        })
    }

    /// Whether the prompt does not fit the model's context. OpenAI and llama.cpp have a code for
    /// it; vLLM, Ollama and others say it in words.
    pub(super) fn is_context_too_long(&self) -> bool {
        let message = self.message.to_lowercase();
        let coded = ["context_length_exceeded", "exceed_context_size"];
        let said = ["exceed", "too long", "maximum context length", "larger than", "longer than"];
        coded.iter().any(|it| self.kind.contains(it))
            || (message.contains("context") && said.iter().any(|it| message.contains(it)))
    }

    /// Whether an answer of status 404 is about the model, not about the address.
    pub(super) fn names_model(&self, model: &str) -> bool {
        let message = self.message.to_lowercase();
        self.kind.contains("model")
            || message.contains("model")
            || (!model.is_empty() && message.contains(&model.to_lowercase()))
    }

    /// Whether a refusal says in words that there is no such model.
    pub(super) fn denies_model(&self, model: &str) -> bool {
        let message = self.message.to_lowercase();
        self.kind.contains("model_not_found")
            || (message.contains("model")
                && !model.is_empty()
                && message.contains(&model.to_lowercase())
                && ["not found", "does not exist", "not exist", "unknown"]
                    .iter()
                    .any(|it| message.contains(it)))
    }

    /// Whether its code is one of those that pass.
    pub(super) fn is_transient(&self) -> bool {
        self.status.is_some_and(|it| it == 408 || it == 429 || it >= 500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_failure(body: &str, message: &str, too_long: bool, transient: bool) {
        let failure = Failure::of_body(body);
        assert_eq!(failure.message, message);
        assert_eq!(failure.is_context_too_long(), too_long);
        assert_eq!(failure.is_transient(), transient);
    }

    #[test]
    fn failures_of_every_shape_are_read() {
        check_failure(r#"{"error":{"message":"no","type":"x","code":null}}"#, "no", false, false);
        check_failure(r#"{"error":"model 'a' not found"}"#, "model 'a' not found", false, false);
        check_failure(r#"{"object":"error","message":"no","code":400}"#, "no", false, false);
        check_failure(r#"{"code":503,"message":"Loading model"}"#, "Loading model", false, true);
        check_failure(r#"{"detail":"Not Found"}"#, "Not Found", false, false);
        check_failure(r#"{"detail":[{"msg":"x"}]}"#, r#"[{"msg":"x"}]"#, false, false);
        check_failure("Bad gateway", "Bad gateway", false, false);
        check_failure(r#"{"error":{"x":1}}"#, r#"{"x":1}"#, false, false);
    }

    #[test]
    fn a_prompt_that_is_too_long_is_recognised_by_code_or_words() {
        let coded = r#"{"error":{"code":400,"message":"m","type":"exceed_context_size_error"}}"#;
        check_failure(coded, "m", true, false);
        let coded = r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#;
        check_failure(coded, "m", true, false);
        let said = "This model's maximum context length is 2048 tokens.";
        check_failure(&format!(r#"{{"object":"error","message":"{said}"}}"#), said, true, false);
        check_failure(r#"{"error":"max_tokens exceeds 9"}"#, "max_tokens exceeds 9", false, false);
    }

    #[track_caller]
    fn check_event(data: &str, expected: &Delta) {
        assert_eq!(chat_event(data), Ok(ChatEvent::Delta(expected.clone())));
    }

    #[test]
    fn parts_of_an_answer_are_read() {
        check_event(
            r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#,
            &Delta::default(),
        );
        check_event(
            r#"{"choices":[{"delta":{"content":"Tro"},"finish_reason":null}],"usage":null}"#,
            &Delta { text: "Tro".to_owned(), ..Delta::default() },
        );
        for key in ["reasoning_content", "reasoning"] {
            check_event(
                &format!(r#"{{"choices":[{{"delta":{{"{key}":"So."}}}}]}}"#),
                &Delta { reasoning: "So.".to_owned(), ..Delta::default() },
            );
        }
        check_event(
            r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#,
            &Delta { usage: Some(Usage { n_prompt_tokens: 7, n_tokens: 2 }), ..Delta::default() },
        );
        check_event(
            r#"{"choices":[{"message":{"content":"Trois."},"finish_reason":"stop"}]}"#,
            &Delta {
                text: "Trois.".to_owned(),
                finish: Some("stop".to_owned()),
                ..Delta::default()
            },
        );
        assert_eq!(chat_event(" [DONE]"), Ok(ChatEvent::Done));
    }

    #[test]
    fn a_failure_inside_a_stream_is_read() {
        for data in [
            r#"{"error":{"message":"no","code":500}}"#,
            r#"{"code":500,"message":"no","type":"x"}"#,
        ] {
            let Ok(ChatEvent::Failed(failure)) = chat_event(data) else { panic!("{data}") };
            assert_eq!((failure.message.as_str(), failure.is_transient()), ("no", true));
        }
        assert!(chat_event("{\"choices\":").is_err());
        assert_eq!(chat_event("{\"a\":1}"), Err("no `choices`".to_owned()));
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let json = json!({"data": [
            {"index": 1, "embedding": [0.5, 1]},
            {"index": 0, "embedding": [2.0, 3.0]},
        ]});
        assert_eq!(vectors(&json), Ok(vec![vec![2.0, 3.0], vec![0.5, 1.0]]));
        let twice = json!({"data": [{"index": 0, "embedding": []}, {"index": 0, "embedding": []}]});
        assert!(vectors(&twice).is_err());
        assert!(vectors(&json!({"data": [{"embedding": "AAAA"}]})).is_err());
        assert!(vectors(&json!({})).is_err());
    }

    #[test]
    fn sampling_options_are_forwarded() {
        let options = SampleOptions {
            temperature: 0.7,
            top_p: Some(0.95),
            seed: 7,
            tokens_max: 9,
            stop: vec!["X".to_owned()],
            ..SampleOptions::default()
        };
        let request = chat_request("m", &[Turn::system("s"), Turn::user("u")], &options);
        assert_eq!(
            request,
            json!({
                "model": "m",
                "messages": [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "u"},
                ],
                "stream": true,
                "stream_options": {"include_usage": true},
                "temperature": 0.7,
                "top_p": 0.95,
                "seed": 7,
                "max_tokens": 9,
                "stop": ["X"],
            })
        );
    }
}
