//! BERT and XLM-RoBERTa encoders on packed batches.
//!
//! A batch is the tokens of several texts one after another, without padding: the products see one
//! tall matrix, and attention runs text by text (Krell et al. 2021, "Efficient Sequence Packing
//! without Cross-contamination"). A batch is computed by one thread and sized so that its
//! activations stay in that core's cache; threads take different batches and never wait for each
//! other. A batch that comes alone, a question mostly, is shared by a few (`crew`). Follows Devlin et
//! al. 2018 and the checkpoint's own names.

use crate::bert::attention::{AttentionBuffers, Heads};
use crate::checkpoint::Rows;
use crate::crew::{Crew, Finish, with_crew};
use crate::int8::{Int8Panels, QuantisedRows};
use crate::kernels::{self, LayerNorm};
use crate::packed::Packed;
use crate::panels::Panels;

mod attention;
mod config;
mod head;
mod load;
#[cfg(test)]
mod tests;

pub(crate) use head::Head;
pub(crate) use load::positions_of;

/// An encoder: token ids to one hidden vector per token.
pub(crate) struct Bert {
    hidden: usize,
    n_heads: usize,
    vocab_size: usize,
    /// Positions count from here: RoBERTa reserves the first rows for padding.
    position_start: usize,
    positions_max: usize,
    /// (vocab, hidden), read from the file row by row.
    word_embeddings: Rows,
    /// (positions, hidden)
    position_embeddings: Vec<f32>,
    /// (types, hidden)
    type_embeddings: Vec<f32>,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    /// (3 * hidden, hidden): query, key and value in one product. The query's rows are scaled by
    /// 1 / √head_dim, which the attention would otherwise do at every score.
    query_key_value: Dense,
    attention_output: Dense,
    attention_norm: LayerNorm,
    intermediate: Dense,
    output: Dense,
    output_norm: LayerNorm,
}

/// `x · weightᵀ + bias`
struct Dense {
    weight: Weight,
    bias: Vec<f32>,
}

/// A weight of shape (n_out, n_in).
enum Weight {
    Panels(Panels),
    Int8(Int8Panels),
}

impl Bert {
    /// Length of a hidden vector.
    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Most tokens of one text.
    pub(crate) fn positions_max(&self) -> usize {
        self.positions_max
    }

    /// Rows of the embedding table.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Token types that it knows: two where it was trained on pairs, one elsewhere.
    pub(crate) fn n_types(&self) -> usize {
        self.type_embeddings.len() / self.hidden
    }

    /// The last layer's hidden vectors, computed by the calling thread. result: (tokens, hidden)
    ///
    /// # Panics
    ///
    /// When an id is not below `vocab_size` or a text is longer than `positions_max`.
    pub(crate) fn forward(&self, batch: &Packed) -> Vec<f32> {
        self.pass(batch, None)
    }

    /// The same numbers, computed by several threads, of which one does `beside` first.
    pub(crate) fn forward_together(
        &self,
        batch: &Packed,
        beside: impl FnOnce() + Send,
    ) -> Vec<f32> {
        with_crew(rayon::current_num_threads(), beside, |crew| self.pass(batch, Some(crew)))
    }

    fn pass<'a>(&'a self, batch: &Packed, crew: Option<&Crew<'a>>) -> Vec<f32> {
        let mut x = self.embed_tokens(batch); // (tokens, hidden)
        let mut buffers = Buffers::default();
        for layer in &self.layers {
            layer.forward(&mut x, (&batch.lens, self.n_heads), &mut buffers, crew);
        }
        x
    }

    fn embed_tokens(&self, batch: &Packed) -> Vec<f32> {
        let hidden = self.hidden;
        let mut x = vec![0.0; batch.ids.len() * hidden];
        let mut tokens = batch.ids.iter().zip(&batch.types).zip(x.chunks_exact_mut(hidden));
        for &len in &batch.lens {
            assert!(len <= self.positions_max, "a text is cut before it is encoded");
            for (position, ((&id, &kind), x)) in tokens.by_ref().take(len).enumerate() {
                assert!((id as usize) < self.vocab_size, "checked against the tokenizer at load");
                self.word_embeddings.read(id as usize, x);
                // Families without token types have one row, which stands for all.
                let kind = usize::from(kind).min(self.n_types() - 1);
                kernels::add_bias(x, &self.type_embeddings[kind * hidden..][..hidden]);
                let at = (self.position_start + position) * hidden;
                kernels::add_bias(x, &self.position_embeddings[at..at + hidden]);
            }
        }
        self.embedding_norm.normalise(&mut x);
        x
    }
}

/// Intermediate results, kept from layer to layer so that their memory stays warm.
#[derive(Default)]
struct Buffers {
    qkv: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    inner: Vec<f32>,
    attention: AttentionBuffers,
    quantised: QuantisedRows,
}

impl Layer {
    /// x: (tokens, hidden)
    fn forward<'a>(
        &'a self,
        x: &mut Vec<f32>,
        (lens, n_heads): (&[usize], usize),
        buffers: &mut Buffers,
        crew: Option<&Crew<'a>>,
    ) {
        let Buffers { qkv, attended, projected, inner, attention, quantised } = buffers;
        // (tokens, 3 * hidden)
        self.query_key_value.product(x, qkv, crew, quantised, kernels::add_bias);
        attended.resize(x.len(), 0.0);
        let shape = Heads::of(lens, n_heads, x.len());
        match crew {
            Some(crew) if crew.n_threads() > 1 => {
                attention::attend_together(qkv, shape, attended, crew)
            }
            _ => attention::attend(qkv, shape, attended, attention),
        }
        // The bias of both products below is added with the residual.
        self.attention_output.product(attended, projected, crew, quantised, |_, _| {});
        self.attention_norm.add_and_normalise(projected, x, &self.attention_output.bias);

        // (tokens, intermediate)
        self.intermediate.product(projected, inner, crew, quantised, kernels::gelu_with_bias);
        self.output.product(inner, x, crew, quantised, |_, _| {});
        self.output_norm.add_and_normalise(x, projected, &self.output.bias);
    }
}

impl Dense {
    /// x: (tokens, n_in), out: (tokens, n_out)
    fn product<'a>(
        &'a self,
        x: &[f32],
        out: &mut Vec<f32>,
        crew: Option<&Crew<'a>>,
        quantised: &mut QuantisedRows,
        finish: Finish,
    ) {
        match &self.weight {
            Weight::Panels(weight) => {
                out.resize(x.len() / weight.n_in() * weight.n_out(), 0.0);
                if let Some(crew) = crew {
                    return crew.matmul(weight, x, out, (finish, &self.bias));
                }
                weight.matmul(x, out);
            }
            Weight::Int8(weight) => {
                quantised.fill(x, weight.n_in());
                out.resize(quantised.len() * weight.n_out(), 0.0);
                weight.matmul(quantised, out);
            }
        }
        finish(out, &self.bias);
    }
}
