//! Adapters applied beside the frozen weights, so that requests with different ones share a batch.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::adapter::{Adapter, LayerAdapter, LowRank};
use crate::panels::Panels;

/// An adapter in the form that it is multiplied in.
pub(crate) struct PackedAdapter {
    pub(crate) name: String,
    layers: Vec<PackedLayer>,
}

/// By place in a block; none where the adapter leaves a layer as it is.
struct PackedLayer([Option<PackedLowRank>; 7]);

struct PackedLowRank {
    /// (r, n_in)
    a: Panels,
    /// (n_out, r)
    b: Panels,
}

/// The linear layers of a block that an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

/// Which rows of a batch an adapter applies to.
pub(crate) struct AdaptedRows<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) adapter: &'a PackedAdapter,
}

impl PackedAdapter {
    pub(crate) fn new(adapter: &Adapter) -> Result<Self> {
        let mut layers = Vec::with_capacity(adapter.layers.len());
        for LayerAdapter { q, k, v, o, gate, up, down } in &adapter.layers {
            let mut packed = PackedLayer([const { None }; 7]);
            for (slot, it) in packed.0.iter_mut().zip([q, k, v, o, gate, up, down]) {
                *slot = it.as_ref().map(PackedLowRank::new).transpose()?;
            }
            layers.push(packed);
        }
        Ok(Self { name: adapter.name.clone(), layers })
    }

    fn at(&self, layer: usize, place: Place) -> Option<&PackedLowRank> {
        self.layers.get(layer)?.0[place as usize].as_ref()
    }
}

impl PackedLowRank {
    fn new(LowRank { a, b }: &LowRank) -> Result<Self> {
        let pack = |it: &Tensor| -> Result<Panels> {
            Ok(Panels::from_f32(&it.flatten_all()?.to_vec1::<f32>()?, it.dim(1)?))
        };
        Ok(Self { a: pack(a)?, b: pack(b)? })
    }

    /// The shapes (n_out, n_in) that it fits.
    fn shape(&self) -> (usize, usize) {
        (self.b.n_out(), self.a.n_in())
    }
}

/// Adds what the adapters of a batch add at one place: `y += (x · aᵀ) · bᵀ` on the rows of each.
///
/// x: (rows, n_in), y: (rows, n_out)
pub(crate) fn add(
    x: &[f32],
    y: &mut [f32],
    adapted: &[AdaptedRows<'_>],
    (layer, place): (usize, Place),
    (n_out, n_in): (usize, usize),
) -> Result<()> {
    for AdaptedRows { rows, adapter } in adapted {
        let Some(low_rank) = adapter.at(layer, place) else { continue };
        if low_rank.shape() != (n_out, n_in) {
            let name = &adapter.name;
            let found = low_rank.shape();
            candle_core::bail!("adapter `{name}` is for {found:?} where ({n_out}, {n_in}) stands");
        }
        let [inner] =
            Panels::matmul_together([&low_rank.a], &x[rows.start * n_in..rows.end * n_in]);
        let [added] = Panels::matmul_together([&low_rank.b], &inner);
        for (y, added) in y[rows.start * n_out..rows.end * n_out].iter_mut().zip(&added) {
            *y += added;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use candle_core::Device;
    use serde::Deserialize;

    use super::*;
    use crate::decoder::{Decoder, Piece};
    use crate::gguf::Gguf;
    use crate::load_decoder;

    #[derive(Deserialize)]
    struct Golden {
        ids: Vec<u32>,
        positions: Vec<usize>,
        logits: HashMap<String, Vec<Vec<f32>>>,
    }

    fn golden(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    fn base() -> Decoder {
        load_decoder::from_gguf(&Gguf::open(&golden("tiny-llama.gguf")).unwrap()).unwrap()
    }

    /// Reads the tensors of a PEFT folder, whose scale is given, without the loader's checks.
    fn adapter(name: &str, scale: f64) -> Adapter {
        let file = golden(name).join("adapter_model.safetensors");
        let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let layers = (0..2).map(|layer| {
            let find = |module: &str| {
                let key = format!("base_model.model.model.layers.{layer}.{module}_proj");
                let a = tensors.get(&format!("{key}.lora_A.weight"))?.clone();
                let b = (&tensors[&format!("{key}.lora_B.weight")] * scale).unwrap();
                Some(LowRank { a, b })
            };
            LayerAdapter {
                q: find("self_attn.q"),
                k: find("self_attn.k"),
                v: find("self_attn.v"),
                o: find("self_attn.o"),
                gate: find("mlp.gate"),
                up: find("mlp.up"),
                down: find("mlp.down"),
            }
        });
        Adapter { name: name.to_owned(), layers: layers.collect() }
    }

    fn packed(name: &str, scale: f64) -> PackedAdapter {
        PackedAdapter::new(&adapter(name, scale)).unwrap()
    }

    /// Logits of a text by the base or an adapter.
    fn logits(decoder: &Decoder, ids: &[u32], adapter: Option<&PackedAdapter>) -> Vec<Vec<f32>> {
        let mut cache = decoder.cache().unwrap();
        let mut pieces = [Piece { ids, cache: &mut cache, adapter }];
        let hidden = decoder.forward_batch(&mut pieces).unwrap();
        decoder.logits(&hidden).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn adapters_agree_with_peft() {
        let text = fs_err::read_to_string(golden("tiny-lora.json")).unwrap();
        let golden: Golden = serde_json::from_str(&text).unwrap();
        let decoder = base();
        let all = packed("tiny-lora-all", 8.0 / 4.0);
        let qv = packed("tiny-lora-qv", 3.0 / 2.0f64.sqrt());
        for (name, adapter) in
            [("base", None), ("tiny-lora-all", Some(&all)), ("tiny-lora-qv", Some(&qv))]
        {
            let actual = logits(&decoder, &golden.ids, adapter);
            for (&position, expected) in golden.positions.iter().zip(&golden.logits[name]) {
                for (x, expected) in actual[position].iter().zip(expected) {
                    let off = (x - expected).abs();
                    assert!(off < 1e-4, "{x} instead of {expected} at {position} by {name}");
                }
            }
        }
        assert_ne!(golden.logits["base"], golden.logits["tiny-lora-qv"]);
    }

    #[test]
    fn an_adapter_whose_b_is_zero_is_the_base() {
        let decoder = base();
        let ids: Vec<u32> = (0..50).map(|it| it * 3 % 70).collect();
        let zero = packed("tiny-lora-all", 0.0);
        assert_eq!(logits(&decoder, &ids, Some(&zero)), logits(&decoder, &ids, None));
    }

    #[test]
    fn a_batch_of_several_adapters_equals_each_alone() {
        let decoder = base();
        let (all, qv) = (packed("tiny-lora-all", 2.0), packed("tiny-lora-qv", 1.5));
        let adapters = [None, Some(&all), Some(&all), Some(&qv), None, Some(&all)];
        let texts: Vec<Vec<u32>> = (0..adapters.len() as u32)
            .map(|idx| (0..5 + idx * 9).map(|it| (it * 5 + idx) % 70).collect())
            .collect();
        let mut caches: Vec<_> = adapters.iter().map(|_| decoder.cache().unwrap()).collect();
        let mut pieces: Vec<Piece<'_>> = texts
            .iter()
            .zip(&mut caches)
            .zip(adapters)
            .map(|((ids, cache), adapter)| Piece { ids, cache, adapter })
            .collect();
        let hidden = decoder.forward_batch(&mut pieces).unwrap();
        let together: Vec<Vec<f32>> = decoder.logits(&hidden).unwrap().to_vec2().unwrap();
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .zip(adapters)
            .flat_map(|(ids, adapter)| logits(&decoder, ids, adapter))
            .collect();
        assert_eq!(together, alone);
    }

    #[test]
    fn an_adapter_for_other_sizes_is_an_error_that_names_it() {
        let decoder = base();
        let mut other = adapter("tiny-lora-qv", 1.0);
        let half = |it: &Tensor| it.narrow(0, 0, 16).unwrap();
        let q = other.layers[1].q.as_mut().unwrap();
        q.b = half(&q.b);
        let other = PackedAdapter::new(&other).unwrap();
        let mut cache = decoder.cache().unwrap();
        let mut pieces = [Piece { ids: &[1, 2], cache: &mut cache, adapter: Some(&other) }];
        let error = decoder.forward_batch(&mut pieces).unwrap_err().to_string();
        assert!(error.contains("tiny-lora-qv"), "{error}");
    }
}
