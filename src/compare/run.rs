//! Every arm answers every question once, ever: what is kept is not asked again.

use std::ops::ControlFlow;

use index::filter::Filter;

use super::{
    arms::{Arm, Way},
    kept::{Answers, KeptError, Reply},
};
use crate::{
    answer::Answer,
    cite::{fold, split},
    engine::{AskError, Engine},
    retrieve::Question,
};

/// An arm that is ready to answer.
#[derive(Debug)]
pub struct Contestant {
    /// The arm.
    pub arm: Arm,
    /// What its answers are kept under: all that makes them, but for what all arms share.
    pub key: String,
    /// What answers.
    pub engine: Engine,
}

/// Why the run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An answer failed.
    #[error("`{arm}` could not answer \u{201c}{question}\u{201d}: {source}")]
    Ask {
        /// The arm.
        arm: String,
        /// The question.
        question: String,
        /// Why.
        source: AskError,
    },
    /// An answer could not be kept.
    #[error(transparent)]
    Kept(#[from] KeptError),
}

/// Has each arm answer each question. Gives the answers of each question, in the order of the
/// arms; `None` when `flow` breaks before the end: what was answered is kept.
///
/// # Errors
/// [`RunError`]; what was answered before is kept.
#[expect(clippy::result_large_err, reason = "it ends the run; hints look for what is inside")]
pub fn run(
    contestants: &[Contestant],
    questions: &[Question],
    answers: &mut Answers,
    flow: &dyn Fn() -> ControlFlow<()>,
    on_answer: &mut dyn FnMut(&str),
) -> Result<Option<Vec<Vec<Reply>>>, RunError> {
    for (i, question) in questions.iter().enumerate() {
        // Another arm begins with each question: what it warms up serves the next one.
        for at in 0..contestants.len() {
            let it = &contestants[(i + at) % contestants.len()];
            if flow().is_break() {
                return Ok(None);
            }
            if answers.get(&it.key, question.text()).is_none() {
                let reply = ask(it, question, flow)?;
                // An answer that was broken off is none.
                if flow().is_break() {
                    return Ok(None);
                }
                answers.put(&it.key, question.text(), reply)?;
            }
            on_answer(&it.arm.label);
        }
    }
    let of = |question: &Question| {
        let replies = contestants.iter().map(|it| answers.get(&it.key, question.text()).cloned());
        replies.collect::<Option<Vec<Reply>>>()
    };
    Ok(questions.iter().map(of).collect())
}

#[expect(clippy::result_large_err, reason = "it ends the run; hints look for what is inside")]
fn ask(
    contestant: &Contestant,
    question: &Question,
    flow: &dyn Fn() -> ControlFlow<()>,
) -> Result<Reply, RunError> {
    let Contestant { arm, engine, .. } = contestant;
    let answer = match arm.way {
        Way::Alone => engine.ask_alone(&[], question, &mut |_| flow()),
        Way::Documents | Way::Quotes => engine.ask(question, &Filter::default(), &mut |_| flow()),
    };
    let answer = answer.map_err(|source| RunError::Ask {
        arm: arm.label.clone(),
        question: question.text().to_owned(),
        source,
    })?;
    let refused = answer.refused || (arm.way == Way::Alone && refuses(engine, &answer));
    Ok(Reply { refused, ..Reply::from(&answer) })
}

/// Whether a model that was given no documents, and so no words to refuse with, says that it does
/// not know.
fn refuses(engine: &Engine, answer: &Answer) -> bool {
    engine.prompts.is_refusal(answer.language, &answer.text) || says_unknown(&answer.text)
}

/// Whether the first sentence says that the writer does not know. What follows may be advice.
fn says_unknown(text: &str) -> bool {
    const PHRASES: [&str; 16] = [
        "i don't know",
        "i do not know",
        "i don't have",
        "i do not have",
        "i'm not sure",
        "i am not sure",
        "i'm not able",
        "i am not able",
        "i'm unable",
        "i am unable",
        "i can't answer",
        "i cannot answer",
        "je ne sais pas",
        "je n'ai pas",
        "je ne dispose pas",
        "je ne peux pas repondre",
    ];
    let Some(first) = split(text).into_iter().next() else { return true };
    let first = fold(&text[first]).replace('\u{2019}', "'");
    PHRASES.iter().any(|it| first.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_alone_refuses_in_its_own_words() {
        for text in [
            "I'm sorry, but I don\u{2019}t have access to your company's policy. Ask HR.",
            "Je ne sais pas.",
            "  ",
        ] {
            assert!(says_unknown(text), "{text}");
        }
        for text in ["Three days. I don't know more.", "Vous avez trois jours.", "It is €5."] {
            assert!(!says_unknown(text), "{text}");
        }
    }
}
