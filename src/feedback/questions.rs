//! Judged answers as questions whose accepted answer is known.

use std::collections::BTreeMap;

use super::checks::Said;
use crate::{
    cite::Case,
    eval::answers::KnownQuestion,
    records::{FeedbackRecord, Rating},
};

/// The kind of questions whose accepted answer is one that was called good.
pub const APPROVED: &str = "approved";

/// Questions of feedback.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FromFeedback {
    /// Each question once, in the order in which it was first judged.
    pub questions: Vec<KnownQuestion>,
    /// What was said of the answer to each, in the same order.
    pub said: Vec<Said>,
    /// Questions whose answer was called wrong without saying what is right.
    pub n_without_answer: usize,
}

/// Makes questions of feedback, oldest first. The accepted answer is the correction, else the answer
/// that was called good; where a refusal was, a refusal is right. Of several judgements of one
/// question the last one that knows an answer counts.
#[must_use]
pub fn questions(records: &[FeedbackRecord]) -> FromFeedback {
    let mut order: Vec<&str> = Vec::new();
    let mut known: BTreeMap<&str, Option<(KnownQuestion, Said)>> = BTreeMap::new();
    for record in records {
        let question = record.question.trim();
        let before = known.entry(question).or_insert_with(|| {
            order.push(question);
            None
        });
        *before = question_of(record).map(|it| (it, Said::of(&record.feedback))).or(before.take());
    }
    let mut res = FromFeedback::default();
    for question in order {
        match known.remove(question).flatten() {
            Some((question, said)) => {
                res.questions.push(question);
                res.said.push(said);
            }
            None => res.n_without_answer += 1,
        }
    }
    res
}

fn question_of(record: &FeedbackRecord) -> Option<KnownQuestion> {
    let correction = record.feedback.correction.as_deref().map(str::trim);
    let correction = correction.filter(|it| !it.is_empty());
    let is_good = record.feedback.rating == Rating::Up;
    let is_refusal = record.json["refused"].as_bool() == Some(true);
    let (answers, kind) = match correction {
        Some(it) => (vec![without_marks(it)], "corrected"),
        None if is_good && is_refusal => (Vec::new(), "refused"),
        None if is_good => (vec![without_marks(&record.text)], APPROVED),
        None => return None,
    };
    if answers.iter().any(String::is_empty) {
        return None;
    }
    Some(KnownQuestion {
        question: record.question.trim().to_owned(),
        answers,
        document: first_cited(record),
        language: record.json["language"].as_str().map(str::to_owned),
        kind: Some(kind.to_owned()),
        ..KnownQuestion::default()
    })
}

/// An answer without its citation marks.
fn without_marks(text: &str) -> String {
    Case::new(text, &[]).sentences().join(" ")
}

/// The document that the answer cites first; `None` where its source was wrong, or it cites none.
fn first_cited(record: &FeedbackRecord) -> Option<String> {
    if record.feedback.reason == Some(crate::records::Reason::WrongSource) {
        return None;
    }
    let sentences = record.json["sentences"].as_array()?;
    let index = sentences.iter().find_map(|it| it["citations"][0].as_u64())?;
    let sources = record.json["sources"].as_array()?;
    let cited = sources.iter().find(|it| it["index"].as_u64() == Some(index))?;
    cited["document"].as_str().map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::records::{Feedback, Labels, Reason};

    pub(crate) fn record(
        question: &str,
        rating: Rating,
        correction: Option<&str>,
    ) -> FeedbackRecord {
        FeedbackRecord {
            feedback: Feedback {
                answer: "a_1".to_owned(),
                rating,
                reason: None,
                correction: correction.map(str::to_owned),
                labels: Labels::default(),
                comment: None,
            },
            question: question.to_owned(),
            text: "Three days [2]. Then four [1].".to_owned(),
            json: json!({
                "language": "en", "refused": false,
                "sentences": [{"citations": [2]}, {"citations": [1]}],
                "sources": [{"index": 1, "document": "a.md"}, {"index": 2, "document": "b.md"}],
            }),
            why: Value::Null,
            given_by: String::new(),
            at: 0,
        }
    }

    #[test]
    fn what_is_right_is_the_correction_else_what_was_called_good() {
        let up = record("How many?", Rating::Up, None);
        let found = questions(std::slice::from_ref(&up));
        assert_eq!(found.questions[0].answers, ["Three days. Then four."]);
        assert_eq!(found.questions[0].document.as_deref(), Some("b.md"));
        assert_eq!(found.questions[0].kind.as_deref(), Some("approved"));
        let down = record("How many?", Rating::Down, None);
        assert_eq!(questions(std::slice::from_ref(&down)).n_without_answer, 1);
        let mut corrected = record("How many? ", Rating::Down, Some("Two days [1]."));
        corrected.feedback.reason = Some(Reason::WrongSource);
        let found = questions(&[up.clone(), corrected, down]);
        assert_eq!(found.questions.len(), 1, "a question counts once");
        assert_eq!(found.questions[0].answers, ["Two days."]);
        assert_eq!(found.questions[0].document, None, "its source was wrong");
        // What was said goes with the judgement that knows the answer, not with the last one.
        assert_eq!(found.said[0].checks, ["rated_down", "reason_wrong_source"]);
        let mut refused = up;
        refused.json["refused"] = json!(true);
        let found = questions(&[refused]);
        assert_eq!(found.questions[0].answers, Vec::<String>::new());
    }
}
