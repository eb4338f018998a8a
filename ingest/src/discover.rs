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
/// followed, loops are cut, and a file reached twice is listed once.
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
                    let path = path.unwrap_or_default();
                    res.skipped.push(Skipped { path, reason: ParseError::Read(source) });
                    continue;
                }
            },
        };
        if let Some(error) = entry.error() {
            tracing::warn!(%error, "an ignore file holds a pattern that was not understood");
        }
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        if entry.file_name() == OsStr::new(SETTINGS_FILE) {
            res.settings.load(&parent(entry.path()))?;
            continue;
        }
        let identity = fs_err::canonicalize(entry.path()).unwrap_or_else(|_| entry.path().into());
        if !seen.insert(identity) {
            n_repeated += 1;
            continue;
        }
        match source_file(entry.path(), &folder) {
            Ok(file) => res.files.push(file),
            Err(reason) => res.skipped.push(Skipped { path: entry.path().into(), reason }),
        }
    }
    if res.files.len() == n_files && n_repeated == 0 {
        let n_skipped = res.skipped.len() - n_skipped;
        return Err(DiscoverError::Empty { path: given.to_owned(), n_skipped });
    }
    Ok(())
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
        .follow_links(true)
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
        let options = DiscoverOptions { exclude, hidden: false };
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
    #[test]
    fn follows_links_and_cuts_loops() {
        let dir = folder(&[("docs/a.md", "x")]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("docs/up")).unwrap();
        std::os::unix::fs::symlink("nowhere.md", dir.path().join("broken.md")).unwrap();
        check(&dir, &[], &["docs/a.md"], &["broken.md"]);
    }

    #[test]
    fn says_what_is_wrong_with_a_root() {
        let options = DiscoverOptions::default();
        check_error(&[], &options, "no folder or file to read was given");
        let dir = folder(&[("a.png", "x")]);
        check_error(&[dir.path().join("none")], &options, "no file or folder at");
        check_error(&[dir.path().to_owned()], &options, "(1 other files)");
        let bad = DiscoverOptions { exclude: vec!["a[".to_owned()], hidden: false };
        check_error(&[dir.path().to_owned()], &bad, "exclude pattern `a[`");
    }
}
