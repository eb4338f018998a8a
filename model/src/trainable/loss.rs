//! Losses that are weighted sums of the negative log-likelihood of tokens.
//!
//! Every method of training comes down to one: supervised training weighs each token alike; DPO and
//! KTO weigh a sequence's tokens by the derivative of their loss by its likelihood, which a pass
//! without gradients gives before. So no method needs a graph of its own.

use candle_core::{D, DType, Tensor};

use super::ops::known;
use super::{TokenBatch, TrainError, TrainableDecoder, Trained};

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
    /// The gradient of the sum of `-weight · ln p`, by the order of
    /// [`TrainableDecoder::vars`].
    pub grads: Vec<Vec<f32>>,
}

/// Rows whose logits are in memory together.
const LOGIT_ROWS: usize = 256;

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
        self.log_probs_over_tensors(batch, targets, with)
    }

    pub(super) fn log_probs_over_tensors(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
        with: With,
    ) -> Result<Vec<f32>, TrainError> {
        let hidden = self.hidden_with(batch, with)?.detach();
        Ok(self.of_rows(&hidden, targets)?.0)
    }

    /// The sum of `-weight · ln p` over targets, by its parts, and its gradients.
    pub fn weighted(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
    ) -> Result<Weighted, TrainError> {
        self.check(batch)?;
        if self.is_by_hand(batch) {
            return Ok(self.weighted_by_hand(batch, targets)?);
        }
        self.weighted_over_tensors(batch, targets)
    }

    pub(super) fn weighted_over_tensors(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
    ) -> Result<Weighted, TrainError> {
        let mut log_probs = Vec::new();
        let (_, grads) = self.gradients(batch, |hidden| {
            let (parts, of_hidden) = self.of_rows(&hidden.detach(), targets)?;
            let sum: f32 = parts.iter().zip(targets).map(|(part, it)| -part * it.weight).sum();
            log_probs = parts;
            let sum = Tensor::new(sum, hidden.device())?;
            known("weighted-loss", hidden, sum, move |x, grad| {
                of_hidden.broadcast_mul(&grad.to_dtype(x.dtype())?)
            })
        })?;
        let flat = |it: &Tensor| it.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let grads = grads.iter().map(flat).collect::<candle_core::Result<_>>()?;
        Ok(Weighted { log_probs, grads })
    }

    /// `ln p` of each target, and the gradient of the weighted sum with respect to `hidden`.
    fn of_rows(
        &self,
        hidden: &Tensor,
        targets: &[Target],
    ) -> candle_core::Result<(Vec<f32>, Tensor)> {
        let device = hidden.device();
        let mut log_probs = Vec::with_capacity(targets.len());
        let mut of_hidden = hidden.zeros_like()?;
        for targets in targets.chunks(LOGIT_ROWS) {
            let column = |values: Vec<u32>| Tensor::from_vec(values, targets.len(), device);
            let rows = column(targets.iter().map(|it| it.row as u32).collect())?;
            let ids = column(targets.iter().map(|it| it.id).collect())?.unsqueeze(1)?;
            let weights: Vec<f32> = targets.iter().map(|it| it.weight).collect();
            let weights = Tensor::from_vec(weights, (targets.len(), 1), device)?;
            let logits = self.logits(&hidden.index_select(&rows, 0)?)?.to_dtype(DType::F32)?;
            let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
            let total = logits.exp()?.sum_keepdim(D::Minus1)?;
            let of_chunk = (logits.gather(&ids, 1)? - total.log()?)?;
            log_probs.extend(of_chunk.flatten_all()?.to_vec1::<f32>()?);
            let shares = logits.exp()?.broadcast_div(&total)?.broadcast_mul(&weights)?;
            let of_logits = shares.scatter_add(&ids, &weights.neg()?, 1)?;
            let of_rows = self.lm_head.back(&of_logits.to_dtype(hidden.dtype())?)?; // (targets, hidden)
            of_hidden = of_hidden.index_add(&rows, &of_rows, 0)?;
        }
        Ok((log_probs, of_hidden))
    }

    /// Whether it is computed over slices instead of tensors.
    fn is_by_hand(&self, batch: &TokenBatch<'_>) -> bool {
        let drops = match &self.options.trained {
            Trained::Lora(spec) => batch.dropout_seed.is_some() && spec.dropout > 0.0,
            Trained::Full => false,
        };
        self.options.device.is_cpu() && self.options.dtype == DType::F32 && !drops
    }
}
