//! How a model cuts a text into tokens, for people to look at.

use std::path::Path;

use crate::{LoadError, load_generator, tokenizer::load_for_encoder};

/// A token of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: u32,
    /// The text that it stands for. A character of several tokens stands with the last of them;
    /// the others have none.
    pub text: String,
}

/// Cuts a text with the tokenizer of a generator: a GGUF file, or a folder with `tokenizer.json`.
///
/// # Errors
/// When the file cannot be read or has no tokenizer of ours.
pub fn of_generator(model: &Path, text: &str) -> Result<Vec<Piece>, LoadError> {
    let tokenizer = load_generator::tokenizer(model)?;
    let ids = tokenizer.encode_plain(text).map_err(|error| corrupt(model, &error))?;
    let mut open = Vec::new();
    let mut res: Vec<Piece> = Vec::with_capacity(ids.len());
    for id in ids {
        open.extend_from_slice(tokenizer.bytes(id));
        res.push(Piece { id, text: take_characters(&mut open) });
    }
    if let Some(last) = res.last_mut() {
        last.text.push_str(&String::from_utf8_lossy(&open));
    }
    Ok(res)
}

/// Takes the characters that are whole off the front of `bytes`.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let n_whole = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        // The end of a character may yet come.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    };
    let whole: Vec<u8> = bytes.drain(..n_whole).collect();
    String::from_utf8_lossy(&whole).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_stands_with_its_last_byte() {
        let mut open = Vec::new();
        let mut texts = Vec::new();
        for byte in "a🦀é".bytes() {
            open.push(byte);
            texts.push(take_characters(&mut open));
        }
        assert_eq!(texts, ["a", "", "", "", "🦀", "", "é"]);
        open.extend(b"\xff");
        assert_eq!(take_characters(&mut open), "\u{fffd}");
    }
}
