//! One decoder for the Llama, Mistral, Qwen2, Qwen3 and SmolLM families.
//!
//! They differ in details only: biases on query, key and value (Qwen2), a norm on each query and
//! key head (Qwen3), rotary frequencies, tied embeddings. Follows Touvron et al. 2023 (Llama), with
//! grouped-query attention (Ainslie et al. 2023), rotary positions (Su et al. 2021), RMSNorm (Zhang
//! and Sennrich 2019) and SwiGLU (Shazeer 2020); names are those of the checkpoints.

use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor};
use candle_nn::ops::rms_norm;
use candle_nn::rotary_emb::rope_thd;

use crate::kernels;
use crate::kv_cache::KvCache;
use crate::linear::Linear;

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
    /// How many tokens each one attends to, itself included; all that came before if none.
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

/// Rotary position embedding: each pair of a head's values turns by a frequency of its own.
pub(crate) struct Rope {
    /// (head_dim / 2)
    frequencies: Vec<f32>,
}

/// Rotary angles of some positions.
struct Angles {
    /// (tokens, head_dim / 2)
    cos: Tensor,
    /// (tokens, head_dim / 2)
    sin: Tensor,
}

impl Decoder {
    /// An empty cache for one sequence.
    pub(crate) fn cache(&self) -> Result<KvCache> {
        KvCache::new(self.config.n_layers, self.config.n_kv_heads * self.config.head_dim)
    }

    /// Reads tokens that follow those of the cache, and adds them to it.
    ///
    /// result: (tokens, hidden), the normalised output of the last layer
    pub(crate) fn forward(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        let mut x = self.embed_tokens.rows(ids)?; // (tokens, hidden)
        let rope = self.rope.at(cache.len(), ids.len())?;
        for (idx, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &self.config, &rope, (idx, cache))?;
        }
        cache.advance(ids.len());
        rms_norm(&x, &self.norm, self.config.norm_eps)
    }

    /// Scores of every token to come next. hidden: (tokens, hidden), result: (tokens, vocab)
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens).forward(hidden)
    }
}

impl Layer {
    /// x: (tokens, hidden)
    fn forward(
        &self,
        x: &Tensor,
        config: &Config,
        rope: &Angles,
        cache: (usize, &mut KvCache),
    ) -> Result<Tensor> {
        let normed = rms_norm(x, &self.input_norm, config.norm_eps)?;
        let x = (x + self.attention.forward(&normed, config, rope, cache)?)?;
        let normed = rms_norm(&x, &self.post_attention_norm, config.norm_eps)?;
        x + self.mlp.forward(&normed)?
    }
}

impl Attention {
    /// x: (tokens, hidden)
    fn forward(
        &self,
        x: &Tensor,
        config: &Config,
        rope: &Angles,
        (layer_idx, cache): (usize, &mut KvCache),
    ) -> Result<Tensor> {
        let Config { n_heads, n_kv_heads, head_dim, norm_eps, .. } = *config;
        let tokens = x.dim(0)?;
        let past = cache.len();
        let group = n_heads / n_kv_heads; // Query heads that share a key head.

        let q = self.q_proj.forward(x)?.reshape((1, tokens, n_heads, head_dim))?;
        let k = self.k_proj.forward(x)?.reshape((1, tokens, n_kv_heads, head_dim))?;
        let v = self.v_proj.forward(x)?; // (tokens, n_kv_heads * head_dim)
        let q = rope.rotate(&normed(q, self.q_norm.as_ref(), norm_eps)?)?;
        let k = rope.rotate(&normed(k, self.k_norm.as_ref(), norm_eps)?)?;
        let k = k.reshape((tokens, n_kv_heads * head_dim))?;
        let (k, v) = cache.write(layer_idx, &k, &v)?; // (all, n_kv_heads * head_dim)
        let all = past + tokens;

        // The queries of a group are rows of one matrix, as they meet the same keys.
        let q = (q * (1.0 / (head_dim as f64).sqrt()))?
            .reshape((tokens, n_kv_heads, group, head_dim))?
            .permute((1, 2, 0, 3))?
            .reshape((n_kv_heads, group * tokens, head_dim))?;
        let k = k.reshape((all, n_kv_heads, head_dim))?.permute((1, 2, 0))?; // (kv, head_dim, all)
        let v = v.reshape((all, n_kv_heads, head_dim))?.transpose(0, 1)?; // (kv, all, head_dim)
        let scores = q.matmul(&k)?; // (kv, group * tokens, all)
        scores.inplace_op1(&CausalSoftmax { tokens, past, window: config.sliding_window })?;
        let attended = scores.matmul(&v)?; // (kv, group * tokens, head_dim)
        let attended = attended
            .reshape((n_kv_heads, group, tokens, head_dim))?
            .permute((2, 0, 1, 3))?
            .reshape((tokens, n_heads * head_dim))?;
        self.o_proj.forward(&attended)
    }
}

/// Normalises each head, in families that do. heads: (1, tokens, heads, head_dim)
fn normed(heads: Tensor, norm: Option<&Tensor>, eps: f32) -> Result<Tensor> {
    match norm {
        Some(norm) => rms_norm(&heads.contiguous()?, norm, eps),
        None => Ok(heads),
    }
}

impl Mlp {
    /// x: (tokens, hidden)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = self.gate_proj.forward(x)?; // (tokens, intermediate)
        gate.inplace_op2(&self.up_proj.forward(x)?, &SiluTimes)?;
        self.down_proj.forward(&gate)
    }
}

impl Rope {
    pub(crate) fn new(config: &Config) -> Self {
        let half = config.head_dim / 2;
        let frequencies = (0..half)
            .map(|idx| {
                let exponent = -(2.0 * idx as f64) / config.head_dim as f64;
                let frequency = f64::from(config.rope_theta).powf(exponent);
                (frequency / f64::from(config.rope_factors[idx])) as f32
            })
            .collect();
        Self { frequencies }
    }

    /// The angles of `tokens` positions from `start` on.
    ///
    /// Computed in f32, as models are trained: at position 8,000 the exact angle differs from this
    /// one in the fourth digit.
    fn at(&self, start: usize, tokens: usize) -> Result<Angles> {
        let angles = (start..start + tokens)
            .flat_map(|position| self.frequencies.iter().map(move |it| position as f32 * it));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(f32::sin_cos).unzip();
        let shape = (tokens, self.frequencies.len());
        Ok(Angles {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
        })
    }
}

impl Angles {
    /// heads: (1, tokens, heads, head_dim)
    fn rotate(&self, heads: &Tensor) -> Result<Tensor> {
        rope_thd(&heads.contiguous()?, &self.cos, &self.sin)
    }
}

/// Softmax over the scores that a query may see: those of the past and of tokens up to its own.
///
/// Works on (kv, group * tokens, past + tokens), in place; the other scores become zero.
struct CausalSoftmax {
    tokens: usize,
    past: usize,
    /// How many tokens a query sees, its own included; all if none.
    window: Option<usize>,
}

impl InplaceOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let scores = contiguous_mut(storage, layout)?;
        let all = self.past + self.tokens;
        if let Some(window) = self.window {
            for (row, scores) in scores.chunks_exact_mut(all).enumerate() {
                let first = (self.past + row % self.tokens + 1).saturating_sub(window);
                scores[..first].fill(f32::NEG_INFINITY);
            }
        }
        kernels::softmax(scores, all, |row| self.past + row % self.tokens + 1);
        Ok(())
    }
}

/// `gate = silu(gate) * up`, in place.
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

fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(data), Some((start, end))) => Ok(&mut data[start..end]),
        _ => candle_core::bail!("an f32 tensor in one piece is needed"),
    }
}
