//! Near duplicates: documents by MinHash, chunks by SimHash.

/// The MinHash signature of a document's text: its expected share of equal places with another's
/// is the Jaccard similarity of the two sets of word shingles (Broder 1997).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature([u32; Signature::N_PLACES]);

impl Signature {
    /// Places of a signature. The standard error of the estimate is at most 0.5 / √128 = 0.044.
    pub const N_PLACES: usize = 128;

    /// The signature of a text; `None` when it holds no word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let _ = text;
        unimplemented!()
    }

    /// Estimates the Jaccard similarity of two texts, in 0..=1.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f32 {
        let _ = other;
        unimplemented!()
    }

    /// 512 bytes, little-endian, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when the length is not right.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let _ = bytes;
        unimplemented!()
    }
}

/// Two signatures that are alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Index of the first, the smaller one.
    pub a: usize,
    /// Index of the second.
    pub b: usize,
    /// Estimated Jaccard similarity.
    pub similarity: f32,
}

/// All pairs that are at least `similarity_min` alike, sorted by index.
#[must_use]
pub fn near_pairs(signatures: &[Signature], similarity_min: f32) -> Vec<Pair> {
    let _ = (signatures, similarity_min);
    unimplemented!()
}

/// The hash of a text regardless of case, spacing and punctuation: equal for texts that say
/// the same words. For exact duplicates under different formats.
#[must_use]
pub fn text_hash(text: &str) -> [u8; 32] {
    let _ = text;
    unimplemented!()
}

/// A 64-bit fingerprint of a chunk: near duplicates differ in few bits (Charikar 2002).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SimHash(pub u64);

impl SimHash {
    /// The fingerprint of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let _ = text;
        unimplemented!()
    }

    /// Whether two chunks are near duplicates.
    #[must_use]
    pub fn is_near(self, other: Self) -> bool {
        let _ = other;
        unimplemented!()
    }
}
