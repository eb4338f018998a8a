//! Work on several threads whose results come back in order, and never many ahead.

use std::{
    any::Any,
    collections::BTreeMap,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

/// Weight that is worked on or waits to be taken, at most: bytes of files. A single heavier item
/// is worked on once everything before it is taken.
const WEIGHT_AHEAD_MAX: u64 = 16 << 20;

/// What every item weighs besides its own weight, so that small ones are not taken by thousands.
const WEIGHT_MIN: u64 = 64 << 10;

/// Threads for each core: one waits for a disk or for a guarded parser while another computes. On
/// a busy machine each such wait is long.
const THREADS_PER_CORE: usize = 2;

/// Calls `work` on every item on several threads, and `take` on the results, in the order of the
/// items, on the calling thread. `take` ends it early with a break; what is
/// being worked on then is finished and dropped.
///
/// A panic of `work` or `take` is one of the caller.
pub(crate) fn in_order<T: Sync, R: Send, B>(
    items: &[T],
    weigh: impl Fn(&T) -> u64 + Sync,
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(usize, R) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let weigh = |item_idx: usize| weigh(&items[item_idx]).saturating_add(WEIGHT_MIN);
    let queue = Queue { n_items: items.len(), state: Mutex::default(), changed: Condvar::new() };
    let n_cores = thread::available_parallelism().map_or(1, usize::from);
    let n_threads = (THREADS_PER_CORE * n_cores).min(items.len());
    thread::scope(|scope| {
        // However this ends, threads that wait are let go.
        let _stop = StopAtEnd(&queue);
        let (done, results) = mpsc::channel();
        for _ in 0..n_threads {
            let (done, queue, work) = (done.clone(), &queue, &work);
            scope.spawn(move || {
                while let Some(item_idx) = queue.claim(&weigh) {
                    let res = catch_unwind(AssertUnwindSafe(|| work(&items[item_idx])));
                    // Nobody listens any more after a break.
                    if done.send((item_idx, res)).is_err() {
                        break;
                    }
                }
            });
        }
        let mut early = BTreeMap::new();
        for item_idx in 0..items.len() {
            let res = next(item_idx, &results, &mut early).unwrap_or_else(|it| resume_unwind(it));
            take(item_idx, res)?;
            queue.taken(weigh(item_idx));
        }
        ControlFlow::Continue(())
    })
}

/// A result, or the panic that came instead of it.
type Outcome<R> = Result<R, Box<dyn Any + Send>>;

/// Waits for the result of one item, and keeps those of others that come before.
fn next<R>(
    item_idx: usize,
    results: &mpsc::Receiver<(usize, Outcome<R>)>,
    early: &mut BTreeMap<usize, Outcome<R>>,
) -> Outcome<R> {
    loop {
        if let Some(res) = early.remove(&item_idx) {
            return res;
        }
        let (at, res) = results.recv().expect("threads stay until every item is claimed");
        early.insert(at, res);
    }
}

struct Queue {
    n_items: usize,
    state: Mutex<State>,
    /// Something was taken, or all is to stop.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    n_claimed: usize,
    n_taken: usize,
    /// Of what is claimed and not taken.
    weight: u64,
    stopped: bool,
}

impl Queue {
    /// The next item to work on, once there is room for it; `None` when there is none left.
    fn claim(&self, weigh: &impl Fn(usize) -> u64) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.n_claimed == self.n_items {
                return None;
            }
            let weight = weigh(state.n_claimed);
            // The one that is waited for is always worked on, however heavy it is.
            if state.n_claimed == state.n_taken
                || state.weight.saturating_add(weight) <= WEIGHT_AHEAD_MAX
            {
                state.weight = state.weight.saturating_add(weight);
                state.n_claimed += 1;
                return Some(state.n_claimed - 1);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn taken(&self, weight: u64) {
        let mut state = self.lock();
        state.n_taken += 1;
        state.weight = state.weight.saturating_sub(weight);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No step under the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct StopAtEnd<'a>(&'a Queue);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[track_caller]
    fn check(weights: &[u64]) {
        let mut taken = Vec::new();
        let ahead = AtomicU64::new(0);
        let most = AtomicU64::new(0);
        let flow: ControlFlow<()> = in_order(
            weights,
            |&it| it,
            |&it| {
                let now = ahead.fetch_add(it + WEIGHT_MIN, Ordering::SeqCst) + it + WEIGHT_MIN;
                most.fetch_max(now, Ordering::SeqCst);
                it * 2
            },
            |item_idx, res| {
                assert_eq!(item_idx, taken.len());
                taken.push(res);
                ahead.fetch_sub(weights[item_idx] + WEIGHT_MIN, Ordering::SeqCst);
                ControlFlow::Continue(())
            },
        );
        assert_eq!(flow, ControlFlow::Continue(()));
        assert_eq!(taken, weights.iter().map(|it| it * 2).collect::<Vec<_>>());
        let heaviest = weights.iter().max().map_or(0, |it| it + WEIGHT_MIN);
        let most = most.into_inner();
        assert!(most <= WEIGHT_AHEAD_MAX.max(heaviest), "{most} bytes ahead");
    }

    #[test]
    fn results_come_in_order_and_not_many_ahead() {
        check(&[]);
        check(&[1]);
        check(&(0..5_000).collect::<Vec<_>>());
        check(&(0..200).map(|it| (it % 7) << 20).collect::<Vec<_>>());
    }

    #[test]
    fn an_item_heavier_than_all_room_is_worked_on_alone() {
        check(&[3, 1 << 40, 5, 1 << 40, 1 << 40, 7]);
    }

    #[test]
    fn a_break_ends_it() {
        let items: Vec<u64> = (0..10_000).collect();
        let flow = in_order(
            &items,
            |_| 0,
            |&it| it,
            |_, it| if it == 7 { ControlFlow::Break(it) } else { ControlFlow::Continue(()) },
        );
        assert_eq!(flow, ControlFlow::Break(7));
    }

    #[test]
    #[should_panic(expected = "item 3")]
    fn a_panic_of_the_work_reaches_the_caller() {
        let items: Vec<u64> = (0..1_000).collect();
        let _: ControlFlow<()> = in_order(
            &items,
            |_| 0,
            |&it| assert_ne!(it, 3, "item 3"),
            |_, ()| ControlFlow::Continue(()),
        );
    }
}
