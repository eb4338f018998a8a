//! Writes. Each public method is one durable transaction.

use ingest::document::{Language, Span};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    Catalog, CatalogError, EmbeddedChunk, Labels, LiveRecipe, NewDocument, Source, StoredDocument,
    StoredText, encode, lock,
};
use crate::fingerprint::Recipe;
use crate::hit::{ChunkId, DocumentId};

impl Catalog {
    /// Stores a document. One that was at its root and path before keeps its identity, and all of
    /// its text and chunks are replaced.
    ///
    /// # Errors
    ///
    /// When a chunk does not fit the text or the embedder, or the catalog cannot be written.
    /// Nothing has changed then.
    pub fn put(&self, new: &NewDocument<'_>) -> Result<DocumentId, CatalogError> {
        let recipe = self.live_recipe().expect("an index opens with a recipe");
        check(new, &recipe.recipe)?;
        self.write(|transaction| {
            let id = put_row(transaction, new)?;
            put_text(transaction, id, new)?;
            announce(transaction, id)?;
            tracing::debug!("recording");
            transaction
                .prepare_cached("DELETE FROM chunks WHERE document = ?1")?
                .execute([id.0])?;
            put_chunks(transaction, id, recipe.id, new.chunks)?;
            announce(transaction, id)?;
            Ok(id)
        })
    }

    /// Forgets a document, its text and its chunks. Returns whether there was one.
    ///
    /// From the moment this returns no search can return its chunks, applied or not.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be written. Nothing has changed then.
    pub fn delete(&self, id: DocumentId) -> Result<bool, CatalogError> {
        self.write(|transaction| {
            announce(transaction, id)?;
            let n = transaction
                .prepare_cached("DELETE FROM documents WHERE id = ?1")?
                .execute([id.0])?;
            Ok(n > 0)
        })
    }

    /// Forgets documents, all of them or, on an error, none.
    pub(crate) fn delete_all(&self, ids: &[DocumentId]) -> Result<(), CatalogError> {
        self.write(|transaction| {
            for &id in ids {
                announce(transaction, id)?;
                transaction
                    .prepare_cached("DELETE FROM documents WHERE id = ?1")?
                    .execute([id.0])?;
            }
            Ok(())
        })
    }

    /// Moves what SQLite's log holds into the catalog's file, where deleted rows are overwritten,
    /// and cuts the log to nothing: it keeps what rows were before.
    pub(crate) fn empty_log(&self) -> Result<(), CatalogError> {
        let writer = self.writer()?;
        let is_busy: bool =
            writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if is_busy {
            let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(rusqlite::Error::SqliteFailure(busy, None).into());
        }
        Ok(())
    }

    /// Changes what is known of a document whose text stays: its file moved or was touched, or
    /// its labels changed. Identity, chunks and vectors are kept. Returns whether there was such
    /// a document.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Occupied`] when another document is at the new root and path; else when
    /// the catalog cannot be written. Nothing has changed then.
    pub fn restate(
        &self,
        id: DocumentId,
        source: &Source,
        labels: &Labels,
    ) -> Result<bool, CatalogError> {
        self.write(|transaction| {
            let found = transaction
                .prepare_cached(
                    "SELECT root, path, collection, licence, groups, modified FROM documents
                    WHERE id = ?1",
                )?
                .query_row([id.0], |row| {
                    Ok(Told {
                        root: row.get(0)?,
                        path: row.get(1)?,
                        collection: row.get(2)?,
                        licence: row.get(3)?,
                        groups: row.get(4)?,
                        modified: row.get(5)?,
                    })
                })
                .optional()?;
            let Some(before) = found else { return Ok(false) };
            let groups = encode::to_json(&labels.groups);
            let after = Told {
                root: source.root.clone(),
                path: source.path.clone(),
                collection: labels.collection.clone(),
                licence: labels.licence.clone(),
                groups: groups.clone(),
                modified: labels.modified,
            };
            let mut statement = transaction.prepare_cached(
                "UPDATE documents SET root = ?2, path = ?3, content_hash = ?4, size = ?5,
                    mtime_ns = ?6, collection = ?7, licence = ?8, groups = ?9, modified = ?10
                WHERE id = ?1",
            )?;
            let updated = statement.execute(params![
                id.0,
                source.root,
                source.path,
                source.content_hash,
                source.size,
                source.mtime_ns,
                labels.collection,
                labels.licence,
                groups,
                labels.modified,
            ]);
            updated.map_err(|error| occupied(error, &source.path))?;
            if before != after {
                announce(transaction, id)?;
            }
            Ok(true)
        })
    }

    /// Makes a recipe the live one of a catalog that has none yet.
    pub(crate) fn start(&self, recipe: &Recipe) -> Result<LiveRecipe, CatalogError> {
        let live = self.write(|transaction| {
            let id = recipe_id(transaction, recipe)?;
            transaction.execute("UPDATE live SET recipe = ?1", [id])?;
            Ok(LiveRecipe { id, recipe: recipe.clone() })
        })?;
        *lock(&self.recipe) = Some(live.clone());
        Ok(live)
    }

    /// Enters a recipe that is not live yet.
    pub(crate) fn prepare(&self, recipe: &Recipe) -> Result<LiveRecipe, CatalogError> {
        self.write(|transaction| {
            Ok(LiveRecipe { id: recipe_id(transaction, recipe)?, recipe: recipe.clone() })
        })
    }

    /// Stores documents' chunks of a recipe that is not live, beside the live ones.
    pub(crate) fn put_beside(
        &self,
        recipe: &LiveRecipe,
        documents: &[(StoredDocument, StoredText)],
        chunks: &[Vec<EmbeddedChunk>],
    ) -> Result<(), CatalogError> {
        self.write(|transaction| {
            for ((document, text), chunks) in documents.iter().zip(chunks) {
                check_chunks(&document.source.path, &text.text, chunks, &recipe.recipe)?;
                put_chunks(transaction, document.id, recipe.id, chunks)?;
            }
            Ok(())
        })
    }

    /// Makes a generation and its recipe live, and forgets chunks of every other recipe.
    pub(crate) fn switch(&self, generation: u64, recipe: &LiveRecipe) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute(
                "UPDATE live SET generation = ?1, recipe = ?2",
                params![generation, recipe.id],
            )?;
            forget_other_recipes(transaction, recipe.id)
        })?;
        *lock(&self.recipe) = Some(recipe.clone());
        Ok(())
    }

    /// Forgets chunks of a rebuild that never finished.
    pub(crate) fn forget_unfinished(&self) -> Result<(), CatalogError> {
        let n_recipes: u32 = self.read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM recipes", [], |row| row.get(0))?)
        })?;
        // Most openings find nothing, and then cost no write.
        match self.live_recipe() {
            Some(live) if n_recipes > 1 => {
                self.write(|transaction| forget_other_recipes(transaction, live.id))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write<T>(
        &self,
        writer: impl FnOnce(&Transaction<'_>) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut connection = self.writer()?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let res = writer(&transaction)?;
        transaction.commit()?;
        Ok(res)
    }
}

/// What the legs are told of a document besides its chunks.
#[derive(PartialEq)]
struct Told {
    root: String,
    path: String,
    collection: Option<String>,
    licence: Option<String>,
    groups: String,
    modified: Option<i64>,
}

fn occupied(error: rusqlite::Error, path: &str) -> CatalogError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
        CatalogError::Occupied { path: path.to_owned() }
    } else {
        error.into()
    }
}

fn check(new: &NewDocument<'_>, recipe: &Recipe) -> Result<(), CatalogError> {
    check_chunks(&new.source.path, &new.document.text, new.chunks, recipe)
}

fn check_chunks(
    path: &str,
    text: &str,
    chunks: &[EmbeddedChunk],
    recipe: &Recipe,
) -> Result<(), CatalogError> {
    for (ordinal, it) in chunks.iter().enumerate() {
        let fits = |span: Span| span.start <= span.end && text.get(span.range()).is_some();
        if !fits(it.chunk.span) || !it.chunk.table_header.is_none_or(fits) {
            return Err(CatalogError::BadSpan { path: path.to_owned(), ordinal });
        }
        let expected = recipe.embedder.dim;
        if it.vector.dim() != expected as usize {
            let found = it.vector.dim();
            return Err(CatalogError::BadVector {
                path: path.to_owned(),
                ordinal,
                expected,
                found,
            });
        }
    }
    Ok(())
}

fn put_row(connection: &Connection, new: &NewDocument<'_>) -> Result<DocumentId, CatalogError> {
    let NewDocument { source, document, labels, .. } = new;
    let mut statement = connection.prepare_cached(
        "INSERT INTO documents (root, path, content_hash, size, mtime_ns, title, media_type,
            language, collection, licence, groups, modified, made_by, ingested_at, duplicate_of,
            similarity, signature, findings)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
        ON CONFLICT (root, path) DO UPDATE SET
            content_hash = excluded.content_hash, size = excluded.size,
            mtime_ns = excluded.mtime_ns, title = excluded.title,
            media_type = excluded.media_type, language = excluded.language,
            collection = excluded.collection, licence = excluded.licence,
            groups = excluded.groups, modified = excluded.modified, made_by = excluded.made_by,
            ingested_at = excluded.ingested_at, duplicate_of = excluded.duplicate_of,
            similarity = excluded.similarity, signature = excluded.signature,
            findings = excluded.findings
        RETURNING id",
    )?;
    let id = statement.query_row(
        params![
            source.root,
            source.path,
            source.content_hash,
            source.size,
            source.mtime_ns,
            document.title,
            encode::media_type_name(document.media_type),
            document.language.map(Language::code),
            labels.collection,
            labels.licence,
            encode::to_json(&labels.groups),
            labels.modified,
            new.made_by,
            new.ingested_at,
            new.duplicate.map(|it| it.of.0),
            new.duplicate.map(|it| it.similarity),
            new.signature,
            encode::findings_json(&document.findings),
        ],
        |row| row.get(0),
    )?;
    Ok(DocumentId(id))
}

fn put_text(
    connection: &Connection,
    id: DocumentId,
    new: &NewDocument<'_>,
) -> Result<(), CatalogError> {
    let mut statement =
        connection.prepare_cached("INSERT OR REPLACE INTO texts VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![
        id.0,
        new.document.text,
        encode::pages_json(&new.document.pages),
        encode::headings_json(&new.document.headings),
    ])?;
    Ok(())
}

fn put_chunks(
    connection: &Connection,
    id: DocumentId,
    recipe: i64,
    chunks: &[EmbeddedChunk],
) -> Result<(), CatalogError> {
    let mut insert_chunk = connection.prepare_cached(
        "INSERT INTO chunks (document, recipe, ordinal, span_start, span_end, header_start,
            header_end, heading_path, page, language, simhash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let mut insert_vector = connection.prepare_cached("INSERT INTO vectors VALUES (?1, ?2)")?;
    for (ordinal, EmbeddedChunk { chunk, vector, simhash }) in chunks.iter().enumerate() {
        insert_chunk.execute(params![
            id.0,
            recipe,
            ordinal,
            chunk.span.start,
            chunk.span.end,
            chunk.table_header.map(|it| it.start),
            chunk.table_header.map(|it| it.end),
            encode::to_json(&chunk.heading_path),
            chunk.page,
            chunk.language.map(Language::code),
            simhash.cast_signed(),
        ])?;
        let chunk = ChunkId(connection.last_insert_rowid());
        insert_vector.execute(params![chunk.0, vector.to_bytes()])?;
    }
    Ok(())
}

/// In reading order, which is the order of ids and that of the index by document. To sort by id
/// would make SQLite walk the index by recipe, which has ids in order and every chunk there is.
pub(super) const ANNOUNCE: &str = "INSERT INTO outbox (chunk) SELECT id FROM chunks
    WHERE document = ?1 AND recipe = (SELECT recipe FROM live) ORDER BY ordinal";

/// Tells the legs that a document's live chunks changed.
fn announce(connection: &Connection, id: DocumentId) -> Result<(), CatalogError> {
    connection.prepare_cached(ANNOUNCE)?.execute([id.0])?;
    Ok(())
}

fn recipe_id(connection: &Connection, recipe: &Recipe) -> Result<i64, CatalogError> {
    let json = encode::to_json(recipe);
    connection.execute("INSERT OR IGNORE INTO recipes (json) VALUES (?1)", [&json])?;
    let id = connection
        .query_row("SELECT id FROM recipes WHERE json = ?1", [&json], |row| row.get(0))?;
    Ok(id)
}

fn forget_other_recipes(connection: &Connection, live: i64) -> Result<(), CatalogError> {
    connection.execute("DELETE FROM chunks WHERE recipe <> ?1", [live])?;
    connection.execute("DELETE FROM recipes WHERE id <> ?1", [live])?;
    Ok(())
}
