//! A question to a row: the passages that it finds, in the very prompt that answering makes of
//! them, and the answer that is to be learnt.

use std::collections::BTreeMap;

use index::{catalog::StoredChunk, filter::Filter};
use ingest::document::Language;
use model::chat::Turn;
use tune::dataset::{
    corpus::Source,
    filter::{Dropped, holds, mentions},
    personal::{self, PersonalPolicy},
    questions::Qa,
    row::{Body, MadeBy, Message, Meta, Role, Row, Shown},
    split::Split,
};

use super::written::generator;
use crate::{
    answer::Answer,
    cite::{Case, Source as CiteSource, Verdict},
    compose::{ComposeError, Context, PromptLimits, passage_text},
    config::Style,
    engine::{AskError, Engine},
    retrieve::{Found, Passage, Question},
    writer::Writer,
};

/// Passages looked at for one question: enough for hard ones to be left once others fall out.
pub(super) const LOOKED_AT: usize = 24;
/// Bytes that a token has at least, where no tokenizer counts.
const BYTES_PER_TOKEN: usize = 3;

/// How the model is asked: as [`Engine::ask`] would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptStyle {
    /// With single sentences, for small models.
    Small,
    /// With whole passages and examples.
    Full,
}

/// A conversation, and the passages that are in it.
type Composed = (Vec<Turn>, Vec<Passage>);

/// Counts the tokens of a conversation.
type TokenCount<'a> = Box<dyn Fn(&[Turn]) -> usize + 'a>;

impl PromptStyle {
    /// What the engine's writer is asked with.
    #[must_use]
    pub fn of(engine: &Engine) -> Self {
        let is_small = match &*engine.writer {
            Writer::Model(model) => model.small,
            Writer::Upstream(chat) => chat.is_small(),
            Writer::Extract { .. } => false,
        };
        let is_plain = engine.settings.prompts.style == Style::Plain;
        if is_small && is_plain { Self::Small } else { Self::Full }
    }

    /// The word used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Full => "full",
        }
    }
}

/// The form that an answer is asked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Value,
    Bullets,
    Email,
}

impl Form {
    /// What is added to the question.
    pub(super) fn request(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Plain, _) => "",
            (Self::Value, Language::French) => " Réponds par la valeur seule.",
            (Self::Value, Language::English) => " Answer with the value alone.",
            (Self::Bullets, Language::French) => " Réponds sous forme de liste à puces.",
            (Self::Bullets, Language::English) => " Answer as a bulleted list.",
            (Self::Email, Language::French) => " Rédige la réponse comme un courriel poli.",
            (Self::Email, Language::English) => " Write the answer as a polite e-mail.",
        }
    }
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
        let Some(target) = target(qa, &answer, form, gold + 1) else {
            return Ok(Err(Dropped::BadForm));
        };
        let mut meta = self.meta(source, qa, &asked);
        meta.checks = vec![
            "quote_in_chunk".to_owned(),
            format!("found_in_top_{}", self.found_within),
            "answer_supported".to_owned(),
        ];
        meta.context = self.shown(&passages, Some(gold));
        let parts = [qa.made_by.as_str(), &source.content_hash, &asked];
        Ok(self.row(&parts, turns, target, meta))
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
        let examples_max = self.examples_max.min(settings.prompts.examples_max);
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

/// The answer with the mark of its passage, in a form; `None` where it has no such form.
fn target(qa: &Qa, answer: &[String], form: Form, index: usize) -> Option<String> {
    let marked: Vec<String> = answer.iter().map(|it| with_mark(it, index)).collect();
    Some(match form {
        Form::Plain => marked.join(" "),
        Form::Value => format!("{} [{index}]", qa.value.as_ref()?.text),
        Form::Bullets if marked.len() >= 3 => {
            marked.iter().map(|it| format!("- {it}")).collect::<Vec<_>>().join("\n")
        }
        Form::Bullets => return None,
        Form::Email => match qa.language {
            Language::French => {
                format!("Bonjour,\n\n{}\n\nBien cordialement", marked.join(" "))
            }
            Language::English => format!("Hello,\n\n{}\n\nKind regards", marked.join(" ")),
        },
    })
}

/// The mark stands before the full stop, as in the examples of the prompts.
fn with_mark(sentence: &str, index: usize) -> String {
    match sentence.char_indices().next_back() {
        Some((at, end @ ('.' | '!' | '?'))) => format!("{} [{index}]{end}", &sentence[..at]),
        _ => format!("{sentence} [{index}]"),
    }
}

/// The row as the policy on personal data lets it be.
pub(super) fn without_personal(mut row: Row, policy: PersonalPolicy) -> Result<Row, Dropped> {
    if policy == PersonalPolicy::Keep {
        return Ok(row);
    }
    let is_text = matches!(row.body, Body::Text(_));
    let teaches = row.body.targets().iter().any(|it| !personal::find(it).is_empty());
    let mut texts = row.body.texts_mut();
    texts.extend(row.meta.context.iter_mut().map(|it| &mut it.text));
    texts.extend(row.meta.quote.as_mut());
    texts.extend(row.meta.question.as_mut());
    texts.extend(row.meta.value.as_mut());
    texts.extend(row.meta.comment.as_mut());
    let holds = texts.iter().any(|it| !personal::find(it).is_empty());
    if policy == PersonalPolicy::Refuse && holds || teaches && !is_text {
        return Err(Dropped::PersonalData);
    }
    for text in texts {
        if let Some(masked) = personal::masked(text) {
            *text = masked;
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(asked: &str, answered: &str) -> Row {
        let messages =
            vec![Message::new(Role::User, asked), Message::new(Role::Assistant, answered)];
        Row::new(&["x"], Body::Messages(messages), Meta::default())
    }

    #[test]
    fn marks_stand_before_the_full_stop() {
        assert_eq!(with_mark("Deux jours.", 2), "Deux jours [2].");
        assert_eq!(with_mark("150 €", 1), "150 € [1]");
    }

    #[test]
    fn personal_data_is_masked_where_shown_and_refused_where_taught() {
        let shown = row("Écrivez à a.b@c.example. Quand ?", "Demain.");
        let masked = without_personal(shown.clone(), PersonalPolicy::Mask).unwrap();
        assert_eq!(masked.body.prompt()[0].content, "Écrivez à [e-mail]. Quand ?");
        let refused = without_personal(shown.clone(), PersonalPolicy::Refuse);
        assert_eq!(refused, Err(Dropped::PersonalData));
        assert_eq!(without_personal(shown.clone(), PersonalPolicy::Keep), Ok(shown));
        let taught = row("Quel est le numéro ?", "Le 02 61 91 35 35.");
        assert_eq!(without_personal(taught, PersonalPolicy::Mask), Err(Dropped::PersonalData));
        let plain = Body::Text("Appelez le 02 61 91 35 35.".to_owned());
        let text = Row::new(&["t"], plain, Meta::default());
        let masked = without_personal(text, PersonalPolicy::Mask).unwrap();
        assert_eq!(masked.body, Body::Text("Appelez le [phone].".to_owned()));
    }
}
