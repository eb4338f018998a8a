//! Where the news of one request collects until its client reads it.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{ReplyError, ReplyEvent};
use crate::generate::{Draft, TokenScore};
use crate::sequence::Output;

/// What the thread has to tell a client.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) mail: Mutex<Mail>,
    pub(super) ready: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Tokens of the prompt that are known, and all of its tokens.
    read: Option<(usize, usize)>,
    text: String,
    scores: Vec<TokenScore>,
    done: Option<Result<Draft, ReplyError>>,
    /// Set with `done`, and stays when that is taken.
    pub(super) is_closed: bool,
    /// Set by the client that wants no more.
    pub(super) is_unwanted: bool,
}

impl Mail {
    /// The oldest news.
    pub(super) fn take(&mut self) -> Option<ReplyEvent> {
        if let Some((n_tokens, n_prompt_tokens)) = self.read.take() {
            return Some(ReplyEvent::Read { n_tokens, n_prompt_tokens });
        }
        if !self.text.is_empty() || !self.scores.is_empty() {
            let (text, scores) = (mem::take(&mut self.text), mem::take(&mut self.scores));
            return Some(ReplyEvent::Text { text, scores });
        }
        self.done.take().map(ReplyEvent::Done)
    }

    fn close(&mut self, result: Result<Draft, ReplyError>) {
        if !self.is_closed {
            self.is_closed = true;
            self.done = Some(result);
        }
    }
}

/// The thread's end of a mailbox.
pub(super) struct Sender(pub(super) Arc<Mailbox>);

impl Sender {
    pub(super) fn is_unwanted(&self) -> bool {
        lock(&self.0.mail).is_unwanted
    }

    pub(super) fn news(&self, outputs: Vec<Output>, n_prompt_tokens: usize) {
        if outputs.is_empty() {
            return;
        }
        let mut mail = lock(&self.0.mail);
        for output in outputs {
            match output {
                Output::Read(n_tokens) => mail.read = Some((n_tokens, n_prompt_tokens)),
                Output::Score(score) => mail.scores.push(score),
                Output::Text(text) => mail.text.push_str(&text),
            }
        }
        self.0.ready.notify_all();
    }

    pub(super) fn done(self, result: Result<Draft, ReplyError>) {
        lock(&self.0.mail).close(result);
        self.0.ready.notify_all();
    }
}

impl Drop for Sender {
    /// A client is never left waiting, whatever becomes of its request.
    fn drop(&mut self) {
        let reason = "the request was dropped".to_owned();
        lock(&self.0.mail).close(Err(ReplyError::Gone { reason }));
        self.0.ready.notify_all();
    }
}

/// A mutex here guards plain data that no panic leaves half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
