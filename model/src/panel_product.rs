//! The innermost loops: rows of inputs times one panel of weights, in the widest instructions that
//! the processor has.

use pulp::{Arch, Simd, WithSimd};

use crate::panels::{HalfKind, PANEL};

#[derive(Clone, Copy)]
pub(crate) enum PanelCodes<'a> {
    Nibbles(&'a [u8]),
    Bytes(&'a [i8]),
}

/// `a * b + c`, fused where the processor can; in software the fused form would be very slow.
#[inline(always)]
fn mul_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
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
    /// Inputs that share a scale: 16 or 32.
    pub(crate) block: usize,
    /// (n_in / block, 32)
    pub(crate) scales: &'a [f32],
    /// (n_in / block, 32), or empty for zeros.
    pub(crate) mins: &'a [f32],
    /// (n_in)
    pub(crate) x: &'a [f32],
    pub(crate) out: &'a mut [f32; PANEL],
}

impl WithSimd for ScaledRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // A copy of the loop for each form, so that none asks at every input which one it reads.
        match (self.codes, self.block, self.mins.is_empty()) {
            (PanelCodes::Nibbles(_), 32, _) => self.run::<S, 32, true>(),
            (PanelCodes::Nibbles(_), _, _) => self.run::<S, 16, true>(),
            (PanelCodes::Bytes(_), 32, false) => self.run::<S, 32, true>(),
            (PanelCodes::Bytes(_), 32, true) => self.run::<S, 32, false>(),
            (PanelCodes::Bytes(_), _, false) => self.run::<S, 16, true>(),
            (PanelCodes::Bytes(_), _, true) => self.run::<S, 16, false>(),
        }
    }
}

impl ScaledRow<'_> {
    #[inline(always)]
    fn run<S: Simd, const BLOCK: usize, const MINS: bool>(self) {
        let mut res = [0.0; PANEL];
        let blocks = self.x.chunks_exact(BLOCK).zip(self.scales.chunks_exact(PANEL));
        for (idx, (x, scales)) in blocks.enumerate() {
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
            if MINS {
                let mins = &self.mins[idx * PANEL..][..PANEL];
                for j in 0..PANEL {
                    res[j] += mul_add::<S>(even[j] + odd[j], scales[j], mins[j] * sum);
                }
            } else {
                for j in 0..PANEL {
                    res[j] = mul_add::<S>(even[j] + odd[j], scales[j], res[j]);
                }
            }
        }
        *self.out = res;
    }
}

/// One quantised panel to f32. out: (n_in, 32)
pub(crate) struct Unpack<'a> {
    pub(crate) codes: PanelCodes<'a>,
    pub(crate) block: usize,
    pub(crate) scales: &'a [f32],
    pub(crate) mins: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (k, out) in self.out.chunks_exact_mut(PANEL).enumerate() {
            let at = k / self.block * PANEL;
            let scales = &self.scales[at..][..PANEL];
            let codes = unpack_codes(self.codes, k);
            if self.mins.is_empty() {
                for j in 0..PANEL {
                    out[j] = codes[j] * scales[j];
                }
            } else {
                let mins = &self.mins[at..][..PANEL];
                for j in 0..PANEL {
                    // Not fused: this is the value that reference implementations dequantise to.
                    out[j] = codes[j] * scales[j] + mins[j];
                }
            }
        }
    }
}

/// One row of inputs times one panel of 16-bit weights.
pub(crate) struct HalfRow<'a> {
    pub(crate) kind: HalfKind,
    /// (n_in, 32)
    pub(crate) weights: &'a [u16],
    /// (n_in)
    pub(crate) x: &'a [f32],
    pub(crate) out: &'a mut [f32; PANEL],
}

impl WithSimd for HalfRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.kind {
            HalfKind::F16 => self.run::<S>(|bits| HalfKind::F16.to_f32(bits)),
            HalfKind::Bf16 => self.run::<S>(|bits| HalfKind::Bf16.to_f32(bits)),
        }
    }
}

impl HalfRow<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, to_f32: impl Fn(u16) -> f32) {
        let (weights, _) = self.weights.as_chunks::<PANEL>();
        let mut even = [0.0; PANEL];
        let mut odd = [0.0; PANEL];
        let mut pairs = weights.chunks_exact(2).zip(self.x.chunks_exact(2));
        for (weights, x) in &mut pairs {
            for j in 0..PANEL {
                even[j] = mul_add::<S>(x[0], to_f32(weights[0][j]), even[j]);
            }
            for j in 0..PANEL {
                odd[j] = mul_add::<S>(x[1], to_f32(weights[1][j]), odd[j]);
            }
        }
        if !self.x.len().is_multiple_of(2)
            && let (Some(weights), Some(x)) = (weights.last(), self.x.last())
        {
            for j in 0..PANEL {
                even[j] = mul_add::<S>(*x, to_f32(weights[j]), even[j]);
            }
        }
        *self.out = std::array::from_fn(|j| even[j] + odd[j]);
    }
}

/// One panel of 16-bit weights to f32. out: (n_in, 32)
pub(crate) struct UnpackHalves<'a> {
    pub(crate) kind: HalfKind,
    pub(crate) weights: &'a [u16],
    pub(crate) out: &'a mut [f32],
}

impl WithSimd for UnpackHalves<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let pairs = self.out.iter_mut().zip(self.weights);
        match self.kind {
            HalfKind::F16 => pairs.for_each(|(out, &bits)| *out = HalfKind::F16.to_f32(bits)),
            HalfKind::Bf16 => pairs.for_each(|(out, &bits)| *out = HalfKind::Bf16.to_f32(bits)),
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
