//! Texts as tokens, and which of them are computed together.

use tokenizers::Encoding;

/// Tokens computed together by one thread: enough to use the weights well once they are in the
/// cache, few enough that the activations stay there beside them.
const BATCH_TOKENS: usize = 384;

/// A text or a pair of texts as token ids, special ones included.
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    /// Which text of a pair each token is of: 0 or 1.
    pub(crate) types: Vec<u8>,
    /// Whether something was cut off.
    pub(crate) truncated: bool,
}

/// The tokens of some texts, one after another.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    /// (tokens)
    pub(crate) ids: Vec<u32>,
    /// (tokens)
    pub(crate) types: Vec<u8>,
    /// Tokens of each text.
    pub(crate) lens: Vec<usize>,
}

impl Encoded {
    pub(crate) fn new(encoding: &Encoding, truncated: bool) -> Self {
        let types = encoding.get_type_ids().iter().map(|&it| u8::from(it != 0)).collect();
        Self { ids: encoding.get_ids().to_vec(), types, truncated }
    }
}

impl Packed {
    /// The texts `batch` of `encoded`, in that order.
    pub(crate) fn of(encoded: &[Encoded], batch: &[usize]) -> Self {
        let mut res = Self::default();
        for &idx in batch {
            res.ids.extend(&encoded[idx].ids);
            res.types.extend(&encoded[idx].types);
            res.lens.push(encoded[idx].ids.len());
        }
        res
    }
}

/// Groups texts of similar length, the long ones first, so that the last batches to finish are the
/// short ones.
pub(crate) fn batches(encoded: &[Encoded]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..encoded.len()).collect();
    order.sort_by_key(|&idx| std::cmp::Reverse(encoded[idx].ids.len()));
    let mut res: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for idx in order {
        let len = encoded[idx].ids.len();
        match res.last_mut() {
            Some(batch) if len <= room => {
                batch.push(idx);
                room -= len;
            }
            _ => {
                res.push(vec![idx]);
                room = BATCH_TOKENS.saturating_sub(len);
            }
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_batches(lens: &[usize], expected: &[&[usize]]) {
        let encoded: Vec<Encoded> = lens
            .iter()
            .map(|&len| Encoded { ids: vec![0; len], types: vec![0; len], truncated: false })
            .collect();
        assert_eq!(batches(&encoded), expected);
    }

    #[test]
    fn batches_are_bounded_by_tokens_and_begin_with_the_longest() {
        check_batches(&[], &[]);
        check_batches(&[100, 256, 128, 100], &[&[1, 2], &[0, 3]]);
        check_batches(&[1_000, 10], &[&[0], &[1]]);
    }
}
