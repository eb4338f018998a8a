//! Which questions are nearly the same, and groups of things that touch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use unicode_normalization::UnicodeNormalization as _;

/// From this share of common words on, two questions are nearly the same.
pub const NEAR_MIN: f64 = 0.85;

/// The words of a text, without case, accents and punctuation.
#[must_use]
pub fn words_of(text: &str) -> BTreeSet<String> {
    let folded: String = text
        .nfd()
        .filter(|it| !('\u{300}'..='\u{36f}').contains(it))
        .flat_map(char::to_lowercase)
        .collect();
    folded
        .split(|it: char| !it.is_alphanumeric())
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Share of common words, from 0 to 1 (Jaccard).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "texts have far fewer than 2^52 words")]
pub fn similarity(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let n_common = a.intersection(b).count();
    let n_all = a.len() + b.len() - n_common;
    if n_all == 0 { 1.0 } else { n_common as f64 / n_all as f64 }
}

/// Texts that were seen, to find what nearly repeats one of them. Looks only at those that share a
/// rare word with it.
#[derive(Debug, Default)]
pub struct Seen {
    texts: Vec<BTreeSet<String>>,
    by_word: HashMap<String, Vec<usize>>,
}

impl Seen {
    /// An earlier text that this one nearly repeats, as its number from 0. Figures and codes must
    /// be the same ones: `rule R-07` is not `rule R-08`.
    #[must_use]
    pub fn near(&self, words: &BTreeSet<String>) -> Option<usize> {
        self.all_near(words).into_iter().next()
    }

    /// All earlier texts that this one nearly repeats.
    #[must_use]
    pub fn all_near(&self, words: &BTreeSet<String>) -> Vec<usize> {
        let mut candidates: BTreeMap<usize, usize> = BTreeMap::new();
        for at in words.iter().filter_map(|it| self.by_word.get(it)).flatten() {
            *candidates.entry(*at).or_default() += 1;
        }
        let is_near = |at: &usize| {
            let other = &self.texts[*at];
            similarity(words, other) >= NEAR_MIN && figures(words).eq(figures(other))
        };
        candidates.into_keys().filter(is_near).collect()
    }

    /// Remembers a text.
    pub fn push(&mut self, words: BTreeSet<String>) {
        let at = self.texts.len();
        for word in &words {
            self.by_word.entry(word.clone()).or_default().push(at);
        }
        self.texts.push(words);
    }
}

fn figures(words: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    words.iter().filter(|it| it.chars().any(|c| c.is_ascii_digit()))
}

/// Groups of things: what touches is in one group.
#[derive(Debug)]
pub struct Groups(Vec<usize>);

impl Groups {
    /// `n` things, each alone.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    /// The smallest member of a thing's group.
    #[must_use]
    pub fn of(&self, mut it: usize) -> usize {
        while self.0[it] != it {
            it = self.0[it];
        }
        it
    }

    /// Puts two things, and all that touch them, into one group.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expected: bool) {
        let mut seen = Seen::default();
        seen.push(words_of(a));
        assert_eq!(seen.near(&words_of(b)).is_some(), expected, "{a} / {b}");
    }

    #[test]
    fn questions_that_differ_in_a_letter_or_in_order_are_near() {
        check("Combien de jours de congés ai-je ?", "combien de jours de conges ai je", true);
        check("Who pays for the taxi home?", "Who pays for the taxi home", true);
        check("Who pays for the taxi?", "When does the shop open?", false);
    }

    #[test]
    fn another_figure_is_another_question() {
        check(
            "What does the rule R-07 say about it?",
            "What does the rule R-08 say about it?",
            false,
        );
    }

    #[test]
    fn what_touches_is_one_group() {
        let mut groups = Groups::new(5);
        groups.join(3, 4);
        groups.join(4, 1);
        assert_eq!((groups.of(3), groups.of(4), groups.of(0)), (1, 1, 0));
    }
}
