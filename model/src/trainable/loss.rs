//! Losses that are weighted sums of the negative log-likelihood of tokens.
//!
//! Every method of training comes down to one: supervised training weighs each token alike; DPO and
//! KTO weigh a sequence's tokens by the derivative of their loss by its likelihood, which a pass
//! without gradients gives before. So no method needs a graph of its own.

use candle_core::{D, DType, Tensor};

use super::lora::Factors;
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

/// What the rows of targets give.
struct OfRows {
    /// `ln p` of each target.
    log_probs: Vec<f32>,
    /// The gradient of the weighted sum with respect to the output of the last layer.
    of_hidden: Tensor,
    /// And to A and B beside the output matrix.
    of_factors: Option<[Tensor; 2]>,
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
        let factors = self.head_factors.as_ref().filter(|_| with == With::Adapter);
        Ok(self.of_rows(&hidden, targets, (factors, batch.dropout_seed))?.log_probs)
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
        let mut of_factors = None;
        let (_, mut grads) = self.gradients(batch, |hidden| {
            let head = (self.head_factors.as_ref(), batch.dropout_seed);
            let of_rows = self.of_rows(&hidden.detach(), targets, head)?;
            let parts = of_rows.log_probs.iter().zip(targets);
            let sum: f32 = parts.map(|(part, it)| -part * it.weight).sum();
            let of_hidden = of_rows.of_hidden;
            (log_probs, of_factors) = (of_rows.log_probs, of_rows.of_factors);
            let sum = Tensor::new(sum, hidden.device())?;
            known("weighted-loss", hidden, sum, move |x, grad| {
                of_hidden.broadcast_mul(&grad.to_dtype(x.dtype())?)
            })
        })?;
        grads.extend(of_factors.into_iter().flatten());
        let flat = |it: &Tensor| it.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let grads = grads.iter().map(flat).collect::<candle_core::Result<_>>()?;
        Ok(Weighted { log_probs, grads })
    }

    /// What targets give; with factors beside the output matrix, and a seed for what they leave out.
    fn of_rows(
        &self,
        hidden: &Tensor,
        targets: &[Target],
        (factors, seed): (Option<&Factors>, Option<u64>),
    ) -> candle_core::Result<OfRows> {
        let device = hidden.device();
        let mut log_probs = Vec::with_capacity(targets.len());
        let mut of_hidden = hidden.zeros_like()?;
        let mut of_factors: Option<[Tensor; 2]> = None;
        for (targets, part) in targets.chunks(LOGIT_ROWS).zip(0..) {
            let seed = seed.map(|it| it.wrapping_add(part));
            let column = |values: Vec<u32>| Tensor::from_vec(values, targets.len(), device);
            let rows = column(targets.iter().map(|it| it.row as u32).collect())?;
            let ids = column(targets.iter().map(|it| it.id).collect())?.unsqueeze(1)?;
            let weights: Vec<f32> = targets.iter().map(|it| it.weight).collect();
            let weights = Tensor::from_vec(weights, (targets.len(), 1), device)?;
            let inputs = hidden.index_select(&rows, 0)?; // (targets, hidden)
            let mut logits = self.lm_head.forward(&inputs)?;
            if let Some(factors) = factors {
                logits = (logits + factors.forward(&inputs, seed)?.detach())?;
            }
            let logits = logits.to_dtype(DType::F32)?;
            let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
            let total = logits.exp()?.sum_keepdim(D::Minus1)?;
            let of_chunk = (logits.gather(&ids, 1)? - total.log()?)?;
            log_probs.extend(of_chunk.flatten_all()?.to_vec1::<f32>()?);
            let shares = logits.exp()?.broadcast_div(&total)?.broadcast_mul(&weights)?;
            let of_logits = shares.scatter_add(&ids, &weights.neg()?, 1)?;
            let of_logits = of_logits.to_dtype(hidden.dtype())?;
            let mut of_rows = self.lm_head.back(&of_logits)?; // (targets, hidden)
            if let Some(factors) = factors {
                let (of_inputs, [of_a, of_b]) = factors.back(&inputs, &of_logits, seed)?;
                of_rows = (of_rows + of_inputs)?;
                of_factors = Some(match of_factors {
                    Some([a, b]) => [(a + of_a)?, (b + of_b)?],
                    None => [of_a, of_b],
                });
            }
            of_hidden = of_hidden.index_add(&rows, &of_rows, 0)?;
        }
        Ok(OfRows { log_probs, of_hidden, of_factors })
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
