//! The folders that an index was built from.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use index::{Index, catalog::CatalogError};

/// Folders with how many documents each holds.
pub type Roots = BTreeMap<PathBuf, usize>;

/// The folders ingested before: those that are still there, and the others.
///
/// # Errors
/// When the catalog cannot be read.
pub fn known_roots(index: &Index) -> Result<(Roots, Roots), CatalogError> {
    let mut counts = Roots::new();
    for document in index.catalog().list()? {
        *counts.entry(PathBuf::from(document.source.root)).or_default() += 1;
    }
    let is_there = |path: &Path| !path.try_exists().is_ok_and(|exists| !exists);
    Ok(counts.into_iter().partition(|(path, _)| is_there(path)))
}
