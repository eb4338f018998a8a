//! A question to the language model alone, without the documents: what retrieval is compared with.

use std::ops::ControlFlow;

use ingest::document::Language;
use model::chat::Turn;

use crate::{
    answer::{Answer, AskEvent, Clock},
    compose::Context,
    engine::{AskError, Engine},
    retrieve::Question,
    writer::Writer,
};

impl Engine {
    /// What the model says by itself. Nothing of it is checked: there is nothing to check it by.
    ///
    /// # Errors
    /// When there is no model, or it fails.
    pub fn ask_alone(
        &self,
        earlier: &[(String, String)],
        question: &Question,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Answer, AskError> {
        let mut clock = Clock::start();
        let mut turns: Vec<Turn> = Vec::with_capacity(2 * earlier.len() + 1);
        for (asked, answered) in earlier {
            turns.extend([Turn::user(asked), Turn::assistant(answered)]);
        }
        turns.push(Turn::user(question.text()));
        let context =
            Context { turns, n_tokens: 0, is_estimate: false, n_passages: 0, n_examples: 0 };
        let language = question.language.unwrap_or(Language::English);
        let mut answer = Answer { context: Some(context), ..Answer::empty(language) };
        let text = match &*self.writer {
            Writer::Model(model) => {
                self.generate(model, &mut answer, &mut clock, on_event)?.unwrap_or_default()
            }
            Writer::Upstream(chat) => self.reply_to(chat, &mut answer, &mut clock, on_event)?,
            Writer::Extract { .. } => return Err(AskError::NoModel),
        };
        text.trim().clone_into(&mut answer.text);
        answer.timings = clock.stop();
        Ok(answer)
    }
}
