//! Questions and their answers, in our shape and in OpenAI's.

use std::path::Path;

use serde_json::{Value, json};
use souffleur::records::Records;

use crate::{
    server::{Server, events},
    support::{POLICY, QUESTION, World, check_failure, json_of, program},
};

const TRAVAIL: &str = "---\ncollection: rh\n---\n# Télétravail\n\nLe télétravail est ouvert dans la \
    limite de trois jours par semaine.\n";

fn documents() -> [(&'static str, &'static str); 2] {
    [("remote.md", POLICY), ("teletravail.md", TRAVAIL)]
}

#[test]
fn an_answer_has_sources_verdicts_and_a_place_in_its_conversation() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let answer = server.post("/v1/ask", &json!({ "question": QUESTION })).expect(200);
    assert!(answer["answer"].as_str().unwrap().contains("three days"), "{answer}");
    assert_eq!(answer["sentences"][0]["verdict"], "supported");
    let url = answer["sources"][0]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.addr)).unwrap();
    let source = server.get(path).expect(200);
    assert!(source["text"].as_str().unwrap().contains("three days"), "{source}");
    assert_eq!(source["document"]["path"], "remote.md");
    let page = server.request("GET", path, &[("accept", "text/html")], b"");
    assert!(page.status == 200 && page.header("content-type").unwrap().starts_with("text/html"));

    let id = answer["conversation"].as_str().unwrap();
    let follow_up = json!({ "question": "And the equipment?", "conversation": id });
    let second = server.post("/v1/ask", &follow_up).expect(200);
    assert_eq!(second["conversation"], id);
    assert!(second["understood_as"].is_string(), "{second}");
    let turns = server.get(&format!("/v1/conversations/{id}")).expect(200);
    assert_eq!(turns["turns"].as_array().unwrap().len(), 2);
    assert_eq!(turns["turns"][0]["answer"]["id"], answer["id"]);
    // As `feedback promote` leaves it.
    let example = server.world.write("prompts/examples/en-feedback.toml", "");
    let records = Records::open(&server.world.path().join("data")).unwrap();
    records.remember_example(Path::new(&example), answer["id"].as_str().unwrap()).unwrap();
    let deleted = server.delete(&format!("/v1/conversations/{id}")).expect(200);
    assert_eq!(deleted["examples_deleted"], 1);
    assert!(!Path::new(&example).exists());
    server.get(&format!("/v1/conversations/{id}")).refuses(404, &[id]);
}

#[test]
fn what_the_documents_do_not_say_is_refused_in_the_questions_language() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let question = "Quel est le prix d’un menhir en Armorique ?";
    let answer = server.post("/v1/ask", &json!({ "question": question })).expect(200);
    assert_eq!((&answer["refused"], &answer["language"]), (&json!(true), &json!("fr")), "{answer}");
    assert_eq!(answer["sources"], json!([]));
}

#[test]
fn a_stream_tells_sources_then_text_then_the_whole_answer() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let body = json!({ "question": QUESTION, "stream": true });
    let response = server.post("/v1/ask", &body);
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    let events = events(&response.text());
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let at =
        |name: &str| names.iter().position(|it| *it == name).unwrap_or_else(|| panic!("{names:?}"));
    assert!(at("sources") < at("text") && at("text") < at("answer"), "{names:?}");
    assert_eq!(names.last(), Some(&"answer"));
    let answer: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    assert!(answer["id"].as_str().unwrap().starts_with("a_"));
}

#[test]
fn openais_protocol_carries_the_sources_in_every_dialect() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let models = server.get("/v1/models").expect(200);
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["rag", "rag:default", "rag:rh", "all-minilm-l6-v2"]);
    server.get("/v1/models/rag:rh").expect(200);
    server.get("/v1/models/gpt-4").refuses(404, &["gpt-4"]);

    let messages = json!([{ "role": "user", "content": QUESTION }]);
    let body = json!({
        "model": "rag", "messages": messages, "markdown_sources": true, "azure_context": true,
    });
    let answer = server.post("/v1/chat/completions", &body).expect(200);
    let message = &answer["choices"][0]["message"];
    let text = message["content"].as_str().unwrap();
    assert!(text.contains("three days") && text.contains("**Sources**"), "{text}");
    let citation = &message["annotations"][0]["url_citation"];
    let chars: Vec<char> = text.chars().collect();
    let at = |key: &str| usize::try_from(citation[key].as_u64().unwrap()).unwrap();
    let mark: String = chars[at("start_index")..at("end_index")].iter().collect();
    assert_eq!(mark, "[1]");
    assert_eq!(answer["citations"][0], citation["url"]);
    assert_eq!(answer["sources"][0]["document"], "remote.md");
    assert_eq!(message["context"]["citations"][0]["filepath"], "remote.md");
    assert!(message["tool_calls"].is_null());

    let only_rh = json!({ "model": "rag:rh", "messages": messages });
    let answer = server.post("/v1/chat/completions", &only_rh).expect(200);
    let sources = answer["sources"].as_array().unwrap();
    assert!(sources.iter().all(|it| it["collection"] == "rh"), "{sources:?}");
}

#[test]
fn a_completion_streams_as_openai_streams() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let body = json!({
        "model": "rag", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": QUESTION }], "openwebui_events": true,
    });
    let events = events(&server.post("/v1/chat/completions", &body).text());
    assert_eq!(events.last().unwrap().1, "[DONE]");
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect();
    let deltas = |key: &str| -> Vec<&Value> {
        chunks.iter().map(|it| &it["choices"][0]["delta"][key]).filter(|it| !it.is_null()).collect()
    };
    let text: String = deltas("content").iter().map(|it| it.as_str().unwrap()).collect();
    assert!(text.contains("three days"), "{text}");
    assert_eq!(deltas("role").len(), 1);
    assert_eq!(deltas("annotations").len(), 1);
    let finishes: Vec<&Value> = chunks
        .iter()
        .map(|it| &it["choices"][0]["finish_reason"])
        .filter(|it| !it.is_null())
        .collect();
    assert_eq!(finishes, ["stop"]);
    assert!(chunks.last().unwrap()["usage"]["total_tokens"].is_u64());
    let shown = chunks.iter().any(|it| it["event"]["type"] == "source");
    assert!(shown, "Open WebUI shows passages from events");
}

#[test]
fn what_would_change_the_meaning_is_refused() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let with = |key: &str, value: Value| {
        let mut body = json!({
            "model": "rag", "messages": [{ "role": "user", "content": QUESTION }],
        });
        body[key] = value;
        server.post("/v1/chat/completions", &body)
    };
    with("n", json!(2)).refuses(400, &["n must be 1"]);
    with("tools", json!([{ "type": "function" }])).refuses(400, &["tools"]);
    with("model", json!("gpt-4")).refuses(404, &["gpt-4"]);
    with("model", json!("base")).refuses(404, &["base"]);
    with("model", json!("rag:nowhere")).refuses(404, &["nowhere"]);
    with("messages", json!([])).refuses(400, &["message"]);
    with("messages", json!("hi")).refuses(400, &[]);
    with("temperature", json!(9)).refuses(400, &["temperature"]);
    with("user", json!("somebody")).expect(200);
    // Answers from the documents cannot keep to these.
    for (key, value) in [
        ("response_format", json!({ "type": "json_object" })),
        ("stop", json!(["\n"])),
        ("logprobs", json!(true)),
        ("logit_bias", json!({ "2": -100 })),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(0.5)),
    ] {
        let refused = with(key, value);
        refused.refuses(400, &[key, "base"]);
        assert_eq!(refused.json()["error"]["param"], key);
    }
    with("top_logprobs", json!(3)).refuses(400, &["logprobs"]);
    for (key, value) in [
        ("response_format", json!({ "type": "text" })),
        ("stop", Value::Null),
        ("logprobs", json!(false)),
        ("top_logprobs", json!(0)),
        ("logit_bias", json!({})),
        ("presence_penalty", json!(0)),
    ] {
        with(key, value).expect(200);
    }
}

#[test]
fn vectors_are_those_of_the_index() {
    let Some(server) = Server::quoting(&documents()) else { return };
    let body = json!({ "model": "all-minilm-l6-v2", "input": ["a cat", "a dog"] });
    let plain = server.post("/v1/embeddings", &body).expect(200);
    let row: Vec<f64> = serde_json::from_value(plain["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(row.len(), 384);
    let norm: f64 = row.iter().map(|it| it * it).sum();
    assert!((norm - 1.0).abs() < 1e-4);
    let mut body = body;
    body["encoding_format"] = json!("base64");
    let packed = server.post("/v1/embeddings", &body).expect(200);
    let packed = packed["data"][1]["embedding"].as_str().unwrap().to_owned();
    assert_eq!(packed.len(), 2_048, "384 numbers of four bytes");
    for tokens in [json!([17, 4]), json!([[17, 4], [3]])] {
        body["input"] = tokens;
        let refused = server.post("/v1/embeddings", &body);
        refused.refuses(400, &["token ids", "check_embedding_ctx_length=False"]);
        assert_eq!(refused.json()["error"]["param"], "input");
    }
    body["input"] = json!(7);
    server.post("/v1/embeddings", &body).refuses(400, &["a text or a list of texts"]);
    body["input"] = json!("a cat");
    body["dimensions"] = json!(8);
    server.post("/v1/embeddings", &body).refuses(400, &["384"]);
    server
        .post("/v1/rerank", &json!({ "model": "none", "query": "a", "documents": ["b"] }))
        .refuses(404, &["none"]);
}

#[test]
fn feedback_reaches_the_records_and_why_tells_the_prompt() {
    let Some(world) = World::new() else { return };
    let Some(server) = Server::start(world, &documents(), &[]) else { return };
    let answer = server.post("/v1/ask", &json!({ "question": QUESTION })).expect(200);
    let id = answer["id"].as_str().unwrap();
    let why = server.get(&format!("/v1/answers/{id}")).expect(200);
    let prompt = why["why"]["prompt"].to_string();
    assert!(prompt.contains("three days"), "{why}");
    let feedback = json!({
        "answer": id, "rating": "down", "reason": "wrong_answer", "correction": "Three.",
        "labels": { "honest": true },
    });
    server.post("/v1/feedback", &feedback).expect(201);
    let conversation = answer["conversation"].as_str().unwrap();
    let turns = server.get(&format!("/v1/conversations/{conversation}")).expect(200);
    assert_eq!(turns["turns"][0]["feedback"]["correction"], "Three.");
    let wrong = json!({ "answer": "a_0", "rating": "up" });
    server.post("/v1/feedback", &wrong).refuses(404, &["a_0"]);
    server.post("/v1/feedback", &json!({ "answer": id, "rating": "meh" })).refuses(400, &[]);
}

#[test]
fn the_generator_alone_writes_json_when_asked_and_several_at_once() {
    let Some(world) = World::new() else { return };
    let Some(server) = Server::start(world, &documents(), &[]) else { return };
    let body = json!({
        "model": "base", "max_tokens": 40, "temperature": 0,
        "messages": [{ "role": "user", "content": "Name a colour as JSON." }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "c", "schema": {
            "type": "object", "properties": { "colour": { "enum": ["red", "blue"] } },
            "required": ["colour"], "additionalProperties": false,
        }}},
    });
    let answer = server.post("/v1/chat/completions", &body).expect(200);
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let colour: Value = serde_json::from_str(text).unwrap();
    assert!(["red", "blue"].contains(&colour["colour"].as_str().unwrap()), "{text}");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);

    let plain = json!({
        "model": "base", "max_tokens": 8, "temperature": 0, "logprobs": true, "top_logprobs": 2,
        "messages": [{ "role": "user", "content": "Count to three." }],
    });
    let alone = server.post("/v1/chat/completions", &plain).expect(200);
    assert_eq!(
        alone["choices"][0]["logprobs"]["content"][0]["top_logprobs"].as_array().unwrap().len(),
        2
    );
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| server.post("/v1/chat/completions", &plain).expect(200)))
            .collect();
        for it in asked {
            let together = it.join().unwrap();
            assert_eq!(together["choices"][0]["message"], alone["choices"][0]["message"]);
        }
    });
}

#[test]
fn an_adapter_that_cannot_be_loaded_is_refused_under_both_names() {
    let Some(world) = World::new() else { return };
    let Some(server) = Server::start(world, &documents(), &[]) else { return };
    assert_eq!(server.get("/v1/adapters").expect(200)["data"], json!([]));
    let nowhere = json!({ "name": "ton", "path": "/nowhere/at/all" });
    server.post("/v1/adapters", &nowhere).refuses(400, &["nowhere"]);
    let nowhere = json!({ "lora_name": "ton", "lora_path": "/nowhere/at/all" });
    server.post("/v1/load_lora_adapter", &nowhere).refuses(400, &["nowhere"]);
    server.post("/v1/unload_lora_adapter", &json!({ "lora_name": "ton" })).refuses(404, &["ton"]);
    server.delete("/v1/adapters/ton").refuses(404, &["ton"]);
}

#[test]
fn an_adapter_is_loaded_into_a_running_server_from_the_command_line() {
    let Some(world) = World::new() else { return };
    let row = json!({ "prompt": "Say yes.", "completion": "Yes." });
    world.write("rows.jsonl", format!("{row}\n"));
    let tune = ["tune", "--data", "rows.jsonl", "--out", "made/tone", "--steps", "1"];
    let small = ["--rank", "1", "--target", "layers.0.self_attn.q_proj", "--no-ability"];
    world.json(&[&tune[..], &small].concat());
    let Some(server) = Server::start(world, &documents(), &[]) else { return };
    let adapters = |args: &[&str]| {
        let mut command = program();
        command
            .args(["adapters"])
            .args(args)
            .args(["--server", &format!("http://{}", server.addr)]);
        command.arg("--quiet").arg("--json").current_dir(server.world.path());
        command
    };
    let loaded = json_of(&mut adapters(&["load", "made/tone"]));
    assert_eq!((&loaded["name"], &loaded["matrices"]), (&json!("tone"), &json!(1)));
    let list = server.get("/v1/adapters").expect(200);
    assert_eq!(list["data"][0]["name"], "tone", "{list}");
    assert_eq!(list["data"][0]["training"], Value::Null, "its rows named no documents");
    assert!(list["data"][0]["path"].as_str().unwrap().ends_with("tone"), "{list}");
    asks_the_adapter(&server);
    json_of(&mut adapters(&["unload", "tone"]));
    assert_eq!(server.get("/v1/adapters").expect(200)["data"], json!([]));
    let again = adapters(&["unload", "tone"]).output().unwrap();
    check_failure(&again, 1, &["answers 404", "tone"]);
    let offline = adapters(&["load", "made/tone", "--offline"]).output().unwrap();
    check_failure(&offline, 2, &["offline"]);
}

/// The adapter `tone` writes, alone and from the documents, under each of its ids.
fn asks_the_adapter(server: &Server) {
    const FRENCH: &str = "Combien de jours de télétravail par semaine ?";
    let ask = |model: &str, question: &str| {
        let body = json!({
            "model": model, "max_tokens": 24, "temperature": 0,
            "messages": [{ "role": "user", "content": question }],
        });
        server.post("/v1/chat/completions", &body)
    };
    let alone = ask("ft:tone", "Say yes.").expect(200);
    assert_eq!(alone["model"], "ft:tone");
    assert!(alone["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{alone}");
    let answer = ask("rag+ft:tone", QUESTION).expect(200);
    assert_eq!(answer["sources"][0]["document"], "remote.md", "{answer}");
    let answer = ask("rag+ft:rh/tone", FRENCH).expect(200);
    let sources = answer["sources"].as_array().unwrap();
    assert!(!sources.is_empty(), "{answer}");
    assert!(sources.iter().all(|it| it["collection"] == "rh"), "{sources:?}");
    let ours = json!({ "question": QUESTION, "adapter": "tone" });
    let writer = server.post("/v1/ask", &ours).expect(200)["generator"].clone();
    assert!(writer.as_str().unwrap().ends_with("+tone"), "{writer}");
    for path in ["rag+ft:rh/tone", "rag+ft:rh%2Ftone", "ft:tone"] {
        let model = server.get(&format!("/v1/models/{path}")).expect(200);
        assert_eq!(model["id"], path.replace("%2F", "/"));
    }
    server.get("/v1/models/rag+ft:nowhere/tone").refuses(404, &["rag+ft:nowhere/tone"]);
    ask("ft:nobody", QUESTION).refuses(404, &["nobody"]);
    ask("rag+ft:nowhere/tone", QUESTION).refuses(404, &["nowhere"]);
}

/// A question, what is thought of its answer, and the correction.
type Judged<'a> = (&'a str, &'a str, Option<&'a str>);

#[test]
fn feedback_becomes_rows_to_train_on() {
    const HOLIDAY: &str = "# Holidays\n\nEmployees get twenty-six days of holiday a year.\n";
    const BOARD: &str = "---\ngroups: [board]\n---\n\n# Takeover\n\nThe takeover price is nine \
        million euros.\n";
    let Some(world) = World::new() else { return };
    let mut all = documents().to_vec();
    all.extend([("holidays.md", HOLIDAY), ("board.md", BOARD)]);
    let Some(mut server) = Server::start(world, &all, &[]) else { return };
    let judged: [Judged<'_>; 5] = [
        (QUESTION, "up", None),
        ("How many days of holiday do employees get a year?", "down", Some("Twenty-six days.")),
        ("Combien de jours de télétravail par semaine ?", "up", None),
        ("What is the takeover price?", "up", None),
        ("Which brand of coffee is served on the fourth floor?", "up", None),
    ];
    for (question, rating, correction) in judged {
        let answer = server.post("/v1/ask", &json!({ "question": question })).expect(200);
        let feedback =
            json!({ "answer": answer["id"], "rating": rating, "correction": correction });
        server.post("/v1/feedback", &feedback).expect(201);
    }
    server.stop();
    let world = &server.world;
    let report = world.json(&["dataset", "build", "d"]);
    let rows = |kind: &str| -> Vec<Value> {
        let text = fs_err::read_to_string(world.path().join(format!("d/{kind}.jsonl"))).unwrap();
        let rows = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        rows.filter(|it| it["meta"]["made_by"] == "feedback").collect()
    };
    let asked = |row: &Value| row["meta"]["question"].as_str().unwrap().to_owned();
    let (taught, pairs, labelled) = (rows("supervised"), rows("preference"), rows("unpaired"));
    assert_eq!(report["feedback_left_out"], 1, "what the board may read: {report:#}");
    assert_eq!((taught.len(), pairs.len(), labelled.len()), (4, 1, 4), "{report:#}");
    for row in taught.iter().chain(&labelled) {
        assert!(!row.to_string().contains("nine million"), "{row}");
        let shown = row["meta"]["context"].as_array().unwrap();
        assert!(!shown.is_empty(), "nothing is taught without passages: {row}");
    }
    let holiday = taught.iter().find(|it| asked(it).contains("holiday")).unwrap();
    let answer = holiday["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!(answer, "Twenty-six days [1].", "the passage that says so is cited");
    assert_eq!(pairs[0]["chosen"][0]["content"], answer);
    assert_eq!(labelled.iter().filter(|it| it["label"] == false).count(), 1);
    let checked = world.json(&["dataset", "check", "d"]);
    assert_eq!(checked["can_be_trained_on"], true, "{checked:#}");
}
