//! Keys and values of the tokens read so far, which later tokens attend to.

use candle_core::{DType, Device, Result, Tensor};

/// Room that a cache starts with, in tokens; it doubles when it is full.
const TOKENS_MIN: usize = 256;

/// The keys and values of one sequence, for all layers.
///
/// Token-major, so that appending writes one consecutive piece and truncating only forgets a
/// length; the rows beyond it are overwritten later.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<LayerCache>,
    /// Tokens that every layer has.
    len: usize,
}

#[derive(Debug)]
struct LayerCache {
    /// (capacity, n_kv_heads * head_dim)
    keys: Tensor,
    /// (capacity, n_kv_heads * head_dim)
    values: Tensor,
}

impl KvCache {
    /// An empty cache. `width` is n_kv_heads * head_dim.
    pub(crate) fn new(n_layers: usize, width: usize) -> Result<Self> {
        let mut layers = Vec::with_capacity(n_layers);
        for _ in 0..n_layers {
            let empty = || Tensor::zeros((TOKENS_MIN, width), DType::F32, &Device::Cpu);
            layers.push(LayerCache { keys: empty()?, values: empty()? });
        }
        Ok(Self { layers, len: 0 })
    }

    /// Tokens held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all tokens from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Writes the keys and values of the tokens that follow, for one layer, and returns all up to
    /// and with them, each (len + tokens, width). [`Self::advance`] makes them part of the cache.
    ///
    /// keys, values: (tokens, width)
    pub(crate) fn write(
        &mut self,
        layer_idx: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let layer = &mut self.layers[layer_idx];
        let end = self.len + keys.dim(0)?;
        for (all, new) in [(&mut layer.keys, keys), (&mut layer.values, values)] {
            if end > all.dim(0)? {
                *all = grown(all, self.len, end.next_power_of_two())?;
            }
            all.slice_set(&new.contiguous()?, 0, self.len)?;
        }
        Ok((layer.keys.narrow(0, 0, end)?, layer.values.narrow(0, 0, end)?))
    }

    /// Counts tokens that every layer has written.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }

    /// A copy that goes its own way.
    #[cfg(test)]
    pub(crate) fn fork(&self) -> Result<Self> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let capacity = (self.len + 1).next_power_of_two().max(TOKENS_MIN);
            layers.push(LayerCache {
                keys: grown(&layer.keys, self.len, capacity)?,
                values: grown(&layer.values, self.len, capacity)?,
            });
        }
        Ok(Self { layers, len: self.len })
    }
}

/// A new tensor with room for `capacity` rows that starts with the first `len` of `all`.
fn grown(all: &Tensor, len: usize, capacity: usize) -> Result<Tensor> {
    let res = Tensor::zeros((capacity, all.dim(1)?), all.dtype(), all.device())?;
    if len > 0 {
        res.slice_set(&all.narrow(0, 0, len)?.contiguous()?, 0, 0)?;
    }
    Ok(res)
}
