//! The endpoints that OpenAI's clients know.

pub(super) mod chat;
pub(super) mod embeddings;
mod marks;
pub(super) mod models;
mod request;
pub(super) mod rerank;
mod sources;
mod stream;
