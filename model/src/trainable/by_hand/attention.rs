//! Attention of packed sequences in slices, and its derivative. The formulas stand in
//! `trainable/attention.rs`; scores are computed anew in the backward pass, tile by tile.
//!
//! A thread takes one sequence's key head and the query heads that share it. Keys and values are
//! packed once for all tiles of all those heads.

mod backward;

use std::ops::Range;

use rayon::prelude::*;

use super::pack::{Place, pack_f32};
use super::product::View;
use super::strips::Strip;
use crate::decoder::Config;
use crate::kernels::softmax_within;
use crate::panel_product::Product;
use crate::panels::PANEL;
use backward::Backward;

/// Queries whose scores are in memory together.
const TILE_TOKENS: usize = 64;

/// What attends to what: sequences one after the other.
pub(super) struct Packed<'a> {
    pub(super) lengths: &'a [usize],
    pub(super) config: &'a Config,
}

/// One sequence's key head, and the query heads that share it.
#[derive(Clone, Copy)]
struct Job {
    /// The sequence's first row.
    row: usize,
    n_tokens: usize,
    kv_head: usize,
    n_kv_heads: usize,
    /// Query heads of a key head.
    group: usize,
    dim: usize,
    window: usize,
}

/// Some consecutive queries of a sequence, and the panels of keys that any of them sees.
struct Tile {
    queries: Range<usize>,
    panels: Range<usize>,
}

/// A matrix in panels; (n_panels, n_rows, 32)
struct Panels {
    values: Vec<[f32; PANEL]>,
    n_rows: usize,
}

impl Packed<'_> {
    /// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), out: as q
    pub(super) fn forward(&self, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        self.jobs().into_par_iter().zip(self.strips(out)).with_max_len(1).for_each(
            |(job, mut out)| {
                let keys = Panels::of(job.keys(k).t(), job.scale());
                let values = Panels::of(job.keys(v), 1.0);
                let (mut weights, mut attended) = (Vec::new(), Vec::new());
                for tile in job.tiles() {
                    for head in 0..job.group {
                        job.weights(job.queries(q, head, &tile), &keys, &tile, &mut weights);
                        job.attend(&weights, &values, &tile, &mut attended);
                        job.put(&attended, (head, &tile), &mut out);
                    }
                }
            },
        );
    }

    /// Gradients of queries, keys and values. out, grad: as q
    pub(super) fn backward(
        &self,
        [q, k, v]: [&[f32]; 3],
        (out, grad): (&[f32], &[f32]),
        [of_q, of_k, of_v]: [&mut [f32]; 3],
    ) {
        let of_keys = self.strips(of_k).into_par_iter().zip(self.strips(of_v));
        let jobs = self.jobs().into_par_iter().zip(self.strips(of_q)).zip(of_keys);
        jobs.with_max_len(1).for_each(|((job, of_q), (of_k, of_v))| {
            Backward::new(job, [k, v]).run([q, out, grad], [of_q, of_k, of_v]);
        });
    }

    fn jobs(&self) -> Vec<Job> {
        let Config { n_heads, n_kv_heads, head_dim: dim, sliding_window, .. } = *self.config;
        let (group, window) = (n_heads / n_kv_heads, sliding_window.unwrap_or(usize::MAX));
        let mut res = Vec::new();
        let mut row = 0;
        for &n_tokens in self.lengths {
            let job = |kv_head| Job { row, n_tokens, kv_head, n_kv_heads, group, dim, window };
            res.extend((0..n_kv_heads).map(job));
            row += n_tokens;
        }
        res
    }

    /// What each of the jobs writes of something that lies as queries or keys do.
    fn strips<'a>(&self, mut all: &'a mut [f32]) -> Vec<Strip<'a>> {
        let columns = all.len() / self.lengths.iter().sum::<usize>();
        let mut res = Vec::new();
        for n_tokens in self.lengths {
            let sequence = all.split_off_mut(..n_tokens * columns).expect("rows of all sequences");
            res.extend(Strip::cut(sequence, columns, columns / self.config.n_kv_heads));
        }
        res
    }
}

impl Job {
    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Values between the rows of what is computed of a head: whole panels.
    fn stride(&self) -> usize {
        self.dim.next_multiple_of(PANEL)
    }

    fn tiles(&self) -> impl Iterator<Item = Tile> + use<> {
        let Self { n_tokens, window, .. } = *self;
        (0..n_tokens).step_by(TILE_TOKENS).map(move |first| {
            let queries = first..n_tokens.min(first + TILE_TOKENS);
            let first_key = (first + 1).saturating_sub(window);
            Tile { panels: first_key / PANEL..queries.end.div_ceil(PANEL), queries }
        })
    }

    /// (n_queries, head_dim) of something that lies as queries do.
    fn queries<'a>(&self, x: &'a [f32], head: usize, tile: &Tile) -> View<'a> {
        let stride = self.n_kv_heads * self.group * self.dim;
        let first = (self.row + tile.queries.start) * stride;
        let at = first + (self.kv_head * self.group + head) * self.dim;
        View::strided(&x[at..], (tile.queries.len(), self.dim), stride)
    }

    /// (n_tokens, head_dim) of something that lies as keys do.
    fn keys<'a>(&self, x: &'a [f32]) -> View<'a> {
        let stride = self.n_kv_heads * self.dim;
        let at = self.row * stride + self.kv_head * self.dim;
        View::strided(&x[at..], (self.n_tokens, self.dim), stride)
    }

    /// How much each query takes of each key. keys: (head_dim, n_tokens), out: (n_queries,
    /// tile.n_keys())
    fn weights(&self, queries: View<'_>, keys: &Panels, tile: &Tile, out: &mut Vec<f32>) {
        tile.products(queries, keys, out);
        let first_key = tile.panels.start * PANEL;
        softmax_within(out, tile.n_keys(), |row| {
            let query = tile.queries.start + row;
            let seen = (query + 1).saturating_sub(self.window)..query + 1;
            seen.start - first_key..seen.end - first_key
        });
    }

    /// The sums of what belongs to the keys, weighted. values: (n_tokens, head_dim), out:
    /// (n_queries, stride)
    fn attend(&self, weights: &[f32], values: &Panels, tile: &Tile, out: &mut Vec<f32>) {
        out.resize(tile.queries.len() * self.stride(), 0.0);
        let keys = tile.panels.start * PANEL..self.n_tokens.min(tile.panels.end * PANEL);
        for panel in 0..self.stride() / PANEL {
            let product = Product {
                weights: values.panel(panel)[keys.clone()].as_flattened(),
                rows: tile.queries.len(),
                x: weights,
                x_stride: tile.n_keys(),
                out: &mut out[panel * PANEL..],
                out_stride: self.stride(),
            };
            product.compute();
        }
    }

    /// Puts one head's rows where they belong. rows: (n_queries, stride)
    fn put(&self, rows: &[f32], (head, tile): (usize, &Tile), out: &mut Strip<'_>) {
        for (row, query) in rows.chunks_exact(self.stride()).zip(tile.queries.clone()) {
            out.row(query)[head * self.dim..][..self.dim].copy_from_slice(&row[..self.dim]);
        }
    }
}

impl Tile {
    /// Keys of all panels, some of which lie outside the sequence or are not seen.
    fn n_keys(&self) -> usize {
        self.panels.len() * PANEL
    }

    /// Products of the queries' rows with those of the keys. x: (n_queries, head_dim), keys:
    /// (head_dim, n_tokens), out: (n_queries, n_keys)
    fn products(&self, x: View<'_>, keys: &Panels, out: &mut Vec<f32>) {
        out.resize(self.queries.len() * self.n_keys(), 0.0);
        for (idx, panel) in self.panels.clone().enumerate() {
            let product = Product {
                weights: keys.panel(panel).as_flattened(),
                rows: self.queries.len(),
                x: x.data,
                x_stride: x.row_stride,
                out: &mut out[idx * PANEL..],
                out_stride: self.n_keys(),
            };
            product.compute();
        }
    }
}

impl Panels {
    /// Packs a matrix times `scale`.
    fn of(matrix: View<'_>, scale: f32) -> Self {
        let n_rows = matrix.rows;
        let mut values = vec![[0.0; PANEL]; matrix.columns.div_ceil(PANEL) * n_rows];
        for (panel, out) in values.chunks_exact_mut(n_rows).enumerate() {
            let place = Place { first_row: 0, n_rows, first_column: panel * PANEL };
            pack_f32(matrix, place, scale, out);
        }
        Self { values, n_rows }
    }

    fn panel(&self, panel: usize) -> &[[f32; PANEL]] {
        &self.values[panel * self.n_rows..][..self.n_rows]
    }
}
