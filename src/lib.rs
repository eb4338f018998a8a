//! Souffleur: answers questions over your documents with a local language model and proven
//! citations.
//!
//! Two flows live here, each readable in one short function:
//!
//! - build, [`build_index::build_index`]: discover, read, chunk, embed, record, apply;
//! - ask, [`engine::Engine::ask`]: retrieve, compose, generate, cite.
//!
//! The modules below are in reading order.

mod alone;
pub mod answer;
pub mod asked;
pub mod best_of;
pub mod build_index;
pub mod cite;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod compare;
pub mod compose;
pub mod condense;
pub mod config;
mod crowd;
pub mod dataset;
pub mod embedder;
pub mod engine;
pub mod eval;
mod examples;
pub mod expected;
pub mod extract;
pub mod feedback;
pub mod hints;
mod in_order;
pub mod known_roots;
pub mod languages;
mod look;
mod open_encoders;
pub mod places;
pub mod printer;
pub mod prompts;
pub mod ranges;
pub mod reasons;
pub mod rebuild;
pub mod records;
pub mod relevance;
pub mod rerank;
pub mod retrieve;
pub mod reward;
#[cfg(test)]
pub(crate) mod samples;
pub mod serve;
pub mod session;
pub mod stale;
pub mod survey;
pub mod taught;
mod together;
pub mod units;
pub mod upstream;
pub mod versions;
pub mod wire;
pub mod words;
pub mod writer;
