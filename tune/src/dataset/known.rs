//! Rows as questions with accepted answers: what answers are measured with.

use serde_json::{Value, json};

use super::row::{MadeBy, Row};

/// Words of an answer that a language model wrote, at most, for it to stand as a value.
const WORDS_MAX: usize = 6;

/// The question of a row, as `souffleur compare` and `souffleur eval` read it. `None` where words
/// alone do not tell a right answer: only answers that are a value do, or are as short as one, and
/// questions that no document answers, which have none.
#[must_use]
pub fn known(row: &Row) -> Option<Value> {
    let meta = &row.meta;
    let made_by = meta.made_by?;
    let answers: Vec<String> = match (made_by, &meta.value) {
        // Of the same questions without a form, one is enough; and what a prompt was made without
        // is there when the question is asked of the documents.
        (MadeBy::Instruction | MadeBy::GoldRemoved, _) => return None,
        (MadeBy::Unanswerable, _) => Vec::new(),
        (_, Some(value)) => vec![value.clone()],
        (MadeBy::Model, None) => vec![short(row.body.targets().last()?)?],
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
        "generated": maker(made_by),
    }))
}

/// Who made a question that nobody asked: `model` or `rules`. `None` where people wrote it.
#[must_use]
pub fn maker(made_by: MadeBy) -> Option<&'static str> {
    match made_by {
        MadeBy::Model => Some("model"),
        MadeBy::Section
        | MadeBy::Definition
        | MadeBy::TableCell
        | MadeBy::TableRow
        | MadeBy::Record
        | MadeBy::Rule
        | MadeBy::GoldRemoved
        | MadeBy::Unanswerable
        | MadeBy::Instruction => Some("rules"),
        // Somebody asked these: the document itself, a reader, or whoever made the file.
        MadeBy::Faq | MadeBy::Feedback | MadeBy::Text | MadeBy::Imported => None,
    }
}

/// An answer of few words, without citation marks and full stop.
fn short(answer: &str) -> Option<String> {
    let is_mark = |it: &&str| {
        let inside = it
            .strip_prefix('[')
            .and_then(|it| it.trim_end_matches(['.', ',', '!', '?']).strip_suffix(']'));
        inside.is_some_and(|it| !it.is_empty() && it.chars().all(|c| c.is_ascii_digit()))
    };
    let words: Vec<&str> = answer.split_whitespace().filter(|it| !is_mark(it)).collect();
    let text = words.join(" ").trim_end_matches(['.', '!', '?']).to_owned();
    (1..=WORDS_MAX).contains(&words.len()).then_some(text).filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::row::{Body, Message, Meta, Role};

    fn row(made_by: MadeBy, value: Option<&str>, answer: &str) -> Row {
        let meta = Meta {
            made_by: Some(made_by),
            question: Some("How much?".to_owned()),
            path: Some("a.md".to_owned()),
            value: value.map(str::to_owned),
            ..Meta::default()
        };
        Row::new(&["x"], Body::Messages(vec![Message::new(Role::Assistant, answer)]), meta)
    }

    #[track_caller]
    fn check(row: &Row, expected: Option<&[&str]>) {
        let found = known(row).map(|it| (it["answers"].clone(), it["document"].clone()));
        let document = |it: &[&str]| if it.is_empty() { json!(null) } else { json!("a.md") };
        assert_eq!(found, expected.map(|it| (json!(it), document(it))), "{:?}", row.meta.made_by);
    }

    #[test]
    fn only_what_words_can_tell_is_asked() {
        check(&row(MadeBy::TableCell, Some("12 €"), "It is 12 €."), Some(&["12 €"]));
        check(&row(MadeBy::Unanswerable, None, "Nothing says so."), Some(&[]));
        check(&row(MadeBy::Section, None, "Twelve."), None);
        check(&row(MadeBy::Instruction, Some("12 €"), "12 €"), None);
        check(&row(MadeBy::GoldRemoved, None, "Nothing says so."), None);
        check(
            &row(MadeBy::Model, None, "A screen and a chair [1]."),
            Some(&["A screen and a chair"]),
        );
        check(&row(MadeBy::Model, None, "12 € [1] [12]."), Some(&["12 €"]));
        let sentence = "The company lends a screen and a chair [1].";
        check(&row(MadeBy::Model, None, sentence), None);
        check(&row(MadeBy::Model, None, "[1]."), None);
    }

    #[test]
    fn questions_that_nobody_asked_say_who_made_them() {
        let of = |made_by| known(&row(made_by, Some("12 €"), "12 €")).unwrap()["generated"].clone();
        assert_eq!(of(MadeBy::Model), json!("model"));
        for made_by in [MadeBy::TableCell, MadeBy::Record, MadeBy::Unanswerable] {
            assert_eq!(of(made_by), json!("rules"), "{made_by:?}");
        }
        assert_eq!(of(MadeBy::Feedback), Value::Null);
        assert_eq!(of(MadeBy::Imported), Value::Null);
    }
}
