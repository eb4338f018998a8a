//! Runs a parser so that no file can take the run with it: not by a panic, a deep recursion or a
//! loop without end.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use super::ParseError;

/// Reserved, not used: pages of the stack that are never touched cost nothing. Nested documents
/// make parsers recurse, and a stack overflow cannot be caught.
const STACK_BYTES: usize = 64 << 20;

/// The name of the threads that parse. The panic hook is silent for them.
const THREAD_NAME: &str = "souffleur-parse";

/// Parsers that overran their time, ignored the request to stop, and still run.
static N_ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// How many parsers overran their time and still run. Each takes up a core until it ends by
/// itself: Rust cannot stop a thread from outside.
#[must_use]
pub fn n_abandoned() -> usize {
    N_ABANDONED.load(Ordering::Relaxed)
}

/// Parsing threads that wait for work. A thread for each file would cost more than most files do.
static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` on a parsing thread and waits for `limit` at most. `work` is given a flag that is
/// set when its time is over, to be looked at now and then. A thread whose work overran is left
/// to itself, ends with that work, and is never given another.
///
/// # Errors
///
/// What `work` returns; [`ParseError::Panicked`] when it panics; [`ParseError::TimedOut`].
pub(crate) fn guarded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce(&AtomicBool) -> Result<T, ParseError> + Send + 'static,
) -> Result<T, ParseError> {
    let late = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::sync_channel(1);
    // The first of the two, the parser's end and the end of our patience, finds it false.
    let settled = Arc::new(AtomicBool::new(false));
    let (late_inside, settled_inside) = (Arc::clone(&late), Arc::clone(&settled));
    let worker = give(Box::new(move || {
        let res = catch_unwind(AssertUnwindSafe(|| work(&late_inside)))
            .unwrap_or_else(|panic| Err(ParseError::Panicked { detail: message(&*panic) }));
        // Nobody may be waiting any more; then the answer has been given without it.
        sender.send(res).ok();
        if settled_inside.swap(true, Ordering::Relaxed) {
            N_ABANDONED.fetch_sub(1, Ordering::Relaxed);
        }
    }))?;
    match receiver.recv_timeout(limit) {
        Ok(res) => {
            idle().push(worker);
            res
        }
        Err(RecvTimeoutError::Timeout) => {
            late.store(true, Ordering::Relaxed);
            N_ABANDONED.fetch_add(1, Ordering::Relaxed);
            if settled.swap(true, Ordering::Relaxed) {
                // It ended just now, and will not count itself off.
                N_ABANDONED.fetch_sub(1, Ordering::Relaxed);
            }
            let seconds = limit.as_secs();
            tracing::warn!(seconds, n_abandoned = n_abandoned(), "a parser was given up");
            Err(ParseError::TimedOut { seconds })
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(ParseError::Read(io::Error::other("the parsing thread ended without an answer")))
        }
    }
}

/// Gives a job to a thread that has none; returns what the thread is reached by.
fn give(job: Job) -> io::Result<Sender<Job>> {
    let waiting = idle().pop();
    let worker = match waiting {
        Some(worker) => worker,
        None => spawn()?,
    };
    worker.send(job).map_err(|_| io::Error::other("a parsing thread ended while it waited"))?;
    Ok(worker)
}

/// Starts a parsing thread. It ends when the last sender to it is dropped.
fn spawn() -> io::Result<Sender<Job>> {
    silence_panics_of_parsers();
    let (worker, jobs) = mpsc::channel::<Job>();
    let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || jobs.into_iter().for_each(|job| job()))?;
    Ok(worker)
}

fn idle() -> MutexGuard<'static, Vec<Sender<Job>>> {
    // Nothing is done under the lock that could leave the list half changed.
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hook is the process's, so the one that was set before is kept and called for every other
/// thread.
fn silence_panics_of_parsers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(THREAD_NAME) {
                tracing::debug!(%info, "a parser panicked");
            } else {
                previous(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[track_caller]
    fn check(res: Result<u32, ParseError>, expected: &str) {
        let res = res.map_or_else(|error| error.to_string(), |value| value.to_string());
        assert_eq!(res, expected);
    }

    #[test]
    fn hands_back_what_the_work_returns() {
        check(guarded(LONG, |_| Ok(7)), "7");
        check(guarded(LONG, |_| Err(ParseError::Scan)), &ParseError::Scan.to_string());
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        check(guarded(LONG, |_| panic!("page {}", 3)), "the parser failed on it: page 3");
    }

    #[test]
    fn a_parser_over_its_time_is_told_to_stop_and_counted_until_it_does() {
        let (ended, wait) = mpsc::channel();
        let res = guarded(Duration::from_millis(20), move |late| {
            while !late.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            ended.send(()).unwrap();
            Ok(1)
        });
        check(res, "parsing took more than 0 s");
        wait.recv_timeout(LONG).unwrap();
        while n_abandoned() > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_is_done_takes_the_next_work_even_after_a_panic() {
        // Other tests run beside this one, so that the same thread is sure only over many tries.
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..100 {
            let id = guarded(LONG, |_| Ok(thread::current().id())).unwrap();
            seen.insert(format!("{id:?}"));
            let failed: Result<(), _> = guarded(LONG, move |_| panic!("round {round}"));
            assert!(matches!(failed, Err(ParseError::Panicked { .. })));
        }
        assert!(seen.len() < 50, "{} threads for 100 pieces of work", seen.len());
    }

    #[test]
    fn deep_recursion_fits_the_stack() {
        fn depth(n: u32) -> u32 {
            let frame = std::hint::black_box([n; 64]);
            if n == 0 { 0 } else { 1 + depth(frame[63] - 1) }
        }
        check(guarded(LONG, |_| Ok(depth(50_000))), "50000");
    }
}
