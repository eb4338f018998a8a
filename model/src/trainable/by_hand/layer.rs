//! One block forwards, keeping what its derivative needs, and backwards.

use std::ops::Deref;

use candle_core::{CpuStorage, Result, Storage, Tensor, bail};

use super::super::frozen::Frozen;
use super::super::lora::Factors;
use super::super::{Layer, Linear};
use super::attention::Packed;
use super::functions::{
    Turn, column_sums, gated, gated_back, rms_norm, rms_norm_back, rms_norm_weight_back, rotate,
};
use super::product::{Put, Threads, View, multiply, product};
use crate::decoder::Config;
use crate::kernels::add_bias;

/// What the layers of one pass share.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) packed: Packed<'a>,
    /// (rows, head_dim / 2)
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    /// The values of all factors, where they take part.
    pub(super) factors: Option<Values<'a>>,
}

/// A tensor's values, where they lie.
pub(super) enum Values<'a> {
    Held(Box<dyn Deref<Target = Storage> + 'a>, (usize, usize)),
    Owned(Vec<f32>),
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Owned(values) => values,
            Self::Held(guard, (start, end)) => match &***guard {
                Storage::Cpu(CpuStorage::F32(values)) => &values[*start..*end],
                _ => unreachable!("the kind of storage was looked at, and does not change"),
            },
        }
    }
}

/// The values of a contiguous f32 tensor in main memory.
pub(super) fn values(tensor: &Tensor) -> Result<Values<'_>> {
    let (guard, layout) = tensor.storage_and_layout();
    match (&*guard, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(_)), Some(range)) => Ok(Values::Held(Box::new(guard), range)),
        _ => bail!("an f32 tensor in one piece in main memory is needed"),
    }
}

/// What a layer's derivative needs of its forward pass. Norms and products of elements are computed
/// again: they cost little.
pub(super) struct Kept {
    /// (rows, hidden)
    x: Vec<f32>,
    /// Queries and keys before their norms, in families that normalise them.
    raw: Option<[Vec<f32>; 2]>,
    /// Turned; (rows, heads, head_dim) and (rows, kv_heads, head_dim)
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    /// (rows, hidden), after the attention
    middle: Vec<f32>,
    /// (rows, intermediate)
    gate: Vec<f32>,
    up: Vec<f32>,
    /// `x · Aᵀ` of each matrix, in the order of [`Layer::linears`]; (rows, rank)
    low: [Vec<f32>; 7],
}

/// The gradients of what a layer trains: A and B of each matrix, in the order of
/// [`Layer::factors`], or all its weights in that of `Layer::weights`.
type Grads = Vec<Vec<f32>>;

impl Linear {
    /// x: (rows, n_in), result: (rows, n_out) and (rows, rank)
    fn by_hand(&self, x: &[f32], pass: &Pass<'_>) -> Result<(Vec<f32>, Vec<f32>)> {
        let weight = self.weight.values()?;
        let n_in = self.weight.n_in()?;
        let mut out = product(View::new(x, n_in), View::new(&weight, n_in).t());
        if let Some(bias) = &self.bias {
            add_bias(&mut out, &values(bias)?);
        }
        let low = match pass.held(self.lora.as_ref()) {
            Some(factors) => factors.add(x, &mut out),
            None => Vec::new(),
        };
        Ok((out, low))
    }

    /// Adds the gradient of `x` to `into`, and those of what is trained to the end of `grads`.
    fn back(
        &self,
        (x, low): (&[f32], &[f32]),
        of_out: &[f32],
        (into, how): (&mut [f32], Put),
        (pass, grads): (&Pass<'_>, &mut Grads),
    ) -> Result<()> {
        let weight = self.weight.values()?;
        let n_in = self.weight.n_in()?;
        let n_out = weight.len() / n_in;
        let grad = View::new(of_out, n_out);
        multiply(into, how, (grad, View::new(&weight, n_in)), 1.0, Threads::All);
        if self.weight.is_trained() {
            grads.push(product(grad.t(), View::new(x, n_in)));
            grads.extend(self.bias.as_ref().map(|_| column_sums(of_out, n_out)));
        }
        let Some(factors) = pass.held(self.lora.as_ref()) else { return Ok(()) };
        let mut sums = [factors.a, factors.b].map(|it| vec![0.0; it.len()]);
        factors.back((x, low), of_out, into, &mut sums);
        grads.extend(sums);
        Ok(())
    }
}

/// Factors whose values are at hand.
pub(super) struct HeldFactors<'a> {
    pub(super) a: &'a [f32],
    pub(super) b: &'a [f32],
    rank: usize,
    n_in: usize,
    scale: f32,
}

impl Pass<'_> {
    /// The factors beside a matrix, where there are some that take part.
    pub(super) fn held(&self, factors: Option<&Factors>) -> Option<HeldFactors<'_>> {
        let (all, factors) = (self.factors.as_deref()?, factors?);
        let [a, b] = factors.places().map(|it| &all[it]);
        let Factors { rank, n_in, scale, .. } = *factors;
        Some(HeldFactors { a, b, rank, n_in, scale: scale as f32 })
    }
}

impl HeldFactors<'_> {
    /// Adds `scale · (x · Aᵀ) · Bᵀ` to `out` and gives `x · Aᵀ`.
    ///
    /// x: (rows, n_in), out: (rows, n_out), result: (rows, rank)
    pub(super) fn add(&self, x: &[f32], out: &mut [f32]) -> Vec<f32> {
        let low = product(View::new(x, self.n_in), View::new(self.a, self.n_in).t());
        let delta = (View::new(&low, self.rank), View::new(self.b, self.rank).t());
        multiply(out, Put::Sum, delta, self.scale, Threads::All);
        low
    }

    /// Adds the gradient of `x` to `into`, those of A and B to `sums`.
    pub(super) fn back(
        &self,
        (x, low): (&[f32], &[f32]),
        of_out: &[f32],
        into: &mut [f32],
        [of_a, of_b]: &mut [Vec<f32>; 2],
    ) {
        let Self { a, b, rank, n_in, scale } = self;
        let grad = View::new(of_out, b.len() / rank);
        multiply(of_b, Put::Sum, (grad.t(), View::new(low, *rank)), *scale, Threads::All);
        let mut of_low = vec![0.0; low.len()];
        multiply(&mut of_low, Put::Fresh, (grad, View::new(b, *rank)), *scale, Threads::All);
        let of_low = View::new(&of_low, *rank);
        multiply(of_a, Put::Sum, (of_low.t(), View::new(x, *n_in)), 1.0, Threads::All);
        multiply(into, Put::Sum, (of_low, View::new(a, *n_in)), 1.0, Threads::All);
    }
}

impl Frozen {
    pub(super) fn values(&self) -> Result<Values<'_>> {
        match self {
            Self::Dense(weight) => values(weight),
            Self::Quantised(..) => {
                Ok(Values::Owned(self.dense()?.flatten_all()?.to_vec1::<f32>()?))
            }
        }
    }

    /// Whether it is one of the weights that are trained.
    pub(super) fn is_trained(&self) -> bool {
        self.held().is_some_and(Tensor::is_variable)
    }

    fn n_in(&self) -> Result<usize> {
        match self {
            Self::Dense(weight) => weight.dim(1),
            Self::Quantised(weight, _) => Ok(weight.shape().dims2()?.1),
        }
    }
}

impl Layer {
    /// x: (rows, hidden), result: as x, and what [`Self::back`] needs
    pub(super) fn keeping(&self, x: Vec<f32>, pass: &Pass<'_>) -> Result<(Vec<f32>, Kept)> {
        let Config { norm_eps: eps, head_dim, n_heads, n_kv_heads, .. } = *pass.config;
        let normed = rms_norm(&x, &values(&self.input_norm)?, eps);
        let (q, q_low) = self.q_proj.by_hand(&normed, pass)?;
        let (k, k_low) = self.k_proj.by_hand(&normed, pass)?;
        let (v, v_low) = self.v_proj.by_hand(&normed, pass)?;
        let (mut q, mut k, raw) = match (&self.q_norm, &self.k_norm) {
            (Some(q_norm), Some(k_norm)) => {
                let normed_q = rms_norm(&q, &values(q_norm)?, eps);
                let normed_k = rms_norm(&k, &values(k_norm)?, eps);
                (normed_q, normed_k, Some([q, k]))
            }
            (None, None) => (q, k, None),
            _ => bail!("queries and keys are normalised both or neither"),
        };
        let angles = (pass.cos, pass.sin);
        rotate(&mut q, angles, (n_heads, head_dim), Turn::Forth);
        rotate(&mut k, angles, (n_kv_heads, head_dim), Turn::Forth);
        let attended = pass.packed.forward(&q, &k, &v);
        let (mut middle, o_low) = self.o_proj.by_hand(&attended, pass)?;
        add(&mut middle, &x);
        let normed = rms_norm(&middle, &values(&self.post_attention_norm)?, eps);
        let (gate, gate_low) = self.gate_proj.by_hand(&normed, pass)?;
        let (up, up_low) = self.up_proj.by_hand(&normed, pass)?;
        drop(normed);
        let (mut out, down_low) = self.down_proj.by_hand(&gated(&gate, &up), pass)?;
        add(&mut out, &middle);
        let low = [q_low, k_low, v_low, o_low, gate_low, up_low, down_low];
        Ok((out, Kept { x, raw, q, k, v, attended, middle, gate, up, low }))
    }

    /// The gradients of the layer's input, which takes the place of `grad`, and of what it trains.
    pub(super) fn back(&self, kept: Kept, grad: &mut [f32], pass: &Pass<'_>) -> Result<Grads> {
        let eps = pass.config.norm_eps;
        let Kept { x, raw, q, k, v, attended, middle, gate, up, low } = kept;
        let [q_low, k_low, v_low, o_low, gate_low, up_low, down_low] = &low;
        let (mut of_down, mut of_rest, mut of_norms) = (Vec::new(), Vec::new(), Vec::new());

        let inner = gated(&gate, &up);
        let mut of_up = vec![0.0; inner.len()];
        let down = (inner.as_slice(), down_low.as_slice());
        self.down_proj.back(down, grad, (&mut of_up, Put::Fresh), (pass, &mut of_down))?;
        drop(inner);
        let of_gate = gated_back(&gate, &up, &mut of_up);
        drop((gate, up));
        let weight = values(&self.post_attention_norm)?;
        let normed = rms_norm(&middle, &weight, eps);
        let mut of_normed = vec![0.0; normed.len()];
        let mut of_feed = Vec::new();
        let gate = (normed.as_slice(), gate_low.as_slice());
        self.gate_proj.back(gate, &of_gate, (&mut of_normed, Put::Fresh), (pass, &mut of_feed))?;
        let up = (normed.as_slice(), up_low.as_slice());
        self.up_proj.back(up, &of_up, (&mut of_normed, Put::Sum), (pass, &mut of_feed))?;
        rms_norm_back(&middle, &weight, eps, &of_normed, grad);
        norm_grad(&self.post_attention_norm, (&middle, &of_normed), eps, &mut of_norms);
        drop((middle, of_gate, of_up, normed));

        let mut of_attended = vec![0.0; attended.len()];
        let mut of_o = Vec::new();
        let o = (attended.as_slice(), o_low.as_slice());
        self.o_proj.back(o, grad, (&mut of_attended, Put::Fresh), (pass, &mut of_o))?;
        let of_heads = pass.packed.backward([&q, &k, &v], &attended, &of_attended);
        drop((q, k, v, attended, of_attended));
        let [of_q, of_k, of_v] = self.heads_back(of_heads, raw, pass, &mut of_norms)?;

        let weight = values(&self.input_norm)?;
        let normed = rms_norm(&x, &weight, eps);
        let mut how = Put::Fresh;
        for (linear, low, of) in
            [(&self.q_proj, q_low, of_q), (&self.k_proj, k_low, of_k), (&self.v_proj, v_low, of_v)]
        {
            linear.back((&normed, low), &of, (&mut of_normed, how), (pass, &mut of_rest))?;
            how = Put::Sum;
        }
        rms_norm_back(&x, &weight, eps, &of_normed, grad);
        norm_grad(&self.input_norm, (&x, &of_normed), eps, &mut of_norms);
        of_rest.extend(of_o);
        of_rest.extend(of_feed);
        of_rest.extend(of_down);
        of_rest.extend(of_norms);
        Ok(of_rest)
    }

    /// Turns the gradients of queries and keys back, through their norms where there are some.
    fn heads_back(
        &self,
        [mut q, mut k, v]: [Vec<f32>; 3],
        raw: Option<[Vec<f32>; 2]>,
        pass: &Pass<'_>,
        grads: &mut Grads,
    ) -> Result<[Vec<f32>; 3]> {
        let Config { norm_eps: eps, head_dim, n_heads, n_kv_heads, .. } = *pass.config;
        let angles = (pass.cos, pass.sin);
        rotate(&mut q, angles, (n_heads, head_dim), Turn::Back);
        rotate(&mut k, angles, (n_kv_heads, head_dim), Turn::Back);
        if let (Some([raw_q, raw_k]), Some(q_norm), Some(k_norm)) =
            (raw, &self.q_norm, &self.k_norm)
        {
            for (of, raw, norm) in [(&mut q, raw_q, q_norm), (&mut k, raw_k, k_norm)] {
                let mut res = vec![0.0; of.len()];
                rms_norm_back(&raw, &values(norm)?, eps, of, &mut res);
                norm_grad(norm, (&raw, of), eps, grads);
                *of = res;
            }
        }
        Ok([q, k, v])
    }
}

impl Kept {
    /// The layer's input alone, to compute the rest again.
    pub(super) fn into_input(self) -> Vec<f32> {
        self.x
    }
}

/// Adds the gradient of a norm's weight to the end of `grads`, where it is trained.
fn norm_grad(norm: &Tensor, (x, grad): (&[f32], &[f32]), eps: f32, grads: &mut Grads) {
    if norm.is_variable() {
        grads.push(rms_norm_weight_back(x, norm.elem_count(), eps, grad));
    }
}

fn add(xs: &mut [f32], ys: &[f32]) {
    for (x, y) in xs.iter_mut().zip(ys) {
        *x += y;
    }
}
