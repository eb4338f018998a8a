//! Reads. Each public method sees one snapshot of the catalog.

use ingest::document::{Language, Span};
use rusqlite::blob::Blob;
use rusqlite::{Connection, MAIN_DB, OptionalExtension, Row};

use super::{
    Catalog, CatalogError, Counts, Duplicate, Labels, LiveRecipe, Source, StoredChunk,
    StoredDocument, StoredText, encode,
};
use crate::filter::Facets;
use crate::hit::{ChunkId, DocumentId};

const DOCUMENT: &str = "SELECT id, root, path, content_hash, size, mtime_ns, title, media_type,
    language, collection, licence, groups, modified, made_by, ingested_at, duplicate_of,
    similarity, findings,
    (SELECT count(*) FROM chunks
        WHERE document = documents.id AND recipe = (SELECT recipe FROM live))
    FROM documents";

impl Catalog {
    /// The document at a root and a path below it.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn find(&self, root: &str, path: &str) -> Result<Option<StoredDocument>, CatalogError> {
        let one = self.documents("WHERE root = ?1 AND path = ?2", &[&root, &path])?;
        Ok(one.into_iter().next())
    }

    /// A document by its identity.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn get(&self, id: DocumentId) -> Result<Option<StoredDocument>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.document(id)?);
        }
        Ok(self.documents("WHERE id = ?1", &[&id.0])?.into_iter().next())
    }

    /// Every document, by identity.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn list(&self) -> Result<Vec<StoredDocument>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.documents()?);
        }
        self.documents("", &[])
    }

    /// Documents of which the file held these bytes, oldest first: where a moved file was, or
    /// what a new one repeats.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn with_hash(&self, content_hash: &str) -> Result<Vec<StoredDocument>, CatalogError> {
        self.documents("WHERE content_hash = ?1", &[&content_hash])
    }

    fn documents(
        &self,
        condition: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<StoredDocument>, CatalogError> {
        self.read(|connection| {
            let sql = format!("{DOCUMENT} {condition} ORDER BY id");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(values)?;
            let mut res = Vec::new();
            while let Some(row) = rows.next()? {
                res.push(stored_document(row)?);
            }
            Ok(res)
        })
    }

    /// A document's text with its maps.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn text(&self, id: DocumentId) -> Result<Option<StoredText>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.text(id)?);
        }
        self.read(|connection| {
            let row: Option<(String, String, String)> = connection
                .prepare_cached("SELECT text, pages, headings FROM texts WHERE document = ?1")?
                .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((text, pages, headings)) = row else { return Ok(None) };
            let pages = encode::pages(&pages)?;
            Ok(Some(StoredText { text, pages, headings: encode::headings(&headings)? }))
        })
    }

    /// Every document's MinHash signature, by identity; those that have none are left out.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn signatures(&self) -> Result<Vec<(DocumentId, Vec<u8>)>, CatalogError> {
        self.signatures_where("true")
    }

    /// As [`Self::signatures`], of documents that repeat no other.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn signatures_of_originals(&self) -> Result<Vec<(DocumentId, Vec<u8>)>, CatalogError> {
        self.signatures_where("duplicate_of IS NULL")
    }

    fn signatures_where(
        &self,
        condition: &str,
    ) -> Result<Vec<(DocumentId, Vec<u8>)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT id, signature FROM documents
                WHERE length(signature) > 0 AND {condition} ORDER BY id"
            ))?;
            let mut rows = statement.query([])?;
            let mut res = Vec::new();
            while let Some(row) = rows.next()? {
                res.push((DocumentId(row.get(0)?), row.get(1)?));
            }
            Ok(res)
        })
    }

    /// Live chunks by language; `None` where it cannot be told.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn languages(&self) -> Result<Vec<(Option<Language>, u64)>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.languages()?);
        }
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(chunks.language, documents.language) AS code, count(*)
                FROM chunks JOIN documents ON documents.id = chunks.document
                WHERE recipe = (SELECT recipe FROM live) GROUP BY code ORDER BY code",
            )?;
            let mut rows = statement.query([])?;
            let mut res = Vec::new();
            while let Some(row) = rows.next()? {
                res.push((encode::language(row.get(0)?)?, row.get(1)?));
            }
            Ok(res)
        })
    }

    /// A document's live chunks in reading order.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn chunk_ids(&self, id: DocumentId) -> Result<Vec<ChunkId>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.chunk_ids(id)?);
        }
        self.read(|connection| chunk_range(connection, id, 0, i64::MAX))
    }

    /// Chunks with their text, in the order asked for. Those that are not live are left out.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn chunks(&self, ids: &[ChunkId]) -> Result<Vec<StoredChunk>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.chunks(ids)?);
        }
        self.read(|connection| stored_chunks(connection, self.recipe_id(), ids))
    }

    /// A chunk with up to `before` chunks that come before it in its document and up to `after`
    /// that come after it, in reading order; nothing when it is not live.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn neighbours(
        &self,
        id: ChunkId,
        before: u32,
        after: u32,
    ) -> Result<Vec<StoredChunk>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.neighbours(id, before, after)?);
        }
        self.read(|connection| {
            let place: Option<(i64, i64)> = connection
                .prepare_cached(
                    "SELECT document, ordinal FROM chunks
                    WHERE id = ?1 AND recipe = (SELECT recipe FROM live)",
                )?
                .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((document, ordinal)) = place else { return Ok(Vec::new()) };
            let (first, last) = (ordinal - i64::from(before), ordinal + i64::from(after));
            let ids = chunk_range(connection, DocumentId(document), first, last)?;
            stored_chunks(connection, self.recipe_id(), &ids)
        })
    }

    /// Sizes of the catalog.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn counts(&self) -> Result<Counts, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.counts()?);
        }
        self.read(|connection| {
            let counts = connection.query_row(
                "SELECT (SELECT count(*) FROM documents),
                    (SELECT count(*) FROM chunks WHERE recipe = (SELECT recipe FROM live)),
                    (SELECT count(*) FROM documents WHERE duplicate_of IS NOT NULL),
                    (SELECT coalesce(sum(octet_length(text)), 0) FROM texts),
                    (SELECT count(*) FROM outbox)",
                [],
                |row| {
                    Ok(Counts {
                        documents: row.get(0)?,
                        chunks: row.get(1)?,
                        duplicates: row.get(2)?,
                        text_bytes: row.get(3)?,
                        pending: row.get(4)?,
                    })
                },
            )?;
            Ok(counts)
        })
    }

    /// Changes that the indexes have yet to hear of. None, once an index is open, unless the disk
    /// is full.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn n_pending(&self) -> Result<u64, CatalogError> {
        // Who only reads sees what was applied.
        if self.cluster().is_some() {
            return Ok(0);
        }
        self.read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?)
        })
    }
}

pub(super) fn live_recipe(connection: &Connection) -> Result<Option<LiveRecipe>, CatalogError> {
    let row: Option<(i64, String)> = connection
        .query_row(
            "SELECT recipes.id, json FROM live JOIN recipes ON recipes.id = live.recipe",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((id, json)) = row else { return Ok(None) };
    Ok(Some(LiveRecipe { id, recipe: encode::from_json("the live recipe", &json)? }))
}

/// A column of another type than the schema says.
pub(super) fn columns(error: rusqlite::types::FromSqlError) -> CatalogError {
    encode::damaged("a column", error)
}

fn chunk_range(
    connection: &Connection,
    id: DocumentId,
    first: i64,
    last: i64,
) -> Result<Vec<ChunkId>, CatalogError> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM chunks WHERE document = ?1 AND recipe = (SELECT recipe FROM live)
        AND ordinal BETWEEN ?2 AND ?3 ORDER BY ordinal",
    )?;
    let ids = statement.query_map([id.0, first, last], |row| row.get(0).map(ChunkId))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn stored_document(row: &Row<'_>) -> Result<StoredDocument, CatalogError> {
    let duplicate: Option<(i64, f32)> = row.get::<_, Option<i64>>(15)?.zip(row.get(16)?);
    Ok(StoredDocument {
        id: DocumentId(row.get(0)?),
        source: Source {
            root: row.get(1)?,
            path: row.get(2)?,
            content_hash: row.get(3)?,
            size: row.get(4)?,
            mtime_ns: row.get(5)?,
        },
        title: row.get(6)?,
        media_type: encode::media_type(row.get_ref(7)?.as_str().map_err(columns)?)?,
        language: encode::language(row.get(8)?)?,
        labels: Labels {
            collection: row.get(9)?,
            licence: row.get(10)?,
            groups: groups(row, 11)?,
            modified: row.get(12)?,
        },
        made_by: row.get(13)?,
        ingested_at: row.get(14)?,
        duplicate: duplicate.map(|(of, similarity)| Duplicate { of: DocumentId(of), similarity }),
        findings: encode::findings(row.get_ref(17)?.as_str().map_err(columns)?)?,
        n_chunks: row.get(18)?,
    })
}

fn groups(row: &Row<'_>, column: usize) -> Result<Vec<String>, CatalogError> {
    encode::from_json("the groups of a document", row.get_ref(column)?.as_str().map_err(columns)?)
}

/// Reads path, collection, language, date and groups, in this order.
pub(super) fn facets(row: &Row<'_>, first: usize) -> Result<Facets, CatalogError> {
    Ok(Facets {
        path: row.get(first)?,
        collection: row.get(first + 1)?,
        language: encode::language(row.get(first + 2)?)?,
        modified: row.get(first + 3)?,
        groups: groups(row, first + 4)?,
    })
}

/// A chunk's text is a slice of its document's, read from the disk without the rest of it.
pub(super) fn stored_chunks(
    connection: &Connection,
    recipe: i64,
    ids: &[ChunkId],
) -> Result<Vec<StoredChunk>, CatalogError> {
    let mut statement = connection.prepare_cached(
        "SELECT chunks.document, root, title, ordinal, span_start, span_end, header_start,
            header_end, heading_path, page, simhash, path, collection,
            coalesce(chunks.language, documents.language), modified, groups
        FROM chunks JOIN documents ON documents.id = chunks.document
        WHERE chunks.id = ?1 AND recipe = ?2",
    )?;
    let mut text: Option<(DocumentId, Blob<'_>)> = None;
    let mut res = Vec::with_capacity(ids.len());
    for &id in ids {
        let mut rows = statement.query([id.0, recipe])?;
        let Some(row) = rows.next()? else { continue };
        let document = DocumentId(row.get(0)?);
        match &mut text {
            Some((open, _)) if *open == document => {}
            // Opening takes a statement to be made, opening again does not.
            Some((open, blob)) => {
                blob.reopen(document.0)?;
                *open = document;
            }
            None => {
                let blob = connection.blob_open(MAIN_DB, "texts", "text", document.0, true)?;
                text = Some((document, blob));
            }
        }
        let (_, blob) = text.as_ref().expect("it was opened above");
        let span = Span { start: row.get(4)?, end: row.get(5)? };
        let header = row.get::<_, Option<usize>>(6)?.zip(row.get(7)?);
        let header = header.map(|(start, end)| slice(blob, Span { start, end })).transpose()?;
        res.push(StoredChunk {
            id,
            document,
            root: row.get(1)?,
            title: row.get(2)?,
            ordinal: row.get(3)?,
            span,
            text: slice(blob, span)?,
            table_header: header,
            heading_path: encode::from_json(
                "a heading path",
                row.get_ref(8)?.as_str().map_err(columns)?,
            )?,
            page: row.get(9)?,
            simhash: row.get::<_, i64>(10)?.cast_unsigned(),
            facets: facets(row, 11)?,
        });
    }
    Ok(res)
}

fn slice(text: &Blob<'_>, span: Span) -> Result<String, CatalogError> {
    let outside = || encode::damaged("the span of a chunk", format!("{span:?}"));
    if span.start > span.end || span.end > text.len() {
        return Err(outside());
    }
    let mut bytes = vec![0; span.len()];
    text.read_at_exact(&mut bytes, span.start)?;
    String::from_utf8(bytes).map_err(|_| outside())
}
