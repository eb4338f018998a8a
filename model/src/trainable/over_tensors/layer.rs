//! One block forwards, keeping what its derivative needs, and backwards.

use candle_core::{Result, Tensor};

use super::super::lora::Factors;
use super::super::{Layer, Linear};
use super::attention;
use super::functions::{
    Heads, Norm, Places, Tile, add_product, from_heads, gated, gated_back, rms_norm, rms_norm_back,
    to_heads,
};
use crate::decoder::Config;

/// What the layers of one pass share.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) places: Places,
    pub(super) tiles: Vec<Tile>,
    /// All factors, one after the other, in the type that is computed in; none without an adapter.
    pub(super) factors: Option<Tensor>,
    pub(super) dropout_seed: Option<u64>,
}

/// What a layer's derivative needs of its forward pass. Norms and products of elements are computed
/// again: they cost little.
pub(super) struct Kept {
    /// (rows, hidden)
    x: Tensor,
    /// Queries and keys before their norms.
    raw: [Tensor; 2],
    /// By head, as [`to_heads`] gives them.
    q: Tensor,
    k: Tensor,
    v: Tensor,
    /// (rows, heads * head_dim)
    attended: Tensor,
    /// (rows, hidden), after the attention
    middle: Tensor,
    /// (rows, intermediate)
    gate: Tensor,
    up: Tensor,
    /// `x · Aᵀ` of each matrix, in the order of [`Layer::linears`]; (rows, rank)
    low: [Option<Tensor>; 7],
}

impl Factors {
    /// Adds `scale · (x · Aᵀ) · Bᵀ` to `out` and gives `x · Aᵀ`, with some of x left out where a
    /// seed is given. all: all factors
    ///
    /// x: (rows, n_in), out: (rows, n_out), result: (rows, rank)
    pub(super) fn add(
        &self,
        x: &Tensor,
        out: &Tensor,
        all: &Tensor,
        seed: Option<u64>,
    ) -> Result<Tensor> {
        let low = match self.mask(x, seed)? {
            Some(mask) => (x * mask)?.matmul(&self.a_of(all)?.t()?)?,
            None => x.matmul(&self.a_of(all)?.t()?)?,
        };
        add_product(out, self.scale, &low, &self.b_of(all)?.t()?)?;
        Ok(low)
    }

    /// Adds the gradient of `x` to `into` and those of A and B to their places among `grads`.
    pub(super) fn back(
        &self,
        (x, low): (&Tensor, &Tensor),
        of_out: &Tensor,
        into: &Tensor,
        (all, grads): (&Tensor, &Tensor),
        seed: Option<u64>,
    ) -> Result<()> {
        add_product(&self.b_of(grads)?, self.scale, &of_out.t()?, low)?;
        let of_low = of_out.matmul(&self.b_of(all)?)?; // (rows, rank)
        let of_a = self.a_of(grads)?;
        match self.mask(x, seed)? {
            Some(mask) => {
                add_product(&of_a, self.scale, &of_low.t()?, &(x * &mask)?)?;
                let of_kept = (of_low.matmul(&self.a_of(all)?)? * mask)?;
                into.slice_set(&(into + (of_kept * self.scale)?)?, 0, 0)
            }
            None => {
                add_product(&of_a, self.scale, &of_low.t()?, x)?;
                add_product(into, self.scale, &of_low, &self.a_of(all)?)
            }
        }
    }
}

impl Linear {
    /// x: (rows, n_in), result: (rows, n_out) and (rows, rank)
    fn over_tensors(&self, x: &Tensor, pass: &Pass<'_>) -> Result<(Tensor, Option<Tensor>)> {
        let mut out = self.weight.forward(x)?;
        if let Some(bias) = &self.bias {
            out = out.broadcast_add(bias)?;
        }
        let low = match (&self.lora, &pass.factors) {
            (Some(it), Some(all)) => Some(it.add(x, &out, all, pass.dropout_seed)?),
            _ => None,
        };
        Ok((out, low))
    }

    /// The gradient of `x`, added to `into` where that is given, and those of the factors, added to
    /// `grads`.
    fn tensor_back(
        &self,
        (x, low): (&Tensor, Option<&Tensor>),
        of_out: &Tensor,
        into: Option<Tensor>,
        (pass, grads): (&Pass<'_>, &Tensor),
    ) -> Result<Tensor> {
        let weight = self.weight.dense()?;
        let into = match into {
            None => of_out.matmul(&weight)?,
            Some(into) => {
                add_product(&into, 1.0, of_out, &weight)?;
                into
            }
        };
        if let (Some(it), Some(low), Some(all)) = (&self.lora, low, &pass.factors) {
            it.back((x, low), of_out, &into, (all, grads), pass.dropout_seed)?;
        }
        Ok(into)
    }
}

impl Layer {
    /// x: (rows, hidden), result: as x, and what [`Self::tensor_back`] needs
    pub(super) fn tensors_kept(&self, x: Tensor, pass: &Pass<'_>) -> Result<(Tensor, Kept)> {
        let (input_norm, inner_norm, [q_norm, k_norm]) = self.norms(pass);
        let (keys, queries) = heads(pass);
        let normed = rms_norm(&x, input_norm)?;
        let (raw_q, q_low) = self.q_proj.over_tensors(&normed, pass)?;
        let (raw_k, k_low) = self.k_proj.over_tensors(&normed, pass)?;
        let (v, v_low) = self.v_proj.over_tensors(&normed, pass)?;
        let q = to_heads(&raw_q, queries, q_norm, true, &pass.places)?;
        let k = to_heads(&raw_k, keys, k_norm, true, &pass.places)?;
        let v = to_heads(&v, keys, None, false, &pass.places)?;
        let attended = attention::forward(&pass.tiles, &q, &k, &v)?;
        let attended = from_heads(&attended, queries, None, false, &pass.places)?;
        let (of_attention, o_low) = self.o_proj.over_tensors(&attended, pass)?;
        let middle = (&x + of_attention)?;
        let normed = rms_norm(&middle, inner_norm)?;
        let (gate, gate_low) = self.gate_proj.over_tensors(&normed, pass)?;
        let (up, up_low) = self.up_proj.over_tensors(&normed, pass)?;
        let (of_feed, down_low) = self.down_proj.over_tensors(&gated(&gate, &up)?, pass)?;
        let out = (&middle + of_feed)?;
        let low = [q_low, k_low, v_low, o_low, gate_low, up_low, down_low];
        Ok((out, Kept { x, raw: [raw_q, raw_k], q, k, v, attended, middle, gate, up, low }))
    }

    /// The gradient of the layer's input, where `grad`, which nobody else holds, is that of its
    /// output; those of the factors are added to `grads`.
    pub(super) fn tensor_back(
        &self,
        kept: Kept,
        grad: Tensor,
        pass: &Pass<'_>,
        grads: &Tensor,
    ) -> Result<Tensor> {
        let Kept { x, raw, q, k, v, attended, middle, gate, up, low } = kept;
        let [q_low, k_low, v_low, o_low, gate_low, up_low, down_low] = &low;
        let (input_norm, inner_norm, [q_norm, k_norm]) = self.norms(pass);
        let both = (pass, grads);

        let inner = gated(&gate, &up)?;
        let of_inner =
            self.down_proj.tensor_back((&inner, down_low.as_ref()), &grad, None, both)?;
        let (of_gate, of_up) = gated_back(gate, up, &of_inner)?;
        let normed = rms_norm(&middle, inner_norm)?;
        let gate = (&normed, gate_low.as_ref());
        let of_normed = self.gate_proj.tensor_back(gate, &of_gate, None, both)?;
        let up = (&normed, up_low.as_ref());
        let of_normed = self.up_proj.tensor_back(up, &of_up, Some(of_normed), both)?;
        let grad = rms_norm_back(grad, &middle, inner_norm, &of_normed)?;

        let o = (&attended, o_low.as_ref());
        let of_attended = self.o_proj.tensor_back(o, &grad, None, both)?;
        let (keys, queries) = heads(pass);
        let of_attended = to_heads(&of_attended, queries, None, false, &pass.places)?;
        let [of_q, of_k, of_v] = attention::backward(&pass.tiles, [&q, &k, &v], &of_attended)?;
        let [raw_q, raw_k] = &raw;
        let of_q = from_heads(&of_q, queries, q_norm.map(|it| (raw_q, it)), true, &pass.places)?;
        let of_k = from_heads(&of_k, keys, k_norm.map(|it| (raw_k, it)), true, &pass.places)?;
        let of_v = from_heads(&of_v, keys, None, false, &pass.places)?;

        let normed = rms_norm(&x, input_norm)?;
        let mut of_normed = None;
        for (linear, low, of) in
            [(&self.q_proj, q_low, of_q), (&self.k_proj, k_low, of_k), (&self.v_proj, v_low, of_v)]
        {
            of_normed = Some(linear.tensor_back((&normed, low.as_ref()), &of, of_normed, both)?);
        }
        let of_normed = of_normed.expect("there are three matrices");
        rms_norm_back(grad, &x, input_norm, &of_normed)
    }

    /// The norm before the attention, that before the feed-forward, and those of queries and keys.
    fn norms(&self, pass: &Pass<'_>) -> (Norm<'_>, Norm<'_>, [Option<Norm<'_>>; 2]) {
        let eps = pass.config.norm_eps;
        let of_heads = [&self.q_norm, &self.k_norm].map(|it| it.as_ref().map(|it| (it, eps)));
        ((&self.input_norm, eps), (&self.post_attention_norm, eps), of_heads)
    }
}

impl Kept {
    /// The layer's input alone, to compute the rest again.
    pub(super) fn into_input(self) -> Tensor {
        self.x
    }
}

/// How keys and values are laid out, and how queries are.
fn heads(pass: &Pass<'_>) -> (Heads, Heads) {
    let Config { n_heads, n_kv_heads: kv_heads, head_dim: dim, .. } = *pass.config;
    let keys = Heads { kv_heads, group: 1, dim };
    (keys, Heads { group: n_heads / kv_heads, ..keys })
}
