//! Keys of the HTTP API, and the sessions of browsers that gave one.

use std::sync::atomic::Ordering;

use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Records, RecordsError, hex, new_id, now, random};

/// What a key begins with, so that scanners of leaked secrets can tell it.
const PREFIX: &str = "sfl_";

/// Seconds that a browser's session lasts.
const SESSION_SECONDS: i64 = 30 * 86_400;

/// What a key may do. Each includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask, search and read.
    Read,
    /// Upload, delete and ingest.
    Write,
    /// Everything, in all groups.
    Admin,
}

impl Scope {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its id, which is no secret.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// Groups whose documents it reads, beside those that are open to everyone.
    pub groups: Vec<String>,
    /// Seconds since 1970 (UTC).
    pub created: i64,
    /// When it was revoked, if it was.
    pub revoked: Option<i64>,
}

/// A key that was just made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key.
    pub key: Key,
    /// What to send. It is stored nowhere.
    pub secret: String,
}

impl Records {
    /// Makes a key of 256 random bits, of which only the SHA-256 is kept.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn create_key(
        &self,
        name: &str,
        scope: Scope,
        groups: &[String],
    ) -> Result<NewKey, RecordsError> {
        let secret = format!("{PREFIX}{}", hex(&random::<32>()?));
        let key = Key {
            id: new_id("k_")?,
            name: name.to_owned(),
            scope,
            groups: groups.to_vec(),
            created: now(),
            revoked: None,
        };
        let groups = serde_json::to_string(&key.groups)?;
        let connection = self.lock();
        connection.execute(
            "INSERT INTO keys VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL)",
            params![key.id, key.name, hash(&secret), scope.as_str(), groups, key.created],
        )?;
        Self::settle(&connection)?;
        Ok(NewKey { key, secret })
    }

    /// All keys, revoked ones included, oldest first.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn keys(&self) -> Result<Vec<Key>, RecordsError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY created, id"))?;
        let keys = statement.query_map([], read_key)?.collect::<Result<_, _>>()?;
        Ok(keys)
    }

    /// Whether a key was ever made. Once one was, requests need one.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn has_keys(&self) -> Result<bool, RecordsError> {
        if self.has_keys.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let connection = self.lock_key_reader();
        let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM keys)")?;
        let has_keys = statement.query_row([], |row| row.get(0))?;
        self.has_keys.store(has_keys, Ordering::Relaxed);
        Ok(has_keys)
    }

    /// Takes a key out of use, with the sessions that it opened. False where there is none, or it
    /// was revoked already.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn revoke_key(&self, id: &str) -> Result<bool, RecordsError> {
        let connection = self.lock();
        let sql = "UPDATE keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
        let n_changed = connection.execute(sql, params![id, now()])?;
        connection.execute("DELETE FROM sessions WHERE key = ?1", [id])?;
        Self::settle(&connection)?;
        Ok(n_changed > 0)
    }

    /// The key in use whose secret this is.
    ///
    /// Secrets are compared by their SHA-256: 256 random bits cannot be guessed from how long the
    /// look-up of a hash takes.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn key_of(&self, secret: &str) -> Result<Option<Key>, RecordsError> {
        let connection = self.lock_key_reader();
        let sql = format!("{SELECT} WHERE hash = ?1 AND revoked IS NULL");
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row([hash(secret)], read_key).optional()?)
    }

    /// Opens a browser's session for a key, and gives what the browser shows from then on.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn open_session(&self, key: &Key) -> Result<String, RecordsError> {
        let secret = hex(&random::<32>()?);
        let connection = self.lock();
        connection.execute("DELETE FROM sessions WHERE expires < ?1", [now()])?;
        connection.execute(
            "INSERT INTO sessions VALUES (?1, ?2, ?3)",
            params![hash(&secret), key.id, now() + SESSION_SECONDS],
        )?;
        Ok(secret)
    }

    /// The key of a browser's session.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn key_of_session(&self, secret: &str) -> Result<Option<Key>, RecordsError> {
        let connection = self.lock_key_reader();
        let sql = "SELECT keys.id, name, scope, groups, created, revoked FROM sessions
             JOIN keys ON keys.id = sessions.key
             WHERE sessions.hash = ?1 AND expires >= ?2 AND revoked IS NULL";
        let mut statement = connection.prepare_cached(sql)?;
        Ok(statement.query_row(params![hash(secret), now()], read_key).optional()?)
    }

    /// Ends a browser's session.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn close_session(&self, secret: &str) -> Result<(), RecordsError> {
        self.lock().execute("DELETE FROM sessions WHERE hash = ?1", [hash(secret)])?;
        Ok(())
    }
}

const SELECT: &str = "SELECT id, name, scope, groups, created, revoked FROM keys";

fn read_key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let damaged = |at, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error)
    };
    let (scope, groups): (String, String) = (row.get(2)?, row.get(3)?);
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        scope: match scope.as_str() {
            "read" => Scope::Read,
            "write" => Scope::Write,
            "admin" => Scope::Admin,
            _ => return Err(damaged(2, format!("no scope `{scope}`").into())),
        },
        groups: serde_json::from_str(&groups).map_err(|error| damaged(3, error.into()))?,
        created: row.get(4)?,
        revoked: row.get(5)?,
    })
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
