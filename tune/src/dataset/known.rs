//! Rows as questions with accepted answers: what answers are measured with.

use serde_json::{Value, json};

use super::row::{MadeBy, Row};

/// The question of a row, as `souffleur compare` and `souffleur eval` read it. `None` where words
/// alone do not tell a right answer: only answers that are a value do, and questions that no
/// document answers, which have none.
#[must_use]
pub fn known(row: &Row) -> Option<Value> {
    let meta = &row.meta;
    let made_by = meta.made_by?;
    let answers: Vec<&str> = match (made_by, &meta.value) {
        // Of the same questions without a form, one is enough; and what a prompt was made without
        // is there when the question is asked of the documents.
        (MadeBy::Instruction | MadeBy::GoldRemoved, _) => return None,
        (MadeBy::Unanswerable, _) => Vec::new(),
        (_, Some(value)) => vec![value],
        (_, None) => return None,
    };
    let document = if answers.is_empty() { None } else { meta.path.as_deref() };
    Some(json!({
        "question": meta.question.as_deref()?,
        "answers": answers,
        "document": document,
        "page": if answers.is_empty() { None } else { meta.page },
        "language": meta.language,
        "type": made_by.as_str(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::row::{Body, Meta};

    #[track_caller]
    fn check(made_by: MadeBy, value: Option<&str>, expected: Option<&[&str]>) {
        let meta = Meta {
            made_by: Some(made_by),
            question: Some("How much?".to_owned()),
            path: Some("a.md".to_owned()),
            value: value.map(str::to_owned),
            ..Meta::default()
        };
        let row = Row::new(&["x"], Body::Messages(Vec::new()), meta);
        let found = known(&row).map(|it| (it["answers"].clone(), it["document"].clone()));
        let document = |it: &[&str]| if it.is_empty() { json!(null) } else { json!("a.md") };
        assert_eq!(found, expected.map(|it| (json!(it), document(it))), "{made_by:?}");
    }

    #[test]
    fn only_what_words_can_tell_is_asked() {
        check(MadeBy::TableCell, Some("12 €"), Some(&["12 €"]));
        check(MadeBy::Unanswerable, None, Some(&[]));
        check(MadeBy::Section, None, None);
        check(MadeBy::Instruction, Some("12 €"), None);
        check(MadeBy::GoldRemoved, None, None);
    }
}
