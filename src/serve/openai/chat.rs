//! `POST /v1/chat/completions`.

use std::{num::NonZeroUsize, ops::ControlFlow, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use index::filter::Filter;
use model::{
    chat::{ChatOptions, Turn, messages_of},
    generate::{self, FinishReason, Request, TokenScore},
    sample::SampleOptions,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    models::{Mode, check_known, unknown},
    request::{ChatRequest, question_of},
    sources, stream,
};
use crate::{
    engine::{AnswerSettings, AskError, Engine, sample_options},
    retrieve::Question,
    serve::{
        KEEP_ALIVE,
        access::Reader,
        answering::{Answered, Asking, Conversation, answer, base_url, whole_answer},
        error::ApiError,
        extract::Body,
        gate::Ticket,
        state::App,
        work::in_place,
    },
    upstream::chat::ReplyEvent,
    writer::{WriteError, Writer},
};

/// What all pieces of one completion have in common.
#[derive(Debug, Clone)]
pub(super) struct Completion {
    id: String,
    created: i64,
    model: String,
    include_usage: bool,
}

impl Completion {
    fn new(request: &ChatRequest) -> Result<Self, ApiError> {
        Ok(Self {
            id: crate::records::new_id("chatcmpl-")?,
            created: jiff::Timestamp::now().as_second(),
            model: request.model.clone(),
            include_usage: request.stream_options.is_some_and(|it| it.include_usage == Some(true)),
        })
    }

    pub(super) fn chunk(&self, delta: &Value, finish: Option<&str>) -> Value {
        let mut res = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish,
            }],
        });
        // As OpenAI has it: there in every chunk once it was asked for, and told in the last.
        if self.include_usage {
            res["usage"] = Value::Null;
        }
        res
    }

    /// The last chunk, for those who asked for it.
    pub(super) fn usage_chunk(&self, usage: Value) -> Option<Value> {
        self.include_usage.then(|| {
            let mut res = self.chunk(&json!({}), None);
            res["choices"] = json!([]);
            res["usage"] = usage;
            res
        })
    }

    fn whole(&self, message: &Value, finish: &str, usage: Value, logprobs: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish,
            }],
            "usage": usage,
        })
    }
}

/// Adds what our own clients read.
pub(super) fn add_sources(to: &mut Value, answered: &Answered) {
    to["citations"] = json!(sources::citations(answered));
    to["sources"] = sources::sources(answered);
    to["sentences"] = answered.json["sentences"].clone();
    to["refused"] = json!(answered.answer.refused);
    to["answer_id"] = json!(answered.id);
}

pub(super) fn usage(n_read: usize, n_written: usize, n_cached: usize) -> Value {
    json!({
        "prompt_tokens": n_read,
        "completion_tokens": n_written,
        "total_tokens": n_read + n_written,
        "prompt_tokens_details": { "cached_tokens": n_cached },
    })
}

/// Answers a conversation: from the documents with a `rag` model, by the generator alone otherwise.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "OpenAI", request_body = ChatRequest,
    responses(
        (status = 200, description = "A completion, or with `stream` its chunks as server-sent \
            events; sources in `annotations`, `citations` and `sources`", body = Value),
        (status = 400, description = "The request cannot be answered as it stands", body = Value),
        (status = 404, description = "There is no such model", body = Value),
        (status = 503, description = "Too much to do; `Retry-After` says when", body = Value)))]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    reader: Reader,
    headers: HeaderMap,
    Body(request): Body<ChatRequest>,
) -> Result<Response, ApiError> {
    let mode = Mode::parse(&request.model).ok_or_else(|| unknown(&request.model))?;
    request.check(&mode)?;
    check_known(&app, &reader, &request.model).await?;
    let turns = request.turns()?;
    let completion = Completion::new(&request)?;
    match mode {
        Mode::Rag { collection, adapter } => {
            let rag = Rag { collection, adapter, turns };
            let asking = asking(&app, reader, &headers, &request, rag)?;
            from_documents(&app, asking, completion, &request, &headers).await
        }
        Mode::Plain { adapter } => {
            let ticket = app.answering.ticket()?;
            let plain = Plain { turns, adapter, engine: app.engine.clone(), reader };
            by_generator(&app, plain, completion, &request, ticket).await
        }
    }
}

/// A conversation over the documents.
struct Rag {
    collection: Option<String>,
    adapter: Option<String>,
    turns: Vec<Turn>,
}

fn asking(
    app: &App,
    reader: Reader,
    headers: &HeaderMap,
    request: &ChatRequest,
    rag: Rag,
) -> Result<Asking, ApiError> {
    let Rag { collection, adapter, turns } = rag;
    let (question, exchanges) = question_of(&turns)?;
    let question = Question::new(&question)
        .map_err(|error| ApiError::bad_field("messages", error.to_string()))?;
    let mut engine = app.engine.clone();
    let generation = &mut engine.settings.generation;
    generation.temperature = request.temperature.unwrap_or(generation.temperature);
    generation.top_p = request.top_p.unwrap_or(generation.top_p);
    generation.seed = request.seed.map_or(generation.seed, i64::cast_unsigned);
    if let Some(n) = request.tokens_max().and_then(NonZeroUsize::new) {
        // No more than the administrator allows.
        generation.answer_tokens_max = n.min(generation.answer_tokens_max);
    }
    engine.choose_adapter(adapter);
    let filter = Filter { collections: collection.into_iter().collect(), ..reader.filter() };
    Ok(Asking {
        question,
        turns: exchanges,
        filter,
        alone: false,
        engine,
        reader,
        conversation: Conversation::None,
        base: base_url(app, headers),
        channel: "chat.completion",
    })
}

async fn from_documents(
    app: &Arc<App>,
    asking: Asking,
    completion: Completion,
    request: &ChatRequest,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let dialects = request.dialects(headers);
    let ticket = app.answering.ticket()?;
    if request.stream == Some(true) {
        let language = asking.question.language;
        let progress = answer(app, asking, ticket);
        return Ok(sse(stream::chunks(completion, dialects, language, progress)));
    }
    let answered = whole_answer(app, asking, ticket).await?;
    let mut text = answered.answer.text.clone();
    if dialects.markdown {
        text.push_str(&sources::markdown(&answered));
    }
    let mut message = json!({
        "role": "assistant",
        "content": text,
        "refusal": null,
        "annotations": sources::annotations(&answered, &text),
    });
    if dialects.azure {
        message["context"] = sources::azure(&answered);
    }
    let finish = if answered.answer.truncated { "length" } else { "stop" };
    let n_read = answered.answer.context.as_ref().map_or(0, |it| it.n_tokens);
    let usage = usage(n_read, answered.answer.n_tokens, 0);
    let mut whole = completion.whole(&message, finish, usage, Value::Null);
    add_sources(&mut whole, &answered);
    Ok(Json(whole).into_response())
}

/// A conversation for the generator alone.
struct Plain {
    turns: Vec<Turn>,
    adapter: Option<String>,
    engine: Engine,
    reader: Reader,
}

/// What happens while the generator writes.
pub(super) enum Drafting {
    Text(String),
    Done(Box<Result<Written, ApiError>>),
}

/// What it wrote.
pub(super) struct Written {
    text: String,
    finish: FinishReason,
    n_read: usize,
    n_cached: usize,
    n_written: usize,
    scores: Vec<TokenScore>,
}

impl Written {
    pub(super) fn finish(&self) -> &'static str {
        match self.finish {
            FinishReason::Length => "length",
            FinishReason::Stop | FinishReason::Cancelled => "stop",
        }
    }

    pub(super) fn usage(&self) -> Value {
        usage(self.n_read, self.n_written, self.n_cached)
    }

    fn logprobs(&self) -> Value {
        if self.scores.is_empty() {
            return Value::Null;
        }
        let token = |bytes: &[u8], logprob: f32| {
            json!({
                "token": String::from_utf8_lossy(bytes),
                "bytes": bytes,
                "logprob": logprob,
            })
        };
        let content = self.scores.iter().map(|it| {
            let mut res = token(&it.bytes, it.logprob);
            let top = it.top.iter().map(|it| token(&it.bytes, it.logprob));
            res["top_logprobs"] = json!(top.collect::<Vec<Value>>());
            res
        });
        json!({ "content": content.collect::<Vec<Value>>(), "refusal": null })
    }
}

async fn by_generator(
    app: &Arc<App>,
    plain: Plain,
    completion: Completion,
    request: &ChatRequest,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let AnswerSettings { generation, .. } = &plain.engine.settings;
    let tokens_max = generation.answer_tokens_max.get();
    let options = request.sample_options(sample_options(generation), tokens_max)?;
    let is_stream = request.stream == Some(true);
    if options.logprobs.is_some() && matches!(*plain.engine.writer, Writer::Upstream(_)) {
        let why = "the server that writes is not asked for log-probabilities";
        return Err(ApiError::bad_field("logprobs", why));
    }
    if is_stream && options.logprobs.is_some() {
        let why = "log-probabilities are only told without `stream`";
        return Err(ApiError::bad_field("logprobs", why));
    }
    let mut drafts = draft(app, plain, options, ticket);
    if is_stream {
        return Ok(sse(stream::plain_chunks(completion, drafts)));
    }
    while let Some(it) = drafts.recv().await {
        if let Drafting::Done(outcome) = it {
            let written = (*outcome)?;
            let message = json!({
                "role": "assistant",
                "content": written.text,
                "refusal": null,
                "annotations": [],
            });
            let whole =
                completion.whole(&message, written.finish(), written.usage(), written.logprobs());
            return Ok(Json(whole).into_response());
        }
    }
    Err(ApiError::internal(&std::io::Error::other("a draft ended without an end")))
}

/// Has the generator write on a thread of its own; dropping the channel ends the draft.
fn draft(
    app: &Arc<App>,
    plain: Plain,
    options: SampleOptions,
    ticket: Ticket,
) -> mpsc::UnboundedReceiver<Drafting> {
    in_place(app, ticket, None, move |app, sender| {
        let outcome = write(app, &plain, options, sender);
        let _ = sender.send(Drafting::Done(Box::new(outcome)));
    })
}

fn write(
    app: &App,
    plain: &Plain,
    options: SampleOptions,
    sender: &mpsc::UnboundedSender<Drafting>,
) -> Result<Written, ApiError> {
    let start = std::time::Instant::now();
    let mut first = None;
    let mut show = |text: &str| {
        first.get_or_insert_with(|| start.elapsed());
        match sender.send(Drafting::Text(text.to_owned())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let written = match &*plain.engine.writer {
        Writer::Model(model) => {
            let encoder = model.encoder();
            let prompt = encoder
                .encode_chat_with(&messages_of(&plain.turns), &ChatOptions::default())
                .map_err(|error| ApiError::bad_field("messages", error.to_string()))?;
            let request = Request { prompt, options, adapter: plain.adapter.clone() };
            let draft = model
                .write(request, &mut |event| match event {
                    generate::Event::Text(text) => show(text),
                    generate::Event::Read { .. } if sender.is_closed() => ControlFlow::Break(()),
                    generate::Event::Read { .. } => ControlFlow::Continue(()),
                })
                .map_err(|error: WriteError| AskError::from(error))?;
            Written {
                text: draft.text,
                finish: draft.finish,
                n_read: draft.n_prompt_tokens,
                n_cached: draft.n_cached_tokens,
                n_written: draft.n_tokens,
                scores: draft.scores,
            }
        }
        Writer::Upstream(chat) => {
            let reply = chat
                .reply(&plain.turns, &options, &mut |event| match event {
                    ReplyEvent::Text(text) => show(text),
                    ReplyEvent::Waiting if sender.is_closed() => ControlFlow::Break(()),
                    ReplyEvent::Waiting => ControlFlow::Continue(()),
                })
                .map_err(AskError::from)?;
            let (n_read, n_written) =
                reply.usage.map_or((0, 0), |it| (it.n_prompt_tokens, it.n_tokens));
            Written {
                text: reply.text,
                finish: reply.finish,
                n_read,
                n_cached: 0,
                n_written,
                scores: Vec::new(),
            }
        }
        Writer::Extract { .. } => return Err(unknown("base")),
    };
    app.metrics.answer("plain", written.n_read, written.n_written);
    if let Some(elapsed) = first {
        app.metrics.took(crate::serve::metrics::Kind::FirstToken, elapsed);
    }
    app.audit(&plain.reader, "chat.completion", None, None)?;
    Ok(written)
}

/// A stream that stays open while nothing is said.
pub(crate) fn sse(
    events: impl tokio_stream::Stream<Item = Result<Event, std::convert::Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = axum::response::sse::KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that collect a response before they pass it on would hide the stream.
    let no = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", no);
    response
}
