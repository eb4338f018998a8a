//! A settings file, and the check that all its keys are known.

use std::path::{Path, PathBuf};

use figment::{
    Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map},
};

use super::{ConfigError, DEFAULTS};

/// Keys of a settings file that describe documents beside it; ingestion reads those.
const DOCUMENT_KEYS: [&str; 7] =
    ["collection", "licence", "groups", "language", "password", "passwords", "files"];

/// A settings file, so that errors name it.
pub(super) struct SettingsFile {
    path: PathBuf,
    settings: toml::Table,
}

impl SettingsFile {
    /// The settings of a file, without what it says of the documents beside it; none when it is
    /// not there.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let path = path.to_owned();
        if !path.exists() {
            return Ok(Self { path, settings: toml::Table::new() });
        }
        let text = fs_err::read_to_string(&path)?;
        let mut settings: toml::Table = text.parse().map_err(|source| ConfigError::Syntax {
            path: path.clone(),
            source: Box::new(source),
        })?;
        settings.retain(|key, _| !DOCUMENT_KEYS.contains(&key));
        match unknown_key(&settings, &known_settings(), "") {
            Some((key, known)) => {
                Err(ConfigError::Unknown { key, place: format!("`{}`", path.display()), known })
            }
            None => Ok(Self { path, settings }),
        }
    }
}

impl Provider for SettingsFile {
    fn metadata(&self) -> Metadata {
        Metadata::from("settings file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Toml::string(&self.settings.to_string()).data()
    }
}

/// Every setting, by section.
pub(super) fn known_settings() -> toml::Table {
    DEFAULTS.parse().expect("the defaults that are compiled in are TOML")
}

/// The first key that is no setting, with the settings of its section.
pub(super) fn unknown_key(
    given: &toml::Table,
    known: &toml::Table,
    section: &str,
) -> Option<(String, Vec<String>)> {
    given.iter().find_map(|(key, value)| {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match (known.get(key), value) {
            (None, _) => Some((path, known.keys().cloned().collect())),
            (Some(toml::Value::Table(known)), toml::Value::Table(given)) => {
                unknown_key(given, known, &path)
            }
            (Some(_), _) => None,
        }
    })
}
