//! The outbox reaches both legs: apply, flush, and only then move the watermarks.
//!
//! An entry names a chunk that changed; what to do with it, the catalog says at the time of
//! applying. So a batch can be applied any number of times, in whole or in part, and a crash
//! anywhere costs only the work since the last watermark.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ingest::document::Language;

use crate::catalog::{Catalog, StoredChunk};
use crate::dense::{Dense, DenseError, Rescore};
use crate::filter::Filter;
use crate::hit::{ChunkId, Hit};
use crate::lexical::{Lexical, LexicalChunk, LexicalError, TermScore};
use crate::qdrant::Cluster;
use crate::unit_vector::UnitVector;
use crate::{IndexError, LegCounts, Preparing};

/// Outbox entries that are read and applied at a time.
const BATCH: usize = 256;

/// Entries after which a long run makes its work durable.
const COMMIT_EVERY: u64 = 16_384;

/// Cosine of a vector and its copy in a leg, at least: copies are scaled to length one once more.
const COSINE_ALIKE: f32 = 0.9999;

/// Room that is left alone: enough for the catalog and the legs to flush what they hold.
const RESERVE_BYTES: u64 = 64 << 20;

/// Both legs of a generation, wherever they are.
#[derive(Debug)]
pub(crate) enum Legs {
    /// In the data folder.
    Embedded(Box<Embedded>),
    /// On a cluster.
    Qdrant(Arc<Cluster>),
}

/// Both legs in a generation's folder.
#[derive(Debug)]
pub(crate) struct Embedded {
    dir: PathBuf,
    lexical: Lexical,
    dense: Dense,
}

/// What [`Index::apply`](crate::Index::apply) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Chunks added or replaced.
    pub n_put: u64,
    /// Chunks dropped.
    pub n_deleted: u64,
}

impl Embedded {
    fn put(&self, chunks: &[(StoredChunk, UnitVector)]) -> Result<(), IndexError> {
        self.ensure_room(chunks)?;
        let points = chunks.iter().map(|(chunk, vector)| (chunk.id, &chunk.facets, vector));
        self.both(
            |lexical| {
                let mut each = chunks.iter();
                each.try_for_each(|(chunk, _)| with_lexical_chunk(chunk, |it| lexical.put(it)))
            },
            |dense| dense.put(points),
        )
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

    fn optimize(&self) -> Result<(), IndexError> {
        // A segment is written anew beside the old one.
        let bytes = self.dense.len()? as u64 * self.dense.dim() as u64 * 4;
        ensure_room(&self.dir, 2 * bytes)?;
        self.both(Lexical::optimize, |dense| dense.optimize().map(drop))
    }

    /// Works on both legs at once.
    fn both(
        &self,
        on_lexical: impl FnOnce(&Lexical) -> Result<(), LexicalError>,
        on_dense: impl FnOnce(&Dense) -> Result<(), DenseError> + Send,
    ) -> Result<(), IndexError> {
        std::thread::scope(|scope| {
            let dense = scope.spawn(|| on_dense(&self.dense));
            on_lexical(&self.lexical)?;
            Ok(dense.join().unwrap_or_else(|panic| resume_unwind(panic))?)
        })
    }
}

impl Legs {
    /// Opens both legs in a generation's folder, and creates those that are not there.
    pub(crate) fn embedded(dir: &Path, dim: u32) -> Result<Self, IndexError> {
        Ok(Self::Embedded(Box::new(Embedded {
            dir: dir.to_owned(),
            lexical: Lexical::open(&dir.join("lexical"))?,
            dense: Dense::open(&dir.join("dense"), dim as usize)?,
        })))
    }

    /// The lowest and the highest watermark.
    pub(crate) fn watermarks(&self) -> (u64, u64) {
        let (a, b) = match self {
            Self::Embedded(it) => (it.lexical.watermark(), it.dense.watermark()),
            Self::Qdrant(it) => (it.watermark(), it.watermark()),
        };
        (a.min(b), a.max(b))
    }

    /// How many chunks each leg holds.
    pub(crate) fn counts(&self) -> Result<LegCounts, IndexError> {
        let (lexical, dense) = match self {
            Self::Embedded(it) => (it.lexical.len(), it.dense.len()? as u64),
            // A point has both.
            Self::Qdrant(it) => {
                let n = it.len()?;
                (n, n)
            }
        };
        Ok(LegCounts { lexical, dense })
    }

    pub(crate) fn put(
        &self,
        catalog: &Catalog,
        chunks: &[(StoredChunk, UnitVector)],
    ) -> Result<(), IndexError> {
        match self {
            Self::Embedded(it) => it.put(chunks),
            Self::Qdrant(it) => it.put(catalog, chunks),
        }
    }

    pub(crate) fn delete(&self, chunks: &[ChunkId]) -> Result<(), IndexError> {
        match self {
            Self::Embedded(it) => {
                for &chunk in chunks {
                    it.lexical.delete(chunk)?;
                }
                Ok(it.dense.delete(chunks)?)
            }
            Self::Qdrant(it) => Ok(it.delete(chunks)?),
        }
    }

    /// Makes all changes so far durable, and only then advances the watermark.
    pub(crate) fn commit(&self, catalog: &Catalog, watermark: u64) -> Result<(), IndexError> {
        match self {
            Self::Embedded(it) => {
                it.lexical.commit(watermark)?;
                Ok(it.dense.commit(watermark)?)
            }
            Self::Qdrant(it) => it.commit(catalog, watermark),
        }
    }

    /// The first of some chunks that a leg does not hold as the catalog does.
    pub(crate) fn first_unlike(
        &self,
        chunks: &[(StoredChunk, UnitVector)],
    ) -> Result<Option<ChunkId>, IndexError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|(chunk, _)| chunk.id).collect();
        let is_near = |held: Option<&UnitVector>, vector: &UnitVector| {
            held.is_some_and(|it| it.cosine(vector) >= COSINE_ALIKE)
        };
        match self {
            Self::Embedded(it) => {
                let held = it.dense.vectors(&ids)?;
                for (chunk, vector) in chunks {
                    let is_held = is_near(held.get(&chunk.id), vector);
                    if !is_held || !it.lexical.holds(chunk.id)? {
                        return Ok(Some(chunk.id));
                    }
                }
            }
            Self::Qdrant(it) => {
                let held = it.points(&ids)?;
                let is_held = |(chunk, vector): &(StoredChunk, UnitVector)| {
                    held.get(&chunk.id).is_some_and(|(of_cluster, of_vector)| {
                        of_cluster == chunk && is_near(of_vector.as_ref(), vector)
                    })
                };
                let unlike = chunks.iter().find(|it| !is_held(it));
                return Ok(unlike.map(|(chunk, _)| chunk.id));
            }
        }
        Ok(None)
    }

    /// See [`crate::Index::ensure_room`]. A cluster says so itself when it is full.
    pub(crate) fn ensure_some_room(&self) -> Result<(), IndexError> {
        match self {
            Self::Embedded(it) => ensure_room(&it.dir, 0),
            Self::Qdrant(_) => Ok(()),
        }
    }

    /// Puts searches in order after large changes: graphs are built, segments merged.
    pub(crate) fn optimize(
        &self,
        catalog: &Catalog,
        recipe: i64,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<(), IndexError> {
        match self {
            Self::Embedded(it) => it.optimize(),
            Self::Qdrant(it) => it.optimize(catalog, recipe, progress),
        }
    }

    pub(crate) fn search_lexical(
        &self,
        question: &str,
        language: Option<Language>,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        Ok(match self {
            Self::Embedded(it) => it.lexical.search(question, language, filter, k)?,
            Self::Qdrant(it) => it.search_lexical(question, language, filter, k)?,
        })
    }

    pub(crate) fn search_dense(
        &self,
        catalog: &Catalog,
        vector: &UnitVector,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        match self {
            Self::Embedded(it) => {
                let rescore = |hits| Ok(catalog.rescore(vector, hits)?);
                let rescore: Option<&Rescore<'_, IndexError>> =
                    if it.dense.is_large()? { Some(&rescore) } else { None };
                it.dense.search(vector, filter, k, rescore)
            }
            Self::Qdrant(it) => Ok(it.search_dense(vector, filter, k)?),
        }
    }

    pub(crate) fn explain(
        &self,
        question: &str,
        language: Option<Language>,
        chunk: ChunkId,
    ) -> Result<Vec<TermScore>, IndexError> {
        Ok(match self {
            Self::Embedded(it) => it.lexical.explain(question, language, chunk)?,
            Self::Qdrant(it) => it.explain(question, language, chunk)?,
        })
    }

    pub(crate) fn term_weights(
        &self,
        question: &str,
        language: Option<Language>,
    ) -> Result<BTreeMap<String, f32>, IndexError> {
        Ok(match self {
            Self::Embedded(it) => it.lexical.term_weights(question, language)?,
            Self::Qdrant(it) => it.term_weights(question, language)?,
        })
    }

    /// Chunks that words find.
    pub(crate) fn n_searchable(&self) -> Result<u64, IndexError> {
        match self {
            Self::Embedded(it) => Ok(it.lexical.n_chunks()),
            Self::Qdrant(it) => Ok(it.len()?),
        }
    }
}

/// A chunk as words find it: by those of its table's header too, although these stand further up.
pub(crate) fn with_lexical_chunk<R>(
    chunk: &StoredChunk,
    action: impl FnOnce(&LexicalChunk<'_>) -> R,
) -> R {
    let with_header = chunk.table_header.as_ref().map(|it| format!("{it}\n{}", chunk.text));
    action(&LexicalChunk {
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
        legs.put(catalog, &batch.live)?;
        legs.delete(&batch.dead)?;
        applied.n_put += batch.live.len() as u64;
        applied.n_deleted += batch.dead.len() as u64;
        at = batch.last;
        if at - durable >= COMMIT_EVERY {
            legs.commit(catalog, at)?;
            catalog.prune(at)?;
            durable = at;
        }
    }
    let done = at.max(highest);
    if done > durable {
        legs.commit(catalog, done)?;
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
