//! A question to an answer, on a thread that may wait, for all ways in which one can be asked.

use std::{ops::ControlFlow, sync::Arc};

use axum::http::{HeaderMap, header};
use index::{filter::Filter, hit::DocumentId};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    access::Reader, error::ApiError, gate::Ticket, metrics::Kind, state::App, work::in_place,
};
use crate::{
    answer::{Answer, AskEvent, Cut},
    engine::Engine,
    places::{char_spans, places},
    records::{AnswerRecord, new_id},
    retrieve::{Passage, Question},
    wire::{AnswerOut, SourceOut},
};

/// A question, and how to answer it.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    /// Earlier questions and answers, oldest first.
    pub(crate) turns: Vec<(String, String)>,
    pub(crate) filter: Filter,
    /// Whether the model is asked without the documents.
    pub(crate) alone: bool,
    /// With the settings of this question.
    pub(crate) engine: Engine,
    pub(crate) reader: Reader,
    /// Where it is kept, if it is.
    pub(crate) conversation: Conversation,
    /// What links to sources begin with.
    pub(crate) base: String,
    /// How it came in, for the audit record.
    pub(crate) channel: &'static str,
}

/// Where an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// Nowhere but for feedback.
    None,
    /// In a new one.
    New,
    /// In one of the reader's.
    Known(String),
}

/// What happens while a question is answered.
#[derive(Debug)]
pub(crate) enum Progress {
    Status {
        state: &'static str,
        done: usize,
        total: usize,
    },
    /// Passages that were found, before any of the answer.
    Sources(Vec<Value>),
    /// A piece of the draft.
    Text(String),
    Done(Box<Result<Answered, ApiError>>),
}

/// An answer with all that clients ask of it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) id: String,
    pub(crate) answer: Answer,
    /// As `POST /v1/ask` gives it.
    pub(crate) json: Value,
}

/// Answers on a thread of its own. The channel closes after [`Progress::Done`]; dropping it ends the
/// answer where it is.
pub(crate) fn answer(
    app: &Arc<App>,
    asking: Asking,
    ticket: Ticket,
) -> mpsc::UnboundedReceiver<Progress> {
    let queued = Progress::Status { state: "queued", done: 0, total: 0 };
    in_place(app, ticket, Some(queued), move |app, sender| {
        let outcome = run(app, &asking, sender);
        let _ = sender.send(Progress::Done(Box::new(outcome)));
    })
}

/// The same, for whoever wants only the end.
pub(crate) async fn whole_answer(
    app: &Arc<App>,
    asking: Asking,
    ticket: Ticket,
) -> Result<Answered, ApiError> {
    let mut progress = answer(app, asking, ticket);
    while let Some(it) = progress.recv().await {
        if let Progress::Done(outcome) = it {
            return *outcome;
        }
    }
    Err(ApiError::internal(&std::io::Error::other("an answer ended without an end")))
}

fn run(
    app: &App,
    asking: &Asking,
    sender: &mpsc::UnboundedSender<Progress>,
) -> Result<Answered, ApiError> {
    let Asking { question, turns, filter, engine, .. } = asking;
    let understood = match asking.alone {
        true => None,
        // One that is too long with what came before is asked as it stands.
        false => engine.condense(turns, question)?.and_then(|it| Question::new(&it).ok()),
    };
    let standalone = understood.as_ref().unwrap_or(question);
    let tell = |it: Progress| match sender.send(it) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let mut failed = None;
    let mut on_event = |event: AskEvent<'_>| {
        let progress = match event {
            AskEvent::Retrieved { passages, report: _ } => {
                match sources(engine, passages, &asking.base) {
                    Ok(it) => Progress::Sources(it),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            AskEvent::Quoting { .. } => Progress::Status { state: "writing", done: 0, total: 0 },
            AskEvent::Reading { n_tokens, n_prompt_tokens } => {
                Progress::Status { state: "reading", done: n_tokens, total: n_prompt_tokens }
            }
            AskEvent::Waiting => Progress::Status { state: "waiting", done: 0, total: 0 },
            AskEvent::Shortened { n_passages, .. } => {
                Progress::Status { state: "shortened", done: n_passages, total: n_passages }
            }
            AskEvent::Drafts { done, total } => Progress::Status { state: "drafting", done, total },
            AskEvent::Text(text) => Progress::Text(text.to_owned()),
        };
        tell(progress)
    };
    let answer = match asking.alone {
        true => engine.ask_alone(turns, question, &mut on_event)?,
        false => engine.ask(standalone, filter, &mut on_event)?,
    };
    if let Some(error) = failed {
        return Err(error);
    }
    count(app, &answer);
    finish(app, asking, understood.as_ref(), answer)
}

fn count(app: &App, answer: &Answer) {
    let outcome = match (answer.refused, answer.generator.as_deref()) {
        (true, _) => "refused",
        (false, Some("extract")) => "quoted",
        (false, _) => "written",
    };
    let n_read = answer.context.as_ref().map_or(0, |it| it.n_tokens);
    app.metrics.answer(outcome, n_read, answer.n_tokens);
    app.metrics.took(Kind::Ask, answer.timings.total);
    if !answer.timings.first_token.is_zero() {
        app.metrics.took(Kind::FirstToken, answer.timings.first_token);
    }
}

/// Puts the answer into its shape, and into the records.
fn finish(
    app: &App,
    asking: &Asking,
    understood: Option<&Question>,
    answer: Answer,
) -> Result<Answered, ApiError> {
    let index = &asking.engine.index;
    let (places, chars) = (places(index, &answer)?, char_spans(index, &answer.passages)?);
    let id = new_id("a_")?;
    let conversation = match &asking.conversation {
        _ if !app.keeps_answers() => None,
        Conversation::None => None,
        Conversation::New => Some(new_id("c_")?),
        Conversation::Known(id) => Some(id.clone()),
    };
    let mut json = to_value(&AnswerOut::new(&answer, &chars, &places))?;
    add_urls(&mut json["sources"], &asking.base);
    json["id"] = json!(id);
    json["conversation"] = json!(conversation);
    json["question"] = json!(asking.question.text());
    json["understood_as"] = json!(understood.map(Question::text));
    let owner = asking.reader.owner();
    if app.keeps_answers() {
        if let (Conversation::New, Some(id)) = (&asking.conversation, &conversation) {
            app.records.open_conversation(id, owner, asking.question.text())?;
        }
        let cut = answer.cut.iter().map(|(it, _)| it.chunk.document);
        let shown = answer.passages.iter().map(|it| it.chunk.document);
        let documents: Vec<DocumentId> = shown.chain(cut).collect();
        app.records.record_answer(&AnswerRecord {
            id: id.clone(),
            owner: owner.to_owned(),
            conversation,
            question: asking.question.text().to_owned(),
            understood_as: understood.map(|it| it.text().to_owned()),
            text: answer.text.clone(),
            json: json.clone(),
            why: why(&asking.engine, &answer, &asking.base)?,
            documents,
        })?;
    }
    let question = app.session.config.serve.audit_questions.then(|| asking.question.text());
    app.audit(&asking.reader, asking.channel, Some(&id), question)?;
    Ok(Answered { id, answer, json })
}

/// The prompt, and what is not in it.
fn why(engine: &Engine, answer: &Answer, base: &str) -> Result<Value, ApiError> {
    let turns = answer.context.as_ref().map_or(&[][..], |it| &it.turns);
    let prompt: Vec<Value> =
        turns.iter().map(|it| json!({"role": it.role.name(), "content": it.content})).collect();
    let passages: Vec<Passage> = answer.cut.iter().map(|(it, _)| it.clone()).collect();
    let reasons = answer.cut.iter().map(|(_, cut)| match cut {
        Cut::NotRelevant => "not_relevant",
        Cut::NoRoom => "no_room",
        Cut::Outdated => "outdated",
    });
    let cut = sources(engine, &passages, base)?.into_iter().zip(reasons);
    let cut: Vec<Value> =
        cut.map(|(source, reason)| json!({"source": source, "reason": reason})).collect();
    Ok(json!({ "prompt": prompt, "cut": cut }))
}

/// Passages as sources.
pub(crate) fn sources(
    engine: &Engine,
    passages: &[Passage],
    base: &str,
) -> Result<Vec<Value>, ApiError> {
    let chars = char_spans(&engine.index, passages)?;
    let out: Vec<SourceOut<'_>> = passages
        .iter()
        .zip(chars)
        .enumerate()
        .map(|(i, (it, chars))| SourceOut::new(i + 1, it, chars))
        .collect();
    let mut json = to_value(&out)?;
    add_urls(&mut json, base);
    match json {
        Value::Array(sources) => Ok(sources),
        _ => Ok(Vec::new()),
    }
}

/// Gives each source the address of the page that shows it.
fn add_urls(sources: &mut Value, base: &str) {
    for source in sources.as_array_mut().into_iter().flatten() {
        source["url"] = json!(format!("{base}/v1/sources/{}", source["chunk"]));
    }
}

pub(crate) fn to_value(it: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(it).map_err(|error| ApiError::internal(&error))
}

/// What links begin with: the address of the settings, or the one that the request came to.
pub(crate) fn base_url(app: &App, headers: &HeaderMap) -> String {
    let configured = app.session.config.serve.public_url.trim_end_matches('/');
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let text = |name| headers.get(name).and_then(|it: &axum::http::HeaderValue| it.to_str().ok());
    let host = text(header::HOST.as_str())
        .map_or_else(|| app.session.config.serve.addr.to_string(), str::to_owned);
    let tls = !app.session.config.serve.tls_cert.as_os_str().is_empty();
    let scheme = if tls { "https" } else { text("x-forwarded-proto").unwrap_or("http") };
    let scheme = if scheme == "https" { "https" } else { "http" };
    format!("{scheme}://{host}")
}
