//! The outbox: which chunks the legs have yet to hear of.

use rusqlite::{OptionalExtension, params};

use super::{Catalog, CatalogError, StoredChunk, read};
use crate::hit::ChunkId;
use crate::unit_vector::UnitVector;

/// Consecutive entries of the outbox, with what the catalog says of their chunks now.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Sequence number of the last entry; a leg that has applied the batch has all up to here.
    pub(crate) last: u64,
    /// Chunks that are live.
    pub(crate) live: Vec<(StoredChunk, UnitVector)>,
    /// Chunks that are not, any more.
    pub(crate) dead: Vec<ChunkId>,
}

/// Where the outbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutboxState {
    /// Identity of the catalog: a leg of another one is worth nothing.
    pub(crate) catalog: String,
    /// The live generation, 0 when there is none.
    pub(crate) generation: u64,
    /// Highest sequence number ever given.
    pub(crate) last: u64,
    /// Entries up to here are gone: a leg that has not applied them cannot catch up.
    pub(crate) pruned: u64,
}

impl Catalog {
    pub(crate) fn outbox_state(&self) -> Result<OutboxState, CatalogError> {
        self.read(|connection| {
            let last: Option<u64> = connection
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'", [], |row| {
                    row.get(0)
                })
                .optional()?;
            let state = connection.query_row(
                "SELECT catalog, generation, pruned FROM live",
                [],
                |row| {
                    Ok(OutboxState {
                        catalog: row.get(0)?,
                        generation: row.get(1)?,
                        last: last.unwrap_or(0),
                        pruned: row.get(2)?,
                    })
                },
            )?;
            Ok(state)
        })
    }

    /// The last change of which both legs have heard, where they have heard of all: what they then
    /// answer is what the catalog says, as long as this stays the same.
    pub(crate) fn settled(&self) -> Result<Option<u64>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)
                WHERE NOT EXISTS (SELECT 1 FROM outbox)",
            )?;
            Ok(statement.query_row([], |row| row.get(0)).optional()?)
        })
    }

    /// Up to `n` entries after `after`; `None` when there are no more.
    pub(crate) fn outbox(&self, after: u64, n: usize) -> Result<Option<Batch>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, chunk FROM outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            let rows = statement.query_map(params![after, n], |row| {
                Ok((row.get::<_, u64>(0)?, ChunkId(row.get(1)?)))
            })?;
            let entries: Vec<(u64, ChunkId)> = rows.collect::<Result<_, _>>()?;
            let Some(&(last, _)) = entries.last() else { return Ok(None) };
            let mut ids: Vec<ChunkId> = entries.into_iter().map(|(_, chunk)| chunk).collect();
            ids.sort_unstable();
            ids.dedup();
            let (live, dead) = with_vectors(connection, self.recipe_id(), &ids)?;
            Ok(Some(Batch { last, live, dead }))
        })
    }

    /// Up to `n` live chunks of a recipe with ids after `after`, by id; empty at the end.
    pub(crate) fn chunks_after(
        &self,
        recipe: i64,
        after: ChunkId,
        n: usize,
    ) -> Result<Vec<(StoredChunk, UnitVector)>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM chunks WHERE recipe = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let ids = statement
                .query_map(params![recipe, after.0, n], |row| row.get(0).map(ChunkId))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(with_vectors(connection, recipe, &ids)?.0)
        })
    }

    /// How many chunks a recipe has.
    pub(crate) fn n_chunks(&self, recipe: i64) -> Result<u64, CatalogError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM chunks WHERE recipe = ?1";
            Ok(connection.query_row(sql, [recipe], |row| row.get(0))?)
        })
    }

    /// How many of them have ids up to `last`.
    pub(crate) fn n_chunks_up_to(&self, recipe: i64, last: ChunkId) -> Result<u64, CatalogError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM chunks WHERE recipe = ?1 AND id <= ?2";
            Ok(connection.query_row(sql, [recipe, last.0], |row| row.get(0))?)
        })
    }

    /// Drops entries that both legs have made durable.
    pub(crate) fn prune(&self, up_to: u64) -> Result<(), CatalogError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM outbox WHERE seq <= ?1", [up_to])?;
            transaction.execute("UPDATE live SET pruned = max(pruned, ?1)", [up_to])?;
            Ok(())
        })
    }
}

type Embedded = Vec<(StoredChunk, UnitVector)>;

/// Splits ids into live chunks and others.
fn with_vectors(
    connection: &rusqlite::Connection,
    recipe: i64,
    ids: &[ChunkId],
) -> Result<(Embedded, Vec<ChunkId>), CatalogError> {
    let chunks = read::stored_chunks(connection, recipe, ids)?;
    let mut statement = connection.prepare_cached("SELECT vector FROM vectors WHERE chunk = ?1")?;
    let mut live = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let bytes: Vec<u8> = statement.query_row([chunk.id.0], |row| row.get(0))?;
        let vector = UnitVector::from_bytes(&bytes)
            .ok_or_else(|| super::encode::damaged("the vector of a chunk", chunk.id.0))?;
        live.push((chunk, vector));
    }
    // Both lists are sorted by id, and what is live comes back in the order asked for.
    let mut next = live.iter().map(|(chunk, _): &(StoredChunk, UnitVector)| chunk.id).peekable();
    let dead = ids.iter().copied().filter(|id| next.next_if_eq(id).is_none()).collect();
    Ok((live, dead))
}
