//! Threads that stay awake between the products of one pass.
//!
//! A pool's thread that has nothing to do falls asleep, and a pass over one question would wake it for
//! each of its 24 short products. Here the other threads of the pool are asked once to help with a
//! pass, and spin until it ends: on two cores, twelve tokens took 4.6 to 5.3 ms instead of 6.0. Whoever
//! comes late, or not at all, is not waited for.

use std::{
    hint,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::panels::{PANEL, Panels};

/// Below this many multiply-adds a product is not worth sharing.
const SHARED_MIN: usize = 1 << 17;
/// Pieces of a product for each thread, so that none waits long for another.
const PIECES_PER_THREAD: usize = 4;
/// Looks at the slot before another process is let in.
const SPINS: usize = 2_000;

/// Those who work on one pass.
pub(crate) struct Crew<'a> {
    n_threads: usize,
    slot: Mutex<Option<Arc<Job<'a>>>>,
    /// Counts the jobs, so that helpers see a new one without taking the lock.
    n_jobs: AtomicUsize,
    has_ended: AtomicBool,
}

/// A product, in pieces that are taken one by one.
struct Job<'a> {
    panels: &'a Panels,
    /// (rows, n_in)
    x: Vec<f32>,
    panels_each: usize,
    next: AtomicUsize,
    /// (panels of the piece, rows, 32) each
    pieces: Vec<OnceLock<Vec<f32>>>,
    has_failed: AtomicBool,
}

/// Calls `pass` with the pool's other threads at hand.
pub(crate) fn with_crew<'a, R: Send>(pass: impl FnOnce(&Crew<'a>) -> R + Send) -> R {
    let crew = Crew {
        n_threads: rayon::current_num_threads(),
        slot: Mutex::new(None),
        n_jobs: AtomicUsize::new(0),
        has_ended: AtomicBool::new(false),
    };
    rayon::scope(|scope| {
        for _ in 1..crew.n_threads {
            scope.spawn(|_| crew.help());
        }
        let _end = End(&crew);
        pass(&crew)
    })
}

/// Lets the helpers go, whatever happens.
struct End<'c, 'a>(&'c Crew<'a>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
    }
}

impl<'a> Crew<'a> {
    /// out = x · Wᵀ. x: (rows, n_in), out: (rows, n_out)
    pub(crate) fn matmul(&self, panels: &'a Panels, x: &[f32], out: &mut [f32]) {
        if self.n_threads == 1 || x.len() * panels.n_out() < SHARED_MIN {
            return panels.matmul(x, out);
        }
        let panels_each = panels.n_panels().div_ceil(self.n_threads * PIECES_PER_THREAD);
        let n_pieces = panels.n_panels().div_ceil(panels_each);
        let job = Arc::new(Job {
            panels,
            x: x.to_vec(),
            panels_each,
            next: AtomicUsize::new(0),
            pieces: (0..n_pieces).map(|_| OnceLock::new()).collect(),
            has_failed: AtomicBool::new(false),
        });
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&job));
        self.n_jobs.fetch_add(1, Ordering::Release);
        job.work();
        let rows = x.len() / panels.n_in();
        for (idx, piece) in job.pieces.iter().enumerate() {
            let piece = job.wait(piece);
            for (panel, piece) in piece.chunks_exact(rows * PANEL).enumerate() {
                let start = (idx * panels_each + panel) * PANEL;
                let width = PANEL.min(panels.n_out() - start);
                let outs = out.chunks_exact_mut(panels.n_out());
                for (out, row) in outs.zip(piece.chunks_exact(PANEL)) {
                    out[start..start + width].copy_from_slice(&row[..width]);
                }
            }
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
        let rows = self.x.len() / self.panels.n_in();
        loop {
            let idx = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = self.pieces.get(idx) else { return };
            let first = idx * self.panels_each;
            let last = self.panels.n_panels().min(first + self.panels_each);
            let mut out = vec![0.0; (last - first) * rows * PANEL];
            self.panels.product_of(first..last, &self.x, &mut out);
            piece.set(out).expect("each piece is taken once");
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

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn a_crew_computes_what_one_thread_computes() {
        let value = |idx: usize| (idx as f32 * 0.37).sin();
        let (n_in, n_out) = (96, 1_000);
        let weight: Vec<f32> = (0..n_in * n_out).map(value).collect();
        let panels = Panels::from_f32(&weight, n_in);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for rows in [1, 2, 12, 37] {
            let x: Vec<f32> = (0..rows * n_in).map(|idx| value(idx * 7)).collect();
            let mut alone = vec![0.0; rows * n_out];
            panels.matmul(&x, &mut alone);
            let together = pool.install(|| {
                with_crew(|crew| {
                    let mut out = vec![0.0; rows * n_out];
                    for _ in 0..50 {
                        out.fill(f32::NAN);
                        crew.matmul(&panels, &x, &mut out);
                    }
                    out
                })
            });
            assert!(alone == together, "{rows} rows");
        }
    }

    #[test]
    fn a_pass_that_panics_lets_its_helpers_go() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let res = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            pool.install(|| with_crew(|_| panic!("on purpose")))
        }));
        assert!(res.is_err());
        assert_eq!(pool.install(|| with_crew(|crew| crew.n_threads)), 2);
    }
}
