//! Files that come by HTTP. They are kept in a folder of their own and ingested like any other:
//! `uploads/COLLECTION/GROUPS/NAME`, with a `souffleur.toml` that says collection and groups.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use axum::extract::Multipart;
use unicode_normalization::UnicodeNormalization as _;

use super::{access::Reader, error::ApiError, received::Received, state::App};
use crate::records::Scope;

/// Bytes of a file's name at most: what file systems take, less room for a temporary name.
const NAME_BYTES_MAX: usize = 200;

/// Bytes of a text field at most.
const FIELD_BYTES_MAX: usize = 4_096;

/// Files of one upload at most.
const FILES_MAX: usize = 200;

/// The folder of documents that all may read, among those of groups.
const OPEN: &str = "open";

/// Where uploaded files are kept.
pub(crate) fn root(data_dir: &Path) -> PathBuf {
    // As ingestion knows it: absolute, without links.
    let data_dir = fs_err::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    data_dir.join("uploads")
}

/// Where files are while they come: beside the folders of uploads, where no ingestion looks.
fn partial(data_dir: &Path) -> PathBuf {
    root(data_dir).with_file_name("uploads.partial")
}

/// Deletes what a server that was killed had received in part. Nothing else writes there.
pub(crate) fn tidy(data_dir: &Path) {
    let Ok(entries) = fs_err::read_dir(partial(data_dir)) else { return };
    for entry in entries.flatten() {
        if let Err(error) = fs_err::remove_file(entry.path()) {
            tracing::warn!(%error, "a file that was received in part could not be deleted");
        }
    }
}

/// An upload that was received.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    files: Vec<(String, Received)>,
    collection: Option<String>,
    groups: Option<Vec<String>>,
}

impl Upload {
    /// Receives all parts; files go to the disk as they come.
    pub(crate) async fn receive(app: &App, mut multipart: Multipart) -> Result<Self, ApiError> {
        let mut res = Self::default();
        let bytes_max = app.session.config.serve.upload_bytes_max.get();
        let failed = |error: axum::extract::multipart::MultipartError| match error.status() {
            axum::http::StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::too_large("the upload", bytes_max)
            }
            _ => ApiError::bad_request(error.body_text()),
        };
        while let Some(mut field) = multipart.next_field().await.map_err(failed)? {
            let name = field.name().unwrap_or_default().to_owned();
            if name == "file" || field.file_name().is_some() {
                let file_name = file_name(field.file_name().unwrap_or_default())?;
                if res.files.len() == FILES_MAX {
                    let why = format!("more than {FILES_MAX} files at once");
                    return Err(ApiError::bad_field("file", why));
                }
                let mut received = Received::create(partial(&app.session.config.data_dir)).await?;
                while let Some(piece) = field.chunk().await.map_err(failed)? {
                    received = received.write(&piece).await?;
                }
                res.files.push((file_name, received.end().await?));
                continue;
            }
            let mut text = Vec::new();
            while let Some(piece) = field.chunk().await.map_err(failed)? {
                text.extend_from_slice(&piece);
                if text.len() > FIELD_BYTES_MAX {
                    return Err(ApiError::too_large(
                        &format!("the field `{name}`"),
                        FIELD_BYTES_MAX,
                    ));
                }
            }
            let text = String::from_utf8(text)
                .map_err(|_| ApiError::bad_field(&name, "the field is not UTF-8"))?;
            match name.as_str() {
                "collection" if !text.trim().is_empty() => {
                    res.collection = Some(folder_name("collection", text.trim())?);
                }
                "groups" if !text.trim().is_empty() => {
                    let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
                    let groups = names.map(|it| folder_name("groups", it));
                    res.groups = Some(groups.collect::<Result<_, _>>()?);
                }
                _ => {}
            }
        }
        if res.files.is_empty() {
            let why = "there is no part `file` in the upload";
            return Err(ApiError::bad_field("file", why));
        }
        Ok(res)
    }

    pub(crate) fn n_files(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Puts the files where ingestion finds them. Returns their paths below the uploads.
    pub(crate) fn save(self, app: &App, reader: &Reader) -> Result<Vec<String>, ApiError> {
        let groups: BTreeSet<String> = match (self.groups, reader.groups()) {
            (Some(asked), Some(own)) => {
                if let Some(other) = asked.iter().find(|it| !own.contains(it)) {
                    return Err(ApiError::forbidden(format!(
                        "this key is not of the group `{other}`"
                    )));
                }
                asked.into_iter().collect()
            }
            (Some(asked), None) => asked.into_iter().collect(),
            // Whoever is of a group and names none means their own.
            (None, Some(own)) => own.into_iter().collect(),
            (None, None) => BTreeSet::new(),
        };
        debug_assert!(reader.may(Scope::Write));
        let collection = match self.collection {
            Some(it) => it,
            None => folder_name("collection", &app.session.config.ingest.collection)?,
        };
        let groups: Vec<String> = groups.into_iter().collect();
        let folder = match groups.is_empty() {
            true => OPEN.to_owned(),
            false => format!("groups-{}", groups.join("+")),
        };
        let root = root(&app.session.config.data_dir);
        let below = format!("{collection}/{folder}");
        let dir = root.join(&below);
        let io = |error: std::io::Error| ApiError::of_disk(&error);
        fs_err::create_dir_all(&dir).map_err(io)?;
        write_settings(&dir, &collection, &groups).map_err(io)?;
        let mut saved = Vec::with_capacity(self.files.len());
        for (name, received) in self.files {
            received.move_to(&dir.join(&name)).map_err(io)?;
            saved.push(format!("{below}/{name}"));
        }
        Ok(saved)
    }
}

/// What ingestion reads beside the files.
fn write_settings(dir: &Path, collection: &str, groups: &[String]) -> std::io::Result<()> {
    let mut settings = toml::Table::new();
    settings.insert("collection".to_owned(), collection.into());
    let groups: Vec<toml::Value> = groups.iter().map(|it| it.as_str().into()).collect();
    settings.insert("groups".to_owned(), groups.into());
    fs_err::write(dir.join("souffleur.toml"), settings.to_string())
}

/// The name of an uploaded file: the last part of what the client calls it.
fn file_name(raw: &str) -> Result<String, ApiError> {
    let last = raw.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.nfc().collect();
    let name = name.trim();
    let is_bad = name.is_empty()
        || name.starts_with('.')
        || name.len() > NAME_BYTES_MAX
        || name
            .chars()
            .any(|it| it.is_control() || matches!(it, '<' | '>' | ':' | '"' | '|' | '?' | '*'))
        || name.eq_ignore_ascii_case("souffleur.toml");
    if is_bad {
        let why = format!("`{}` cannot be the name of a file here", name.escape_debug());
        return Err(ApiError::bad_field("file", why));
    }
    Ok(name.to_owned())
}

/// A name that is a part of a path.
pub(crate) fn folder_name(field: &str, raw: &str) -> Result<String, ApiError> {
    let name: String = raw.nfc().collect();
    let is_good = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && name.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | '.' | ' '));
    match is_good {
        true => Ok(name),
        false => {
            let why = format!(
                "`{}` cannot be a name here: letters, digits, spaces, `-`, `_` and `.` can",
                name.escape_debug()
            );
            Err(ApiError::bad_field(field, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(file_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(file_name("C:\\Users\\a\\Charte.pdf").unwrap(), "Charte.pdf");
        assert_eq!(file_name("re\u{301}sume\u{301}.md").unwrap(), "résumé.md");
        for bad in ["", "..", ".hidden", "a/", "a\0b.md", "souffleur.toml", "Souffleur.TOML", "a:b"]
        {
            file_name(bad).unwrap_err();
        }
        assert_eq!(
            folder_name("collection", "Ressources humaines").unwrap(),
            "Ressources humaines"
        );
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", "x".repeat(65).as_str()] {
            folder_name("collection", bad).unwrap_err();
        }
    }
}
