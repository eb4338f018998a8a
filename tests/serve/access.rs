//! Keys, scopes and groups.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    server::{Response, Server},
    support::{World, wait_until},
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

    let messages = json!([{ "role": "user", "content": QUESTION }]);
    for (key, reads) in [(&outsider, false), (&member, true), (&admin, true)] {
        let chat = json!({ "model": "rag", "messages": messages });
        let completion = keys.call("POST", "/v1/chat/completions", key, &chat).expect(200);
        assert_eq!(completion.to_string().contains("9 000"), reads, "{completion}");
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

/// Long enough to be known again.
fn long_text() -> String {
    let lines =
        (0..40).map(|i| format!("La salle {i} du bâtiment se réserve au guichet {}.\n", i * 7));
    format!("# Salles\n\n{}", lines.collect::<String>())
}

#[test]
fn what_others_read_is_not_told_of_what_this_key_reads() {
    let text = long_text();
    let secret = format!("---\ngroups: [rh]\ncollection: paie\n---\n{text}");
    // The secret one is read first, so that the open one repeats it.
    let documents = [("a-secret.md", secret.as_str()), ("b-open.md", text.as_str())];
    let Some(server) = Server::quoting(&documents) else { return };
    let keys = Keys { server };
    let (outsider, _) = keys.create(&["--scope", "read"]);
    let (member, _) = keys.create(&["--group", "rh"]);
    let (admin, _) = keys.create(&["--scope", "admin"]);
    let get = |path: &str, key: &str| keys.call("GET", path, key, &Value::Null).expect(200);

    let listed = get("/v1/documents?query=b-open", &outsider);
    let open = format!("/v1/documents/{}", listed["data"][0]["id"]);
    let search = json!({ "query": "Où se réserve la salle 12 ?" });
    let found = keys.call("POST", "/v1/search", &outsider, &search).expect(200);
    let source = format!("/v1/sources/{}", found["results"][0]["chunk"]);
    for path in ["/v1/documents", &open, &source] {
        let told = get(path, &outsider).to_string();
        assert!(told.contains("b-open.md") && !told.contains("a-secret"), "{path}: {told}");
        assert!(!told.contains(&*keys.server.world.path().to_string_lossy()), "{path}: {told}");
    }
    assert_eq!(get(&open, &outsider)["duplicate_of"], Value::Null);
    assert_eq!(get(&open, &member)["duplicate_of"]["path"], "a-secret.md");
    assert_eq!(get(&open, &member).get("root"), None);
    assert!(get(&open, &admin)["root"].as_str().unwrap().ends_with("docs"));

    let index = |key: &str| get("/v1/status", key)["index"].clone();
    let (outside, inside, all) = (index(&outsider), index(&member), index(&admin));
    assert_eq!((&outside["documents"], &outside["collections"]), (&json!(1), &json!(1)));
    assert_eq!((&inside["documents"], &inside["collections"]), (&json!(2), &json!(2)));
    assert_eq!(inside["chunks"], all["chunks"]);
    assert!(outside["chunks"].as_u64() < all["chunks"].as_u64(), "{outside} {all}");
    assert_eq!((outside.get("duplicates"), outside.get("pending")), (None, None));
    assert_eq!(all["duplicates"], 1);
}

#[test]
fn whoever_uploads_learns_what_became_of_it() {
    let Some(keys) = Keys::new() else { return };
    let (writer, _) = keys.create(&["--scope", "write"]);
    let (other, _) = keys.create(&["--scope", "write"]);
    let upload = |key: &str, name: &str, content: &[u8]| {
        let bearer = format!("Bearer {key}");
        let job = keys.server.upload(&[(name, content)], &[], &[("authorization", &bearer)]);
        let path = format!("/v1/jobs/{}", job.expect(202)["id"].as_str().unwrap());
        wait_until("the job ends", Duration::from_secs(60), || {
            keys.call("GET", &path, key, &Value::Null).expect(200)["state"] == "done"
        });
        keys.call("GET", &path, key, &Value::Null).expect(200)
    };
    let job = upload(&writer, "photo.xyz", b"\x00\x01");
    assert_eq!(job["report"], Value::Null, "it names documents of all groups");
    let skipped = job["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{job}");
    assert_eq!(skipped[0]["path"], "default/open/photo.xyz");
    assert_eq!(skipped[0]["reason"], "unsupported format `xyz`");
    assert_eq!(skipped[0]["reason_fr"], "format non pris en charge : xyz");
    // The next one reads the same folder, and hears of its own file only.
    let job = upload(&other, "a.md", b"# A\n\na\n");
    assert_eq!(job["skipped"], json!([]));
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
