//! Chunks and vectors to hits; the catalog that is the truth.

pub mod filter;
pub mod hit;
