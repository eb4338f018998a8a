//! The catalog: one SQLite file that holds all that is true. Everything else can be rebuilt from
//! it.
//!
//! Each write is one transaction that also enters the chunks it touched into the outbox, from
//! which the legs learn of it. When a write returns, it is on the disk.

pub(crate) mod encode;
mod hits;
mod outbox;
mod read;
mod readable;
mod schema;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::fingerprint::Recipe;
use crate::qdrant::{Cluster, ClusterError};
pub(crate) use outbox::OutboxState;
pub use types::{
    CollectionCounts, Counts, Duplicate, EmbeddedChunk, Labels, NewDocument, ReadableCounts,
    Source, StoredChunk, StoredDocument, StoredText,
};

/// The catalog of one data folder. Any number of threads may read while one writes.
///
/// Who only reads from a cluster has no file: what the cluster keeps beside each chunk is the
/// catalog then. It can be asked for all that readers ask for, and cannot be changed.
#[derive(Debug)]
pub struct Catalog {
    kept: Kept,
    recipe: Mutex<Option<LiveRecipe>>,
}

#[derive(Debug)]
enum Kept {
    InFile(File),
    OnCluster(Arc<Cluster>),
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    writer: Mutex<Connection>,
    // A connection reads one thing at a time. Idle ones wait here, so that there are as many as
    // there were readers at once.
    readers: Mutex<Vec<Connection>>,
}

/// The recipe by which live chunks are made, with its row.
#[derive(Debug, Clone)]
pub(crate) struct LiveRecipe {
    pub(crate) id: i64,
    pub(crate) recipe: Recipe,
}

/// Why the catalog could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A newer program has changed the tables.
    #[error("the catalog has format {found}, and this program knows formats up to {known}")]
    Newer {
        /// The catalog's format.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// There is no room left. Nothing was changed.
    #[error("the disk is full: the catalog could not grow, and nothing was changed")]
    DiskFull,
    /// The file is not a catalog, or damaged.
    #[error("the catalog is damaged: {detail}")]
    Damaged {
        /// What was found.
        detail: String,
    },
    /// A chunk does not fit its document. A defect of the caller.
    #[error("chunk {ordinal} of `{path}` does not lie on characters of the document's text")]
    BadSpan {
        /// The document.
        path: String,
        /// Which of its chunks, from 0.
        ordinal: usize,
    },
    /// A vector is not one of the embedder's. A defect of the caller.
    #[error("chunk {ordinal} of `{path}` has a vector of {found} dimensions, not {expected}")]
    BadVector {
        /// The document.
        path: String,
        /// Which of its chunks, from 0.
        ordinal: usize,
        /// Dimensions of the embedder.
        expected: u32,
        /// Dimensions of the vector.
        found: usize,
    },
    /// A document cannot move to where another one is.
    #[error("there is already a document at `{path}`")]
    Occupied {
        /// The path below its root.
        path: String,
    },
    /// The cluster that is read from failed, or cannot do that.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// SQLite failed otherwise.
    #[error("the catalog could not be read or written")]
    Sqlite(#[source] rusqlite::Error),
}

impl CatalogError {
    /// What the user can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => Some("use the newer version of souffleur that wrote it"),
            Self::DiskFull => Some(crate::MAKE_ROOM),
            Self::Damaged { .. } => {
                Some("put a copy of `catalog.db` back, or remove the data folder and ingest again")
            }
            Self::Cluster(error) => error.hint(),
            Self::BadSpan { .. }
            | Self::BadVector { .. }
            | Self::Occupied { .. }
            | Self::Sqlite(_) => None,
        }
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        // The shared memory of the log could not be given its size: that, too, is a full disk.
        if let rusqlite::Error::SqliteFailure(failure, _) = &error
            && failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        {
            return Self::DiskFull;
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { detail: error.to_string() }
            }
            _ => Self::Sqlite(error),
        }
    }
}

impl Catalog {
    /// The file's name in a data folder.
    pub(crate) const FILE: &str = "catalog.db";

    /// Opens the catalog at `path`, and creates it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, CatalogError> {
        let mut writer = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        // The first statement on a new file, because it cannot change within a transaction.
        writer.pragma_update(None, "journal_mode", "wal")?;
        // An acknowledged document survives a power cut.
        writer.pragma_update(None, "synchronous", "full")?;
        // A deleted document does not linger in free pages.
        writer.pragma_update(None, "secure_delete", true)?;
        schema::migrate(&mut writer)?;
        let recipe = read::live_recipe(&writer)?;
        let (writer, readers) = (Mutex::new(writer), Mutex::default());
        let kept = Kept::InFile(File { path: path.to_owned(), writer, readers });
        Ok(Self { kept, recipe: Mutex::new(recipe) })
    }

    /// What a cluster keeps beside its chunks.
    pub(crate) fn of_cluster(cluster: Arc<Cluster>) -> Self {
        let recipe = LiveRecipe { id: 0, recipe: cluster.recipe() };
        Self { kept: Kept::OnCluster(cluster), recipe: Mutex::new(Some(recipe)) }
    }

    /// The cluster that is asked, where there is no file.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        match &self.kept {
            Kept::InFile(_) => None,
            Kept::OnCluster(it) => Some(it),
        }
    }

    fn file(&self) -> Result<&File, CatalogError> {
        match &self.kept {
            Kept::InFile(it) => Ok(it),
            Kept::OnCluster(_) => Err(ClusterError::ReadsOnly.into()),
        }
    }

    fn writer(&self) -> Result<MutexGuard<'_, Connection>, CatalogError> {
        Ok(lock(&self.file()?.writer))
    }

    /// Runs a reader on a snapshot: it sees all of every write that returned before it began, and
    /// nothing of any later one.
    fn read<T>(
        &self,
        reader: impl FnOnce(&Connection) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let file = self.file()?;
        let idle = lock(&file.readers).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(&file.path, OpenFlags::empty())?,
        };
        let snapshot = connection.transaction()?;
        let res = reader(&snapshot);
        drop(snapshot);
        lock(&file.readers).push(connection);
        res
    }

    /// The live recipe, if the data folder has one yet.
    pub(crate) fn live_recipe(&self) -> Option<LiveRecipe> {
        lock(&self.recipe).clone()
    }

    /// Row of the live recipe; 0, which no row has, while there is none.
    fn recipe_id(&self) -> i64 {
        lock(&self.recipe).as_ref().map_or(0, |it| it.id)
    }
}

/// The recipe of a data folder, without opening or locking it; `None` where there is no index.
///
/// # Errors
///
/// When there is a catalog, but it cannot be read.
pub fn live_recipe(dir: &Path) -> Result<Option<Recipe>, CatalogError> {
    let path = dir.join(Catalog::FILE);
    if !path.exists() {
        return Ok(None);
    }
    let connection = connect(&path, OpenFlags::empty())?;
    if !connection.table_exists(None, "live")? {
        return Ok(None);
    }
    Ok(read::live_recipe(&connection)?.map(|it| it.recipe))
}

/// The path below its root and the content hash of every document of a data folder, without opening
/// or locking it; `None` where there is no index.
///
/// # Errors
///
/// When there is a catalog, but it cannot be read.
pub fn content_hashes(dir: &Path) -> Result<Option<Vec<(String, String)>>, CatalogError> {
    let path = dir.join(Catalog::FILE);
    if !path.exists() {
        return Ok(None);
    }
    let connection = connect(&path, OpenFlags::empty())?;
    if !connection.table_exists(None, "documents")? {
        return Ok(None);
    }
    let mut statement = connection.prepare("SELECT path, content_hash FROM documents")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

/// Kilobytes of pages that a connection keeps: what leads to the vectors of a million chunks.
const CACHE_KB: i64 = 8_192;

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, CatalogError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "cache_size", -CACHE_KB)?;
    Ok(connection)
}

/// A panic elsewhere leaves nothing half done here: transactions roll back when dropped.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
