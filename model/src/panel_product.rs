//! The innermost loops: rows of inputs times one panel of weights, in the widest instructions that
//! the processor has.

use std::mem::take;

use pulp::{Arch, Simd, WithSimd};

use crate::halves::HalfKind;
use crate::panels::{BLOCK, PANEL};

/// Inputs whose sums are worked out once for all panels.
pub(crate) const SUM: usize = 16;

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

/// Rows of inputs times one quantised panel, block of inputs by block of inputs: within a block the
/// codes are multiplied as they are, and its sum is scaled once.
///
/// Every row goes through the same operations in the same order however many rows there are, so
/// that a sequence gets the same numbers alone and in a batch.
pub(crate) struct ScaledProduct<'a> {
    pub(crate) codes: PanelCodes<'a>,
    /// Inputs that share a scale: 16 or 32.
    pub(crate) block: usize,
    /// (n_in / block, 32)
    pub(crate) scales: &'a [f32],
    /// (n_in / block, 32), or empty for zeros
    pub(crate) mins: &'a [f32],
    /// (rows, n_in)
    pub(crate) x: &'a [f32],
    /// The inputs of each 16 added up; (rows, n_in / 16)
    pub(crate) sums: &'a [f32],
    /// 32 outputs per row, `out_stride` apart.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
}

impl WithSimd for ScaledProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Tiles as those of [`Product`].
        match S::F32_LANES {
            16 => self.run::<S, 12, 2, 1, 2>(simd),
            8 => self.run::<S, 6, 2, 2, 4>(simd),
            4 => self.run::<S, 6, 4, 2, 8>(simd),
            _ => self.run::<S, 1, PANEL, 1, PANEL>(simd),
        }
    }
}

impl ScaledProduct<'_> {
    #[inline(always)]
    fn run<
        S: Simd,
        const ROWS: usize,
        const VECTORS: usize,
        const PARTS: usize,
        const WIDE: usize,
    >(
        mut self,
        simd: S,
    ) {
        let n_blocks = self.scales.len() / PANEL;
        let rows = self.x.len() / (n_blocks * self.block);
        if rows == 1 {
            return self.single::<S, WIDE>(simd);
        }
        for out in self.out.chunks_mut(self.out_stride).take(rows) {
            out[..PANEL].fill(0.0);
        }
        let mut codes = [0.0; BLOCK * PANEL]; // (block, 32), small enough for the nearest cache
        for block in 0..n_blocks {
            let codes = &mut codes[..self.block * PANEL];
            unpack_block(self.codes, block, codes);
            let mut done = 0;
            for part in 0..PARTS {
                done = self.tall::<S, ROWS, VECTORS, PARTS>(simd, codes, (block, part), rows);
            }
            if rows - done == 2 {
                self.tile::<S, 2, WIDE, 1>(simd, codes, (block, 0, done));
            } else if rows - done == 1 {
                self.tile::<S, 1, WIDE, 1>(simd, codes, (block, 0, done));
            }
        }
    }

    /// One row: each code is used once, so it goes from memory into the product without the buffer
    /// that rows share. The operations on an output and their order are those of [`Self::tile`].
    #[inline(always)]
    fn single<S: Simd, const VECTORS: usize>(self, simd: S) {
        // Two copies of the loop, so that neither asks at every input which codes it reads.
        match self.codes {
            codes @ PanelCodes::Nibbles(_) => {
                self.single_of::<S, VECTORS>(simd, |k| unpack_codes(codes, k));
            }
            codes @ PanelCodes::Bytes(_) => {
                self.single_of::<S, VECTORS>(simd, |k| unpack_codes(codes, k));
            }
        }
    }

    /// `weights` gives the codes of an input.
    #[inline(always)]
    fn single_of<S: Simd, const VECTORS: usize>(
        self,
        simd: S,
        weights: impl Fn(usize) -> [f32; PANEL],
    ) {
        let (out, _) = S::as_mut_simd_f32s(&mut self.out[..PANEL]);
        out.fill(simd.splat_f32s(0.0));
        for (block, x) in self.x.chunks_exact(self.block).enumerate() {
            let mut dots = [simd.splat_f32s(0.0); VECTORS];
            for (k, &input) in x.iter().enumerate() {
                let weights = weights(block * self.block + k);
                let (weights, _) = S::as_simd_f32s(&weights);
                let input = simd.splat_f32s(input);
                for vector in 0..VECTORS {
                    dots[vector] = simd.mul_add_e_f32s(input, weights[vector], dots[vector]);
                }
            }
            let (scales, _) = S::as_simd_f32s(&self.scales[block * PANEL..][..PANEL]);
            for vector in 0..VECTORS {
                out[vector] = simd.mul_add_e_f32s(dots[vector], scales[vector], out[vector]);
            }
            let (mins, _) = S::as_simd_f32s(self.mins.get(block * PANEL..).unwrap_or(&[]));
            if mins.len() < VECTORS {
                continue;
            }
            let sums = &self.sums[block * self.block / SUM..][..self.block / SUM];
            let sum = simd.splat_f32s(sums.iter().sum());
            for vector in 0..VECTORS {
                out[vector] = simd.mul_add_e_f32s(sum, mins[vector], out[vector]);
            }
        }
    }

    /// One block's share of some columns of all rows but the last one or two; gives how many.
    #[inline(always)]
    fn tall<S: Simd, const ROWS: usize, const VECTORS: usize, const PARTS: usize>(
        &mut self,
        simd: S,
        codes: &[f32],
        (block, part): (usize, usize),
        rows: usize,
    ) -> usize {
        let mut row = 0;
        while rows - row > 2 {
            let at = (block, part, row);
            row += match rows - row {
                left if left >= ROWS && ROWS > 2 => {
                    self.tile::<S, ROWS, VECTORS, PARTS>(simd, codes, at)
                }
                left if left >= 8 && ROWS > 8 => self.tile::<S, 8, VECTORS, PARTS>(simd, codes, at),
                left if left >= 4 && ROWS > 4 => self.tile::<S, 4, VECTORS, PARTS>(simd, codes, at),
                _ => self.tile::<S, 3, VECTORS, PARTS>(simd, codes, at),
            };
        }
        row
    }

    /// Adds one block's share to some columns of `ROWS` rows of outputs; returns `ROWS`.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PARTS: usize>(
        &mut self,
        simd: S,
        codes: &[f32],
        (block, part, row): (usize, usize, usize),
    ) -> usize {
        let len = self.block;
        let n_in = self.scales.len() / PANEL * len;
        let codes = inputs_of::<S, VECTORS, PARTS>(codes);
        let x: [&[f32]; ROWS] =
            std::array::from_fn(|idx| &self.x[(row + idx) * n_in + block * len..][..codes.len()]);
        let mut dots = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for (k, codes) in codes.iter().enumerate() {
            for idx in 0..ROWS {
                let input = simd.splat_f32s(x[idx][k]);
                for vector in 0..VECTORS {
                    dots[idx][vector] =
                        simd.mul_add_e_f32s(input, codes[part][vector], dots[idx][vector]);
                }
            }
        }
        let columns = PANEL / PARTS;
        let at = block * PANEL + part * columns;
        let (scales, _) = S::as_simd_f32s(&self.scales[at..at + columns]);
        let mins = self.mins.get(at..at + columns).unwrap_or(&[]);
        let (mins, _) = S::as_simd_f32s(mins);
        for (idx, dots) in dots.iter().enumerate() {
            let out = &mut self.out[(row + idx) * self.out_stride + part * columns..][..columns];
            let (out, _) = S::as_mut_simd_f32s(out);
            for vector in 0..VECTORS {
                out[vector] = simd.mul_add_e_f32s(dots[vector], scales[vector], out[vector]);
            }
            if mins.len() < VECTORS {
                continue;
            }
            let sums = &self.sums[((row + idx) * n_in + block * len) / SUM..][..len / SUM];
            let sum = simd.splat_f32s(sums.iter().sum());
            for vector in 0..VECTORS {
                out[vector] = simd.mul_add_e_f32s(sum, mins[vector], out[vector]);
            }
        }
        ROWS
    }
}

/// The 32 weights of each input, as `PARTS` times `VECTORS` vectors. weights: (n_in, 32)
#[inline(always)]
fn inputs_of<S: Simd, const VECTORS: usize, const PARTS: usize>(
    weights: &[f32],
) -> &[[[S::f32s; VECTORS]; PARTS]] {
    let (vectors, _) = S::as_simd_f32s(weights);
    let (parts, _) = pulp::as_arrays::<VECTORS, _>(vectors);
    pulp::as_arrays::<PARTS, _>(parts).0
}

/// The codes of one block of inputs as f32. out: (block, 32)
#[inline(always)]
fn unpack_block(codes: PanelCodes<'_>, block: usize, out: &mut [f32]) {
    let start = block * (out.len() / PANEL);
    match codes {
        // Two copies of the loop, so that neither asks at every input which codes it reads.
        PanelCodes::Nibbles(_) => {
            for (k, out) in out.chunks_exact_mut(PANEL).enumerate() {
                out.copy_from_slice(&unpack_codes(codes, start + k));
            }
        }
        PanelCodes::Bytes(_) => {
            for (k, out) in out.chunks_exact_mut(PANEL).enumerate() {
                out.copy_from_slice(&unpack_codes(codes, start + k));
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
        self.compute_while_fetching(&[]);
    }

    /// The same, added to what `out` holds.
    pub(crate) fn add(self) {
        self.add_while_fetching(&[]);
    }

    /// The first 16 columns alone; the others become anything.
    pub(crate) fn compute_half(self) {
        Arch::new().dispatch(Job::<false, true>(self, &[]));
    }

    /// The first 16 columns alone are added; the others become anything.
    pub(crate) fn add_half(self) {
        Arch::new().dispatch(Job::<true, true>(self, &[]));
    }

    /// Computes, and asks for `next` meanwhile: the weights that are unpacked after these, a line for
    /// each input of this product at most. Asked for at once they would keep the product waiting.
    pub(crate) fn compute_while_fetching(self, next: &[[u16; PANEL]]) {
        Arch::new().dispatch(Job::<false, false>(self, next));
    }

    /// Adds, and asks for `next` meanwhile.
    pub(crate) fn add_while_fetching(self, next: &[[u16; PANEL]]) {
        Arch::new().dispatch(Job::<true, false>(self, next));
    }
}

/// A product that is written over its outputs or, with `ADD`, added to them; with `HALF`, of half the
/// columns; and what is fetched meanwhile.
struct Job<'a, const ADD: bool, const HALF: bool>(Product<'a>, &'a [[u16; PANEL]]);

impl<const ADD: bool, const HALF: bool> WithSimd for Job<'_, ADD, HALF> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Tiles are as large as the registers allow: accumulators, weights of one input, the input.
        // One accumulator too many goes through memory at every step, which more than doubled the time. AVX-512
        // has 32 registers, AVX2 has 16, NEON has 32.
        match S::F32_LANES {
            16 if HALF => self.run::<S, 16, 1, 2, 2>(simd),
            16 => self.run::<S, 12, 2, 1, 2>(simd),
            8 => self.run::<S, 6, 2, 2, 4>(simd),
            4 => self.run::<S, 6, 4, 2, 8>(simd),
            _ => self.run::<S, 1, PANEL, 1, PANEL>(simd),
        }
    }
}

impl<const ADD: bool, const HALF: bool> Job<'_, ADD, HALF> {
    /// In tiles of `ROWS` rows and one of `PARTS` parts of the 32 columns, of `VECTORS` vectors. One
    /// or two rows that are left take all columns, `WIDE` vectors, at once: in fewer, each sum would
    /// wait for the one before.
    #[inline(always)]
    fn run<
        S: Simd,
        const ROWS: usize,
        const VECTORS: usize,
        const PARTS: usize,
        const WIDE: usize,
    >(
        self,
        simd: S,
    ) {
        let Self(Product { weights, rows, x, x_stride, out, out_stride }, mut next) = self;
        let parts = inputs_of::<S, VECTORS, PARTS>(weights);
        let mut done = 0;
        for part in 0..if HALF { PARTS.div_ceil(2) } else { PARTS } {
            let mut row = 0;
            while rows - row > 2 {
                let x = (&x[row * x_stride..], x_stride);
                let out = (&mut out[row * out_stride..], out_stride);
                let at = ((parts, part), take(&mut next));
                row += match rows - row {
                    // Not one row less than there are: the last one would wait for its own sums.
                    13 if ROWS == 12 => tile::<S, 7, VECTORS, PARTS, ADD>(simd, at, x, out),
                    6 if ROWS == 12 => tile::<S, 6, VECTORS, PARTS, ADD>(simd, at, x, out),
                    7 if ROWS == 6 => tile::<S, 4, VECTORS, PARTS, ADD>(simd, at, x, out),
                    left if left >= ROWS && ROWS > 2 => {
                        tile::<S, ROWS, VECTORS, PARTS, ADD>(simd, at, x, out)
                    }
                    left if left >= 8 && ROWS > 8 => {
                        tile::<S, 8, VECTORS, PARTS, ADD>(simd, at, x, out)
                    }
                    left if left >= 4 && ROWS > 4 => {
                        tile::<S, 4, VECTORS, PARTS, ADD>(simd, at, x, out)
                    }
                    _ => tile::<S, 3, VECTORS, PARTS, ADD>(simd, at, x, out),
                };
            }
            done = row;
        }
        if done == rows {
            return;
        }
        let x = (&x[done * x_stride..], x_stride);
        let out = (&mut out[done * out_stride..], out_stride);
        let at = ((inputs_of::<S, WIDE, 1>(weights), 0), next);
        match rows - done {
            2 => tile::<S, 2, WIDE, 1, ADD>(simd, at, x, out),
            _ => tile::<S, 1, WIDE, 1, ADD>(simd, at, x, out),
        };
    }
}

/// Weights, and which of the parts of their columns.
type Part<'a, S, const VECTORS: usize, const PARTS: usize> =
    (&'a [[[<S as Simd>::f32s; VECTORS]; PARTS]], usize);

/// Some columns of `ROWS` rows of outputs of one panel, accumulated in registers; returns `ROWS`.
#[inline(always)]
fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const PARTS: usize, const ADD: bool>(
    simd: S,
    ((weights, part), next): (Part<'_, S, VECTORS, PARTS>, &[[u16; PANEL]]),
    (x, x_stride): (&[f32], usize),
    (out, out_stride): (&mut [f32], usize),
) -> usize {
    let columns = part * (PANEL / PARTS)..(part + 1) * (PANEL / PARTS);
    let x: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * x_stride..][..weights.len()]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    if ADD {
        for (row, sums) in sums.iter_mut().enumerate() {
            let (out, _) = S::as_simd_f32s(&out[row * out_stride..][columns.clone()]);
            sums.copy_from_slice(out);
        }
    }
    for (k, weights) in weights.iter().enumerate() {
        let weights = &weights[part];
        if let Some(line) = next.get(k) {
            HalfKind::fetch(line);
        }
        for row in 0..ROWS {
            let input = simd.splat_f32s(x[row][k]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_e_f32s(input, weights[vector], sums[row][vector]);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut out[row * out_stride..][columns.clone()]);
        out.copy_from_slice(sums);
    }
    ROWS
}
