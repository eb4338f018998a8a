//! The decoder once more, as training needs it: with gradients to the factors of a LoRA adapter, or
//! to all of its weights.
//!
//! It is the network of `decoder`, whose file names the papers, and the tests hold the logits of
//! both together. There, weights lie in panels for the processor and nothing can be differentiated;
//! here, weights are tensors or stay quantised, and the derivative is written out: over slices for
//! the processor (`by_hand`), and the same over tensors for a GPU (`over_tensors`).
//!
//! A batch is sequences one after the other, without padding.

mod adamw;
mod by_hand;
mod folder;
mod frozen;
mod load;
mod lora;
mod loss;
mod over_tensors;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::LoadError;
use crate::decoder::{Config, Rope};
pub use crate::device::BaseForm;
use crate::names::{Matrix, Module};
pub use adamw::AdamW;
use frozen::Frozen;
pub use lora::LoraSpec;
use lora::{BaseNames, Factors};
pub use loss::{Gradients, Target, Weighted, With};

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trained {
    /// Factors beside frozen matrices.
    Lora(LoraSpec),
    /// Every weight: matrices, norms, biases, embeddings.
    Full,
}

/// What is computed in. Factors, their gradients and the optimiser are f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32, summed in f32: for GPUs and processors that multiply it
    /// ([`crate::device::multiplies_bf16`]).
    Bf16,
}

impl Precision {
    /// As the tensors name it.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// What to train and where.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Where it is computed.
    pub device: Device,
    /// What matrices are held and multiplied in: f32, or bf16 where that is faster. The factors are
    /// f32 in any case.
    pub dtype: DType,
    /// How the matrices of the layers are held; products are the same in both forms.
    pub base: BaseForm,
    /// What is trained. All weights are in f32 on the processor, from a base that is held dense.
    pub trained: Trained,
    /// Whether layers are computed again for their derivatives instead of kept: less memory, more
    /// time.
    pub recompute: bool,
    /// Where A begins.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            dtype: DType::F32,
            base: BaseForm::Dense,
            trained: Trained::Lora(LoraSpec::default()),
            recompute: false,
            seed: 0,
        }
    }
}

/// Sequences that are computed together.
#[derive(Debug, Clone, Copy)]
pub struct TokenBatch<'a> {
    /// Token ids of each, from its beginning.
    pub sequences: &'a [&'a [u32]],
    /// Switches dropout on, and decides what is left out.
    pub dropout_seed: Option<u64>,
}

/// Why something cannot be trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The base or the saved factors could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A number of the adapter's is outside its range.
    #[error(
        "cannot train an adapter of rank {rank}, alpha {alpha}, dropout {dropout}: the rank is at \
         least 1, alpha is finite, and dropout is from 0 to below 1"
    )]
    Spec {
        /// The rank.
        rank: usize,
        /// Alpha.
        alpha: f64,
        /// The share that is left out.
        dropout: f32,
    },
    /// Weights are trained as they are computed with, and only by the derivative that is written by
    /// hand.
    #[error("all weights are trained in f32 on the processor, from a base that is not quantised")]
    Full,
    /// The base has no such matrix.
    #[error("there is no matrix `{name}` to train: choose of {known}")]
    UnknownTarget {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A sequence has no token.
    #[error("sequence {idx} of the batch is empty")]
    Empty {
        /// Which, from 0.
        idx: usize,
    },
    /// A sequence is longer than the context.
    #[error(
        "a training sequence has {n_tokens} tokens, but the model's context holds {context_length}"
    )]
    TooLong {
        /// Tokens of the sequence.
        n_tokens: usize,
        /// Tokens that the model can attend to.
        context_length: usize,
    },
    /// A sequence holds an id that the model does not know.
    #[error("token {id} is not in the model's vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// What was saved changes what is not trained here.
    #[error("`{}` holds `{name}`, which is not trained: give the settings that it was trained with",
        path.display())]
    Untrained {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// There is something in the place to write to.
    #[error("`{}` exists already: name a new folder for the adapter", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The adapter could not be written.
    #[error("could not write the adapter")]
    Write(#[from] io::Error),
    /// The tensor library failed.
    #[error("the model could not compute")]
    Tensors(#[from] candle_core::Error),
}

/// A decoder of which something can be trained.
pub struct TrainableDecoder {
    config: Config,
    options: TrainOptions,
    model: PathBuf,
    fingerprint: String,
    /// (vocab, hidden)
    embed_tokens: Tensor,
    layers: Vec<Layer>,
    /// (hidden)
    norm: Tensor,
    lm_head: Linear,
    /// The values of all factors, one after the other, in f32.
    factors: Tensor,
    /// Whether the output matrix is that of the embeddings.
    tied: bool,
    rope: Rope,
    spare: by_hand::Spare,
}

/// One block: attention and feed-forward, each added to the residual stream.
struct Layer {
    /// (hidden)
    input_norm: Tensor,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// (head_dim), in families that normalise each head.
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
    /// (hidden)
    post_attention_norm: Tensor,
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// A frozen layer, and what is trained beside it.
struct Linear {
    weight: Frozen,
    /// (n_out)
    bias: Option<Tensor>,
    lora: Option<Factors>,
}

impl TokenBatch<'_> {
    /// Tokens of all sequences.
    pub fn n_tokens(&self) -> usize {
        self.sequences.iter().map(|it| it.len()).sum()
    }
}

impl fmt::Debug for TrainableDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, options, .. } = self;
        f.debug_struct("TrainableDecoder")
            .field("config", config)
            .field("options", options)
            .finish_non_exhaustive()
    }
}

impl TrainableDecoder {
    /// Loads a base from a GGUF file or a folder of safetensors files; of an adapter, with fresh
    /// factors, which change nothing yet.
    pub fn load(model: &Path, options: &TrainOptions) -> Result<Self, TrainError> {
        load::load(model, options)
    }

    /// Scores of every token to come next. result: (tokens of all sequences, vocab)
    pub fn forward(&self, batch: &TokenBatch<'_>) -> Result<Tensor, TrainError> {
        self.check(batch)?;
        Ok(self.logits_over_tensors(batch)?)
    }

    /// What training changes, where it lies: of an adapter A and B of each matrix, layer by layer
    /// and the output matrix last, by PEFT's names; else all weights, by the names of checkpoints.
    pub fn vars(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        match self.options.trained {
            Trained::Lora(_) => Ok(self.by_name()?),
            Trained::Full => Ok(self.weights()),
        }
    }

    /// Values that are trained.
    pub fn n_values(&self) -> usize {
        match self.options.trained {
            Trained::Lora(_) => self.factors.elem_count(),
            Trained::Full => self.weights().iter().map(|(_, it)| it.elem_count()).sum(),
        }
    }

    fn by_name(&self) -> candle_core::Result<Vec<(String, Tensor)>> {
        let mut res = Vec::new();
        for (matrix, it) in self.matrices() {
            res.push((lora::key(matrix, 'A'), it.a_of(&self.factors)?));
            res.push((lora::key(matrix, 'B'), it.b_of(&self.factors)?));
        }
        Ok(res)
    }

    /// The matrices with factors, in their order.
    fn matrices(&self) -> Vec<(Matrix, &Factors)> {
        let mut res = Vec::new();
        for (idx, layer) in self.layers.iter().enumerate() {
            for (module, Linear { lora, .. }) in layer.linears() {
                res.extend(lora.as_ref().map(|it| (Matrix::Layer(idx, module), it)));
            }
        }
        res.extend(self.lm_head.lora.as_ref().map(|it| (Matrix::Head, it)));
        res
    }

    /// Writes what is trained into a folder, which must not exist: an adapter as PEFT does, with a
    /// record of its base; all weights as a model of its own.
    pub fn save(&self, dir: &Path) -> Result<(), TrainError> {
        match &self.options.trained {
            Trained::Lora(spec) => {
                let base = BaseNames { model: &self.model, fingerprint: &self.fingerprint };
                lora::save(dir, spec, &base, &self.vars()?)
            }
            Trained::Full => self.save_model(dir),
        }
    }

    /// Sets what is trained to that of a folder with the same settings, to go on with its training.
    pub fn restore(&self, dir: &Path) -> Result<(), TrainError> {
        lora::restore(&self.weights_file(dir), &self.vars()?)
    }

    /// The file in a folder that [`Self::save`] wrote.
    fn weights_file(&self, dir: &Path) -> PathBuf {
        dir.join(match self.options.trained {
            Trained::Lora(_) => lora::WEIGHTS,
            Trained::Full => folder::WEIGHTS,
        })
    }

    /// Tokens that the model can attend to.
    pub fn context_length(&self) -> usize {
        self.config.context_length
    }

    /// Refuses a batch that cannot be computed.
    fn check(&self, batch: &TokenBatch<'_>) -> Result<(), TrainError> {
        let Config { context_length, vocab_size, .. } = self.config;
        let TokenBatch { sequences, .. } = *batch;
        if sequences.is_empty() {
            return Err(TrainError::Empty { idx: 0 });
        }
        for (idx, sequence) in sequences.iter().enumerate() {
            let n_tokens = sequence.len();
            if n_tokens == 0 {
                return Err(TrainError::Empty { idx });
            }
            if n_tokens > context_length {
                return Err(TrainError::TooLong { n_tokens, context_length });
            }
            if let Some(&id) = sequence.iter().find(|&&id| id as usize >= vocab_size) {
                return Err(TrainError::UnknownToken { id, vocab_size });
            }
        }
        Ok(())
    }
}

impl Layer {
    fn linears(&self) -> [(Module, &Linear); 7] {
        [
            (Module::Q, &self.q_proj),
            (Module::K, &self.k_proj),
            (Module::V, &self.v_proj),
            (Module::O, &self.o_proj),
            (Module::Gate, &self.gate_proj),
            (Module::Up, &self.up_proj),
            (Module::Down, &self.down_proj),
        ]
    }
}

#[cfg(test)]
mod tests;
