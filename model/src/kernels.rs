//! Element-wise and row-wise functions of the networks, in f32, in place.
//!
//! Plain loops that the compiler turns into vector instructions: `Arch::dispatch` compiles each for
//! every instruction set and picks one at run time. They are methods of structs because a closure is
//! called through a function of the standard library, which is not always compiled into its caller:
//! its loop then has the narrowest instructions. Sums run in 16 lanes, because the compiler may not
//! reorder additions by itself.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::panel_product::mul_add;

const LANES: usize = 16;
/// Values below which handing work to another thread costs more than it saves.
const PARALLEL_CHUNK: usize = 1 << 14;

/// Adding this number leaves no bits for a fraction: the sum is rounded to a whole number, which
/// stands in its last bits.
const ROUND: f32 = 12_582_912.0;

/// `x = gelu(x + bias)` per row: GELU with the error function (Hendrycks and Gimpel 2016), as BERT
/// uses it. xs: (rows, bias.len())
pub(crate) fn gelu_with_bias(xs: &mut [f32], bias: &[f32]) {
    Arch::new().dispatch(Gelu { xs, bias });
}

struct Gelu<'a> {
    xs: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.xs.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                let sum = *x + bias;
                let half = 0.5 * sum;
                *x = mul_add::<S>(half, erf::<S>(sum * std::f32::consts::FRAC_1_SQRT_2), half);
            }
        }
    }
}

/// A row in 8 bits: `x = (code - zero) * scale` up to rounding, with codes from 0 to 255 between
/// the least and the greatest of the values and zero. Gives scale and zero; the scale is not a
/// number where one of the values is not finite. xs, codes: (dim)
pub(crate) fn quantise_row(xs: &[f32], codes: &mut [u8]) -> (f32, i32) {
    Arch::new().dispatch(QuantiseRow { xs, codes })
}

struct QuantiseRow<'a> {
    xs: &'a [f32],
    codes: &'a mut [u8],
}

impl WithSimd for QuantiseRow<'_> {
    type Output = (f32, i32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (f32, i32) {
        let (low, high, none) = range(self.xs);
        let scale = (high - low) / 255.0 + none;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let zero = (-low * inverse).round();
        for (code, x) in self.codes.iter_mut().zip(self.xs) {
            // As in `exp`: the sum's last byte is the rounded number.
            let rounded = (x * inverse + zero).clamp(0.0, 255.0) + ROUND;
            *code = rounded.to_bits() as u8;
        }
        (scale, zero as i32)
    }
}

/// Least and greatest of the values and zero; and a sum that is zero if all are finite, and not a
/// number otherwise.
#[inline(always)]
fn range(xs: &[f32]) -> (f32, f32, f32) {
    let mut low = [0.0f32; LANES];
    let mut high = [0.0f32; LANES];
    let mut none = [0.0f32; LANES];
    let (chunks, rest) = xs.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            low[lane] = if x < low[lane] { x } else { low[lane] };
            high[lane] = if x > high[lane] { x } else { high[lane] };
            none[lane] += x * 0.0;
        }
    }
    let low = low.iter().chain(rest).fold(0.0, |low: f32, &x| low.min(x));
    let high = high.iter().chain(rest).fold(0.0, |high: f32, &x| high.max(x));
    (low, high, none.iter().sum::<f32>() + rest.iter().map(|x| x * 0.0).sum::<f32>())
}

/// `gate = silu(gate) * up`: the middle of SwiGLU (Shazeer 2020).
pub(crate) fn silu_times(gate: &mut [f32], up: &[f32]) {
    gate.par_chunks_mut(PARALLEL_CHUNK)
        .zip(up.par_chunks(PARALLEL_CHUNK))
        .for_each(|(gate, up)| Arch::new().dispatch(SiluTimes { gate, up }));
}

struct SiluTimes<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for SiluTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate *= up / (1.0 + exp::<S>(-*gate));
        }
    }
}

/// Adds `bias` to each row. xs: (rows, bias.len())
pub(crate) fn add_bias(xs: &mut [f32], bias: &[f32]) {
    Arch::new().dispatch(AddBias { xs, bias });
}

struct AddBias<'a> {
    xs: &'a mut [f32],
    bias: &'a [f32],
}

impl WithSimd for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.xs.chunks_exact_mut(self.bias.len()) {
            for (x, bias) in row.iter_mut().zip(self.bias) {
                *x += bias;
            }
        }
    }
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
        Arch::new().dispatch(Normalise { norm: self, x, before: Some((residual, bias)) });
    }

    /// `x = norm(x)` per row. x: (rows, dim)
    pub(crate) fn normalise(&self, x: &mut [f32]) {
        Arch::new().dispatch(Normalise { norm: self, x, before: None });
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

struct Normalise<'a> {
    norm: &'a LayerNorm,
    x: &'a mut [f32],
    /// Residual and bias, which are added first.
    before: Option<(&'a [f32], &'a [f32])>,
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { norm, x, before } = self;
        let dim = norm.weight.len();
        if let Some((residual, bias)) = before {
            for (row, residual) in x.chunks_exact_mut(dim).zip(residual.chunks_exact(dim)) {
                for ((x, residual), bias) in row.iter_mut().zip(residual).zip(bias) {
                    *x += residual + bias;
                }
                norm.normalise_row(row);
            }
        } else {
            x.chunks_exact_mut(dim).for_each(|row| norm.normalise_row(row));
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
    Arch::new().dispatch(Softmax { xs, stride, range });
}

struct Softmax<'a, F> {
    xs: &'a mut [f32],
    stride: usize,
    range: F,
}

impl<F: Fn(usize) -> Range<usize>> WithSimd for Softmax<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (idx, row) in self.xs.chunks_exact_mut(self.stride).enumerate() {
            let Range { start, end } = (self.range)(idx);
            row[..start].fill(0.0);
            row[end..].fill(0.0);
            let row = &mut row[start..end];
            let max = max(row);
            let (chunks, rest) = row.as_chunks_mut::<LANES>();
            for x in chunks.as_flattened_mut() {
                *x = exp::<S>(*x - max);
            }
            // The row of a short text is all rest, and one by one would take ten times as long.
            let mut lanes = [max; LANES];
            lanes[..rest.len()].copy_from_slice(rest);
            lanes.iter_mut().for_each(|x| *x = exp::<S>(*x - max));
            rest.copy_from_slice(&lanes[..rest.len()]);
            let scale = 1.0 / sum(row, |x| x);
            for x in row {
                *x *= scale;
            }
        }
    }
}

#[inline(always)]
pub(crate) fn max(xs: &[f32]) -> f32 {
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
pub(crate) fn sum(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
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
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    // ln 2 in two parts, so that subtracting a multiple of it loses no digits (Cody and Waite).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let rounded = mul_add::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = mul_add::<S>(n, -LN_2_HIGH, x);
    let r = mul_add::<S>(n, -LN_2_LOW, r);
    let p = 1.0 / 720.0;
    let p = mul_add::<S>(p, r, 1.0 / 120.0);
    let p = mul_add::<S>(p, r, 1.0 / 24.0);
    let p = mul_add::<S>(p, r, 1.0 / 6.0);
    let p = mul_add::<S>(p, r, 0.5);
    let p = mul_add::<S>(p, r, 1.0);
    let p = mul_add::<S>(p, r, 1.0);
    // n stands in the last bits; as a conversion of n it would be computed number by number.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

/// The error function to within 2e-7, as `1 - exp(-a · q(a))` with a = |x|.
///
/// q is the polynomial of degree 7 for which the result is nearest to the error function between 0
/// and 4 (weighted least squares, weights raised where the error was large; 2e-8 before rounding).
/// Beyond 4 the function is 1 up to 2e-8. Needs no division.
#[inline(always)]
fn erf<S: Simd>(x: f32) -> f32 {
    let a = x.abs().min(4.0);
    let q = 3.141_944e-5;
    let q = mul_add::<S>(q, a, -3.086_540_7e-4);
    let q = mul_add::<S>(q, a, 1.031_986_8e-3);
    let q = mul_add::<S>(q, a, 5.375_146e-4);
    let q = mul_add::<S>(q, a, -1.958_439_1e-2);
    let q = mul_add::<S>(q, a, 1.029_197_8e-1);
    let q = mul_add::<S>(q, a, 6.365_977e-1);
    let q = mul_add::<S>(q, a, 1.128_380_3);
    (1.0 - exp::<S>(-a * q)).copysign(x)
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// Any instruction set with more than one lane: multiplications and additions are fused.
    #[cfg(target_arch = "x86_64")]
    type Fused = pulp::x86::V3;
    #[cfg(not(target_arch = "x86_64"))]
    type Fused = Scalar;

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
        check(exp::<Scalar>, f64::exp, 3e-7);
        check(exp::<Fused>, f64::exp, 3e-7);
        assert!(exp::<Fused>(-1e30) < 1e-37 && exp::<Fused>(f32::NEG_INFINITY) < 1e-37);
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
        check(erf::<Scalar>, series, 2e-7);
        check(erf::<Fused>, series, 2e-7);
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
