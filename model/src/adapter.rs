//! LoRA adapters (Hu et al. 2021) from disk, checked against the decoder that they are for.
//!
//! Read are folders as PEFT writes them (`adapter_config.json`, `adapter_model.safetensors`) and
//! GGUF files as llama.cpp's converter writes them. An option that is not implemented is refused by
//! name: ignoring it would give wrong text without any error. A folder of our own also says which
//! base it was trained on, in `souffleur.json`.

mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::LoadError;
use crate::config_json::read_object;
use crate::decoder::{Config, Decoder, Layer};
use crate::gguf::{Gguf, numbers};
use crate::load_decoder::{self, Outline};
use crate::names::{Matrix, Module, paired_row};
use crate::weights::Safetensors;
use settings::Settings;

/// What our own folders say besides what PEFT does.
pub(crate) const OWN_FILE: &str = "souffleur.json";

/// What PEFT saves beside a change of the output matrix: that matrix. It is the base's own; where the
/// vocabulary has grown, the change's shape says so.
pub(crate) const COPY_OF_HEAD: &str = "base_model.model.lm_head.base_layer.weight";

/// A low-rank change of a decoder's matrices.
#[derive(Debug)]
pub struct Adapter {
    /// The name of its folder or file.
    pub name: String,
    /// Its folder or file.
    pub path: PathBuf,
    /// The fingerprint of the base that it was checked against.
    base: String,
    /// One per layer of the decoder.
    pub(crate) layers: Vec<LayerAdapter>,
    /// The change of the output matrix.
    pub(crate) head: Option<LowRank>,
}

/// The changes of one layer; none where the adapter leaves a matrix as it is.
#[derive(Debug, Default)]
pub(crate) struct LayerAdapter {
    pub(crate) q: Option<LowRank>,
    pub(crate) k: Option<LowRank>,
    pub(crate) v: Option<LowRank>,
    pub(crate) o: Option<LowRank>,
    pub(crate) gate: Option<LowRank>,
    pub(crate) up: Option<LowRank>,
    pub(crate) down: Option<LowRank>,
}

/// `y += b · (a · x)`
#[derive(Debug)]
pub(crate) struct LowRank {
    /// (rank, n_in)
    pub(crate) a: Tensor,
    /// (n_out, rank), already multiplied by the scale.
    pub(crate) b: Tensor,
}

/// Why an adapter cannot be used.
#[derive(Debug, Error)]
pub enum AdapterError {
    /// A file is missing or cannot be read.
    #[error("could not read `{}` of the adapter: name the folder that PEFT saved", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file does not follow its format, or its parts contradict each other.
    #[error("the adapter's `{}` is damaged: {reason}; save or copy it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is sound, but needs something that is not implemented.
    #[error(
        "the adapter `{}` needs {what}, which is not supported: train it with plain LoRA on the \
         attention and feed-forward matrices", path.display()
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The option, by its name in the file.
        what: String,
    },
    /// It was trained on another model.
    #[error(
        "the adapter `{}` is for another base than this model: {reason}{}; choose the model that it \
         was trained on", path.display(), hint(base)
    )]
    OtherBase {
        /// The adapter.
        path: PathBuf,
        /// What disagrees.
        reason: String,
        /// What the adapter says of its base.
        base: Option<String>,
    },
    /// The model's own files could not be read.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The tensor library failed.
    #[error("could not read the adapter's factors")]
    Tensors(#[from] candle_core::Error),
}

fn hint(base: &Option<String>) -> String {
    base.as_ref().map_or_else(String::new, |it| format!(" (it names `{it}`)"))
}

/// What an adapter is checked against.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) config: Config,
    /// See [`fingerprint`].
    pub(crate) fingerprint: String,
    /// Whether its output matrix is that of the embeddings.
    pub(crate) is_tied: bool,
}

impl Base {
    pub(crate) fn of(decoder: &Decoder) -> Self {
        let of_layer = |it: &Layer| [it.input_norm.clone(), it.post_attention_norm.clone()];
        let norms = decoder.layers.iter().flat_map(of_layer).chain([decoder.norm.clone()]);
        let values = |it: Tensor| it.to_vec1().expect("a norm is a vector in main memory");
        let norms: Vec<Vec<f32>> = norms.map(values).collect();
        let is_tied = decoder.lm_head.is_none();
        Self { config: decoder.config.clone(), fingerprint: fingerprint(&norms), is_tied }
    }

    /// That of a model on disk, without loading its matrices.
    pub(crate) fn read(model: &Path) -> Result<Self, LoadError> {
        let Outline { config, norms, is_tied } = load_decoder::read_outline(model)?;
        Ok(Self { config, fingerprint: fingerprint(&norms), is_tied })
    }
}

/// Tells base models apart, whatever form their weights are stored in: a hash over the weights of
/// their norms, which every form stores exactly.
fn fingerprint(norms: &[Vec<f32>]) -> String {
    let mut hash = Sha256::new();
    for norm in norms {
        hash.update((norm.len() as u64).to_le_bytes());
        for value in norm {
            hash.update(value.to_le_bytes());
        }
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    hex[..32].to_owned()
}

impl Adapter {
    /// Reads a PEFT folder or a GGUF file for a model on disk, whose matrices are not loaded.
    ///
    /// # Errors
    /// When either cannot be read, or they are not made for each other.
    pub fn open(path: &Path, model: &Path) -> Result<Self, AdapterError> {
        Self::load(path, &Base::read(model)?)
    }

    /// The fingerprint of the base that it was checked against.
    pub fn base_fingerprint(&self) -> &str {
        &self.base
    }

    /// Loads a PEFT folder or a GGUF file for a decoder.
    pub(crate) fn load(path: &Path, base: &Base) -> Result<Self, AdapterError> {
        let is_gguf = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gguf"));
        let mut parts = if is_gguf { read_gguf(path, &base.config)? } else { read_folder(path)? };
        if let Some(expected) = parts.fingerprint.take() {
            check_fingerprint(path, &expected, base, parts.base.as_ref())?;
        }
        let name = if is_gguf { path.file_stem() } else { path.file_name() };
        let name = name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (layers, head) = parts.into_changes(path, &base.config)?;
        Ok(Self { name, path: path.to_owned(), base: base.fingerprint.clone(), layers, head })
    }

    /// All changes, in the order of [`Matrix::all`].
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Matrix, &LowRank)> {
        let all = Matrix::all(self.layers.len());
        all.filter_map(|matrix| Some((matrix, self.change(matrix)?)))
    }

    /// The change of a matrix, if there is one.
    pub(crate) fn change(&self, matrix: Matrix) -> Option<&LowRank> {
        match matrix {
            Matrix::Layer(layer, module) => self.layers.get(layer)?.get(module),
            Matrix::Head => self.head.as_ref(),
        }
    }

    /// Refuses a model other than the one that it was loaded for.
    pub(crate) fn check_base(&self, base: &Base) -> Result<(), AdapterError> {
        check_fingerprint(&self.path, &self.base, base, None)
    }
}

#[cfg(test)]
impl Adapter {
    /// Multiplies all that it changes.
    pub(crate) fn scale(&mut self, factor: f64) {
        for layer in &mut self.layers {
            for module in Module::ALL {
                let Some(LowRank { a, b }) = layer.get(module) else { continue };
                let b = (b * factor).expect("a number can be multiplied");
                layer.set(module, LowRank { a: a.clone(), b });
            }
        }
        if let Some(LowRank { b, .. }) = &mut self.head {
            *b = (&*b * factor).expect("a number can be multiplied");
        }
    }
}

impl LayerAdapter {
    pub(crate) fn get(&self, module: Module) -> Option<&LowRank> {
        match module {
            Module::Q => self.q.as_ref(),
            Module::K => self.k.as_ref(),
            Module::V => self.v.as_ref(),
            Module::O => self.o.as_ref(),
            Module::Gate => self.gate.as_ref(),
            Module::Up => self.up.as_ref(),
            Module::Down => self.down.as_ref(),
        }
    }

    fn set(&mut self, module: Module, value: LowRank) {
        let place = match module {
            Module::Q => &mut self.q,
            Module::K => &mut self.k,
            Module::V => &mut self.v,
            Module::O => &mut self.o,
            Module::Gate => &mut self.gate,
            Module::Up => &mut self.up,
            Module::Down => &mut self.down,
        };
        *place = Some(value);
    }
}

impl LowRank {
    /// What is added to the weight. result: (n_out, n_in), row-major
    pub(crate) fn delta(&self) -> candle_core::Result<Vec<f32>> {
        self.b.matmul(&self.a)?.flatten_all()?.to_vec1()
    }
}

/// A factor in f32, row-major.
struct Factor {
    shape: (usize, usize),
    values: Vec<f32>,
}

/// The two factors of a change, as far as they have been read.
#[derive(Default)]
struct Factors {
    a: Option<Factor>,
    b: Option<Factor>,
    /// What `b` is multiplied with, from the rank.
    alpha: f64,
}

/// What a folder or file holds, before it is checked against a decoder.
struct Parts {
    factors: BTreeMap<Matrix, Factors>,
    /// Whether the scale is alpha / √rank instead of alpha / rank (Kalajdzievski 2023).
    rslora: bool,
    /// The rank that the settings promise for all matrices, where they promise one.
    rank: Option<usize>,
    /// What the adapter says of its base: a hint only.
    base: Option<String>,
    /// Our own record of the base.
    fingerprint: Option<String>,
}

impl Parts {
    /// Checks every pair of factors against the decoder's shapes.
    fn into_changes(
        self,
        path: &Path,
        config: &Config,
    ) -> Result<(Vec<LayerAdapter>, Option<LowRank>), AdapterError> {
        let corrupt = |reason: String| AdapterError::Corrupt { path: path.to_owned(), reason };
        let other = |reason: String| AdapterError::OtherBase {
            path: path.to_owned(),
            reason,
            base: self.base.clone(),
        };
        if self.factors.is_empty() {
            return Err(corrupt("it changes no matrix".to_owned()));
        }
        let mut layers: Vec<LayerAdapter> =
            (0..config.n_layers).map(|_| LayerAdapter::default()).collect();
        let mut head = None;
        for (matrix, Factors { a, b, alpha }) in self.factors {
            let at = format!("`{}`", matrix.checkpoint());
            let (Some(a), Some(mut b)) = (a, b) else {
                return Err(corrupt(format!("{at} has one of two factors")));
            };
            let n_layers = config.n_layers;
            if let Matrix::Layer(idx, _) = matrix
                && idx >= n_layers
            {
                return Err(other(format!("it changes layer {idx} of {n_layers}")));
            }
            let rank = a.shape.0;
            if rank == 0 || b.shape.1 != rank || self.rank.is_some_and(|it| it != rank) {
                let (a, b, r) = (a.shape, b.shape, self.rank);
                return Err(corrupt(format!("{at}: factors {a:?} and {b:?} for rank {r:?}")));
            }
            let (found, expected) = ((b.shape.0, a.shape.1), matrix.shape(config));
            if found != expected {
                return Err(other(format!("{at} is {expected:?} in the model, {found:?} in it")));
            }
            if !a.values.iter().chain(&b.values).all(|it| it.is_finite()) {
                return Err(corrupt(format!("{at} holds values that are no numbers")));
            }
            let rank = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
            let scale = (alpha / rank) as f32;
            b.values.iter_mut().for_each(|it| *it *= scale);
            let change = LowRank { a: a.tensor(), b: b.tensor() };
            match matrix {
                Matrix::Layer(idx, module) => layers[idx].set(module, change),
                Matrix::Head => head = Some(change),
            }
        }
        Ok((layers, head))
    }
}

impl Factor {
    fn tensor(self) -> Tensor {
        Tensor::from_vec(self.values, self.shape, &Device::Cpu)
            .expect("a matrix has the values that its shape says")
    }
}

fn check_fingerprint(
    path: &Path,
    expected: &str,
    base: &Base,
    hint: Option<&String>,
) -> Result<(), AdapterError> {
    let found = &base.fingerprint;
    if expected == found {
        return Ok(());
    }
    let reason = format!("its base has fingerprint {expected}, the model {found}");
    Err(AdapterError::OtherBase { path: path.to_owned(), reason, base: hint.cloned() })
}

/// An error of reading a model's file, about an adapter's.
fn of_adapter(error: LoadError) -> AdapterError {
    match error {
        LoadError::Read { path, source } => AdapterError::Read { path, source },
        LoadError::Corrupt { path, reason } => AdapterError::Corrupt { path, reason },
        LoadError::Tensor { path, tensor, reason } => {
            AdapterError::Corrupt { path, reason: format!("tensor `{tensor}` {reason}") }
        }
        LoadError::Unsupported { path, what } => AdapterError::Unsupported { path, what },
        other => AdapterError::Model(other),
    }
}

fn read_folder(dir: &Path) -> Result<Parts, AdapterError> {
    let path = dir.join("adapter_config.json");
    let settings = Settings::read(&path)?;
    let own = dir.join(OWN_FILE);
    let fingerprint = match own.is_file() {
        true => {
            let own_map = read_object(&own).map_err(of_adapter)?;
            own_map.get("base").and_then(Value::as_str).map(str::to_owned)
        }
        false => None,
    };
    let path = dir.join("adapter_model.safetensors");
    if !path.is_file() && dir.join("adapter_model.bin").is_file() {
        let what = "weights in Python's pickle format (save it with safe_serialization=True)";
        return Err(AdapterError::Unsupported { path: dir.to_owned(), what: what.to_owned() });
    }
    let file = Safetensors::open(&path).map_err(of_adapter)?;
    let mut factors: BTreeMap<Matrix, Factors> = BTreeMap::new();
    for name in file.names().into_iter().filter(|&it| it != COPY_OF_HEAD) {
        let unknown = || AdapterError::Unsupported {
            path: path.clone(),
            what: format!("a change of `{name}`"),
        };
        let inner = name.strip_prefix("base_model.model.").ok_or_else(unknown)?;
        let inner = inner.strip_prefix("model.").unwrap_or(inner);
        let inner = inner.strip_suffix(".weight").ok_or_else(unknown)?;
        let (matrix_name, factor) = inner.rsplit_once('.').ok_or_else(unknown)?;
        let matrix = Matrix::parse(matrix_name).ok_or_else(unknown)?;
        let &[rows, columns] = file.shape(name).unwrap_or_default() else {
            return Err(unknown());
        };
        let values = file.read(name, &[rows, columns]).map_err(of_adapter)?;
        let values = Some(Factor { shape: (rows, columns), values });
        let entry = factors.entry(matrix).or_default();
        entry.alpha = settings.alpha_of(matrix_name);
        match factor {
            "lora_A" => entry.a = values,
            "lora_B" => entry.b = values,
            _ => return Err(unknown()),
        }
    }
    let Settings { rslora, rank, base, .. } = settings;
    Ok(Parts { factors, rslora, rank, base, fingerprint })
}

fn read_gguf(path: &Path, config: &Config) -> Result<Parts, AdapterError> {
    let file = Gguf::open(path).map_err(of_adapter)?;
    let unsupported = |what: String| AdapterError::Unsupported { path: path.to_owned(), what };
    let (kind, form) = (file.text("general.type"), file.text("adapter.type"));
    if kind != Some("adapter") || form != Some("lora") {
        return Err(unsupported(format!("a file of type {kind:?}, {form:?}: it holds no LoRA")));
    }
    let alpha = file.find_real("adapter.lora.alpha").map_err(of_adapter)?;
    let alpha = alpha.ok_or_else(|| AdapterError::Corrupt {
        path: path.to_owned(),
        reason: "`adapter.lora.alpha` is missing".to_owned(),
    })?;
    let is_paired = load_decoder::row_order(&file).is_some();
    let mut factors: BTreeMap<Matrix, Factors> = BTreeMap::new();
    for name in file.tensor_names() {
        let unknown = || unsupported(format!("a change of `{name}`"));
        let (matrix_name, factor) = name.split_once(".weight.").ok_or_else(unknown)?;
        let matrix = Matrix::parse_gguf(matrix_name).ok_or_else(unknown)?;
        let stored = file.stored(name).map_err(of_adapter)?;
        let &[rows, columns] = stored.shape else { return Err(unknown()) };
        let values = numbers(stored.kind, stored.bytes)
            .ok_or_else(|| unsupported(format!("factors of type {:?}", stored.kind)))?;
        let mut values = Factor { shape: (rows, columns), values };
        let entry = factors.entry(matrix).or_default();
        entry.alpha = f64::from(alpha);
        match factor {
            "lora_a" => entry.a = Some(values),
            "lora_b" => {
                if is_paired && matrix.is_rotated() && rows.is_multiple_of(config.head_dim) {
                    let order = (0..rows).map(|row| paired_row(row, config.head_dim));
                    values.values = order
                        .flat_map(|it| &values.values[it * columns..][..columns])
                        .copied()
                        .collect();
                }
                entry.b = Some(values);
            }
            _ => return Err(unknown()),
        }
    }
    Ok(Parts { factors, rslora: false, rank: None, base: None, fingerprint: None })
}

#[cfg(test)]
mod tests;
