//! The linear layers of the decoder, over whatever form their weights are in.

use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, Device, Layout, Module, Result, Storage, Tensor};

use crate::lora::{self, AdaptedRows, Place};
use crate::panels::Panels;

/// A frozen weight of shape (n_out, n_in).
pub(crate) enum Weight {
    /// Ours, for the processor: exact, fast for every size.
    Panels(Panels),
    /// candle's, on any device: blocks as their file has them. Rounds activations to 8 bits.
    Blocks(QMatMul),
    /// Plain numbers, on any device.
    Tensor(Tensor),
}

/// `x · weightᵀ + bias`.
pub(crate) struct Linear {
    weight: Weight,
    /// (n_out)
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// x: (rows, n_in), result: (rows, n_out)
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [product] = products([self], x)?;
        self.finish(product)
    }

    fn finish(&self, product: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }

    /// Rows of the weight, as token embeddings. result: (ids, n_in)
    pub(crate) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match &self.weight {
            Weight::Panels(panels) => {
                let n_in = panels.n_in();
                let mut data = vec![0.0; ids.len() * n_in];
                for (&id, out) in ids.iter().zip(data.chunks_exact_mut(n_in)) {
                    panels.row(id as usize, out);
                }
                Tensor::from_vec(data, (ids.len(), n_in), &Device::Cpu)
            }
            Weight::Blocks(blocks) => blocks.embedding(&Tensor::new(ids, &Device::Cpu)?),
            Weight::Tensor(weight) => weight.index_select(&Tensor::new(ids, weight.device())?, 0),
        }
    }
}

/// The results of layers that read the same inputs, with what adapters add to them.
///
/// x: (rows, n_in), results: (rows, n_out) each
pub(crate) fn forward_together<const N: usize>(
    all: [(&Linear, Place); N],
    x: &Tensor,
    (adapted, layer): (&[AdaptedRows<'_>], usize),
) -> Result<[Tensor; N]> {
    let mut res = Vec::with_capacity(N);
    for ((linear, place), product) in all.into_iter().zip(products(all.map(|(it, _)| it), x)?) {
        let product = lora::add(x, product, adapted, (layer, place))?;
        res.push(linear.finish(product)?);
    }
    Ok(<[Tensor; N]>::try_from(res).expect("one result per layer"))
}

/// The products alone, without bias.
fn products<const N: usize>(all: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
    let (rows, n_in) = x.dims2()?;
    let panels = all.map(|it| match &it.weight {
        Weight::Panels(panels) => Some(panels),
        Weight::Blocks(_) | Weight::Tensor(_) => None,
    });
    if let Some(it) = panels.iter().flatten().find(|it| it.n_in() != n_in) {
        candle_core::bail!("{n_in} inputs for a weight of {}", it.n_in());
    }
    let tensor = |product: Vec<f32>| {
        let n_out = product.len().checked_div(rows).unwrap_or(0);
        Tensor::from_vec(product, (rows, n_out), &Device::Cpu)
    };
    let mut res = Vec::with_capacity(N);
    if panels.iter().all(Option::is_some) {
        let panels = panels.map(|it| it.expect("all are panels"));
        for product in with_slice(x, |x| Panels::matmul_together(panels, x))? {
            res.push(tensor(product)?);
        }
    } else {
        for it in all {
            res.push(match &it.weight {
                Weight::Panels(panels) => {
                    let [product] = with_slice(x, |x| Panels::matmul_together([panels], x))?;
                    tensor(product)?
                }
                Weight::Blocks(blocks) => blocks.forward(x)?,
                Weight::Tensor(weight) => x.matmul(&weight.t()?)?,
            });
        }
    }
    Ok(<[Tensor; N]>::try_from(res).expect("one product per layer"))
}

/// Calls `f` with the values of an f32 tensor that lies in one piece.
pub(crate) fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(f(&values[start..end])),
        _ => candle_core::bail!("an f32 tensor in one piece is needed"),
    }
}

/// The values of an f32 tensor that lies in one piece, to change in place.
pub(crate) fn contiguous_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&mut data[start..end]),
        _ => candle_core::bail!("an f32 tensor in one piece is needed"),
    }
}
