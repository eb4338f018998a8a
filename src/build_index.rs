//! Flow 1: files to a live index. Discover, read, chunk, embed, record, apply.
//!
//! Each document is one durable transaction, so an interruption at any moment loses at most the
//! document at hand, and the next run goes on from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use index::{
    Index, IndexError,
    catalog::{CatalogError, Duplicate, EmbeddedChunk, NewDocument, Source, StoredDocument},
    hit::DocumentId,
    unit_vector::UnitVector,
};
use ingest::{
    chunk::{Chunk, ChunkLimits, embedding_text},
    discover::{DiscoverError, DiscoverOptions, Skipped, SourceFile, discover},
    document::Finding,
    duplicates::{Originals, Signature, SimHash},
    parse::{Limits, ParseError},
};
use model::embed::TextRole;

use crate::embedder::{EmbedError, Embedder};

use crate::{
    in_order::in_order,
    look::{Look, Looker, ReadFile},
    rebuild::Rebuilt,
};

/// Chunks that are embedded together. Enough for full batches, few enough to show progress.
const CHUNKS_PER_BATCH: usize = 128;

/// Chunks of one long document that are embedded between two looks at whether to stop.
const CHUNKS_PER_STEP: usize = 512;

/// How often what was recorded is applied while files are read.
const APPLY_EVERY: Duration = Duration::from_secs(30);

/// Similarity from which two documents count as near duplicates.
const NEAR_DUPLICATE_MIN: f32 = 0.8;

/// How to read and cut files.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Which files.
    pub discover: DiscoverOptions,
    /// Limits on one file.
    pub limits: Limits,
    /// Sizes of chunks.
    pub chunks: ChunkLimits,
    /// The collection of documents that name none.
    pub collection: String,
    /// Whether a folder may hold no document at all, as one of uploads does at times.
    pub may_be_empty: bool,
}

/// What goes on, for a progress display.
#[derive(Debug, Clone, Copy)]
pub enum BuildEvent<'a> {
    /// The folders are listed.
    Discovered {
        /// Files to look at.
        n_files: usize,
    },
    /// A file is done, read or skipped.
    File {
        /// Its path below its root.
        path: &'a str,
        /// Files done.
        n_done: usize,
    },
    /// Chunks were embedded.
    Embedded {
        /// Chunks of this run so far.
        n_chunks: usize,
    },
    /// The index legs are being brought up to the catalog.
    Applying,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct BuildReport {
    /// New documents.
    pub added: usize,
    /// Documents whose file, or whose settings, changed.
    pub updated: usize,
    /// Documents whose file moved; nothing was read again.
    pub moved: usize,
    /// Documents whose file is gone.
    pub removed: usize,
    /// Documents that did not change.
    pub unchanged: usize,
    /// Files left aside.
    pub skipped: Vec<Skipped>,
    /// Symbolic links that were not followed.
    pub links: Vec<PathBuf>,
    /// Files and folders that are there but could not be looked at, with how many documents of
    /// theirs are kept as they were.
    pub kept: BTreeMap<PathBuf, usize>,
    /// Folders ingested before that are gone, with how many documents of theirs are kept.
    pub gone_roots: BTreeMap<PathBuf, usize>,
    /// What the index held after it was rebuilt, where that was asked for.
    pub rebuilt: Option<Rebuilt>,
    /// What readers of new documents should know, by path.
    pub findings: Vec<(String, Finding)>,
    /// New documents that repeat another: path, the other's path, similarity (1 for the same
    /// words).
    pub duplicates: Vec<(String, String, f32)>,
    /// Chunks written.
    pub n_chunks: usize,
    /// Texts that the embedder cut short. The chunker prevents it, so this should be 0.
    pub n_truncated: usize,
    /// Whether the run was interrupted before its end.
    pub interrupted: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why a run stopped. Documents recorded before stay.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folders cannot be read.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The index legs cannot be written.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A path cannot be made absolute.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The embedder gave a vector without direction.
    #[error("the embedder gave no direction to a passage of `{path}`: its model files are damaged")]
    NoDirection {
        /// The document.
        path: String,
    },
}

/// Brings the index up to what `roots` hold now. Files are looked at on several threads, ahead of
/// this one, which embeds and is the only one that writes; it takes them in the order of their
/// paths, so that the same folders give the same index.
///
/// # Errors
/// [`BuildError`]; a bad file is no error but a line in the report.
pub fn build_index(
    index: &Index,
    embedder: &Embedder,
    roots: &[PathBuf],
    options: &BuildOptions,
    interrupted: &AtomicBool,
    on_event: &mut dyn FnMut(BuildEvent<'_>),
) -> Result<BuildReport, BuildError> {
    let start = Instant::now();
    let mut discovered = discover(roots, &options.discover)?;
    let scope = roots.iter().map(fs_err::canonicalize).collect::<Result<Vec<_>, _>>()?;
    on_event(BuildEvent::Discovered { n_files: discovered.files.len() });
    let skipped = std::mem::take(&mut discovered.skipped);
    let documents = index.catalog().list()?;
    discovered.refuse_empty(|root| {
        options.may_be_empty || documents.iter().any(|it| place(it).starts_with(root))
    })?;
    let links = std::mem::take(&mut discovered.links);
    let looker = Looker::new(documents, &discovered, &scope, embedder, options);
    let mut run = Run::new(index, embedder, &looker, interrupted, on_event)?;
    run.report.skipped = skipped;
    run.report.links = links;
    run.report.kept = looker.kept().clone();
    // What is surely gone goes first, so that it does not answer while the rest is read.
    looker.surely_gone().into_iter().try_for_each(|path| run.remove_vanished(path))?;
    if run.report.removed > 0 {
        index.apply()?;
    }
    thread::scope(|scope| {
        let (until_read, is_read) = mpsc::channel();
        let applying = scope.spawn(move || keep_applying(index, &is_read));
        run.read(&discovered.files, &|| applying.is_finished())?;
        drop(until_read);
        applying.join().unwrap_or_else(|panic| resume_unwind(panic)).map_err(BuildError::from)
    })?;
    if !run.report.interrupted {
        looker.gone().iter().try_for_each(|path| run.remove_vanished(path))?;
    }
    (run.on_event)(BuildEvent::Applying);
    index.apply()?;
    if !run.report.interrupted {
        index.optimize()?;
    }
    run.report.elapsed = start.elapsed();
    Ok(run.report)
}

/// Applies what was recorded now and then while more is, until the sender is dropped: it is found,
/// and what must not be read any more is not, before a long run ends.
fn keep_applying(index: &Index, ended: &Receiver<()>) -> Result<(), IndexError> {
    while ended.recv_timeout(APPLY_EVERY) == Err(RecvTimeoutError::Timeout) {
        index.apply()?;
    }
    Ok(())
}

/// The state of one run.
struct Run<'a> {
    index: &'a Index,
    embedder: &'a Embedder,
    looker: &'a Looker<'a>,
    interrupted: &'a AtomicBool,
    on_event: &'a mut dyn FnMut(BuildEvent<'_>),
    report: BuildReport,
    /// Paths of the catalog that need no more thought: forgotten, or taken over by a moved file.
    settled: BTreeSet<PathBuf>,
    /// What a new document may repeat, once it was read from the catalog.
    originals: Option<Originals<DocumentId>>,
    /// Files that wait to be embedded together.
    pending: Vec<ReadFile>,
}

impl<'a> Run<'a> {
    fn new(
        index: &'a Index,
        embedder: &'a Embedder,
        looker: &'a Looker<'a>,
        interrupted: &'a AtomicBool,
        on_event: &'a mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<Self, BuildError> {
        Ok(Self {
            index,
            embedder,
            looker,
            interrupted,
            on_event,
            report: BuildReport::default(),
            settled: BTreeSet::new(),
            originals: None,
            pending: Vec::new(),
        })
    }

    /// Reads the files, in their order, until the user interrupts it or it `is_stuck`.
    fn read(
        &mut self,
        files: &[SourceFile],
        is_stuck: &dyn Fn() -> bool,
    ) -> Result<(), BuildError> {
        let looker = self.looker;
        let flow = in_order(
            files,
            |file| file.size,
            |file| looker.look(file),
            |i, look| {
                if self.interrupted.load(Ordering::Relaxed) {
                    self.report.interrupted = true;
                    return ControlFlow::Break(Ok(()));
                }
                if is_stuck() {
                    return ControlFlow::Break(Ok(()));
                }
                if let Err(error) = self.take(&files[i], look) {
                    return ControlFlow::Break(Err(error));
                }
                (self.on_event)(BuildEvent::File { path: &files[i].relative, n_done: i + 1 });
                ControlFlow::Continue(())
            },
        );
        if let ControlFlow::Break(ended) = flow {
            ended?;
        }
        self.record_batch()
    }

    /// Does what a look at a file found necessary.
    fn take(&mut self, file: &SourceFile, look: Look) -> Result<(), BuildError> {
        match look {
            Look::Unchanged => self.report.unchanged += 1,
            Look::Touched(source) => {
                // Remembers its new time, so that it is not hashed again.
                if let Some(it) = self.looker.stored(&file.path) {
                    self.index.catalog().restate(it.id, &source, &it.labels)?;
                }
                self.report.unchanged += 1;
            }
            Look::Moved(source, alike) => {
                if !self.move_here(&source, &alike)? {
                    // Other files have taken over all of them: this one is a copy.
                    match self.looker.read(file) {
                        Ok(read) => self.add(*read)?,
                        Err(reason) => self.skip(file, reason)?,
                    }
                }
            }
            Look::Read(read) => self.add(*read)?,
            Look::Skipped(reason) => self.skip(file, reason)?,
        }
        Ok(())
    }

    /// Gives the first of the documents whose file is gone, and that no other file has taken over,
    /// the place of a new file with the same bytes.
    fn move_here(&mut self, source: &Source, alike: &[PathBuf]) -> Result<bool, BuildError> {
        let Some(old) = alike.iter().find(|it| !self.settled.contains(*it)) else {
            return Ok(false);
        };
        if let Some(it) = self.looker.stored(old) {
            self.index.catalog().restate(it.id, source, &it.labels)?;
            self.settled.insert(old.clone());
            self.report.moved += 1;
        }
        Ok(true)
    }

    fn add(&mut self, read: ReadFile) -> Result<(), BuildError> {
        self.pending.push(read);
        if self.pending.iter().map(|it| it.chunks.len()).sum::<usize>() >= CHUNKS_PER_BATCH {
            self.record_batch()?;
        }
        Ok(())
    }

    /// Embeds what is pending and records it, one transaction a document. An interruption in the
    /// middle of very long documents leaves them to the next run.
    fn record_batch(&mut self) -> Result<(), BuildError> {
        if !self.pending.is_empty() {
            self.index.ensure_room()?;
        }
        let pending = std::mem::take(&mut self.pending);
        let Some(mut vectors) = self.embed(&pending)? else { return Ok(()) };
        for it in pending {
            let mut chunks = Vec::with_capacity(it.chunks.len());
            for (chunk, vector) in it.chunks.iter().zip(vectors.by_ref()) {
                let vector = vector
                    .ok_or_else(|| BuildError::NoDirection { path: it.source.path.clone() })?;
                let simhash = SimHash::of(&it.document.text[chunk.span.range()]).0;
                chunks.push(EmbeddedChunk { chunk: chunk.clone(), vector, simhash });
            }
            self.record(it, &chunks)?;
        }
        Ok(())
    }

    /// One vector for each chunk, in order; nothing when interrupted.
    fn embed(
        &mut self,
        pending: &[ReadFile],
    ) -> Result<Option<std::vec::IntoIter<Option<UnitVector>>>, BuildError> {
        let chunks: Vec<(&ReadFile, &Chunk)> =
            pending.iter().flat_map(|it| it.chunks.iter().map(move |chunk| (it, chunk))).collect();
        let mut res = Vec::with_capacity(chunks.len());
        for chunks in chunks.chunks(CHUNKS_PER_STEP) {
            if !res.is_empty() && self.interrupted.load(Ordering::Relaxed) {
                self.report.interrupted = true;
                return Ok(None);
            }
            let texts: Vec<String> =
                chunks.iter().map(|(it, chunk)| embedding_text(&it.document, chunk)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let embedded = self.embedder.embed(&texts, TextRole::Passage)?;
            self.report.n_truncated += embedded.n_truncated;
            res.extend(embedded.rows().map(|row| UnitVector::new(row.to_vec())));
            let n_chunks = self.report.n_chunks + res.len();
            (self.on_event)(BuildEvent::Embedded { n_chunks });
        }
        Ok(Some(res.into_iter()))
    }

    fn record(&mut self, it: ReadFile, chunks: &[EmbeddedChunk]) -> Result<(), BuildError> {
        let absolute = Path::new(&it.source.root).join(&it.source.path);
        let old = self.looker.stored(&absolute);
        let own = old.map(|it| it.id);
        let duplicate = self.duplicate_of(&it, own)?;
        let signature = it.signature.as_ref().map(Signature::to_bytes).unwrap_or_default();
        if let Some(old) = old
            && old.source.root != it.source.root
        {
            // The document comes under an outer root: it keeps its identity.
            self.index.catalog().restate(old.id, &it.source, &it.labels)?;
        }
        let id = self.index.catalog().put(&NewDocument {
            source: &it.source,
            document: &it.document,
            labels: &it.labels,
            made_by: &it.made_by,
            ingested_at: now(),
            duplicate,
            signature: &signature,
            chunks,
        })?;
        if let Some(originals) = &mut self.originals {
            originals.remove(id);
            if let (None, Some(signature)) = (duplicate, it.signature) {
                originals.insert(id, signature);
            }
        }
        if let Some(Duplicate { of, similarity }) = duplicate
            && let Some(other) = self.index.catalog().get(of)?
        {
            let paths = (it.source.path.clone(), other.source.path);
            self.report.duplicates.push((paths.0, paths.1, similarity));
        }
        self.report.n_chunks += chunks.len();
        let path = it.source.path;
        self.report.findings.extend(it.document.findings.into_iter().map(|it| (path.clone(), it)));
        if old.is_some() {
            self.report.updated += 1;
        } else {
            self.report.added += 1;
        }
        Ok(())
    }
}

impl Run<'_> {
    /// The recorded document that a new one repeats most, if it repeats one. One that repeats
    /// another itself is not looked at: what it repeats is.
    fn duplicate_of(
        &mut self,
        it: &ReadFile,
        own: Option<DocumentId>,
    ) -> Result<Option<Duplicate>, CatalogError> {
        let Some(signature) = &it.signature else { return Ok(None) };
        let originals = match &mut self.originals {
            Some(it) => it,
            none => none.insert(read_originals(self.index)?),
        };
        let found = originals.most_alike(signature, NEAR_DUPLICATE_MIN, own);
        Ok(found.map(|(of, similarity)| Duplicate { of, similarity }))
    }

    /// Reports a file that cannot be read. What was known of it is removed: it may say otherwise
    /// now, and an answer from the old text could be wrong.
    fn skip(&mut self, file: &SourceFile, reason: ParseError) -> Result<(), BuildError> {
        self.forget(&file.path)?;
        self.report.skipped.push(Skipped { path: file.path.clone(), reason });
        Ok(())
    }

    /// Forgets a document whose file is gone, unless another file has taken it over.
    fn remove_vanished(&mut self, path: &Path) -> Result<(), BuildError> {
        if self.settled.insert(path.to_owned()) { self.forget(path) } else { Ok(()) }
    }

    fn forget(&mut self, path: &Path) -> Result<(), BuildError> {
        let Some(old) = self.looker.stored(path) else { return Ok(()) };
        self.index.catalog().delete(old.id)?;
        // What repeated it stands alone now.
        self.originals = None;
        self.report.removed += 1;
        Ok(())
    }
}

fn read_originals(index: &Index) -> Result<Originals<DocumentId>, CatalogError> {
    let mut res = Originals::default();
    for (id, bytes) in index.catalog().signatures_of_originals()? {
        if let Some(signature) = Signature::from_bytes(&bytes) {
            res.insert(id, signature);
        }
    }
    Ok(res)
}

/// Where a document's file is, or was.
#[must_use]
pub fn place(document: &StoredDocument) -> PathBuf {
    Path::new(&document.source.root).join(&document.source.path)
}

/// Seconds since 1970 (UTC).
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}
