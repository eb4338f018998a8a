//! A model folder to an encoder.

use std::path::{Path, PathBuf};

use super::config::{Config, Family};
use super::head::Head;
use super::{Bert, Dense, Layer, Weight};
use crate::LoadError;
use crate::checkpoint::Checkpoint;
use crate::embed::Precision;
use crate::int8::Int8Panels;
use crate::kernels::LayerNorm;
use crate::panels::Panels;

/// An encoder's files, open.
struct Source {
    config: Config,
    weights: Checkpoint,
    /// Stands before every name of the encoder: files saved with a task head put it under its
    /// family's name.
    prefix: &'static str,
    precision: Precision,
    dir: PathBuf,
}

impl Bert {
    /// Loads `config.json` and the weights of a folder.
    pub(crate) fn load(dir: &Path, precision: Precision) -> Result<Self, LoadError> {
        Source::open(dir, precision)?.encoder()
    }

    /// As [`Self::load`], with the head that scores pairs.
    pub(crate) fn load_with_head(
        dir: &Path,
        precision: Precision,
    ) -> Result<(Self, Head), LoadError> {
        let source = Source::open(dir, precision)?;
        let head = source.head(dir)?;
        Ok((source.encoder()?, head))
    }
}

/// Most tokens of one text, by a folder's `config.json` alone.
pub(crate) fn positions_of(dir: &Path) -> Result<usize, LoadError> {
    Ok(Config::read(&dir.join("config.json"))?.positions_max())
}

impl Source {
    fn open(dir: &Path, precision: Precision) -> Result<Self, LoadError> {
        let config = Config::read(&dir.join("config.json"))?;
        let weights = Checkpoint::open_encoder(dir)?;
        let prefix = ["", "bert.", "roberta."]
            .into_iter()
            .find(|prefix| weights.contains(&format!("{prefix}embeddings.word_embeddings.weight")))
            .unwrap_or("");
        Ok(Self { config, weights, prefix, precision, dir: dir.to_owned() })
    }

    fn encoder(self) -> Result<Bert, LoadError> {
        let config = &self.config;
        let hidden = config.hidden_size;
        let positions = config.max_position_embeddings;
        let position_embeddings =
            self.read("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let types = [config.type_vocab_size, hidden];
        let mut type_embeddings = self.read("embeddings.token_type_embeddings.weight", &types)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for idx in 0..config.num_hidden_layers {
            layers.push(self.layer(idx)?);
        }
        if config.family() == Family::Roberta {
            // Trained with one type for all, however many rows the table has.
            type_embeddings.truncate(hidden);
        }
        let words = format!("{}embeddings.word_embeddings.weight", self.prefix);
        Ok(Bert {
            hidden,
            n_heads: config.num_attention_heads,
            vocab_size: config.vocab_size,
            position_start: config.position_start(),
            positions_max: config.positions_max(),
            position_embeddings,
            type_embeddings,
            embedding_norm: self.norm("embeddings.LayerNorm")?,
            layers,
            word_embeddings: self.weights.into_rows(&words, [config.vocab_size, hidden])?,
        })
    }

    fn layer(&self, idx: usize) -> Result<Layer, LoadError> {
        let hidden = self.config.hidden_size;
        let inner = self.config.intermediate_size;
        let at = |name: &str| format!("encoder.layer.{idx}.{name}");
        Ok(Layer {
            query_key_value: self.query_key_value(&at("attention.self"))?,
            attention_output: self.dense(&at("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&at("attention.output.LayerNorm"))?,
            intermediate: self.dense(&at("intermediate.dense"), inner, hidden)?,
            output: self.dense(&at("output.dense"), hidden, inner)?,
            output_norm: self.norm(&at("output.LayerNorm"))?,
        })
    }

    fn query_key_value(&self, at: &str) -> Result<Dense, LoadError> {
        let hidden = self.config.hidden_size;
        let mut weight = Vec::with_capacity(3 * hidden * hidden);
        let mut bias = Vec::with_capacity(3 * hidden);
        for name in ["query", "key", "value"] {
            weight.extend(self.read(&format!("{at}.{name}.weight"), &[hidden, hidden])?);
            bias.extend(self.read(&format!("{at}.{name}.bias"), &[hidden])?);
        }
        let scale = 1.0 / ((hidden / self.config.num_attention_heads) as f32).sqrt();
        for x in weight[..hidden * hidden].iter_mut().chain(&mut bias[..hidden]) {
            *x *= scale;
        }
        // Never in 8 bits, which the values bear badly: with them in 8 bits, the vectors of MiniLM
        // for very short texts have a cosine of 0.993 to those of f32; without, 0.996.
        let panels = match self.precision {
            Precision::F32 | Precision::Int8 => Panels::from_f32(&weight, hidden),
            Precision::F16 => self.halves(&weight, hidden)?,
        };
        Ok(Dense { weight: Weight::Panels(panels), bias })
    }

    fn dense(&self, name: &str, n_out: usize, n_in: usize) -> Result<Dense, LoadError> {
        let weight = self.read(&format!("{name}.weight"), &[n_out, n_in])?;
        let bias = self.read(&format!("{name}.bias"), &[n_out])?;
        let weight = match self.precision {
            Precision::F32 => Weight::Panels(Panels::from_f32(&weight, n_in)),
            Precision::F16 => Weight::Panels(self.halves(&weight, n_in)?),
            Precision::Int8 => Weight::Int8(Int8Panels::from_f32(&weight, n_in)),
        };
        Ok(Dense { weight, bias })
    }

    fn halves(&self, weight: &[f32], n_in: usize) -> Result<Panels, LoadError> {
        Panels::rounded_to_f16(weight, n_in).ok_or_else(|| LoadError::Unsupported {
            path: self.dir.clone(),
            what: "a weight that is too large for 16 bits: set the precision to `f32`".to_owned(),
        })
    }

    fn norm(&self, name: &str) -> Result<LayerNorm, LoadError> {
        let hidden = self.config.hidden_size;
        Ok(LayerNorm {
            weight: self.read(&format!("{name}.weight"), &[hidden])?,
            bias: self.read(&format!("{name}.bias"), &[hidden])?,
            eps: self.config.layer_norm_eps,
        })
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.weights.read(&format!("{}{name}", self.prefix), shape)
    }

    fn head(&self, dir: &Path) -> Result<Head, LoadError> {
        let hidden = self.config.hidden_size;
        let pooler = format!("{}pooler.dense", self.prefix);
        let (dense, out) = match self.config.family() {
            Family::Bert => (pooler.as_str(), "classifier"),
            Family::Roberta => ("classifier.dense", "classifier.out_proj"),
        };
        let unsupported = |what: String| LoadError::Unsupported { path: dir.to_owned(), what };
        let missing = || {
            unsupported(format!(
                "a model without a classification head (`{out}.weight`), which a reranker needs"
            ))
        };
        if self.config.family() == Family::Bert && self.config.type_vocab_size < 2 {
            let what = "a model of one token type, which cannot tell a question from a passage";
            return Err(unsupported(what.to_owned()));
        }
        let labels = self.weights.shape(&format!("{out}.weight")).ok_or_else(missing)?;
        if labels.first() != Some(&1) {
            return Err(unsupported(format!(
                "a classification head of {} labels, where a reranker has one",
                labels.first().unwrap_or(&0)
            )));
        }
        let read = |name: &str, shape: &[usize]| self.weights.read(name, shape);
        let weight = read(&format!("{dense}.weight"), &[hidden, hidden])?;
        Ok(Head {
            dense: Panels::from_f32(&weight, hidden),
            dense_bias: read(&format!("{dense}.bias"), &[hidden])?,
            out: read(&format!("{out}.weight"), &[1, hidden])?,
            out_bias: read(&format!("{out}.bias"), &[1])?[0],
            activation: Head::activation_of(self.config.activation()).map_err(unsupported)?,
        })
    }
}
