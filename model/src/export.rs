//! Writes an adapter as a GGUF file, as llama.cpp's converter does (`gguf-py`, "adapter").
//!
//! A file has one alpha and a scale of alpha / rank for each matrix. So that the ranks of an adapter
//! may differ, and its scale be another than that, B is written already scaled, for an alpha that is
//! the highest rank.

use std::borrow::Cow;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use thiserror::Error;

use crate::LoadError;
use crate::adapter::{Adapter, AdapterError, Base, LowRank};
use crate::config_json::ConfigJson;
use crate::gguf::Gguf;
use crate::gguf_write::{self, Planned};
use crate::merge::sync;
use crate::names::{gguf_name, paired_row};
use crate::staging::partial_path;

/// Why an adapter could not be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The base could not be read.
    #[error(transparent)]
    Base(#[from] LoadError),
    /// The adapter could not be read, or is for another base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// There is something in the place to write to.
    #[error("`{}` exists already: name a new file for the adapter", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// llama.cpp knows no output matrix apart from the embeddings there.
    #[error(
        "the adapter changes the output matrix, which `{}` shares with its embeddings: llama.cpp \
         cannot load such an adapter; train one without the target `lm_head`", path.display()
    )]
    Tied {
        /// The base.
        path: PathBuf,
    },
    /// The tensor library failed.
    #[error("could not read the adapter's factors")]
    Tensors(#[from] candle_core::Error),
    /// The file could not be written.
    #[error("could not write the adapter")]
    Write(#[from] io::Error),
}

/// What has been exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Matrices that the adapter changes.
    pub n_matrices: usize,
    /// Bytes written.
    pub n_bytes: u64,
}

/// Writes an adapter, a PEFT folder or a GGUF file, for its base to a GGUF file that must not exist.
/// It appears under its name when it is complete.
pub fn export(adapter: &Path, base: &Path, out: &Path) -> Result<Exported, ExportError> {
    if out.exists() {
        return Err(ExportError::Exists { path: out.to_owned() });
    }
    let facts = Base::read(base)?;
    let architecture = architecture(base)?;
    let adapter = Adapter::load(adapter, &facts)?;
    if facts.is_tied && adapter.head.is_some() {
        return Err(ExportError::Tied { path: base.to_owned() });
    }
    let alpha = adapter.changes().map(|(_, it)| rank(it)).max().unwrap_or(1);
    // Those files store the rows of queries and keys in another order than checkpoints.
    let head_dim = (architecture == "llama").then_some(facts.config.head_dim);
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (matrix, change) in adapter.changes() {
        let name = format!("{}.weight", gguf_name(&matrix.checkpoint()));
        let order = head_dim.filter(|_| matrix.is_rotated());
        let factor = rank(change) as f64 / alpha as f64;
        let (a, b) = (values(&change.a)?, values(&(&change.b * factor)?)?);
        let b = match order {
            Some(head_dim) => in_pairs(&b, rank(change), head_dim),
            None => b,
        };
        tensors.push((format!("{name}.lora_a"), change.a.dims().to_vec(), a));
        tensors.push((format!("{name}.lora_b"), change.b.dims().to_vec(), b));
    }
    let text = |it: &str| Value::String(it.to_owned());
    let metadata = [
        ("general.architecture", text(architecture)),
        ("general.type", text("adapter")),
        ("general.name", text(&adapter.name)),
        ("general.file_type", Value::U32(0)),
        ("general.quantization_version", Value::U32(2)),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", Value::F32(alpha as f32)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, it)| (*key, it)).collect();
    let planned: Vec<Planned<'_>> = tensors
        .iter()
        .map(|(name, shape, _)| Planned { name, kind: GgmlDType::F32, shape })
        .collect();
    if let Some(parent) = out.parent() {
        fs_err::create_dir_all(parent)?;
    }
    let partial = partial_path(out);
    let mut file = BufWriter::new(fs_err::File::create(&partial)?);
    gguf_write::write(&mut file, &metadata, &planned, |idx| {
        let bytes = tensors[idx].2.iter().flat_map(|it| it.to_le_bytes()).collect();
        Ok::<_, io::Error>(Cow::Owned(bytes))
    })?;
    sync(file)?;
    fs_err::rename(&partial, out)?;
    Ok(Exported { n_matrices: tensors.len() / 2, n_bytes: fs_err::metadata(out)?.len() })
}

/// The architecture by its name in GGUF files.
fn architecture(base: &Path) -> Result<&'static str, LoadError> {
    if base.is_dir() {
        return ConfigJson::open(base)?.gguf_architecture();
    }
    let file = Gguf::open(base)?;
    let known = ["llama", "qwen2", "qwen3"];
    let found = file.text("general.architecture");
    let found = known.into_iter().find(|it| Some(*it) == found);
    found.ok_or_else(|| file.unsupported("a decoder of another architecture".to_owned()))
}

fn rank(change: &LowRank) -> usize {
    change.a.dims()[0]
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// Rows in the order of files of the `llama` architecture. b: (rows, n)
fn in_pairs(b: &[f32], n: usize, head_dim: usize) -> Vec<f32> {
    let mut res = vec![0.0; b.len()];
    for (row, values) in b.chunks_exact(n).enumerate() {
        res[paired_row(row, head_dim) * n..][..n].copy_from_slice(values);
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{self, path as golden};

    /// What is exported gives the logits of what it was exported from.
    #[track_caller]
    fn check(base: &str, adapter: &str) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("made/adapter.gguf");
        let base = golden(base);
        let exported = export(&golden(adapter), &base, &out).unwrap();
        assert_eq!(exported.n_bytes, fs_err::metadata(&out).unwrap().len());
        assert!(exported.n_matrices > 0);
        let decoder = golden::decoder(&base);
        let ids: Vec<u32> = (0..30).map(|it| it * 7 % 70).collect();
        let [folder, file] = [golden(adapter), out.clone()].map(|path| {
            let adapter = Adapter::load(&path, &Base::of(&decoder)).unwrap();
            golden::logits(&decoder, &ids, Some(&golden::packed(&adapter, &decoder)))
        });
        for (a, b) in folder.iter().zip(&file) {
            assert!(golden::furthest(a, b) < 1e-5);
        }
        let again = export(&golden(adapter), &base, &out).unwrap_err();
        assert!(matches!(again, ExportError::Exists { .. }));
    }

    #[test]
    fn an_exported_adapter_is_the_adapter() {
        check("tiny-llama.gguf", "adapter-plain");
        check("tiny-qwen2-folder", "adapter-all");
        check("tiny-qwen3-folder", "trained-here");
        check("tiny-qwen3-folder", "adapter-head");
    }

    #[test]
    fn ranks_and_scales_that_differ_by_matrix_are_kept() {
        check("tiny-llama.gguf", "adapter-patterns");
    }

    #[test]
    fn a_change_of_an_output_matrix_that_is_the_embeddings_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("adapter.gguf");
        let (adapter, base) = (golden("adapter-tied-head"), golden("tiny-tied-llama-folder"));
        assert!(matches!(export(&adapter, &base, &out), Err(ExportError::Tied { .. })));
        assert!(!out.exists());
    }

    #[test]
    fn it_holds_what_the_converter_of_llama_cpp_writes() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("adapter.gguf");
        export(&golden("adapter-plain"), &golden("tiny-llama.gguf"), &out).unwrap();
        let [own, theirs] =
            [out, golden("adapter-plain/adapter.gguf")].map(|it| Gguf::open(&it).unwrap());
        assert_eq!(own.tensor_names(), theirs.tensor_names());
        for key in ["general.type", "general.architecture", "adapter.type"] {
            assert_eq!(own.text(key), theirs.text(key), "{key}");
        }
        for name in own.tensor_names() {
            assert_eq!(own.stored(name).unwrap().shape, theirs.stored(name).unwrap().shape);
        }
    }
}
