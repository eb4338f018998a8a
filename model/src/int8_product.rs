//! The innermost loop of products in 8 bits: with AVX-512's VNNI instructions where the processor
//! has them, else in loops that the compiler turns into whatever vectors there are. Both give the
//! same numbers, bit by bit.

use pulp::{Arch, Simd, WithSimd};

use crate::int8::{GROUP, QuantisedRows};
use crate::panels::PANEL;

/// Rows of inputs times one panel of 32 outputs.
pub(crate) struct Int8Product<'a> {
    /// (groups, 32, 4)
    pub(crate) codes: &'a [i8],
    pub(crate) scales: &'a [f32; PANEL],
    pub(crate) sums: &'a [i32; PANEL],
    pub(crate) x: &'a QuantisedRows,
    /// 32 outputs per row, `out_stride` apart.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_stride: usize,
}

impl Int8Product<'_> {
    /// Computes with the best instructions that this processor has.
    pub(crate) fn compute(self) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            return vnni::compute(self);
        }
        self.compute_portably();
    }

    pub(crate) fn compute_portably(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Int8Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let stride = self.codes.len() / PANEL;
        let rows = self.x.codes.chunks_exact(stride).zip(self.out.chunks_mut(self.out_stride));
        for (row, (x, out)) in rows.enumerate() {
            let (scale, zero) = (self.x.scales[row], self.x.zeros[row]);
            let mut res = [0i32; PANEL];
            for (x, codes) in x.as_chunks::<GROUP>().0.iter().zip(self.codes.as_chunks::<128>().0) {
                let x = x.map(i32::from);
                let codes = codes.as_chunks::<GROUP>().0;
                for (res, codes) in res.iter_mut().zip(codes) {
                    let codes = codes.map(i32::from);
                    *res += x[0] * codes[0] + x[1] * codes[1] + x[2] * codes[2] + x[3] * codes[3];
                }
            }
            let constants = self.scales.iter().zip(self.sums);
            for ((out, res), (panel_scale, sum)) in out.iter_mut().zip(res).zip(constants) {
                *out = (res - zero * sum) as f32 * (scale * panel_scale);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take pointers, and VNNI must be asked for by name")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{GROUP, Int8Product, PANEL};

    /// Outputs of one vector.
    const LANES: usize = 16;
    /// Rows of one tile: two vectors of sums for each fill the registers.
    const ROWS: usize = 12;

    pub(super) fn compute(product: Int8Product<'_>) {
        // SAFETY: the caller found both features.
        unsafe { run(product) };
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn run(mut product: Int8Product<'_>) {
        let rows = product.x.len();
        let mut row = 0;
        while row < rows {
            row += match rows - row {
                ROWS.. => tile::<ROWS>(&mut product, row),
                4.. => tile::<4>(&mut product, row),
                _ => tile::<1>(&mut product, row),
            };
        }
    }

    /// `N` rows from `row` on; gives N.
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    fn tile<const N: usize>(product: &mut Int8Product<'_>, row: usize) -> usize {
        let (weights, _) = product.codes.as_chunks::<{ PANEL * GROUP }>();
        let stride = weights.len();
        let (x, _) = product.x.codes.as_chunks::<GROUP>();
        let x: [&[[u8; GROUP]]; N] =
            std::array::from_fn(|i| &x[(row + i) * stride..][..weights.len()]);
        let mut sums = [[_mm512_setzero_si512(); 2]; N];
        for (k, weights) in weights.iter().enumerate() {
            let weights = [load_codes(weights, 0), load_codes(weights, 1)];
            for i in 0..N {
                let input = _mm512_set1_epi32(i32::from_le_bytes(x[i][k]));
                sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], input, weights[0]);
                sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], input, weights[1]);
            }
        }
        for half in 0..2 {
            let panel_sums = load_sums(product.sums, half);
            let panel_scales = load_scales(product.scales, half);
            for (i, sums) in sums.iter().enumerate() {
                let zero = _mm512_set1_epi32(product.x.zeros[row + i]);
                let scale = _mm512_set1_ps(product.x.scales[row + i]);
                let sum = _mm512_sub_epi32(sums[half], _mm512_mullo_epi32(zero, panel_sums));
                let res =
                    _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, panel_scales));
                let at = (row + i) * product.out_stride + half * LANES;
                store(&mut product.out[at..at + LANES], res);
            }
        }
        N
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_codes(codes: &[i8; PANEL * GROUP], half: usize) -> __m512i {
        let codes: &[i8] = &codes[half * LANES * GROUP..][..LANES * GROUP];
        // SAFETY: the slice has the 64 bytes that are read; no alignment is asked for.
        unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_sums(sums: &[i32; PANEL], half: usize) -> __m512i {
        let sums: &[i32] = &sums[half * LANES..][..LANES];
        // SAFETY: the slice has the 16 values that are read; no alignment is asked for.
        unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_scales(scales: &[f32; PANEL], half: usize) -> __m512 {
        let scales: &[f32] = &scales[half * LANES..][..LANES];
        // SAFETY: the slice has the 16 values that are read; no alignment is asked for.
        unsafe { _mm512_loadu_ps(scales.as_ptr()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store(out: &mut [f32], values: __m512) {
        assert!(out.len() == LANES);
        // SAFETY: the slice has room for the 16 values that are written.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) };
    }
}
