//! What people thought of answers, as rows: corrections and good answers to learn from, pairs of a
//! better and a worse answer, single answers with a thumb.

use std::collections::BTreeMap;

use index::catalog::{Catalog, CatalogError};
use serde_json::Value;
use tune::dataset::{
    corpus::{Allowed, Source},
    row::{Body, MadeBy, Message, Meta, Role, Row, Shown},
    split::Split,
};

use super::{build::parts, settings::DatasetConfig, sources, teller::without_personal};
use crate::records::{Choice, FeedbackRecord, Rating, Records, RecordsError, Vote, Voted};

/// Rows of feedback, and how much of it was left out because it rests on documents that must not be
/// trained on, or that are gone.
#[derive(Debug, Default)]
pub struct FromFeedback {
    /// The rows.
    pub rows: Vec<Row>,
    /// Judgements that gave none.
    pub n_left_out: usize,
}

/// Why feedback could not become rows.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The records could not be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The documents could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// All feedback and votes as the rows that a dataset of the same settings would hold: those of
/// documents that may be trained on, without personal data.
///
/// # Errors
/// [`FeedbackError`]
pub fn allowed_rows(
    records: &Records,
    catalog: &Catalog,
    config: &DatasetConfig,
) -> Result<FromFeedback, FeedbackError> {
    let allowed = Allowed {
        licences_forbidden: config.licences_forbidden.clone(),
        groups: config.groups.clone(),
    };
    let sources = sources::read(catalog, &allowed)?;
    let parts = parts(&sources, config);
    let FromFeedback { rows, mut n_left_out } = rows(records, &sources.allowed, &parts)?;
    let mut kept = Vec::new();
    for row in rows {
        match without_personal(row, config.personal_data) {
            Ok(row) => kept.push(row),
            Err(_) => n_left_out += 1,
        }
    }
    Ok(FromFeedback { rows: kept, n_left_out })
}

/// Reads all feedback and all votes.
pub(super) fn rows(
    records: &Records,
    sources: &BTreeMap<i64, Source>,
    parts: &BTreeMap<i64, Split>,
) -> Result<FromFeedback, RecordsError> {
    let mut res = FromFeedback::default();
    let of = Allowance { sources, parts };
    for record in records.feedback()? {
        let check = format!("rated_{}", rating(record.feedback.rating));
        match of.meta(&record.question, &[&record.json], check) {
            Some(meta) => res.rows.extend(of_record(&record, &meta)),
            None => res.n_left_out += 1,
        }
    }
    for vote in records.votes()? {
        let check = format!("chosen_{}", vote.choice.as_str());
        match of.meta(&vote.question, &[&vote.left.json, &vote.right.json], check) {
            Some(meta) => res.rows.extend(of_vote(&vote, &meta)),
            None => res.n_left_out += 1,
        }
    }
    Ok(res)
}

/// Which documents may be learnt from, and the part that each belongs to.
struct Allowance<'a> {
    sources: &'a BTreeMap<i64, Source>,
    parts: &'a BTreeMap<i64, Split>,
}

impl Allowance<'_> {
    /// Where answers to a question come from: the documents of their sources. `None` where one of
    /// them must not be trained on, or they belong to several parts.
    fn meta(&self, question: &str, answers: &[&Value], check: String) -> Option<Meta> {
        let mut context: Vec<Shown> = Vec::new();
        let all = answers.iter().filter_map(|it| it["sources"].as_array()).flatten();
        for shown in all {
            let source = self.sources.get(&shown["document_id"].as_i64()?)?;
            let shown = Shown {
                document: Some(source.id),
                path: source.path.clone(),
                cluster: Some(source.cluster),
                text: shown["text"].as_str().unwrap_or_default().to_owned(),
                gold: true,
            };
            if !context.contains(&shown) {
                context.push(shown);
            }
        }
        let mut of_context = context.iter().filter_map(|it| self.parts.get(&it.cluster?)).copied();
        let split = of_context.next().unwrap_or(Split::Train);
        if of_context.any(|it| it != split) {
            return None;
        }
        let first = context.first().and_then(|it| self.sources.get(&it.document?));
        let text = |key: &str| answers.first()?[key].as_str().map(str::to_owned);
        Some(Meta {
            document: first.map(|it| it.id),
            path: first.map(|it| it.path.clone()),
            content_hash: first.map(|it| it.content_hash.clone()),
            cluster: first.map(|it| it.cluster),
            licence: first.and_then(|it| it.licence.clone()),
            made_by: Some(MadeBy::Feedback),
            generator: text("generator"),
            checks: vec![check],
            language: text("language"),
            question: Some(question.to_owned()),
            context,
            split: Some(split),
            ..Meta::default()
        })
    }
}

fn rating(rating: Rating) -> &'static str {
    match rating {
        Rating::Up => "up",
        Rating::Down => "down",
    }
}

fn of_record(record: &FeedbackRecord, meta: &Meta) -> Vec<Row> {
    let prompt = prompt(&record.question, &record.why);
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

/// A vote as rows. One answer over the other is a preference; both or neither says of each answer
/// that it is good or bad.
fn of_vote(vote: &Vote, meta: &Meta) -> Vec<Row> {
    let Vote { left, right, choice, .. } = vote;
    if left.text.trim().is_empty() || right.text.trim().is_empty() {
        return Vec::new();
    }
    let pair = |chosen: &Voted, rejected: &Voted| {
        let prompts = [chosen, rejected].map(|it| recorded(&it.why));
        let mut meta = meta.clone();
        // Other variants may have been asked in another way: whoever trains can leave those out.
        let is_same = prompts[0] == prompts[1];
        meta.checks.push(if is_same { "same_prompt" } else { "other_prompt" }.to_owned());
        let [first, second] = prompts;
        let prompt = first.or(second).unwrap_or_else(|| alone(&vote.question));
        let [chosen, rejected] = [chosen, rejected].map(|it| it.text.trim().to_owned());
        if chosen == rejected {
            return Vec::new();
        }
        let body = Body::Preference { prompt, chosen, rejected };
        vec![Row::new(&["vote", "preference", &vote.id], body, meta)]
    };
    let each = |label: bool| {
        let rows = [left, right].map(|it| {
            let prompt = prompt(&vote.question, &it.why);
            let body = Body::Unpaired { prompt, completion: it.text.trim().to_owned(), label };
            Row::new(&["vote", "unpaired", &vote.id, &it.side.answer], body, meta.clone())
        });
        rows.into_iter().collect()
    };
    match choice {
        Choice::Left => pair(left, right),
        Choice::Right => pair(right, left),
        Choice::Both => each(true),
        Choice::Neither => each(false),
    }
}

/// The prompt that the answer was written from; the question alone where none was recorded.
fn prompt(question: &str, why: &Value) -> Vec<Message> {
    recorded(why).unwrap_or_else(|| alone(question))
}

fn alone(question: &str) -> Vec<Message> {
    vec![Message::new(Role::User, question)]
}

/// The prompt of an answer; `None` for quotations, which have none.
fn recorded(why: &Value) -> Option<Vec<Message>> {
    let turn = |it: &Value| {
        let role = match it["role"].as_str()? {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return None,
        };
        Some(Message::new(role, it["content"].as_str()?))
    };
    let all: Vec<Message> = why["prompt"].as_array()?.iter().map(turn).collect::<Option<_>>()?;
    all.last().is_some_and(|it| it.role == Role::User).then_some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::records::{Feedback, Labels, Side};

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
            why: json!({"prompt": [{"role": "user", "content": "[1] … Combien ?"}]}),
            given_by: "k".to_owned(),
            at: 0,
        }
    }

    fn meta_of(question: &str, answers: &[&Value]) -> Option<Meta> {
        let of = Allowance { sources: &BTreeMap::new(), parts: &BTreeMap::new() };
        of.meta(question, answers, "rated_up".to_owned())
    }

    #[track_caller]
    fn check(record: &FeedbackRecord, expected: &[&str]) -> Vec<Row> {
        let meta = meta_of(&record.question, &[&record.json]).unwrap();
        let rows = of_record(record, &meta);
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
        let secret = json!({"sources": [{"document_id": 9, "text": "secret"}]});
        assert_eq!(meta_of("?", &[&secret]), None);
        let open = json!({"sources": [], "language": "fr"});
        assert_eq!(meta_of("?", &[&open, &secret]), None, "either answer may hold it");
    }

    fn vote(choice: Choice, prompts: [&str; 2]) -> Vec<Row> {
        let side = |answer: &str, text: &str, prompt: &str| Voted {
            side: Side { answer: answer.to_owned(), arm: None },
            text: text.to_owned(),
            json: json!({"sources": []}),
            why: match prompt {
                "" => json!({"prompt": []}),
                _ => json!({"prompt": [{"role": "user", "content": prompt}]}),
            },
        };
        let vote = Vote {
            id: "m_1".to_owned(),
            given_by: String::new(),
            question: "Combien ?".to_owned(),
            left: side("a_1", "Deux.", prompts[0]),
            right: side("a_2", "Trois.", prompts[1]),
            choice,
            reason: None,
            at: 0,
        };
        of_vote(&vote, &meta_of("Combien ?", &[&vote.left.json]).unwrap())
    }

    #[test]
    fn votes_become_preferences_or_labels() {
        let rows = vote(Choice::Right, ["P", "P"]);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].body.targets(), ["Trois.", "Deux."]);
        assert_eq!(rows[0].meta.checks, ["rated_up", "same_prompt"]);
        // A quotation has no prompt: that of the other answer stands for both.
        let rows = vote(Choice::Left, ["", "P"]);
        assert_eq!(rows[0].body.prompt()[0].content, "P");
        assert_eq!(rows[0].meta.checks[1], "other_prompt");
        for (choice, good) in [(Choice::Both, true), (Choice::Neither, false)] {
            let rows = vote(choice, ["P", ""]);
            let labels: Vec<bool> = rows
                .iter()
                .map(|it| matches!(it.body, Body::Unpaired { label, .. } if label))
                .collect();
            assert_eq!(labels, [good, good]);
            assert_ne!(rows[0].id, rows[1].id);
            assert_eq!(rows[1].body.prompt()[0].content, "Combien ?");
        }
    }
}
