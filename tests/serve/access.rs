//! Keys, scopes and groups.

use serde_json::{Value, json};

use crate::{
    server::{Response, Server},
    support::World,
};

const OPEN: &str = "# Cantine\n\nLa cantine ouvre à midi.\n";
const SECRET: &str =
    "---\ngroups: [rh]\n---\n# Salaires\n\nLe salaire du directeur est de 9 000 euros.\n";
const QUESTION: &str = "Quel est le salaire du directeur ?";

struct Keys {
    server: Server,
}

impl Keys {
    fn new() -> Option<Self> {
        let documents = [("cantine.md", OPEN), ("salaires.md", SECRET)];
        Some(Self { server: Server::quoting(&documents)? })
    }

    /// A new key and its id, made while the server runs.
    fn create(&self, args: &[&str]) -> (String, String) {
        let args: Vec<&str> = ["keys", "create"].iter().chain(args).copied().collect();
        let made = self.server.world.json(&args);
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        (text(&made["secret"]), text(&made["key"]["id"]))
    }

    fn call(&self, method: &str, path: &str, key: &str, body: &Value) -> Response {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.server.request(method, path, &headers, body.as_bytes())
    }

    fn ask(&self, key: &str) -> Value {
        self.call("POST", "/v1/ask", key, &json!({ "question": QUESTION })).expect(200)
    }
}

#[test]
fn the_first_key_closes_the_door_and_groups_hold_in_every_endpoint() {
    let Some(keys) = Keys::new() else { return };
    keys.server.get("/v1/documents").expect(200);
    let (outsider, _) = keys.create(&["--scope", "read"]);
    let refused = keys.server.get("/v1/documents");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"souffleur\""));
    refused.refuses(401, &["key"]);
    keys.server.get("/health").expect(200);
    keys.server.get("/ready").expect(200);
    assert_eq!(keys.server.get("/").status, 200, "the page itself asks for the key");
    let (member, _) = keys.create(&["--group", "rh"]);
    let (admin, _) = keys.create(&["--scope", "admin"]);

    for (key, reads) in [(&outsider, false), (&member, true), (&admin, true)] {
        let answer = keys.ask(key);
        assert_eq!(answer.to_string().contains("9 000"), reads, "{answer}");
        let search = json!({ "query": QUESTION });
        let found = keys.call("POST", "/v1/search", key, &search).expect(200);
        assert_eq!(found.to_string().contains("9 000"), reads);
        let listed = keys.call("GET", "/v1/documents", key, &Value::Null).expect(200);
        assert_eq!(listed["total"], if reads { 2 } else { 1 });
    }
    let documents = keys.call("GET", "/v1/documents?query=salaires", &admin, &Value::Null);
    let document = documents.expect(200)["data"][0]["id"].to_string();
    let chunk = keys.ask(&admin)["sources"][0]["chunk"].to_string();
    for path in [
        format!("/v1/documents/{document}"),
        format!("/v1/documents/{document}/text"),
        format!("/v1/documents/{document}/original"),
        format!("/v1/sources/{chunk}"),
    ] {
        keys.call("GET", &path, &outsider, &Value::Null).refuses(404, &[]);
        assert_eq!(keys.call("GET", &path, &member, &Value::Null).status, 200, "{path}");
    }
}

#[test]
fn scopes_say_who_may_change_what() {
    let Some(keys) = Keys::new() else { return };
    let (reader, id) = keys.create(&["--scope", "read"]);
    let (writer, _) = keys.create(&["--scope", "write"]);
    let (admin, _) = keys.create(&["--scope", "admin"]);
    let job = json!({ "kind": "ingest" });
    keys.call("POST", "/v1/jobs", &reader, &job).refuses(403, &["write"]);
    keys.call("POST", "/v1/jobs", &writer, &job).expect(202);
    // All else reads documents of all groups.
    let questions = json!([{ "question": QUESTION, "answers": [] }]);
    for job in [
        json!({ "kind": "dataset", "name": "a" }),
        json!({ "kind": "tune", "dataset": "0", "name": "a" }),
        json!({ "kind": "compare", "arms": ["extract"], "questions": questions }),
    ] {
        keys.call("POST", "/v1/jobs", &writer, &job).refuses(403, &["admin"]);
    }
    keys.call("GET", "/v1/audit", &writer, &Value::Null).refuses(403, &["admin"]);
    let audit = keys.call("GET", "/v1/audit", &admin, &Value::Null).expect(200);
    let actions: Vec<&str> =
        audit["data"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"key.create") && actions.contains(&"job.create"), "{actions:?}");
    // What a key of no group may not read, it may not delete either.
    let listed = keys.call("GET", "/v1/documents?query=salaires", &admin, &Value::Null);
    let secret = format!("/v1/documents/{}", listed.expect(200)["data"][0]["id"]);
    keys.call("DELETE", &secret, &writer, &Value::Null).refuses(404, &[]);
    keys.server
        .upload(
            &[("a.md", b"# A\n\na\n")],
            &[("groups", "rh")],
            &[("authorization", &format!("Bearer {writer}"))],
        )
        .refuses(403, &["rh"]);

    keys.server.world.json(&["keys", "revoke", &id]);
    keys.call("GET", "/v1/documents", &reader, &Value::Null).refuses(401, &[]);
    keys.call("GET", "/v1/documents", "sfl_wrong", &Value::Null).refuses(401, &[]);
    keys.server.world.fails(&["keys", "revoke", &id], 1, &[&id]);
}

#[test]
fn a_conversation_belongs_to_its_key() {
    let Some(keys) = Keys::new() else { return };
    let (one, _) = keys.create(&["--group", "rh"]);
    let (other, _) = keys.create(&["--group", "rh"]);
    let answer = keys.ask(&one);
    let conversation = format!("/v1/conversations/{}", answer["conversation"].as_str().unwrap());
    keys.call("GET", &conversation, &one, &Value::Null).expect(200);
    keys.call("GET", &conversation, &other, &Value::Null).refuses(404, &[]);
    keys.call("DELETE", &conversation, &other, &Value::Null).refuses(404, &[]);
    let why = format!("/v1/answers/{}", answer["id"].as_str().unwrap());
    keys.call("GET", &why, &other, &Value::Null).refuses(404, &[]);
    let listed = keys.call("GET", "/v1/conversations", &other, &Value::Null).expect(200);
    assert_eq!(listed["data"], json!([]));
}

#[test]
fn a_browser_gives_its_key_once() {
    let Some(keys) = Keys::new() else { return };
    let (member, _) = keys.create(&["--group", "rh"]);
    let opened = keys.server.post("/v1/session", &json!({ "key": member }));
    assert_eq!(opened.expect(200)["scope"], "read");
    let cookie = opened.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let with_cookie =
        |method: &str, path: &str| keys.server.request(method, path, &[("cookie", pair)], b"");
    assert_eq!(with_cookie("GET", "/v1/documents").expect(200)["total"], 2);
    with_cookie("DELETE", "/v1/session").expect(200);
    with_cookie("GET", "/v1/documents").refuses(401, &[]);
    keys.server.post("/v1/session", &json!({ "key": "sfl_wrong" })).refuses(401, &[]);
}

#[test]
fn other_sites_cannot_act_through_a_browser() {
    let Some(server) = Server::quoting(&[("cantine.md", OPEN)]) else { return };
    let upload =
        server.upload(&[("a.md", b"# A\n\na\n")], &[], &[("origin", "https://evil.example")]);
    upload.refuses(403, &["evil.example"]);
    let rebound = server.request("GET", "/v1/documents", &[("host", "evil.example")], b"");
    rebound.refuses(421, &["127.0.0.1"]);
    let cors = server.request("GET", "/v1/documents", &[("origin", "https://evil.example")], b"");
    assert_eq!(cors.header("access-control-allow-origin"), None);
    let page = server.get("/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
}

#[test]
fn without_a_key_nobody_else_can_connect() {
    let Some(world) = World::new() else { return };
    world.fails(&["serve", "--addr", "0.0.0.0:0"], 2, &["keys create", "127.0.0.1"]);
}
