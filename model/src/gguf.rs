//! GGUF files: metadata, and weights in the form that they are multiplied in.
//!
//! The format is described at <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, the
//! block types in ggml's `ggml-common.h`.

use std::io::Cursor;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QMatMul, ggml_file};
use half::{bf16, f16};
use memmap2::Mmap;

use crate::LoadError;
use crate::linear::Weight;
use crate::panels::{BLOCK, Block, CodeWidth, Panels};
use crate::tokenizer::Description;
use crate::weights::map_file;

/// Kinds of tokens in `tokenizer.ggml.token_type` that are matched before words are cut.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// An open GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mmap,
    content: Content,
}

/// Where row `row` of a matrix is stored, for files that store them in another order.
pub(crate) type RowOrder = fn(row: usize, head_dim: usize) -> usize;

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let map = map_file(path)?;
        let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
        // The reader divides by an alignment that it takes from the file unchecked.
        let content = catch_unwind(|| Content::read(&mut Cursor::new(&map[..])))
            .map_err(|_| corrupt("its header is nonsense".to_owned()))?
            .map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { path: path.to_owned(), map, content })
    }

    pub(crate) fn unsupported(&self, what: String) -> LoadError {
        LoadError::Unsupported { path: self.path.clone(), what }
    }

    pub(crate) fn corrupt(&self, reason: String) -> LoadError {
        LoadError::Corrupt { path: self.path.clone(), reason }
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }

    /// A text of the metadata.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.value(key)?.to_string().ok().map(String::as_str)
    }

    /// A whole number of the metadata that may be absent.
    pub(crate) fn find_number(&self, key: &str) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        whole_number(value)
            .and_then(|number| usize::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| self.corrupt(format!("`{key}` is not a whole number")))
    }

    /// A whole number of the metadata.
    pub(crate) fn number(&self, key: &str) -> Result<usize, LoadError> {
        self.find_number(key)?.ok_or_else(|| self.corrupt(format!("`{key}` is missing")))
    }

    /// A real number of the metadata that may be absent.
    pub(crate) fn find_real(&self, key: &str) -> Result<Option<f32>, LoadError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let real = value.to_f32().or_else(|_| value.to_f64().map(|it| it as f32));
        real.map(Some).map_err(|_| self.corrupt(format!("`{key}` is not a real number")))
    }

    /// The tokenizer, which the file must carry.
    pub(crate) fn tokenizer(&self) -> Result<Description, LoadError> {
        let kind = self.text("tokenizer.ggml.model").unwrap_or("none");
        if kind != "gpt2" {
            return Err(self.unsupported(format!("a tokenizer of kind `{kind}`")));
        }
        let mut special = Vec::new();
        if let Some(Ok(kinds)) = self.value("tokenizer.ggml.token_type").map(Value::to_vec) {
            for (kind, id) in kinds.iter().zip(0..) {
                if whole_number(kind).is_some_and(|it| it == CONTROL || it == USER_DEFINED) {
                    special.push(id);
                }
            }
        }
        Ok(Description {
            path: self.path.clone(),
            pre: self.text("tokenizer.ggml.pre").unwrap_or("gpt2").to_owned(),
            tokens: self.texts("tokenizer.ggml.tokens")?,
            merges: self.texts("tokenizer.ggml.merges")?,
            special,
        })
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, LoadError> {
        let missing = || self.corrupt(format!("`{key}` is missing or no list of texts"));
        let values = self.value(key).ok_or_else(missing)?.to_vec().map_err(|_| missing())?;
        values.iter().map(|value| value.to_string().cloned().map_err(|_| missing())).collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// A tensor's type and bytes.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<(GgmlDType, &[u8]), LoadError> {
        let fail = |reason: String| LoadError::Tensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            reason,
        };
        let info =
            self.content.tensor_infos.get(name).ok_or_else(|| fail("is missing".to_owned()))?;
        let found = info.shape.dims();
        if found != shape {
            return Err(fail(format!("has shape {found:?} instead of {shape:?}")));
        }
        let kind = info.ggml_dtype;
        let last = shape.last().copied().unwrap_or(1);
        if !last.is_multiple_of(kind.block_size()) {
            return Err(fail(format!("has rows of {last} values, which {kind:?} cannot hold")));
        }
        let n_values: usize = shape.iter().product();
        let n_bytes = n_values / kind.block_size() * kind.type_size();
        let bytes = self
            .content
            .tensor_data_offset
            .checked_add(info.offset)
            .and_then(|start| usize::try_from(start).ok())
            .and_then(|start| self.map.get(start..)?.get(..n_bytes))
            .ok_or_else(|| fail("reaches past the end of the file".to_owned()))?;
        Ok((kind, bytes))
    }

    /// A tensor of few values as f32.
    pub(crate) fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let (kind, bytes) = self.tensor(name, &[n])?;
        self.to_f32(name, kind, bytes)
    }

    fn to_f32(&self, name: &str, kind: GgmlDType, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
        match kind {
            GgmlDType::F32 => {
                Ok(bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect())
            }
            GgmlDType::F16 => {
                Ok(bytes.as_chunks().0.iter().map(|it| f16::from_le_bytes(*it).to_f32()).collect())
            }
            GgmlDType::BF16 => {
                Ok(bytes.as_chunks().0.iter().map(|it| bf16::from_le_bytes(*it).to_f32()).collect())
            }
            other => Err(LoadError::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                reason: format!("has type {other:?}, where plain numbers are expected"),
            }),
        }
    }

    /// A matrix of shape (n_out, n_in).
    pub(crate) fn matrix(
        &self,
        name: &str,
        (n_out, n_in): (usize, usize),
        order: Option<(RowOrder, usize)>,
    ) -> Result<Weight, LoadError> {
        let (kind, bytes) = self.tensor(name, &[n_out, n_in])?;
        let row_bytes = n_in / kind.block_size() * kind.type_size();
        let stored = |row: usize| order.map_or(row, |(order, head_dim)| order(row, head_dim));
        if let Some((width, decode)) = block_format(kind) {
            let n_bytes = kind.type_size();
            let panels = Panels::from_blocks((n_out, n_in), width, |row, idx| {
                decode(&bytes[stored(row) * row_bytes + idx * n_bytes..][..n_bytes])
            });
            return Ok(Weight::Panels(panels));
        }
        let ordered: Vec<u8>;
        let bytes = if order.is_some() {
            ordered = (0..n_out)
                .flat_map(|row| &bytes[stored(row) * row_bytes..][..row_bytes])
                .copied()
                .collect();
            &ordered
        } else {
            bytes
        };
        if matches!(kind, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16) {
            let values = self.to_f32(name, kind, bytes)?;
            return Ok(Weight::Panels(Panels::from_f32(&values, n_in)));
        }
        let failed = |source| LoadError::Tensors { path: self.path.clone(), source };
        let tensor = ggml_file::qtensor_from_ggml(kind, bytes, vec![n_out, n_in], &Device::Cpu)
            .map_err(failed)?;
        Ok(Weight::Blocks(QMatMul::from_qtensor(tensor).map_err(failed)?))
    }
}

fn whole_number(value: &Value) -> Option<u64> {
    value.to_u64().ok().or_else(|| match value {
        Value::I8(it) => u64::try_from(*it).ok(),
        Value::I16(it) => u64::try_from(*it).ok(),
        Value::I32(it) => u64::try_from(*it).ok(),
        Value::I64(it) => u64::try_from(*it).ok(),
        _ => None,
    })
}

/// Reads one stored block of 32 weights.
type Decode = fn(&[u8]) -> Block;

/// How to read the types that have one scale per 32 weights; none for the others.
fn block_format(kind: GgmlDType) -> Option<(CodeWidth, Decode)> {
    match kind {
        GgmlDType::Q4_0 => Some((CodeWidth::Four, q4_0)),
        GgmlDType::Q4_1 => Some((CodeWidth::Four, q4_1)),
        GgmlDType::Q5_0 => Some((CodeWidth::Eight, q5_0)),
        GgmlDType::Q5_1 => Some((CodeWidth::Eight, q5_1)),
        GgmlDType::Q8_0 => Some((CodeWidth::Eight, q8_0)),
        _ => None,
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 16 bytes, the first 16 codes in their low halves, the last 16 in their high halves.
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    std::array::from_fn(|idx| {
        let byte = bytes[idx % 16];
        (if idx < 16 { byte & 15 } else { byte >> 4 }).cast_signed()
    })
}

/// The same with a fifth bit of each code in the four bytes before.
fn five_bits(bytes: &[u8]) -> [i8; BLOCK] {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let low = nibbles(&bytes[4..]);
    std::array::from_fn(|idx| low[idx] | (((high >> idx) & 1) << 4) as i8)
}

fn q4_0(bytes: &[u8]) -> Block {
    let scale = half_at(bytes, 0);
    Block { codes: nibbles(&bytes[2..]), scale, min: -8.0 * scale }
}

fn q4_1(bytes: &[u8]) -> Block {
    Block { codes: nibbles(&bytes[4..]), scale: half_at(bytes, 0), min: half_at(bytes, 2) }
}

fn q5_0(bytes: &[u8]) -> Block {
    let codes = five_bits(&bytes[2..]).map(|code| code - 16);
    Block { codes, scale: half_at(bytes, 0), min: 0.0 }
}

fn q5_1(bytes: &[u8]) -> Block {
    Block { codes: five_bits(&bytes[4..]), scale: half_at(bytes, 0), min: half_at(bytes, 2) }
}

fn q8_0(bytes: &[u8]) -> Block {
    let codes = std::array::from_fn(|idx| bytes[2 + idx].cast_signed());
    Block { codes, scale: half_at(bytes, 0), min: 0.0 }
}
