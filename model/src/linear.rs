//! The linear layers of the decoder, over whatever form their weights are in.

use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, Device, Module, Result, Storage, Tensor};

use crate::lora::{self, AdaptedRows, Place};
use crate::panels::Panels;

/// A frozen weight of shape (n_out, n_in).
pub(crate) enum Weight {
    /// Ours: exact, fast for every size.
    Panels(Panels),
    /// candle's, for types with larger blocks. Rounds activations to 8 bits.
    Blocks(QMatMul),
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
        self.finish(product, x.dim(0)?)
    }

    fn finish(&self, product: Vec<f32>, rows: usize) -> Result<Tensor> {
        let n_out = product.len().checked_div(rows).unwrap_or(0);
        let res = Tensor::from_vec(product, (rows, n_out), &Device::Cpu)?;
        match &self.bias {
            Some(bias) => res.broadcast_add(bias),
            None => Ok(res),
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
    let (rows, n_in) = x.dims2()?;
    let mut res = Vec::with_capacity(N);
    for ((linear, place), mut product) in all.iter().zip(products(all.map(|(it, _)| it), x)?) {
        if !adapted.is_empty() {
            let shape = (product.len() / rows, n_in);
            with_slice(x, |x| lora::add(x, &mut product, adapted, (layer, *place), shape))??;
        }
        res.push(linear.finish(product, rows)?);
    }
    Ok(<[Tensor; N]>::try_from(res).expect("one result per layer"))
}

/// The products alone, without bias.
fn products<const N: usize>(all: [&Linear; N], x: &Tensor) -> Result<[Vec<f32>; N]> {
    let n_in = x.dim(1)?;
    let panels = all.map(|it| match &it.weight {
        Weight::Panels(panels) => Some(panels),
        Weight::Blocks(_) => None,
    });
    if let Some(it) = panels.iter().flatten().find(|it| it.n_in() != n_in) {
        candle_core::bail!("{n_in} inputs for a weight of {}", it.n_in());
    }
    if panels.iter().all(Option::is_some) {
        let panels = panels.map(|it| it.expect("all are panels"));
        return with_slice(x, |x| Panels::matmul_together(panels, x));
    }
    let mut res = [const { Vec::new() }; N];
    for (out, it) in res.iter_mut().zip(all) {
        *out = match &it.weight {
            Weight::Panels(panels) => with_slice(x, |x| {
                let [product] = Panels::matmul_together([panels], x);
                product
            })?,
            Weight::Blocks(blocks) => blocks.forward(x)?.flatten_all()?.to_vec1()?,
        };
    }
    Ok(res)
}

/// Calls `f` with the values of an f32 tensor that lies in one piece.
pub(crate) fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => Ok(f(&values[start..end])),
        _ => candle_core::bail!("an f32 tensor in one piece is needed"),
    }
}
