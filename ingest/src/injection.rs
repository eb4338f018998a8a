//! Text that is addressed to a language model rather than to a reader.

use crate::document::Finding;

/// Finds instruction-like text, French and English. Each finding is a
/// [`Finding::Instruction`] that quotes the words that gave it away.
#[must_use]
pub fn find(text: &str) -> Vec<Finding> {
    let _ = text;
    unimplemented!()
}
