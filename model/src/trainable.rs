//! The decoder once more, as training needs it: over candle's tensors, on any device, with
//! gradients to the factors of a LoRA adapter, or to all of its weights.
//!
//! It is the network of `decoder`, whose file names the papers, and the tests hold the logits of
//! both together. There, weights lie in panels for the processor and nothing can be differentiated;
//! here, weights are tensors or stay quantised, frozen ones get no gradient, and what candle cannot
//! differentiate has a derivative of its own (`trainable/ops.rs`).
//!
//! A batch is sequences one after the other, without padding. [`TrainableDecoder::forward`] gives
//! the logits; [`TrainableDecoder::gradients`] holds one layer's values at a time.

mod attention;
mod by_hand;
mod folder;
mod load;
mod lora;
mod loss;
mod ops;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use thiserror::Error;

use crate::LoadError;
use crate::decoder::{Config, Rope};
pub use crate::device::BaseForm;
use crate::names::{Matrix, Module};
use attention::PackedAttention;
pub use lora::LoraSpec;
use lora::{BaseNames, Factors};
pub use loss::{Target, Weighted, With};
use ops::{Frozen, attend, rms_norm, rotate};

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trained {
    /// Factors beside frozen matrices.
    Lora(LoraSpec),
    /// Every weight: matrices, norms, biases, embeddings.
    Full,
}

/// What to train and where.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Where it is computed.
    pub device: Device,
    /// What it is computed in: f32, or bf16 on a GPU. The factors are f32 in any case.
    pub dtype: DType,
    /// How the matrices of the layers are held; products are the same in both forms.
    pub base: BaseForm,
    /// What is trained. All weights are in f32 on the processor, from a base that is held dense.
    pub trained: Trained,
    /// Whether layers are computed again for their derivatives instead of kept: less memory, more
    /// time. Over tensors they always are.
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
    lm_head: Frozen,
    /// What is trained beside it.
    head_factors: Option<Factors>,
    /// Whether the output matrix is that of the embeddings.
    tied: bool,
    rope: Rope,
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

/// What the layers of one pass share.
struct Pass<'a> {
    config: &'a Config,
    attention: Arc<PackedAttention>,
    /// (rows, head_dim / 2)
    cos: Tensor,
    sin: Tensor,
    dropout_seed: Option<u64>,
    with: With,
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
        Ok(self.logits(&self.hidden(batch)?)?)
    }

    /// The normalised output of the last layer. result: (tokens of all sequences, hidden)
    pub fn hidden(&self, batch: &TokenBatch<'_>) -> Result<Tensor, TrainError> {
        self.hidden_with(batch, With::Adapter)
    }

    fn hidden_with(&self, batch: &TokenBatch<'_>, with: With) -> Result<Tensor, TrainError> {
        let (mut x, pass) = self.start(batch, with)?;
        for layer in &self.layers {
            x = layer.forward(&x, &pass)?;
        }
        Ok(self.last_norm(&x)?)
    }

    /// Scores of every token to come next; of those rows that a loss needs, where it does not need
    /// all. hidden: (rows, hidden), result: (rows, vocab)
    pub fn logits(&self, hidden: &Tensor) -> candle_core::Result<Tensor> {
        let scores = self.lm_head.forward(hidden)?;
        match &self.head_factors {
            Some(factors) => scores + factors.forward(hidden, None)?,
            None => Ok(scores),
        }
    }

    /// A loss and its gradients with respect to the factors, in the order of [`Self::vars`],
    /// while the values of one layer at a time are in memory: the others' inputs are kept, and each
    /// layer is computed again when the gradient comes to it (Chen et al. 2016).
    ///
    /// `loss` makes a number of the output of the last layer, (tokens of all sequences, hidden).
    pub fn gradients(
        &self,
        batch: &TokenBatch<'_>,
        loss: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<(Tensor, Vec<Tensor>), TrainError> {
        let (mut x, pass) = self.start(batch, With::Adapter)?;
        let mut inputs = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            inputs.push(x.clone());
            x = layer.forward(&x, &pass)?.detach();
        }
        let last = Var::from_tensor(&x)?;
        let loss = loss(&self.last_norm(&last)?)?;
        let mut grads = loss.backward()?;
        let mut grad = taken(&mut grads, &last)?;
        // Where the loss knows its own derivative, they are not on the tape.
        let of_head = self.head_factors.iter().flat_map(|it| [&it.a, &it.b]);
        let of_head: Vec<Tensor> = of_head.filter_map(|it| grads.remove(it)).collect();
        let mut res = Vec::new();
        for (layer, input) in self.layers.iter().zip(inputs).rev() {
            let input = Var::from_tensor(&input)?;
            // Its gradient is `grad` times the layer's derivative.
            let along = (layer.forward(&input, &pass)? * &grad)?.sum_all()?;
            let mut grads = along.backward()?;
            for var in layer.factors().into_iter().rev() {
                res.push(taken(&mut grads, var)?);
            }
            grad = taken(&mut grads, &input)?;
        }
        res.reverse();
        res.extend(of_head);
        Ok((loss.detach(), res))
    }

    /// What training changes: of an adapter A and B of each matrix, layer by layer and the output
    /// matrix last, by PEFT's names; else all weights, by the names of checkpoints.
    pub fn vars(&self) -> Vec<(String, Var)> {
        match self.options.trained {
            Trained::Lora(_) => self.factors(),
            Trained::Full => self.weights(),
        }
    }

    fn factors(&self) -> Vec<(String, Var)> {
        let mut res = Vec::new();
        for (idx, layer) in self.layers.iter().enumerate() {
            for (module, Linear { lora, .. }) in layer.linears() {
                let Some(Factors { a, b, .. }) = lora else { continue };
                let matrix = Matrix::Layer(idx, module);
                res.push((lora::key(matrix, 'A'), a.clone()));
                res.push((lora::key(matrix, 'B'), b.clone()));
            }
        }
        if let Some(Factors { a, b, .. }) = &self.head_factors {
            res.push((lora::key(Matrix::Head, 'A'), a.clone()));
            res.push((lora::key(Matrix::Head, 'B'), b.clone()));
        }
        res
    }

    /// Writes what is trained into a folder, which must not exist: an adapter as PEFT does, with a
    /// record of its base; all weights as a model of its own.
    pub fn save(&self, dir: &Path) -> Result<(), TrainError> {
        match &self.options.trained {
            Trained::Lora(spec) => {
                let base = BaseNames { model: &self.model, fingerprint: &self.fingerprint };
                lora::save(dir, spec, &base, &self.vars())
            }
            Trained::Full => self.save_model(dir),
        }
    }

    /// Sets what is trained to that of a folder with the same settings, to go on with its training.
    pub fn restore(&self, dir: &Path) -> Result<(), TrainError> {
        lora::restore(&self.weights_file(dir), &self.vars())
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

    /// The embeddings of a batch, (rows, hidden), and what the layers share.
    fn start(&self, batch: &TokenBatch<'_>, with: With) -> Result<(Tensor, Pass<'_>), TrainError> {
        self.check(batch)?;
        let TokenBatch { sequences, dropout_seed } = *batch;
        let TrainOptions { device, dtype, .. } = &self.options;
        let angles = self.rope.at(sequences.iter().flat_map(|it| 0..it.len()));
        let (cos, sin) = angles.tables();
        let table = |values: &[f32]| -> candle_core::Result<Tensor> {
            let half = self.config.head_dim / 2;
            Tensor::from_slice(values, (values.len() / half, half), device)?.to_dtype(*dtype)
        };
        let lengths: Vec<usize> = sequences.iter().map(|it| it.len()).collect();
        let attention = Arc::new(PackedAttention::new(&lengths, &self.config, device)?);
        let (cos, sin) = (table(cos)?, table(sin)?);
        let pass = Pass { config: &self.config, attention, cos, sin, dropout_seed, with };
        let ids = Tensor::new(sequences.concat(), device)?;
        Ok((self.embed_tokens.index_select(&ids, 0)?, pass))
    }

    fn last_norm(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        rms_norm(x, &self.norm, self.config.norm_eps)
    }
}

/// A variable's gradient out of a store.
fn taken(
    grads: &mut candle_core::backprop::GradStore,
    var: &Tensor,
) -> candle_core::Result<Tensor> {
    match grads.remove(var) {
        Some(grad) => Ok(grad),
        None => candle_core::bail!("the loss does not depend on a variable"),
    }
}

impl Layer {
    /// x: (rows, hidden)
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> candle_core::Result<Tensor> {
        let eps = pass.config.norm_eps;
        let x = (x + self.attention(&rms_norm(x, &self.input_norm, eps)?, pass)?)?;
        let normed = rms_norm(&x, &self.post_attention_norm, eps)?;
        let gate = self.gate_proj.forward(&normed, pass)?.silu()?;
        let inner = (gate * self.up_proj.forward(&normed, pass)?)?; // (rows, intermediate)
        x + self.down_proj.forward(&inner, pass)?
    }

    /// x: (rows, hidden)
    fn attention(&self, x: &Tensor, pass: &Pass<'_>) -> candle_core::Result<Tensor> {
        let (rows, dim) = (x.dim(0)?, pass.config.head_dim);
        let heads = |linear: &Linear, norm: Option<&Tensor>| -> candle_core::Result<Tensor> {
            let heads = linear.forward(x, pass)?; // (rows, heads * head_dim)
            let heads = match norm {
                Some(norm) => rms_norm(&heads.reshape(((), dim))?, norm, pass.config.norm_eps)?,
                None => heads,
            };
            heads.reshape((rows, (), dim))
        };
        let q = rotate(&heads(&self.q_proj, self.q_norm.as_ref())?, (&pass.cos, &pass.sin))?;
        let k = rotate(&heads(&self.k_proj, self.k_norm.as_ref())?, (&pass.cos, &pass.sin))?;
        let v = heads(&self.v_proj, None)?;
        let attended = attend(&q, &k, &v, &pass.attention)?;
        self.o_proj.forward(&attended.reshape((rows, ()))?, pass)
    }

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

    /// A and B of each matrix that is trained.
    fn factors(&self) -> Vec<&Var> {
        let factors = self.linears().into_iter().filter_map(|(_, it)| it.lora.as_ref());
        factors.flat_map(|it| [&it.a, &it.b]).collect()
    }
}

impl Linear {
    /// x: (rows, n_in), result: (rows, n_out)
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> candle_core::Result<Tensor> {
        let mut res = self.weight.forward(x)?;
        if let Some(bias) = &self.bias {
            res = res.broadcast_add(bias)?;
        }
        match self.lora.as_ref().filter(|_| pass.with == With::Adapter) {
            Some(factors) => res + factors.forward(x, pass.dropout_seed)?,
            None => Ok(res),
        }
    }
}

#[cfg(test)]
mod tests;
