//! The innermost loop of products in bf16 by AMX, whose instruction multiplies a tile of 16 × 32
//! numbers with one of 32 × 16 and adds up in f32: sixteen times the work of AVX-512's for f32.
//! Numbers that are not normal (below 1e-38) are zeros to it.
//!
//! There is no other form of it, so callers ask [`is_available`] first.

use std::sync::LazyLock;

use crate::bf16_product::{self, Pair};
use crate::panels::PANEL;

/// Rows that are multiplied together: two tiles.
pub(crate) const ROWS: usize = 32;
/// Numbers of a tile's row.
pub(crate) const GROUP: usize = 32;
/// Words of a group in a block of rows or in a panel: two tiles of 16 rows of 16 pairs.
pub(crate) const WORDS: usize = 512;

/// Blocks of 32 rows of inputs times one panel: `out[row][j] = Σ x[row][k] · weights[k][j]`.
pub(crate) struct TileProduct<'a> {
    pub(crate) n_groups: usize,
    /// (blocks, n_groups, 32, 16), blocks `x_stride` apart, as [`round_rows`] makes them
    pub(crate) x: &'a [Pair],
    pub(crate) x_stride: usize,
    /// Numbers of two inputs each, one after the other; (n_groups, 16)
    pub(crate) weights: &'a [[Pair; PANEL]],
    /// (blocks, 32, 32)
    pub(crate) out: &'a mut [[f32; PANEL]],
}

/// Whether this processor has such tiles and the system lets this process use them.
pub(crate) fn is_available() -> bool {
    static IS_AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        {
            amx::ask()
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        {
            false
        }
    });
    *IS_AVAILABLE
}

impl TileProduct<'_> {
    /// Adds to what `out` holds or, with `is_first`, writes over it.
    ///
    /// # Panics
    /// Where the processor cannot, see [`is_available`], and where sizes do not fit.
    pub(crate) fn compute(self, is_first: bool) {
        assert!(is_available(), "the processor has tiles");
        let n_blocks = self.out.len() / ROWS;
        let words = self.n_groups * WORDS;
        assert!(self.out.len().is_multiple_of(ROWS), "whole blocks of rows");
        assert!(n_blocks == 0 || (n_blocks - 1) * self.x_stride + words <= self.x.len());
        assert!(words <= self.weights.as_flattened().len());
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        amx::run(self, is_first);
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        unreachable!("no other processor has tiles: {is_first}");
    }
}

/// Rounds rows into tiles. What is behind the last number of a row becomes zeros; what is behind
/// the last row stays as it was. x: (rows, n_in), out: (rows / 32, n_in / 32, 32, 16), both rounded
/// up
pub(crate) fn round_rows(x: &[f32], n_in: usize, out: &mut [Pair]) {
    let blocks = out.chunks_exact_mut(n_in.div_ceil(GROUP) * WORDS);
    for (x, block) in x.chunks(ROWS * n_in).zip(blocks) {
        for (row, x) in x.chunks_exact(n_in).enumerate() {
            for (x, tiles) in x.chunks(GROUP).zip(block.chunks_exact_mut(WORDS)) {
                let out = &mut tiles.as_chunks_mut::<{ GROUP / 2 }>().0[row];
                let (numbers, rest) = out.split_at_mut(x.len().div_ceil(2));
                bf16_product::round(x, numbers);
                rest.fill(0);
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "the instructions are in no library yet, and take pointers")]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{PANEL, Pair, ROWS, TileProduct};

    /// What the system is asked for the state of the tiles with.
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;

    /// The shapes of all tiles: 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }

    static SHAPES: Shapes = Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Asks the processor and, for the whole process, the system.
    pub(super) fn ask() -> bool {
        const AMX_BF16_AND_TILE: u32 = 1 << 22 | 1 << 24;
        let has_vectors =
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
        has_vectors
            && __cpuid_count(7, 0).edx & AMX_BF16_AND_TILE == AMX_BF16_AND_TILE
            // SAFETY: the call asks for a permission and touches no memory.
            && unsafe {
                libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0
            }
    }

    /// The caller has found the tiles and seen that the sizes fit.
    pub(super) fn run(product: TileProduct<'_>, is_first: bool) {
        let TileProduct { n_groups, x, x_stride, weights, out } = product;
        match (n_groups, out.as_chunks_mut().0) {
            (_, []) => (),
            (0, _) if is_first => out.fill([0.0; PANEL]),
            (0, _) => (),
            // SAFETY: the caller saw that the memory is there.
            (_, out) => unsafe {
                multiply((x.as_ptr(), x_stride), weights.as_ptr().cast(), n_groups, out, is_first);
            },
        }
    }

    /// The sums of some blocks. Tiles 0 to 3 hold them; 4 and 5 hold rows, 6 and 7 columns.
    ///
    /// # Safety
    /// There are as many blocks as in `out`, at least one, of `n_groups` groups, at least one, from
    /// `x` on, and so many groups in a panel from `weights` on.
    unsafe fn multiply(
        (x, x_stride): (*const Pair, usize),
        weights: *const Pair,
        n_groups: usize,
        out: &mut [[[f32; PANEL]; ROWS]],
        is_first: bool,
    ) {
        // SAFETY: the caller's groups are read, and all of `out`, 4096 bytes a block, is read and
        // written. Nothing else uses the tiles, which are given back.
        unsafe {
            asm!(
                "ldtilecfg [rip + {shapes}]",
                "2:",
                "mov {x}, {block}",
                "mov {panel}, {weights}",
                "mov {group}, {n_groups}",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "test {is_first:e}, {is_first:e}",
                "jnz 3f",
                "tileloadd tmm0, [{out} + {wide}]",
                "tileloadd tmm1, [{out} + {wide} + 64]",
                "tileloadd tmm2, [{out} + {wide} + 2048]",
                "tileloadd tmm3, [{out} + {wide} + 2112]",
                "3:",
                "tileloadd tmm6, [{panel} + {wide}]",
                "tileloadd tmm4, [{x} + {narrow}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{panel} + {wide} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x} + {narrow} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {x}, 2048",
                "add {panel}, 2048",
                "dec {group}",
                "jnz 3b",
                "tilestored [{out} + {wide}], tmm0",
                "tilestored [{out} + {wide} + 64], tmm1",
                "tilestored [{out} + {wide} + 2048], tmm2",
                "tilestored [{out} + {wide} + 2112], tmm3",
                "add {out}, 4096",
                "add {block}, {x_stride}",
                "dec {n_blocks}",
                "jnz 2b",
                "tilerelease",
                shapes = sym SHAPES,
                block = inout(reg) x => _,
                x_stride = in(reg) x_stride * size_of::<Pair>(),
                weights = in(reg) weights,
                x = out(reg) _,
                panel = out(reg) _,
                group = out(reg) _,
                narrow = in(reg) 64_usize,
                wide = in(reg) 128_usize,
                out = inout(reg) out.as_mut_ptr() => _,
                n_groups = in(reg) n_groups,
                n_blocks = inout(reg) out.len() => _,
                is_first = in(reg) usize::from(is_first),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::bf16_product::pair;
    use crate::sample::Rng;

    #[test]
    fn products_agree_with_their_definition() {
        if !is_available() {
            return;
        }
        for (rows, n_in) in [(1, 1), (32, 32), (33, 100), (96, 576)] {
            let mut rng = Rng::new(n_in as u64);
            // Numbers that bf16 holds.
            let mut random =
                |n: usize| (0..n).map(|_| ((rng.unit() - 0.5) * 64.0).round() / 16.0).collect();
            let (x, weights): (Vec<f32>, Vec<f32>) = (random(rows * n_in), random(n_in * PANEL));
            let (n_groups, n_blocks) = (n_in.div_ceil(GROUP), rows.div_ceil(ROWS));
            let mut tiles = vec![7; n_blocks * n_groups * WORDS];
            round_rows(&x, n_in, &mut tiles);
            let at = |k: usize, j: usize| weights.get(k * PANEL + j).copied().unwrap_or(0.0);
            let number = |k: usize, j: usize| bf16::from_f32(at(k, j));
            let pair = |k: usize, j: usize| pair(number(2 * k, j), number(2 * k + 1, j));
            let panel: Vec<[Pair; PANEL]> =
                (0..n_groups * 16).map(|k| std::array::from_fn(|j| pair(k, j))).collect();
            let mut out = vec![[f32::NAN; PANEL]; n_blocks * ROWS];
            for is_first in [true, false] {
                let x_stride = n_groups * WORDS;
                let (x, weights, out) = (&tiles, &panel, &mut out);
                TileProduct { n_groups, x, x_stride, weights, out }.compute(is_first);
            }
            for (row, (x, out)) in x.chunks_exact(n_in).zip(&out).enumerate() {
                for (j, out) in out.iter().enumerate() {
                    let sum: f32 = x.iter().enumerate().map(|(k, x)| x * at(k, j)).sum();
                    let off = (out - 2.0 * sum).abs();
                    assert!(off < 1e-3 * sum.abs().max(1.0), "{row} {j}: {out} is off");
                }
            }
        }
    }
}
