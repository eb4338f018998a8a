//! Flow 2: a question to an answer. Retrieve, compose, generate, cite.

use std::{ops::ControlFlow, sync::Arc};

use index::{Index, filter::Filter, fingerprint::EmbedderPrint};
use ingest::document::Language;
use model::{
    chat::{ChatError, ChatOptions, Turn, messages_of},
    embed::TextRole,
    generate::{Event, FinishReason, Request},
    rerank::Reranker,
    sample::SampleOptions,
    thinking,
};
use tune::dataset::row::PromptStyle;

use crate::{
    answer::{Answer, AskEvent, Clock, Cut, QuoteReason},
    asked::Asked,
    cite::{Case, Source},
    compose::{ComposeError, Context, Draftable, PromptLimits, compose, passage_text},
    config::{GenerationConfig, PromptsConfig, RetrievalConfig, Style},
    embedder::{EmbedError, Embedder},
    examples::similar_examples,
    extract::{self, Candidate},
    prompts::{PromptError, Prompts},
    retrieve::{Encoders, Found, Leg, Passage, Question, RetrieveError, RetrieveOptions, retrieve},
    reward::Reward,
    upstream::error::UpstreamError,
    versions,
    writer::{LocalModel, WriteError, Writer},
};

/// Everything that answers questions. A copy shares all but the settings, so that each question may
/// have its own.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Where passages come from.
    pub index: Arc<Index>,
    /// Texts to vectors.
    pub embedder: Arc<Embedder>,
    /// What the embedder's vectors depend on.
    pub embedder_print: EmbedderPrint,
    /// Languages (ISO 639-1) that the embedder handles well.
    pub embedder_languages: Vec<String>,
    /// The cosine that the embedder gives to unrelated texts.
    pub cosine_unrelated: f32,
    /// Puts candidates in a better order, where that is asked for.
    pub reranker: Option<Arc<Reranker>>,
    /// What writes answers.
    pub writer: Arc<Writer>,
    /// Which of several drafts people would prefer, where that is known.
    pub reward: Option<Arc<Reward>>,
    /// How it is asked.
    pub prompts: Arc<Prompts>,
    /// Settings of one answer.
    pub settings: AnswerSettings,
}

/// Settings of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerSettings {
    /// How passages are found.
    pub retrieval: RetrievalConfig,
    /// How answers are written.
    pub generation: GenerationConfig,
    /// How the model is asked.
    pub prompts: PromptsConfig,
    /// The adapter that a model of this process writes with: see [`Engine::choose_adapter`].
    pub adapter: Option<String>,
    /// What prompts show of the passages, where the adapter was taught so; else the model's size
    /// decides.
    pub prompt_style: Option<PromptStyle>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Passages could not be found.
    #[error(transparent)]
    Retrieve(#[from] RetrieveError),
    /// No prompt fits.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A prompt does not render.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The model's chat template does not render.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The model failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The server failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The model alone was asked for, and there is none.
    #[error("there is no language model to ask: answers are quotations")]
    NoModel,
}

impl Engine {
    /// Answers a question from the documents that `filter` lets through. Pieces of the answer
    /// reach `on_event` as they are written; when it breaks, the answer ends there.
    ///
    /// # Errors
    /// [`AskError`]. Documents that do not hold the answer are no error but a refusal.
    pub fn ask(
        &self,
        question: &Question,
        filter: &Filter,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Answer, AskError> {
        let mut clock = Clock::start();
        let Found { asked, passages, report } = self.retrieve(question, filter)?;
        clock.timings.retrieve = clock.start.elapsed();
        let _ = on_event(AskEvent::Retrieved { passages: &passages, report: &report });
        let language = self.answer_language(question, &passages);
        let (passages, irrelevant): (Vec<_>, Vec<_>) =
            passages.into_iter().partition(|it| self.is_relevant(it));
        let mut cut: Vec<_> = irrelevant.into_iter().map(|it| (it, Cut::NotRelevant)).collect();
        let (passages, outdated) = versions::current(&asked, passages);
        cut.extend(outdated);
        let mut answer = Answer { passages, cut, retrieval: report, ..Answer::empty(language) };
        if answer.passages.is_empty() {
            return self.refuse(answer, clock);
        }
        let reason = self.quote_reason(language);
        if reason.is_none() && self.settings.generation.best_of.get() > 1 {
            let best = self.best_of((question, &asked), &answer, clock, on_event)?;
            return best.map_or_else(|| self.refuse_unread(answer, clock), Ok);
        }
        let draft = match reason {
            Some(reason) => self.quote(&asked, &mut answer, reason, &mut clock, on_event)?,
            None => self.write(question, &asked, &mut answer, &mut clock, on_event)?,
        };
        let Some(draft) = draft else { return self.refuse_unread(answer, clock) };
        self.check(&draft, question.language, &mut answer)?;
        answer.timings = clock.stop();
        Ok(answer)
    }
}

impl Engine {
    /// Passages for a question, best first, those that may not be relevant included.
    ///
    /// # Errors
    /// When the index or a model fails.
    pub fn retrieve(&self, question: &Question, filter: &Filter) -> Result<Found, RetrieveError> {
        self.retrieve_top(question, filter, self.settings.retrieval.passages_max.get())
    }

    /// As [`Self::retrieve`], with another number of passages.
    ///
    /// # Errors
    /// When the index or a model fails.
    pub fn retrieve_top(
        &self,
        question: &Question,
        filter: &Filter,
        passages_max: usize,
    ) -> Result<Found, RetrieveError> {
        let options = RetrieveOptions {
            candidates_max: self.settings.retrieval.candidates_max.get(),
            passages_max,
            filter: filter.clone(),
            embedder_speaks: question.language.is_none_or(|it| self.embedder_speaks(it)),
            cosine_unrelated: self.cosine_unrelated,
            leg: Leg::Both,
            rerank_max: self.settings.retrieval.rerank_max.get(),
        };
        let encoders = Encoders { embedder: &self.embedder, reranker: self.reranker.as_deref() };
        retrieve(&self.index, encoders, question, &options)
    }

    fn embedder_speaks(&self, language: Language) -> bool {
        self.embedder_languages.iter().any(|it| it == language.code())
    }

    fn is_relevant(&self, passage: &Passage) -> bool {
        passage.relevance >= self.settings.retrieval.relevance_min
    }

    /// The language to answer in: the question's; where it cannot be told, the passages'.
    fn answer_language(&self, question: &Question, passages: &[Passage]) -> Language {
        let of_passages = || passages.iter().find_map(|it| it.chunk.facets.language);
        question.language.or_else(of_passages).unwrap_or(Language::English)
    }

    /// Why the answer must quote: `Some(None)` when the user wants it so.
    pub(crate) fn quote_reason(&self, language: Language) -> Option<Option<QuoteReason>> {
        match &*self.writer {
            Writer::Extract { reason } => Some(reason.clone()),
            // What an adapter has learnt, nobody has said.
            Writer::Model(model) if self.settings.adapter.is_none() && !model.writes(language) => {
                Some(Some(QuoteReason::WrongLanguage { id: model.name.clone(), language }))
            }
            Writer::Model(_) | Writer::Upstream(_) => None,
        }
    }

    /// A plain refusal, without calling the model. Keeps of `found` what retrieval brought.
    fn refuse(&self, found: Answer, clock: Clock) -> Result<Answer, AskError> {
        let Answer { language, cut, retrieval, .. } = found;
        let text = self.prompts.refusal(language)?;
        let timings = clock.stop();
        Ok(Answer { text, refused: true, cut, retrieval, timings, ..Answer::empty(language) })
    }

    /// A plain refusal where nothing of the passages bears on the question.
    fn refuse_unread(&self, mut found: Answer, clock: Clock) -> Result<Answer, AskError> {
        let passages = std::mem::take(&mut found.passages).into_iter();
        found.cut.extend(passages.map(|it| (it, Cut::NotRelevant)));
        self.refuse(found, clock)
    }

    /// Quotes sentences of the passages. `None` when none bears on the question.
    fn quote(
        &self,
        asked: &Asked,
        answer: &mut Answer,
        reason: Option<QuoteReason>,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<String>, AskError> {
        if let Some(reason) = &reason {
            let _ = on_event(AskEvent::Quoting { reason });
        }
        answer.quote_reason = reason;
        answer.generator = Some("extract".to_owned());
        let (candidates, cosines) = self.candidates(asked, answer)?;
        clock.prompt_is_ready();
        let quoted = extract::quote(asked, &candidates, cosines.as_deref());
        if let Some(text) = &quoted {
            clock.first_piece();
            let _ = on_event(AskEvent::Text(text));
        }
        Ok(quoted)
    }

    /// The sentences of an answer's passages, and their cosines with the question where the
    /// embedder speaks its language.
    fn candidates(
        &self,
        asked: &Asked,
        answer: &Answer,
    ) -> Result<(Vec<Candidate>, Option<Vec<f32>>), EmbedError> {
        let candidates = extract::candidates(asked, &answer.passages);
        if !self.embedder_speaks(answer.language) {
            return Ok((candidates, None));
        }
        let mut texts = vec![asked.question()];
        texts.extend(candidates.iter().map(|it| it.text.as_str()));
        let embedded = self.embedder.embed(&texts, TextRole::Query)?;
        let asked = embedded.row(0).to_vec();
        let cosines = embedded.rows().skip(1).map(|row| dot(&asked, row)).collect();
        Ok((candidates, Some(cosines)))
    }

    /// The prompt of a small model: the sentences that bear most on the question. Whole passages
    /// and examples confuse it more than they help (docs/decisions/0005-small-generators.md).
    pub(crate) fn small_prompt(
        &self,
        asked: &Asked,
        answer: &Answer,
    ) -> Result<Vec<Turn>, AskError> {
        let (candidates, cosines) = self.candidates(asked, answer)?;
        let chosen = extract::evidence(asked, &candidates, cosines.as_deref());
        let sentences: Vec<(usize, String)> =
            chosen.into_iter().map(|(passage, text)| (passage + 1, text)).collect();
        let user = self.prompts.small_user(answer.language, &sentences, asked.question())?;
        Ok(vec![Turn::system(self.prompts.small_system(answer.language)?), Turn::user(user)])
    }

    /// Has the model write.
    pub(crate) fn write(
        &self,
        question: &Question,
        asked: &Asked,
        answer: &mut Answer,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<String>, AskError> {
        let model = match &*self.writer {
            Writer::Model(model) => model,
            Writer::Upstream(_) => {
                return self.write_upstream(question, asked, answer, clock, on_event);
            }
            Writer::Extract { .. } => return Ok(None),
        };
        if self.by_sentences(model.small) {
            let turns = self.small_prompt(asked, answer)?;
            let n_passages = answer.passages.len();
            let is_estimate = false;
            answer.context =
                Some(Context { turns, n_tokens: 0, is_estimate, n_passages, n_examples: 0 });
        } else {
            self.compose(model, question, answer)?;
        }
        self.generate(model, answer, clock, on_event)
    }

    /// The prompt of a model that reads whole passages, with the examples nearest to the question.
    fn compose(
        &self,
        model: &LocalModel,
        question: &Question,
        answer: &mut Answer,
    ) -> Result<(), AskError> {
        let encoder = model.encoder();
        let limits = PromptLimits::new(&self.settings, encoder.context_length());
        let count = |turns: &[Turn]| encoder.encode_chat(turns).map_or(usize::MAX, |it| it.len());
        let examples_max = self.settings.prompts.examples_max;
        self.compose_within(question, answer, &limits, examples_max, &count)
    }

    /// As [`Self::compose`], for any model: `count` gives the tokens of a conversation.
    pub(crate) fn compose_within(
        &self,
        question: &Question,
        answer: &mut Answer,
        limits: &PromptLimits,
        examples_max: usize,
        count: &dyn Fn(&[Turn]) -> usize,
    ) -> Result<(), AskError> {
        let examples = similar_examples(
            &self.embedder,
            self.prompts.examples(answer.language).collect(),
            question,
            examples_max,
        )?;
        let parts = Draftable {
            question: question.text(),
            language: answer.language,
            style: self.settings.prompts.style,
            passages: &answer.passages,
            examples: &examples,
        };
        let context = compose(&parts, &self.prompts, limits, count)?;
        let left_out = answer.passages.split_off(context.n_passages);
        answer.cut.extend(left_out.into_iter().map(|it| (it, Cut::NoRoom)));
        answer.context = Some(context);
        Ok(())
    }

    /// Has the model write what the prompt asks for.
    pub(crate) fn generate(
        &self,
        model: &LocalModel,
        answer: &mut Answer,
        clock: &mut Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<String>, AskError> {
        let Some(context) = &mut answer.context else { return Ok(None) };
        let adapter = self.settings.adapter.clone();
        answer.generator = Some(match &adapter {
            Some(adapter) => format!("{}+{adapter}", model.name),
            None => model.name.clone(),
        });
        // A model that can think aloud does so only where reasoning is asked for.
        let chat_options = ChatOptions {
            thinking: Some(self.settings.prompts.style == Style::Cot),
            ..ChatOptions::default()
        };
        let encoder = model.encoder();
        let prompt = encoder.encode_chat_with(&messages_of(&context.turns), &chat_options)?;
        context.n_tokens = prompt.len();
        clock.prompt_is_ready();
        let options = sample_options(&self.settings.generation);
        let is_thinking = encoder.is_thinking(&prompt);
        let mut splitter = thinking::Splitter::new(is_thinking);
        let request = Request { prompt, options, adapter };
        let draft = model.write(request, &mut |event| match event {
            Event::Read { n_tokens, n_prompt_tokens } => {
                on_event(AskEvent::Reading { n_tokens, n_prompt_tokens })
            }
            Event::Text(text) => match splitter.push(text).answer {
                text if text.is_empty() => ControlFlow::Continue(()),
                text => {
                    clock.first_piece();
                    on_event(AskEvent::Text(&text))
                }
            },
        })?;
        let rest = splitter.finish().answer;
        if !rest.is_empty() {
            // The draft is complete: a reader who leaves now has lost nothing.
            let _ = on_event(AskEvent::Text(&rest));
        }
        answer.truncated = draft.finish == FinishReason::Length;
        answer.n_tokens = draft.n_tokens;
        let (thoughts, text) = thinking::split(&draft.text, is_thinking);
        Ok(Some(self.take_reasoning(thoughts, text, answer)))
    }

    /// Puts the reasoning of a draft into the answer: thoughts of models that think, and the steps
    /// that the style asks for. Returns the text without them.
    pub(crate) fn take_reasoning(
        &self,
        thoughts: Option<String>,
        text: String,
        answer: &mut Answer,
    ) -> String {
        if self.settings.prompts.style == Style::Plain {
            answer.reasoning = thoughts;
            return text;
        }
        let (steps, text) = Prompts::split_reasoned(answer.language, &text);
        let parts: Vec<String> = thoughts.into_iter().chain(steps).collect();
        answer.reasoning = (!parts.is_empty()).then(|| parts.join("\n\n"));
        text
    }

    /// Checks the draft's sentences against the passages and writes the answer with its marks.
    pub(crate) fn check(
        &self,
        draft: &str,
        language: Option<Language>,
        answer: &mut Answer,
    ) -> Result<(), AskError> {
        let texts: Vec<String> = answer.passages.iter().map(|it| passage_text(&it.chunk)).collect();
        let sources: Vec<Source<'_>> =
            answer.passages.iter().zip(&texts).map(|(it, text)| source(it, text)).collect();
        let case = Case::new(draft, &sources);
        let cosines = if self.embedder_speaks(answer.language) {
            let sentences = case.sentences();
            let texts: Vec<&str> = sentences.iter().copied().chain(case.units()).collect();
            let embedded = self.embedder.embed(&texts, TextRole::Passage)?;
            let rows: Vec<&[f32]> = embedded.rows().collect();
            let (mine, units) = rows.split_at(sentences.len());
            Some(mine.iter().map(|a| units.iter().map(|b| dot(a, b)).collect()).collect())
        } else {
            None
        };
        answer.sentences = case.check(language.or(Some(answer.language)), cosines.as_ref());
        answer.text = answer.text_with_marks();
        answer.refused = self.prompts.is_refusal(answer.language, &answer.text);
        Ok(())
    }
}

fn source<'a>(passage: &Passage, text: &'a str) -> Source<'a> {
    let heading = format!("{}\n{}", passage.chunk.title, passage.chunk.heading_path.join("\n"));
    Source { heading, text, language: passage.chunk.facets.language }
}

pub(crate) fn sample_options(settings: &GenerationConfig) -> SampleOptions {
    SampleOptions {
        temperature: settings.temperature,
        top_p: Some(settings.top_p),
        repetition_penalty: settings.repetition_penalty,
        seed: settings.seed,
        tokens_max: settings.answer_tokens_max.get(),
        ..SampleOptions::default()
    }
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
