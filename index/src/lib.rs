//! Chunks and vectors to hits; the catalog that is the truth.
//!
//! A data folder holds
//!
//! ```text
//! catalog.db            all that is true: documents, texts, chunks, vectors, outbox
//! generations/<id>/     derived: lexical/, dense/, manifest.json; rebuilt from the catalog at will
//! lock                  held by the one process that uses the folder
//! ```
//!
//! Writes go to the [`Catalog`], one durable transaction each. [`Index::apply`] brings the two
//! legs up to it. Searches ask a leg and let the catalog confirm: a deleted document cannot
//! answer, whatever the legs still hold. A crash at any point loses nothing.
//!
//! Both legs may be on a Qdrant cluster instead: see `qdrant`.
//!
//! Everything takes `&self`: any number of threads may search while one ingests. Reading order:
//! [`catalog`], `writer`, `generation`, `open`, `lexical`, `dense`, `qdrant`, `fuse`.

pub mod atomic_file;
pub mod catalog;
mod dense;
pub mod filter;
pub mod fingerprint;
pub mod fuse;
mod generation;
pub mod hit;
pub mod lexical;
mod lock;
mod migrate;
mod open;
mod qdrant;
mod reserve;
mod store;
pub mod unit_vector;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use catalog::{Catalog, CatalogError, content_hashes, live_recipe};
pub use dense::DenseError;
pub use migrate::Migrated;
pub use open::{OpenError, Preparing, RebuildError, Recut};
pub use qdrant::{Asking, ClusterError, ClusterSettings, Patience};
pub use store::{Home, Store, StoreKind};
pub use writer::Applied;

use catalog::StoredDocument;
use filter::Filter;
use fingerprint::Recipe;
use hit::{ChunkId, DocumentId, Hit};
use ingest::document::Language;
use lexical::{LexicalError, TermScore};
use lock::Lock;
use unit_vector::UnitVector;
use writer::Legs;

/// The index of one data folder, held against other processes until dropped.
#[derive(Debug)]
pub struct Index {
    catalog: Catalog,
    legs: Legs,
    applying: Mutex<()>,
    /// Who only reads from a cluster holds nothing.
    _lock: Option<Lock>,
}

/// How many chunks each leg holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegCounts {
    /// The lexical leg.
    pub lexical: u64,
    /// The dense leg.
    pub dense: u64,
}

/// Why the index could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The lexical leg failed.
    #[error(transparent)]
    Lexical(#[from] LexicalError),
    /// The dense leg failed.
    #[error(transparent)]
    Dense(#[from] DenseError),
    /// The cluster that holds both legs failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The disk is nearly full. What was committed to the catalog is safe.
    #[error(
        "`{}` has {} MB left, and indexing needs {} MB",
        dir.display(),
        available / 1_000_000,
        needed / 1_000_000
    )]
    NoRoom {
        /// Where the room is needed.
        dir: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The legs do not hold as many chunks as the catalog.
    #[error(
        "the catalog has {expected} chunks, and the indexes hold {} by words and {} by vectors",
        found.lexical,
        found.dense
    )]
    OtherCount {
        /// Chunks of the catalog.
        expected: u64,
        /// Those of the legs.
        found: LegCounts,
    },
    /// A leg does not hold a chunk as the catalog does.
    #[error("chunk {} is not in the index as it is in the catalog", chunk.0)]
    Unlike {
        /// The chunk.
        chunk: ChunkId,
    },
    /// A file could not be read or written.
    #[error("the index's files could not be read or written")]
    Io {
        /// The cause, which names the file.
        source: io::Error,
    },
}

impl IndexError {
    /// What the user can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::Cluster(error) => error.hint(),
            Self::NoRoom { .. } => Some(MAKE_ROOM),
            Self::Io { source } | Self::Dense(DenseError::Io { source, .. }) => io_hint(source),
            Self::OtherCount { .. } | Self::Unlike { .. } => {
                Some("run the same command again: what is missing is built from the catalog")
            }
            Self::Lexical(_) | Self::Dense(_) => None,
        }
    }
}

const MAKE_ROOM: &str = "make room on the disk, then run the same command again";

fn io_hint(error: &io::Error) -> Option<&'static str> {
    (error.kind() == io::ErrorKind::StorageFull).then_some(MAKE_ROOM)
}

impl Index {
    /// Opens the index of a data folder.
    ///
    /// Changes that a former run left unapplied are applied first, and derived files that are
    /// damaged, missing or of another version are rebuilt; `progress` hears of both.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; each says what to do where we know.
    pub fn open<'a>(
        home: impl Into<Home<'a>>,
        recipe: &Recipe,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<Self, OpenError> {
        open::open(home.into(), recipe, false, progress)
    }

    /// As [`Index::open`], but a folder without an index gets an empty one of this recipe.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_or_create<'a>(
        home: impl Into<Home<'a>>,
        recipe: &Recipe,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<Self, OpenError> {
        open::open(home.into(), recipe, true, progress)
    }

    /// Opens what is live on a cluster, to read from it: this takes no data folder, and any number
    /// of processes may do so while one ingests. With `recipe`, only if questions are embedded as
    /// the documents were.
    ///
    /// # Errors
    ///
    /// When the cluster does not answer, or its collection is not one for this program.
    pub fn follow(
        cluster: &ClusterSettings,
        recipe: Option<&Recipe>,
    ) -> Result<(Recipe, Self), OpenError> {
        open::follow(cluster, recipe)
    }

    /// Whether searches can be answered: a cluster may be away.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    pub fn check(&self) -> Result<(), IndexError> {
        match &self.legs {
            Legs::Embedded(_) => Ok(()),
            Legs::Qdrant(it) => Ok(it.check()?),
        }
    }

    /// The version of the cluster that holds both legs, where one does.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn cluster_version(&self) -> Result<Option<String>, IndexError> {
        match &self.legs {
            Legs::Embedded(_) => Ok(None),
            Legs::Qdrant(it) => Ok(Some(it.version()?)),
        }
    }

    /// Whether this process only reads from a cluster, and has no catalog of its own.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.catalog.cluster().is_some()
    }

    /// Opens the index with another recipe: all documents are cut and embedded again from their
    /// stored texts, beside what is there, and the result replaces it in one step. With the
    /// recipe that it has already, only the derived files are built anew.
    ///
    /// # Errors
    ///
    /// See [`RebuildError`]. What was there before stays in use then.
    ///
    /// # Panics
    ///
    /// When `recut` returns another number of lists than it was given documents.
    pub fn rebuild<'a>(
        home: impl Into<Home<'a>>,
        recipe: &Recipe,
        recut: &mut Recut<'_>,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<Self, RebuildError> {
        open::rebuild(home.into(), recipe, recut, progress)
    }

    /// Forgets the documents that `choose` names, at once and for good: no search returns them any
    /// more, and when this returns no file of the data folder holds a word of them. For that, the
    /// derived files are built anew, which takes no model. Choosing none changes nothing.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Where the documents were forgotten already, and building failed, they do
    /// not answer any more, but derived files still hold traces; [`Index::rebuild`] removes these.
    pub fn forget<'a>(
        home: impl Into<Home<'a>>,
        choose: &mut dyn FnMut(&[StoredDocument]) -> Vec<DocumentId>,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<(), OpenError> {
        open::forget(home.into(), choose, progress)
    }

    /// Takes the legs of a data folder to another store: they are built there from the catalog,
    /// compared with it, and made live; then those of `former`, where they were, go. What was built
    /// by a run that did not come to its end is gone on with.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. What was live before stays in use then.
    pub fn migrate(
        home: Home<'_>,
        former: &Store,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<Migrated, OpenError> {
        migrate::migrate(home, former, progress)
    }

    /// How many chunks each leg holds. Both hold what the catalog does, unless changes are pending.
    ///
    /// # Errors
    ///
    /// When the dense leg cannot be used.
    pub fn leg_counts(&self) -> Result<LegCounts, IndexError> {
        self.legs.counts()
    }

    /// The truth: documents, texts and chunks.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Brings both legs up to the catalog, durably. Cheap when nothing is pending.
    ///
    /// # Errors
    ///
    /// When a leg cannot be written. Nothing is lost then: the next call, or the next opening,
    /// goes on from what is durable.
    pub fn apply(&self) -> Result<Applied, IndexError> {
        let _one = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        writer::apply(&self.catalog, &self.legs, &mut |_| {})
    }

    /// Whether there is room to write at all. Asked before a document is recorded, so that a full
    /// disk changes nothing.
    ///
    /// # Errors
    ///
    /// [`IndexError::NoRoom`].
    pub fn ensure_room(&self) -> Result<(), IndexError> {
        self.legs.ensure_some_room()
    }

    /// Puts the legs in order after large changes, so that searches are fast. Searches go on
    /// meanwhile. Cheap when there is nothing to do.
    ///
    /// # Errors
    ///
    /// When a leg cannot be written; it stays as it was then.
    pub fn optimize(&self) -> Result<(), IndexError> {
        let _one = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::debug!("optimising");
        if let Some(live) = self.catalog.live_recipe() {
            self.legs.optimize(&self.catalog, live.id, &mut |_| {})?;
        }
        tracing::debug!("optimised");
        Ok(())
    }

    /// The best `k` chunks by the words of a question among those that pass the filter, by BM25,
    /// best first. The question is plain text in the given language, if that is known.
    ///
    /// # Errors
    ///
    /// When a store cannot be read.
    pub fn search_lexical(
        &self,
        question: &str,
        language: Option<Language>,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        self.confirmed(filter, k, |k| self.legs.search_lexical(question, language, filter, k))
    }

    /// What each term of a question adds to a chunk's BM25 score, most first.
    ///
    /// # Errors
    ///
    /// When the lexical leg cannot be read.
    pub fn explain_lexical(
        &self,
        question: &str,
        language: Option<Language>,
        chunk: ChunkId,
    ) -> Result<Vec<TermScore>, IndexError> {
        self.legs.explain(question, language, chunk)
    }

    /// How much each distinct stem of a question tells, by how rare it is among the chunks (the
    /// inverse document frequency of BM25). Stems that no chunk holds tell most.
    ///
    /// # Errors
    ///
    /// When the lexical leg cannot be read.
    pub fn term_weights(
        &self,
        question: &str,
        language: Option<Language>,
    ) -> Result<BTreeMap<String, f32>, IndexError> {
        self.legs.term_weights(question, language)
    }

    /// Chunks that the lexical leg holds: what the weights of terms are relative to.
    ///
    /// # Errors
    ///
    /// When a cluster that holds them does not answer.
    pub fn n_searchable(&self) -> Result<u64, IndexError> {
        self.legs.n_searchable()
    }

    /// The `k` chunks nearest to a question's vector among those that pass the filter, by cosine,
    /// best first.
    ///
    /// # Errors
    ///
    /// When the vector has another dimension than the index, or a store cannot be read.
    pub fn search_dense(
        &self,
        vector: &UnitVector,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        self.confirmed(filter, k, |k| self.legs.search_dense(&self.catalog, vector, filter, k))
    }

    /// Both legs in one request, fused by the cluster by reciprocal ranks; `None` where there is
    /// no cluster. For measurements: `retrieve` fuses by score (docs/decisions/0004-fusion.md).
    ///
    /// # Errors
    ///
    /// When the cluster does not answer.
    pub fn search_by_ranks(
        &self,
        question: &Asking<'_>,
        filter: &Filter,
        k: usize,
        constant: u32,
    ) -> Result<Option<Vec<Hit>>, IndexError> {
        match &self.legs {
            Legs::Embedded(_) => Ok(None),
            Legs::Qdrant(it) => Ok(Some(it.search_by_ranks(question, filter, k, constant)?)),
        }
    }

    /// Searches a leg and drops what the catalog does not confirm. While changes are pending that
    /// can be much, so more is asked for until `k` are left or the leg has no more.
    ///
    /// Where nothing was pending before and nothing changed meanwhile, the leg says what the catalog
    /// says, and no hit is looked up.
    fn confirmed(
        &self,
        filter: &Filter,
        k: usize,
        search: impl Fn(usize) -> Result<Vec<Hit>, IndexError>,
    ) -> Result<Vec<Hit>, IndexError> {
        if self.catalog.cluster().is_some() {
            return search(k);
        }
        let mut asked = k;
        loop {
            let settled = self.catalog.settled()?;
            let mut hits = search(asked)?;
            let n_found = hits.len();
            if settled.is_none() || self.catalog.settled()? != settled {
                hits = self.catalog.keep_valid(hits, filter)?;
            }
            let n_dropped = n_found - hits.len();
            if n_dropped > 0 {
                tracing::debug!(n_dropped, "hits that the catalog does not confirm");
            }
            if hits.len() >= k || n_found < asked {
                hits.truncate(k);
                return Ok(hits);
            }
            asked = (asked + n_dropped).max(asked * 2);
        }
    }
}

#[cfg(test)]
mod tests;
