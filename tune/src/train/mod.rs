//! Training data to a LoRA adapter, or to a model of its own.
//!
//! [`rows`] reads a file of examples, [`encode`] turns each into token ids and which of them to
//! learn, [`run::train`] is the loop, and what it leaves is a PEFT folder, or a model's, with a
//! record of how it was made and of what was forgotten ([`ability`]). Everything is a function of base, data, settings and seed: a run that was stopped and
//! goes on ends with the numbers of one that was not.

pub mod ability;
pub mod encode;
pub mod error;
pub mod event;
pub mod log;
pub mod order;
pub mod rows;
pub mod run;
pub mod settings;

mod best;
mod checkpoint;
mod objective;
mod report;
mod result;

pub use error::TuneError;
pub use report::DROPPED;
