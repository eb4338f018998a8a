//! Writes GGUF files (version 3), tensor by tensor, so that a model need not fit into memory twice.

use std::borrow::Cow;
use std::io::{self, Write};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use half::f16;

/// Where tensors begin, in bytes.
const ALIGNMENT: usize = 32;
/// Weights that share a scale in Q8_0.
const BLOCK: usize = 32;

/// A tensor to be written.
pub(crate) struct Planned<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: GgmlDType,
    /// Outermost first.
    pub(crate) shape: &'a [usize],
}

impl Planned<'_> {
    fn n_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() / self.kind.block_size() * self.kind.type_size()
    }
}

/// Writes a file; `data` gives each tensor's bytes when its turn comes.
pub(crate) fn write<'a, E: From<io::Error>>(
    out: &mut impl Write,
    metadata: &[(&str, &Value)],
    tensors: &[Planned<'_>],
    mut data: impl FnMut(usize) -> Result<Cow<'a, [u8]>, E>,
) -> Result<(), E> {
    let mut head = Vec::new();
    head.extend(b"GGUF");
    head.extend(3u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut head, key);
        head.extend(type_of(value).to_le_bytes());
        put_value(&mut head, value);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut head, tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        // The file names the innermost dimension first.
        for &n in tensor.shape.iter().rev() {
            head.extend((n as u64).to_le_bytes());
        }
        head.extend(kind_id(tensor.kind).to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += tensor.n_bytes().next_multiple_of(ALIGNMENT);
    }
    pad(&mut head);
    out.write_all(&head)?;
    for idx in 0..tensors.len() {
        let bytes = data(idx)?;
        out.write_all(&bytes)?;
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        out.write_all(&[0; ALIGNMENT][..padding])?;
    }
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn type_of(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(it) => out.push(*it),
        Value::I8(it) => out.extend(it.to_le_bytes()),
        Value::U16(it) => out.extend(it.to_le_bytes()),
        Value::I16(it) => out.extend(it.to_le_bytes()),
        Value::U32(it) => out.extend(it.to_le_bytes()),
        Value::I32(it) => out.extend(it.to_le_bytes()),
        Value::F32(it) => out.extend(it.to_le_bytes()),
        Value::Bool(it) => out.push(u8::from(*it)),
        Value::String(it) => put_text(out, it),
        Value::U64(it) => out.extend(it.to_le_bytes()),
        Value::I64(it) => out.extend(it.to_le_bytes()),
        Value::F64(it) => out.extend(it.to_le_bytes()),
        Value::Array(items) => {
            // The type of an empty list is not known any more, and does not matter.
            out.extend(items.first().map_or(8, type_of).to_le_bytes());
            out.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|it| put_value(out, it));
        }
    }
}

/// The number of a type, in ggml's `ggml_type`.
fn kind_id(kind: GgmlDType) -> u32 {
    match kind {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q8_1 => 9,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::Q8K => 15,
        GgmlDType::BF16 => 30,
    }
}

/// Rounds weights to Q8_0: 8 bits each and a scale per 32, so that the largest becomes ±127.
pub(crate) fn to_q8_0(values: &[f32]) -> Vec<u8> {
    let mut res = Vec::with_capacity(values.len() / BLOCK * (BLOCK + 2));
    for block in values.as_chunks::<BLOCK>().0 {
        let largest = block.iter().fold(0.0f32, |max, it| max.max(it.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        res.extend(f16::from_f32(scale).to_le_bytes());
        res.extend(block.iter().map(|it| ((it * inverse).round() as i8).cast_unsigned()));
    }
    res
}
