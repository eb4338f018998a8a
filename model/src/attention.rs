//! Grouped-query attention (Ainslie et al. 2023) of several sequences, each over its own cache.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::decoder::{Config, Piece};
use crate::kernels;
use crate::kv_cache::{PAGE, PageCache};
use crate::linear::with_slice;
use crate::panel_product::Product;
use crate::panels::PANEL;

/// Tokens whose queries are taken together: their scores over a long context still fit the cache.
const TILE_TOKENS: usize = 16;
/// Below this many multiply-adds, handing work to another thread costs more than it saves.
const PARALLEL_MIN: usize = 1 << 18;

/// Rotary position embedding (Su et al. 2021): each pair of a head's values turns by a frequency
/// of its own.
pub(crate) struct Rope {
    /// (head_dim / 2)
    frequencies: Vec<f32>,
}

/// Rotary angles of the rows of a batch, as cosine and sine; (rows, head_dim / 2)
pub(crate) struct Angles {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    pub(crate) fn new(config: &Config) -> Self {
        let half = config.head_dim / 2;
        let frequencies = (0..half)
            .map(|idx| {
                let exponent = -(2.0 * idx as f64) / config.head_dim as f64;
                let frequency = f64::from(config.rope_theta).powf(exponent);
                (frequency / f64::from(config.rope_factors[idx])) as f32
            })
            .collect();
        Self { frequencies }
    }

    /// The angles of these positions.
    ///
    /// Computed in f32, as models are trained: at position 8,000 the exact angle differs from this
    /// one in the fourth digit.
    pub(crate) fn at(&self, positions: impl Iterator<Item = usize>) -> Angles {
        let angles = positions
            .flat_map(|position| self.frequencies.iter().map(move |it| position as f32 * it));
        let (sin, cos) = angles.map(f32::sin_cos).unzip();
        Angles { cos, sin, half: self.frequencies.len() }
    }
}

impl Angles {
    /// Cosines and sines; (rows, head_dim / 2) each
    pub(crate) fn tables(&self) -> (&[f32], &[f32]) {
        (&self.cos, &self.sin)
    }

    /// Turns one head of a row, whose halves hold the pairs, and scales it.
    ///
    /// head, out: (head_dim)
    fn rotate(&self, row: usize, head: &[f32], scale: f32, out: &mut [f32]) {
        let (cos, sin) = (&self.cos[row * self.half..], &self.sin[row * self.half..]);
        let (first, second) = head.split_at(self.half);
        let (out_first, out_second) = out.split_at_mut(self.half);
        for idx in 0..self.half {
            out_first[idx] = (first[idx] * cos[idx] - second[idx] * sin[idx]) * scale;
            out_second[idx] = (first[idx] * sin[idx] + second[idx] * cos[idx]) * scale;
        }
    }
}

/// Rotates queries and keys, writes keys and values to the caches of their sequences, in which
/// there is room, and attends.
///
/// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), result: (rows, heads * head_dim)
pub(crate) fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    pieces: &mut [Piece<'_>],
    layer: usize,
    rope: &Angles,
    config: &Config,
) -> Result<Tensor> {
    let rows: usize = pieces.iter().map(|it| it.ids.len()).sum();
    let width = config.n_heads * config.head_dim;
    with_slice(k, |k| with_slice(v, |v| write(k, v, pieces, layer, rope, config)))???;
    let out = with_slice(q, |q| {
        let attention = Attention { q, layer, rope, config, rows };
        attention.run(pieces)
    })??;
    Tensor::from_vec(out, (rows, width), &Device::Cpu)
}

/// k, v: (rows, kv_heads, head_dim)
fn write(
    k: &[f32],
    v: &[f32],
    pieces: &mut [Piece<'_>],
    layer: usize,
    rope: &Angles,
    config: &Config,
) -> Result<()> {
    let dim = config.head_dim;
    let mut rotated = vec![0.0; dim];
    let mut row = 0;
    for piece in pieces {
        let start = piece.cache.len();
        let cache = piece.cache.pages_mut()?;
        for token in 0..piece.ids.len() {
            for head in 0..config.n_kv_heads {
                let at = (row * config.n_kv_heads + head) * dim;
                rope.rotate(row, &k[at..][..dim], 1.0, &mut rotated);
                cache.write((layer, head), start + token, &rotated, &v[at..][..dim]);
            }
            row += 1;
        }
    }
    Ok(())
}

/// One layer's attention over caches that hold all keys and values.
struct Attention<'a> {
    /// (rows, heads, head_dim)
    q: &'a [f32],
    layer: usize,
    rope: &'a Angles,
    config: &'a Config,
    rows: usize,
}

/// The queries of some consecutive tokens of one sequence that share a key head.
struct Tile<'a> {
    cache: &'a PageCache,
    kv_head: usize,
    /// The first token's row in the batch.
    row: usize,
    /// The first token's position in its sequence.
    position: usize,
    tokens: usize,
}

impl Attention<'_> {
    /// result: (rows, heads, head_dim)
    fn run(&self, pieces: &[Piece<'_>]) -> Result<Vec<f32>> {
        let Config { n_heads, n_kv_heads, head_dim, .. } = *self.config;
        let group = n_heads / n_kv_heads; // Query heads that share a key head.
        let mut tiles = Vec::new();
        let mut work = 0;
        let mut first_row = 0;
        for piece in pieces {
            let cache = piece.cache.pages()?;
            for kv_head in 0..n_kv_heads {
                for token in (0..piece.ids.len()).step_by(TILE_TOKENS) {
                    let tokens = TILE_TOKENS.min(piece.ids.len() - token);
                    let position = cache.len() + token;
                    work += tokens * group * head_dim * (position + tokens) * 2;
                    let row = first_row + token;
                    tiles.push(Tile { cache, kv_head, row, position, tokens });
                }
            }
            first_row += piece.ids.len();
        }
        let attended: Vec<Vec<f32>> = if work < PARALLEL_MIN {
            tiles.iter().map(|tile| self.tile(tile)).collect()
        } else {
            tiles.par_iter().with_max_len(1).map(|tile| self.tile(tile)).collect()
        };
        let stride = head_dim.next_multiple_of(PANEL);
        let mut out = vec![0.0; self.rows * n_heads * head_dim];
        for (tile, attended) in tiles.iter().zip(&attended) {
            for (idx, attended) in attended.chunks_exact(stride).enumerate() {
                let (row, head) = (tile.row + idx / group, tile.kv_head * group + idx % group);
                out[(row * n_heads + head) * head_dim..][..head_dim]
                    .copy_from_slice(&attended[..head_dim]);
            }
        }
        Ok(out)
    }

    /// result: (tokens, group, head_dim), each head padded to whole panels
    fn tile(&self, tile: &Tile<'_>) -> Vec<f32> {
        let Config { n_heads, n_kv_heads, head_dim, sliding_window, .. } = *self.config;
        let group = n_heads / n_kv_heads;
        let rows = tile.tokens * group;
        // A token sees itself and what is before it, as far back as the window reaches.
        let sees = |token: usize| {
            let end = tile.position + token + 1;
            end.saturating_sub(sliding_window.unwrap_or(end))..end
        };
        let pages = sees(0).start / PAGE..(tile.position + tile.tokens).div_ceil(PAGE);
        let first = pages.start * PAGE;
        let stride = pages.len() * PAGE;
        let head = (self.layer, tile.kv_head);

        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut q = vec![0.0; rows * head_dim];
        for (idx, q) in q.chunks_exact_mut(head_dim).enumerate() {
            let (row, head) = (tile.row + idx / group, tile.kv_head * group + idx % group);
            let from = &self.q[(row * n_heads + head) * head_dim..][..head_dim];
            self.rope.rotate(row, from, scale, q);
        }
        let mut scores = vec![0.0; rows * stride]; // (tokens, group, stride)
        for (idx, page) in pages.clone().enumerate() {
            let weights = tile.cache.keys(page, head);
            let out = &mut scores[idx * PAGE..];
            let product =
                Product { weights, rows, x: &q, x_stride: head_dim, out, out_stride: stride };
            product.compute();
        }
        kernels::softmax_within(&mut scores, stride, |row| {
            let seen = sees(row / group);
            seen.start - first..seen.end - first
        });
        let out_stride = head_dim.next_multiple_of(PANEL);
        let mut out = vec![0.0; rows * out_stride];
        for (idx, page) in pages.enumerate() {
            let values = tile.cache.values(page, head).chunks_exact(PAGE * PANEL);
            for (panel, weights) in values.enumerate() {
                let out = &mut out[panel * PANEL..];
                let x = &scores[idx * PAGE..];
                Product { weights, rows, x, x_stride: stride, out, out_stride }.add();
            }
        }
        out
    }
}
