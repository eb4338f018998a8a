//! Against llama.cpp's own server. `docs/upstream.md` says how to start it for these tests.
//!
//! Reads `LLAMA_SERVER_URL` (a chat model) and `LLAMA_EMBEDDINGS_URL` (the same server program
//! with `--embeddings`); says loudly what was skipped without them.

use std::ops::ControlFlow;

use model::{chat::Turn, embed::TextRole, generate::FinishReason, sample::SampleOptions};
use souffleur::upstream::{
    chat::{Chat, ChatOptions, Reply, ReplyEvent},
    embeddings::{EmbedderOptions, UpstreamEmbedder},
    error::UpstreamError,
    estimate::Tokens,
};

use crate::{options, variable};

fn url(name: &str) -> Option<String> {
    let url = variable(name);
    if url.is_none() {
        println!("SKIPPED: set {name} to the address of llama.cpp's server to run this test");
    }
    url
}

fn chat(url: &str) -> Chat {
    let known = ChatOptions {
        model: "any".to_owned(),
        context_tokens: 2048,
        tokens: Tokens::Estimated,
        small: true,
    };
    Chat::new(options(url), known)
}

fn reply(chat: &Chat, text: &str, options: &SampleOptions) -> Result<Reply, UpstreamError> {
    let mut shown = String::new();
    let reply = chat.reply(&[Turn::user(text)], options, &mut |event| {
        if let ReplyEvent::Text(text) = event {
            shown.push_str(text);
        }
        ControlFlow::Continue(())
    })?;
    assert_eq!(shown.trim(), reply.text.trim());
    Ok(reply)
}

#[test]
fn llama_cpp_answers() {
    let Some(url) = url("LLAMA_SERVER_URL") else { return };
    let chat = chat(&url);
    let listed = chat.listed().unwrap();
    assert!(!listed.models.is_empty() && !listed.has_model, "{listed:?}");
    let question = "Name three colours of the rainbow, in one sentence.";
    let options = SampleOptions { tokens_max: 40, seed: 3, ..SampleOptions::default() };
    let first = reply(&chat, question, &options).unwrap();
    assert_eq!(reply(&chat, question, &options).unwrap().text, first.text, "greedy is repeatable");
    let usage = first.usage.unwrap();
    assert!(usage.n_prompt_tokens > 5 && usage.n_tokens > 1, "{usage:?}");
    let estimated = chat.estimate(&[Turn::user(question)]);
    println!("estimated {estimated} tokens, read {}", usage.n_prompt_tokens);

    let short = reply(&chat, question, &SampleOptions { tokens_max: 3, ..options.clone() });
    assert_eq!(short.unwrap().finish, FinishReason::Length);
    let first_word = first.text.split_whitespace().nth(2).unwrap().to_owned();
    let stopped = SampleOptions { stop: vec![first_word.clone()], ..options };
    let stopped = reply(&chat, question, &stopped).unwrap();
    assert!(first.text.starts_with(stopped.text.trim_end()), "{stopped:?} of {first:?}");
    assert!(!stopped.text.contains(&first_word), "{stopped:?}");
}

#[test]
fn llama_cpp_refuses_what_is_too_long() {
    let Some(url) = url("LLAMA_SERVER_URL") else { return };
    let long = "The quick brown fox jumps over the lazy dog. ".repeat(4000);
    let error = reply(&chat(&url), &long, &SampleOptions::default()).unwrap_err();
    assert!(matches!(error, UpstreamError::ContextTooLong { .. }), "{error}");
    println!("{error}");
}

#[test]
fn llama_cpp_embeds() {
    let Some(url) = url("LLAMA_EMBEDDINGS_URL") else { return };
    let known = |dimension| EmbedderOptions {
        model: "any".to_owned(),
        dimension,
        tokens_max: 512,
        batch_max: 2,
        query_prefix: String::new(),
        passage_prefix: String::new(),
        tokens: Tokens::Estimated,
    };
    let dimension = UpstreamEmbedder::new(options(&url), known(1)).measure().unwrap();
    let embedder = UpstreamEmbedder::new(options(&url), known(dimension));
    let texts = ["Remote work is allowed.", "The car park opens at 7.", "Remote work is allowed."];
    let embedded = embedder.embed(&texts, TextRole::Passage).unwrap();
    let cosine = |i: usize, j: usize| -> f32 {
        embedded.row(i).iter().zip(embedded.row(j)).map(|(a, b)| a * b).sum()
    };
    assert!(cosine(0, 2) > 0.999 && cosine(0, 1) < 0.999, "{} {}", cosine(0, 2), cosine(0, 1));
}
