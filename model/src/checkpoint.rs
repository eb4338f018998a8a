//! A folder with `config.json` and weights: in one safetensors file or several, or, for encoders,
//! in PyTorch's pickle.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::LoadError;
use crate::halves::HalfKind;
use crate::linear::Weight;
use crate::panels::Panels;
use crate::pickle;
use crate::weights::{Kind, Safetensors, Table};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How PyTorch names the weights that it pickles.
const PICKLED: &str = "pytorch_model.bin";

/// The weights of a folder.
pub(crate) struct Checkpoint {
    dir: PathBuf,
    shards: Vec<Safetensors>,
    /// The shard that holds a tensor.
    shard_of: HashMap<String, usize>,
}

/// A matrix that is read row by row from its file.
#[derive(Debug)]
pub(crate) struct Rows {
    file: Safetensors,
    table: Table,
    width: usize,
}

impl Rows {
    /// Reads row `idx`. out: (width)
    pub(crate) fn read(&self, idx: usize, out: &mut [f32]) {
        self.file.read_at(&self.table, idx * self.width, out);
    }
}

/// What `model.safetensors.index.json` says.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens the [`weight_files`] of a folder.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        Self::of_files(dir, &weight_files(dir)?)
    }

    /// Opens the [`encoder_files`] of a folder.
    pub(crate) fn open_encoder(dir: &Path) -> Result<Self, LoadError> {
        Self::of_files(dir, &encoder_files(dir)?)
    }

    fn of_files(dir: &Path, files: &[PathBuf]) -> Result<Self, LoadError> {
        let mut shards = Vec::with_capacity(files.len());
        let mut shard_of = HashMap::new();
        for (idx, path) in files.iter().enumerate() {
            let shard = if path.ends_with(PICKLED) {
                pickle::open(path)?
            } else {
                Safetensors::open(path)?
            };
            shard_of.extend(shard.names().into_iter().map(|name| (name.to_owned(), idx)));
            shards.push(shard);
        }
        Ok(Self { dir: dir.to_owned(), shards, shard_of })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.shard_of.contains_key(name)
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of all tensors, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shard_of.keys().map(String::as_str)
    }

    /// A tensor's shape, outermost first.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shard_of.get(name).and_then(|&idx| self.shards[idx].shape(name))
    }

    /// All values of a tensor as f32.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.shard(name)?.read(name, shape)
    }

    /// A tensor of few values as f32.
    pub(crate) fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        self.read(name, &[n])
    }

    /// Keeps only the file with the matrix `name`, to read its rows later. shape: (rows, width)
    pub(crate) fn into_rows(mut self, name: &str, shape: [usize; 2]) -> Result<Rows, LoadError> {
        let table = self.shard(name)?.table(name, &shape)?;
        let file = self.shards.swap_remove(self.shard_of[name]);
        Ok(Rows { file, table, width: shape[1] })
    }

    /// A matrix of shape (n_out, n_in), in the type that it is stored in.
    pub(crate) fn matrix(
        &self,
        name: &str,
        (n_out, n_in): (usize, usize),
    ) -> Result<Weight, LoadError> {
        let shard = self.shard(name)?;
        let (kind, bytes) = shard.stored(name, &[n_out, n_in])?;
        let half = match kind {
            Kind::F32 => {
                let values = shard.read(name, &[n_out, n_in])?;
                return Ok(Weight::Panels(Panels::from_f32(&values, n_in)));
            }
            Kind::F16 => HalfKind::F16,
            Kind::Bf16 => HalfKind::Bf16,
        };
        let row = |row: usize| &bytes[row * n_in * 2..][..n_in * 2];
        Ok(Weight::Panels(Panels::from_halves((n_out, n_in), half, row)))
    }

    fn shard(&self, name: &str) -> Result<&Safetensors, LoadError> {
        self.shard_of.get(name).map(|&idx| &self.shards[idx]).ok_or_else(|| LoadError::Tensor {
            path: self.dir.clone(),
            tensor: name.to_owned(),
            reason: "is missing".to_owned(),
        })
    }
}

/// The files that hold an encoder's weights: safetensors files, else `pytorch_model.bin`.
///
/// # Errors
///
/// When there are none, or the index of several is damaged or names files that are not there.
pub fn encoder_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let pickled = dir.join(PICKLED);
    let in_safetensors = dir.join(SINGLE).is_file() || dir.join(INDEX).is_file();
    if !in_safetensors && pickled.is_file() {
        return Ok(vec![pickled]);
    }
    weight_files(dir)
}

/// The safetensors files that hold a folder's weights, in the order of their names.
pub(crate) fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let path = dir.join(INDEX);
    if !path.is_file() {
        let what =
            match [PICKLED, "pytorch_model.bin.index.json"].iter().any(|it| dir.join(it).is_file())
            {
                true => {
                    "weights in Python's pickle format, which can run code: convert them to \
                     safetensors"
                }
                false => "it has neither model.safetensors nor model.safetensors.index.json",
            };
        return Err(LoadError::Unsupported { path: dir.to_owned(), what: what.to_owned() });
    }
    let corrupt = |reason: String| LoadError::Corrupt { path: path.clone(), reason };
    let text =
        fs_err::read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if names.is_empty() {
        return Err(corrupt("it names no file".to_owned()));
    }
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        // A name is a file of this folder, never a path that leads out of it.
        if Path::new(name).file_name().is_none_or(|it| it != name) {
            return Err(corrupt(format!("`{name}` is not the name of a file in the folder")));
        }
        let file = dir.join(name);
        if !file.is_file() {
            let n_tensors = index.weight_map.values().filter(|it| *it == name).count();
            return Err(LoadError::MissingPart { path: file, n_tensors });
        }
        files.push(file);
    }
    Ok(files)
}
