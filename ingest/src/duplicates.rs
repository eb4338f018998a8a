//! Near duplicates: documents by MinHash, chunks by SimHash.
//!
//! Signatures are stored, so nothing here may change what a text's signature is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::LazyLock;

/// Words of a shingle of a document. Runs of five words are rarely shared by chance.
const SHINGLE_WORDS: usize = 5;

/// Words of a shingle of a chunk: shorter, because one changed word then spoils fewer of them.
const CHUNK_SHINGLE_WORDS: usize = 2;

/// Places that must agree for two signatures to be compared at all. With 32 bands of 4, a pair
/// that is 0.8 alike is missed once in 10 million times, one that is 0.5 alike once in 8.
const BAND_PLACES: usize = 4;
const N_BANDS: usize = Signature::N_PLACES / BAND_PLACES;

/// No document.
const NONE: u32 = u32::MAX;

/// Bits in which two near duplicate chunks may differ; see the test that measures it.
const NEAR_BITS_MAX: u32 = 14;

/// The MinHash signature of a document's text: its expected share of equal places with another's
/// is the Jaccard similarity of the two sets of word shingles (Broder 1997, "On the resemblance
/// and containment of documents").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature([u32; Signature::N_PLACES]);

impl Signature {
    /// Places of a signature. The standard error of the estimate is at most 0.5 / √128 = 0.044.
    pub const N_PLACES: usize = 128;

    /// The signature of a text; `None` when it holds no word.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        // Multiply-shift hashing (Dietzfelbinger 1997): odd factors over well-mixed values.
        static FACTORS: LazyLock<[(u64, u64); Signature::N_PLACES]> = LazyLock::new(|| {
            std::array::from_fn(|place| {
                let seed = 2 * place as u64;
                (mix(seed) | 1, mix(seed + 1))
            })
        });
        let mut places = [u32::MAX; Self::N_PLACES];
        let shingles = shingles(text, SHINGLE_WORDS);
        for &shingle in &shingles {
            for (place, (factor, shift)) in places.iter_mut().zip(FACTORS.iter()) {
                let hash = factor.wrapping_mul(shingle).wrapping_add(*shift) >> 32;
                *place = (*place).min(hash as u32);
            }
        }
        (!shingles.is_empty()).then_some(Self(places))
    }

    /// Estimates the Jaccard similarity of two texts' shingles, in 0..=1.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f32 {
        let n_equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        n_equal as f32 / Self::N_PLACES as f32
    }

    /// 512 bytes, little-endian, to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|place| place.to_le_bytes()).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when the length is not right.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (places, rest) = bytes.as_chunks::<4>();
        let places: Vec<_> = places.iter().map(|place| u32::from_le_bytes(*place)).collect();
        if rest.is_empty() { places.try_into().ok().map(Self) } else { None }
    }
}

/// Two documents that are alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Index of the earlier one, which is no near duplicate itself.
    pub a: usize,
    /// Index of its near duplicate.
    pub b: usize,
    /// Estimated Jaccard similarity.
    pub similarity: f32,
}

/// Each document that is at least `similarity_min` (0.5 or more) like an earlier one, with the
/// most alike of those that are no near duplicates themselves. Sorted by `b`; each `b` once.
///
/// Time grows with their number and not with its square, even if all are copies of one.
#[must_use]
pub fn near_pairs(signatures: &[Signature], similarity_min: f32) -> Vec<Pair> {
    let mut res = Vec::new();
    let mut originals = Originals::default();
    for (b, signature) in signatures.iter().enumerate() {
        match originals.most_alike(signature, similarity_min, None) {
            Some((a, similarity)) => res.push(Pair { a, b, similarity }),
            None => originals.insert(b, signature.clone()),
        }
    }
    res
}

/// Documents among which to find the one that another repeats. Put in only those that repeat none
/// themselves: then no copy is compared with all others.
///
/// Locality-sensitive hashing (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4):
/// only documents that agree in a whole band are compared. About one kilobyte a document, whether
/// its bands are like those of others or not.
#[derive(Debug)]
pub struct Originals<Id> {
    /// In the order in which they came; `None` is one that was removed.
    documents: Vec<Option<(Id, Signature)>>,
    by_id: HashMap<Id, u32>,
    /// For each band the last document with these places, by their hash.
    last: [HashMap<u32, u32>; N_BANDS],
    /// For each document and band the one before it with the same places, or `NONE`.
    before: Vec<[u32; N_BANDS]>,
}

// Derived, it would ask the same of `Id`.
impl<Id> Default for Originals<Id> {
    fn default() -> Self {
        Self {
            documents: Vec::new(),
            by_id: HashMap::new(),
            last: std::array::from_fn(|_| HashMap::new()),
            before: Vec::new(),
        }
    }
}

impl<Id: Copy + Ord + Hash> Originals<Id> {
    /// Adds a document, or gives one another signature.
    ///
    /// # Panics
    ///
    /// With 4 billion documents.
    pub fn insert(&mut self, id: Id, signature: Signature) {
        self.remove(id);
        let at = u32::try_from(self.documents.len()).ok().filter(|it| *it != NONE);
        let at = at.expect("documents can be counted");
        let bands = self.last.iter_mut().zip(bands(&signature));
        let mut before = [NONE; N_BANDS];
        for (before, (last, hash)) in before.iter_mut().zip(bands) {
            *before = last.insert(hash, at).unwrap_or(NONE);
        }
        self.before.push(before);
        self.by_id.insert(id, at);
        self.documents.push(Some((id, signature)));
    }

    /// Removes a document, if it is there.
    pub fn remove(&mut self, id: Id) {
        if let Some(at) = self.by_id.remove(&id) {
            self.documents[at as usize] = None;
        }
    }

    /// The document other than `own` that is most like a signature, and how much, if that is at
    /// least `similarity_min` (0.5 or more); of equals, the one with the smallest id.
    #[must_use]
    pub fn most_alike(
        &self,
        signature: &Signature,
        similarity_min: f32,
        own: Option<Id>,
    ) -> Option<(Id, f32)> {
        let mut candidates = Vec::new();
        for (band, (last, hash)) in self.last.iter().zip(bands(signature)).enumerate() {
            let mut at = last.get(&hash).copied().unwrap_or(NONE);
            while at != NONE {
                candidates.push(at);
                at = self.before[at as usize][band];
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let documents = candidates.iter().filter_map(|&at| self.documents[at as usize].as_ref());
        documents
            .filter(|(id, _)| Some(*id) != own)
            .map(|(id, other)| (*id, signature.similarity(other)))
            .filter(|(_, similarity)| *similarity >= similarity_min)
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }
}

/// A hash of the places of each band. Two that are equal by chance cost one comparison more.
fn bands(signature: &Signature) -> [u32; N_BANDS] {
    std::array::from_fn(|band| {
        let places = &signature.0[band * BAND_PLACES..][..BAND_PLACES];
        let hash = |hash, place: &u32| mix(hash ^ u64::from(*place));
        (places.iter().fold(band as u64, hash) >> 32) as u32
    })
}

/// The hash of a text regardless of case, spacing and punctuation: equal for texts that say the
/// same words. It finds the same document under two formats.
#[must_use]
pub fn text_hash(text: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for word in words(text) {
        hasher.update(word.to_lowercase().as_bytes());
        hasher.update(b" ");
    }
    hasher.finalize().into()
}

/// A 64-bit fingerprint of a chunk: each bit is a vote of its shingles, so near duplicates differ
/// in few bits (Charikar 2002; Manku, Jain and Das Sarma 2007).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SimHash(pub u64);

impl SimHash {
    /// The fingerprint of a text; 0 when it holds no word.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut votes = [0_i32; 64];
        for shingle in shingles(text, CHUNK_SHINGLE_WORDS) {
            for (bit, vote) in votes.iter_mut().enumerate() {
                *vote += if shingle >> bit & 1 == 1 { 1 } else { -1 };
            }
        }
        Self((0..64).filter(|&bit| votes[bit] > 0).fold(0, |hash, bit| hash | 1 << bit))
    }

    /// Whether two chunks are near duplicates.
    #[must_use]
    pub fn is_near(self, other: Self) -> bool {
        (self.0 ^ other.0).count_ones() <= NEAR_BITS_MAX
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Hashes of all runs of `n_words` words, of all words where there are fewer.
fn shingles(text: &str, n_words: usize) -> Vec<u64> {
    let words: Vec<u64> = words(text).map(word_hash).collect();
    let hash = |run: &[u64]| run.iter().fold(0, |hash, word| mix(hash ^ word));
    match words.len() {
        0 => Vec::new(),
        n if n < n_words => vec![hash(&words)],
        _ => words.windows(n_words).map(hash).collect(),
    }
}

/// FNV-1a over the lower-case letters, mixed.
fn word_hash(word: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325;
    if word.is_ascii() {
        return mix(word.bytes().map(|byte| byte.to_ascii_lowercase()).fold(start, step));
    }
    mix(word.to_lowercase().bytes().fold(start, step))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRENCH: &str = "\
        Le télétravail est ouvert aux salariés dont les missions le permettent, après six mois \
        d'ancienneté et avec l'accord écrit du responsable. Il est limité à deux jours par semaine, \
        fixés à l'avance, sauf le mardi, réservé aux réunions d'équipe. Le salarié reste joignable \
        de neuf heures à midi et de quatorze heures à dix-sept heures. L'entreprise fournit un \
        ordinateur portable, un écran et une indemnité mensuelle de vingt euros. La demande se fait \
        dans l'outil des ressources humaines, quinze jours avant le premier jour souhaité, et la \
        réponse est donnée sous une semaine.";

    const ENGLISH: &str = "\
        Travel expenses are reimbursed on presentation of the original receipts within thirty days \
        of the trip. Train tickets are booked in second class unless the journey takes longer than \
        four hours, in which case first class is allowed. Hotels are limited to one hundred and \
        forty euros a night in the capital and one hundred and ten elsewhere. Meals are paid up to \
        twenty-five euros each. Taxis need a written reason. Managers approve each report within a \
        week, and the finance team pays it with the next salary. Questions go to the finance desk, \
        which answers within two working days.";

    /// Changes one word in `every`, from the given one on.
    fn edited(text: &str, every: usize, from: usize) -> String {
        let words = text.split_whitespace().enumerate();
        let words = words.map(|(i, word)| if i % every == from { "modifié" } else { word });
        words.collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check_similarity(a: &str, b: &str, at_least: f32, at_most: f32) {
        let similarity = Signature::of(a).unwrap().similarity(&Signature::of(b).unwrap());
        assert!((at_least..=at_most).contains(&similarity), "{similarity}");
    }

    #[test]
    fn similarity_estimates_the_share_of_common_shingles() {
        for text in [FRENCH, ENGLISH] {
            check_similarity(text, text, 1.0, 1.0);
            check_similarity(text, &text.to_uppercase(), 1.0, 1.0);
            check_similarity(text, &text.replace([',', '.'], ""), 1.0, 1.0);
            // One word in fifty changes one shingle in ten, on both sides: 0.9 / 1.1.
            check_similarity(text, &edited(text, 50, 20), 0.6, 0.95);
        }
        check_similarity(FRENCH, ENGLISH, 0.0, 0.05);
        // 400 of 600 runs of five words in common.
        let numbers =
            |from: u32, to: u32| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        check_similarity(&numbers(0, 504), &numbers(100, 604), 0.667 - 0.13, 0.667 + 0.13);
    }

    #[test]
    fn a_signature_survives_storage() {
        let signature = Signature::of(FRENCH).unwrap();
        let bytes = signature.to_bytes();
        assert_eq!(bytes.len(), 512);
        assert_eq!(Signature::from_bytes(&bytes).as_ref(), Some(&signature));
        assert_eq!(Signature::from_bytes(&bytes[1..]), None);
        assert_eq!(Signature::from_bytes(&[]), None);
    }

    #[test]
    fn stored_signatures_stay_comparable() {
        // Changing this value makes every stored signature worthless.
        let signature = Signature::of("les congés payés").unwrap();
        assert_eq!((signature.0[0], signature.0[127]), (2_527_331_493, 3_970_500_945));
        assert_eq!(SimHash::of("les congés payés").0, 306_269_238_895_624_331);
    }

    #[test]
    fn a_text_without_words_has_no_signature() {
        assert_eq!(Signature::of(" -- | § \n"), None);
        assert_eq!(SimHash::of(""), SimHash(0));
    }

    #[test]
    fn pairs_name_the_earliest_document() {
        let texts = [FRENCH, ENGLISH, &edited(FRENCH, 60, 20), &edited(FRENCH, 60, 40), ENGLISH];
        let signatures: Vec<_> = texts.iter().map(|text| Signature::of(text).unwrap()).collect();
        let pairs: Vec<_> = near_pairs(&signatures, 0.6).iter().map(|it| (it.a, it.b)).collect();
        assert_eq!(pairs, [(0, 2), (0, 3), (1, 4)]);
    }

    /// Signatures of which each shares a share of its places with the first.
    fn like_the_first(shares: &[f32]) -> Vec<Signature> {
        let place = |document: usize, i: usize| mix((document * 1_000 + i) as u64) as u32;
        let signature = |(document, share): (usize, &f32)| {
            let n_shared = (share * Signature::N_PLACES as f32) as usize;
            // Spread, so that no band is spared.
            let is_shared = |i: usize| (i * 37) % Signature::N_PLACES < n_shared;
            let places = |i| place(if is_shared(i) { 0 } else { document }, i);
            Signature(std::array::from_fn(places))
        };
        shares.iter().enumerate().map(signature).collect()
    }

    #[test]
    fn the_most_alike_original_is_found_and_never_itself() {
        let signatures = like_the_first(&[1.0, 0.9, 0.85, 0.3, 0.9]);
        let mut originals = Originals::default();
        for (id, signature) in signatures.iter().enumerate().skip(1) {
            originals.insert(id, signature.clone());
        }
        let found = |originals: &Originals<usize>, own| {
            originals.most_alike(&signatures[0], 0.8, own).map(|(id, _)| id)
        };
        assert_eq!(found(&originals, None), Some(1), "1 and 4 are equally alike");
        assert_eq!(found(&originals, Some(1)), Some(4));
        originals.remove(1);
        originals.insert(4, signatures[3].clone());
        assert_eq!(found(&originals, None), Some(2));
        originals.remove(2);
        originals.remove(2);
        assert_eq!(found(&originals, None), None);
    }

    #[test]
    fn whatever_is_alike_enough_is_found_by_its_bands() {
        let mut shares = vec![0.81; 400];
        shares[0] = 1.0;
        let signatures = like_the_first(&shares);
        for signature in &signatures[1..] {
            let mut originals = Originals::default();
            originals.insert((), signatures[0].clone());
            assert!(originals.most_alike(signature, 0.8, None).is_some());
        }
    }

    #[test]
    fn the_same_words_have_the_same_hash() {
        assert_eq!(text_hash("# Les congés\n\npayés"), text_hash("les  Congés, payés."));
        assert_ne!(text_hash("les congés payés"), text_hash("les con gés payés"));
    }

    #[track_caller]
    fn check_near(a: &str, b: &str, expected: bool) {
        let (a, b) = (SimHash::of(a), SimHash::of(b));
        let n_bits = (a.0 ^ b.0).count_ones();
        assert_eq!(a.is_near(b), expected, "{n_bits} bits differ");
    }

    #[test]
    fn edited_chunks_are_near_and_others_are_not() {
        for text in [FRENCH, ENGLISH] {
            for from in 0..20 {
                check_near(text, &edited(text, 30, from), true);
            }
            let half = text.len() / 2;
            let half = text.floor_char_boundary(half);
            check_near(&text[..half], &text[half..], false);
        }
        check_near(FRENCH, ENGLISH, false);
    }
}
