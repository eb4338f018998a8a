//! The corpus becomes training data: rows with their provenance, in a folder, made without any
//! language model or with one whose rows are checked one by one.
//!
//! The flow is [`build::build`]: sources, questions, prompts as answering makes them, rows.

pub mod build;
pub mod feedback;
pub mod folder;
pub mod parts;
mod refusals;
pub mod settings;
mod sources;
pub mod teller;
mod written;
