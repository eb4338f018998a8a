//! The innermost loops: rows of inputs times one panel of weights, in the widest instructions that
//! the processor has.

use pulp::{Arch, Simd, WithSimd};

use crate::panels::{BLOCK, PANEL};

#[derive(Clone, Copy)]
pub(crate) enum PanelCodes<'a> {
    Nibbles(&'a [u8]),
    Bytes(&'a [i8]),
}

/// `a * b + c`, fused where the processor can; in software the fused form would be very slow.
#[inline(always)]
pub(crate) fn mul_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::F32_LANES > 1 { a.mul_add(b, c) } else { a * b + c }
}

/// Codes as f32: the 32 weights of input `k`, before scaling.
#[inline(always)]
fn unpack_codes(codes: PanelCodes<'_>, k: usize) -> [f32; PANEL] {
    let mut res = [0.0; PANEL];
    match codes {
        PanelCodes::Nibbles(codes) => {
            let codes = &codes[k * PANEL / 2..][..PANEL / 2];
            for (j, &code) in codes.iter().enumerate() {
                res[j] = f32::from(code & 15);
                res[j + PANEL / 2] = f32::from(code >> 4);
            }
        }
        PanelCodes::Bytes(codes) => {
            let codes = &codes[k * PANEL..][..PANEL];
            for (j, &code) in codes.iter().enumerate() {
                res[j] = f32::from(code);
            }
        }
    }
    res
}

/// One row of inputs times one quantised panel.
pub(crate) struct ScaledRow<'a> {
    pub(crate) codes: PanelCodes<'a>,
    /// (n_in / 32, 32)
    pub(crate) scales: &'a [f32],
    /// (n_in / 32, 32)
    pub(crate) mins: &'a [f32],
    /// (n_in)
    pub(crate) x: &'a [f32],
    pub(crate) out: &'a mut [f32; PANEL],
}

impl WithSimd for ScaledRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.codes {
            // Two copies of the loop, so that neither asks at every input which codes it reads.
            PanelCodes::Nibbles(_) => self.run::<S>(),
            PanelCodes::Bytes(_) => self.run::<S>(),
        }
    }
}

impl ScaledRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut res = [0.0; PANEL];
        let scales = self.scales.chunks_exact(PANEL).zip(self.mins.chunks_exact(PANEL));
        for (idx, (x, (scales, mins))) in self.x.chunks_exact(BLOCK).zip(scales).enumerate() {
            let mut even = [0.0; PANEL];
            let mut odd = [0.0; PANEL];
            let mut sum = 0.0;
            for (k, pair) in x.chunks_exact(2).enumerate() {
                let input = idx * BLOCK + 2 * k;
                let codes = unpack_codes(self.codes, input);
                for j in 0..PANEL {
                    even[j] = mul_add::<S>(pair[0], codes[j], even[j]);
                }
                let codes = unpack_codes(self.codes, input + 1);
                for j in 0..PANEL {
                    odd[j] = mul_add::<S>(pair[1], codes[j], odd[j]);
                }
                sum += pair[0] + pair[1];
            }
            for j in 0..PANEL {
                let block = mul_add::<S>(even[j] + odd[j], scales[j], mins[j] * sum);
                res[j] += block;
            }
        }
        *self.out = res;
    }
}

/// One quantised panel to f32. out: (n_in, 32)
pub(crate) struct Unpack<'a> {
    pub(crate) codes: PanelCodes<'a>,
    pub(crate) scales: &'a [f32],
    pub(crate) mins: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (k, out) in self.out.chunks_exact_mut(PANEL).enumerate() {
            let scales = &self.scales[k / BLOCK * PANEL..][..PANEL];
            let mins = &self.mins[k / BLOCK * PANEL..][..PANEL];
            let codes = unpack_codes(self.codes, k);
            for j in 0..PANEL {
                // Not fused: this is the value that reference implementations dequantise to.
                out[j] = codes[j] * scales[j] + mins[j];
            }
        }
    }
}

/// Rows of inputs times one f32 panel: `out[row][j] = Σ x[row][k] · weights[k][j]`.
pub(crate) struct Product<'a> {
    /// (n_in, 32)
    pub(crate) weights: &'a [f32],
    pub(crate) rows: usize,
    /// n_in inputs per row, `x_stride` apart.
    pub(crate) x: &'a [f32],
    pub(crate) x_stride: usize,
    /// 32 outputs per row, `out_stride` apart.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
}

impl Product<'_> {
    /// Computes with the widest instructions that this processor has.
    pub(crate) fn compute(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Tiles are as tall as the registers allow: accumulators, one row of weights, one input.
        match S::F32_LANES {
            16 => self.run::<S, 12, 2>(simd),
            8 => self.run::<S, 3, 4>(simd),
            4 => self.run::<S, 3, 8>(simd),
            _ => self.run::<S, 1, PANEL>(simd),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let rows = self.rows;
        let (weights, _) = S::as_simd_f32s(self.weights);
        let (weights, _) = pulp::as_arrays::<VECTORS, _>(weights); // one array per input
        let mut row = 0;
        while row < rows {
            let x = &self.x[row * self.x_stride..];
            let out = &mut self.out[row * self.out_stride..];
            if rows - row >= ROWS {
                tile::<S, ROWS, VECTORS>(simd, weights, (x, self.x_stride), (out, self.out_stride));
                row += ROWS;
            } else if ROWS > 4 && rows - row >= 4 {
                tile::<S, 4, VECTORS>(simd, weights, (x, self.x_stride), (out, self.out_stride));
                row += 4;
            } else {
                tile::<S, 1, VECTORS>(simd, weights, (x, self.x_stride), (out, self.out_stride));
                row += 1;
            }
        }
    }
}

/// `ROWS` rows of outputs of one panel, accumulated in registers.
#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    weights: &[[S::f32s; VECTORS]],
    (x, x_stride): (&[f32], usize),
    (out, out_stride): (&mut [f32], usize),
) {
    let x: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * x_stride..][..weights.len()]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (k, weights) in weights.iter().enumerate() {
        for row in 0..ROWS {
            let input = simd.splat_f32s(x[row][k]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_e_f32s(input, weights[vector], sums[row][vector]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut out[row * out_stride..][..PANEL]);
        out.copy_from_slice(sums);
    }
}
