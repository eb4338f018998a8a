//! A trainable decoder's weights from where they are.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use super::by_hand::Spare;
use super::frozen::Frozen;
use super::lora::Factors;
use super::{BaseForm, Layer, Linear, TrainError, TrainOptions, TrainableDecoder, Trained};
use crate::LoadError;
use crate::adapter::Base;
use crate::decoder::{Config, Rope};
use crate::load_decoder::{Source, with_source};
use crate::names::{Matrix, Module};
use crate::sample::Rng;

pub(super) fn load(model: &Path, options: &TrainOptions) -> Result<TrainableDecoder, TrainError> {
    let Base { config, fingerprint, .. } = Base::read(model)?;
    match &options.trained {
        Trained::Lora(spec) => spec.check(config.n_layers)?,
        Trained::Full => {
            let is_plain = options.device.is_cpu() && options.dtype == DType::F32;
            if !is_plain || options.base != BaseForm::Dense {
                return Err(TrainError::Full);
            }
            super::folder::check(model)?;
        }
    }
    let failed = |source| LoadError::Tensors { path: model.to_owned(), source };
    with_source(model, |config, source| {
        let mut loader = Loader {
            source,
            config: &config,
            options,
            rng: Rng::new(options.seed),
            n_factors: 0,
            factors: Vec::new(),
            failed: &failed,
        };
        let table = (config.vocab_size, config.hidden);
        let embed_tokens = loader.dense("model.embed_tokens", table)?;
        let mut layers = Vec::with_capacity(config.n_layers);
        for idx in 0..config.n_layers {
            layers.push(loader.layer(idx)?);
        }
        let norm = loader.norm("model.norm", config.hidden)?;
        let tied = !loader.source.has_head();
        let lm_head = match tied {
            true => embed_tokens.clone(),
            false => loader.dense("lm_head", table)?,
        };
        let lm_head = Linear {
            weight: Frozen::Dense(lm_head),
            bias: None,
            lora: loader.factors_of(Matrix::Head),
        };
        let n_values = loader.factors.len();
        let factors = Tensor::from_vec(loader.factors, n_values, &options.device);
        let factors = factors.map_err(&failed)?;
        loader.source.check_all_read(model)?;
        Ok(TrainableDecoder {
            options: options.clone(),
            model: model.to_owned(),
            fingerprint,
            embed_tokens,
            layers,
            norm,
            lm_head,
            factors,
            tied,
            rope: Rope::new(&config),
            spare: Spare::default(),
            config,
        })
    })
    .map_err(TrainError::from)
}

struct Loader<'a, 'b> {
    source: &'a mut Source<'b>,
    config: &'a Config,
    options: &'a TrainOptions,
    rng: Rng,
    /// Matrices with factors so far, and the values of these.
    n_factors: u64,
    factors: Vec<f32>,
    failed: &'a dyn Fn(candle_core::Error) -> LoadError,
}

impl Loader<'_, '_> {
    fn layer(&mut self, idx: usize) -> Result<Layer, LoadError> {
        let at = |name: &str| format!("model.layers.{idx}.{name}");
        let Config { hidden, head_dim, .. } = *self.config;
        Ok(Layer {
            input_norm: self.norm(&at("input_layernorm"), hidden)?,
            q_proj: self.linear(idx, Module::Q)?,
            k_proj: self.linear(idx, Module::K)?,
            v_proj: self.linear(idx, Module::V)?,
            o_proj: self.linear(idx, Module::O)?,
            q_norm: self.find_norm(&at("self_attn.q_norm"), head_dim)?,
            k_norm: self.find_norm(&at("self_attn.k_norm"), head_dim)?,
            post_attention_norm: self.norm(&at("post_attention_layernorm"), hidden)?,
            gate_proj: self.linear(idx, Module::Gate)?,
            up_proj: self.linear(idx, Module::Up)?,
            down_proj: self.linear(idx, Module::Down)?,
        })
    }

    fn linear(&mut self, layer: usize, module: Module) -> Result<Linear, LoadError> {
        let name = format!("model.layers.{layer}.{}", module.checkpoint());
        let shape = module.shape(self.config);
        let TrainOptions { device, dtype, base, .. } = self.options;
        let quantised = match base {
            BaseForm::Dense => None,
            BaseForm::Stored => self.source.quantised(&name, shape, module.is_rotated(), device)?,
        };
        let weight = match quantised {
            Some(weight) => Frozen::Quantised(Arc::new(weight), *dtype),
            None => {
                let values = self.source.matrix_values(&name, shape, module.is_rotated())?;
                Frozen::Dense(self.tensor(values, &[shape.0, shape.1])?)
            }
        };
        let bias = self.source.bias(&name, shape.0, module.is_rotated())?;
        let bias = bias.map(|it| self.tensor(it, &[shape.0])).transpose()?;
        let lora = self.factors_of(Matrix::Layer(layer, module));
        Ok(Linear { weight, bias, lora })
    }

    /// Fresh factors beside a matrix, where it is to be trained.
    fn factors_of(&mut self, matrix: Matrix) -> Option<Factors> {
        let spec = match &self.options.trained {
            Trained::Lora(spec) if spec.trains(matrix) => spec,
            Trained::Lora(_) | Trained::Full => return None,
        };
        let idx = self.n_factors;
        self.n_factors += 1;
        let shape = matrix.shape(self.config);
        Some(Factors::new(spec, shape, (&mut self.rng, idx), &mut self.factors))
    }

    /// A matrix as numbers. shape: (rows, columns)
    fn dense(&mut self, name: &str, shape: (usize, usize)) -> Result<Tensor, LoadError> {
        let values = self.source.matrix_values(name, shape, false)?;
        self.tensor(values, &[shape.0, shape.1])
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Tensor, LoadError> {
        let values = self.source.norm_values(name, n)?;
        self.tensor(values, &[n])
    }

    fn find_norm(&mut self, name: &str, n: usize) -> Result<Option<Tensor>, LoadError> {
        match self.source.has_norm(name) {
            true => self.norm(name, n).map(Some),
            false => Ok(None),
        }
    }

    fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor, LoadError> {
        let TrainOptions { device, dtype, trained, .. } = self.options;
        Tensor::from_vec(values, shape, device)
            .and_then(|it| match trained {
                Trained::Lora(_) => it.to_dtype(*dtype),
                Trained::Full => Ok(Var::from_tensor(&it)?.as_tensor().clone()),
            })
            .map_err(self.failed)
    }
}
