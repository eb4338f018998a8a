//! PyTorch's `pytorch_model.bin`: a zip archive with a pickled description and plain tensors.
//!
//! candle's reader interprets the description: it knows the few classes that tensors are made of
//! and runs no code. The tensors themselves lie uncompressed in the archive, so they are mapped
//! into memory where they lie, as safetensors are.

use std::collections::HashMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::DType;
use candle_core::pickle::{TensorInfo as Described, read_pth_tensor_info};
use safetensors::tensor::{Dtype, TensorInfo};
use zip::{CompressionMethod, ZipArchive};

use crate::LoadError;
use crate::weights::{Safetensors, map_file};

/// Opens a file and checks that all tensors that it describes lie in it.
pub(crate) fn open(path: &Path) -> Result<Safetensors, LoadError> {
    let corrupt = |reason: String| LoadError::Corrupt { path: path.to_owned(), reason };
    let map = map_file(path)?;
    if !map.starts_with(b"PK") {
        let what = "weights pickled by PyTorch before version 1.6".to_owned();
        return Err(LoadError::Unsupported { path: path.to_owned(), what });
    }
    // candle's reader indexes into what it has read without asking how much that is; a damaged
    // description must not take the program with it.
    let read = catch_unwind(AssertUnwindSafe(|| read_pth_tensor_info(path, false, None)));
    let described = read
        .map_err(|_| corrupt("its description of tensors makes no sense".to_owned()))?
        .map_err(|error| corrupt(error.to_string()))?;
    if described.is_empty() {
        return Err(corrupt("it describes no tensors".to_owned()));
    }
    let mut archive =
        ZipArchive::new(Cursor::new(&map[..])).map_err(|error| corrupt(error.to_string()))?;
    let mut tensors = HashMap::with_capacity(described.len());
    for it in described {
        let info = place(&mut archive, &it, map.len())
            .map_err(|reason| corrupt(format!("tensor `{}` {reason}", it.name)))?;
        tensors.insert(it.name, info);
    }
    drop(archive);
    Ok(Safetensors::of_places(path, map, tensors))
}

/// Where a tensor lies, in bytes from the beginning of the file.
fn place(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    described: &Described,
    file_len: usize,
) -> Result<TensorInfo, String> {
    let dtype = match described.dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F64 => Dtype::F64,
        // Counters and masks beside the weights; reading one as a weight is refused by its type.
        _ => Dtype::I64,
    };
    let layout = &described.layout;
    if !layout.is_contiguous() {
        return Err("does not lie in rows".to_owned());
    }
    let file = archive.by_name(&described.path).map_err(|error| error.to_string())?;
    if file.compression() != CompressionMethod::Stored {
        return Err("is compressed".to_owned());
    }
    let size = usize::try_from(file.size()).map_err(|error| error.to_string())?;
    let data_start = file.data_start().ok_or("has no data")?;
    let data_start = usize::try_from(data_start).map_err(|error| error.to_string())?;
    let n_bytes = layout
        .dims()
        .iter()
        .try_fold(described.dtype.size_in_bytes(), |n, &dim| n.checked_mul(dim));
    // candle gives the offset of a tensor in its storage in bytes already.
    let end = n_bytes.and_then(|n| n.checked_add(layout.start_offset()));
    let whole = data_start.checked_add(size).is_some_and(|it| it <= file_len);
    match end {
        Some(end) if end <= size && whole => Ok(TensorInfo {
            dtype,
            shape: layout.dims().to_vec(),
            data_offsets: (data_start + layout.start_offset(), data_start + end),
        }),
        _ => Err("is cut off".to_owned()),
    }
}
