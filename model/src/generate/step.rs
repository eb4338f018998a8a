//! One forward pass for all drafts in the making.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{GenerateError, Generator, Request};
use crate::constrain::Compiler;
use crate::decoder::{Decoder, Piece, adapted_rows};
use crate::device;
use crate::kv_cache::PAGE;
use crate::lora::PackedAdapter;
use crate::prefixes::common;
use crate::sample::Sampler;
use crate::sequence::Sequence;

/// Tokens of prompts that are read at once: enough to use the weights well, few enough that
/// progress is shown and a cancellation is obeyed.
pub(super) const PIECE_TOKENS: usize = 256;
/// The same while others write, who get a token with each piece.
const SHARED_PIECE_TOKENS: usize = 64;

/// What one sequence reads in a step.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    n_tokens: usize,
    is_prompt: bool,
}

impl Generator {
    /// Checks a request and makes it ready for its first step.
    pub(crate) fn start(&mut self, request: &Request) -> Result<Sequence, GenerateError> {
        let adapter = self.adapters.find(request.adapter.as_deref())?;
        self.start_with(request, adapter)
    }

    /// The same with an adapter that was found before.
    pub(crate) fn start_with(
        &mut self,
        request: &Request,
        adapter: Option<Arc<PackedAdapter>>,
    ) -> Result<Sequence, GenerateError> {
        let Request { prompt, options, .. } = request;
        let (n_tokens, context_length) = (prompt.len(), self.context_length());
        let vocab_size = self.decoder.config.vocab_size;
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if n_tokens >= context_length {
            return Err(GenerateError::PromptTooLong { n_tokens, context_length });
        }
        let biased = options.logit_bias.iter().map(|(id, _)| id);
        if let Some(&id) = prompt.iter().chain(biased).find(|&&id| id as usize >= vocab_size) {
            return Err(GenerateError::UnknownToken { id, vocab_size });
        }
        if let Some(problem) = options.problem() {
            return Err(GenerateError::Options { problem });
        }
        let grammar = match &options.constraint {
            None => None,
            Some(constraint) => {
                let failed = |problem| GenerateError::Constraint { problem };
                if self.compiler.is_none() {
                    let compiler = Compiler::new(&self.encoder.tokenizer, &self.ends);
                    self.compiler = Some(compiler.map_err(failed)?);
                }
                let compiler = self.compiler.as_ref().expect("made a moment ago");
                Some(compiler.compile(constraint).map_err(failed)?)
            }
        };
        let sampler = Sampler::new(options.clone(), prompt, grammar);
        let state = (self.decoder.cache(), adapter);
        let mut sequence = Sequence::new(prompt, sampler, state, context_length - n_tokens);
        sequence.arrival = self.n_started;
        self.n_started += 1;
        self.prefixes.forget_unless(|id| self.adapters.contains(id));
        Ok(sequence)
    }

    /// Has every sequence that writes choose its next token, and reads on in prompts, all in one
    /// forward pass. After an error the sequences are of no further use.
    pub(crate) fn step(&mut self, sequences: &mut [&mut Sequence]) -> Result<(), GenerateError> {
        #[cfg(test)]
        assert_ne!(self.panics_at, Some(self.n_steps), "a test asked for it");
        // Rows of one adapter are computed together.
        sequences.sort_by_key(|it| (it.adapter_id(), it.arrival));
        let plan = self.plan(sequences);
        let logits = device::on_pool(|| forward(&self.decoder, sequences, &plan))?;
        let mut logits = logits.into_iter();
        for (sequence, part) in sequences.iter_mut().zip(plan).filter(|it| it.1.n_tokens > 0) {
            if part.is_prompt {
                sequence.has_read();
            }
            if sequence.is_reading() {
                continue;
            }
            if part.is_prompt {
                self.keep(sequence);
            }
            let mut logits = logits.next().expect("logits for each complete sequence");
            sequence.choose(&mut logits, &self.encoder.tokenizer, &self.ends);
        }
        self.n_steps += 1;
        Ok(())
    }

    /// What each sequence reads in this step: all that write their last token; of those whose
    /// prompts are unread, as much as there is room for.
    fn plan(&mut self, sequences: &mut [&mut Sequence]) -> Vec<Part> {
        let mut plan = vec![Part::default(); sequences.len()];
        let mut readers = Vec::new();
        let mut room = PIECE_TOKENS;
        for (idx, sequence) in sequences.iter().enumerate().filter(|it| !it.1.is_done()) {
            if sequence.is_reading() {
                readers.push(idx);
            } else {
                plan[idx].n_tokens = 1;
                room = SHARED_PIECE_TOKENS;
            }
        }
        // The oldest first, and every other time the shortest, so that neither waits long.
        readers.sort_by_key(|&idx| match self.n_steps % 2 {
            0 => sequences[idx].arrival,
            _ => sequences[idx].n_unread(),
        });
        for idx in readers {
            self.share(sequences, idx);
            if !awaits_another(sequences, &plan, idx) {
                let n_tokens = sequences[idx].n_unread().min(room);
                plan[idx] = Part { n_tokens, is_prompt: true };
                room -= n_tokens;
            }
        }
        plan
    }

    /// Takes over what another sequence or an earlier prompt has of the same beginning. A prompt's
    /// last token is always read, because its logits are needed.
    fn share(&mut self, sequences: &mut [&mut Sequence], idx: usize) {
        let reader = &*sequences[idx];
        let wanted = &reader.prompt()[..reader.prompt().len() - 1];
        let mut best = self.prefixes.find(wanted, reader.adapter_id(), reader.cache.len());
        for other in sequences.iter().filter(|it| it.adapter_id() == reader.adapter_id()) {
            let known = best.as_ref().unwrap_or(&reader.cache).len();
            let shared = common(&other.ids[..other.cache.len()], wanted);
            if shared > known {
                best = Some(other.cache.fork(shared));
            }
        }
        if let Some(cache) = best {
            sequences[idx].take_over(cache);
        }
    }

    /// Remembers what a sequence has read and written, for prompts that begin alike.
    pub(crate) fn keep(&mut self, sequence: &Sequence) {
        let adapter = sequence.adapter_id();
        if adapter.is_none_or(|id| self.adapters.contains(id)) {
            self.prefixes.keep(&sequence.ids, adapter, &sequence.cache);
        }
    }
}

/// Runs the plan. The result has the logits after the last token of each sequence that is read
/// to its end, in their order.
fn forward(
    decoder: &Decoder,
    sequences: &mut [&mut Sequence],
    plan: &[Part],
) -> candle_core::Result<Vec<Vec<f32>>> {
    let mut pieces = Vec::new();
    let mut ends = Vec::new(); // Rows whose logits are wanted.
    let mut of_ends = Vec::new(); // And their adapters.
    let mut rows = 0;
    for (sequence, part) in sequences.iter_mut().zip(plan).filter(|it| it.1.n_tokens > 0) {
        let n_tokens = part.n_tokens;
        let Sequence { ids, cache, adapter, .. } = &mut **sequence;
        let ids = &ids[cache.len()..];
        rows += n_tokens;
        let adapter = adapter.as_deref();
        if ids.len() == n_tokens {
            ends.push(rows as u32 - 1);
            of_ends.push((adapter, 1));
        }
        pieces.push(Piece { ids: &ids[..n_tokens], cache, adapter });
    }
    if pieces.is_empty() {
        return Ok(Vec::new());
    }
    let hidden = decoder.forward_batch(&mut pieces)?; // (rows, hidden)
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let ends = Tensor::new(ends, hidden.device())?;
    let last = hidden.index_select(&ends, 0)?; // (ends, hidden)
    decoder.logits(&last, &adapted_rows(of_ends.into_iter()))?.to_dtype(DType::F32)?.to_vec2()
}

/// Whether another sequence reads, in this very step, what this one would read, too.
fn awaits_another(sequences: &[&mut Sequence], plan: &[Part], idx: usize) -> bool {
    let reader = &sequences[idx];
    sequences.iter().zip(plan).any(|(other, part)| {
        let known = &other.ids[..other.cache.len() + part.n_tokens];
        other.adapter_id() == reader.adapter_id()
            && part.n_tokens > 0
            && common(known, reader.prompt()) > reader.cache.len() + PAGE
    })
}
