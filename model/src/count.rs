//! Counts tokens fast, by remembering the words it has seen.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
use serde_json::Value;
use tokenizers::{Model as _, Tokenizer};

/// Words that are remembered; a natural language's vocabulary with its inflections fits.
const WORDS_MAX: usize = 400_000;
/// White space that every tokenizer cuts at.
const SPACES: [char; 4] = [' ', '\n', '\t', '\r'];
/// Longer words are rare and are counted each time.
const WORD_BYTES_MAX: usize = 48;

/// Counts the tokens of texts, thread-safe.
#[derive(Debug)]
pub(crate) struct TokenCounter {
    cut: Cut,
    /// Tokens of each word seen. Words come from documents, so the hash is a seeded one.
    words: RwLock<HashMap<Box<str>, u32, RandomState>>,
}

/// How a text can be taken apart so that the tokens of its parts are its own.
#[derive(Debug)]
enum Cut {
    /// Not at all.
    Nowhere,
    /// At white space.
    Spaces,
    /// At white space and at ASCII punctuation, of which each mark is one token.
    Marks {
        lower_case: bool,
        /// Texts that are one token wherever they stand, such as `[SEP]`.
        added: Vec<String>,
    },
}

impl TokenCounter {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        Self { cut: Cut::of(tokenizer), words: RwLock::default() }
    }

    /// Tokens of `text` without special tokens; exactly as many as `tokenizer` would give it.
    pub(crate) fn count(&self, tokenizer: &Tokenizer, text: &str) -> usize {
        match &self.cut {
            Cut::Nowhere => return count_whole(tokenizer, text),
            Cut::Marks { added, .. } if added.iter().any(|it| text.contains(it.as_str())) => {
                return count_whole(tokenizer, text);
            }
            Cut::Spaces | Cut::Marks { .. } => {}
        }
        let mut n_tokens = 0;
        let mut unknown = Vec::new();
        {
            // A poisoned map is still a map of right counts: entries are inserted whole.
            let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
            let mut take = |word| match words.get(word) {
                Some(&n) => n_tokens += n as usize,
                None => unknown.push(word),
            };
            let n_marks = match &self.cut {
                Cut::Marks { .. } => cut_at_marks(text, &mut take),
                Cut::Spaces | Cut::Nowhere => {
                    text.split(SPACES).filter(|word| !word.is_empty()).for_each(take);
                    0
                }
            };
            n_tokens += n_marks;
        }
        if unknown.is_empty() {
            return n_tokens;
        }
        unknown.sort_unstable();
        let mut counted = Vec::new();
        for same in unknown.chunk_by(|a, b| a == b) {
            let n = self.count_word(tokenizer, same[0]);
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

    fn count_word(&self, tokenizer: &Tokenizer, word: &str) -> usize {
        // Of plain letters and digits, normalising leaves at most the case to change.
        if let Cut::Marks { lower_case, .. } = self.cut
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            let lower = if lower_case { word.to_ascii_lowercase() } else { word.to_owned() };
            if let Ok(tokens) = tokenizer.get_model().tokenize(&lower) {
                return tokens.len();
            }
        }
        count_whole(tokenizer, word)
    }
}

/// Gives the parts between white space and ASCII punctuation to `take`; returns the number of
/// marks of punctuation.
fn cut_at_marks<'t>(text: &'t str, take: &mut impl FnMut(&'t str)) -> usize {
    let mut n_marks = 0;
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        let is_mark = byte.is_ascii_punctuation();
        if is_mark || matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
            if start < at {
                take(&text[start..at]);
            }
            start = at + 1;
            n_marks += usize::from(is_mark);
        }
    }
    if start < text.len() {
        take(&text[start..]);
    }
    n_marks
}

fn count_whole(tokenizer: &Tokenizer, text: &str) -> usize {
    match tokenizer.encode_fast(text, false) {
        // What was cut off counts too.
        Ok(it) => it.len() + it.get_overflowing().iter().map(|it| it.len()).sum::<usize>(),
        // Byte by byte is the most that any tokenizer gives; a limit that trusts it is kept.
        Err(_) => text.len(),
    }
}

impl Cut {
    /// BERT's pre-tokenizer makes each mark of punctuation a word. A unigram model over Metaspace
    /// treats words independently if runs of spaces count as one, which is what `WhitespaceSplit`
    /// before it or a replacement in the normaliser see to.
    fn of(tokenizer: &Tokenizer) -> Self {
        let (Ok(pre), Ok(normalizer), Ok(model)) = (
            serde_json::to_value(tokenizer.get_pre_tokenizer()),
            serde_json::to_value(tokenizer.get_normalizer()),
            model_type(tokenizer),
        ) else {
            return Self::Nowhere;
        };
        let independent = match model {
            "WordPiece" => pre["type"] == "BertPreTokenizer",
            "Unigram" => splits_words(&pre, &normalizer),
            _ => false,
        };
        let added = tokenizer.get_added_tokens_decoder();
        // A text that stands for a token is looked for in the text as it is only if it is not
        // normalised, and can be found within a word only if it holds no space.
        let plain = added.values().all(|it| !it.normalized && !it.content.contains(SPACES));
        match normalizer["lowercase"].as_bool() {
            Some(lower_case)
                if independent
                    && plain
                    && model == "WordPiece"
                    && normalizer["type"] == "BertNormalizer" =>
            {
                let mut added: Vec<_> = added.into_values().map(|it| it.content).collect();
                added.sort_unstable();
                Self::Marks { lower_case, added }
            }
            _ if independent => Self::Spaces,
            _ => Self::Nowhere,
        }
    }
}

fn splits_words(pre: &Value, normalizer: &Value) -> bool {
    let steps = |value: &Value, list: &str| -> Vec<Value> {
        value[list].as_array().cloned().unwrap_or_else(|| vec![value.clone()])
    };
    let pre = steps(pre, "pretokenizers");
    let normalizer = steps(normalizer, "normalizers");
    let metaspace = pre.iter().any(|it| {
        it["type"] == "Metaspace" && it["prepend_scheme"] == "always" && it["split"] == true
    });
    let splits = pre.iter().any(|it| it["type"] == "WhitespaceSplit");
    let collapses =
        normalizer.iter().any(|it| it["type"] == "Replace" && it["pattern"]["Regex"] == " {2,}");
    metaspace && (splits || collapses)
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
    use tokenizers::AddedToken;
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
        res.add_special_tokens([AddedToken::from("[SEP]", true)]).unwrap();
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
        assert!(!matches!(counter.cut, Cut::Nowhere));
        for _ in 0..2 {
            assert_eq!(counter.count(tokenizer, text), count_whole(tokenizer, text), "{text:?}");
        }
    }

    #[test]
    fn bert_is_cut_at_punctuation_too() {
        assert!(matches!(
            TokenCounter::new(&word_piece()).cut,
            Cut::Marks { lower_case: true, .. }
        ));
        assert!(matches!(TokenCounter::new(&unigram()).cut, Cut::Spaces));
        for text in ["Work.remote's", "[SEP]", "a[SEP]b [sep]", "=\u{338}", &"e".repeat(101)] {
            check(&word_piece(), text);
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
        assert!(matches!(TokenCounter::new(&tokenizer).cut, Cut::Nowhere));
    }

    proptest! {
        #[test]
        fn counting_by_word_loses_nothing(
            text in "([a-zA-Z ]|work|rem|ote|é|É|\u{301}|\u{338}|'|\\.|<|=|\\[SEP\\]|\u{1}|\n|\r|\t|\u{a0}|\u{2003}|\u{200b}|日| ){0,40}"
        ) {
            check(&word_piece(), &text);
            check(&unigram(), &text);
        }
    }
}
