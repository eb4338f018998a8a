//! Souffleur: answers questions over your documents with a local language model and proven
//! citations.
//!
//! Two flows live here, each readable in one short function:
//!
//! - build, [`build_index::build_index`]: discover, read, chunk, embed, record, apply;
//! - ask, [`engine::Engine::ask`]: retrieve, compose, generate, cite.
//!
//! The modules below are in reading order.

pub mod answer;
pub mod build_index;
pub mod cite;
pub mod cli;
pub mod commands;
pub mod compose;
pub mod condense;
pub mod config;
pub mod engine;
pub mod eval;
pub mod extract;
pub mod hints;
mod in_order;
pub mod languages;
mod look;
pub mod printer;
pub mod prompts;
pub mod rebuild;
pub mod relevance;
pub mod retrieve;
pub mod session;
pub mod survey;
pub mod wire;
pub mod words;
