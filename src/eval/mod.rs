//! How well the engine does on judged questions.

pub mod metrics;
pub mod retrieval;
