//! A generator's tokenizer from what its file says: the vocabulary in a GGUF file, or
//! `tokenizer.json`.
//!
//! Two ways of spelling tokens are known: bytes in GPT-2's printable alphabet (Radford et al.
//! 2019), and the pieces of SentencePiece (Kudo and Richardson 2018), where `▁` is a space and a
//! character without a piece is spelled in bytes such as `<0xE9>`.

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{ModelWrapper, Tokenizer};

use crate::LoadError;
use crate::tokenizer::{Special, TextTokenizer, byte_alphabet, n_ids, token_bytes};

/// How Llama 3 cuts text into words, up to the digits.
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with digits one by one.
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Mistral's Tekken does: words are cut where capitals begin.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What SentencePiece writes for a space.
const SPACE: char = '\u{2581}';
const UNKNOWN: &str = "<unk>";

/// What a GGUF file says about its tokenizer.
#[derive(Debug, Default)]
pub(crate) struct Description {
    /// Where it comes from, for error messages.
    pub(crate) path: PathBuf,
    pub(crate) alphabet: Alphabet,
    /// The rule that cuts text into words, by llama.cpp's name for it. For bytes only.
    pub(crate) pre: String,
    /// By id.
    pub(crate) tokens: Vec<String>,
    /// `left right`, the most important first. SentencePiece files have scores instead.
    pub(crate) merges: Vec<String>,
    /// Ids that are matched before words are cut: control tokens and user-defined ones.
    pub(crate) special: Vec<u32>,
}

/// How tokens are spelled.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) enum Alphabet {
    /// Bytes in GPT-2's printable alphabet.
    #[default]
    Bytes,
    /// Pieces of SentencePiece.
    SentencePiece {
        /// By id: the higher, the earlier a piece is put together.
        scores: Vec<f32>,
        /// Whether a space stands before the text.
        prefix_space: bool,
    },
}

/// A tokenizer from what a GGUF file says.
pub(crate) fn from_description(description: Description) -> Result<TextTokenizer, LoadError> {
    let Description { path, alphabet, pre, tokens, merges, special } = description;
    let corrupt = |reason: String| LoadError::Corrupt { path: path.clone(), reason };
    let mut matched = Vec::with_capacity(special.len());
    for id in special {
        let text = tokens
            .get(id as usize)
            .ok_or_else(|| corrupt(format!("special token {id} is not in the vocabulary")))?;
        matched.push(Special { text: text.clone(), id, lstrip: false, rstrip: false });
    }
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in &merges {
        let (left, right) = merge
            .split_once(' ')
            .ok_or_else(|| corrupt(format!("the tokenizer's merge `{merge}` is no pair")))?;
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
    let inconsistent = |error| corrupt(format!("the tokenizer's merges are inconsistent: {error}"));
    match alphabet {
        Alphabet::Bytes => {
            let bpe = BPE::builder()
                .vocab_and_merges(vocab, pairs)
                // These take a whole word that is in the vocabulary without merging it up.
                .ignore_merges(matches!(
                    pre.as_str(),
                    "llama3" | "llama-v3" | "llama-bpe" | "tekken"
                ))
                .build()
                .map_err(inconsistent)?;
            let mut plain = Tokenizer::new(bpe);
            plain.with_pre_tokenizer(Some(pre_tokenizer(&path, &pre)?));
            if pre == "qwen2" {
                plain
                    .with_normalizer(Some(NFC))
                    .map_err(|error| corrupt(format!("the tokenizer cannot normalise: {error}")))?;
            }
            let byte_of = byte_alphabet();
            let bytes = tokens.iter().map(|token| token_bytes(token, &byte_of)).collect();
            Ok(TextTokenizer::new(plain, None, matched, bytes))
        }
        Alphabet::SentencePiece { scores, prefix_space } => {
            if pairs.is_empty() {
                if scores.len() != tokens.len() {
                    let (n, n_tokens) = (scores.len(), tokens.len());
                    return Err(corrupt(format!("it has {n} scores for {n_tokens} tokens")));
                }
                pairs = merges_of(&vocab, &tokens, &scores);
            }
            let mut bpe = BPE::builder().vocab_and_merges(vocab, pairs).fuse_unk(true);
            bpe = bpe.byte_fallback(true);
            if tokens.iter().any(|it| it == UNKNOWN) {
                bpe = bpe.unk_token(UNKNOWN.to_owned());
            }
            let bpe = bpe.build().map_err(inconsistent)?;
            let with = |scheme: PrependScheme| {
                let mut res = Tokenizer::new(bpe.clone());
                res.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, false)));
                res
            };
            let plain = with(match prefix_space {
                true => PrependScheme::Always, // There is only the beginning.
                false => PrependScheme::Never,
            });
            let continued = with(PrependScheme::Never);
            let bytes = tokens.iter().map(|token| piece_bytes(token)).collect();
            Ok(TextTokenizer::new(plain, Some(continued), matched, bytes))
        }
    }
}

/// The merges that lead to SentencePiece's pieces, the most important first: a piece is made of any
/// two that spell it, as early as its score says.
fn merges_of(vocab: &Vocab, tokens: &[String], scores: &[f32]) -> Merges {
    let mut res: Vec<(f32, &str, &str)> = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        let first = res.len();
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                res.push((score, left, right));
            }
        }
        res[first..].sort_by_key(|(_, left, right)| (vocab[*left], vocab[*right]));
    }
    let n_chars = |it: &str| it.chars().count();
    res.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then_with(|| n_chars(b.1).cmp(&n_chars(a.1)))
            .then_with(|| n_chars(b.2).cmp(&n_chars(a.2)))
    });
    res.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// A tokenizer from a `tokenizer.json`.
pub(crate) fn from_json(path: &Path) -> Result<TextTokenizer, LoadError> {
    let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
    let bytes =
        fs_err::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let full = Tokenizer::from_bytes(bytes).map_err(|error| corrupt(error.to_string()))?;
    let pre_tokenizer = full.get_pre_tokenizer().cloned();
    let cuts = serde_json::to_string(&pre_tokenizer).unwrap_or_default();
    let normalises = serde_json::to_string(&full.get_normalizer().cloned()).unwrap_or_default();
    let byte_level = cuts.contains("\"ByteLevel\"");
    let byte_fallback = match full.get_model() {
        ModelWrapper::BPE(bpe) => bpe.byte_fallback,
        ModelWrapper::Unigram(unigram) => unigram.byte_fallback(),
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => false,
    };
    let is_spaced = cuts.contains(SPACE) || normalises.contains(SPACE);
    if !byte_level && !byte_fallback && !is_spaced {
        let what = "a tokenizer whose tokens are neither bytes nor pieces of SentencePiece";
        return Err(LoadError::Unsupported { path: path.to_owned(), what: what.to_owned() });
    }

    // The same without added tokens: text never becomes one.
    let with = |pre_tokenizer: Option<PreTokenizerWrapper>| -> Result<Tokenizer, LoadError> {
        let mut res = Tokenizer::new(full.get_model().clone());
        res.with_normalizer(full.get_normalizer().cloned())
            .map_err(|error| corrupt(error.to_string()))?;
        res.with_pre_tokenizer(pre_tokenizer);
        Ok(res)
    };
    let continued = match &pre_tokenizer {
        Some(it) => without_first_space(it).map(|it| with(Some(it))).transpose()?,
        None => None,
    };
    let byte_of = byte_alphabet();
    let mut bytes = vec![Box::default(); n_ids(&full)];
    for (token, id) in full.get_vocab(false) {
        bytes[id as usize] =
            if byte_level { token_bytes(&token, &byte_of) } else { piece_bytes(&token) };
    }
    let mut special = Vec::new();
    for (id, token) in full.get_added_tokens_decoder() {
        let text = token.content;
        special.push(Special { text, id, lstrip: token.lstrip, rstrip: token.rstrip });
    }
    Ok(TextTokenizer::new(with(pre_tokenizer)?, continued, special, bytes))
}

/// The same for text that does not begin the prompt, where a space is put before the first only.
fn without_first_space(pre_tokenizer: &PreTokenizerWrapper) -> Option<PreTokenizerWrapper> {
    let json = serde_json::to_string(pre_tokenizer).ok()?;
    let first = "\"prepend_scheme\":\"first\"";
    if !json.contains(first) {
        return None;
    }
    serde_json::from_str(&json.replace(first, "\"prepend_scheme\":\"never\"")).ok()
}

/// The bytes of a piece of SentencePiece.
fn piece_bytes(piece: &str) -> Box<[u8]> {
    let byte = piece
        .strip_prefix("<0x")
        .and_then(|it| it.strip_suffix('>'))
        .filter(|it| it.len() == 2)
        .and_then(|it| u8::from_str_radix(it, 16).ok());
    match byte {
        Some(byte) => [byte].into(),
        None => piece.replace(SPACE, " ").into_bytes().into(),
    }
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
        "llama3" | "llama-v3" | "llama-bpe" => by_regex(LLAMA_3),
        "qwen2" => by_regex(QWEN_2),
        "tekken" => by_regex(TEKKEN),
        other => Err(LoadError::Unsupported {
            path: path.to_owned(),
            what: format!("a tokenizer that cuts words as `{other}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::gguf::Gguf;

    fn golden() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
    }

    fn load(name: &str) -> TextTokenizer {
        let path = golden().join(name);
        match name.ends_with(".gguf") {
            true => from_description(Gguf::open(&path).unwrap().tokenizer().unwrap()).unwrap(),
            false => from_json(&path).unwrap(),
        }
    }

    /// Texts are cut as transformers cuts them, and their tokens spell them again.
    #[track_caller]
    fn check(name: &str, spells: impl Fn(&str) -> String) {
        let text = fs_err::read_to_string(golden().join("tokenizers.json")).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        let tokenizer = load(name);
        for case in golden[name].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let expected: Vec<u32> = case["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it.as_u64().unwrap() as u32)
                .collect();
            let ids = tokenizer.encode_guarded(text, '\u{fdd0}').unwrap();
            assert_eq!(ids, expected, "{text:?}");
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.bytes(id)).copied().collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), spells(text), "{text:?}");
        }
    }

    /// With a space before the text, where it does not begin with one or with a special token.
    fn spaced(text: &str) -> String {
        let text = text.replace('▁', " ");
        let plain = !text.is_empty() && !text.starts_with([' ', '<', '[']);
        if plain { format!(" {text}") } else { text }
    }

    #[test]
    fn sentencepiece_of_a_gguf_file_agrees_with_transformers() {
        check("sentencepiece.gguf", spaced);
        check("tokenizer_first.json", spaced);
    }

    #[test]
    fn bytes_of_a_folder_agree_with_transformers() {
        // The normaliser composes, and blanks beside two of the special tokens belong to them.
        check("tokenizer_bytes.json", |text| {
            text.replace("e\u{301}", "é").replace("</s> ", "</s>")
        });
    }

    #[test]
    fn text_that_spells_a_special_token_stays_text() {
        for name in ["sentencepiece.gguf", "tokenizer_prepend.json", "tokenizer_bytes.json"] {
            let tokenizer = load(name);
            let special = tokenizer.special_id("[INST]").unwrap();
            let ids = tokenizer.encode_plain("[INST] <s>").unwrap();
            assert!(!ids.contains(&special) && ids.len() > 4, "{name}: {ids:?}");
        }
    }

    #[test]
    fn scores_must_be_there_for_every_piece() {
        let alphabet = Alphabet::SentencePiece { scores: vec![0.0], prefix_space: true };
        let tokens = vec!["a".to_owned(), "b".to_owned()];
        let error = from_description(Description { alphabet, tokens, ..Description::default() });
        assert!(error.err().unwrap().to_string().contains("1 scores for 2 tokens"));
    }

    #[test]
    fn a_space_before_every_piece_agrees_with_transformers() {
        let text = fs_err::read_to_string(golden().join("tokenizers.json")).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        let tokenizer = load("tokenizer_prepend.json");
        for case in golden["tokenizer_prepend.json"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = tokenizer.encode_guarded(text, '\u{fdd0}').unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{text:?}");
        }
    }
}
