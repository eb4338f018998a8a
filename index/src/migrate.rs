//! From one store to another: the legs are built there from the catalog, compared with it, and
//! made live.

use crate::catalog::Catalog;
use crate::generation::{self, Begun};
use crate::hit::ChunkId;
use crate::lock::Lock;
use crate::qdrant::{Cluster, ClusterError};
use crate::store::{Home, Store};
use crate::writer::{self, Legs};
use crate::{IndexError, OpenError, Preparing};

/// Chunks that are compared at a time.
const BATCH: usize = 256;

/// What a migration did.
#[derive(Debug)]
pub struct Migrated {
    /// Chunks that the new store holds, each of them compared with the catalog.
    pub n_chunks: u64,
    /// BLAKE3 over all chunks, in hexadecimal. What it is computed of is the catalog's, and each
    /// chunk was read back from the store and found to be like it.
    pub checksum: String,
    /// Whether the new store was live before, so that it was only compared.
    pub was_live: bool,
    /// Why the former store still holds what it held, if it does.
    pub left_behind: Option<ClusterError>,
}

/// Brings the legs of a data folder into `home`'s store. `former` is where they may be now.
pub(crate) fn migrate(
    home: Home<'_>,
    former: &Store,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Migrated, OpenError> {
    let Home { dir, store } = home;
    let path = dir.join(Catalog::FILE);
    if !path.exists() {
        return Err(OpenError::Missing { path: dir.to_owned() });
    }
    let _lock = Lock::acquire(dir)?;
    let catalog = Catalog::open(&path)?;
    let Some(live) = catalog.live_recipe() else {
        return Err(OpenError::Missing { path: dir.to_owned() });
    };
    let was_live = generation::store_of_live(dir, &catalog)? == Some(store.kind());
    if was_live {
        let legs = generation::open_or_build(home, &catalog, &live, progress)?;
        writer::apply(&catalog, &legs, progress)?;
        let (n_chunks, checksum) = compare(&catalog, live.id, &legs, progress)?;
        return Ok(Migrated { n_chunks, checksum, was_live, left_behind: None });
    }
    let built = generation::build(home, &catalog, &live, Begun::Resume, progress)?;
    let (n_chunks, checksum) = compare(&catalog, live.id, &built.legs, progress)?;
    let legs = built.make_live(home, &catalog, &live)?;
    let state = catalog.outbox_state()?;
    generation::remove_others(home, &legs, state.generation)?;
    let left_behind = match former {
        Store::Embedded => None,
        Store::Qdrant(cluster) => Cluster::drop_all(cluster, &state.catalog).err(),
    };
    Ok(Migrated { n_chunks, checksum, was_live, left_behind })
}

/// Reads every chunk back and compares it with the catalog. Returns how many there are, and a
/// checksum of what was compared.
fn compare(
    catalog: &Catalog,
    recipe: i64,
    legs: &Legs,
    progress: &mut dyn FnMut(Preparing),
) -> Result<(u64, String), IndexError> {
    let total = catalog.n_chunks(recipe)?;
    let counts = legs.counts()?;
    if (counts.lexical, counts.dense) != (total, total) {
        return Err(IndexError::OtherCount { expected: total, found: counts });
    }
    let mut hasher = blake3::Hasher::new();
    let (mut done, mut at) = (0, ChunkId(0));
    loop {
        progress(Preparing::Comparing { done, total });
        let chunks = catalog.chunks_after(recipe, at, BATCH)?;
        let Some((last, _)) = chunks.last() else { break };
        at = last.id;
        if let Some(chunk) = legs.first_unlike(&chunks)? {
            return Err(IndexError::Unlike { chunk });
        }
        for (chunk, vector) in &chunks {
            hasher.update(&chunk.id.0.to_le_bytes());
            hasher.update(chunk.facets.path.as_bytes()).update(&[0]);
            hasher.update(chunk.text.as_bytes()).update(&[0]);
            hasher.update(&vector.to_bytes());
        }
        done += chunks.len() as u64;
    }
    Ok((done, hasher.finalize().to_hex().to_string()))
}
