//! Threads that the models compute on.

use std::num::NonZeroUsize;

use thiserror::Error;

/// The thread pool's size was chosen too late.
#[derive(Debug, Error)]
#[error("the number of threads can be set only once and before any model has run")]
pub struct ThreadsError(#[from] rayon::ThreadPoolBuildError);

/// Sets how many threads embed, read prompts and generate; unset, one per core.
///
/// All models share rayon's global pool, so that embedding and generating at the same time do not
/// ask for twice the cores.
pub fn set_threads(n_threads: NonZeroUsize) -> Result<(), ThreadsError> {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build_global()?;
    Ok(())
}

/// Threads that the models compute on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Runs a computation on the pool itself, so that each of its many short parallel steps does not
/// have to be handed to the pool from outside.
pub(crate) fn on_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}
