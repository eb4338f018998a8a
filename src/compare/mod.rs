//! The same questions to several variants of the engine, and what follows from their answers:
//! arms → answers → scores → statistics → verdict → report.
//!
//! The rules are stated in `docs/compare.md`.

pub mod arms;
pub mod intervals;
pub mod judge;
pub mod kept;
pub mod questions;
pub mod rating;
pub mod ready;
pub mod report;
pub mod report_files;
pub mod reports;
pub mod result;
pub mod run;
pub mod scores;
pub mod stats;
pub mod trained;
pub mod verdict;
pub mod whole;

#[cfg(test)]
mod tests;
