//! Training data: made from documents, read and written in the formats of others, checked and
//! split.
//!
//! The flow, each step pure but for reading and writing lines:
//!
//! 1. [`corpus`]: a document's text becomes sections, tables and paragraphs.
//! 2. [`questions`]: those become questions with answers, without any language model.
//! 3. [`filter`]: what a language model wrote is kept only where it holds.
//! 4. [`row`]: all of it becomes rows, each with its provenance; [`personal`] data leaves them.
//! 5. [`split`]: rows become training, validation and test files that share no document; [`touch`]
//!    reads what must share none.
//! 6. [`review`]: people approve, change and reject single rows.
//! 7. [`format`](mod@format), [`jsonl`], [`check`] and [`export`]: files of ours and of others;
//!    [`known`]: questions to measure with.

pub mod check;
pub mod corpus;
pub mod export;
pub mod filter;
pub mod format;
pub mod jsonl;
pub mod known;
pub mod near;
pub mod personal;
pub mod questions;
pub mod review;
pub mod row;
pub mod split;
pub mod touch;
