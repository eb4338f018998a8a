//! Settings: read once, checked, passed on as values. The only reader of the environment.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use index::StoreKind;
use ingest::parse::Limits;
use model::{device::DeviceName, embed::Precision};
use serde::{Deserialize, Serialize};
use tune::train::settings::Settings;

use crate::{
    best_of::DRAFTS_MAX,
    cluster::QdrantConfig,
    dataset::settings::DatasetConfig,
    serve::settings::ServeConfig,
    upstream::settings::{Secret, UpstreamConfig},
};

mod file;
mod overrides;

use self::file::{SettingsFile, known_settings, unknown_key};
pub use self::overrides::{
    GenerationOverrides, Overrides, PromptsOverrides, RetrievalOverrides, ServeOverrides,
};

/// Every setting with its explanation and default.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// The settings file that is read when none is named.
pub const FILE_NAME: &str = "souffleur.toml";

/// Environment variables with our prefix that are not settings.
const NOT_SETTINGS: [&str; 4] = ["test_models", "docling_dir", "shared_dir", "log"];

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the catalog and the indexes live.
    pub data_dir: PathBuf,
    /// Where models live.
    pub models_dir: PathBuf,
    /// Forbids every network connection.
    pub offline: bool,
    /// Where the indexes are kept.
    pub store: StoreKind,
    /// The cluster that holds them, where it is one.
    pub qdrant: QdrantConfig,
    /// Which models.
    pub models: ModelsConfig,
    /// How files are read.
    pub ingest: IngestConfig,
    /// How passages are found.
    pub retrieval: RetrievalConfig,
    /// How answers are written.
    pub generation: GenerationConfig,
    /// How the model is asked.
    pub prompts: PromptsConfig,
    /// How training data is made.
    pub dataset: DatasetConfig,
    /// The HTTP server.
    pub serve: ServeConfig,
    /// How adapters are trained.
    pub tune: Settings,
    /// Servers that write answers and embed.
    pub upstream: UpstreamConfig,
}

/// Which models.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// Id or folder of the embedder, or `openai`.
    pub embedder: String,
    /// What the embedder computes in.
    pub embedder_precision: Precision,
    /// Id, file or folder of the generator, or `openai`, or `extract`.
    pub generator: String,
    /// What a generator of this machine computes on, when it writes and when it is trained.
    pub generator_device: DeviceName,
    /// The model hub, or a mirror of it.
    pub hub_endpoint: String,
    /// The Python whose pip fetches wheels.
    pub python: String,
}

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// The collection of documents that name none.
    pub collection: String,
    /// Bytes of one file at most.
    pub file_bytes_max: u64,
    /// Pages of one file at most.
    pub pages_max: u32,
    /// Bytes of one file after decompression at most.
    pub decompressed_bytes_max: u64,
    /// Bytes of one file's text at most.
    pub text_bytes_max: usize,
    /// Seconds that parsing one file may take.
    pub seconds_max: u64,
    /// Whether symbolic links are followed.
    pub follow_links: bool,
    /// Tokens of a chunk at most; 0 for the embedder's own limit.
    pub chunk_tokens_max: usize,
    /// Tokens that neighbouring chunks share.
    pub chunk_overlap: usize,
}

impl IngestConfig {
    /// The limits on one file.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            bytes_max: self.file_bytes_max,
            pages_max: self.pages_max,
            decompressed_bytes_max: self.decompressed_bytes_max,
            text_bytes_max: self.text_bytes_max,
            seconds_max: self.seconds_max,
        }
    }
}

/// How passages are found.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalConfig {
    /// Candidates that each leg brings to the fusion.
    pub candidates_max: NonZeroUsize,
    /// Passages shown to the model at most.
    pub passages_max: NonZeroUsize,
    /// Id or folder of the reranker; empty for none.
    pub reranker: String,
    /// What the reranker computes in.
    pub reranker_precision: Precision,
    /// Candidates that the reranker reads at most.
    pub rerank_max: NonZeroUsize,
    /// Relevance under which a passage does not bear on the question, from 0 to 1.
    pub relevance_min: f32,
}

/// How answers are written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationConfig {
    /// 0 for the likeliest token each time.
    pub temperature: f32,
    /// Share of probability that sampling draws from.
    pub top_p: f32,
    /// Above 1: tokens already written become less likely.
    pub repetition_penalty: f32,
    /// Seed of sampling.
    pub seed: u64,
    /// Tokens of an answer at most.
    pub answer_tokens_max: NonZeroUsize,
    /// Tokens of prompt and answer together at most.
    pub context_tokens_max: NonZeroUsize,
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
    /// Drafts of an answer, of which the best is taken.
    pub best_of: NonZeroUsize,
    /// The reward that says which is best; empty for the citation check.
    pub reward: String,
}

impl GenerationConfig {
    /// The number of threads to compute with.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        match self.threads {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            n => n,
        }
    }
}

/// How the model is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromptsConfig {
    /// A folder whose files replace built-in prompts; empty for none.
    pub dir: PathBuf,
    /// Whether reasoning comes first.
    pub style: Style,
    /// Few-shot examples at most.
    pub examples_max: usize,
    /// Tokens of all few-shot examples at most.
    pub examples_tokens_max: usize,
}

/// Whether the model reasons before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The answer at once.
    Plain,
    /// Chain of thought: reasoning steps first, shown apart.
    Cot,
}

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was named is not there.
    #[error("no settings file at `{}`", path.display())]
    Missing {
        /// The path given.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
    /// The file is not TOML.
    #[error("`{}` is not valid TOML: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        source: Box<toml::de::Error>,
    },
    /// There is no setting of that name.
    #[error("unknown setting `{key}` in {place}: known there are {}", known.join(", "))]
    Unknown {
        /// The key, with the section that it stands in.
        key: String,
        /// The file, or the environment.
        place: String,
        /// The settings of its section.
        known: Vec<String>,
    },
    /// A value is of the wrong kind.
    #[error("{0}")]
    Invalid(Box<figment::Error>),
    /// A value is out of its range.
    #[error("setting `{key}` is {value}, and must be {range}")]
    OutOfRange {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
    /// There is no home folder for the default models folder.
    #[error("no home folder to keep models in: set `models_dir`")]
    NoHome,
}

impl Config {
    /// Flags win over the environment, the environment over the file, the file over the defaults.
    ///
    /// # Errors
    /// When a named file is missing, a key is unknown, or a value is of the wrong kind or range.
    pub fn resolve(overrides: &Overrides, file: Option<&Path>) -> Result<Self, ConfigError> {
        if let Some(path) = file
            && !path.is_file()
        {
            return Err(ConfigError::Missing { path: path.to_owned() });
        }
        let file = SettingsFile::read(file.unwrap_or(Path::new(FILE_NAME)))?;
        let env = Env::prefixed("SOUFFLEUR_").ignore(&NOT_SETTINGS).split("__");
        check_variables(&env)?;
        let figment = Figment::from(Toml::string(DEFAULTS))
            .merge(file)
            .merge(env)
            .merge(Serialized::defaults(overrides));
        let mut config: Self =
            figment.extract().map_err(|error| ConfigError::Invalid(Box::new(error)))?;
        config.check()?;
        config.upstream.read_keys();
        config.serve.read_secrets();
        read_secrets([(&config.qdrant.api_key_env, &mut config.qdrant.api_key)]);
        if config.models_dir.as_os_str().is_empty() {
            config.models_dir = default_models_dir().ok_or(ConfigError::NoHome)?;
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let checks = [
            ("retrieval.relevance_min", self.retrieval.relevance_min, 0.0, 1.0, "from 0 to 1"),
            (
                "upstream.embeddings.cosine_unrelated",
                self.upstream.embeddings.cosine_unrelated,
                0.0,
                1.0,
                "from 0 to 1",
            ),
            ("generation.temperature", self.generation.temperature, 0.0, 5.0, "from 0 to 5"),
            (
                "generation.best_of",
                self.generation.best_of.get() as f32,
                1.0,
                DRAFTS_MAX as f32,
                "from 1 to 16",
            ),
            ("generation.top_p", self.generation.top_p, 0.0, 1.0, "from 0 to 1"),
            (
                "generation.repetition_penalty",
                self.generation.repetition_penalty,
                1.0,
                2.0,
                "from 1 to 2",
            ),
        ];
        let shares = self.dataset.ranges().map(|(key, it)| (key, it, 0.0, 1.0, "from 0 to 1"));
        for (key, value, low, high, range) in checks.into_iter().chain(shares) {
            if !(low..=high).contains(&value) {
                return Err(ConfigError::OutOfRange { key, value, range });
            }
        }
        Ok(())
    }
}

impl UpstreamConfig {
    /// Takes the keys from the variables that are named for them, where they are set; whoever
    /// needs one that is not says so.
    fn read_keys(&mut self) {
        let own = (&self.api_key_env, &mut self.api_key);
        let embeddings = (&self.embeddings.api_key_env, &mut self.embeddings.api_key);
        read_secrets([own, embeddings]);
    }
}

impl ServeConfig {
    /// As [`UpstreamConfig::read_keys`], for chat tools.
    fn read_secrets(&mut self) {
        let Self { slack, mattermost, teams, .. } = self;
        read_secrets([
            (&slack.signing_secret_env, &mut slack.signing_secret),
            (&slack.bot_token_env, &mut slack.bot_token),
            (&mattermost.token_env, &mut mattermost.tokens),
            (&teams.secret_env, &mut teams.secret),
        ]);
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is the one that reads the environment")]
fn read_secrets<const N: usize>(secrets: [(&String, &mut Secret); N]) {
    for (variable, secret) in secrets {
        if !variable.is_empty()
            && let Ok(value) = std::env::var(variable)
        {
            *secret = Secret::new(value.trim());
        }
    }
}

/// Refuses variables with our prefix that name no setting.
fn check_variables(env: &Env) -> Result<(), ConfigError> {
    let known = known_settings();
    for (key, _) in env.iter() {
        let mut given = toml::Table::new();
        for part in key.as_str().split('.').rev() {
            let value = if given.is_empty() { "".into() } else { toml::Value::Table(given) };
            given = toml::Table::from_iter([(part.to_owned(), value)]);
        }
        if let Some((key, known)) = unknown_key(&given, &known, "") {
            let name = key.replace('.', "__").to_uppercase();
            let place = format!("the environment (SOUFFLEUR_{name})");
            return Err(ConfigError::Unknown { key, place, known });
        }
    }
    Ok(())
}

/// The folder for models in the user's cache, where each system keeps such things.
#[expect(clippy::disallowed_methods, reason = "this file is the one that reads the environment")]
fn default_models_dir() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ if cfg!(target_os = "macos") => std::env::home_dir()?.join("Library/Caches"),
        _ => std::env::home_dir()?.join(".cache"),
    };
    Some(cache.join("souffleur/models"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves with a settings file of `text`.
    fn resolve(text: &str, overrides: &Overrides) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("souffleur.toml");
        fs_err::write(&path, text).unwrap();
        Config::resolve(overrides, Some(&path))
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "models_dir = \"m\"\n[generation]\nseed = 7\ntemperature = 0.5\n";
        let config = resolve(file, &Overrides::default()).unwrap();
        assert_eq!((config.generation.seed, config.generation.temperature), (7, 0.5));
        assert_eq!(config.models_dir, Path::new("m"));
        assert_eq!(config.data_dir, Path::new("data"));
        let flags = GenerationOverrides { seed: Some(9), ..GenerationOverrides::default() };
        let overrides = Overrides { generation: flags, ..Overrides::default() };
        let config = resolve(file, &overrides).unwrap();
        assert_eq!((config.generation.seed, config.generation.temperature), (9, 0.5));
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_errors() {
        let error = resolve("[generation]\nsede = 7\n", &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("generation.sede"), "{error}");
        assert!(error.to_string().contains("souffleur.toml"), "{error}");
        let error = resolve("[generation]\nseed = \"many\"\n", &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("souffleur.toml"), "{error}");
        let error = resolve("[retrieval]\nrelevance_min = 2.0\n", &Overrides::default());
        assert!(matches!(error, Err(ConfigError::OutOfRange { .. })));
        let file = "[serve]\ncors_origins = [\"intranet.example\"]\n";
        let error = resolve(file, &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("intranet.example"), "{error}");
        let error = resolve("[generation\n", &Overrides::default());
        assert!(matches!(error, Err(ConfigError::Syntax { .. })));
    }

    #[test]
    fn what_a_file_says_of_documents_beside_it_is_no_setting() {
        let file = "collection = \"rh\"\ngroups = [\"rh\"]\n[files.\"a.md\"]\ntitle = \"A\"\n";
        resolve(file, &Overrides::default()).unwrap();
    }

    #[test]
    fn a_named_file_must_be_there() {
        let error = Config::resolve(&Overrides::default(), Some(Path::new("not/there.toml")));
        assert!(matches!(error, Err(ConfigError::Missing { .. })));
    }
}
