//! What `config.json` of an encoder says.

use std::path::Path;

use serde::Deserialize;

use crate::LoadError;

/// The part of `config.json` that the computation depends on.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: String,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    hidden_act: String,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: usize,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    /// What sentence-transformers before version 4 notes of a cross-encoder.
    sbert_ce_default_activation_function: Option<String>,
    /// What later versions note.
    sentence_transformers: Option<CrossEncoderNotes>,
}

#[derive(Debug, Deserialize)]
struct CrossEncoderNotes {
    activation_fn: Option<String>,
}

fn absolute() -> String {
    "absolute".to_owned()
}

/// The two ways in which encoders of this architecture differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Positions from 0, token types, a pooler before the classifier.
    Bert,
    /// Positions after the padding's, one token type, a classifier of two layers.
    Roberta,
}

impl Config {
    /// Reads the file and refuses what is not implemented.
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let text = fs_err::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
        // The type first: another architecture's file lacks our fields, and that is not the news.
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
        let unsupported = |what: String| LoadError::Unsupported { path: path.to_owned(), what };
        let model_type = value["model_type"].as_str().unwrap_or("unknown");
        if family(model_type).is_none() {
            return Err(unsupported(format!("an encoder of type `{model_type}`")));
        }
        let config: Self =
            serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))?;
        config.check().map_err(unsupported)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.hidden_act != "gelu" {
            return Err(format!("the activation `{}`", self.hidden_act));
        }
        if self.position_embedding_type != "absolute" {
            return Err(format!("position embeddings of type `{}`", self.position_embedding_type));
        }
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        if hidden == 0 || heads == 0 || hidden % heads != 0 || self.intermediate_size == 0 {
            return Err(format!("{heads} heads over a hidden size of {hidden}"));
        }
        if self.type_vocab_size == 0 {
            return Err("no token types".to_owned());
        }
        Ok(())
    }

    pub(super) fn family(&self) -> Family {
        family(&self.model_type).expect("checked when the file was read")
    }

    /// The row of the first token's position.
    pub(super) fn position_start(&self) -> usize {
        match self.family() {
            Family::Bert => 0,
            Family::Roberta => self.pad_token_id + 1,
        }
    }

    /// Most tokens of one text.
    pub(super) fn positions_max(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.position_start())
    }

    /// The function that a cross-encoder's logit goes through, by the name of its PyTorch class.
    pub(super) fn activation(&self) -> Option<&str> {
        let noted = self.sentence_transformers.as_ref().and_then(|it| it.activation_fn.as_deref());
        noted.or(self.sbert_ce_default_activation_function.as_deref())
    }
}

fn family(model_type: &str) -> Option<Family> {
    match model_type {
        "bert" => Some(Family::Bert),
        "roberta" | "xlm-roberta" | "camembert" => Some(Family::Roberta),
        _ => None,
    }
}
