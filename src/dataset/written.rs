//! Questions and answers that a language model writes from single chunks. What does not pass the
//! filter is dropped, however well it reads.

use std::ops::ControlFlow;

use index::filter::Filter;
use ingest::document::Language;
use model::{
    chat::Turn, constrain::Constraint, generate::Request, sample::SampleOptions, thinking,
};
use serde_json::{Value, json};
use tune::dataset::{
    corpus::{Source, SourceChunk},
    filter::{Dropped, Evidence, Written, judge, read},
    near::Seen,
    questions::Qa,
    row::MadeBy,
};

use super::teller::{Teller, supported};
use crate::{
    cite::{Verdict, split},
    compose::passage_text,
    config::GenerationConfig,
    engine::{AskError, Engine, sample_options},
    retrieve::Question,
    writer::Writer,
};

/// Bytes of a chunk at least: less holds nothing to ask about.
const CHUNK_BYTES_MIN: usize = 160;
/// Tokens that the model writes for one question at most.
const TOKENS_MAX: usize = 220;
/// Temperature of all attempts at a chunk but the first.
const TEMPERATURE_AGAIN: f32 = 0.7;

/// What a model wrote from a chunk, and what came of it.
pub(super) struct Tried {
    pub(super) question: String,
    pub(super) outcome: Result<Qa, Dropped>,
}

/// The name of the model that writes.
pub(super) fn generator(engine: &Engine) -> Option<String> {
    match &*engine.writer {
        Writer::Model(model) => Some(model.name.clone()),
        Writer::Upstream(chat) => Some(chat.model().to_owned()),
        Writer::Extract { .. } => None,
    }
}

/// What its drafts depend on, beside prompts and documents.
pub(super) fn sampling(engine: &Engine) -> Value {
    let SampleOptions { temperature, top_p, repetition_penalty, seed, .. } =
        options(&engine.settings.generation, 0);
    json!({
        "temperature": temperature,
        "temperature_again": TEMPERATURE_AGAIN,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
        "tokens_max": TOKENS_MAX,
        "adapter": engine.settings.adapter,
    })
}

/// Has the model write `n` questions from a chunk.
pub(super) fn of_chunk(
    teller: &Teller<'_>,
    source: &Source,
    chunk: &SourceChunk,
    n: usize,
    seen: &mut Seen,
) -> Result<Vec<Tried>, AskError> {
    let mut res: Vec<Tried> = Vec::new();
    let text = &source.text[chunk.span.range()];
    if text.len() < CHUNK_BYTES_MIN || text.contains(". . .") {
        return Ok(res);
    }
    let language = chunk.language.or(source.language).unwrap_or(Language::English);
    for attempt in 0..n {
        let asked: Vec<&str> = res.iter().map(|it| it.question.as_str()).collect();
        let prompts = &teller.engine.prompts;
        let prompt = prompts.dataset_question(language, &source.title, text, &asked)?;
        let draft = draft(teller.engine, prompt, attempt)?;
        let written = match read(&draft) {
            Ok(it) => it,
            Err(why) => {
                res.push(Tried { question: String::new(), outcome: Err(why) });
                continue;
            }
        };
        let mut evidence = FromChunk { teller, chunk, text };
        let outcome = match judge(&written, text, Some(language), seen, &mut evidence)? {
            Some(why) => Err(why),
            None => Ok(qa(&written, chunk, text, language)),
        };
        res.push(Tried { question: written.question, outcome });
    }
    Ok(res)
}

fn qa(written: &Written, chunk: &SourceChunk, text: &str, language: Language) -> Qa {
    // Where blanks or quotation marks differ, the whole chunk stands for the quote.
    let place = text.find(&written.quote).map(|at| at..at + written.quote.len());
    let place = place.unwrap_or(0..text.len());
    let answer = split(&written.answer).into_iter().map(|it| written.answer[it].trim().to_owned());
    Qa {
        made_by: MadeBy::Model,
        language,
        question: written.question.clone(),
        answer: answer.filter(|it| !it.is_empty()).collect(),
        value: None,
        span: chunk.span.start + place.start..chunk.span.start + place.end,
        subject: written.question.clone(),
    }
}

/// What the documents say of a question made from a chunk.
struct FromChunk<'a> {
    teller: &'a Teller<'a>,
    chunk: &'a SourceChunk,
    text: &'a str,
}

impl Evidence for FromChunk<'_> {
    type Error = AskError;

    fn supports(&mut self, answer: &str) -> Result<bool, AskError> {
        let sentences: Vec<String> =
            split(answer).into_iter().map(|it| answer[it].to_owned()).collect();
        let id = index::hit::ChunkId(self.chunk.id);
        let chunks = self.teller.engine.index.catalog().chunks(&[id]);
        let chunks = chunks.map_err(crate::retrieve::RetrieveError::from)?;
        let Some(chunk) = chunks.first() else { return Ok(false) };
        debug_assert!(passage_text(chunk).contains(self.text.trim()), "the passage is the chunk");
        Ok(supported(chunk, &passage_text(chunk), &sentences, Verdict::Supported))
    }

    fn finds(&mut self, question: &str) -> Result<bool, AskError> {
        let Ok(question) = Question::new(question) else { return Ok(false) };
        let within = self.teller.found_within;
        let found = self.teller.engine.retrieve_top(&question, &Filter::default(), within)?;
        Ok(found.passages.iter().any(|it| it.chunk.id.0 == self.chunk.id))
    }
}

/// How an attempt is sampled. Each has a seed of its own, and all but the first some warmth, so that
/// the model does not write the same again.
fn options(settings: &GenerationConfig, attempt: usize) -> SampleOptions {
    let settings = sample_options(settings);
    let attempt_seed = u64::try_from(attempt).unwrap_or(u64::MAX);
    SampleOptions {
        tokens_max: TOKENS_MAX,
        seed: settings.seed.wrapping_add(attempt_seed),
        temperature: if attempt == 0 { settings.temperature } else { TEMPERATURE_AGAIN },
        ..settings
    }
}

/// What the model writes.
fn draft(engine: &Engine, prompt: String, attempt: usize) -> Result<String, AskError> {
    let turns = [Turn::user(prompt)];
    let options = options(&engine.settings.generation, attempt);
    let flow = &mut |_: crate::upstream::chat::ReplyEvent<'_>| ControlFlow::Continue(());
    match &*engine.writer {
        Writer::Upstream(chat) => Ok(chat.reply(&turns, &options, flow)?.text),
        Writer::Model(model) => {
            let prompt = model.encoder().encode_chat(&turns)?;
            let is_thinking = model.encoder().is_thinking(&prompt);
            let field = json!({"type": "string", "maxLength": 400});
            let schema = json!({
                "type": "object",
                "properties": {"question": field, "answer": field, "quote": field},
                "required": ["question", "answer", "quote"],
                "additionalProperties": false,
            });
            // A model that thinks first must be free to.
            let constraint = (!is_thinking).then_some(Constraint::JsonSchema(schema));
            let options = SampleOptions { constraint, ..options };
            let request = Request { prompt, options, adapter: engine.settings.adapter.clone() };
            let draft = model.write(request, &mut |_| ControlFlow::Continue(()))?;
            Ok(thinking::split(&draft.text, is_thinking).1)
        }
        Writer::Extract { .. } => Err(AskError::NoModel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingest::document::Span;
    use std::num::NonZeroUsize;

    const TEXT: &str =
        "Employees may work remotely up to three days\nper week. The manager agrees.";

    fn written(quote: &str) -> Written {
        Written {
            question: "How many days may employees work remotely?".to_owned(),
            answer: "Up to three days per week. The manager agrees.".to_owned(),
            quote: quote.to_owned(),
        }
    }

    fn chunk() -> SourceChunk {
        let span = Span { start: 100, end: 100 + TEXT.len() };
        SourceChunk { id: 7, span, page: Some(2), language: Some(Language::English) }
    }

    #[test]
    fn a_question_rests_on_its_quote_in_the_document() {
        let qa = qa(&written("The manager agrees."), &chunk(), TEXT, Language::English);
        assert_eq!(qa.answer, ["Up to three days per week.", "The manager agrees."]);
        assert_eq!(&TEXT[qa.span.start - 100..qa.span.end - 100], "The manager agrees.");
        assert_eq!((qa.made_by, qa.value), (MadeBy::Model, None));
    }

    #[test]
    fn where_blanks_differ_it_rests_on_the_whole_chunk() {
        let quote = "up to three days per week";
        let qa = qa(&written(quote), &chunk(), TEXT, Language::English);
        assert_eq!(qa.span, 100..100 + TEXT.len());
    }

    #[test]
    fn attempts_are_sampled_each_in_its_own_way() {
        let settings = GenerationConfig {
            temperature: 0.0,
            top_p: 0.9,
            repetition_penalty: 1.1,
            seed: 5,
            answer_tokens_max: NonZeroUsize::MIN,
            context_tokens_max: NonZeroUsize::MIN,
            threads: 0,
            best_of: NonZeroUsize::MIN,
            reward: String::new(),
        };
        let of = |attempt: usize| {
            let it = options(&settings, attempt);
            (it.seed, it.temperature, it.tokens_max, it.top_p)
        };
        assert_eq!(of(0), (5, 0.0, TOKENS_MAX, Some(0.9)));
        assert_eq!(of(2), (7, TEMPERATURE_AGAIN, TOKENS_MAX, Some(0.9)));
    }
}
