//! The adapters of a model that is in use: added, listed and removed while it works.
//!
//! A request holds the adapter that it was taken with. So replacing or removing one waits for
//! nobody and changes no draft, and its memory is freed with the last request that holds it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::adapter::{Adapter, AdapterError, Base};
use crate::device::Backend;
use crate::generate::GenerateError;
use crate::lora::PackedAdapter;

/// An adapter that requests can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedAdapter {
    /// The name that requests choose it by.
    pub name: String,
    /// The folder or file that it was loaded from.
    pub path: PathBuf,
    /// Matrices that it changes.
    pub n_matrices: usize,
    /// Requests that wait or run with it.
    pub n_requests: usize,
}

/// Shared by a generator's thread and those that send it requests.
pub(crate) struct Adapters {
    base: Base,
    /// What they are multiplied with.
    backend: Backend,
    loaded: Mutex<Vec<Arc<PackedAdapter>>>,
    /// Adapters so far: one that takes another's name is still another.
    n_added: AtomicU64,
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Adapters {
    pub(crate) fn new(base: Base, backend: Backend) -> Self {
        Self { base, backend, loaded: Mutex::default(), n_added: AtomicU64::new(0) }
    }

    /// Reads an adapter and checks it against the base.
    pub(crate) fn load(&self, path: &Path) -> Result<Adapter, AdapterError> {
        Adapter::load(path, &self.base)
    }

    /// Offers an adapter under a name. One of the same name is replaced.
    pub(crate) fn add(&self, name: &str, adapter: &Adapter) -> Result<(), AdapterError> {
        adapter.check_base(&self.base)?;
        let id = self.n_added.fetch_add(1, Ordering::Relaxed);
        let packed = Arc::new(PackedAdapter::new(adapter, (name, id), &self.backend)?);
        let mut loaded = self.lock();
        match loaded.iter().position(|it| it.name == name) {
            Some(idx) => loaded[idx] = packed,
            None => loaded.push(packed),
        }
        Ok(())
    }

    /// Offers an adapter no longer. False when there is none of that name.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut loaded = self.lock();
        let n_before = loaded.len();
        loaded.retain(|it| it.name != name);
        loaded.len() < n_before
    }

    /// All that are offered, in the order in which their names were first added.
    pub(crate) fn list(&self) -> Vec<LoadedAdapter> {
        let of = |it: &Arc<PackedAdapter>| LoadedAdapter {
            name: it.name.clone(),
            path: it.path.clone(),
            n_matrices: it.n_matrices(),
            n_requests: Arc::strong_count(it) - 1,
        };
        self.lock().iter().map(of).collect()
    }

    /// The one that a request asks for, if it asks for one.
    pub(crate) fn find(
        &self,
        name: Option<&str>,
    ) -> Result<Option<Arc<PackedAdapter>>, GenerateError> {
        let Some(name) = name else { return Ok(None) };
        let loaded = self.lock();
        let found = loaded.iter().find(|it| it.name == name);
        found.map(|it| Some(Arc::clone(it))).ok_or_else(|| {
            let known: Vec<&str> = loaded.iter().map(|it| it.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            GenerateError::UnknownAdapter { name: name.to_owned(), known }
        })
    }

    /// Whether an adapter is still offered.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.lock().iter().any(|it| it.id == id)
    }

    /// A list that no panic leaves half-changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<PackedAdapter>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
