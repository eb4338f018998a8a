//! Tokens of a text for a model whose tokenizer is on a server: counted with a copy of it, where
//! the user has one, or estimated.

use model::{chat::Turn, tokens::Counter};

/// Tokens that a chat template puts around a turn, at most, for the templates that we know.
const TURN_TOKENS: usize = 8;

/// Tokens that it puts around the conversation: the beginning, and the opening of the answer.
const CONVERSATION_TOKENS: usize = 8;

/// Letters of one token, for a word in the Latin alphabet without accents.
const LETTERS_PER_TOKEN: usize = 3;

/// Counts tokens.
#[derive(Debug)]
pub enum Tokens {
    /// With the model's own tokenizer.
    Counted(Box<Counter>),
    /// By the letters: more than most tokenizers give, so that what fits by it fits.
    Estimated,
}

impl Tokens {
    /// Tokens of a text.
    #[must_use]
    pub fn of(&self, text: &str) -> usize {
        match self {
            Self::Counted(counter) => counter.count(text),
            Self::Estimated => estimate(text),
        }
    }

    /// Tokens of a conversation. Its template is the server's, so that this is an estimate even
    /// where texts are counted.
    #[must_use]
    pub fn of_turns(&self, turns: &[Turn]) -> usize {
        let texts: usize = turns.iter().map(|it| self.of(&it.content) + TURN_TOKENS).sum();
        texts + CONVERSATION_TOKENS
    }

    /// Whether texts are counted, not estimated.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        matches!(self, Self::Counted(_))
    }
}

/// Tokens of a text, estimated high: three ASCII letters a token, and every other letter, digit,
/// mark and line end one of its own; letters that take three bytes and more, one a byte beyond
/// the first.
#[must_use]
pub fn estimate(text: &str) -> usize {
    let mut n_tokens = 0;
    let mut n_letters = 0;
    for c in text.chars() {
        if c.is_ascii_alphabetic() {
            n_letters += 1;
            continue;
        }
        n_tokens += usize::div_ceil(n_letters, LETTERS_PER_TOKEN);
        n_letters = 0;
        n_tokens += match c {
            ' ' => 0,
            c => c.len_utf8().saturating_sub(1).max(1),
        };
    }
    n_tokens + usize::div_ceil(n_letters, LETTERS_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_digits_and_marks_count() {
        for (text, expected) in [
            ("", 0),
            ("a", 1),
            ("the", 1),
            ("remote", 2),
            ("19,40 €", 5 + 2),
            ("été", 3),
            ("a b\nc", 4),
            ("日本", 4),
        ] {
            assert_eq!(estimate(text), expected, "{text}");
        }
    }

    #[test]
    fn a_conversation_counts_more_than_its_texts() {
        let turns = [Turn::system("the"), Turn::user("the")];
        assert_eq!(Tokens::Estimated.of_turns(&turns), 2 + 2 * TURN_TOKENS + CONVERSATION_TOKENS);
    }
}
