//! Sources of an answer, in the dialects that clients read.

use std::ops::Range;

use serde_json::{Value, json};

use super::marks::unmarked;
use crate::serve::answering::Answered;

/// The citations of an answer's text.
///
/// `start_index` and `end_index` are Unicode characters of the text, the mark included.
pub(super) fn annotations(answered: &Answered, text: &str) -> Vec<Value> {
    let sources = list(answered);
    let mut res = Vec::new();
    let mut at = 0;
    let mut chars = 0;
    while let Some(found) = text[at..].find('[') {
        let start = at + found;
        let Some(len) = text[start..].find(']') else { break };
        let mark = &text[start..=start + len];
        chars += text[at..start].chars().count();
        let n_chars = mark.chars().count();
        let numbers = mark[1..mark.len() - 1].split(',').filter_map(|it| it.trim().parse().ok());
        for number in numbers.collect::<Vec<usize>>() {
            if let Some(source) = number.checked_sub(1).and_then(|it| sources.get(it)) {
                res.push(annotation(source, &(chars..chars + n_chars)));
            }
        }
        chars += n_chars;
        at = start + len + 1;
    }
    res
}

/// The same of a draft that was shown as it was written, before its sentences were checked: where a
/// sentence rests on a source that its writer did not mark, the citation spans the sentence.
pub(super) fn annotations_of_draft(answered: &Answered, shown: &str) -> Vec<Value> {
    let sentences: Vec<(&str, &[usize])> = answered
        .answer
        .sentences
        .iter()
        .map(|it| (it.text.as_str(), it.citations.as_slice()))
        .collect();
    let sources = list(answered);
    let mut res = annotations(answered, shown);
    for (source, chars) in unmarked(&sentences, shown) {
        res.extend(sources.get(source).map(|it| annotation(it, &chars)));
    }
    res.sort_by_key(|it| it["url_citation"]["start_index"].as_u64());
    res
}

fn annotation(source: &Value, chars: &Range<usize>) -> Value {
    json!({
        "type": "url_citation",
        "url_citation": {
            "url": source["url"],
            "title": title(source),
            "start_index": chars.start,
            "end_index": chars.end,
        },
    })
}

/// The addresses of all sources, as Perplexity gives them.
pub(super) fn citations(answered: &Answered) -> Vec<Value> {
    list(answered).iter().map(|it| it["url"].clone()).collect()
}

/// Our own: each source with what its sentences rest on.
pub(super) fn sources(answered: &Answered) -> Value {
    answered.json["sources"].clone()
}

/// As Azure's "on your data" has it.
pub(super) fn azure(answered: &Answered) -> Value {
    let citations = list(answered).iter().map(|it| {
        json!({
            "content": it["text"],
            "title": title(it),
            "url": it["url"],
            "filepath": it["document"],
            "chunk_id": it["chunk"].to_string(),
        })
    });
    json!({
        "citations": citations.collect::<Vec<Value>>(),
        "intent": answered.json["understood_as"].as_str().unwrap_or_default(),
    })
}

/// As Open WebUI's event emitter takes it.
pub(super) fn event(source: &Value) -> Value {
    json!({ "event": { "type": "source", "data": {
        "source": { "name": title(source), "url": source["url"] },
        "document": [source["text"]],
        "metadata": [{
            "source": source["url"],
            "name": title(source),
            "page": source["page"],
        }],
        "distances": [source["relevance"]],
    }}})
}

/// As Open WebUI shows what goes on.
pub(super) fn status(description: &str, done: bool) -> Value {
    json!({ "event": { "type": "status", "data": { "description": description, "done": done } } })
}

/// A list for clients that show nothing but text. Only what the text cites.
pub(super) fn markdown(answered: &Answered) -> String {
    let cited: Vec<usize> = answered
        .answer
        .sentences
        .iter()
        .flat_map(|it| it.citations.iter().copied())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let sources = list(answered);
    let lines: Vec<String> = cited
        .iter()
        .filter_map(|&i| {
            let source = sources.get(i)?;
            let url = source["url"].as_str()?;
            Some(format!("- [{}] [{}]({url})", i + 1, escaped(&title(source))))
        })
        .collect();
    if lines.is_empty() {
        String::new()
    } else {
        format!("\n\n**Sources**\n\n{}", lines.join("\n"))
    }
}

fn list(answered: &Answered) -> &[Value] {
    answered.json["sources"].as_array().map_or(&[], Vec::as_slice)
}

/// `Charte du télétravail, p. 3`
fn title(source: &Value) -> String {
    let title = source["title"].as_str().filter(|it| !it.is_empty());
    let title = title.or(source["document"].as_str()).unwrap_or_default();
    match source["page"].as_u64() {
        Some(page) => format!("{title}, p. {page}"),
        None => title.to_owned(),
    }
}

/// A title inside the text of a Markdown link.
fn escaped(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '[' | ']' | '*' | '_' | '`' | '<' | '>') {
            res.push('\\');
        }
        res.push(if c.is_control() { ' ' } else { c });
    }
    res
}
