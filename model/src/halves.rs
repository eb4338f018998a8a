//! Numbers of 16 bits, and how a run of them becomes f32: by the processor's own instruction where
//! it has one (F16C), else in arithmetic that the compiler turns into vectors. Both give the same
//! numbers, bit by bit, for all that are finite.

use pulp::{Arch, Simd, WithSimd};

/// Numbers of 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HalfKind {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
}

/// 2 to the power 112.
const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);

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

    /// out: as many as `halves`
    pub(crate) fn unpack(self, halves: &[u16], out: &mut [f32]) {
        assert_eq!(halves.len(), out.len(), "a number for each");
        #[cfg(target_arch = "x86_64")]
        if self == Self::F16 && is_x86_feature_detected!("f16c") {
            return f16c::unpack(halves, out);
        }
        self.unpack_portably(halves, out);
    }

    /// Asks for a line of the cache that is unpacked soon, so that it comes from memory while others
    /// are computed with.
    #[inline(always)]
    pub(crate) fn fetch(halves: &[u16; 32]) {
        #[cfg(target_arch = "x86_64")]
        f16c::fetch(halves);
        #[cfg(not(target_arch = "x86_64"))]
        let _ = halves;
    }

    fn unpack_portably(self, halves: &[u16], out: &mut [f32]) {
        Arch::new().dispatch(Unpack { kind: self, halves, out });
    }
}

struct Unpack<'a> {
    kind: HalfKind,
    halves: &'a [u16],
    out: &'a mut [f32],
}

impl WithSimd for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let pairs = self.out.iter_mut().zip(self.halves);
        // Two copies of the loop, so that neither asks at every number which kind it reads.
        match self.kind {
            HalfKind::F16 => pairs.for_each(|(out, &bits)| *out = HalfKind::F16.to_f32(bits)),
            HalfKind::Bf16 => pairs.for_each(|(out, &bits)| *out = HalfKind::Bf16.to_f32(bits)),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads take pointers, and F16C must be asked for by name")]
mod f16c {
    use std::arch::x86_64::*;

    use super::HalfKind;

    const LANES: usize = 8;

    /// Every processor of this family can.
    #[inline(always)]
    pub(super) fn fetch(halves: &[u16; 32]) {
        // SAFETY: the address is that of a number that is borrowed; nothing is read or written.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(halves.as_ptr().cast()) };
    }

    /// The caller has found F16C.
    pub(super) fn unpack(halves: &[u16], out: &mut [f32]) {
        // SAFETY: the caller found the feature.
        unsafe { run(halves, out) };
    }

    #[target_feature(enable = "f16c")]
    fn run(halves: &[u16], out: &mut [f32]) {
        let (halves, rest) = halves.as_chunks::<LANES>();
        let (out, out_of_rest) = out.as_chunks_mut::<LANES>();
        for (halves, out) in halves.iter().zip(out) {
            // SAFETY: the arrays have the 8 numbers that are read and written; no alignment is
            // asked for.
            unsafe {
                let halves = _mm_loadu_si128(halves.as_ptr().cast());
                _mm256_storeu_ps(out.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        for (&half, out) in rest.iter().zip(out_of_rest) {
            *out = HalfKind::F16.to_f32(half);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn every_finite_number_is_what_it_stands_for() {
        for kind in [HalfKind::F16, HalfKind::Bf16] {
            let expected = |bits| match kind {
                HalfKind::F16 => f16::from_bits(bits).to_f32(),
                HalfKind::Bf16 => bf16::from_bits(bits).to_f32(),
            };
            let halves: Vec<u16> =
                (0..=u16::MAX).filter(|&it| expected(it).is_finite()).skip(3).collect();
            let (mut own, mut portable) = (vec![f32::NAN; halves.len()], vec![0.0; halves.len()]);
            kind.unpack(&halves, &mut own);
            kind.unpack_portably(&halves, &mut portable);
            for ((&bits, own), portable) in halves.iter().zip(own).zip(portable) {
                let expected = expected(bits).to_bits();
                assert_eq!(own.to_bits(), expected, "{kind:?} {bits:#x}");
                assert_eq!(portable.to_bits(), expected, "{kind:?} {bits:#x}");
            }
        }
    }
}
