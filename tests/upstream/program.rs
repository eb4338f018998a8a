//! The program with servers for both models, so that no model file is needed.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::server::{Reply as Say, Request, Server, Step, nobody};

const POLICY: &str = "# Remote work\n\nEmployees may work remotely up to three days per week.\n\n\
                      ## Equipment\n\nThe company lends a screen and a chair.\n";
const QUESTION: &str = "How many days per week may employees work remotely?";
const ANSWER: &str = "Employees may work remotely up to three days per week [1].";
const KEY: &str = "sk-very-secret-1234";
const DIMENSION: usize = 64;

/// A folder with a document, settings that name servers, and nothing else.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// With settings that have both models on the server at `url`.
    pub(crate) fn new(url: &str) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.write("docs/remote.md", POLICY);
        world.settings(url, "");
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
    }

    /// Writes the settings, with `more` lines in `[upstream]`.
    fn settings(&self, url: &str, more: &str) {
        self.write(
            "souffleur.toml",
            &format!(
                "[models]\nembedder = \"openai\"\ngenerator = \"openai\"\n\
                 [upstream]\nbase_url = \"{url}\"\nmodel = \"writer\"\nretry_wait_ms = 1\n{more}\n\
                 [upstream.embeddings]\nmodel = \"embedder\"\ndimension = {DIMENSION}\n"
            ),
        );
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_souffleur"));
        command.args(args).arg("--data-dir").arg(self.path().join("data"));
        command.arg("--models-dir").arg(self.path().join("models")).current_dir(self.path());
        // A proxy of the environment has no business between this machine and itself.
        command.env("HTTP_PROXY", nobody()).env("ALL_PROXY", nobody()).env_remove("NO_PROXY");
        command
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.command(args).args(["--json", "--quiet"]).output().unwrap();
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{args:?}: {error}");
        assert_eq!(error, "", "nothing to say of a server on this machine");
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Expects a failure with a hint that says all of `words`, and gives what was said.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, words: &[&str]) -> String {
        let out = self.command(args).output().unwrap();
        let error = error_of(&out);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {error}");
        for word in words.iter().chain(&["hint"]) {
            assert!(error.contains(word), "{args:?} must say `{word}`: {error}");
        }
        error
    }
}

pub(crate) fn error_of(out: &Output) -> String {
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// Vectors by the words of a text: texts that share words are near each other.
fn embed(request: &Request) -> Say {
    let data: Vec<Value> = request.body["input"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"index": index, "embedding": vector(text.as_str().unwrap())}))
        .collect();
    Say::json(200, &json!({"object": "list", "data": data}))
}

fn vector(text: &str) -> Vec<f32> {
    let mut res = vec![0.01; DIMENSION];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        let hash = word.bytes().fold(7_usize, |hash, it| hash * 31 % 1_000_003 + usize::from(it));
        res[hash % DIMENSION] += if word.is_empty() { 0.0 } else { 1.0 };
    }
    res
}

/// A server with both models, whose chat says what `write` gives.
pub(crate) fn server(write: impl Fn(usize, &Request) -> Say + Send + Sync + 'static) -> Server {
    let n_chats = AtomicUsize::new(0);
    Server::start(move |_, request| match request.path.as_str() {
        "/v1/embeddings" => embed(request),
        "/v1/models" => {
            Say::json(200, &json!({"data": [{"id": "writer"}, {"id": "embedder:latest"}]}))
        }
        "/v1/chat/completions" => write(n_chats.fetch_add(1, Ordering::Relaxed), request),
        _ => Say::json(404, &json!({"detail": "Not Found"})),
    })
}

pub(crate) fn chats(server: &Server) -> Vec<Request> {
    server.seen().into_iter().filter(|it| it.path == "/v1/chat/completions").collect()
}

#[test]
fn servers_embed_and_answer() {
    let server = server(|_, _| Say::texts(&["Employees may work remotely ", &ANSWER[28..]]));
    let world = World::new(&server.url());
    let answer = world.json(&[
        "ask",
        "--docs",
        "docs",
        "--temperature",
        "0.7",
        "--seed",
        "5",
        "--answer-tokens",
        "90",
        QUESTION,
    ]);
    assert_eq!(answer["generator"], "writer");
    assert_eq!(answer["sentences"][0]["verdict"], "supported", "{answer}");
    assert_eq!(answer["sources"][0]["document"], "remote.md");
    assert_eq!(answer["context"]["tokens"], 77, "as the server counted");
    assert_eq!(answer["context"]["tokens_estimated"], false);
    let [request] = &chats(&server)[..] else { panic!("one request") };
    let prompt = request.body["messages"].to_string();
    assert!(prompt.contains("up to three days per week") && prompt.contains(QUESTION), "{prompt}");
    for (key, value) in [("temperature", json!(0.7)), ("seed", json!(5)), ("max_tokens", json!(90))]
    {
        assert_eq!(request.body[key], value, "{key}");
    }
}

#[test]
fn without_counts_of_the_server_tokens_are_an_estimate() {
    let server = server(|_, _| Say::Stream(vec![Step::text(ANSWER), Step::finish("stop")]));
    let world = World::new(&server.url());
    let answer = world.json(&["ask", "--docs", "docs", QUESTION]);
    assert_eq!(answer["context"]["tokens_estimated"], true);
    assert!(answer["context"]["tokens"].as_u64().unwrap() > 100, "{answer}");
    let out = world.command(&["inspect", QUESTION]).output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("Prompt (about "));
}

#[test]
fn reasoning_is_shown_apart_from_the_answer() {
    let server = server(|_, _| {
        let reasoning =
            json!({"choices": [{"delta": {"reasoning_content": "Passage 1 says so."}}]});
        Say::Stream(vec![Step::json(&reasoning), Step::text(ANSWER), Step::finish("stop")])
    });
    let world = World::new(&server.url());
    let plain = world.json(&["ask", "--docs", "docs", QUESTION]);
    let cot = world.json(&["ask", "--style", "cot", QUESTION]);
    for answer in [&plain, &cot] {
        assert_eq!(answer["reasoning"], "Passage 1 says so.");
        let text = answer["answer"].as_str().unwrap();
        assert!(!text.contains("says so") && !text.is_empty(), "{text}");
    }
}

#[test]
fn a_prompt_that_the_server_finds_too_long_is_shortened_once() {
    let refuse = |_: usize, _: &Request| {
        let error = json!({"code": 400, "message": "too big", "type": "exceed_context_size_error"});
        Say::json(400, &json!({"error": error}))
    };
    let server_once = server(move |n, request| match n {
        0 => refuse(n, request),
        _ => Say::texts(&[ANSWER]),
    });
    let world = World::new(&server_once.url());
    let more = "# Remote days\n\nEmployees in the lab may work remotely on two days per week.\n";
    world.write("docs/lab.md", more);
    let out = world.command(&["ask", "--docs", "docs", "--json", QUESTION]).output().unwrap();
    let error = error_of(&out);
    assert!(error.contains("prompt too long") && error.contains("context_tokens"), "{error}");
    let answer: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(answer["context"]["passages_dropped"], 1, "{answer}");
    let lengths: Vec<usize> =
        chats(&server_once).iter().map(|it| it.body["messages"].to_string().len()).collect();
    assert!(lengths.len() == 2 && lengths[1] < lengths[0], "{lengths:?}");

    let server_never = server(refuse);
    world.settings(&server_never.url(), "");
    world.fails(&["ask", QUESTION], 1, &["too long", "upstream.context_tokens"]);
    assert_eq!(chats(&server_never).len(), 2, "once more, and no further");
}

#[test]
fn failures_have_a_message_a_hint_and_a_status() {
    let server = server(|_, _| Say::json(401, &json!({"error": {"message": "bad key"}})));
    let world = World::new(&server.url());
    world.json(&["ingest", "docs"]);
    world.fails(&["ask", QUESTION], 1, &["refuses the key", "bad key", "api_key_env"]);
    world.settings(&server.url().replace("/v1", "/v2"), "");
    world.fails(&["ask", QUESTION], 1, &["nothing at /embeddings", "base_url"]);
    world.settings(&nobody(), "");
    world.fails(&["ask", QUESTION], 1, &["could not reach", "refused", "doctor"]);
    world.write("docs/new.md", "# New\n\nA new document has to be embedded.\n");
    world.fails(&["ingest", "docs"], 1, &["could not reach"]);
    world.settings("127.0.0.1:8080", "");
    world.fails(&["ask", QUESTION], 2, &["http://"]);
    world.settings(&server.url(), "api_key_env = \"NO_SUCH_VARIABLE\"");
    world.fails(&["ask", QUESTION], 2, &["NO_SUCH_VARIABLE", "upstream.api_key_env"]);
    world.settings(&server.url(), "tokenizer = \"not/there.json\"");
    let out = world.command(&["ask", QUESTION]).output().unwrap();
    let error = error_of(&out);
    assert!(error.contains("upstream.tokenizer") && error.contains("not/there.json"), "{error}");
}

#[test]
fn a_conversation_goes_on_after_a_failure() {
    let server = server(|n, _| match n {
        0 => Say::json(401, &json!({"error": {"message": "bad key"}})),
        _ => Say::texts(&[ANSWER]),
    });
    let world = World::new(&server.url());
    let mut command = world.command(&["chat", "--docs", "docs"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{QUESTION}\n{QUESTION}\n").unwrap();
    let out = child.wait_with_output().unwrap();
    let error = error_of(&out);
    assert!(out.status.success(), "{error}");
    assert!(error.contains("refuses the key") && error.contains("hint"), "{error}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("up to three days per week"));
}

#[test]
fn offline_refuses_servers_and_opens_no_connection() {
    let server = server(|_, _| Say::texts(&[ANSWER]));
    let world = World::new(&server.url());
    let words = ["--offline", "models.embedder", "127.0.0.1"];
    world.fails(&["ask", "--offline", "--docs", "docs", QUESTION], 2, &words);
    world.json(&["ingest", "docs"]);
    let before = server.seen().len();
    let words = ["--offline", "models.embedder"];
    world.fails(&["ask", "--offline", QUESTION], 2, &words);
    world.fails(&["ingest", "docs", "--offline"], 2, &words);
    let out = world.command(&["doctor", "--offline"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("models.generator") && said.contains("models.embedder"), "{said}");
    assert_eq!(server.seen().len(), before);
}

#[test]
fn the_key_goes_to_the_server_and_nowhere_else() {
    let server = server(|_, _| Say::json(403, &json!({"error": format!("no rights: {KEY}")})));
    let world = World::new(&server.url());
    world.settings(&server.url(), "api_key_env = \"MY_SERVER_KEY\"");
    let out = world
        .command(&["ask", "--docs", "docs", QUESTION])
        .env("MY_SERVER_KEY", KEY)
        .env("SOUFFLEUR_LOG", "trace")
        .output()
        .unwrap();
    let error = error_of(&out);
    assert!(error.contains("no rights: ***"), "{error}");
    assert!(!error.contains(KEY) && !String::from_utf8_lossy(&out.stdout).contains(KEY));
    let sent = format!("Bearer {KEY}");
    assert!(server.seen().iter().all(|it| it.header("authorization") == Some(&sent)));
    // A key of the wrong kind is not shown by the message about it.
    world.settings(&server.url(), "api_key = 123456789");
    let error = world.fails(&["status"], 2, &["api_key", "in quotes"]);
    assert!(!error.contains("123456789"), "{error}");
}

#[test]
fn another_server_does_not_get_the_key() {
    let (writer, embedder) = (server(|_, _| Say::texts(&[ANSWER])), server(|_, _| Say::HangUp));
    let world = World::new(&writer.url());
    let settings = fs_err::read_to_string(world.path().join("souffleur.toml")).unwrap();
    let settings = settings
        .replace("[upstream]\n", &format!("[upstream]\napi_key = \"{KEY}\"\n"))
        .replace("dimension", &format!("base_url = \"{}\"\ndimension", embedder.url()));
    world.write("souffleur.toml", &settings);
    world.json(&["ask", "--docs", "docs", QUESTION]);
    assert!(chats(&writer)[0].header("authorization").is_some());
    assert!(!embedder.seen().is_empty());
    assert!(embedder.seen().iter().all(|it| it.header("authorization").is_none()));
}

#[test]
fn a_server_that_is_not_this_machine_is_named() {
    let server = server(|_, _| Say::texts(&[ANSWER]));
    let world = World::new(&server.url());
    // Reaches this machine, and is no loopback address.
    let url = format!("http://0.0.0.0:{}/v1", server.port());
    world.settings(&url, "");
    let out = world
        .command(&["ask", "--docs", "docs", "--quiet", QUESTION])
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    let error = error_of(&out);
    assert!(out.status.success(), "{error}");
    for what in ["texts of all documents", "passages found for them"] {
        let line = error.lines().find(|it| it.contains(what)).unwrap();
        assert!(line.contains("0.0.0.0:") && line.contains("unencrypted"), "{line}");
    }
}

#[test]
fn an_index_of_one_embedder_refuses_another() {
    let server = server(|_, _| Say::texts(&[ANSWER]));
    let world = World::new(&server.url());
    world.json(&["ingest", "docs"]);
    let settings = fs_err::read_to_string(world.path().join("souffleur.toml")).unwrap();
    world.write("souffleur.toml", &settings.replace("\"embedder\"", "\"other\""));
    let words = ["openai:embedder (64 dimensions", "openai:other (64 dimensions", "--rebuild"];
    world.fails(&["ask", QUESTION], 1, &words);
    let out = world.command(&["doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(said.contains("does not list `other`") && said.contains("--rebuild"), "{said}");
    world.json(&["ingest", "--rebuild"]);
    world.json(&["ask", QUESTION]);
    world.write("souffleur.toml", &settings.replace("dimension = 64", "dimension = 63"));
    world.fails(&["ingest", "--rebuild"], 1, &["64 dimensions", "say 63"]);
}

#[test]
fn doctor_asks_the_servers() {
    let server = server(|_, _| Say::texts(&[ANSWER]));
    let world = World::new(&server.url());
    let check = |expected: &[&str], healthy: bool| {
        let out = world.command(&["doctor"]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        for it in expected {
            assert!(said.contains(it), "must say `{it}`: {said}");
        }
        assert_eq!(out.status.success(), healthy, "{said}");
    };
    let host = format!("127.0.0.1:{}", server.port());
    check(&[&format!("writer on {host}"), &format!("embedder on {host}, 64 dimensions")], true);
    let settings = fs_err::read_to_string(world.path().join("souffleur.toml")).unwrap();
    let change = |from: &str, to: &str| world.write("souffleur.toml", &settings.replace(from, to));
    change("\"writer\"", "\"wirter\"");
    check(&["does not list `wirter`", "writer, embedder:latest"], false);
    change("\"writer\"", "\"\"");
    check(&["`upstream.model` is not set", "writer, embedder:latest"], false);
    change("dimension = 64", "dimension = 0");
    check(&["gives 64 dimensions", "upstream.embeddings.dimension = 64"], false);
    world.settings(&nobody(), "");
    check(&["could not reach", "base_url"], false);
}

#[test]
fn a_judge_on_a_server_is_asked_in_both_orders_and_may_write_nonsense() {
    let server = server(|_, request| {
        let messages = request.body["messages"].to_string();
        if !messages.contains("<first>") {
            return Say::texts(&["The company lends everyone a screen and a chair [1]."]);
        }
        let asked = &request.body["response_format"]["json_schema"]["schema"];
        let known = asked["properties"]["better"]["enum"] == json!(["first", "second", "tie"]);
        if !known || messages.contains("What does the company lend?") {
            return Say::texts(&["Both are lovely."]);
        }
        // It prefers the shorter answer of the two, wherever that stands.
        let at = |tag: &str| messages.find(tag).unwrap();
        let first = at("</first>") - at("<first>");
        let second = at("</second>") - at("<second>") - 2;
        let better = if first < second { "first" } else { "second" };
        Say::texts(&["Well. ", &json!({ "better": better }).to_string()])
    });
    let world = World::new(&server.url());
    let line = |question: &str| format!("{}\n", json!({"question": question, "answers": ["x"]}));
    let lines = [
        "Does the company lend a chair?",
        "Does the company lend a screen?",
        "What does the company lend?",
    ]
    .map(line);
    world.write("q.jsonl", &lines.concat());
    world.json(&["ingest", "docs"]);
    let args = ["compare", "--questions", "q.jsonl", "--arms", "extract,rag", "--judge", "openai"];
    let report = world.json(&args);
    let pair = &report["judge"]["pairs"][0];
    let of = |key: &str| pair[key].as_u64().unwrap();
    let judged = of("a_wins") + of("b_wins");
    assert_eq!((judged + of("ties"), of("no_judgement")), (2, 1), "{report:#}");
    assert_eq!(report["judge"]["model"], "writer");
    assert_eq!(report["judge"]["agreement"], Value::Null);
    let n_asked = server.seen().len();
    assert_eq!(world.json(&args), report, "what was judged is kept");
    let chats = |all: &[Request]| all.iter().filter(|it| it.path.ends_with("completions")).count();
    assert_eq!(chats(&server.seen()[n_asked..]), 0);
}
