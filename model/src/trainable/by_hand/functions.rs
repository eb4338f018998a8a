//! Row-wise functions and their derivatives, on all threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::kernels::{add_bias, exp, silu_times, sum};

/// Sums that run beside each other.
const LANES: usize = 16;
/// Rows that one thread takes at a time.
const ROWS: usize = 32;

/// `y = x · r · w` with `r = 1 / √(mean(x²) + eps)`. x: (rows, weight.len()), out: as x
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = ROWS * weight.len();
    out.par_chunks_mut(n)
        .zip(x.par_chunks(n))
        .for_each(|(out, x)| Arch::new().dispatch(RmsNorm { x, weight, eps, out }));
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, weight, eps, out } = self;
        let n = weight.len();
        for (out, x) in out.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
            let r = inverse_root(x, eps);
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * r * weight;
            }
        }
    }
}

/// Adds to `into` the gradient of `x`, `r · g·w - r³ · x · mean(x · g·w)`, or sets it so.
pub(super) fn rms_norm_back(x: &[f32], weight: &[f32], eps: f32, grad: &[f32], into: &mut [f32]) {
    let n = ROWS * weight.len();
    into.par_chunks_mut(n).zip(x.par_chunks(n).zip(grad.par_chunks(n))).for_each(
        |(into, (x, grad))| Arch::new().dispatch(RmsNormBack { x, weight, eps, grad, into }),
    );
}

struct RmsNormBack<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    grad: &'a [f32],
    into: &'a mut [f32],
}

impl WithSimd for RmsNormBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, weight, eps, grad, into } = self;
        let n = weight.len();
        let rows = x.chunks_exact(n).zip(grad.chunks_exact(n));
        for (into, (x, grad)) in into.chunks_exact_mut(n).zip(rows) {
            let r = inverse_root(x, eps);
            let along = triple(x, grad, weight) / n as f32 * r * r;
            for (((into, x), grad), weight) in into.iter_mut().zip(x).zip(grad).zip(weight) {
                *into += r * (grad * weight - x * along);
            }
        }
    }
}

/// The gradient of a norm's weight, `Σ g · x · r` over rows. x, grad: (rows, n), result: (n)
pub(super) fn rms_norm_weight_back(x: &[f32], n: usize, eps: f32, grad: &[f32]) -> Vec<f32> {
    let of_rows = |(x, grad): (&[f32], &[f32])| {
        let mut res = vec![0.0; n];
        for (x, grad) in x.chunks_exact(n).zip(grad.chunks_exact(n)) {
            let r = inverse_root(x, eps);
            for ((res, x), grad) in res.iter_mut().zip(x).zip(grad) {
                *res += grad * x * r;
            }
        }
        res
    };
    // Added up in one order, whatever thread was first.
    let parts: Vec<Vec<f32>> =
        x.par_chunks(ROWS * n).zip(grad.par_chunks(ROWS * n)).map(of_rows).collect();
    column_sums(&parts.concat(), n)
}

/// The sum of all rows. x: (rows, n), result: (n)
pub(super) fn column_sums(x: &[f32], n: usize) -> Vec<f32> {
    let mut res = vec![0.0; n];
    for row in x.chunks_exact(n) {
        for (res, x) in res.iter_mut().zip(row) {
            *res += x;
        }
    }
    res
}

/// `Σ a · b`, in lanes that the compiler can keep in one register.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `Σ a · b · c`, in the same lanes.
#[inline(always)]
fn triple(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let (c, c_rest) = c.as_chunks::<LANES>();
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane] * c[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest).map(|((a, b), c)| a * b * c);
    lanes.iter().sum::<f32>() + rest.sum::<f32>()
}

#[inline(always)]
fn inverse_root(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt()
}

/// Which way heads turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Forth,
    Back,
}

/// Rotary positions, in place. heads: (rows, heads, head_dim), cos, sin: (rows, head_dim / 2)
pub(super) fn rotate(
    heads: &mut [f32],
    (cos, sin): (&[f32], &[f32]),
    (n_heads, head_dim): (usize, usize),
    turn: Turn,
) {
    let half = head_dim / 2;
    let sign = if turn == Turn::Forth { 1.0 } else { -1.0 };
    heads
        .par_chunks_mut(n_heads * head_dim)
        .zip(cos.par_chunks(half).zip(sin.par_chunks(half)))
        .with_min_len(ROWS)
        .for_each(|(row, (cos, sin))| {
            for head in row.chunks_exact_mut(head_dim) {
                let (first, second) = head.split_at_mut(half);
                for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
                    let sin = sin * sign;
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        });
}

/// Values of elements that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// Adds `ys` to `xs`.
pub(super) fn add(xs: &mut [f32], ys: &[f32]) {
    xs.par_chunks_mut(CHUNK).zip(ys.par_chunks(CHUNK)).for_each(|(xs, ys)| add_bias(xs, ys));
}

/// `silu(gate) · up`: the middle of SwiGLU.
pub(super) fn gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK))).for_each(
        |(out, (gate, up))| {
            out.copy_from_slice(gate);
            silu_times(out, up);
        },
    );
}

/// The gradients of `gate` and `up`, from that of [`gated`]: with `s` the logistic function of the
/// gate, `g · up · s · (1 + gate · (1 - s))` and `g · gate · s`, which takes the place of `grad`.
pub(super) fn gated_back((gate, up): (&[f32], &[f32]), grad: &mut [f32], of_gate: &mut [f32]) {
    of_gate
        .par_chunks_mut(CHUNK)
        .zip(grad.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
        .for_each(|((of_gate, grad), (gate, up))| {
            Arch::new().dispatch(GatedBack { of_gate, grad, gate, up });
        });
}

struct GatedBack<'a> {
    of_gate: &'a mut [f32],
    grad: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
}

impl WithSimd for GatedBack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let inputs = self.gate.iter().zip(self.up);
        for ((of_gate, grad), (gate, up)) in self.of_gate.iter_mut().zip(self.grad).zip(inputs) {
            let s = 1.0 / (1.0 + exp::<S>(-gate));
            *of_gate = *grad * up * s * (1.0 + gate * (1.0 - s));
            *grad *= gate * s;
        }
    }
}

/// Scores of one row become the gradient of `weight · -ln p(target)`; gives `ln p(target)`.
pub(super) fn cross_entropy(scores: &mut [f32], target: usize, weight: f32) -> f32 {
    Arch::new().dispatch(CrossEntropy { scores, target, weight })
}

struct CrossEntropy<'a> {
    scores: &'a mut [f32],
    target: usize,
    weight: f32,
}

impl WithSimd for CrossEntropy<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { scores, target, weight } = self;
        let max = crate::kernels::max(scores);
        let of_target = scores[target] - max;
        for score in scores.iter_mut() {
            *score = exp::<S>(*score - max);
        }
        let total = sum(scores, |it| it);
        let scale = weight / total;
        for score in scores.iter_mut() {
            *score *= scale;
        }
        scores[target] -= weight;
        of_target - total.ln()
    }
}
