//! Grouped-query attention (Ainslie et al. 2023) of sequences side by side, each over all of its
//! heads at once.
//!
//! Queries are taken in tiles, and the backward pass computes their scores anew instead of keeping
//! them (Dao et al. 2022, "FlashAttention"): memory grows with the length of a sequence, not with
//! its square. A shorter sequence is filled up behind its end, where no query of its own looks.

use candle_core::{Result, Tensor};

use super::functions::{Put, Tile, WHOLE, product_into, softmax, softmax_back};
use crate::decoder::Config;

/// Queries whose scores are in memory together.
const TILE_QUERIES: usize = 512;

/// The tiles of sequences of one length, the last first: it sees the most keys.
pub(super) fn tiles(length: usize, config: &Config) -> Vec<Tile> {
    let window = config.sliding_window.unwrap_or(WHOLE);
    let tile = |first_query: usize| {
        let n_queries = TILE_QUERIES.min(length - first_query);
        let first_key = (first_query + 1).saturating_sub(window);
        Tile {
            first_query,
            n_queries,
            first_key,
            n_keys: first_query + n_queries - first_key,
            group: config.n_heads / config.n_kv_heads,
            window,
            scale: (config.head_dim as f32).sqrt().recip(),
        }
    };
    (0..length).step_by(TILE_QUERIES).map(tile).rev().collect()
}

impl Tile {
    /// Its queries; x: (heads, length * group, dim)
    fn queries(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(1, self.first_query * self.group, self.n_queries * self.group)
    }

    /// Its keys or values; x: (heads, length, dim)
    fn keys(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(1, self.first_key, self.n_keys)
    }

    fn shares(&self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        let scores = self.queries(q)?.matmul(&self.keys(k)?.t()?)?;
        softmax(scores, self)
    }
}

/// q: (heads, length * group, dim), k, v: (heads, length, dim), result: as q
pub(super) fn forward(tiles: &[Tile], q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    if let [tile] = tiles {
        return tile.shares(q, k)?.matmul(&tile.keys(v)?);
    }
    let out = q.zeros_like()?;
    for tile in tiles {
        let at = (tile.first_query * tile.group, Put::Fresh);
        product_into(&out, at, 1.0, &tile.shares(q, k)?, &tile.keys(v)?)?;
    }
    Ok(out)
}

/// Gradients of queries, keys and values. With `p` the shares: `dv = pᵀ · g`, the scores' gradient
/// `ds` is that of the softmax at `g · vᵀ`, and `dq = ds · k`, `dk = dsᵀ · q`.
pub(super) fn backward(
    tiles: &[Tile],
    [q, k, v]: [&Tensor; 3],
    grad: &Tensor,
) -> Result<[Tensor; 3]> {
    let [dq, dk, dv] = [q, k, v].map(Tensor::zeros_like);
    let (dq, dk, dv) = (dq?, dk?, dv?);
    for tile in tiles {
        let grad = tile.queries(grad)?;
        let shares = tile.shares(q, k)?;
        let into_keys = (tile.first_key, Put::Sum);
        product_into(&dv, into_keys, 1.0, &shares.t()?, &grad)?;
        let of_shares = grad.matmul(&tile.keys(v)?.t()?)?;
        let of_scores = softmax_back(of_shares, &shares, tile)?;
        let into_queries = (tile.first_query * tile.group, Put::Fresh);
        product_into(&dq, into_queries, 1.0, &of_scores, &tile.keys(k)?)?;
        product_into(&dk, into_keys, 1.0, &of_scores.t()?, &tile.queries(q)?)?;
    }
    Ok([dq, dk, dv])
}
