//! Folders become source files: which files there are to read, and which are left aside and why.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};

use crate::document::MediaType;
use crate::metadata::{FolderSettings, SETTINGS_FILE, SettingsError};
use crate::parse::ParseError;

/// What to look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoverOptions {
    /// Patterns in the syntax of `.gitignore`, relative to each root; what they match is left out.
    pub exclude: Vec<String>,
    /// Whether files and folders whose name begins with a dot are read too.
    pub hidden: bool,
    /// Whether symbolic links are followed, out of the root too. A root that is a link itself
    /// always is: it was named.
    pub follow_links: bool,
}

/// A file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is: absolute, symbolic links of the root resolved.
    pub path: PathBuf,
    /// The root that it was found under: absolute; the folder of a root that is a file.
    pub root: PathBuf,
    /// Its place below the root, with `/` between names on every system.
    pub relative: String,
    /// Its format.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// When it last changed, in seconds since 1970 (UTC); `None` where the system does not tell.
    pub modified: Option<i64>,
}

/// A file that was left aside.
#[derive(Debug)]
pub struct Skipped {
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: ParseError,
}

/// What the roots hold.
#[derive(Debug, Default)]
pub struct Discovered {
    /// Files to read, sorted by path.
    pub files: Vec<SourceFile>,
    /// Files left aside, sorted by path. What an ignore file or an `exclude` pattern names is not
    /// listed.
    pub skipped: Vec<Skipped>,
    /// The `souffleur.toml` files beside them.
    pub settings: FolderSettings,
    /// Symbolic links that were not followed, sorted.
    pub links: Vec<PathBuf>,
    /// Files and folders that are there but could not be looked at, so that nobody knows what
    /// became of the documents in them. Sorted.
    pub unreached: Vec<PathBuf>,
    /// Roots that hold no file of a format that can be read.
    pub empty: Vec<EmptyRoot>,
}

/// A root without a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptyRoot {
    /// As given.
    pub given: PathBuf,
    /// Absolute, symbolic links resolved.
    pub root: PathBuf,
    /// Files that are there but are of other formats or cannot be reached.
    pub n_skipped: usize,
}

impl Discovered {
    /// Refuses roots without a document, but for those that held documents before: theirs were
    /// all taken away.
    ///
    /// # Errors
    ///
    /// [`DiscoverError::Empty`] for the first of the others.
    pub fn refuse_empty(
        &self,
        held_documents: impl Fn(&Path) -> bool,
    ) -> Result<(), DiscoverError> {
        match self.empty.iter().find(|it| !held_documents(&it.root)) {
            Some(it) => {
                Err(DiscoverError::Empty { path: it.given.clone(), n_skipped: it.n_skipped })
            }
            None => Ok(()),
        }
    }

    fn left_aside(&mut self, path: &Path, reason: ParseError) {
        if let ParseError::Read(error) = &reason
            && error.kind() != io::ErrorKind::NotFound
        {
            self.unreached.push(path.to_owned());
        }
        self.skipped.push(Skipped { path: path.to_owned(), reason });
    }
}

/// Why discovery stopped. Nothing has been changed by then.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// No root was given.
    #[error("no folder or file to read was given")]
    NoRoots,
    /// A root does not exist.
    #[error("no file or folder at `{}`", path.display())]
    Missing {
        /// The root as given.
        path: PathBuf,
    },
    /// A root cannot be listed.
    #[error("could not list `{}`", path.display())]
    Unreadable {
        /// The root as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A root holds no file of a format that can be read.
    #[error("no document in `{}` ({n_skipped} other files)", path.display())]
    Empty {
        /// The root as given.
        path: PathBuf,
        /// Files that are there but are of other formats or cannot be reached.
        n_skipped: usize,
    },
    /// An `exclude` pattern is not valid.
    #[error("exclude pattern `{pattern}`: {detail}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A `souffleur.toml` is not valid. It stops the run, since it may hold access rights.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Lists what there is to read under `roots` (folders, or single files), in a stable order.
///
/// `.gitignore`, `.ignore` and `.souffleurignore` files inside a root are honoured, those above it
/// are not: what is named is read. Hidden files are left out unless asked for. Symbolic links are
/// listed and not followed unless asked for; then loops are cut, a file reached twice is listed
/// once, and one that lies below its root has its own name, not the link's.
pub fn discover(roots: &[PathBuf], options: &DiscoverOptions) -> Result<Discovered, DiscoverError> {
    if roots.is_empty() {
        return Err(DiscoverError::NoRoots);
    }
    let mut res = Discovered::default();
    let mut seen = HashSet::new();
    for root in roots {
        walk(root, options, &mut seen, &mut res)?;
    }
    res.files.sort_by(|a, b| a.path.cmp(&b.path));
    let known: HashSet<&Path> = res.files.iter().map(|file| file.path.as_path()).collect();
    for path in res.settings.named_files() {
        // A misspelt name in a file that grants rights must be seen.
        if !known.contains(path.as_path()) && !path.exists() {
            let detail = format!("named in `{SETTINGS_FILE}`, but there is no such file");
            let reason = ParseError::Read(io::Error::new(io::ErrorKind::NotFound, detail));
            res.skipped.push(Skipped { path, reason });
        }
    }
    res.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    res.skipped.dedup_by(|a, b| a.path == b.path);
    for paths in [&mut res.links, &mut res.unreached] {
        paths.sort();
        paths.dedup();
    }
    Ok(res)
}

/// The format that a file's name tells, by its extension without regard to case.
#[must_use]
pub fn media_type(path: &Path) -> Option<MediaType> {
    Some(match extension(path).as_str() {
        "md" | "markdown" | "mdx" => MediaType::Markdown,
        "html" | "htm" | "xhtml" => MediaType::Html,
        "pdf" => MediaType::Pdf,
        "docx" => MediaType::Docx,
        "pptx" => MediaType::Pptx,
        "xlsx" | "xlsm" => MediaType::Xlsx,
        "csv" | "tsv" => MediaType::Csv,
        "txt" | "text" | "log" => MediaType::Text,
        "eml" => MediaType::Email,
        _ => return None,
    })
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Adds what is under one root to `res`.
fn walk(
    given: &Path,
    options: &DiscoverOptions,
    seen: &mut HashSet<PathBuf>,
    res: &mut Discovered,
) -> Result<(), DiscoverError> {
    let root = resolve(given)?;
    let folder = if root.is_dir() { root.clone() } else { parent(&root) };
    if !root.is_dir() {
        res.settings.load(&folder)?;
    }
    let (n_files, n_skipped) = (res.files.len(), res.skipped.len());
    let mut n_repeated = 0;
    for entry in walker(&root, options)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => match failed(error) {
                None => continue,
                Some((path, source)) if path.as_deref().is_none_or(|path| path == root) => {
                    return Err(DiscoverError::Unreadable { path: given.to_owned(), source });
                }
                Some((path, source)) => {
                    let path = own_place(&path.unwrap_or_default());
                    res.left_aside(&path, ParseError::Read(source));
                    continue;
                }
            },
        };
        if let Some(error) = entry.error() {
            tracing::warn!(%error, "an ignore file holds a pattern that was not understood");
        }
        if entry.path_is_symlink() && !options.follow_links && entry.depth() > 0 {
            res.links.push(entry.into_path());
            continue;
        }
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        if entry.file_name() == OsStr::new(SETTINGS_FILE) {
            res.settings.load(&parent(entry.path()))?;
            continue;
        }
        let identity = fs_err::canonicalize(entry.path()).unwrap_or_else(|_| entry.path().into());
        let path = if identity.starts_with(&folder) { &identity } else { entry.path() };
        if path != entry.path() {
            // Its own folders may restrict it, though the way here did not lead through them.
            for above in path.ancestors().skip(1).take_while(|it| it.starts_with(&folder)) {
                res.settings.load(above)?;
            }
        }
        if !seen.insert(identity.clone()) {
            n_repeated += 1;
            continue;
        }
        match source_file(path, &folder) {
            Ok(file) => res.files.push(file),
            Err(reason) => res.left_aside(path, reason),
        }
    }
    if res.files.len() == n_files && n_repeated == 0 {
        let n_skipped = res.skipped.len() - n_skipped;
        res.empty.push(EmptyRoot { given: given.to_owned(), root, n_skipped });
    }
    Ok(())
}

/// A path with the links of its folder resolved, so that what is reached in two ways is one.
fn own_place(path: &Path) -> PathBuf {
    match (fs_err::canonicalize(parent(path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn resolve(given: &Path) -> Result<PathBuf, DiscoverError> {
    let path = given.to_owned();
    match fs_err::canonicalize(given) {
        Ok(root) => Ok(root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DiscoverError::Missing { path })
        }
        Err(source) => Err(DiscoverError::Unreadable { path, source }),
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn walker(root: &Path, options: &DiscoverOptions) -> Result<ignore::Walk, DiscoverError> {
    Ok(WalkBuilder::new(root)
        .hidden(!options.hidden)
        // Rules above the root or of the user's account would make the same folder give different
        // documents on different machines.
        .parents(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .add_custom_ignore_filename(".souffleurignore")
        .overrides(excluded(root, &options.exclude)?)
        .follow_links(options.follow_links)
        .sort_by_file_path(Path::cmp)
        .build())
}

fn excluded(root: &Path, patterns: &[String]) -> Result<Override, DiscoverError> {
    let bad = |pattern: &str, detail: String| DiscoverError::BadPattern {
        pattern: pattern.to_owned(),
        detail,
    };
    let mut builder = OverrideBuilder::new(root);
    for pattern in patterns {
        if pattern.trim().is_empty() || pattern.starts_with('!') {
            return Err(bad(pattern, "it must say what to leave out, without `!`".to_owned()));
        }
        // An override without `!` would select; with it, it leaves out.
        builder.add(&format!("!{pattern}")).map_err(|error| bad(pattern, error.to_string()))?;
    }
    builder.build().map_err(|error| bad(&patterns.join(", "), error.to_string()))
}

/// The path and the cause of a failed step of the walk; `None` for a loop of links, which is cut.
fn failed(error: ignore::Error) -> Option<(Option<PathBuf>, io::Error)> {
    fn path_of(error: &ignore::Error) -> Option<PathBuf> {
        match error {
            ignore::Error::WithPath { path, .. } => Some(path.clone()),
            ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
                path_of(err)
            }
            ignore::Error::Partial(errors) => errors.iter().find_map(path_of),
            _ => None,
        }
    }
    fn is_loop(error: &ignore::Error) -> bool {
        match error {
            ignore::Error::Loop { .. } => true,
            ignore::Error::WithPath { err, .. }
            | ignore::Error::WithDepth { err, .. }
            | ignore::Error::WithLineNumber { err, .. } => is_loop(err),
            _ => false,
        }
    }
    if is_loop(&error) {
        return None;
    }
    let path = path_of(&error);
    let message = error.to_string();
    Some((path, error.into_io_error().unwrap_or_else(|| io::Error::other(message))))
}

fn source_file(path: &Path, root: &Path) -> Result<SourceFile, ParseError> {
    let Some(media_type) = media_type(path) else {
        return Err(ParseError::Unsupported { extension: extension(path) });
    };
    let facts = fs_err::metadata(path)?;
    let since = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let below = path.strip_prefix(root).unwrap_or(path);
    let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
    Ok(SourceFile {
        path: path.to_owned(),
        root: root.to_owned(),
        relative: names.join("/"),
        media_type,
        size: facts.len(),
        modified: since.and_then(|since| i64::try_from(since.as_secs()).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        dir
    }

    #[track_caller]
    fn check(dir: &tempfile::TempDir, exclude: &[&str], files: &[&str], skipped: &[&str]) {
        let exclude = exclude.iter().map(|&pattern| pattern.to_owned()).collect();
        let options = DiscoverOptions { exclude, ..DiscoverOptions::default() };
        let found = discover(&[dir.path().to_owned()], &options).unwrap();
        let relative: Vec<_> = found.files.iter().map(|file| file.relative.as_str()).collect();
        assert_eq!(relative, files);
        let root = dir.path().canonicalize().unwrap();
        let left: Vec<_> = found
            .skipped
            .iter()
            .map(|it| it.path.strip_prefix(&root).unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(left, skipped);
    }

    #[track_caller]
    fn check_error(roots: &[PathBuf], options: &DiscoverOptions, expected: &str) {
        let error = discover(roots, options).unwrap_err().to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn lists_documents_sorted_and_other_files_as_skipped() {
        let dir = folder(&[("b.md", "b"), ("a/é.PDF", "x"), ("logo.png", "x"), ("LISEZMOI", "x")]);
        check(&dir, &[], &["a/é.PDF", "b.md"], &["LISEZMOI", "logo.png"]);
    }

    #[test]
    fn honours_ignore_files_hidden_names_and_exclude_patterns() {
        let dir = folder(&[
            (".gitignore", "drafts/\n"),
            (".souffleurignore", "*.csv\n"),
            (".secret/a.md", "x"),
            ("drafts/a.md", "x"),
            ("a.csv", "x"),
            ("old/b.md", "x"),
            ("keep.md", "x"),
        ]);
        check(&dir, &["/old"], &["keep.md"], &[]);
    }

    #[test]
    fn ignore_rules_above_the_root_do_not_apply() {
        let dir = folder(&[(".gitignore", "*.md\n"), ("docs/a.md", "x")]);
        let found = discover(&[dir.path().join("docs")], &DiscoverOptions::default()).unwrap();
        assert_eq!(found.files.len(), 1);
    }

    #[test]
    fn a_single_file_is_a_root_with_the_settings_of_its_folder() {
        let dir = folder(&[("souffleur.toml", "groups = ['rh']"), ("a.md", "x"), ("b.md", "x")]);
        let found = discover(&[dir.path().join("a.md")], &DiscoverOptions::default()).unwrap();
        assert_eq!(found.files.len(), 1);
        assert_eq!(found.files[0].relative, "a.md");
        assert_eq!(found.settings.of(&found.files[0].path).metadata.groups, ["rh"]);
    }

    #[test]
    fn overlapping_roots_list_a_file_once() {
        let dir = folder(&[("docs/a.md", "x"), ("b.md", "x")]);
        let roots = [dir.path().to_owned(), dir.path().join("docs")];
        let found = discover(&roots, &DiscoverOptions::default()).unwrap();
        assert_eq!(found.files.len(), 2);
    }

    #[test]
    fn reports_a_file_that_the_settings_name_but_does_not_exist() {
        let dir =
            folder(&[("souffleur.toml", "[files.'acord.md']\ngroups = ['rh']"), ("a.md", "x")]);
        check(&dir, &[], &["a.md"], &["acord.md"]);
    }

    #[cfg(unix)]
    fn link(target: impl AsRef<Path>, at: PathBuf) {
        std::os::unix::fs::symlink(target, at).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_reported_once_and_not_followed() {
        let dir = folder(&[("docs/a.md", "x"), ("secret/b.md", "x")]);
        let root = dir.path().join("docs");
        link(dir.path().join("secret"), root.join("out"));
        link("..", root.join("loop"));
        link("a.md", root.join("latest.md"));
        link("nowhere.md", root.join("broken.md"));
        let found = discover(std::slice::from_ref(&root), &DiscoverOptions::default()).unwrap();
        assert_eq!(names(&found), ["a.md"]);
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        let links: Vec<_> = found.links.iter().map(|it| it.file_name().unwrap()).collect();
        assert_eq!(links, ["broken.md", "latest.md", "loop", "out"]);
    }

    #[cfg(unix)]
    fn names(found: &Discovered) -> Vec<&str> {
        found.files.iter().map(|file| file.relative.as_str()).collect()
    }

    /// A loop once gave a document the name of the way that led to it: `loop/b/ok.md`.
    #[cfg(unix)]
    #[test]
    fn followed_links_give_each_file_its_own_name_once() {
        let dir = folder(&[
            ("bad/b/ok.md", "x"),
            ("bad/b/rh/souffleur.toml", "groups = ['rh']"),
            ("bad/b/rh/paie.md", "x"),
            ("bad/c/other.md", "x"),
        ]);
        let root = dir.path().join("bad/b");
        link("..", root.join("a-loop"));
        link("rh/paie.md", root.join("a-paie.md"));
        link("nowhere.md", root.join("broken.md"));
        let options = DiscoverOptions { follow_links: true, ..DiscoverOptions::default() };
        let found = discover(std::slice::from_ref(&root), &options).unwrap();
        assert_eq!(names(&found), ["a-loop/c/other.md", "ok.md", "rh/paie.md"]);
        let paie = &found.files[2];
        assert_eq!(found.settings.of(&paie.path).metadata.groups, ["rh"]);
        assert!(found.links.is_empty());
        assert_eq!(found.skipped.len(), 1, "{:?}", found.skipped);
        assert!(found.unreached.is_empty(), "a dangling link leads to nothing");
    }

    /// Root may list every folder but one whose path is too long for the system.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_listed_is_named_as_unreached() {
        let dir = folder(&[("docs/ok.md", "x")]);
        let root = dir.path().join("docs").canonicalize().unwrap();
        let name = "d".repeat(250);
        // Each step is made by way of a short link to the one before.
        let mut at = root.clone();
        for step in 0..17 {
            fs_err::create_dir(at.join(&name)).unwrap();
            let short = dir.path().join(format!("s{step}"));
            link(
                Path::new(&if step == 0 { root.join(&name) } else { at.join(&name) }),
                short.clone(),
            );
            at = short;
        }
        fs_err::write(at.join("kept.md"), "x").unwrap();
        let found = discover(std::slice::from_ref(&root), &DiscoverOptions::default()).unwrap();
        assert_eq!(names(&found), ["ok.md"]);
        assert_eq!(found.unreached.len(), 1, "{:?}", found.skipped);
        assert!(found.unreached[0].starts_with(root.join(&name)));
        assert_eq!(found.skipped.len(), 1);
    }

    #[test]
    fn an_empty_root_is_refused_unless_it_held_documents_before() {
        let dir = folder(&[("docs/logo.png", "x")]);
        let root = dir.path().join("docs");
        let found = discover(std::slice::from_ref(&root), &DiscoverOptions::default()).unwrap();
        let error = found.refuse_empty(|_| false).unwrap_err().to_string();
        assert!(error.contains("no document in") && error.contains("(1 other files)"), "{error}");
        found.refuse_empty(|it| it == root.canonicalize().unwrap()).unwrap();
    }

    #[test]
    fn says_what_is_wrong_with_a_root() {
        let options = DiscoverOptions::default();
        check_error(&[], &options, "no folder or file to read was given");
        let dir = folder(&[("a.png", "x")]);
        check_error(&[dir.path().join("none")], &options, "no file or folder at");
        let exclude = vec!["a[".to_owned()];
        let bad = DiscoverOptions { exclude, ..DiscoverOptions::default() };
        check_error(&[dir.path().to_owned()], &bad, "exclude pattern `a[`");
    }
}
