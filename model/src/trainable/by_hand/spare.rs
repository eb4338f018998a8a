//! Buffers that are used again, within a pass and by the next one: fresh memory costs a step a
//! tenth of its time, for the system hands it out page by page and fills it with zeros.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bf16_product::Pair;

/// The part of what was ever taken at once that is kept beyond it: what the two ways through the
/// network take would push each other out otherwise.
const SLACK: usize = 8;

/// Buffers that nobody uses at the moment.
#[derive(Default)]
pub(in crate::trainable) struct Spare {
    values: Pool<f32>,
    pairs: Pool<Pair>,
}

#[derive(Default)]
struct Pool<T>(Mutex<State<T>>);

#[derive(Default)]
struct State<T> {
    /// Those that came back first stand first.
    free: Vec<Vec<T>>,
    n_free: usize,
    n_taken: usize,
    /// The most values that were ever taken at once.
    n_most: usize,
}

/// Values that go back when they are dropped. They begin as whatever was there.
pub(super) struct Buffer<'a, T = f32> {
    values: Vec<T>,
    home: &'a Pool<T>,
}

impl Spare {
    /// To be written: what it holds is old.
    pub(super) fn take(&self, len: usize) -> Buffer<'_> {
        self.values.take(len)
    }

    /// Filled with zeros.
    pub(super) fn zeros(&self, len: usize) -> Buffer<'_> {
        let mut res = self.take(len);
        res.fill(0.0);
        res
    }

    /// To be written, too.
    pub(super) fn pairs(&self, len: usize) -> Buffer<'_, Pair> {
        self.pairs.take(len)
    }
}

impl<T: Clone + Default> Pool<T> {
    fn take(&self, len: usize) -> Buffer<'_, T> {
        let found = self.state().take(len);
        Buffer { values: found.unwrap_or_else(|| vec![T::default(); len]), home: self }
    }
}

impl<T> Pool<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// One of that length, or room for it.
    fn take(&mut self, len: usize) -> Option<Vec<T>> {
        self.n_taken += len;
        self.n_most = self.n_most.max(self.n_taken);
        if let Some(idx) = self.free.iter().rposition(|it| it.len() == len) {
            self.n_free -= len;
            return Some(self.free.remove(idx));
        }
        // Batches of other lengths need other buffers: what was not taken for longest gives way.
        let mut n_gone = 0;
        while self.n_taken + self.n_free > self.n_most + self.n_most / SLACK {
            self.n_free -= self.free[n_gone].len();
            n_gone += 1;
        }
        self.free.drain(..n_gone);
        None
    }

    fn give(&mut self, values: Vec<T>) {
        self.n_taken -= values.len();
        self.n_free += values.len();
        self.free.push(values);
    }
}

impl<T> Deref for Buffer<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T> DerefMut for Buffer<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.state().give(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_used_again_and_others_give_way() {
        let spare = Spare::default();
        let n_free = || spare.values.state().free.iter().map(Vec::len).sum::<usize>();
        let (first, second) = (spare.take(100), spare.take(50));
        let place = first.as_ptr();
        drop(first);
        drop(second);
        assert_eq!(n_free(), 150);
        assert_eq!(spare.take(100).as_ptr(), place);
        assert_eq!(n_free(), 150);
        // More than was ever there, and an eighth: the older ones go.
        let third = spare.zeros(120);
        assert_eq!((third.iter().sum::<f32>(), n_free()), (0.0, 0));
        drop(third);
        assert_eq!(n_free(), 120);
        assert_eq!(spare.values.state().n_most, 150);
    }
}
