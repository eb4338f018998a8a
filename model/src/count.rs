//! Counts tokens fast, by remembering the words it has seen.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use serde_json::Value;
use tokenizers::Tokenizer;

/// Words that are remembered; a natural language's vocabulary with its inflections fits.
const WORDS_MAX: usize = 400_000;
/// Longer words are rare and are counted each time.
const WORD_BYTES_MAX: usize = 48;

/// Counts the tokens of texts, thread-safe.
#[derive(Debug)]
pub(crate) struct TokenCounter {
    /// Whether the tokens of a text are those of its words, put together.
    by_word: bool,
    /// Tokens of each word seen.
    words: RwLock<HashMap<Box<str>, u32>>,
}

impl TokenCounter {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        Self { by_word: cuts_at_whitespace(tokenizer), words: RwLock::default() }
    }

    /// Tokens of `text` without special tokens; exactly as many as `tokenizer` would give it.
    pub(crate) fn count(&self, tokenizer: &Tokenizer, text: &str) -> usize {
        if !self.by_word {
            return count_whole(tokenizer, text);
        }
        let mut n_tokens = 0;
        let mut unknown = Vec::new();
        {
            // A poisoned map is still a map of right counts: entries are inserted whole.
            let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
            for word in text.split([' ', '\n', '\t', '\r']).filter(|word| !word.is_empty()) {
                match words.get(word) {
                    Some(&n) => n_tokens += n as usize,
                    None => unknown.push(word),
                }
            }
        }
        if unknown.is_empty() {
            return n_tokens;
        }
        unknown.sort_unstable();
        let mut counted = Vec::new();
        for same in unknown.chunk_by(|a, b| a == b) {
            let n = count_whole(tokenizer, same[0]);
            n_tokens += n * same.len();
            if same[0].len() <= WORD_BYTES_MAX {
                counted.push((same[0].into(), n as u32));
            }
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if words.len() + counted.len() > WORDS_MAX {
            words.clear();
        }
        words.extend(counted.into_iter().take(WORDS_MAX));
        n_tokens
    }
}

fn count_whole(tokenizer: &Tokenizer, text: &str) -> usize {
    match tokenizer.encode_fast(text, false) {
        // What was cut off counts too.
        Ok(it) => it.len() + it.get_overflowing().iter().map(|it| it.len()).sum::<usize>(),
        // Byte by byte is the most that any tokenizer gives; a limit that trusts it is kept.
        Err(_) => text.len(),
    }
}

/// Whether the tokenizer treats the words between spaces, tabs and line ends independently.
///
/// BERT's pre-tokenizer does. A unigram model over Metaspace does if runs of spaces count as one,
/// which is what `WhitespaceSplit` before it or a replacement in the normaliser see to.
fn cuts_at_whitespace(tokenizer: &Tokenizer) -> bool {
    let (Ok(pre), Ok(normalizer), Ok(model)) = (
        serde_json::to_value(tokenizer.get_pre_tokenizer()),
        serde_json::to_value(tokenizer.get_normalizer()),
        model_type(tokenizer),
    ) else {
        return false;
    };
    match model {
        "WordPiece" => pre["type"] == "BertPreTokenizer",
        "Unigram" => {
            let steps = |value: &Value, list: &str| -> Vec<Value> {
                value[list].as_array().cloned().unwrap_or_else(|| vec![value.clone()])
            };
            let pre = steps(&pre, "pretokenizers");
            let normalizer = steps(&normalizer, "normalizers");
            let metaspace = pre.iter().any(|it| {
                it["type"] == "Metaspace" && it["prepend_scheme"] == "always" && it["split"] == true
            });
            let splits = pre.iter().any(|it| it["type"] == "WhitespaceSplit");
            let collapses = normalizer
                .iter()
                .any(|it| it["type"] == "Replace" && it["pattern"]["Regex"] == " {2,}");
            metaspace && (splits || collapses)
        }
        _ => false,
    }
}

fn model_type(tokenizer: &Tokenizer) -> Result<&'static str, ()> {
    use tokenizers::models::ModelWrapper;
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(_) => Ok("WordPiece"),
        ModelWrapper::Unigram(_) => Ok("Unigram"),
        ModelWrapper::BPE(_) | ModelWrapper::WordLevel(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::models::unigram::Unigram;
    use tokenizers::models::wordpiece::WordPiece;
    use tokenizers::normalizers::bert::BertNormalizer;
    use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
    use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
    use tokenizers::pre_tokenizers::sequence::Sequence;
    use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

    use super::*;

    fn word_piece() -> Tokenizer {
        let tokens = ["[UNK]", "re", "##mo", "##te", "work", "##s", "l", "'", "ecole", ".", "e"];
        let vocab: tokenizers::models::bpe::Vocab =
            tokens.iter().zip(0..).map(|(it, id)| ((*it).to_owned(), id)).collect();
        let model =
            WordPiece::builder().vocab(vocab).unk_token("[UNK]".to_owned()).build().unwrap();
        let mut res = Tokenizer::new(model);
        res.with_normalizer(Some(BertNormalizer::default())).unwrap();
        res.with_pre_tokenizer(Some(BertPreTokenizer));
        res
    }

    fn unigram() -> Tokenizer {
        let tokens = ["<unk>", "▁", "▁re", "mo", "te", "▁work", "s", "é", "'", "▁l"];
        let vocab =
            tokens.iter().zip(1..).map(|(it, n)| ((*it).to_owned(), -f64::from(n))).collect();
        let mut res = Tokenizer::new(Unigram::from(vocab, Some(0), false).unwrap());
        let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
        res.with_pre_tokenizer(Some(Sequence::new(vec![WhitespaceSplit.into(), metaspace.into()])));
        res
    }

    #[track_caller]
    fn check(tokenizer: &Tokenizer, text: &str) {
        let counter = TokenCounter::new(tokenizer);
        assert!(counter.by_word);
        for _ in 0..2 {
            assert_eq!(counter.count(tokenizer, text), count_whole(tokenizer, text), "{text:?}");
        }
    }

    #[test]
    fn counts_what_the_tokenizer_gives() {
        for text in
            ["", " ", "remotes works", "l'école\r\n\tremote  work. works.", "a\u{a0}b\u{85}c"]
        {
            check(&word_piece(), text);
            check(&unigram(), text);
        }
    }

    #[test]
    fn other_tokenizers_are_asked_for_the_whole_text() {
        let mut tokenizer = unigram();
        tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::First, true)));
        assert!(!TokenCounter::new(&tokenizer).by_word);
    }

    proptest! {
        #[test]
        fn counting_by_word_loses_nothing(
            text in "([a-z ]|work|rem|ote|é|É|\u{301}|'|\\.|\n|\r|\t|\u{a0}|\u{2003}|\u{200b}|日| ){0,40}"
        ) {
            check(&word_piece(), &text);
            check(&unigram(), &text);
        }
    }
}
