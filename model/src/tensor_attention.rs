//! Attention of several sequences over caches of tensors, on any device.

use candle_core::{Device, Result, Tensor};
use candle_nn::rotary_emb::rope_thd;

use crate::attention::Angles;
use crate::decoder::{Config, Piece};
use crate::tiles::{Tile, by_head, by_row};

/// Queries of a sequence whose scores are in memory together.
const TILE_TOKENS: usize = 64;

/// What the layers of a pass share: made once, because it has to be brought to the device.
pub(crate) struct Tables {
    /// (rows, head_dim / 2)
    cos: Tensor,
    sin: Tensor,
    /// Of each sequence.
    tiles: Vec<Vec<Tile>>,
}

impl Tables {
    pub(crate) fn new(
        angles: &Angles,
        pieces: &[Piece<'_>],
        config: &Config,
        device: &Device,
    ) -> Result<Self> {
        let half = config.head_dim / 2;
        let (cos, sin) = angles.tables();
        let table = |it: &[f32]| Tensor::from_slice(it, (it.len() / half, half), device);
        let mut tiles = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let (start, n_tokens) = (piece.cache.len(), piece.ids.len());
            let mut of_piece = Vec::with_capacity(n_tokens.div_ceil(TILE_TOKENS));
            for first in (start..start + n_tokens).step_by(TILE_TOKENS) {
                let queries = first..(first + TILE_TOKENS).min(start + n_tokens);
                of_piece.push(Tile::new(queries, config.sliding_window, device)?);
            }
            tiles.push(of_piece);
        }
        Ok(Self { cos: table(cos)?, sin: table(sin)?, tiles })
    }

    /// Turns each pair of a head's values. heads: (rows, heads, head_dim)
    fn rotate(&self, heads: &Tensor) -> Result<Tensor> {
        rope_thd(&heads.contiguous()?.unsqueeze(0)?, &self.cos, &self.sin)?.squeeze(0)
    }
}

/// Rotates queries and keys, writes keys and values to the caches of their sequences, in which
/// there is room, and attends.
///
/// q: (rows, heads * head_dim), k, v: (rows, kv_heads * head_dim), or in as many rows as there are
/// heads; result: (rows, heads * head_dim)
pub(crate) fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    pieces: &[Piece<'_>],
    layer: usize,
    tables: &Tables,
    config: &Config,
) -> Result<Tensor> {
    let Config { n_heads, n_kv_heads, head_dim, .. } = *config;
    let rows: usize = pieces.iter().map(|it| it.ids.len()).sum();
    let q = tables.rotate(&q.reshape((rows, n_heads, head_dim))?)?;
    let k = tables.rotate(&k.reshape((rows, n_kv_heads, head_dim))?)?;
    let v = v.reshape((rows, n_kv_heads, head_dim))?;
    let mut out = Vec::with_capacity(pieces.len());
    let mut row = 0;
    for (piece, tiles) in pieces.iter().zip(&tables.tiles) {
        let n_tokens = piece.ids.len();
        let cache = piece.cache.tensors()?;
        cache.write(layer, &k.narrow(0, row, n_tokens)?, &v.narrow(0, row, n_tokens)?)?;
        for tile in tiles {
            let n_queries = tile.queries.len();
            let q = by_head(&q.narrow(0, row, n_queries)?, n_kv_heads)?;
            let q = q.reshape((n_kv_heads, (), head_dim))?;
            let (keys, values) = cache.seen(layer, tile.keys.clone())?;
            out.push(by_row(&tile.weights(&q, &keys)?.matmul(&values)?, n_queries)?);
            row += n_queries;
        }
    }
    Tensor::cat(&out, 0)?.reshape((rows, n_heads * head_dim))
}

#[cfg(test)]
mod tests {
    use crate::adapter::{Adapter, Base};
    use crate::decoder::{Decoder, Piece};
    use crate::device::Backend;
    use crate::golden::{self, furthest};
    use crate::lora::PackedAdapter;

    /// What a decoder gives for sequences of different length that are read in pieces beside each
    /// other, one with an adapter, one of which is forked on the way. result: (rows, vocab)
    fn script(decoder: &Decoder, adapter: Option<&PackedAdapter>) -> Vec<Vec<f32>> {
        let text = |n: u32| (0..n).map(|it| it * n % 70).collect::<Vec<u32>>();
        let texts = [text(1), text(40), text(3), text(97), text(67)];
        let mut caches: Vec<_> = texts.iter().map(|_| decoder.cache()).collect();
        let mut res = Vec::new();
        for (round, share) in [0.0, 0.3, 0.9, 1.0].windows(2).enumerate() {
            let part = |ids: &[u32]| {
                let at = |share: f64| (ids.len() as f64 * share).round() as usize;
                ids[at(share[0])..at(share[1])].to_vec()
            };
            let parts: Vec<Vec<u32>> = texts.iter().map(|it| part(it)).collect();
            let mut pieces: Vec<Piece<'_>> = parts
                .iter()
                .zip(&mut caches)
                .enumerate()
                .filter(|(_, (ids, _))| !ids.is_empty())
                .map(|(idx, (ids, cache))| Piece {
                    ids,
                    cache,
                    adapter: adapter.filter(|_| idx == 1),
                })
                .collect();
            let hidden = decoder.forward_batch(&mut pieces).unwrap();
            res.extend(decoder.logits(&hidden, &[]).unwrap().to_vec2::<f32>().unwrap());
            if round == 1 {
                // One takes over another's beginning, which goes on by itself.
                caches[4] = caches[3].fork(60);
            }
        }
        res
    }

    #[track_caller]
    fn check(model: &str, adapter: Option<&str>) {
        let model = golden::path(model);
        let run = |backend: &Backend| {
            let decoder = golden::decoder_on(&model, backend);
            let load = |it: &str| Adapter::load(&golden::path(it), &Base::of(&decoder)).unwrap();
            let adapter = adapter.map(|it| golden::packed(&load(it), &decoder));
            script(&decoder, adapter.as_ref())
        };
        let [processor, tensors] = golden::backends().map(|it| run(&it));
        assert_eq!(processor.len(), tensors.len());
        for (row, (tensors, processor)) in tensors.iter().zip(&processor).enumerate() {
            let off = furthest(tensors, processor);
            assert!(off < 1e-4, "{} is off by {off} in row {row}", model.display());
        }
    }

    #[test]
    fn batches_in_pieces_with_forks_agree_with_the_processor() {
        for model in ["tiny-llama3.gguf", "tiny-mistral.gguf", "tiny-qwen2.gguf", "tiny-qwen3.gguf"]
        {
            check(model, None);
        }
        check("tiny-mistral-folder", None);
        check("tiny-llama.gguf", Some("tiny-lora-all"));
    }
}
