//! How a model cuts a text into tokens, for people to look at.

use std::fmt;
use std::path::Path;

use tokenizers::Tokenizer;

use crate::{
    LoadError,
    count::TokenCounter,
    gguf::Gguf,
    tokenizer::{TextTokenizer, load_for_encoder},
};

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// The text that it stands for; a replacement character where it is part of a character.
    pub text: String,
}

/// Counts the tokens of texts with the tokenizer of a file.
pub struct Counter(Kind);

enum Kind {
    File { tokenizer: Box<Tokenizer>, counter: TokenCounter },
    Gguf(Box<TextTokenizer>),
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// Reads the tokenizer of a `.gguf` file, or a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read or has no tokenizer of ours.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        if path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gguf")) {
            let tokenizer = TextTokenizer::new(Gguf::open(path)?.tokenizer()?)?;
            return Ok(Self(Kind::Gguf(Box::new(tokenizer))));
        }
        let tokenizer = Box::new(load_for_encoder(path, usize::MAX)?);
        let counter = TokenCounter::new(&tokenizer);
        Ok(Self(Kind::File { tokenizer, counter }))
    }

    /// Tokens of a text, without special ones.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        match &self.0 {
            Kind::File { tokenizer, counter } => counter.count(tokenizer, text),
            // Byte by byte is the most that a byte-level tokenizer gives.
            Kind::Gguf(it) => it.encode_plain(text).map_or(text.len(), |ids| ids.len()),
        }
    }
}

/// Cuts a text with the tokenizer of a GGUF file.
///
/// # Errors
/// When the file cannot be read or has no tokenizer of ours.
pub fn of_gguf(gguf: &Path, text: &str) -> Result<Vec<Piece>, LoadError> {
    let tokenizer = TextTokenizer::new(Gguf::open(gguf)?.tokenizer()?)?;
    let ids = tokenizer.encode_plain(text).map_err(|error| corrupt(gguf, &error))?;
    let piece = |id| Piece { id, text: String::from_utf8_lossy(tokenizer.bytes(id)).into_owned() };
    Ok(ids.into_iter().map(piece).collect())
}

/// Cuts a text with a `tokenizer.json`.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path, text: &str) -> Result<Vec<Piece>, LoadError> {
    let tokenizer = load_for_encoder(path, usize::MAX)?;
    let encoding = tokenizer.encode(text, false).map_err(|error| corrupt(path, &error))?;
    let pieces = encoding.get_ids().iter().zip(encoding.get_tokens());
    Ok(pieces.map(|(id, text)| Piece { id: *id, text: text.clone() }).collect())
}

fn corrupt(path: &Path, error: &tokenizers::Error) -> LoadError {
    LoadError::Corrupt { path: path.to_owned(), reason: error.to_string() }
}
