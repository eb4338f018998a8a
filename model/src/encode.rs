//! Texts and pairs of texts to token ids, cut where they are too long.
//!
//! The tokenizer itself is told of no limit: one with a limit drops words of long texts early, and
//! then knows neither how many tokens there were nor which text of a pair was the longer.

use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
use tokenizers::{Encoding, PostProcessor, Result, Tokenizer};

use crate::packed::Encoded;

/// A tokenizer and the number of tokens that its model reads.
pub(crate) struct TextEncoder {
    tokenizer: Tokenizer,
    tokens_max: usize,
}

impl TextEncoder {
    /// Takes a tokenizer's own limit off it.
    pub(crate) fn new(mut tokenizer: Tokenizer, tokens_max: usize) -> Result<Self> {
        tokenizer.with_truncation(None)?;
        Ok(Self { tokenizer, tokens_max })
    }

    /// The tokenizer, without a limit.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokens of a text, whole and without special ones: one half of [`Self::pair`].
    pub(crate) fn plain(&self, text: &str) -> Result<Encoding> {
        self.tokenizer.encode_fast(text, false)
    }

    /// A text with its special tokens; where it is too long, it loses its end.
    pub(crate) fn one(&self, text: &str) -> Result<Encoded> {
        let mut encoding = self.plain(text)?;
        let room = self.room(false);
        let truncated = encoding.len() > room;
        if truncated {
            encoding.truncate(room, 0, TruncationParams::default().direction);
            encoding.take_overflowing();
        }
        Ok(Encoded::new(&self.tokenizer.post_process(encoding, None, true)?, truncated))
    }

    /// Two texts with the special tokens of a pair; where they are too long, the longer one loses
    /// its end first, as in transformers' `longest_first`.
    pub(crate) fn pair(&self, first: Encoding, second: Encoding) -> Result<Encoded> {
        let room = self.room(true);
        let truncated = first.len() + second.len() > room;
        let params = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (mut first, mut second) = truncate_encodings(first, Some(second), &params)?;
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        Ok(Encoded::new(&self.tokenizer.post_process(first, second, true)?, truncated))
    }

    /// Tokens that are left beside the special ones.
    fn room(&self, pair: bool) -> usize {
        let processor = self.tokenizer.get_post_processor();
        let n_special = processor.map_or(0, |it| it.added_tokens(pair));
        self.tokens_max.saturating_sub(n_special)
    }
}
