//! Which answers few-shot examples were made of, so that they go with them.

use std::path::{Path, PathBuf};

use rusqlite::params;

use super::{Records, RecordsError};

impl Records {
    /// Remembers that an example is made of an answer; before its file is written, so that no crash
    /// leaves one that nobody knows.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn remember_example(&self, path: &Path, answer: &str) -> Result<(), RecordsError> {
        let sql = "INSERT OR REPLACE INTO examples (path, answer) VALUES (?1, ?2)";
        self.lock().execute(sql, params![path.to_string_lossy(), answer])?;
        Ok(())
    }

    /// Examples whose answers are gone: path and answer, by path.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn orphaned_examples(&self) -> Result<Vec<(PathBuf, String)>, RecordsError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT path, answer FROM examples
             WHERE NOT EXISTS (SELECT 1 FROM answers WHERE id = examples.answer) ORDER BY path",
        )?;
        let read =
            |row: &rusqlite::Row<'_>| Ok((PathBuf::from(row.get::<_, String>(0)?), row.get(1)?));
        let found = statement.query_map([], read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Settles that an example's file is dealt with.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn settle_example(&self, path: &Path) -> Result<(), RecordsError> {
        let sql = "DELETE FROM examples WHERE path = ?1";
        self.lock().execute(sql, [path.to_string_lossy()])?;
        Ok(())
    }
}
