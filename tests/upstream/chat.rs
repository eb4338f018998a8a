//! Replies of servers that work, and of servers that fail.

use std::{
    cell::Cell,
    ops::ControlFlow,
    sync::mpsc,
    time::{Duration, Instant},
};

use model::{chat::Turn, generate::FinishReason, sample::SampleOptions};
use serde_json::json;
use souffleur::{
    hints,
    upstream::{
        chat::{Chat, ChatOptions, Reply, ReplyEvent, Usage},
        client::ClientOptions,
        error::{Phase, UpstreamError},
        estimate::Tokens,
        settings::Secret,
    },
};

use crate::{
    options,
    server::{Reply as Say, Request, Server, Step, nobody},
};

fn chat(options: ClientOptions) -> Chat {
    let model = "m".to_owned();
    let tokens = Tokens::Estimated;
    Chat::new(options, ChatOptions { model, context_tokens: 4096, tokens, small: false })
}

/// Asks, and gives what came and what was shown.
fn ask(chat: &Chat) -> (Result<Reply, UpstreamError>, String) {
    let mut shown = String::new();
    let turns = [Turn::system("Be brief."), Turn::user("How many days?")];
    let reply = chat.reply(&turns, &SampleOptions::default(), &mut |event| {
        if let ReplyEvent::Text(text) = event {
            shown.push_str(text);
        }
        ControlFlow::Continue(())
    });
    (reply, shown)
}

fn ask_once(
    say: impl Fn() -> Say + Send + Sync + 'static,
) -> (Result<Reply, UpstreamError>, String) {
    let server = Server::start(move |_, _| say());
    ask(&chat(options(&server.url())))
}

#[test]
fn a_stream_becomes_a_reply() {
    let server = Server::start(|_, _| Say::texts(&["Trois ", "jours", " [1]. 😀"]));
    let key = Secret::new("sk-abc");
    let chat = chat(ClientOptions { key, ..options(&server.url()) });
    let (reply, shown) = ask(&chat);
    let expected = Reply {
        text: "Trois jours [1]. 😀".to_owned(),
        reasoning: None,
        finish: FinishReason::Stop,
        usage: Some(Usage { n_prompt_tokens: 77, n_tokens: 5 }),
    };
    assert_eq!(reply.unwrap(), expected);
    assert_eq!(shown, expected.text);
    let [request] = &server.seen()[..] else { panic!("one request") };
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.header("authorization"), Some("Bearer sk-abc"));
    assert_eq!(request.body["model"], "m");
    assert_eq!(request.body["messages"][1], json!({"role": "user", "content": "How many days?"}));
    assert_eq!(request.body["stream"], true);
}

#[test]
fn text_is_shown_while_the_server_still_writes() {
    let (go, signal) = mpsc::channel();
    let steps = std::sync::Mutex::new(Some(vec![
        Step::text("one "),
        Step::Wait(signal),
        Step::text("two"),
        Step::finish("stop"),
    ]));
    let server = Server::start(move |_, _| Say::Stream(steps.lock().unwrap().take().unwrap()));
    let chat = chat(options(&server.url()));
    let mut shown = Vec::new();
    // The server goes on only once the first text was shown.
    let reply = chat.reply(&[Turn::user("?")], &SampleOptions::default(), &mut |event| {
        if let ReplyEvent::Text(text) = event {
            shown.push(text.to_owned());
            if shown.len() == 1 {
                go.send(()).unwrap();
            }
        }
        ControlFlow::Continue(())
    });
    assert_eq!(reply.unwrap().text, "one two");
    assert_eq!(shown, ["one ", "two"]);
}

#[test]
fn reasoning_is_taken_off_and_not_shown() {
    let fields = || {
        Say::Stream(vec![
            Step::json(&json!({"choices": [{"delta": {"reasoning_content": "So A"}}]})),
            Step::json(&json!({"choices": [{"delta": {"reasoning_content": " then B."}}]})),
            Step::text("Three."),
            Step::finish("stop"),
        ])
    };
    let marks = || Say::texts(&["<thi", "nk>So A then B.</th", "ink>\n\nThr", "ee."]);
    let says: [fn() -> Say; 2] = [fields, marks];
    for say in says {
        let (reply, shown) = ask_once(say);
        let reply = reply.unwrap();
        assert_eq!((reply.text.as_str(), shown.as_str()), ("Three.", "Three."));
        assert_eq!(reply.reasoning.as_deref(), Some("So A then B."));
    }
    // The opening mark was in the prompt: text cannot be unshown, but the reply is right.
    let (reply, _) = ask_once(|| Say::texts(&["So A.\n</think>\n\nThree."]));
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.reasoning.as_deref()), ("Three.", Some("So A.")));
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let (reply, shown) = ask_once(|| {
        Say::json(
            200,
            &json!({
                "choices": [{"message": {"content": "Three."}, "finish_reason": "length"}],
            }),
        )
    });
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), shown.as_str()), ("Three.", "Three."));
    assert_eq!((reply.finish, reply.usage), (FinishReason::Length, None));
}

/// Expects one failure, without further tries, that says `words` and has a hint.
#[track_caller]
fn fails(say: impl Fn() -> Say + Send + Sync + 'static, words: &[&str]) -> UpstreamError {
    let server = Server::start(move |_, _| say());
    let chat = chat(options(&server.url()));
    let error = ask(&chat).0.unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "must say `{word}`: {text}");
    }
    assert!(text.contains(&format!("127.0.0.1:{}", server.port())), "must name the server: {text}");
    assert!(hints::upstream(&error).is_some(), "must say what to do: {text}");
    assert_eq!(server.seen().len(), 1, "must not be tried again: {text}");
    error
}

fn said(status: u16, message: &'static str) -> impl Fn() -> Say + Send + Sync {
    move || Say::json(status, &json!({"error": {"message": message, "type": "x", "code": null}}))
}

#[test]
fn refusals_say_why_and_are_not_tried_again() {
    let error = fails(said(401, "Invalid API key"), &["refuses the key", "401", "Invalid API"]);
    assert!(matches!(error, UpstreamError::Unauthorized { status: 401, .. }));
    let error = fails(said(404, "model 'm' not found, try pulling it first"), &["no model `m`"]);
    assert!(matches!(error, UpstreamError::ModelNotFound { .. }));
    let not_found = || Say::json(404, &json!({"detail": "Not Found"}));
    let error = fails(not_found, &["nothing at /chat/completions", "Not Found"]);
    assert!(matches!(error, UpstreamError::NotFound { .. }));
    let too_long =
        "This model's maximum context length is 2048 tokens. However, you requested 3000";
    let error = fails(said(400, too_long), &["too long", "2048"]);
    assert!(matches!(error, UpstreamError::ContextTooLong { .. }));
    let error = fails(said(400, "temperature must be below 2"), &["400", "temperature"]);
    assert!(matches!(error, UpstreamError::Refused { status: 400, .. }));
}

#[test]
fn what_is_not_the_protocol_is_called_so() {
    let page = || {
        let headers = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
        Say::Whole(200, headers, "<html><h1>Sign in</h1></html>".to_owned())
    };
    let error = fails(page, &["a web page", "/chat/completions", "Sign in"]);
    assert!(matches!(error, UpstreamError::NotProtocol { .. }));
    let half = || {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Say::Whole(200, headers, "{\"choices\": [".to_owned())
    };
    let error = fails(half, &["JSON that cannot be read"]);
    assert!(matches!(error, UpstreamError::BadJson { .. }));
    let bad_event = || Say::Stream(vec![Step::Data("{\"choices\"".to_owned())]);
    let error = fails(bad_event, &["JSON that cannot be read", "{\"choices\""]);
    assert!(matches!(error, UpstreamError::BadJson { .. }));
    fails(|| Say::Raw("SSH-2.0-OpenSSH_9.2\r\n"), &["could not reach"]);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|_, _| Say::texts(&["stolen"]));
    let location = format!("{}/chat/completions", elsewhere.url());
    for status in [301, 302, 307, 308] {
        let location = location.clone();
        let error = fails(
            move || Say::Whole(status, vec![("Location", location.clone())], String::new()),
            &["redirects to", "not followed"],
        );
        assert!(matches!(error, UpstreamError::Redirected { .. }));
    }
    assert!(elsewhere.seen().is_empty(), "texts go only to the host of the settings");
}

#[test]
fn an_answer_without_words_is_an_error() {
    fails(|| Say::texts(&[" \n"]), &["wrote no answer", "0 characters of reasoning"]);
    let thinks = || Say::Stream(vec![Step::text("<think>So"), Step::finish("length")]);
    fails(thinks, &["wrote no answer", "2 characters of reasoning"]);
    let filtered = || Say::Stream(vec![Step::text("Thr"), Step::finish("content_filter")]);
    fails(filtered, &["content filter"]);
}

#[test]
fn a_key_that_the_server_repeats_is_struck_out() {
    let server = Server::start(|_, _| said(401, "Incorrect API key provided: sk-abc.")());
    let key = Secret::new("sk-abc");
    let error = ask(&chat(ClientOptions { key, ..options(&server.url()) })).0.unwrap_err();
    assert!(error.to_string().contains("provided: ***."), "{error}");
    assert!(!format!("{error:?}").contains("sk-abc"));
}

#[test]
fn nobody_at_the_address() {
    let error = ask(&chat(options(&nobody()))).0.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("could not reach") && text.contains("refused"), "{text}");
    assert!(text.contains("tried 3 times"), "{text}");
    assert!(matches!(error.last(), UpstreamError::Connect { .. }));
    assert!(hints::upstream(&error).is_some_and(|it| it.contains("base_url")));
}

/// What the server says at first fails; then it works. Expects so many requests in the end.
#[track_caller]
fn recovers(n_requests: usize, say: impl Fn(usize) -> Say + Send + Sync + 'static) {
    let server = Server::start(move |n, _| say(n));
    let (reply, shown) = ask(&chat(options(&server.url())));
    assert_eq!(reply.unwrap().text, "Three.");
    assert_eq!(shown, "Three.");
    assert_eq!(server.seen().len(), n_requests);
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        recovers(3, move |n| match n {
            0 | 1 => said(status, "not now")(),
            _ => Say::texts(&["Three."]),
        });
    }
    recovers(2, |n| if n == 0 { Say::HangUp } else { Say::texts(&["Three."]) });
    recovers(2, |n| match n {
        0 => Say::Stream(vec![Step::Cut]),
        _ => Say::texts(&["Three."]),
    });
    recovers(2, |n| match n {
        0 => Say::Stream(vec![Step::json(&json!({"error": {"message": "x", "code": 503}}))]),
        _ => Say::texts(&["Three."]),
    });
    // Reasoning is not shown, so nothing is doubled.
    recovers(2, |n| match n {
        0 => Say::Stream(vec![Step::text("<think>So"), Step::Cut]),
        _ => Say::texts(&["Three."]),
    });
}

#[test]
fn tries_come_to_an_end() {
    let server = Server::start(|_, _| said(503, "Loading model")());
    let error = ask(&chat(options(&server.url()))).0.unwrap_err();
    assert_eq!(server.seen().len(), 3);
    assert!(error.to_string().contains("Loading model; tried 3 times"), "{error}");
    assert!(hints::upstream(&error).is_some());
}

#[test]
fn the_wait_that_the_server_asks_for_is_obeyed() {
    let start = Instant::now();
    recovers(2, |n| match n {
        0 => Say::Whole(429, vec![("Retry-After", "1".to_owned())], String::new()),
        _ => Say::texts(&["Three."]),
    });
    assert!(start.elapsed() >= Duration::from_secs(1));
    // One that is longer than anybody wants to wait ends the tries.
    let server = Server::start(|_, _| {
        Say::Whole(429, vec![("Retry-After", "3600".to_owned())], "later".to_owned())
    });
    let error = ask(&chat(options(&server.url()))).0.unwrap_err();
    assert!(matches!(error, UpstreamError::Unavailable { status: 429, .. }), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_was_shown_is_not_asked_for_again() {
    let cut = || Say::Stream(vec![Step::text("Thr"), Step::text("ee"), Step::Cut]);
    let error = fails(cut, &["broke off", "5 characters"]);
    assert!(matches!(error, UpstreamError::Cut { n_chars: 5, .. }));
    // Complete as HTTP, but neither the reason of the end nor the end mark came.
    fails(|| Say::Stream(vec![Step::text("Three")]), &["broke off"]);
    let failed = || {
        let error = json!({"error": {"message": "out of memory", "code": 500}});
        Say::Stream(vec![Step::text("Thr"), Step::json(&error)])
    };
    let error = fails(failed, &["failed while it answered", "out of memory"]);
    assert!(matches!(error, UpstreamError::InStream { .. }));
}

#[test]
fn a_complete_answer_is_kept_however_the_connection_ends() {
    for end in [|| Step::Cut, || Step::Stall] {
        let end: fn() -> Step = end;
        let server = Server::start(move |_, _| {
            Say::Stream(vec![Step::text("Three."), Step::finish("stop"), end()])
        });
        let mut options = options(&server.url());
        options.timeouts.between_chunks = Duration::from_millis(150);
        assert_eq!(ask(&chat(options)).0.unwrap().text, "Three.");
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn each_wait_has_its_limit() {
    let short = Duration::from_millis(150);
    let check = |say: fn() -> Say, change: fn(&mut ClientOptions, Duration), expected: Phase| {
        let server = Server::start(move |_, _| say());
        let mut options = options(&server.url());
        change(&mut options, short);
        let error = ask(&chat(options)).0.unwrap_err();
        let UpstreamError::Timeout { phase, after, .. } = &error else { panic!("{error}") };
        assert_eq!((*phase, *after), (expected, short));
        assert!(hints::upstream(&error).is_some());
        assert_eq!(server.seen().len(), 1, "a slow server must not be asked twice");
    };
    check(|| Say::Stall, |it, short| it.timeouts.first_byte = short, Phase::FirstByte);
    // Headers alone are no beginning of an answer.
    check(
        || Say::Stream(vec![Step::Stall]),
        |it, short| it.timeouts.first_byte = short,
        Phase::FirstByte,
    );
    check(
        || Say::Stream(vec![Step::text("Thr"), Step::Stall]),
        |it, short| it.timeouts.between_chunks = short,
        Phase::BetweenChunks,
    );
    check(
        || Say::Stream(vec![Step::text("Thr"), Step::Stall]),
        |it, short| it.timeouts.total = short,
        Phase::Total,
    );
}

#[test]
fn a_server_that_fails_again_and_again_is_left_alone() {
    let server = Server::start(|_, _| said(503, "no")());
    let mut options = options(&server.url());
    options.retry.retries = 0;
    options.breaker.failures_max = 2;
    let chat = chat(options);
    for _ in 0..2 {
        let error = ask(&chat).0.unwrap_err();
        assert!(matches!(error, UpstreamError::Unavailable { .. }), "{error}");
    }
    let error = ask(&chat).0.unwrap_err();
    assert!(matches!(error, UpstreamError::LeftAlone { n_failures: 2, .. }), "{error}");
    assert!(hints::upstream(&error).is_some());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn refusals_do_not_open_the_breaker() {
    let server = Server::start(|_, _| said(401, "no")());
    let mut options = options(&server.url());
    options.breaker.failures_max = 1;
    let chat = chat(options);
    for _ in 0..3 {
        assert!(matches!(ask(&chat).0, Err(UpstreamError::Unauthorized { .. })));
    }
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_reader_who_leaves_keeps_what_there_was() {
    let server = Server::start(|_, _| Say::Stream(vec![Step::text("Thr"), Step::Stall]));
    let chat_with = chat(options(&server.url()));
    let reply = |leave: &dyn Fn(ReplyEvent<'_>) -> bool| {
        let turns = [Turn::user("?")];
        let reply = chat_with.reply(&turns, &SampleOptions::default(), &mut |event| {
            if leave(event) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        reply.unwrap()
    };
    let at_text = reply(&|event| matches!(event, ReplyEvent::Text(_)));
    assert_eq!((at_text.text.as_str(), at_text.finish), ("Thr", FinishReason::Cancelled));
    let begun = Cell::new(false);
    let waiting = reply(&|event| match event {
        ReplyEvent::Text(_) => {
            begun.set(true);
            false
        }
        ReplyEvent::Waiting => begun.get(),
    });
    assert_eq!((waiting.text.as_str(), waiting.finish), ("Thr", FinishReason::Cancelled));

    let server = Server::start(|_, _| Say::Stall);
    let chat = chat(options(&server.url()));
    let reply =
        chat.reply(&[Turn::user("?")], &SampleOptions::default(), &mut |_| ControlFlow::Break(()));
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.finish), ("", FinishReason::Cancelled));
}

#[test]
fn a_request_carries_no_key_where_there_is_none() {
    let server = Server::start(|_, _: &Request| Say::texts(&["Three."]));
    ask(&chat(options(&server.url()))).0.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), None);
}
