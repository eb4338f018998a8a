//! A matrix's columns, handed to several threads.

use std::marker::PhantomData;

/// Some columns of a matrix, which nobody else writes.
pub(super) struct Strip<'a> {
    /// The first value of the first row.
    start: *mut f32,
    n_rows: usize,
    width: usize,
    stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "it holds a pointer to what it borrows alone")]
// SAFETY: as a mutable slice, it may be handed to another thread.
unsafe impl Send for Strip<'_> {}

impl<'a> Strip<'a> {
    /// Cuts a matrix into strips of `width` columns; the last may be narrower.
    pub(super) fn cut(matrix: &'a mut [f32], columns: usize, width: usize) -> Vec<Self> {
        assert!(columns > 0 && width > 0 && matrix.len().is_multiple_of(columns), "whole rows");
        let n_rows = matrix.len() / columns;
        if n_rows == 0 {
            return Vec::new();
        }
        let start = matrix.as_mut_ptr();
        let strip = |first: usize| Self {
            start: start.wrapping_add(first),
            n_rows,
            width: width.min(columns - first),
            stride: columns,
            owner: PhantomData,
        };
        (0..columns).step_by(width).map(strip).collect()
    }
}

impl Strip<'_> {
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The strip's part of a row.
    #[expect(unsafe_code, reason = "rows of several strips lie between each other")]
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.n_rows, "a row of the matrix");
        // SAFETY: the row's columns lie inside the matrix that was borrowed when it was cut, and
        // no other strip has them; the result borrows this one.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_all_columns_once() {
        let mut matrix = vec![0.0; 3 * 100];
        for (idx, mut strip) in Strip::cut(&mut matrix, 100, 32).into_iter().enumerate() {
            assert_eq!((strip.n_rows(), strip.width()), (3, if idx == 3 { 4 } else { 32 }));
            for row in 0..3 {
                strip.row(row).iter_mut().for_each(|it| *it += (row * 10 + idx + 1) as f32);
            }
        }
        for (at, value) in matrix.iter().enumerate() {
            assert_eq!(*value, (at / 100 * 10 + at % 100 / 32 + 1) as f32);
        }
    }

    #[test]
    #[should_panic(expected = "a row of the matrix")]
    fn a_strip_has_no_rows_beyond_its_matrix() {
        Strip::cut(&mut [0.0; 64], 64, 32)[0].row(1);
    }
}
