//! Models on servers: against a small server of our own that fails in every way, through the
//! client and through the program; and against llama.cpp's server where there is one.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod chat;
mod embeddings;
mod llama_cpp;
mod program;
mod server;
mod tokens;
mod written;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use souffleur::upstream::{
    breaker::BreakerLimits,
    client::ClientOptions,
    http::{BaseUrl, Timeouts},
    retry::RetryLimits,
    settings::Secret,
};

#[expect(clippy::disallowed_methods, reason = "a test asks its environment for a real server")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Options for a server at `url`: no waits between tries, limits that are never reached.
fn options(url: &str) -> ClientOptions {
    let long = Duration::from_secs(60);
    ClientOptions {
        base: BaseUrl::parse("test", url).unwrap(),
        key: Secret::default(),
        timeouts: Timeouts { connect: long, first_byte: long, between_chunks: long, total: long },
        retry: RetryLimits { retries: 2, wait: Duration::ZERO, wait_max: Duration::from_secs(5) },
        breaker: BreakerLimits { failures_max: 100, open_for: Duration::from_secs(3600) },
        interrupted: Arc::new(AtomicBool::new(false)),
    }
}
