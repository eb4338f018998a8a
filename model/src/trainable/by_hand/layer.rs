//! One block forwards, keeping what its derivative needs, and backwards.

use candle_core::{Result, Tensor, bail};

use super::super::Layer;
use super::attention::Packed;
use super::functions::{
    Turn, add, gated, gated_back, rms_norm, rms_norm_back, rms_norm_weight_back, rotate,
};
use super::linear::{Low, Values, back, few, forward};
use super::spare::{Buffer, Spare};
use crate::decoder::Config;

/// What the layers of one pass share.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) packed: Packed<'a>,
    /// (rows, head_dim / 2)
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    /// The values of all factors, where they take part.
    pub(super) factors: Option<Values<'a>>,
    pub(super) spare: &'a Spare,
}

/// What a layer's derivative needs of its forward pass. Norms and products of elements are computed
/// again: they cost little.
pub(super) struct Kept<'a> {
    /// (rows, hidden)
    x: Buffer<'a>,
    /// Queries and keys before their norms, in families that normalise them.
    raw: Option<[Buffer<'a>; 2]>,
    /// Turned; (rows, heads, head_dim) and (rows, kv_heads, head_dim)
    q: Buffer<'a>,
    k: Buffer<'a>,
    v: Buffer<'a>,
    attended: Buffer<'a>,
    /// (rows, hidden), after the attention
    middle: Buffer<'a>,
    /// (rows, intermediate)
    gate: Buffer<'a>,
    up: Buffer<'a>,
    /// Of each matrix, in the order of [`Layer::linears`]
    low: [Low<'a>; 7],
}

/// The gradients of what a layer trains: A and B of each matrix, in the order of
/// [`Layer::factors`], or all its weights in that of `Layer::weights`.
pub(super) type Grads = Vec<Vec<f32>>;

impl Layer {
    /// x: (rows, hidden), result: as x, and what [`Self::back`] needs
    pub(super) fn keeping<'a>(
        &self,
        x: Buffer<'a>,
        pass: &Pass<'a>,
    ) -> Result<(Buffer<'a>, Kept<'a>)> {
        let Config { norm_eps: eps, head_dim, n_heads, n_kv_heads, .. } = *pass.config;
        let mut normed = pass.spare.take(x.len());
        rms_norm(&x, &few(&self.input_norm)?, eps, &mut normed);
        let [(q, q_low), (k, k_low), (v, v_low)] =
            forward([&self.q_proj, &self.k_proj, &self.v_proj], &normed, pass)?;
        let (mut q, mut k, raw) = match (&self.q_norm, &self.k_norm) {
            (Some(q_norm), Some(k_norm)) => {
                let (mut new_q, mut new_k) = (pass.spare.take(q.len()), pass.spare.take(k.len()));
                rms_norm(&q, &few(q_norm)?, eps, &mut new_q);
                rms_norm(&k, &few(k_norm)?, eps, &mut new_k);
                (new_q, new_k, Some([q, k]))
            }
            (None, None) => (q, k, None),
            _ => bail!("queries and keys are normalised both or neither"),
        };
        let angles = (pass.cos, pass.sin);
        rotate(&mut q, angles, (n_heads, head_dim), Turn::Forth);
        rotate(&mut k, angles, (n_kv_heads, head_dim), Turn::Forth);
        let mut attended = pass.spare.take(q.len());
        pass.packed.forward([&q, &k, &v], &mut attended);
        let [(mut middle, o_low)] = forward([&self.o_proj], &attended, pass)?;
        add(&mut middle, &x);
        rms_norm(&middle, &few(&self.post_attention_norm)?, eps, &mut normed);
        let [(gate, gate_low), (up, up_low)] =
            forward([&self.gate_proj, &self.up_proj], &normed, pass)?;
        drop(normed);
        let mut inner = pass.spare.take(gate.len());
        gated(&gate, &up, &mut inner);
        let [(mut out, down_low)] = forward([&self.down_proj], &inner, pass)?;
        add(&mut out, &middle);
        let low = [q_low, k_low, v_low, o_low, gate_low, up_low, down_low];
        Ok((out, Kept { x, raw, q, k, v, attended, middle, gate, up, low }))
    }

    /// The gradients of the layer's input, which takes the place of `grad`, and of what it trains.
    pub(super) fn back(&self, kept: Kept<'_>, grad: &mut [f32], pass: &Pass<'_>) -> Result<Grads> {
        let eps = pass.config.norm_eps;
        let Kept { x, raw, q, k, v, attended, middle, gate, up, low } = kept;
        let [q_low, k_low, v_low, o_low, gate_low, up_low, down_low] = &low;
        let (mut of_down, mut of_rest, mut of_norms) = (Vec::new(), Vec::new(), Vec::new());

        let mut inner = pass.spare.take(gate.len());
        gated(&gate, &up, &mut inner);
        let mut of_up = pass.spare.take(gate.len());
        back([&self.down_proj], (&inner, [down_low]), [&*grad], &mut of_up, (pass, &mut of_down))?;
        let mut of_gate = inner;
        gated_back((&gate, &up), &mut of_up, &mut of_gate);
        drop((gate, up));
        let weight = few(&self.post_attention_norm)?;
        let mut normed = pass.spare.take(middle.len());
        rms_norm(&middle, &weight, eps, &mut normed);
        let mut of_normed = pass.spare.take(middle.len());
        let mut of_feed = Vec::new();
        let feed = [&self.gate_proj, &self.up_proj];
        let lows = [gate_low, up_low];
        back(feed, (&normed, lows), [&of_gate, &of_up], &mut of_normed, (pass, &mut of_feed))?;
        rms_norm_back(&middle, &weight, eps, &of_normed, grad);
        norm_grad(&self.post_attention_norm, (&middle, &of_normed), eps, &mut of_norms);
        drop((middle, of_gate, of_up));

        let mut of_attended = pass.spare.take(attended.len());
        let mut of_o = Vec::new();
        back([&self.o_proj], (&attended, [o_low]), [&*grad], &mut of_attended, (pass, &mut of_o))?;
        let mut of_heads = [&q, &k, &v].map(|it| pass.spare.take(it.len()));
        let into = of_heads.each_mut().map(|it| &mut **it);
        pass.packed.backward([&q, &k, &v], (&attended, &of_attended), into);
        drop((q, k, v, attended, of_attended));
        let [of_q, of_k, of_v] = self.heads_back(of_heads, raw, pass, &mut of_norms)?;

        let weight = few(&self.input_norm)?;
        rms_norm(&x, &weight, eps, &mut normed);
        let heads = [&self.q_proj, &self.k_proj, &self.v_proj];
        let of_outs = [&*of_q, &*of_k, &*of_v];
        let lows = [q_low, k_low, v_low];
        back(heads, (&normed, lows), of_outs, &mut of_normed, (pass, &mut of_rest))?;
        rms_norm_back(&x, &weight, eps, &of_normed, grad);
        norm_grad(&self.input_norm, (&x, &of_normed), eps, &mut of_norms);
        of_rest.extend(of_o);
        of_rest.extend(of_feed);
        of_rest.extend(of_down);
        of_rest.extend(of_norms);
        Ok(of_rest)
    }

    /// Turns the gradients of queries and keys back, through their norms where there are some.
    fn heads_back<'a>(
        &self,
        [mut q, mut k, v]: [Buffer<'a>; 3],
        raw: Option<[Buffer<'a>; 2]>,
        pass: &Pass<'a>,
        grads: &mut Grads,
    ) -> Result<[Buffer<'a>; 3]> {
        let Config { norm_eps: eps, head_dim, n_heads, n_kv_heads, .. } = *pass.config;
        let angles = (pass.cos, pass.sin);
        rotate(&mut q, angles, (n_heads, head_dim), Turn::Back);
        rotate(&mut k, angles, (n_kv_heads, head_dim), Turn::Back);
        if let (Some([raw_q, raw_k]), Some(q_norm), Some(k_norm)) =
            (raw, &self.q_norm, &self.k_norm)
        {
            for (of, raw, norm) in [(&mut q, raw_q, q_norm), (&mut k, raw_k, k_norm)] {
                let mut res = pass.spare.zeros(of.len());
                rms_norm_back(&raw, &few(norm)?, eps, of, &mut res);
                norm_grad(norm, (&raw, of), eps, grads);
                *of = res;
            }
        }
        Ok([q, k, v])
    }
}

impl<'a> Kept<'a> {
    /// The layer's input alone, to compute the rest again.
    pub(super) fn into_input(self) -> Buffer<'a> {
        self.x
    }
}

/// Adds the gradient of a norm's weight to the end of `grads`, where it is trained.
fn norm_grad(norm: &Tensor, (x, grad): (&[f32], &[f32]), eps: f32, grads: &mut Grads) {
    if norm.is_variable() {
        grads.push(rms_norm_weight_back(x, norm.elem_count(), eps, grad));
    }
}
