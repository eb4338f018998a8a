//! Grouped-query attention (Ainslie et al. 2023) over tensors, tile by tile: the queries of some
//! consecutive tokens of one sequence, and the keys that any of them sees.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

/// Some consecutive queries of a sequence, by their positions in it.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    pub(crate) queries: Range<usize>,
    pub(crate) keys: Range<usize>,
    /// Zero where a query sees a key, else minus infinity; (1, n_queries, n_keys), f32. None for a
    /// single query, which sees all of them.
    mask: Option<Tensor>,
}

impl Tile {
    /// A query sees itself and what is before it, as far back as the window reaches.
    pub(crate) fn new(
        queries: Range<usize>,
        window: Option<usize>,
        device: &Device,
    ) -> Result<Self> {
        let window = window.unwrap_or(usize::MAX);
        let keys = (queries.start + 1).saturating_sub(window)..queries.end;
        let sees = |query: usize, key: usize| key <= query && query - key < window;
        let value = |query: usize, key: usize| match sees(query, key) {
            true => 0.0,
            false => f32::NEG_INFINITY,
        };
        let mask = match queries.len() {
            1 => None,
            n => {
                let row = |query: usize| keys.clone().map(move |key| value(query, key));
                let values: Vec<f32> = queries.clone().flat_map(row).collect();
                Some(Tensor::from_vec(values, (1, n, keys.len()), device)?)
            }
        };
        Ok(Self { queries, keys, mask })
    }

    /// How much each query takes of each key. q: (kv_heads, group * n_queries, head_dim), k:
    /// (kv_heads, n_keys, head_dim), result: (kv_heads, group * n_queries, n_keys)
    pub(crate) fn weights(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let (kv_heads, rows, head_dim) = q.dims3()?;
        let (n_queries, n_keys) = (self.queries.len(), self.keys.len());
        let scale = 1.0 / (head_dim as f64).sqrt();
        let mut scores = (q.matmul(&k.t()?)? * scale)?.to_dtype(DType::F32)?;
        if let Some(mask) = &self.mask {
            let by_head = (kv_heads * rows / n_queries, n_queries, n_keys);
            scores = scores.reshape(by_head)?.broadcast_add(mask)?;
        }
        softmax_last_dim(&scores)?.reshape((kv_heads, rows, n_keys))?.to_dtype(q.dtype())
    }
}

/// Queries, keys or values by key head. x: (n_tokens, heads, head_dim), result: (kv_heads, group,
/// n_tokens, head_dim)
pub(crate) fn by_head(x: &Tensor, kv_heads: usize) -> Result<Tensor> {
    let (n_tokens, head_dim) = (x.dim(0)?, x.dim(D::Minus1)?);
    x.reshape((n_tokens, kv_heads, (), head_dim))?.permute((1, 2, 0, 3))?.contiguous()
}

/// The order of the batch again. x: (kv_heads, group * n_tokens, head_dim), result: (n_tokens,
/// heads, head_dim)
pub(crate) fn by_row(x: &Tensor, n_tokens: usize) -> Result<Tensor> {
    x.reshape(((), n_tokens, x.dim(D::Minus1)?))?.transpose(0, 1)?.contiguous()
}
