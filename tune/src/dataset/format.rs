//! The formats that datasets come in: read from and written to JSON objects, one a line.
//!
//! - `messages` and `prompt_completion`, `preference`, `unpaired`, `text`: TRL, "Dataset formats
//!   and types"; `messages` is also what OpenAI's API and mlx-lm take.
//! - the same with a `system` text beside a prompt that is a text, or with `messages` for
//!   `prompt`: axolotl, `kto/chatml` and `dpo/chat_template`.
//! - `alpaca` and `sharegpt`: LLaMA-Factory, `data/README.md`, their ranking and KTO forms
//!   included.
//! - `raft`: Zhang et al. 2024 (arXiv 2403.10131), `raft.py` of the gorilla repository.
//!
//! Provenance stands under one key, `meta`, which the others ignore or keep as a column.

mod foreign;
mod raft;

use serde_json::{Map, Value, json};

use super::row::{Body, BodyKind, Message, Meta, Role, Row};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `{"messages": [{"role", "content"}]}`
    Messages,
    /// `{"prompt", "completion"}`, messages or strings.
    PromptCompletion,
    /// `{"instruction", "input", "output", "system", "history"}`
    Alpaca,
    /// `{"conversations": [{"from", "value"}], "system"}`
    ShareGpt,
    /// `{"prompt", "chosen", "rejected"}`
    Preference,
    /// `{"prompt", "completion", "label"}`
    Unpaired,
    /// `{"question", "context", "oracle_context", "cot_answer", "instruction"}`
    Raft,
    /// `{"text"}`
    Text,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 8] = [
        Self::Messages,
        Self::PromptCompletion,
        Self::Alpaca,
        Self::ShareGpt,
        Self::Preference,
        Self::Unpaired,
        Self::Raft,
        Self::Text,
    ];

    /// The word that names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::PromptCompletion => "prompt_completion",
            Self::Alpaca => "alpaca",
            Self::ShareGpt => "sharegpt",
            Self::Preference => "preference",
            Self::Unpaired => "unpaired",
            Self::Raft => "raft",
            Self::Text => "text",
        }
    }

    /// The format of our own files for rows of a kind.
    #[must_use]
    pub fn own(kind: BodyKind) -> Self {
        match kind {
            BodyKind::Supervised => Self::Messages,
            BodyKind::Preference => Self::Preference,
            BodyKind::Unpaired => Self::Unpaired,
            BodyKind::Text => Self::Text,
        }
    }

    /// The format of an object, by its keys.
    #[must_use]
    pub fn of(object: &Map<String, Value>) -> Option<Self> {
        let has = |key: &str| object.contains_key(key);
        Some(match () {
            () if has("conversations") => Self::ShareGpt,
            () if has("oracle_context") || has("cot_answer") => Self::Raft,
            () if has("chosen") && has("rejected") && !has("instruction") => Self::Preference,
            () if has("messages") => Self::Messages,
            () if has("instruction") => Self::Alpaca,
            () if has("prompt") && has("completion") && has("label") => Self::Unpaired,
            () if has("prompt") && has("completion") => Self::PromptCompletion,
            () if has("text") => Self::Text,
            () => return None,
        })
    }
}

/// Why an object is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It is no JSON object.
    #[error("not a JSON object: {detail}")]
    NotAnObject {
        /// What the parser says.
        detail: String,
    },
    /// Its keys are those of no format.
    #[error("of no known format: its keys are {}", keys.join(", "))]
    UnknownFormat {
        /// Its keys.
        keys: Vec<String>,
    },
    /// A field is not there or not of the right type.
    #[error("`{field}` must be {expected}")]
    Field {
        /// The field.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// Turns in an order that no chat template takes.
    #[error("turn {at} is of {found}, where {expected} must speak")]
    Order {
        /// Which turn, from 1.
        at: usize,
        /// Who speaks.
        found: &'static str,
        /// Who must.
        expected: &'static str,
    },
    /// There is nothing to learn.
    #[error("there is no answer to learn: the last turn must be the assistant's, and not blank")]
    NoAnswer,
}

/// Why a row cannot be written in a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} rows cannot be written as `{}`", kind.as_str(), format.as_str())]
pub struct Unsupported {
    /// What the row is good for.
    pub kind: BodyKind,
    /// The format.
    pub format: Format,
}

/// Reads an object of any format.
///
/// # Errors
/// [`RowError`]
pub fn read(value: &Value) -> Result<(Format, Row), RowError> {
    let Value::Object(object) = value else {
        return Err(RowError::NotAnObject { detail: "another value".to_owned() });
    };
    let Some(format) = Format::of(object) else {
        return Err(RowError::UnknownFormat { keys: object.keys().cloned().collect() });
    };
    let body = match format {
        Format::Messages => Body::Messages(messages(object, "messages")?),
        Format::PromptCompletion => {
            let mut all = prompt(object)?;
            all.push(Message::new(Role::Assistant, answer(object, "completion")?));
            Body::Messages(all)
        }
        Format::Preference => Body::Preference {
            prompt: prompt(object)?,
            chosen: answer(object, "chosen")?,
            rejected: answer(object, "rejected")?,
        },
        Format::Unpaired => Body::Unpaired {
            prompt: prompt(object)?,
            completion: answer(object, "completion")?,
            label: flag(object, "label")?,
        },
        Format::Text => Body::Text(text(object, "text")?.to_owned()),
        Format::Alpaca => foreign::read_alpaca(object)?,
        Format::ShareGpt => foreign::read_sharegpt(object)?,
        Format::Raft => return Ok((format, raft::read(object)?)),
    };
    check_body(&body)?;
    Ok((format, Row { id: id(object), meta: meta(object)?, body }))
}

/// Writes a row in a format. [`read`] gives it back.
///
/// # Errors
/// When the format has no place for what the row holds.
pub fn write(row: &Row, format: Format) -> Result<Value, Unsupported> {
    let unsupported = Unsupported { kind: row.body.kind(), format };
    let mut object = match (format, &row.body) {
        (Format::Messages, Body::Messages(all)) => object([("messages", json!(all))]),
        (Format::PromptCompletion, Body::Messages(all)) => {
            let Some((last, prompt)) = all.split_last() else { return Err(unsupported) };
            object([("prompt", json!(prompt)), ("completion", json!([last]))])
        }
        (Format::Preference, Body::Preference { prompt, chosen, rejected }) => object([
            ("prompt", json!(prompt)),
            ("chosen", assistant(chosen)),
            ("rejected", assistant(rejected)),
        ]),
        (Format::Unpaired, Body::Unpaired { prompt, completion, label }) => object([
            ("prompt", json!(prompt)),
            ("completion", assistant(completion)),
            ("label", json!(label)),
        ]),
        (Format::Text, Body::Text(text)) => object([("text", json!(text))]),
        (Format::Alpaca, body) => foreign::write_alpaca(body).ok_or(unsupported)?,
        (Format::ShareGpt, body) => foreign::write_sharegpt(body).ok_or(unsupported)?,
        (Format::Raft, Body::Messages(all)) => {
            return raft::write(row, all).map(Value::Object).ok_or(unsupported);
        }
        _ => return Err(unsupported),
    };
    put_identity(&mut object, row);
    Ok(Value::Object(object))
}

pub(super) fn put_identity(object: &mut Map<String, Value>, row: &Row) {
    if !row.id.is_empty() {
        object.insert("id".to_owned(), json!(row.id));
    }
    if row.meta != Meta::default() {
        object.insert("meta".to_owned(), json!(row.meta));
    }
}

/// Refuses conversations that no chat template takes: a system turn that is not the first, turns
/// that do not alternate, no answer at the end.
fn check_body(body: &Body) -> Result<(), RowError> {
    match body {
        Body::Messages(all) => {
            check_order(all)?;
            match all.last() {
                Some(it) if it.role == Role::Assistant && !it.content.trim().is_empty() => Ok(()),
                _ => Err(RowError::NoAnswer),
            }
        }
        Body::Preference { prompt, chosen, rejected } => {
            check_prompt(prompt)?;
            let is_blank = chosen.trim().is_empty() || rejected.trim().is_empty();
            if is_blank { Err(RowError::NoAnswer) } else { Ok(()) }
        }
        Body::Unpaired { prompt, completion, .. } => {
            check_prompt(prompt)?;
            if completion.trim().is_empty() { Err(RowError::NoAnswer) } else { Ok(()) }
        }
        Body::Text(text) if text.trim().is_empty() => Err(field("text", "text that is not blank")),
        Body::Text(_) => Ok(()),
    }
}

fn check_prompt(prompt: &[Message]) -> Result<(), RowError> {
    check_order(prompt)?;
    match prompt.last() {
        Some(it) if it.role == Role::User => Ok(()),
        _ => Err(field("prompt", "a conversation that ends with the user's turn")),
    }
}

fn check_order(all: &[Message]) -> Result<(), RowError> {
    let after_system = usize::from(all.first().is_some_and(|it| it.role == Role::System));
    for (i, message) in all.iter().enumerate().skip(after_system) {
        let expected = match (i - after_system) % 2 {
            0 => Role::User,
            _ => Role::Assistant,
        };
        if message.role != expected {
            let (found, expected) = (word(message.role), word(expected));
            return Err(RowError::Order { at: i + 1, found, expected });
        }
    }
    Ok(())
}

fn word(role: Role) -> &'static str {
    match role {
        Role::System => "the system",
        Role::User => "the user",
        Role::Assistant => "the assistant",
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn assistant(text: &str) -> Value {
    json!([Message::new(Role::Assistant, text)])
}

fn field(field: &str, expected: &'static str) -> RowError {
    RowError::Field { field: field.to_owned(), expected }
}

fn id(object: &Map<String, Value>) -> String {
    match object.get("id") {
        Some(Value::String(it)) => it.clone(),
        Some(Value::Number(it)) => it.to_string(),
        _ => String::new(),
    }
}

fn meta(object: &Map<String, Value>) -> Result<Meta, RowError> {
    match object.get("meta") {
        // Others keep other things under that name: theirs are no provenance of ours.
        Some(value @ Value::Object(_)) => Meta::deserialize_lenient(value),
        _ => Ok(Meta::default()),
    }
}

impl Meta {
    fn deserialize_lenient(value: &Value) -> Result<Self, RowError> {
        serde_json::from_value(value.clone())
            .map_err(|_| field("meta", "provenance as we write it, or absent"))
    }
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, RowError> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| field(key, "a text"))
}

/// A text that may be absent or null.
fn optional<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, RowError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(it) => it.as_str().ok_or_else(|| field(key, "a text")),
    }
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, RowError> {
    object.get(key).and_then(Value::as_bool).ok_or_else(|| field(key, "true or false"))
}

fn messages(object: &Map<String, Value>, key: &str) -> Result<Vec<Message>, RowError> {
    let all = object.get(key).and_then(Value::as_array).ok_or_else(|| field(key, "a list"))?;
    let one = |(i, it): (usize, &Value)| {
        let named = |name: &str| format!("{key}[{i}].{name}");
        let role = match it.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => Role::System,
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => {
                let expected = "system, user or assistant";
                return Err(RowError::Field { field: named("role"), expected });
            }
        };
        let Some(content) = it.get("content").and_then(Value::as_str) else {
            return Err(RowError::Field { field: named("content"), expected: "a text" });
        };
        Ok(Message::new(role, content))
    };
    all.iter().enumerate().map(one).collect()
}

/// A prompt: messages, or a text that the user says, after the system's where there is one.
fn prompt(object: &Map<String, Value>) -> Result<Vec<Message>, RowError> {
    match object.get("prompt") {
        Some(Value::String(it)) => {
            let system = optional(object, "system")?;
            let system = (!system.is_empty()).then(|| Message::new(Role::System, system));
            Ok(system.into_iter().chain([Message::new(Role::User, it)]).collect())
        }
        None if object.contains_key("messages") => messages(object, "messages"),
        _ => messages(object, "prompt"),
    }
}

/// An answer: a text, or one message of the assistant, in a list or not.
fn answer(object: &Map<String, Value>, key: &str) -> Result<String, RowError> {
    let all = match object.get(key) {
        Some(Value::String(it)) => return Ok(it.clone()),
        Some(one @ Value::Object(_)) => {
            messages(&Map::from_iter([(key.to_owned(), json!([one]))]), key)?
        }
        _ => messages(object, key)?,
    };
    match &all[..] {
        [Message { role: Role::Assistant, content }] => Ok(content.clone()),
        _ => Err(field(key, "a text, or one message of the assistant")),
    }
}

#[cfg(test)]
mod tests;
