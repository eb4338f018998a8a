//! The catalog's tables, and how an older catalog becomes a current one.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::CatalogError;

/// Each entry takes a catalog from the version of its index to the next. Entries never change
/// once released: the tests open catalogs of every version.
const MIGRATIONS: &[fn(&Transaction<'_>) -> rusqlite::Result<()>] = &[create];

/// The version that this program reads and writes.
pub(super) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Brings a catalog to [`VERSION`], all of it or nothing.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), CatalogError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(CatalogError::Newer { found, known: VERSION });
    }
    if found == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in &MIGRATIONS[found as usize..] {
        migration(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// AUTOINCREMENT keeps SQLite from giving a deleted row's id to a new one: a leg that has not yet
/// heard of the deletion would answer with the wrong text.
#[expect(clippy::too_many_lines, reason = "one statement a table, and each stands once")]
fn create(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE recipes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            json TEXT NOT NULL UNIQUE
        ) STRICT;

        -- One row. `generation` and `recipe` are what searches use; `pruned` is the last outbox
        -- entry that was dropped because both legs had it.
        CREATE TABLE live (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            catalog TEXT NOT NULL,
            generation INTEGER NOT NULL,
            recipe INTEGER REFERENCES recipes (id),
            pruned INTEGER NOT NULL
        ) STRICT;
        INSERT INTO live VALUES (1, lower(hex(randomblob(16))), 0, NULL, 0);

        CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            root TEXT NOT NULL,
            path TEXT NOT NULL,
            content_hash TEXT NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            title TEXT NOT NULL,
            media_type TEXT NOT NULL,
            language TEXT,
            collection TEXT,
            licence TEXT,
            groups TEXT NOT NULL,
            modified INTEGER,
            made_by TEXT NOT NULL,
            ingested_at INTEGER NOT NULL,
            duplicate_of INTEGER REFERENCES documents (id) ON DELETE SET NULL,
            similarity REAL,
            signature BLOB NOT NULL,
            findings TEXT NOT NULL,
            UNIQUE (root, path)
        ) STRICT;
        CREATE INDEX documents_by_hash ON documents (content_hash);
        CREATE INDEX documents_by_original ON documents (duplicate_of);

        CREATE TABLE texts (
            document INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
            text TEXT NOT NULL,
            pages TEXT NOT NULL,
            headings TEXT NOT NULL
        ) STRICT;

        CREATE TABLE chunks (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
            recipe INTEGER NOT NULL REFERENCES recipes (id),
            ordinal INTEGER NOT NULL,
            span_start INTEGER NOT NULL,
            span_end INTEGER NOT NULL,
            header_start INTEGER,
            header_end INTEGER,
            heading_path TEXT NOT NULL,
            page INTEGER,
            language TEXT,
            simhash INTEGER NOT NULL,
            UNIQUE (document, recipe, ordinal)
        ) STRICT;
        CREATE INDEX chunks_by_recipe ON chunks (recipe);

        CREATE TABLE vectors (
            chunk INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
            vector BLOB NOT NULL
        ) STRICT;

        -- Chunks that a leg may have to add, change or drop. Which of these it is, the chunks
        -- table says at the time of applying; so an entry can be applied any number of times.
        CREATE TABLE outbox (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            chunk INTEGER NOT NULL
        ) STRICT;",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_catalog_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert!(
            matches!(error, CatalogError::Newer { found, known } if found == known + 1),
            "{error:?}"
        );
        assert_eq!(version(&connection).unwrap(), VERSION + 1);
    }

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_master ORDER BY type, name").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        rows.filter_map(Result::unwrap).collect()
    }

    #[test]
    fn every_older_catalog_becomes_like_a_new_one() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate(&mut new).unwrap();
        for older in 0..VERSION {
            let mut connection = Connection::open_in_memory().unwrap();
            let transaction = connection.transaction().unwrap();
            for migration in &MIGRATIONS[..older as usize] {
                migration(&transaction).unwrap();
            }
            transaction.pragma_update(None, "user_version", older).unwrap();
            transaction.commit().unwrap();
            migrate(&mut connection).unwrap();
            assert_eq!(tables(&connection), tables(&new), "from version {older}");
        }
    }

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let identity = |connection: &Connection| -> String {
            connection.query_row("SELECT catalog FROM live", [], |row| row.get(0)).unwrap()
        };
        let before = identity(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(identity(&connection), before);
        assert_eq!(version(&connection).unwrap(), VERSION);
    }

    #[test]
    fn a_failed_migration_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE texts (mine)").unwrap();
        assert!(migrate(&mut connection).is_err());
        assert_eq!(version(&connection).unwrap(), 0);
        let n_tables: u32 = connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE type = 'table'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(n_tables, 1);
    }
}
