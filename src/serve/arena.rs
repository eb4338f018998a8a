//! Two blind answers side by side, votes between them, and what the votes say of the arms.
//!
//! Which arms wrote is told by the response to a vote and by nothing before it: until then nobody
//! can look the answers up either (`src/records/matches.rs`).

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, http::StatusCode};
use index::filter::Filter;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    access::Reader,
    answering::{Answered, Asking, Conversation, base_url, whole_answer},
    ask::filter,
    error::ApiError,
    extract::{Body, Id},
    state::App,
    work::on_thread,
};
use crate::{
    compare::{
        arms::{Arm, Way, parse_arms},
        rating::ratings,
    },
    records::{Choice, Match, Side, VoteOutcome, new_id, random_below},
    retrieve::Question,
    writer::Writer,
};

/// Characters of a reason at most.
const REASON_CHARS_MAX: usize = 2_000;

/// Answers among which one is chosen, at most.
const ANSWERS_MAX: usize = 20;

/// `POST /v1/arena`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct ArenaRequest {
    question: String,
    /// Only documents of this collection.
    #[serde(default)]
    collection: Option<String>,
    /// Arms to draw two from, as `souffleur compare` writes them; all that the server has where not
    /// given.
    #[serde(default)]
    arms: Option<Vec<String>>,
}

/// `POST /v1/arena/{id}/vote`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct VoteRequest {
    choice: Choice,
    /// Why, in words.
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /v1/preferences`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct PreferenceRequest {
    /// The id of the best answer.
    best: String,
    /// The ids of the others.
    others: Vec<String>,
    /// Why, in words.
    #[serde(default)]
    reason: Option<String>,
}

/// Has two arms answer a question, without saying which. Waits for both.
#[utoipa::path(post, path = "/v1/arena", tag = "Arena", request_body = ArenaRequest,
    responses((status = 201, description = "`id`, `question`, `left` and `right`, each with `answer`, `refused`, \
                  `sentences` and `sources`", body = Value),
              (status = 409, description = "There are no two arms, or answers are not kept", body = Value),
              (status = 503, description = "Too much to do; `Retry-After` says when", body = Value)))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    reader: Reader,
    headers: HeaderMap,
    Body(request): Body<ArenaRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let base = base_url(&app, &headers);
    let owner = reader.owner().to_owned();
    let drawing = on_thread(&app, move |app| draw(app, &reader, &base, request));
    let Drawn { question, sides } = drawing.await?;
    let mut answered = Vec::new();
    for (arm, asking) in sides {
        let ticket = app.answering.ticket()?;
        answered.push((arm, whole_answer(&app, asking, ticket).await?));
    }
    let shown: Vec<Value> = answered.iter().map(|(_, it)| blind(it)).collect();
    let sides = answered.into_iter().map(|(arm, it)| Side { answer: it.id, arm: Some(arm) });
    let [left, right] = match <[Side; 2]>::try_from(sides.collect::<Vec<_>>()) {
        Ok(it) => it,
        Err(_) => {
            return Err(ApiError::internal(&std::io::Error::other("a match needs two sides")));
        }
    };
    let id = on_thread(&app, move |app| {
        let it = Match { id: new_id("m_")?, owner, question, left, right };
        app.records.open_match(&it)?;
        Ok((it.id, it.question))
    });
    let (id, question) = id.await?;
    let out = json!({ "id": id, "question": question, "left": shown[0], "right": shown[1] });
    Ok((StatusCode::CREATED, Json(out)))
}

/// What may be seen of an answer before the vote: nothing that names its arm or its costs.
fn blind(it: &Answered) -> Value {
    let shown = ["answer", "language", "refused", "truncated", "sentences", "sources"];
    shown.into_iter().map(|key| (key.to_owned(), it.json[key].clone())).collect()
}

/// A question, and the arms that answer it: the first one on the left.
struct Drawn {
    question: String,
    sides: Vec<(String, Asking)>,
}

fn draw(app: &App, reader: &Reader, base: &str, request: ArenaRequest) -> Result<Drawn, ApiError> {
    if !app.keeps_answers() {
        return Err(ApiError::conflict(
            "votes need answers that are kept, and `serve.keep_days` is 0",
        ));
    }
    let question = Question::new(&request.question)?;
    let filter = filter(app, reader, request.collection, None, None)?;
    let mut arms = match request.arms {
        Some(named) => named_arms(app, &named)?,
        None => app.arms(),
    };
    if arms.len() < 2 {
        return Err(ApiError::conflict(
            "there is one way to answer here, and a match needs two: a generator or an adapter \
             brings more",
        ));
    }
    let mut sides = Vec::new();
    for _ in 0..2 {
        let arm = arms.swap_remove(random_below(arms.len())?);
        sides.push((arm.label.clone(), asking(app, reader, base, &question, &filter, &arm)));
    }
    Ok(Drawn { question: question.text().to_owned(), sides })
}

fn asking(
    app: &App,
    reader: &Reader,
    base: &str,
    question: &Question,
    filter: &Filter,
    arm: &Arm,
) -> Asking {
    Asking {
        question: question.clone(),
        turns: Vec::new(),
        filter: filter.clone(),
        alone: arm.way == Way::Alone,
        engine: arm.engine(&app.engine, &app.engine.writer),
        reader: reader.clone(),
        conversation: Conversation::None,
        base: base.to_owned(),
        channel: "arena.answer",
    }
}

impl App {
    /// The arms that this server can answer as.
    fn arms(&self) -> Vec<Arm> {
        let mut names = vec!["extract".to_owned()];
        if !matches!(&*self.engine.writer, Writer::Extract { .. }) {
            names.extend(["base".to_owned(), "rag".to_owned()]);
        }
        for it in self.adapters() {
            names.extend([format!("ft:{it}"), format!("rag+ft:{it}")]);
        }
        names.iter().filter_map(|it| it.parse().ok()).collect()
    }
}

/// Arms that a request names, if the server can answer as they do.
fn named_arms(app: &App, named: &[String]) -> Result<Vec<Arm>, ApiError> {
    let wrong = |why: String| ApiError::bad_field("arms", why);
    let arms = parse_arms(&named.join(",")).map_err(|error| wrong(error.to_string()))?;
    let has_model = !matches!(&*app.engine.writer, Writer::Extract { .. });
    let adapters = app.adapters();
    for arm in &arms {
        let label = &arm.label;
        if arm.way != Way::Quotes && !has_model {
            return Err(wrong(format!("`{label}` needs a language model, and there is none")));
        }
        if arm.settings.model.is_some() {
            return Err(wrong(format!("`{label}`: the server has one generator")));
        }
        if let Some(adapter) = &arm.adapter
            && (adapter.path.is_some() || !adapters.contains(&adapter.name))
        {
            let known = adapters.join(", ");
            let why = format!("`{label}`: adapters that are loaded go by name: {known}");
            return Err(wrong(why));
        }
    }
    Ok(arms)
}

/// Decides a match that the reader opened, and tells which arms wrote. Once.
#[utoipa::path(post, path = "/v1/arena/{id}/vote", tag = "Arena", request_body = VoteRequest,
    params(("id" = String, Path, description = "The match's id, `m_…`")),
    responses((status = 201, description = "`choice`, and `left` and `right` with `arm` and `answer` (its id)", body = Value),
              (status = 404, description = "The reader has no such match", body = Value),
              (status = 409, description = "It was decided before", body = Value)))]
pub(crate) async fn vote(
    State(app): State<Arc<App>>,
    reader: Reader,
    Id(id): Id<String>,
    Body(request): Body<VoteRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let reason = reason(request.reason)?;
    let out = on_thread(&app, move |app| {
        match app.records.vote(&id, reader.owner(), request.choice, reason.as_deref())? {
            VoteOutcome::Unknown => Err(ApiError::not_found("match", &id)),
            VoteOutcome::Decided => Err(ApiError::conflict("this match was decided before")),
            VoteOutcome::Recorded(it) => {
                app.audit(&reader, "arena.vote", Some(&id), None)?;
                let [left, right] =
                    [it.left, it.right].map(|it| json!({ "arm": it.arm, "answer": it.answer }));
                Ok(json!({ "id": id, "choice": request.choice, "left": left, "right": right }))
            }
        }
    })
    .await?;
    Ok((StatusCode::CREATED, Json(out)))
}

/// How the arms stand by all votes: Bradley and Terry's ratings with intervals.
#[utoipa::path(get, path = "/v1/arena/ratings", tag = "Arena",
    responses((status = 200, description = "`votes`, and `data` with `arm`, `rating`, `interval`, `wins`, `ties`, \
                  `losses`, the best first", body = Value)))]
pub(crate) async fn table(State(app): State<Arc<App>>, _: Reader) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let votes = app.records.arena()?;
        let data: Vec<Value> = ratings(&votes)
            .into_iter()
            .map(|it| {
                json!({
                    "arm": it.arm,
                    "rating": it.rating.round(),
                    "interval": [it.interval.0.round(), it.interval.1.round()],
                    "wins": it.wins,
                    "ties": it.ties,
                    "losses": it.losses,
                })
            })
            .collect();
        Ok(json!({ "object": "list", "votes": votes.len(), "data": data }))
    })
    .await?;
    Ok(Json(out))
}

/// Records which of several answers is the best: all of them the reader's, to one question.
#[utoipa::path(post, path = "/v1/preferences", tag = "Conversations", request_body = PreferenceRequest,
    responses((status = 201, description = "It is recorded", body = Value),
              (status = 404, description = "The reader has no such answers", body = Value)))]
pub(crate) async fn prefer(
    State(app): State<Arc<App>>,
    reader: Reader,
    Body(request): Body<PreferenceRequest>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let PreferenceRequest { best, others, reason: why } = request;
    let reason = reason(why)?;
    let n = others.len();
    if !(1..ANSWERS_MAX).contains(&n) || others.contains(&best) {
        let why = format!("others must name from 1 to {} other answers", ANSWERS_MAX - 1);
        return Err(ApiError::bad_field("others", why));
    }
    let out = on_thread(&app, move |app| {
        if !app.records.prefer(reader.owner(), &best, &others, reason.as_deref())? {
            return Err(ApiError::not_found("answer of yours among", &best));
        }
        app.audit(&reader, "preference", Some(&best), None)?;
        Ok(json!({ "recorded": true, "best": best, "others": others }))
    })
    .await?;
    Ok((StatusCode::CREATED, Json(out)))
}

fn reason(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
    if text.as_ref().is_some_and(|it| it.chars().count() > REASON_CHARS_MAX) {
        let why = format!("reason is longer than {REASON_CHARS_MAX} characters");
        return Err(ApiError::bad_field("reason", why));
    }
    Ok(text)
}
