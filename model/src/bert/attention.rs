//! Attention of packed texts, in f32.

use crate::crew::Crew;
use crate::kernels;
use crate::panel_product::Product;
use crate::panels::PANEL;

/// Groups of heads for each thread, so that none waits long for another.
const PIECES_PER_THREAD: usize = 2;

#[derive(Default)]
pub(super) struct AttentionBuffers {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    out: Vec<f32>,
}

/// What attention goes through: texts, and the heads of each.
#[derive(Clone, Copy)]
pub(super) struct Heads<'t> {
    lens: &'t [usize],
    n_heads: usize,
    hidden: usize,
    head_dim: usize,
}

impl<'t> Heads<'t> {
    /// `n_values` hidden values of all tokens.
    pub(super) fn of(lens: &'t [usize], n_heads: usize, n_values: usize) -> Self {
        let hidden = n_values / lens.iter().sum::<usize>().max(1);
        Self { lens, n_heads, hidden, head_dim: hidden / n_heads }
    }
}

/// The first token and the length of each text.
fn texts(lens: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    lens.iter().scan(0, |next, &len| {
        *next += len;
        Some((*next - len, len))
    })
}

/// Attention (Vaswani et al. 2017) of each text over itself, head by head.
///
/// qkv: (tokens, 3 * hidden) with scaled queries, out: (tokens, hidden)
pub(super) fn attend(
    qkv: &[f32],
    heads: Heads<'_>,
    out: &mut [f32],
    buffers: &mut AttentionBuffers,
) {
    let Heads { n_heads, hidden, head_dim, .. } = heads;
    for (start, len) in texts(heads.lens) {
        let qkv = &qkv[start * 3 * hidden..][..len * 3 * hidden];
        let out = &mut out[start * hidden..][..len * hidden];
        for head in 0..n_heads {
            let out = (&mut out[head * head_dim..], hidden);
            attend_head(qkv, (head * head_dim, head_dim, hidden), out, buffers);
        }
    }
}

/// The same numbers, some heads of all texts by each of a crew.
pub(super) fn attend_together(qkv: &[f32], heads: Heads<'_>, out: &mut [f32], crew: &Crew<'_>) {
    let Heads { n_heads, hidden, head_dim, .. } = heads;
    let each = n_heads.div_ceil(crew.n_threads() * PIECES_PER_THREAD);
    let of_piece = move |idx: usize| idx * each..n_heads.min((idx + 1) * each);
    let (qkv, lens) = (qkv.to_vec(), heads.lens.to_vec());
    // (tokens, columns of the heads of the piece)
    let compute = move |idx: usize| {
        let own = of_piece(idx);
        let stride = own.len() * head_dim;
        let mut res = vec![0.0; qkv.len() / (3 * hidden) * stride];
        let mut buffers = AttentionBuffers::default();
        for (start, len) in texts(&lens) {
            let qkv = &qkv[start * 3 * hidden..][..len * 3 * hidden];
            for (column, head) in own.clone().enumerate() {
                let out = (&mut res[start * stride + column * head_dim..], stride);
                attend_head(qkv, (head * head_dim, head_dim, hidden), out, &mut buffers);
            }
        }
        res
    };
    crew.share(n_heads.div_ceil(each), compute, |idx, piece| {
        let own = of_piece(idx);
        let (start, width) = (own.start * head_dim, own.len() * head_dim);
        for (out, row) in out.chunks_exact_mut(hidden).zip(piece.chunks_exact(width)) {
            out[start..start + width].copy_from_slice(row);
        }
    });
}

/// One head of one text, with the kernel of [`Product`]: keys and values become its panels.
///
/// qkv: (len, 3 * hidden), of which the head's columns start at `at`; out: its head_dim columns of
/// len rows, a stride apart
fn attend_head(
    qkv: &[f32],
    (at, head_dim, hidden): (usize, usize, usize),
    (out, out_stride): (&mut [f32], usize),
    buffers: &mut AttentionBuffers,
) {
    let stride = 3 * hidden;
    let len = qkv.len() / stride;
    let len_padded = len.next_multiple_of(PANEL);
    let AttentionBuffers { keys, values, scores, out: padded } = buffers;

    // scores = query · keyᵀ: (len, len_padded)
    keys.clear();
    keys.resize(len_padded * head_dim, 0.0); // (len_padded / 32, head_dim, 32)
    for (token, row) in qkv.chunks_exact(stride).enumerate() {
        let panel = &mut keys[token / PANEL * head_dim * PANEL..][..head_dim * PANEL];
        let key = &row[hidden + at..][..head_dim];
        for (slot, &key) in panel.iter_mut().skip(token % PANEL).step_by(PANEL).zip(key) {
            *slot = key;
        }
    }
    scores.resize(len * len_padded, 0.0);
    for (idx, weights) in keys.chunks_exact(head_dim * PANEL).enumerate() {
        let (x, out) = (&qkv[at..], &mut scores[idx * PANEL..]);
        Product { weights, rows: len, x, x_stride: stride, out, out_stride: len_padded }.compute();
    }
    kernels::softmax(scores, len_padded, |_| len);

    // out = scores · value: (len, head_dim), a panel of 32 columns at a time
    for column in (0..head_dim).step_by(PANEL) {
        let width = PANEL.min(head_dim - column);
        values.clear();
        values.resize(len * PANEL, 0.0); // (len, 32)
        for (value, row) in values.chunks_exact_mut(PANEL).zip(qkv.chunks_exact(stride)) {
            value[..width].copy_from_slice(&row[2 * hidden + at + column..][..width]);
        }
        padded.resize(len * PANEL, 0.0); // (len, 32)
        Product {
            weights: values,
            rows: len,
            x: scores,
            x_stride: len_padded,
            out: padded,
            out_stride: PANEL,
        }
        .compute();
        for (out, padded) in out.chunks_mut(out_stride).zip(padded.chunks_exact(PANEL)) {
            out[column..][..width].copy_from_slice(&padded[..width]);
        }
    }
}
