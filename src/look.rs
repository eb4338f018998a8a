//! What there is to do about one file: nothing, to note a new time or place, or to read it.
//!
//! Looking writes nothing and files do not depend on each other, so that files are looked at on
//! several threads while others are embedded.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use index::catalog::{Labels, Source, StoredDocument};
use ingest::{
    chunk::{Chunk, chunk},
    discover::{Discovered, SourceFile},
    document::Document,
    duplicates::Signature,
    metadata::FileSettings,
    parse::ParseError,
    read::{Loaded, load, read},
};
use model::embed::Embedder;

use crate::build_index::BuildOptions;

/// Changes whenever parsing, cleaning or cutting does: stored documents are then read again.
const READER_VERSION: u32 = 2;

/// What a look at a file found.
pub(crate) enum Look {
    /// It is as it was.
    Unchanged,
    /// It has the bytes that it had, and another time or another root.
    Touched(Source),
    /// It is new and has the bytes of a document whose file is gone. All such documents are
    /// named, so that each goes to one file only.
    Moved(Source, Vec<PathBuf>),
    /// It is new or changed.
    Read(Box<ReadFile>),
    /// It cannot be read.
    Skipped(ParseError),
}

/// A file that has been read and cut, to be embedded with others.
pub(crate) struct ReadFile {
    pub(crate) source: Source,
    pub(crate) labels: Labels,
    pub(crate) made_by: String,
    pub(crate) document: Document,
    pub(crate) signature: Option<Signature>,
    pub(crate) chunks: Vec<Chunk>,
}

/// What files are compared with, as it was when the run began.
pub(crate) struct Looker<'a> {
    embedder: &'a Embedder,
    options: &'a BuildOptions,
    discovered: &'a Discovered,
    /// Documents of the catalog by absolute path.
    stored: HashMap<PathBuf, StoredDocument>,
    /// Roots of the catalog, to keep a document under the outermost one.
    known_roots: Vec<PathBuf>,
    /// Documents in the folders read whose file is gone, sorted.
    gone: Vec<PathBuf>,
    /// How many documents are kept because they, or a folder above them, could not be looked at.
    kept: BTreeMap<PathBuf, usize>,
    /// The gone ones by content hash: a new file with that hash is a move.
    gone_by_hash: HashMap<String, Vec<PathBuf>>,
}

impl<'a> Looker<'a> {
    /// `scope` is the folders read, absolute.
    pub(crate) fn new(
        documents: Vec<StoredDocument>,
        discovered: &'a Discovered,
        scope: &[PathBuf],
        embedder: &'a Embedder,
        options: &'a BuildOptions,
    ) -> Self {
        let mut known_roots: Vec<PathBuf> =
            documents.iter().map(|it| PathBuf::from(&it.source.root)).collect();
        known_roots.sort();
        known_roots.dedup();
        let stored: HashMap<PathBuf, StoredDocument> = documents
            .into_iter()
            .map(|it| (Path::new(&it.source.root).join(&it.source.path), it))
            .collect();
        let Missing { gone, kept } =
            missing(stored.keys().map(PathBuf::as_path), discovered, scope);
        let mut gone_by_hash: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for path in &gone {
            let hash = stored[path].source.content_hash.clone();
            gone_by_hash.entry(hash).or_default().push(path.clone());
        }
        Self { embedder, options, discovered, stored, known_roots, gone, kept, gone_by_hash }
    }

    /// The document that the catalog holds of a file.
    pub(crate) fn stored(&self, path: &Path) -> Option<&StoredDocument> {
        self.stored.get(path)
    }

    /// Documents in the folders read whose file is gone, sorted by path.
    pub(crate) fn gone(&self) -> &[PathBuf] {
        &self.gone
    }

    /// Files and folders that could not be looked at, with how many documents are kept for that.
    pub(crate) fn kept(&self) -> &BTreeMap<PathBuf, usize> {
        &self.kept
    }

    /// As [`Self::gone`], without those that a new file may turn out to be, moved: it has the same
    /// length.
    pub(crate) fn surely_gone(&self) -> Vec<&Path> {
        let files = self.discovered.files.iter();
        let new: HashSet<u64> =
            files.filter(|it| self.stored(&it.path).is_none()).map(|it| it.size).collect();
        let gone = self.gone.iter().filter(|path| !new.contains(&self.stored[*path].source.size));
        gone.map(PathBuf::as_path).collect()
    }

    /// Looks at one file.
    pub(crate) fn look(&self, file: &SourceFile) -> Look {
        self.try_look(file).unwrap_or_else(Look::Skipped)
    }

    /// Reads a file whatever the catalog holds.
    pub(crate) fn read(&self, file: &SourceFile) -> Result<Box<ReadFile>, ParseError> {
        let settings = self.discovered.settings.of(&file.path);
        let loaded = load(file, &self.options.limits)?;
        let source = self.source(file, mtime_ns(&file.path)?, &loaded);
        self.read_loaded(file, &settings, loaded, source)
    }

    fn try_look(&self, file: &SourceFile) -> Result<Look, ParseError> {
        let settings = self.discovered.settings.of(&file.path);
        // Asked for before the file is read: what is written meanwhile is seen the next time.
        let mtime_ns = mtime_ns(&file.path)?;
        let made_by = self.made_by(&settings);
        let stored = self.stored.get(&file.path);
        let unless_made_anew = stored.filter(|it| it.made_by == made_by);
        if let Some(it) = unless_made_anew
            && it.source.size == file.size
            && it.source.mtime_ns == mtime_ns
            && it.source.root == self.place_of(file).0
        {
            return Ok(Look::Unchanged);
        }
        let loaded = load(file, &self.options.limits)?;
        let source = self.source(file, mtime_ns, &loaded);
        if unless_made_anew.is_some_and(|it| it.source.content_hash == source.content_hash) {
            return Ok(Look::Touched(source));
        }
        if stored.is_none() {
            let alike = self.gone_by_hash.get(&source.content_hash).map_or(&[][..], Vec::as_slice);
            let alike = alike.iter().filter(|path| self.stored[*path].made_by == made_by);
            let alike: Vec<PathBuf> = alike.cloned().collect();
            if !alike.is_empty() {
                return Ok(Look::Moved(source, alike));
            }
        }
        Ok(Look::Read(self.read_loaded(file, &settings, loaded, source)?))
    }

    fn read_loaded(
        &self,
        file: &SourceFile,
        settings: &FileSettings,
        loaded: Loaded,
        source: Source,
    ) -> Result<Box<ReadFile>, ParseError> {
        let document = read(file, loaded, settings, &self.options.limits)?;
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
        let made_by = self.made_by(settings);
        Ok(Box::new(ReadFile { source, labels, made_by, document, signature, chunks }))
    }

    fn source(&self, file: &SourceFile, mtime_ns: i64, loaded: &Loaded) -> Source {
        let (root, path) = self.place_of(file);
        Source { root, path, content_hash: hex(&loaded.content_hash), size: file.size, mtime_ns }
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

/// Documents that were not found again.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    /// Those that are gone, sorted.
    gone: Vec<PathBuf>,
    /// Those of which nobody can tell, by what could not be looked at.
    kept: BTreeMap<PathBuf, usize>,
}

/// Sorts out which documents below `scope` have no file any more.
fn missing<'a>(
    stored: impl Iterator<Item = &'a Path>,
    discovered: &Discovered,
    scope: &[PathBuf],
) -> Missing {
    let present: HashSet<&Path> = discovered.files.iter().map(|it| it.path.as_path()).collect();
    let mut res = Missing { gone: Vec::new(), kept: BTreeMap::new() };
    for path in stored {
        if present.contains(path) || !scope.iter().any(|root| path.starts_with(root)) {
            continue;
        }
        match discovered.unreached.iter().find(|it| path.starts_with(it)) {
            Some(unreached) => *res.kept.entry(unreached.clone()).or_default() += 1,
            None => res.gone.push(path.to_owned()),
        }
    }
    res.gone.sort();
    res
}

fn mtime_ns(path: &Path) -> Result<i64, ParseError> {
    let modified = fs_err::metadata(path)?.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_nanos());
    Ok(i64::try_from(since).unwrap_or(i64::MAX))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that was closed for a moment once lost all of its documents.
    #[test]
    fn documents_below_a_folder_that_could_not_be_listed_are_kept() {
        let stored =
            ["/d/a.md", "/d/closed/b.md", "/d/closed/x/c.md", "/d/closed-too.md", "/e/f.md"];
        let discovered =
            Discovered { unreached: vec![PathBuf::from("/d/closed")], ..Discovered::default() };
        let found = missing(stored.iter().map(Path::new), &discovered, &[PathBuf::from("/d")]);
        assert_eq!(found.gone, [Path::new("/d/a.md"), Path::new("/d/closed-too.md")]);
        assert_eq!(found.kept, BTreeMap::from([(PathBuf::from("/d/closed"), 2)]));
    }
}
