//! What is minimised, by method, and its gradients.
//!
//! Each comes down to a weighted sum of the log-likelihoods of tokens: see `model::trainable`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use model::trainable::{
    Gradients, Target, TokenBatch, TrainError, TrainableDecoder, Weighted, With,
};

use super::encode::{Example, Item};
use super::order::groups;
use super::settings::{Method, Settings};

/// A step's loss and gradients.
#[derive(Debug)]
pub(super) struct Step {
    /// The mean over what counts: tokens, or pairs, or answers.
    pub(super) loss: f64,
    /// Of all that is trained; none without rows.
    pub(super) grads: Option<Gradients>,
    /// Tokens that were computed.
    pub(super) n_tokens: usize,
    /// Of DPO and KTO: the share of rows for which the adapter is on the right side of the base.
    pub(super) accuracy: Option<f64>,
}

/// What a group of rows gives.
struct Part {
    loss: f64,
    /// Weights of each example's tokens, as the items give their examples.
    weights: Vec<f64>,
    n_right: usize,
}

/// What is minimised over some rows.
pub(super) struct Objective<'a> {
    pub(super) settings: &'a Settings,
    pub(super) decoder: &'a TrainableDecoder,
    pub(super) items: &'a [Item],
    /// Log-likelihoods of each row's examples under the base, where they have been asked for.
    references: HashMap<usize, Vec<f64>>,
}

impl<'a> Objective<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        decoder: &'a TrainableDecoder,
        items: &'a [Item],
    ) -> Self {
        Self { settings, decoder, items, references: HashMap::new() }
    }

    /// The loss of some rows and its gradients.
    pub(super) fn step(&mut self, rows: &[usize], dropout_seed: u64) -> Result<Step, TrainError> {
        let total = self.total(rows);
        let mut res = Step { loss: 0.0, grads: None, n_tokens: 0, accuracy: None };
        let far = self.far_from_base(rows)?;
        let mut n_right = 0;
        for (idx, group) in self.groups(rows).into_iter().enumerate() {
            let examples = self.examples(&group);
            let part = self.part(&group, total, far, Wanted::Gradients)?;
            let (sequences, targets) = packed(&examples, &part.weights);
            let batch = TokenBatch {
                sequences: &sequences,
                dropout_seed: Some(dropout_seed.wrapping_add(idx as u64)),
            };
            let Weighted { log_probs, grads } = self.decoder.weighted(&batch, &targets)?;
            res.loss += match self.settings.method {
                Method::Dpo | Method::Kto => part.loss,
                Method::Lora | Method::Full | Method::Cpt => -log_probs
                    .iter()
                    .zip(&targets)
                    .map(|(log_prob, it)| f64::from(*log_prob) * f64::from(it.weight))
                    .sum::<f64>(),
            };
            n_right += part.n_right;
            res.n_tokens += batch.n_tokens();
            match &mut res.grads {
                Some(sum) => sum.add(&grads)?,
                None => res.grads = Some(grads),
            }
        }
        res.accuracy = self.accuracy(n_right, rows.len());
        Ok(res)
    }

    /// The mean loss of some rows, without gradients; and the share on the right side. `flow` is
    /// asked before each batch; `None` where it says to stop.
    pub(super) fn loss(
        &mut self,
        rows: &[usize],
        flow: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<(f64, Option<f64>)>, TrainError> {
        let total = self.total(rows);
        let (mut loss, mut n_right) = (0.0, 0);
        // As many together as in training: what KTO measures depends on it.
        for rows in rows.chunks(self.settings.batch) {
            if flow().is_break() {
                return Ok(None);
            }
            let far = self.far_from_base(rows)?;
            for group in self.groups(rows) {
                let part = self.part(&group, total, far, Wanted::Loss)?;
                loss += part.loss;
                n_right += part.n_right;
            }
        }
        Ok(Some((loss, self.accuracy(n_right, rows.len()))))
    }

    fn accuracy(&self, n_right: usize, n_rows: usize) -> Option<f64> {
        matches!(self.settings.method, Method::Dpo | Method::Kto)
            .then(|| n_right as f64 / n_rows.max(1) as f64)
    }

    /// What the loss is a mean over.
    fn total(&self, rows: &[usize]) -> f64 {
        let of_row = |&row: &usize| match &self.items[row] {
            Item::Whole(example) => example.learned.len(),
            Item::Pair { .. } | Item::Labelled { .. } => 1,
        };
        rows.iter().map(of_row).sum::<usize>() as f64
    }

    fn groups(&self, rows: &[usize]) -> Vec<Vec<usize>> {
        let n_tokens = |row: usize| self.items[row].n_tokens();
        groups(rows.to_vec(), n_tokens, self.settings.tokens_at_once)
    }

    fn examples(&self, rows: &[usize]) -> Vec<&'a Example> {
        let items = self.items;
        rows.iter().flat_map(|&row| items[row].examples()).collect()
    }

    /// What a group adds to the mean, and what its tokens weigh in the gradient.
    fn part(
        &mut self,
        group: &[usize],
        total: f64,
        far: f64,
        wanted: Wanted,
    ) -> Result<Part, TrainError> {
        let examples = self.examples(group);
        match self.settings.method {
            Method::Lora | Method::Full | Method::Cpt => {
                let weights = vec![1.0 / total; examples.len()];
                let loss = match wanted {
                    // The gradients bring it along.
                    Wanted::Gradients => 0.0,
                    Wanted::Loss => {
                        -self.sums(&examples, With::Adapter)?.iter().sum::<f64>() / total
                    }
                };
                Ok(Part { loss, weights, n_right: 0 })
            }
            Method::Dpo => {
                let ratios = self.ratios(group)?;
                Ok(dpo(&ratios, self.settings.beta, total))
            }
            Method::Kto => {
                let ratios = self.ratios(group)?;
                let is_good =
                    |&row: &usize| matches!(self.items[row], Item::Labelled { is_good: true, .. });
                let labels: Vec<bool> = group.iter().map(is_good).collect();
                Ok(kto(&ratios, &labels, far, (self.settings.beta, total)))
            }
        }
    }

    /// How much likelier each example of a group is with the adapter than without: the difference
    /// of logarithms.
    fn ratios(&mut self, group: &[usize]) -> Result<Vec<f64>, TrainError> {
        let unknown: Vec<usize> =
            group.iter().copied().filter(|it| !self.references.contains_key(it)).collect();
        if !unknown.is_empty() {
            let sums = self.sums(&self.examples(&unknown), With::Base)?;
            let mut sums = sums.into_iter();
            for row in unknown {
                let n = self.items[row].examples().len();
                self.references.insert(row, sums.by_ref().take(n).collect());
            }
        }
        let sums = self.sums(&self.examples(group), With::Adapter)?;
        let references = group.iter().flat_map(|it| &self.references[it]);
        Ok(sums.iter().zip(references).map(|(sum, reference)| sum - reference).collect())
    }

    /// KTO's estimate of how far the adapter has gone from the base: how much likelier the answers
    /// of other rows have become after each prompt, zero at least.
    fn far_from_base(&self, rows: &[usize]) -> Result<f64, TrainError> {
        if self.settings.method != Method::Kto || rows.len() < 2 {
            return Ok(0.0);
        }
        let examples = self.examples(rows);
        let others = examples.iter().cycle().skip(1);
        let mismatched: Vec<Example> =
            examples.iter().zip(others).map(|(it, other)| mismatch(it, other)).collect();
        let (mut sum, tokens_max) = (0.0, self.settings.tokens_at_once);
        let fits = |it: &&Example| it.ids.len() <= self.decoder.context_length();
        let kept: Vec<&Example> = mismatched.iter().filter(fits).collect();
        let n_tokens = |it: usize| kept[it].ids.len();
        for group in groups((0..kept.len()).collect(), n_tokens, tokens_max) {
            let group: Vec<&Example> = group.iter().map(|&it| kept[it]).collect();
            let with = self.sums(&group, With::Adapter)?;
            let without = self.sums(&group, With::Base)?;
            sum += with.iter().zip(without).map(|(a, b)| a - b).sum::<f64>();
        }
        Ok((sum / kept.len().max(1) as f64).max(0.0))
    }

    /// The log-likelihood of what is learned of each example.
    fn sums(&self, examples: &[&Example], with: With) -> Result<Vec<f64>, TrainError> {
        let (sequences, targets) = packed(examples, &vec![1.0; examples.len()]);
        let batch = TokenBatch { sequences: &sequences, dropout_seed: None };
        let log_probs = self.decoder.log_probs(&batch, &targets, with)?;
        let mut rest = log_probs.iter();
        let of_example =
            |it: &&Example| rest.by_ref().take(it.learned.len()).map(|&it| f64::from(it)).sum();
        Ok(examples.iter().map(of_example).collect())
    }
}

/// Whether a group's loss is wanted, or what its gradients need.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Gradients,
    Loss,
}

/// `-ln σ(β · (chosen - rejected))`, the mean over pairs. ratios: chosen and rejected in turn
fn dpo(ratios: &[f64], beta: f64, total: f64) -> Part {
    let mut res = Part { loss: 0.0, weights: Vec::new(), n_right: 0 };
    for pair in ratios.chunks_exact(2) {
        let margin = beta * (pair[0] - pair[1]);
        res.loss += softplus(-margin) / total;
        let weight = beta * logistic(-margin) / total;
        res.weights.extend([weight, -weight]);
        res.n_right += usize::from(margin > 0.0);
    }
    res
}

/// `1 - σ(β · (ratio - far))` of good answers, `1 - σ(β · (far - ratio))` of bad ones.
fn kto(ratios: &[f64], labels: &[bool], far: f64, (beta, total): (f64, f64)) -> Part {
    let mut res = Part { loss: 0.0, weights: Vec::new(), n_right: 0 };
    for (ratio, is_good) in ratios.iter().zip(labels) {
        let sign = if *is_good { 1.0 } else { -1.0 };
        let value = logistic(sign * beta * (ratio - far));
        res.loss += (1.0 - value) / total;
        res.weights.push(sign * beta * value * (1.0 - value) / total);
        res.n_right += usize::from(sign * ratio > 0.0);
    }
    res
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)`
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The prompt of one example and the answer of another.
fn mismatch(prompt: &Example, answer: &Example) -> Example {
    let at = |it: &Example| it.learned.first().copied().unwrap_or_default();
    let mut ids = prompt.ids[..at(prompt)].to_vec();
    let first = ids.len();
    ids.extend(answer.learned.iter().map(|&it| answer.ids[it]));
    Example { learned: (first..ids.len()).collect(), ids }
}

/// Examples one after the other, and what is learned of them, each with its weight.
fn packed<'a>(examples: &[&'a Example], weights: &[f64]) -> (Vec<&'a [u32]>, Vec<Target>) {
    let mut targets = Vec::new();
    let mut first_row = 0;
    for (example, weight) in examples.iter().zip(weights) {
        // A token is foretold by the row of the one before.
        targets.extend(example.learned.iter().map(|&at| Target {
            row: first_row + at - 1,
            id: example.ids[at],
            weight: *weight as f32,
        }));
        first_row += example.ids.len();
    }
    (examples.iter().map(|it| it.ids.as_slice()).collect(), targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights are the derivative of the loss by each log-likelihood, negated.
    #[track_caller]
    fn check(loss: impl Fn(&[f64]) -> Part, ratios: &[f64]) {
        let weights = loss(ratios).weights;
        for idx in 0..ratios.len() {
            let at = |step: f64| {
                let mut ratios = ratios.to_vec();
                ratios[idx] += step;
                loss(&ratios).loss
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope + weights[idx]).abs() < 1e-8, "{slope} {}", weights[idx]);
        }
    }

    #[test]
    fn weights_are_derivatives() {
        let ratios = [0.4, -0.3, -2.0, 1.5];
        check(|it| dpo(it, 0.1, 2.0), &ratios);
        check(|it| dpo(it, 0.7, 2.0), &ratios);
        check(|it| kto(it, &[true, false, false, true], 0.2, (0.3, 4.0)), &ratios);
    }

    #[test]
    fn losses_have_known_values() {
        let part = dpo(&[1.0, 1.0], 0.1, 1.0);
        assert!((part.loss - std::f64::consts::LN_2).abs() < 1e-12);
        // -ln σ(0.1 · 3)
        let part = dpo(&[2.0, -1.0], 0.1, 1.0);
        assert!((part.loss - 0.554_355_244_468_527).abs() < 1e-12 && part.n_right == 1);
        let part = kto(&[0.0, 0.0], &[true, false], 0.0, (0.1, 2.0));
        assert!((part.loss - 0.5).abs() < 1e-12);
        assert!(part.weights[0] > 0.0 && part.weights[1] < 0.0);
        assert!(softplus(800.0) == 800.0 && softplus(-800.0) == 0.0);
    }

    #[test]
    fn a_mismatch_is_one_prompt_and_another_answer() {
        let example = |ids: &[u32], learned: &[usize]| Example {
            ids: ids.to_vec(),
            learned: learned.to_vec(),
        };
        let res = mismatch(&example(&[1, 2, 3, 4], &[2, 3]), &example(&[5, 6, 7, 8], &[1, 2]));
        assert_eq!(res, example(&[1, 2, 6, 7], &[2, 3]));
    }
}
