//! Folders read and cut without writing anything: what `ingest --dry-run` shows.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use ingest::{
    chunk::chunk,
    discover::{DiscoverError, Discovered, Skipped, SourceFile, discover},
    parse::ParseError,
    read::{load, read},
};

use crate::{build_index::BuildOptions, in_order::in_order};

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
    /// Symbolic links that were not followed.
    pub links: Vec<PathBuf>,
    /// Whether it was interrupted before its end.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// What one file gave.
struct Cut {
    text_bytes: usize,
    n_chunks: usize,
}

/// Parses, cleans and cuts every file of `roots`. `count_tokens` is the embedder's.
///
/// # Errors
/// When the folders cannot be read; a bad file is a line of the survey.
pub fn survey(
    roots: &[PathBuf],
    options: &BuildOptions,
    count_tokens: &(dyn Fn(&str) -> usize + Sync),
    interrupted: &AtomicBool,
    on_file: &mut dyn FnMut(usize, usize),
) -> Result<Survey, DiscoverError> {
    let start = Instant::now();
    let discovered = discover(roots, &options.discover)?;
    discovered.refuse_empty(|_| false)?;
    let Discovered { files, skipped, settings, links, .. } = discovered;
    let mut res = Survey { skipped, links, ..Survey::default() };
    let cut = |file: &SourceFile| -> Result<Cut, ParseError> {
        let loaded = load(file, &options.limits)?;
        let document = read(file, loaded, &settings.of(&file.path), &options.limits)?;
        let n_chunks = chunk(&document, &options.chunks, count_tokens).len();
        Ok(Cut { text_bytes: document.text.len(), n_chunks })
    };
    let flow = in_order(
        &files,
        |file| file.size,
        cut,
        |i, cut| {
            if interrupted.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            match cut {
                Ok(Cut { text_bytes, n_chunks }) => {
                    res.n_documents += 1;
                    res.source_bytes += files[i].size;
                    res.text_bytes += text_bytes;
                    res.n_chunks += n_chunks;
                }
                Err(reason) => res.skipped.push(Skipped { path: files[i].path.clone(), reason }),
            }
            on_file(i + 1, files.len());
            ControlFlow::Continue(())
        },
    );
    res.interrupted = flow.is_break();
    res.elapsed = start.elapsed();
    Ok(res)
}
