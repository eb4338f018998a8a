//! The factors that training changes (Hu et al. 2021), and the PEFT folder that they are saved in.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::json;

use super::{TrainError, TrainableDecoder};
use crate::adapter::{COPY_OF_HEAD, OWN_FILE};
use crate::names::{Matrix, Module};
use crate::sample::Rng;
use crate::staging::whole_folder;
use crate::weights::Safetensors;

/// Which low-rank changes to train.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// Columns of B and rows of A.
    pub rank: usize,
    /// The change is B·A times alpha / rank.
    pub alpha: f64,
    /// Whether it is alpha / √rank instead (Kalajdzievski 2023).
    pub rslora: bool,
    /// Names of matrices as in PEFT's `target_modules`: `q_proj` is that of every layer,
    /// `layers.3.self_attn.q_proj` that of one, `lm_head` the output matrix. Empty for all those of
    /// the layers.
    pub targets: Vec<String>,
    /// The share of A's inputs that a training step leaves out.
    pub dropout: f32,
}

impl Default for LoraSpec {
    /// Rank 16 on all matrices, alpha 32, no dropout.
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, rslora: false, targets: Vec::new(), dropout: 0.0 }
    }
}

impl LoraSpec {
    /// What B·A is multiplied with.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Refuses what cannot be trained in a decoder of `n_layers`.
    pub(super) fn check(&self, n_layers: usize) -> Result<(), TrainError> {
        if self.rank == 0 || !self.alpha.is_finite() || !(0.0..1.0).contains(&self.dropout) {
            let Self { rank, alpha, dropout, .. } = *self;
            return Err(TrainError::Spec { rank, alpha, dropout });
        }
        let is_there = |target: &&String| Matrix::all(n_layers).any(|it| is_meant(target, it));
        match self.targets.iter().find(|it| !is_there(it)) {
            None => Ok(()),
            Some(name) => {
                let known = format!("{}, lm_head", Module::ALL.map(short).join(", "));
                Err(TrainError::UnknownTarget { name: name.clone(), known })
            }
        }
    }

    /// Whether a matrix is to be trained.
    pub(super) fn trains(&self, matrix: Matrix) -> bool {
        match self.targets.as_slice() {
            [] => matrix != Matrix::Head,
            targets => targets.iter().any(|it| is_meant(it, matrix)),
        }
    }
}

/// Whether a target names a matrix, by PEFT's rule: its whole name, or the last parts of it.
fn is_meant(target: &str, matrix: Matrix) -> bool {
    let name = matrix.checkpoint();
    name.strip_suffix(target).is_some_and(|it| it.is_empty() || it.ends_with('.'))
}

/// A module's name without the part that it belongs to.
fn short(module: Module) -> &'static str {
    module.checkpoint().rsplit('.').next().expect("a name has a last part")
}

impl TrainableDecoder {
    /// All that is trained, in the order of [`Self::vars`].
    pub fn values(&self) -> Result<Vec<Vec<f32>>, TrainError> {
        let flat = |(_, var): &(String, Tensor)| var.flatten_all()?.to_vec1::<f32>();
        Ok(self.vars()?.iter().map(flat).collect::<candle_core::Result<_>>()?)
    }

    /// Sets all that is trained, in the order of [`Self::vars`].
    pub fn set_values(&self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        for ((_, var), values) in self.vars()?.iter().zip(values) {
            set(var, values)?;
        }
        Ok(())
    }
}

/// Sets a tensor's values where they lie.
fn set(var: &Tensor, values: &[f32]) -> candle_core::Result<()> {
    var.slice_set(&Tensor::from_slice(values, var.shape(), var.device())?, 0, 0)
}

/// The two factors of one matrix's change, by their places among all that is trained.
pub(super) struct Factors {
    /// Where A begins; B is behind it.
    at: usize,
    pub(super) rank: usize,
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    pub(super) scale: f64,
    dropout: f32,
    /// Its place among the factors of all matrices, which makes its dropout its own.
    idx: u64,
}

impl Factors {
    /// As PEFT begins: A uniform within 1/√n_in, which is Kaiming's with a = √5, B zero. Their
    /// values are added to `all`.
    pub(super) fn new(
        spec: &LoraSpec,
        (n_out, n_in): (usize, usize),
        (rng, idx): (&mut Rng, u64),
        all: &mut Vec<f32>,
    ) -> Self {
        let (at, rank) = (all.len(), spec.rank);
        let bound = 1.0 / (n_in as f32).sqrt();
        all.extend((0..rank * n_in).map(|_| (rng.unit() * 2.0 - 1.0) * bound));
        all.extend(std::iter::repeat_n(0.0, n_out * rank));
        Self { at, rank, n_in, n_out, scale: spec.scale(), dropout: spec.dropout, idx }
    }

    /// Where A and B are among all.
    pub(super) fn places(&self) -> [Range<usize>; 2] {
        let b = self.at + self.rank * self.n_in;
        [self.at..b, b..b + self.n_out * self.rank]
    }

    /// A, or its gradient, in what holds all; (rank, n_in)
    pub(super) fn a_of(&self, all: &Tensor) -> candle_core::Result<Tensor> {
        let [place, _] = self.places();
        all.narrow(0, place.start, place.len())?.reshape((self.rank, self.n_in))
    }

    /// B, or its gradient, in what holds all; (n_out, rank)
    pub(super) fn b_of(&self, all: &Tensor) -> candle_core::Result<Tensor> {
        let [_, place] = self.places();
        all.narrow(0, place.start, place.len())?.reshape((self.n_out, self.rank))
    }

    /// Zero for what is left out, for the rest what makes up for it; the same for the same seed.
    pub(super) fn mask(
        &self,
        x: &Tensor,
        seed: Option<u64>,
    ) -> candle_core::Result<Option<Tensor>> {
        let Some(seed) = seed.filter(|_| self.dropout > 0.0) else { return Ok(None) };
        let mut rng = Rng::new(seed ^ self.idx.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let kept = 1.0 / (1.0 - self.dropout);
        let mut value = || if rng.unit() < self.dropout { 0.0 } else { kept };
        let values: Vec<f32> = (0..x.elem_count()).map(|_| value()).collect();
        Tensor::from_vec(values, x.shape(), x.device())?.to_dtype(x.dtype()).map(Some)
    }
}

/// PEFT's file of the factors.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// PEFT's name of a matrix's factor, `A` or `B`.
pub(super) fn key(matrix: Matrix, factor: char) -> String {
    format!("base_model.model.{}.lora_{factor}.weight", matrix.checkpoint())
}

/// What a saved adapter says of its base.
pub(super) struct BaseNames<'a> {
    pub(super) model: &'a Path,
    pub(super) fingerprint: &'a str,
}

/// Writes a PEFT folder that appears under its name when it is complete.
pub(super) fn save(
    dir: &Path,
    spec: &LoraSpec,
    base: &BaseNames<'_>,
    vars: &[(String, Tensor)],
) -> Result<(), TrainError> {
    if dir.exists() {
        return Err(TrainError::Exists { path: dir.to_owned() });
    }
    let mut targets: Vec<&str> = match spec.targets.as_slice() {
        [] => Module::ALL.map(short).to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    targets.sort_unstable();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.model.file_name().unwrap_or_default().to_string_lossy(),
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "use_rslora": spec.rslora,
        "lora_dropout": spec.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "inference_mode": true,
    });
    let own = json!({ "base": base.fingerprint });
    let tensors = vars.iter().map(|(name, var)| Ok((name.clone(), var.to_device(&Device::Cpu)?)));
    let tensors = tensors.collect::<candle_core::Result<HashMap<String, Tensor>>>()?;
    whole_folder(dir, |partial| {
        for (name, value) in [("adapter_config.json", config), (OWN_FILE, own)] {
            fs_err::write(partial.join(name), format!("{value:#}\n"))?;
        }
        write_weights(&partial.join(WEIGHTS), &tensors)
    })
}

/// Writes weights, onto the disk.
pub(super) fn write_weights(
    path: &Path,
    tensors: &HashMap<String, Tensor>,
) -> Result<(), TrainError> {
    candle_core::safetensors::save(tensors, path)?;
    Ok(fs_err::File::open(path)?.sync_all()?)
}

/// Sets variables to those of a file, with nothing left over on either side.
pub(super) fn restore(path: &Path, vars: &[(String, Tensor)]) -> Result<(), TrainError> {
    let file = Safetensors::open(path)?;
    let names = file.names();
    let known = |name: &str| name == COPY_OF_HEAD || vars.iter().any(|(it, _)| it == name);
    if let Some(name) = names.iter().find(|it| !known(it)) {
        return Err(TrainError::Untrained { path: path.to_owned(), name: (*name).to_owned() });
    }
    let mut values = Vec::with_capacity(vars.len());
    for (name, var) in vars {
        values.push(file.read(name, var.dims())?);
    }
    // All of them are there: nothing is half-set.
    for ((_, var), values) in vars.iter().zip(values) {
        set(var, &values)?;
    }
    Ok(())
}
