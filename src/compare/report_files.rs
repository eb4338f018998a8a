//! The report of a comparison as files for people, beside the data that [`super::reports`]
//! keeps: `runs/compare/HASH/report-ID.LANGUAGE.html` and `.md`, in both languages.

use std::{
    io,
    path::{Path, PathBuf},
};

use index::atomic_file;
use ingest::document::Language;

use super::{
    report::{html::html, markdown::markdown, words::Words},
    reports::folder,
    result::Comparison,
};

/// What a report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page that stands alone.
    Html,
    /// Markdown.
    Markdown,
}

impl Form {
    /// What its files' names end with.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "md",
        }
    }
}

/// Writes the reports of the comparison that is kept under `id`, each whole or not at all.
///
/// # Errors
/// When the disk fails.
pub fn write(data_dir: &Path, id: &str, comparison: &Comparison) -> io::Result<()> {
    for language in [Language::English, Language::French] {
        let words = Words { language };
        for form in [Form::Html, Form::Markdown] {
            let text = match form {
                Form::Html => html(comparison, words),
                Form::Markdown => markdown(comparison, words),
            };
            let path = path(data_dir, id, form, language).ok_or(io::ErrorKind::InvalidInput)?;
            atomic_file::write(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// A report that was written; `None` for a comparison that an older program kept without.
///
/// # Errors
/// When the disk fails.
pub fn read(
    data_dir: &Path,
    id: &str,
    form: Form,
    language: Language,
) -> io::Result<Option<String>> {
    match path(data_dir, id, form, language) {
        Some(path) if path.is_file() => fs_err::read_to_string(path).map(Some),
        _ => Ok(None),
    }
}

/// `id` is `HASH-ID`, letters and digits of both; anything else has no file.
fn path(data_dir: &Path, id: &str, form: Form, language: Language) -> Option<PathBuf> {
    let (run, report) = id.split_once('-')?;
    let is_name = |it: &str| !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric());
    let name = format!("report-{report}.{}.{}", language.code(), form.extension());
    (is_name(run) && is_name(report)).then(|| folder(data_dir).join(run).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_comparisons_have_files() {
        let of = |id: &str| path(Path::new("data"), id, Form::Html, Language::French);
        let expected = Path::new("data/runs/compare/0a/report-1b.fr.html");
        assert_eq!(of("0a-1b").as_deref(), Some(expected));
        for odd in ["", "0a", "-1b", "0a-", "..-1b", "0a-1b/../../x", "0a-1b-2c"] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
