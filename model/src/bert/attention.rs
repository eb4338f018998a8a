//! Attention of packed texts, in f32.

use crate::kernels;
use crate::panel_product::Product;
use crate::panels::PANEL;

#[derive(Default)]
pub(super) struct AttentionBuffers {
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    out: Vec<f32>,
}

/// Attention (Vaswani et al. 2017) of each text over itself, head by head.
///
/// qkv: (tokens, 3 * hidden) with scaled queries, out: (tokens, hidden)
pub(super) fn attend(
    qkv: &[f32],
    lens: &[usize],
    n_heads: usize,
    out: &mut [f32],
    buffers: &mut AttentionBuffers,
) {
    let hidden = qkv.len() / 3 / lens.iter().sum::<usize>().max(1);
    let head_dim = hidden / n_heads;
    let mut start = 0;
    for &len in lens {
        let qkv = &qkv[start * 3 * hidden..][..len * 3 * hidden];
        let out = &mut out[start * hidden..][..len * hidden];
        for head in 0..n_heads {
            attend_head(qkv, (head * head_dim, head_dim, hidden), out, buffers);
        }
        start += len;
    }
}

/// One head of one text, with the kernel of [`Product`]: keys and values become its panels.
///
/// qkv: (len, 3 * hidden), out: (len, hidden); of both, the columns of the head that starts at `at`
fn attend_head(
    qkv: &[f32],
    (at, head_dim, hidden): (usize, usize, usize),
    out: &mut [f32],
    buffers: &mut AttentionBuffers,
) {
    let len = out.len() / hidden;
    let len_padded = len.next_multiple_of(PANEL);
    let stride = 3 * hidden;
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
        let out = &mut scores[idx * PANEL..];
        Product {
            weights,
            rows: len,
            x: &qkv[at..],
            x_stride: stride,
            out,
            out_stride: len_padded,
        }
        .compute();
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
        let x: &[f32] = scores;
        let out_stride = PANEL;
        Product { weights: values, rows: len, x, x_stride: len_padded, out: padded, out_stride }
            .compute();
        for (out, padded) in out.chunks_exact_mut(hidden).zip(padded.chunks_exact(PANEL)) {
            out[at + column..][..width].copy_from_slice(&padded[..width]);
        }
    }
}
