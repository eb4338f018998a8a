//! What people did, as opposed to what the documents say: keys, sessions, conversations, feedback and
//! the audit record. One SQLite file beside the catalog.
//!
//! It stands apart from the catalog because it lives otherwise: no index depends on it, several
//! processes open it at once (`souffleur keys` while the server runs), and rebuilding the index
//! leaves it alone. See docs/decisions/0012-records.md.

mod answers;
mod audit;
mod examples;
mod keys;
mod matches;
mod secrets;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

pub use answers::{
    AnswerRecord, ConversationRecord, Feedback, FeedbackRecord, Labels, Rating, Reason, SkippedFile,
};
pub use audit::{AuditEntry, NewEntry};
pub use keys::{Key, NewKey, Scope};
pub use matches::{Choice, Match, Side, Vote, VoteOutcome, Voted};

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// The version of the tables; each entry takes a file from the version of its index to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("tables.sql"),
    "ALTER TABLE skipped ADD COLUMN reason_fr TEXT NOT NULL DEFAULT '';
     UPDATE skipped SET reason_fr = reason;",
    include_str!("matches.sql"),
    include_str!("secrets.sql"),
    include_str!("examples.sql"),
];

/// The file of records.
#[derive(Debug)]
pub struct Records {
    /// Looks up whose key a request shows: it only reads, and waits for no writer of this process.
    /// It is closed first, for only the other one can tidy the file up at the end.
    key_reader: Mutex<Connection>,
    connection: Mutex<Connection>,
    /// Whether a key was ever made, once one was: keys are revoked and never deleted.
    has_keys: AtomicBool,
}

/// Records could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The folder could not be made.
    #[error("the folder of the records could not be made")]
    Io(#[from] std::io::Error),
    /// SQLite failed.
    #[error("the records at `{}` could not be used", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// SQLite failed.
    #[error("the records could not be read or written")]
    Sql(#[from] rusqlite::Error),
    /// A newer program wrote the file.
    #[error("the records at `{}` are of version {found}, and this program knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The newest known.
        known: usize,
    },
    /// The system gives no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(String),
    /// A stored value is not what this program writes.
    #[error("a record is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
}

impl RecordsError {
    /// Whether the disk is full, and nothing else is wrong.
    #[must_use]
    pub fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::Io(error) => error.kind() == std::io::ErrorKind::StorageFull,
            Self::Sql(error) | Self::Open { source: error, .. } => {
                error.sqlite_error_code() == Some(ErrorCode::DiskFull)
            }
            Self::Newer { .. } | Self::Random(_) | Self::Damaged(_) => false,
        }
    }
}

impl Records {
    /// The file's name in the data folder.
    pub const FILE: &'static str = "records.db";

    /// Opens the records of a data folder, and makes them where there are none.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn open(data_dir: &Path) -> Result<Self, RecordsError> {
        fs_err::create_dir_all(data_dir)?;
        let path = data_dir.join(Self::FILE);
        let failed = |source| RecordsError::Open { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(failed)?;
        owner_only(&path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A crash of the process loses nothing; one of the machine may lose the last moments, which no
        // search should wait for. Keys wait: see `settle`.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // What is deleted is gone from the file too.
        connection.pragma_update(None, "secure_delete", true)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: usize = transaction.pragma_query_value(None, "user_version", |it| it.get(0))?;
        if found > MIGRATIONS.len() {
            return Err(RecordsError::Newer { path, found, known: MIGRATIONS.len() });
        }
        for migration in &MIGRATIONS[found..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "user_version", MIGRATIONS.len())?;
        transaction.commit()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let key_reader = Connection::open_with_flags(&path, flags).map_err(failed)?;
        key_reader.busy_timeout(BUSY)?;
        Ok(Self {
            key_reader: Mutex::new(key_reader),
            connection: Mutex::new(connection),
            has_keys: AtomicBool::new(false),
        })
    }

    /// Makes everything so far outlast a crash of the machine.
    fn settle(connection: &Connection) -> Result<(), RecordsError> {
        Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements leaves a transaction that rolls back.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_key_reader(&self) -> MutexGuard<'_, Connection> {
        self.key_reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys are hashed and conversations private: nobody else reads the file.
#[cfg(unix)]
fn owner_only(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn owner_only(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Now, in seconds since 1970 (UTC).
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A new id: a prefix that tells its kind, and 80 random bits in hexadecimal.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn new_id(prefix: &str) -> Result<String, RecordsError> {
    Ok(format!("{prefix}{}", hex(&random::<10>()?)))
}

/// A number below `n`, each as likely as the others but for a share of 2^-64.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn random_below(n: usize) -> Result<usize, RecordsError> {
    let draw = u64::from_le_bytes(random::<8>()?);
    Ok(((u128::from(draw) * n as u128) >> 64) as usize)
}

fn random<const N: usize>() -> Result<[u8; N], RecordsError> {
    let mut res = [0; N];
    getrandom::fill(&mut res).map_err(|error| RecordsError::Random(error.to_string()))?;
    Ok(res)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests;
