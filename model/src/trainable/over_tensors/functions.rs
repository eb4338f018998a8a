//! The functions of a layer and their derivatives over tensors: on a GPU a kernel each
//! (`kernels.cu`), elsewhere candle's operations, which say what the kernels compute.
//!
//! What a function may change in place it takes by value: nobody else holds it then.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops;

#[cfg(feature = "cuda")]
use super::cuda::{Arg, Grid, launch, room};

/// Threads of a kernel that works by rows, and of one that works by values.
#[cfg(feature = "cuda")]
const THREADS: u32 = 128;

/// Where the tokens of a batch are when its sequences lie side by side, filled up to one length.
pub(super) struct Places {
    pub(super) n_sequences: usize,
    /// Of the longest sequence.
    pub(super) length: usize,
    pub(super) rows: usize,
    /// The row of each place, `rows` where there is none; (n_sequences * length)
    places: Tensor,
    /// The place of each row; (rows)
    slots: Tensor,
    /// Cosines and then sines of each position; (length, head_dim), f32
    angles: Tensor,
}

impl Places {
    /// cos, sin: (longest of the lengths, head_dim / 2)
    pub(super) fn new(
        lengths: &[usize],
        (cos, sin): (&[f32], &[f32]),
        device: &Device,
    ) -> Result<Self> {
        let length = lengths.iter().copied().max().unwrap_or_default();
        let (n_sequences, rows) = (lengths.len(), lengths.iter().sum());
        let (mut places, mut slots) = (Vec::with_capacity(n_sequences * length), Vec::new());
        for &n_tokens in lengths {
            let row = slots.len() as u32;
            let place = places.len() as u32;
            slots.extend(place..place + n_tokens as u32);
            places.extend(row..row + n_tokens as u32);
            places.extend(std::iter::repeat_n(rows as u32, length - n_tokens));
        }
        let half = cos.len() / length.max(1);
        let both = cos.chunks_exact(half).zip(sin.chunks_exact(half));
        let angles: Vec<f32> = both.flat_map(|(cos, sin)| [cos, sin]).flatten().copied().collect();
        Ok(Self {
            n_sequences,
            length,
            rows,
            places: Tensor::from_vec(places, n_sequences * length, device)?,
            slots: Tensor::from_vec(slots, rows, device)?,
            angles: Tensor::from_vec(angles, (length, 2 * half), device)?,
        })
    }

    /// Turns heads by their positions, or back. x: (n_sequences, length, heads, dim)
    fn turned(&self, x: &Tensor, back: f64) -> Result<Tensor> {
        let half = x.dim(3)? / 2;
        let x32 = x.to_dtype(DType::F32)?;
        let (a, b) = (x32.narrow(3, 0, half)?, x32.narrow(3, half, half)?);
        let part = |from| self.angles.narrow(1, from, half)?.reshape((1, self.length, 1, half));
        let (cos, sin) = (part(0)?, (part(half)? * back)?);
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        Tensor::cat(&[turned_a, turned_b], 3)?.to_dtype(x.dtype())
    }
}

/// How heads are laid out.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) kv_heads: usize,
    /// Heads that share a key head: 1 for keys and values themselves.
    pub(super) group: usize,
    pub(super) dim: usize,
}

/// A norm's weight, (n), and what keeps its division finite.
pub(super) type Norm<'a> = (&'a Tensor, f32);

/// `y = x · r · w` with `r = 1 / √(mean(x²) + eps)` (Zhang and Sennrich 2019). x: (rows, n)
pub(super) fn rms_norm(x: &Tensor, (weight, eps): Norm<'_>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (blocks, n) = x.dims2()?;
        let out = room(x.dims(), x)?;
        let tensors = [&out, x, weight].map(Arg::Of);
        let args: Vec<Arg<'_>> =
            tensors.into_iter().chain([Arg::Int(n), Arg::Float(eps)]).collect();
        launch("rms_norm", x, Grid { blocks, threads: THREADS }, &args)?;
        return Ok(out);
    }
    ops::rms_norm(&x.contiguous()?, weight, eps)
}

/// Adds RMSNorm's derivative, `r · g·w - r³ · x · mean(x · g·w)`, to `into`.
///
/// into, x, grad: (rows, n)
pub(super) fn rms_norm_back(
    into: Tensor,
    x: &Tensor,
    (weight, eps): Norm<'_>,
    grad: &Tensor,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (blocks, n) = x.dims2()?;
        let args = [&into, x, weight, grad].map(Arg::Of);
        let args = args.into_iter().chain([Arg::Int(n), Arg::Float(eps)]).collect::<Vec<_>>();
        launch("rms_norm_back", x, Grid { blocks, threads: THREADS }, &args)?;
        return Ok(into);
    }
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let grad = grad.to_dtype(DType::F32)?.broadcast_mul(&weight.to_dtype(DType::F32)?)?;
    let r = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
    let along = (&x * &grad)?.mean_keepdim(D::Minus1)?;
    let taken = (r.sqr()? * along)?;
    let back = (grad - x.broadcast_mul(&taken)?)?.broadcast_mul(&r)?;
    (into.to_dtype(DType::F32)? + back)?.to_dtype(dtype)
}

/// Rows of heads to heads of rows: normalised where there is a norm, turned by their positions
/// where that is asked for. Places without a row are zero.
///
/// x: (rows, heads * dim), result: (n_sequences * kv_heads, length * group, dim)
pub(super) fn to_heads(
    x: &Tensor,
    heads: Heads,
    norm: Option<Norm<'_>>,
    turns: bool,
    places: &Places,
) -> Result<Tensor> {
    let Heads { kv_heads, group, dim } = heads;
    let Places { n_sequences, length, rows, .. } = *places;
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let out = room(&[n_sequences * kv_heads, length * group, dim], &x)?;
        let n_places = n_sequences * length;
        let args = [
            Arg::Of(&out),
            Arg::Of(&x),
            Arg::Maybe(norm.map(|it| it.0)),
            Arg::Maybe(turns.then_some(&places.angles)),
            Arg::Of(&places.places),
            Arg::Int(n_places),
            Arg::Int(rows),
            Arg::Int(length),
            Arg::Int(kv_heads),
            Arg::Int(group),
            Arg::Int(dim),
            Arg::Float(norm.map_or(0.0, |it| it.1)),
        ];
        launch("to_heads", &x, by_warp(n_places * kv_heads * group), &args)?;
        return Ok(out);
    }
    let normed = match norm {
        Some(norm) => rms_norm(&x.reshape(((), dim))?, norm)?.reshape((rows, ()))?,
        None => x,
    };
    let none = Tensor::zeros((1, normed.dim(1)?), normed.dtype(), normed.device())?;
    let placed = Tensor::cat(&[normed, none], 0)?.index_select(&places.places, 0)?;
    let mut placed = placed.reshape((n_sequences, length, kv_heads * group, dim))?;
    if turns {
        placed = places.turned(&placed, 1.0)?;
    }
    let by_head = placed.reshape((n_sequences, length, kv_heads, group * dim))?.transpose(1, 2)?;
    by_head.contiguous()?.reshape((n_sequences * kv_heads, length * group, dim))
}

/// The way back and the derivative of [`to_heads`]: turned back, and through the norm of `raw`,
/// the rows that were given there.
///
/// grad: (n_sequences * kv_heads, length * group, dim), result: (rows, heads * dim)
pub(super) fn from_heads(
    grad: &Tensor,
    heads: Heads,
    norm: Option<(&Tensor, Norm<'_>)>,
    turns: bool,
    places: &Places,
) -> Result<Tensor> {
    let Heads { kv_heads, group, dim } = heads;
    let Places { n_sequences, length, rows, .. } = *places;
    #[cfg(feature = "cuda")]
    if grad.device().is_cuda() {
        let out = room(&[rows, kv_heads * group * dim], grad)?;
        let args = [
            Arg::Of(&out),
            Arg::Of(grad),
            Arg::Maybe(norm.map(|it| it.0)),
            Arg::Maybe(norm.map(|(_, it)| it.0)),
            Arg::Maybe(turns.then_some(&places.angles)),
            Arg::Of(&places.slots),
            Arg::Int(rows),
            Arg::Int(length),
            Arg::Int(kv_heads),
            Arg::Int(group),
            Arg::Int(dim),
            Arg::Float(norm.map_or(0.0, |(_, it)| it.1)),
        ];
        launch("from_heads", grad, by_warp(rows * kv_heads * group), &args)?;
        return Ok(out);
    }
    let by_row = grad.reshape((n_sequences, kv_heads, length, group * dim))?.transpose(1, 2)?;
    let mut by_row = by_row.contiguous()?.reshape((n_sequences, length, kv_heads * group, dim))?;
    if turns {
        by_row = places.turned(&by_row, -1.0)?;
    }
    let of_rows = by_row.reshape((n_sequences * length, ()))?.index_select(&places.slots, 0)?;
    let Some((raw, norm)) = norm else { return Ok(of_rows) };
    let [of_rows, raw] = [&of_rows, raw].map(|it| it.reshape(((), dim)));
    let (of_rows, raw) = (of_rows?, raw?);
    rms_norm_back(of_rows.zeros_like()?, &raw, norm, &of_rows)?.reshape((rows, ()))
}

/// A warp for each head of a row.
#[cfg(feature = "cuda")]
fn by_warp(n: usize) -> Grid {
    let threads = 128;
    Grid { blocks: n.div_ceil(threads as usize / 32), threads }
}

/// Some consecutive queries, and the keys that any of them sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) first_query: usize,
    pub(super) n_queries: usize,
    pub(super) first_key: usize,
    pub(super) n_keys: usize,
    /// Heads that share a key head.
    pub(super) group: usize,
    /// How many keys a query sees, itself included; `WHOLE` for all before it.
    pub(super) window: usize,
    pub(super) scale: f32,
}

/// A window that reaches over any context.
pub(super) const WHOLE: usize = 1 << 30;

impl Tile {
    #[cfg(feature = "cuda")]
    fn args(&self) -> [Arg<'static>; 7] {
        let Self { first_query, n_queries, first_key, n_keys, group, window, scale } = *self;
        [
            Arg::Int(n_queries * group),
            Arg::Int(n_keys),
            Arg::Int(group),
            Arg::Int(first_query),
            Arg::Int(first_key),
            Arg::Int(window),
            Arg::Float(scale),
        ]
    }

    /// Zero where a query sees a key, else minus infinity; (n_queries, 1, n_keys), f32
    fn mask(&self, device: &Device) -> Result<Tensor> {
        let Self { first_query, n_queries, first_key, n_keys, window, .. } = *self;
        let sees = |query: usize, key: usize| key <= query && query - key < window;
        let value = |query, key| if sees(query, key) { 0.0 } else { f32::NEG_INFINITY };
        let row = |query| (first_key..first_key + n_keys).map(move |key| value(query, key));
        let values: Vec<f32> = (first_query..first_query + n_queries).flat_map(row).collect();
        Tensor::from_vec(values, (n_queries, 1, n_keys), device)
    }
}

/// How much each query takes of each key, from what they score.
///
/// scores: (heads, n_queries * group, n_keys), as the result
pub(super) fn softmax(scores: Tensor, tile: &Tile) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if scores.device().is_cuda() {
        let (heads, rows, _) = scores.dims3()?;
        let args: Vec<Arg<'_>> = [Arg::Of(&scores)].into_iter().chain(tile.args()).collect();
        launch("softmax", &scores, Grid { blocks: heads * rows, threads: 128 }, &args)?;
        return Ok(scores);
    }
    let dims = scores.dims3()?;
    let by_query = (dims.0, tile.n_queries, tile.group, tile.n_keys);
    let scaled = (scores.to_dtype(DType::F32)? * f64::from(tile.scale))?.reshape(by_query)?;
    let masked = scaled.broadcast_add(&tile.mask(scores.device())?)?;
    ops::softmax_last_dim(&masked)?.reshape(dims)?.to_dtype(scores.dtype())
}

/// The scores' gradient from that of the shares: `p · (g - Σ p·g)`, scaled.
///
/// grad, shares: (heads, n_queries * group, n_keys), as the result
pub(super) fn softmax_back(grad: Tensor, shares: &Tensor, tile: &Tile) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if grad.device().is_cuda() {
        let (heads, rows, _) = grad.dims3()?;
        let tensors = [Arg::Of(&grad), Arg::Of(shares)];
        let args: Vec<Arg<'_>> = tensors.into_iter().chain(tile.args()).collect();
        launch("softmax_back", &grad, Grid { blocks: heads * rows, threads: 128 }, &args)?;
        return Ok(grad);
    }
    let dtype = grad.dtype();
    let (grad, shares) = (grad.to_dtype(DType::F32)?, shares.to_dtype(DType::F32)?);
    let along = (&grad * &shares)?.sum_keepdim(D::Minus1)?;
    let back = (grad.broadcast_sub(&along)? * shares)?;
    (back * f64::from(tile.scale))?.to_dtype(dtype)
}

/// `silu(gate) · up`, each (rows, intermediate).
pub(super) fn gated(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if gate.device().is_cuda() {
        let out = room(gate.dims(), gate)?;
        let n = gate.elem_count();
        let args = [Arg::Of(&out), Arg::Of(gate), Arg::Of(up), Arg::Long(n)];
        launch("gated", gate, by_value(n), &args)?;
        return Ok(out);
    }
    gate.silu()? * up
}

/// The gradients of gate and up, from that of [`gated`].
pub(super) fn gated_back(gate: Tensor, up: Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if gate.device().is_cuda() {
        let n = gate.elem_count();
        let args = [Arg::Of(&gate), Arg::Of(&up), Arg::Of(grad), Arg::Long(n)];
        launch("gated_back", &gate, by_value(n), &args)?;
        return Ok((gate, up));
    }
    let dtype = gate.dtype();
    let [gate, up, grad] = [&gate, &up, grad].map(|it| it.to_dtype(DType::F32));
    let (gate, up, grad) = (gate?, up?, grad?);
    let share = ops::sigmoid(&gate)?; // silu'(x) = σ(x) · (1 + x · (1 - σ(x)))
    let slope = (&share * ((&gate * (1.0 - &share)?)? + 1.0)?)?;
    let of_gate = ((&grad * up)? * slope)?.to_dtype(dtype)?;
    Ok((of_gate, (grad * (gate * share)?)?.to_dtype(dtype)?))
}

#[cfg(feature = "cuda")]
fn by_value(n: usize) -> Grid {
    // Some values for each thread; the kernel goes on with the next ones.
    Grid { blocks: n.div_ceil(8 * THREADS as usize), threads: THREADS }
}

/// `ln p` of each row's id, (rows), f32; and the gradient of `-weight · ln p` by the logits, where
/// it is wanted.
///
/// logits: (rows, vocab), ids: (rows), weights: (rows), f32
pub(super) fn cross_entropy(
    logits: Tensor,
    ids: &Tensor,
    weights: &Tensor,
    wants_grad: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        let (rows, n) = logits.dims2()?;
        let log_probs = room(&[rows], weights)?;
        let tensors = [&logits, &log_probs, ids, weights].map(Arg::Of);
        let numbers = [Arg::Int(n), Arg::Int(usize::from(wants_grad))];
        let args: Vec<Arg<'_>> = tensors.into_iter().chain(numbers).collect();
        launch("cross_entropy", &logits, Grid { blocks: rows, threads: 512 }, &args)?;
        return Ok((log_probs, wants_grad.then_some(logits)));
    }
    let dtype = logits.dtype();
    let logits = logits.to_dtype(DType::F32)?;
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let total = logits.exp()?.sum_keepdim(D::Minus1)?;
    let ids = ids.unsqueeze(1)?;
    let log_probs = (logits.gather(&ids, 1)? - total.log()?)?.squeeze(1)?;
    if !wants_grad {
        return Ok((log_probs, None));
    }
    let weights = weights.unsqueeze(1)?;
    let shares = logits.exp()?.broadcast_div(&total)?.broadcast_mul(&weights)?;
    let grad = shares.scatter_add(&ids, &weights.neg()?, 1)?;
    Ok((log_probs, Some(grad.to_dtype(dtype)?)))
}

/// How a product comes into what is there.
#[derive(Clone, Copy)]
pub(super) enum Put {
    /// In its place.
    Fresh,
    /// Added to it.
    Sum,
}

/// `scale · a · b` into the rows of `into` from `row` on, in place.
///
/// into: (batch, rows, n), contiguous; a: (batch, m, k), b: (batch, k, n)
pub(super) fn product_into(
    into: &Tensor,
    (row, how): (usize, Put),
    scale: f64,
    a: &Tensor,
    b: &Tensor,
) -> Result<()> {
    #[cfg(feature = "cuda")]
    if into.device().is_cuda() {
        let keep = match how {
            Put::Fresh => 0.0,
            Put::Sum => 1.0,
        };
        return super::cuda::product_into(into, row, (keep, scale as f32), a, b);
    }
    let product = (a.contiguous()?.matmul(&b.contiguous()?)? * scale)?.to_dtype(into.dtype())?;
    let product = match how {
        Put::Fresh => product,
        Put::Sum => (into.narrow(1, row, a.dim(1)?)? + product)?,
    };
    into.slice_set(&product.contiguous()?, 1, row)
}

/// Adds `scale · a · b` to a matrix, in place. into: (m, n), a: (m, k), b: (k, n)
pub(super) fn add_product(into: &Tensor, scale: f64, a: &Tensor, b: &Tensor) -> Result<()> {
    let [into, a, b] = [into, a, b].map(|it| it.unsqueeze(0));
    product_into(&into?, (0, Put::Sum), scale, &a?, &b?)
}
