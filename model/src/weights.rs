//! Tensors of safetensors files, memory-mapped and checked against the shapes that are expected.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorInfo};

use crate::LoadError;

/// An open safetensors file.
#[derive(Debug)]
pub(crate) struct Safetensors {
    path: PathBuf,
    map: Mmap,
    tensors: HashMap<String, TensorInfo>,
    data_start: usize,
}

impl Safetensors {
    /// Opens the file and checks that it holds all that its header promises.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let map = map_file(path)?;
        let (header_len, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
            LoadError::Corrupt { path: path.to_owned(), reason: error.to_string() }
        })?;
        // The format begins with the header's length in 8 bytes, then the header, then the data.
        let data_start = header_len + 8;
        let tensors =
            metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Self { path: path.to_owned(), map, tensors, data_start })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All values of a tensor as f32.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let mut res = vec![0.0; shape.iter().product()];
        self.table(name, shape)?.read_at(&self.map, 0, &mut res);
        Ok(res)
    }

    /// Reads `out.len()` values of `table`, from value `start` on.
    pub(crate) fn read_at(&self, table: &Table, start: usize, out: &mut [f32]) {
        table.read_at(&self.map, start, out);
    }

    /// A tensor's numbers as they are stored, in little-endian order.
    pub(crate) fn stored(&self, name: &str, shape: &[usize]) -> Result<(Kind, &[u8]), LoadError> {
        let Table { kind, start } = self.table(name, shape)?;
        let n_bytes = shape.iter().product::<usize>() * kind.n_bytes();
        Ok((kind, &self.map[start..][..n_bytes]))
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A tensor's shape, outermost first.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|it| it.shape.as_slice())
    }

    /// The whole file, and where each tensor's bytes lie in it.
    pub(crate) fn layout(&self) -> (&[u8], Vec<(&str, Range<usize>)>) {
        let place = |it: &TensorInfo| {
            self.data_start + it.data_offsets.0..self.data_start + it.data_offsets.1
        };
        let mut places: Vec<(&str, Range<usize>)> =
            self.tensors.iter().map(|(name, it)| (name.as_str(), place(it))).collect();
        places.sort_unstable_by_key(|(_, range)| range.start);
        (&self.map, places)
    }

    /// Where a tensor lies, for reading parts of it later.
    pub(crate) fn table(&self, name: &str, shape: &[usize]) -> Result<Table, LoadError> {
        let info = self.info(name)?;
        if info.shape != shape {
            let reason = format!("has shape {:?} instead of {shape:?}", info.shape);
            return Err(self.tensor_error(name, reason));
        }
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            other => {
                let reason = format!("has type {other:?}; f32, f16 and bf16 can be read");
                return Err(self.tensor_error(name, reason));
            }
        };
        Ok(Table { kind, start: self.data_start + info.data_offsets.0 })
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, LoadError> {
        self.tensors.get(name).ok_or_else(|| self.tensor_error(name, "is missing".to_owned()))
    }

    fn tensor_error(&self, name: &str, reason: String) -> LoadError {
        LoadError::Tensor { path: self.path.clone(), tensor: name.to_owned(), reason }
    }
}

/// A tensor's place and type in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    kind: Kind,
    start: usize,
}

/// Types of numbers that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
}

impl Kind {
    pub(crate) fn n_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Numbers in the form that they are stored in, rounded to the nearest.
    pub(crate) fn to_bytes(self, values: &[f32]) -> Vec<u8> {
        let mut res = Vec::with_capacity(values.len() * self.n_bytes());
        for &value in values {
            match self {
                Self::F32 => res.extend(value.to_le_bytes()),
                Self::F16 => res.extend(f16::from_f32(value).to_le_bytes()),
                Self::Bf16 => res.extend(bf16::from_f32(value).to_le_bytes()),
            }
        }
        res
    }
}

impl Table {
    fn read_at(&self, map: &[u8], start: usize, out: &mut [f32]) {
        match self.kind {
            Kind::F32 => {
                let bytes = &map[self.start + start * 4..][..out.len() * 4];
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Kind::F16 => {
                let bytes = &map[self.start + start * 2..][..out.len() * 2];
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Kind::Bf16 => {
                let bytes = &map[self.start + start * 2..][..out.len() * 2];
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *out = bf16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// Maps a file into memory, so that weights are read when they are first touched.
#[expect(unsafe_code, reason = "memory-mapped weights start in a fraction of the time")]
pub(crate) fn map_file(path: &Path) -> Result<Mmap, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let file = fs_err::File::open(path).map_err(read)?;
    // SAFETY: model files are written under another name and moved into place when complete, and
    // never changed afterwards, so no one writes to the mapped bytes. Were the file truncated while
    // mapped, the system would stop the process; it could not read freed memory.
    unsafe { Mmap::map(file.file()) }.map_err(read)
}
