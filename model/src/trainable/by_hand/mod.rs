//! The decoder and its derivative over slices, for f32 on the processor.
//!
//! The same network as over candle's tensors, to which the tests hold it. There, each operation
//! makes a tensor; here, a layer keeps what its derivative needs and no more, and products are
//! added to what is there. That is several times faster and takes a fraction of the memory:
//! `docs/benchmarks.md`, "Training".

mod attention;
mod functions;
mod layer;
mod linear;
mod pack;
mod product;
mod spare;
mod strips;
mod sums;

use candle_core::{DType, Result};
use half::bf16;
use half::slice::HalfFloatSliceExt;

use super::{Target, TokenBatch, TrainableDecoder, With};
use crate::device::on_pool;
use crate::kernels;
use attention::Packed;
use functions::{add, cross_entropy, rms_norm, rms_norm_back, rms_norm_weight_back};
use layer::{Grads, Kept, Pass};
use linear::{back, few, forward, values};
use spare::Buffer;
pub(super) use spare::Spare;

/// Rows whose logits are in memory together, at most.
const LOGIT_ROWS: usize = 256;

/// Where the gradients of the head go.
struct HeadGrads<'a> {
    /// Of the output of the last norm; added to.
    of_hidden: &'a mut [f32],
    /// Of what is trained of the matrix or beside it; added to.
    of_matrix: &'a mut Grads,
}

/// How much of a layer is kept for its derivative.
enum Memory<'a> {
    /// All that the derivative needs.
    Whole(Box<Kept<'a>>),
    /// Its input: the layer is computed again (Chen et al. 2016).
    Input(Buffer<'a>),
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
            let mut x = self.embedded(batch, pass)?;
            for layer in &self.layers {
                x = layer.keeping(x, pass)?.0;
            }
            let mut hidden = pass.spare.take(x.len());
            rms_norm(&x, &few(&self.norm)?, self.config.norm_eps, &mut hidden);
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
            let mut x = self.embedded(batch, pass)?;
            let mut memory = Vec::with_capacity(self.layers.len());
            for layer in &self.layers {
                let (out, kept) = layer.keeping(x, pass)?;
                memory.push(match self.options.recompute {
                    true => Memory::Input(kept.into_input()),
                    false => Memory::Whole(Box::new(kept)),
                });
                x = out;
            }
            let (norm, eps) = (few(&self.norm)?, self.config.norm_eps);
            let mut hidden = pass.spare.take(x.len());
            rms_norm(&x, &norm, eps, &mut hidden);
            let mut of_hidden = pass.spare.zeros(hidden.len());
            let is_full = self.lm_head.weight.is_trained();
            let mut of_head = self.zeros_of_head(is_full);
            let head_grads = HeadGrads { of_hidden: &mut of_hidden, of_matrix: &mut of_head };
            let log_probs = self.head(&hidden, targets, pass, Some(head_grads))?;
            drop(hidden);
            let mut grad = pass.spare.zeros(x.len());
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
            match of_norm {
                Some(of_norm) => {
                    grads.push(of_norm);
                    grads.extend(self.embedding_grads(batch, &grad, of_head));
                }
                None => grads.extend(of_head),
            }
            Ok((log_probs, grads))
        })
    }

    fn passing<T: Send>(
        &self,
        batch: &TokenBatch<'_>,
        with: With,
        f: impl FnOnce(&Pass<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        let lengths: Vec<usize> = batch.sequences.iter().map(|it| it.len()).collect();
        let angles = self.rope.at(lengths.iter().flat_map(|&n| 0..n));
        let (cos, sin) = angles.tables();
        let (config, spare) = (&self.config, &self.spare);
        let packed = Packed { lengths: &lengths, config };
        on_pool(|| {
            let factors = match with {
                With::Adapter => Some(values(&self.factors)?),
                With::Base => None,
            };
            f(&Pass { config, packed, cos, sin, factors, spare })
        })
    }

    /// (rows, hidden)
    fn embedded<'a>(&self, batch: &TokenBatch<'_>, pass: &Pass<'a>) -> Result<Buffer<'a>> {
        let hidden = self.config.hidden;
        let mut res = pass.spare.take(hidden * batch.n_tokens());
        let ids = batch.sequences.iter().copied().flatten();
        let rows = res.chunks_exact_mut(hidden).zip(ids.map(|&id| id as usize * hidden));
        match self.embed_tokens.dtype() {
            DType::BF16 => {
                let table = values::<bf16>(&self.embed_tokens)?;
                rows.for_each(|(row, at)| table[at..at + hidden].convert_to_f32_slice(row));
            }
            _ => {
                let table = values::<f32>(&self.embed_tokens)?;
                rows.for_each(|(row, at)| row.copy_from_slice(&table[at..at + hidden]));
            }
        }
        Ok(res)
    }

    /// The gradient of the embeddings, and that of the output matrix where it is another; from
    /// that of the output matrix.
    fn embedding_grads(&self, batch: &TokenBatch<'_>, grad: &[f32], of_head: Grads) -> Grads {
        let hidden = self.config.hidden;
        let mut res = of_head;
        if !self.tied {
            res.insert(0, vec![0.0; self.config.vocab_size * hidden]);
        }
        let ids = batch.sequences.iter().copied().flatten();
        for (&id, grad) in ids.zip(grad.chunks_exact(hidden)) {
            let at = id as usize * hidden;
            kernels::add_bias(&mut res[0][at..at + hidden], grad);
        }
        res
    }

    fn zeros_of_head(&self, is_full: bool) -> Grads {
        let lengths = match &self.lm_head.lora {
            _ if is_full => vec![self.config.vocab_size * self.config.hidden],
            Some(factors) => factors.places().map(|it| it.len()).to_vec(),
            None => Vec::new(),
        };
        lengths.into_iter().map(|it| vec![0.0; it]).collect()
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
        let mut res = Vec::with_capacity(targets.len());
        // Parts of as good as one length: for those of the same, the same buffers serve.
        let n_parts = targets.len().div_ceil(LOGIT_ROWS).max(1);
        for targets in targets.chunks(targets.len().div_ceil(n_parts).max(1)) {
            let mut rows = pass.spare.take(targets.len() * width);
            for (row, target) in rows.chunks_exact_mut(width).zip(targets) {
                row.copy_from_slice(&hidden[target.row * width..][..width]);
            }
            let [(mut scores, low)] = forward([&self.lm_head], &rows, pass)?;
            let of_row = |(scores, target): (&mut [f32], &Target)| {
                cross_entropy(scores, target.id as usize, target.weight)
            };
            let log_probs: Vec<f32> =
                scores.par_chunks_mut(vocab_size).zip(targets).map(of_row).collect();
            res.extend(log_probs);
            let Some(HeadGrads { of_hidden, of_matrix }) = &mut grads else { continue };
            let mut of_rows = pass.spare.take(rows.len());
            let mut of_part = Grads::new();
            let into = &mut of_rows;
            back([&self.lm_head], (&rows, [&low]), [&scores], into, (pass, &mut of_part))?;
            for (grad, target) in of_rows.chunks_exact(width).zip(targets) {
                kernels::add_bias(&mut of_hidden[target.row * width..][..width], grad);
            }
            for (sum, part) in of_matrix.iter_mut().zip(&of_part) {
                add(sum, part);
            }
        }
        Ok(res)
    }
}
