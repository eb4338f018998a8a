//! Weight matrices in the form that the processor multiplies fastest, with exact products.
//!
//! A matrix of shape (n_out, n_in) is cut into panels of 32 outputs. A panel lists, input by input,
//! the 32 weights that this input is multiplied with, so that the innermost loop is one broadcast
//! and a few fused multiply-adds on consecutive memory, without any horizontal sum (Goto and van
//! de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, section 4). Packing happens
//! once, at load.
//!
//! Quantised weights stay quantised in memory (4 or 8 bits and a scale per 16 or 32 inputs), and
//! weights of 16 bits stay as they are; they become f32 in registers or, for many rows, one panel
//! at a time. Activations are never quantised, so the result is the one of the dequantised matrix
//! up to the order of summation. That is exact where candle's quantised products are not (they
//! round activations to 8 bits), and fast for every inner size that is a multiple of 32, where
//! theirs ask for 256.

use pulp::Arch;
use rayon::prelude::*;

use crate::panel_product::{HalfRow, PanelCodes, Product, ScaledRow, Unpack, UnpackHalves};

/// Outputs per panel.
pub(crate) const PANEL: usize = 32;
/// Inputs that share a scale in the quantised forms, at most.
pub(crate) const BLOCK: usize = 32;
/// Below this many multiply-adds, handing work to another thread costs more than it saves.
const PARALLEL_MIN: usize = 1 << 17;

/// A packed matrix of shape (n_out, n_in).
pub(crate) struct Panels {
    n_in: usize,
    n_out: usize,
    form: Form,
}

enum Form {
    /// (n_panels, n_in, 32)
    F32(Vec<f32>),
    /// (n_panels, n_in, 32): bits of the numbers.
    Halves(HalfKind, Vec<u16>),
    Scaled {
        codes: Codes,
        /// Inputs that share a scale: 16 or 32.
        block: usize,
        /// (n_panels, n_in / block, 32): what a code is multiplied with.
        scales: Vec<f32>,
        /// (n_panels, n_in / block, 32): what is then added; empty where that is zero.
        mins: Vec<f32>,
    },
}

/// Numbers of 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HalfKind {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

enum Codes {
    /// (n_panels, n_in, 16): output j in the low half of byte j, output j + 16 in the high half.
    Nibbles(Vec<u8>),
    /// (n_panels, n_in, 32)
    Bytes(Vec<i8>),
}

/// What a product is computed with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling one: for callers that are parallel themselves.
    One,
    /// Rayon's pool.
    All,
}

/// Up to 32 quantised weights of one row: `weight[i] = codes[i] * scale + min`.
pub(crate) struct Block {
    /// The first 16 where a block is that long.
    pub(crate) codes: [i8; BLOCK],
    pub(crate) scale: f32,
    pub(crate) min: f32,
}

/// How wide the codes of a quantised matrix are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CodeWidth {
    /// Codes are 0 to 15.
    Four,
    /// Codes are -128 to 127.
    Eight,
}

/// How a quantised matrix is cut into blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockForm {
    pub(crate) width: CodeWidth,
    /// Weights of a block: 16 or 32.
    pub(crate) block: usize,
    /// Whether blocks have a `min` that is not zero.
    pub(crate) has_mins: bool,
}

impl Panels {
    /// Packs row-major f32 weights. weight: (n_out, n_in)
    pub(crate) fn from_f32(weight: &[f32], n_in: usize) -> Self {
        assert!(n_in > 0 && weight.len().is_multiple_of(n_in), "whole rows");
        let n_out = weight.len() / n_in;
        let mut data = vec![0.0; n_out.div_ceil(PANEL) * n_in * PANEL];
        data.par_chunks_mut(n_in * PANEL).zip(weight.par_chunks(n_in * PANEL)).for_each(
            |(panel, rows)| {
                for (j, row) in rows.chunks_exact(n_in).enumerate() {
                    for (k, &weight) in row.iter().enumerate() {
                        panel[k * PANEL + j] = weight;
                    }
                }
            },
        );
        Self { n_in, n_out, form: Form::F32(data) }
    }

    /// Packs weights of 16 bits, whose row is given by `row` in little-endian order.
    pub(crate) fn from_halves<'a>(
        (n_out, n_in): (usize, usize),
        kind: HalfKind,
        row: impl Fn(usize) -> &'a [u8] + Sync,
    ) -> Self {
        assert!(n_in > 0, "whole rows");
        let mut data = vec![0; n_out.div_ceil(PANEL) * n_in * PANEL];
        data.par_chunks_mut(n_in * PANEL).enumerate().for_each(|(panel, out)| {
            for j in 0..PANEL.min(n_out - panel * PANEL) {
                let weights = row(panel * PANEL + j).as_chunks().0;
                assert_eq!(weights.len(), n_in, "a whole row");
                for (k, &weight) in weights.iter().enumerate() {
                    out[k * PANEL + j] = u16::from_le_bytes(weight);
                }
            }
        });
        Self { n_in, n_out, form: Form::Halves(kind, data) }
    }

    /// Packs a quantised matrix, whose block `(row, idx)` is given by `block_at`.
    pub(crate) fn from_blocks(
        (n_out, n_in): (usize, usize),
        form: BlockForm,
        block_at: impl Fn(usize, usize) -> Block + Sync,
    ) -> Self {
        let BlockForm { width, block, has_mins } = form;
        assert!(block == BLOCK || block == BLOCK / 2, "blocks of 16 or 32");
        assert!(n_in > 0 && n_in.is_multiple_of(BLOCK), "whole blocks");
        let n_panels = n_out.div_ceil(PANEL);
        let n_blocks = n_in / block;
        let mut scales = vec![0.0; n_panels * n_blocks * PANEL];
        let mut mins = scales.clone();
        let bytes_per_input = match width {
            CodeWidth::Four => PANEL / 2,
            CodeWidth::Eight => PANEL,
        };
        let mut bytes = vec![0u8; n_panels * n_in * bytes_per_input];
        bytes
            .par_chunks_mut(n_in * bytes_per_input)
            .zip(scales.par_chunks_mut(n_blocks * PANEL))
            .zip(mins.par_chunks_mut(n_blocks * PANEL))
            .enumerate()
            .for_each(|(panel, ((bytes, scales), mins))| {
                for j in 0..PANEL.min(n_out - panel * PANEL) {
                    for idx in 0..n_blocks {
                        let Block { codes, scale, min } = block_at(panel * PANEL + j, idx);
                        scales[idx * PANEL + j] = scale;
                        mins[idx * PANEL + j] = min;
                        for (k, &code) in codes[..block].iter().enumerate() {
                            put_code(bytes, width, (idx * block + k, j), code);
                        }
                    }
                }
            });
        let codes = match width {
            CodeWidth::Four => Codes::Nibbles(bytes),
            CodeWidth::Eight => Codes::Bytes(bytes.into_iter().map(u8::cast_signed).collect()),
        };
        if !has_mins {
            mins = Vec::new();
        }
        Self { n_in, n_out, form: Form::Scaled { codes, block, scales, mins } }
    }

    pub(crate) fn n_in(&self) -> usize {
        self.n_in
    }

    pub(crate) fn n_out(&self) -> usize {
        self.n_out
    }

    /// One row of the matrix as f32: an embedding. out: (n_in)
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n_out && out.len() == self.n_in, "a row of the matrix");
        let (panel, j) = (row / PANEL, row % PANEL);
        for (k, out) in out.iter_mut().enumerate() {
            let input = panel * self.n_in + k;
            *out = match &self.form {
                Form::F32(data) => data[input * PANEL + j],
                Form::Halves(kind, data) => kind.to_f32(data[input * PANEL + j]),
                Form::Scaled { codes, block, scales, mins } => {
                    let at = (panel * (self.n_in / block) + k / block) * PANEL + j;
                    let code = match codes {
                        Codes::Nibbles(codes) if j < PANEL / 2 => {
                            f32::from(codes[input * PANEL / 2 + j] & 15)
                        }
                        Codes::Nibbles(codes) => {
                            f32::from(codes[input * PANEL / 2 + j - PANEL / 2] >> 4)
                        }
                        Codes::Bytes(codes) => f32::from(codes[input * PANEL + j]),
                    };
                    code * scales[at] + mins.get(at).copied().unwrap_or(0.0)
                }
            };
        }
    }

    /// out = x · Wᵀ. x: (rows, n_in), out: (rows, n_out)
    pub(crate) fn matmul(&self, x: &[f32], out: &mut [f32], threads: Threads) {
        if self.n_out == 0 || x.is_empty() {
            return;
        }
        let rows = x.len() / self.n_in;
        assert_eq!(x.len(), rows * self.n_in, "inputs of whole rows");
        assert_eq!(out.len(), rows * self.n_out, "room for every output");
        let parallel = threads == Threads::All
            && rayon::current_num_threads() > 1
            && x.len() * self.n_out >= PARALLEL_MIN;
        if !parallel {
            let mut scratch = self.scratch(rows);
            for (panel, start) in (0..self.n_out).step_by(PANEL).enumerate() {
                self.product(panel, x, (&mut out[start..], self.n_out), &mut scratch);
            }
        } else if rows == 1 {
            let panels_each = self.n_panels().div_ceil(rayon::current_num_threads() * 2);
            out.par_chunks_mut(panels_each * PANEL).enumerate().for_each(|(idx, out)| {
                for (panel, start) in (0..out.len()).step_by(PANEL).enumerate() {
                    let n_out = out.len();
                    let panel = idx * panels_each + panel;
                    self.product(panel, x, (&mut out[start..], n_out), &mut []);
                }
            });
        } else {
            self.matmul_rows_parallel(x, out);
        }
    }

    /// Each thread computes some panels for all rows, so that each panel is read and unpacked once,
    /// into a buffer of its own; the outputs are then put in rows.
    fn matmul_rows_parallel(&self, x: &[f32], out: &mut [f32]) {
        let rows = x.len() / self.n_in;
        let mut by_panel = vec![0.0; self.n_panels() * rows * PANEL]; // (n_panels, rows, 32)
        let init = || self.scratch(rows);
        by_panel.par_chunks_mut(rows * PANEL).enumerate().for_each_init(
            init,
            |scratch, (panel, out)| {
                self.product_padded(panel, x, out, scratch);
            },
        );
        out.par_chunks_mut(self.n_out).enumerate().for_each(|(row, out)| {
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                let at = (panel * rows + row) * PANEL;
                out.copy_from_slice(&by_panel[at..at + out.len()]);
            }
        });
    }

    fn n_panels(&self) -> usize {
        self.n_out.div_ceil(PANEL)
    }

    /// Room for one unpacked panel, where that is needed.
    fn scratch(&self, rows: usize) -> Vec<f32> {
        match &self.form {
            Form::F32(_) => Vec::new(),
            Form::Scaled { .. } | Form::Halves(..) if rows == 1 => Vec::new(),
            Form::Scaled { .. } | Form::Halves(..) => vec![0.0; self.n_in * PANEL],
        }
    }

    /// The outputs of one panel, `out_stride` apart from row to row; a last panel may be narrower.
    fn product(
        &self,
        panel: usize,
        x: &[f32],
        (out, out_stride): (&mut [f32], usize),
        scratch: &mut [f32],
    ) {
        let width = PANEL.min(self.n_out - panel * PANEL);
        if width == PANEL {
            return self.product_strided(panel, x, (out, out_stride), scratch);
        }
        let mut padded = vec![0.0; x.len() / self.n_in * PANEL];
        self.product_padded(panel, x, &mut padded, scratch);
        for (out, padded) in out.chunks_mut(out_stride).zip(padded.chunks_exact(PANEL)) {
            out[..width].copy_from_slice(&padded[..width]);
        }
    }

    /// out: (rows, 32)
    fn product_padded(&self, panel: usize, x: &[f32], out: &mut [f32], scratch: &mut [f32]) {
        self.product_strided(panel, x, (out, PANEL), scratch);
    }

    fn product_strided(
        &self,
        panel: usize,
        x: &[f32],
        (out, out_stride): (&mut [f32], usize),
        scratch: &mut [f32],
    ) {
        let n_in = self.n_in;
        let rows = x.len() / n_in;
        let arch = Arch::new();
        let product = |weights: &[f32], out: &mut [f32]| {
            Product { weights, rows, x, x_stride: n_in, out, out_stride }.compute();
        };
        match &self.form {
            Form::F32(data) => product(&data[panel * n_in * PANEL..][..n_in * PANEL], out),
            Form::Halves(kind, data) => {
                let (kind, weights) = (*kind, &data[panel * n_in * PANEL..][..n_in * PANEL]);
                if rows == 1 {
                    let out = out.first_chunk_mut().expect("a panel's outputs");
                    arch.dispatch(HalfRow { kind, weights, x, out });
                } else {
                    arch.dispatch(UnpackHalves { kind, weights, out: &mut *scratch });
                    product(scratch, out);
                }
            }
            Form::Scaled { codes, block, scales, mins } => {
                let block = *block;
                let n_scales = n_in / block * PANEL;
                let scales = &scales[panel * n_scales..][..n_scales];
                let mins = match mins.is_empty() {
                    true => &[][..],
                    false => &mins[panel * n_scales..][..n_scales],
                };
                let codes = match codes {
                    Codes::Nibbles(codes) => {
                        PanelCodes::Nibbles(&codes[panel * n_in * PANEL / 2..][..n_in * PANEL / 2])
                    }
                    Codes::Bytes(codes) => {
                        PanelCodes::Bytes(&codes[panel * n_in * PANEL..][..n_in * PANEL])
                    }
                };
                if rows == 1 {
                    let out = out.first_chunk_mut().expect("a panel's outputs");
                    arch.dispatch(ScaledRow { codes, block, scales, mins, x, out });
                } else {
                    arch.dispatch(Unpack { codes, block, scales, mins, out: &mut *scratch });
                    product(scratch, out);
                }
            }
        }
    }
}

/// Writes a code of output `j` of a panel. bytes: (n_in, 16 or 32)
fn put_code(bytes: &mut [u8], width: CodeWidth, (input, j): (usize, usize), code: i8) {
    match width {
        CodeWidth::Four => {
            let shift = if j < PANEL / 2 { 0 } else { 4 };
            bytes[input * PANEL / 2 + j % (PANEL / 2)] |= code.cast_unsigned() << shift;
        }
        CodeWidth::Eight => bytes[input * PANEL + j] = code.cast_unsigned(),
    }
}

impl HalfKind {
    /// The number that 16 bits stand for. Infinities and NaN of f16 become large numbers.
    #[inline(always)]
    pub(crate) fn to_f32(self, bits: u16) -> f32 {
        let bits = u32::from(bits);
        match self {
            Self::Bf16 => f32::from_bits(bits << 16),
            Self::F16 => {
                // The exponent counts from 15 instead of 127; multiplying makes up for that, and
                // is exact for subnormal numbers too.
                let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
                f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
            }
        }
    }
}

/// 2 to the power 112.
const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Rng;

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        (0..n).map(|_| rng.unit() * 2.0 - 1.0).collect()
    }

    /// The product agrees with one in f64 over the matrix's own rows, on one thread and on all.
    #[track_caller]
    fn check(panels: &Panels, rows: usize) {
        let (n_in, n_out) = (panels.n_in(), panels.n_out());
        let x = values(rows * n_in, 3);
        for threads in [Threads::One, Threads::All] {
            let mut out = vec![f32::NAN; rows * n_out];
            panels.matmul(&x, &mut out, threads);
            let mut weight = vec![0.0; n_in];
            for j in 0..n_out {
                panels.row(j, &mut weight);
                for (i, x) in x.chunks_exact(n_in).enumerate() {
                    let expected: f64 =
                        x.iter().zip(&weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let off = (f64::from(out[i * n_out + j]) - expected).abs();
                    assert!(off < 1e-4 * (n_in as f64).sqrt(), "({i}, {j}) of {n_out}: {off}");
                }
            }
        }
    }

    fn scaled(n_out: usize, n_in: usize, form: BlockForm) -> Panels {
        let width = form.width;
        Panels::from_blocks((n_out, n_in), form, |row, idx| {
            let mut rng = Rng::new((row * 1_000 + idx) as u64);
            let codes = std::array::from_fn(|_| match width {
                CodeWidth::Four => (rng.next() % 16) as i8,
                CodeWidth::Eight => rng.next() as i8,
            });
            let scale = match width {
                CodeWidth::Four => 0.1,
                CodeWidth::Eight => 0.01,
            };
            let min = if form.has_mins { rng.unit() - 0.5 } else { 0.0 };
            Block { codes, scale: scale * rng.unit(), min }
        })
    }

    const FORMS: [BlockForm; 5] = [
        BlockForm { width: CodeWidth::Four, block: 32, has_mins: true },
        BlockForm { width: CodeWidth::Eight, block: 32, has_mins: true },
        BlockForm { width: CodeWidth::Eight, block: 32, has_mins: false },
        BlockForm { width: CodeWidth::Four, block: 16, has_mins: true },
        BlockForm { width: CodeWidth::Eight, block: 16, has_mins: false },
    ];

    #[test]
    fn multiplies_matrices_of_any_size() {
        for (n_out, n_in) in [(32, 32), (1, 1), (33, 7), (100, 90), (1_000, 200)] {
            let weight = values(n_out * n_in, 1);
            let panels = Panels::from_f32(&weight, n_in);
            let mut row = vec![0.0; n_in];
            panels.row(n_out - 1, &mut row);
            assert_eq!(row, weight[(n_out - 1) * n_in..], "a row comes back as it was");
            for rows in [1, 2, 11, 12, 37] {
                check(&panels, rows);
            }
        }
    }

    #[test]
    fn multiplies_quantised_matrices() {
        for form in FORMS {
            for (n_out, n_in) in [(32, 32), (50, 96), (1_000, 256)] {
                for rows in [1, 2, 13] {
                    check(&scaled(n_out, n_in, form), rows);
                }
            }
        }
    }

    #[test]
    fn quantised_rows_are_what_their_blocks_say() {
        for form in FORMS {
            let block = |row: usize, _: usize| Block {
                codes: std::array::from_fn(|idx| ((row + idx) % 16) as i8),
                scale: 0.5,
                min: if form.has_mins { -1.0 } else { 0.0 },
            };
            let panels = Panels::from_blocks((40, 64), form, block);
            let mut row = vec![0.0; 64];
            panels.row(35, &mut row);
            let min = if form.has_mins { 1.0 } else { 0.0 };
            let expected: Vec<f32> =
                (0..64).map(|k| ((35 + k % form.block) % 16) as f32 * 0.5 - min).collect();
            assert_eq!(row, expected);
        }
    }

    #[test]
    fn multiplies_matrices_of_16_bits() {
        for kind in [HalfKind::F16, HalfKind::Bf16] {
            for (n_out, n_in) in [(32, 32), (1, 1), (33, 7), (1_000, 200)] {
                let bits: Vec<[u8; 2]> = values(n_out * n_in, 2)
                    .into_iter()
                    .map(|it| match kind {
                        HalfKind::F16 => half::f16::from_f32(it).to_le_bytes(),
                        HalfKind::Bf16 => half::bf16::from_f32(it).to_le_bytes(),
                    })
                    .collect();
                let bytes = bits.as_flattened();
                let row = |row: usize| &bytes[row * n_in * 2..][..n_in * 2];
                let panels = Panels::from_halves((n_out, n_in), kind, row);
                for rows in [1, 2, 13] {
                    check(&panels, rows);
                }
            }
        }
    }

    #[test]
    fn every_half_becomes_the_number_that_it_stands_for() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits);
            if expected.is_finite() {
                let actual = HalfKind::F16.to_f32(bits);
                assert_eq!(actual.to_bits(), expected.to_f32().to_bits(), "{expected}");
            }
            let expected = half::bf16::from_bits(bits);
            if !expected.is_nan() {
                assert_eq!(HalfKind::Bf16.to_f32(bits).to_bits(), expected.to_f32().to_bits());
            }
        }
    }
}
