//! Documents to training data, and training data to adapters.

pub mod train;
