//! Weights that training does not change.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Result, Tensor};

/// A weight of shape (n_out, n_in). All weights are held as it, too, where they are trained.
#[derive(Clone)]
pub(super) enum Frozen {
    Dense(Tensor),
    /// Dequantised for each product and forgotten after it (Dettmers et al. 2023, "QLoRA").
    Quantised(Arc<QTensor>, DType),
}

impl Frozen {
    /// (n_out, n_in)
    pub(super) fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(weight.clone()),
            Self::Quantised(weight, dtype) => weight.dequantize(&weight.device())?.to_dtype(*dtype),
        }
    }

    /// The tensor itself, where it is held as one.
    pub(super) fn held(&self) -> Option<&Tensor> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Quantised(..) => None,
        }
    }

    /// `x · Wᵀ`. x: (rows, n_in), result: (rows, n_out)
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.dense()?.t()?)
    }

    /// `g · W`. grad: (rows, n_out), result: (rows, n_in)
    pub(super) fn back(&self, grad: &Tensor) -> Result<Tensor> {
        grad.matmul(&self.dense()?)
    }
}
