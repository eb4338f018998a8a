//! The derivative of one key head's attention.

use pulp::{Arch, Simd, WithSimd};

use super::super::functions::dot;
use super::super::pack::turn;
use super::super::product::View;
use super::super::strips::Strip;
use super::{Job, Panels, TILE_TOKENS, Tile};
use crate::panel_product::Product;
use crate::panels::PANEL;

/// What a key head's derivative is computed from and in.
pub(super) struct Backward {
    job: Job,
    /// Scaled; (head_dim, n_tokens) and (n_tokens, head_dim)
    keys_turned: Panels,
    keys: Panels,
    /// (head_dim, n_tokens)
    values: Panels,
    /// Of keys before scaling, and of values.
    of_keys: Sums,
    of_values: Sums,
}

/// What is added up for each key, with rows and columns exchanged; (head_dim, keys of all panels)
struct Sums {
    values: Vec<f32>,
    n_keys: usize,
    /// A tile's rows, exchanged; (head_dim, n_queries)
    turned: Vec<f32>,
    /// One panel of weights; (n_queries, 32)
    panel: [[f32; PANEL]; TILE_TOKENS],
}

impl Backward {
    pub(super) fn new(job: Job, [k, v]: [&[f32]; 2]) -> Self {
        let (keys, values) = (job.keys(k), job.keys(v));
        Self {
            job,
            keys_turned: Panels::of(keys.t(), job.scale()),
            keys: Panels::of(keys, job.scale()),
            values: Panels::of(values.t(), 1.0),
            of_keys: Sums::new(&job),
            of_values: Sums::new(&job),
        }
    }

    /// q, out, grad: (rows, heads, head_dim); the strips are those of the job.
    pub(super) fn run(
        mut self,
        [q, out, grad]: [&[f32]; 3],
        [mut of_q, mut of_k, mut of_v]: [Strip<'_>; 3],
    ) {
        let job = self.job;
        let (mut weights, mut of_scores, mut part) = (Vec::new(), Vec::new(), Vec::new());
        for tile in job.tiles() {
            for head in 0..job.group {
                let [q, out, grad] = [q, out, grad].map(|it| job.queries(it, head, &tile));
                job.weights(q, &self.keys_turned, &tile, &mut weights);
                self.of_values.add(grad, &weights, &tile);
                tile.products(grad, &self.values, &mut of_scores);
                Arch::new().dispatch(SoftmaxBack {
                    weights: &weights,
                    out,
                    grad,
                    n_keys: tile.n_keys(),
                    of_weights: &mut of_scores,
                });
                job.attend(&of_scores, &self.keys, &tile, &mut part);
                job.put(&part, (head, &tile), &mut of_q);
                self.of_keys.add(q, &of_scores, &tile);
            }
        }
        self.of_keys.put(job.scale(), &mut of_k);
        self.of_values.put(1.0, &mut of_v);
    }
}

impl Sums {
    fn new(job: &Job) -> Self {
        let n_keys = job.n_tokens.next_multiple_of(PANEL);
        Self {
            values: vec![0.0; job.dim * n_keys],
            n_keys,
            turned: Vec::new(),
            panel: [[0.0; PANEL]; TILE_TOKENS],
        }
    }

    /// Adds `xᵀ · weights`. x: (n_queries, head_dim), weights: (n_queries, tile.n_keys())
    fn add(&mut self, x: View<'_>, weights: &[f32], tile: &Tile) {
        let n_queries = tile.queries.len();
        self.turned.resize(x.columns * n_queries, 0.0);
        turn(x, &mut self.turned);
        for (idx, panel) in tile.panels.clone().enumerate() {
            let rows = weights.chunks_exact(tile.n_keys());
            for (out, row) in self.panel.iter_mut().zip(rows) {
                out.copy_from_slice(&row[idx * PANEL..][..PANEL]);
            }
            let product = Product {
                weights: self.panel[..n_queries].as_flattened(),
                rows: x.columns,
                x: &self.turned,
                x_stride: n_queries,
                out: &mut self.values[panel * PANEL..],
                out_stride: self.n_keys,
            };
            product.add();
        }
    }

    /// The sums times `scale`. out: (n_tokens, head_dim)
    fn put(&self, scale: f32, out: &mut Strip<'_>) {
        for row in 0..out.n_rows() {
            for (out, sums) in out.row(row).iter_mut().zip(self.values.chunks_exact(self.n_keys)) {
                *out = sums[row] * scale;
            }
        }
    }
}

/// The gradients of weights become those of scores.
struct SoftmaxBack<'a> {
    /// (n_queries, n_keys)
    weights: &'a [f32],
    /// (n_queries, head_dim)
    out: View<'a>,
    grad: View<'a>,
    n_keys: usize,
    /// As weights.
    of_weights: &'a mut [f32],
}

impl WithSimd for SoftmaxBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { weights, out, grad, n_keys, of_weights } = self;
        let rows = weights.chunks_exact(n_keys).zip(of_weights.chunks_exact_mut(n_keys));
        for (idx, (weights, of_weights)) in rows.enumerate() {
            let along = dot(out.row(idx), grad.row(idx));
            for (of_weight, weight) in of_weights.iter_mut().zip(weights) {
                *of_weight = weight * (*of_weight - along);
            }
        }
    }
}
