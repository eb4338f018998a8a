//! The golden values that tests compare with, and the tiny models that they are of.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::Device;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::adapter::Adapter;
use crate::decoder::{Decoder, Piece, adapted_rows};
use crate::device::{Backend, BaseForm, DeviceName};
use crate::gguf::Gguf;
use crate::load_decoder::{from_folder, from_gguf};
use crate::lora::PackedAdapter;

/// What a reference implementation gives for a text.
#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) ids: Vec<u32>,
    /// The tokens whose logits are kept.
    pub(crate) positions: Vec<usize>,
    /// (positions, vocab)
    pub(crate) logits: Vec<Vec<f32>>,
}

/// Where a golden file or folder is.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

impl Golden {
    pub(crate) fn read(path: &Path) -> Self {
        serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
    }

    /// The values of a tiny model, whichever form it is in.
    pub(crate) fn of_model(model: &Path) -> Self {
        Self::read(&match model.is_dir() {
            true => model.join("golden.json"),
            false => model.with_extension("json"),
        })
    }

    /// Logits of all tokens agree with those that are kept. actual: (tokens, vocab)
    #[track_caller]
    pub(crate) fn check(&self, actual: &[Vec<f32>], tolerance: f32) {
        assert_eq!(actual.len(), self.ids.len());
        for (&position, expected) in self.positions.iter().zip(&self.logits) {
            let off = furthest(&actual[position], expected);
            assert!(off < tolerance, "off by {off} at {position}");
        }
    }
}

/// The largest difference.
#[track_caller]
pub(crate) fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Our own code for the processor, and tensors, which are the same on every device.
pub(crate) fn backends() -> [Backend; 2] {
    [Backend::Processor, Backend::Tensors { device: device(), base: BaseForm::Dense }]
}

/// Where the tests' tensors are: with the feature `cuda` on the first GPU, where there is one.
pub(crate) fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || match DeviceName::Cuda(0).open() {
        Ok(device) => device,
        Err(error) => {
            println!("tensors are tested on the processor: {error}");
            Device::Cpu
        }
    };
    DEVICE.get_or_init(open).clone()
}

/// A tiny model for serving.
pub(crate) fn decoder(model: &Path) -> Decoder {
    decoder_on(model, &Backend::Processor)
}

/// The same on any device.
pub(crate) fn decoder_on(model: &Path, backend: &Backend) -> Decoder {
    match model.is_dir() {
        true => from_folder(model, backend),
        false => from_gguf(&Gguf::open(model).unwrap(), backend),
    }
    .unwrap()
}

/// An adapter as a decoder multiplies with it.
pub(crate) fn packed(adapter: &Adapter, decoder: &Decoder) -> PackedAdapter {
    PackedAdapter::new(adapter, (&adapter.name, 0), &decoder.backend).unwrap()
}

/// Logits of a text by a base or an adapter. result: (tokens, vocab)
pub(crate) fn logits(
    decoder: &Decoder,
    ids: &[u32],
    adapter: Option<&PackedAdapter>,
) -> Vec<Vec<f32>> {
    let mut cache = decoder.cache();
    let hidden = decoder.forward_batch(&mut [Piece { ids, cache: &mut cache, adapter }]).unwrap();
    let adapted = adapted_rows([(adapter, ids.len())].into_iter());
    decoder.logits(&hidden, &adapted).unwrap().to_vec2().unwrap()
}

/// A copy of a tiny model's folder with a tokenizer of `n_tokens`.
pub(crate) fn folder_with_tokenizer(model: &str, n_tokens: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(path(model)).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let vocab: Map<String, Value> = (0..n_tokens)
        .map(|id| match id {
            2 => ("<end>".to_owned(), json!(id)),
            _ => (char::from_u32(0x100 + id as u32).unwrap().to_string(), json!(id)),
        })
        .collect();
    let added = json!([{"id": 2, "content": "<end>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]);
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    fs_err::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir
}
