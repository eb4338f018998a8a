//! Sums of products of matrices, `out = Σ x · m`, on all threads.
//!
//! A thread takes 32 columns of a result, packs the same columns of each `m` and multiplies all rows
//! with them. So nothing but `m` itself is held, as it was loaded and for both ways through the
//! network; a change of low rank goes into the sum of the product that it changes; and products that
//! wait for nothing of each other are handed to the threads together.

use std::cell::RefCell;

use half::bf16;
use rayon::prelude::*;

use super::pack::{Place, pack_bf16, pack_f32};
use super::product::View;
use super::spare::{Buffer, Spare};
use super::strips::Strip;
use crate::bf16_product::{self, Bf16Product, Pair};
use crate::panel_product::Product;
use crate::panels::PANEL;
use crate::tile_product::{self, GROUP, TileProduct, WORDS, round_rows};

/// Inputs that are packed at once: their panel stays in the second cache.
const INPUTS: usize = 1024;
/// The same where a processor's tiles multiply: fewer, so that a panel stays in the first cache and
/// the rows in the second.
const INPUTS_IN_TILES: usize = 256;
/// Inputs from which on a thread works on several panels with each piece of `x`, which would come
/// from memory anew for each of them otherwise.
const INPUTS_MANY: usize = 8 * INPUTS;
/// Rows times panels whose sums are held by a thread, in the second cache.
const SUMS: usize = 3072;
/// Rows for which it is worth packing a panel.
const ROWS_MIN: usize = 64;
/// Panels that a thread works on with each piece of `x` in tiles.
const PANELS_IN_TILES: usize = 4;

/// A part of a sum. x: (rows, n_in), matrix: (n_in, columns)
pub(super) enum Term<'a> {
    F32 { x: &'a [f32], matrix: View<'a>, scale: f32 },
    Bf16 { x: &'a Pairs<'a>, matrix: View<'a, bf16> },
    Tiles { x: &'a Tiles<'a>, matrix: View<'a, bf16> },
}

/// Rows in bf16, in pairs of numbers.
pub(super) struct Pairs<'a> {
    /// (rows, n_in / 2), with a zero behind an odd last one
    pairs: Buffer<'a, Pair>,
    stride: usize,
}

/// Rows as a processor's tiles take them.
pub(super) struct Tiles<'a> {
    /// From `start` on (rows / 32, n_groups, 32, 16), rounded up
    pairs: Buffer<'a, Pair>,
    /// Where a line of the cache begins.
    start: usize,
    n_groups: usize,
}

/// A sum of products, and where it goes. out: (rows, columns)
pub(super) struct Sum<'a> {
    pub(super) out: &'a mut [f32],
    pub(super) columns: usize,
    pub(super) terms: Vec<Term<'a>>,
}

/// Computes sums that need nothing of each other.
pub(super) fn compute<'a>(sums: impl IntoIterator<Item = Sum<'a>>) {
    let mut sums: Vec<Sum<'a>> = sums.into_iter().collect();
    let n_panels: usize = sums.iter().map(|it| it.columns.div_ceil(PANEL)).sum();
    // Few panels are shared by rows, too.
    let n_parts = (2 * rayon::current_num_threads()).div_ceil(n_panels.max(1));
    let jobs: Vec<Job<'_>> = sums.iter_mut().flat_map(|it| it.jobs(n_parts)).collect();
    // One by one: of several that are handed over together, none can be taken from a slow thread.
    jobs.into_par_iter().with_max_len(1).for_each(|job| SPACE.with_borrow_mut(|it| job.run(it)));
}

impl Sum<'_> {
    /// Its columns in panels, and its rows in `n_parts` parts or fewer.
    fn jobs(&mut self, n_parts: usize) -> Vec<Job<'_>> {
        let columns = self.columns;
        let terms = self.terms.as_slice();
        assert!(terms.iter().all(|it| it.shape().1 == columns), "terms fit their sum");
        let n_in: usize = terms.iter().map(|it| it.shape().0).sum();
        let panels_each_thread = columns.div_ceil(PANEL * rayon::current_num_threads());
        let n_panels = match n_in {
            // Two jobs for a thread at least, for the same reason.
            INPUTS_MANY.. => panels_each_thread.div_ceil(2).min(SUMS / 256),
            _ if terms.iter().any(|it| matches!(it, Term::Tiles { .. })) => {
                // As many jobs for one thread as for another.
                panels_each_thread.div_ceil(panels_each_thread.div_ceil(PANELS_IN_TILES))
            }
            _ => 1,
        };
        let rows_each = (self.out.len() / columns).div_ceil(n_parts).max(ROWS_MIN);
        let rows_each = rows_each.next_multiple_of(tile_product::ROWS);
        let mut res = Vec::new();
        for (part, out) in self.out.chunks_mut(rows_each * columns).enumerate() {
            let (mut column, row) = (0, part * rows_each);
            for strip in Strip::cut(out, columns, n_panels * PANEL) {
                let width = strip.width();
                res.push(Job { strip, row, column, terms });
                column += width;
            }
        }
        res
    }
}

impl Term<'_> {
    /// Inputs and columns.
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::F32 { matrix, .. } => (matrix.rows, matrix.columns),
            Self::Bf16 { matrix, .. } | Self::Tiles { matrix, .. } => (matrix.rows, matrix.columns),
        }
    }

    /// Inputs that are packed at once, an even number.
    fn inputs(&self) -> usize {
        match self {
            Self::F32 { .. } | Self::Bf16 { .. } => INPUTS,
            Self::Tiles { .. } => INPUTS_IN_TILES,
        }
    }
}

impl<'a> Pairs<'a> {
    /// x: (rows, n_in)
    pub(super) fn of(x: &[f32], n_in: usize, spare: &'a Spare) -> Self {
        let stride = n_in.div_ceil(2);
        let mut pairs = spare.pairs(x.len() / n_in * stride);
        let rows = pairs.par_chunks_mut(stride).zip(x.par_chunks(n_in));
        rows.with_min_len(32).for_each(|(pairs, x)| bf16_product::round(x, pairs));
        Self { pairs, stride }
    }
}

impl<'a> Tiles<'a> {
    /// x: (rows, n_in)
    pub(super) fn of(x: &[f32], n_in: usize, spare: &'a Spare) -> Self {
        let n_groups = n_in.div_ceil(GROUP);
        let block = n_groups * WORDS;
        let n_blocks = (x.len() / n_in).div_ceil(tile_product::ROWS);
        let mut pairs = spare.pairs(n_blocks * block + LINE);
        let start = start_of_line(&pairs);
        let blocks = pairs[start..][..n_blocks * block].par_chunks_exact_mut(block);
        let rows = x.par_chunks(tile_product::ROWS * n_in);
        blocks.zip(rows).for_each(|(out, x)| round_rows(x, n_in, out));
        Self { pairs, start, n_groups }
    }

    /// From a row and a number on, both the first of a block and a group.
    fn from(&self, row: usize, input: usize) -> &[Pair] {
        let group = row / tile_product::ROWS * self.n_groups + input / GROUP;
        &self.pairs[self.start + group * WORDS..]
    }
}

/// Values of four bytes in a line of the cache.
const LINE: usize = 16;

/// The first value that begins a line of the cache; there has to be one.
fn start_of_line<T>(values: &[T]) -> usize {
    values.as_ptr().align_offset(LINE * size_of::<T>())
}

/// `len` values of a buffer that begin a line of the cache. They hold whatever was there.
fn in_lines<T: Clone + Default>(buffer: &mut Vec<T>, len: usize) -> &mut [T] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, T::default());
    }
    let start = start_of_line(buffer);
    &mut buffer[start..start + len]
}

/// Some columns of some rows of a sum.
struct Job<'a> {
    strip: Strip<'a>,
    /// The first of the rows.
    row: usize,
    /// The first of the columns.
    column: usize,
    terms: &'a [Term<'a>],
}

/// What a thread works in.
#[derive(Default)]
struct Space {
    /// (n_panels, rows, 32), rows rounded up to whole blocks
    sums: Vec<f32>,
    /// What panels are packed in.
    panel: Vec<f32>,
    pairs: Vec<Pair>,
}

thread_local! {
    static SPACE: RefCell<Space> = RefCell::default();
}

impl Job<'_> {
    fn run(mut self, space: &mut Space) {
        let Space { sums, panel, pairs } = space;
        let n_panels = self.strip.width().div_ceil(PANEL);
        let rows_each = (SUMS / n_panels / tile_product::ROWS) * tile_product::ROWS;
        for row in (0..self.strip.n_rows()).step_by(rows_each) {
            let n_rows = rows_each.min(self.strip.n_rows() - row);
            let n_held = n_rows.next_multiple_of(tile_product::ROWS);
            let sums = in_lines(sums, n_panels * n_held * PANEL).as_chunks_mut().0;
            let mut is_first = true;
            for term in self.terms {
                let inputs = term.shape().0;
                for first_row in (0..inputs).step_by(term.inputs()) {
                    let n_inputs = term.inputs().min(inputs - first_row);
                    for (idx, sums) in sums.chunks_exact_mut(n_held).enumerate() {
                        let first_column = self.column + idx * PANEL;
                        let place = Place { first_row, n_rows: n_inputs, first_column };
                        let rows = (self.row + row, n_rows);
                        term.add(rows, place, (&mut *panel, &mut *pairs), (sums, is_first));
                    }
                    is_first = false;
                }
            }
            self.put_rows(row, (n_rows, n_held), sums);
        }
    }

    /// sums: (n_panels, n_held, 32)
    fn put_rows(&mut self, row: usize, (n_rows, n_held): (usize, usize), sums: &[[f32; PANEL]]) {
        for idx in 0..n_rows {
            let (whole, rest) = self.strip.row(row + idx).as_chunks_mut::<PANEL>();
            let mut sums = sums[idx..].iter().step_by(n_held);
            // Arrays: their copies are two instructions, not a call.
            whole.iter_mut().zip(&mut sums).for_each(|(out, sums)| *out = *sums);
            if let Some(sums) = sums.next() {
                rest.copy_from_slice(&sums[..rest.len()]);
            }
        }
    }
}

impl Term<'_> {
    /// Adds the products of some rows with one panel of some inputs, or sets the sums to them.
    fn add(
        &self,
        (row, n_rows): (usize, usize),
        place: Place,
        (panel, pairs): (&mut Vec<f32>, &mut Vec<Pair>),
        (sums, is_first): (&mut [[f32; PANEL]], bool),
    ) {
        match self {
            Self::F32 { x, matrix, scale } => {
                let panel = in_lines(panel, place.n_rows * PANEL);
                pack_f32(*matrix, place, *scale, panel.as_chunks_mut().0);
                let product = Product {
                    weights: panel,
                    rows: n_rows,
                    x: &x[row * matrix.rows + place.first_row..],
                    x_stride: matrix.rows,
                    out: sums.as_flattened_mut(),
                    out_stride: PANEL,
                };
                let is_half = matrix.columns - place.first_column <= PANEL / 2;
                match (is_first, is_half) {
                    (true, false) => product.compute(),
                    (true, true) => product.compute_half(),
                    (false, false) => product.add(),
                    (false, true) => product.add_half(),
                }
            }
            Self::Bf16 { x, matrix } => {
                let pairs = in_lines(pairs, place.n_rows.div_ceil(2) * PANEL).as_chunks_mut().0;
                pack_bf16(*matrix, place, pairs);
                let product = Bf16Product {
                    weights: pairs,
                    rows: n_rows,
                    x: &x.pairs[row * x.stride + place.first_row / 2..],
                    x_stride: x.stride,
                    out: sums,
                };
                if is_first { product.compute() } else { product.add() }
            }
            Self::Tiles { x, matrix } => {
                let n_groups = place.n_rows.div_ceil(GROUP);
                let pairs = in_lines(pairs, n_groups * WORDS).as_chunks_mut().0;
                let (packed, rest) = pairs.split_at_mut(place.n_rows.div_ceil(2));
                pack_bf16(*matrix, place, packed);
                rest.fill([0; PANEL]);
                let product = TileProduct {
                    n_groups,
                    x: x.from(row, place.first_row),
                    x_stride: x.n_groups * WORDS,
                    weights: pairs,
                    out: sums,
                };
                product.compute(is_first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Rng;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        // Numbers that bf16 holds, so that both kinds of terms have the same sums.
        (0..n).map(|_| ((rng.unit() - 0.5) * 64.0).round() / 16.0).collect()
    }

    /// x · m, from m or its transpose.
    fn product(x: &[f32], m: View<'_>) -> Vec<f32> {
        let at = |k: usize, j: usize| m.data[k * m.row_stride + j * m.column_stride];
        let of_row = |x: &[f32]| -> Vec<f32> {
            (0..m.columns).map(|j| x.iter().zip(0..).map(|(x, k)| x * at(k, j)).sum()).collect()
        };
        x.chunks_exact(m.rows).flat_map(of_row).collect()
    }

    #[track_caller]
    fn check(rows: usize, inner: [usize; 2], columns: usize) {
        let [first, second] = inner;
        let (x, m) = (random(rows * first, 1), random(first * columns, 2));
        let (y, n) = (random(rows * second, 3), random(second * columns, 4));
        let halves =
            |it: &[f32]| -> Vec<bf16> { it.iter().map(|&it| bf16::from_f32(it)).collect() };
        let m_halves = halves(&m);
        let spare = Spare::default();
        let pairs = bf16_product::is_available().then(|| Pairs::of(&x, first, &spare));
        let tiles = tile_product::is_available().then(|| Tiles::of(&x, first, &spare));
        for is_turned in [false, true] {
            let m = if is_turned { View::new(&m, first).t() } else { View::new(&m, columns) };
            let n = View::new(&n, second).t();
            let both = product(&x, m).into_iter().zip(product(&y, n));
            let expected: Vec<f32> = both.map(|(a, b)| a + 0.5 * b).collect();
            let m_halves = View {
                data: m_halves.as_slice(),
                rows: m.rows,
                columns: m.columns,
                row_stride: m.row_stride,
                column_stride: m.column_stride,
            };
            let mut firsts = vec![Term::F32 { x: &x, matrix: m, scale: 1.0 }];
            firsts.extend(pairs.as_ref().map(|x| Term::Bf16 { x, matrix: m_halves }));
            firsts.extend(tiles.as_ref().map(|x| Term::Tiles { x, matrix: m_halves }));
            for term in firsts {
                let mut out = vec![f32::NAN; rows * columns];
                let terms = vec![term, Term::F32 { x: &y, matrix: n, scale: 0.5 }];
                compute([Sum { out: &mut out, columns, terms }]);
                for (idx, (out, expected)) in out.iter().zip(&expected).enumerate() {
                    let off = (out - expected).abs();
                    assert!(off < 2e-3 * expected.abs().max(1.0), "{idx}: {out}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn sums_agree_with_their_definition() {
        check(1, [1, 1], 1);
        check(3, [37, 16], 45);
        check(70, [64, 5], 32);
        // More inputs than are packed at once, and so many that panels go together.
        check(9, [INPUTS + 3, 2], 40);
        check(5, [INPUTS_MANY + 1, 2], 100);
        // More rows than a thread holds sums of.
        check(SUMS + 5, [3, 2], 33);
    }

    #[test]
    fn nothing_comes_of_no_rows() {
        let matrix = View::new(&[1.0, 2.0], 2);
        let terms = vec![Term::F32 { x: &[], matrix, scale: 1.0 }];
        compute([Sum { out: &mut [], columns: 2, terms }]);
    }
}
