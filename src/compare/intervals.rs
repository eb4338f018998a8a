//! Intervals of shares, and of differences of shares on the same questions.
//!
//! Samples of answers that are all right are all right, too: the bootstrap gives such shares no
//! width, however few questions there were. These intervals have some.

/// Halvings of a range: more do not move a double.
const N_HALVINGS: usize = 60;

/// The quantile of the standard normal distribution that a two-sided test at level `alpha` needs:
/// 1.96 for 0.05.
#[must_use]
pub fn z_of(alpha: f64) -> f64 {
    boundary(0.0, 9.0, |z| 2.0 * (1.0 - normal_cdf(z)) > alpha)
}

/// The standard normal distribution, for z from 0 on: Marsaglia's (2004) series.
fn normal_cdf(z: f64) -> f64 {
    let (mut sum, mut term, mut k) = (z, z, 1.0);
    while term > f64::EPSILON * sum {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 + sum * (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt()
}

/// Wilson's (1927) interval of a share of `k` in `n` at level `alpha`.
#[must_use]
pub fn wilson(k: usize, n: usize, alpha: f64) -> (f64, f64) {
    let z = z_of(alpha);
    let (k, n) = (k as f64, n as f64);
    let share = k / n;
    let centre = share + z * z / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

/// The exact interval of Clopper and Pearson (1934) of a share of `k` in `n`: it holds the true share
/// with a probability of at least 1 - `alpha`, whatever that share is.
#[must_use]
pub fn clopper_pearson(k: usize, n: usize, alpha: f64) -> (f64, f64) {
    let high = |k: usize| match k {
        k if k == n => 1.0,
        _ => boundary(0.0, 1.0, |share| at_most(k, n, share) > alpha / 2.0),
    };
    (1.0 - high(n - k), high(k))
}

/// The probability of at most `k` of `n`, each with probability `share`.
#[must_use]
pub fn at_most(k: usize, n: usize, share: f64) -> f64 {
    if share <= 0.0 || k >= n {
        return 1.0;
    }
    let (yes, no) = (share.ln(), (1.0 - share).ln());
    let mut choose = 0.0_f64;
    let mut res = 0.0_f64;
    for i in 0..=k {
        if i > 0 {
            choose += ((n - i + 1) as f64).ln() - (i as f64).ln();
        }
        res += (choose + i as f64 * yes + (n - i) as f64 * no).exp();
    }
    res.min(1.0)
}

/// Tango's (1998) score interval of the difference of two shares on the same `n` questions, of which
/// only the second has `wins` and only the first `losses`. It leaves out 0 where McNemar's test,
/// without correction, tells the two apart.
#[must_use]
pub fn paired(wins: usize, losses: usize, n: usize, alpha: f64) -> (f64, f64) {
    let z = z_of(alpha);
    let (b, c, n) = (wins as f64, losses as f64, n as f64);
    let seen = (b - c) / n;
    // How far what was seen lies from a difference, in standard errors under it.
    let score = |difference: f64| {
        let linear = (2.0 * n - b + c) * difference - b - c;
        let constant = -c * difference * (1.0 - difference);
        let root = (linear * linear - 8.0 * n * constant).max(0.0).sqrt();
        let losing = ((root - linear) / (4.0 * n)).max(0.0);
        let variance = n * (2.0 * losing + difference * (1.0 - difference));
        (b - c - n * difference) / variance.max(f64::MIN_POSITIVE).sqrt()
    };
    let low = boundary(-1.0, seen, |it| score(it) > z);
    let high = boundary(seen, 1.0, |it| score(it) > -z);
    (low, high)
}

/// How large the difference of two shares on the same questions may be at most, either way: exact, so
/// that it is larger with a probability of at most `alpha`, whatever the shares are.
///
/// The difference is the share of questions on which the two differ, times how one-sided those are:
/// each has its exact bound at half the level.
#[must_use]
pub fn largest(wins: usize, losses: usize, n: usize, alpha: f64) -> f64 {
    let n_differ = wins + losses;
    // One end of an interval at twice the level that is spent on it.
    let differ = clopper_pearson(n_differ, n, alpha).1;
    if n_differ == 0 {
        return differ;
    }
    let (low, high) = clopper_pearson(wins, n_differ, alpha / 2.0);
    differ * (2.0 * low - 1.0).abs().max((2.0 * high - 1.0).abs())
}

/// Where `holds` stops to hold between `low`, where it does, and `high`.
fn boundary(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..N_HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ALPHA: f64 = 0.05;

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    /// Against SciPy: `tests/golden/statistics.py`.
    #[test]
    fn intervals_are_those_of_scipy() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/golden/statistics.json")).unwrap();
        let cases = |name: &str| golden[name].as_array().unwrap().clone();
        let count = |it: &Value| usize::try_from(it.as_u64().unwrap()).unwrap();
        let number = |it: &Value| it.as_f64().unwrap();
        for it in cases("quantiles") {
            close(z_of(number(&it["alpha"])), number(&it["z"]));
        }
        for it in cases("shares") {
            let (k, n, alpha) = (count(&it["k"]), count(&it["n"]), number(&it["alpha"]));
            for (found, name) in
                [(wilson(k, n, alpha), "wilson"), (clopper_pearson(k, n, alpha), "exact")]
            {
                close(found.0, number(&it[name][0]));
                close(found.1, number(&it[name][1]));
            }
        }
        for it in cases("paired") {
            let found = paired(count(&it["wins"]), count(&it["losses"]), count(&it["n"]), ALPHA);
            close(found.0, number(&it["interval"][0]));
            close(found.1, number(&it["interval"][1]));
        }
    }

    /// The probability of `k` of `n`.
    fn exactly(k: usize, n: usize, share: f64) -> f64 {
        let below = if k == 0 { 0.0 } else { at_most(k - 1, n, share) };
        at_most(k, n, share) - below
    }

    const SIZES: [usize; 4] = [10, 20, 40, 100];
    const SHARES: [f64; 3] = [0.5, 0.9, 0.98];

    /// Every way in which the answers can come out, by its probability: no draws, no chance.
    #[test]
    fn a_share_lies_in_its_interval_as_often_as_said() {
        for n in SIZES {
            for share in SHARES {
                let holds = |k: &usize| {
                    let (low, high) = wilson(*k, n, ALPHA);
                    (low..=high).contains(&share)
                };
                let covered: f64 = (0..=n).filter(holds).map(|k| exactly(k, n, share)).sum();
                assert!((0.92..=0.99).contains(&covered), "{n} {share}: {covered}");
            }
        }
    }

    /// Sums `holds(wins, losses)` over all ways in which `n` questions can come out.
    fn probability(n: usize, (win, loss): (f64, f64), holds: impl Fn(usize, usize) -> bool) -> f64 {
        let mut res = 0.0;
        for n_differ in 0..=n {
            let outer = exactly(n_differ, n, win + loss);
            if outer < 1e-9 {
                continue;
            }
            for wins in (0..=n_differ).filter(|wins| holds(*wins, n_differ - wins)) {
                res += outer * exactly(wins, n_differ, win / (win + loss));
            }
        }
        res
    }

    #[test]
    fn a_difference_lies_in_its_interval_and_below_its_bound_as_often_as_said() {
        for n in SIZES {
            for share in SHARES {
                // The second arm is as good, better or worse, each on its own.
                for other in [share, 0.98, share - 0.1, share - 0.3] {
                    let (win, loss) = (other * (1.0 - share), share * (1.0 - other));
                    let difference = win - loss;
                    let covered = probability(n, (win, loss), |wins, losses| {
                        let (low, high) = paired(wins, losses, n, ALPHA);
                        (low - 1e-9..=high + 1e-9).contains(&difference)
                    });
                    assert!(covered >= 0.94, "{n} {share} {other}: {covered}");
                    let bounded = probability(n, (win, loss), |wins, losses| {
                        difference.abs() <= largest(wins, losses, n, ALPHA)
                    });
                    assert!(bounded >= 1.0 - ALPHA, "{n} {share} {other}: {bounded}");
                }
            }
        }
    }

    #[test]
    fn few_questions_exclude_little() {
        // The rule of three, exact.
        close(largest(0, 0, 40, ALPHA), 1.0 - 0.025_f64.powf(1.0 / 40.0));
        assert!(largest(1, 0, 88, ALPHA) > 0.06, "one in 88 is up to 6 in 100");
        assert!(largest(1, 0, 88, ALPHA) > largest(0, 0, 88, ALPHA));
        assert!(largest(20, 20, 1_000, ALPHA) < 0.03);
        let (low, high) = paired(0, 0, 40, ALPHA);
        assert!(low < -0.08 && high > 0.08, "{low} {high}");
        close(paired(10, 0, 10, ALPHA).1, 1.0);
        close(wilson(10, 10, ALPHA).1, 1.0);
    }
}
