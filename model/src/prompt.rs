//! What turns conversations into prompts: the part of a generator that needs no weights, so that it
//! can be used beside the thread that owns those.

use std::fmt;
use std::path::Path;

use crate::LoadError;
use crate::adapter::Base;
use crate::chat::{ChatError, ChatOptions, ChatTemplate, Turn, messages_of};
use crate::load_generator::{self, TextParts};
use crate::tokenizer::TextTokenizer;

/// A model's tokenizer and chat template.
pub struct PromptEncoder {
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) chat: Option<ChatTemplate>,
    pub(crate) context_length: usize,
}

impl fmt::Debug for PromptEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { context_length, .. } = self;
        f.debug_struct("PromptEncoder")
            .field("context_length", context_length)
            .finish_non_exhaustive()
    }
}

/// A model's words, read without its weights, with what training and its records need besides.
#[derive(Debug)]
pub struct ModelText {
    /// Conversations and texts to tokens.
    pub encoder: PromptEncoder,
    /// Tokens that end what the assistant says.
    pub ends: Vec<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// Tells base models apart: adapters record it.
    pub fingerprint: String,
}

impl ModelText {
    /// Reads a GGUF file or a folder.
    pub fn load(model: &Path) -> Result<Self, LoadError> {
        let Base { config, fingerprint, .. } = Base::read(model)?;
        let TextParts { tokenizer, chat, ends, eos } = load_generator::text_parts(model)?;
        let (n_tokens, n_rows) = (tokenizer.n_tokens(), config.vocab_size);
        if n_tokens > n_rows {
            return Err(LoadError::TokenizerMismatch { path: model.to_owned(), n_tokens, n_rows });
        }
        let context_length = config.context_length;
        let encoder = PromptEncoder { tokenizer, chat, context_length };
        Ok(Self { encoder, ends, eos, fingerprint })
    }
}

impl PromptEncoder {
    /// Tokens of a plain text: what looks like a control token is encoded as text.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, ChatError> {
        self.tokenizer.encode_plain(text).map_err(|source| ChatError::Tokenize { source })
    }

    /// The source of the chat template, where there is one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat.as_ref().map(ChatTemplate::source)
    }

    /// Tokens that the model can attend to, prompt and draft together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Tokens of a plain text.
    pub fn count_tokens(&self, text: &str) -> usize {
        // Byte by byte is the most that a byte-level tokenizer gives; it has a token for each.
        self.tokenizer.encode_plain(text).map_or(text.len(), |ids| ids.len())
    }

    /// Turns a conversation into a prompt that ends where the assistant is to speak.
    ///
    /// What looks like a control token in the turns is encoded as text.
    pub fn encode_chat(&self, turns: &[Turn]) -> Result<Vec<u32>, ChatError> {
        self.encode_chat_with(&messages_of(turns), &ChatOptions::default())
    }

    /// As [`Self::encode_chat`], for messages with all that templates know of: tool calls,
    /// reasoning, tools and documents.
    pub fn encode_chat_with(
        &self,
        messages: &serde_json::Value,
        options: &ChatOptions,
    ) -> Result<Vec<u32>, ChatError> {
        let chat = self.chat.as_ref().ok_or(ChatError::NoTemplate)?;
        chat.encode(messages, options, &self.tokenizer)
    }

    /// Whether a prompt ends inside a block of thoughts, as templates of models that always think
    /// leave it.
    pub fn is_thinking(&self, prompt: &[u32]) -> bool {
        let tail = &prompt[prompt.len().saturating_sub(8)..];
        let bytes: Vec<u8> =
            tail.iter().flat_map(|&id| self.tokenizer.bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).trim_end().ends_with(crate::thinking::OPEN)
    }
}
