//! What every client of the protocol relies on, whatever it asks: ids of requests, rates, other
//! origins, figures, streams that stay open, and how the server ends.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    chat_api::{self, Reply, Step},
    server::{Response, Server, events},
    support::{POLICY, QUESTION, World, program, wait_until},
};

const INTRANET: &str = "https://intranet.example";

fn quoting(settings: &str) -> Option<Server> {
    let world = World::new()?;
    world.write("souffleur.toml", settings);
    Server::start(world, &[("remote.md", POLICY)], &["--generator", "extract"])
}

/// A server whose answers are written by one of the test.
fn written_by(
    answer: impl Fn() -> Reply + Send + Sync + 'static,
) -> Option<(Server, chat_api::Server)> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.text(&["ingest", "docs"]);
    let writer = chat_api::Server::start(move |_, request| match request.path.as_str() {
        "/v1/models" => Reply::json(200, &json!({ "data": [{ "id": "writer" }] })),
        _ => answer(),
    });
    world.write(
        "souffleur.toml",
        format!(
            "[models]\ngenerator = \"openai\"\n[upstream]\nbase_url = \"{}\"\nmodel = \"writer\"\n",
            writer.url()
        ),
    );
    let mut command = program();
    command.args(["serve", "--addr", "127.0.0.1:0", "--json", "--quiet"]);
    command.args(["--models-dir", &world.models, "--data-dir", "data"]).current_dir(world.path());
    Some((Server::run(world, command), writer))
}

/// A question to a `rag` model, as a stream.
fn streamed() -> Value {
    json!({
        "model": "rag", "stream": true, "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": QUESTION }],
    })
}

fn chunks(text: &str) -> Vec<Value> {
    let mut events = events(text);
    assert_eq!(events.pop().unwrap().1, "[DONE]", "{text}");
    events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

/// A long draft of the generator alone, which nothing but its limit ends.
fn long_draft(n_tokens: usize) -> Value {
    json!({
        "model": "base", "stream": true, "temperature": 0, "max_tokens": n_tokens,
        // The tokens that end a turn and a text.
        "logit_bias": { "0": -100, "2": -100 },
        "messages": [{ "role": "user", "content": "Write a long poem about the sea." }],
    })
}

/// A server with the real generator, which may write that many tokens.
fn writing(n_tokens: usize) -> Option<Server> {
    let world = World::new()?;
    world.write("souffleur.toml", format!("[generation]\nanswer_tokens_max = {n_tokens}\n"));
    Server::start(world, &[("remote.md", POLICY)], &[])
}

/// Asks, and gives the connection once the first words of the answer are there.
fn begun(server: &Server, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        server.addr,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut came = Vec::new();
    let mut piece = [0; 4_096];
    // The first chunk says who speaks, the next ones what.
    while String::from_utf8_lossy(&came).matches("\"content\":").count() < 3 {
        let n = stream.read(&mut piece).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&piece[..n]);
    }
    stream
}

#[test]
fn whoever_leaves_ends_what_is_written_for_them() {
    const N_TOKENS: usize = 1_500;
    let Some(server) = writing(N_TOKENS) else { return };
    drop(begun(&server, &long_draft(N_TOKENS)));
    wait_until("the draft ends", Duration::from_secs(30), || {
        server.get("/v1/status").expect(200)["queue"]["running"] == 0
    });
    let metrics = server.get("/metrics").text();
    let written = metrics.lines().find_map(|it| {
        it.strip_prefix("souffleur_tokens_total{kind=\"written\"} ")?.parse::<usize>().ok()
    });
    let written = written.unwrap_or_else(|| panic!("{metrics}"));
    assert!((1..N_TOKENS / 2).contains(&written), "{written} of {N_TOKENS} tokens were written");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_stopped_writes_what_it_has_begun_to_its_end() {
    let Some(server) = writing(80) else { return };
    let mut stream = begun(&server, &long_draft(80));
    let (code, _) = server.interrupt();
    assert_eq!(code, Some(0));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let came = String::from_utf8_lossy(&rest);
    assert!(came.contains("\"finish_reason\":\"length\"") && came.contains("[DONE]"), "{came}");
}

#[test]
fn a_stream_cites_what_its_writer_did_not_mark() {
    let texts =
        ["Employees may work remotely ", "up to three days per week. ", "A screen is lent."];
    let Some((server, _writer)) = written_by(move || Reply::texts(&texts)) else { return };
    let chunks = chunks(&server.post("/v1/chat/completions", &streamed()).text());
    let deltas = |key: &str| -> Vec<&Value> {
        chunks.iter().map(|it| &it["choices"][0]["delta"][key]).filter(|it| !it.is_null()).collect()
    };
    let text: String = deltas("content").iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(text, texts.concat());
    let citation = &deltas("annotations")[0][0]["url_citation"];
    let at = |key: &str| usize::try_from(citation[key].as_u64().unwrap()).unwrap();
    let cited: String =
        text.chars().skip(at("start_index")).take(at("end_index") - at("start_index")).collect();
    assert_eq!(cited, "Employees may work remotely up to three days per week.");
    let sources = chunks.iter().find(|it| it["sources"].is_array()).unwrap();
    assert_eq!(citation["url"], sources["sources"][0]["url"]);
    // The same answer as a whole has the marks in its text.
    let mut whole = streamed();
    whole["stream"] = json!(false);
    let whole = server.post("/v1/chat/completions", &whole).expect(200);
    assert!(whole["choices"][0]["message"]["content"].as_str().unwrap().contains("[1]"), "{whole}");
}

#[test]
fn usage_is_null_in_every_chunk_before_the_one_that_tells_it() {
    let Some(server) = quoting("") else { return };
    let chunks = chunks(&server.post("/v1/chat/completions", &streamed()).text());
    let (last, before) = chunks.split_last().unwrap();
    assert!(last["usage"]["total_tokens"].is_u64() && last["choices"] == json!([]), "{last}");
    for it in before {
        assert_eq!(it.get("usage"), Some(&Value::Null), "{it}");
    }
    let mut plain = streamed();
    plain["stream_options"] = Value::Null;
    let text = server.post("/v1/chat/completions", &plain).text();
    assert!(!text.contains("\"usage\""), "{text}");
}

#[test]
fn a_stream_that_has_nothing_to_say_stays_open() {
    let (go_on, signal) = mpsc::channel();
    let signal = Mutex::new(Some(signal));
    let writes = move || {
        let mut steps = vec![Step::text("Employees may work remotely ")];
        steps.extend(signal.lock().unwrap().take().map(Step::Wait));
        steps.extend([Step::text("up to three days per week [1]."), Step::finish("stop")]);
        Reply::Stream(steps)
    };
    let Some((server, _writer)) = written_by(writes) else { return };
    let text = thread::scope(|scope| {
        let asked = scope.spawn(|| server.post("/v1/chat/completions", &streamed()).text());
        // Longer than ten seconds after the first words, after which the server says that it is still
        // there; on a busy machine these take a while, too.
        thread::sleep(Duration::from_secs(20));
        go_on.send(()).unwrap();
        asked.join().unwrap()
    });
    assert!(text.lines().any(|it| it.starts_with(':')), "{text}");
    assert!(chunks(&text).iter().any(|it| it["sources"].is_array()), "{text}");
}

#[test]
fn every_response_names_its_request_and_the_audit_record_knows_it() {
    let Some(server) = quoting("") else { return };
    let id = |response: &Response| response.header("x-request-id").unwrap().to_owned();
    let asked = server.post_with(
        "/v1/search",
        &[("x-request-id", "mine")],
        &json!({ "query": "remote work" }),
    );
    asked.expect(200);
    let audit = server.get("/v1/audit").expect(200);
    let entry = audit["data"].as_array().unwrap().iter().find(|it| it["action"] == "search");
    assert_eq!(entry.unwrap()["request"], id(&asked), "ours, whatever the client calls it");
    let not_there = server.get("/nowhere");
    let not_so = server.request("PUT", "/v1/models", &[], b"");
    let not_json = server.request("POST", "/v1/ask", &[("content-type", "application/json")], b"{");
    let mut ids: Vec<String> = [&asked, &not_there, &not_so, &not_json].map(id).to_vec();
    assert!(ids.iter().all(|it| it.starts_with("r_")), "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 4);
    not_so.refuses(405, &["PUT", "/v1/models"]);
    assert_eq!(not_so.header("allow"), Some("GET,HEAD"));
    server.request("DELETE", "/mcp/nowhere", &[], b"").refuses(404, &[]);
    server.request("PATCH", "/v1/documents", &[], b"").refuses(405, &["PATCH"]);
}

#[test]
fn a_key_has_its_rate_and_no_other_pays_for_it() {
    let Some(server) = quoting("[serve]\nrequests_per_minute = 3\n") else { return };
    let key = || {
        let made = server.world.json(&["keys", "create", "--scope", "read"]);
        format!("Bearer {}", made["secret"].as_str().unwrap())
    };
    let (busy, other) = (key(), key());
    let get = |key: &str| server.request("GET", "/v1/models", &[("authorization", key)], b"");
    for _ in 0..3 {
        get(&busy).expect(200);
    }
    let refused = get(&busy);
    refused.refuses(429, &["too many requests"]);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&after), "{after}");
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    get(&other).expect(200);
    server.get("/health").expect(200);
}

#[test]
fn pages_of_an_origin_that_is_allowed_may_ask() {
    let Some(server) = quoting(&format!("[serve]\ncors_origins = [\"{INTRANET}\"]\n")) else {
        return;
    };
    let preflight = |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        server.request("OPTIONS", "/v1/ask", &headers, b"")
    };
    let allowed = preflight(INTRANET);
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(INTRANET));
    let headers = allowed.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(preflight("https://evil.example").header("access-control-allow-origin"), None);
    let question = json!({ "question": QUESTION });
    let asked = server.post_with("/v1/ask", &[("origin", INTRANET)], &question);
    asked.expect(200);
    assert_eq!(asked.header("access-control-allow-origin"), Some(INTRANET));
    let evil = server.post_with("/v1/ask", &[("origin", "https://evil.example")], &question);
    evil.refuses(403, &["evil.example"]);
}

#[test]
fn prometheus_reads_figures_and_those_of_the_index_are_for_administrators() {
    let Some(server) = quoting("") else { return };
    server.get("/v1/models").expect(200);
    server.post("/v1/ask", &json!({ "question": QUESTION })).expect(200);
    let told = server.get("/metrics");
    assert_eq!(told.status, 200);
    assert!(told.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = told.text();
    for line in [
        "souffleur_http_requests_total{method=\"GET\",route=\"/v1/models\",status=\"200\"} 1",
        "souffleur_answers_total{outcome=\"quoted\"} 1",
        "souffleur_running{work=\"answers\"} 0",
        "souffleur_chunks ",
        "souffleur_http_request_duration_seconds_bucket{",
    ] {
        assert!(text.lines().any(|it| it.starts_with(line)), "no `{line}`: {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    let made = server.world.json(&["keys", "create", "--scope", "read"]);
    let key = format!("Bearer {}", made["secret"].as_str().unwrap());
    let told = server.request("GET", "/metrics", &[("authorization", &key)], b"").text();
    assert!(told.contains("souffleur_http_requests_total") && told.ends_with("# EOF\n"), "{told}");
    assert!(!told.contains("souffleur_chunks"), "{told}");
    server.get("/metrics").refuses(401, &[]);
}

#[test]
fn what_was_received_in_part_is_gone_after_a_start() {
    let Some(world) = World::new() else { return };
    let left = world.write("data/uploads.partial/u_0", "half of a fi");
    let Some(server) = Server::start(world, &[], &["--generator", "extract"]) else { return };
    server.get("/health").expect(200);
    assert!(!Path::new(&left).exists());
}
