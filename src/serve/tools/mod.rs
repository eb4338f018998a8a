//! Chat tools that ask: Slack, Mattermost, Microsoft Teams.
//!
//! Every request goes the same way: it is verified ([`signature`]), read into a [`ToolQuestion`],
//! acknowledged, answered ([`finish`]) and shown ([`reply`]). Its signature or token is what lets it
//! in; its users read what is open to everyone and what the settings' groups share. Below an answer
//! stands a link to a form that says what was wrong with it ([`links`]).

pub(super) mod links;
mod mattermost;
mod outgoing;
mod recent;
pub(super) mod reply;
mod signature;
mod slack;
mod slack_blocks;
mod slack_events;
mod slack_text;
mod teams;
mod words;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Form, Router,
    body::{Body, Bytes},
    extract::{FromRequest as _, Request, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::Semaphore, task::JoinSet};

use self::{outgoing::Message, recent::Recent, reply::Reply};
use super::{
    access::Reader,
    answering::{Asking, whole_answer},
    ask::{AskRequest, asking},
    error::ApiError,
    gate::Ticket,
    settings::ServeConfig,
    state::App,
    work::on_thread,
};
use crate::records::{Key, Scope};

/// Deliveries that are remembered, so that one that comes again is not answered again. Slack tries
/// for about an hour.
const EVENTS_MAX: usize = 4_096;

/// Threads whose conversation is remembered.
const THREADS_MAX: usize = 4_096;

/// Messages that are posted at a time.
const POSTS_MAX: usize = 16;

/// Characters of a user's or a thread's name at most.
const NAME_CHARS_MAX: usize = 200;

/// What chat tools remember.
#[derive(Debug)]
pub(super) struct Tools {
    events: Mutex<Recent<()>>,
    /// The conversation of each user in each thread.
    threads: Mutex<Recent<String>>,
    /// What goes on after a request was acknowledged.
    tasks: Mutex<JoinSet<()>>,
    posts: Semaphore,
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Slack,
    Mattermost,
    Teams,
}

/// A question, whichever tool it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ToolQuestion {
    tool: Tool,
    text: String,
    /// The tool's name for who asks.
    user: String,
    /// The tool's name for where follow-ups belong; empty where there is none.
    thread: String,
    /// What links to sources begin with.
    base: String,
    /// The request's id.
    request: String,
}

/// A question that has its place in the queue.
#[derive(Debug)]
struct Pending {
    asking: Asking,
    ticket: Ticket,
    thread: String,
}

/// The routes of the tools that are set up.
pub(super) fn routes(app: &App) -> Router<Arc<App>> {
    let config = &app.session.config.serve;
    let mut router = Router::new();
    if Tool::Slack.is_set_up(config) {
        router = router
            .route("/integrations/slack/command", post(slack::command))
            .route("/integrations/slack/interactions", post(slack::interaction));
        if !config.slack.bot_token.is_empty() {
            router = router.route("/integrations/slack/events", post(slack_events::event));
        }
    }
    if Tool::Mattermost.is_set_up(config) {
        router = router
            .route("/integrations/mattermost/command", post(mattermost::command))
            .route("/integrations/mattermost/webhook", post(mattermost::webhook));
    }
    if Tool::Teams.is_set_up(config) {
        router = router.route("/integrations/teams", post(teams::message));
    }
    router
}

/// What an administrator must know before tools can ask.
pub(super) fn warnings(config: &crate::config::Config) -> Vec<&'static str> {
    let serve = &config.serve;
    let mut res = Vec::new();
    if !config.offline {
        return res;
    }
    if !serve.slack.signing_secret.is_empty() {
        res.push(
            "`offline` forbids posting to Slack: commands are answered only if the answer is ready \
             within two seconds, mentions and direct messages are not answered, and buttons do not \
             change the message",
        );
    }
    if !serve.mattermost.tokens.is_empty() && !serve.mattermost.url.is_empty() {
        res.push(
            "`offline` forbids posting to Mattermost: commands are answered within \
             `serve.mattermost.wait_seconds` or not at all",
        );
    }
    res
}

impl Tools {
    pub(super) fn new() -> Self {
        Self {
            events: Mutex::new(Recent::new(EVENTS_MAX)),
            threads: Mutex::new(Recent::new(THREADS_MAX)),
            tasks: Mutex::default(),
            posts: Semaphore::new(POSTS_MAX),
        }
    }

    /// Whether a delivery comes for the first time, as far as we remember.
    fn is_new(&self, delivery: &str) -> bool {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).insert(delivery, ())
    }

    /// Goes on with work after its request was acknowledged.
    fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Lets answers that were promised arrive before the server ends.
    pub(super) async fn drain(&self, limit: Duration) {
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("some answers did not reach their chat tool before the shutdown");
        }
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Mattermost => "mattermost",
            Self::Teams => "teams",
        }
    }

    /// The one whose user an owner of records is: `slack:U024BE7LH`.
    fn of_owner(owner: &str) -> Option<Self> {
        let (name, _) = owner.split_once(':')?;
        [Self::Slack, Self::Mattermost, Self::Teams].into_iter().find(|it| it.name() == name)
    }

    /// Whether the settings name its secrets.
    fn is_set_up(self, config: &ServeConfig) -> bool {
        let secret = match self {
            Self::Slack => &config.slack.signing_secret,
            Self::Mattermost => &config.mattermost.tokens,
            Self::Teams => &config.teams.secret,
        };
        !secret.is_empty()
    }

    /// What the audit record calls a question.
    fn channel(self) -> &'static str {
        match self {
            Self::Slack => "slack.ask",
            Self::Mattermost => "mattermost.ask",
            Self::Teams => "teams.ask",
        }
    }

    /// The groups that its users are of, and the collection that answers them.
    fn rights(self, config: &ServeConfig) -> (&[String], &str) {
        match self {
            Self::Slack => (&config.slack.groups, &config.slack.collection),
            Self::Mattermost => (&config.mattermost.groups, &config.mattermost.collection),
            Self::Teams => (&config.teams.groups, &config.teams.collection),
        }
    }

    /// A user of it: reads what everyone may, and what the settings' groups share. The audit record
    /// and what they are kept under call them `slack:U024BE7LH`.
    fn reader(self, config: &ServeConfig, user: &str, request: String) -> Reader {
        let user: String = user.chars().take(NAME_CHARS_MAX).collect();
        let key = Key {
            id: format!("{}:{user}", self.name()),
            name: self.name().to_owned(),
            scope: Scope::Read,
            groups: self.rights(config).0.to_vec(),
            created: 0,
            revoked: None,
        };
        Reader { key: Some(key), request }
    }
}

/// Checks a question and gives it a place in the queue, at once.
async fn prepare(app: &Arc<App>, question: ToolQuestion) -> Result<Pending, ApiError> {
    let ToolQuestion { tool, text, user, thread, base, request } = question;
    let reader = tool.reader(&app.session.config.serve, &user, request);
    app.rates.take(reader.owner())?;
    let thread = match thread.is_empty() {
        true => thread,
        false => format!(
            "{} {}",
            reader.owner(),
            thread.chars().take(NAME_CHARS_MAX).collect::<String>()
        ),
    };
    let known = {
        let threads = app.tools.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.get(&thread).cloned()
    };
    let mut asking = on_thread(app, move |app| {
        let collection = Some(tool.rights(&app.session.config.serve).1.to_owned());
        let conversation = match known {
            // It may have been forgotten since.
            Some(id) => app.records.conversation(&id, reader.owner())?.map(|it| it.id),
            None => None,
        };
        let request = AskRequest::plain(text, collection.filter(|it| !it.is_empty()), conversation);
        asking(app, reader, base, request)
    })
    .await?;
    asking.channel = tool.channel();
    let ticket = app.answering.ticket()?;
    Ok(Pending { asking, ticket, thread })
}

/// Answers.
async fn finish(app: &Arc<App>, pending: Pending) -> Result<Reply, ApiError> {
    let Pending { asking, ticket, thread } = pending;
    let base = asking.base.clone();
    let json = whole_answer(app, asking, ticket).await?.json;
    if let (false, Some(conversation)) = (thread.is_empty(), json["conversation"].as_str()) {
        let mut threads = app.tools.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.insert(&thread, conversation.to_owned());
    }
    on_thread(app, move |app| links::with_link(app, Reply::new(&json), &base)).await
}

/// Answers if that is possible in time; otherwise the answer ends where it is.
async fn finish_within(
    app: &Arc<App>,
    pending: Pending,
    limit: Duration,
) -> Option<Result<Reply, ApiError>> {
    tokio::time::timeout(limit, finish(app, pending)).await.ok()
}

/// Posts a message to a tool. What goes wrong is logged: there is nobody else to tell.
async fn send(app: &Arc<App>, tool: Tool, message: Message) {
    // Never closed; and a place too many is no harm.
    let _place = app.tools.posts.acquire().await;
    let sent = tokio::task::spawn_blocking(move || outgoing::post(&message)).await;
    let name = tool.name();
    match sent {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, tool = name, "a message could not be posted"),
        Err(error) => tracing::error!(%error, tool = name, "a message could not be posted"),
    }
}

/// The body as it came: what was signed.
fn received(app: &App, body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::too_large("the request", app.session.config.serve.body_bytes_max.get())
        }
        _ => ApiError::bad_request(error.body_text()),
    })
}

/// Fields of a form.
async fn form<T: DeserializeOwned>(body: Bytes) -> Result<T, ApiError> {
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .map_err(|error| ApiError::internal(&error))?;
    match Form::<T>::from_request(request, &()).await {
        Ok(Form(it)) => Ok(it),
        Err(error) => Err(ApiError::bad_request(error.body_text())),
    }
}

fn json_body(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

/// What a request gets that shows no right to be answered.
fn not_signed(tool: Tool) -> ApiError {
    let name = tool.name();
    tracing::warn!(tool = name, "a request was refused: its signature or token is not right");
    ApiError::new(StatusCode::UNAUTHORIZED, format!("this request is not signed by {name}"))
        .with_code("invalid_signature")
}
