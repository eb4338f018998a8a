//! Questions that come at the same time are embedded together: the weights are read once for all of
//! them.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Condvar, Mutex, PoisonError},
};

/// Questions of one batch at most: more would make the first one wait for the arithmetic.
const BATCH_MAX: usize = 16;

/// Computes `R` from texts, for many threads at a time: one of those that wait computes for all.
#[derive(Debug)]
pub(crate) struct Together<R> {
    queue: Mutex<Queue<R>>,
    turned: Condvar,
}

#[derive(Debug)]
struct Queue<R> {
    is_computing: bool,
    next: u64,
    /// In the order in which they came.
    waiting: Vec<(u64, String)>,
    /// `None` where the batch failed: whoever waits computes alone, and has an error of its own.
    done: HashMap<u64, Option<R>>,
}

impl<R> Default for Together<R> {
    fn default() -> Self {
        let queue =
            Queue { is_computing: false, next: 0, waiting: Vec::new(), done: HashMap::new() };
        Self { queue: Mutex::new(queue), turned: Condvar::new() }
    }
}

impl<R> Together<R> {
    /// What `compute` gives for `text`: one result per text, in their order.
    pub(crate) fn compute<E>(
        &self,
        text: &str,
        compute: impl Fn(&[&str]) -> Result<Vec<R>, E>,
    ) -> Result<R, E> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let id = queue.next;
        queue.next += 1;
        queue.waiting.push((id, text.to_owned()));
        loop {
            if let Some(done) = queue.done.remove(&id) {
                drop(queue);
                return match done {
                    Some(it) => Ok(it),
                    None => compute(&[text]).map(|mut it| it.remove(0)),
                };
            }
            if queue.is_computing {
                queue = self.turned.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.is_computing = true;
            let n = queue.waiting.len().min(BATCH_MAX);
            let batch: Vec<(u64, String)> = queue.waiting.drain(..n).collect();
            drop(queue);
            let texts: Vec<&str> = batch.iter().map(|(_, text)| text.as_str()).collect();
            let computed = catch_unwind(AssertUnwindSafe(|| compute(&texts)));
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.is_computing = false;
            let mut results = match computed {
                Ok(Ok(it)) => it,
                Err(panic) if batch.len() == 1 => {
                    self.turned.notify_all();
                    drop(queue);
                    resume_unwind(panic);
                }
                Ok(Err(_)) | Err(_) => Vec::new(),
            }
            .into_iter();
            for (id, _) in batch {
                queue.done.insert(id, results.next());
            }
            self.turned.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
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
        let (together, n_batches) = (Together::default(), AtomicUsize::new(0));
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
        assert!(together.queue.into_inner().unwrap().done.is_empty());
    }

    #[test]
    fn one_that_fails_fails_alone() {
        let (together, n_batches) = (Together::default(), AtomicUsize::new(0));
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
