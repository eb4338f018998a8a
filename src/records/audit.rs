//! Who asked, loaded or deleted what, and when. It only grows.

use rusqlite::params;
use serde::Serialize;

use super::{Records, RecordsError, now};

/// An entry of the audit record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its number, from 1.
    pub id: i64,
    /// Seconds since 1970 (UTC).
    pub at: i64,
    /// The id of the key; none where none was needed.
    pub key: Option<String>,
    /// What was done, such as `ask` or `document.delete`.
    pub action: String,
    /// To what.
    pub object: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// The request's id, as in its response.
    pub request: Option<String>,
}

/// An entry to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewEntry<'a> {
    /// The id of the key.
    pub key: Option<&'a str>,
    /// What was done.
    pub action: &'a str,
    /// To what.
    pub object: Option<&'a str>,
    /// More about it.
    pub detail: Option<&'a str>,
    /// The request's id.
    pub request: Option<&'a str>,
}

impl Records {
    /// Adds an entry, durably.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn audit(&self, entry: &NewEntry<'_>) -> Result<(), RecordsError> {
        let NewEntry { key, action, object, detail, request } = entry;
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "INSERT INTO audit (at, key, action, object, detail, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        statement.execute(params![now(), key, action, object, detail, request])?;
        Ok(())
    }

    /// Entries after a number, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn audit_after(&self, after: i64, limit: usize) -> Result<Vec<AuditEntry>, RecordsError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT id, at, key, action, object, detail, request FROM audit
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entries = statement.query_map(params![after, limit], |row| {
            Ok(AuditEntry {
                id: row.get(0)?,
                at: row.get(1)?,
                key: row.get(2)?,
                action: row.get(3)?,
                object: row.get(4)?,
                detail: row.get(5)?,
                request: row.get(6)?,
            })
        })?;
        Ok(entries.collect::<Result<_, _>>()?)
    }
}
