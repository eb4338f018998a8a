//! Panels of a matrix, 32 columns wide, as the innermost loops take them.

use half::bf16;

use super::product::View;
use crate::bf16_product::{Pair, pair};
use crate::panels::PANEL;

/// Rows and columns that are exchanged at once, in registers.
const SQUARE: usize = 4;

/// Where in a matrix a panel lies.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
    pub(super) first_column: usize,
}

impl Place {
    /// Columns of the panel that the matrix has; zeros are put for the others.
    fn width(&self, columns: usize) -> usize {
        PANEL.min(columns - self.first_column)
    }
}

/// The panel's numbers times `scale`. out: (n_rows, 32)
pub(super) fn pack_f32(matrix: View<'_>, place: Place, scale: f32, out: &mut [[f32; PANEL]]) {
    let Place { first_row, n_rows, first_column } = place;
    let width = place.width(matrix.columns);
    assert_eq!(out.len(), n_rows, "a panel of these rows");
    pad(out, width);
    match matrix.column_stride {
        1 => {
            for (k, out) in out.iter_mut().enumerate() {
                let start = (first_row + k) * matrix.row_stride + first_column;
                match matrix.data[start..].first_chunk() {
                    // An array: its copy is two instructions, not a call.
                    Some(row) if width == PANEL => *out = *row,
                    _ => out[..width].copy_from_slice(&matrix.data[start..start + width]),
                }
            }
        }
        stride => {
            let row = |j: usize| &matrix.data[(first_column + j) * stride + first_row..][..n_rows];
            exchange(row, width, out);
        }
    }
    if scale != 1.0 {
        out.iter_mut().flatten().for_each(|it| *it *= scale);
    }
}

/// The panel's numbers in pairs of rows, the last one with zeros where their number is odd; its
/// first row is even. out: (n_rows / 2, 32)
pub(super) fn pack_bf16(matrix: View<'_, bf16>, place: Place, out: &mut [[Pair; PANEL]]) {
    let Place { first_row, n_rows, first_column } = place;
    let width = place.width(matrix.columns);
    assert_eq!(out.len(), n_rows.div_ceil(2), "a panel of these rows");
    pad(out, width);
    match matrix.column_stride {
        1 => {
            let row = |k: usize| {
                &matrix.data[(first_row + k) * matrix.row_stride + first_column..][..width]
            };
            for (idx, out) in out.iter_mut().enumerate() {
                let first = row(2 * idx);
                if 2 * idx + 1 == n_rows {
                    out.iter_mut().zip(first).for_each(|(out, it)| *out = pair(*it, bf16::ZERO));
                    continue;
                }
                for (out, (a, b)) in out.iter_mut().zip(first.iter().zip(row(2 * idx + 1))) {
                    *out = pair(*a, *b);
                }
            }
        }
        stride => {
            let row = |j: usize| &matrix.data[(first_column + j) * stride + first_row..][..n_rows];
            exchange_pairs(row, width, out);
        }
    }
}

/// Puts zeros where a narrow panel has no columns.
fn pad<T: Copy + Default>(out: &mut [[T; PANEL]], width: usize) {
    if width < PANEL {
        out.iter_mut().for_each(|it| it[width..].fill(T::default()));
    }
}

/// Rows become columns. row: (n), out: (n, 32), of which `width` columns are written
fn exchange<'a>(row: impl Fn(usize) -> &'a [f32], width: usize, out: &mut [[f32; PANEL]]) {
    let whole = width / SQUARE * SQUARE;
    for j in (0..whole).step_by(SQUARE) {
        let rows: [&[[f32; SQUARE]]; SQUARE] = std::array::from_fn(|i| row(j + i).as_chunks().0);
        let squares = out.as_chunks_mut::<SQUARE>().0;
        for (idx, out) in squares.iter_mut().enumerate() {
            let square = rows.map(|it| it[idx]);
            for (k, out) in out.iter_mut().enumerate() {
                out[j..j + SQUARE].copy_from_slice(&square.map(|it| it[k]));
            }
        }
    }
    let done = out.len() / SQUARE * SQUARE;
    for j in 0..width {
        let from = if j < whole { done } else { 0 };
        for (out, value) in out[from..].iter_mut().zip(&row(j)[from..]) {
            out[j] = *value;
        }
    }
}

/// The same for pairs of numbers of a row.
fn exchange_pairs<'a>(row: impl Fn(usize) -> &'a [bf16], width: usize, out: &mut [[Pair; PANEL]]) {
    let whole = width / SQUARE * SQUARE;
    for j in (0..whole).step_by(SQUARE) {
        let rows: [&[[bf16; 2 * SQUARE]]; SQUARE] =
            std::array::from_fn(|i| row(j + i).as_chunks().0);
        let squares = out.as_chunks_mut::<SQUARE>().0;
        for (idx, out) in squares.iter_mut().enumerate().take(rows[0].len()) {
            let square = rows.map(|it| {
                let numbers = &it[idx];
                std::array::from_fn::<_, SQUARE, _>(|k| pair(numbers[2 * k], numbers[2 * k + 1]))
            });
            for (k, out) in out.iter_mut().enumerate() {
                out[j..j + SQUARE].copy_from_slice(&square.map(|it| it[k]));
            }
        }
    }
    for j in 0..width {
        let row = row(j);
        let done = if j < whole { row.len() / (2 * SQUARE) * SQUARE } else { 0 };
        for (out, numbers) in out[done..].iter_mut().zip(row[2 * done..].chunks(2)) {
            out[j] = pair(numbers[0], numbers.get(1).copied().unwrap_or(bf16::ZERO));
        }
    }
}

/// Exchanges rows and columns. out: (x.columns, x.rows)
pub(super) fn turn(x: View<'_>, out: &mut [f32]) {
    assert_eq!(x.column_stride, 1, "rows in one piece");
    // Read apart and written in a row: written so far apart, numbers would push each other out of
    // the cache where the number of rows is a power of two.
    for (column, out) in out.chunks_exact_mut(x.rows).enumerate() {
        let values = x.data[column..].iter().step_by(x.row_stride);
        out.iter_mut().zip(values).for_each(|(out, x)| *out = *x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_the_numbers_of_their_place() {
        let (rows, columns) = (37, 45);
        let at = |row: usize, column: usize| (row * columns + column) as f32 / 8.0;
        let plain: Vec<f32> = (0..rows * columns).map(|it| it as f32 / 8.0).collect();
        let turned: Vec<f32> =
            (0..columns).flat_map(|column| (0..rows).map(move |row| at(row, column))).collect();
        let halves =
            |it: &[f32]| -> Vec<bf16> { it.iter().map(|&it| bf16::from_f32(it)).collect() };
        let (half, half_turned) = (halves(&plain), halves(&turned));
        let (mut panel, mut pairs) = ([[7.0; PANEL]; 37], [[7; PANEL]; 19]);
        for (first_row, n_rows) in [(0, 37), (2, 3), (4, 32), (36, 1)] {
            for first_column in [0, 32] {
                let place = Place { first_row, n_rows, first_column };
                let expected = |k: usize, j: usize| match (k < n_rows, first_column + j) {
                    (true, column) if column < columns => at(first_row + k, column),
                    _ => 0.0,
                };
                for view in [View::new(&plain, columns), View::new(&turned, rows).t()] {
                    let panel = &mut panel[..n_rows];
                    pack_f32(view, place, 2.0, panel);
                    for (k, row) in panel.iter().enumerate() {
                        for (j, value) in row.iter().enumerate() {
                            assert_eq!(*value, 2.0 * expected(k, j), "{k} {j}");
                        }
                    }
                }
                for view in [View::new(&half, columns), View::new(&half_turned, rows).t()] {
                    let pairs = &mut pairs[..n_rows.div_ceil(2)];
                    pack_bf16(view, place, pairs);
                    for (idx, row) in pairs.iter().enumerate() {
                        for (j, value) in row.iter().enumerate() {
                            let half = |k: usize| bf16::from_f32(expected(k, j));
                            let expected = pair(half(2 * idx), half(2 * idx + 1));
                            assert_eq!(*value, expected, "{idx} {j}");
                        }
                    }
                }
            }
        }
    }

    /// As a factor of rank one lies when it is turned: all strides are one.
    #[test]
    fn a_matrix_of_one_row_is_packed_however_it_lies() {
        let plain: Vec<f32> = (0..40).map(|it| it as f32).collect();
        let halves: Vec<bf16> = plain.iter().map(|&it| bf16::from_f32(it)).collect();
        let (mut panel, mut pairs) = ([[7.0; PANEL]], [[7; PANEL]]);
        for first_column in [0, 32] {
            let place = Place { first_row: 0, n_rows: 1, first_column };
            pack_f32(View::new(&plain, 1).t(), place, 1.0, &mut panel);
            pack_bf16(View::new(&halves, 1).t(), place, &mut pairs);
            for j in 0..PANEL {
                let expected = plain.get(first_column + j).copied().unwrap_or(0.0);
                assert_eq!(panel[0][j], expected, "{first_column} {j}");
                assert_eq!(pairs[0][j], pair(bf16::from_f32(expected), bf16::ZERO));
            }
        }
    }
}
