//! What this process takes: time, processor and memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A part of the writing.
pub(crate) struct Step {
    what: &'static str,
    start: Instant,
    processor: f64,
}

impl Step {
    pub(crate) fn start(what: &'static str) -> Self {
        Self { what, start: Instant::now(), processor: processor_seconds() }
    }

    pub(crate) fn end(self, n_chunks: usize) {
        let seconds = self.start.elapsed().as_secs_f64();
        println!(
            "{}: {seconds:.1} s, of the processor {:.1} s; {:.0} chunks/s",
            self.what,
            processor_seconds() - self.processor,
            n_chunks as f64 / seconds
        );
    }
}

/// What this process has used so far, on all cores: beside other work it says more than the clock.
fn processor_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    // What stands before is a name, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = fields.iter().skip(12).take(2).filter_map(|it| it.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Looks at memory now and then: the kernel keeps no peak of what is not mapped from files.
pub(crate) struct Watch {
    most: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let seen = Arc::downgrade(&most);
        std::thread::spawn(move || {
            while let Some(most) = seen.upgrade() {
                most.fetch_max(memory("RssAnon").parse().unwrap_or(0), Ordering::Relaxed);
                drop(most);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { most }
    }

    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

/// Megabytes of a line of `/proc/self/status`: `VmRSS` now, `VmHWM` at most, `RssAnon` without
/// what is mapped from files.
pub(crate) fn memory(line: &str) -> String {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
    let kilobytes = found.and_then(|it| it.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or_else(|| "unknown".to_owned(), |it| (it / 1_000).to_string())
}
