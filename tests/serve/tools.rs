//! Slack, Mattermost and Teams, each played by a server of the test.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use souffleur::records::{FeedbackRecord, Rating, Records};

use crate::{
    chat_api::{self, Reply},
    server::{Response, Server},
    support::{World, check_failure, program, wait_until},
};

const POLICY: &str = "# Télétravail\n\nLe télétravail est possible trois jours par semaine.\n\n\
                      ## Matériel\n\nL’entreprise prête un écran.\n";
const SECRET: &str =
    "---\ngroups: [rh]\n---\n# Salaires\n\nLe salaire du directeur est de 9 000 euros.\n";
pub(crate) const QUESTION: &str = "Combien de jours de télétravail par semaine ?";
const SALARY: &str = "Quel est le salaire du directeur ?";

const SIGNING_SECRET: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90";
const BOT_TOKEN: &str = "xoxb-test-token";
const MATTERMOST_TOKENS: &str = "firsttoken, secondtoken";
/// Base64 of `teams secret`.
pub(crate) const TEAMS_SECRET: &str = "dGVhbXMgc2VjcmV0";

const PATIENCE: Duration = Duration::from_secs(60);

/// A server with all tools set up, and the tools' own server.
pub(crate) struct Tools {
    pub(crate) server: Server,
    pub(crate) api: chat_api::Server,
}

impl Tools {
    pub(crate) fn new() -> Option<Self> {
        Self::with_settings("")
    }

    /// With `more` lines of settings in `[serve]`.
    pub(crate) fn with_settings(more: &str) -> Option<Self> {
        Self::start((more, ""), true, |_, _| Reply::json(200, &json!({ "ok": true })))
    }

    /// With `more` lines of settings in `[serve.slack]`.
    fn with(
        more: &str,
        online: bool,
        answer: impl Fn(usize, &chat_api::Request) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        Self::start(("", more), online, answer)
    }

    fn start(
        (of_server, of_slack): (&str, &str),
        online: bool,
        answer: impl Fn(usize, &chat_api::Request) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        let world = World::new()?;
        let api = chat_api::Server::start(answer);
        world.write("docs/policy.md", POLICY);
        world.write("docs/salaires.md", SECRET);
        world.text(&["ingest", "docs"]);
        let host = format!("http://127.0.0.1:{}", api.port());
        world.write(
            "souffleur.toml",
            format!(
                "[serve]\n{of_server}\n[serve.slack]\nsigning_secret_env = \"T_SLACK_SIGNING\"\n\
                 bot_token_env = \"T_SLACK_BOT\"\napi_url = \"{host}/api\"\n{of_slack}\n\
                 [serve.mattermost]\ntoken_env = \"T_MATTERMOST\"\nurl = \"{host}\"\n\
                 [serve.teams]\nsecret_env = \"T_TEAMS\"\ngroups = [\"rh\"]\n"
            ),
        );
        let mut command = program();
        command.args(["serve", "--addr", "127.0.0.1:0", "--json", "--generator", "extract"]);
        command.args(["--quiet", "--models-dir", &world.models]).current_dir(world.path());
        if !online {
            command.arg("--offline");
        }
        command.env("T_SLACK_SIGNING", SIGNING_SECRET).env("T_SLACK_BOT", BOT_TOKEN);
        command.env("T_MATTERMOST", MATTERMOST_TOKENS).env("T_TEAMS", TEAMS_SECRET);
        Some(Self { server: Server::run(world, command), api })
    }

    pub(crate) fn slack(&self, path: &str, body: &str) -> Response {
        let at = jiff::Timestamp::now().as_second();
        self.slack_signed(path, body, at, &slack_signature(SIGNING_SECRET, at, body))
    }

    fn slack_signed(&self, path: &str, body: &str, at: i64, signature: &str) -> Response {
        let kind = match body.starts_with('{') {
            true => "application/json",
            false => "application/x-www-form-urlencoded",
        };
        let at = at.to_string();
        let headers = [
            ("content-type", kind),
            ("x-slack-request-timestamp", &at),
            ("x-slack-signature", signature),
        ];
        let path = format!("/integrations/slack/{path}");
        self.server.request("POST", &path, &headers, body.as_bytes())
    }

    /// A slash command of user `U1`.
    pub(crate) fn command(&self, text: &str) -> Response {
        let response_url = format!("http://127.0.0.1:{}/commands/T1/2/x", self.api.port());
        let body = form(&[
            ("token", "old"),
            ("team_id", "T1"),
            ("channel_id", "C1"),
            ("user_id", "U1"),
            ("command", "/docs"),
            ("text", text),
            ("response_url", &response_url),
        ]);
        self.slack("command", &body)
    }

    fn event(&self, id: &str, event: &Value) -> Response {
        let body = json!({ "type": "event_callback", "team_id": "T1", "event_id": id,
                           "event": event });
        self.slack("events", &body.to_string())
    }

    /// Waits for the `n`th message that was posted to the tools, from 0.
    #[track_caller]
    pub(crate) fn posted(&self, n: usize) -> chat_api::Request {
        wait_until("a message is posted", PATIENCE, || self.api.seen().len() > n);
        self.api.seen().swap_remove(n)
    }

    pub(crate) fn feedback(&self) -> Vec<FeedbackRecord> {
        Records::open(&self.server.world.path().join("data")).unwrap().feedback().unwrap()
    }
}

fn slack_signature(secret: &str, at: i64, body: &str) -> String {
    let mac = hmac(secret.as_bytes(), &format!("v0:{at}:{body}"));
    format!("v0={}", mac.iter().map(|it| format!("{it:02x}")).collect::<String>())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|it| match it {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(it).to_string(),
                _ => format!("%{it:02X}"),
            })
            .collect()
    };
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", encode(value)));
    fields.collect::<Vec<_>>().join("&")
}

/// All texts of a message's blocks.
pub(crate) fn texts(message: &Value) -> String {
    message["blocks"].to_string()
}

#[test]
fn a_slack_command_is_acknowledged_answered_and_judged() {
    let Some(tools) = Tools::new() else { return };
    let start = Instant::now();
    let acknowledged = tools.command(QUESTION).expect(200);
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(acknowledged["response_type"], "ephemeral");
    assert!(acknowledged["text"].as_str().unwrap().contains("cherche"), "{acknowledged}");

    let answer = tools.posted(0);
    assert_eq!(answer.path, "/commands/T1/2/x");
    assert_eq!(answer.header("authorization"), None, "response_url needs no token");
    assert_eq!(answer.body["response_type"], "ephemeral");
    let blocks = texts(&answer.body);
    assert!(blocks.contains("trois jours par semaine"), "{blocks}");
    assert!(blocks.contains(&format!("<http://{}/v1/sources/", tools.server.addr)), "{blocks}");
    let buttons =
        answer.body["blocks"].as_array().unwrap().iter().find(|it| it["type"] == "actions");
    let buttons = buttons.unwrap();

    for (n, rating) in [(0, Rating::Up), (1, Rating::Down)] {
        let action = json!({ "action_id": buttons["elements"][n]["action_id"],
                             "block_id": buttons["block_id"],
                             "value": buttons["elements"][n]["value"], "type": "button" });
        let response_url = format!("http://127.0.0.1:{}/actions/T1/2/x", tools.api.port());
        let payload = json!({ "type": "block_actions", "user": { "id": "U2" },
                              "actions": [action], "response_url": response_url });
        let body = form(&[("payload", &payload.to_string())]);
        assert_eq!(tools.slack("interactions", &body).status, 200);
        let update = tools.posted(1 + n);
        assert_eq!(update.path, "/actions/T1/2/x");
        assert_eq!(update.body["replace_original"], true);
        let blocks = texts(&update.body);
        assert!(blocks.contains("Merci") && blocks.contains("trois jours"), "{blocks}");
        let feedback = tools.feedback();
        assert_eq!(feedback.len(), 1);
        assert_eq!(feedback[0].feedback.rating, rating);
        assert_eq!(feedback[0].given_by, "slack:U2");
    }
    let audit = tools.server.get("/v1/audit").expect(200);
    let entries: Vec<(&str, &str)> = audit["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| Some((it["action"].as_str()?, it["key"].as_str()?)))
        .collect();
    assert!(entries.contains(&("slack.ask", "slack:U1")), "{entries:?}");
    assert!(entries.contains(&("slack.feedback", "slack:U2")), "{entries:?}");
}

#[test]
fn what_slack_did_not_sign_is_refused() {
    let Some(tools) = Tools::new() else { return };
    let body = form(&[("text", QUESTION), ("user_id", "U1")]);
    let now = jiff::Timestamp::now().as_second();
    let right = slack_signature(SIGNING_SECRET, now, &body);
    for path in ["command", "events", "interactions"] {
        let refused = |at: i64, signature: &str| {
            let response = tools.slack_signed(path, &body, at, signature);
            response.refuses(401, &["not signed"]);
        };
        refused(now, &slack_signature("another secret", now, &body));
        refused(now, &right.replace("v0=", ""));
        refused(now, "");
        refused(now + 1, &right);
        let old = now - 400;
        refused(old, &slack_signature(SIGNING_SECRET, old, &body));
        let bare = tools.server.request("POST", &format!("/integrations/slack/{path}"), &[], b"{}");
        bare.refuses(401, &["not signed"]);
    }
    // Signed, and nothing that can be read.
    tools.slack("events", "{").refuses(400, &["event"]);
    tools.slack("interactions", "payload=%7B").refuses(400, &["JSON"]);
    tools.slack("interactions", "nothing=1").refuses(400, &["payload"]);
    let elsewhere = form(&[("text", QUESTION), ("response_url", "https://evil.example/x")]);
    tools.slack("command", &elsewhere).refuses(400, &["evil.example"]);
    assert_eq!(tools.slack("command", "ssl_check=1").status, 200);
    for empty in ["", "help"] {
        let usage = tools.command(empty).expect(200);
        assert!(usage["text"].as_str().unwrap().contains("Posez une question"), "{usage}");
    }
    assert!(tools.api.seen().is_empty());
}

#[test]
fn users_of_a_tool_read_what_its_groups_share() {
    let Some(closed) = Tools::new() else { return };
    closed.command(SALARY).expect(200);
    let answer = closed.posted(0);
    assert!(!answer.body.to_string().contains("9 000"), "{}", answer.body);
    // The webhook of Teams is one of the group.
    let answer = teams(&closed, SALARY, TEAMS_SECRET).expect(200);
    assert!(answer.to_string().contains("9 000"), "{answer}");
    drop(closed);

    let say = |_: usize, _: &chat_api::Request| Reply::json(200, &json!({ "ok": true }));
    let open = Tools::with("groups = [\"rh\"]\nephemeral = false", true, say).unwrap();
    open.command(SALARY).expect(200);
    let answer = open.posted(0);
    assert!(answer.body.to_string().contains("9 000"), "{}", answer.body);
    assert_eq!(answer.body["response_type"], "in_channel");
}

#[test]
fn mentions_and_direct_messages_are_answered_once_where_they_were_made() {
    let Some(tools) = Tools::new() else { return };
    let challenge = json!({ "type": "url_verification", "token": "t", "challenge": "3eZbrw1a" });
    assert_eq!(tools.slack("events", &challenge.to_string()).expect(200)["challenge"], "3eZbrw1a");

    let mention = json!({ "type": "app_mention", "user": "U1", "channel": "C1", "ts": "100.1",
                          "text": format!("<@U0BOT> {QUESTION}") });
    for _ in 0..3 {
        assert_eq!(tools.event("Ev1", &mention).status, 200);
    }
    let answer = tools.posted(0);
    assert_eq!(answer.path, "/api/chat.postEphemeral");
    assert_eq!(answer.header("authorization"), Some("Bearer xoxb-test-token"));
    assert_eq!((&answer.body["channel"], &answer.body["user"]), (&json!("C1"), &json!("U1")));
    assert_eq!(answer.body["thread_ts"], Value::Null);
    assert!(texts(&answer.body).contains("trois jours"), "{}", answer.body);

    // What bots say, what is edited and what is said to others is left alone.
    for (id, key, value) in
        [("Ev2", "bot_id", "B1"), ("Ev3", "subtype", "message_changed"), ("Ev4", "type", "message")]
    {
        let mut event = mention.clone();
        event[key] = json!(value);
        assert_eq!(tools.event(id, &event).status, 200);
    }
    let direct = json!({ "type": "message", "channel_type": "im", "user": "U1", "channel": "D1",
                         "ts": "200.1", "text": QUESTION });
    assert_eq!(tools.event("Ev5", &direct).status, 200);
    let answer = tools.posted(1);
    assert_eq!(answer.path, "/api/chat.postMessage");
    assert_eq!(answer.body["channel"], "D1");
    assert_eq!(answer.body["thread_ts"], "200.1");

    // In the same thread it is the same conversation.
    let mut follow_up = direct.clone();
    follow_up["ts"] = json!("200.2");
    follow_up["thread_ts"] = json!("200.1");
    follow_up["text"] = json!("Quel matériel l’entreprise prête-t-elle ?");
    assert_eq!(tools.event("Ev6", &follow_up).status, 200);
    assert!(texts(&tools.posted(2).body).contains("écran"));
    let records = Records::open(&tools.server.world.path().join("data")).unwrap();
    let conversations = records.conversations("slack:U1", 9).unwrap();
    let mut n_turns: Vec<usize> =
        conversations.iter().map(|it| records.turns(&it.id).unwrap().len()).collect();
    n_turns.sort_unstable();
    assert_eq!(n_turns, [1, 2]);
    assert_eq!(tools.api.seen().len(), 3);
}

#[test]
fn a_message_that_slack_does_not_take_is_sent_again_and_one_it_refuses_is_not() {
    let say = |n: usize, request: &chat_api::Request| match (n, request.path.as_str()) {
        (0, _) => {
            let wait = vec![("Retry-After", "0".to_owned())];
            Reply::Whole(429, wait, "slow down".to_owned())
        }
        (1, _) => Reply::HangUp,
        (_, "/api/chat.postEphemeral") => {
            Reply::json(200, &json!({ "ok": false, "error": "user_not_in_channel" }))
        }
        _ => Reply::json(200, &json!({ "ok": true })),
    };
    let Some(tools) = Tools::with("", true, say) else { return };
    tools.command(QUESTION).expect(200);
    let last = tools.posted(2);
    assert!(texts(&last.body).contains("trois jours"));
    let mention = json!({ "type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.1",
                          "text": QUESTION });
    tools.event("Ev1", &mention);
    tools.posted(3);
    tools.command(QUESTION).expect(200);
    assert!(tools.posted(4).path.starts_with("/commands/"), "a refusal is final");
}

#[test]
fn answers_that_were_promised_arrive_before_the_server_ends() {
    let (entered, when_entered) = std::sync::mpsc::channel();
    let entered = std::sync::Mutex::new(entered);
    let say = move |_: usize, _: &chat_api::Request| {
        entered.lock().unwrap().send(()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        Reply::json(200, &json!({ "ok": true }))
    };
    let Some(tools) = Tools::with("", true, say) else { return };
    tools.command(QUESTION).expect(200);
    when_entered.recv_timeout(PATIENCE).unwrap();
    let (status, took) = tools.server.interrupt();
    assert_eq!(status, Some(0));
    assert!(took >= Duration::from_millis(200), "{took:?}: the message was still on its way");
    assert_eq!(tools.api.seen().len(), 1);
}

#[test]
fn without_a_network_a_command_is_answered_at_once() {
    let never = Arc::new(|_: usize, _: &chat_api::Request| -> Reply { Reply::HangUp });
    let Some(tools) = Tools::with("", false, move |n, it| never(n, it)) else { return };
    let answer = tools.command(QUESTION).expect(200);
    assert!(texts(&answer).contains("trois jours"), "{answer}");
    assert_eq!(answer["response_type"], "ephemeral");
    let answer = mattermost(&tools, "command", "firsttoken", QUESTION).expect(200);
    assert!(answer["text"].as_str().unwrap().contains("trois jours"), "{answer}");
    let mention = json!({ "type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.1",
                          "text": QUESTION });
    assert_eq!(tools.event("Ev1", &mention).status, 200);
    assert!(tools.api.seen().is_empty());
}

pub(crate) fn mattermost(tools: &Tools, kind: &str, token: &str, text: &str) -> Response {
    let response_url = format!("http://127.0.0.1:{}/hooks/commands/x1", tools.api.port());
    let body = form(&[
        ("token", token),
        ("team_id", "t1"),
        ("channel_id", "c1"),
        ("user_id", "u1"),
        ("user_name", "ana"),
        ("command", "/docs"),
        ("text", text),
        ("trigger_word", "docs:"),
        ("response_url", &response_url),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = format!("/integrations/mattermost/{kind}");
    tools.server.request("POST", &path, &headers, body.as_bytes())
}

#[test]
fn mattermost_asks_by_command_and_by_webhook() {
    let Some(tools) = Tools::new() else { return };
    for token in ["", "firsttoken, secondtoken", "wrong"] {
        mattermost(&tools, "command", token, QUESTION).refuses(401, &["not signed"]);
        mattermost(&tools, "webhook", token, QUESTION).refuses(401, &["not signed"]);
    }
    let acknowledged = mattermost(&tools, "command", "secondtoken", QUESTION).expect(200);
    assert_eq!(acknowledged["response_type"], "ephemeral");
    let answer = tools.posted(0);
    assert_eq!(answer.path, "/hooks/commands/x1");
    let text = answer.body["text"].as_str().unwrap();
    assert!(text.contains("trois jours") && text.contains("](http://"), "{text}");
    assert!(text.starts_with("> Combien"), "{text}");

    let text = format!("docs: {QUESTION}");
    let answer = mattermost(&tools, "webhook", "firsttoken", &text).expect(200);
    assert_eq!(answer["response_type"], "comment");
    assert!(answer["text"].as_str().unwrap().contains("trois jours"), "{answer}");
    // The same as JSON.
    let json = json!({ "token": "firsttoken", "text": text, "trigger_word": "docs:",
                       "user_id": "u1", "channel_id": "c1" });
    let answer = tools.server.post("/integrations/mattermost/webhook", &json).expect(200);
    assert!(answer["text"].as_str().unwrap().contains("trois jours"), "{answer}");
    let usage = mattermost(&tools, "webhook", "firsttoken", "docs:").expect(200);
    assert!(usage["text"].as_str().unwrap().contains("Posez une question"), "{usage}");
    let elsewhere = form(&[
        ("token", "firsttoken"),
        ("text", QUESTION),
        ("response_url", "http://evil.example/hooks/commands/x1"),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = "/integrations/mattermost/command";
    let response = tools.server.request("POST", path, &headers, elsewhere.as_bytes());
    response.refuses(400, &["evil.example"]);
}

pub(crate) fn teams(tools: &Tools, text: &str, secret: &str) -> Response {
    let body = json!({
        "type": "message",
        "id": "1700000000000",
        "channelId": "msteams",
        "from": { "id": "29:1", "name": "Ana", "aadObjectId": "11111111-2222" },
        "conversation": { "id": "19:abc@thread.tacv2;messageid=1700000000000" },
        "text": format!("<at>Souffleur</at> {text}\n"),
    });
    let body = body.to_string();
    let key = BASE64_STANDARD.decode(secret).unwrap();
    let authorization = format!("HMAC {}", BASE64_STANDARD.encode(hmac(&key, &body)));
    let headers = [("content-type", "application/json"), ("authorization", &authorization)];
    tools.server.request("POST", "/integrations/teams", &headers, body.as_bytes())
}

#[test]
fn teams_is_answered_at_once() {
    let Some(tools) = Tools::new() else { return };
    teams(&tools, QUESTION, "d3Jvbmc=").refuses(401, &["not signed"]);
    tools.server.post("/integrations/teams", &json!({ "text": "?" })).refuses(401, &["not signed"]);
    let answer = teams(&tools, QUESTION, TEAMS_SECRET).expect(200);
    assert_eq!(answer["type"], "message");
    let text = answer["text"].as_str().unwrap();
    assert!(text.contains("trois jours") && text.contains("](http://"), "{text}");
    let usage = teams(&tools, "", TEAMS_SECRET).expect(200);
    assert!(usage["text"].as_str().unwrap().contains("Posez une question"), "{usage}");
    let audit = tools.server.get("/v1/audit").expect(200).to_string();
    assert!(audit.contains("teams.ask") && audit.contains("teams:11111111-2222"), "{audit}");
}

#[test]
fn tools_that_are_not_set_up_are_not_there() {
    let Some(server) = Server::quoting(&[("policy.md", POLICY)]) else { return };
    for path in ["slack/command", "slack/events", "mattermost/command", "teams"] {
        server.post(&format!("/integrations/{path}"), &json!({})).refuses(404, &[path]);
    }
}

#[test]
fn settings_that_cannot_work_are_named_at_once() {
    let Some(world) = World::new() else { return };
    for (settings, words) in [
        ("[serve.slack]\nsigning_secret_env = \"T_NOT_SET\"", ["signing_secret_env", "T_NOT_SET"]),
        ("[serve.slack]\nbot_token_env = \"T_SET\"", ["bot_token_env", "signing_secret_env"]),
        ("[serve.teams]\nsecret_env = \"T_SET\"", ["T_SET", "Base64"]),
        (
            "[serve.mattermost]\ntoken_env = \"T_SET\"\nurl = \"chat.example\"",
            ["serve.mattermost.url", "http"],
        ),
    ] {
        world.write("souffleur.toml", settings);
        let mut command = world.command(&["serve", "--addr", "127.0.0.1:0"]);
        let out = command.env("T_SET", "not base64!").output().unwrap();
        check_failure(&out, 2, &words);
    }
}
