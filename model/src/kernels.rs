//! Element-wise and row-wise functions of the networks, in f32, in place.
//!
//! Plain loops that the compiler turns into vector instructions: `Arch::dispatch` compiles each for
//! every instruction set and picks one at run time. Sums run in 16 lanes, because the compiler may
//! not reorder additions by itself.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

const LANES: usize = 16;
/// Values below which handing work to another thread costs more than it saves.
const PARALLEL_CHUNK: usize = 1 << 14;

/// GELU with the error function (Hendrycks and Gimpel 2016), as BERT uses it.
pub(crate) fn gelu(xs: &mut [f32]) {
    Arch::new().dispatch(|| {
        for x in xs {
            *x *= 0.5 * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
        }
    });
}

/// `gate = silu(gate) * up`: the middle of SwiGLU (Shazeer 2020).
pub(crate) fn silu_times(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(PARALLEL_CHUNK).zip(up.par_chunks(PARALLEL_CHUNK)).for_each(
        |(gate, up)| {
            Arch::new().dispatch(|| {
                for (gate, up) in gate.iter_mut().zip(up) {
                    *gate *= up / (1.0 + exp(-*gate));
                }
            });
        },
    );
}

/// Adds `bias` to each row. xs: (rows, bias.len())
pub(crate) fn add_bias(xs: &mut [f32], bias: &[f32]) {
    Arch::new().dispatch(|| {
        for row in xs.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                *x += bias;
            }
        }
    });
}

/// Scale and shift of a layer normalisation (Ba et al. 2016). weight, bias: (dim)
pub(crate) struct LayerNorm {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) eps: f32,
}

impl LayerNorm {
    /// `x = norm(x + residual + bias)` per row. x, residual: (rows, dim), bias: (dim)
    pub(crate) fn add_and_normalise(&self, x: &mut [f32], residual: &[f32], bias: &[f32]) {
        let dim = self.weight.len();
        Arch::new().dispatch(|| {
            for (row, residual) in x.chunks_exact_mut(dim).zip(residual.chunks_exact(dim)) {
                for ((x, residual), bias) in row.iter_mut().zip(residual).zip(bias) {
                    *x += residual + bias;
                }
                self.normalise_row(row);
            }
        });
    }

    /// `x = norm(x)` per row. x: (rows, dim)
    pub(crate) fn normalise(&self, x: &mut [f32]) {
        let dim = self.weight.len();
        Arch::new().dispatch(|| {
            for row in x.chunks_exact_mut(dim) {
                self.normalise_row(row);
            }
        });
    }

    #[inline(always)]
    fn normalise_row(&self, row: &mut [f32]) {
        let n = row.len() as f32;
        let mean = sum(row, |x| x) / n;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
        let scale = 1.0 / (variance + self.eps).sqrt();
        for ((x, weight), bias) in row.iter_mut().zip(&self.weight).zip(&self.bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
}

/// Softmax over each row's first entries, whose number `len` gives; the rest becomes zero.
///
/// xs: (rows, stride)
pub(crate) fn softmax(xs: &mut [f32], stride: usize, len: impl Fn(usize) -> usize) {
    softmax_within(xs, stride, |row| 0..len(row));
}

/// Softmax over the entries of each row that `range` gives; the others become zero.
///
/// xs: (rows, stride)
pub(crate) fn softmax_within(xs: &mut [f32], stride: usize, range: impl Fn(usize) -> Range<usize>) {
    Arch::new().dispatch(|| {
        for (idx, row) in xs.chunks_exact_mut(stride).enumerate() {
            let Range { start, end } = range(idx);
            row[..start].fill(0.0);
            row[end..].fill(0.0);
            softmax_row(&mut row[start..end]);
        }
    });
}

#[inline(always)]
fn softmax_row(row: &mut [f32]) {
    let max = max(row);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / sum(row, |x| x);
    for x in row {
        *x *= scale;
    }
}

#[inline(always)]
fn max(xs: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &x| max.max(x))
}

#[inline(always)]
fn sum(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&x| f(x)).sum::<f32>()
}

/// e to the x, to within 3e-7 of its value; below -87 it is zero for practical purposes.
///
/// Splits x into a multiple of ln 2, which goes into the exponent's bits, and a rest between
/// ±(ln 2) / 2, for which the Taylor polynomial of degree 6 is exact enough.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this number leaves no bits for a fraction: the sum is rounded to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, so that subtracting a multiple of it loses no digits (Cody and Waite).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f32::from_bits((((n as i32) + 127) << 23).cast_unsigned())
}

/// The error function to within 2e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_7;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(f: impl Fn(f32) -> f32, reference: impl Fn(f64) -> f64, tolerance: f64) {
        for step in -2_000..=2_000 {
            let x = step as f32 / 200.0;
            let (actual, expected) = (f64::from(f(x)), reference(f64::from(x)));
            let error = (actual - expected).abs() / expected.abs().max(1.0);
            assert!(error <= tolerance, "{x}: {actual} instead of {expected}");
        }
    }

    #[test]
    fn exp_agrees_with_the_standard_library() {
        check(exp, f64::exp, 3e-7);
        assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn erf_agrees_with_its_taylor_series() {
        let series = |x: f64| {
            if x.abs() > 5.0 {
                return x.signum();
            }
            let mut term = x;
            let mut sum = x;
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        check(erf, series, 5e-7);
    }

    #[test]
    fn softmax_sums_to_one_over_the_entries_asked_for() {
        let mut xs = vec![1.0, 2.0, 1e4, 7.0, 3.0, 3.0, 9.0, 9.0];
        softmax(&mut xs, 4, |_| 2);
        assert!((xs[0] + xs[1] - 1.0).abs() < 1e-6);
        assert!((xs[1] / xs[0] - std::f32::consts::E).abs() < 1e-5);
        assert_eq!(xs[2..4], [0.0, 0.0]);
        assert_eq!(xs[4..6], [0.5, 0.5]);
    }

    #[test]
    fn layer_norm_has_mean_zero_and_variance_one() {
        let norm = LayerNorm { weight: vec![1.0; 20], bias: vec![0.0; 20], eps: 0.0 };
        let mut x: Vec<f32> = (0..20).map(|i| (i * i) as f32).collect();
        norm.add_and_normalise(&mut x, &[3.0; 20], &[2.0; 20]);
        let mean = x.iter().sum::<f32>() / 20.0;
        let variance = x.iter().map(|x| x * x).sum::<f32>() / 20.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    }
}
