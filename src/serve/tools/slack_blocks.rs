//! An answer as Slack's blocks.

use serde_json::{Value, json};

use super::{
    reply::{Markup, Reply},
    words::{REASONS, Words},
};
use crate::records::{Rating, Reason};

/// Characters of a text object at most; Slack takes 3,000.
const TEXT_CHARS_MAX: usize = 2_900;

/// The action of the button that praises.
pub(super) const UP: &str = "souffleur_up";

/// The action of the button that does not.
pub(super) const DOWN: &str = "souffleur_down";

/// The action of the link to the form. Slack tells of it too, and it needs no answer.
const JUDGE: &str = "souffleur_judge";

/// The action of the list of what can be wrong.
pub(super) const WHY: &str = "souffleur_why";

/// The block of the buttons, below an answer that shows its question, and below one that does not.
pub(super) const WITH_QUESTION: &str = "souffleur_feedback_question";
const WITHOUT_QUESTION: &str = "souffleur_feedback";

/// What stands around an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Frame {
    /// Whether the question stands above it.
    pub(super) with_question: bool,
    /// Whether it can be judged: only what is kept can.
    pub(super) with_buttons: bool,
    /// What was thought of it.
    pub(super) rating: Option<Rating>,
    /// What was wrong with it.
    pub(super) reason: Option<Reason>,
}

/// `text`, for notifications and screen readers, and `blocks`.
pub(super) fn message(reply: &Reply, frame: Frame) -> Value {
    let words = reply.words();
    let mut blocks = Vec::new();
    if frame.with_question {
        let question = format!("*{} :* {}", words.question, Markup::Slack.escape(&reply.question));
        blocks.extend(pack(&[question], " ").into_iter().map(context));
    }
    let separator = if reply.has_sentences() { " " } else { "\n" };
    blocks.extend(pack(&reply.body(Markup::Slack), separator).into_iter().map(section));
    blocks.extend(pack(&reply.source_lines(Markup::Slack), "\n").into_iter().map(context));
    blocks.extend(pack(&reply.notes(Markup::Slack), "\n").into_iter().map(context));
    if frame.with_buttons {
        let button = |action, sign, label, is_chosen| {
            let mut res = json!({
                "type": "button",
                "action_id": action,
                "value": reply.id,
                "text": plain_text(&format!("{sign} {label}")),
            });
            if is_chosen {
                res["style"] = json!("primary");
            }
            res
        };
        // Says when a button is pressed how the message is to be written again.
        let block_id = if frame.with_question { WITH_QUESTION } else { WITHOUT_QUESTION };
        let mut elements = vec![
            button(UP, "👍", words.useful, frame.rating == Some(Rating::Up)),
            button(DOWN, "👎", words.useless, frame.rating == Some(Rating::Down)),
        ];
        if frame.rating == Some(Rating::Down) {
            elements.push(reasons(&reply.id, frame.reason, words));
        }
        elements.extend(reply.link.as_ref().map(|it| {
            let text = plain_text(words.judge);
            json!({ "type": "button", "action_id": JUDGE, "text": text, "url": it })
        }));
        blocks.push(json!({ "type": "actions", "block_id": block_id, "elements": elements }));
    }
    match frame.rating {
        Some(Rating::Up) => blocks.push(context(words.thanks_up.to_owned())),
        Some(Rating::Down) => blocks.push(context(words.thanks_down.to_owned())),
        None => {}
    }
    json!({ "text": reply.body(Markup::Slack).join(separator), "blocks": blocks })
}

fn plain_text(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": true })
}

/// What can be wrong, to choose from. A value says which answer it is about, too.
fn reasons(answer: &str, chosen: Option<Reason>, words: &Words) -> Value {
    let option = |reason: &Reason, word: &str| {
        let value = reason_value(*reason, answer);
        json!({ "text": plain_text(word), "value": value })
    };
    let options = REASONS.iter().zip(words.reasons).map(|(it, word)| option(it, word));
    let mut res = json!({
        "type": "static_select",
        "action_id": WHY,
        "placeholder": plain_text(words.what_was_wrong),
        "options": options.collect::<Vec<Value>>(),
    });
    let chosen = REASONS.iter().zip(words.reasons).find(|(it, _)| Some(**it) == chosen);
    if let Some((reason, word)) = chosen {
        res["initial_option"] = option(reason, word);
    }
    res
}

/// `wrong_source a_0123…`: Slack takes 150 characters.
fn reason_value(reason: Reason, answer: &str) -> String {
    format!("{} {answer}", json!(reason).as_str().unwrap_or_default())
}

/// The reason and the answer of a value that was chosen.
pub(super) fn read_reason(value: &str) -> Option<(Reason, &str)> {
    let (_, answer) = value.split_once(' ')?;
    let reason = REASONS.into_iter().find(|it| reason_value(*it, answer) == value)?;
    Some((reason, answer))
}

/// Text of ours or of a document, escaped; addresses in it stay text.
fn section(text: String) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

fn context(text: String) -> Value {
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text, "verbatim": true }] })
}

/// Pieces put together into texts that Slack takes; a piece that is longer is cut between words.
fn pack(pieces: &[String], separator: &str) -> Vec<String> {
    let mut res: Vec<String> = Vec::new();
    let n_chars = |it: &str| it.chars().count();
    for piece in pieces.iter().flat_map(|it| cut(it)).filter(|it| !it.trim().is_empty()) {
        match res.last_mut() {
            Some(last) if n_chars(last) + n_chars(separator) + n_chars(piece) <= TEXT_CHARS_MAX => {
                last.push_str(separator);
                last.push_str(piece);
            }
            _ => res.push(piece.to_owned()),
        }
    }
    res
}

fn cut(text: &str) -> Vec<&str> {
    let mut res = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(TEXT_CHARS_MAX) {
        let at = rest[..end].rfind(' ').filter(|&it| it > 0).unwrap_or(end);
        let (piece, after) = rest.split_at(at);
        res.push(piece);
        rest = after.trim_start();
    }
    res.push(rest);
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Value {
        json!({
            "id": "a_1",
            "question": "R&D ?",
            "answer": "Trois jours <par> semaine. [1] Le vendredi. [2]",
            "language": "fr",
            "refused": false,
            "truncated": false,
            "generator": "extract",
            "sentences": [
                { "text": "Trois jours <par> semaine.", "verdict": "supported", "citations": [1],
                  "evidence": { "source": 1, "char_start": 3, "char_end": 9, "page": 4,
                                "heading": "Durée" } },
                { "text": "Le vendredi & **après**.", "verdict": "unsupported", "citations": [],
                  "evidence": null },
            ],
            "sources": [
                { "index": 1, "title": "Charte | a>b", "document": "charte.pdf", "page": 3,
                  "heading": "", "url": "https://s.example/v1/sources/12" },
                { "index": 2, "title": "Jamais citée", "document": "b.md", "page": null,
                  "heading": "", "url": "https://s.example/v1/sources/13" },
            ],
            "older_versions": [{ "document": "charte-2023.pdf", "date": null }],
        })
    }

    #[test]
    fn an_answer_becomes_blocks_with_links_verdicts_and_buttons() {
        let frame = Frame { with_question: true, with_buttons: true, ..Frame::default() };
        let it = message(&Reply::new(&answer()), frame);
        let blocks = it["blocks"].as_array().unwrap();
        let kinds: Vec<&str> = blocks.iter().map(|it| it["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["context", "section", "context", "context", "actions"]);
        assert_eq!(blocks[0]["elements"][0]["text"], "*Question :* R&amp;D ?");
        let url = "https://s.example/v1/sources/12#char=3-9";
        assert_eq!(
            blocks[1]["text"]["text"],
            format!("Trois jours &lt;par&gt; semaine. <{url}|[1]> Le vendredi &amp; *après*. ❌")
        );
        assert_eq!(
            blocks[2]["elements"][0]["text"],
            format!("[1] <{url}|Charte ¦ a&gt;b, p. 4> · Durée")
        );
        let notes = blocks[3]["elements"][0]["text"].as_str().unwrap();
        assert!(notes.contains("à vérifier") && notes.contains("charte-2023.pdf"), "{notes}");
        assert_eq!(blocks[4]["elements"][0]["action_id"], UP);
        assert_eq!(blocks[4]["elements"][1]["value"], "a_1");
        assert!(it["text"].as_str().unwrap().starts_with("Trois jours &lt;par&gt;"));
    }

    #[test]
    fn what_was_thought_of_it_is_shown() {
        let frame = Frame {
            with_buttons: true,
            rating: Some(Rating::Down),
            reason: Some(Reason::Incomplete),
            ..Frame::default()
        };
        let it = message(&Reply::new(&answer()), frame);
        let blocks = it["blocks"].as_array().unwrap();
        let (actions, thanks) = (&blocks[blocks.len() - 2], &blocks[blocks.len() - 1]);
        assert_eq!(actions["elements"][2]["type"], "static_select");
        assert_eq!(actions["elements"][2]["options"][0]["value"], "wrong_source a_1");
        assert_eq!(actions["elements"][2]["initial_option"]["value"], "incomplete a_1");
        assert_eq!(actions["elements"][0]["style"], Value::Null);
        assert_eq!(actions["elements"][1]["style"], "primary");
        assert!(thanks["elements"][0]["text"].as_str().unwrap().starts_with("Merci"));
    }

    #[test]
    fn a_reason_that_was_chosen_is_read() {
        for reason in REASONS {
            let value = reason_value(reason, "a_1");
            assert_eq!(read_reason(&value), Some((reason, "a_1")));
        }
        for odd in ["", "wrong_source", "odd a_1", " a_1"] {
            assert_eq!(read_reason(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_refusal_has_neither_sources_nor_verdicts() {
        let mut json = answer();
        json["refused"] = json!(true);
        json["sentences"] = json!([]);
        json["older_versions"] = json!([]);
        let it = message(&Reply::new(&json), Frame::default());
        assert_eq!(it["blocks"].as_array().unwrap().len(), 1, "{it}");
    }

    #[test]
    fn long_texts_become_several_and_lose_nothing() {
        let long = "mot ".repeat(2_000);
        let pieces = ["a".repeat(2_000), "b".repeat(1_000), long.clone(), "é".repeat(5_000)];
        let packed = pack(&pieces, " ");
        assert!(packed.iter().all(|it| it.chars().count() <= TEXT_CHARS_MAX));
        let letters = |it: &str| it.chars().filter(|it| !it.is_whitespace()).collect::<String>();
        assert_eq!(letters(&packed.concat()), letters(&pieces.concat()));
    }
}
