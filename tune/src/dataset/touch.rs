//! Files of rows as far as they can touch: every line that some trainer may learn from, even where
//! it is no row of ours, with the question that it asks and the documents that it names.

use std::{io, path::Path};

use fs_err as fs;
use serde_json::Value;

use super::{
    format,
    jsonl::RowsError,
    review::Reviews,
    row::{Body, Message, Meta, Role, Row, Shown},
};

/// Reads every JSON object of a file, one a line or all in one array, as people left it: without
/// the rows that they rejected. What is no JSON at all is learnt by nobody and left out.
///
/// # Errors
/// When the file, or the decisions about its rows, cannot be read.
pub fn read(path: &Path) -> Result<Vec<Row>, RowsError> {
    let reviews = Reviews::beside(path)?;
    let kept = |it: Value| reviews.apply_json(it).map(|it| row_of(&it));
    Ok(values(path)?.into_iter().filter_map(kept).collect())
}

fn values(path: &Path) -> io::Result<Vec<Value>> {
    let text = fs::read(path)?;
    if text.trim_ascii_start().first() == Some(&b'[')
        && let Ok(Value::Array(all)) = serde_json::from_slice(&text)
    {
        return Ok(all);
    }
    let object = |it: &[u8]| serde_json::from_slice::<Value>(it).ok().filter(Value::is_object);
    Ok(text.split(|it| *it == b'\n').filter_map(object).collect())
}

/// The row, or what can be told of one that has the form of nobody's.
fn row_of(value: &Value) -> Row {
    if let Ok((_, row)) = format::read(value) {
        return row;
    }
    let meta = &value["meta"];
    let meta = serde_json::from_value(meta.clone()).unwrap_or_else(|_| documents_of(meta));
    let mut turns: Vec<Message> =
        ["prompt", "messages", "chosen"].iter().flat_map(|it| asked(&value[*it])).collect();
    turns.extend(value["question"].as_str().map(|it| Message::new(Role::User, it)));
    // The last turn of a conversation is its answer.
    turns.push(Message::new(Role::Assistant, ""));
    Row { id: String::new(), body: Body::Messages(turns), meta }
}

/// The documents that a row names, where the rest of what it says of itself is not as we write it.
fn documents_of(meta: &Value) -> Meta {
    let text = |it: &Value| it.as_str().map(str::to_owned);
    let context = meta["context"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = |it: &Value| Shown {
        document: it["document"].as_i64(),
        path: it["path"].as_str().unwrap_or_default().to_owned(),
        cluster: it["cluster"].as_i64(),
        text: String::new(),
        gold: false,
    };
    Meta {
        path: text(&meta["path"]),
        content_hash: text(&meta["content_hash"]),
        document: meta["document"].as_i64(),
        cluster: meta["cluster"].as_i64(),
        question: text(&meta["question"]),
        context: context.iter().map(shown).collect(),
        ..Meta::default()
    }
}

/// What people say in a prompt: a text, or turns of any form.
fn asked(prompt: &Value) -> Vec<Message> {
    if let Some(text) = prompt.as_str() {
        return vec![Message::new(Role::User, text)];
    }
    let turns = prompt.as_array().map(Vec::as_slice).unwrap_or_default();
    let of_people = turns.iter().filter(|it| it["role"] == "user");
    of_people.filter_map(|it| Some(Message::new(Role::User, it["content"].as_str()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_trainers_read_is_seen_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        let user = |text: &str| json!({"role": "user", "content": text});
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]});
        let rows = [
            json!({"messages": [user("Who pays?"), {"role": "assistant", "content": "Ada."}]}),
            // Rows of ours hold neither calls of tools nor two turns of one person.
            json!({"messages": [user("Where?"), call], "meta": {"content_hash": "1f"}}),
            json!({"messages": [user("Hello"), user("When?"), {"role": "assistant", "content": "No."}]}),
            json!({"chosen": [user("Whose?"), {"role": "assistant", "content": "a"}], "rejected": []}),
            json!({"question": "How much?", "answers": ["1"]}),
            json!({"odd": 1, "meta": {"made_by": 3, "context": [{"path": "a.md"}]}}),
        ];
        let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
        fs::write(&path, format!("{text}{{no\n")).unwrap();
        let found = read(&path).unwrap();
        let questions: Vec<Option<&str>> = found.iter().map(Row::question).collect();
        let expected =
            ["Who pays?", "Where?", "When?", "Whose?", "How much?"].map(Some).into_iter();
        assert_eq!(questions, expected.chain([None]).collect::<Vec<_>>());
        assert_eq!(found[1].meta.content_hash.as_deref(), Some("1f"));
        assert_eq!(found[5].meta.context[0].path, "a.md");
        fs::write(&path, json!(rows).to_string()).unwrap();
        assert_eq!(read(&path).unwrap(), found);
        assert!(read(&dir.path().join("none.jsonl")).is_err());
    }

    #[test]
    fn what_people_rejected_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let row = |id: &str| json!({"id": id, "prompt": format!("{id}?"), "completion": "x"});
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, format!("{}\n{}\n", row("a"), row("b"))).unwrap();
        let review = json!({"id": "a", "decision": "rejected"});
        fs::write(dir.path().join("review.jsonl"), format!("{review}\n")).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn what_others_keep_under_our_names_hides_nothing() {
        let turns =
            json!([{"role": "user", "content": "A?"}, {"role": "assistant", "content": "b"}]);
        let meta = json!({"prompt": "theirs", "path": "a.md"});
        let (_, row) = format::read(&json!({"messages": turns, "meta": meta})).unwrap();
        assert_eq!((row.meta.prompt, row.meta.path.as_deref()), (None, Some("a.md")));
    }
}
