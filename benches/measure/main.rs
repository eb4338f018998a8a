//! Measures an index of a size given in chunks (10,000 where none is): writing, searching, opening,
//! changing, and memory.
//!
//!     cargo bench --workspace --bench measure -- 1000000 [FOLDER] [--model EMBEDDER]
//!
//! The corpus is made up (`corpus.rs`). A folder that is named is kept, and measured again without being
//! written. Searches run in a process of their own: its memory is what serving takes. With the folder
//! of an embedder, as `souffleur models pull` leaves it, searches that embed their question are measured
//! as well (`questions.rs`). `growth.py` beside this draws several sizes. Figures worth keeping go to
//! `docs/benchmarks.md`.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

mod corpus;
mod process;
mod questions;
mod searches;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use corpus::{CHUNKS_A_DOCUMENT, open, put};
use process::{Step, Watch, memory};

/// How often what was put is applied beside the putting.
const APPLY_EVERY: Duration = Duration::from_secs(5);

/// What to measure.
#[derive(Debug)]
struct Args {
    n_chunks: usize,
    /// Where the index is, or will be.
    dir: Option<PathBuf>,
    /// The folder of the embedder, where questions are to be embedded.
    model: Option<PathBuf>,
    /// Whether this is the process that searches.
    searches: bool,
}

impl Args {
    fn read() -> Result<Self> {
        let mut res = Self { n_chunks: 10_000, dir: None, model: None, searches: false };
        // Cargo adds `--bench`.
        let mut args = std::env::args().skip(1).filter(|it| it != "--bench");
        while let Some(arg) = args.next() {
            match (arg.as_str(), arg.parse()) {
                ("--model", _) => res.model = Some(args.next().context("--model EMBEDDER")?.into()),
                ("--searches", _) => res.searches = true,
                (_, Ok(n_chunks)) => res.n_chunks = n_chunks,
                (dir, Err(_)) => res.dir = Some(dir.into()),
            }
        }
        // Before an index is written, which takes minutes.
        if let Some(model) = &res.model {
            ensure!(model.is_dir(), "`{}` is no folder", model.display());
        }
        Ok(res)
    }
}

fn main() -> Result<()> {
    let args = Args::read()?;
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.as_deref().unwrap_or(temporary.path());
    if args.searches {
        return searches::measure(dir, args.n_chunks, args.model.as_deref());
    }
    if !dir.join("catalog.db").exists() {
        write(dir, args.n_chunks);
    }
    let mut searching = Command::new(std::env::current_exe()?);
    searching.arg("--searches").arg(dir).arg(args.n_chunks.to_string());
    if let Some(model) = &args.model {
        searching.arg("--model").arg(model);
    }
    ensure!(searching.status()?.success(), "the searches failed");
    Ok(())
}

/// Writes the corpus, and prints how long that takes.
fn write(dir: &Path, n_chunks: usize) {
    let watch = Watch::start();
    let index = open(dir);
    let all = Step::start("all");
    let step = Step::start("put, and applied beside it");
    thread::scope(|scope| {
        let (until_put, is_put) = mpsc::channel::<()>();
        let index = &index;
        scope.spawn(move || {
            while is_put.recv_timeout(APPLY_EVERY) == Err(RecvTimeoutError::Timeout) {
                index.apply().expect("both legs take the chunks");
            }
        });
        for i in 0..n_chunks / CHUNKS_A_DOCUMENT {
            put(index, i, "");
        }
        drop(until_put);
    });
    step.end(n_chunks);
    let step = Step::start("apply the rest");
    index.apply().expect("both legs take the chunks");
    step.end(n_chunks);
    let step = Step::start("optimise");
    index.optimize().expect("both legs can be optimised");
    step.end(n_chunks);
    all.end(n_chunks);
    println!(
        "peak memory while writing: {} MB, of which {} MB were not mapped files",
        memory("VmHWM"),
        watch.most()
    );
}
