//! Grouped-query attention (Ainslie et al. 2023) of sequences that lie one after the other in a
//! batch, without padding.
//!
//! Queries are taken in tiles, and the backward pass computes their scores anew instead of keeping
//! them (Dao et al. 2022, "FlashAttention"): memory grows with the length of a sequence, not with
//! its square.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use candle_core::{D, Device, Result, Tensor};

use crate::decoder::Config;
use crate::tiles::{Tile, by_head, by_row};

/// Queries whose scores are in memory together.
const TILE_TOKENS: usize = 256;

/// What attends to what in a batch.
pub(super) struct PackedAttention {
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

/// One sequence's queries, keys or values; (kv_heads, group, n_tokens, head_dim)
fn of_sequence(x: &Tensor, sequence: &Sequence, kv_heads: usize) -> Result<Tensor> {
    by_head(&x.narrow(0, sequence.row, sequence.n_tokens)?, kv_heads)
}

impl PackedAttention {
    pub(super) fn new(lengths: &[usize], config: &Config, device: &Device) -> Result<Self> {
        let mut known: HashMap<Range<usize>, Tile> = HashMap::new();
        let mut sequences = Vec::with_capacity(lengths.len());
        let mut row = 0;
        for &n_tokens in lengths {
            let mut tiles = Vec::new();
            for first in (0..n_tokens).step_by(TILE_TOKENS) {
                let queries = first..n_tokens.min(first + TILE_TOKENS);
                // The same for all sequences, as far as they reach.
                tiles.push(match known.entry(queries.clone()) {
                    Entry::Occupied(it) => it.get().clone(),
                    Entry::Vacant(it) => {
                        it.insert(Tile::new(queries, config.sliding_window, device)?).clone()
                    }
                });
            }
            sequences.push(Sequence { row, n_tokens, tiles });
            row += n_tokens;
        }
        let Config { n_kv_heads: kv_heads, head_dim, .. } = *config;
        Ok(Self { kv_heads, head_dim, sequences })
    }

    /// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), result: as q
    pub(super) fn forward(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        let mut out = Vec::with_capacity(self.sequences.len());
        for sequence in &self.sequences {
            let q = of_sequence(q, sequence, self.kv_heads)?;
            let k = of_sequence(k, sequence, self.kv_heads)?.squeeze(1)?;
            let v = of_sequence(v, sequence, self.kv_heads)?.squeeze(1)?;
            for tile in &sequence.tiles {
                let weights = tile.weights(&self.queries(&q, tile)?, &keys(&k, tile)?)?;
                let attended = weights.matmul(&keys(&v, tile)?)?;
                out.push(by_row(&attended, tile.queries.len())?);
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
            let part = |it: &Tensor| of_sequence(it, sequence, self.kv_heads);
            let [q, grad, along] = [q, grad, &along].map(part);
            let [k, v] = [k, v].map(|it| part(it)?.squeeze(1));
            let (q, grad, along, k, v) = (q?, grad?, along?, k?, v?);
            let (mut key_grad, mut value_grad) = (k.zeros_like()?, v.zeros_like()?);
            for tile in &sequence.tiles {
                let (q, grad) = (self.queries(&q, tile)?, self.queries(&grad, tile)?);
                let (keys, values) = (keys(&k, tile)?, keys(&v, tile)?);
                let weights = tile.weights(&q, &keys)?;
                let of_weights = grad.matmul(&values.t()?)?;
                let of_scores = of_weights.broadcast_sub(&self.queries(&along, tile)?)?;
                let of_scores = ((weights.clone() * of_scores)? * scale)?;
                dq.push(by_row(&of_scores.matmul(&keys)?, tile.queries.len())?);
                let whole = |part: Tensor| {
                    let after = sequence.n_tokens - tile.keys.end;
                    part.pad_with_zeros(1, tile.keys.start, after)
                };
                key_grad = (key_grad + whole(of_scores.t()?.matmul(&q)?)?)?;
                value_grad = (value_grad + whole(weights.t()?.matmul(&grad)?)?)?;
            }
            dk.push(key_grad.transpose(0, 1)?); // (n_tokens, kv_heads, head_dim)
            dv.push(value_grad.transpose(0, 1)?);
        }
        Ok([Tensor::cat(&dq, 0)?, Tensor::cat(&dk, 0)?, Tensor::cat(&dv, 0)?])
    }

    /// A tile of what [`by_head`] gives; (kv_heads, group * n_queries, head_dim)
    fn queries(&self, x: &Tensor, tile: &Tile) -> Result<Tensor> {
        let width = x.dim(D::Minus1)?;
        x.narrow(2, tile.queries.start, tile.queries.len())?.contiguous()?.reshape((
            self.kv_heads,
            (),
            width,
        ))
    }
}

/// The keys or values that a tile sees; (kv_heads, n_keys, head_dim)
fn keys(x: &Tensor, tile: &Tile) -> Result<Tensor> {
    x.narrow(1, tile.keys.start, tile.keys.len())?.contiguous()
}
