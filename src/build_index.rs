//! Flow 1: files to a live index. Discover, read, chunk, embed, record, apply.
//!
//! Each document is one durable transaction, so an interruption at any moment loses at most the
//! document at hand, and the next run goes on from there.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use index::{
    Index, IndexError,
    catalog::{
        CatalogError, Duplicate, EmbeddedChunk, Labels, NewDocument, Source, StoredDocument,
    },
    hit::DocumentId,
    unit_vector::UnitVector,
};
use ingest::{
    chunk::{ChunkLimits, chunk, embedding_text},
    discover::{DiscoverError, DiscoverOptions, Discovered, Skipped, SourceFile, discover},
    document::{Document, Finding},
    duplicates::{Signature, SimHash},
    metadata::FileSettings,
    parse::Limits,
    read::{Loaded, load, read},
};
use model::embed::{EmbedError, Embedder, TextRole};

/// Changes whenever parsing, cleaning or cutting does: stored documents are then read again.
const READER_VERSION: u32 = 1;

/// Chunks that are embedded together. Enough for full batches, few enough to show progress.
const CHUNKS_PER_BATCH: usize = 128;

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

/// Brings the index up to what `roots` hold now.
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
    let mut run = Run::new(index, embedder, options, on_event)?;
    run.report.skipped = std::mem::take(&mut discovered.skipped);
    run.plan_moves(&discovered, &scope);
    // What is surely gone goes first, so that it does not answer while the rest is read. A new
    // file of the same length may be the same file, moved.
    let new = discovered.files.iter().filter(|it| !run.stored.contains_key(&it.path));
    let maybe_moved: HashSet<u64> = new.map(|it| it.size).collect();
    run.remove_vanished(&discovered, &scope, &maybe_moved)?;
    for (i, file) in discovered.files.iter().enumerate() {
        if interrupted.load(Ordering::Relaxed) {
            run.report.interrupted = true;
            break;
        }
        run.take(file, &discovered.settings.of(&file.path))?;
        (run.on_event)(BuildEvent::File { path: &file.relative, n_done: i + 1 });
    }
    run.record_batch()?;
    if !run.report.interrupted {
        run.remove_vanished(&discovered, &scope, &HashSet::new())?;
    }
    (run.on_event)(BuildEvent::Applying);
    index.apply()?;
    index.optimize()?;
    run.report.elapsed = start.elapsed();
    Ok(run.report)
}

/// A document that has been read and waits to be embedded with others.
struct Pending {
    source: Source,
    labels: Labels,
    made_by: String,
    document: Document,
    signature: Option<Signature>,
    chunks: Vec<ingest::chunk::Chunk>,
}

/// The state of one run.
struct Run<'a> {
    index: &'a Index,
    embedder: &'a Embedder,
    options: &'a BuildOptions,
    on_event: &'a mut dyn FnMut(BuildEvent<'_>),
    report: BuildReport,
    /// Documents of the catalog by absolute path.
    stored: HashMap<PathBuf, StoredDocument>,
    /// Roots of the catalog, to keep a document under the outermost one.
    known_roots: Vec<PathBuf>,
    /// Documents whose file is gone, by content hash: a new file with that hash is a move.
    gone: HashMap<String, PathBuf>,
    signatures: Vec<(DocumentId, Signature)>,
    pending: Vec<Pending>,
}

impl<'a> Run<'a> {
    fn new(
        index: &'a Index,
        embedder: &'a Embedder,
        options: &'a BuildOptions,
        on_event: &'a mut dyn FnMut(BuildEvent<'_>),
    ) -> Result<Self, BuildError> {
        let documents = index.catalog().list()?;
        let mut known_roots: Vec<PathBuf> =
            documents.iter().map(|it| PathBuf::from(&it.source.root)).collect();
        known_roots.sort();
        known_roots.dedup();
        let stored = documents
            .into_iter()
            .map(|it| (Path::new(&it.source.root).join(&it.source.path), it))
            .collect();
        let signatures = index
            .catalog()
            .signatures()?
            .into_iter()
            .filter_map(|(id, bytes)| Some((id, Signature::from_bytes(&bytes)?)))
            .collect();
        Ok(Self {
            index,
            embedder,
            options,
            on_event,
            report: BuildReport::default(),
            stored,
            known_roots,
            gone: HashMap::new(),
            signatures,
            pending: Vec::new(),
        })
    }

    /// Finds the documents in the folders read whose file is no longer there.
    fn plan_moves(&mut self, discovered: &Discovered, scope: &[PathBuf]) {
        let present: HashSet<&Path> = discovered.files.iter().map(|it| it.path.as_path()).collect();
        self.gone = self
            .stored
            .iter()
            .filter(|(path, _)| in_scope(path, scope) && !present.contains(path.as_path()))
            .map(|(path, it)| (it.source.content_hash.clone(), path.clone()))
            .collect();
    }

    /// Looks at one file and does what is needed: nothing, a new path, or reading it.
    fn take(&mut self, file: &SourceFile, settings: &FileSettings) -> Result<(), BuildError> {
        let made_by = self.made_by(settings);
        let mtime_ns = match mtime_ns(&file.path) {
            Ok(it) => it,
            // It went away since the folder was listed, or cannot be reached any more.
            Err(error) => return self.skip(file, error.into()),
        };
        let (root, path) = self.place_of(file);
        let stored = self.stored.get(&file.path);
        let same_making = stored.is_some_and(|it| it.made_by == made_by);
        if let Some(it) = stored
            && same_making
            && it.source.size == file.size
            && it.source.mtime_ns == mtime_ns
            && it.source.root == root
        {
            self.report.unchanged += 1;
            return Ok(());
        }
        let loaded = match load(file, &self.options.limits) {
            Ok(it) => it,
            Err(reason) => return self.skip(file, reason),
        };
        let content_hash = hex(&loaded.content_hash);
        let source = Source { root, path, content_hash, size: file.size, mtime_ns };
        if let Some(it) = stored
            && same_making
            && it.source.content_hash == source.content_hash
        {
            // Touched, not changed: remember its new time, so that it is not hashed again.
            self.index.catalog().restate(it.id, &source, &it.labels)?;
            self.report.unchanged += 1;
            return Ok(());
        }
        if stored.is_none() && self.move_here(&source, &made_by)? {
            return Ok(());
        }
        self.read(file, settings, loaded, source, made_by)
    }

    /// Gives a document whose file is gone the path of a new file with the same bytes.
    fn move_here(&mut self, source: &Source, made_by: &str) -> Result<bool, BuildError> {
        let Some(old) = self.gone.get(&source.content_hash) else { return Ok(false) };
        let Some(document) = self.stored.get(old).filter(|it| it.made_by == made_by) else {
            return Ok(false);
        };
        self.index.catalog().restate(document.id, source, &document.labels)?;
        self.stored.remove(&old.clone());
        self.gone.remove(&source.content_hash);
        self.report.moved += 1;
        Ok(true)
    }

    fn read(
        &mut self,
        file: &SourceFile,
        settings: &FileSettings,
        loaded: Loaded,
        source: Source,
        made_by: String,
    ) -> Result<(), BuildError> {
        let document = match read(file, loaded, settings, &self.options.limits) {
            Ok(it) => it,
            Err(reason) => return self.skip(file, reason),
        };
        let metadata = &document.metadata;
        let labels = Labels {
            collection: Some(
                metadata.collection.clone().unwrap_or_else(|| self.options.collection.clone()),
            ),
            licence: metadata.licence.clone(),
            groups: metadata.groups.clone(),
            modified: metadata.modified.or(file.modified),
        };
        let chunks =
            chunk(&document, &self.options.chunks, &|text| self.embedder.count_tokens(text));
        let signature = Signature::of(&document.text);
        self.pending.push(Pending { source, labels, made_by, document, signature, chunks });
        if self.pending.iter().map(|it| it.chunks.len()).sum::<usize>() >= CHUNKS_PER_BATCH {
            self.record_batch()?;
        }
        Ok(())
    }

    /// Embeds what is pending and records it, one transaction a document.
    fn record_batch(&mut self) -> Result<(), BuildError> {
        if !self.pending.is_empty() {
            self.index.ensure_room()?;
        }
        let pending = std::mem::take(&mut self.pending);
        let texts: Vec<String> = pending
            .iter()
            .flat_map(|it| it.chunks.iter().map(|chunk| embedding_text(&it.document, chunk)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let embedded = self.embedder.embed(&texts, TextRole::Passage)?;
        self.report.n_truncated += embedded.n_truncated;
        let mut vectors = embedded.rows();
        for it in pending {
            let mut chunks = Vec::with_capacity(it.chunks.len());
            for chunk in it.chunks.iter().cloned() {
                let row = vectors.next().expect("the embedder gives one vector for each text");
                let vector = UnitVector::new(row.to_vec())
                    .ok_or_else(|| BuildError::NoDirection { path: it.source.path.clone() })?;
                let simhash = SimHash::of(&it.document.text[chunk.span.range()]).0;
                chunks.push(EmbeddedChunk { chunk, vector, simhash });
            }
            self.record(it, &chunks)?;
        }
        (self.on_event)(BuildEvent::Embedded { n_chunks: self.report.n_chunks });
        Ok(())
    }

    fn record(&mut self, it: Pending, chunks: &[EmbeddedChunk]) -> Result<(), BuildError> {
        let absolute = Path::new(&it.source.root).join(&it.source.path);
        let old = self.stored.get(&absolute);
        let duplicate = self.duplicate_of(&it, old.map(|it| it.id));
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
        if let Some(Duplicate { of, similarity }) = duplicate
            && let Some(other) = self.index.catalog().get(of)?
        {
            self.report.duplicates.push((it.source.path.clone(), other.source.path, similarity));
        }
        self.signatures.retain(|(it, _)| *it != id);
        self.signatures.extend(it.signature.map(|it| (id, it)));
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
    /// The recorded document that a new one repeats most, if it repeats one.
    fn duplicate_of(&self, it: &Pending, own: Option<DocumentId>) -> Option<Duplicate> {
        let signature = it.signature.as_ref()?;
        self.signatures
            .iter()
            .filter(|(of, _)| Some(*of) != own)
            .map(|(of, other)| Duplicate { of: *of, similarity: signature.similarity(other) })
            .filter(|it| it.similarity >= NEAR_DUPLICATE_MIN)
            .max_by(|a, b| a.similarity.total_cmp(&b.similarity).then(b.of.cmp(&a.of)))
    }

    /// Reports a file that cannot be read. What was known of it is removed: it may say otherwise
    /// now, and an answer from the old text could be wrong.
    fn skip(
        &mut self,
        file: &SourceFile,
        reason: ingest::parse::ParseError,
    ) -> Result<(), BuildError> {
        self.forget(&file.path)?;
        self.report.skipped.push(Skipped { path: file.path.clone(), reason });
        Ok(())
    }

    /// Forgets documents whose file is gone, but for those of the lengths in `spared`.
    fn remove_vanished(
        &mut self,
        discovered: &Discovered,
        scope: &[PathBuf],
        spared: &HashSet<u64>,
    ) -> Result<(), BuildError> {
        let present: HashSet<&Path> = discovered.files.iter().map(|it| it.path.as_path()).collect();
        let gone = self.stored.iter().filter(|(path, it)| {
            in_scope(path, scope)
                && !present.contains(path.as_path())
                && !spared.contains(&it.source.size)
        });
        let gone: Vec<PathBuf> = gone.map(|(path, _)| path.clone()).collect();
        gone.iter().try_for_each(|path| self.forget(path))
    }

    fn forget(&mut self, path: &Path) -> Result<(), BuildError> {
        let Some(old) = self.stored.remove(path) else { return Ok(()) };
        self.index.catalog().delete(old.id)?;
        self.signatures.retain(|(it, _)| *it != old.id);
        self.report.removed += 1;
        Ok(())
    }

    /// The root and path under which a document is kept: the outermost root that holds it, so
    /// that a file read by way of two folders is one document.
    fn place_of(&self, file: &SourceFile) -> (String, String) {
        let outer = self.known_roots.iter().find(|it| file.root.starts_with(it));
        let root = outer.unwrap_or(&file.root);
        let below = file.path.strip_prefix(root).unwrap_or(&file.path);
        let parts: Vec<_> = below.iter().map(|it| it.to_string_lossy()).collect();
        (root.to_string_lossy().into_owned(), parts.join("/"))
    }

    /// Everything besides a file's bytes that its document depends on. Sizes of chunks are the
    /// index's affair: it refuses to open with others.
    fn made_by(&self, settings: &FileSettings) -> String {
        let collection = &self.options.collection;
        let settings = hex(&settings.fingerprint()[..8]);
        format!("v{READER_VERSION} {collection} {settings}")
    }
}

/// Whether a stored path lies in what was read this time.
fn in_scope(path: &Path, scope: &[PathBuf]) -> bool {
    scope.iter().any(|root| path.starts_with(root))
}

fn mtime_ns(path: &Path) -> io::Result<i64> {
    let modified = fs_err::metadata(path)?.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos());
    Ok(i64::try_from(since).unwrap_or(i64::MAX))
}

/// Seconds since 1970 (UTC).
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}
