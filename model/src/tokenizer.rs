//! Texts to token ids and back.
//!
//! An encoder's tokenizer is used as its file describes it. A generator's is split in two: plain
//! text is cut by a tokenizer that knows no special tokens, and special tokens are matched only
//! where the chat template wrote them. So text from a document that looks like a control token
//! stays text.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, TruncationParams};

use crate::LoadError;

/// Reads an encoder's `tokenizer.json`, set to cut texts at `tokens_max` and to pad nothing.
pub(crate) fn load_for_encoder(path: &Path, tokens_max: usize) -> Result<Tokenizer, LoadError> {
    let corrupt = |error: tokenizers::Error| LoadError::Corrupt {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let bytes =
        fs_err::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(corrupt)?;
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: tokens_max, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(corrupt)?;
    Ok(tokenizer)
}

/// One more than the highest id.
pub(crate) fn n_ids(tokenizer: &Tokenizer) -> usize {
    tokenizer.get_vocab(true).values().max().map_or(0, |&max| max as usize + 1)
}

/// A generator's tokenizer.
pub(crate) struct TextTokenizer {
    /// Knows no special tokens.
    plain: Tokenizer,
    /// The same for text that follows a special token, where that is cut differently.
    continued: Option<Tokenizer>,
    /// The longest first.
    special: Vec<Special>,
    /// What a token stands for, by id.
    bytes: Vec<Box<[u8]>>,
}

/// A token that is matched before words are cut.
#[derive(Debug, Clone)]
pub(crate) struct Special {
    pub(crate) text: String,
    pub(crate) id: u32,
    /// Whether blanks before it belong to it.
    pub(crate) lstrip: bool,
    /// Whether blanks after it belong to it.
    pub(crate) rstrip: bool,
}

impl TextTokenizer {
    pub(crate) fn new(
        plain: Tokenizer,
        continued: Option<Tokenizer>,
        mut special: Vec<Special>,
        mut bytes: Vec<Box<[u8]>>,
    ) -> Self {
        special.retain(|it| !it.text.is_empty());
        special.sort_by_key(|it| (std::cmp::Reverse(it.text.len()), it.id));
        special.dedup_by_key(|it| it.id);
        for Special { text, id, .. } in &special {
            if let Some(bytes) = bytes.get_mut(*id as usize) {
                *bytes = text.as_bytes().into();
            }
        }
        Self { plain, continued, special, bytes }
    }

    /// As a `tokenizer.json`, where tokens are bytes.
    pub(crate) fn to_json(&self) -> Result<String, tokenizers::Error> {
        let mut full = self.plain.clone();
        full.with_decoder(Some(ByteLevel::default()));
        let mut special: Vec<&Special> = self.special.iter().collect();
        special.sort_by_key(|it| it.id);
        let token = |it: &&Special| {
            let token = AddedToken::from(it.text.clone(), true).normalized(false);
            token.lstrip(it.lstrip).rstrip(it.rstrip)
        };
        full.add_special_tokens(special.iter().map(token).collect::<Vec<_>>())?;
        full.to_string(false)
    }

    /// Size of the vocabulary.
    pub(crate) fn n_tokens(&self) -> usize {
        self.bytes.len()
    }

    /// The id of a special token.
    pub(crate) fn special_id(&self, text: &str) -> Option<u32> {
        self.special.iter().find(|it| it.text == text).map(|it| it.id)
    }

    /// The text of a special token, if `id` is one.
    pub(crate) fn special_text(&self, id: u32) -> Option<&str> {
        self.special.iter().find(|it| it.id == id).map(|it| it.text.as_str())
    }

    /// Texts of all special tokens.
    pub(crate) fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.special.iter().map(|it| it.text.as_str())
    }

    /// The bytes that a token stands for; none for an id outside the vocabulary.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], |bytes| bytes)
    }

    /// Tokens of plain text: what looks like a special token is text, too.
    pub(crate) fn encode_plain(&self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        Ok(self.plain.encode_fast(text, false)?.get_ids().to_vec())
    }

    /// Tokens of a rendered template: special tokens are matched, the longest first, except where
    /// `guard` stands inside them. The guard itself is left out.
    pub(crate) fn encode_guarded(
        &self,
        text: &str,
        guard: char,
    ) -> Result<Vec<u32>, tokenizers::Error> {
        let mut matches: Vec<(usize, &Special)> = Vec::new();
        for special in &self.special {
            matches.extend(text.match_indices(&special.text).map(|(at, _)| (at, special)));
        }
        matches.sort_by_key(|(at, special)| (*at, std::cmp::Reverse(special.text.len())));

        let mut ids = Vec::new();
        let mut done = 0;
        for (at, special) in matches {
            if at < done {
                continue; // Inside the one before.
            }
            let before = &text[done..at];
            let before = if special.lstrip { before.trim_end() } else { before };
            ids.extend(self.encode_piece(before, done == 0, guard)?);
            ids.push(special.id);
            done = at + special.text.len();
            if special.rstrip {
                done = text.len() - text[done..].trim_start().len();
            }
        }
        ids.extend(self.encode_piece(&text[done..], done == 0, guard)?);
        Ok(ids)
    }

    /// Tokens of the text between two special tokens.
    fn encode_piece(
        &self,
        piece: &str,
        is_first: bool,
        guard: char,
    ) -> Result<Vec<u32>, tokenizers::Error> {
        let tokenizer = match &self.continued {
            Some(continued) if !is_first => continued,
            _ => &self.plain,
        };
        Ok(tokenizer.encode_fast(piece.replace(guard, ""), false)?.get_ids().to_vec())
    }

    /// Puts `guard` into everything in `text` that could be taken for a special token.
    pub(crate) fn guard(&self, text: &str, guard: char) -> String {
        let mut res = text.to_owned();
        for special in self.special_texts() {
            let first = special.chars().next().map_or(0, char::len_utf8);
            if res.contains(special) {
                let (head, tail) = special.split_at(first);
                res = res.replace(special, &format!("{head}{guard}{tail}"));
            }
        }
        res
    }
}

/// Turns a stream of tokens into a stream of text that never ends within a character.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Adds a token's bytes; appends to `out` the characters that are now complete.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            let is_last = done + chunk.valid().len() + chunk.invalid().len() == self.pending.len();
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            if chunk.invalid().is_empty() || (is_last && may_continue(chunk.invalid())) {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            done += chunk.invalid().len();
        }
        self.pending.drain(..done);
    }

    /// Ends the stream: what is left of a character becomes the replacement character.
    pub(crate) fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }
}

/// Whether more bytes could make a character of these.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The bytes of a token that is written in the byte-level alphabet; others stand for themselves.
pub(crate) fn token_bytes(token: &str, byte_of: &HashMap<char, u8>) -> Box<[u8]> {
    match token.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Vec<u8>>>() {
        Some(bytes) => bytes.into(),
        None => token.as_bytes().into(),
    }
}

/// The printable stand-in of every byte (Radford et al. 2019, `bytes_to_unicode` of GPT-2): itself
/// where that is printable, the characters from 256 on for the others.
pub(crate) fn byte_alphabet() -> HashMap<char, u8> {
    let mut next = 256;
    let mut res = HashMap::with_capacity(256);
    for byte in 0..=255u8 {
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let c = if printable {
            char::from(byte)
        } else {
            next += 1;
            char::from_u32(next - 1).expect("the first thousand code points are characters")
        };
        res.insert(c, byte);
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_tokenizer::{Description, from_description};

    fn bytes_only(special: &[&str]) -> TextTokenizer {
        let mut tokens: Vec<(char, u8)> = byte_alphabet().into_iter().collect();
        tokens.sort_by_key(|&(_, byte)| byte);
        let mut tokens: Vec<String> = tokens.into_iter().map(|(c, _)| c.to_string()).collect();
        tokens.extend(special.iter().map(|&it| it.to_owned()));
        let special = (256..tokens.len() as u32).collect();
        let pre = "smollm".to_owned();
        from_description(Description { pre, tokens, special, ..Description::default() }).unwrap()
    }

    #[track_caller]
    fn check_stream(pieces: &[&[u8]], expected: &[&str]) {
        let mut stream = TextStream::default();
        let mut texts = Vec::new();
        for piece in pieces {
            let mut text = String::new();
            stream.push(piece, &mut text);
            texts.push(text);
        }
        let mut text = String::new();
        stream.finish(&mut text);
        texts.push(text);
        assert_eq!(texts, expected);
    }

    #[test]
    fn stream_waits_for_the_rest_of_a_character() {
        check_stream(&[b"a\xc3", b"\xa9b", b"\xe2\x82", b"\xac"], &["a", "éb", "", "€", ""]);
    }

    #[test]
    fn stream_replaces_what_can_never_become_a_character() {
        check_stream(
            &[b"\xff", b"\xc3", b"x", b"\xe2\x82"],
            &["\u{fffd}", "", "\u{fffd}x", "", "\u{fffd}"],
        );
    }

    #[test]
    fn every_byte_has_a_stand_in() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
        assert_eq!(alphabet[&'é'], 0xe9);
    }

    #[test]
    fn special_tokens_are_matched_longest_first_and_only_unguarded() {
        let tokenizer = bytes_only(&["<|a|>", "<|a|>b"]);
        let guard = '\u{fdd0}';
        let encode = |text: &str| tokenizer.encode_guarded(text, guard).unwrap();
        assert_eq!(encode("x<|a|><|a|>b"), [u32::from(b'x'), 256, 257]);
        let guarded = tokenizer.guard("<|a|>b", guard);
        assert_eq!(encode(&guarded), tokenizer.encode_plain("<|a|>b").unwrap());
        assert_eq!(tokenizer.encode_plain("<|a|>b").unwrap().len(), 6);
    }

    #[test]
    fn an_unknown_word_rule_is_refused_by_name() {
        let pre = "martian".to_owned();
        let error = from_description(Description { pre, ..Description::default() }).err();
        assert!(error.unwrap().to_string().contains("martian"));
    }
}
