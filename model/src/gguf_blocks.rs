//! The quantised types of GGUF files, block by block.
//!
//! Layouts are those of ggml's `ggml-common.h`. A stored block holds 32 weights or, for the types
//! whose name ends in K, 256 weights in pieces of 16 or 32 with scales of their own, which are
//! quantised in turn.

use candle_core::quantized::GgmlDType;
use half::f16;

use crate::panels::{BLOCK, Block, BlockForm, CodeWidth};

/// How to read a quantised type.
pub(crate) struct BlockFormat {
    pub(crate) form: BlockForm,
    /// Reads piece `idx` of a stored block.
    decode: fn(&[u8], usize) -> Block,
}

impl BlockFormat {
    /// How to read a type; none for plain numbers and for types that no model file uses.
    pub(crate) fn of(kind: GgmlDType) -> Option<Self> {
        use CodeWidth::{Eight, Four};
        let (width, block, has_mins, decode): (_, _, _, fn(&[u8], usize) -> Block) = match kind {
            GgmlDType::Q4_0 => (Four, 32, true, q4_0),
            GgmlDType::Q4_1 => (Four, 32, true, q4_1),
            GgmlDType::Q5_0 => (Eight, 32, false, q5_0),
            GgmlDType::Q5_1 => (Eight, 32, true, q5_1),
            GgmlDType::Q8_0 => (Eight, 32, false, q8_0),
            GgmlDType::Q2K => (Four, 16, true, q2_k),
            GgmlDType::Q3K => (Eight, 16, false, q3_k),
            GgmlDType::Q4K => (Four, 32, true, q4_k),
            GgmlDType::Q5K => (Eight, 32, true, q5_k),
            GgmlDType::Q6K => (Eight, 16, false, q6_k),
            GgmlDType::F32
            | GgmlDType::F16
            | GgmlDType::BF16
            | GgmlDType::Q8_1
            | GgmlDType::Q8K => return None,
        };
        Some(Self { form: BlockForm { width, block, has_mins }, decode })
    }

    /// Piece `idx` of a row. row: the row's stored blocks of the type `kind`
    pub(crate) fn block(&self, kind: GgmlDType, row: &[u8], idx: usize) -> Block {
        let pieces = kind.block_size() / self.form.block;
        let n_bytes = kind.type_size();
        (self.decode)(&row[idx / pieces * n_bytes..][..n_bytes], idx % pieces)
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// 16 bytes, the first 16 codes in their low halves, the last 16 in their high halves.
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    std::array::from_fn(|idx| {
        let byte = bytes[idx % 16];
        (if idx < 16 { byte & 15 } else { byte >> 4 }).cast_signed()
    })
}

/// The same with a fifth bit of each code in the four bytes before.
fn five_bits(bytes: &[u8]) -> [i8; BLOCK] {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let low = nibbles(&bytes[4..]);
    std::array::from_fn(|idx| low[idx] | (((high >> idx) & 1) << 4) as i8)
}

fn q4_0(bytes: &[u8], _: usize) -> Block {
    let scale = half_at(bytes, 0);
    Block { codes: nibbles(&bytes[2..]), scale, min: -8.0 * scale }
}

fn q4_1(bytes: &[u8], _: usize) -> Block {
    Block { codes: nibbles(&bytes[4..]), scale: half_at(bytes, 0), min: half_at(bytes, 2) }
}

fn q5_0(bytes: &[u8], _: usize) -> Block {
    let codes = five_bits(&bytes[2..]).map(|code| code - 16);
    Block { codes, scale: half_at(bytes, 0), min: 0.0 }
}

fn q5_1(bytes: &[u8], _: usize) -> Block {
    Block { codes: five_bits(&bytes[4..]), scale: half_at(bytes, 0), min: half_at(bytes, 2) }
}

fn q8_0(bytes: &[u8], _: usize) -> Block {
    let codes = std::array::from_fn(|idx| bytes[2 + idx].cast_signed());
    Block { codes, scale: half_at(bytes, 0), min: 0.0 }
}

/// Sixteen codes; the rest of the block is not used.
fn sixteen(code: impl Fn(usize) -> u8) -> [i8; BLOCK] {
    std::array::from_fn(|idx| if idx < 16 { code(idx).cast_signed() } else { 0 })
}

/// Where 16-weight piece `idx` of the two-bit layouts lies: first byte, and shift within it.
fn two_bits(idx: usize) -> (usize, usize) {
    (idx / 8 * 32 + idx % 2 * 16, idx % 8 / 2 * 2)
}

fn q2_k(bytes: &[u8], idx: usize) -> Block {
    let (start, shift) = two_bits(idx);
    let codes = &bytes[16..80];
    Block {
        codes: sixteen(|l| (codes[start + l] >> shift) & 3),
        scale: half_at(bytes, 80) * f32::from(bytes[idx] & 15),
        min: -(half_at(bytes, 82) * f32::from(bytes[idx] >> 4)),
    }
}

fn q3_k(bytes: &[u8], idx: usize) -> Block {
    let (start, shift) = two_bits(idx);
    let (high, low, scales) = (&bytes[..32], &bytes[32..96], &bytes[96..108]);
    let bit = idx / 2; // Of the mask that holds each code's third bit.
    let codes = sixteen(|l| {
        let low = (low[start + l] >> shift) & 3;
        low | ((high[start % 32 + l] >> bit) & 1) << 2
    });
    let scale = (scales[idx % 8] >> (idx / 8 * 4)) & 15;
    let scale = scale | ((scales[8 + idx % 4] >> (idx / 4 * 2)) & 3) << 4;
    let scale = half_at(bytes, 108) * (f32::from(scale) - 32.0);
    Block { codes: codes.map(|code| code - 4), scale, min: 0.0 }
}

/// Scale and min of 32-weight piece `idx`, six bits each, from the 12 bytes that hold them.
fn six_bits(packed: &[u8], idx: usize) -> (u8, u8) {
    if idx < 4 {
        return (packed[idx] & 63, packed[idx + 4] & 63);
    }
    let (low, at) = (packed[idx + 4], idx - 4);
    ((low & 15) | (packed[at] >> 6) << 4, (low >> 4) | (packed[idx] >> 6) << 4)
}

/// Half of 32 bytes: the low four bits for an even piece, the high ones for an odd piece.
fn nibble(codes: &[u8], idx: usize, l: usize) -> u8 {
    (codes[idx / 2 * 32 + l] >> (idx % 2 * 4)) & 15
}

fn q4_k(bytes: &[u8], idx: usize) -> Block {
    let (scale, min) = six_bits(&bytes[4..16], idx);
    Block {
        codes: std::array::from_fn(|l| nibble(&bytes[16..], idx, l).cast_signed()),
        scale: half_at(bytes, 0) * f32::from(scale),
        min: -(half_at(bytes, 2) * f32::from(min)),
    }
}

fn q5_k(bytes: &[u8], idx: usize) -> Block {
    let (scale, min) = six_bits(&bytes[4..16], idx);
    let (high, low) = (&bytes[16..48], &bytes[48..]);
    Block {
        codes: std::array::from_fn(|l| {
            (nibble(low, idx, l) | ((high[l] >> idx) & 1) << 4).cast_signed()
        }),
        scale: half_at(bytes, 0) * f32::from(scale),
        min: -(half_at(bytes, 2) * f32::from(min)),
    }
}

fn q6_k(bytes: &[u8], idx: usize) -> Block {
    let (low, high) = (&bytes[..128], &bytes[128..192]);
    // A half of the block is four quarters of 32: low bits of the first two stand in the low
    // halves of 64 bytes, those of the last two in the high halves.
    let (half, quarter, start) = (idx / 8, idx % 8 / 2, idx % 2 * 16);
    let codes = sixteen(|l| {
        let l = start + l;
        let low = low[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4);
        (low & 15) | ((high[half * 32 + l] >> (quarter * 2)) & 3) << 4
    });
    let scale = half_at(bytes, 208) * f32::from(bytes[192 + idx].cast_signed());
    Block { codes: codes.map(|code| code - 32), scale, min: 0.0 }
}
