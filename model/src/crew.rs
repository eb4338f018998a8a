//! Threads that stay awake between the products of one pass.
//!
//! A pool's thread that has nothing to do falls asleep, and a pass over one question would wake it for
//! each of its 24 short products. Here a few threads help with one pass and spin until it ends: on two
//! cores, twelve tokens took 4.6 to 5.3 ms instead of 6.0. Whoever comes late, or not at all, is not
//! waited for.
//!
//! They are threads of their own and not the pool's, which may be busy for seconds with documents. They
//! sleep between passes and are not made for each: a new thread often begins on the core that the pass
//! is on, and a sleeping one wakes on its own.

use std::{
    hint,
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::panels::{PANEL, Panels};

/// Threads of a crew at most: a question's products are too short to be shared by more.
const THREADS_MAX: usize = 4;
/// Below this many multiply-adds a product is not worth sharing.
const SHARED_MIN: usize = 1 << 17;
/// Pieces of a product for each thread, so that none waits long for another.
const PIECES_PER_THREAD: usize = 4;
/// Looks at the slot before another process is let in.
const SPINS: usize = 2_000;

/// Whether a crew is at work in this process. A second one would take the cores from the first, and
/// both would spin.
static IS_AT_WORK: AtomicBool = AtomicBool::new(false);

/// Those who help; none where the system gives no threads.
static HELPERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let n_threads = rayon::current_num_threads().clamp(2, THREADS_MAX) - 1;
    let named = ThreadPoolBuilder::new().thread_name(|_| "crew".to_owned());
    named.num_threads(n_threads).build().ok()
});

/// Those who work on one pass.
pub(crate) struct Crew<'a> {
    n_threads: usize,
    slot: Mutex<Option<Arc<Job<'a>>>>,
    /// Counts the jobs, so that helpers see a new one without taking the lock.
    n_jobs: AtomicUsize,
    has_ended: AtomicBool,
}

/// Work in pieces, which are taken one by one.
struct Job<'a> {
    compute: Box<dyn Fn(usize) -> Vec<f32> + Send + Sync + 'a>,
    next: AtomicUsize,
    pieces: Vec<OnceLock<Vec<f32>>>,
    has_failed: AtomicBool,
}

/// What is done to a product at once, while it is in the nearest cache: some columns of its rows, and
/// the bias of these columns.
pub(crate) type Finish = fn(&mut [f32], &[f32]);

/// Calls `pass` with up to `n_threads` threads at hand, the calling one included. One of them does
/// `beside` before it helps; the calling one does where no other has begun with it.
pub(crate) fn with_crew<'a, R>(
    n_threads: usize,
    beside: impl FnOnce() + Send,
    pass: impl FnOnce(&Crew<'a>) -> R,
) -> R {
    let mut crew = Crew {
        n_threads: n_threads.min(THREADS_MAX),
        slot: Mutex::new(None),
        n_jobs: AtomicUsize::new(0),
        has_ended: AtomicBool::new(false),
    };
    let helpers = match (n_threads > 1).then(|| HELPERS.as_ref()).flatten() {
        Some(it) if !IS_AT_WORK.swap(true, Ordering::Acquire) => it,
        _ => {
            crew.n_threads = 1;
            beside();
            return pass(&crew);
        }
    };
    let _at_work = AtWork;
    let beside = Mutex::new(Some(beside));
    let take = || beside.lock().unwrap_or_else(PoisonError::into_inner).take();
    helpers.in_place_scope(|scope| {
        let _end = End(&crew);
        for _ in 1..crew.n_threads {
            scope.spawn(|_| {
                if let Some(beside) = take() {
                    beside();
                }
                crew.help();
            });
        }
        let res = pass(&crew);
        if let Some(beside) = take() {
            beside();
        }
        res
    })
}

/// Lets the next crew work, whatever happens.
struct AtWork;

impl Drop for AtWork {
    fn drop(&mut self) {
        IS_AT_WORK.store(false, Ordering::Release);
    }
}

/// Lets the helpers go, whatever happens.
struct End<'c, 'a>(&'c Crew<'a>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

impl<'a> Crew<'a> {
    pub(crate) fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// out = finish(x · Wᵀ, bias). x: (rows, n_in), bias: (n_out), out: (rows, n_out)
    pub(crate) fn matmul(
        &self,
        panels: &'a Panels,
        x: &[f32],
        out: &mut [f32],
        (finish, bias): (Finish, &'a [f32]),
    ) {
        let n_out = panels.n_out();
        if self.n_threads == 1 || x.len() * n_out < SHARED_MIN {
            panels.matmul(x, out);
            return finish(out, bias);
        }
        let rows = x.len() / panels.n_in();
        let panels_each = panels.n_panels().div_ceil(self.n_threads * PIECES_PER_THREAD);
        let n_pieces = panels.n_panels().div_ceil(panels_each);
        let x = x.to_vec();
        let compute = move |idx: usize| {
            let first = idx * panels_each;
            let last = panels.n_panels().min(first + panels_each);
            let mut out = vec![0.0; (last - first) * rows * PANEL]; // (panels, rows, 32)
            panels.product_of(first..last, &x, &mut out);
            for (panel, out) in (first..last).zip(out.chunks_exact_mut(rows * PANEL)) {
                let bias = &bias[panel * PANEL..n_out.min((panel + 1) * PANEL)];
                match bias.len() {
                    PANEL => finish(out, bias),
                    width => {
                        out.chunks_exact_mut(PANEL).for_each(|row| finish(&mut row[..width], bias));
                    }
                }
            }
            out
        };
        self.share(n_pieces, compute, |idx, piece| {
            for (panel, piece) in piece.chunks_exact(rows * PANEL).enumerate() {
                let start = (idx * panels_each + panel) * PANEL;
                let width = PANEL.min(n_out - start);
                for (out, row) in out.chunks_exact_mut(n_out).zip(piece.chunks_exact(PANEL)) {
                    out[start..start + width].copy_from_slice(&row[..width]);
                }
            }
        });
    }

    /// Computes pieces, each by whoever comes to it, and hands them over in order.
    pub(crate) fn share(
        &self,
        n_pieces: usize,
        compute: impl Fn(usize) -> Vec<f32> + Send + Sync + 'a,
        mut take: impl FnMut(usize, &[f32]),
    ) {
        let job = Arc::new(Job {
            compute: Box::new(compute),
            next: AtomicUsize::new(0),
            pieces: (0..n_pieces).map(|_| OnceLock::new()).collect(),
            has_failed: AtomicBool::new(false),
        });
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&job));
        self.n_jobs.fetch_add(1, Ordering::Release);
        job.work();
        for (idx, piece) in job.pieces.iter().enumerate() {
            take(idx, job.wait(piece));
        }
    }

    fn help(&self) {
        let mut n_seen = 0;
        let mut n_looks = 0;
        while !self.has_ended.load(Ordering::Acquire) {
            let n_jobs = self.n_jobs.load(Ordering::Acquire);
            if n_jobs == n_seen {
                pause(&mut n_looks);
                continue;
            }
            (n_seen, n_looks) = (n_jobs, 0);
            let job = self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(job) = job {
                job.work();
            }
        }
    }
}

impl Job<'_> {
    /// Computes pieces until all are taken.
    fn work(&self) {
        let _failing = Failing(self);
        loop {
            let idx = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(idx) else { return };
            piece.set((self.compute)(idx)).expect("each piece is taken once");
        }
    }

    fn wait<'p>(&self, piece: &'p OnceLock<Vec<f32>>) -> &'p [f32] {
        let mut n_looks = 0;
        loop {
            if let Some(it) = piece.get() {
                return it;
            }
            assert!(!self.has_failed.load(Ordering::Acquire), "a thread of the crew panicked");
            pause(&mut n_looks);
        }
    }
}

/// Nobody waits for a piece that will never come.
struct Failing<'j, 'a>(&'j Job<'a>);

impl Drop for Failing<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.has_failed.store(true, Ordering::Release);
        }
    }
}

fn pause(n_looks: &mut usize) {
    *n_looks += 1;
    if *n_looks < SPINS { hint::spin_loop() } else { thread::yield_now() }
}

/// Until it is their turn: tests share the process, and with it the one crew.
#[cfg(test)]
pub(crate) fn in_crew<'a, R>(mut pass: impl FnMut(&Crew<'a>) -> R) -> R {
    loop {
        let res = with_crew(3, || {}, |crew: &Crew<'a>| (crew.n_threads > 1).then(|| pass(crew)));
        if let Some(res) = res {
            return res;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;
    use crate::kernels;

    #[test]
    fn a_crew_computes_what_one_thread_computes() {
        let value = |idx: usize| (idx as f32 * 0.37).sin();
        let (n_in, n_out) = (96, 1_000);
        let weight: Vec<f32> = (0..n_in * n_out).map(value).collect();
        let panels = Panels::from_f32(&weight, n_in);
        let bias: Vec<f32> = (0..n_out).map(|idx| value(idx * 3)).collect();
        let finish = kernels::gelu_with_bias;
        for rows in [1, 2, 12, 37] {
            let x: Vec<f32> = (0..rows * n_in).map(|idx| value(idx * 7)).collect();
            let mut alone = vec![0.0; rows * n_out];
            panels.matmul(&x, &mut alone);
            finish(&mut alone, &bias);
            let together = in_crew(|crew| {
                let mut out = vec![0.0; rows * n_out];
                for _ in 0..50 {
                    out.fill(f32::NAN);
                    crew.matmul(&panels, &x, &mut out, (finish, &bias));
                }
                out
            });
            assert!(alone == together, "{rows} rows");
        }
    }

    #[test]
    fn what_is_done_beside_is_done_once_whoever_does_it() {
        for n_threads in [1, 2, 3] {
            let mut n_done = 0;
            let inner = with_crew(
                n_threads,
                || n_done += 1,
                |outer| {
                    let mut n_done = 0;
                    let is_one = |inner: &Crew<'_>| outer.n_threads == 1 || inner.n_threads == 1;
                    assert!(with_crew(2, || n_done += 1, is_one), "there is one crew at most");
                    n_done
                },
            );
            assert_eq!((n_done, inner), (1, 1), "{n_threads} threads");
        }
    }

    #[test]
    fn a_pass_that_panics_lets_its_helpers_go() {
        let res = panic::catch_unwind(|| in_crew(|_| -> usize { panic!("on purpose") }));
        assert!(res.is_err());
        assert_eq!(in_crew(|crew| crew.n_threads), 3);
    }
}
