//! Folders read and cut without writing anything: what `ingest --dry-run` shows.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use ingest::{
    chunk::chunk,
    discover::{DiscoverError, Skipped, discover},
    read::{load, read},
};

use crate::build_index::BuildOptions;

/// What folders hold.
#[derive(Debug, Default)]
pub struct Survey {
    /// Files that became documents.
    pub n_documents: usize,
    /// Chunks that they were cut into.
    pub n_chunks: usize,
    /// Bytes of those files.
    pub source_bytes: u64,
    /// Bytes of text that came out.
    pub text_bytes: usize,
    /// Files left aside.
    pub skipped: Vec<Skipped>,
    /// Whether it was interrupted before its end.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Parses, cleans and cuts every file of `roots`. `count_tokens` is the embedder's.
///
/// # Errors
/// When the folders cannot be read; a bad file is a line of the survey.
pub fn survey(
    roots: &[PathBuf],
    options: &BuildOptions,
    count_tokens: &dyn Fn(&str) -> usize,
    interrupted: &AtomicBool,
    on_file: &mut dyn FnMut(usize, usize),
) -> Result<Survey, DiscoverError> {
    let start = Instant::now();
    let discovered = discover(roots, &options.discover)?;
    let mut res = Survey { skipped: discovered.skipped, ..Survey::default() };
    for (i, file) in discovered.files.iter().enumerate() {
        if interrupted.load(Ordering::Relaxed) {
            res.interrupted = true;
            break;
        }
        let settings = discovered.settings.of(&file.path);
        let document = load(file, &options.limits)
            .and_then(|loaded| read(file, loaded, &settings, &options.limits));
        match document {
            Ok(document) => {
                res.n_documents += 1;
                res.source_bytes += file.size;
                res.text_bytes += document.text.len();
                res.n_chunks += chunk(&document, &options.chunks, count_tokens).len();
            }
            Err(reason) => res.skipped.push(Skipped { path: file.path.clone(), reason }),
        }
        on_file(i + 1, discovered.files.len());
    }
    res.elapsed = start.elapsed();
    Ok(res)
}
