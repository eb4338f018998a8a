//! What a language model wrote from a passage, and whether it holds: nothing is kept because it
//! looks good, all of it because it passed.

use std::{collections::BTreeSet, sync::LazyLock};

use ingest::{document::Language, language::detect};
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    near::{Seen, words_of},
    personal::masked,
};

/// Characters of a question.
const QUESTION_CHARS: std::ops::RangeInclusive<usize> = 12..=300;
/// Characters of an answer at most.
const ANSWER_CHARS_MAX: usize = 600;
/// Words of a quote at least: less supports nothing.
const QUOTE_WORDS_MIN: usize = 3;

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Written {
    /// The question.
    pub question: String,
    /// Its answer.
    pub answer: String,
    /// The words of the passage that the answer rests on.
    pub quote: String,
}

/// Why a row is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// The model did not write a question, an answer and a quote.
    NotReadable,
    /// The question is none, or too short or too long; or the answer is empty or too long.
    BadForm,
    /// It speaks of “the text” or “the passage”, which whoever asks does not see.
    SpeaksOfTheText,
    /// Question or answer are in another language than the passage.
    WrongLanguage,
    /// The quote does not stand in the passage.
    QuoteNotFound,
    /// The passage does not say what the answer does.
    NotSupported,
    /// The question does not find its own passage.
    NotFound,
    /// It nearly repeats another question.
    NearDuplicate,
    /// It would teach personal data.
    PersonalData,
    /// Retrieval finds a passage that seems to bear on a question that should have none.
    SeemsAnswerable,
    /// The prompt with its passages is too long.
    TooLong,
    /// Rows of another part of the dataset ask nearly the same.
    OtherPart,
    /// Nothing that is found bears on it: answering refuses without asking the model.
    NeverAsked,
}

impl Dropped {
    /// In words, for reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReadable => "no question, answer and quote in what the model wrote",
            Self::BadForm => "not a question, or too short or too long",
            Self::SpeaksOfTheText => "speaks of “the text”",
            Self::WrongLanguage => "wrong language",
            Self::QuoteNotFound => "quote not in the passage",
            Self::NotSupported => "answer not supported by the passage",
            Self::NotFound => "question does not find its passage",
            Self::NearDuplicate => "nearly repeats another question",
            Self::PersonalData => "would teach personal data",
            Self::SeemsAnswerable => "the documents seem to answer it",
            Self::TooLong => "prompt too long",
            Self::OtherPart => "another part asks nearly the same",
            Self::NeverAsked => "refused without asking the model",
        }
    }
}

static SPEAKS_OF_THE_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    let english = "text|passages?|excerpts?|extracts?|paragraphs?|context|sentences?|snippet";
    let french = "textes?|passages?|extraits?|paragraphes?|contexte";
    let forms = [
        format!(r"\b(?:the|this|that|above|given|provided) (?:{english})\b"),
        format!(r"\b(?:le|ce|du|au|cet?|l['’]|d['’]apr[eè]s le|ci-dessus) ?(?:{french})\b"),
        r"\b(?:la|cette) phrase\b".to_owned(),
        r"\b(?:mentioned|stated|described) (?:above|here)\b".to_owned(),
        r"\bci-dessus\b".to_owned(),
    ];
    Regex::new(&format!("(?i){}", forms.join("|"))).expect("a literal pattern is valid")
});

/// Reads what a model wrote: the first JSON object with the three fields, whatever stands around
/// it.
///
/// # Errors
/// [`Dropped::NotReadable`]
pub fn read(draft: &str) -> Result<Written, Dropped> {
    let starts = draft.match_indices('{').map(|(at, _)| at);
    for start in starts {
        let mut stream = serde_json::Deserializer::from_str(&draft[start..]).into_iter::<Written>();
        if let Some(Ok(written)) = stream.next() {
            let trim = |it: String| it.trim().to_owned();
            let Written { question, answer, quote } = written;
            let (question, answer, quote) = (trim(question), trim(answer), trim(quote));
            return Ok(Written { question, answer, quote });
        }
    }
    Err(Dropped::NotReadable)
}

/// What only the documents can say of a question and its answer.
pub trait Evidence {
    /// Why it failed.
    type Error;
    /// Whether the passage supports every sentence of the answer.
    ///
    /// # Errors
    /// When a model or the index fails.
    fn supports(&mut self, answer: &str) -> Result<bool, Self::Error>;
    /// Whether the question finds the passage among the first ones.
    ///
    /// # Errors
    /// When a model or the index fails.
    fn finds(&mut self, question: &str) -> Result<bool, Self::Error>;
}

/// Checks what a model wrote from a passage, cheapest checks first. `Ok(None)`: it holds, and its
/// question is remembered in `seen`.
///
/// # Errors
/// Those of `evidence`.
pub fn judge<E: Evidence>(
    written: &Written,
    passage: &str,
    language: Option<Language>,
    seen: &mut Seen,
    evidence: &mut E,
) -> Result<Option<Dropped>, E::Error> {
    if let Some(dropped) = by_words(written, passage, language) {
        return Ok(Some(dropped));
    }
    // As it is remembered between two runs: personal data is not.
    let words = words_of(&masked(&written.question).unwrap_or_else(|| written.question.clone()));
    if seen.near(&words).is_some() {
        return Ok(Some(Dropped::NearDuplicate));
    }
    if !evidence.supports(&written.answer)? {
        return Ok(Some(Dropped::NotSupported));
    }
    if !evidence.finds(&written.question)? {
        return Ok(Some(Dropped::NotFound));
    }
    seen.push(words);
    Ok(None)
}

/// What can be said from the words alone.
fn by_words(written: &Written, passage: &str, language: Option<Language>) -> Option<Dropped> {
    let Written { question, answer, quote } = written;
    let n_chars = question.chars().count();
    let is_form = QUESTION_CHARS.contains(&n_chars)
        && question.ends_with('?')
        && !question.contains('\n')
        && !answer.is_empty()
        && !answer.ends_with('?')
        && answer.chars().count() <= ANSWER_CHARS_MAX;
    if !is_form || words_of(answer).is_subset(&words_of(question)) {
        return Some(Dropped::BadForm);
    }
    if SPEAKS_OF_THE_TEXT.is_match(question) || SPEAKS_OF_THE_TEXT.is_match(answer) {
        return Some(Dropped::SpeaksOfTheText);
    }
    let differs = |it: &str| match (detect(it), language) {
        (Some(found), Some(wanted)) => found != wanted,
        _ => false,
    };
    if differs(question) || differs(answer) {
        return Some(Dropped::WrongLanguage);
    }
    let n_words = quote.split_whitespace().count();
    if n_words < QUOTE_WORDS_MIN || !holds(passage, quote) {
        return Some(Dropped::QuoteNotFound);
    }
    None
}

/// Whether a text holds a quote word for word: blanks and kinds of quotation marks and apostrophes
/// apart.
#[must_use]
pub fn holds(text: &str, quote: &str) -> bool {
    let quote = squeezed(quote);
    !quote.is_empty() && squeezed(text).contains(&quote)
}

fn squeezed(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|it| match it {
            '’' | '‘' | 'ʼ' => '\'',
            '“' | '”' => '"',
            it if it.is_whitespace() => ' ',
            it => it,
        })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a text mentions all words of a subject that say something: those of three letters and
/// more, and figures.
#[must_use]
pub fn mentions(text: &str, subject: &str) -> bool {
    let says = |it: &&String| it.chars().count() >= 3 || it.chars().all(|c| c.is_ascii_digit());
    let subject: BTreeSet<String> = words_of(subject).iter().filter(says).cloned().collect();
    let text = words_of(text);
    !subject.is_empty() && subject.iter().all(|it| text.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSAGE: &str = "La demande se fait dans le portail Ruche. Le responsable répond sous \
        dix jours ouvrés ; tout refus est motivé par écrit.";

    struct Says {
        supports: bool,
        finds: bool,
    }

    impl Evidence for Says {
        type Error = std::convert::Infallible;
        fn supports(&mut self, _: &str) -> Result<bool, Self::Error> {
            Ok(self.supports)
        }
        fn finds(&mut self, _: &str) -> Result<bool, Self::Error> {
            Ok(self.finds)
        }
    }

    fn written(question: &str, answer: &str, quote: &str) -> Written {
        let [question, answer, quote] = [question, answer, quote].map(str::to_owned);
        Written { question, answer, quote }
    }

    fn good() -> Written {
        written(
            "Sous combien de jours le responsable répond-il à une demande ?",
            "Le responsable répond sous dix jours ouvrés.",
            "Le responsable répond sous dix\njours ouvrés",
        )
    }

    #[track_caller]
    fn check(written: &Written, evidence: Says, expected: Option<Dropped>) {
        let mut evidence = evidence;
        let mut seen = Seen::default();
        let language = Some(Language::French);
        let Ok(found) = judge(written, PASSAGE, language, &mut seen, &mut evidence);
        assert_eq!(found, expected, "{written:?}");
    }

    const YES: Says = Says { supports: true, finds: true };

    #[test]
    fn what_holds_is_kept() {
        check(&good(), YES, None);
    }

    #[test]
    fn what_does_not_hold_is_dropped_and_why() {
        let no = |change: &dyn Fn(&mut Written)| {
            let mut it = good();
            change(&mut it);
            it
        };
        let short = no(&|it| it.question = "Quand ?".to_owned());
        check(&short, YES, Some(Dropped::BadForm));
        let echo = no(&|it| it.answer = "Le responsable répond à une demande".to_owned());
        check(&echo, YES, Some(Dropped::BadForm));
        for question in [
            "Que dit le texte sur la réponse du responsable ?",
            "Selon ce passage, quand le responsable répond-il ?",
            "D’après l’extrait, sous combien de jours répond-on ?",
            "What does the passage say about the answer?",
        ] {
            let it = no(&|it| it.question = question.to_owned());
            check(&it, YES, Some(Dropped::SpeaksOfTheText));
        }
        let english =
            no(&|it| it.question = "How many days does the manager have to answer?".into());
        check(&english, YES, Some(Dropped::WrongLanguage));
        let quote = no(&|it| it.quote = "Le responsable répond sous vingt jours ouvrés".to_owned());
        check(&quote, YES, Some(Dropped::QuoteNotFound));
        let one_word = no(&|it| it.quote = "Ruche".to_owned());
        check(&one_word, YES, Some(Dropped::QuoteNotFound));
        let unsupported = Says { supports: false, finds: true };
        check(&good(), unsupported, Some(Dropped::NotSupported));
        check(&good(), Says { supports: true, finds: false }, Some(Dropped::NotFound));
    }

    #[test]
    fn a_question_is_kept_once() {
        let mut seen = Seen::default();
        let language = Some(Language::French);
        let mut judged =
            |it: &Written| judge(it, PASSAGE, language, &mut seen, &mut { YES }).unwrap();
        assert_eq!(judged(&good()), None);
        let again = Written { question: good().question.to_uppercase(), ..good() };
        assert_eq!(judged(&again), Some(Dropped::NearDuplicate));
    }

    #[test]
    fn objects_are_found_in_what_models_write_around_them() {
        let draft = "Sure! Here {is} one:\n```json\n{\"question\": \"A?\", \"answer\": \"b\", \
            \"quote\": \" c \"}\n```";
        assert_eq!(read(draft).unwrap(), written("A?", "b", "c"));
        assert_eq!(read("{\"question\": \"A?\"}"), Err(Dropped::NotReadable));
        assert_eq!(read("no"), Err(Dropped::NotReadable));
    }

    #[test]
    fn subjects_are_mentioned_by_all_their_words() {
        assert!(mentions("| Berlin | 160 |", "Berlin") && mentions("le taux d’Été", "ete"));
        assert!(!mentions("Mère, premier enfant", "Mère, troisième enfant"));
    }
}
