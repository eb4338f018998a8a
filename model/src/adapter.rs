//! Low-rank adapters (Hu et al. 2021, "LoRA") as they are read from files.

use candle_core::Tensor;

/// An adapter of a decoder.
#[derive(Debug)]
pub struct Adapter {
    /// What requests call it by.
    pub name: String,
    pub(crate) layers: Vec<LayerAdapter>,
}

/// What an adapter adds to the linear layers of one block.
#[derive(Debug, Default)]
pub(crate) struct LayerAdapter {
    pub(crate) q: Option<LowRank>,
    pub(crate) k: Option<LowRank>,
    pub(crate) v: Option<LowRank>,
    pub(crate) o: Option<LowRank>,
    pub(crate) gate: Option<LowRank>,
    pub(crate) up: Option<LowRank>,
    pub(crate) down: Option<LowRank>,
}

/// `(x · aᵀ) · bᵀ` is added to the layer's result.
#[derive(Debug)]
pub(crate) struct LowRank {
    /// (r, n_in)
    pub(crate) a: Tensor,
    /// (n_out, r), already multiplied by the scale
    pub(crate) b: Tensor,
}
