//! The corpus becomes training data: rows with their provenance, in a folder, made without any
//! language model or with one whose rows are checked one by one.
//!
//! The flow is [`build::build`]: sources, questions, prompts as answering makes them, rows.

pub mod build;
pub mod feedback;
pub mod folder;
pub mod parts;
pub mod policy;
mod refusals;
pub mod settings;
mod sources;
mod target;
pub mod teller;
mod written;

use tune::dataset::row::id_of;

/// A number from 0 to 1 that is always the same for the same texts.
fn share_of(parts: &[&str]) -> f64 {
    let n = u32::from_str_radix(&id_of(parts)[..8], 16).unwrap_or(0);
    f64::from(n) / f64::from(u32::MAX)
}
