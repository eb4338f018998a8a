//! Questions that the documents do not answer, to be refused.

use index::filter::Filter;
use tune::dataset::{
    filter::Dropped,
    questions::unanswerable::general,
    row::{MadeBy, Meta, Row},
    split::Split,
};

use super::teller::{LOOKED_AT, Teller};
use crate::{
    engine::AskError,
    retrieve::{Passage, Question},
};

impl Teller<'_> {
    /// A question about a matter that no document treats: kept only where retrieval itself finds
    /// nothing that bears on it. Its passages are those that come nearest, all of one part.
    pub(super) fn unanswerable(
        &self,
        language: ingest::document::Language,
        asked: &str,
    ) -> Result<Result<Row, Dropped>, AskError> {
        let Ok(question) = Question::new(asked) else { return Ok(Err(Dropped::BadForm)) };
        let mut found = self.engine.retrieve_top(&question, &Filter::default(), LOOKED_AT)?;
        let settings = &self.engine.settings.retrieval;
        if found.passages.iter().any(|it| it.relevance >= settings.relevance_min) {
            return Ok(Err(Dropped::SeemsAnswerable));
        }
        let (part, passages) = self.nearest(std::mem::take(&mut found.passages));
        let meta = Meta {
            made_by: Some(MadeBy::Unanswerable),
            prompt: Some(self.form()),
            prompt_hash: Some(self.engine.prompts.hash().to_owned()),
            language: Some(language.code().to_owned()),
            question: Some(asked.to_owned()),
            split: part,
            ..Meta::default()
        };
        let parts = ["unanswerable", asked];
        self.refusal(&parts, &question, language, found, (passages, meta))
    }

    /// The first passages of one part, that of the first one.
    pub(super) fn nearest(&self, mut passages: Vec<Passage>) -> (Option<Split>, Vec<Passage>) {
        passages.retain(|it| self.sources.contains_key(&it.chunk.document.0));
        let part = passages.first().map(|it| self.part(it.chunk.document.0));
        passages.retain(|it| Some(self.part(it.chunk.document.0)) == part);
        passages.truncate(self.engine.settings.retrieval.passages_max.get());
        (part, passages)
    }

    /// The general questions, with the identities of their rows.
    pub(super) fn general() -> Vec<(String, ingest::document::Language, &'static str)> {
        let id = |asked: &str| tune::dataset::row::id_of(&["unanswerable", asked]);
        general().into_iter().map(|(language, asked)| (id(asked), language, asked)).collect()
    }
}
