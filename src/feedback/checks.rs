//! What people said of an answer beside their thumb, as rows and questions carry it.

use crate::records::{Feedback, Labels, Rating, Reason};

/// What was said of an answer beside what is right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Its thumb, reason and labels, as [`checks`] names them.
    pub checks: Vec<String>,
    /// In words.
    pub comment: Option<String>,
}

impl Said {
    /// What a judgement says.
    #[must_use]
    pub fn of(feedback: &Feedback) -> Self {
        Self { checks: checks(feedback), comment: comment(feedback.comment.as_deref()) }
    }
}

/// The rating, the reason and the labels of a judgement, as words for `checks`: `rated_down`,
/// `reason_wrong_source`, `label_helpful_no`.
#[must_use]
pub fn checks(feedback: &Feedback) -> Vec<String> {
    let rating = match feedback.rating {
        Rating::Up => "rated_up",
        Rating::Down => "rated_down",
    };
    let reason = feedback.reason.map(|it| match it {
        Reason::WrongSource => "reason_wrong_source",
        Reason::WrongAnswer => "reason_wrong_answer",
        Reason::Incomplete => "reason_incomplete",
        Reason::Other => "reason_other",
    });
    let Labels { helpful, honest, harmless } = feedback.labels;
    let labels = [("helpful", helpful), ("honest", honest), ("harmless", harmless)];
    let labels = labels
        .into_iter()
        .filter_map(|(name, it)| Some(format!("label_{name}_{}", if it? { "yes" } else { "no" })));
    [Some(rating), reason].into_iter().flatten().map(str::to_owned).chain(labels).collect()
}

/// What was said in words; `None` where nothing was.
#[must_use]
pub fn comment(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_is_told_in_words() {
        let mut feedback = Feedback {
            answer: "a_1".to_owned(),
            rating: Rating::Down,
            reason: Some(Reason::WrongSource),
            correction: None,
            labels: Labels { helpful: Some(false), honest: Some(true), harmless: None },
            comment: None,
        };
        let all = ["rated_down", "reason_wrong_source", "label_helpful_no", "label_honest_yes"];
        assert_eq!(checks(&feedback), all);
        feedback = Feedback { rating: Rating::Up, reason: None, ..feedback };
        feedback.labels = Labels::default();
        assert_eq!(checks(&feedback), ["rated_up"]);
        assert_eq!(comment(Some(" \n")), None);
    }
}
