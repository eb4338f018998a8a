//! Whether two arms differ, question by question, and how sure that is.

use super::intervals::{at_most, clopper_pearson, largest, paired, wilson, z_of};
use crate::eval::metrics::{Bootstrap, Mean, SplitMix64};

/// Signs are flipped in every way up to this many differences, and at random above.
const EXACT_MAX: usize = 14;
/// Random ways of flipping signs.
const N_FLIPS: usize = 9_999;
/// Above this, more questions are no advice.
const MORE_MAX: f64 = 100_000.0;
/// The 80 % quantile of the normal distribution: the power of tests.
const Z_POWER: f64 = 0.841_621_233_572_914_3;
/// Questions that must differ, at least, for samples of them to tell how far they spread.
const DIFFERING_MIN: usize = 10;

/// The level of all tests and intervals.
pub const ALPHA: f64 = 0.05;

/// What is said of two arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Their answers are the same, word for word.
    Same,
    /// The difference is small, and that is sure.
    Alike,
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// The questions do not tell.
    CannotTell,
}

impl Outcome {
    /// The words in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Alike => "alike",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::CannotTell => "cannot_tell",
        }
    }
}

/// Paired differences, second minus first, one per question.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Questions that both have a value for.
    pub n: usize,
    /// Its mean and the 95 % interval: Tango's where answers are right or wrong, else the bootstrap's
    /// over questions.
    pub mean: Mean,
    /// The probability of a difference at least as large if the arms were alike.
    pub p: f64,
    /// Questions where the second has more, as much, and less.
    pub wins: usize,
    /// As much.
    pub ties: usize,
    /// Less.
    pub losses: usize,
    /// How large the difference may be at most, either way, at the level of the interval; for shares.
    pub largest: f64,
    /// The smallest difference that this many questions show with 80 % power; `None` where no
    /// question differs, so that nothing tells how far they spread.
    pub detectable: Option<f64>,
    /// How many more questions would show this very difference with 80 % power; `None` where it is
    /// 0, or more than 100,000 would be needed.
    pub more_questions: Option<usize>,
}

impl Difference {
    /// Compares values, question by question, by a test at 5 %. `None` without questions.
    ///
    /// # Panics
    /// When there are not as many of both.
    #[must_use]
    pub fn of(first: &[f64], second: &[f64], is_binary: bool) -> Option<Self> {
        Self::at_level(first, second, is_binary, ALPHA)
    }

    /// As [`Self::of`]; what many questions show, and how many more would, is told for a test at
    /// level `alpha`: that of several pairs is stricter.
    ///
    /// # Panics
    /// When there are not as many of both.
    #[must_use]
    pub fn at_level(first: &[f64], second: &[f64], is_binary: bool, alpha: f64) -> Option<Self> {
        assert_eq!(first.len(), second.len(), "values are compared question by question");
        let differences: Vec<f64> = second.iter().zip(first).map(|(b, a)| b - a).collect();
        let wins = differences.iter().filter(|it| **it > 0.0).count();
        let losses = differences.iter().filter(|it| **it < 0.0).count();
        let n = differences.len();
        if n == 0 {
            return None;
        }
        let (mean, largest, p) = if is_binary {
            let (low, high) = paired(wins, losses, n, ALPHA);
            let mean = Mean { value: (wins as f64 - losses as f64) / n as f64, low, high };
            (mean, largest(wins, losses, n, ALPHA), mcnemar(wins, losses))
        } else {
            let bootstrap = Bootstrap::default().mean(&differences)?;
            let bound = bootstrap.low.abs().max(bootstrap.high.abs());
            // Samples of few questions that differ spread too little, those of none not at all.
            let n_differ = wins + losses;
            let bound = match n_differ {
                n_differ if n_differ < DIFFERING_MIN => {
                    bound.max(clopper_pearson(n_differ, n, ALPHA).1)
                }
                _ => bound,
            };
            (bootstrap, bound, sign_flips(&differences))
        };
        let spread = deviation(&differences).filter(|it| *it > 0.0);
        Some(Self {
            n,
            mean,
            p,
            wins,
            ties: n - wins - losses,
            losses,
            largest,
            detectable: spread.map(|it| detectable(it, n, alpha)),
            more_questions: spread.and_then(|it| more_questions(it, mean.value, n, alpha)),
        })
    }
}

/// The mean of values, one per question, with its 95 % interval: Wilson's where each is 0 or 1, else
/// the bootstrap's. `None` without values.
#[must_use]
pub fn mean_of(values: &[f64], is_binary: bool) -> Option<Mean> {
    if !is_binary {
        return Bootstrap::default().mean(values);
    }
    let (n_right, n) = (values.iter().filter(|it| **it > 0.0).count(), values.len());
    let (low, high) = wilson(n_right, n, ALPHA);
    (n > 0).then(|| Mean { value: n_right as f64 / n as f64, low, high })
}

/// The exact test of McNemar (1947): of the questions that only one arm has right, how surprising
/// is the share of either, if each had them by chance. Two-sided.
#[must_use]
pub fn mcnemar(wins: usize, losses: usize) -> f64 {
    (2.0 * at_most(wins.min(losses), wins + losses, 0.5)).min(1.0)
}

/// Fisher's paired randomisation test of the mean: if the arms were alike, each difference could
/// as well have the other sign. Exact for few differences.
#[must_use]
pub fn sign_flips(differences: &[f64]) -> f64 {
    let moved: Vec<f64> = differences.iter().copied().filter(|it| *it != 0.0).collect();
    let seen: f64 = moved.iter().sum::<f64>().abs();
    // Sums of the same numbers in another order differ in their last bits.
    let tolerance = 1e-9 * moved.iter().map(|it| it.abs()).sum::<f64>();
    let is_as_large = |bits: &dyn Fn(usize) -> bool| {
        let flipped = moved.iter().enumerate().map(|(i, it)| if bits(i) { -it } else { *it });
        flipped.sum::<f64>().abs() >= seen - tolerance
    };
    if moved.len() <= EXACT_MAX {
        let n_ways = 1_usize << moved.len();
        let n_as_large = (0..n_ways).filter(|way| is_as_large(&|i| way >> i & 1 == 1)).count();
        return n_as_large as f64 / n_ways as f64;
    }
    let mut random = SplitMix64(0);
    let mut signs = vec![0_u64; moved.len().div_ceil(64)];
    let mut n_as_large = 1;
    for _ in 0..N_FLIPS {
        signs.iter_mut().for_each(|it| *it = random.draw());
        n_as_large += usize::from(is_as_large(&|i| signs[i / 64] >> (i % 64) & 1 == 1));
    }
    // The order that was seen is one of the ways (Phipson and Smyth 2010).
    n_as_large as f64 / (N_FLIPS + 1) as f64
}

/// Holm's (1979) correction: probabilities that stay honest although several pairs are tested.
#[must_use]
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut res = vec![0.0; probabilities.len()];
    let mut so_far = 0.0_f64;
    for (rank, at) in order.into_iter().enumerate() {
        so_far = so_far.max(probabilities[at] * (probabilities.len() - rank) as f64).min(1.0);
        res[at] = so_far;
    }
    res
}

/// Standard deviation of a sample; `None` of fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The smallest mean difference that a two-sided test at level `alpha` shows with 80 % power, by the
/// normal approximation.
#[must_use]
pub fn detectable(deviation: f64, n: usize, alpha: f64) -> f64 {
    (z_of(alpha) + Z_POWER) * deviation / (n as f64).sqrt()
}

/// How many questions more than `n` show a mean difference with 80 % power at level `alpha`.
#[must_use]
pub fn more_questions(deviation: f64, difference: f64, n: usize, alpha: f64) -> Option<usize> {
    let needed = ((z_of(alpha) + Z_POWER) * deviation / difference.abs()).powi(2).ceil();
    (needed < MORE_MAX).then(|| (needed as usize).saturating_sub(n))
}

/// The smallest number of questions that anything is concluded from.
pub const QUESTIONS_MIN: usize = 10;

/// How a difference is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judge {
    /// Differences up to this much do not matter, where the metric is a share; `None` where none
    /// is known to be small.
    pub margin: Option<f64>,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Judge {
    /// What is said of a difference whose corrected probability is `p`. `is_same` is whether all
    /// answers are the same, word for word.
    #[must_use]
    pub fn outcome(self, difference: &Difference, p: f64, is_same: bool) -> Outcome {
        let Mean { value, low, high } = difference.mean;
        if difference.n < QUESTIONS_MIN {
            return Outcome::CannotTell;
        }
        if is_same {
            return Outcome::Same;
        }
        if p < ALPHA && (low > 0.0 || high < 0.0) {
            let is_more = value > 0.0;
            return if is_more == self.higher_is_better { Outcome::Better } else { Outcome::Worse };
        }
        match self.margin {
            Some(margin) if difference.largest <= margin => Outcome::Alike,
            _ => Outcome::CannotTell,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/statistics.json");

    fn golden() -> Value {
        serde_json::from_str(GOLDEN).unwrap()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
    }

    #[track_caller]
    fn check(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
    }

    #[test]
    fn mcnemar_is_that_of_statsmodels() {
        let cases = golden()["mcnemar"].as_array().unwrap().clone();
        assert!(cases.len() > 5);
        for case in cases {
            let count = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
            let expected = case["p"].as_f64().unwrap();
            check(mcnemar(count("wins"), count("losses")), expected, 1e-9);
        }
    }

    #[test]
    fn holm_is_that_of_statsmodels() {
        for case in golden()["holm"].as_array().unwrap() {
            let found = holm(&numbers(&case["p"]));
            for (found, expected) in found.iter().zip(numbers(&case["adjusted"])) {
                check(*found, expected, 1e-12);
            }
        }
    }

    #[test]
    fn sign_flips_are_those_of_scipy() {
        for case in golden()["sign_flips"].as_array().unwrap() {
            let differences = numbers(&case["differences"]);
            // Above the limit ways are drawn: five standard errors of the share.
            let p = case["p"].as_f64().unwrap();
            let is_exact = differences.iter().filter(|it| **it != 0.0).count() <= EXACT_MAX;
            let error = (p * (1.0 - p) / N_FLIPS as f64).sqrt();
            check(sign_flips(&differences), p, if is_exact { 1e-12 } else { 5.0 * error });
        }
    }

    #[test]
    fn intervals_are_those_of_scipy_up_to_the_draw() {
        for case in golden()["bootstrap"].as_array().unwrap() {
            let first = numbers(&case["first"]);
            let second = numbers(&case["second"]);
            let found = Difference::of(&first, &second, false).unwrap();
            let (low, high) = (case["low"].as_f64().unwrap(), case["high"].as_f64().unwrap());
            check(found.mean.value, case["mean"].as_f64().unwrap(), 1e-12);
            // Ends of an interval of 2,000 samples scatter by a few hundredths of its width.
            check(found.mean.low, low, 0.05 * (high - low));
            check(found.mean.high, high, 0.05 * (high - low));
        }
    }

    #[test]
    fn numbers_of_questions_are_those_of_statsmodels() {
        for case in golden()["sizes"].as_array().unwrap() {
            let of = |key: &str| case[key].as_f64().unwrap();
            let (deviation, difference) = (of("deviation"), of("difference"));
            let (needed, alpha) = (of("needed").ceil() as usize, of("alpha"));
            assert_eq!(more_questions(deviation, difference, 0, alpha), Some(needed));
            assert_eq!(more_questions(deviation, difference, 1_000_000, alpha), Some(0));
            check(detectable(deviation, needed, alpha), difference, 0.03 * difference);
        }
        assert_eq!(more_questions(0.4, 0.0, 50, ALPHA), None);
    }

    #[test]
    fn wins_ties_and_losses_are_counted() {
        let it = Difference::of(&[0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 0.0], true).unwrap();
        assert_eq!((it.n, it.wins, it.ties, it.losses), (4, 2, 1, 1));
        check(it.mean.value, 0.25, 1e-12);
        // Two of three: 2 (1 + 3) / 8.
        check(it.p, 1.0, 1e-12);
        assert_eq!(Difference::of(&[], &[], true), None);
    }

    fn judged(first: &[f64], second: &[f64], is_same: bool) -> Outcome {
        let it = Difference::of(first, second, true).unwrap();
        let judge = Judge { margin: Some(0.05), higher_is_better: true };
        judge.outcome(&it, it.p, is_same)
    }

    #[test]
    fn outcomes_of_constructed_cases() {
        let half: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
        assert_eq!(judged(&[0.0; 40], &half, false), Outcome::Better);
        assert_eq!(judged(&half, &[0.0; 40], false), Outcome::Worse);
        assert_eq!(judged(&[0.0], &[1.0], false), Outcome::CannotTell, "one question");
        assert_eq!(judged(&half, &half, true), Outcome::Same);
        // Nothing differs, but 40 questions cannot exclude 9 in 100.
        assert_eq!(judged(&half, &half, false), Outcome::CannotTell);
        let many: Vec<f64> = (0..200).map(|i| f64::from(i % 2)).collect();
        assert_eq!(judged(&many, &many, false), Outcome::Alike);
        // One that differs tells less than none, never more.
        let mut one = many.clone();
        one[0] = 1.0;
        assert!(Difference::of(&many, &one, true).unwrap().largest > 0.02);
        let hundred = &many[..100];
        assert_eq!(judged(hundred, hundred, false), Outcome::Alike);
        assert_eq!(judged(hundred, &one[..100], false), Outcome::CannotTell);
        let mut other = half.clone();
        (other[0], other[1], other[2]) = (1.0, 0.0, 1.0);
        assert_eq!(judged(&half, &other, false), Outcome::CannotTell);
    }

    #[test]
    fn less_is_better_for_times() {
        let it = Difference::of(&[900.0; 20], &[500.0; 20], false).unwrap();
        let judge = Judge { margin: None, higher_is_better: false };
        assert_eq!(judge.outcome(&it, it.p, false), Outcome::Better);
    }

    #[test]
    fn means_of_what_is_right_or_wrong_have_some_width() {
        let all = mean_of(&[1.0; 10], true).unwrap();
        check(all.value, 1.0, 1e-12);
        check(all.low, 0.722_467, 1e-6);
        check(all.high, 1.0, 1e-12);
        assert_eq!(mean_of(&[], true), None);
        assert_eq!(
            mean_of(&[0.3; 10], false).unwrap().low,
            mean_of(&[0.3; 10], false).unwrap().high
        );
    }

    /// Values between 0 and 1, such as F1: by how often draws hold the true mean.
    #[test]
    fn bootstrap_intervals_cover_the_truth_nearly_as_often_as_said() {
        const RUNS: usize = 400;
        let mut random = SplitMix64(7);
        let mut uniform = || (random.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        for n in [10, 20, 40, 100] {
            let mut n_covered = 0;
            for _ in 0..RUNS {
                // The larger of two draws, 2/3 on average, less one draw, 1/2 on average.
                let (first, second): (Vec<f64>, Vec<f64>) =
                    (0..n).map(|_| (uniform(), uniform().max(uniform()))).unzip();
                let it = Difference::of(&first, &second, false).unwrap();
                n_covered += usize::from((it.mean.low..=it.mean.high).contains(&(1.0 / 6.0)));
            }
            let covered = n_covered as f64 / RUNS as f64;
            let least = if n < 20 { 0.86 } else { 0.90 };
            assert!((least..=0.98).contains(&covered), "{n}: covers {covered}");
        }
    }

    /// Arms that are alike are told apart no more often than the level allows.
    #[test]
    fn alike_arms_are_seldom_told_apart() {
        for (n, share) in [(20, 0.5), (100, 0.3), (100, 0.02)] {
            // The number of questions that differ, then which of them each arm wins.
            let told_apart: f64 = (0..=n)
                .map(|n_differ| {
                    let of = |k: usize, n: usize, share: f64| {
                        at_most(k, n, share) - if k == 0 { 0.0 } else { at_most(k - 1, n, share) }
                    };
                    let wins = (0..=n_differ).filter(|it| mcnemar(*it, n_differ - it) < ALPHA);
                    of(n_differ, n, share) * wins.map(|it| of(it, n_differ, 0.5)).sum::<f64>()
                })
                .sum();
            assert!(told_apart <= ALPHA, "{n} {share}: {told_apart}");
        }
    }
}
