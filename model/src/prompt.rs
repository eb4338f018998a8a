//! What turns conversations into prompts: the part of a generator that needs no weights, so that it
//! can be used beside the thread that owns those.

use std::fmt;

use crate::chat::{ChatError, ChatOptions, ChatTemplate, Turn, messages_of};
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

impl PromptEncoder {
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
