//! Parts of a sentence that its source does not speak of at all.
//!
//! Small models like to end a true sentence with a conclusion of their own: "…three days a week,
//! which means that they choose their schedule". Taken as a whole such a sentence is close to its
//! source, by words and by meaning; clause by clause, its end is not.

use std::{collections::BTreeSet, sync::LazyLock};

use ingest::document::Language;
use regex::Regex;

use crate::words::stems;

/// A clause with fewer content words says too little to be judged alone.
const WORDS_MIN: usize = 2;

/// Share of a clause's content words that the source must have.
const SHARE_MIN: f32 = 0.6;

/// Where a clause begins: punctuation, or a word that draws a conclusion or gives a reason.
static CUT: LazyLock<Regex> = LazyLock::new(|| {
    let words = concat!(
        "which|because|since|so that|therefore|meaning|thus|hence|whereas|although",
        "|ce qui|ce que|c['’]est-à-dire|parce qu|puisqu|afin|donc|car|ainsi|bien qu|tandis qu",
    );
    Regex::new(&format!(r"(?i)[;()—–]|[:,]\s|\b(?:{words})\b")).expect("a literal pattern is valid")
});

/// Words that speak of the source or of the sentence itself, and need no support.
const ABOUT_SPEAKING: &str = "passage passages text document documents source sources state states \
    stated mention mentions mentioned say says said indicate indicates specify specifies according \
    mean means meaning question answer \
    texte indique indiquent précise précisent mentionne mentionnent dit disent signifie selon \
    question réponse";

/// Their stems, read in either language and in each: a check asks for them at every clause.
static ABOUT: LazyLock<[BTreeSet<String>; 3]> = LazyLock::new(|| {
    let languages = [None, Some(Language::English), Some(Language::French)];
    languages.map(|it| stems(ABOUT_SPEAKING, it))
});

fn about_speaking(language: Option<Language>) -> &'static BTreeSet<String> {
    let [either, english, french] = &*ABOUT;
    match language {
        None => either,
        Some(Language::English) => english,
        Some(Language::French) => french,
    }
}

/// Whether some clause of a sentence of several is not of the source, whose stems are given.
pub(super) fn has_unfounded(
    sentence: &str,
    language: Option<Language>,
    source: &BTreeSet<String>,
) -> bool {
    let clauses: Vec<BTreeSet<String>> =
        CUT.split(sentence).map(|it| telling(it, language)).filter(|it| !it.is_empty()).collect();
    clauses.len() > 1 && clauses.iter().any(|it| is_unfounded(it, source))
}

/// The stems of a clause's content words, without those about speaking.
pub(super) fn telling(clause: &str, language: Option<Language>) -> BTreeSet<String> {
    let mut res = stems(clause, language);
    let about = about_speaking(language);
    res.retain(|it| !about.contains(it));
    res
}

#[expect(clippy::cast_precision_loss, reason = "the words of a clause are few")]
fn is_unfounded(clause: &BTreeSet<String>, source: &BTreeSet<String>) -> bool {
    let n_found = clause.intersection(source).count();
    clause.len() >= WORDS_MIN && (n_found as f32) < SHARE_MIN * clause.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sentence: &str, source: &str, language: Language, expected: bool) {
        let source = stems(source, Some(language));
        assert_eq!(has_unfounded(sentence, Some(language), &source), expected, "{sentence}");
    }

    #[test]
    fn a_conclusion_of_the_models_own_is_found() {
        let source = "Employees may work remotely up to three days per week.";
        for end in [
            ", which means they can work on their own schedule.",
            " because managers trust their teams.",
            "; parking remains free for visitors.",
        ] {
            let sentence = format!("The passage states that employees can work three days{end}");
            check(&sentence, source, Language::English, true);
        }
        let source = "Le télétravail est ouvert dans la limite de trois jours par semaine.";
        let sentence = "Le télétravail est limité à trois jours, ce qui favorise la productivité \
                        des équipes.";
        check(sentence, source, Language::French, true);
    }

    #[test]
    fn clauses_that_the_source_has_are_left_alone() {
        let source = "Requests go to the manager at least five days before. Wednesday is the \
                      common day on site: every team meets in its office.";
        for sentence in [
            "Requests go to the manager, at least five days before.",
            "According to the document, requests go to the manager five days before.",
            "Wednesday is the common day on site, because every team meets in its office.",
            "Yes, requests go to the manager.",
        ] {
            check(sentence, source, Language::English, false);
        }
    }

    #[test]
    fn a_sentence_of_one_clause_is_judged_elsewhere() {
        check("Staff can telecommute.", "Employees work remotely.", Language::English, false);
    }
}
