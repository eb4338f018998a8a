//! How a model cuts a text into tokens, for people to look at.

use std::path::Path;

use crate::{LoadError, load_generator, tokenizer::load_for_encoder};

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// The text that it stands for; a replacement character where it is part of a character.
    pub text: String,
}

/// Cuts a text with the tokenizer of a generator: a GGUF file, or a folder with `tokenizer.json`.
///
/// # Errors
/// When the file cannot be read or has no tokenizer of ours.
pub fn of_generator(model: &Path, text: &str) -> Result<Vec<Piece>, LoadError> {
    let tokenizer = load_generator::tokenizer(model)?;
    let ids = tokenizer.encode_plain(text).map_err(|error| corrupt(model, &error))?;
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
