//! RAFT: a question among documents, one of which holds the answer, and an answer that quotes it.

use serde_json::{Map, Value, json};

use super::{RowError, field, id, meta, text};
use crate::dataset::row::{Body, Message, Meta, Role, Row, Shown};

const QUOTE_BEGINS: &str = "##begin_quote##";
const QUOTE_ENDS: &str = "##end_quote##";
const ANSWER: &str = "<ANSWER>:";

/// Reads a row: the prompt is its `instruction`, the answer its `cot_answer`.
pub(super) fn read(object: &Map<String, Value>) -> Result<Row, RowError> {
    let question = text(object, "question")?;
    let expected = "an object with a list of lists of texts in `sentences`";
    let sentences = object.get("context").and_then(|it| it.get("sentences"));
    let lists = sentences.and_then(Value::as_array).ok_or_else(|| field("context", expected))?;
    let mut documents: Vec<&str> = Vec::new();
    for list in lists {
        for it in list.as_array().ok_or_else(|| field("context", expected))? {
            documents.push(it.as_str().ok_or_else(|| field("context", expected))?);
        }
    }
    let oracle = match object.get("oracle_context") {
        None | Some(Value::Null) => None,
        Some(it) => Some(it.as_str().ok_or_else(|| field("oracle_context", "a text or null"))?),
    };
    let answer = text(object, "cot_answer")?;
    if answer.trim().is_empty() {
        return Err(RowError::NoAnswer);
    }
    let asked = match object.get("instruction") {
        Some(Value::String(it)) => it.clone(),
        _ => instruction(&documents, question),
    };
    let mut meta = meta(object)?;
    if meta == Meta::default() {
        let shown = |it: &&str| Shown {
            document: None,
            path: String::new(),
            cluster: None,
            text: (*it).to_owned(),
            gold: oracle == Some(*it),
        };
        meta.context = documents.iter().map(shown).collect();
        meta.question = Some(question.to_owned());
        meta.quote = quote(answer);
    }
    let messages = vec![Message::new(Role::User, asked), Message::new(Role::Assistant, answer)];
    Ok(Row { id: id(object), body: Body::Messages(messages), meta })
}

/// `None` for a conversation that is not about one question among documents.
pub(super) fn write(row: &Row, all: &[Message]) -> Option<Map<String, Value>> {
    let question = row.meta.question.as_deref()?;
    let documents: Vec<&str> = row.meta.context.iter().map(|it| it.text.as_str()).collect();
    let (last, _) = all.split_last()?;
    if documents.is_empty() || last.role != Role::Assistant {
        return None;
    }
    let oracle = row.meta.context.iter().find(|it| it.gold).map(|it| it.text.as_str());
    let titles = vec!["placeholder_title"; documents.len()];
    let is_raft = last.content.contains(QUOTE_BEGINS);
    let answer = match &row.meta.quote {
        Some(quote) if !is_raft => {
            format!("{QUOTE_BEGINS}{quote}{QUOTE_ENDS} {ANSWER} {}", last.content)
        }
        _ if !is_raft && oracle.is_none() => format!("{ANSWER} {}", last.content),
        _ => last.content.clone(),
    };
    let value = json!({
        "id": row.id,
        "type": "general",
        "question": question,
        "context": {"title": [titles], "sentences": [documents]},
        "oracle_context": oracle,
        "cot_answer": answer,
        "instruction": instruction(&documents, question),
    });
    match value {
        Value::Object(it) => Some(it),
        _ => None,
    }
}

fn instruction(documents: &[&str], question: &str) -> String {
    let shown = documents.iter().map(|it| format!("<DOCUMENT>{it}</DOCUMENT>\n"));
    format!("{}{question}", shown.collect::<String>())
}

fn quote(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once(QUOTE_BEGINS)?;
    Some(rest.split_once(QUOTE_ENDS)?.0.trim().to_owned())
}
