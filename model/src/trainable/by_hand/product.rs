//! Products of matrices that lie in slices.

use gemm::Parallelism;

/// A matrix in a slice. Made so that every element lies inside it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Rows one after the other.
    pub(super) fn new(data: &'a [f32], columns: usize) -> Self {
        assert_eq!(data.len() % columns, 0, "a matrix has whole rows");
        Self::strided(data, (data.len() / columns, columns), columns)
    }

    /// Rows that begin `row_stride` values apart.
    pub(super) fn strided(
        data: &'a [f32],
        (rows, columns): (usize, usize),
        row_stride: usize,
    ) -> Self {
        let end = if rows == 0 { 0 } else { (rows - 1) * row_stride + columns };
        assert!(end <= data.len(), "{rows} rows of {columns} lie within {}", data.len());
        Self { data, rows, columns, row_stride, column_stride: 1 }
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

/// What becomes of the values that a product is written over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// They are replaced.
    Fresh,
    /// The product is added to them.
    Sum,
}

/// How many threads compute a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    One,
    All,
}

/// `out = factor · lhs · rhs`, or added to `out`. out: (lhs.rows, rhs.columns), row by row
#[expect(unsafe_code, reason = "the kernels take pointers")]
pub(super) fn multiply(
    out: &mut [f32],
    put: Put,
    (lhs, rhs): (View<'_>, View<'_>),
    factor: f32,
    threads: Threads,
) {
    assert_eq!(lhs.columns, rhs.rows, "factors fit");
    assert_eq!(out.len(), lhs.rows * rhs.columns, "the result has room");
    if out.is_empty() {
        return;
    }
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
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
            put == Put::Sum,
            lhs.data.as_ptr(),
            stride(lhs.column_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.column_stride),
            stride(rhs.row_stride),
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// `lhs · rhs` on all threads.
pub(super) fn product(lhs: View<'_>, rhs: View<'_>) -> Vec<f32> {
    let mut out = vec![0.0; lhs.rows * rhs.columns];
    multiply(&mut out, Put::Fresh, (lhs, rhs), 1.0, Threads::All);
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
        let mut out = vec![1.0; 8];
        multiply(&mut out, Put::Sum, (lhs, rhs), 2.0, Threads::One);
        for (idx, value) in out.iter().enumerate() {
            assert_eq!(*value, 1.0 + 2.0 * expected(idx / 4, idx % 4));
        }
        let turned = product(rhs.t(), lhs.t());
        for (idx, value) in turned.iter().enumerate() {
            assert_eq!(*value, expected(idx % 2, idx / 2));
        }
    }

    #[test]
    #[should_panic(expected = "lie within")]
    fn a_view_stays_inside_its_slice() {
        View::strided(&[0.0; 12], (3, 3), 5);
    }
}
