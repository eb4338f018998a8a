//! Requests that no good client sends. None may bring a 500, a panic or somebody else's data.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    server::Server,
    support::{World, skipped},
};

const DOCUMENT: &str =
    "---\ntitle: \"<script>alert(1)</script>\"\n---\n# Cantine\n\nLa cantine ouvre à midi.\n";

fn server() -> Option<Server> {
    Server::quoting(&[("cantine.md", DOCUMENT)])
}

#[test]
fn malformed_requests_are_refused_in_the_right_shape() {
    let Some(server) = server() else { return };
    let json = [("content-type", "application/json")];
    let post = |path: &str, body: &str| server.request("POST", path, &json, body.as_bytes());
    post("/v1/ask", "{").refuses(400, &[]);
    post("/v1/ask", "{}").refuses(400, &["question"]);
    post("/v1/ask", "[]").refuses(400, &[]);
    post("/v1/ask", r#"{"question": 7}"#).refuses(400, &[]);
    post("/v1/ask", r#"{"question": ""}"#).refuses(400, &[]);
    post("/v1/ask", r#"{"question": "a", "passages": -1}"#).refuses(400, &[]);
    post("/v1/ask", r#"{"question": "a", "passages": 100000}"#).refuses(400, &["passages"]);
    post("/v1/ask", r#"{"question": "a", "conversation": "c_none"}"#).refuses(404, &["c_none"]);
    post("/v1/ask", r#"{"question": "a", "adapter": "none"}"#).refuses(404, &["none"]);
    post("/v1/search", r#"{"query": "a", "limit": 0}"#).refuses(400, &["limit"]);
    server.request("POST", "/v1/ask", &[], b"{}").refuses(415, &["application/json"]);
    server.get("/v1/documents/seven").refuses(404, &[]);
    server.get("/v1/documents/99999999999999999999").refuses(404, &[]);
    server.get("/v1/sources/-1").refuses(404, &[]);
    server.get("/nowhere").refuses(404, &["/nowhere"]);
    server.get("/../../etc/passwd").refuses(404, &[]);
    server.get("/%2e%2e/Cargo.toml").refuses(404, &[]);
    let long = "a ".repeat(20_000);
    server.post("/v1/ask", &json!({ "question": long })).refuses(400, &[]);
    let huge = "x".repeat(2 << 20);
    server.post("/v1/ask", &json!({ "question": huge })).refuses(413, &["1048576"]);
}

#[test]
fn uploads_cannot_leave_their_folder_or_become_settings() {
    let Some(server) = server() else { return };
    let job = server.upload(&[("../../../evil.md", b"# Evil\n\nevil\n")], &[], &[]).expect(202);
    assert_eq!(job["files"][0], "default/open/evil.md");
    server.ended(&job);
    let collection = [("collection", "../../..")];
    server.upload(&[("a.md", b"a")], &collection, &[]).refuses(400, &["name"]);
    server
        .upload(&[("souffleur.toml", b"groups = []")], &[], &[])
        .refuses(400, &["souffleur.toml"]);
    server.upload(&[], &[("collection", "a")], &[]).refuses(400, &["file"]);
    let form = [("content-type", "multipart/form-data")];
    server.request("POST", "/v1/documents", &form, b"x").refuses(400, &[]);
}

#[test]
fn a_bomb_is_a_line_in_the_report() {
    let Some(server) = server() else { return };
    let mut bomb = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    bomb.start_file("word/document.xml", options).unwrap();
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..600 {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap().into_inner();
    let job = server.upload(&[("bomb.docx", &bomb)], &[], &[]).expect(202);
    let job = server.ended(&job);
    assert_eq!(job["state"], "done", "{job}");
    assert!(job["report"]["documents"]["skipped"].to_string().contains("bomb.docx"), "{job}");
    server.get("/ready").expect(200);
}

#[test]
fn a_title_with_a_script_stays_text() {
    let Some(server) = server() else { return };
    let listed = server.get("/v1/documents");
    assert_eq!(listed.header("content-type"), Some("application/json"));
    assert_eq!(listed.header("x-content-type-options"), Some("nosniff"));
    assert!(listed.text().contains("<script>"));
    let question = json!({
        "model": "rag", "messages": [{"role": "user", "content": "Quand ouvre la cantine ?"}],
        "markdown_sources": true,
    });
    let answer = server.post("/v1/chat/completions", &question).expect(200);
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("\\<script\\>"), "{text}");
}

#[test]
fn whoever_dawdles_or_leaves_takes_no_place() {
    let Some(world) = World::new() else { return };
    world.write("souffleur.toml", "[serve]\nread_seconds = 1\nconnections_max = 8\n");
    let Some(server) =
        Server::start(world, &[("cantine.md", DOCUMENT)], &["--generator", "extract"])
    else {
        return;
    };
    let mut slow: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: local").unwrap();
    }
    let mut body = server.connect();
    let head = format!(
        "POST /v1/ask HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n{{",
        server.addr
    );
    body.write_all(head.as_bytes()).unwrap();
    server.get("/health").expect(200);
    let start = Instant::now();
    for stream in &mut slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "slow heads are cut off");
    // Leaves in the middle of a stream.
    for _ in 0..20 {
        let mut stream = server.connect();
        let ask = r#"{"question":"Quand ouvre la cantine ?","stream":true}"#;
        let head = format!(
            "POST /v1/ask HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{ask}",
            server.addr,
            ask.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 16];
        let _ = stream.read(&mut first);
    }
    let patience = Instant::now();
    loop {
        let status = server.get("/v1/status").expect(200);
        if status["queue"]["running"] == 0 && status["queue"]["waiting"] == 0 {
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "{status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn beyond_the_queue_the_refusal_comes_at_once() {
    let Some(world) = World::new() else { return };
    world.write("souffleur.toml", "[serve]\nanswers_max = 1\nqueue_max = 1\n");
    let Some(server) = Server::start(world, &[("cantine.md", DOCUMENT)], &[]) else { return };
    let body = json!({
        "model": "base", "max_tokens": 200, "temperature": 0,
        "messages": [{"role": "user", "content": "Write a long poem about the sea."}],
    });
    let outcomes: Vec<(u16, Option<String>, Duration)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    let response = server.post("/v1/chat/completions", &body);
                    let after = response.header("retry-after").map(str::to_owned);
                    (response.status, after, start.elapsed())
                })
            })
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let refused: Vec<_> = outcomes.iter().filter(|(status, ..)| *status == 503).collect();
    assert!(refused.len() >= 5, "{outcomes:?}");
    assert!(refused.iter().all(|(_, after, _)| after.is_some()));
    let slowest = refused.iter().map(|(.., took)| *took).max().unwrap();
    let quickest = outcomes.iter().filter(|it| it.0 == 200).map(|it| it.2).min();
    if let Some(answered) = quickest {
        assert!(slowest < answered, "a refusal took {slowest:?}, an answer {answered:?}");
    } else {
        skipped("no answer came at all");
    }
}
