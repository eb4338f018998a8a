//! Votes between two arms as one number for each arm: the model of Bradley and Terry (1952), by
//! the iteration of Hunter (2004), on Elo's scale.

use std::collections::BTreeMap;

use crate::{
    eval::metrics::{SplitMix64, quantile},
    records::Choice,
};

/// What an average arm has.
const CENTRE: f64 = 1_000.0;

/// Points by which one arm leads another that it beats ten times in eleven.
const SCALE: f64 = 400.0;

/// Each arm also wins once and loses once, half a vote each, against an average arm: without that,
/// one that has never lost would have no finite rating.
const PRIOR: f64 = 0.5;

const STEPS_MAX: usize = 10_000;
/// Of the logarithm of a strength: a millionth of a point.
const PRECISION: f64 = 1e-8;
const N_SAMPLES: usize = 1_000;

/// A vote between two arms: left, right, and what was chosen.
pub type ArenaVote = (String, String, Choice);

/// An arm among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Rating {
    /// The arm.
    pub arm: String,
    /// On Elo's scale: 1000 is average, 400 more win ten times in eleven.
    pub rating: f64,
    /// The 95 % percentile bootstrap interval over votes.
    pub interval: (f64, f64),
    /// Votes for it.
    pub wins: usize,
    /// Votes for both or neither.
    pub ties: usize,
    /// Votes against it.
    pub losses: usize,
}

/// Rates all arms that votes speak of, the best first. Both and neither are half a win for each. An
/// arm that met itself says nothing.
#[must_use]
pub fn ratings(votes: &[ArenaVote]) -> Vec<Rating> {
    let votes: Vec<&ArenaVote> = votes.iter().filter(|it| it.0 != it.1).collect();
    let mut arms: BTreeMap<&str, usize> = BTreeMap::new();
    for it in &votes {
        arms.insert(&it.0, 0);
        arms.insert(&it.1, 0);
    }
    for (i, at) in arms.values_mut().enumerate() {
        *at = i;
    }
    let met: Vec<Met> = votes
        .iter()
        .map(|it| Met {
            a: arms[it.0.as_str()],
            b: arms[it.1.as_str()],
            won: match it.2 {
                Choice::Left => 1.0,
                Choice::Right => 0.0,
                Choice::Both | Choice::Neither => 0.5,
            },
        })
        .collect();
    let n = arms.len();
    let strengths = fit(&met, vec![1.0; n]);
    let values = points(&strengths);
    let samples = samples(&met, &strengths);
    let mut res: Vec<Rating> = arms
        .into_iter()
        .map(|(arm, i)| {
            let of: Vec<f64> = met.iter().filter_map(|it| it.of(i)).collect();
            let count = |won: f64| of.iter().filter(|it| **it == won).count();
            let mut drawn: Vec<f64> = samples.iter().map(|it| it[i]).collect();
            drawn.sort_by(f64::total_cmp);
            Rating {
                arm: arm.to_owned(),
                rating: values[i],
                interval: (quantile(&drawn, 0.025), quantile(&drawn, 0.975)),
                wins: count(1.0),
                ties: count(0.5),
                losses: count(0.0),
            }
        })
        .collect();
    res.sort_by(|a, b| b.rating.total_cmp(&a.rating).then(a.arm.cmp(&b.arm)));
    res
}

/// A vote between two arms by their numbers.
#[derive(Debug, Clone, Copy)]
struct Met {
    a: usize,
    b: usize,
    /// The share of the vote that the first one has.
    won: f64,
}

impl Met {
    /// What an arm won of it.
    fn of(&self, arm: usize) -> Option<f64> {
        if arm == self.a {
            return Some(self.won);
        }
        (arm == self.b).then_some(1.0 - self.won)
    }
}

/// Strengths on Elo's scale.
fn points(strengths: &[f64]) -> Vec<f64> {
    strengths.iter().map(|it| CENTRE + SCALE * it.log10()).collect()
}

/// The likeliest strengths. Each step raises the likelihood, so the iteration ends, wherever it
/// starts.
fn fit(met: &[Met], mut strength: Vec<f64>) -> Vec<f64> {
    let n = strength.len();
    let mut wins = vec![PRIOR; n];
    let mut pairs: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for it in met {
        wins[it.a] += it.won;
        wins[it.b] += 1.0 - it.won;
        *pairs.entry((it.a.min(it.b), it.a.max(it.b))).or_default() += 1.0;
    }
    for _ in 0..STEPS_MAX {
        // The average arm, of strength 1, is met twice, half a vote each.
        let mut weight: Vec<f64> = strength.iter().map(|it| 2.0 * PRIOR / (it + 1.0)).collect();
        for ((a, b), n_met) in &pairs {
            let share = n_met / (strength[*a] + strength[*b]);
            weight[*a] += share;
            weight[*b] += share;
        }
        let mut moved: f64 = 0.0;
        for i in 0..n {
            let next = wins[i] / weight[i];
            moved = moved.max((next / strength[i]).ln().abs());
            strength[i] = next;
        }
        if moved < PRECISION {
            break;
        }
    }
    strength
}

/// Ratings by votes drawn with replacement, always the same draws. Each begins where all votes led.
fn samples(met: &[Met], strengths: &[f64]) -> Vec<Vec<f64>> {
    let mut random = SplitMix64(0);
    let draw = |_| {
        let drawn: Vec<Met> = met.iter().map(|_| met[random.below(met.len())]).collect();
        points(&fit(&drawn, strengths.to_vec()))
    };
    (0..N_SAMPLES).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(left: &str, right: &str, choice: Choice) -> ArenaVote {
        (left.to_owned(), right.to_owned(), choice)
    }

    fn votes(of: &[(&str, &str, Choice, usize)]) -> Vec<ArenaVote> {
        let each = of.iter().flat_map(|(a, b, it, n)| (0..*n).map(|_| vote(a, b, *it)));
        each.collect()
    }

    #[test]
    fn no_votes_give_no_ratings() {
        assert!(ratings(&[]).is_empty());
        assert!(ratings(&[vote("rag", "rag", Choice::Left)]).is_empty(), "it met itself");
    }

    #[test]
    fn sides_do_not_matter_and_ties_are_halves() {
        let one = ratings(&votes(&[("a", "b", Choice::Left, 3), ("a", "b", Choice::Both, 2)]));
        let other =
            ratings(&votes(&[("b", "a", Choice::Right, 3), ("b", "a", Choice::Neither, 2)]));
        let values = |it: &[Rating]| it.iter().map(|it| it.rating).collect::<Vec<_>>();
        assert_eq!(values(&one), values(&other));
        assert_eq!((one[0].arm.as_str(), one[0].wins, one[0].ties, one[0].losses), ("a", 3, 2, 0));
        assert_eq!((one[1].arm.as_str(), one[1].wins, one[1].ties, one[1].losses), ("b", 0, 2, 3));
        // By symmetry around the average arm.
        assert!((one[0].rating + one[1].rating - 2.0 * CENTRE).abs() < 1e-3);
    }

    #[test]
    fn ratings_are_finite_and_intervals_hold_them() {
        let all = votes(&[
            ("a", "b", Choice::Left, 20),
            ("b", "c", Choice::Left, 12),
            ("b", "c", Choice::Right, 8),
            ("a", "c", Choice::Left, 20),
        ]);
        let found = ratings(&all);
        let order: Vec<&str> = found.iter().map(|it| it.arm.as_str()).collect();
        assert_eq!(order, ["a", "b", "c"]);
        for it in &found {
            let (low, high) = it.interval;
            assert!(low.is_finite() && high.is_finite() && low <= high, "{it:?}");
            assert!((low..=high).contains(&it.rating), "{it:?}");
        }
        assert!(found[0].interval.0 > found[1].interval.1, "never beaten: {found:?}");
        let (low, high) = (found[2].interval.0, found[1].interval.1);
        assert!(low < high, "12 to 8 is within chance: {found:?}");
        assert_eq!(ratings(&all), found, "the same votes give the same table");
    }

    /// Against SciPy: `tests/golden/statistics.py`.
    #[test]
    fn ratings_are_the_likeliest_ones() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/golden/statistics.json")).unwrap();
        for case in golden["ratings"].as_array().unwrap() {
            let votes: Vec<ArenaVote> = case["votes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| {
                    let text = |i: usize| it[i].as_str().unwrap().to_owned();
                    (text(0), text(1), serde_json::from_value(it[2].clone()).unwrap())
                })
                .collect();
            let found = ratings(&votes);
            assert_eq!(found.len(), case["ratings"].as_object().unwrap().len());
            for it in found {
                let expected = case["ratings"][&it.arm].as_f64().unwrap();
                assert!((it.rating - expected).abs() < 0.01, "{it:?} is not {expected}");
            }
        }
    }

    #[test]
    fn one_vote_tells_little() {
        let found = ratings(&[vote("a", "b", Choice::Left)]);
        assert!(found[0].rating > found[1].rating);
        assert!(found[0].rating - found[1].rating < SCALE, "one vote is no tenfold strength");
    }
}
