//! Matrices that lie in slices, and the product of two that both change.

use gemm::Parallelism;

/// A matrix in a slice. Made so that every element lies inside it.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T = f32> {
    pub(super) data: &'a [T],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows one after the other.
    pub(super) fn new(data: &'a [T], columns: usize) -> Self {
        assert_eq!(data.len() % columns, 0, "a matrix has whole rows");
        Self::strided(data, (data.len() / columns, columns), columns)
    }

    /// Rows that begin `row_stride` values apart.
    pub(super) fn strided(
        data: &'a [T],
        (rows, columns): (usize, usize),
        row_stride: usize,
    ) -> Self {
        let end = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(end <= data.len(), "{rows} rows of {columns} lie within {}", data.len());
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A row whose values lie one after the other.
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows && self.column_stride == 1, "a row in one piece");
        &self.data[row * self.row_stride..][..self.columns]
    }

    /// The same with rows and columns exchanged.
    pub(super) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `lhs · rhs` on all threads; (lhs.rows, rhs.columns)
#[expect(unsafe_code, reason = "the kernels take pointers")]
pub(super) fn product(lhs: View<'_>, rhs: View<'_>) -> Vec<f32> {
    assert_eq!(lhs.columns, rhs.rows, "factors fit");
    let mut out = vec![0.0; lhs.rows * rhs.columns];
    let stride = |n: usize| isize::try_from(n).expect("a slice is shorter than memory");
    // SAFETY: the views lie inside their slices, `out` holds rows times columns values, is borrowed
    // alone, and is initialised.
    unsafe {
        gemm::gemm(
            lhs.rows,
            rhs.columns,
            lhs.columns,
            out.as_mut_ptr(),
            1,
            stride(rhs.columns),
            false,
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_their_definition() {
        let a: Vec<f32> = (0..20).map(|it| it as f32).collect();
        let b: Vec<f32> = (0..12).map(|it| it as f32 * 0.5).collect();
        // Two rows of three values, five apart, times three rows of four.
        let lhs = View::strided(&a, (2, 3), 5);
        let rhs = View::new(&b, 4);
        let expected =
            |i: usize, j: usize| -> f32 { (0..3).map(|k| a[i * 5 + k] * b[k * 4 + j]).sum() };
        for (idx, value) in product(lhs, rhs).iter().enumerate() {
            assert_eq!(*value, expected(idx / 4, idx % 4));
        }
        for (idx, value) in product(rhs.t(), lhs.t()).iter().enumerate() {
            assert_eq!(*value, expected(idx % 2, idx / 2));
        }
    }

    #[test]
    #[should_panic(expected = "lie within")]
    fn a_view_stays_inside_its_slice() {
        View::strided(&[0.0; 12], (3, 3), 5);
    }
}
