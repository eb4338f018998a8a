//! `souffleur serve` as its clients meet it: a process of its own, real models, plain HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod answers;
mod arena;
#[path = "../upstream/server.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod chat_api;
mod documents;
mod hostile;
mod jobs;
mod lab;
mod links;
mod mcp;
mod protocol;
mod server;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;
mod tools;
