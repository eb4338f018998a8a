//! What people thought of answers, put to use: questions whose answers are known, and few-shot
//! examples. Rows to train on are made in [`crate::dataset::feedback`].

pub mod checks;
pub mod example;
pub mod forgotten;
pub mod questions;
