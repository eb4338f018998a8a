//! What there is for a reader: collections, paths and sizes of what is open to their groups.

use super::{Catalog, CatalogError, CollectionCounts, ReadableCounts, encode};

/// Whether a document is open to a reader, whose groups are the JSON list `?1`; with NULL, all are.
const READABLE: &str = "(?1 IS NULL OR json_array_length(documents.groups) = 0 OR EXISTS (
    SELECT 1 FROM json_each(documents.groups) AS own JOIN json_each(?1) AS reader
    ON own.value = reader.value))";

/// Live chunks of a document.
const CHUNKS: &str = "(SELECT count(*) FROM chunks
    WHERE document = documents.id AND recipe = (SELECT recipe FROM live))";

impl Catalog {
    /// The collections, by name, with the documents and live chunks of each. With `groups`, those
    /// of documents that are open to everyone or to one of these groups, as a filter has it.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn collections(
        &self,
        groups: Option<&[String]>,
    ) -> Result<Vec<CollectionCounts>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.collections(groups)?);
        }
        self.read(|connection| {
            let sql = format!(
                "SELECT collection, count(*), sum({CHUNKS})
                FROM documents WHERE collection IS NOT NULL AND {READABLE}
                GROUP BY collection ORDER BY collection"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([groups.map(encode::to_json)], |row| {
                Ok(CollectionCounts {
                    name: row.get(0)?,
                    documents: row.get(1)?,
                    chunks: row.get(2)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The names of [`Self::collections`], without counting what is in them.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn collection_names(&self, groups: Option<&[String]>) -> Result<Vec<String>, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.collection_names(groups)?);
        }
        let sql = format!(
            "SELECT DISTINCT collection FROM documents
            WHERE collection IS NOT NULL AND {READABLE} ORDER BY collection"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let names = statement.query_map([groups.map(encode::to_json)], |row| row.get(0))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// Whether a collection is among [`Self::collections`].
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn has_collection(
        &self,
        name: &str,
        groups: Option<&[String]>,
    ) -> Result<bool, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.has_collection(name, groups)?);
        }
        let sql =
            format!("SELECT EXISTS (SELECT 1 FROM documents WHERE collection = ?2 AND {READABLE})");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row((groups.map(encode::to_json), name), |row| row.get(0))?)
        })
    }

    /// Documents and live chunks that are open to everyone or to one of `groups`; with `None`, all.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn readable(&self, groups: Option<&[String]>) -> Result<ReadableCounts, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.readable(groups)?);
        }
        let sql =
            format!("SELECT count(*), coalesce(sum({CHUNKS}), 0) FROM documents WHERE {READABLE}");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([groups.map(encode::to_json)], |row| {
                Ok(ReadableCounts { documents: row.get(0)?, chunks: row.get(1)? })
            })?)
        })
    }

    /// Whether a path filter ([`Filter::path_prefix`]) lets any document through, among those that
    /// are open to one of `groups`, where these are given.
    ///
    /// # Errors
    ///
    /// When the catalog cannot be read.
    pub fn has_path(&self, prefix: &str, groups: Option<&[String]>) -> Result<bool, CatalogError> {
        if let Some(cluster) = self.cluster() {
            return Ok(cluster.has_path(prefix, groups)?);
        }
        // Below a folder are the paths from `folder/` up to `folder0`, the character after `/`.
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM documents WHERE {READABLE} AND
                (?2 = '' OR path = ?2 OR (path >= ?2 || '/' AND path < ?2 || '0')))"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let values = (groups.map(encode::to_json), prefix.trim_matches('/'));
            Ok(statement.query_row(values, |row| row.get(0))?)
        })
    }
}
