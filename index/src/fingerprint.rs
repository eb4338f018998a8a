//! What a generation was made with. Answers from an index that was made otherwise than the
//! questions would be silent nonsense, so it is compared on every opening.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lexical::Lexical;

/// The layout of a generation's folder. A change of it rebuilds the folder from the catalog.
pub const FORMAT_VERSION: u32 = 1;

/// How documents become chunks and vectors. A change of it needs the model again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The embedder.
    pub embedder: EmbedderPrint,
    /// Tokens of a chunk at most, counted by the embedder's tokenizer.
    pub chunk_tokens_max: u32,
    /// Tokens that neighbouring chunks share.
    pub chunk_overlap: u32,
}

/// All of an embedder that its vectors depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderPrint {
    /// Its name in the catalogue of models.
    pub id: String,
    /// SHA-256 of its weights, in hexadecimal.
    pub weights_sha256: String,
    /// Dimensions of its vectors.
    pub dim: u32,
    /// How token vectors become one: `mean`, `cls`.
    pub pooling: String,
    /// What stands before a question.
    pub query_prefix: String,
    /// What stands before a passage.
    pub passage_prefix: String,
    /// What its products are computed in: `f32`, `int8`. Indexes that do not say were made in f32.
    #[serde(default = "f32", skip_serializing_if = "is_f32")]
    pub precision: String,
}

fn f32() -> String {
    "f32".to_owned()
}

/// Left out when it says nothing new, so that the recipes of older indexes stay what they were.
fn is_f32(precision: &str) -> bool {
    precision == "f32"
}

impl fmt::Display for EmbedderPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weights: String = self.weights_sha256.chars().take(12).collect();
        let Self { id, dim, pooling, precision, .. } = self;
        write!(f, "{id} ({dim} dimensions, {pooling} pooling, {precision}, {weights})")
    }
}

impl Fingerprint {
    /// What this program makes by a recipe.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            analyser_version: Lexical::VERSION,
            recipe: recipe.clone(),
        }
    }
}

/// All that a generation depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fingerprint {
    /// [`FORMAT_VERSION`] of the program that built it.
    pub(crate) format_version: u32,
    /// Version of the lexical analysis.
    pub(crate) analyser_version: u32,
    /// How its chunks and vectors were made.
    pub(crate) recipe: Recipe,
}
