//! Vectors of length one.

/// A vector of length one, so that a dot product is a cosine.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitVector(Vec<f32>);

impl UnitVector {
    /// Scales a vector to length one. `None` when it has no direction: it is empty or zero, or a
    /// number in it is infinite or not a number.
    #[must_use]
    pub fn new(mut raw: Vec<f32>) -> Option<Self> {
        // In f64, because squares of large f32 components overflow.
        let norm = raw.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_normal() {
            return None;
        }
        // A vector that already has length one keeps its bits, so that a round trip through the
        // catalog changes nothing.
        if (norm - 1.0).abs() > 1e-6 {
            raw.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
        Some(Self(raw))
    }

    /// The components.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// How many components.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// The cosine of the angle to another vector of as many dimensions.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        debug_assert_eq!(self.dim(), other.dim(), "vectors of one embedder have one dimension");
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }

    /// The cosine to a vector that is given as [`UnitVector::to_bytes`] wrote it; `None` when it has
    /// another dimension.
    pub(crate) fn cosine_of_bytes(&self, bytes: &[u8]) -> Option<f32> {
        /// Sums side by side, so that the compiler may use vector instructions.
        const N_LANES: usize = 8;
        let (others, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || others.len() != self.dim() {
            return None;
        }
        let mut sums = [0.0; N_LANES];
        for (own, others) in self.0.chunks(N_LANES).zip(others.chunks(N_LANES)) {
            for ((sum, own), other) in sums.iter_mut().zip(own).zip(others) {
                *sum += own * f32::from_le_bytes(*other);
            }
        }
        Some(sums.iter().sum())
    }

    /// The components as little-endian bytes, as the catalog stores them.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    /// The inverse of [`UnitVector::to_bytes`]; `None` when the bytes are not such a vector.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (components, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        Self::new(components.iter().map(|&it| f32::from_le_bytes(it)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vector_without_direction_is_refused() {
        for raw in [vec![], vec![0.0; 3], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]] {
            assert_eq!(UnitVector::new(raw), None);
        }
    }

    proptest! {
        #[test]
        fn any_other_vector_gets_length_one_and_survives_the_catalog(
            raw in prop::collection::vec(-1e30_f32..1e30, 1..40),
        ) {
            prop_assume!(raw.iter().any(|&x| x.abs() > 1e-20));
            let vector = UnitVector::new(raw).unwrap();
            prop_assert!((vector.cosine(&vector) - 1.0).abs() < 1e-5);
            let cosine = vector.cosine_of_bytes(&vector.to_bytes()).unwrap();
            prop_assert!((cosine - 1.0).abs() < 1e-5);
            prop_assert_eq!(vector.cosine_of_bytes(&vector.to_bytes()[1..]), None);
            prop_assert_eq!(vector.cosine_of_bytes(&[]), None);
            prop_assert_eq!(UnitVector::from_bytes(&vector.to_bytes()), Some(vector));
        }
    }

    #[test]
    fn bytes_that_are_no_vector_are_refused() {
        assert_eq!(UnitVector::from_bytes(&[0; 8]), None);
        assert_eq!(UnitVector::from_bytes(&[1, 2, 3]), None);
    }
}
