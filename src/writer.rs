//! What writes answers: a language model of this process, one on a server, or none.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    path::Path,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use ingest::document::Language;
use model::{
    adapter::AdapterError,
    adapters::LoadedAdapter,
    generate::{Draft, Event, GenerateError, Generator, Request},
    prompt::PromptEncoder,
    serve::{Reply, ReplyError, ReplyEvent, ServeOptions, Service, ServiceStatus, SubmitError},
};

use tune::dataset::row::PromptForm;

use crate::{answer::QuoteReason, taught::prompt_form, upstream::chat::Chat};

/// How often whoever waits for the model is asked whether to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// Generators of fewer parameters are given sentences instead of passages.
const SMALL_PARAMETERS: usize = 500_000_000;

/// What writes answers.
#[derive(Debug)]
pub enum Writer {
    /// A language model of this process.
    Model(Box<LocalModel>),
    /// A language model on a server.
    Upstream(Box<Chat>),
    /// No model: sentences are quoted.
    Extract {
        /// Why there is no model; `None` when the user asked for it.
        reason: Option<QuoteReason>,
    },
}

/// A language model of this process, on a thread of its own.
#[derive(Debug)]
pub struct LocalModel {
    service: Service,
    /// The name that users know it by.
    pub name: String,
    /// Languages that it writes well; `None` where nobody has said so.
    pub languages: Option<Vec<String>>,
    /// Whether it is too small to read whole passages and examples.
    pub small: bool,
    /// Whether the user asked for this very model: it then writes in any language.
    pub insisted: bool,
    /// How adapters were taught to be asked, by their names.
    taught: RwLock<BTreeMap<String, PromptForm>>,
}

/// The model could not write.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It has too much to do, or has ended.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl From<ReplyError> for WriteError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Generate(it) => Self::Generate(it),
            ReplyError::Gone { reason } => Self::Submit(SubmitError::Gone { reason }),
        }
    }
}

impl LocalModel {
    /// Moves a generator to a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(generator: Generator, name: &str, options: ServeOptions) -> io::Result<Self> {
        let small = generator.n_parameters() < SMALL_PARAMETERS;
        let service = Service::spawn(generator, options)?;
        let (name, taught) = (name.to_owned(), RwLock::default());
        Ok(Self { service, name, languages: None, small, insisted: false, taught })
    }

    /// The part that turns conversations into prompts.
    #[must_use]
    pub fn encoder(&self) -> &PromptEncoder {
        self.service.encoder()
    }

    /// Bytes of keys and values that it keeps for each token of a prompt and of what it writes.
    #[must_use]
    pub fn token_bytes(&self) -> usize {
        self.service.token_bytes()
    }

    /// Whether it may write in a language.
    #[must_use]
    pub fn writes(&self, language: Language) -> bool {
        let speaks = |known: &Vec<String>| known.iter().any(|it| it == language.code());
        self.insisted || self.languages.as_ref().is_none_or(speaks)
    }

    /// The adapters that requests can choose.
    #[must_use]
    pub fn adapters(&self) -> Vec<LoadedAdapter> {
        self.service.adapters()
    }

    /// Loads a LoRA adapter, a PEFT folder or a GGUF file, which requests then choose by `name`. One
    /// of the same name is replaced: requests that run keep theirs.
    ///
    /// # Errors
    /// When it or its record cannot be read, or it is for another base.
    pub fn load_adapter(&self, name: &str, path: &Path) -> Result<(), AdapterError> {
        let form = prompt_form(path)?;
        let adapter = self.service.load_adapter(path)?;
        self.service.add_adapter(name, &adapter)?;
        let mut taught = self.taught.write().unwrap_or_else(PoisonError::into_inner);
        match form {
            Some(form) => taught.insert(name.to_owned(), form),
            None => taught.remove(name),
        };
        Ok(())
    }

    /// How the prompts of an adapter were made when it was taught; `None` where nobody has said so.
    #[must_use]
    pub fn taught(&self, adapter: &str) -> Option<PromptForm> {
        self.taught.read().unwrap_or_else(PoisonError::into_inner).get(adapter).copied()
    }

    /// Takes an adapter from requests to come. False where there is none of that name.
    #[must_use]
    pub fn unload_adapter(&self, name: &str) -> bool {
        self.service.remove_adapter(name)
    }

    /// How busy it is.
    #[must_use]
    pub fn status(&self) -> ServiceStatus {
        self.service.status()
    }

    /// Has the model continue a prompt. `on_event` is called at least ten times a second, with what
    /// it was told last where nothing is new; when it breaks, the draft ends there.
    ///
    /// # Errors
    /// When too many wait already, or the model fails.
    pub fn write(
        &self,
        request: Request,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Draft, WriteError> {
        let n_prompt_tokens = request.prompt.len();
        let reply = self.service.submit(request)?;
        let mut n_read = 0;
        loop {
            let flow = match next(&reply) {
                Some(ReplyEvent::Done(result)) => return Ok(result?),
                Some(ReplyEvent::Read { n_tokens, n_prompt_tokens }) => {
                    n_read = n_tokens;
                    on_event(Event::Read { n_tokens, n_prompt_tokens })
                }
                Some(ReplyEvent::Text { text, .. }) if !text.is_empty() => {
                    on_event(Event::Text(&text))
                }
                Some(ReplyEvent::Text { .. }) => ControlFlow::Continue(()),
                None => on_event(Event::Read { n_tokens: n_read, n_prompt_tokens }),
            };
            if flow.is_break() {
                reply.cancel();
            }
        }
    }
}

fn next(reply: &Reply) -> Option<ReplyEvent> {
    reply.next_within(PATIENCE)
}
