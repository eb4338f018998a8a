//! The words of a text as retrieval sees them, for the parts that compare texts.

use std::collections::BTreeSet;

use index::lexical::analyse_some;
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
    stems_among(text, language, &|_| true)
}

/// The stems of those words of whose first letter, folded, `keep` is true.
fn stems_among(
    text: &str,
    language: Option<Language>,
    keep: &dyn Fn(char) -> bool,
) -> BTreeSet<String> {
    analyse_some(text, languages(language), keep).into_iter().collect()
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
    /// First letters of what can match one.
    initials: Vec<char>,
    /// Whether any is short enough to be shared by chance, which its words tell.
    needs_words: bool,
    needs_compounds: bool,
}

impl Lookup {
    /// What these stems need.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Wanted>) -> Self {
        let mut res = Self::default();
        for it in all {
            res.initials.extend(it.stem.chars().next());
            res.initials.extend(it.compound.iter().filter_map(|it| it.chars().next()));
            res.needs_words |= it.stem.len() <= SHORT_STEM;
            res.needs_compounds |= it.compound.is_some();
        }
        res.initials.sort_unstable();
        res.initials.dedup();
        res
    }

    fn keeps(&self, initial: char) -> bool {
        self.initials.contains(&initial)
    }
}

impl Vocabulary {
    /// Reads a text.
    #[must_use]
    pub fn of(text: &str, language: Option<Language>) -> Self {
        let words = words(text).into_iter().collect();
        Self { stems: stems(text, language), words, compounds: compounds(text) }
    }

    /// Reads of a text what a lookup needs.
    #[must_use]
    pub fn for_lookup(text: &str, language: Option<Language>, lookup: &Lookup) -> Self {
        let stems = stems_among(text, language, &|it| lookup.keeps(it));
        let mut res = Self { stems, ..Self::default() };
        let is_kept = |it: &&str| it.chars().next().is_some_and(|it| lookup.keeps(it));
        // Words are asked for only where a stem was found.
        if lookup.needs_words && !res.stems.is_empty() || lookup.needs_compounds {
            let folded = fold(text);
            if lookup.needs_words {
                res.words = words_of(&folded).filter(is_kept).map(str::to_owned).collect();
            }
            if lookup.needs_compounds {
                let compounds = compounds_of(&folded).filter(is_kept);
                res.compounds = compounds.map(str::to_owned).collect();
            }
        }
        res
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
        let Some((head, _)) = stem.char_indices().nth(KIN_CHARS_MIN - 1) else { return false };
        let head_end = head + stem[head..].chars().next().map_or(0, char::len_utf8);
        let head = &stem[..head_end];
        if head.chars().any(|c| !c.is_alphabetic()) {
            return false;
        }
        let n_stem = stem.chars().count();
        self.stems.range(head.to_owned()..).take_while(|it| it.starts_with(head)).any(|it| {
            let shorter = n_stem.min(it.chars().count());
            shared_chars(stem, it) >= KIN_CHARS_MIN.max(shorter.saturating_sub(2))
        })
    }
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
                let some = Vocabulary::for_lookup(&text, language, &Lookup::of(&wanted));
                for it in &wanted {
                    proptest::prop_assert_eq!(some.has(it), all.has(it));
                }
            }
        }
    }
}
