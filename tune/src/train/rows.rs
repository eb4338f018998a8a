//! Files of examples, one JSON object a line.
//!
//! Read are conversations (`messages`), prompts with completions, preferences (`chosen`,
//! `rejected`), labelled completions (`label`) and plain texts (`text`). A prompt, completion or
//! answer is a text, or a list of messages.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::TuneError;
use super::settings::Method;
use crate::dataset::review::{Decision, Reviews};

/// What one row teaches.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A conversation; what the assistant says in it is learned.
    Chat(Value),
    /// An answer that is better than another.
    Preference {
        /// The conversation before, and the better answer.
        chosen: Value,
        /// The same, and the worse answer.
        rejected: Value,
    },
    /// An answer that is good or bad.
    Labelled {
        /// The conversation, the answer last.
        messages: Value,
        /// Whether it is good.
        is_good: bool,
    },
    /// A text.
    Text(String),
}

/// A row and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// From 1.
    pub line: usize,
    /// The row.
    pub row: Row,
}

/// A document that rows were made of, as they say under `meta`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Its path below the folder ingested.
    pub path: String,
    /// BLAKE3 of its file's bytes, where rows say it: those that only show its passages do not.
    pub content_hash: Option<String>,
}

/// The rows of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Those that a method can learn from, in the order of the file.
    pub rows: Vec<Placed>,
    /// Those that were left out: the line, and why.
    pub bad: Vec<(usize, String)>,
    /// How many were left out because people rejected them.
    pub n_rejected: usize,
    /// What the rows were made of, by path.
    pub documents: Vec<Document>,
    /// Rows that do not say what they were made of.
    pub n_unnamed: usize,
    /// A hash of the file, and of what people decided about its rows.
    pub hash: String,
}

impl Rows {
    /// Reads a file for a method. Rows that are not usable are an error, or left out.
    pub fn read(path: &Path, method: Method, skip_bad: bool) -> Result<Self, TuneError> {
        let bytes = fs_err::read(path)?;
        let reviews = Reviews::beside(path).map_err(std::io::Error::other)?;
        let mut hash = blake3::Hasher::new();
        hash.update(&bytes);
        let (mut rows, mut bad, mut n_rejected) = (Vec::new(), Vec::new(), 0);
        let (mut documents, mut n_unnamed) = (BTreeMap::new(), 0);
        for (idx, text) in bytes.split(|&it| it == b'\n').enumerate() {
            let line = idx + 1;
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let parsed = match read_object(text) {
                Ok(row) => match reviewed(row, &reviews, &mut hash) {
                    Some(row) => learned(&row, method).inspect(|_| {
                        n_unnamed += usize::from(!note_documents(&row, &mut documents));
                    }),
                    None => {
                        n_rejected += 1;
                        continue;
                    }
                },
                Err(reason) => Err(reason),
            };
            match parsed {
                Ok(row) => rows.push(Placed { line, row }),
                Err(reason) if skip_bad => bad.push((line, reason)),
                Err(reason) => {
                    return Err(TuneError::Row { path: path.to_owned(), line, reason });
                }
            }
        }
        let document = |(path, content_hash)| Document { path, content_hash };
        let documents = documents.into_iter().map(document).collect();
        let hash = hash.finalize().to_hex().to_string();
        Ok(Self { rows, bad, n_rejected, documents, n_unnamed, hash })
    }
}

/// A row as people left it; what they decided is a part of the data.
fn reviewed(
    row: Map<String, Value>,
    reviews: &Reviews,
    hash: &mut blake3::Hasher,
) -> Option<Map<String, Value>> {
    let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
    if let Some(review) = reviews.of(id) {
        hash.update(format!("{id} {}", review.decision == Decision::Rejected).as_bytes());
        review.texts.iter().for_each(|it| {
            hash.update(it.as_bytes());
        });
    }
    match reviews.apply_json(Value::Object(row))? {
        Value::Object(row) => Some(row),
        _ => None,
    }
}

fn read_object(line: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(line).map_err(|error| error.to_string())? {
        Value::Object(row) => Ok(row),
        _ => Err("it is no JSON object".to_owned()),
    }
}

/// Content hashes of documents by their paths.
type Documents = BTreeMap<String, Option<String>>;

/// Notes what a row says of the documents that it was made of. False where it does not say.
fn note_documents(row: &Map<String, Value>, documents: &mut Documents) -> bool {
    let meta = row.get("meta").unwrap_or(&Value::Null);
    // A question that no document answers is about none.
    let mut is_said = meta["made_by"] == "unanswerable";
    let context = meta["context"].as_array().map(Vec::as_slice).unwrap_or_default();
    for place in std::iter::once(meta).chain(context) {
        let Some(path) = place["path"].as_str().filter(|it| !it.is_empty()) else { continue };
        let known = documents.entry(path.to_owned()).or_default();
        if let Some(hash) = place["content_hash"].as_str() {
            *known = Some(hash.to_owned());
        }
        is_said = true;
    }
    is_said
}

fn learned(row: &Map<String, Value>, method: Method) -> Result<Row, String> {
    match method {
        Method::Cpt => match row.get("text") {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Row::Text(text.clone())),
            Some(Value::String(_)) => Err("`text` is empty".to_owned()),
            _ => Err("it has no `text`".to_owned()),
        },
        Method::Lora | Method::Full => match row.get("messages") {
            Some(messages) => conversation(messages.clone()).map(Row::Chat),
            None if row.contains_key("completion") => of_prompt(row, "completion").map(Row::Chat),
            None => Err("it has neither `messages` nor `prompt` and `completion`".to_owned()),
        },
        Method::Dpo => Ok(Row::Preference {
            chosen: of_prompt(row, "chosen")?,
            rejected: of_prompt(row, "rejected")?,
        }),
        Method::Kto => {
            let is_good = row.get("label").and_then(Value::as_bool);
            let is_good = is_good.ok_or("it has no `label` of true or false")?;
            Ok(Row::Labelled { messages: of_prompt(row, "completion")?, is_good })
        }
    }
}

/// The conversation of a prompt and what follows it.
fn of_prompt(row: &Map<String, Value>, answer: &str) -> Result<Value, String> {
    let part = |key: &str, role: &str| -> Result<Vec<Value>, String> {
        match row.get(key) {
            Some(Value::String(text)) => Ok(vec![json!({ "role": role, "content": text })]),
            Some(Value::Array(messages)) => Ok(messages.clone()),
            Some(_) => Err(format!("`{key}` is neither a text nor a list of messages")),
            None => Err(format!("it has no `{key}`")),
        }
    };
    let mut messages = match row.contains_key("prompt") {
        true => part("prompt", "user")?,
        // Preferences of whole conversations carry their prompt in each.
        false => Vec::new(),
    };
    messages.extend(part(answer, "assistant")?);
    conversation(Value::Array(messages))
}

/// Checks that it is messages, the assistant's last.
fn conversation(messages: Value) -> Result<Value, String> {
    let list = messages.as_array().ok_or("`messages` is no list")?;
    for (idx, message) in list.iter().enumerate() {
        let role = message["role"].as_str();
        if role.is_none() {
            return Err(format!("message {} has no `role`", idx + 1));
        }
        let is_call = message.get("tool_calls").is_some_and(|it| !it.is_null());
        if !message["content"].is_string() && !is_call {
            return Err(format!("message {} has no text as its `content`", idx + 1));
        }
    }
    match list.last() {
        None => Err("it has no message".to_owned()),
        Some(last) if last["role"] != "assistant" => {
            Err("its last message is not the assistant's".to_owned())
        }
        Some(_) if list.len() == 1 => Err("nothing stands before the assistant".to_owned()),
        Some(_) => Ok(messages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, method: Method, expected: Result<Value, &str>) {
        let parsed = read_object(line.as_bytes()).and_then(|it| learned(&it, method));
        match (parsed, expected) {
            (Ok(Row::Chat(messages) | Row::Labelled { messages, .. }), Ok(expected)) => {
                assert_eq!(messages, expected);
            }
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
            (row, expected) => panic!("{row:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn rows_are_conversations_whatever_their_form() {
        let turns = json!([
            {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}
        ]);
        let messages = format!(r#"{{"messages": {turns}, "source": "a.md"}}"#);
        check(&messages, Method::Lora, Ok(turns.clone()));
        let prompt = r#"{"prompt": "Hi?", "completion": "Yes."}"#;
        check(prompt, Method::Lora, Ok(turns.clone()));
        let label = r#"{"prompt": [{"role": "user", "content": "Hi?"}], "completion": "Yes.",
            "label": false}"#;
        check(&label.replace('\n', " "), Method::Kto, Ok(turns));
        check(prompt, Method::Kto, Err("`label`"));
        check(prompt, Method::Dpo, Err("`chosen`"));
        check(prompt, Method::Cpt, Err("`text`"));
        check("[]", Method::Lora, Err("no JSON object"));
        check("{", Method::Lora, Err("EOF"));
        check(r#"{"messages": [{"role": "user", "content": "Hi?"}]}"#, Method::Lora, Err("last"));
        check(r#"{"messages": []}"#, Method::Lora, Err("no message"));
        check(r#"{"messages": [{"content": "Hi?"}]}"#, Method::Lora, Err("message 1"));
    }

    #[test]
    fn documents_are_those_that_rows_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let rows = [
            json!({"text": "a", "meta": {"path": "b.md", "content_hash": "1f",
                "context": [{"path": "a.md"}, {"path": "b.md"}]}}),
            json!({"text": "b", "meta": {}}),
            json!({"text": "c"}),
            json!({"text": "e", "meta": {"made_by": "unanswerable"}}),
            // A row that is not learned from leaves no trace.
            json!({"txt": "d", "meta": {"path": "c.md", "content_hash": "2f"}}),
        ];
        let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
        fs_err::write(&path, text).unwrap();
        let document = |path: &str, hash: Option<&str>| Document {
            path: path.to_owned(),
            content_hash: hash.map(str::to_owned),
        };
        let Rows { documents, n_unnamed, .. } = Rows::read(&path, Method::Cpt, true).unwrap();
        assert_eq!(n_unnamed, 2);
        assert_eq!(documents, [document("a.md", None), document("b.md", Some("1f"))]);
    }

    #[test]
    fn a_bad_row_is_an_error_with_its_line_or_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        fs_err::write(&path, "{\"text\": \"a\"}\n\n{\"test\": \"b\"}\n{\"text\": \"c\"}\n")
            .unwrap();
        let error = Rows::read(&path, Method::Cpt, false).unwrap_err();
        assert!(matches!(error, TuneError::Row { line: 3, .. }), "{error}");
        let rows = Rows::read(&path, Method::Cpt, true).unwrap();
        assert_eq!(rows.rows.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(rows.bad.len(), 1);
    }
}
