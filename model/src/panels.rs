//! Weight matrices in the form that the processor multiplies fastest, with exact products.
//!
//! A matrix of shape (n_out, n_in) is cut into panels of 32 outputs. A panel lists, input by input,
//! the 32 weights that this input is multiplied with, so that the innermost loop is one broadcast
//! and a few fused multiply-adds on consecutive memory, without any horizontal sum (Goto and van
//! de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, section 4). Packing happens
//! once, at load.
//!
//! Quantised weights stay quantised in memory (4 or 8 bits and a scale per 16 or 32 inputs), and
//! weights of 16 bits stay as they are; they become f32 a few inputs at a time. Activations are
//! never quantised, so the result is the one of the dequantised matrix up to the order of
//! summation. That is exact where candle's quantised products are not (they round activations to 8
//! bits), and fast for every inner size that is a multiple of 32, where theirs ask for 256.

use std::ops::Range;

use half::f16;
use pulp::Arch;
use rayon::prelude::*;

use crate::halves::HalfKind;
use crate::panel_product::{PanelCodes, Product, SUM, ScaledProduct};

/// Outputs per panel.
pub(crate) const PANEL: usize = 32;
/// Inputs that share a scale in the quantised forms.
pub(crate) const BLOCK: usize = 32;
/// Below this many multiply-adds, handing work to another thread costs more than it saves.
const PARALLEL_MIN: usize = 1 << 17;
/// Inputs whose 16-bit weights are unpacked at once: few enough to stay in the nearest cache.
const PIECE: usize = 128;
/// Rows from which on a whole panel is unpacked at once: going through the outputs once for each
/// piece then costs more than what a larger cache takes to answer.
const ROWS_MANY: usize = 48;
/// Pieces of a product per thread.
const PIECES_PER_THREAD: usize = 4;

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

enum Codes {
    /// (n_panels, n_in, 16): output j in the low half of byte j, output j + 16 in the high half.
    Nibbles(Vec<u8>),
    /// (n_panels, n_in, 32)
    Bytes(Vec<i8>),
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

    /// Packs row-major f32 weights, each rounded to the nearest number of IEEE half precision:
    /// half the memory to read, and products within rounding. `None` where one is too large for
    /// that. weight: (n_out, n_in)
    pub(crate) fn rounded_to_f16(weight: &[f32], n_in: usize) -> Option<Self> {
        if !weight.iter().all(|it| it.abs() <= f32::from(f16::MAX)) {
            return None;
        }
        let bytes: Vec<u8> =
            weight.iter().flat_map(|&it| f16::from_f32(it).to_le_bytes()).collect();
        let row = |row: usize| &bytes[row * n_in * 2..][..n_in * 2];
        Some(Self::from_halves((weight.len() / n_in, n_in), HalfKind::F16, row))
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

    /// out = x · Wᵀ on the calling thread. x: (rows, n_in), out: (rows, n_out)
    pub(crate) fn matmul(&self, x: &[f32], out: &mut [f32]) {
        if self.n_out == 0 || x.is_empty() {
            return;
        }
        assert_eq!(x.len() % self.n_in, 0, "inputs of whole rows");
        assert_eq!(out.len(), x.len() / self.n_in * self.n_out, "room for every output");
        let inputs = Inputs::of(x, &[self]);
        for (panel, start) in (0..self.n_out).step_by(PANEL).enumerate() {
            self.product(panel, &inputs, (&mut out[start..], self.n_out));
        }
    }

    /// The products with some panels. x: (rows, n_in), out: (panels, rows, 32)
    pub(crate) fn product_of(&self, panels: Range<usize>, x: &[f32], out: &mut [f32]) {
        let inputs = Inputs::of(x, &[self]);
        let len = x.len() / self.n_in * PANEL;
        for (panel, out) in panels.zip(out.chunks_exact_mut(len)) {
            self.product_padded(panel, &inputs, out);
        }
    }

    /// The products of the same inputs with several matrices, handed to the other threads at once.
    ///
    /// x: (rows, n_in), results: (rows, n_out) each
    pub(crate) fn matmul_together<const N: usize>(all: [&Self; N], x: &[f32]) -> [Vec<f32>; N] {
        let n_in = all[0].n_in;
        assert!(all.iter().all(|it| it.n_in == n_in), "matrices of the same inputs");
        assert_eq!(x.len() % n_in, 0, "inputs of whole rows");
        let rows = x.len() / n_in;
        if rows == 0 {
            return all.map(|_| Vec::new());
        }
        // Each thread computes some panels for all rows, so that each panel is read and unpacked
        // once; the outputs are then put in rows.
        let inputs = Inputs::of(x, &all);
        let panels: Vec<(&Self, usize)> =
            all.iter().flat_map(|&it| (0..it.n_panels()).map(move |panel| (it, panel))).collect();
        let mut by_panel = vec![0.0; panels.len() * rows * PANEL]; // (n_panels, rows, 32)
        let n_threads = rayon::current_num_threads();
        if n_threads == 1 || x.len() * panels.len() * PANEL < PARALLEL_MIN {
            for ((it, panel), out) in panels.iter().zip(by_panel.chunks_exact_mut(rows * PANEL)) {
                it.product_padded(*panel, &inputs, out);
            }
        } else {
            // Enough pieces that no thread waits long for another, and one by one: of several that are
            // handed over together, none can be taken from a slow thread.
            let panels_each = panels.len().div_ceil(n_threads * PIECES_PER_THREAD);
            by_panel
                .par_chunks_mut(panels_each * rows * PANEL)
                .zip(panels.par_chunks(panels_each))
                .with_max_len(1)
                .for_each(|(out, panels)| {
                    let out = out.chunks_exact_mut(rows * PANEL);
                    for ((it, panel), out) in panels.iter().zip(out) {
                        it.product_padded(*panel, &inputs, out);
                    }
                });
        }
        let mut start = 0;
        all.map(|it| {
            let by_panel = &by_panel[start * rows * PANEL..][..it.n_panels() * rows * PANEL];
            start += it.n_panels();
            it.in_rows(by_panel, rows)
        })
    }

    /// by_panel: (n_panels, rows, 32), result: (rows, n_out)
    fn in_rows(&self, by_panel: &[f32], rows: usize) -> Vec<f32> {
        if rows == 1 {
            return by_panel[..self.n_out].to_vec();
        }
        let mut res = vec![0.0; rows * self.n_out];
        let copy = |(row, out): (usize, &mut [f32])| {
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                let at = (panel * rows + row) * PANEL;
                out.copy_from_slice(&by_panel[at..at + out.len()]);
            }
        };
        if by_panel.len() < PARALLEL_MIN {
            res.chunks_exact_mut(self.n_out).enumerate().for_each(copy);
        } else {
            res.par_chunks_exact_mut(self.n_out).enumerate().with_min_len(16).for_each(copy);
        }
        res
    }

    /// Panels that it is cut into.
    pub(crate) fn n_panels(&self) -> usize {
        self.n_out.div_ceil(PANEL)
    }

    /// The outputs of one panel, `out_stride` apart from row to row; a last panel may be narrower.
    fn product(&self, panel: usize, inputs: &Inputs<'_>, (out, out_stride): (&mut [f32], usize)) {
        let width = PANEL.min(self.n_out - panel * PANEL);
        if width == PANEL {
            return self.product_strided(panel, inputs, (out, out_stride));
        }
        let mut padded = vec![0.0; inputs.x.len() / self.n_in * PANEL];
        self.product_padded(panel, inputs, &mut padded);
        for (out, padded) in out.chunks_mut(out_stride).zip(padded.chunks_exact(PANEL)) {
            out[..width].copy_from_slice(&padded[..width]);
        }
    }

    /// out: (rows, 32)
    fn product_padded(&self, panel: usize, inputs: &Inputs<'_>, out: &mut [f32]) {
        self.product_strided(panel, inputs, (out, PANEL));
    }

    fn product_strided(
        &self,
        panel: usize,
        Inputs { x, sums }: &Inputs<'_>,
        (out, out_stride): (&mut [f32], usize),
    ) {
        let n_in = self.n_in;
        match &self.form {
            Form::F32(data) => {
                let weights = &data[panel * n_in * PANEL..][..n_in * PANEL];
                let rows = x.len() / n_in;
                Product { weights, rows, x, x_stride: n_in, out, out_stride }.compute();
            }
            Form::Halves(kind, data) => {
                let rows = x.len() / n_in;
                let mut short = [0.0; PIECE * PANEL];
                let mut long = Vec::new();
                // Sums go on from piece to piece in the same order, whatever the length of a piece: a
                // sequence gets the same numbers alone and in a batch.
                let unpacked = if rows < ROWS_MANY {
                    &mut short[..]
                } else {
                    long.resize(n_in * PANEL, 0.0);
                    &mut long[..]
                };
                // The panels that follow are those that follow in memory, so the last piece of one
                // asks for the first of the next.
                let all = &data[panel * n_in * PANEL..];
                let (mut done, mut k) = (0, 0);
                for weights in all[..n_in * PANEL].chunks(unpacked.len()) {
                    let unpacked = &mut unpacked[..weights.len()];
                    kind.unpack(weights, unpacked);
                    done += weights.len();
                    let next = &all[done..];
                    let (next, _) = next[..next.len().min(PIECE * PANEL)].as_chunks::<PANEL>();
                    let (x, out) = (&x[k..], &mut *out);
                    let product =
                        Product { weights: unpacked, rows, x, x_stride: n_in, out, out_stride };
                    match k {
                        0 => product.compute_while_fetching(next),
                        _ => product.add_while_fetching(next),
                    }
                    k += weights.len() / PANEL;
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
                let product =
                    ScaledProduct { codes, block, scales, mins, x, sums, out, out_stride };
                Arch::new().dispatch(product);
            }
        }
    }
}

/// The inputs of a product, and what is worked out about them once for all panels.
struct Inputs<'a> {
    /// (rows, n_in)
    x: &'a [f32],
    /// The inputs of each 16 added up, for quantised forms; (rows, n_in / 16)
    sums: Vec<f32>,
}

impl<'a> Inputs<'a> {
    fn of(x: &'a [f32], all: &[&Panels]) -> Self {
        let is_scaled = |it: &&Panels| matches!(it.form, Form::Scaled { .. });
        let sums = match all.iter().any(is_scaled) {
            true => x.chunks_exact(SUM).map(|inputs| inputs.iter().sum()).collect(),
            false => Vec::new(),
        };
        Self { x, sums }
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

#[cfg(test)]
mod tests;
