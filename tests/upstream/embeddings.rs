//! Vectors of servers that work, and of servers that fail.

use model::embed::TextRole;
use serde_json::{Value, json};
use souffleur::{
    hints,
    upstream::{
        embeddings::{EmbedderOptions, UpstreamEmbedder},
        error::UpstreamError,
        estimate::Tokens,
    },
};

use crate::{
    options,
    server::{Reply as Say, Request, Server},
};

fn embedder(server: &Server) -> UpstreamEmbedder {
    let known = EmbedderOptions {
        model: "e".to_owned(),
        dimension: 2,
        tokens_max: 512,
        batch_max: 2,
        query_prefix: "query: ".to_owned(),
        passage_prefix: String::new(),
        tokens: Tokens::Estimated,
    };
    UpstreamEmbedder::new(options(&server.url()), known)
}

/// A vector (length of the text, 1) for each text, the last one first.
fn lengths(request: &Request) -> Say {
    let texts = request.body["input"].as_array().unwrap();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .rev()
        .map(|(index, it)| json!({"index": index, "embedding": [it.as_str().unwrap().len(), 1]}))
        .collect();
    Say::json(200, &json!({"data": data, "usage": {"prompt_tokens": 3}}))
}

#[test]
fn texts_become_unit_vectors_in_bounded_batches() {
    let server = Server::start(|_, request| lengths(request));
    let texts = ["", "a", "aa", "aaa", "aaaa"];
    let embedded = embedder(&server).embed(&texts, TextRole::Passage).unwrap();
    assert_eq!((embedded.len(), embedded.dim(), embedded.n_tokens), (5, 2, 9));
    for (row, text) in embedded.rows().zip(texts) {
        assert!((row[0].hypot(row[1]) - 1.0).abs() < 1e-6);
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let length = text.len() as f32;
        assert!((row[0] / row[1] - length).abs() < 1e-5, "{row:?} is not of {text:?}");
    }
    let sizes: Vec<usize> =
        server.seen().iter().map(|it| it.body["input"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(server.seen()[0].path, "/v1/embeddings");
    assert_eq!(server.seen()[0].body["model"], "e");
}

#[test]
fn questions_are_sent_once_and_with_their_prefix() {
    let server = Server::start(|_, request| lengths(request));
    let embedder = embedder(&server);
    let first = embedder.embed(&["a"], TextRole::Query).unwrap();
    let both = embedder.embed(&["b", "a"], TextRole::Query).unwrap();
    assert_eq!(first.row(0), both.row(1));
    let sent: Vec<Value> = server.seen().iter().map(|it| it.body["input"].clone()).collect();
    assert_eq!(sent, [json!(["query: a"]), json!(["query: b"])]);
}

#[test]
fn no_text_needs_no_server() {
    let server = Server::start(|_, _| Say::HangUp);
    assert!(embedder(&server).embed(&[], TextRole::Passage).unwrap().is_empty());
    assert!(server.seen().is_empty());
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start(|n, request| match n {
        0 => Say::json(503, &json!({"error": {"message": "Loading model", "code": 503}})),
        _ => lengths(request),
    });
    assert_eq!(embedder(&server).embed(&["a"], TextRole::Passage).unwrap().len(), 1);
    assert_eq!(server.seen().len(), 2);
}

#[track_caller]
fn fails(status: u16, body: &Value, words: &[&str]) -> UpstreamError {
    let body = body.clone();
    let server = Server::start(move |_, _| Say::json(status, &body));
    let error = embedder(&server).embed(&["a", "b"], TextRole::Passage).unwrap_err();
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "must say `{word}`: {text}");
    }
    assert!(hints::upstream(&error).is_some(), "must say what to do: {text}");
    error
}

#[test]
fn vectors_that_do_not_fit_are_errors() {
    let rows = |rows: &[Value]| {
        let rows: Vec<Value> = rows.iter().map(|it| json!({"embedding": it})).collect();
        json!({"data": rows})
    };
    fails(200, &rows(&[json!([1, 0])]), &["1 vectors for 2 texts"]);
    fails(200, &rows(&[json!([1, 0, 0]), json!([1, 0, 0])]), &["3 dimensions", "say 2"]);
    fails(200, &rows(&[json!([1, 0]), json!([0, 0])]), &["without direction", "text 1"]);
    fails(200, &rows(&[json!([1, 0]), json!(["x", 0])]), &["not of numbers"]);
    fails(200, &json!({"object": "list"}), &["no `data`"]);
    let error = fails(200, &json!({"error": {"message": "no such thing"}}), &["no such thing"]);
    assert!(matches!(error, UpstreamError::InStream { .. }));
    let unknown = json!({"error": {"message": "The model `e` does not exist."}});
    let error = fails(404, &unknown, &["no model `e`"]);
    assert!(matches!(error, UpstreamError::ModelNotFound { .. }));
}

#[test]
fn the_length_of_vectors_is_measured() {
    let server = Server::start(|_, _| {
        Say::json(200, &json!({"data": [{"index": 0, "embedding": [1, 2, 3]}]}))
    });
    assert_eq!(embedder(&server).measure().unwrap(), 3);
}
