//! Texts to token ids and back.
//!
//! An encoder's tokenizer is used as its file describes it. A generator's is split in two: plain
//! text is cut by a tokenizer that knows no special tokens, and special tokens are matched only
//! where the chat template wrote them. So text from a document that looks like a control token
//! stays text.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{Tokenizer, TruncationParams};

use crate::LoadError;

/// How Llama 3 cuts text into words, up to the digits.
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with digits one by one.
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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

/// What a generator's file says about its tokenizer.
#[derive(Debug, Default)]
pub(crate) struct Description {
    /// Where it comes from, for error messages.
    pub(crate) path: PathBuf,
    /// The rule that cuts text into words, by llama.cpp's name for it.
    pub(crate) pre: String,
    /// By id.
    pub(crate) tokens: Vec<String>,
    /// `left right`, the most important first.
    pub(crate) merges: Vec<String>,
    /// Ids that are matched before words are cut: control tokens and user-defined ones.
    pub(crate) special: Vec<u32>,
}

/// A generator's byte-level BPE tokenizer.
pub(crate) struct TextTokenizer {
    /// Knows no special tokens.
    plain: Tokenizer,
    /// Special tokens, the longest first.
    special: Vec<(String, u32)>,
    /// What a token stands for, by id.
    bytes: Vec<Box<[u8]>>,
}

impl TextTokenizer {
    pub(crate) fn new(description: Description) -> Result<Self, LoadError> {
        let Description { path, pre, tokens, merges, special } = description;
        let corrupt = |reason: String| LoadError::Corrupt { path: path.clone(), reason };
        let mut pairs = Vec::with_capacity(merges.len());
        for merge in &merges {
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| corrupt(format!("the tokenizer's merge `{merge}` is no pair")))?;
            pairs.push((left.to_owned(), right.to_owned()));
        }
        let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, pairs)
            // Llama 3 takes a whole word that is in the vocabulary without merging it up.
            .ignore_merges(matches!(pre.as_str(), "llama3" | "llama-bpe"))
            .build()
            .map_err(|error| {
                corrupt(format!("the tokenizer's merges are inconsistent: {error}"))
            })?;
        let mut plain = Tokenizer::new(bpe);
        plain.with_pre_tokenizer(Some(pre_tokenizer(&path, &pre)?));
        if pre == "qwen2" {
            plain
                .with_normalizer(Some(NFC))
                .map_err(|error| corrupt(format!("the tokenizer cannot normalise: {error}")))?;
        }

        let mut by_length = Vec::with_capacity(special.len());
        for id in special {
            let text = tokens
                .get(id as usize)
                .ok_or_else(|| corrupt(format!("special token {id} is not in the vocabulary")))?;
            if !text.is_empty() {
                by_length.push((text.clone(), id));
            }
        }
        by_length.sort_by_key(|(text, id)| (std::cmp::Reverse(text.len()), *id));
        by_length.dedup_by_key(|(_, id)| *id);

        let byte_of = byte_alphabet();
        let mut bytes: Vec<Box<[u8]>> =
            tokens.iter().map(|token| token_bytes(token, &byte_of)).collect();
        for (text, id) in &by_length {
            bytes[*id as usize] = text.as_bytes().into();
        }
        Ok(Self { plain, special: by_length, bytes })
    }

    /// Size of the vocabulary.
    pub(crate) fn n_tokens(&self) -> usize {
        self.bytes.len()
    }

    /// The id of a special token.
    pub(crate) fn special_id(&self, text: &str) -> Option<u32> {
        self.special.iter().find(|(it, _)| it == text).map(|&(_, id)| id)
    }

    /// The text of a special token, if `id` is one.
    pub(crate) fn special_text(&self, id: u32) -> Option<&str> {
        self.special.iter().find(|(_, it)| *it == id).map(|(text, _)| text.as_str())
    }

    /// Texts of all special tokens.
    pub(crate) fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.special.iter().map(|(text, _)| text.as_str())
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
        let mut matches: Vec<(usize, usize, u32)> = Vec::new();
        for (special, id) in &self.special {
            matches
                .extend(text.match_indices(special.as_str()).map(|(at, it)| (at, it.len(), *id)));
        }
        matches.sort_by_key(|&(at, len, _)| (at, std::cmp::Reverse(len)));

        let mut ids = Vec::new();
        let mut done = 0;
        let plain = |range: &str| self.encode_plain(&range.replace(guard, ""));
        for (at, len, id) in matches {
            if at < done {
                continue; // Inside the one before.
            }
            ids.extend(plain(&text[done..at])?);
            ids.push(id);
            done = at + len;
        }
        ids.extend(plain(&text[done..])?);
        Ok(ids)
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

fn pre_tokenizer(path: &Path, pre: &str) -> Result<PreTokenizerWrapper, LoadError> {
    let by_regex = |regex: &str| -> Result<PreTokenizerWrapper, LoadError> {
        let pattern = SplitPattern::Regex(regex.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .expect("a constant expression compiles");
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into())
    };
    match pre {
        "gpt2" | "gpt-2" => Ok(ByteLevel::new(false, true, true).into()),
        "smollm" | "starcoder" | "refact" | "command-r" => Ok(Sequence::new(vec![
            Digits::new(true).into(),
            ByteLevel::new(false, true, true).into(),
        ])
        .into()),
        "llama3" | "llama-bpe" => by_regex(LLAMA_3),
        "qwen2" => by_regex(QWEN_2),
        other => Err(LoadError::Unsupported {
            path: path.to_owned(),
            what: format!("a tokenizer that cuts words as `{other}`"),
        }),
    }
}

/// The bytes of a token that is written in the byte-level alphabet; others stand for themselves.
fn token_bytes(token: &str, byte_of: &HashMap<char, u8>) -> Box<[u8]> {
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

    fn bytes_only(special: &[&str]) -> TextTokenizer {
        let mut tokens: Vec<(char, u8)> = byte_alphabet().into_iter().collect();
        tokens.sort_by_key(|&(_, byte)| byte);
        let mut tokens: Vec<String> = tokens.into_iter().map(|(c, _)| c.to_string()).collect();
        tokens.extend(special.iter().map(|&it| it.to_owned()));
        let special = (256..tokens.len() as u32).collect();
        let pre = "smollm".to_owned();
        TextTokenizer::new(Description { pre, tokens, special, ..Description::default() }).unwrap()
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
        let error = TextTokenizer::new(Description { pre, ..Description::default() }).err();
        assert!(error.unwrap().to_string().contains("martian"));
    }
}
