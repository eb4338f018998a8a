//! Matrices in 8 bits, for encoders where speed matters more than the last digits.
//!
//! A weight has one scale per output, and its codes are symmetric (-127 to 127). The rows that it
//! is multiplied with are quantised as they come, each with a scale and a zero point of its own
//! (0 to 255), so that what lies on one side of zero, as after GELU, uses all the codes. Products
//! are then sums of small integers, which processors with VNNI instructions compute four times as
//! fast as f32; the sums are exact, and only the codes are rounded. Follows Jacob et al. 2018,
//! "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
//! section 2.

use rayon::prelude::*;

use crate::int8_product::Int8Product;
use crate::kernels;
use crate::panels::PANEL;

/// Inputs that one instruction multiplies and adds.
pub(crate) const GROUP: usize = 4;
/// More inputs than this could overflow a sum: 255 · 127 · n must stay below 2^31.
const N_IN_MAX: usize = 1 << 16;

/// A packed matrix of shape (n_out, n_in).
pub(crate) struct Int8Panels {
    n_in: usize,
    n_out: usize,
    /// (n_panels, groups, 32, 4): the innermost are four inputs of one output.
    codes: Vec<i8>,
    /// (n_panels, 32): what a code is multiplied with.
    scales: Vec<f32>,
    /// (n_panels, 32): the sum of an output's codes, which a row's zero point is multiplied with.
    sums: Vec<i32>,
}

/// Inputs in 8 bits: `x = (code - zero) * scale`.
#[derive(Default)]
pub(crate) struct QuantisedRows {
    /// (rows, groups * 4); what is beyond n_in is multiplied with zeros.
    pub(crate) codes: Vec<u8>,
    /// (rows)
    pub(crate) scales: Vec<f32>,
    /// (rows)
    pub(crate) zeros: Vec<i32>,
}

impl Int8Panels {
    /// Quantises row-major f32 weights. weight: (n_out, n_in)
    ///
    /// An output with a weight that is not finite gives products that are not, as in f32.
    pub(crate) fn from_f32(weight: &[f32], n_in: usize) -> Self {
        assert!(n_in > 0 && weight.len().is_multiple_of(n_in), "whole rows");
        assert!(n_in <= N_IN_MAX, "sums of products fit 32 bits");
        let n_out = weight.len() / n_in;
        let n_panels = n_out.div_ceil(PANEL);
        let panel_len = n_in.div_ceil(GROUP) * PANEL * GROUP;
        let mut codes = vec![0i8; n_panels * panel_len];
        let mut scales = vec![0.0; n_panels * PANEL];
        let mut sums = vec![0; n_panels * PANEL];
        codes
            .par_chunks_mut(panel_len)
            .zip(scales.par_chunks_mut(PANEL))
            .zip(sums.par_chunks_mut(PANEL))
            .zip(weight.par_chunks(n_in * PANEL))
            .for_each(|(((codes, scales), sums), rows)| {
                for (j, row) in rows.chunks_exact(n_in).enumerate() {
                    let max = row.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    let is_finite = row.iter().all(|x| x.is_finite());
                    let scale = if is_finite { max / 127.0 } else { f32::NAN };
                    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                    for (k, x) in row.iter().enumerate() {
                        let code = (x * inverse).round() as i8;
                        codes[(k / GROUP * PANEL + j) * GROUP + k % GROUP] = code;
                        sums[j] += i32::from(code);
                    }
                    scales[j] = scale;
                }
            });
        Self { n_in, n_out, codes, scales, sums }
    }

    pub(crate) fn n_in(&self) -> usize {
        self.n_in
    }

    pub(crate) fn n_out(&self) -> usize {
        self.n_out
    }

    /// out = x · Wᵀ on the calling thread. x: rows of n_in inputs, out: (rows, n_out)
    pub(crate) fn matmul(&self, x: &QuantisedRows, out: &mut [f32]) {
        let panel_len = self.n_in.div_ceil(GROUP) * PANEL * GROUP;
        assert_eq!(x.codes.len() * PANEL, x.len() * panel_len, "rows of this matrix's inputs");
        assert_eq!(out.len(), x.len() * self.n_out, "room for every output");
        let constants = self.scales.as_chunks().0.iter().zip(self.sums.as_chunks().0);
        let panels = self.codes.chunks_exact(panel_len).zip(constants);
        for (idx, (codes, (scales, sums))) in panels.enumerate() {
            let start = idx * PANEL;
            let width = PANEL.min(self.n_out - start);
            if x.len() > 0 && width == PANEL {
                let (out, out_stride) = (&mut out[start..], self.n_out);
                Int8Product { codes, scales, sums, x, out, out_stride }.compute();
            } else {
                let mut padded = vec![0.0; x.len() * PANEL];
                let (out_padded, out_stride) = (&mut padded[..], PANEL);
                Int8Product { codes, scales, sums, x, out: out_padded, out_stride }.compute();
                for (out, padded) in out.chunks_exact_mut(self.n_out).zip(padded.chunks(PANEL)) {
                    out[start..start + width].copy_from_slice(&padded[..width]);
                }
            }
        }
    }
}

impl QuantisedRows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.scales.len()
    }

    /// Quantises rows, in place of what was here. x: (rows, n_in)
    pub(crate) fn fill(&mut self, x: &[f32], n_in: usize) {
        let rows = x.len() / n_in;
        let stride = n_in.next_multiple_of(GROUP);
        self.codes.resize(rows * stride, 0);
        self.scales.resize(rows, 0.0);
        self.zeros.resize(rows, 0);
        let out = self.scales.iter_mut().zip(&mut self.zeros);
        for ((x, codes), (scale, zero)) in
            x.chunks_exact(n_in).zip(self.codes.chunks_exact_mut(stride)).zip(out)
        {
            (*scale, *zero) = kernels::quantise_row(x, &mut codes[..n_in]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Rng;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| rng.unit() * 3.0 - 1.0).collect()
    }

    #[test]
    fn products_are_within_the_error_of_rounding() {
        for (n_out, n_in) in [(32, 32), (1, 1), (33, 7), (100, 90), (64, 384)] {
            let weight = values(n_out * n_in, 1);
            let panels = Int8Panels::from_f32(&weight, n_in);
            for rows in [1, 2, 4, 13, 37] {
                let x = values(rows * n_in, 2);
                let mut quantised = QuantisedRows::default();
                quantised.fill(&x, n_in);
                let mut out = vec![f32::NAN; rows * n_out];
                panels.matmul(&quantised, &mut out);
                for (row, out) in x.chunks_exact(n_in).zip(out.chunks_exact(n_out)) {
                    for (weight, out) in weight.chunks_exact(n_in).zip(out) {
                        let exact: f32 = row.iter().zip(weight).map(|(x, w)| x * w).sum();
                        // Half a step of either, against the other's largest value.
                        let bound = n_in as f32 * 2.0 * (3.0 / 255.0 + 2.0 / 127.0) / 2.0 + 1e-4;
                        assert!((exact - out).abs() <= bound, "{exact} {out} ({n_out}, {n_in})");
                    }
                }
            }
        }
    }

    #[test]
    fn all_processors_compute_the_same() {
        let (n_out, n_in, rows) = (32, 50, 30);
        let panels = Int8Panels::from_f32(&values(n_out * n_in, 3), n_in);
        let mut x = QuantisedRows::default();
        x.fill(&values(rows * n_in, 4), n_in);
        let run = |portable: bool| {
            let mut out = vec![0.0; rows * n_out];
            let product = Int8Product {
                codes: &panels.codes,
                scales: panels.scales.first_chunk().unwrap(),
                sums: panels.sums.first_chunk().unwrap(),
                x: &x,
                out: &mut out,
                out_stride: n_out,
            };
            if portable {
                product.compute_portably()
            } else {
                product.compute()
            }
            out
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn numbers_that_are_none_stay_none() {
        let mut weight = values(64, 5);
        weight[40] = f32::NAN;
        let mut x = QuantisedRows::default();
        let mut out = vec![0.0; 2];
        x.fill(&values(32, 6), 32);
        Int8Panels::from_f32(&weight, 32).matmul(&x, &mut out);
        assert!(out[0].is_finite() && out[1].is_nan(), "{out:?}");
        x.fill(&[f32::INFINITY; 32], 32);
        Int8Panels::from_f32(&values(64, 5), 32).matmul(&x, &mut out);
        assert!(out.iter().all(|it| it.is_nan()), "{out:?}");
    }

    #[test]
    fn a_row_of_zeros_gives_zeros() {
        let mut x = QuantisedRows::default();
        x.fill(&[0.0; 8], 8);
        let mut out = vec![f32::NAN; 3];
        Int8Panels::from_f32(&values(24, 7), 8).matmul(&x, &mut out);
        assert_eq!(out, [0.0; 3]);
    }
}
