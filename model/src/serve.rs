//! A thread that owns a generator and makes drafts for many clients at once.
//!
//! Requests wait in a bounded queue; a full one is refused at once. Those that run share every
//! forward pass (Yu et al. 2022, "Orca"): a request joins and leaves between two passes, and long
//! prompts are read in pieces beside the tokens that the others write.
//!
//! News of a request collects in a mailbox of its own, where text that nobody has read yet becomes
//! one piece. So a slow reader slows nobody, holds no place longer than its draft takes, and costs no
//! more memory than the draft.

mod mailbox;

use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use thiserror::Error;

use crate::adapter::{Adapter, AdapterError};
use crate::adapters::{Adapters, LoadedAdapter};
use crate::generate::{Draft, GenerateError, Generator, Request, TokenScore};
use crate::lora::PackedAdapter;
use crate::prompt::PromptEncoder;
use crate::sequence::Sequence;
use mailbox::{Mailbox, Sender, lock};

/// Bounds of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeOptions {
    /// Requests that run together.
    pub batch_max: NonZeroUsize,
    /// Requests that wait beside those.
    pub queue_max: NonZeroUsize,
}

impl Default for ServeOptions {
    /// Eight together and 32 waiting.
    fn default() -> Self {
        let number = |n| NonZeroUsize::new(n).expect("not zero");
        Self { batch_max: number(8), queue_max: number(32) }
    }
}

/// A generator on a thread of its own. Dropping it cancels what runs.
#[derive(Debug)]
pub struct Service {
    /// None once it is closing.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    encoder: Arc<PromptEncoder>,
    adapters: Arc<Adapters>,
    token_bytes: usize,
    state: Arc<State>,
}

/// A request cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// As many requests wait as may.
    #[error("the model is busy: {waiting} requests are waiting already")]
    Busy {
        /// Requests that wait.
        waiting: usize,
    },
    /// The thread has ended.
    #[error("the model's thread has ended: {reason}")]
    Gone {
        /// Why.
        reason: String,
    },
}

/// A draft could not be made.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// The request was wrong, or the model failed on it.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The thread ended before the draft was complete.
    #[error("the model's thread has ended: {reason}")]
    Gone {
        /// Why.
        reason: String,
    },
}

/// What happens to a request.
#[derive(Debug)]
pub enum ReplyEvent {
    /// So much of the prompt is known now.
    Read {
        /// Tokens read so far, those known from other prompts included.
        n_tokens: usize,
        /// Tokens of the prompt.
        n_prompt_tokens: usize,
    },
    /// The draft continues with this text; tokens with their log-probabilities where asked for.
    Text {
        /// May be empty when only scores are new.
        text: String,
        /// Of the tokens chosen since the last event.
        scores: Vec<TokenScore>,
    },
    /// The draft is complete, or will never be. Nothing comes after it.
    Done(Result<Draft, ReplyError>),
}

/// How many requests there are, and whether the thread lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Requests that wait.
    pub n_waiting: usize,
    /// Requests that run.
    pub n_running: usize,
    /// Why the thread has ended, if it has.
    pub gone: Option<String>,
}

/// The client's end of a request. Dropping it cancels the request.
#[derive(Debug)]
pub struct Reply {
    mailbox: Arc<Mailbox>,
}

struct Job {
    request: Request,
    /// The one that it asks for, as it was then.
    adapter: Option<Arc<PackedAdapter>>,
    mail: Sender,
}

/// A request that runs.
struct Running {
    sequence: Sequence,
    mail: Sender,
}

#[derive(Debug, Default)]
struct State {
    n_waiting: AtomicUsize,
    n_running: AtomicUsize,
    /// Why the thread has ended.
    gone: Mutex<Option<String>>,
    /// Set when running requests shall end where they are.
    abort: AtomicBool,
}

impl Service {
    /// Moves a generator to a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn(generator: Generator, options: ServeOptions) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel(options.queue_max.get());
        let (encoder, adapters) = (generator.encoder(), Arc::clone(&generator.adapters));
        let token_bytes = generator.token_bytes();
        let state = Arc::new(State::default());
        let worker = Worker {
            generator,
            inbox,
            batch_max: options.batch_max.get(),
            running: Vec::new(),
            state: Arc::clone(&state),
        };
        let builder = thread::Builder::new().name("generator".to_owned());
        let thread = builder.spawn(move || worker.run())?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), encoder, adapters, token_bytes, state })
    }

    /// The part that turns conversations into prompts.
    pub fn encoder(&self) -> &PromptEncoder {
        &self.encoder
    }

    /// Bytes of keys and values that are kept for each token of a prompt and of its draft.
    pub fn token_bytes(&self) -> usize {
        self.token_bytes
    }

    /// Queues a request.
    ///
    /// # Errors
    /// At once, when the queue is full or the thread has ended. What is wrong with the request itself
    /// comes as its reply.
    pub fn submit(&self, request: Request) -> Result<Reply, SubmitError> {
        let mailbox = Arc::new(Mailbox::default());
        let mail = Sender(Arc::clone(&mailbox));
        let adapter = match self.adapters.find(request.adapter.as_deref()) {
            Ok(adapter) => adapter,
            Err(error) => {
                mail.done(Err(error.into()));
                return Ok(Reply { mailbox });
            }
        };
        // Who was told that the thread ended may ask again before the queue has gone with it.
        if let Some(reason) = lock(&self.state.gone).clone() {
            return Err(SubmitError::Gone { reason });
        }
        let job = Job { request, adapter, mail };
        let jobs = self.jobs.as_ref().expect("a service takes requests until it is dropped");
        // Counted before it is sent, so that the thread never counts it down first.
        let waiting = self.state.n_waiting.fetch_add(1, Ordering::SeqCst);
        let refused = match jobs.try_send(job) {
            Ok(()) => return Ok(Reply { mailbox }),
            Err(TrySendError::Full(_)) => SubmitError::Busy { waiting },
            Err(TrySendError::Disconnected(_)) => {
                let reason = lock(&self.state.gone).clone();
                SubmitError::Gone { reason: reason.unwrap_or_else(|| "it was closed".to_owned()) }
            }
        };
        self.state.n_waiting.fetch_sub(1, Ordering::SeqCst);
        Err(refused)
    }

    /// Loads a LoRA adapter, a PEFT folder or a GGUF file, and checks it against the model. The
    /// calling thread does the work.
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, AdapterError> {
        self.adapters.load(path)
    }

    /// Adds an adapter, which requests then choose by `name`. One of the same name is replaced, for
    /// requests to come: those that were taken keep theirs.
    ///
    /// # Errors
    /// When it was loaded for another base.
    pub fn add_adapter(&self, name: &str, adapter: &Adapter) -> Result<(), AdapterError> {
        self.adapters.add(name, adapter)
    }

    /// Takes an adapter from requests to come; those that were taken keep it, and its memory is
    /// freed with the last of them. False when there is none of that name.
    pub fn remove_adapter(&self, name: &str) -> bool {
        self.adapters.remove(name)
    }

    /// The adapters that requests can choose.
    pub fn adapters(&self) -> Vec<LoadedAdapter> {
        self.adapters.list()
    }

    /// How busy the service is.
    pub fn status(&self) -> ServiceStatus {
        ServiceStatus {
            n_waiting: self.state.n_waiting.load(Ordering::SeqCst),
            n_running: self.state.n_running.load(Ordering::SeqCst),
            gone: lock(&self.state.gone).clone(),
        }
    }

    /// Takes no more requests, completes all that were taken, and ends the thread.
    pub fn shutdown(mut self) {
        self.close();
    }

    fn close(&mut self) {
        self.jobs = None; // The thread ends when the queue is empty and closed.
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread catches its panics");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.state.abort.store(true, Ordering::SeqCst);
            self.close();
        }
    }
}

/// The thread's own data.
struct Worker {
    generator: Generator,
    inbox: Receiver<Job>,
    batch_max: usize,
    running: Vec<Running>,
    state: Arc<State>,
}

impl Worker {
    fn run(mut self) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve())) else {
            *lock(&self.state.gone) = Some("it was closed".to_owned());
            return;
        };
        let reason = format!("it panicked: {}", panic_message(&*panic));
        tracing::error!(reason, "the generator's thread has ended");
        // First, so that whoever is told can see it.
        *lock(&self.state.gone) = Some(reason.clone());
        let waiting = mem::take(&mut self.running).into_iter().map(|it| it.mail);
        for mail in waiting.chain(self.inbox.try_iter().map(|it| it.mail)) {
            mail.done(Err(ReplyError::Gone { reason: reason.clone() }));
        }
        self.state.n_waiting.store(0, Ordering::SeqCst);
        self.state.n_running.store(0, Ordering::SeqCst);
    }

    /// Serves until the queue is closed and empty.
    fn serve(&mut self) {
        while self.admit() {
            self.step();
            self.deliver();
        }
    }

    /// Fills free places from the queue, waiting for a request if none runs. False when there will
    /// never be another.
    fn admit(&mut self) -> bool {
        while self.running.len() < self.batch_max {
            let job = if self.running.is_empty() {
                match self.inbox.recv() {
                    Ok(job) => job,
                    Err(_) => return false,
                }
            } else {
                match self.inbox.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            };
            self.state.n_waiting.fetch_sub(1, Ordering::SeqCst);
            let Job { request, adapter, mail } = job;
            match self.generator.start_with(&request, adapter) {
                Ok(sequence) => self.running.push(Running { sequence, mail }),
                Err(error) => mail.done(Err(error.into())),
            }
            self.state.n_running.store(self.running.len(), Ordering::SeqCst);
        }
        true
    }

    /// One forward pass for all whose clients are still there.
    fn step(&mut self) {
        let abort = self.state.abort.load(Ordering::SeqCst);
        for Running { sequence, mail } in &mut self.running {
            if abort || mail.is_unwanted() {
                sequence.cancel();
            }
        }
        let mut sequences: Vec<&mut Sequence> =
            self.running.iter_mut().map(|it| &mut it.sequence).filter(|it| !it.is_done()).collect();
        if let Err(error) = self.generator.step(&mut sequences) {
            // Each is told, and an error of the tensor library cannot be copied.
            let message = error.to_string();
            for sequence in sequences {
                sequence.fail(candle_core::Error::Msg(message.clone()).into());
            }
        }
    }

    /// Sends the news, and takes out those that are done.
    fn deliver(&mut self) {
        for Running { sequence, mail } in &mut self.running {
            let n_prompt_tokens = sequence.prompt().len();
            mail.news(sequence.take_outputs(), n_prompt_tokens);
        }
        for Running { sequence, mail } in self.running.extract_if(.., |it| it.sequence.is_done()) {
            self.generator.keep(&sequence);
            mail.done(sequence.into_draft().map_err(ReplyError::from));
        }
        self.state.n_running.store(self.running.len(), Ordering::SeqCst);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl Reply {
    /// Waits for the next event; after [`ReplyEvent::Done`] there is none.
    pub fn next(&self) -> Option<ReplyEvent> {
        let mut mail = lock(&self.mailbox.mail);
        loop {
            let event = mail.take();
            if event.is_some() || mail.is_closed {
                return event;
            }
            mail = self.mailbox.ready.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same for at most this time; none when nothing has happened.
    pub fn next_within(&self, timeout: Duration) -> Option<ReplyEvent> {
        let end = Instant::now() + timeout;
        let mut mail = lock(&self.mailbox.mail);
        loop {
            let event = mail.take();
            let left = end.saturating_duration_since(Instant::now());
            if event.is_some() || mail.is_closed || left.is_zero() {
                return event;
            }
            let waited = self.mailbox.ready.wait_timeout(mail, left);
            mail = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the whole draft.
    ///
    /// # Errors
    /// When it could not be made.
    pub fn wait(self) -> Result<Draft, ReplyError> {
        loop {
            match self.next() {
                Some(ReplyEvent::Done(result)) => return result,
                Some(ReplyEvent::Read { .. } | ReplyEvent::Text { .. }) => {}
                None => {
                    let reason = "the draft was taken already".to_owned();
                    return Err(ReplyError::Gone { reason });
                }
            }
        }
    }

    /// Ends the request where it is; what was written until then still arrives.
    pub fn cancel(&self) {
        lock(&self.mailbox.mail).is_unwanted = true;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests;
