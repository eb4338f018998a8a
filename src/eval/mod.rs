//! Measuring: retrieval against judgements, answers against known ones.

pub mod answers;
pub mod metrics;
pub mod retrieval;
