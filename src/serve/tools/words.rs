//! What people in chat tools are told, in their language.

use axum::http::StatusCode;
use ingest::{document::Language, language::detect};

use crate::{records::Reason, retrieve::QUESTION_CHARS_MAX, serve::error::ApiError};

/// Phrases of one language.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::serve) struct Words {
    pub(super) searching: &'static str,
    pub(super) usage: &'static str,
    pub(super) question: &'static str,
    pub(super) busy: &'static str,
    pub(super) too_many: &'static str,
    pub(super) too_long: &'static str,
    pub(super) failed: &'static str,
    /// The answer takes longer than the tool waits.
    pub(super) late: &'static str,
    /// The name of a link to the page.
    pub(super) page: &'static str,
    pub(super) supported: &'static str,
    pub(super) doubtful: &'static str,
    pub(super) unsupported: &'static str,
    pub(super) quoted: &'static str,
    pub(super) truncated: &'static str,
    pub(super) older: &'static str,
    pub(super) useful: &'static str,
    pub(super) useless: &'static str,
    pub(super) thanks_up: &'static str,
    pub(super) thanks_down: &'static str,
    pub(super) forgotten: &'static str,
    /// The name of a link to the form for feedback.
    pub(super) judge: &'static str,
    /// What is asked of who found an answer bad, and what they may say, in the order of [`REASONS`].
    pub(super) what_was_wrong: &'static str,
    pub(super) reasons: [&'static str; REASONS.len()],
}

/// What can be wrong with an answer.
pub(super) const REASONS: [Reason; 4] =
    [Reason::WrongSource, Reason::WrongAnswer, Reason::Incomplete, Reason::Other];

const FRENCH: Words = Words {
    searching: "Je cherche dans les documents…",
    usage: "Posez une question sur les documents, par exemple : « Combien de jours de télétravail par \
        semaine ? »",
    question: "Question",
    busy: "Trop de questions à la fois : réessayez dans un instant.",
    too_many: "Vous avez posé beaucoup de questions en une minute : réessayez dans un instant.",
    too_long: "Cette question est trop longue",
    failed: "La réponse a échoué. Le journal du serveur dit pourquoi.",
    late: "La réponse prend plus de temps qu’il n’est possible d’attendre ici. Posez la question sur",
    page: "la page",
    supported: "Chaque phrase est étayée par sa source.",
    doubtful: "étayée en partie",
    unsupported: "non étayée par sa source : à vérifier",
    quoted: "La réponse cite les documents mot pour mot.",
    truncated: "La réponse a atteint sa longueur maximale.",
    older: "Versions plus anciennes, laissées de côté :",
    useful: "Utile",
    useless: "Pas utile",
    thanks_up: "Merci, c’est noté : réponse utile.",
    thanks_down: "Merci, c’est noté : réponse pas utile.",
    forgotten: "Cette réponse n’est plus conservée : l’avis n’a pas pu être noté.",
    judge: "Dire ce qui ne va pas",
    what_was_wrong: "Qu’est-ce qui ne va pas ?",
    reasons: ["Mauvaise source", "Réponse fausse", "Incomplète", "Autre"],
};

const ENGLISH: Words = Words {
    searching: "Searching the documents…",
    usage: "Ask a question about the documents, such as: “How many days of remote work a week?”",
    question: "Question",
    busy: "Too many questions at once: try again in a moment.",
    too_many: "You asked many questions within a minute: try again in a moment.",
    too_long: "This question is too long",
    failed: "No answer: something failed. The server’s log says why.",
    late: "The answer takes longer than can be waited for here. Ask on",
    page: "the page",
    supported: "Each sentence is supported by its source.",
    doubtful: "partly supported",
    unsupported: "not supported by its source: check it",
    quoted: "The answer quotes the documents word for word.",
    truncated: "The answer reached its limit of length.",
    older: "Older versions, left aside:",
    useful: "Helpful",
    useless: "Not helpful",
    thanks_up: "Thank you, noted as helpful.",
    thanks_down: "Thank you, noted as not helpful.",
    forgotten: "This answer is no longer kept: your feedback could not be noted.",
    judge: "Say what was wrong",
    what_was_wrong: "What was wrong?",
    reasons: ["Wrong source", "Wrong answer", "Incomplete", "Other"],
};

impl Words {
    pub(in crate::serve) fn of(language: Language) -> &'static Self {
        match language {
            Language::French => &FRENCH,
            Language::English => &ENGLISH,
        }
    }

    /// For who asks in these words.
    pub(super) fn for_question(text: &str) -> &'static Self {
        Self::of(detect(text).unwrap_or(Language::English))
    }

    /// How to ask, for who has not said anything yet.
    pub(super) fn usage_in_both() -> String {
        format!("{}\n{}", FRENCH.usage, ENGLISH.usage)
    }

    /// For who has this locale, such as `fr-FR`.
    pub(super) fn for_locale(locale: Option<&str>) -> &'static Self {
        if locale.is_some_and(|it| it.starts_with("fr")) { &FRENCH } else { &ENGLISH }
    }

    /// Why there is no answer, without what only an administrator understands.
    pub(super) fn error(&self, error: &ApiError) -> String {
        match error.status() {
            StatusCode::SERVICE_UNAVAILABLE => self.busy.to_owned(),
            StatusCode::TOO_MANY_REQUESTS => self.too_many.to_owned(),
            StatusCode::BAD_REQUEST if error.param() == Some("question") => {
                format!("{} (> {QUESTION_CHARS_MAX}).", self.too_long)
            }
            _ => {
                tracing::warn!(message = error.message(), "a question of a chat tool failed");
                self.failed.to_owned()
            }
        }
    }
}
