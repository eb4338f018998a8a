//! Votes between two arms as one number for each arm: the model of Bradley and Terry (1952), by
//! the iteration of Hunter (2004), on Elo's scale.

use std::collections::BTreeMap;

use super::{intervals::z_of, stats::ALPHA};
use crate::records::Choice;

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

/// A vote between two arms: left, right, and what was chosen.
pub type ArenaVote = (String, String, Choice);

/// An arm among the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Rating {
    /// The arm.
    pub arm: String,
    /// On Elo's scale: 1000 is average, 400 more win ten times in eleven.
    pub rating: f64,
    /// The 95 % interval by the curvature of what was maximised, half votes included: around the mean
    /// of all arms, of which votes say nothing. One vote leaves it wide.
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
    let errors = errors(&met, &strengths);
    let points_per_error = z_of(ALPHA) * SCALE / std::f64::consts::LN_10;
    let mut res: Vec<Rating> = arms
        .into_iter()
        .map(|(arm, i)| {
            let of: Vec<f64> = met.iter().filter_map(|it| it.of(i)).collect();
            let count = |won: f64| of.iter().filter(|it| **it == won).count();
            let spread = points_per_error * errors[i];
            Rating {
                arm: arm.to_owned(),
                rating: values[i],
                interval: (values[i] - spread, values[i] + spread),
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

/// Standard errors of the logarithms of strengths, around the mean of all of them: the inverse of the
/// information, without the direction in which all arms are better together.
fn errors(met: &[Met], strengths: &[f64]) -> Vec<f64> {
    let n = strengths.len();
    let share = |i: usize, other: f64| strengths[i] / (strengths[i] + other);
    let mut information = vec![vec![0.0; n]; n];
    for (i, row) in information.iter_mut().enumerate() {
        let won = share(i, 1.0);
        row[i] = 2.0 * PRIOR * won * (1.0 - won);
    }
    for it in met {
        let won = share(it.a, strengths[it.b]);
        let told = won * (1.0 - won);
        information[it.a][it.a] += told;
        information[it.b][it.b] += told;
        information[it.a][it.b] -= told;
        information[it.b][it.a] -= told;
    }
    let covariance = inverse(information);
    let mean = |of: &[f64]| of.iter().sum::<f64>() / n as f64;
    let of_row: Vec<f64> = covariance.iter().map(|row| mean(row)).collect();
    let of_all = mean(&of_row);
    let variance = |i: usize| covariance[i][i] - 2.0 * of_row[i] + of_all;
    (0..n).map(|i| variance(i).max(0.0).sqrt()).collect()
}

/// The inverse of a symmetric matrix, (n, n), whose diagonal outweighs the rest of each row: by
/// Gauss and Jordan, with no need to look for pivots.
fn inverse(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = matrix.len();
    let unit = |i: usize| (0..n).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>();
    let mut res: Vec<Vec<f64>> = (0..n).map(unit).collect();
    for at in 0..n {
        let pivot = matrix[at][at];
        matrix[at].iter_mut().chain(&mut res[at]).for_each(|it| *it /= pivot);
        let (of_matrix, of_res) = (matrix[at].clone(), res[at].clone());
        for i in (0..n).filter(|i| *i != at) {
            let factor = matrix[i][at];
            let less = |row: &mut Vec<f64>, by: &[f64]| {
                row.iter_mut().zip(by).for_each(|(it, by)| *it -= factor * by);
            };
            less(&mut matrix[i], &of_matrix);
            less(&mut res[i], &of_res);
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::SplitMix64;

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
                let spread = case["spread"][&it.arm].as_f64().unwrap();
                let (low, high) = it.interval;
                assert!((high - it.rating - spread).abs() < 0.01, "{it:?} is not ± {spread}");
                assert!((it.rating - low - spread).abs() < 0.01, "{it:?} is not ± {spread}");
            }
        }
    }

    #[test]
    fn one_vote_tells_little() {
        let found = ratings(&[vote("a", "b", Choice::Left)]);
        assert!(found[0].rating > found[1].rating);
        assert!(found[0].rating - found[1].rating < SCALE, "one vote is no tenfold strength");
        for it in &found {
            let (low, high) = it.interval;
            assert!(high - low > SCALE, "one vote leaves everything open: {it:?}");
            assert!((low..=high).contains(&CENTRE), "{it:?}");
        }
    }

    /// Intervals hold the true rating at least as often as they say, from the first vote on.
    #[test]
    fn ratings_lie_in_their_intervals_as_often_as_said() {
        const RUNS: usize = 400;
        let mut random = SplitMix64(11);
        let truths: [&[f64]; 3] = [&[0.7, 0.0, -0.7], &[0.5, -0.5], &[0.0; 4]];
        for truth in truths {
            let names: Vec<String> = (0..truth.len()).map(|i| i.to_string()).collect();
            for n_votes in [1, 10, 100] {
                let (mut n_covered, mut n_rated) = (0, 0);
                for _ in 0..RUNS {
                    let draw = |_| {
                        let a = random.below(truth.len());
                        let b = (a + 1 + random.below(truth.len() - 1)) % truth.len();
                        let uniform = (random.draw() >> 11) as f64 / (1_u64 << 53) as f64;
                        let wins = uniform < 1.0 / (1.0 + (truth[b] - truth[a]).exp());
                        let choice = if wins { Choice::Left } else { Choice::Right };
                        vote(&names[a], &names[b], choice)
                    };
                    let votes: Vec<ArenaVote> = (0..n_votes).map(draw).collect();
                    for it in ratings(&votes) {
                        let strength = truth[it.arm.parse::<usize>().unwrap()];
                        let true_rating = CENTRE + SCALE * strength / std::f64::consts::LN_10;
                        let (low, high) = it.interval;
                        n_covered += usize::from((low..=high).contains(&true_rating));
                        n_rated += 1;
                    }
                }
                let covered = n_covered as f64 / n_rated as f64;
                assert!(covered >= 0.93, "{truth:?}, {n_votes} votes: {covered}");
            }
        }
    }
}
