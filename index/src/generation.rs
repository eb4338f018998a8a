//! Generations: derived files, one folder for each time they were built, or a collection of a
//! cluster and a folder that says so.
//!
//! A generation is built aside; its manifest, written last, says that it is complete and what made
//! it; then one transaction of the catalog makes it live. Readers have all of the old one or all
//! of the new one. A generation that is not live is a leftover, and is removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, LiveRecipe, OutboxState};
use crate::fingerprint::{Fingerprint, Recipe};
use crate::hit::ChunkId;
use crate::qdrant::{Cluster, Origin};
use crate::store::{Home, Store, StoreKind};
use crate::writer::{Legs, ensure_room};
use crate::{IndexError, Preparing, atomic_file};

/// Chunks that are read and indexed at a time.
const BATCH: usize = 256;

/// After how long it is kept how far a generation is: what a run that is killed loses at most.
const KEEP_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Identity of the catalog that the generation was built from.
    catalog: String,
    fingerprint: Fingerprint,
    /// Where it is.
    #[serde(default, skip_serializing_if = "StoreKind::is_embedded")]
    store: StoreKind,
}

impl Manifest {
    fn new(catalog: String, recipe: &Recipe, store: StoreKind) -> Self {
        Self { catalog, fingerprint: Fingerprint::of(recipe), store }
    }

    fn origin(&self, generation: u64) -> Origin<'_> {
        Origin { catalog: &self.catalog, generation, fingerprint: &self.fingerprint }
    }

    fn read(generation: &Path) -> io::Result<Self> {
        let json = fs_err::read(generation.join(MANIFEST))?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// Where the live generation of a data folder is, as far as its folder says so.
pub(crate) fn store_of_live(
    dir: &Path,
    catalog: &Catalog,
) -> Result<Option<StoreKind>, IndexError> {
    let live = catalog.outbox_state()?.generation;
    Ok(Manifest::read(&folder(dir, live)).ok().map(|it| it.store))
}

/// Opens the live generation. When there is none, or it is damaged or out of date, builds one
/// from the catalog, which takes no model.
pub(crate) fn open_or_build(
    home: Home<'_>,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Legs, IndexError> {
    let state = catalog.outbox_state()?;
    match open(home, &state, recipe) {
        Ok(legs) => {
            remove_others(home, &legs, state.generation)?;
            Ok(legs)
        }
        // Nothing is wrong with what cannot be reached, or belongs to others.
        Err(Unusable::Leg(error @ IndexError::Cluster(_))) => Err(error),
        Err(reason) => {
            if state.generation > 0 {
                tracing::warn!(generation = state.generation, %reason, "building indexes anew");
            }
            build_and_clean(home, catalog, recipe, progress)
        }
    }
}

/// Builds a generation, makes it live, and removes the one that was live before.
pub(crate) fn build_and_clean(
    home: Home<'_>,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Legs, IndexError> {
    let built = build(home, catalog, recipe, Begun::Leave, progress)?;
    let legs = built.make_live(home, catalog, recipe)?;
    remove_others(home, &legs, catalog.outbox_state()?.generation)?;
    Ok(legs)
}

/// Why a generation cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("there is none yet")]
    None,
    #[error("its manifest is missing or damaged: {0}")]
    Manifest(io::Error),
    #[error("it was made otherwise than this program makes it")]
    OutOfDate,
    #[error("the cluster has no such collection, or an unfinished one")]
    Gone,
    #[error("the catalog has moved on without it")]
    Behind,
    #[error("the catalog is older than it: was a copy put back?")]
    Ahead,
    #[error(transparent)]
    Leg(#[from] IndexError),
}

fn open(home: Home<'_>, state: &OutboxState, recipe: &LiveRecipe) -> Result<Legs, Unusable> {
    if state.generation == 0 {
        return Err(Unusable::None);
    }
    let path = folder(home.dir, state.generation);
    let manifest = Manifest::read(&path).map_err(Unusable::Manifest)?;
    let expected = Manifest::new(state.catalog.clone(), &recipe.recipe, home.store.kind());
    if manifest != expected {
        return Err(Unusable::OutOfDate);
    }
    let legs = match home.store {
        Store::Embedded => Legs::embedded(&path, recipe.recipe.embedder.dim)?,
        Store::Qdrant(settings) => {
            let origin = manifest.origin(state.generation);
            let cluster = Cluster::open(settings, origin).map_err(IndexError::from)?;
            let cluster = cluster.filter(Cluster::is_complete).ok_or(Unusable::Gone)?;
            Legs::Qdrant(Arc::new(cluster))
        }
    };
    let (lowest, highest) = legs.watermarks();
    if lowest < state.pruned {
        return Err(Unusable::Behind);
    }
    if highest > state.last {
        return Err(Unusable::Ahead);
    }
    Ok(legs)
}

/// What to do with a generation of this store that an earlier run began and did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Go on with it.
    Resume,
    /// Begin another one; it is a leftover.
    Leave,
}

/// A generation that holds all chunks and is not live yet.
#[derive(Debug)]
pub(crate) struct Built {
    generation: u64,
    manifest: Manifest,
    pub(crate) legs: Legs,
}

impl Built {
    /// Makes it and its recipe live. The one that was live until then stays until
    /// [`remove_others`].
    pub(crate) fn make_live(
        self,
        home: Home<'_>,
        catalog: &Catalog,
        recipe: &LiveRecipe,
    ) -> Result<Legs, IndexError> {
        let Self { generation, manifest, legs } = self;
        let json = serde_json::to_vec_pretty(&manifest).expect("a manifest always has a JSON form");
        atomic_file::write(&folder(home.dir, generation).join(MANIFEST), &json)
            .map_err(|source| IndexError::Io { source })?;
        if let Legs::Qdrant(cluster) = &legs {
            cluster.publish()?;
        }
        catalog.switch(generation, recipe)?;
        Ok(legs)
    }
}

/// Builds a generation from all chunks of a recipe.
pub(crate) fn build(
    home: Home<'_>,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    begun: Begun,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Built, IndexError> {
    // The dense leg writes through memory maps, where a full disk ends the process.
    ensure_room(home.dir, 0)?;
    let state = catalog.outbox_state()?;
    let manifest = Manifest::new(state.catalog.clone(), &recipe.recipe, home.store.kind());
    let resumed = match begun {
        Begun::Resume => resume(home, &state, &manifest)?,
        Begun::Leave => None,
    };
    let (generation, mut at, legs) = match resumed {
        Some(it) => it,
        None => begin(home, catalog, recipe, &manifest)?,
    };
    let path = folder(home.dir, generation);
    let total = catalog.n_chunks(recipe.id)?;
    let mut done = catalog.n_chunks_up_to(recipe.id, at.chunk())?;
    let mut kept_at = Instant::now();
    loop {
        progress(Preparing::Rebuilding { done, total });
        let chunks = catalog.chunks_after(recipe.id, at.chunk(), BATCH)?;
        let Some((last, _)) = chunks.last() else { break };
        at.chunk = last.id.0;
        legs.put(catalog, &chunks)?;
        done += chunks.len() as u64;
        if kept_at.elapsed() >= KEEP_EVERY {
            legs.commit(catalog, at.watermark)?;
            at.keep(&path)?;
            kept_at = Instant::now();
        }
    }
    legs.commit(catalog, at.watermark)?;
    at.keep(&path)?;
    legs.optimize(catalog, recipe.id, progress)?;

    Ok(Built { generation, manifest, legs })
}

/// Begins a generation, with nothing in it.
fn begin(
    home: Home<'_>,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    manifest: &Manifest,
) -> Result<(u64, Unfinished, Legs), IndexError> {
    let io = |source| IndexError::Io { source };
    let state = catalog.outbox_state()?;
    let newest = generations(home.dir).map_err(io)?.into_iter().max().unwrap_or(0);
    let generation = newest.max(state.generation) + 1;
    let path = folder(home.dir, generation);
    fs_err::create_dir_all(&path).map_err(io)?;
    let legs = match home.store {
        Store::Embedded => Legs::embedded(&path, recipe.recipe.embedder.dim)?,
        Store::Qdrant(settings) => {
            let cluster = Cluster::create(settings, manifest.origin(generation))?;
            cluster.measure(catalog, recipe.id)?;
            Legs::Qdrant(Arc::new(cluster))
        }
    };
    let at = Unfinished { store: home.store.kind(), chunk: 0, watermark: state.last };
    at.keep(&path)?;
    Ok((generation, at, legs))
}

/// The newest generation that was begun in this store, if nothing has changed since.
fn resume(
    home: Home<'_>,
    state: &OutboxState,
    manifest: &Manifest,
) -> Result<Option<(u64, Unfinished, Legs)>, IndexError> {
    let newest = generations(home.dir).map_err(|source| IndexError::Io { source })?;
    let Some(generation) = newest.into_iter().max().filter(|it| *it > state.generation) else {
        return Ok(None);
    };
    let path = folder(home.dir, generation);
    let Some(at) = Unfinished::read(&path) else { return Ok(None) };
    let is_ours = at.store == home.store.kind();
    if !is_ours || at.watermark != state.last {
        return Ok(None);
    }
    let legs = match home.store {
        Store::Embedded => {
            let dim = manifest.fingerprint.recipe.embedder.dim;
            Some(Legs::embedded(&path, dim)?)
        }
        Store::Qdrant(settings) => Cluster::open(settings, manifest.origin(generation))?
            .map(|it| Legs::Qdrant(Arc::new(it))),
    };
    Ok(legs.map(|legs| (generation, at, legs)))
}

/// How far a generation is that is not finished: kept beside it, so that who builds a large one
/// can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Unfinished {
    store: StoreKind,
    /// Chunks up to here are durable in it.
    chunk: i64,
    /// The outbox when it was begun.
    watermark: u64,
}

impl Unfinished {
    fn chunk(&self) -> ChunkId {
        ChunkId(self.chunk)
    }

    fn keep(&self, generation: &Path) -> Result<(), IndexError> {
        let json = serde_json::to_vec(self).expect("numbers always have a JSON form");
        let io = |source| IndexError::Io { source };
        atomic_file::write(&generation.join(UNFINISHED), &json).map_err(io)
    }

    fn read(generation: &Path) -> Option<Self> {
        if generation.join(MANIFEST).exists() {
            return None;
        }
        serde_json::from_slice(&fs_err::read(generation.join(UNFINISHED)).ok()?).ok()
    }
}

/// Removes leftovers: generations that were live before, and those that were never finished.
pub(crate) fn remove_others(home: Home<'_>, legs: &Legs, live: u64) -> Result<(), IndexError> {
    let io = |source| IndexError::Io { source };
    if let Legs::Qdrant(cluster) = legs {
        cluster.drop_others()?;
    }
    let dir = home.dir;
    for generation in generations(dir).map_err(io)? {
        let path = folder(dir, generation);
        // One that was begun in another store belongs to a migration, which may go on.
        let migrates = generation > live
            && Unfinished::read(&path).is_some_and(|it| it.store != home.store.kind());
        if generation != live && !migrates {
            fs_err::remove_dir_all(path).map_err(io)?;
        }
    }
    Ok(())
}

const MANIFEST: &str = "manifest.json";
const UNFINISHED: &str = "unfinished.json";

fn folder(dir: &Path, generation: u64) -> PathBuf {
    dir.join("generations").join(generation.to_string())
}

fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let parent = dir.join("generations");
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let mut res = Vec::new();
    for entry in fs_err::read_dir(parent)? {
        // Anything else in there is not ours to touch.
        if let Some(generation) = entry?.file_name().to_str().and_then(|it| it.parse().ok()) {
            res.push(generation);
        }
    }
    Ok(res)
}
