//! Questions that come at the same time are embedded together: the weights are read once for all of
//! them.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

/// Questions of one batch at most: more would make the first one wait for the arithmetic.
const BATCH_MAX: usize = 16;

/// Computes `R` from texts, for many threads at a time. Each of the first computes its own; of those
/// that come later and wait, one computes for all as soon as another is done.
#[derive(Debug)]
pub(crate) struct Together<R> {
    /// Threads that compute at a time: one for each core.
    leaders_max: usize,
    queue: Mutex<Queue<R>>,
}

#[derive(Debug)]
struct Queue<R> {
    n_leading: usize,
    /// In the order in which they came; empty unless as many lead as may.
    waiting: VecDeque<Arc<Waiter<R>>>,
}

#[derive(Debug)]
struct Waiter<R> {
    text: String,
    turn: Mutex<Option<Turn<R>>>,
    turned: Condvar,
}

/// What a waiter has to do next.
#[derive(Debug)]
enum Turn<R> {
    /// Compute for these, itself among them.
    Lead(Vec<Arc<Waiter<R>>>),
    /// Take its result. `None` where the batch failed: whoever waits computes alone, and has an error
    /// of its own.
    Done(Option<R>),
}

impl<R> Waiter<R> {
    fn give(&self, turn: Turn<R>) {
        *lock(&self.turn) = Some(turn);
        self.turned.notify_one();
    }

    /// Waits for its turn.
    fn take(&self) -> Turn<R> {
        let mut turn = lock(&self.turn);
        loop {
            if let Some(turn) = turn.take() {
                return turn;
            }
            turn = self.turned.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<R> Together<R> {
    pub(crate) fn new(leaders_max: usize) -> Self {
        let queue = Queue { n_leading: 0, waiting: VecDeque::new() };
        Self { leaders_max: leaders_max.max(1), queue: Mutex::new(queue) }
    }

    /// What `compute` gives for `text`: one result per text, in their order.
    pub(crate) fn compute<E>(
        &self,
        text: &str,
        compute: impl Fn(&[&str]) -> Result<Vec<R>, E>,
    ) -> Result<R, E> {
        let own = self.join(text);
        loop {
            match own.take() {
                Turn::Lead(batch) => self.lead(&batch, &compute),
                Turn::Done(Some(it)) => return Ok(it),
                Turn::Done(None) => return compute(&[text]).map(|mut it| it.remove(0)),
            }
        }
    }

    /// Leads at once where there is room, and waits otherwise.
    fn join(&self, text: &str) -> Arc<Waiter<R>> {
        let (text, turn, turned) = (text.to_owned(), Mutex::default(), Condvar::new());
        let own = Arc::new(Waiter { text, turn, turned });
        let mut queue = lock(&self.queue);
        if queue.n_leading < self.leaders_max {
            queue.n_leading += 1;
            own.give(Turn::Lead(vec![Arc::clone(&own)]));
        } else {
            queue.waiting.push_back(Arc::clone(&own));
        }
        own
    }

    /// Computes for a batch, and lets the first of those that wait lead next.
    fn lead<E>(&self, batch: &[Arc<Waiter<R>>], compute: &impl Fn(&[&str]) -> Result<Vec<R>, E>) {
        let texts: Vec<&str> = batch.iter().map(|it| it.text.as_str()).collect();
        let computed = catch_unwind(AssertUnwindSafe(|| compute(&texts)));
        self.step_down();
        let results = match computed {
            Ok(Ok(it)) => it,
            Err(panic) if batch.len() == 1 => resume_unwind(panic),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let mut results = results.into_iter();
        for it in batch {
            it.give(Turn::Done(results.next()));
        }
    }

    fn step_down(&self) {
        let mut queue = lock(&self.queue);
        let n = queue.waiting.len().min(BATCH_MAX);
        let next: Vec<Arc<Waiter<R>>> = queue.waiting.drain(..n).collect();
        match next.first() {
            Some(first) => Arc::clone(first).give(Turn::Lead(next)),
            None => queue.n_leading -= 1,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    /// Lengths of texts; slowly, so that others come meanwhile. `bad` fails, `worse` panics.
    fn lengths(texts: &[&str], n_batches: &AtomicUsize) -> Result<Vec<usize>, String> {
        n_batches.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
        assert!(!texts.contains(&"worse"), "asked to");
        match texts.contains(&"bad") {
            true => Err(format!("{} texts", texts.len())),
            false => Ok(texts.iter().map(|it| it.len()).collect()),
        }
    }

    #[test]
    fn those_who_wait_are_computed_together_and_get_their_own() {
        let (together, n_batches) = (Together::new(2), AtomicUsize::new(0));
        thread::scope(|scope| {
            for n in 0..40 {
                let (together, n_batches) = (&together, &n_batches);
                scope.spawn(move || {
                    let text = "x".repeat(n);
                    let found = together.compute(&text, |it| lengths(it, n_batches));
                    assert_eq!(found, Ok(n));
                });
            }
        });
        assert!(n_batches.into_inner() < 20, "most waited for a batch");
        let queue = together.queue.into_inner().unwrap();
        assert_eq!((queue.n_leading, queue.waiting.len()), (0, 0));
    }

    #[test]
    fn as_many_compute_at_a_time_as_may() {
        let (together, barrier) = (Together::new(3), Barrier::new(3));
        thread::scope(|scope| {
            for text in ["a", "b", "c"] {
                let (together, barrier) = (&together, &barrier);
                scope.spawn(move || {
                    let compute = |texts: &[&str]| {
                        // Nobody gets past it unless all three compute.
                        barrier.wait();
                        Ok::<_, String>(texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
                    };
                    assert_eq!(together.compute(text, compute).unwrap(), text);
                });
            }
        });
    }

    #[test]
    fn one_that_fails_fails_alone() {
        let (together, n_batches) = (Together::new(1), AtomicUsize::new(0));
        thread::scope(|scope| {
            for text in ["good", "bad", "fine", "worse", "ok"] {
                let (together, n_batches) = (&together, &n_batches);
                scope.spawn(move || {
                    let found = catch_unwind(AssertUnwindSafe(|| {
                        together.compute(text, |it| lengths(it, n_batches))
                    }));
                    match text {
                        "worse" => assert!(found.is_err()),
                        "bad" => assert_eq!(found.unwrap(), Err("1 texts".to_owned())),
                        _ => assert_eq!(found.unwrap(), Ok(text.len())),
                    }
                });
            }
        });
        assert_eq!(together.compute("again", |it| lengths(it, &n_batches)), Ok(5));
    }
}
