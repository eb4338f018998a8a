//! Follow-up questions made to stand alone, so that retrieval finds what they are about.
//!
//! Rewriting every question would make conversations drift, so only those that lean on what was
//! said before are touched: they have a pronoun or an ellipsis, or hardly any words of their own.

use std::ops::ControlFlow;

use ingest::document::Language;
use model::{chat::Turn, generate::Request, sample::SampleOptions, thinking};

use crate::{
    cite::fold,
    engine::{AskError, Engine},
    retrieve::Question,
    upstream::write::condense_upstream,
    words,
    writer::Writer,
};

/// Tokens of a follow-up question made to stand alone, at most.
const CONDENSED_TOKENS_MAX: usize = 64;

/// Content words under which a question cannot stand alone.
const OWN_WORDS_MIN: usize = 2;

/// What stands between the subject of a conversation and a follow-up.
const JOINT: &str = " — ";

/// Words by which a question leans on an earlier one.
const LEANING: [&str; 38] = [
    "it", "they", "them", "its", "their", "this", "that", "these", "those", "he", "she", "one",
    "there", "then", "same", "il", "elle", "ils", "elles", "ca", "cela", "celui", "celle", "ceux",
    "celles", "y", "en", "lui", "leur", "leurs", "meme", "son", "sa", "ses", "ce", "cet", "cette",
    "ces",
];

/// Beginnings of questions that go on from earlier ones.
const OPENINGS: [&str; 10] = [
    "and ",
    "but ",
    "what about",
    "how about",
    "why?",
    "et ",
    "mais ",
    "qu'en est-il",
    "pourquoi ?",
    "sinon",
];

impl Engine {
    /// A follow-up made to stand alone, where it leans on earlier turns (questions and answers,
    /// oldest first); `None` where it stands alone already.
    ///
    /// # Errors
    /// When the model fails or a prompt does not render.
    pub fn condense(
        &self,
        turns: &[(String, String)],
        question: &Question,
    ) -> Result<Option<String>, AskError> {
        let Some((previous, _)) = turns.last() else { return Ok(None) };
        if !leans(question.text(), question.language) {
            return Ok(None);
        }
        let joined = join(previous, question);
        let language = question.language.unwrap_or(Language::English);
        if self.quote_reason(language).is_some() {
            return Ok(Some(joined));
        }
        let prompt = self.prompts.condense(language, turns, question.text())?;
        if let Writer::Upstream(chat) = &*self.writer {
            let written = condense_upstream(chat, prompt, CONDENSED_TOKENS_MAX)?;
            let trusted = written.and_then(|it| trusted(&it, turns, question));
            return Ok(Some(trusted.unwrap_or(joined)));
        }
        let Writer::Model(model) = &*self.writer else { return Ok(Some(joined)) };
        let tokens = model.encoder().encode_chat(&[Turn::user(prompt)])?;
        let options = SampleOptions {
            tokens_max: CONDENSED_TOKENS_MAX,
            stop: vec!["\n".to_owned()],
            ..SampleOptions::default()
        };
        let is_thinking = model.encoder().is_thinking(&tokens);
        let request = Request { prompt: tokens, options, adapter: None };
        let draft = model.write(request, &mut |_| ControlFlow::Continue(()))?;
        let (_, text) = thinking::split(&draft.text, is_thinking);
        Ok(Some(trusted(&text, turns, question).unwrap_or(joined)))
    }
}

/// Whether a question leans on what was said before.
#[must_use]
pub fn leans(question: &str, language: Option<Language>) -> bool {
    let folded = fold(question);
    let n_own = words::stems(question, language).len();
    let opens = OPENINGS.iter().any(|it| folded.trim_start().starts_with(it));
    let mut words = folded.split(|c: char| !c.is_alphanumeric());
    let pronoun = words.any(|it| LEANING.contains(&it));
    n_own < OWN_WORDS_MIN || opens || (pronoun && n_own <= 4)
}

/// The follow-up with the subject of the question before it: what retrieval needs, without a
/// model. The words that the follow-up lacks come first.
///
/// A question that was joined already gives its beginning only: the subject that the conversation
/// began with, not every turn since.
#[must_use]
pub fn join(previous: &str, question: &Question) -> String {
    let previous = previous.split(JOINT).next().unwrap_or(previous);
    let previous = previous.trim().trim_end_matches(['?', '.', '!', ' ', '\u{a0}', '\u{202f}']);
    format!("{previous}{JOINT}{}", question.text())
}

/// A rewriting by the model, if it can be trusted: one question that keeps the follow-up's own
/// words and brings in nothing that nobody said. Small models answer, or invent, instead.
#[must_use]
pub fn trusted(rewritten: &str, turns: &[(String, String)], question: &Question) -> Option<String> {
    let rewritten = rewritten.trim().trim_matches('"').trim();
    let stems = |text: &str| words::stems(text, question.language);
    let new = stems(rewritten);
    let own = stems(question.text());
    let mut said = own.clone();
    for (question, answer) in turns {
        said.extend(stems(question));
        said.extend(stems(answer));
    }
    let is_question = rewritten.ends_with('?') && rewritten.matches('?').count() == 1;
    let adds = new.len() > own.len();
    (is_question && adds && own.is_subset(&new) && new.is_subset(&said))
        .then(|| rewritten.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(question: &str, expected: bool) {
        let language = ingest::language::detect(question);
        assert_eq!(leans(question, language), expected, "{question}");
    }

    #[test]
    fn questions_with_pronouns_or_few_words_lean() {
        for question in [
            "And for managers?",
            "Why?",
            "Who approves it?",
            "What about interns?",
            "Et pour les stagiaires ?",
            "Qui le valide ? Et après ?",
            "Combien ?",
        ] {
            check(question, true);
        }
    }

    #[test]
    fn questions_that_stand_alone_do_not() {
        for question in [
            "How many days of remote work are allowed per week?",
            "Quel est le plafond de remboursement des repas à Paris ?",
            "Who approves purchases above 5,000 euros?",
        ] {
            check(question, false);
        }
    }

    #[test]
    fn follow_ups_do_not_pile_up() {
        let ask = |text: &str| Question::new(text).unwrap();
        let first = join("What is the meal allowance in Paris?", &ask("And in Lyon?"));
        assert_eq!(first, "What is the meal allowance in Paris — And in Lyon?");
        let second = join(&first, &ask("And abroad?"));
        assert_eq!(second, "What is the meal allowance in Paris — And abroad?");
    }

    #[test]
    fn a_rewriting_is_trusted_when_it_adds_only_what_was_said() {
        let turns =
            vec![("What is the meal allowance in Paris?".to_owned(), "It is 25 euros.".to_owned())];
        let question = Question::new("And in Lyon?").unwrap();
        let trusted = |text: &str| trusted(text, &turns, &question);
        assert!(trusted("What is the meal allowance in Lyon?").is_some());
        assert!(trusted("What is the meal allowance in Paris?").is_none());
        assert!(trusted("What is the hotel allowance in Lyon?").is_none());
        assert!(trusted("It is 25 euros in Lyon.").is_none());
    }
}
