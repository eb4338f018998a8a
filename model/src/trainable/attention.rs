//! Grouped-query attention (Ainslie et al. 2023) of sequences that lie one after the other in a
//! batch, without padding.
//!
//! Queries are taken in tiles, and the backward pass computes their scores anew instead of keeping
//! them (Dao et al. 2022, "FlashAttention"): memory grows with the length of a sequence, not with
//! its square.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::softmax_last_dim;

use crate::decoder::Config;

/// Queries whose scores are in memory together.
const TILE_TOKENS: usize = 256;

/// What attends to what in a batch.
pub(super) struct PackedAttention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    sequences: Vec<Sequence>,
}

struct Sequence {
    /// Its first token's row in the batch.
    row: usize,
    n_tokens: usize,
    tiles: Vec<Tile>,
}

/// Some consecutive queries of a sequence, and the keys that any of them sees.
struct Tile {
    first: usize,
    n_queries: usize,
    first_key: usize,
    n_keys: usize,
    /// Zero where a query sees a key, else minus infinity; (1, n_queries, n_keys), f32
    mask: Tensor,
}

/// Which keys each query sees: itself and what is before it, as far back as the window reaches.
fn mask_of(
    queries: Range<usize>,
    keys: Range<usize>,
    window: usize,
    device: &Device,
) -> Result<Tensor> {
    let shape = (1, queries.len(), keys.len());
    let sees = |query: usize, key: usize| key <= query && query - key < window;
    let values: Vec<f32> = queries
        .flat_map(|query| keys.clone().map(move |key| (query, key)))
        .map(|(query, key)| if sees(query, key) { 0.0 } else { f32::NEG_INFINITY })
        .collect();
    Tensor::from_vec(values, shape, device)
}

/// One sequence's queries, keys or values by key head.
fn by_head(x: &Tensor, sequence: &Sequence, kv_heads: usize) -> Result<Tensor> {
    let head_dim = x.dim(D::Minus1)?;
    x.narrow(0, sequence.row, sequence.n_tokens)?
        .reshape((sequence.n_tokens, kv_heads, (), head_dim))?
        .permute((1, 2, 0, 3))?
        .contiguous() // (kv_heads, group, n_tokens, head_dim)
}

impl PackedAttention {
    pub(super) fn new(lengths: &[usize], config: &Config, device: &Device) -> Result<Self> {
        let mut masks = HashMap::new();
        let mut sequences = Vec::with_capacity(lengths.len());
        let mut row = 0;
        for &n_tokens in lengths {
            let mut tiles = Vec::new();
            for first in (0..n_tokens).step_by(TILE_TOKENS) {
                let n_queries = TILE_TOKENS.min(n_tokens - first);
                let window = config.sliding_window.unwrap_or(usize::MAX);
                let first_key = (first + 1).saturating_sub(window);
                let n_keys = first + n_queries - first_key;
                // The same for all sequences, as far as they reach.
                let at = (first, n_queries);
                let mask: &mut Option<Tensor> = masks.entry(at).or_default();
                let mask = match mask {
                    Some(mask) => mask.clone(),
                    None => {
                        let keys = first_key..first_key + n_keys;
                        let made = mask_of(first..first + n_queries, keys, window, device)?;
                        mask.insert(made).clone()
                    }
                };
                tiles.push(Tile { first, n_queries, first_key, n_keys, mask });
            }
            sequences.push(Sequence { row, n_tokens, tiles });
            row += n_tokens;
        }
        let Config { n_heads: heads, n_kv_heads: kv_heads, head_dim, .. } = *config;
        Ok(Self { heads, kv_heads, head_dim, sequences })
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), result: as q
    pub(super) fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let mut out = Vec::with_capacity(self.sequences.len());
        for sequence in &self.sequences {
            let q = by_head(q, sequence, self.kv_heads)?;
            let k = by_head(k, sequence, self.kv_heads)?.squeeze(1)?;
            let v = by_head(v, sequence, self.kv_heads)?.squeeze(1)?;
            for tile in &sequence.tiles {
                let weights = self.weights(&self.queries(&q, tile)?, &k, tile)?;
                let attended = weights.matmul(&keys(&v, tile)?)?;
                out.push(self.by_row(&attended, tile.n_queries)?);
            }
        }
        Tensor::cat(&out, 0)
    }

    /// Gradients of queries, keys and values. With `p` the weights and `o = p · v`: `dv = pᵀ · g`,
    /// the scores' gradient is `ds = p · (g · vᵀ - Σ g·o)`, and `dq = ds · k`, `dk = dsᵀ · q`.
    pub(super) fn backward(
        &self,
        [q, k, v]: &[Tensor; 3],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let along = (out * grad)?.sum_keepdim(D::Minus1)?; // (rows, heads, 1)
        let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in &self.sequences {
            let [q, grad, along] = [q, grad, &along].map(|it| by_head(it, sequence, self.kv_heads));
            let [k, v] = [k, v].map(|it| by_head(it, sequence, self.kv_heads)?.squeeze(1));
            let (q, grad, along, k, v) = (q?, grad?, along?, k?, v?);
            let (mut key_grad, mut value_grad) = (k.zeros_like()?, v.zeros_like()?);
            for tile in &sequence.tiles {
                let (q, grad) = (self.queries(&q, tile)?, self.queries(&grad, tile)?);
                let weights = self.weights(&q, &k, tile)?;
                let (keys, values) = (keys(&k, tile)?, keys(&v, tile)?);
                let of_weights = grad.matmul(&values.t()?)?;
                let of_scores = of_weights.broadcast_sub(&self.queries(&along, tile)?)?;
                let of_scores = ((weights.clone() * of_scores)? * scale)?;
                dq.push(self.by_row(&of_scores.matmul(&keys)?, tile.n_queries)?);
                let whole = |part: Tensor| {
                    let after = sequence.n_tokens - tile.first_key - tile.n_keys;
                    part.pad_with_zeros(1, tile.first_key, after)
                };
                key_grad = (key_grad + whole(of_scores.t()?.matmul(&q)?)?)?;
                value_grad = (value_grad + whole(weights.t()?.matmul(&grad)?)?)?;
            }
            dk.push(key_grad.transpose(0, 1)?); // (n_tokens, kv_heads, head_dim)
            dv.push(value_grad.transpose(0, 1)?);
        }
        Ok([Tensor::cat(&dq, 0)?, Tensor::cat(&dk, 0)?, Tensor::cat(&dv, 0)?])
    }

    /// How much each query takes of each key. q: (kv_heads, group * n_queries, head_dim), k:
    /// (kv_heads, n_tokens, head_dim), result: (kv_heads, group * n_queries, n_keys)
    fn weights(&self, q: &Tensor, k: &Tensor, tile: &Tile) -> Result<Tensor> {
        let dtype = q.dtype();
        let scale = 1.0 / (self.head_dim as f64).sqrt();
        let scores = (q.matmul(&keys(k, tile)?.t()?)? * scale)?.to_dtype(DType::F32)?;
        let scores =
            scores.reshape((self.heads, tile.n_queries, tile.n_keys))?.broadcast_add(&tile.mask)?;
        softmax_last_dim(&scores)?
            .reshape((self.kv_heads, self.group() * tile.n_queries, tile.n_keys))?
            .to_dtype(dtype)
    }

    /// A tile of what [`by_head`] gives; (kv_heads, group * n_queries, head_dim)
    fn queries(&self, x: &Tensor, tile: &Tile) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.narrow(2, tile.first, tile.n_queries)?.contiguous()?.reshape((
            self.kv_heads,
            self.group() * tile.n_queries,
            width,
        ))
    }

    /// The order of the batch again; (n_queries, heads, head_dim)
    fn by_row(&self, x: &Tensor, n_queries: usize) -> Result<Tensor> {
        x.reshape((self.heads, n_queries, self.head_dim))?.transpose(0, 1)?.contiguous()
    }
}

/// The keys or values that a tile sees; (kv_heads, n_keys, head_dim)
fn keys(x: &Tensor, tile: &Tile) -> Result<Tensor> {
    x.narrow(1, tile.first_key, tile.n_keys)?.contiguous()
}
