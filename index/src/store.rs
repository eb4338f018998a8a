//! Where the legs are kept.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::qdrant::ClusterSettings;

/// Where the legs of a data folder are kept.
#[derive(Debug, Clone, Default)]
pub enum Store {
    /// In the data folder itself.
    #[default]
    Embedded,
    /// On a Qdrant cluster.
    Qdrant(ClusterSettings),
}

/// The kind of a store, as manifests have it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// [`Store::Embedded`]
    #[default]
    Embedded,
    /// [`Store::Qdrant`]
    Qdrant,
}

impl StoreKind {
    /// Left out of manifests, so that those of older programs stay what they were.
    pub(crate) fn is_embedded(&self) -> bool {
        *self == Self::Embedded
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Qdrant => "qdrant",
        })
    }
}

impl Store {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::Embedded => StoreKind::Embedded,
            Self::Qdrant(_) => StoreKind::Qdrant,
        }
    }
}

/// A data folder, and where its legs are kept.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    /// The data folder.
    pub dir: &'a Path,
    /// Where its legs are.
    pub store: &'a Store,
}

impl<'a> From<&'a Path> for Home<'a> {
    /// Legs in the data folder.
    fn from(dir: &'a Path) -> Self {
        Self { dir, store: &Store::Embedded }
    }
}
