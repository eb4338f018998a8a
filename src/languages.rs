//! Which languages of the documents the embedder was not made for.

use ingest::document::Language;

/// The languages of which the catalog holds text and in which the embedder is not at home, with
/// their share of chunks.
#[must_use]
pub fn foreign_languages(
    counts: &[(Option<Language>, u64)],
    speaks: &dyn Fn(&str) -> bool,
) -> Vec<(Language, f64)> {
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    counts
        .iter()
        .filter_map(|(language, n)| Some(((*language)?, *n)))
        .filter(|(language, n)| *n > 0 && !speaks(language.code()))
        .map(|(language, n)| {
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
            let share = n as f64 / total as f64;
            (language, share)
        })
        .collect()
}
