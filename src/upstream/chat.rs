//! Conversations to replies, as they are written on a server.

use std::{cell::RefCell, ops::ControlFlow};

use model::{
    chat::Turn,
    generate::FinishReason,
    sample::SampleOptions,
    thinking::{self, Splitter},
};

use super::{
    client::{Client, ClientOptions, FailedTry, bytes_of},
    error::{Phase, UpstreamError},
    estimate::Tokens,
    http::{BaseUrl, Exchange, Head, Poll},
    protocol::{self, ChatEvent, Delta},
    sse::Events,
};

pub use super::protocol::Usage;

/// Where answers are asked for.
const PATH: &str = "/chat/completions";

/// A model on a server.
#[derive(Debug)]
pub struct Chat {
    pub(super) client: Client,
    options: ChatOptions,
}

/// What is known of a model on a server.
#[derive(Debug)]
pub struct ChatOptions {
    /// Its name on the server.
    pub model: String,
    /// Tokens that it attends to, prompt and answer together.
    pub context_tokens: usize,
    /// Counts its tokens.
    pub tokens: Tokens,
    /// Whether it is too small to read whole passages and examples.
    pub small: bool,
}

/// What happens while a reply is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEvent<'a> {
    /// Nothing: asks whether to go on waiting.
    Waiting,
    /// The reply continues with this text, which is never empty.
    Text(&'a str),
}

/// Told what happens; `Break` ends the reply there.
pub type OnReply<'a> = &'a mut dyn FnMut(ReplyEvent<'_>) -> ControlFlow<()>;

/// What a server wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The text, without reasoning.
    pub text: String,
    /// Reasoning that the model wrote before; `None` where it did not.
    pub reasoning: Option<String>,
    /// Why it ends.
    pub finish: FinishReason,
    /// Tokens, where the server says how many.
    pub usage: Option<Usage>,
}

impl Chat {
    /// Prepares to speak to a server; opens nothing yet.
    #[must_use]
    pub fn new(client: ClientOptions, options: ChatOptions) -> Self {
        Self { client: Client::new(client), options }
    }

    /// The model's name on the server.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.options.model
    }

    /// The server.
    #[must_use]
    pub fn base(&self) -> &BaseUrl {
        self.client.base()
    }

    /// Tokens that the model attends to, prompt and answer together.
    #[must_use]
    pub fn context_tokens(&self) -> usize {
        self.options.context_tokens
    }

    /// Whether the model is too small to read whole passages and examples.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.options.small
    }

    /// Tokens of a conversation, estimated.
    #[must_use]
    pub fn estimate(&self, turns: &[Turn]) -> usize {
        self.options.tokens.of_turns(turns)
    }

    /// Has the model reply. What fails before the first text may be tried again; after it, an
    /// error ends the reply.
    ///
    /// # Errors
    /// [`UpstreamError`]. A reader who breaks off is no error: the reply is what there was.
    pub fn reply(
        &self,
        turns: &[Turn],
        options: &SampleOptions,
        on_event: OnReply<'_>,
    ) -> Result<Reply, UpstreamError> {
        let body = bytes_of(&protocol::chat_request(self.model(), turns, options));
        let on_event = RefCell::new(on_event);
        let partial: RefCell<Incoming> = RefCell::default();
        let mut poll = || {
            self.client.flow()?;
            (on_event.borrow_mut())(ReplyEvent::Waiting)
        };
        let outcome = self.client.run(&mut poll, &mut |poll| {
            partial.take();
            let mut incoming = partial.borrow_mut();
            self.attempt(&body, &mut incoming, poll, &mut |text| {
                (on_event.borrow_mut())(ReplyEvent::Text(text))
            })
        });
        match outcome {
            Ok(()) => {}
            Err(UpstreamError::Interrupted) => partial.borrow_mut().cancelled = true,
            Err(error) => return Err(error),
        }
        self.complete(partial.take(), &mut |text| (on_event.borrow_mut())(ReplyEvent::Text(text)))
    }

    /// One try: asks, and takes in what comes until it ends.
    fn attempt(
        &self,
        body: &[u8],
        incoming: &mut Incoming,
        poll: Poll<'_>,
        emit: Emit<'_>,
    ) -> Result<(), FailedTry> {
        let (head, mut exchange) =
            self.client.open(PATH, self.model(), Some(body.to_vec()), poll)?;
        let outcome = match head.content_type.as_str() {
            "text/event-stream" | "text/plain" | "" => {
                self.stream(&mut exchange, incoming, poll, emit)
            }
            "application/json" => self.whole(&head, &mut exchange, incoming, poll, emit),
            _ => {
                let text = exchange.text(poll)?;
                Err(self.client.not_protocol(PATH, &head, &text))
            }
        };
        outcome.map_err(|error| {
            let error = match error {
                UpstreamError::Cut { host, .. } => {
                    UpstreamError::Cut { host, n_chars: incoming.text.chars().count() }
                }
                error => error,
            };
            FailedTry { error, shown: !incoming.text.is_empty() }
        })
    }

    /// Takes in a stream of events.
    fn stream(
        &self,
        exchange: &mut Exchange,
        incoming: &mut Incoming,
        poll: Poll<'_>,
        emit: Emit<'_>,
    ) -> Result<(), UpstreamError> {
        let mut events = Events::default();
        loop {
            let phase = if incoming.has_begun { Phase::BetweenChunks } else { Phase::FirstByte };
            let piece = match exchange.piece(phase, poll) {
                Ok(Some(piece)) => piece,
                // Complete answers are kept, however the connection ends after them.
                Ok(None) | Err(UpstreamError::Cut { .. } | UpstreamError::Timeout { .. })
                    if incoming.finish.is_some() =>
                {
                    break;
                }
                Ok(None) => break,
                Err(error) => return Err(error),
            };
            let ready = events.push(&piece).map_err(|_| UpstreamError::TooLarge {
                host: self.client.host(),
                bytes_max: super::sse::EVENT_BYTES_MAX,
            })?;
            for data in ready {
                if self.event(&data, incoming, emit)?.is_break() {
                    return Ok(());
                }
            }
        }
        if let Some(data) = events.finish()
            && self.event(&data, incoming, emit)?.is_break()
        {
            return Ok(());
        }
        // Some servers say why the answer ends and leave out the end mark; one of the two is due.
        if incoming.finish.is_none() {
            return Err(UpstreamError::Cut { host: self.client.host(), n_chars: 0 });
        }
        Ok(())
    }

    /// Takes in an answer of a server that does not stream.
    fn whole(
        &self,
        head: &Head,
        exchange: &mut Exchange,
        incoming: &mut Incoming,
        poll: Poll<'_>,
        emit: Emit<'_>,
    ) -> Result<(), UpstreamError> {
        let text = exchange.text(poll)?;
        self.client.parse(PATH, head, &text)?;
        let _ = self.event(&text, incoming, emit)?;
        Ok(())
    }

    /// Takes in one event; `Break` when nothing is to follow.
    fn event(
        &self,
        data: &str,
        incoming: &mut Incoming,
        emit: Emit<'_>,
    ) -> Result<ControlFlow<()>, UpstreamError> {
        let event = protocol::chat_event(data).map_err(|problem| UpstreamError::BadJson {
            host: self.client.host(),
            problem,
            beginning: self.client.said(data),
        })?;
        match event {
            ChatEvent::Done => Ok(ControlFlow::Break(())),
            ChatEvent::Failed(failure) => Err(self.client.error_in_stream(&failure)),
            ChatEvent::Delta(delta) => {
                incoming.cancelled = incoming.take(delta, emit).is_break();
                Ok(match incoming.cancelled {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            }
        }
    }

    /// Makes a reply of what came.
    fn complete(&self, incoming: Incoming, emit: Emit<'_>) -> Result<Reply, UpstreamError> {
        let Incoming { mut text, mut reasoning, mut splitter, finish, usage, cancelled, .. } =
            incoming;
        let rest = splitter.finish();
        if !rest.answer.is_empty() {
            text.push_str(&rest.answer);
            // The reply is complete: a reader who leaves now has lost nothing.
            let _ = emit(&rest.answer);
        }
        reasoning.push_str(&rest.thoughts);
        if text.contains(thinking::CLOSE) {
            // The server's template opened the thoughts in the prompt.
            let (thoughts, answer) = thinking::split(&text, true);
            reasoning.extend(thoughts);
            text = answer;
        }
        let finish = match finish.as_deref() {
            _ if cancelled => FinishReason::Cancelled,
            Some("content_filter") => {
                let said = self.client.said("its content filter stopped the answer");
                let host = self.client.host();
                return Err(UpstreamError::InStream { host, said, transient: false });
            }
            Some("length") => FinishReason::Length,
            Some(_) | None => FinishReason::Stop,
        };
        let reasoning = reasoning.trim();
        if text.trim().is_empty() && finish != FinishReason::Cancelled {
            let n_reasoning_chars = reasoning.chars().count();
            return Err(UpstreamError::NoAnswer { host: self.client.host(), n_reasoning_chars });
        }
        let reasoning = (!reasoning.is_empty()).then(|| reasoning.to_owned());
        Ok(Reply { text, reasoning, finish, usage })
    }
}

/// Shows a piece of the answer.
type Emit<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;

/// A reply on its way.
#[derive(Debug)]
struct Incoming {
    /// Whether the model has begun to write, be it reasoning.
    has_begun: bool,
    /// Text that was shown.
    text: String,
    /// Reasoning, from inside and outside the text.
    reasoning: String,
    /// Takes reasoning off the text.
    splitter: Splitter,
    finish: Option<String>,
    usage: Option<Usage>,
    cancelled: bool,
}

impl Default for Incoming {
    fn default() -> Self {
        Self {
            has_begun: false,
            text: String::new(),
            reasoning: String::new(),
            splitter: Splitter::new(false),
            finish: None,
            usage: None,
            cancelled: false,
        }
    }
}

impl Incoming {
    fn take(&mut self, delta: Delta, emit: Emit<'_>) -> ControlFlow<()> {
        self.has_begun |= !delta.text.is_empty() || !delta.reasoning.is_empty();
        self.reasoning.push_str(&delta.reasoning);
        self.finish = delta.finish.or(self.finish.take());
        self.usage = delta.usage.or(self.usage);
        let split = self.splitter.push(&delta.text);
        self.reasoning.push_str(&split.thoughts);
        let text = split.answer;
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(&text);
        emit(&text)
    }
}
