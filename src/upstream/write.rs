//! The part of [`Engine::ask`] that has a server write.

use std::ops::ControlFlow;

use model::{chat::Turn, generate::FinishReason, sample::SampleOptions};

use super::{
    chat::{Chat, Reply, ReplyEvent},
    error::UpstreamError,
};
use crate::{
    answer::{Answer, AskEvent, Clock, Cut},
    asked::Asked,
    compose::{Context, PromptLimits},
    engine::{AskError, Engine, sample_options},
    retrieve::Question,
    writer::Writer,
};

impl Engine {
    /// Has the server write what the passages and the question ask for. Where it finds the prompt
    /// too long, it is asked once more, with a passage less and no examples.
    pub(crate) fn write_upstream(
        &self,
        question: &Question,
        asked: &Asked,
        answer: &mut Answer,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<String>, AskError> {
        let Writer::Upstream(chat) = &*self.writer else { return Ok(None) };
        answer.generator = Some(chat.model().to_owned());
        let by_sentences = self.by_sentences(chat.is_small());
        if by_sentences {
            let turns = self.small_prompt(asked, answer)?;
            let (n_tokens, n_passages) = (chat.estimate(&turns), answer.passages.len());
            let is_estimate = true;
            answer.context =
                Some(Context { turns, n_tokens, is_estimate, n_passages, n_examples: 0 });
        } else {
            self.compose_upstream(chat, question, answer, self.settings.prompts.examples_max)?;
        }
        clock.prompt_is_ready();
        let reply = match self.reply(chat, answer, clock, on_event) {
            Err(UpstreamError::ContextTooLong { .. })
                if !by_sentences && answer.passages.len() > 1 =>
            {
                let dropped = answer.passages.pop();
                answer.cut.extend(dropped.map(|it| (it, Cut::NoRoom)));
                self.compose_upstream(chat, question, answer, 0)?;
                let n_passages = answer.passages.len();
                let _ = on_event(AskEvent::Shortened { host: chat.base().host(), n_passages });
                self.reply(chat, answer, clock, on_event)?
            }
            outcome => outcome?,
        };
        Ok(Some(self.take_reply(reply, answer)))
    }

    fn compose_upstream(
        &self,
        chat: &Chat,
        question: &Question,
        answer: &mut Answer,
        examples_max: usize,
    ) -> Result<(), AskError> {
        let limits = PromptLimits::new(&self.settings, chat.context_tokens());
        let count = |turns: &[Turn]| chat.estimate(turns);
        self.compose_within(question, answer, &limits, examples_max, &count)?;
        if let Some(context) = &mut answer.context {
            context.is_estimate = true;
        }
        Ok(())
    }

    /// Has the server write what the prompt of the answer asks for.
    pub(crate) fn reply_to(
        &self,
        chat: &Chat,
        answer: &mut Answer,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<String, UpstreamError> {
        answer.generator = Some(chat.model().to_owned());
        let reply = self.reply(chat, answer, clock, on_event)?;
        Ok(self.take_reply(reply, answer))
    }

    fn reply(
        &self,
        chat: &Chat,
        answer: &Answer,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Reply, UpstreamError> {
        let turns = answer.context.as_ref().map_or(&[][..], |it| &it.turns);
        let options = sample_options(&self.settings.generation);
        chat.reply(turns, &options, &mut |event| match event {
            ReplyEvent::Waiting => on_event(AskEvent::Waiting),
            ReplyEvent::Text(text) => {
                clock.first_piece();
                on_event(AskEvent::Text(text))
            }
        })
    }

    /// The text of a reply; what else it says goes into the answer.
    fn take_reply(&self, reply: Reply, answer: &mut Answer) -> String {
        answer.truncated = reply.finish == FinishReason::Length;
        if let (Some(context), Some(usage)) = (&mut answer.context, reply.usage) {
            context.n_tokens = usage.n_prompt_tokens;
            context.is_estimate = false;
            answer.n_tokens = usage.n_tokens;
        }
        self.take_reasoning(reply.reasoning, reply.text, answer)
    }
}

/// Has the server make a follow-up stand alone: the first line that it writes. `None` where it
/// writes nothing, as models do that spend all their tokens on reasoning.
pub(crate) fn condense_upstream(
    chat: &Chat,
    prompt: String,
    tokens_max: usize,
) -> Result<Option<String>, UpstreamError> {
    // No stop string: a model that reasons first would stop at its first line.
    let options = SampleOptions { tokens_max, ..SampleOptions::default() };
    match chat.reply(&[Turn::user(prompt)], &options, &mut |_| ControlFlow::Continue(())) {
        Ok(reply) => Ok(reply.text.trim().lines().next().map(str::to_owned)),
        Err(UpstreamError::NoAnswer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
