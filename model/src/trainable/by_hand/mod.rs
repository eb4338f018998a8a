//! The decoder and its derivative over slices, for f32 on the processor.
//!
//! The same network as over candle's tensors, to which the tests hold it. There, each operation
//! makes a tensor; here, a layer keeps what its derivative needs and no more, and products are
//! added to what is there. That is several times faster and takes a fraction of the memory:
//! `docs/benchmarks.md`, "Training".

mod attention;
mod functions;
mod layer;
mod product;

use candle_core::Result;

use super::lora::Factors;
use super::{Target, TokenBatch, TrainableDecoder, With};
use crate::kernels;
use attention::Packed;
use functions::{cross_entropy, rms_norm, rms_norm_back, rms_norm_weight_back};
use layer::{Kept, Pass, values};
use product::{Put, Threads, View, multiply};

/// Rows whose logits are in memory together.
const LOGIT_ROWS: usize = 128;

/// Where the gradients of the head go.
struct HeadGrads<'a> {
    /// Of the output of the last norm; added to.
    of_hidden: &'a mut [f32],
    /// Of the matrix itself, where it is trained; added to.
    of_weight: Option<&'a mut [f32]>,
    /// Of A and B beside it, where they are; added to.
    of_factors: Option<&'a mut [Vec<f32>; 2]>,
}

/// How much of a layer is kept for its derivative.
enum Memory {
    /// All that the derivative needs.
    Whole(Box<Kept>),
    /// Its input: the layer is computed again (Chen et al. 2016).
    Input(Vec<f32>),
}

impl TrainableDecoder {
    /// See [`TrainableDecoder::log_probs`].
    pub(super) fn log_probs_by_hand(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
        with: With,
    ) -> Result<Vec<f32>> {
        self.passing(batch, with, |pass| {
            let mut x = self.embedded(batch)?;
            for layer in &self.layers {
                x = layer.keeping(x, pass)?.0;
            }
            let hidden = rms_norm(&x, &values(&self.norm)?, self.config.norm_eps);
            self.head(&hidden, targets, pass, None)
        })
    }

    /// See [`TrainableDecoder::weighted`].
    pub(super) fn weighted_by_hand(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
    ) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        self.passing(batch, With::Adapter, |pass| {
            let mut x = self.embedded(batch)?;
            let mut memory = Vec::with_capacity(self.layers.len());
            for layer in &self.layers {
                let (out, kept) = layer.keeping(x, pass)?;
                memory.push(match self.options.recompute {
                    true => Memory::Input(kept.into_input()),
                    false => Memory::Whole(Box::new(kept)),
                });
                x = out;
            }
            let (norm, eps) = (values(&self.norm)?, self.config.norm_eps);
            let hidden = rms_norm(&x, &norm, eps);
            let mut of_hidden = vec![0.0; hidden.len()];
            let is_full = self.lm_head.is_trained();
            let mut of_head = vec![0.0; if is_full { self.lm_head.values()?.len() } else { 0 }];
            let zeros = |it: &Factors| it.places().map(|it| vec![0.0; it.len()]);
            let mut of_factors = self.head_factors.as_ref().map(zeros);
            let head_grads = HeadGrads {
                of_hidden: &mut of_hidden,
                of_weight: is_full.then_some(of_head.as_mut_slice()),
                of_factors: of_factors.as_mut(),
            };
            let log_probs = self.head(&hidden, targets, pass, Some(head_grads))?;
            drop(hidden);
            let mut grad = vec![0.0; x.len()];
            rms_norm_back(&x, &norm, eps, &of_hidden, &mut grad);
            let of_norm = is_full.then(|| rms_norm_weight_back(&x, norm.len(), eps, &of_hidden));
            drop((x, of_hidden));
            let mut by_layer = Vec::with_capacity(self.layers.len());
            for (layer, memory) in self.layers.iter().zip(memory).rev() {
                let kept = match memory {
                    Memory::Whole(kept) => *kept,
                    Memory::Input(x) => layer.keeping(x, pass)?.1,
                };
                by_layer.push(layer.back(kept, &mut grad, pass)?);
            }
            let mut grads: Vec<Vec<f32>> = by_layer.into_iter().rev().flatten().collect();
            grads.extend(of_factors.into_iter().flatten());
            if let Some(of_norm) = of_norm {
                grads.push(of_norm);
                grads.extend(self.embedding_grads(batch, &grad, of_head));
            }
            Ok((log_probs, grads))
        })
    }

    fn passing<T>(
        &self,
        batch: &TokenBatch<'_>,
        with: With,
        f: impl FnOnce(&Pass<'_>) -> Result<T>,
    ) -> Result<T> {
        let lengths: Vec<usize> = batch.sequences.iter().map(|it| it.len()).collect();
        let angles = self.rope.at(lengths.iter().flat_map(|&n| 0..n));
        let (cos, sin) = angles.tables();
        let config = &self.config;
        let packed = Packed { lengths: &lengths, config };
        let factors = match with {
            With::Adapter => Some(values(&self.factors)?),
            With::Base => None,
        };
        f(&Pass { config, packed, cos, sin, factors })
    }

    /// (rows, hidden)
    fn embedded(&self, batch: &TokenBatch<'_>) -> Result<Vec<f32>> {
        let (table, hidden) = (values(&self.embed_tokens)?, self.config.hidden);
        let mut res = Vec::with_capacity(hidden * batch.n_tokens());
        for &id in batch.sequences.iter().copied().flatten() {
            let at = id as usize * hidden;
            res.extend_from_slice(&table[at..at + hidden]);
        }
        Ok(res)
    }

    /// The gradient of the embeddings, and that of the output matrix where it is another.
    fn embedding_grads(
        &self,
        batch: &TokenBatch<'_>,
        grad: &[f32],
        of_head: Vec<f32>,
    ) -> Vec<Vec<f32>> {
        let hidden = self.config.hidden;
        let (mut of_table, rest) = match self.tied {
            true => (of_head, None),
            false => (vec![0.0; of_head.len()], Some(of_head)),
        };
        let ids = batch.sequences.iter().copied().flatten();
        for (&id, grad) in ids.zip(grad.chunks_exact(hidden)) {
            let at = id as usize * hidden;
            kernels::add_bias(&mut of_table[at..at + hidden], grad);
        }
        [Some(of_table), rest].into_iter().flatten().collect()
    }

    /// `ln p` of each target; and adds gradients to where they go.
    fn head(
        &self,
        hidden: &[f32],
        targets: &[Target],
        pass: &Pass<'_>,
        mut grads: Option<HeadGrads<'_>>,
    ) -> Result<Vec<f32>> {
        use rayon::prelude::*;
        let (width, vocab_size) = (self.config.hidden, self.config.vocab_size);
        let head = self.lm_head.values()?;
        let head = View::new(&head, width);
        let factors = pass.held(self.head_factors.as_ref());
        let mut res = Vec::with_capacity(targets.len());
        let mut scores = vec![0.0; LOGIT_ROWS.min(targets.len()) * vocab_size];
        let mut grad = vec![0.0; LOGIT_ROWS.min(targets.len()) * width];
        for targets in targets.chunks(LOGIT_ROWS) {
            let scores = &mut scores[..targets.len() * vocab_size];
            let rows: Vec<f32> = targets
                .iter()
                .flat_map(|it| &hidden[it.row * width..(it.row + 1) * width])
                .copied()
                .collect();
            multiply(scores, Put::Fresh, (View::new(&rows, width), head.t()), 1.0, Threads::All);
            let low = factors.as_ref().map(|it| it.add(&rows, scores));
            let of_row = |(scores, target): (&mut [f32], &Target)| {
                cross_entropy(scores, target.id as usize, target.weight)
            };
            let log_probs: Vec<f32> =
                scores.par_chunks_mut(vocab_size).zip(targets).map(of_row).collect();
            res.extend(log_probs);
            let Some(HeadGrads { of_hidden, of_weight, of_factors }) = &mut grads else { continue };
            let grad = &mut grad[..targets.len() * width];
            multiply(grad, Put::Fresh, (View::new(scores, vocab_size), head), 1.0, Threads::All);
            if let (Some(it), Some(low), Some(sums)) = (&factors, &low, of_factors) {
                it.back((&rows, low), scores, grad, sums);
            }
            for (grad, target) in grad.chunks_exact(width).zip(targets) {
                let at = target.row * width;
                kernels::add_bias(&mut of_hidden[at..at + width], grad);
            }
            if let Some(of_weight) = of_weight {
                let both = (View::new(scores, vocab_size).t(), View::new(&rows, width));
                multiply(of_weight, Put::Sum, both, 1.0, Threads::All);
            }
        }
        Ok(res)
    }
}
