//! A reward model: a linear head over features of an answer, fitted to which of two answers people
//! preferred.
//!
//! That the first of two answers is preferred has the probability σ(r(first) − r(second)) (Bradley and
//! Terry 1952); what is minimised is the mean of −ln of it over the preferences, as reward models for
//! RLHF do (Ouyang et al. 2022, equation 1), with a penalty on the weights' length. What makes the
//! features is frozen, so that the loss is convex: there is one best head, whatever the start. A few
//! dozen votes are enough for that, and far too few for all weights of a model.

use serde::{Deserialize, Serialize};

/// Steps of Newton's method at most; it needs a handful.
const STEPS_MAX: usize = 50;

/// Steps of the conjugate gradients within one of them.
const INNER_MAX: usize = 100;

/// Penalties that cross-validation chooses from.
const PENALTIES: [f64; 8] = [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0];

/// Parts of the cross-validation.
const FOLDS: usize = 5;

/// Weights of the features of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// One for each feature.
    pub weights: Vec<f64>,
    /// The penalty that it was fitted with.
    pub penalty: f64,
}

/// Which of two answers was preferred.
#[derive(Debug, Clone, PartialEq)]
pub struct Preference {
    /// Features of the chosen answer.
    pub chosen: Vec<f32>,
    /// Features of the other.
    pub rejected: Vec<f32>,
    /// Preferences of one group (of one question, of documents that belong together) are never on
    /// both sides of a cross-validation.
    pub group: usize,
}

/// How well a head foretells preferences that it was not fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foretold {
    /// Mean of −ln of the probability of what was chosen.
    pub loss: f64,
    /// The share whose chosen answer has the higher reward; a tie counts half.
    pub accuracy: f64,
}

impl Head {
    /// The reward of an answer: only differences between answers to one question mean anything.
    #[must_use]
    pub fn reward(&self, features: &[f32]) -> f64 {
        self.weights.iter().zip(features).map(|(weight, it)| weight * f64::from(*it)).sum()
    }

    /// How well it foretells preferences.
    #[must_use]
    pub fn foretell(&self, preferences: &[Preference]) -> Foretold {
        let margins = preferences
            .iter()
            .map(|it| self.reward(&it.chosen) - self.reward(&it.rejected))
            .collect::<Vec<_>>();
        foretold(&margins)
    }
}

/// How well rewards foretell preferences. margins: the chosen answer's reward less the other's
#[must_use]
pub fn foretold(margins: &[f64]) -> Foretold {
    let n = margins.len().max(1) as f64;
    let right = |it: &f64| match it.total_cmp(&0.0) {
        std::cmp::Ordering::Greater => 1.0,
        _ if *it == 0.0 => 0.5,
        _ => 0.0,
    };
    Foretold {
        loss: margins.iter().map(|it| softplus(-it)).sum::<f64>() / n,
        accuracy: margins.iter().map(right).sum::<f64>() / n,
    }
}

/// Fits a head, with the penalty under which heads fitted to some groups foretell the others best.
///
/// Gives the margin of each preference under a head that knows nothing of the preference's fold, too:
/// neither its weights nor its penalty were chosen with it (nested cross-validation: Varma and Simon
/// 2006), so that what the margins foretell is no better than what comes after. Empty where there are
/// fewer than two groups.
///
/// No preferences, or features that never differ, give a head of zeros.
#[must_use]
pub fn fit(preferences: &[Preference]) -> (Head, Vec<f64>) {
    let all: Vec<Grouped> = preferences
        .iter()
        .map(|it| Grouped { difference: difference(it), group: it.group })
        .collect();
    let all: Vec<&Grouped> = all.iter().collect();
    let fitted = |to: &[&Grouped]| {
        let penalty = penalty_for(to);
        Head { weights: minimum(to, penalty), penalty }
    };
    let folds = folds(&all);
    let margins = match folds.len() {
        0 | 1 => Vec::new(),
        _ => held_out(&all, &folds, |others| fitted(others).weights),
    };
    (fitted(&all), margins)
}

/// The penalty under which heads fitted to some of the groups foretell the others best.
fn penalty_for(all: &[&Grouped]) -> f64 {
    let folds = folds(all);
    if folds.len() < 2 {
        // Nothing can be held out: the middle of what is tried.
        return PENALTIES[PENALTIES.len() / 2];
    }
    let tried = PENALTIES.into_iter().map(|penalty| {
        let margins = held_out(all, &folds, |others| minimum(others, penalty));
        (penalty, foretold(&margins).loss)
    });
    tried.min_by(|a, b| a.1.total_cmp(&b.1)).expect("several penalties are tried").0
}

/// What a preference says: the features of the chosen answer less those of the other.
struct Grouped {
    difference: Vec<f64>,
    group: usize,
}

fn difference(it: &Preference) -> Vec<f64> {
    it.chosen.iter().zip(&it.rejected).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
}

/// Places of each fold's preferences, whole groups together.
fn folds(all: &[&Grouped]) -> Vec<Vec<usize>> {
    let mut groups: Vec<usize> = all.iter().map(|it| it.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let n_folds = FOLDS.min(groups.len());
    let mut res = vec![Vec::new(); n_folds];
    for (i, it) in all.iter().enumerate() {
        let at = groups.partition_point(|group| *group < it.group);
        res[at % n_folds].push(i);
    }
    res
}

/// The margin of each preference under the weights fitted to the other folds.
fn held_out(
    all: &[&Grouped],
    folds: &[Vec<usize>],
    weights_of: impl Fn(&[&Grouped]) -> Vec<f64>,
) -> Vec<f64> {
    let mut res = vec![0.0; all.len()];
    for fold in folds {
        let others = folds.iter().filter(|it| !std::ptr::eq(*it, fold)).flatten();
        let others: Vec<&Grouped> = others.map(|&i| all[i]).collect();
        let weights = weights_of(&others);
        for &i in fold {
            res[i] = dot(&weights, &all[i].difference);
        }
    }
    res
}

/// The weights that minimise `mean(ln(1 + e^(-w·d))) + penalty/2 · |w|²`, by Newton's method, whose
/// steps conjugate gradients find without the matrix of second derivatives.
fn minimum(all: &[&Grouped], penalty: f64) -> Vec<f64> {
    let differences: Vec<&[f64]> = all.iter().map(|it| &it.difference[..]).collect();
    let n_features = differences.first().map_or(0, |it| it.len());
    let n = differences.len().max(1) as f64;
    let mut weights = vec![0.0; n_features];
    let value = |weights: &[f64]| {
        let losses = differences.iter().map(|it| softplus(-dot(weights, it)));
        losses.sum::<f64>() / n + penalty / 2.0 * dot(weights, weights)
    };
    for _ in 0..STEPS_MAX {
        let chances: Vec<f64> = differences.iter().map(|it| logistic(dot(&weights, it))).collect();
        let mut slope: Vec<f64> = weights.iter().map(|it| penalty * it).collect();
        for (it, chance) in differences.iter().zip(&chances) {
            add(&mut slope, it, (chance - 1.0) / n);
        }
        if dot(&slope, &slope).sqrt() < 1e-8 {
            break;
        }
        let curvature = |along: &[f64]| {
            let mut res: Vec<f64> = along.iter().map(|it| penalty * it).collect();
            for (it, chance) in differences.iter().zip(&chances) {
                add(&mut res, it, chance * (1.0 - chance) * dot(it, along) / n);
            }
            res
        };
        let step = solve(&curvature, &slope);
        let (before, descent) = (value(&weights), dot(&slope, &step));
        let mut length = 1.0;
        let next = loop {
            let mut next = weights.clone();
            add(&mut next, &step, -length);
            if value(&next) <= before - 1e-4 * length * descent || length < 1e-6 {
                break next;
            }
            length /= 2.0;
        };
        weights = next;
    }
    weights
}

/// `x` with `product(x) = target`, for a positive definite matrix (Hestenes and Stiefel 1952).
fn solve(product: &dyn Fn(&[f64]) -> Vec<f64>, target: &[f64]) -> Vec<f64> {
    let mut x = vec![0.0; target.len()];
    let mut rest = target.to_vec();
    let mut along = rest.clone();
    let mut size = dot(&rest, &rest);
    let enough = 1e-16 * size;
    for _ in 0..INNER_MAX {
        if size <= enough {
            break;
        }
        let image = product(&along);
        let length = size / dot(&along, &image);
        add(&mut x, &along, length);
        add(&mut rest, &image, -length);
        let next = dot(&rest, &rest);
        for (it, rest) in along.iter_mut().zip(&rest) {
            *it = rest + next / size * *it;
        }
        size = next;
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64], times: f64) {
    for (to, it) in to.iter_mut().zip(what) {
        *to += times * it;
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)`
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests;
