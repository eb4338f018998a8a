//! Two blind answers, votes, ratings; which of several answers is the best.

use serde_json::{Value, json};

use crate::{
    server::Server,
    support::{POLICY, QUESTION, World},
};

/// Two arms that need no model.
fn arms() -> Value {
    json!(["extract", "extract[passages=1]"])
}

fn open(server: &Server) -> Value {
    server.post("/v1/arena", &json!({ "question": QUESTION, "arms": arms() })).expect(201)
}

#[test]
fn a_vote_tells_the_arms_and_nothing_tells_them_before() {
    let Some(server) = Server::quoting(&[("remote.md", POLICY)]) else { return };
    let opened = open(&server);
    let id = opened["id"].as_str().unwrap();
    for side in ["left", "right"] {
        let mut keys: Vec<&str> =
            opened[side].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = ["answer", "language", "refused", "sentences", "sources", "truncated"];
        assert_eq!(keys, expected, "nothing that names the arm or its costs");
        assert!(opened[side]["answer"].as_str().unwrap().contains("three days"), "{opened}");
    }
    let text = opened.to_string();
    assert!(!text.contains("extract") && !text.contains("a_"), "{text}");
    assert_eq!(server.get("/v1/arena/ratings").expect(200)["votes"], 0);
    assert_eq!(server.get("/v1/conversations").expect(200)["data"], json!([]));

    let vote = json!({ "choice": "left", "reason": " shorter " });
    let path = format!("/v1/arena/{id}/vote");
    let told = server.post(&path, &vote).expect(201);
    let mut arms: Vec<&str> =
        ["left", "right"].iter().map(|it| told[it]["arm"].as_str().unwrap()).collect();
    // Now they can be looked up, with their prompts.
    for side in ["left", "right"] {
        let answer = told[side]["answer"].as_str().unwrap();
        let found = server.get(&format!("/v1/answers/{answer}")).expect(200);
        assert_eq!(found["answer"], opened[side]["answer"]);
    }
    let ratings = server.get("/v1/arena/ratings").expect(200);
    assert_eq!(ratings["votes"], 1);
    assert_eq!(ratings["data"][0]["arm"], arms[0], "who won is first: {ratings}");
    assert_eq!(ratings["data"][0]["wins"], 1);
    arms.sort_unstable();
    assert_eq!(arms, ["extract", "extract[passages=1]"]);
    server.post(&path, &vote).refuses(409, &["decided before"]);
    let votes = server.world.json(&["feedback", "list"]);
    assert_eq!(votes["votes"][0]["choice"], "left");
    assert_eq!(votes["votes"][0]["reason"], "shorter");
}

#[test]
fn the_answers_of_an_open_match_are_nowhere() {
    let Some(server) = Server::quoting(&[("remote.md", POLICY)]) else { return };
    open(&server);
    // The audit record has their ids, and they lead nowhere.
    let entries = server.get("/v1/audit").expect(200);
    let answers: Vec<&str> = entries["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["action"] == "arena.answer")
        .map(|it| it["object"].as_str().unwrap())
        .collect();
    assert_eq!(answers.len(), 2);
    for id in &answers {
        server.get(&format!("/v1/answers/{id}")).refuses(404, &["no answer"]);
        let feedback = json!({ "answer": id, "rating": "up" });
        server.post("/v1/feedback", &feedback).refuses(404, &["no answer"]);
    }
    let preference = json!({ "best": answers[0], "others": [answers[1]] });
    server.post("/v1/preferences", &preference).refuses(404, &["no answer of yours"]);
}

#[test]
fn what_makes_no_match_is_refused() {
    let Some(server) = Server::quoting(&[("remote.md", POLICY)]) else { return };
    let ask = |body: Value| server.post("/v1/arena", &body);
    ask(json!({ "question": QUESTION })).refuses(409, &["needs two"]);
    ask(json!({ "question": " " })).refuses(400, &["question"]);
    let with = |arms: Value| ask(json!({ "question": QUESTION, "arms": arms }));
    with(json!(["extract"])).refuses(409, &["needs two"]);
    with(json!(["extract", "rag"])).refuses(400, &["`rag` needs a language model"]);
    with(json!(["extract", "raag"])).refuses(400, &["no arm `raag`"]);
    with(json!(["extract", "rag+ft:x=/etc"])).refuses(400, &["`rag+ft:x`"]);
    let vote = json!({ "choice": "left" });
    server.post("/v1/arena/m_0/vote", &vote).refuses(404, &["no match"]);
    let id = open(&server)["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/arena/{id}/vote");
    server.post(&path, &json!({ "choice": "middle" })).refuses(400, &["middle"]);
    let long = json!({ "choice": "both", "reason": "x".repeat(2_001) });
    server.post(&path, &long).refuses(400, &["reason is longer"]);
    assert_eq!(server.post(&path, &json!({ "choice": "both" })).expect(201)["choice"], "both");
}

#[test]
fn a_match_is_whose_who_opened_it() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    world.write("docs/secret.md", "---\ngroups: [rh]\n---\nThe secret bonus is 900 euros.\n");
    world.text(&["ingest", "docs"]);
    let key = |name: &str| {
        let made = world.json(&["keys", "create", "--name", name, "--scope", "read"]);
        format!("Bearer {}", made["secret"].as_str().unwrap())
    };
    let (one, two) = (key("one"), key("two"));
    let server = Server::start(world, &[], &["--generator", "extract"]).unwrap();
    let post = |key: &str, path: &str, body: &Value| {
        server.post_with(path, &[("authorization", key)], body)
    };
    let body = json!({ "question": "What is the secret bonus?", "arms": arms() });
    let opened = post(&one, "/v1/arena", &body).expect(201);
    assert!(!opened.to_string().contains("900"), "a key reads what its groups may: {opened}");
    let path = format!("/v1/arena/{}/vote", opened["id"].as_str().unwrap());
    let vote = json!({ "choice": "neither" });
    post(&two, &path, &vote).refuses(404, &["no match"]);
    post(&one, &path, &vote).expect(201);
    for path in ["/v1/comparisons", "/v1/datasets", "/v1/runs"] {
        let headers = [("authorization", one.as_str())];
        server.request("GET", path, &headers, b"").refuses(403, &["admin"]);
    }
}

#[test]
fn the_best_of_several_answers_becomes_preferences() {
    let Some(server) = Server::quoting(&[("remote.md", POLICY)]) else { return };
    let ask = |passages: usize| {
        let body = json!({ "question": QUESTION, "mode": "extract", "passages": passages });
        server.post("/v1/ask", &body).expect(200)["id"].as_str().unwrap().to_owned()
    };
    let (a, b, c) = (ask(1), ask(2), ask(3));
    let refuses = |best: &str, others: Value, words: &[&str]| {
        let body = json!({ "best": best, "others": others });
        server.post("/v1/preferences", &body).refuses(400, words);
    };
    refuses(&a, json!([]), &["others"]);
    refuses(&a, json!([a]), &["others"]);
    let body = json!({ "best": b, "others": [a, "a_0"] });
    server.post("/v1/preferences", &body).refuses(404, &["among"]);
    assert_eq!(server.world.json(&["feedback", "list"])["votes_total"], 0, "all or nothing");
    server.post("/v1/preferences", &json!({ "best": b, "others": [a, c] })).expect(201);
    // Another choice between the same two stands in place of the first one.
    server.post("/v1/preferences", &json!({ "best": a, "others": [b] })).expect(201);
    let votes = server.world.json(&["feedback", "list"])["votes"].as_array().unwrap().clone();
    let pairs: Vec<(&str, &str)> = votes
        .iter()
        .map(|it| {
            let of = |side: &str| it[side]["answer"].as_str().unwrap();
            (of("left"), of("right"))
        })
        .collect();
    assert_eq!(pairs, [(b.as_str(), c.as_str()), (a.as_str(), b.as_str())]);
    let ratings = server.get("/v1/arena/ratings").expect(200);
    assert_eq!(ratings["votes"], 0, "answers that people were given have no arms");
}

#[test]
fn a_question_is_answered_again_outside_its_conversation() {
    let Some(world) = World::new() else { return };
    world.write("souffleur.toml", "[generation]\nanswer_tokens_max = 24\n");
    let server = Server::start(world, &[("remote.md", POLICY)], &[]).unwrap();
    let ask = |body: Value| server.post("/v1/ask", &body);
    let first = ask(json!({ "question": QUESTION })).expect(200);
    let again = |more: &[(&str, Value)]| {
        let mut body = json!({ "question": QUESTION, "again": first["id"] });
        more.iter().for_each(|(key, value)| body[*key] = value.clone());
        ask(body)
    };
    // The first draft is the answer that was given.
    let same = again(&[]).expect(200);
    assert_eq!((&same["answer"], &same["conversation"]), (&first["answer"], &Value::Null));
    let drafts: Vec<Value> = (1..=3).map(|n| again(&[("draft", json!(n))]).expect(200)).collect();
    assert!(drafts.iter().any(|it| it["answer"] != first["answer"]), "{drafts:#?}");
    let path = format!("/v1/conversations/{}", first["conversation"].as_str().unwrap());
    assert_eq!(server.get(&path).expect(200)["turns"].as_array().unwrap().len(), 1);
    let preference = json!({ "best": drafts[0]["id"], "others": [first["id"]] });
    server.post("/v1/preferences", &preference).expect(201);

    again(&[("draft", json!(16))]).refuses(400, &["draft", "from 0 to 15"]);
    again(&[("conversation", first["conversation"].clone())]).refuses(400, &["again"]);
    let other = json!({ "question": "Who approves?", "again": first["id"] });
    ask(other).refuses(400, &["another question"]);
    ask(json!({ "question": QUESTION, "again": "a_0" })).refuses(404, &["no answer"]);
}

#[test]
fn a_model_and_its_documents_meet_without_being_named() {
    let Some(world) = World::new() else { return };
    world.write("souffleur.toml", "[generation]\nanswer_tokens_max = 24\n");
    let server = Server::start(world, &[("remote.md", POLICY)], &[]).unwrap();
    let body = json!({ "question": QUESTION, "arms": ["base", "rag"] });
    let opened = server.post("/v1/arena", &body).expect(201);
    let shown = opened.to_string();
    assert!(!shown.contains("generator") && !shown.contains("smollm"), "{shown}");
    let path = format!("/v1/arena/{}/vote", opened["id"].as_str().unwrap());
    let told = server.post(&path, &json!({ "choice": "right" })).expect(201);
    for side in ["left", "right"] {
        let has_sources = !opened[side]["sources"].as_array().unwrap().is_empty();
        assert_eq!(told[side]["arm"] == "rag", has_sources, "{told} {opened}");
    }
}
