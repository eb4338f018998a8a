//! Generations: derived files, one folder for each time they were built.
//!
//! A folder is built aside; its manifest, written last, says that it is complete and what made
//! it; then one transaction of the catalog makes it live. Readers have all of the old one or all
//! of the new one. A folder that is not live is a leftover, and is removed.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, LiveRecipe, OutboxState};
use crate::fingerprint::{FORMAT_VERSION, Fingerprint, Recipe};
use crate::hit::ChunkId;
use crate::lexical::Lexical;
use crate::writer::{Legs, ensure_room};
use crate::{IndexError, Preparing, atomic_file};

/// Chunks that are read and indexed at a time.
const BATCH: usize = 256;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Identity of the catalog that the folder was built from.
    catalog: String,
    fingerprint: Fingerprint,
}

impl Manifest {
    fn new(catalog: String, recipe: &Recipe) -> Self {
        let recipe = recipe.clone();
        let fingerprint = Fingerprint {
            format_version: FORMAT_VERSION,
            analyser_version: Lexical::VERSION,
            recipe,
        };
        Self { catalog, fingerprint }
    }
}

/// Opens the live generation. When there is none, or it is damaged or out of date, builds one
/// from the catalog, which takes no model.
pub(crate) fn open_or_build(
    dir: &Path,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Legs, IndexError> {
    let state = catalog.outbox_state()?;
    match open(dir, &state, recipe) {
        Ok(legs) => {
            remove_others(dir, state.generation)?;
            Ok(legs)
        }
        Err(reason) => {
            if state.generation > 0 {
                tracing::warn!(generation = state.generation, %reason, "building indexes anew");
            }
            build_and_clean(dir, catalog, recipe, progress)
        }
    }
}

/// Builds a generation, makes it live, and removes the one that was live before.
pub(crate) fn build_and_clean(
    dir: &Path,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Legs, IndexError> {
    let legs = build(dir, catalog, recipe, progress)?;
    remove_others(dir, catalog.outbox_state()?.generation)?;
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
    #[error("the catalog has moved on without it")]
    Behind,
    #[error("the catalog is older than it: was a copy put back?")]
    Ahead,
    #[error(transparent)]
    Leg(#[from] IndexError),
}

fn open(dir: &Path, state: &OutboxState, recipe: &LiveRecipe) -> Result<Legs, Unusable> {
    if state.generation == 0 {
        return Err(Unusable::None);
    }
    let path = folder(dir, state.generation);
    let json = fs_err::read(path.join(MANIFEST)).map_err(Unusable::Manifest)?;
    let manifest: Manifest =
        serde_json::from_slice(&json).map_err(|error| Unusable::Manifest(error.into()))?;
    if manifest != Manifest::new(state.catalog.clone(), &recipe.recipe) {
        return Err(Unusable::OutOfDate);
    }
    let legs = Legs::open(&path, recipe.recipe.embedder.dim)?;
    let (lowest, highest) = legs.watermarks();
    if lowest < state.pruned {
        return Err(Unusable::Behind);
    }
    if highest > state.last {
        return Err(Unusable::Ahead);
    }
    Ok(legs)
}

/// Builds a generation from all chunks of a recipe and makes both live. The one that was live
/// until then stays until [`remove_others`].
fn build(
    dir: &Path,
    catalog: &Catalog,
    recipe: &LiveRecipe,
    progress: &mut dyn FnMut(Preparing),
) -> Result<Legs, IndexError> {
    let io = |source| IndexError::Io { source };
    // The dense leg writes through memory maps, where a full disk ends the process.
    ensure_room(dir, 0)?;
    let state = catalog.outbox_state()?;
    let newest = generations(dir).map_err(io)?.into_iter().max().unwrap_or(0);
    let generation = newest.max(state.generation) + 1;
    let path = folder(dir, generation);
    fs_err::create_dir_all(&path).map_err(io)?;

    let legs = Legs::open(&path, recipe.recipe.embedder.dim)?;
    let total = catalog.n_chunks(recipe.id)?;
    let (mut done, mut at) = (0, ChunkId(0));
    loop {
        progress(Preparing::Rebuilding { done, total });
        let chunks = catalog.chunks_after(recipe.id, at, BATCH)?;
        let Some((last, _)) = chunks.last() else { break };
        at = last.id;
        legs.put(&chunks)?;
        done += chunks.len() as u64;
    }
    legs.commit(state.last)?;
    legs.optimize()?;

    let manifest = Manifest::new(state.catalog, &recipe.recipe);
    let json = serde_json::to_vec_pretty(&manifest).expect("a manifest always has a JSON form");
    atomic_file::write(&path.join(MANIFEST), &json).map_err(io)?;
    catalog.switch(generation, recipe)?;
    Ok(legs)
}

/// Removes leftovers: generations that were live before, and those that were never finished.
fn remove_others(dir: &Path, live: u64) -> Result<(), IndexError> {
    let io = |source| IndexError::Io { source };
    for generation in generations(dir).map_err(io)? {
        if generation != live {
            fs_err::remove_dir_all(folder(dir, generation)).map_err(io)?;
        }
    }
    Ok(())
}

const MANIFEST: &str = "manifest.json";

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
