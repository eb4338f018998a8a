//! Attention of packed sequences in slices, and its derivative. The formulas stand in
//! `trainable/attention.rs`; scores are computed anew in the backward pass, tile by tile.

use rayon::prelude::*;

use super::product::{Put, Threads, View, multiply};
use crate::decoder::Config;
use crate::kernels::softmax_within;

/// Queries whose scores are in memory together.
const TILE_TOKENS: usize = 128;

/// What attends to what: sequences one after the other.
pub(super) struct Packed<'a> {
    pub(super) lengths: &'a [usize],
    pub(super) config: &'a Config,
}

/// One sequence's key head and the query heads that share it.
#[derive(Clone, Copy)]
struct Job {
    /// The sequence's first row.
    row: usize,
    n_tokens: usize,
    kv_head: usize,
}

/// Some consecutive queries of a sequence, and the first key that any of them sees.
struct Tile {
    first: usize,
    n_queries: usize,
    first_key: usize,
    n_keys: usize,
}

impl Packed<'_> {
    /// q: (rows, heads, head_dim), k, v: (rows, kv_heads, head_dim), result: as q
    pub(super) fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (group, dim) = (self.group(), self.config.head_dim);
        let parts = self.jobs().into_par_iter().map(|job| {
            // (n_tokens, group, head_dim)
            let mut out = vec![0.0; job.n_tokens * group * dim];
            let mut attended = vec![0.0; TILE_TOKENS * dim];
            let mut scores = Vec::new();
            for tile in self.tiles(job.n_tokens) {
                let values = self.keys(v, job, &tile);
                for head in 0..group {
                    self.weights(&mut scores, (q, k), (job, head), &tile);
                    let attended = &mut attended[..tile.n_queries * dim];
                    let weights = View::new(&scores, tile.n_keys);
                    multiply(attended, Put::Fresh, (weights, values), 1.0, Threads::One);
                    put(&mut out[tile.first * group * dim..], attended, (head, group), dim);
                }
            }
            (job, out)
        });
        let parts: Vec<(Job, Vec<f32>)> = parts.collect();
        let mut res = vec![0.0; q.len()];
        for (job, out) in parts {
            self.gather(&mut res, &out, job, group);
        }
        res
    }

    /// Gradients of queries, keys and values.
    pub(super) fn backward(
        &self,
        [q, k, v]: [&[f32]; 3],
        out: &[f32],
        grad: &[f32],
    ) -> [Vec<f32>; 3] {
        let parts: Vec<(Job, [Vec<f32>; 3])> = self
            .jobs()
            .into_par_iter()
            .map(|job| (job, self.backward_of(job, [q, k, v], (out, grad))))
            .collect();
        let mut res = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
        for (job, [dq, dk, dv]) in parts {
            self.gather(&mut res[0], &dq, job, self.group());
            self.gather(&mut res[1], &dk, job, 1);
            self.gather(&mut res[2], &dv, job, 1);
        }
        res
    }

    fn backward_of(
        &self,
        job: Job,
        [q, k, v]: [&[f32]; 3],
        (out, grad): (&[f32], &[f32]),
    ) -> [Vec<f32>; 3] {
        let (group, dim) = (self.group(), self.config.head_dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let mut dq = vec![0.0; job.n_tokens * group * dim];
        let mut dk = vec![0.0; job.n_tokens * dim];
        let mut dv = vec![0.0; job.n_tokens * dim];
        let mut part = vec![0.0; TILE_TOKENS * dim];
        let (mut weights, mut of_scores) = (Vec::new(), Vec::new());
        for tile in self.tiles(job.n_tokens) {
            let (keys, values) = (self.keys(k, job, &tile), self.keys(v, job, &tile));
            let seen = tile.first_key * dim..(tile.first_key + tile.n_keys) * dim;
            for head in 0..group {
                self.weights(&mut weights, (q, k), (job, head), &tile);
                let grad_view = self.queries(grad, (job, head), &tile);
                let weights_view = View::new(&weights, tile.n_keys);
                let of_values = (weights_view.t(), grad_view);
                multiply(&mut dv[seen.clone()], Put::Sum, of_values, 1.0, Threads::One);
                of_scores.resize(weights.len(), 0.0);
                multiply(&mut of_scores, Put::Fresh, (grad_view, values.t()), 1.0, Threads::One);
                for query in 0..tile.n_queries {
                    let at = self.offset(job, head, tile.first + query);
                    let (out, grad) = (&out[at..at + dim], &grad[at..at + dim]);
                    let along: f32 = out.iter().zip(grad).map(|(a, b)| a * b).sum();
                    let row = query * tile.n_keys..(query + 1) * tile.n_keys;
                    for (score, weight) in of_scores[row.clone()].iter_mut().zip(&weights[row]) {
                        *score = weight * (*score - along);
                    }
                }
                let scores_view = View::new(&of_scores, tile.n_keys);
                let part = &mut part[..tile.n_queries * dim];
                multiply(part, Put::Fresh, (scores_view, keys), scale, Threads::One);
                put(&mut dq[tile.first * group * dim..], part, (head, group), dim);
                let of_keys = (scores_view.t(), self.queries(q, (job, head), &tile));
                multiply(&mut dk[seen.clone()], Put::Sum, of_keys, scale, Threads::One);
            }
        }
        [dq, dk, dv]
    }

    fn group(&self) -> usize {
        self.config.n_heads / self.config.n_kv_heads
    }

    fn jobs(&self) -> Vec<Job> {
        let mut res = Vec::new();
        let mut row = 0;
        for &n_tokens in self.lengths {
            res.extend((0..self.config.n_kv_heads).map(|kv_head| Job { row, n_tokens, kv_head }));
            row += n_tokens;
        }
        res
    }

    fn tiles(&self, n_tokens: usize) -> impl Iterator<Item = Tile> + use<> {
        let window = self.config.sliding_window.unwrap_or(usize::MAX);
        (0..n_tokens).step_by(TILE_TOKENS).map(move |first| {
            let n_queries = TILE_TOKENS.min(n_tokens - first);
            let first_key = (first + 1).saturating_sub(window);
            Tile { first, n_queries, first_key, n_keys: first + n_queries - first_key }
        })
    }

    /// Where a query's values begin.
    fn offset(&self, job: Job, head: usize, query: usize) -> usize {
        let Config { n_heads, head_dim, .. } = *self.config;
        ((job.row + query) * n_heads + job.kv_head * self.group() + head) * head_dim
    }

    /// (n_queries, head_dim) of something that lies as queries do.
    fn queries<'a>(&self, x: &'a [f32], (job, head): (Job, usize), tile: &Tile) -> View<'a> {
        let Config { n_heads, head_dim, .. } = *self.config;
        let data = &x[self.offset(job, head, tile.first)..];
        View::strided(data, (tile.n_queries, head_dim), n_heads * head_dim)
    }

    /// (n_keys, head_dim) of something that lies as keys do.
    fn keys<'a>(&self, x: &'a [f32], job: Job, tile: &Tile) -> View<'a> {
        let Config { n_kv_heads, head_dim, .. } = *self.config;
        let at = ((job.row + tile.first_key) * n_kv_heads + job.kv_head) * head_dim;
        View::strided(&x[at..], (tile.n_keys, head_dim), n_kv_heads * head_dim)
    }

    /// How much each query takes of each key; (n_queries, n_keys)
    fn weights(
        &self,
        out: &mut Vec<f32>,
        (q, k): (&[f32], &[f32]),
        (job, head): (Job, usize),
        tile: &Tile,
    ) {
        let scale = 1.0 / (self.config.head_dim as f32).sqrt();
        out.resize(tile.n_queries * tile.n_keys, 0.0);
        let factors = (self.queries(q, (job, head), tile), self.keys(k, job, tile).t());
        multiply(out, Put::Fresh, factors, scale, Threads::One);
        let window = self.config.sliding_window.unwrap_or(usize::MAX);
        let (first, first_key) = (tile.first, tile.first_key);
        softmax_within(out, tile.n_keys, |row| {
            let query = first + row;
            (query + 1).saturating_sub(window).max(first_key) - first_key..query + 1 - first_key
        });
    }

    /// Puts a job's heads where they lie among all. part: (n_tokens, n_heads, head_dim)
    fn gather(&self, all: &mut [f32], part: &[f32], job: Job, n_heads: usize) {
        let width = n_heads * self.config.head_dim;
        let stride = all.len() / self.lengths.iter().sum::<usize>();
        for (idx, heads) in part.chunks_exact(width).enumerate() {
            let at = (job.row + idx) * stride + job.kv_head * width;
            all[at..at + width].copy_from_slice(heads);
        }
    }
}

/// Puts one head's rows among those of its group.
fn put(all: &mut [f32], rows: &[f32], (head, group): (usize, usize), dim: usize) {
    for (all, row) in all.chunks_exact_mut(group * dim).zip(rows.chunks_exact(dim)) {
        all[head * dim..(head + 1) * dim].copy_from_slice(row);
    }
}
