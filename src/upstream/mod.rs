//! Models on a server: any that speaks OpenAI's protocol, such as vLLM, llama.cpp's or Ollama's.
//!
//! What is sent leaves this process, so the rest of the program comes here only where the settings
//! say so, and never with `offline`. Read in this order: [`chat`] asks for an answer and
//! [`embeddings`] for vectors, both through [`client`], which tries again where that makes sense
//! ([`retry`], [`breaker`]) over [`http`], the one place that opens a socket. JSON shapes are in
//! `protocol` alone.

pub mod breaker;
pub mod chat;
pub mod client;
pub mod embeddings;
pub mod error;
pub mod estimate;
pub mod http;
pub mod probe;
pub mod retry;
pub mod settings;
pub mod sse;

mod open;
mod protocol;
pub(crate) mod write;

/// The name of the generator, and of the embedder, that is a server.
pub const OPENAI: &str = "openai";
