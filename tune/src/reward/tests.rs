use super::*;

/// Numbers from -1 to 1 that are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

fn preference(chosen: &[f64], rejected: &[f64], group: usize) -> Preference {
    let of = |it: &[f64]| it.iter().map(|it| *it as f32).collect();
    Preference { chosen: of(chosen), rejected: of(rejected), group }
}

/// Preferences that follow `truth` as Bradley and Terry have it.
fn sample(truth: &[f64], n: usize, noise: &mut Noise) -> Vec<Preference> {
    let mut res = Vec::new();
    for group in 0..n {
        let mut answer = || truth.iter().map(|_| noise.next()).collect::<Vec<f64>>();
        let (a, b) = (answer(), answer());
        let chance = logistic(dot(truth, &a) - dot(truth, &b));
        let first = (noise.next() + 1.0) / 2.0 < chance;
        res.push(if first { preference(&a, &b, group) } else { preference(&b, &a, group) });
    }
    res
}

fn grouped(preferences: &[Preference]) -> Vec<Grouped> {
    let of = |it: &Preference| Grouped { difference: difference(it), group: it.group };
    preferences.iter().map(of).collect()
}

#[test]
fn the_minimum_is_one() {
    let mut noise = Noise(1);
    let all = grouped(&sample(&[2.0, -1.0, 0.0, 0.5], 60, &mut noise));
    let penalty = 0.05;
    let weights = minimum(&all.iter().collect::<Vec<_>>(), penalty);
    let value = |weights: &[f64]| {
        let losses = all.iter().map(|it| softplus(-dot(weights, &it.difference)));
        losses.sum::<f64>() / 60.0 + penalty / 2.0 * dot(weights, weights)
    };
    for at in 0..4 {
        for step in [-1e-3, 1e-3] {
            let mut moved = weights.clone();
            moved[at] += step;
            assert!(value(&moved) > value(&weights), "feature {at}");
        }
    }
}

#[test]
fn weights_come_near_to_what_made_the_preferences() {
    let truth = [3.0, -2.0, 0.0, 1.0, 0.0];
    let mut noise = Noise(7);
    let (head, margins) = fit(&sample(&truth, 3_000, &mut noise));
    for (found, truth) in head.weights.iter().zip(truth) {
        assert!((found - truth).abs() < 0.35, "{:?}", head.weights);
    }
    let fresh = head.foretell(&sample(&truth, 3_000, &mut noise));
    let held_out = foretold(&margins);
    // What is held out says what comes after.
    assert!((fresh.accuracy - held_out.accuracy).abs() < 0.03, "{fresh:?} {held_out:?}");
    assert!(fresh.accuracy > 0.8);
}

#[test]
fn preferences_by_chance_are_not_foretold() {
    let mut noise = Noise(3);
    let (head, margins) = fit(&sample(&[0.0; 40], 120, &mut noise));
    let held_out = foretold(&margins);
    assert!((held_out.accuracy - 0.5).abs() < 0.15, "{held_out:?}");
    // The penalty that suits noise is a high one.
    assert!(head.penalty >= 1.0, "{}", head.penalty);
}

#[test]
fn a_group_is_never_on_both_sides() {
    let all: Vec<Preference> = (0..30).map(|i| preference(&[1.0], &[0.0], i / 5)).collect();
    let grouped = grouped(&all);
    for fold in folds(&grouped.iter().collect::<Vec<_>>()) {
        let groups = |it: &[usize]| it.iter().map(|&i| all[i].group).collect::<Vec<_>>();
        let others: Vec<usize> = (0..30).filter(|it| !fold.contains(it)).collect();
        assert!(groups(&fold).iter().all(|it| !groups(&others).contains(it)));
    }
}

/// What a fold prefers decides nothing about the head that foretells it, its penalty included.
#[test]
fn a_fold_is_foretold_without_a_look_at_it() {
    let mut noise = Noise(11);
    let all = sample(&[0.4, -0.2, 0.0, 0.0, 0.0, 0.0], 40, &mut noise);
    let folds = {
        let grouped = grouped(&all);
        folds(&grouped.iter().collect::<Vec<_>>())
    };
    let (head, margins) = fit(&all);
    let mut n_other_penalties = 0;
    for fold in folds {
        let mut turned = all.clone();
        for &i in &fold {
            let it = &mut turned[i];
            std::mem::swap(&mut it.chosen, &mut it.rejected);
        }
        let (other, found) = fit(&turned);
        for &i in &fold {
            assert!((found[i] + margins[i]).abs() < 1e-12, "{} {}", found[i], margins[i]);
        }
        n_other_penalties += usize::from(other.penalty != head.penalty);
    }
    assert!(n_other_penalties > 0, "the penalty of all does depend on each fold");
}

#[test]
fn little_data_gives_no_nonsense() {
    assert_eq!(fit(&[]).0.weights, Vec::<f64>::new());
    let (head, margins) = fit(&[preference(&[1.0, 0.0], &[1.0, 0.0], 0)]);
    assert_eq!((head.weights, margins), (vec![0.0, 0.0], Vec::new()));
    let (head, _) = fit(&[preference(&[1.0], &[0.0], 0)]);
    assert!(head.weights[0] > 0.0 && head.weights[0].is_finite());
    assert_eq!(foretold(&[1.0, 0.0, -1.0]).accuracy, 0.5);
}

#[test]
fn the_minimum_is_that_of_scipy() {
    // scipy.optimize.minimize (BFGS, then Nelder-Mead) of the same function.
    let differences = [
        vec![1.0, 0.5, -2.0],
        vec![0.25, -1.0, 0.5],
        vec![-0.5, 2.0, 1.0],
        vec![1.5, 1.0, 0.0],
        vec![-1.0, 0.75, 0.25],
        vec![2.0, -0.5, 1.0],
    ];
    for (penalty, expected) in [
        (0.01, [1.294_224_8, 1.252_109_6, 0.532_760_4]),
        (0.3, [0.459_523_3, 0.426_782_5, 0.131_348_1]),
    ] {
        let all: Vec<Grouped> =
            differences.iter().map(|it| Grouped { difference: it.clone(), group: 0 }).collect();
        let found = minimum(&all.iter().collect::<Vec<_>>(), penalty);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
