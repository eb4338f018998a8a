//! A question to a row: the passages that it finds, in the very prompt that answering makes of
//! them, and the answer that is to be learnt.

use std::collections::BTreeMap;

use index::{catalog::StoredChunk, filter::Filter};
use ingest::document::Language;
use model::chat::Turn;
use tune::dataset::{
    corpus::Source,
    filter::{Dropped, holds, mentions},
    personal::PersonalPolicy,
    questions::Qa,
    row::{Body, MadeBy, Message, Meta, PromptForm, PromptStyle, Role, Row, Shown},
    split::Split,
};

use super::{
    policy::without_personal,
    share_of,
    target::{Form, quoted, target},
    written::generator,
};
use crate::{
    answer::Answer,
    cite::{Case, Source as CiteSource, Verdict},
    compose::{ComposeError, Context, PromptLimits, passage_text},
    engine::{AskError, Engine},
    retrieve::{Found, Passage, Question},
    writer::Writer,
};

/// Passages looked at for one question: enough for hard ones to be left once others fall out.
pub(super) const LOOKED_AT: usize = 24;
/// Bytes that a token has at least, where no tokenizer counts.
const BYTES_PER_TOKEN: usize = 3;

/// A conversation, and the passages that are in it.
type Composed = (Vec<Turn>, Vec<Passage>);

/// Counts the tokens of a conversation.
type TokenCount<'a> = Box<dyn Fn(&[Turn]) -> usize + 'a>;

/// What the engine's writer is asked with.
#[must_use]
pub fn style_of(engine: &Engine) -> PromptStyle {
    let is_small = match &*engine.writer {
        Writer::Model(model) => model.small,
        Writer::Upstream(chat) => chat.is_small(),
        Writer::Extract { .. } => false,
    };
    if engine.by_sentences(is_small) { PromptStyle::Small } else { PromptStyle::Full }
}

/// Makes rows.
pub(super) struct Teller<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sources: &'a BTreeMap<i64, Source>,
    /// The part of each cluster.
    pub(super) parts: &'a BTreeMap<i64, Split>,
    pub(super) style: PromptStyle,
    pub(super) policy: PersonalPolicy,
    pub(super) found_within: usize,
    pub(super) examples_max: usize,
    /// Share of answers whose verbatim sentences stand in quotation marks.
    pub(super) quote_share: f64,
}

/// Passages for a prompt, and which of them answers (from 0).
struct Chosen {
    found: Found,
    passages: Vec<Passage>,
    gold: Option<usize>,
}

impl Teller<'_> {
    /// The part of a document.
    pub(super) fn part(&self, document: i64) -> Split {
        let cluster = self.sources.get(&document).map(|it| it.cluster);
        cluster.and_then(|it| self.parts.get(&it)).copied().unwrap_or(Split::Train)
    }

    /// A question among its own passage and hard negatives, answered in a form.
    pub(super) fn answered(
        &self,
        source: &Source,
        qa: &Qa,
        form: Form,
    ) -> Result<Result<Row, Dropped>, AskError> {
        let asked = format!("{}{}", qa.question, form.request(qa.language));
        let Ok(question) = Question::new(&asked) else { return Ok(Err(Dropped::BadForm)) };
        if question.language.is_some_and(|it| it != qa.language) {
            return Ok(Err(Dropped::WrongLanguage));
        }
        let chosen = match self.choose(source, qa, &question, true)? {
            Ok(it) => it,
            Err(dropped) => return Ok(Err(dropped)),
        };
        let Some(gold) = chosen.gold else { return Ok(Err(Dropped::NotFound)) };
        let (found, passages) = (chosen.found, chosen.passages);
        let Some((turns, passages)) = self.prompt(&question, qa.language, &found, passages)? else {
            return Ok(Err(Dropped::TooLong));
        };
        let Some(shown) = passages.get(gold) else { return Ok(Err(Dropped::TooLong)) };
        let answer = self.shown_answer(&turns, gold, shown, &qa.answer);
        if answer.is_empty() {
            return Ok(Err(Dropped::NotSupported));
        }
        let marked = self.in_quotes(qa, form, &answer, shown);
        let Some(target) = target(qa, marked.as_ref().unwrap_or(&answer), form, gold + 1) else {
            return Ok(Err(Dropped::BadForm));
        };
        let mut meta = self.meta(source, qa, &asked);
        meta.checks = vec![
            "quote_in_chunk".to_owned(),
            format!("found_in_top_{}", self.found_within),
            "answer_supported".to_owned(),
        ];
        meta.checks.extend(marked.map(|_| "quoted_word_for_word".to_owned()));
        meta.context = self.shown(&passages, Some(gold));
        let parts = [qa.made_by.as_str(), &source.content_hash, &asked];
        Ok(self.row(&parts, turns, target, meta))
    }

    /// The answer with the sentences that the passage says word for word in quotation marks, for a
    /// share of the questions. A small model is shown sentences, which are the answer as they are.
    fn in_quotes(
        &self,
        qa: &Qa,
        form: Form,
        answer: &[String],
        passage: &Passage,
    ) -> Option<Vec<String>> {
        let is_chosen = share_of(&["quoted", &qa.question]) < self.quote_share;
        if !is_chosen || form != Form::Plain || self.style == PromptStyle::Small {
            return None;
        }
        let text = passage_text(&passage.chunk);
        let marked = quoted(answer, &text, qa.language)?;
        supported(&passage.chunk, &text, &marked, Verdict::Partly).then_some(marked)
    }

    /// How prompts are made.
    pub(super) fn form(&self) -> PromptForm {
        let settings = &self.engine.settings.prompts;
        let examples_max = match self.style {
            PromptStyle::Small => 0,
            PromptStyle::Full => self.examples_max.min(settings.examples_max),
        };
        PromptForm { style: self.style, examples_max }
    }

    /// A question among passages none of which answers it: what is learnt is the refusal.
    pub(super) fn refused(
        &self,
        source: &Source,
        qa: &Qa,
    ) -> Result<Result<Row, Dropped>, AskError> {
        let Ok(question) = Question::new(&qa.question) else { return Ok(Err(Dropped::BadForm)) };
        let chosen = match self.choose(source, qa, &question, false)? {
            Ok(it) => it,
            Err(dropped) => return Ok(Err(dropped)),
        };
        let meta = Meta { quote: None, value: None, ..self.meta(source, qa, &qa.question) };
        let parts = [qa.made_by.as_str(), &source.content_hash, &qa.question];
        self.refusal(&parts, &question, qa.language, chosen.found, (chosen.passages, meta))
    }

    /// The row of a refusal.
    pub(super) fn refusal(
        &self,
        parts: &[&str],
        question: &Question,
        language: Language,
        found: Found,
        (passages, mut meta): (Vec<Passage>, Meta),
    ) -> Result<Result<Row, Dropped>, AskError> {
        if passages.is_empty() {
            return Ok(Err(Dropped::NotFound));
        }
        // A small model cannot tell such prompts from those that it must answer: taught on ones
        // that it never sees, it refuses by the form of the question.
        let relevance_min = self.engine.settings.retrieval.relevance_min;
        let is_asked = passages.iter().any(|it| it.relevance >= relevance_min);
        if self.style == PromptStyle::Small && !is_asked {
            return Ok(Err(Dropped::NeverAsked));
        }
        let Some((turns, passages)) = self.prompt(question, language, &found, passages)? else {
            return Ok(Err(Dropped::TooLong));
        };
        let refusal = self.engine.prompts.refusal(language)?;
        // The sentence that the prompts ask for; the advice after it is for people.
        let first = crate::cite::split(&refusal).into_iter().next().unwrap_or(0..refusal.len());
        meta.checks = vec!["no_passage_answers".to_owned()];
        meta.context = self.shown(&passages, None);
        Ok(self.row(parts, turns, refusal[first].trim().to_owned(), meta))
    }

    /// The passages of a prompt, in the order of retrieval: with the one that answers and those
    /// that come nearest to it, or without.
    fn choose(
        &self,
        source: &Source,
        qa: &Qa,
        question: &Question,
        with_gold: bool,
    ) -> Result<Result<Chosen, Dropped>, AskError> {
        let mut found = self.engine.retrieve_top(question, &Filter::default(), LOOKED_AT)?;
        let quote = &source.text[qa.span.clone()];
        let part = self.part(source.id);
        let mut gold_rank = None;
        let mut candidates: Vec<(Passage, bool)> = Vec::new();
        for (rank, passage) in std::mem::take(&mut found.passages).into_iter().enumerate() {
            let Some(of) = self.sources.get(&passage.chunk.document.0) else { continue };
            let text = passage_text(&passage.chunk);
            let is_gold = of.cluster == source.cluster && holds(&text, quote);
            if is_gold && gold_rank.is_none() && rank < self.found_within {
                gold_rank = Some(rank);
                candidates.push((passage, true));
                continue;
            }
            let heading = passage.chunk.heading_path.join(" ");
            let speaks =
                mentions(&format!("{} {heading} {text}", passage.chunk.title), &qa.subject);
            // Another version of the document would give another answer; so might, for all we
            // know, whatever speaks of the subject where nothing may answer.
            let is_version = of.cluster == source.cluster && of.id != source.id;
            let has_value = qa.value.as_ref().is_some_and(|it| text.contains(&it.text));
            let answers = is_gold || is_version || speaks && (!with_gold || has_value);
            if self.part(of.id) == part && !answers {
                candidates.push((passage, false));
            }
        }
        if with_gold && gold_rank.is_none() {
            return Ok(Err(Dropped::NotFound));
        }
        candidates.retain(|(_, is_gold)| with_gold || !is_gold);
        let shown_max = self.engine.settings.retrieval.passages_max.get();
        let mut room = shown_max - usize::from(with_gold);
        candidates.retain(|(_, is_gold)| {
            let fits = *is_gold || room > 0;
            room -= usize::from(!is_gold && fits);
            fits
        });
        let gold = candidates.iter().position(|(_, is_gold)| *is_gold);
        let passages = candidates.into_iter().map(|(it, _)| it).collect();
        Ok(Ok(Chosen { found, passages, gold }))
    }

    /// The conversation that the model would be shown, and the passages that are in it; `None`
    /// where not even one fits.
    pub(super) fn prompt(
        &self,
        question: &Question,
        language: Language,
        found: &Found,
        passages: Vec<Passage>,
    ) -> Result<Option<Composed>, AskError> {
        let mut answer = Answer { passages, ..Answer::empty(language) };
        if self.style == PromptStyle::Small {
            let turns = self.engine.small_prompt(&found.asked, &answer)?;
            return Ok(Some((turns, answer.passages)));
        }
        let settings = &self.engine.settings;
        let examples_max = self.form().examples_max;
        let (context_length, count): (usize, TokenCount<'_>) = match &*self.engine.writer {
            Writer::Model(model) => {
                let encoder = model.encoder();
                let count = |it: &[Turn]| encoder.encode_chat(it).map_or(usize::MAX, |it| it.len());
                (encoder.context_length(), Box::new(count))
            }
            Writer::Upstream(chat) => {
                (chat.context_tokens(), Box::new(|it: &[Turn]| chat.estimate(it)))
            }
            Writer::Extract { .. } => {
                let of = |it: &Turn| it.content.len().div_ceil(BYTES_PER_TOKEN);
                (usize::MAX, Box::new(move |it: &[Turn]| it.iter().map(of).sum()))
            }
        };
        let limits = PromptLimits::new(settings, context_length);
        match self.engine.compose_within(question, &mut answer, &limits, examples_max, &count) {
            Ok(()) => {}
            Err(AskError::Compose(ComposeError::TooLong { .. })) => return Ok(None),
            Err(error) => return Err(error),
        }
        let Some(Context { turns, .. }) = answer.context.take() else { return Ok(None) };
        Ok(Some((turns, answer.passages)))
    }

    /// The answer, as far as what the prompt shows of the passage says it, by the check that answers
    /// go through. A whole passage must say every sentence; of the few sentences that a small model
    /// is shown, it can only be taught to say those.
    fn shown_answer(
        &self,
        turns: &[Turn],
        gold: usize,
        passage: &Passage,
        answer: &[String],
    ) -> Vec<String> {
        if self.style == PromptStyle::Full {
            let text = passage_text(&passage.chunk);
            let is_shown = supported(&passage.chunk, &text, answer, Verdict::Partly);
            return if is_shown { answer.to_vec() } else { Vec::new() };
        }
        let mark = format!("[{}] ", gold + 1);
        let lines = turns.last().map_or("", |it| it.content.as_str()).lines();
        let of_gold: Vec<&str> = lines.filter_map(|it| it.strip_prefix(&mark)).collect();
        let text = of_gold.join("\n");
        // One of several sentences may share words with another that is shown.
        let least = if answer.len() > 1 { Verdict::Supported } else { Verdict::Partly };
        let says =
            |it: &&String| supported(&passage.chunk, &text, std::slice::from_ref(*it), least);
        answer.iter().filter(says).cloned().collect()
    }

    fn meta(&self, source: &Source, qa: &Qa, asked: &str) -> Meta {
        let chunk = source.chunk_of(&qa.span);
        Meta {
            document: Some(source.id),
            path: Some(source.path.clone()),
            content_hash: Some(source.content_hash.clone()),
            cluster: Some(source.cluster),
            chunk: chunk.map(|it| it.id),
            span: Some([qa.span.start, qa.span.end]),
            page: chunk.and_then(|it| it.page),
            made_by: Some(qa.made_by),
            prompt: Some(self.form()),
            prompt_hash: Some(self.engine.prompts.hash().to_owned()),
            generator: (qa.made_by == MadeBy::Model).then(|| generator(self.engine)).flatten(),
            licence: source.licence.clone(),
            language: Some(qa.language.code().to_owned()),
            question: Some(asked.to_owned()),
            quote: Some(source.text[qa.span.clone()].trim().to_owned()),
            value: qa.value.as_ref().map(|it| it.text.clone()),
            split: Some(self.part(source.id)),
            ..Meta::default()
        }
    }

    pub(super) fn shown(&self, passages: &[Passage], gold: Option<usize>) -> Vec<Shown> {
        let one = |(i, it): (usize, &Passage)| Shown {
            document: Some(it.chunk.document.0),
            path: it.chunk.facets.path.clone(),
            cluster: self.sources.get(&it.chunk.document.0).map(|it| it.cluster),
            text: passage_text(&it.chunk),
            gold: gold == Some(i),
        };
        passages.iter().enumerate().map(one).collect()
    }

    fn row(
        &self,
        parts: &[&str],
        turns: Vec<Turn>,
        target: String,
        meta: Meta,
    ) -> Result<Row, Dropped> {
        let mut messages = messages(turns);
        messages.push(Message::new(Role::Assistant, target));
        without_personal(Row::new(parts, Body::Messages(messages), meta), self.policy)
    }
}

/// A conversation as rows have it.
pub(super) fn messages(turns: Vec<Turn>) -> Vec<Message> {
    let message = |it: Turn| {
        let role = match it.role {
            model::chat::Role::System => Role::System,
            model::chat::Role::Assistant => Role::Assistant,
            model::chat::Role::User => Role::User,
        };
        Message::new(role, it.content)
    };
    turns.into_iter().map(message).collect()
}

/// Whether a passage's text supports every sentence at least so far, by words alone.
pub(super) fn supported(
    chunk: &StoredChunk,
    text: &str,
    answer: &[String],
    least: Verdict,
) -> bool {
    let heading = format!("{}\n{}", chunk.title, chunk.heading_path.join("\n"));
    let sources = [CiteSource { heading, text, language: chunk.facets.language }];
    let draft = answer.join("\n");
    let case = Case::new(&draft, &sources);
    let checked = case.check(chunk.facets.language, None);
    !checked.is_empty() && checked.iter().all(|it| it.verdict >= least)
}
