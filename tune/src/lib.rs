//! Documents to training data, and training data to adapters.

pub mod dataset;
pub mod reward;
pub mod train;
