//! The weights of a model folder, whatever form they were saved in: one safetensors file, several
//! with an index, or PyTorch's pickle.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::LoadError;
use crate::pickle;
use crate::weights::{Safetensors, Table};

/// How PyTorch names the weights that it pickles.
const PICKLED: &str = "pytorch_model.bin";

/// The open files of a folder and which tensor is in which.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    files: Vec<Safetensors>,
    /// Which of `files` holds a tensor, by the tensor's name.
    homes: HashMap<String, usize>,
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
struct ShardIndex {
    /// Tensor to file.
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens the [`weights_files`] of a folder.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for path in weights_files(dir)? {
            files.push(if path.ends_with(PICKLED) {
                pickle::open(&path)?
            } else {
                Safetensors::open(&path)?
            });
        }
        let mut homes = HashMap::new();
        for (idx, file) in files.iter().enumerate() {
            homes.extend(file.names().map(|name| (name.to_owned(), idx)));
        }
        Ok(Self { files, homes })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.homes.contains_key(name)
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.home(name).shape(name)
    }

    /// All values of a tensor as f32.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        self.home(name).read(name, shape)
    }

    /// Keeps only the file with the matrix `name`, to read its rows later. shape: (rows, width)
    pub(crate) fn into_rows(mut self, name: &str, shape: [usize; 2]) -> Result<Rows, LoadError> {
        let idx = self.homes.get(name).copied().unwrap_or(0);
        let file = self.files.swap_remove(idx);
        let table = file.table(name, &shape)?;
        Ok(Rows { file, table, width: shape[1] })
    }

    /// The file with a tensor; for a tensor that is nowhere the first one, whose error names it.
    fn home(&self, name: &str) -> &Safetensors {
        &self.files[self.homes.get(name).copied().unwrap_or(0)]
    }
}

/// The files that hold a folder's weights: the first of `model.safetensors`, what
/// `model.safetensors.index.json` names, and `pytorch_model.bin` that is there.
///
/// # Errors
///
/// When the index is damaged or names files elsewhere. A file that is missing is found when it is
/// opened.
pub fn weights_files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    let pickled = dir.join(PICKLED);
    if !single.exists() && index.exists() {
        shards(dir, &index)
    } else if !single.exists() && pickled.exists() {
        Ok(vec![pickled])
    } else {
        // Where there is none at all, the error will name the file that most models have.
        Ok(vec![single])
    }
}

fn shards(dir: &Path, path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
    let text = fs_err::read_to_string(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let index: ShardIndex =
        serde_json::from_str(&text).map_err(|error| corrupt(error.to_string()))?;
    let names: HashSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(corrupt("it names no file".to_owned()));
    }
    let mut res = Vec::with_capacity(names.len());
    for name in names {
        // Files of the folder only: an index must not reach elsewhere on the disk.
        let mut parts = Path::new(name).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(corrupt(format!("`{name}` is not the name of a file beside it")));
        }
        res.push(dir.join(name));
    }
    Ok(res)
}
