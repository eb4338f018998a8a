//! What people thought of answers, as rows: corrections and good answers to learn from, pairs of a
//! better and a worse answer, single answers with a thumb.
//!
//! A row's prompt is the one that the answer was written from. Quotations and refusals were written
//! by no model: where a dataset is built, they get the prompt that a model would have been shown
//! (`prompts`).

mod prompts;

use std::collections::BTreeMap;

use index::catalog::{Catalog, CatalogError};
use serde_json::Value;
use tune::dataset::{
    corpus::{Allowed, Source},
    row::{Body, MadeBy, Message, Meta, Role, Row, Shown},
    split::Split,
};

use self::prompts::{rests_on, style};
use super::{
    build::parts, policy::without_personal, settings::DatasetConfig, sources, teller::Teller,
};
use crate::engine::AskError;
use crate::feedback::checks::{Said, comment};
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
    /// Passages or prompts failed.
    #[error(transparent)]
    Ask(#[from] AskError),
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
    let of = Judged { sources: &sources.allowed, parts: &parts, teller: None };
    let FromFeedback { rows, mut n_left_out } = rows(records, &of)?;
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
pub(super) fn rows(records: &Records, of: &Judged<'_>) -> Result<FromFeedback, FeedbackError> {
    let mut res = FromFeedback::default();
    for record in records.feedback()? {
        match of.record(&record)? {
            Some(rows) => res.rows.extend(rows),
            None => res.n_left_out += 1,
        }
    }
    for vote in records.votes()? {
        match of.vote(&vote)? {
            Some(rows) => res.rows.extend(rows),
            None => res.n_left_out += 1,
        }
    }
    Ok(res)
}

/// What judgements become rows with.
pub(super) struct Judged<'a> {
    /// Documents that may be learnt from.
    pub(super) sources: &'a BTreeMap<i64, Source>,
    /// The part that each cluster of them belongs to.
    pub(super) parts: &'a BTreeMap<i64, Split>,
    /// What makes prompts, for answers without one; else these get the question alone.
    pub(super) teller: Option<&'a Teller<'a>>,
}

/// A prompt, and what rests on it.
struct Prompted {
    prompt: Vec<Message>,
    meta: Meta,
}

impl Judged<'_> {
    /// The rows of a judgement; `None` where it is left out.
    fn record(&self, record: &FeedbackRecord) -> Result<Option<Vec<Row>>, AskError> {
        let said = Said::of(&record.feedback);
        let Some(meta) = self.meta(&record.question, &[&record.json], said) else {
            return Ok(None);
        };
        let asked = (record.question.as_str(), &record.json);
        let Some(Prompted { prompt, mut meta }) = self.prompted(asked, &record.why, meta)? else {
            return Ok(None);
        };
        let correction = record.feedback.correction.as_deref().map(str::trim);
        let texts = Texts {
            given: style(record.text.trim()),
            correction: match correction.filter(|it| !it.is_empty()) {
                Some(text) => Some(self.with_marks(asked, text)?),
                None => None,
            },
        };
        rests_on(texts.correction.as_ref().unwrap_or(&texts.given), &mut meta.context);
        Ok(Some(of_record(record, &texts, &prompt, &meta)))
    }

    /// The rows of a vote; `None` where it is left out.
    fn vote(&self, vote: &Vote) -> Result<Option<Vec<Row>>, AskError> {
        let said = Said {
            checks: vec![format!("chosen_{}", vote.choice.as_str())],
            comment: comment(vote.reason.as_deref()),
        };
        let Some(meta) = self.meta(&vote.question, &[&vote.left.json, &vote.right.json], said)
        else {
            return Ok(None);
        };
        let mut prompts = [None, None];
        for (prompt, it) in prompts.iter_mut().zip([&vote.left, &vote.right]) {
            *prompt = recorded(&it.why);
            if prompt.is_none() && self.teller.is_some() {
                let asked = (vote.question.as_str(), &it.json);
                *prompt = self.prompted(asked, &it.why, meta.clone())?.map(|it| it.prompt);
            }
        }
        // Of a pair, the prompt of one answer can stand for both.
        let is_enough = match vote.choice {
            Choice::Left | Choice::Right => prompts.iter().any(Option::is_some),
            Choice::Both | Choice::Neither => prompts.iter().all(Option::is_some),
        };
        let is_left_out = self.teller.is_some() && !is_enough;
        Ok((!is_left_out).then(|| of_vote(vote, &prompts, &meta)))
    }

    /// Where answers to a question come from: the documents of their sources. `None` where one of
    /// them must not be trained on, or they belong to several parts.
    fn meta(&self, question: &str, answers: &[&Value], said: Said) -> Option<Meta> {
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
            checks: said.checks,
            comment: said.comment,
            language: text("language"),
            question: Some(question.to_owned()),
            context,
            split: Some(split),
            ..Meta::default()
        })
    }
}

/// What was answered, and what should have been.
struct Texts {
    given: String,
    correction: Option<String>,
}

fn of_record(record: &FeedbackRecord, texts: &Texts, prompt: &[Message], meta: &Meta) -> Vec<Row> {
    let is_good = record.feedback.rating == Rating::Up;
    let Texts { given, correction } = texts;
    let row = |kind: &str, body: Body| {
        Row::new(&["feedback", kind, &record.feedback.answer], body, meta.clone())
    };
    let mut res = Vec::new();
    let taught = correction.as_ref().or(is_good.then_some(given)).filter(|it| !it.is_empty());
    if let Some(taught) = taught {
        let mut all = prompt.to_vec();
        all.push(Message::new(Role::Assistant, taught));
        res.push(row("supervised", Body::Messages(all)));
    }
    if given.is_empty() {
        return res;
    }
    if let Some(chosen) = correction.clone().filter(|it| it != given) {
        let (prompt, rejected) = (prompt.to_vec(), given.clone());
        res.push(row("preference", Body::Preference { prompt, chosen, rejected }));
    }
    let (prompt, completion) = (prompt.to_vec(), given.clone());
    res.push(row("unpaired", Body::Unpaired { prompt, completion, label: is_good }));
    res
}

/// A vote as rows. One answer over the other is a preference; both or neither says of each answer
/// that it is good or bad. `prompts` are those of left and right.
fn of_vote(vote: &Vote, prompts: &[Option<Vec<Message>>; 2], meta: &Meta) -> Vec<Row> {
    let Vote { left, right, choice, .. } = vote;
    if left.text.trim().is_empty() || right.text.trim().is_empty() {
        return Vec::new();
    }
    // Other variants may have been asked in another way: whoever trains can leave those out.
    let is_same = prompts[0] == prompts[1];
    let or_alone = |it: Option<&Vec<Message>>| it.cloned().unwrap_or_else(|| alone(&vote.question));
    let pair = |(chosen, at): (&Voted, usize), rejected: &Voted| {
        let mut meta = meta.clone();
        meta.checks.push(if is_same { "same_prompt" } else { "other_prompt" }.to_owned());
        let prompt = or_alone(prompts[at].as_ref().or(prompts[1 - at].as_ref()));
        let [chosen, rejected] = [chosen, rejected].map(|it| it.text.trim().to_owned());
        if chosen == rejected {
            return Vec::new();
        }
        let body = Body::Preference { prompt, chosen, rejected };
        vec![Row::new(&["vote", "preference", &vote.id], body, meta)]
    };
    let each = |label: bool| {
        let rows = [(left, 0), (right, 1)].map(|(it, at)| {
            let prompt = or_alone(prompts[at].as_ref());
            let body = Body::Unpaired { prompt, completion: it.text.trim().to_owned(), label };
            Row::new(&["vote", "unpaired", &vote.id, &it.side.answer], body, meta.clone())
        });
        rows.into_iter().collect()
    };
    match choice {
        Choice::Left => pair((left, 0), right),
        Choice::Right => pair((right, 1), left),
        Choice::Both => each(true),
        Choice::Neither => each(false),
    }
}

fn alone(question: &str) -> Vec<Message> {
    vec![Message::new(Role::User, question)]
}

/// The prompt that an answer was written from; `None` for quotations and refusals, which no model
/// wrote.
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
mod tests;
