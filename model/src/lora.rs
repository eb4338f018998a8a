//! Adapters applied beside the frozen weights, so that requests with different ones share a batch.

use std::ops::Range;
use std::path::PathBuf;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use crate::adapter::{Adapter, LayerAdapter, LowRank};
use crate::device::Backend;
use crate::linear::contiguous_mut;
use crate::panels::Panels;

/// An adapter in the form that it is multiplied in.
pub(crate) struct PackedAdapter {
    /// Tells it from others that had its name before or have it later.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    layers: Vec<PackedLayer>,
    head: Option<PackedLowRank>,
}

/// By place in a block; none where the adapter leaves a layer as it is.
struct PackedLayer([Option<PackedLowRank>; 7]);

/// A of shape (r, n_in) and B of shape (n_out, r).
enum PackedLowRank {
    Panels { a: Panels, b: Panels },
    Tensors { a: Tensor, b: Tensor },
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
    pub(crate) fn new(
        adapter: &Adapter,
        (name, id): (&str, u64),
        backend: &Backend,
    ) -> Result<Self> {
        let mut layers = Vec::with_capacity(adapter.layers.len());
        for LayerAdapter { q, k, v, o, gate, up, down } in &adapter.layers {
            let mut packed = PackedLayer([const { None }; 7]);
            for (slot, it) in packed.0.iter_mut().zip([q, k, v, o, gate, up, down]) {
                *slot = it.as_ref().map(|it| PackedLowRank::new(it, backend)).transpose()?;
            }
            layers.push(packed);
        }
        let head = adapter.head.as_ref().map(|it| PackedLowRank::new(it, backend)).transpose()?;
        Ok(Self { id, name: name.to_owned(), path: adapter.path.clone(), layers, head })
    }

    /// Matrices that it changes.
    pub(crate) fn n_matrices(&self) -> usize {
        self.layers.iter().flat_map(|it| &it.0).flatten().chain(&self.head).count()
    }

    fn at(&self, layer: usize, place: Place) -> Option<&PackedLowRank> {
        self.layers.get(layer)?.0[place as usize].as_ref()
    }
}

impl PackedLowRank {
    fn new(LowRank { a, b }: &LowRank, backend: &Backend) -> Result<Self> {
        let pack = |it: &Tensor| -> Result<Panels> {
            Ok(Panels::from_f32(&it.flatten_all()?.to_vec1::<f32>()?, it.dim(1)?))
        };
        Ok(match backend {
            Backend::Processor => Self::Panels { a: pack(a)?, b: pack(b)? },
            Backend::Tensors { device, .. } => {
                Self::Tensors { a: a.to_device(device)?, b: b.to_device(device)? }
            }
        })
    }

    /// The shapes (n_out, n_in) that it fits.
    fn shape(&self) -> Result<(usize, usize)> {
        Ok(match self {
            Self::Panels { a, b } => (b.n_out(), a.n_in()),
            Self::Tensors { a, b } => (b.dim(0)?, a.dim(1)?),
        })
    }
}

/// Adds what the adapters of a batch add at one place: `y + (x · aᵀ) · bᵀ` on the rows of each.
///
/// x: (rows, n_in), y, result: (rows, n_out)
pub(crate) fn add(
    x: &Tensor,
    y: Tensor,
    adapted: &[AdaptedRows<'_>],
    (layer, place): (usize, Place),
) -> Result<Tensor> {
    add_each(x, y, adapted, |it| it.at(layer, place))
}

/// The same for the scores of tokens. x: (rows, hidden), y, result: (rows, vocab)
pub(crate) fn add_to_head(x: &Tensor, y: Tensor, adapted: &[AdaptedRows<'_>]) -> Result<Tensor> {
    add_each(x, y, adapted, |it| it.head.as_ref())
}

fn add_each<'a>(
    x: &Tensor,
    mut y: Tensor,
    adapted: &[AdaptedRows<'a>],
    change: impl Fn(&'a PackedAdapter) -> Option<&'a PackedLowRank>,
) -> Result<Tensor> {
    for &AdaptedRows { ref rows, adapter } in adapted {
        let Some(low_rank) = change(adapter) else { continue };
        let (expected, found) = ((y.dim(1)?, x.dim(1)?), low_rank.shape()?);
        if found != expected {
            let name = &adapter.name;
            candle_core::bail!("adapter `{name}` is for {found:?} where {expected:?} stands");
        }
        match low_rank {
            PackedLowRank::Panels { a, b } => y.inplace_op2(x, &AddPanels { rows, a, b })?,
            PackedLowRank::Tensors { a, b } => {
                let x = x.narrow(0, rows.start, rows.len())?;
                let added = x.matmul(&a.t()?)?.matmul(&b.t()?)?;
                let after = y.dim(0)? - rows.end;
                y = (y + added.pad_with_zeros(0, rows.start, after)?)?;
            }
        }
    }
    Ok(y)
}

/// `y += (x · aᵀ) · bᵀ` on some rows, on the processor.
struct AddPanels<'a> {
    rows: &'a Range<usize>,
    a: &'a Panels,
    b: &'a Panels,
}

impl InplaceOp2 for AddPanels<'_> {
    fn name(&self) -> &'static str {
        "add-low-rank"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let Self { rows, a, b } = self;
        let Some((start, end)) = x_layout.contiguous_offsets() else {
            candle_core::bail!("inputs of a layer lie in rows");
        };
        let x = &x.as_slice::<f32>()?[start..end];
        let y = contiguous_mut(y, y_layout)?;
        let (n_out, n_in) = (b.n_out(), a.n_in());
        let [inner] = Panels::matmul_together([*a], &x[rows.start * n_in..rows.end * n_in]);
        let [added] = Panels::matmul_together([*b], &inner);
        for (y, added) in y[rows.start * n_out..rows.end * n_out].iter_mut().zip(&added) {
            *y += added;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;
    use crate::adapter::Base;
    use crate::decoder::{Decoder, Piece, adapted_rows};
    use crate::golden::{self, furthest, logits, packed};

    #[derive(Deserialize)]
    struct Golden {
        ids: Vec<u32>,
        positions: Vec<usize>,
        logits: HashMap<String, Vec<Vec<f32>>>,
    }

    fn base(backend: &Backend) -> Decoder {
        golden::decoder_on(&golden::path("tiny-llama.gguf"), backend)
    }

    fn adapter(name: &str) -> Adapter {
        Adapter::load(&golden::path(name), &Base::of(&base(&Backend::Processor))).unwrap()
    }

    #[test]
    fn adapters_agree_with_peft() {
        let text = fs_err::read(golden::path("tiny-lora.json")).unwrap();
        let golden: Golden = serde_json::from_slice(&text).unwrap();
        for backend in golden::backends() {
            let decoder = base(&backend);
            let all = packed(&adapter("tiny-lora-all"), &decoder);
            let qv = packed(&adapter("tiny-lora-qv"), &decoder);
            assert_eq!((all.n_matrices(), qv.n_matrices()), (14, 4));
            for (name, adapter) in
                [("base", None), ("tiny-lora-all", Some(&all)), ("tiny-lora-qv", Some(&qv))]
            {
                let actual = logits(&decoder, &golden.ids, adapter);
                for (&position, expected) in golden.positions.iter().zip(&golden.logits[name]) {
                    let off = furthest(&actual[position], expected);
                    assert!(off < 1e-4, "off by {off} at {position} by {name}, {backend:?}");
                }
            }
        }
        assert_ne!(golden.logits["base"], golden.logits["tiny-lora-qv"]);
    }

    #[test]
    fn an_adapter_whose_b_is_zero_is_the_base() {
        let ids: Vec<u32> = (0..50).map(|it| it * 3 % 70).collect();
        let mut zero = adapter("tiny-lora-all");
        zero.scale(0.0);
        for backend in golden::backends() {
            let decoder = base(&backend);
            let zero = packed(&zero, &decoder);
            assert_eq!(logits(&decoder, &ids, Some(&zero)), logits(&decoder, &ids, None));
        }
    }

    /// Logits of a batch whose texts have different adapters, and those of each text alone.
    fn together_and_alone(backend: &Backend) -> [Vec<Vec<f32>>; 2] {
        let decoder = base(backend);
        let [all, qv] = ["tiny-lora-all", "tiny-lora-qv"].map(|it| packed(&adapter(it), &decoder));
        let adapters = [None, Some(&all), Some(&all), Some(&qv), None, Some(&all)];
        let texts: Vec<Vec<u32>> = (0..adapters.len() as u32)
            .map(|idx| (0..5 + idx * 9).map(|it| (it * 5 + idx) % 70).collect())
            .collect();
        let mut caches: Vec<_> = adapters.iter().map(|_| decoder.cache()).collect();
        let mut pieces: Vec<Piece<'_>> = texts
            .iter()
            .zip(&mut caches)
            .zip(adapters)
            .map(|((ids, cache), adapter)| Piece { ids, cache, adapter })
            .collect();
        let hidden = decoder.forward_batch(&mut pieces).unwrap();
        let adapted = adapted_rows(pieces.iter().map(|it| (it.adapter, it.ids.len())));
        let together: Vec<Vec<f32>> = decoder.logits(&hidden, &adapted).unwrap().to_vec2().unwrap();
        let alone: Vec<Vec<f32>> = texts
            .iter()
            .zip(adapters)
            .flat_map(|(ids, adapter)| logits(&decoder, ids, adapter))
            .collect();
        [together, alone]
    }

    #[test]
    fn a_batch_of_several_adapters_equals_each_alone() {
        let [processor, tensors] = golden::backends();
        let [together, alone] = together_and_alone(&processor);
        assert_eq!(together, alone, "to the last bit");
        for rows in together_and_alone(&tensors) {
            for (actual, expected) in rows.iter().zip(&alone) {
                assert!(furthest(actual, expected) < 1e-4);
            }
        }
    }

    #[test]
    fn an_adapter_for_other_sizes_is_an_error_that_names_it() {
        let mut other = adapter("tiny-lora-qv");
        let q = other.layers[1].q.as_mut().unwrap();
        q.b = q.b.narrow(0, 0, 16).unwrap();
        for backend in golden::backends() {
            let decoder = base(&backend);
            let other = packed(&other, &decoder);
            let mut cache = decoder.cache();
            let mut pieces = [Piece { ids: &[1, 2], cache: &mut cache, adapter: Some(&other) }];
            let error = decoder.forward_batch(&mut pieces).unwrap_err().to_string();
            assert!(error.contains("tiny-lora-qv"), "{error}");
        }
    }
}
