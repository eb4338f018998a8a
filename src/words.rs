//! The words of a text as retrieval sees them, for the parts that compare texts.

use std::collections::BTreeSet;

use index::lexical::{StemFinder, analyse};
use ingest::document::Language;

use crate::cite::fold;

/// Characters that two stems share at least to count as kin.
const KIN_CHARS_MIN: usize = 5;
/// What a kindred stem is worth beside the stem itself.
const KIN_SHARE: f32 = 0.8;
/// Letters of a stem up to which words that share it may have nothing in common: `taxi` and
/// `taxe` both give `tax`.
const SHORT_STEM: usize = 3;
/// Letters of each part of a compound that says something: `sous-louer`, but not `peut-on`.
const PART_LETTERS_MIN: usize = 3;
/// Letters after the hyphen that two compounds share: `sous-louer` and `sous-location`.
const COMPOUND_TAIL: usize = 2;

/// The stems of a text's content words; in both languages where its own cannot be told.
#[must_use]
pub fn stems(text: &str, language: Option<Language>) -> BTreeSet<String> {
    languages(language).iter().flat_map(|it| analyse(text, *it)).collect()
}

/// The languages that a text is read in.
#[must_use]
pub fn languages(language: Option<Language>) -> &'static [Language] {
    match language {
        Some(Language::English) => &[Language::English],
        Some(Language::French) => &[Language::French],
        None => &[Language::English, Language::French],
    }
}

/// The hyphenated words of a text whose parts are words themselves, folded.
#[must_use]
pub fn compounds(text: &str) -> Vec<String> {
    compounds_of(&fold(text)).map(str::to_owned).collect()
}

/// The same of a folded text.
fn compounds_of(folded: &str) -> impl Iterator<Item = &str> {
    let is_compound = |it: &&str| {
        it.contains('-')
            && it.split('-').all(|part| {
                part.chars().count() >= PART_LETTERS_MIN && part.chars().all(char::is_alphabetic)
            })
    };
    folded.split(|c: char| !c.is_alphanumeric() && c != '-').filter(is_compound)
}

/// A text's words, to look the words of a question up in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    stems: BTreeSet<String>,
    words: BTreeSet<String>,
    compounds: Vec<String>,
}

/// A stem to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The stem.
    pub stem: String,
    /// The word that it comes from, folded.
    pub word: String,
    /// The hyphenated word that it comes from.
    pub compound: Option<String>,
}

/// What some stems need of a text: for these, a vocabulary made for it has what the whole one has,
/// in a fraction of the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lookup {
    /// What stems begin with that can match one.
    prefixes: Vec<String>,
    /// Those that are short enough to be shared by chance, which words tell that begin with them.
    short: Vec<String>,
    /// First letters of compounds.
    of_compounds: Vec<char>,
}

/// Finds in many texts what a lookup needs.
#[derive(Debug)]
pub struct Finder<'a> {
    lookup: &'a Lookup,
    stems: StemFinder<'a>,
}

impl Lookup {
    /// What these stems need.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Wanted>) -> Self {
        let mut res = Self::default();
        for it in all {
            res.prefixes.push(kin_head(&it.stem).unwrap_or(&it.stem).to_owned());
            if it.stem.len() <= SHORT_STEM {
                res.short.push(it.stem.clone());
            }
            res.of_compounds.extend(it.compound.iter().filter_map(|it| it.chars().next()));
        }
        res
    }

    /// Finds it in texts of a language.
    #[must_use]
    pub fn finder(&self, language: Option<Language>) -> Finder<'_> {
        Finder { lookup: self, stems: StemFinder::new(languages(language), &self.prefixes) }
    }
}

impl Finder<'_> {
    /// Reads of a text what the lookup needs.
    #[must_use]
    pub fn read(&mut self, text: &str) -> Vocabulary {
        let Lookup { short, of_compounds, .. } = self.lookup;
        let mut res = Vocabulary { stems: self.stems.find(text), ..Vocabulary::default() };
        // Words are asked for only where a stem was found.
        let needs_words = short.iter().any(|it| res.stems.contains(it));
        if needs_words || !of_compounds.is_empty() {
            let folded = fold(text);
            if needs_words {
                let is_kept = |word: &&str| short.iter().any(|it| word.starts_with(it.as_str()));
                res.words = words_of(&folded).filter(is_kept).map(str::to_owned).collect();
            }
            let is_kept =
                |it: &&str| it.chars().next().is_some_and(|it| of_compounds.contains(&it));
            res.compounds = compounds_of(&folded).filter(is_kept).map(str::to_owned).collect();
        }
        res
    }
}

impl Vocabulary {
    /// Reads a text.
    #[must_use]
    pub fn of(text: &str, language: Option<Language>) -> Self {
        let words = words(text).into_iter().collect();
        Self { stems: stems(text, language), words, compounds: compounds(text) }
    }

    /// How surely a stem is among them, from 0 to 1. French derives words that its stemmer keeps
    /// apart: stems that begin alike count, for less.
    #[must_use]
    pub fn has(&self, wanted: &Wanted) -> f32 {
        if self.stems.contains(&wanted.stem) && !self.is_chance(wanted) {
            return 1.0;
        }
        let compound = wanted.compound.as_deref();
        let is_kin = self.has_kin(&wanted.stem)
            || compound.is_some_and(|it| self.compounds.iter().any(|own| begin_alike(own, it)));
        if is_kin { KIN_SHARE } else { 0.0 }
    }

    /// Whether a short stem is shared by words that are not related.
    fn is_chance(&self, wanted: &Wanted) -> bool {
        let Wanted { stem, word, .. } = wanted;
        if stem.len() > SHORT_STEM || !word.starts_with(stem.as_str()) {
            return false;
        }
        let mut own = self.words.range(stem.clone()..).take_while(|it| it.starts_with(stem));
        let related = |it: &String| {
            let (a, b) = (singular(it), singular(word));
            a.starts_with(b) || b.starts_with(a) || shared_chars(a, b) > SHORT_STEM
        };
        let mut any = false;
        let found = own.by_ref().inspect(|_| any = true).any(related);
        any && !found
    }

    fn has_kin(&self, stem: &str) -> bool {
        let Some(head) = kin_head(stem) else { return false };
        let n_stem = stem.chars().count();
        self.stems.range(head.to_owned()..).take_while(|it| it.starts_with(head)).any(|it| {
            let shorter = n_stem.min(it.chars().count());
            shared_chars(stem, it) >= KIN_CHARS_MIN.max(shorter.saturating_sub(2))
        })
    }
}

/// What kindred stems begin with; `None` where a stem is too short, or no word.
fn kin_head(stem: &str) -> Option<&str> {
    let (last, c) = stem.char_indices().nth(KIN_CHARS_MIN - 1)?;
    let head = &stem[..last + c.len_utf8()];
    head.chars().all(char::is_alphabetic).then_some(head)
}

/// The words of a text, folded.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    words_of(&fold(text)).map(str::to_owned).collect()
}

/// The words of a folded text.
fn words_of(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty())
}

fn singular(word: &str) -> &str {
    word.trim_end_matches(['s', 'x'])
}

/// Whether two compounds have the same first part and begin alike after it.
fn begin_alike(a: &str, b: &str) -> bool {
    match (a.split_once('-'), b.split_once('-')) {
        (Some((a, tail_a)), Some((b, tail_b))) => {
            a == b && shared_chars(tail_a, tail_b) >= COMPOUND_TAIL
        }
        _ => false,
    }
}

fn shared_chars(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, word: &str, expected: bool) {
        let language = Some(Language::French);
        let own = Vocabulary::of(text, language);
        let wanted = |stem: &String| Wanted {
            stem: stem.clone(),
            word: fold(word),
            compound: compounds(word).pop(),
        };
        let found = stems(word, language).iter().map(|it| own.has(&wanted(it))).fold(0.0, f32::max);
        assert_eq!(found > 0.0, expected, "`{word}` in `{text}`: {found}");
    }

    #[test]
    fn words_of_one_family_meet() {
        check("Toute sous-location est interdite.", "sous-louer", true);
        check("L'invitation d'un client est plafonnée.", "inviter", true);
        check("La présence est obligatoire.", "présentation", true);
        check("La mutuelle couvre.", "mutisme", false);
        check("Il travaille sous-sol.", "sous-louer", false);
        check("Référence 12345", "12346", false);
    }

    #[test]
    fn a_short_stem_is_not_enough() {
        check("Le loyer hors taxes est de 84 600 €.", "taxi", false);
        check("Les taxis sont remboursés.", "taxi", true);
        check("Il loue un local.", "louer", true);
    }

    #[test]
    fn a_question_s_inversions_are_no_compounds() {
        assert!(compounds("Peut-on ? Est-ce vrai ? Combien y a-t-il ?").is_empty());
        assert_eq!(compounds("Une Sous-Location"), ["sous-location"]);
    }

    proptest::proptest! {
        #[test]
        fn a_lookup_finds_what_the_whole_vocabulary_has(
            text in "([a-ez éàœ'-]|sous-|taxi|taxe|L’|présent){0,40}",
            question in "([a-e éœ'-]|sous-|taxi|présent){0,12}",
        ) {
            for language in [None, Some(Language::French), Some(Language::English)] {
                let all = Vocabulary::of(&text, language);
                let wanted: Vec<Wanted> = stems(&question, language).into_iter().map(|stem| Wanted {
                    stem,
                    word: fold(&question),
                    compound: compounds(&question).pop(),
                }).collect();
                let lookup = Lookup::of(&wanted);
                let mut finder = lookup.finder(language);
                // Words of a text before must not count for another.
                let _ = finder.read("taxi sous-louer présenter élève");
                let some = finder.read(&text);
                for it in &wanted {
                    proptest::prop_assert_eq!(some.has(it), all.has(it));
                }
            }
        }
    }
}
