//! Prompts and marks for answers that no model wrote: the passages are found again, and become the
//! prompt that a model would have been shown.

use std::sync::LazyLock;

use index::filter::Filter;
use ingest::document::Language;
use regex::Regex;
use serde_json::Value;
use tune::dataset::row::{Meta, Shown};

use super::{Judged, Prompted, alone, recorded};
use crate::{
    answer::Answer,
    dataset::teller::{LOOKED_AT, Teller, messages},
    engine::AskError,
    retrieve::{Found, Passage, Question},
};

static MARKS_AFTER_STOP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"( ?[.!?])((?: \[\d+\])+)").expect("a literal pattern is valid"));
static MARK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[\d+\]").expect("a literal pattern is valid"));

/// Marks before the full stop, as in all other rows.
pub(super) fn style(text: &str) -> String {
    MARKS_AFTER_STOP.replace_all(text, "$2$1").into_owned()
}

/// Notes which passages an answer rests on; all of them where it names none.
pub(super) fn rests_on(answer: &str, context: &mut [Shown]) {
    if MARK.is_match(answer) {
        for (idx, shown) in context.iter_mut().enumerate() {
            shown.gold = answer.contains(&format!("[{}]", idx + 1));
        }
    }
}

impl Judged<'_> {
    /// The prompt of an answer: the one that is recorded, else the one that a model would have been
    /// shown; `None` where its passages are not found any more.
    pub(super) fn prompted(
        &self,
        (question, answer): (&str, &Value),
        why: &Value,
        meta: Meta,
    ) -> Result<Option<Prompted>, AskError> {
        if let Some(prompt) = recorded(why) {
            return Ok(Some(Prompted { prompt, meta }));
        }
        let Some(teller) = self.teller else {
            return Ok(Some(Prompted { prompt: alone(question), meta }));
        };
        let Ok(question) = Question::new(question) else { return Ok(None) };
        let language = language_of(answer, &question);
        let (found, passages) = passages(teller, &question, answer)?;
        let parts: Vec<_> = passages.iter().map(|it| teller.part(it.chunk.document.0)).collect();
        let Some(&part) = parts.first() else { return Ok(None) };
        if parts.iter().any(|it| *it != part) {
            return Ok(None);
        }
        let n_needed = sources(answer).map_or(0, |it| it.len());
        let composed = teller.prompt(&question, language, &found, passages)?;
        let Some((turns, shown)) = composed.filter(|(_, it)| it.len() >= n_needed) else {
            return Ok(None);
        };
        let context = teller.shown(&shown, None);
        let prompt = Some(teller.form());
        let meta = Meta { context, split: Some(part), prompt, ..meta };
        Ok(Some(Prompted { prompt: messages(turns), meta }))
    }

    /// A correction with the marks of the passages that say what it does, where people wrote none.
    pub(super) fn with_marks(
        &self,
        (question, answer): (&str, &Value),
        text: &str,
    ) -> Result<String, AskError> {
        let (Some(teller), Ok(question)) = (self.teller, Question::new(question)) else {
            return Ok(style(text));
        };
        if MARK.is_match(text) {
            return Ok(style(text));
        }
        let language = language_of(answer, &question);
        let (_, passages) = passages(teller, &question, answer)?;
        let mut checked = Answer { passages, ..Answer::empty(language) };
        teller.engine.check(text, Some(language), &mut checked)?;
        Ok(style(&checked.text))
    }
}

fn language_of(answer: &Value, question: &Question) -> Language {
    let of_answer = answer["language"].as_str().and_then(Language::from_code);
    of_answer.or(question.language).unwrap_or(Language::English)
}

/// The chunks of an answer's passages, in the order of its marks; `None` where it does not tell them.
fn sources(answer: &Value) -> Option<Vec<i64>> {
    answer["sources"].as_array()?.iter().map(|it| it["chunk"].as_i64()).collect()
}

/// The passages of an answer as the question finds them again, in the same order; of an answer
/// without any, a refusal, those that come nearest. None where one is not found any more.
fn passages(
    teller: &Teller<'_>,
    question: &Question,
    answer: &Value,
) -> Result<(Found, Vec<Passage>), AskError> {
    let mut found = teller.engine.retrieve_top(question, &Filter::default(), LOOKED_AT)?;
    let mut all = std::mem::take(&mut found.passages);
    all.retain(|it| teller.sources.contains_key(&it.chunk.document.0));
    let Some(sources) = sources(answer) else { return Ok((found, Vec::new())) };
    if sources.is_empty() {
        return Ok((found, nearest(teller, all)));
    }
    let again = |chunk: &i64| all.iter().find(|it| it.chunk.id.0 == *chunk).cloned();
    let passages: Option<Vec<Passage>> = sources.iter().map(again).collect();
    Ok((found, passages.unwrap_or_default()))
}

/// As many as are shown, of the part of the first.
fn nearest(teller: &Teller<'_>, mut all: Vec<Passage>) -> Vec<Passage> {
    if let Some(first) = all.first() {
        let part = teller.part(first.chunk.document.0);
        all.retain(|it| teller.part(it.chunk.document.0) == part);
    }
    all.truncate(teller.engine.settings.retrieval.passages_max.get());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_before_the_full_stop() {
        assert_eq!(style("Deux. [1] Trois ! [2] [3] Fin"), "Deux [1]. Trois [2] [3] ! Fin");
        assert_eq!(style("Deux [1]."), "Deux [1].");
    }

    #[test]
    fn an_answer_rests_on_the_passages_that_it_names() {
        let shown = || Shown {
            document: None,
            path: "a.md".to_owned(),
            cluster: None,
            text: String::new(),
            gold: true,
        };
        let mut context = [shown(), shown()];
        rests_on("Deux.", &mut context);
        assert!(context.iter().all(|it| it.gold));
        rests_on("Deux [2].", &mut context);
        assert_eq!(context.map(|it| it.gold), [false, true]);
    }
}
