//! Who computes at this moment.
//!
//! A search that is alone takes several threads, to be done soon. Beside others that would only
//! take the cores from them: each keeps to its own thread then, and the system shares the cores
//! out. No search waits for the pool's threads, which may have documents to embed for seconds.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Searches, and texts that are embedded, of this process.
pub(crate) static CROWD: Crowd = Crowd { n_present: AtomicUsize::new(0) };

/// Counts those who compute.
#[derive(Debug)]
pub(crate) struct Crowd {
    n_present: AtomicUsize,
}

/// Counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Present<'a>(&'a Crowd);

impl Crowd {
    pub(crate) fn enter(&self) -> Present<'_> {
        self.n_present.fetch_add(1, Ordering::Relaxed);
        Present(self)
    }
}

impl Present<'_> {
    /// Whether nobody else is present now.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.n_present.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.n_present.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_left_is_alone() {
        let crowd = Crowd { n_present: AtomicUsize::new(0) };
        let first = crowd.enter();
        assert!(first.is_alone());
        let second = crowd.enter();
        assert!(!first.is_alone() && !second.is_alone());
        drop(first);
        assert!(second.is_alone());
    }
}
