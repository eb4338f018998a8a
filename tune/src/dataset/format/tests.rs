use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dataset::row::Shown;

fn words() -> impl Strategy<Value = String> {
    "[a-zéèàçêô0-9€ ,.'\"\\\\#<>|-]{0,24}[a-z]"
}

fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let system = prop::option::of(words());
    (system, prop::collection::vec((words(), words()), 1..4)).prop_map(|(system, turns)| {
        let mut all: Vec<Message> =
            system.into_iter().map(|it| Message::new(Role::System, it)).collect();
        for (asked, answered) in turns {
            all.push(Message::new(Role::User, asked));
            all.push(Message::new(Role::Assistant, answered));
        }
        all
    })
}

fn body() -> impl Strategy<Value = Body> {
    let prompt = || {
        conversation().prop_map(|mut all| {
            all.pop();
            all
        })
    };
    prop_oneof![
        conversation().prop_map(Body::Messages),
        (prompt(), words(), words()).prop_map(|(prompt, chosen, rejected)| Body::Preference {
            prompt,
            chosen,
            rejected
        }),
        (prompt(), words(), any::<bool>()).prop_map(|(prompt, completion, label)| Body::Unpaired {
            prompt,
            completion,
            label
        }),
        words().prop_map(Body::Text),
    ]
}

fn provenance() -> impl Strategy<Value = Meta> {
    (
        prop::option::of(words()),
        prop::option::of(0_i64..9),
        prop::option::of((0_usize..5, 5_usize..9)),
    )
        .prop_map(|(path, document, span)| Meta {
            path,
            document,
            span: span.map(|(start, end)| [start, end]),
            made_by: document.map(|_| crate::dataset::row::MadeBy::TableCell),
            ..Meta::default()
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(body in body(), meta in provenance(), id in "[0-9a-f]{0,16}") {
        let row = Row { id, body, meta };
        let mut n_formats = 0;
        for format in Format::ALL {
            let Ok(value) = write(&row, format) else { continue };
            let line: Value = serde_json::from_str(&value.to_string()).unwrap();
            let (found, back) = read(&line).unwrap();
            prop_assert_eq!(found, format);
            prop_assert_eq!(&back, &row, "{:?}", format);
            n_formats += 1;
        }
        prop_assert_eq!(n_formats, match row.body.kind() {
            BodyKind::Supervised => 4,
            BodyKind::Preference | BodyKind::Unpaired => 3,
            BodyKind::Text => 1,
        });
    }

    #[test]
    fn raft_is_read_back(documents in prop::collection::vec(words(), 1..5), gold in 0_usize..5,
                         question in words(), answer in words()) {
        let cot = format!("##begin_quote##it##end_quote## <ANSWER>: {answer}");
        let oracle = documents.get(gold);
        let titles = vec!["placeholder_title"; documents.len()];
        let value = json!({
            "id": "1", "type": "general", "question": question,
            "context": {"title": [titles], "sentences": [documents]},
            "oracle_context": oracle, "cot_answer": cot,
            "instruction": documents.iter().map(|it| format!("<DOCUMENT>{it}</DOCUMENT>\n"))
                .collect::<String>() + &question,
        });
        let (format, row) = read(&value).unwrap();
        prop_assert_eq!(format, Format::Raft);
        prop_assert_eq!(row.meta.quote.as_deref(), Some("it"));
        prop_assert_eq!(write(&row, Format::Raft).unwrap(), value);
    }
}

#[track_caller]
fn check(value: &Value, expected: Format) -> Row {
    let (format, row) = read(value).unwrap();
    assert_eq!(format, expected);
    row
}

#[track_caller]
fn fails(value: &Value, words: &str) {
    let error = read(value).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn files_of_others_are_read() {
    let alpaca = json!({"instruction": "Translate.", "input": "oui", "output": "yes",
        "history": [["a", "b"]], "system": "Be brief."});
    let row = check(&alpaca, Format::Alpaca);
    assert_eq!(row.body.prompt().len(), 4);
    assert_eq!(row.question(), Some("Translate.\noui"));
    let share =
        json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]});
    assert_eq!(check(&share, Format::ShareGpt).body.targets(), ["b"]);
    let strings = json!({"prompt": "a", "completion": "b", "label": false});
    assert!(matches!(check(&strings, Format::Unpaired).body, Body::Unpaired { label: false, .. }));
    let kto = json!({"instruction": "a", "output": "b", "kto_tag": true});
    assert!(matches!(check(&kto, Format::Alpaca).body, Body::Unpaired { label: true, .. }));
}

#[test]
fn what_is_wrong_is_named() {
    fails(&json!({"question": "a"}), "its keys are question");
    fails(&json!({"messages": [{"role": "user", "content": "a"}]}), "no answer to learn");
    fails(&json!({"messages": [{"role": "robot", "content": "a"}]}), "messages[0].role");
    fails(&json!({"messages": [{"role": "user", "content": 3}]}), "messages[0].content");
    let twice =
        json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]});
    fails(&twice, "turn 2 is of the user");
    fails(&json!({"prompt": "a", "chosen": "b", "rejected": " "}), "no answer");
    fails(&json!([1]), "not a JSON object");
}

#[test]
fn a_row_among_passages_becomes_raft_with_its_quote() {
    let shown = |text: &str, gold: bool| Shown {
        document: Some(1),
        path: "a.md".to_owned(),
        cluster: None,
        text: text.to_owned(),
        gold,
    };
    let meta = Meta {
        question: Some("How many days?".to_owned()),
        quote: Some("Two days.".to_owned()),
        context: vec![shown("Blue.", false), shown("Two days.", true)],
        ..Meta::default()
    };
    let messages =
        vec![Message::new(Role::User, "…"), Message::new(Role::Assistant, "Two days [2].")];
    let row = Row::new(&["x"], Body::Messages(messages), meta);
    let value = write(&row, Format::Raft).unwrap();
    assert_eq!(value["oracle_context"], "Two days.");
    assert_eq!(
        value["cot_answer"],
        "##begin_quote##Two days.##end_quote## <ANSWER>: Two days [2]."
    );
    assert!(value["instruction"].as_str().unwrap().starts_with("<DOCUMENT>Blue.</DOCUMENT>\n"));
}
