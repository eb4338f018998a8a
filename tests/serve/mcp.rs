//! The Model Context Protocol, over HTTP and over standard input and output, in its own bytes. The
//! official client is tried by `tests/clients/mcp_client.py`.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::{Value, json};

use crate::{
    server::{Server, events},
    support::{World, check_failure},
};

const OPEN: &str = "# Télétravail\n\nLe télétravail est possible trois jours par semaine.\n";
const SECRET: &str =
    "---\ngroups: [rh]\n---\n# Salaires\n\nLe salaire du directeur est de 9 000 euros.\n";
const DOCUMENTS: [(&str, &str); 2] = [("teletravail.md", OPEN), ("salaires.md", SECRET)];
const QUESTION: &str = "Combien de jours de télétravail par semaine ?";

fn initialize() -> Value {
    json!({ "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } })
}

/// Asks over HTTP, with a key where one is needed, and gives the answer as JSON-RPC has it.
fn http(server: &Server, key: &str, method: &str, params: &Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let bearer = format!("Bearer {key}");
    let mut headers = vec![
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    if !key.is_empty() {
        headers.push(("authorization", bearer.as_str()));
    }
    let response = server.post_with("/mcp", &headers, &body);
    assert_eq!(response.status, 200, "{}", response.text());
    let text = response.text();
    let mut answers = events(&text).into_iter().filter_map(|(_, data)| {
        let json: Value = serde_json::from_str(&data).ok()?;
        (json["id"] == 7).then_some(json)
    });
    answers.next_back().unwrap_or_else(|| panic!("no answer: {text}"))
}

fn call(server: &Server, key: &str, name: &str, arguments: &Value) -> Value {
    let params = json!({ "name": name, "arguments": arguments });
    http(server, key, "tools/call", &params)["result"].clone()
}

/// The text of a result, which must be one or an error as `is_error` says.
#[track_caller]
fn text(result: &Value, is_error: bool) -> String {
    assert_eq!(result["isError"] == true, is_error, "{result}");
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()
}

#[test]
fn a_model_searches_reads_and_asks_over_http() {
    let Some(server) = Server::quoting(&DOCUMENTS) else { return };
    let info = http(&server, "", "initialize", &initialize());
    assert_eq!(info["result"]["serverInfo"]["name"], "souffleur", "{info}");
    let tools = http(&server, "", "tools/list", &json!({}));
    let tools = tools["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["search", "get_document", "ask"]);
    assert!(tools.iter().all(|it| it["annotations"]["readOnlyHint"] == true), "{tools:?}");

    let found = call(&server, "", "search", &json!({ "query": QUESTION, "limit": 1 }));
    let results = found["structuredContent"]["results"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    let shown = text(&found, false);
    assert!(shown.contains("trois jours") && shown.contains("/v1/sources/"), "{shown}");

    let id = &results[0]["document_id"];
    let by_id = call(&server, "", "get_document", &json!({ "id": id }));
    let by_path = call(&server, "", "get_document", &json!({ "path": "teletravail.md" }));
    assert_eq!(by_id, by_path);
    assert!(by_id["structuredContent"]["text"].as_str().unwrap().contains("trois jours"));
    let part = json!({ "id": id, "char_start": 2, "char_end": 13 });
    let part = call(&server, "", "get_document", &part);
    assert_eq!(part["structuredContent"]["text"], "Télétravail");

    let answer = call(&server, "", "ask", &json!({ "question": QUESTION }));
    let shown = text(&answer, false);
    assert!(shown.contains("trois jours") && shown.contains("[1]"), "{shown}");
    let data = &answer["structuredContent"];
    assert_eq!(data["sentences"][0]["verdict"], "supported", "{data}");
    let url = data["sources"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://{}/v1/sources/", server.addr)), "{url}");

    for (name, arguments, word) in [
        ("search", json!({}), "query"),
        ("search", json!({ "query": "x", "limit": 0 }), "limit"),
        ("search", json!({ "query": "x", "nonsense": 1 }), "nonsense"),
        ("search", json!({ "query": "x", "collection": "none" }), "none"),
        ("get_document", json!({}), "id"),
        ("get_document", json!({ "id": 999 }), "999"),
        ("get_document", json!({ "path": "../../etc/passwd" }), "passwd"),
        ("get_document", json!({ "id": id, "first_page": 1 }), "no pages"),
        ("ask", json!({ "question": "  " }), "empty"),
        ("ask", json!({ "question": 3 }), "string"),
    ] {
        let error = text(&call(&server, "", name, &arguments), true);
        assert!(error.contains(word), "must say `{word}`: {error}");
    }
    let unknown = json!({ "name": "delete", "arguments": {} });
    let error = http(&server, "", "tools/call", &unknown);
    assert!(error["error"]["message"].as_str().unwrap().contains("delete"), "{error}");

    let audit = server.get("/v1/audit").expect(200).to_string();
    for action in ["mcp.search", "mcp.document.read", "mcp.ask"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }
}

#[test]
fn keys_and_groups_hold_over_http() {
    let Some(server) = Server::quoting(&DOCUMENTS) else { return };
    let key = |args: &[&str]| {
        let args: Vec<&str> = ["keys", "create"].iter().chain(args).copied().collect();
        server.world.json(&args)["secret"].as_str().unwrap().to_owned()
    };
    let (outsider, member) = (key(&[]), key(&["--group", "rh"]));
    server.post("/mcp", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).refuses(401, &[]);
    let secret = json!({ "path": "salaires.md" });
    assert!(text(&call(&server, &member, "get_document", &secret), false).contains("9 000"));
    assert!(text(&call(&server, &outsider, "get_document", &secret), true).contains("no document"));
    for (key, reads) in [(&outsider, false), (&member, true)] {
        let question = "Quel est le salaire du directeur ?";
        let found = call(&server, key, "search", &json!({ "query": question })).to_string();
        assert_eq!(found.contains("9 000"), reads, "{found}");
        let answer = call(&server, key, "ask", &json!({ "question": question })).to_string();
        assert_eq!(answer.contains("9 000"), reads, "{answer}");
    }
    // No sessions: there is nothing to open or to end.
    assert_eq!(server.request("DELETE", "/mcp", &[("x-api-key", &member)], b"").status, 405);
    assert_eq!(server.request("GET", "/mcp", &[("x-api-key", &member)], b"").status, 405);
    let evil = [("origin", "https://evil.example"), ("x-api-key", member.as_str())];
    server.post_with("/mcp", &evil, &json!({})).refuses(403, &["evil.example"]);
}

/// `souffleur mcp` and the pipes to it.
struct Piped {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Piped {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut command = world.command(&["mcp", "--generator", "extract"]);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut this = Self { child, input, output };
        let info = this.ask("initialize", &initialize());
        assert_eq!(info["serverInfo"]["name"], "souffleur", "{info}");
        this.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        this
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
        self.input.flush().unwrap();
    }

    /// Asks, and gives the result. Every line on standard output must be of the protocol.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.say(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it closed its output");
            let message: Value =
                serde_json::from_str(&line).unwrap_or_else(|it| panic!("{it}: {line}"));
            assert_eq!(message["jsonrpc"], "2.0", "{line}");
            if message["id"] == 1 {
                return message["result"].clone();
            }
        }
    }

    fn call(&mut self, name: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({ "name": name, "arguments": arguments }))
    }

    /// Closes its input, and gives its exit status.
    fn end(mut self) -> Option<i32> {
        drop(self.input);
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_model_searches_reads_and_asks_over_standard_input() {
    let Some(world) = World::new() else { return };
    for (name, content) in DOCUMENTS {
        world.write(&format!("docs/{name}"), content);
    }
    world.text(&["ingest", "docs"]);
    let mut mcp = Piped::start(&world, &[]);
    let answer = mcp.call("ask", &json!({ "question": QUESTION }));
    let shown = text(&answer, false);
    assert!(shown.contains("trois jours"), "{shown}");
    let url = answer["structuredContent"]["sources"][0]["url"].as_str().unwrap();
    assert!(url.starts_with("file:///") && url.ends_with("/docs/teletravail.md"), "{url}");
    let found = mcp.call("get_document", &json!({ "path": "salaires.md" }));
    assert!(text(&found, false).contains("9 000"), "whoever reads the folder reads all");
    assert_eq!(mcp.end(), Some(0));

    let mut mcp = Piped::start(&world, &["--group", "it"]);
    let found = mcp.call("get_document", &json!({ "path": "salaires.md" }));
    text(&found, true);
    // One process holds a data folder.
    let second = world.command(&["mcp", "--generator", "extract"]).output().unwrap();
    check_failure(&second, 1, &["another"]);
    assert_eq!(mcp.end(), Some(0));
}
