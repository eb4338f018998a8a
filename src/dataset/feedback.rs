//! What people thought of answers, as rows: corrections and good answers to learn from, pairs of a
//! better and a worse answer, single answers with a thumb.

use std::collections::BTreeMap;

use serde_json::Value;
use tune::dataset::{
    corpus::Source,
    row::{Body, MadeBy, Message, Meta, Role, Row, Shown},
    split::Split,
};

use crate::records::{FeedbackRecord, Rating, Records, RecordsError};

/// Rows of feedback, and how much of it was left out because it rests on documents that must not be
/// trained on, or that are gone.
#[derive(Debug, Default)]
pub(super) struct FromFeedback {
    pub(super) rows: Vec<Row>,
    pub(super) n_left_out: usize,
}

/// Reads all feedback.
pub(super) fn rows(
    records: &Records,
    sources: &BTreeMap<i64, Source>,
    parts: &BTreeMap<i64, Split>,
) -> Result<FromFeedback, RecordsError> {
    let mut res = FromFeedback::default();
    for record in records.feedback()? {
        let why = records.answer(&record.feedback.answer)?.map(|it| it.why).unwrap_or_default();
        match meta(&record, sources, parts) {
            Some(meta) => res.rows.extend(of_record(&record, &why, &meta)),
            None => res.n_left_out += 1,
        }
    }
    Ok(res)
}

/// Where an answer comes from: the documents of its sources. `None` where one of them must not be
/// trained on, or they belong to several parts.
fn meta(
    record: &FeedbackRecord,
    sources: &BTreeMap<i64, Source>,
    parts: &BTreeMap<i64, Split>,
) -> Option<Meta> {
    let mut context = Vec::new();
    for shown in record.json["sources"].as_array().into_iter().flatten() {
        let source = sources.get(&shown["document_id"].as_i64()?)?;
        context.push(Shown {
            document: Some(source.id),
            path: source.path.clone(),
            cluster: Some(source.cluster),
            text: shown["text"].as_str().unwrap_or_default().to_owned(),
            gold: true,
        });
    }
    let mut of_context = context.iter().filter_map(|it| parts.get(&it.cluster?)).copied();
    let split = of_context.next().unwrap_or(Split::Train);
    if of_context.any(|it| it != split) {
        return None;
    }
    let first = context.first().and_then(|it| sources.get(&it.document?));
    Some(Meta {
        document: first.map(|it| it.id),
        path: first.map(|it| it.path.clone()),
        content_hash: first.map(|it| it.content_hash.clone()),
        cluster: first.map(|it| it.cluster),
        licence: first.and_then(|it| it.licence.clone()),
        made_by: Some(MadeBy::Feedback),
        generator: record.json["generator"].as_str().map(str::to_owned),
        checks: vec![format!("rated_{}", rating(record.feedback.rating))],
        language: record.json["language"].as_str().map(str::to_owned),
        question: Some(record.question.clone()),
        context,
        split: Some(split),
        ..Meta::default()
    })
}

fn rating(rating: Rating) -> &'static str {
    match rating {
        Rating::Up => "up",
        Rating::Down => "down",
    }
}

fn of_record(record: &FeedbackRecord, why: &Value, meta: &Meta) -> Vec<Row> {
    let prompt = prompt(record, why);
    let correction = record.feedback.correction.as_deref().map(str::trim);
    let correction = correction.filter(|it| !it.is_empty());
    let is_good = record.feedback.rating == Rating::Up;
    let text = record.text.trim();
    let row = |kind: &str, body: Body| {
        Row::new(&["feedback", kind, &record.feedback.answer], body, meta.clone())
    };
    let mut res = Vec::new();
    let taught = correction.or(is_good.then_some(text)).filter(|it| !it.is_empty());
    if let Some(taught) = taught {
        let mut all = prompt.clone();
        all.push(Message::new(Role::Assistant, taught));
        res.push(row("supervised", Body::Messages(all)));
    }
    if let Some(chosen) = correction.filter(|it| *it != text && !text.is_empty()) {
        let (chosen, rejected) = (chosen.to_owned(), text.to_owned());
        let prompt = prompt.clone();
        res.push(row("preference", Body::Preference { prompt, chosen, rejected }));
    }
    if !text.is_empty() {
        let completion = text.to_owned();
        res.push(row("unpaired", Body::Unpaired { prompt, completion, label: is_good }));
    }
    res
}

/// The prompt that the answer was written from; the question alone where none was recorded.
fn prompt(record: &FeedbackRecord, why: &Value) -> Vec<Message> {
    let turn = |it: &Value| {
        let role = match it["role"].as_str()? {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return None,
        };
        Some(Message::new(role, it["content"].as_str()?))
    };
    let recorded: Option<Vec<Message>> =
        why["prompt"].as_array().and_then(|it| it.iter().map(turn).collect());
    match recorded {
        Some(all) if all.last().is_some_and(|it| it.role == Role::User) => all,
        _ => vec![Message::new(Role::User, record.question.clone())],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::records::{Feedback, Labels};

    fn record(rating: Rating, correction: Option<&str>) -> FeedbackRecord {
        let correction = correction.map(str::to_owned);
        FeedbackRecord {
            feedback: Feedback {
                answer: "a_1".to_owned(),
                rating,
                reason: None,
                correction,
                labels: Labels::default(),
                comment: None,
            },
            question: "Combien ?".to_owned(),
            text: "Deux [1].".to_owned(),
            json: json!({"sources": [], "language": "fr"}),
            given_by: "k".to_owned(),
        }
    }

    #[track_caller]
    fn check(record: &FeedbackRecord, expected: &[&str]) -> Vec<Row> {
        let meta = meta(record, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        let why = json!({"prompt": [{"role": "user", "content": "[1] … Combien ?"}]});
        let rows = of_record(record, &why, &meta);
        let kinds: Vec<&str> = rows.iter().map(|it| it.body.kind().as_str()).collect();
        assert_eq!(kinds, expected);
        assert!(rows.iter().all(|it| it.body.prompt()[0].content == "[1] … Combien ?"));
        rows
    }

    #[test]
    fn thumbs_and_corrections_become_rows() {
        check(&record(Rating::Up, None), &["supervised", "unpaired"]);
        let rows = check(&record(Rating::Down, None), &["unpaired"]);
        assert!(matches!(rows[0].body, Body::Unpaired { label: false, .. }));
        let kinds = ["supervised", "preference", "unpaired"];
        let rows = check(&record(Rating::Down, Some("Trois [1].")), &kinds);
        assert_eq!(rows[0].body.targets(), ["Trois [1]."]);
        assert_eq!(rows[1].body.targets(), ["Trois [1].", "Deux [1]."]);
    }

    #[test]
    fn answers_from_documents_that_are_not_allowed_are_left_out() {
        let mut record = record(Rating::Up, None);
        record.json = json!({"sources": [{"document_id": 9, "text": "secret"}]});
        assert_eq!(meta(&record, &BTreeMap::new(), &BTreeMap::new()), None);
    }
}
