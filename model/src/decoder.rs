//! One decoder for the Llama, Mistral, Qwen2, Qwen3 and SmolLM families.
//!
//! They differ in details only: biases on query, key and value (Qwen2), a norm on each query and
//! key head (Qwen3), a window on attention (Mistral), rotary frequencies, tied embeddings. Follows Touvron et al. 2023 (Llama), with
//! grouped-query attention (Ainslie et al. 2023), rotary positions (Su et al. 2021), RMSNorm (Zhang
//! and Sennrich 2019) and SwiGLU (Shazeer 2020); names are those of the checkpoints.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};
use candle_nn::ops::rms_norm;

pub(crate) use crate::attention::Rope;
use crate::attention::{self, Angles};
use crate::device::Backend;
use crate::kernels;
use crate::kv_cache::{CacheShape, KvCache, PageCache, TensorCache};
use crate::linear::{Linear, contiguous_mut, forward_together};
use crate::lora::{self, AdaptedRows, PackedAdapter, Place};
use crate::tensor_attention::{self, Tables};

/// The sizes of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) n_layers: usize,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocab_size: usize,
    pub(crate) context_length: usize,
    /// How many tokens a token sees, itself included; all before it where there is no window.
    pub(crate) sliding_window: Option<usize>,
    pub(crate) norm_eps: f32,
    pub(crate) rope_theta: f32,
    /// What each rotary frequency is divided by; (head_dim / 2)
    pub(crate) rope_factors: Vec<f32>,
}

/// A decoder with its weights.
pub(crate) struct Decoder {
    pub(crate) config: Config,
    pub(crate) embed_tokens: Linear,
    pub(crate) layers: Vec<Layer>,
    /// (hidden)
    pub(crate) norm: Tensor,
    /// Absent where it is the embedding matrix.
    pub(crate) lm_head: Option<Linear>,
    pub(crate) rope: Rope,
    /// What its weights, caches and adapters are made for.
    pub(crate) backend: Backend,
}

/// One block: attention and feed-forward, each added to the residual stream.
pub(crate) struct Layer {
    /// (hidden)
    pub(crate) input_norm: Tensor,
    pub(crate) attention: Attention,
    /// (hidden)
    pub(crate) post_attention_norm: Tensor,
    pub(crate) mlp: Mlp,
}

/// Grouped-query attention.
pub(crate) struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) o_proj: Linear,
    /// (head_dim), in families that normalise each head.
    pub(crate) q_norm: Option<Tensor>,
    /// (head_dim)
    pub(crate) k_norm: Option<Tensor>,
}

/// The feed-forward part.
pub(crate) struct Mlp {
    pub(crate) gate_proj: Linear,
    pub(crate) up_proj: Linear,
    pub(crate) down_proj: Linear,
}

/// The next tokens of one sequence in a batch.
pub(crate) struct Piece<'a> {
    pub(crate) ids: &'a [u32],
    /// What was read before; they are added to it.
    pub(crate) cache: &'a mut KvCache,
    pub(crate) adapter: Option<&'a PackedAdapter>,
}

/// What the layers of one forward pass share.
struct Pass<'a, 'b> {
    config: &'a Config,
    pieces: &'a mut [Piece<'b>],
    adapted: Vec<AdaptedRows<'b>>,
    positions: Positions,
}

/// Where the rows of a pass stand in their sequences, as attention needs it.
enum Positions {
    Angles(Angles),
    Tables(Tables),
}

impl Decoder {
    /// What a token takes in a cache.
    pub(crate) fn cache_shape(&self) -> CacheShape {
        let Config { n_layers, n_kv_heads, head_dim, .. } = self.config;
        CacheShape { n_layers, n_kv_heads, head_dim }
    }

    /// An empty cache for one sequence.
    pub(crate) fn cache(&self) -> KvCache {
        let shape = self.cache_shape();
        match &self.backend {
            Backend::Processor => KvCache::Pages(PageCache::new(shape)),
            Backend::Tensors { device, .. } => KvCache::Tensors(TensorCache::new(shape, device)),
        }
    }

    /// Reads tokens that follow those of the cache, and adds them to it.
    ///
    /// result: (tokens, hidden), the normalised output of the last layer
    #[cfg(test)]
    pub(crate) fn forward(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        self.forward_batch(&mut [Piece { ids, cache, adapter: None }])
    }

    /// Reads the next tokens of several sequences in one pass, packed row by row: products go over
    /// all rows, attention over each sequence's own cache. A row's result does not depend on what
    /// else is in the batch: to the last bit where the weights are panels, within rounding elsewhere.
    ///
    /// result: (tokens of all pieces, hidden), the normalised output of the last layer
    pub(crate) fn forward_batch(&self, pieces: &mut [Piece<'_>]) -> Result<Tensor> {
        let ids: Vec<u32> = pieces.iter().flat_map(|it| it.ids).copied().collect();
        let positions = pieces.iter().flat_map(|it| it.cache.len()..it.cache.len() + it.ids.len());
        let angles = self.rope.at(positions);
        let positions = match &self.backend {
            Backend::Processor => Positions::Angles(angles),
            Backend::Tensors { device, .. } => {
                Positions::Tables(Tables::new(&angles, pieces, &self.config, device)?)
            }
        };
        let adapted = adapted_rows(pieces.iter().map(|it| (it.adapter, it.ids.len())));
        for piece in &mut *pieces {
            piece.cache.reserve(piece.ids.len())?;
        }
        let mut x = self.embed_tokens.rows(&ids)?; // (tokens, hidden)
        let mut pass = Pass { config: &self.config, pieces, adapted, positions };
        for (idx, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, idx, &mut pass)?;
        }
        for piece in pass.pieces {
            piece.cache.advance(piece.ids.len());
        }
        rms_norm(&x, &self.norm, self.config.norm_eps)
    }

    /// Scores of every token to come next, of some rows and the adapters of theirs.
    ///
    /// hidden: (rows, hidden), result: (rows, vocab)
    pub(crate) fn logits(&self, hidden: &Tensor, adapted: &[AdaptedRows<'_>]) -> Result<Tensor> {
        let scores = self.lm_head.as_ref().unwrap_or(&self.embed_tokens).forward(hidden)?;
        lora::add_to_head(hidden, scores, adapted)
    }
}

/// The rows of each adapter, of pieces with so many rows; neighbours with the same one are taken
/// together.
pub(crate) fn adapted_rows<'a>(
    pieces: impl Iterator<Item = (Option<&'a PackedAdapter>, usize)>,
) -> Vec<AdaptedRows<'a>> {
    let mut res: Vec<AdaptedRows<'a>> = Vec::new();
    let mut start = 0;
    for (adapter, n_rows) in pieces {
        let rows = start..start + n_rows;
        start = rows.end;
        let Some(adapter) = adapter else { continue };
        match res.last_mut() {
            Some(last) if std::ptr::eq(last.adapter, adapter) && last.rows.end == rows.start => {
                last.rows.end = rows.end;
            }
            _ => res.push(AdaptedRows { rows, adapter }),
        }
    }
    res
}

impl Layer {
    /// x: (tokens, hidden)
    fn forward(&self, x: &Tensor, idx: usize, pass: &mut Pass<'_, '_>) -> Result<Tensor> {
        let normed = rms_norm(x, &self.input_norm, pass.config.norm_eps)?;
        let x = (x + self.attention.forward(&normed, idx, pass)?)?;
        let normed = rms_norm(&x, &self.post_attention_norm, pass.config.norm_eps)?;
        x + self.mlp.forward(&normed, idx, pass)?
    }
}

impl Attention {
    /// x: (tokens, hidden)
    fn forward(&self, x: &Tensor, idx: usize, pass: &mut Pass<'_, '_>) -> Result<Tensor> {
        let Pass { config, pieces, adapted, positions } = pass;
        let eps = config.norm_eps;
        let heads = [(&self.q_proj, Place::Q), (&self.k_proj, Place::K), (&self.v_proj, Place::V)];
        let [q, k, v] = forward_together(heads, x, (adapted.as_slice(), idx))?; // (tokens, heads * head_dim)
        let q = normed(q, self.q_norm.as_ref(), config.head_dim, eps)?;
        let k = normed(k, self.k_norm.as_ref(), config.head_dim, eps)?;
        let heads = (&q, &k, &v);
        let attended = match positions {
            Positions::Angles(angles) => attention::attend(heads, pieces, idx, angles, config)?,
            Positions::Tables(tables) => {
                tensor_attention::attend(heads, pieces, idx, tables, config)?
            }
        };
        let o_proj = [(&self.o_proj, Place::O)];
        let [res] = forward_together(o_proj, &attended, (adapted.as_slice(), idx))?;
        Ok(res)
    }
}

/// Normalises each head, in families that do. heads: (tokens, heads * head_dim)
fn normed(heads: Tensor, norm: Option<&Tensor>, head_dim: usize, eps: f32) -> Result<Tensor> {
    let Some(norm) = norm else { return Ok(heads) };
    let each = heads.reshape(((), head_dim))?; // (tokens * heads, head_dim)
    rms_norm(&each, norm, eps)
}

impl Mlp {
    /// x: (tokens, hidden)
    fn forward(&self, x: &Tensor, idx: usize, pass: &Pass<'_, '_>) -> Result<Tensor> {
        let adapted = (pass.adapted.as_slice(), idx);
        let inner = [(&self.gate_proj, Place::Gate), (&self.up_proj, Place::Up)];
        let [gate, up] = forward_together(inner, x, adapted)?; // (tokens, intermediate)
        let inner = silu_times(gate, &up)?;
        let [res] = forward_together([(&self.down_proj, Place::Down)], &inner, adapted)?;
        Ok(res)
    }
}

/// `silu(gate) * up`: the middle of SwiGLU (Shazeer 2020).
fn silu_times(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    if !gate.device().is_cpu() {
        return gate.silu()? * up;
    }
    gate.inplace_op2(up, &SiluTimes)?;
    Ok(gate)
}

/// `gate = silu(gate) * up`, in place, on the processor.
struct SiluTimes;

impl InplaceOp2 for SiluTimes {
    fn name(&self) -> &'static str {
        "silu-times"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = up_layout.contiguous_offsets() else {
            candle_core::bail!("the feed-forward part lies in rows");
        };
        let up = &up.as_slice::<f32>()?[start..end];
        kernels::silu_times(contiguous_mut(gate, gate_layout)?, up);
        Ok(())
    }
}
