//! The formats of LLaMA-Factory: Alpaca and ShareGPT, with their forms for preferences.

use serde_json::{Map, Value, json};

use super::{RowError, field, flag, object, optional, text};
use crate::dataset::row::{Body, Message, Role};

pub(super) fn read_alpaca(object: &Map<String, Value>) -> Result<Body, RowError> {
    let mut all = Vec::new();
    let system = optional(object, "system")?;
    if !system.is_empty() {
        all.push(Message::new(Role::System, system));
    }
    let expected = "a list of pairs of question and answer";
    let history = match object.get("history") {
        None | Some(Value::Null) => &[][..],
        Some(it) => it.as_array().ok_or_else(|| field("history", expected))?,
    };
    for pair in history {
        let pair = pair.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(answered)]) = pair else {
            return Err(field("history", expected));
        };
        all.push(Message::new(Role::User, asked));
        all.push(Message::new(Role::Assistant, answered));
    }
    let (instruction, input) = (text(object, "instruction")?, optional(object, "input")?);
    let asked = match (instruction, input) {
        (_, "") => instruction.to_owned(),
        ("", _) => input.to_owned(),
        _ => format!("{instruction}\n{input}"),
    };
    all.push(Message::new(Role::User, asked));
    if object.contains_key("chosen") {
        let (chosen, rejected) = (text(object, "chosen")?, text(object, "rejected")?);
        let (chosen, rejected) = (chosen.to_owned(), rejected.to_owned());
        return Ok(Body::Preference { prompt: all, chosen, rejected });
    }
    let output = text(object, "output")?.to_owned();
    if object.contains_key("kto_tag") {
        let label = flag(object, "kto_tag")?;
        return Ok(Body::Unpaired { prompt: all, completion: output, label });
    }
    all.push(Message::new(Role::Assistant, output));
    Ok(Body::Messages(all))
}

/// `None` where the conversation has no such form.
pub(super) fn write_alpaca(body: &Body) -> Option<Map<String, Value>> {
    let (prompt, answer) = match body {
        Body::Messages(all) => {
            let (last, prompt) = all.split_last()?;
            (prompt, object([("output", json!(last.content))]))
        }
        Body::Preference { prompt, chosen, rejected } => {
            (&prompt[..], object([("chosen", json!(chosen)), ("rejected", json!(rejected))]))
        }
        Body::Unpaired { prompt, completion, label } => {
            (&prompt[..], object([("output", json!(completion)), ("kto_tag", json!(label))]))
        }
        Body::Text(_) => return None,
    };
    let (system, turns) = system_and_turns(prompt);
    let (last, before) = turns.split_last()?;
    let history: Vec<Value> = before
        .chunks(2)
        .map(|it| json!(it.iter().map(|it| &it.content).collect::<Vec<_>>()))
        .collect();
    let mut res = object([("instruction", json!(last.content)), ("input", json!(""))]);
    res.extend(answer);
    if let Some(system) = system {
        res.insert("system".to_owned(), json!(system));
    }
    if !history.is_empty() {
        res.insert("history".to_owned(), Value::Array(history));
    }
    Some(res)
}

pub(super) fn read_sharegpt(object: &Map<String, Value>) -> Result<Body, RowError> {
    let mut all = Vec::new();
    let system = optional(object, "system")?;
    if !system.is_empty() {
        all.push(Message::new(Role::System, system));
    }
    let turns = object.get("conversations").and_then(Value::as_array);
    for (i, turn) in turns.ok_or_else(|| field("conversations", "a list"))?.iter().enumerate() {
        all.push(read_turn(turn, &format!("conversations[{i}]"))?);
    }
    let answer = |key: &str| match object.get(key) {
        Some(it) => match read_turn(it, key)? {
            Message { role: Role::Assistant, content } => Ok(content),
            _ => Err(field(key, "a turn of the assistant")),
        },
        None => Err(field(key, "a turn of the assistant")),
    };
    if object.contains_key("chosen") {
        let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
        return Ok(Body::Preference { prompt: all, chosen, rejected });
    }
    if object.contains_key("kto_tag") {
        let label = flag(object, "kto_tag")?;
        return match all.pop() {
            Some(Message { role: Role::Assistant, content: completion }) => {
                Ok(Body::Unpaired { prompt: all, completion, label })
            }
            _ => Err(RowError::NoAnswer),
        };
    }
    Ok(Body::Messages(all))
}

fn read_turn(turn: &Value, name: &str) -> Result<Message, RowError> {
    let role = match turn.get("from").and_then(Value::as_str) {
        Some("human" | "user") => Role::User,
        Some("gpt" | "assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => return Err(field(&format!("{name}.from"), "human, gpt or system")),
    };
    match turn.get("value").and_then(Value::as_str) {
        Some(value) => Ok(Message::new(role, value)),
        None => Err(field(&format!("{name}.value"), "a text")),
    }
}

pub(super) fn write_sharegpt(body: &Body) -> Option<Map<String, Value>> {
    let gpt = |text: &str| json!({"from": "gpt", "value": text});
    let (all, rest) = match body {
        Body::Messages(all) => (all.clone(), Map::new()),
        Body::Preference { prompt, chosen, rejected } => {
            (prompt.clone(), object([("chosen", gpt(chosen)), ("rejected", gpt(rejected))]))
        }
        Body::Unpaired { prompt, completion, label } => {
            let mut all = prompt.clone();
            all.push(Message::new(Role::Assistant, completion));
            (all, object([("kto_tag", json!(label))]))
        }
        Body::Text(_) => return None,
    };
    let (system, turns) = system_and_turns(&all);
    let turns: Vec<Value> = turns
        .iter()
        .map(|it| match it.role {
            Role::User => json!({"from": "human", "value": it.content}),
            Role::Assistant => gpt(&it.content),
            Role::System => json!({"from": "system", "value": it.content}),
        })
        .collect();
    let mut res = object([("conversations", Value::Array(turns))]);
    if let Some(system) = system {
        res.insert("system".to_owned(), json!(system));
    }
    res.extend(rest);
    Some(res)
}

fn system_and_turns(all: &[Message]) -> (Option<&str>, &[Message]) {
    match all.split_first() {
        Some((first, rest)) if first.role == Role::System => (Some(&first.content), rest),
        _ => (None, all),
    }
}
