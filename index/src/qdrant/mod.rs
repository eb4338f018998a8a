//! Both legs on a Qdrant cluster: one collection holds the vectors of the embedder, those of words
//! (BM25) and all that an answer needs.
//!
//! It is written as the embedded legs are: by the outbox, in batches that may come twice, and the
//! watermark moves once the cluster has acknowledged them. Why it is built like this:
//! docs/decisions/0013-qdrant-store.md.

mod client;
mod error;
mod mark;
mod point;
mod read;
mod search;
mod sparse;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use qdrant_client::qdrant::{
    CountPoints, DeletePointsBuilder, NamedVectors, PointId, PointStruct, UpsertPointsBuilder,
    Vector,
};

pub use client::{ClusterSettings, Patience};
pub use error::ClusterError;
pub use search::Asking;

use crate::catalog::{Catalog, StoredChunk, StoredDocument};
use crate::fingerprint::{Fingerprint, Recipe};
use crate::hit::{ChunkId, DocumentId};
use crate::lexical::chunk_terms;
use crate::unit_vector::UnitVector;
use crate::writer::with_lexical_chunk;
use crate::{IndexError, Preparing};
use client::{Client, Kind};
use mark::Mark;
use point::Row;
use sparse::{Averages, Lengths};

/// Chunks that are read at a time where all are.
const BATCH: usize = 256;

/// A share of growth after which averages are measured anew.
const GROWTH: f32 = 0.25;

/// The collection of one generation.
#[derive(Debug)]
pub(crate) struct Cluster {
    client: Client,
    dim: usize,
    /// Whether this process only reads, and so goes on with a newer generation when there is one.
    follows: bool,
    mark: Mutex<Mark>,
}

/// Takes chunks with their vectors.
type EachBatch<'a> = dyn FnMut(&[(StoredChunk, UnitVector)]) -> Result<(), IndexError> + 'a;

/// What a collection follows from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// Identity of the catalog.
    pub(crate) catalog: &'a str,
    pub(crate) generation: u64,
    pub(crate) fingerprint: &'a Fingerprint,
}

impl Cluster {
    /// Makes the collection of a new generation, empty. It is not live yet.
    pub(crate) fn create(
        settings: &ClusterSettings,
        origin: Origin<'_>,
    ) -> Result<Self, ClusterError> {
        let client = Client::connect(settings.clone())?;
        mark::check_name(&client, origin.catalog)?;
        let mark = new_mark(settings, origin);
        let dim = origin.fingerprint.recipe.embedder.dim as usize;
        mark::create(&client, &mark, dim)?;
        Ok(Self { client, dim, follows: false, mark: Mutex::new(mark) })
    }

    /// Opens the collection of a generation; `None` when it is not there, or not as this program
    /// makes it, so that it must be built from the catalog.
    pub(crate) fn open(
        settings: &ClusterSettings,
        origin: Origin<'_>,
    ) -> Result<Option<Self>, ClusterError> {
        let client = Client::connect(settings.clone())?;
        mark::check_name(&client, origin.catalog)?;
        let expected = new_mark(settings, origin);
        let found = match mark::read(&client, Kind::Open, &expected.collection()) {
            Ok(found) => found,
            Err(ClusterError::Missing { .. } | ClusterError::OtherFormat { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if found.fingerprint != expected.fingerprint || found.catalog != expected.catalog {
            return Ok(None);
        }
        let dim = origin.fingerprint.recipe.embedder.dim as usize;
        Ok(Some(Self { client, dim, follows: false, mark: Mutex::new(found) }))
    }

    /// Opens the live collection to read from it: for who has no catalog.
    pub(crate) fn follow(settings: &ClusterSettings) -> Result<Self, ClusterError> {
        let client = Client::connect(settings.clone())?;
        let mark = mark::read(&client, Kind::Open, &settings.collection)?;
        mark.check_analyser()?;
        let dim = mark.fingerprint.recipe.embedder.dim as usize;
        Ok(Self { client, dim, follows: true, mark: Mutex::new(mark) })
    }

    /// How its chunks and vectors were made.
    pub(crate) fn recipe(&self) -> Recipe {
        self.mark().fingerprint.recipe.clone()
    }

    /// Whether the cluster answers.
    pub(crate) fn check(&self) -> Result<(), ClusterError> {
        self.len().map(drop)
    }

    /// The version of the server that answers.
    pub(crate) fn version(&self) -> Result<String, ClusterError> {
        self.client.check_version()
    }

    fn collection(&self) -> String {
        self.mark().collection()
    }

    /// Goes on with the collection that is live now, if questions are embedded as its documents
    /// were.
    fn follow_alias(&self) -> Result<(), ClusterError> {
        let name = &self.client.settings().collection;
        let next = mark::read(&self.client, Kind::Search, name)?;
        next.check_analyser()?;
        let (built, running) = (&next.fingerprint.recipe.embedder, self.recipe().embedder);
        if *built != running {
            return Err(ClusterError::EmbedderMismatch {
                built: built.to_string(),
                running: running.to_string(),
            });
        }
        tracing::debug!(collection = next.collection(), "following");
        *self.mark() = next;
        Ok(())
    }

    /// The mark as it is on the cluster.
    fn mark_now(&self) -> Result<Mark, ClusterError> {
        mark::read(&self.client, Kind::Search, &self.client.settings().collection)
    }

    /// Sequence number of the last outbox entry that the cluster has acknowledged.
    pub(crate) fn watermark(&self) -> u64 {
        self.mark().watermark
    }

    /// Whether it holds what the catalog held when it was begun.
    pub(crate) fn is_complete(&self) -> bool {
        self.mark().is_complete
    }

    /// How many chunks it holds.
    pub(crate) fn len(&self) -> Result<u64, ClusterError> {
        let answer = self.search("count points", |node, collection_name| {
            let exact = Some(true);
            let request = CountPoints { collection_name, exact, ..CountPoints::default() };
            async move { node.count(request).await }
        })?;
        Ok(answer.result.map_or(0, |it| it.count))
    }

    /// Adds chunks, or replaces those that are there.
    pub(crate) fn put(
        &self,
        catalog: &Catalog,
        chunks: &[(StoredChunk, UnitVector)],
    ) -> Result<(), IndexError> {
        if chunks.is_empty() {
            return Ok(());
        }
        self.put_against(&self.averages_for(chunks), catalog, chunks)
    }

    /// Adds chunks whose lengths are set against averages.
    fn put_against(
        &self,
        averages: &Averages,
        catalog: &Catalog,
        chunks: &[(StoredChunk, UnitVector)],
    ) -> Result<(), IndexError> {
        let mut documents = HashMap::<DocumentId, Option<StoredDocument>>::new();
        let mut points = Vec::with_capacity(chunks.len());
        for (chunk, vector) in chunks {
            let document = match documents.entry(chunk.document) {
                Entry::Occupied(known) => known.into_mut(),
                // One that is gone by now is dropped by a later entry of the outbox.
                Entry::Vacant(new) => new.insert(catalog.get(chunk.document)?),
            };
            let row = match document {
                Some(it) if chunk.ordinal == 0 => {
                    let maps = catalog.text(it.id)?.unwrap_or_default();
                    Row::new(chunk, &it.source.content_hash, Some((it, &maps)))
                }
                Some(it) => Row::new(chunk, &it.source.content_hash, None),
                None => Row::new(chunk, "", None),
            };
            let mut vectors =
                NamedVectors::default().add_vector(mark::DENSE, vector.as_slice().to_vec());
            let terms = with_lexical_chunk(chunk, chunk_terms);
            let (dimensions, values) = sparse::chunk_values(&terms, averages);
            // A chunk without words has no such vector.
            if !dimensions.is_empty() {
                let words = Vector::new_sparse(dimensions, values);
                vectors = vectors.add_vector(mark::SPARSE, words);
            }
            points.push(PointStruct::new(point::point_id(chunk.id), vectors, row.into_payload()));
        }
        let request = UpsertPointsBuilder::new(self.collection(), points).wait(true).build();
        self.change("take points", |node| {
            let request = request.clone();
            async move { node.upsert_points(request).await }
        })?;
        Ok(())
    }

    /// Drops chunks; those that are not there do not matter.
    pub(crate) fn delete(&self, chunks: &[ChunkId]) -> Result<(), ClusterError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let ids: Vec<PointId> = chunks.iter().map(|&it| point::point_id(it)).collect();
        let request = DeletePointsBuilder::new(self.collection()).points(ids).wait(true).build();
        self.change("drop points", |node| {
            let request = request.clone();
            async move { node.delete_points(request).await }
        })?;
        Ok(())
    }

    /// Advances the watermark: all before it was acknowledged.
    pub(crate) fn commit(&self, catalog: &Catalog, watermark: u64) -> Result<(), IndexError> {
        let counts = catalog.counts()?;
        Ok(self.remark(|mark| {
            mark.watermark = watermark;
            mark.n_documents = counts.documents;
            mark.n_duplicates = counts.duplicates;
            mark.text_bytes = counts.text_bytes;
        })?)
    }

    /// Lets searches find it, complete as it is.
    pub(crate) fn publish(&self) -> Result<(), ClusterError> {
        self.remark(|mark| mark.is_complete = true)?;
        mark::publish(&self.client, &self.collection())
    }

    /// Drops all that a catalog has on a cluster, its name too.
    pub(crate) fn drop_all(settings: &ClusterSettings, catalog: &str) -> Result<(), ClusterError> {
        let client = Client::connect(settings.clone())?;
        mark::check_name(&client, catalog)?;
        mark::drop_all(&client, catalog, None)
    }

    /// Drops generations that were live before, or never finished.
    pub(crate) fn drop_others(&self) -> Result<(), ClusterError> {
        let (live, catalog) = (self.collection(), self.mark().catalog.clone());
        mark::publish(&self.client, &live)?;
        mark::drop_all(&self.client, &catalog, Some(&live))
    }

    /// Measures how long chunks are once there are many more or fewer than when they were measured
    /// last, and makes the vectors of words anew where that has changed. The server puts its own
    /// segments in order by itself.
    pub(crate) fn optimize(
        &self,
        catalog: &Catalog,
        recipe: i64,
        progress: &mut dyn FnMut(Preparing),
    ) -> Result<(), IndexError> {
        let (n_chunks, before) = (catalog.n_chunks(recipe)?, self.mark().averages);
        let growth = n_chunks.abs_diff(before.n_chunks) as f32 / before.n_chunks.max(1) as f32;
        if growth <= GROWTH {
            return Ok(());
        }
        let averages = measured(catalog, recipe)?;
        if averages.is_far_from(&before) {
            let mut done = 0;
            each_batch(catalog, recipe, &mut |chunks| {
                progress(Preparing::Rebuilding { done, total: n_chunks });
                done += chunks.len() as u64;
                self.put_against(&averages, catalog, chunks)
            })?;
        }
        Ok(self.remark(|mark| mark.averages = averages)?)
    }

    /// Sets chunks that come from now on against the averages of all that the catalog has.
    pub(crate) fn measure(&self, catalog: &Catalog, recipe: i64) -> Result<(), IndexError> {
        let averages = measured(catalog, recipe)?;
        Ok(self.remark(|mark| mark.averages = averages)?)
    }

    /// The averages that chunks are set against; the first chunks of a collection are set against
    /// their own.
    fn averages_for(&self, chunks: &[(StoredChunk, UnitVector)]) -> Averages {
        let mut mark = self.mark();
        if mark.averages.n_chunks == 0 {
            let mut lengths = Lengths::default();
            chunks.iter().for_each(|(it, _)| lengths.add(&with_lexical_chunk(it, chunk_terms)));
            mark.averages = lengths.averages();
        }
        mark.averages
    }

    fn change<T, F>(
        &self,
        doing: &'static str,
        request: impl Fn(qdrant_client::Qdrant) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, qdrant_client::QdrantError>>,
    {
        self.client.call_for(Kind::Change, doing, &self.collection(), request)
    }

    /// Changes the mark, on the cluster first.
    fn remark(&self, change: impl FnOnce(&mut Mark)) -> Result<(), ClusterError> {
        let mut next = self.mark().clone();
        change(&mut next);
        mark::write(&self.client, &next)?;
        *self.mark() = next;
        Ok(())
    }

    fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_mark(settings: &ClusterSettings, origin: Origin<'_>) -> Mark {
    let Origin { catalog, generation, fingerprint } = origin;
    Mark::new(&settings.collection, catalog, generation, fingerprint.clone())
}

fn measured(catalog: &Catalog, recipe: i64) -> Result<Averages, IndexError> {
    let mut lengths = Lengths::default();
    each_batch(catalog, recipe, &mut |chunks| {
        chunks.iter().for_each(|(it, _)| lengths.add(&with_lexical_chunk(it, chunk_terms)));
        Ok(())
    })?;
    Ok(lengths.averages())
}

/// Calls `action` with all chunks of a recipe.
fn each_batch(
    catalog: &Catalog,
    recipe: i64,
    action: &mut EachBatch<'_>,
) -> Result<(), IndexError> {
    let mut at = ChunkId(0);
    loop {
        let chunks = catalog.chunks_after(recipe, at, BATCH)?;
        let Some((last, _)) = chunks.last() else { return Ok(()) };
        at = last.id;
        action(&chunks)?;
    }
}
