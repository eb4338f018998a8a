//! Adapters applied beside the frozen weights, so that requests with different ones share a batch.

use std::ops::Range;
use std::path::PathBuf;

use candle_core::{Result, Tensor};

use crate::adapter::{Adapter, LayerAdapter, LowRank};
use crate::panels::Panels;

/// An adapter in the form that it is multiplied in.
pub(crate) struct PackedAdapter {
    /// Tells it from others that had its name before or have it later.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
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
    pub(crate) fn new(adapter: &Adapter, name: &str, id: u64) -> Result<Self> {
        let mut layers = Vec::with_capacity(adapter.layers.len());
        for LayerAdapter { q, k, v, o, gate, up, down } in &adapter.layers {
            let mut packed = PackedLayer([const { None }; 7]);
            for (slot, it) in packed.0.iter_mut().zip([q, k, v, o, gate, up, down]) {
                *slot = it.as_ref().map(PackedLowRank::new).transpose()?;
            }
            layers.push(packed);
        }
        Ok(Self { id, name: name.to_owned(), path: adapter.path.clone(), layers })
    }

    /// Matrices that it changes.
    pub(crate) fn n_matrices(&self) -> usize {
        self.layers.iter().flat_map(|it| &it.0).flatten().count()
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

    use serde::Deserialize;

    use super::*;
    use crate::adapter::Base;
    use crate::decoder::{Decoder, Piece};
    use crate::golden::{self, furthest, logits};

    #[derive(Deserialize)]
    struct Golden {
        ids: Vec<u32>,
        positions: Vec<usize>,
        logits: HashMap<String, Vec<Vec<f32>>>,
    }

    fn base() -> Decoder {
        golden::decoder(&golden::path("tiny-llama.gguf"))
    }

    fn adapter(name: &str) -> Adapter {
        Adapter::load(&golden::path(name), &Base::of(&base())).unwrap()
    }

    fn packed(adapter: &Adapter) -> PackedAdapter {
        PackedAdapter::new(adapter, &adapter.name, 0).unwrap()
    }

    #[test]
    fn adapters_agree_with_peft() {
        let text = fs_err::read(golden::path("tiny-lora.json")).unwrap();
        let golden: Golden = serde_json::from_slice(&text).unwrap();
        let decoder = base();
        let all = packed(&adapter("tiny-lora-all"));
        let qv = packed(&adapter("tiny-lora-qv"));
        assert_eq!((all.n_matrices(), qv.n_matrices()), (14, 4));
        for (name, adapter) in
            [("base", None), ("tiny-lora-all", Some(&all)), ("tiny-lora-qv", Some(&qv))]
        {
            let actual = logits(&decoder, &golden.ids, adapter);
            for (&position, expected) in golden.positions.iter().zip(&golden.logits[name]) {
                let off = furthest(&actual[position], expected);
                assert!(off < 1e-4, "off by {off} at {position} by {name}");
            }
        }
        assert_ne!(golden.logits["base"], golden.logits["tiny-lora-qv"]);
    }

    #[test]
    fn an_adapter_whose_b_is_zero_is_the_base() {
        let decoder = base();
        let ids: Vec<u32> = (0..50).map(|it| it * 3 % 70).collect();
        let mut zero = adapter("tiny-lora-all");
        zero.scale(0.0);
        assert_eq!(logits(&decoder, &ids, Some(&packed(&zero))), logits(&decoder, &ids, None));
    }

    #[test]
    fn a_batch_of_several_adapters_equals_each_alone() {
        let decoder = base();
        let (all, qv) = (packed(&adapter("tiny-lora-all")), packed(&adapter("tiny-lora-qv")));
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
        let mut other = adapter("tiny-lora-qv");
        let q = other.layers[1].q.as_mut().unwrap();
        q.b = q.b.narrow(0, 0, 16).unwrap();
        let other = packed(&other);
        let mut cache = decoder.cache().unwrap();
        let mut pieces = [Piece { ids: &[1, 2], cache: &mut cache, adapter: Some(&other) }];
        let error = decoder.forward_batch(&mut pieces).unwrap_err().to_string();
        assert!(error.contains("tiny-lora-qv"), "{error}");
    }
}
