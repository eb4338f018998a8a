//! The outbox reaches both legs: apply, flush, and only then move the watermarks.
//!
//! An entry names a chunk that changed; what to do with it, the catalog says at the time of
//! applying. So a batch can be applied any number of times, in whole or in part, and a crash
//! anywhere costs only the work since the last watermark.

use std::path::{Path, PathBuf};

use crate::catalog::{Catalog, StoredChunk};
use crate::dense::Dense;
use crate::hit::ChunkId;
use crate::lexical::{Lexical, LexicalChunk, LexicalError};
use crate::unit_vector::UnitVector;
use crate::{IndexError, LegCounts, Preparing};

/// Outbox entries that are read and applied at a time.
const BATCH: usize = 256;

/// Entries after which a long run makes its work durable.
const COMMIT_EVERY: u64 = 16_384;

/// Room that is left alone: enough for the catalog and the legs to flush what they hold.
const RESERVE_BYTES: u64 = 64 << 20;

/// Both legs of a generation.
#[derive(Debug)]
pub(crate) struct Legs {
    dir: PathBuf,
    pub(crate) lexical: Lexical,
    pub(crate) dense: Dense,
}

/// What [`Index::apply`](crate::Index::apply) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Chunks added or replaced.
    pub n_put: u64,
    /// Chunks dropped.
    pub n_deleted: u64,
}

impl Legs {
    /// Opens both legs in a generation's folder, and creates those that are not there.
    pub(crate) fn open(dir: &Path, dim: u32) -> Result<Self, IndexError> {
        Ok(Self {
            dir: dir.to_owned(),
            lexical: Lexical::open(&dir.join("lexical"))?,
            dense: Dense::open(&dir.join("dense"), dim as usize)?,
        })
    }

    /// The lowest and the highest watermark.
    pub(crate) fn watermarks(&self) -> (u64, u64) {
        let (lexical, dense) = (self.lexical.watermark(), self.dense.watermark());
        (lexical.min(dense), lexical.max(dense))
    }

    /// How many chunks each leg holds.
    pub(crate) fn counts(&self) -> Result<LegCounts, IndexError> {
        Ok(LegCounts { lexical: self.lexical.len(), dense: self.dense.len()? as u64 })
    }

    pub(crate) fn put(&self, chunks: &[(StoredChunk, UnitVector)]) -> Result<(), IndexError> {
        self.ensure_room(chunks)?;
        for (chunk, _) in chunks {
            put_lexical(&self.lexical, chunk)?;
        }
        let points = chunks.iter().map(|(chunk, vector)| (chunk.id, &chunk.facets, vector));
        Ok(self.dense.put(points)?)
    }

    pub(crate) fn delete(&self, chunks: &[ChunkId]) -> Result<(), IndexError> {
        for &chunk in chunks {
            self.lexical.delete(chunk)?;
        }
        Ok(self.dense.delete(chunks)?)
    }

    pub(crate) fn commit(&self, watermark: u64) -> Result<(), IndexError> {
        self.lexical.commit(watermark)?;
        Ok(self.dense.commit(watermark)?)
    }

    /// The dense leg writes through memory maps, where a full disk ends the process; so the room
    /// is checked before, generously.
    fn ensure_room(&self, chunks: &[(StoredChunk, UnitVector)]) -> Result<(), IndexError> {
        let size = |(chunk, vector): &(StoredChunk, UnitVector)| {
            chunk.text.len() + 1_024 + 4 * vector.dim()
        };
        let bytes: usize = chunks.iter().map(size).sum();
        ensure_room(&self.dir, 4 * bytes as u64)
    }

    /// See [`crate::Index::ensure_room`].
    pub(crate) fn ensure_some_room(&self) -> Result<(), IndexError> {
        ensure_room(&self.dir, 0)
    }

    /// Puts searches in order after large changes: graphs are built, segments merged.
    pub(crate) fn optimize(&self) -> Result<(), IndexError> {
        // A segment is written anew beside the old one.
        let bytes = self.dense.len()? as u64 * self.dense.dim() as u64 * 4;
        ensure_room(&self.dir, 2 * bytes)?;
        self.dense.optimize()?;
        Ok(self.lexical.optimize()?)
    }
}

/// A chunk is found by the words of its table's header too, although these stand further up.
fn put_lexical(lexical: &Lexical, chunk: &StoredChunk) -> Result<(), LexicalError> {
    let with_header = chunk.table_header.as_ref().map(|it| format!("{it}\n{}", chunk.text));
    lexical.put(&LexicalChunk {
        id: chunk.id,
        title: &chunk.title,
        heading_path: &chunk.heading_path.join("\n"),
        text: with_header.as_deref().unwrap_or(&chunk.text),
        language: chunk.facets.language,
        facets: &chunk.facets,
    })
}

/// Brings both legs up to the catalog. On an error the watermarks say how far they durably are,
/// and the next call goes on from there.
pub(crate) fn apply(
    catalog: &Catalog,
    legs: &Legs,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Applied, IndexError> {
    let mut applied = Applied::default();
    let (mut at, highest) = legs.watermarks();
    let outbox = catalog.outbox_state()?;
    let last = outbox.last;
    let (first, mut durable) = (at, at);
    while let Some(batch) = catalog.outbox(at, BATCH)? {
        progress(Preparing::Applying { done: at - first, total: last.max(at) - first });
        legs.put(&batch.live)?;
        legs.delete(&batch.dead)?;
        applied.n_put += batch.live.len() as u64;
        applied.n_deleted += batch.dead.len() as u64;
        at = batch.last;
        if at - durable >= COMMIT_EVERY {
            legs.commit(at)?;
            catalog.prune(at)?;
            durable = at;
        }
    }
    let done = at.max(highest);
    if done > durable {
        legs.commit(done)?;
    }
    // A run that was killed between the two leaves entries that both legs already have.
    if outbox.pruned < done {
        catalog.prune(done)?;
    }
    Ok(applied)
}

/// Refuses to write `bytes` where the disk would be nearly full afterwards.
pub(crate) fn ensure_room(dir: &Path, bytes: u64) -> Result<(), IndexError> {
    let needed = bytes + RESERVE_BYTES;
    let available = fs4::available_space(dir).map_err(|source| IndexError::Io { source })?;
    if available < needed {
        return Err(IndexError::NoRoom { dir: dir.to_owned(), available, needed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        ensure_room(dir.path(), 0).unwrap();
        let error = ensure_room(dir.path(), 1 << 60).unwrap_err();
        assert!(matches!(error, IndexError::NoRoom { needed, .. } if needed > 1 << 60));
        assert!(error.hint().unwrap().contains("room"), "{error}");
    }
}
