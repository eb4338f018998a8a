//! Prompts to drafts, token by token.

mod step;

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::LoadError;
use crate::adapter::{Adapter, AdapterError, Base};
use crate::adapters::Adapters;
use crate::chat::{ChatError, ChatOptions, ChatTemplate, Turn};
use crate::constrain::Compiler;
use crate::decoder::Decoder;
use crate::device::Backend;
use crate::load_generator::{self, Parts};
use crate::prefixes::Prefixes;
use crate::prompt::PromptEncoder;
use crate::sample::SampleOptions;
use crate::sequence::Output;
use crate::tokenizer::TextTokenizer;

/// Memory for beginnings of prompts that were read before, unless another bound is set.
const PREFIX_BYTES_MAX: usize = 512 << 20;

/// A language model, its tokenizer, its adapters and what it has read last.
pub struct Generator {
    decoder: Decoder,
    encoder: Arc<PromptEncoder>,
    /// Tokens that end a draft.
    ends: Vec<u32>,
    pub(crate) adapters: Arc<Adapters>,
    prefixes: Prefixes,
    /// Made when the first constraint comes.
    compiler: Option<Compiler>,
    /// Forward passes so far, which decide whose prompt goes first.
    n_steps: usize,
    /// Requests so far, for their order.
    n_started: usize,
    /// The step to panic at.
    #[cfg(test)]
    pub(crate) panics_at: Option<usize>,
}

/// A draft to be made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Token ids to continue.
    pub prompt: Vec<u32>,
    /// How to choose tokens and when to stop.
    pub options: SampleOptions,
    /// The name of an adapter; the base model where there is none.
    pub adapter: Option<String>,
}

/// What happens while a draft is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of the prompt has been read.
    Read {
        /// Tokens read so far, those known from the last prompt included.
        n_tokens: usize,
        /// Tokens of the prompt.
        n_prompt_tokens: usize,
    },
    /// The draft continues with this text, which is never empty.
    Text(&'a str),
}

/// A text that the model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The text, without the token or the text that ended it.
    pub text: String,
    /// Why it ends.
    pub finish: FinishReason,
    /// Tokens of the prompt.
    pub n_prompt_tokens: usize,
    /// Tokens written, the one that ended the draft included.
    pub n_tokens: usize,
    /// Tokens of the prompt that did not have to be read again.
    pub n_cached_tokens: usize,
    /// Every token with its log-probability, where [`SampleOptions::logprobs`] asks for them.
    pub scores: Vec<TokenScore>,
}

/// A token that was chosen, and what else could have been.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// Its id.
    pub id: u32,
    /// What it stands for, which may be a part of a character.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability by the model itself, before any sampling option.
    pub logprob: f32,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<TopToken>,
}

/// One of the likeliest tokens at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct TopToken {
    /// Its id.
    pub id: u32,
    /// What it stands for.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// Why a draft ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop text appeared.
    Stop,
    /// `tokens_max` or the context is used up.
    Length,
    /// The reader asked to stop.
    Cancelled,
}

/// A draft could not be made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// Nothing to continue.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {n_tokens} tokens, but the model's context holds {context_length}: shorten \
         the question, or choose a model with a longer context"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Tokens that the model can attend to.
        context_length: usize,
    },
    /// The prompt holds an id that the model does not know.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// An option is outside its range.
    #[error("cannot sample: {problem}")]
    Options {
        /// Which, and what it may be.
        problem: String,
    },
    /// The constraint is no valid schema, expression or grammar, or cannot be followed.
    #[error("the output cannot be constrained: {problem}")]
    Constraint {
        /// What is wrong with it.
        problem: String,
    },
    /// No adapter of that name was loaded.
    #[error("there is no adapter `{name}`; loaded: {known}")]
    UnknownAdapter {
        /// The name that was asked for.
        name: String,
        /// The names that there are, separated by commas, or `none`.
        known: String,
    },
    /// The weights gave no usable number, which damaged weights do.
    #[error("the model gave no number to choose a token by: verify its file")]
    NotFinite,
    /// The tensor library failed.
    #[error("the model could not compute")]
    Tensors(#[from] candle_core::Error),
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("config", &self.decoder.config).finish_non_exhaustive()
    }
}

impl Generator {
    /// Loads a model from a GGUF file, which carries its tokenizer and chat template, or from a
    /// folder with `config.json`, safetensors files and `tokenizer.json`, for the processor.
    pub fn load(model: &Path) -> Result<Self, LoadError> {
        Self::load_on(model, &Backend::Processor)
    }

    /// The same for any device.
    pub fn load_on(model: &Path, backend: &Backend) -> Result<Self, LoadError> {
        let Parts { decoder, tokenizer, chat, ends } = load_generator::load(model, backend)?;
        Self::new(decoder, tokenizer, chat, ends).map_err(|error| match error {
            NewError::Mismatch { n_tokens, n_rows } => {
                LoadError::TokenizerMismatch { path: model.to_owned(), n_tokens, n_rows }
            }
        })
    }

    pub(crate) fn new(
        decoder: Decoder,
        tokenizer: TextTokenizer,
        chat: Option<ChatTemplate>,
        ends: Vec<u32>,
    ) -> Result<Self, NewError> {
        let (n_tokens, n_rows) = (tokenizer.n_tokens(), decoder.config.vocab_size);
        if n_tokens > n_rows {
            return Err(NewError::Mismatch { n_tokens, n_rows });
        }
        let context_length = decoder.config.context_length;
        let adapters = Arc::new(Adapters::new(Base::of(&decoder), decoder.backend.clone()));
        Ok(Self {
            decoder,
            encoder: Arc::new(PromptEncoder { tokenizer, chat, context_length }),
            ends,
            adapters,
            prefixes: Prefixes::new(PREFIX_BYTES_MAX),
            compiler: None,
            n_steps: 0,
            n_started: 0,
            #[cfg(test)]
            panics_at: None,
        })
    }

    /// Loads a LoRA adapter, a PEFT folder or a GGUF file, and checks it against this model.
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, AdapterError> {
        self.adapters.load(path)
    }

    /// Adds an adapter, which requests then choose by `name`. One of the same name is replaced.
    ///
    /// # Errors
    /// When it was loaded for another base.
    pub fn add_adapter(&mut self, name: &str, adapter: &Adapter) -> Result<(), AdapterError> {
        self.adapters.add(name, adapter)
    }

    /// Sets how much memory beginnings of prompts may take that were read before.
    pub fn set_prefix_bytes_max(&mut self, bytes_max: usize) {
        self.prefixes.limit(bytes_max);
    }

    /// The part that turns conversations into prompts.
    pub fn encoder(&self) -> Arc<PromptEncoder> {
        Arc::clone(&self.encoder)
    }

    /// Tokens that the model can attend to, prompt and draft together.
    pub fn context_length(&self) -> usize {
        self.encoder.context_length()
    }

    /// Tokens of a plain text.
    pub fn count_tokens(&self, text: &str) -> usize {
        self.encoder.count_tokens(text)
    }

    /// Turns a conversation into a prompt that ends where the assistant is to speak.
    ///
    /// What looks like a control token in the turns is encoded as text.
    pub fn encode_chat(&self, turns: &[Turn]) -> Result<Vec<u32>, ChatError> {
        self.encoder.encode_chat(turns)
    }

    /// As [`Self::encode_chat`], for messages with all that templates know of: tool calls,
    /// reasoning, tools and documents.
    pub fn encode_chat_with(
        &self,
        messages: &serde_json::Value,
        options: &ChatOptions,
    ) -> Result<Vec<u32>, ChatError> {
        self.encoder.encode_chat_with(messages, options)
    }

    /// Whether a prompt ends inside a block of thoughts, as templates of models that always think
    /// leave it.
    pub fn is_thinking(&self, prompt: &[u32]) -> bool {
        self.encoder.is_thinking(prompt)
    }

    /// Weights of the network.
    pub fn n_parameters(&self) -> usize {
        self.decoder.config.n_parameters()
    }

    /// Bytes of keys and values that are kept for each token of a prompt and of its draft.
    pub fn token_bytes(&self) -> usize {
        self.decoder.cache_shape().token_bytes()
    }

    /// Continues a prompt with the base model. Tokens that it shares with the beginning of an
    /// earlier prompt and draft are not read again. `on_event` returning `Break` cancels, with the
    /// text so far as result.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &SampleOptions,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Draft, GenerateError> {
        let request = Request { prompt: prompt.to_vec(), options: options.clone(), adapter: None };
        self.run(&request, on_event)
    }

    /// The same for a request of any kind.
    pub fn run(
        &mut self,
        request: &Request,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Draft, GenerateError> {
        let mut sequence = self.start(request)?;
        while !sequence.is_done() {
            self.step(&mut [&mut sequence])?;
            for output in sequence.take_outputs() {
                let n_prompt_tokens = request.prompt.len();
                let flow = match &output {
                    Output::Read(n_tokens) => {
                        on_event(Event::Read { n_tokens: *n_tokens, n_prompt_tokens })
                    }
                    Output::Text(text) => on_event(Event::Text(text)),
                    Output::Score(_) => ControlFlow::Continue(()),
                };
                if flow.is_break() {
                    sequence.cancel();
                    break;
                }
            }
        }
        self.keep(&sequence);
        sequence.into_draft()
    }
}

/// Why parts do not make a generator.
#[derive(Debug)]
pub(crate) enum NewError {
    Mismatch { n_tokens: usize, n_rows: usize },
}

#[cfg(test)]
mod tests;
