use serde_json::json;

use super::*;
use crate::records::{Feedback, Labels, Reason, Side};

fn record(rating: Rating, correction: Option<&str>) -> FeedbackRecord {
    let correction = correction.map(str::to_owned);
    FeedbackRecord {
        feedback: Feedback {
            answer: "a_1".to_owned(),
            rating,
            reason: None,
            correction,
            labels: Labels::default(),
            comment: None,
        },
        question: "Combien ?".to_owned(),
        text: "Deux [1].".to_owned(),
        json: json!({"sources": [], "language": "fr"}),
        why: json!({"prompt": [{"role": "user", "content": "[1] … Combien ?"}]}),
        given_by: "k".to_owned(),
        at: 0,
    }
}

fn meta_of(question: &str, answers: &[&Value]) -> Option<Meta> {
    let (sources, parts) = (BTreeMap::new(), BTreeMap::new());
    let of = Judged { sources: &sources, parts: &parts, teller: None };
    of.meta(question, answers, Said { checks: vec!["rated_up".to_owned()], comment: None })
}

#[track_caller]
fn check(record: &FeedbackRecord, expected: &[&str]) -> Vec<Row> {
    let (sources, parts) = (BTreeMap::new(), BTreeMap::new());
    let of = Judged { sources: &sources, parts: &parts, teller: None };
    let rows = of.record(record).unwrap().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|it| it.body.kind().as_str()).collect();
    assert_eq!(kinds, expected);
    assert!(rows.iter().all(|it| it.body.prompt()[0].content == "[1] … Combien ?"));
    rows
}

#[test]
fn thumbs_and_corrections_become_rows() {
    check(&record(Rating::Up, None), &["supervised", "unpaired"]);
    let rows = check(&record(Rating::Down, None), &["unpaired"]);
    assert!(matches!(rows[0].body, Body::Unpaired { label: false, .. }));
    let kinds = ["supervised", "preference", "unpaired"];
    let rows = check(&record(Rating::Down, Some("Trois [1].")), &kinds);
    assert_eq!(rows[0].body.targets(), ["Trois [1]."]);
    assert_eq!(rows[1].body.targets(), ["Trois [1].", "Deux [1]."]);
}

#[test]
fn what_people_said_goes_into_every_row() {
    let mut it = record(Rating::Down, Some("Trois [1]."));
    it.feedback.reason = Some(Reason::WrongSource);
    it.feedback.labels = Labels { helpful: Some(false), honest: None, harmless: Some(true) };
    it.feedback.comment = Some(" La charte de 2023. ".to_owned());
    let all = ["rated_down", "reason_wrong_source", "label_helpful_no", "label_harmless_yes"];
    for row in check(&it, &["supervised", "preference", "unpaired"]) {
        assert_eq!(row.meta.checks, all);
        assert_eq!(row.meta.comment.as_deref(), Some("La charte de 2023."));
    }
}

#[test]
fn answers_from_documents_that_are_not_allowed_are_left_out() {
    let secret = json!({"sources": [{"document_id": 9, "text": "secret"}]});
    assert_eq!(meta_of("?", &[&secret]), None);
    let open = json!({"sources": [], "language": "fr"});
    assert_eq!(meta_of("?", &[&open, &secret]), None, "either answer may hold it");
}

fn vote(choice: Choice, prompts: [&str; 2]) -> Vec<Row> {
    let side = |answer: &str, text: &str, prompt: &str| Voted {
        side: Side { answer: answer.to_owned(), arm: None },
        text: text.to_owned(),
        json: json!({"sources": []}),
        why: match prompt {
            "" => json!({"prompt": []}),
            _ => json!({"prompt": [{"role": "user", "content": prompt}]}),
        },
    };
    let vote = Vote {
        id: "m_1".to_owned(),
        given_by: String::new(),
        question: "Combien ?".to_owned(),
        left: side("a_1", "Deux.", prompts[0]),
        right: side("a_2", "Trois.", prompts[1]),
        choice,
        reason: Some("plus court".to_owned()),
        at: 0,
    };
    let (sources, parts) = (BTreeMap::new(), BTreeMap::new());
    let of = Judged { sources: &sources, parts: &parts, teller: None };
    of.vote(&vote).unwrap().unwrap()
}

#[test]
fn votes_become_preferences_or_labels() {
    let rows = vote(Choice::Right, ["P", "P"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].body.targets(), ["Trois.", "Deux."]);
    assert_eq!(rows[0].meta.checks, ["chosen_right", "same_prompt"]);
    assert_eq!(rows[0].meta.comment.as_deref(), Some("plus court"));
    // A quotation has no prompt: that of the other answer stands for both.
    let rows = vote(Choice::Left, ["", "P"]);
    assert_eq!(rows[0].body.prompt()[0].content, "P");
    assert_eq!(rows[0].meta.checks[1], "other_prompt");
    for (choice, good) in [(Choice::Both, true), (Choice::Neither, false)] {
        let rows = vote(choice, ["P", ""]);
        let labels: Vec<bool> = rows
            .iter()
            .map(|it| matches!(it.body, Body::Unpaired { label, .. } if label))
            .collect();
        assert_eq!(labels, [good, good]);
        assert_ne!(rows[0].id, rows[1].id);
        assert_eq!(rows[1].body.prompt()[0].content, "Combien ?");
    }
}
