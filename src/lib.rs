//! Souffleur: answers questions over your documents with a local language model and proven
//! citations.
//!
//! Two flows live here, each readable in one short function:
//!
//! - build, [`build_index::build_index`]: discover, read, chunk, embed, record, apply;
//! - ask, [`engine::Engine::ask`]: retrieve, compose, generate, cite.
//!
//! The modules below are in reading order.

pub mod engine;
pub mod build_index;
pub mod rebuild;
pub mod survey;
pub mod retrieve;
pub mod condense;
pub mod relevance;
pub mod compose;
pub mod cite;
pub mod extract;
pub mod prompts;
pub mod words;
pub mod eval;
pub mod config;
pub mod session;
pub mod cli;
pub mod commands;
pub mod wire;
pub mod printer;
pub mod hints;
