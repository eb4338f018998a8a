//! Secrets of a data folder: random bytes that sign what it gives out.

use rusqlite::params;

use super::{Records, RecordsError, random};

impl Records {
    /// The secret of a name, 32 random bytes, made when it is first asked for. It stays the same for
    /// as long as the records do, whichever process asks.
    ///
    /// # Errors
    /// [`RecordsError`]
    pub fn secret(&self, name: &str) -> Result<Vec<u8>, RecordsError> {
        let drawn = random::<32>()?;
        let connection = self.lock();
        let sql = "INSERT OR IGNORE INTO secrets VALUES (?1, ?2)";
        connection.execute(sql, params![name, &drawn[..]])?;
        let sql = "SELECT value FROM secrets WHERE name = ?1";
        Ok(connection.query_row(sql, [name], |row| row.get(0))?)
    }
}
