//! Merges an adapter into its base: `W + B·A` in place of each matrix that it changes.
//!
//! A folder becomes a folder of the same files in the same types. A GGUF file becomes a GGUF file:
//! matrices that the adapter leaves alone are copied as they are, the others are written in a type
//! that loses little, because rounding them to the base's four bits again would cost more than many
//! adapters change.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use half::f16;
use thiserror::Error;

use crate::LoadError;
use crate::adapter::{Adapter, AdapterError, Base};
use crate::checkpoint::weight_files;
use crate::gguf::Gguf;
use crate::gguf_write::{self, Planned, to_q8_0};
use crate::load_decoder::row_order;
use crate::names::Matrix;
use crate::staging::{partial_path, whole_folder};
use crate::weights::Safetensors;

/// The type of changed matrices in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergedType {
    /// Exact.
    F32,
    /// 16 bits.
    F16,
    /// 8 bits and a scale per 32.
    Q8_0,
}

/// What to merge.
#[derive(Debug, Clone, Copy)]
pub struct MergeOptions<'a> {
    /// A folder, or a GGUF file.
    pub base: &'a Path,
    /// A PEFT folder, or a GGUF file.
    pub adapter: &'a Path,
    /// The folder or GGUF file to write; it must not exist.
    pub out: &'a Path,
    /// For GGUF files.
    pub merged_type: MergedType,
}

/// What has been merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Matrices that the adapter has changed.
    pub n_matrices: usize,
    /// Bytes written.
    pub n_bytes: u64,
}

/// Why an adapter could not be merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// The base could not be read.
    #[error(transparent)]
    Base(#[from] LoadError),
    /// The adapter could not be read, or is for another base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// There is something in the place to write to.
    #[error("`{}` exists already: name a new place for the merged model", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A folder can only become a folder, and a file a file.
    #[error(
        "`{}` cannot hold the merged model: a base that is a folder becomes a folder, a .gguf file \
         becomes a .gguf file", path.display()
    )]
    Kind {
        /// The place.
        path: PathBuf,
    },
    /// The base has no output matrix of its own that could be another than the embeddings.
    #[error(
        "the adapter changes the output matrix, which `{}` shares with its embeddings: such an \
         adapter cannot be merged, only loaded beside its base", path.display()
    )]
    Tied {
        /// The base.
        path: PathBuf,
    },
    /// The tensor library failed.
    #[error("could not multiply the adapter's factors")]
    Tensors(#[from] candle_core::Error),
    /// The result could not be written.
    #[error("could not write the merged model")]
    Write(#[from] io::Error),
}

/// Writes a merged model. It appears under its name when it is complete.
pub fn merge(options: &MergeOptions<'_>) -> Result<Merged, MergeError> {
    let MergeOptions { base, adapter, out, .. } = *options;
    let is_gguf = |path: &Path| path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gguf"));
    if base.is_dir() == is_gguf(out) {
        return Err(MergeError::Kind { path: out.to_owned() });
    }
    if out.exists() {
        return Err(MergeError::Exists { path: out.to_owned() });
    }
    let facts = Base::read(base)?;
    let adapter = Adapter::load(adapter, &facts)?;
    if facts.is_tied && adapter.head.is_some() {
        return Err(MergeError::Tied { path: base.to_owned() });
    }
    if base.is_dir() {
        return whole_folder(out, |partial| merge_folder(base, &adapter, partial));
    }
    if let Some(parent) = out.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let partial = partial_path(out);
    let merged = merge_gguf(options, &adapter, (&partial, facts.config.head_dim))?;
    fs_err::rename(&partial, out)?;
    Ok(merged)
}

/// Files of a folder that belong to a model besides its weights.
const KEPT: [&str; 5] = ["json", "jinja", "model", "txt", "md"];

/// Copies those files of a folder that belong to a model besides its weights; gives their bytes.
pub(crate) fn copy_companions(base: &Path, out: &Path) -> io::Result<u64> {
    let mut n_bytes = 0;
    for entry in fs_err::read_dir(base)? {
        let path = entry?.path();
        let is_kept = path.extension().is_some_and(|it| KEPT.iter().any(|kept| it == *kept));
        if let Some(name) = path.file_name()
            && path.is_file()
            && (is_kept || name.to_string_lossy().starts_with("LICEN"))
        {
            n_bytes += fs_err::copy(&path, out.join(name))?;
        }
    }
    Ok(n_bytes)
}

fn merge_folder(base: &Path, adapter: &Adapter, out: &Path) -> Result<Merged, MergeError> {
    let mut n_bytes = copy_companions(base, out)?;
    let mut n_matrices = 0;
    for path in weight_files(base)? {
        let shard = Safetensors::open(&path)?;
        let name = path.file_name().unwrap_or_default();
        let mut file = BufWriter::new(fs_err::File::create(out.join(name))?);
        let (bytes, places) = shard.layout();
        let mut done = 0;
        for (name, place) in places {
            let inner = name.strip_suffix(".weight").unwrap_or_default();
            let inner = inner.strip_prefix("model.").unwrap_or(inner);
            let change = Matrix::parse(inner).and_then(|it| adapter.change(it));
            let Some(change) = change else { continue };
            // The header and what lies between stay as they are: shapes and types do not change.
            file.write_all(&bytes[done..place.start])?;
            let shape = shard.shape(name).unwrap_or_default();
            let (kind, _) = shard.stored(name, shape)?;
            let values = sum(shard.read(name, shape)?, &change.delta()?);
            file.write_all(&kind.to_bytes(&values))?;
            done = place.end;
            n_matrices += 1;
        }
        file.write_all(&bytes[done..])?;
        sync(file)?;
        n_bytes += bytes.len() as u64;
    }
    debug_assert_eq!(n_matrices, adapter.changes().count());
    Ok(Merged { n_matrices, n_bytes })
}

fn merge_gguf(
    options: &MergeOptions<'_>,
    adapter: &Adapter,
    (out, head_dim): (&Path, usize),
) -> Result<Merged, MergeError> {
    let base = Gguf::open(options.base)?;
    let order = row_order(&base);
    let mut tensors = Vec::new();
    for name in base.tensor_names() {
        let stored = base.stored(name)?;
        let matrix = name.strip_suffix(".weight").and_then(Matrix::parse_gguf);
        let change = matrix.and_then(|it| adapter.change(it));
        let kind = match change {
            None => stored.kind,
            Some(_) => kind_of(options.merged_type, stored.shape),
        };
        let rotated = matrix.is_some_and(Matrix::is_rotated);
        tensors.push((Planned { name, kind, shape: stored.shape }, change, rotated));
    }
    let file_type = Value::U32(match options.merged_type {
        MergedType::F32 => 0,
        MergedType::F16 => 1,
        MergedType::Q8_0 => 7,
    });
    let is_kept = |key: &str| !key.starts_with("split.") && key != "general.alignment";
    let mut metadata: Vec<(&str, &Value)> =
        base.metadata().iter().map(|(key, it)| (key.as_str(), it)).collect();
    metadata.retain(|(key, _)| is_kept(key) && *key != "general.file_type");
    metadata.push(("general.file_type", &file_type));
    metadata.sort_by_key(|(key, _)| (*key != "general.architecture", *key));

    let mut file = BufWriter::new(fs_err::File::create(out)?);
    let data = |idx: usize| -> Result<Cow<'_, [u8]>, MergeError> {
        let (planned, change, rotated) = &tensors[idx];
        let Some(change) = change else {
            return Ok(Cow::Borrowed(base.stored(planned.name)?.bytes));
        };
        let mut delta = change.delta()?;
        if let Some(order) = order.filter(|_| *rotated) {
            let n_in = planned.shape[1];
            let mut stored = vec![0.0; delta.len()];
            for (row, values) in delta.chunks_exact(n_in).enumerate() {
                stored[order(row, head_dim) * n_in..][..n_in].copy_from_slice(values);
            }
            delta = stored;
        }
        let values = sum(base.values(planned.name)?, &delta);
        Ok(Cow::Owned(match planned.kind {
            GgmlDType::Q8_0 => to_q8_0(&values),
            GgmlDType::F16 => {
                values.iter().flat_map(|it| f16::from_f32(*it).to_le_bytes()).collect()
            }
            _ => values.iter().flat_map(|it| it.to_le_bytes()).collect(),
        }))
    };
    let planned: Vec<Planned<'_>> = tensors
        .iter()
        .map(|(it, _, _)| Planned { name: it.name, kind: it.kind, shape: it.shape })
        .collect();
    gguf_write::write(&mut file, &metadata, &planned, data)?;
    sync(file)?;
    let n_bytes = fs_err::metadata(out)?.len();
    Ok(Merged { n_matrices: adapter.changes().count(), n_bytes })
}

/// The type of a changed matrix; Q8_0 needs rows of whole blocks.
fn kind_of(merged_type: MergedType, shape: &[usize]) -> GgmlDType {
    let whole = shape.last().is_some_and(|it| it.is_multiple_of(GgmlDType::Q8_0.block_size()));
    match merged_type {
        MergedType::F32 => GgmlDType::F32,
        MergedType::Q8_0 if whole => GgmlDType::Q8_0,
        MergedType::F16 | MergedType::Q8_0 => GgmlDType::F16,
    }
}

fn sum(mut values: Vec<f32>, delta: &[f32]) -> Vec<f32> {
    for (value, delta) in values.iter_mut().zip(delta) {
        *value += delta;
    }
    values
}

pub(crate) fn sync(file: BufWriter<fs_err::File>) -> io::Result<()> {
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Generator, Request};
    use crate::golden::{self, Golden, furthest, logits, path as golden};
    use crate::sample::SampleOptions;
    use crate::serve::{ServeOptions, Service};

    /// Merges, loads the result, and compares its logits with those that PEFT's merged model gives
    /// and, where nothing is rounded, with those of the base with the adapter beside it.
    #[track_caller]
    fn check(base: &str, adapter: &str, merged_type: MergedType, tolerance: f32) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join(if base.ends_with(".gguf") { "new/out.gguf" } else { "new/out" });
        let (base, adapter) = (golden(base), golden(adapter));
        let options = MergeOptions { base: &base, adapter: &adapter, out: &out, merged_type };
        let merged = merge(&options).unwrap();
        assert!(merged.n_matrices >= 3 && merged.n_bytes > 10_000, "{merged:?}");
        let left: Vec<_> = fs_err::read_dir(out.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing unfinished is left");

        let golden = Golden::read(&match adapter.is_dir() {
            true => adapter.join("golden.json"),
            false => adapter.with_file_name("golden.json"),
        });
        let actual = logits(&golden::decoder(&out), &golden.ids, None);
        golden.check(&actual, tolerance);
        if tolerance > 1e-4 {
            return;
        }

        let base = golden::decoder(&base);
        let adapter = Adapter::load(&adapter, &Base::of(&base)).unwrap();
        let adapter = golden::packed(&adapter, &base);
        let unmerged = logits(&base, &golden.ids, Some(&adapter));
        for (actual, unmerged) in actual.iter().zip(&unmerged) {
            let off = furthest(actual, unmerged);
            assert!(off < tolerance, "off by {off}");
        }
    }

    #[test]
    fn a_merged_model_writes_what_the_base_writes_with_the_adapter() {
        let base = golden::folder_with_tokenizer("tiny-qwen2-folder", 70);
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("merged");
        let (base, adapter) = (base.path(), golden("adapter-all"));
        let merged_type = MergedType::F32;
        merge(&MergeOptions { base, adapter: &adapter, out: &out, merged_type }).unwrap();
        let serve =
            |model: &Path| Service::spawn(Generator::load(model).unwrap(), ServeOptions::default());
        let (unmerged, merged) = (serve(base).unwrap(), serve(&out).unwrap());
        unmerged.add_adapter("a", &unmerged.load_adapter(&adapter).unwrap()).unwrap();
        let mut n_changed = 0;
        for first in 0..10 {
            let prompt = (first..first + 12).map(|it| it * 5 % 70).collect();
            let options = SampleOptions { tokens_max: 40, ..SampleOptions::default() };
            let request = Request { prompt, options, adapter: None };
            let write = |service: &Service, adapter: Option<&str>| {
                let adapter = adapter.map(str::to_owned);
                service.submit(Request { adapter, ..request.clone() }).unwrap().wait().unwrap()
            };
            let draft = write(&unmerged, Some("a"));
            assert_eq!(write(&merged, None), draft);
            n_changed += usize::from(write(&unmerged, None).text != draft.text);
        }
        assert!(n_changed > 5, "the adapter changes what the base writes: {n_changed}");
    }

    #[test]
    fn a_merged_folder_agrees_with_peft() {
        check("tiny-qwen2-folder", "adapter-all", MergedType::F16, 1e-4);
    }

    #[test]
    fn a_change_of_the_output_matrix_is_merged_where_that_is_not_the_embeddings() {
        // Its weights are of 16 bits, and what they become is, too.
        check("tiny-qwen3-folder", "adapter-head", MergedType::F32, 5e-2);
        let dir = tempfile::tempdir().unwrap();
        let (base, adapter) = (golden("tiny-tied-llama-folder"), golden("adapter-tied-head"));
        let (out, merged_type) = (dir.path().join("out"), MergedType::F32);
        let options = MergeOptions { base: &base, adapter: &adapter, out: &out, merged_type };
        assert!(matches!(merge(&options), Err(MergeError::Tied { .. })));
        assert!(!out.exists());
    }

    #[test]
    fn a_merged_gguf_file_agrees_with_peft() {
        check("tiny-llama.gguf", "adapter-patterns", MergedType::F32, 1e-4);
        check("tiny-llama.gguf", "adapter-plain", MergedType::F32, 1e-4);
        check("tiny-llama.gguf", "adapter-plain/adapter.gguf", MergedType::F32, 1e-4);
        // Rounded to fewer bits, it is near.
        check("tiny-llama.gguf", "adapter-plain", MergedType::F16, 2e-2);
        check("tiny-llama.gguf", "adapter-plain", MergedType::Q8_0, 0.5);
    }

    #[test]
    fn nothing_is_overwritten_and_forms_are_not_mixed() {
        let dir = tempfile::tempdir().unwrap();
        let (base, adapter) = (golden("tiny-qwen2-folder"), golden("adapter-all"));
        let with = |out: &Path| {
            let merged_type = MergedType::F16;
            merge(&MergeOptions { base: &base, adapter: &adapter, out, merged_type }).unwrap_err()
        };
        assert!(matches!(with(dir.path()), MergeError::Exists { .. }));
        assert!(matches!(with(&dir.path().join("a.gguf")), MergeError::Kind { .. }));
        assert!(fs_err::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn eight_bits_keep_the_largest_weight_and_zero() {
        let mut values = vec![0.0; 64];
        values[3] = -12.7;
        values[7] = 0.1;
        let bytes = to_q8_0(&values);
        assert_eq!(bytes.len(), 68);
        assert_eq!((bytes[2 + 3].cast_signed(), bytes[2 + 7].cast_signed()), (-127, 1));
        assert!(bytes[34..].iter().all(|&it| it == 0));
    }
}
