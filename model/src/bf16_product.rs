//! The innermost loop of products in bf16, 16 bits with the range of f32, added up in f32: by
//! AVX-512's instruction for pairs of them, which does twice the work of the one for f32.
//!
//! There is no other form of it. A processor without that instruction is faster in f32, so callers
//! ask [`is_available`] first.

use half::bf16;

use crate::panels::PANEL;

/// Two numbers in the order of memory, as one word.
pub(crate) type Pair = u32;

/// Rows of inputs times one panel: `out[row][j] = Σ x[row][k] · weights[k][j]`, or added to `out`.
pub(crate) struct Bf16Product<'a> {
    /// Numbers of two inputs each, one after the other; (n_pairs)
    pub(crate) weights: &'a [[Pair; PANEL]],
    pub(crate) rows: usize,
    /// n_pairs pairs per row, `x_stride` apart.
    pub(crate) x: &'a [Pair],
    pub(crate) x_stride: usize,
    /// (rows, 32)
    pub(crate) out: &'a mut [[f32; PANEL]],
}

/// Whether this processor multiplies bf16.
pub(crate) fn is_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

impl Bf16Product<'_> {
    /// # Panics
    /// Where the processor cannot: see [`is_available`].
    pub(crate) fn compute(self) {
        self.run::<false>();
    }

    /// The same, added to what `out` holds.
    pub(crate) fn add(self) {
        self.run::<true>();
    }

    fn run<const ADD: bool>(self) {
        assert!(is_available(), "the processor multiplies bf16");
        #[cfg(target_arch = "x86_64")]
        dot::run::<ADD>(self);
    }
}

/// Rounds to the nearest numbers, in pairs; a last one without another gets zero beside it.
pub(crate) fn round(x: &[f32], out: &mut [Pair]) {
    assert_eq!(out.len(), x.len().div_ceil(2), "a word for each pair");
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if is_available() {
        done = dot::round(x, out);
    }
    for (out, x) in out[done / 2..].iter_mut().zip(x[done..].chunks(2)) {
        *out = pair(bf16::from_f32(x[0]), x.get(1).map_or(bf16::ZERO, |it| bf16::from_f32(*it)));
    }
}

#[inline(always)]
pub(crate) fn pair(first: bf16, second: bf16) -> Pair {
    Pair::from(first.to_bits()) | Pair::from(second.to_bits()) << 16
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "vector loads take pointers; dot products must be asked for by name"
)]
mod dot {
    use std::arch::x86_64::*;

    use super::{Bf16Product, PANEL, Pair};

    /// Outputs of one vector.
    const LANES: usize = 16;
    /// Rows of one tile: two vectors of sums for each fill the registers.
    const ROWS: usize = 12;

    /// The caller has found the features.
    pub(super) fn run<const ADD: bool>(product: Bf16Product<'_>) {
        // SAFETY: the caller found both features.
        unsafe { tiles::<ADD>(product) };
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn tiles<const ADD: bool>(mut product: Bf16Product<'_>) {
        let mut row = 0;
        while row < product.rows {
            row += match product.rows - row {
                ROWS.. => tile::<ROWS, ADD>(&mut product, row),
                4.. => tile::<4, ADD>(&mut product, row),
                _ => tile::<1, ADD>(&mut product, row),
            };
        }
    }

    /// `N` rows from `row` on; gives N.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn tile<const N: usize, const ADD: bool>(product: &mut Bf16Product<'_>, row: usize) -> usize {
        let weights = product.weights;
        let x: [&[Pair]; N] =
            std::array::from_fn(|i| &product.x[(row + i) * product.x_stride..][..weights.len()]);
        let out = &mut product.out[row..row + N];
        let mut sums = [[_mm512_setzero_ps(); 2]; N];
        if ADD {
            for (sums, out) in sums.iter_mut().zip(&*out) {
                *sums = [load(out, 0), load(out, 1)];
            }
        }
        for (k, weights) in weights.iter().enumerate() {
            let weights = [load_pairs(weights, 0), load_pairs(weights, 1)];
            for i in 0..N {
                let input = pairs(_mm512_set1_epi32(x[i][k].cast_signed()));
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], input, weights[0]);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], input, weights[1]);
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            store(out, 0, sums[0]);
            store(out, 1, sums[1]);
        }
        N
    }

    /// Rounds as many as fill whole vectors; gives how many. The caller has found the features.
    pub(super) fn round(x: &[f32], out: &mut [Pair]) -> usize {
        // SAFETY: the caller found both features.
        unsafe { round_vectors(x, out) }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn round_vectors(x: &[f32], out: &mut [Pair]) -> usize {
        let (x, _) = x.as_chunks::<{ 2 * LANES }>();
        for (x, out) in x.iter().zip(out.as_chunks_mut::<LANES>().0) {
            let rounded = _mm512_cvtne2ps_pbh(load(x, 1), load(x, 0));
            // SAFETY: the array has room for the 64 bytes that are written.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words(rounded)) };
        }
        x.len() * 2 * LANES
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(values: &[f32; PANEL], half: usize) -> __m512 {
        let values: &[f32] = &values[half * LANES..][..LANES];
        // SAFETY: the slice has the 16 values that are read; no alignment is asked for.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store(out: &mut [f32; PANEL], half: usize, values: __m512) {
        let out: &mut [f32] = &mut out[half * LANES..][..LANES];
        // SAFETY: the slice has room for the 16 values that are written.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) };
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_pairs(weights: &[Pair; PANEL], half: usize) -> __m512bh {
        let weights: &[Pair] = &weights[half * LANES..][..LANES];
        // SAFETY: the slice has the 64 bytes that are read; no alignment is asked for.
        pairs(unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) })
    }

    /// The same bits.
    #[inline(always)]
    fn pairs(words: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, of which every pattern is a value.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
    }

    #[inline(always)]
    fn words(pairs: __m512bh) -> __m512i {
        // SAFETY: both are 64 bytes, of which every pattern is a value.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(pairs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Rng;

    #[test]
    fn numbers_are_rounded_to_the_nearest_even_and_in_order() {
        for n in [1_usize, 2, 31, 32, 33, 97] {
            let mut rng = Rng::new(n as u64);
            let x: Vec<f32> = (0..n).map(|_| (rng.unit() - 0.5) * 1e3).collect();
            let mut out = vec![7; n.div_ceil(2)];
            round(&x, &mut out);
            for (idx, x) in x.iter().enumerate() {
                let bits = (out[idx / 2] >> (idx % 2 * 16)) as u16;
                assert_eq!(bits, bf16::from_f32(*x).to_bits(), "{idx} of {n}: {x}");
            }
            assert!(n % 2 == 0 || out[n / 2] >> 16 == 0);
        }
    }

    #[test]
    fn products_agree_with_their_definition() {
        if !is_available() {
            return;
        }
        let (n_pairs, x_stride) = (19, 23);
        for rows in [1, 3, 4, 11, 12, 30] {
            let mut rng = Rng::new(rows as u64);
            let mut random = |n: usize| -> Vec<Pair> {
                let values: Vec<f32> = (0..2 * n).map(|_| rng.unit() - 0.5).collect();
                let mut res = vec![0; n];
                round(&values, &mut res);
                res
            };
            let (x, weights) = (random(rows * x_stride), random(n_pairs * PANEL));
            let weights = weights.as_chunks::<PANEL>().0;
            let halves = |it: Pair| [it << 16, it & 0xffff_0000].map(f32::from_bits);
            let expected = |row: usize, j: usize| -> f32 {
                let of_pair = |k: usize| {
                    let (x, w) = (halves(x[row * x_stride + k]), halves(weights[k][j]));
                    x[0] * w[0] + x[1] * w[1]
                };
                (0..n_pairs).map(of_pair).sum()
            };
            let mut out = vec![[f32::NAN; PANEL]; rows];
            Bf16Product { weights, rows, x: &x, x_stride, out: &mut out }.compute();
            Bf16Product { weights, rows, x: &x, x_stride, out: &mut out }.add();
            for (row, out) in out.iter().enumerate() {
                for (j, out) in out.iter().enumerate() {
                    let off = (out - 2.0 * expected(row, j)).abs();
                    assert!(off < 1e-5, "{row} {j}: off by {off}");
                }
            }
        }
    }
}
