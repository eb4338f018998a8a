//! GGUF files: metadata, and weights in the form that they are multiplied in.
//!
//! The format is described at <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, the
//! block types in ggml's `ggml-common.h`.

use std::collections::HashMap;
use std::io::Cursor;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use half::{bf16, f16};
use memmap2::Mmap;

use crate::LoadError;
use crate::build_tokenizer::{Alphabet, Description};
use crate::gguf_blocks::BlockFormat;
use crate::halves::HalfKind;
use crate::linear::Weight;
use crate::names::RowOrder;
use crate::panels::Panels;
use crate::weights::map_file;

/// Kinds of tokens in `tokenizer.ggml.token_type` that are matched before words are cut.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// An open GGUF file, with the parts that follow it where it is split.
pub(crate) struct Gguf {
    path: PathBuf,
    metadata: HashMap<String, Value>,
    parts: Vec<Part>,
}

/// One file of a model.
struct Part {
    path: PathBuf,
    map: Mmap,
    tensors: HashMap<String, TensorInfo>,
    data_start: u64,
}

/// A tensor as it is stored.
pub(crate) struct Stored<'a> {
    pub(crate) kind: GgmlDType,
    /// Outermost first.
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let (part, metadata) = open_part(path)?;
        let mut file = Self { path: path.to_owned(), metadata, parts: vec![part] };
        let n_parts = file.find_number("split.count")?.unwrap_or(1);
        if n_parts > 1 {
            if file.find_number("split.no")?.unwrap_or(0) != 0 {
                let what = format!("one part of {n_parts}: name the first, -00001-of-");
                return Err(file.unsupported(what));
            }
            for idx in 1..n_parts {
                let path = sibling(path, idx + 1, n_parts).ok_or_else(|| {
                    file.unsupported(format!(
                        "it is the first of {n_parts} parts, and its name does not end in \
                         -00001-of-{n_parts:05}.gguf"
                    ))
                })?;
                file.parts.push(open_part(&path)?.0);
            }
        }
        Ok(file)
    }

    pub(crate) fn unsupported(&self, what: String) -> LoadError {
        LoadError::Unsupported { path: self.path.clone(), what }
    }

    pub(crate) fn corrupt(&self, reason: String) -> LoadError {
        LoadError::Corrupt { path: self.path.clone(), reason }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that the file says of itself.
    pub(crate) fn metadata(&self) -> &HashMap<String, Value> {
        &self.metadata
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
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
        let alphabet = match self.text("tokenizer.ggml.model").unwrap_or("none") {
            "gpt2" => Alphabet::Bytes,
            "llama" => Alphabet::SentencePiece {
                scores: self.scores()?,
                prefix_space: self.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true),
            },
            kind => return Err(self.unsupported(format!("a tokenizer of kind `{kind}`"))),
        };
        let mut special = Vec::new();
        if let Some(Ok(kinds)) = self.value("tokenizer.ggml.token_type").map(Value::to_vec) {
            for (kind, id) in kinds.iter().zip(0..) {
                if whole_number(kind).is_some_and(|it| it == CONTROL || it == USER_DEFINED) {
                    special.push(id);
                }
            }
        }
        let has_merges = self.metadata.contains_key("tokenizer.ggml.merges");
        Ok(Description {
            path: self.path.clone(),
            pre: self.text("tokenizer.ggml.pre").unwrap_or("gpt2").to_owned(),
            tokens: self.texts("tokenizer.ggml.tokens")?,
            merges: match alphabet {
                Alphabet::SentencePiece { .. } if !has_merges => Vec::new(),
                Alphabet::SentencePiece { .. } | Alphabet::Bytes => {
                    self.texts("tokenizer.ggml.merges")?
                }
            },
            alphabet,
            special,
        })
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.value(key)?.to_bool().ok()
    }

    fn scores(&self) -> Result<Vec<f32>, LoadError> {
        let missing = || self.corrupt("`tokenizer.ggml.scores` is no list of numbers".to_owned());
        let Some(values) = self.value("tokenizer.ggml.scores") else { return Ok(Vec::new()) };
        let values = values.to_vec().map_err(|_| missing())?;
        values.iter().map(|it| it.to_f32().map_err(|_| missing())).collect()
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, LoadError> {
        let missing = || self.corrupt(format!("`{key}` is missing or no list of texts"));
        let values = self.value(key).ok_or_else(missing)?.to_vec().map_err(|_| missing())?;
        values.iter().map(|value| value.to_string().cloned().map_err(|_| missing())).collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.parts.iter().any(|it| it.tensors.contains_key(name))
    }

    /// Names of all tensors, sorted.
    pub(crate) fn tensor_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.parts.iter().flat_map(|it| it.tensors.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// A tensor of any shape.
    pub(crate) fn stored(&self, name: &str) -> Result<Stored<'_>, LoadError> {
        let found = self.parts.iter().find_map(|it| Some((it, it.tensors.get(name)?)));
        let (part, info) =
            found.ok_or_else(|| tensor_error(&self.path, name, "is missing".to_owned()))?;
        let fail = |reason: String| tensor_error(&part.path, name, reason);
        let shape = info.shape.dims();
        let kind = info.ggml_dtype;
        let last = shape.last().copied().unwrap_or(1);
        if !last.is_multiple_of(kind.block_size()) {
            return Err(fail(format!("has rows of {last} values, which {kind:?} cannot hold")));
        }
        let past_end = || fail("reaches past the end of the file".to_owned());
        let n_values =
            shape.iter().try_fold(1usize, |n, &it| n.checked_mul(it)).ok_or_else(past_end)?;
        let n_bytes =
            (n_values / kind.block_size()).checked_mul(kind.type_size()).ok_or_else(past_end)?;
        let bytes = part
            .data_start
            .checked_add(info.offset)
            .and_then(|start| usize::try_from(start).ok())
            .and_then(|start| part.map.get(start..)?.get(..n_bytes))
            .ok_or_else(past_end)?;
        Ok(Stored { kind, shape, bytes })
    }

    /// A tensor's type and bytes.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<(GgmlDType, &[u8]), LoadError> {
        let stored = self.stored(name)?;
        if stored.shape != shape {
            let reason = format!("has shape {:?} instead of {shape:?}", stored.shape);
            return Err(tensor_error(&self.path, name, reason));
        }
        Ok((stored.kind, stored.bytes))
    }

    /// All values of a tensor of any type, row-major, as reference implementations dequantise them.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let Stored { kind, shape, bytes } = self.stored(name)?;
        if let Some(values) = numbers(kind, bytes) {
            return Ok(values);
        }
        let Some(format) = BlockFormat::of(kind) else {
            return Err(self.unsupported(format!("weights of type {kind:?} (`{name}`)")));
        };
        let (n, block) = (shape.iter().product::<usize>(), format.form.block);
        let mut res = Vec::with_capacity(n);
        for idx in 0..n / block {
            let it = format.block(kind, bytes, idx);
            res.extend(it.codes[..block].iter().map(|&code| f32::from(code) * it.scale + it.min));
        }
        Ok(res)
    }

    /// A tensor of few values as f32.
    pub(crate) fn vector(&self, name: &str, n: usize) -> Result<Vec<f32>, LoadError> {
        let (kind, bytes) = self.tensor(name, &[n])?;
        self.to_f32(name, kind, bytes)
    }

    fn to_f32(&self, name: &str, kind: GgmlDType, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
        numbers(kind, bytes).ok_or_else(|| {
            let reason = format!("has type {kind:?}, where plain numbers are expected");
            tensor_error(&self.path, name, reason)
        })
    }

    /// A matrix of shape (n_out, n_in) as numbers, row-major.
    pub(crate) fn matrix_values(
        &self,
        name: &str,
        (n_out, n_in): (usize, usize),
        order: Option<(RowOrder, usize)>,
    ) -> Result<Vec<f32>, LoadError> {
        self.tensor(name, &[n_out, n_in])?; // For its shape.
        let values = self.values(name)?;
        let Some((order, head_dim)) = order else { return Ok(values) };
        let row = |row: usize| &values[order(row, head_dim) * n_in..][..n_in];
        Ok((0..n_out).flat_map(row).copied().collect())
    }

    /// A matrix of shape (n_out, n_in) in its stored form, where that is quantised.
    pub(crate) fn quantised(
        &self,
        name: &str,
        (n_out, n_in): (usize, usize),
        order: Option<(RowOrder, usize)>,
        device: &Device,
    ) -> Result<Option<QTensor>, LoadError> {
        let (kind, bytes) = self.tensor(name, &[n_out, n_in])?;
        if BlockFormat::of(kind).is_none() {
            return Ok(None);
        }
        let row_bytes = n_in / kind.block_size() * kind.type_size();
        let place = |row: usize| order.map_or(row, |(order, head_dim)| order(row, head_dim));
        let row = |row: usize| &bytes[place(row) * row_bytes..][..row_bytes];
        let ordered: Vec<u8> = (0..n_out).flat_map(row).copied().collect();
        let tensor = QStorage::from_data(ordered.into(), device, kind)
            .and_then(|it| QTensor::new(it, (n_out, n_in)));
        tensor.map(Some).map_err(|source| LoadError::Tensors { path: self.path.clone(), source })
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
        let row = |row: usize| {
            let stored = order.map_or(row, |(order, head_dim)| order(row, head_dim));
            &bytes[stored * row_bytes..][..row_bytes]
        };
        match kind {
            GgmlDType::F32 => {
                let values: Vec<f32> = (0..n_out).flat_map(|it| f32s(row(it))).collect();
                return Ok(Weight::Panels(Panels::from_f32(&values, n_in)));
            }
            GgmlDType::F16 | GgmlDType::BF16 => {
                let half = if kind == GgmlDType::F16 { HalfKind::F16 } else { HalfKind::Bf16 };
                return Ok(Weight::Panels(Panels::from_halves((n_out, n_in), half, row)));
            }
            _ => {}
        }
        let Some(format) = BlockFormat::of(kind) else {
            return Err(self.unsupported(format!("weights of type {kind:?} (`{name}`)")));
        };
        if !candle_is_fast(kind, n_out) {
            let block = |it: usize, idx: usize| format.block(kind, row(it), idx);
            return Ok(Weight::Panels(Panels::from_blocks((n_out, n_in), format.form, block)));
        }
        let tensor = self.quantised(name, (n_out, n_in), order, &Device::Cpu)?;
        let tensor = tensor.expect("the type is a quantised one");
        let failed = |source| LoadError::Tensors { path: self.path.clone(), source };
        Ok(Weight::Blocks(QMatMul::from_qtensor(tensor).map_err(failed)?))
    }
}

/// Whether candle multiplies a type faster than our panels do: where it repacks the weights for the
/// processor's 8-bit dot products, which it does in tiles of 16 rows.
fn candle_is_fast(kind: GgmlDType, n_out: usize) -> bool {
    matches!(kind, GgmlDType::Q4K | GgmlDType::Q6K) && n_out.is_multiple_of(16)
}

fn open_part(path: &Path) -> Result<(Part, HashMap<String, Value>), LoadError> {
    let map = map_file(path)?;
    let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
    // The reader divides by an alignment that it takes from the file unchecked.
    let content = catch_unwind(|| Content::read(&mut Cursor::new(&map[..])))
        .map_err(|_| corrupt("its header is nonsense".to_owned()))?;
    let content = content.map_err(|error| {
        let reason = error.to_string();
        match reason.split_once("unknown dtype for tensor ") {
            Some((_, kind)) => {
                let kind = kind.lines().next().unwrap_or_default();
                let what = format!(
                    "weights of ggml type {kind}: take a file of type Q4_K_M, Q5_K_M, Q6_K or Q8_0"
                );
                LoadError::Unsupported { path: path.to_owned(), what }
            }
            None => corrupt(reason),
        }
    })?;
    let Content { metadata, tensor_infos: tensors, tensor_data_offset: data_start, .. } = content;
    Ok((Part { path: path.to_owned(), map, tensors, data_start }, metadata))
}

/// The path of part `part` of `n_parts`, from that of the first.
fn sibling(first: &Path, part: usize, n_parts: usize) -> Option<PathBuf> {
    let name = first.file_name()?.to_str()?;
    let stem = name.strip_suffix(&format!("-00001-of-{n_parts:05}.gguf"))?;
    Some(first.with_file_name(format!("{stem}-{part:05}-of-{n_parts:05}.gguf")))
}

fn tensor_error(path: &Path, tensor: &str, reason: String) -> LoadError {
    LoadError::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), reason }
}

fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|it| f32::from_le_bytes(*it))
}

/// The values of a tensor; none for a type that this crate does not know.
pub(crate) fn numbers(kind: GgmlDType, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks().0.iter();
    match kind {
        GgmlDType::F32 => Some(f32s(bytes).collect()),
        GgmlDType::F16 => Some(pairs().map(|it| f16::from_le_bytes(*it).to_f32()).collect()),
        GgmlDType::BF16 => Some(pairs().map(|it| bf16::from_le_bytes(*it).to_f32()).collect()),
        _ => None,
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::gguf_write::{Planned, write};
    use crate::golden::{device, path as golden};
    use crate::linear::Linear;

    #[test]
    fn every_type_is_read_as_gguf_dequantises_it_and_multiplied_exactly() {
        let file = Gguf::open(&golden("quantised.gguf")).unwrap();
        let (n_out, n_in) = (2, 512);
        let mut n_types = 0;
        for name in file.tensor_names() {
            if name.ends_with(".values") {
                continue;
            }
            n_types += 1;
            let expected = file.values(&format!("{name}.values")).unwrap();
            assert_eq!(file.values(name).unwrap(), expected, "{name}");
            let weight = file.matrix(name, (n_out, n_in), None).unwrap();
            check_product(name, &Linear::new(weight, None), &expected, (1e-6, &Device::Cpu));
            let device = device();
            if let Some(stored) = file.quantised(name, (n_out, n_in), None, &device).unwrap() {
                // As on a device: what it is multiplied with is rounded to 8 bits.
                let weight = Weight::Blocks(QMatMul::from_qtensor(stored).unwrap());
                check_product(name, &Linear::new(weight, None), &expected, (1e-2, &device));
            }
        }
        assert_eq!(n_types, 13, "all types that candle reads, but those of activations");
    }

    /// Rows of a layer are the weights, and products are those of the weights as far as `tolerance`
    /// of the sum of their terms' sizes. weights: (n_out, n_in)
    #[track_caller]
    fn check_product(
        name: &str,
        layer: &Linear,
        weights: &[f32],
        (tolerance, device): (f64, &Device),
    ) {
        let n_in = 512;
        let rows = layer.rows(&[0, 1]).unwrap().flatten_all().unwrap();
        assert_eq!(rows.to_vec1::<f32>().unwrap(), weights, "{name}");
        // One row, some, and as many as a prompt has: a GPU multiplies each in another way.
        for rows in [1, 3, 40] {
            let x: Vec<f32> = (0..rows * n_in).map(|i| ((i % 7) as f32 - 3.0) / 4.0).collect();
            let input = Tensor::from_slice(&x, (rows, n_in), device).unwrap();
            let actual = layer.forward(&input).unwrap().to_vec2::<f32>().unwrap();
            for (x, actual) in x.chunks(n_in).zip(actual) {
                for (weights, actual) in weights.chunks(n_in).zip(actual) {
                    let terms = x.iter().zip(weights).map(|(a, b)| f64::from(a * b));
                    let size: f64 = terms.clone().map(f64::abs).sum();
                    let off = (f64::from(actual) - terms.sum::<f64>()).abs();
                    assert!(off <= tolerance * size, "{name}: off by {off} of {size}");
                }
            }
        }
    }

    /// Writes some tensors of a file as part `no` of `count`.
    fn write_part(path: &Path, file: &Gguf, names: &[&str], (no, count): (u16, u16)) {
        let (no, count) = (Value::U16(no), Value::U16(count));
        let mut metadata: Vec<(&str, &Value)> =
            file.metadata().iter().map(|(key, value)| (key.as_str(), value)).collect();
        metadata.extend([("split.no", &no), ("split.count", &count)]);
        let stored: Vec<Stored<'_>> = names.iter().map(|it| file.stored(it).unwrap()).collect();
        let planned: Vec<Planned<'_>> = names
            .iter()
            .zip(&stored)
            .map(|(name, it)| Planned { name, kind: it.kind, shape: it.shape })
            .collect();
        let mut out = fs_err::File::create(path).unwrap();
        write(&mut out, &metadata, &planned, |idx| {
            Ok::<_, std::io::Error>(stored[idx].bytes.into())
        })
        .unwrap();
    }

    #[test]
    fn a_split_file_is_read_as_one_and_a_missing_part_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let part = |n: usize| dir.path().join(format!("tiny-0000{n}-of-00002.gguf"));
        let whole = Gguf::open(&golden("tiny-llama.gguf")).unwrap();
        let names = whole.tensor_names();
        let (first, second) = names.split_at(7);
        write_part(&part(1), &whole, first, (0, 2));
        let error = Gguf::open(&part(1)).err().unwrap().to_string();
        assert!(error.contains("tiny-00002-of-00002.gguf"), "{error}");
        write_part(&part(2), &whole, second, (1, 2));
        let file = Gguf::open(&part(1)).unwrap();
        assert_eq!(file.tensor_names(), names);
        for name in names {
            assert_eq!(file.values(name).unwrap(), whole.values(name).unwrap(), "{name}");
        }
        let error = Gguf::open(&part(2)).err().unwrap().to_string();
        assert!(error.contains("name the first"), "{error}");
        fs_err::rename(part(1), dir.path().join("renamed.gguf")).unwrap();
        let error = Gguf::open(&dir.path().join("renamed.gguf")).err().unwrap().to_string();
        assert!(error.contains("-00001-of-00002.gguf"), "{error}");
    }
}
