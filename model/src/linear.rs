//! The linear layers of the decoder, over whatever form their weights are in.

use candle_core::quantized::QMatMul;
use candle_core::{CpuStorage, CustomOp1, Layout, Module, Result, Shape, Tensor};

use crate::panels::{Panels, Threads};

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
        let res = match &self.weight {
            Weight::Panels(panels) => x.apply_op1_no_bwd(&Product(panels))?,
            Weight::Blocks(blocks) => blocks.forward(x)?,
        };
        match &self.bias {
            Some(bias) => res.broadcast_add(bias),
            None => Ok(res),
        }
    }

    /// Rows of the weight, as token embeddings. result: (ids, n_in)
    pub(crate) fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        let device = candle_core::Device::Cpu;
        match &self.weight {
            Weight::Panels(panels) => {
                let n_in = panels.n_in();
                let mut data = vec![0.0; ids.len() * n_in];
                for (&id, out) in ids.iter().zip(data.chunks_exact_mut(n_in)) {
                    panels.row(id as usize, out);
                }
                Tensor::from_vec(data, (ids.len(), n_in), &device)
            }
            Weight::Blocks(blocks) => blocks.embedding(&Tensor::new(ids, &device)?),
        }
    }
}

/// The product of [`Panels`] as an operation on tensors.
struct Product<'a>(&'a Panels);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "panels"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self(panels) = self;
        let (rows, n_in) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the inputs of a linear layer lie in rows");
        };
        if n_in != panels.n_in() {
            candle_core::bail!("{n_in} inputs for a weight of {}", panels.n_in());
        }
        let x = &storage.as_slice::<f32>()?[start..end];
        let mut out = vec![0.0; rows * panels.n_out()];
        panels.matmul(x, &mut out, Threads::All);
        Ok((CpuStorage::F32(out), (rows, panels.n_out()).into()))
    }
}
