//! Opening a data folder, and rebuilding one for another recipe.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::catalog::{Catalog, CatalogError, EmbeddedChunk, StoredDocument, StoredText};
use crate::fingerprint::Recipe;
use crate::hit::DocumentId;
use crate::lock::Lock;
use crate::qdrant::{Cluster, ClusterError, ClusterSettings};
use crate::store::{Home, StoreKind};
use crate::writer::Legs;
use crate::{Index, IndexError, LegCounts, generation, writer};

/// How far the work is that comes before an index is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparing {
    /// Documents are cut and embedded anew, for another recipe.
    Cutting {
        /// Documents done.
        done: u64,
        /// Documents in all.
        total: u64,
    },
    /// Both legs are built anew from the catalog.
    Rebuilding {
        /// Chunks done.
        done: u64,
        /// Chunks in all.
        total: u64,
    },
    /// Chunks that were taken to another store are read back and compared with the catalog.
    Comparing {
        /// Chunks done.
        done: u64,
        /// Chunks in all.
        total: u64,
    },
    /// Changes that a run before this one did not finish are applied.
    Applying {
        /// Changes done.
        done: u64,
        /// Changes in all.
        total: u64,
    },
}

/// Why an index could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no index.
    #[error("no index at `{}`", path.display())]
    Missing {
        /// The data folder.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "`{}` is in use by another process{}",
        path.display(),
        pid.map(|pid| format!(" ({pid})")).unwrap_or_default()
    )]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// The other process, where it can be told.
        pid: Option<u32>,
    },
    /// Questions would be embedded otherwise than the documents were.
    #[error("the index was built with `{built}`, but this run embeds with `{running}`")]
    EmbedderMismatch {
        /// What the documents were embedded with.
        built: String,
        /// What questions would be embedded with.
        running: String,
    },
    /// New documents would be cut otherwise than those that are there.
    #[error(
        "the index has chunks of {built} tokens (of which neighbours share {built_overlap}), but \
        this run would cut {running} ({running_overlap})"
    )]
    LimitsMismatch {
        /// Limit of the chunks that are there.
        built: u32,
        /// Their overlap.
        built_overlap: u32,
        /// Limit of this run.
        running: u32,
        /// Overlap of this run.
        running_overlap: u32,
    },
    /// The index is kept elsewhere than the settings say.
    #[error("the index is kept in the store `{built}`, but the settings say `{running}`")]
    OtherStore {
        /// Where it is.
        built: StoreKind,
        /// What the settings say.
        running: StoreKind,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The indexes could not be brought up to the catalog.
    #[error("the index could not be brought up to date")]
    Prepare(#[from] IndexError),
    /// A file could not be read or written.
    #[error("the data folder could not be used")]
    Io {
        /// The cause, which names the file.
        source: std::io::Error,
    },
}

impl OpenError {
    /// What the user can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Catalog(error) => error.hint(),
            Self::Prepare(error) => error.hint(),
            Self::Io { source } => crate::io_hint(source),
            Self::Missing { .. } => Some("run `souffleur ingest FOLDER` first"),
            Self::Locked { .. } => Some("wait for the other process, or use another `--data-dir`"),
            Self::OtherStore { running: StoreKind::Qdrant, .. } => {
                Some("run `souffleur migrate --to qdrant`, or set `store = \"embedded\"`")
            }
            Self::OtherStore { running: StoreKind::Embedded, .. } => Some(
                "run `souffleur migrate --to embedded` with `store = \"qdrant\"`, or keep that",
            ),
            Self::EmbedderMismatch { .. } | Self::LimitsMismatch { .. } => Some(
                "run `souffleur ingest --rebuild` to embed the documents again, or go back to the \
                former settings",
            ),
        }
    }
}

/// Why an index could not be rebuilt. What was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A document could not be cut or embedded.
    #[error("documents could not be embedded again")]
    Recut(#[source] Box<dyn Error + Send + Sync>),
}

/// Cuts and embeds documents anew: a list of chunks for each.
pub type Recut<'a> = dyn FnMut(
        &[(StoredDocument, StoredText)],
    ) -> Result<Vec<Vec<EmbeddedChunk>>, Box<dyn Error + Send + Sync>>
    + 'a;

/// Documents that are cut and embedded at a time, so that short ones share batches.
const RECUT_DOCUMENTS: usize = 32;

pub(crate) fn open(
    home: Home<'_>,
    recipe: &Recipe,
    create: bool,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Index, OpenError> {
    let (lock, catalog) = hold(home, create)?;
    let live = match catalog.live_recipe() {
        Some(live) => live,
        None if create => catalog.start(recipe)?,
        None => return Err(OpenError::Missing { path: home.dir.to_owned() }),
    };
    compare(&live.recipe, recipe)?;
    catalog.forget_unfinished()?;
    let legs = generation::open_or_build(home, &catalog, &live, progress)?;
    let n_chunks = catalog.n_chunks(live.id)?;
    let applied = writer::apply(&catalog, &legs, progress).and_then(|_| legs.counts());
    let legs = match applied {
        Ok(counts) if counts == LegCounts { lexical: n_chunks, dense: n_chunks } => legs,
        // A run that was killed while it optimised leaves points in two segments. The window is
        // narrow, and no such file is worth mending.
        Ok(counts) => {
            tracing::warn!(?counts, n_chunks, "building indexes anew");
            drop(legs);
            generation::build_and_clean(home, &catalog, &live, progress)?
        }
        // Derived files that take no change are as good as damaged.
        Err(error @ (IndexError::Lexical(_) | IndexError::Dense(_))) => {
            tracing::warn!(%error, "building indexes anew");
            drop(legs);
            generation::build_and_clean(home, &catalog, &live, progress)?
        }
        // What is there can answer all the same; `Catalog::n_pending` tells what cannot yet.
        Err(
            error
            @ (IndexError::NoRoom { .. } | IndexError::Cluster(ClusterError::DiskFull { .. })),
        ) => {
            tracing::warn!(%error, "changes stay pending");
            legs
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Index { catalog, legs, applying: Mutex::new(()), _lock: Some(lock) })
}

pub(crate) fn rebuild(
    home: Home<'_>,
    recipe: &Recipe,
    recut: &mut Recut<'_>,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Index, RebuildError> {
    let (lock, catalog) = hold(home, false)?;
    let Some(live) = catalog.live_recipe() else {
        return Err(OpenError::Missing { path: home.dir.to_owned() }.into());
    };
    catalog.forget_unfinished().map_err(OpenError::from)?;
    let next = if live.recipe == *recipe {
        live
    } else {
        let next = catalog.prepare(recipe).map_err(OpenError::from)?;
        let documents = catalog.list().map_err(OpenError::from)?;
        let total = documents.len() as u64;
        for (i, batch) in documents.chunks(RECUT_DOCUMENTS).enumerate() {
            progress(Preparing::Cutting { done: (i * RECUT_DOCUMENTS) as u64, total });
            let mut texts = Vec::with_capacity(batch.len());
            for document in batch {
                let text = catalog.text(document.id).map_err(OpenError::from)?;
                texts.extend(text.map(|text| (document.clone(), text)));
            }
            let chunks = recut(&texts).map_err(RebuildError::Recut)?;
            assert_eq!(chunks.len(), texts.len(), "there is a list of chunks for each document");
            catalog.put_beside(&next, &texts, &chunks).map_err(OpenError::from)?;
        }
        next
    };
    let legs =
        generation::build_and_clean(home, &catalog, &next, progress).map_err(OpenError::from)?;
    Ok(Index { catalog, legs, applying: Mutex::new(()), _lock: Some(lock) })
}

pub(crate) fn forget(
    home: Home<'_>,
    choose: &mut dyn FnMut(&[StoredDocument]) -> Vec<DocumentId>,
    progress: &mut dyn FnMut(Preparing),
) -> Result<(), OpenError> {
    let (_lock, catalog) = hold(home, false)?;
    let Some(live) = catalog.live_recipe() else {
        return Err(OpenError::Missing { path: home.dir.to_owned() });
    };
    let chosen = choose(&catalog.list()?);
    if chosen.is_empty() {
        return Ok(());
    }
    writer::ensure_room(home.dir, 0)?;
    catalog.forget_unfinished()?;
    catalog.delete_all(&chosen)?;
    // Segments keep deleted entries until they happen to be merged; new ones never had them.
    let legs = generation::build_and_clean(home, &catalog, &live, progress)?;
    catalog.prune(legs.watermarks().0)?;
    Ok(catalog.empty_log()?)
}

pub(crate) fn follow(
    settings: &ClusterSettings,
    recipe: Option<&Recipe>,
) -> Result<(Recipe, Index), OpenError> {
    let cluster = Arc::new(Cluster::follow(settings).map_err(IndexError::from)?);
    let built = cluster.recipe();
    if let Some(running) = recipe
        && built.embedder != running.embedder
    {
        let (built, running) = (built.embedder.to_string(), running.embedder.to_string());
        return Err(OpenError::EmbedderMismatch { built, running });
    }
    let catalog = Catalog::of_cluster(Arc::clone(&cluster));
    let legs = Legs::Qdrant(cluster);
    Ok((built, Index { catalog, legs, applying: Mutex::new(()), _lock: None }))
}

fn hold(home: Home<'_>, create: bool) -> Result<(Lock, Catalog), OpenError> {
    let Home { dir, store } = home;
    let path = dir.join(Catalog::FILE);
    if create {
        create_private(dir).map_err(|source| OpenError::Io { source })?;
        if !path.exists() {
            writer::ensure_room(dir, 0)?;
        }
    } else if !path.exists() {
        return Err(OpenError::Missing { path: dir.to_owned() });
    }
    let lock = Lock::acquire(dir)?;
    let catalog = Catalog::open(&path)?;
    match generation::store_of_live(dir, &catalog)? {
        Some(built) if built != store.kind() => {
            Err(OpenError::OtherStore { built, running: store.kind() })
        }
        _ => Ok((lock, catalog)),
    }
}

/// Makes a data folder that only its owner may enter: the catalog holds the text of documents that
/// not everyone may read. One that is there keeps the rights that it was given.
fn create_private(dir: &Path) -> std::io::Result<()> {
    if dir.exists() {
        return Ok(());
    }
    fs_err::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn compare(built: &Recipe, running: &Recipe) -> Result<(), OpenError> {
    if built.embedder != running.embedder {
        return Err(OpenError::EmbedderMismatch {
            built: built.embedder.to_string(),
            running: running.embedder.to_string(),
        });
    }
    if built != running {
        return Err(OpenError::LimitsMismatch {
            built: built.chunk_tokens_max,
            built_overlap: built.chunk_overlap,
            running: running.chunk_tokens_max,
            running_overlap: running.chunk_overlap,
        });
    }
    Ok(())
}
