//! Measures of a ranking against judgements, and how far chance alone may move them.

use std::collections::BTreeMap;

/// The grades of a question's judged documents, by id. A document that is missing, or whose grade
/// is not above 0, is not relevant.
pub type Grades = BTreeMap<String, f64>;

/// Normalised discounted cumulative gain of the first `k`, with the exponential gain `2^grade - 1`
/// (Burges et al. 2005), in 0..=1. 0 when nothing is relevant.
#[must_use]
pub fn ndcg(ranking: &[&str], grades: &Grades, k: usize) -> f64 {
    let mut ideal: Vec<f64> = relevant(grades).collect();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let ideal = dcg(ideal.into_iter().take(k));
    if ideal == 0.0 {
        return 0.0;
    }
    dcg(ranking.iter().take(k).map(|&id| grade(grades, id))) / ideal
}

/// The share of the relevant documents that stand among the first `k`, in 0..=1. 0 when nothing
/// is relevant.
#[must_use]
pub fn recall(ranking: &[&str], grades: &Grades, k: usize) -> f64 {
    let n_relevant = relevant(grades).count();
    if n_relevant == 0 {
        return 0.0;
    }
    let n_found = ranking.iter().take(k).filter(|&&id| grade(grades, id) > 0.0).count();
    n_found as f64 / n_relevant as f64
}

/// One over the rank of the first relevant document, 0 when none is among the first `k`.
#[must_use]
pub fn reciprocal_rank(ranking: &[&str], grades: &Grades, k: usize) -> f64 {
    let first = ranking.iter().take(k).position(|&id| grade(grades, id) > 0.0);
    first.map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

fn relevant(grades: &Grades) -> impl Iterator<Item = f64> {
    grades.values().copied().filter(|&grade| grade > 0.0)
}

fn grade(grades: &Grades, id: &str) -> f64 {
    grades.get(id).copied().unwrap_or(0.0).max(0.0)
}

fn dcg(grades: impl Iterator<Item = f64>) -> f64 {
    grades.enumerate().map(|(at, grade)| (grade.exp2() - 1.0) / (at as f64 + 2.0).log2()).sum()
}

/// A mean with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// How to draw a confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How many samples are drawn. At least 1.
    pub n_samples: usize,
    /// The share of samples whose mean the interval holds, between 0 and 1.
    pub confidence: f64,
    /// The same seed draws the same samples.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// A 95 % interval from 2,000 samples.
    fn default() -> Self {
        Self { n_samples: 2_000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// The mean of values, one per question, with its percentile bootstrap interval (Efron 1979).
    /// `None` without values.
    ///
    /// For two systems on the same questions, pass the differences question by question: an
    /// interval that leaves out 0 tells them apart.
    #[must_use]
    pub fn mean(&self, values: &[f64]) -> Option<Mean> {
        if values.is_empty() {
            return None;
        }
        let mut random = SplitMix64(self.seed);
        let mut means = Vec::with_capacity(self.n_samples.max(1));
        for _ in 0..self.n_samples.max(1) {
            let sum: f64 = values.iter().map(|_| values[random.below(values.len())]).sum();
            means.push(sum / values.len() as f64);
        }
        Some(self.interval(values, means))
    }

    /// The mean of values that come in groups within which they hang together. Whole groups are drawn
    /// (the cluster bootstrap: Davison and Hinkley 1997, section 3.8): values drawn one by one would
    /// count what one question says as often as there are answers to it. `None` without values.
    ///
    /// # Panics
    /// When there are not as many groups as values.
    #[must_use]
    pub fn mean_of_groups(&self, values: &[f64], groups: &[usize]) -> Option<Mean> {
        let all = grouped(values, groups);
        if all.is_empty() {
            return None;
        }
        let mut random = SplitMix64(self.seed);
        let mut means = Vec::with_capacity(self.n_samples.max(1));
        for _ in 0..self.n_samples.max(1) {
            let (mut sum, mut n) = (0.0, 0.0);
            for _ in &all {
                let drawn = all[random.below(all.len())];
                sum += drawn.sum;
                n += drawn.n;
            }
            means.push(sum / n);
        }
        Some(self.interval(values, means))
    }

    /// The mean of values, with the interval that the means of samples give.
    fn interval(&self, values: &[f64], mut means: Vec<f64>) -> Mean {
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence.clamp(0.0, 1.0)) / 2.0;
        Mean {
            value: values.iter().sum::<f64>() / values.len() as f64,
            low: quantile(&means, tail),
            high: quantile(&means, 1.0 - tail),
        }
    }
}

/// The values of one group, added up.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    sum: f64,
    n: f64,
}

/// Values that hang together, such as those of the preferences among answers to one question, added
/// up for each group, in the order of the groups' numbers.
///
/// # Panics
/// When there are not as many groups as values.
#[must_use]
pub fn sums_of_groups(values: &[f64], groups: &[usize]) -> Vec<f64> {
    grouped(values, groups).iter().map(|it| it.sum).collect()
}

fn grouped(values: &[f64], groups: &[usize]) -> Vec<Sum> {
    assert_eq!(values.len(), groups.len(), "each value has a group");
    let mut res: BTreeMap<usize, Sum> = BTreeMap::new();
    for (value, group) in values.iter().zip(groups) {
        let it = res.entry(*group).or_default();
        it.sum += value;
        it.n += 1.0;
    }
    res.into_values().collect()
}

/// The quantile of sorted values, interpolated between neighbours.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Steele, Lea and Flood 2014: small, fast, and good enough to draw questions.
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    /// 64 bits.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        // The high half of a product with n is below n (Lemire 2019), without a division.
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grades(grades: &[(&str, f64)]) -> Grades {
        grades.iter().map(|&(id, grade)| (id.to_owned(), grade)).collect()
    }

    #[track_caller]
    fn check(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-6, "{actual} is not {expected}");
    }

    /// Worked by hand: gains 7, 3, 7, 0, 1, 3 discounted by log2 of 2..=7 give 13.848263; the
    /// ideal order 7, 7, 3, 3, 1, 0 gives 14.595391.
    #[test]
    fn ndcg_of_the_textbook_example() {
        let grades =
            grades(&[("a", 3.0), ("b", 2.0), ("c", 3.0), ("d", 0.0), ("e", 1.0), ("f", 2.0)]);
        let ranking = ["a", "b", "c", "d", "e", "f"];
        check(ndcg(&ranking, &grades, 6), 13.848_263 / 14.595_391);
        check(ndcg(&["c", "a", "b", "f", "e"], &grades, 10), 1.0);
    }

    #[test]
    fn ndcg_of_one_relevant_document_is_its_discount() {
        let grades = grades(&[("gold", 1.0)]);
        check(ndcg(&["gold", "x"], &grades, 10), 1.0);
        check(ndcg(&["x", "gold"], &grades, 10), 1.0 / 3.0_f64.log2());
        check(ndcg(&["x", "y", "gold"], &grades, 10), 0.5);
        check(ndcg(&["x", "y", "gold"], &grades, 2), 0.0);
    }

    #[test]
    fn the_ideal_of_ndcg_is_cut_at_k() {
        let grades = grades(&[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
        check(ndcg(&["a", "b"], &grades, 2), 1.0);
    }

    #[test]
    fn recall_counts_relevant_documents_among_the_first_k() {
        let grades = grades(&[("a", 1.0), ("b", 2.0), ("no", 0.0), ("c", 1.0), ("worse", -1.0)]);
        check(recall(&["a", "x", "b", "no", "c"], &grades, 3), 2.0 / 3.0);
        check(recall(&["a", "x", "b", "worse", "c"], &grades, 5), 1.0);
    }

    #[test]
    fn reciprocal_rank_is_that_of_the_first_relevant_document() {
        let grades = grades(&[("a", 1.0), ("b", 1.0)]);
        check(reciprocal_rank(&["x", "y", "z", "b", "a"], &grades, 10), 0.25);
        check(reciprocal_rank(&["x", "y", "z", "b"], &grades, 3), 0.0);
    }

    #[test]
    fn without_relevant_documents_every_measure_is_zero() {
        for grades in [grades(&[]), grades(&[("a", 0.0)]), grades(&[("a", -2.0)])] {
            for measure in [ndcg, recall, reciprocal_rank] {
                check(measure(&["a"], &grades, 10), 0.0);
            }
        }
    }

    #[test]
    fn values_of_a_group_are_drawn_together() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let bootstrap = Bootstrap::default();
        // Groups of one are drawn as values are.
        let alone: Vec<usize> = (0..100).collect();
        assert_eq!(bootstrap.mean_of_groups(&values, &alone), bootstrap.mean(&values));
        // Each value five times over says no more than once.
        let five: Vec<f64> = values.iter().flat_map(|it| [*it; 5]).collect();
        let groups: Vec<usize> = (0..500).map(|i| i / 5).collect();
        let (once, five_times) =
            (bootstrap.mean(&values).unwrap(), bootstrap.mean_of_groups(&five, &groups).unwrap());
        for (a, b) in [
            (once.value, five_times.value),
            (once.low, five_times.low),
            (once.high, five_times.high),
        ] {
            check(a, b);
        }
        let naive = bootstrap.mean(&five).unwrap();
        assert!(naive.high - naive.low < 0.6 * (once.high - once.low));
        assert_eq!(sums_of_groups(&[1.0, 2.0, 4.0], &[7, 3, 7]), [2.0, 5.0]);
        assert_eq!(bootstrap.mean_of_groups(&[], &[]), None);
    }

    /// For 100 values, half 0 and half 1, the mean of a sample is 0.5 with a standard error of
    /// 0.05: 95 % of samples lie within 1.96 of those.
    #[test]
    fn the_interval_is_that_of_the_standard_error() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let mean = Bootstrap { n_samples: 20_000, ..Bootstrap::default() }.mean(&values).unwrap();
        check(mean.value, 0.5);
        assert!((mean.low - 0.402).abs() < 0.011, "{mean:?}");
        assert!((mean.high - 0.598).abs() < 0.011, "{mean:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_another_another() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 7)).collect();
        let with_seed = |seed| Bootstrap { seed, ..Bootstrap::default() }.mean(&values).unwrap();
        assert_eq!(with_seed(1), with_seed(1));
        assert_ne!(with_seed(1), with_seed(2));
    }

    #[test]
    fn equal_values_have_no_spread_and_no_values_no_mean() {
        let mean = Bootstrap::default().mean(&[0.25; 8]);
        assert_eq!(mean, Some(Mean { value: 0.25, low: 0.25, high: 0.25 }));
        assert_eq!(Bootstrap::default().mean(&[]), None);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        check(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        check(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
        check(quantile(&[5.0], 0.3), 5.0);
    }
}
