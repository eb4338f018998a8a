//! Adapters of the data folder, by name.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Session, WrongUsage};

/// Whether an adapter can be called so: its name is a folder's, and a part of a model's id.
#[must_use]
pub fn is_adapter_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | '.'))
}

impl Session {
    /// Where adapters are, one folder each.
    #[must_use]
    pub fn adapters_dir(&self) -> PathBuf {
        self.config.data_dir.join("adapters")
    }

    /// The adapters of the data folder by name, in the order of their names. What is no adapter, such
    /// as the folder of a run that goes on, is passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn adapters(&self) -> Result<Vec<(String, PathBuf)>> {
        let dir = self.adapters_dir();
        let mut res = Vec::new();
        if dir.is_dir() {
            for entry in fs_err::read_dir(&dir)? {
                let path = entry?.path();
                if path.join("adapter_config.json").is_file() {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    res.push((name.into_owned(), path));
                }
            }
        }
        res.sort();
        Ok(res)
    }

    /// Where an adapter is that is named by its path, or by its name in the data folder.
    ///
    /// # Errors
    /// When there is neither; the message lists those of the data folder.
    pub fn adapter_path(&self, name: &str) -> Result<PathBuf> {
        let path = Path::new(name);
        if path.exists() {
            return Ok(path.to_owned());
        }
        let known = self.adapters()?;
        if let Some((_, path)) = known.iter().find(|(it, _)| it == name) {
            return Ok(path.clone());
        }
        let known = match known.as_slice() {
            [] => "none".to_owned(),
            all => all.iter().map(|(it, _)| it.as_str()).collect::<Vec<_>>().join(", "),
        };
        let dir = self.adapters_dir();
        let what = format!("no adapter `{name}`: {} has {known}", dir.display());
        Err(WrongUsage(what.into()).into())
    }
}
