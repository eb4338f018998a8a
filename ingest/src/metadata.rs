//! What an administrator says about documents: `souffleur.toml` files beside them.
//!
//! ```toml
//! collection = "rh"
//! licence = "internal"
//! groups = ["rh", "direction"]
//! language = "fr"
//! passwords = ["the one that opens our PDFs"]   # or: password = "the one"
//!
//! [files."accord-2024.pdf"]
//! title = "Accord d'entreprise 2024"
//! groups = ["direction"]
//! ```
//!
//! A file applies to its folder and everything below; the nearest file that states a key wins, and
//! an entry for the file itself wins over that. `groups = []` opens to everyone what a folder above
//! had restricted. A path in `files` is relative to the folder. Files above the root that is read
//! do not apply.
//!
//! A document may state things of itself too (front matter, document properties). For its title,
//! language and licence the document wins: its author knows best. For collection and groups the
//! administrator wins, and a document can only narrow: where both name groups, those in both may
//! read it; where they share none the file is refused, because an empty list would mean everyone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use crate::document::{Language, Metadata};
use crate::parse::ParseError;

/// The name of the files that hold settings for their folder.
pub const SETTINGS_FILE: &str = "souffleur.toml";

/// What `souffleur.toml` files say about one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// The nearest statements.
    pub metadata: Metadata,
    /// Passwords to try on an encrypted file, nearest first.
    pub passwords: Vec<String>,
}

impl FileSettings {
    /// Changes when the metadata does. A file whose bytes are unchanged must be recorded again
    /// when its rights or its title changed.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let Metadata { title, language, collection, licence, groups, modified } = &self.metadata;
        let mut hasher = blake3::Hasher::new();
        let mut field = |tag: u8, value: &str| {
            hasher.update(&[tag]);
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value.as_bytes());
        };
        let modified = modified.map(|at| at.to_string());
        let optional = [
            title.as_deref(),
            language.map(Language::code),
            collection.as_deref(),
            licence.as_deref(),
            modified.as_deref(),
        ];
        for (tag, value) in (0..).zip(optional) {
            value.inspect(|value| field(tag, value));
        }
        groups.iter().for_each(|group| field(u8::MAX, group));
        hasher.finalize().into()
    }
}

/// All `souffleur.toml` files of the folders read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderSettings {
    by_folder: BTreeMap<PathBuf, Stated>,
}

/// Why a `souffleur.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not valid TOML, or holds a key or a value that is not known.
    #[error("`{}`: {detail}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line and the key.
        detail: String,
    },
}

impl FolderSettings {
    /// Reads the `souffleur.toml` of a folder, if there is one and it has not been read before.
    pub(crate) fn load(&mut self, folder: &Path) -> Result<(), SettingsError> {
        let path = folder.join(SETTINGS_FILE);
        if self.by_folder.contains_key(folder) || !path.is_file() {
            return Ok(());
        }
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(SettingsError::Read { path, source }),
        };
        let invalid = |detail: String| SettingsError::Invalid { path: path.clone(), detail };
        let mut file: Stated =
            toml::from_str(&text).map_err(|error| invalid(error.to_string().trim().to_owned()))?;
        file.check().map_err(invalid)?;
        if file.title.is_some() {
            return Err(invalid(
                "`title` is for one file: put it under `[files.\"…\"]`".to_owned(),
            ));
        }
        // A name may be stored decomposed (macOS) and written composed, or the reverse.
        file.files = file.files.into_iter().map(|(name, it)| (name.nfc().collect(), it)).collect();
        self.by_folder.insert(folder.to_owned(), file);
        Ok(())
    }

    /// What applies to the file at `path`, which is absolute as in
    /// [`SourceFile::path`](crate::discover::SourceFile::path).
    #[must_use]
    pub fn of(&self, path: &Path) -> FileSettings {
        // From the nearest to the farthest: what is stated first stays.
        let mut nearest = Stated::default();
        for folder in path.ancestors().skip(1) {
            let Some(file) = self.by_folder.get(folder) else { continue };
            if let Some(entry) = file.entry(folder, path) {
                nearest.fill(entry);
            }
            nearest.fill(file);
        }
        let metadata = Metadata {
            title: nearest.title,
            language: nearest.language.as_deref().and_then(Language::from_code),
            collection: nearest.collection,
            licence: nearest.licence,
            groups: nearest.groups.unwrap_or_default(),
            modified: None,
        };
        FileSettings { metadata, passwords: nearest.passwords }
    }

    /// Paths of the files that have an entry of their own.
    pub(crate) fn named_files(&self) -> Vec<PathBuf> {
        let entries = self
            .by_folder
            .iter()
            .flat_map(|(folder, file)| file.files.keys().map(move |name| folder.join(name)));
        entries.collect()
    }
}

/// Joins what the administrator and the document say, by the rules at the top of this file.
///
/// # Errors
///
/// [`ParseError::NoCommonGroup`], when both restrict access and share no group.
pub fn merge(administrator: &Metadata, own: &Metadata) -> Result<Metadata, ParseError> {
    Ok(Metadata {
        title: own.title.clone().or_else(|| administrator.title.clone()),
        language: own.language.or(administrator.language),
        collection: administrator.collection.clone().or_else(|| own.collection.clone()),
        licence: own.licence.clone().or_else(|| administrator.licence.clone()),
        groups: common_groups(&administrator.groups, &own.groups)?,
        modified: own.modified.or(administrator.modified),
    })
}

fn common_groups(allowed: &[String], own: &[String]) -> Result<Vec<String>, ParseError> {
    if allowed.is_empty() || own.is_empty() {
        return Ok(if own.is_empty() { allowed } else { own }.to_vec());
    }
    let common: Vec<_> = allowed.iter().filter(|group| own.contains(group)).cloned().collect();
    if common.is_empty() {
        return Err(ParseError::NoCommonGroup { own: own.to_vec(), allowed: allowed.to_vec() });
    }
    Ok(common)
}

/// The keys of a `souffleur.toml`, and of each entry of its `files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Stated {
    /// For one file only.
    title: Option<String>,
    collection: Option<String>,
    licence: Option<String>,
    language: Option<String>,
    groups: Option<Vec<String>>,
    #[serde(alias = "password", deserialize_with = "one_or_more")]
    passwords: Vec<String>,
    /// For a folder only: what is stated of single files, by path relative to the folder.
    files: BTreeMap<String, Stated>,
}

/// Reads one text or a list of texts: people write `password = "…"`.
fn one_or_more<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    })
}

impl Stated {
    /// The entry for one file below `folder`.
    fn entry(&self, folder: &Path, path: &Path) -> Option<&Stated> {
        let below = path.strip_prefix(folder).ok()?;
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        self.files.get(&names.join("/").nfc().collect::<String>())
    }

    /// Takes what has not been stated nearer.
    fn fill(&mut self, farther: &Stated) {
        fn fill<T: Clone>(nearer: &mut Option<T>, farther: &Option<T>) {
            if nearer.is_none() {
                nearer.clone_from(farther);
            }
        }
        fill(&mut self.title, &farther.title);
        fill(&mut self.collection, &farther.collection);
        fill(&mut self.licence, &farther.licence);
        fill(&mut self.language, &farther.language);
        fill(&mut self.groups, &farther.groups);
        self.passwords.extend_from_slice(&farther.passwords);
    }

    /// Says what is wrong with a value, if anything.
    fn check(&self) -> Result<(), String> {
        if let Some(language) = &self.language
            && Language::from_code(language).is_none()
        {
            return Err(format!("language `{language}` is neither `fr` nor `en`"));
        }
        let blank = |value: &String| value.trim().is_empty();
        if self.groups.iter().flatten().any(blank) || self.collection.as_ref().is_some_and(blank) {
            return Err("the name of a group or a collection is blank".to_owned());
        }
        for (name, entry) in &self.files {
            if !entry.files.is_empty() {
                return Err(format!("files.\"{name}\": an entry cannot hold `files`"));
            }
            entry.check().map_err(|detail| format!("files.\"{name}\": {detail}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `files` are `souffleur.toml` texts by folder; checks what applies to `path`.
    #[track_caller]
    fn settings(files: &[(&str, &str)], path: &str) -> Result<FileSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = FolderSettings::default();
        for (folder, text) in files {
            let folder = dir.path().join(folder);
            fs_err::create_dir_all(&folder).unwrap();
            fs_err::write(folder.join(SETTINGS_FILE), text).unwrap();
            settings.load(&folder).map_err(|error| error.to_string())?;
        }
        Ok(settings.of(&dir.path().join(path)))
    }

    #[track_caller]
    fn check_groups(files: &[(&str, &str)], path: &str, groups: &[&str]) {
        assert_eq!(settings(files, path).unwrap().metadata.groups, groups);
    }

    #[track_caller]
    fn check_invalid(text: &str, expected: &str) {
        let error = settings(&[("", text)], "a.md").unwrap_err();
        assert!(error.contains(SETTINGS_FILE), "{error}");
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    }

    #[test]
    fn the_nearest_statement_wins_and_the_file_wins_over_its_folder() {
        let files = [
            ("", "groups = ['a']\ncollection = 'all'\n[files.'x/y/f.pdf']\ngroups = ['f']"),
            ("x", "groups = ['b']"),
            ("x/y", "licence = 'internal'"),
        ];
        check_groups(&files, "f.pdf", &["a"]);
        check_groups(&files, "x/f.pdf", &["b"]);
        check_groups(&files, "x/y/g.pdf", &["b"]);
        // A farther entry for the file is still farther than a nearer folder.
        check_groups(&files, "x/y/f.pdf", &["b"]);
        let all = settings(&files, "x/y/g.pdf").unwrap().metadata;
        assert_eq!(all.collection.as_deref(), Some("all"));
        assert_eq!(all.licence.as_deref(), Some("internal"));
    }

    #[test]
    fn an_empty_list_of_groups_opens_again() {
        check_groups(&[("", "groups = ['a']"), ("x", "groups = []")], "x/f.md", &[]);
    }

    #[test]
    fn a_decomposed_file_name_is_the_composed_one() {
        let files = [("", "[files.\"re\u{301}gles.md\"]\ngroups = ['a']")];
        check_groups(&files, "r\u{e9}gles.md", &["a"]);
        check_groups(&files, "re\u{301}gles.md", &["a"]);
    }

    #[test]
    fn passwords_are_tried_from_the_nearest() {
        let files = [
            ("", "passwords = ['far']"),
            ("x", "passwords = ['near']\n[files.'f.pdf']\npasswords = ['own']"),
        ];
        assert_eq!(settings(&files, "x/f.pdf").unwrap().passwords, ["own", "near", "far"]);
    }

    #[test]
    fn a_single_password_may_be_written_as_one() {
        let files = [("", "password = 'un'\n[files.'f.pdf']\npassword = 'deux'")];
        assert_eq!(settings(&files, "f.pdf").unwrap().passwords, ["deux", "un"]);
        check_invalid("password = 7", "a text or a list of texts");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        check_invalid("group = ['a']", "unknown field `group`");
        check_invalid("[files.'a.md']\nauthor = 'x'", "unknown field `author`");
        check_invalid("language = 'de'", "language `de` is neither");
        check_invalid("groups = ['']", "blank");
        check_invalid("groups = 'rh'", "groups");
        check_invalid("title = 'x'", "`title` is for one file");
        check_invalid("[files.'a.md'.files.'b.md']\ntitle = 'x'", "cannot hold `files`");
    }

    #[track_caller]
    fn check_merge(administrator: &[&str], own: &[&str], expected: Option<&[&str]>) {
        let with = |groups: &[&str]| Metadata {
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..Metadata::default()
        };
        let res = merge(&with(administrator), &with(own)).ok().map(|it| it.groups);
        assert_eq!(res.as_deref(), expected.map(|it| with(it).groups).as_deref());
    }

    #[test]
    fn a_document_narrows_access_and_never_widens_it() {
        check_merge(&[], &[], Some(&[]));
        check_merge(&["a"], &[], Some(&["a"]));
        check_merge(&[], &["b"], Some(&["b"]));
        check_merge(&["a", "b"], &["b", "c"], Some(&["b"]));
        check_merge(&["a"], &["b"], None);
    }

    #[test]
    fn the_fingerprint_follows_the_metadata_only() {
        let base = settings(&[("", "groups = ['a', 'b']")], "f.md").unwrap();
        let other = settings(&[("", "groups = ['ab']")], "f.md").unwrap();
        let same = settings(&[("", "groups = ['a', 'b']\npasswords = ['p']")], "f.md").unwrap();
        assert_ne!(base.fingerprint(), other.fingerprint());
        assert_eq!(base.fingerprint(), same.fingerprint());
    }
}
