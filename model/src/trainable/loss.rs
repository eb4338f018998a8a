//! Losses that are weighted sums of the negative log-likelihood of tokens.
//!
//! Every method of training comes down to one: supervised training weighs each token alike; DPO and
//! KTO weigh a sequence's tokens by the derivative of their loss by its likelihood, which a pass
//! without gradients gives before. So no method needs a graph of its own.

use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

use super::{TokenBatch, TrainError, TrainableDecoder, Trained};
use crate::device::multiplies_bf16;

/// A token whose likelihood the loss looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The row of the batch that foretells it: that of the token before.
    pub row: usize,
    /// The token.
    pub id: u32,
    /// What its negative log-likelihood counts for.
    pub weight: f32,
}

/// Whose likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// The base's, as if there were no adapter.
    Base,
    /// That of the base with the adapter.
    Adapter,
}

/// A weighted sum, by its parts, and its gradients.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// `ln p` of each target.
    pub log_probs: Vec<f32>,
    /// The gradient of the sum of `-weight · ln p`.
    pub grads: Gradients,
}

/// Gradients by what is trained, in the order of [`TrainableDecoder::vars`].
#[derive(Debug, Clone)]
pub enum Gradients {
    /// On the processor, one for each variable.
    Values(Vec<Vec<f32>>),
    /// On a GPU, where the optimiser takes them: all in one, (values), f32.
    OnDevice(Tensor),
}

impl Gradients {
    /// Adds those of another part of the same step.
    pub fn add(&mut self, other: &Self) -> Result<(), TrainError> {
        match (self, other) {
            (Self::Values(sums), Self::Values(parts)) => {
                for (sum, part) in sums.iter_mut().flatten().zip(parts.iter().flatten()) {
                    *sum += part;
                }
            }
            (Self::OnDevice(sum), Self::OnDevice(part)) => *sum = (&*sum + part)?,
            _ => unreachable!("a decoder's gradients are all in one place"),
        }
        Ok(())
    }

    /// Cuts their length over all variables to `max`, where that is above zero, and gives what it
    /// was.
    pub fn clip(&mut self, max: f64) -> Result<f64, TrainError> {
        let norm = match self {
            Self::Values(all) => {
                let square = |it: &f32| f64::from(*it) * f64::from(*it);
                let of_one = |values: &Vec<f32>| values.iter().map(square).sum::<f64>();
                // Added up in one order, whatever thread was first.
                let squares: Vec<f64> = all.par_iter().map(of_one).collect();
                squares.iter().sum::<f64>().sqrt()
            }
            Self::OnDevice(all) => {
                // In rows first: a GPU adds up one long row in one place.
                let n = all.elem_count();
                let width = 1 << n.trailing_zeros().min(10);
                let rows = all.sqr()?.reshape((n / width, width))?.sum(D::Minus1)?;
                f64::from(rows.sum_all()?.to_scalar::<f32>()?).sqrt()
            }
        };
        if max > 0.0 && norm > max {
            let scale = max / norm;
            match self {
                Self::Values(all) => {
                    all.par_iter_mut().flat_map_iter(|it| it).for_each(|it| *it *= scale as f32);
                }
                Self::OnDevice(all) => *all = (&*all * scale)?,
            }
        }
        Ok(norm)
    }
}

impl TrainableDecoder {
    /// `ln p` of each target, without gradients.
    pub fn log_probs(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
        with: With,
    ) -> Result<Vec<f32>, TrainError> {
        self.check(batch)?;
        if self.is_by_hand(batch) {
            return Ok(self.log_probs_by_hand(batch, targets, with)?);
        }
        Ok(self.log_probs_over_tensors(batch, targets, with)?)
    }

    /// The sum of `-weight · ln p` over targets, by its parts, and its gradients.
    pub fn weighted(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
    ) -> Result<Weighted, TrainError> {
        self.check(batch)?;
        if self.is_by_hand(batch) {
            let (log_probs, grads) = self.weighted_by_hand(batch, targets)?;
            return Ok(Weighted { log_probs, grads: Gradients::Values(grads) });
        }
        let (log_probs, grads) = self.weighted_over_tensors(batch, targets)?;
        let grads = match self.is_on_gpu() {
            true => Gradients::OnDevice(grads),
            false => Gradients::Values(self.by_variable(&grads)?),
        };
        Ok(Weighted { log_probs, grads })
    }

    /// Gradients on the processor, one for each variable, wherever they are.
    pub fn on_processor(&self, grads: &Gradients) -> Result<Vec<Vec<f32>>, TrainError> {
        match grads {
            Gradients::Values(values) => Ok(values.clone()),
            Gradients::OnDevice(all) => self.by_variable(all),
        }
    }

    /// What holds a value for each of those that are trained, by variable.
    pub(super) fn by_variable(&self, all: &Tensor) -> Result<Vec<Vec<f32>>, TrainError> {
        let all = all.to_vec1::<f32>()?;
        let places = self.matrices().into_iter().flat_map(|(_, it)| it.places());
        Ok(places.map(|it| all[it].to_vec()).collect())
    }

    /// Whether what is trained lies on a GPU.
    pub(super) fn is_on_gpu(&self) -> bool {
        !self.options.device.is_cpu()
    }

    /// Whether it is computed over slices instead of tensors.
    fn is_by_hand(&self, batch: &TokenBatch<'_>) -> bool {
        let drops = match &self.options.trained {
            Trained::Lora(spec) => batch.dropout_seed.is_some() && spec.dropout > 0.0,
            Trained::Full => false,
        };
        let is_known = match self.options.dtype {
            DType::F32 => true,
            DType::BF16 => multiplies_bf16(),
            _ => false,
        };
        self.options.device.is_cpu() && is_known && !drops
    }
}
