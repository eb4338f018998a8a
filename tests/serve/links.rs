//! Links below the answers of chat tools: what they show, and to whom; the reasons of Slack.

use serde_json::{Value, json};
use souffleur::records::{Rating, Reason, Records};

use crate::{
    server::Response,
    tools::{QUESTION, TEAMS_SECRET, Tools, form, mattermost, teams, texts},
};

/// What stands after `/judge#` in a text.
#[track_caller]
fn link_in(text: &str) -> String {
    let (_, after) = text.split_once("/judge#").unwrap_or_else(|| panic!("no link in {text}"));
    after.chars().take_while(|it| it.is_ascii_alphanumeric() || "._".contains(*it)).collect()
}

fn open(tools: &Tools, link: &str) -> Response {
    tools.server.post("/v1/links/answer", &json!({ "link": link }))
}

#[test]
fn a_link_shows_what_the_tool_showed_and_takes_what_people_say() {
    let Some(tools) = Tools::new() else { return };
    tools.server.world.json(&["keys", "create", "--scope", "admin"]);
    tools.server.get("/v1/conversations").refuses(401, &["a key is needed"]);
    tools.command(QUESTION).expect(200);
    let slack = texts(&tools.posted(0).body);
    let webhook = mattermost(&tools, "webhook", "firsttoken", QUESTION).expect(200);
    let webhook = webhook["text"].as_str().unwrap().to_owned();
    mattermost(&tools, "command", "firsttoken", QUESTION).expect(200);
    let command = tools.posted(1).body["text"].as_str().unwrap().to_owned();
    let teams =
        teams(&tools, QUESTION, TEAMS_SECRET).expect(200)["text"].as_str().unwrap().to_owned();
    for (text, by) in [
        (slack, "slack:link"),
        (webhook, "mattermost:link"),
        (command, "mattermost:link"),
        (teams, "teams:link"),
    ] {
        let link = link_in(&text);
        let shown = open(&tools, &link).expect(200);
        let mut keys: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["answer", "language", "question", "refused", "sentences", "sources"]);
        assert_eq!(shown["question"], QUESTION);
        let answer = shown["sentences"][0]["text"].as_str().unwrap();
        assert!(answer.contains("trois jours") && text.contains("trois jours"), "{shown}");
        // The passage that was read holds more than what was quoted of it.
        let all = shown.to_string();
        assert!(!all.contains("écran") && !all.contains("document_id"), "{all}");
        assert_eq!(shown["sources"][0]["index"], 1);

        let said = json!({ "link": link, "rating": "down", "reason": "wrong_source",
                           "correction": "Deux jours.", "labels": { "helpful": false } });
        tools.server.post("/v1/links/feedback", &said).expect(201);
        let id = link.split('.').next().unwrap();
        let all = tools.feedback();
        let last = all.iter().find(|it| it.feedback.answer == id).unwrap();
        assert_eq!(last.given_by, by);
        assert_eq!(last.feedback.reason, Some(Reason::WrongSource));
        assert_eq!(last.feedback.correction.as_deref(), Some("Deux jours."));
        assert_eq!(last.feedback.labels.helpful, Some(false));
        // Who opens it afterwards is not told what others said.
        assert!(!open(&tools, &link).text().contains("Deux jours"));
    }
    assert_eq!(tools.feedback().len(), 4);
    let page = tools.server.get("/judge");
    assert!(page.status == 200 && page.text().contains("judge.js"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
}

#[test]
fn a_link_opens_nothing_else() {
    let Some(tools) = Tools::new() else { return };
    let first = link_in(&teams(&tools, QUESTION, TEAMS_SECRET).expect(200).to_string());
    let own = tools.server.post("/v1/ask", &json!({ "question": QUESTION })).expect(200);
    let (id, rest) = first.split_once('.').unwrap();
    let (end, signature) = rest.split_once('.').unwrap();
    let later = end.parse::<i64>().unwrap() + 1;
    for forged in [
        format!("{}.{end}.{signature}", own["id"].as_str().unwrap()),
        format!("{id}.{later}.{signature}"),
        format!("{id}.{end}.{}", "0".repeat(64)),
        id.to_owned(),
        String::new(),
    ] {
        open(&tools, &forged).refuses(404, &["leads to no answer"]);
        let said = json!({ "link": forged, "rating": "up" });
        tools.server.post("/v1/links/feedback", &said).refuses(404, &["leads to no answer"]);
    }
    let long = json!({ "link": first, "rating": "up", "comment": "x".repeat(20_001) });
    tools.server.post("/v1/links/feedback", &long).refuses(400, &["comment is longer"]);
    tools.server.post("/v1/links/feedback", &json!({ "link": first })).refuses(400, &["rating"]);
    assert!(tools.feedback().is_empty());
    // What is forgotten is not shown any more.
    open(&tools, &first).expect(200);
    let records = Records::open(&tools.server.world.path().join("data")).unwrap();
    let json = records.answer(id).unwrap().unwrap().json;
    let document = json["sources"][0]["document_id"].as_i64().unwrap();
    records.forget_documents(&[index::hit::DocumentId(document)]).unwrap();
    open(&tools, &first).refuses(404, &["leads to no answer"]);
}

/// The buttons and the list below the last message that was posted.
fn actions(message: &Value) -> Vec<Value> {
    let blocks = message["blocks"].as_array().unwrap();
    let found = blocks.iter().find(|it| it["type"] == "actions").unwrap();
    found["elements"].as_array().unwrap().clone()
}

#[test]
fn slack_asks_what_was_wrong_after_a_thumb_down() {
    let Some(tools) = Tools::new() else { return };
    tools.command(QUESTION).expect(200);
    let first = actions(&tools.posted(0).body);
    let link = first.iter().find_map(|it| it["url"].as_str()).unwrap().to_owned();
    let mut n_posted = 1;
    let mut press = |action: Value| {
        let response_url = format!("http://127.0.0.1:{}/actions/T1/2/x", tools.api.port());
        let payload = json!({ "type": "block_actions", "user": { "id": "U2" },
                              "actions": [action], "response_url": response_url });
        let body = form(&[("payload", &payload.to_string())]);
        assert_eq!(tools.slack("interactions", &body).status, 200);
        n_posted += 1;
        actions(&tools.posted(n_posted - 1).body)
    };
    let last = || tools.feedback().pop().unwrap().feedback;
    let button =
        |n: usize| json!({ "action_id": first[n]["action_id"], "value": first[n]["value"] });
    let shown = press(button(1));
    let list = shown.iter().find(|it| it["type"] == "static_select").unwrap();
    assert_eq!(list["options"].as_array().unwrap().len(), 4);
    let chosen = json!({ "action_id": list["action_id"], "selected_option": list["options"][0] });
    let shown = press(chosen);
    assert_eq!((last().rating, last().reason), (Rating::Down, Some(Reason::WrongSource)));
    let list = shown.iter().find(|it| it["type"] == "static_select").unwrap();
    assert_eq!(list["initial_option"], list["options"][0]);
    // What was said by the form outlasts the same thumb, and not the other one.
    let said = json!({ "link": link_in(&link), "rating": "down", "correction": "Deux jours." });
    tools.server.post("/v1/links/feedback", &said).expect(201);
    press(button(1));
    assert_eq!(last().correction.as_deref(), Some("Deux jours."));
    let shown = press(button(0));
    assert_eq!((last().rating, last().correction), (Rating::Up, None));
    assert!(shown.iter().all(|it| it["type"] == "button"), "{shown:?}");
}

#[test]
fn without_answers_that_are_kept_there_is_no_link() {
    let Some(tools) = Tools::with_settings("keep_days = 0\n") else { return };
    let answer = teams(&tools, QUESTION, TEAMS_SECRET).expect(200).to_string();
    assert!(answer.contains("trois jours") && !answer.contains("/judge"), "{answer}");
}
