//! The decoder and its derivative over tensors: on a GPU, and for what `by_hand` does not compute.
//!
//! The same network and the same derivation as over slices, to which the tests hold it. What a
//! derivative needs is kept on the device; the gradients of all factors lie in one tensor there,
//! and nothing comes to the processor before a pass is over.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod functions;
mod layer;

use candle_core::{DType, Device, Result, Tensor};

use super::{Target, TokenBatch, TrainableDecoder, With};
use functions::{Places, cross_entropy, rms_norm, rms_norm_back};
use layer::{Kept, Pass};

/// Logits that are in memory together: on the processor, and on a GPU, whose products want many
/// rows.
const LOGITS: usize = 1 << 24;
const LOGITS_ON_GPU: usize = 1 << 28;

/// How much of a layer is kept for its derivative.
enum Memory {
    /// All that the derivative needs.
    Whole(Box<Kept>),
    /// Its input: the layer is computed again (Chen et al. 2016).
    Input(Tensor),
}

/// What the rows of targets give.
struct OfRows {
    /// `ln p` of each target.
    log_probs: Vec<Tensor>,
    /// The gradient of the weighted sum with respect to the normalised output of the last layer.
    of_hidden: Option<Tensor>,
}

impl TrainableDecoder {
    /// See [`TrainableDecoder::forward`].
    pub(super) fn logits_over_tensors(&self, batch: &TokenBatch<'_>) -> Result<Tensor> {
        let (hidden, pass) = self.hidden_over_tensors(batch, With::Adapter)?;
        Ok(self.head_forward(&hidden, &pass, pass.dropout_seed)?.0)
    }

    /// The normalised output of the last layer. result: (tokens of all sequences, hidden)
    fn hidden_over_tensors(
        &self,
        batch: &TokenBatch<'_>,
        with: With,
    ) -> Result<(Tensor, Pass<'_>)> {
        let (mut x, pass) = self.start(batch, with)?;
        for layer in &self.layers {
            x = layer.tensors_kept(x, &pass)?.0;
        }
        Ok((rms_norm(&x, (&self.norm, self.config.norm_eps))?, pass))
    }

    /// See [`TrainableDecoder::log_probs`].
    pub(super) fn log_probs_over_tensors(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
        with: With,
    ) -> Result<Vec<f32>> {
        let (hidden, pass) = self.hidden_over_tensors(batch, with)?;
        on_processor(&self.tensor_head(&hidden, targets, &pass, None)?.log_probs)
    }

    /// See [`TrainableDecoder::weighted`]; the gradients of all factors, one after the other.
    pub(super) fn weighted_over_tensors(
        &self,
        batch: &TokenBatch<'_>,
        targets: &[Target],
    ) -> Result<(Vec<f32>, Tensor)> {
        let (mut x, pass) = self.start(batch, With::Adapter)?;
        let mut memory = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (out, kept) = layer.tensors_kept(x, &pass)?;
            memory.push(match self.options.recompute {
                true => Memory::Input(kept.into_input()),
                false => Memory::Whole(Box::new(kept)),
            });
            x = out;
        }
        let norm = (&self.norm, self.config.norm_eps);
        let grads = self.factors.zeros_like()?;
        let head = self.tensor_head(&rms_norm(&x, norm)?, targets, &pass, Some(&grads))?;
        let of_hidden = head.of_hidden.expect("gradients were asked for");
        let mut grad = rms_norm_back(x.zeros_like()?, &x, norm, &of_hidden)?;
        drop((x, of_hidden));
        for (layer, memory) in self.layers.iter().zip(memory).rev() {
            let kept = match memory {
                Memory::Whole(kept) => *kept,
                Memory::Input(x) => layer.tensors_kept(x, &pass)?.1,
            };
            grad = layer.tensor_back(kept, grad, &pass, &grads)?;
        }
        Ok((on_processor(&head.log_probs)?, grads))
    }

    /// The embeddings of a batch, (rows, hidden), and what the layers share.
    fn start(&self, batch: &TokenBatch<'_>, with: With) -> Result<(Tensor, Pass<'_>)> {
        let TokenBatch { sequences, dropout_seed } = *batch;
        let (config, device) = (&self.config, &self.options.device);
        let lengths: Vec<usize> = sequences.iter().map(|it| it.len()).collect();
        let length = lengths.iter().copied().max().unwrap_or_default();
        let angles = self.rope.at(0..length);
        let places = Places::new(&lengths, angles.tables(), device)?;
        let factors = match with {
            With::Adapter => Some(self.factors.to_dtype(self.options.dtype)?),
            With::Base => None,
        };
        let tiles = attention::tiles(length, config);
        let ids = Tensor::new(sequences.concat(), device)?;
        let x = self.embed_tokens.index_select(&ids, 0)?;
        Ok((x, Pass { config, places, tiles, factors, dropout_seed }))
    }

    /// The scores, and `x · Aᵀ` of the factors beside the output matrix.
    fn head_forward(
        &self,
        x: &Tensor,
        pass: &Pass<'_>,
        seed: Option<u64>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let logits = self.lm_head.weight.forward(x)?;
        let low = match (&self.lm_head.lora, &pass.factors) {
            (Some(it), Some(all)) => Some(it.add(x, &logits, all, seed)?),
            _ => None,
        };
        Ok((logits, low))
    }

    /// What targets give; with gradients where there is a place for those of the factors.
    fn tensor_head(
        &self,
        hidden: &Tensor,
        targets: &[Target],
        pass: &Pass<'_>,
        grads: Option<&Tensor>,
    ) -> Result<OfRows> {
        let device = hidden.device();
        let at_once = if device.is_cuda() { LOGITS_ON_GPU } else { LOGITS };
        let at_once = (at_once / self.config.vocab_size).max(1);
        let (mut log_probs, mut of_targets) = (Vec::new(), Vec::new());
        for (targets, part) in targets.chunks(at_once).zip(0..) {
            let seed = pass.dropout_seed.map(|it| it.wrapping_add(part));
            let rows = column(targets, |it| it.row as u32, device)?;
            let ids = column(targets, |it| it.id, device)?;
            let weights = column(targets, |it| it.weight, device)?;
            let x = hidden.index_select(&rows, 0)?; // (targets, hidden)
            let (logits, low) = self.head_forward(&x, pass, seed)?;
            let (of_chunk, of_logits) = cross_entropy(logits, &ids, &weights, grads.is_some())?;
            log_probs.push(of_chunk);
            let (Some(of_logits), Some(grads)) = (of_logits, grads) else { continue };
            let of_x = self.lm_head.weight.back(&of_logits)?;
            if let (Some(it), Some(low), Some(all)) = (&self.lm_head.lora, &low, &pass.factors) {
                it.back((&x, low), &of_logits, &of_x, (all, grads), seed)?;
            }
            of_targets.push(of_x);
        }
        let of_hidden = match grads {
            Some(_) => Some(spread(&of_targets, targets, hidden)?),
            None => None,
        };
        Ok(OfRows { log_probs, of_hidden })
    }
}

/// One number of each target, on a device.
fn column<T: candle_core::WithDType>(
    targets: &[Target],
    of: impl Fn(&Target) -> T,
    device: &Device,
) -> Result<Tensor> {
    Tensor::from_vec(targets.iter().map(of).collect(), targets.len(), device)
}

/// The gradients of targets' rows in the places of the rows. result: as hidden
fn spread(of_targets: &[Tensor], targets: &[Target], hidden: &Tensor) -> Result<Tensor> {
    let (n_rows, width) = hidden.dims2()?;
    let none = Tensor::zeros((1, width), hidden.dtype(), hidden.device())?;
    let all = Tensor::cat(&[of_targets, &[none]].concat(), 0)?;
    let mut places = vec![targets.len() as u32; n_rows];
    let mut is_once = true;
    for (target, place) in targets.iter().zip(0..) {
        is_once &= places[target.row] == targets.len() as u32;
        places[target.row] = place;
    }
    if is_once {
        return all.index_select(&Tensor::from_vec(places, n_rows, hidden.device())?, 0);
    }
    let rows = column(targets, |it| it.row as u32, hidden.device())?;
    hidden.zeros_like()?.index_add(&rows, &all.narrow(0, 0, targets.len())?, 0)
}

/// Numbers of several tensors, on the processor.
fn on_processor(parts: &[Tensor]) -> Result<Vec<f32>> {
    match parts {
        [] => Ok(Vec::new()),
        parts => Tensor::cat(parts, 0)?.to_dtype(DType::F32)?.to_vec1(),
    }
}
