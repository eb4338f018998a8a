//! `POST /v1/ask` and `POST /v1/search`.

use std::{convert::Infallible, num::NonZeroUsize, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, sse::Event},
};
use index::filter::Filter;
use ingest::document::Language;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};

use super::{
    access::Reader,
    answering::{Asking, Conversation, Progress, answer, base_url, sources, whole_answer},
    conversations::own_answer,
    error::ApiError,
    extract::Body,
    metrics::Kind,
    openai::chat::sse,
    state::App,
    work::{on_search_place, on_thread},
};
use crate::{
    best_of::DRAFTS_MAX,
    retrieve::{Found, Question},
    writer::Writer,
};

/// Turns that a follow-up is understood from.
const TURNS_MAX: usize = 3;

/// Passages of one search at most.
const LIMIT_MAX: usize = 100;

/// Passages of an answer at most.
const PASSAGES_MAX: usize = 50;

/// `POST /v1/ask`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct AskRequest {
    question: String,
    /// Only documents of this collection.
    #[serde(default)]
    collection: Option<String>,
    /// `rag` answers from the documents, `extract` quotes them, `base` asks the generator alone.
    #[serde(default)]
    mode: Option<Mode>,
    /// The adapter that the generator writes with.
    #[serde(default)]
    adapter: Option<String>,
    /// The conversation that the question goes on with.
    #[serde(default)]
    conversation: Option<String>,
    /// Passages shown to the model at most.
    #[serde(default)]
    passages: Option<usize>,
    /// Drafts of which the best is the answer, 16 at most: by the reward of the settings, else by the
    /// citation check.
    #[serde(default)]
    best_of: Option<usize>,
    /// The id of an answer of the reader's whose question is answered once more: outside its
    /// conversation, which goes on from the first answer.
    #[serde(default)]
    again: Option<String>,
    /// Which draft is the answer, from 0: each is another sample, and 15 the last.
    #[serde(default)]
    draft: Option<usize>,
    #[serde(default)]
    stream: Option<bool>,
    /// Only this document, or those below this folder.
    #[serde(default)]
    path: Option<String>,
    /// Only documents in this language: `fr` or `en`.
    #[serde(default)]
    language: Option<String>,
}

impl AskRequest {
    /// A question with nothing but its words, a collection and what it goes on with.
    pub(crate) fn plain(
        question: String,
        collection: Option<String>,
        conversation: Option<String>,
    ) -> Self {
        Self {
            question,
            collection,
            mode: None,
            adapter: None,
            conversation,
            passages: None,
            best_of: None,
            again: None,
            draft: None,
            stream: None,
            path: None,
            language: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Rag,
    Extract,
    Base,
}

/// Answers a question from the documents, each sentence checked.
#[utoipa::path(post, path = "/v1/ask", tag = "Answers", request_body = AskRequest,
    responses(
        (status = 200, description = "The answer; with `stream` server-sent events `status`, \
            `sources`, `text`, `answer` and `error`", body = Value),
        (status = 400, description = "The question cannot be answered as it stands", body = Value),
        (status = 404, description = "There is no such collection, conversation or adapter", body = Value),
        (status = 503, description = "Too much to do; `Retry-After` says when", body = Value)))]
pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    reader: Reader,
    headers: HeaderMap,
    Body(request): Body<AskRequest>,
) -> Result<Response, ApiError> {
    let is_stream = request.stream == Some(true);
    let base = base_url(&app, &headers);
    let asking = on_thread(&app, move |app| asking(app, reader, base, request)).await?;
    let ticket = app.answering.ticket()?;
    if !is_stream {
        return Ok(Json(whole_answer(&app, asking, ticket).await?.json).into_response());
    }
    let progress = UnboundedReceiverStream::new(answer(&app, asking, ticket));
    Ok(sse(progress.map(|it| Ok::<_, Infallible>(event(it)))))
}

/// What a request asks for, checked.
pub(crate) fn asking(
    app: &App,
    reader: Reader,
    base: String,
    request: AskRequest,
) -> Result<Asking, ApiError> {
    let question = Question::new(&request.question)?;
    let filter =
        filter(app, &reader, request.collection, request.path.as_deref(), request.language)?;
    let (conversation, turns) = match (request.conversation, request.again) {
        (None, None) => (Conversation::New, Vec::new()),
        (None, Some(id)) => {
            check_again(app, &reader, &question, &id)?;
            (Conversation::None, Vec::new())
        }
        (Some(_), Some(_)) => {
            let why = "again goes without conversation: the first answer stays the one of its turn";
            return Err(ApiError::bad_field("again", why));
        }
        (Some(id), None) => {
            let turns = turns(app, &reader, &id)?;
            (Conversation::Known(id), turns)
        }
    };
    let mut engine = app.engine.clone();
    if let Some(name) = &request.adapter
        && !app.adapters().contains(name)
    {
        return Err(ApiError::not_found("adapter", name));
    }
    engine.choose_adapter(request.adapter);
    if let Some(n) = request.passages {
        let wanted = NonZeroUsize::new(n).filter(|it| it.get() <= PASSAGES_MAX);
        let why = || {
            ApiError::bad_field("passages", format!("passages must be from 1 to {PASSAGES_MAX}"))
        };
        engine.settings.retrieval.passages_max = wanted.ok_or_else(why)?;
    }
    if let Some(n) = request.best_of {
        let wanted = NonZeroUsize::new(n).filter(|it| it.get() <= DRAFTS_MAX);
        let why =
            || ApiError::bad_field("best_of", format!("best_of must be from 1 to {DRAFTS_MAX}"));
        engine.settings.generation.best_of = wanted.ok_or_else(why)?;
    }
    if let Some(n) = request.draft {
        if n >= DRAFTS_MAX {
            let why = format!("draft must be from 0 to {}", DRAFTS_MAX - 1);
            return Err(ApiError::bad_field("draft", why));
        }
        engine = engine.drafting(n);
    }
    if request.mode == Some(Mode::Extract) {
        engine.writer = Arc::new(Writer::Extract { reason: None });
    }
    Ok(Asking {
        question,
        turns,
        filter,
        alone: request.mode == Some(Mode::Base),
        engine,
        reader,
        conversation,
        base,
        channel: "ask",
    })
}

/// The last questions and answers of a conversation of the reader's, oldest first.
fn turns(app: &App, reader: &Reader, id: &str) -> Result<Vec<(String, String)>, ApiError> {
    if app.records.conversation(id, reader.owner())?.is_none() {
        return Err(ApiError::not_found("conversation", id));
    }
    let turns = app.records.turns(id)?.into_iter();
    let turns = turns.map(|(it, _)| (it.understood_as.unwrap_or(it.question), it.text));
    let turns: Vec<(String, String)> = turns.collect();
    let skip = turns.len().saturating_sub(TURNS_MAX);
    Ok(turns.into_iter().skip(skip).collect())
}

/// Refuses another answer to a question that the answer `id` is not about: they could not be compared.
fn check_again(app: &App, reader: &Reader, question: &Question, id: &str) -> Result<(), ApiError> {
    let first = own_answer(app, reader, id)?;
    let asked = first.understood_as.unwrap_or(first.question);
    if asked.trim() != question.text().trim() {
        let why = format!("again names an answer to another question: `{asked}`");
        return Err(ApiError::bad_field("again", why));
    }
    Ok(())
}

/// What a request may see, and wants to see.
pub(crate) fn filter(
    app: &App,
    reader: &Reader,
    collection: Option<String>,
    path: Option<&str>,
    language: Option<String>,
) -> Result<Filter, ApiError> {
    if let Some(name) = &collection {
        let groups = reader.groups();
        if !app.engine.index.catalog().has_collection(name, groups.as_deref())? {
            return Err(ApiError::not_found("collection", name));
        }
    }
    let languages = match language.as_deref() {
        None => Vec::new(),
        Some("fr") => vec![Language::French],
        Some("en") => vec![Language::English],
        Some(_) => return Err(ApiError::bad_field("language", "language must be `fr` or `en`")),
    };
    Ok(Filter {
        collections: collection.into_iter().collect(),
        languages,
        path_prefix: path.map(|it| it.trim_start_matches("./").to_owned()),
        ..reader.filter()
    })
}

fn event(progress: Progress) -> Event {
    let (name, data) = match progress {
        Progress::Status { state, done, total } => {
            ("status", json!({ "state": state, "done": done, "total": total }))
        }
        Progress::Sources(sources) => ("sources", json!({ "sources": sources })),
        Progress::Text(text) => ("text", json!({ "text": text })),
        Progress::Done(outcome) => match *outcome {
            Ok(answered) => ("answer", answered.json),
            Err(error) => ("error", error.json()),
        },
    };
    Event::default().event(name).data(data.to_string())
}

/// `POST /v1/search`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct SearchRequest {
    query: String,
    /// Only documents of this collection.
    #[serde(default)]
    collection: Option<String>,
    /// Only documents in this language: `fr` or `en`.
    #[serde(default)]
    language: Option<String>,
    /// Only this document, or those below this folder.
    #[serde(default)]
    path: Option<String>,
    /// Passages at most, 10 where not given.
    #[serde(default)]
    limit: Option<usize>,
}

/// Finds passages, best first, without an answer.
#[utoipa::path(post, path = "/v1/search", tag = "Answers", request_body = SearchRequest,
    responses((status = 200, description = "`results` and `timings_ms`", body = Value),
              (status = 400, description = "The query cannot be searched", body = Value)))]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    reader: Reader,
    headers: HeaderMap,
    Body(request): Body<SearchRequest>,
) -> Result<Json<Value>, ApiError> {
    let base = base_url(&app, &headers);
    let search = move |app: &App| run_search(app, &reader, &base, "search", request);
    Ok(Json(on_search_place(&app, search).await?))
}

/// Searches as `POST /v1/search` does; `channel` is what the audit record calls it.
pub(crate) fn run_search(
    app: &App,
    reader: &Reader,
    base: &str,
    channel: &str,
    request: SearchRequest,
) -> Result<Value, ApiError> {
    let start = Instant::now();
    let question = Question::new(&request.query)
        .map_err(|error| ApiError::bad_field("query", error.to_string()))?;
    let limit = request.limit.unwrap_or(10);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let why = format!("limit must be from 1 to {LIMIT_MAX}");
        return Err(ApiError::bad_field("limit", why));
    }
    let filter =
        filter(app, reader, request.collection, request.path.as_deref(), request.language)?;
    let Found { passages, report, .. } = app.engine.retrieve_top(&question, &filter, limit)?;
    let results = sources(&app.engine, &passages, base)?;
    app.metrics.took(Kind::Search, start.elapsed());
    app.audit(
        reader,
        channel,
        None,
        app.session.config.serve.audit_questions.then(|| question.text()),
    )?;
    Ok(json!({
        "results": results,
        "question_cut_at": report.question_cut_at,
        "timings_ms": { "total": (start.elapsed().as_secs_f64() * 10_000.0).round() / 10.0 },
    }))
}

impl SearchRequest {
    /// A search with nothing but its words, a collection and a limit.
    pub(crate) fn plain(query: String, collection: Option<String>, limit: Option<usize>) -> Self {
        Self { query, collection, language: None, path: None, limit }
    }
}
