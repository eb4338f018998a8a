//! Caches on a device: a tensor of keys and one of values for each layer, with room to grow.
//!
//! Caches that begin alike share the tensors until one of them writes: it copies its part then, as
//! it does when its room is used up. So a fork that is only kept, or that alone is left, costs
//! nothing.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::CacheShape;

/// Tokens that the first tensors have room for.
const ROOM_MIN: usize = 64;

/// The keys and values of one sequence, for all layers, in f32.
#[derive(Debug)]
pub(crate) struct TensorCache {
    shape: CacheShape,
    device: Device,
    /// Keys and values of each layer; (kv_heads, room, head_dim) each
    layers: Arc<Vec<[Tensor; 2]>>,
    /// Tokens that there is room for.
    room: usize,
    /// Tokens that every layer has.
    len: usize,
}

impl TensorCache {
    /// An empty cache.
    pub(crate) fn new(shape: CacheShape, device: &Device) -> Self {
        Self { shape, device: device.clone(), layers: Arc::default(), room: 0, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        match seen.insert(Arc::as_ptr(&self.layers) as usize) {
            true => {
                let CacheShape { head_dim, .. } = self.shape;
                2 * self.shape.n_heads() * self.room * head_dim * size_of::<f32>()
            }
            false => 0,
        }
    }

    #[cfg(test)]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn fork(&self, len: usize) -> Self {
        let (device, layers) = (self.device.clone(), Arc::clone(&self.layers));
        Self { shape: self.shape, device, layers, room: self.room, len: self.len.min(len) }
    }

    pub(super) fn reserve(&mut self, n_tokens: usize) -> Result<()> {
        let needed = self.len + n_tokens;
        if needed <= self.room && Arc::get_mut(&mut self.layers).is_some() {
            return Ok(());
        }
        // Doubling, so that a sequence of n tokens copies fewer than 2n.
        self.room = needed.next_power_of_two().max(ROOM_MIN);
        let CacheShape { n_layers, n_kv_heads, head_dim } = self.shape;
        let mut layers = Vec::with_capacity(n_layers);
        for layer in 0..n_layers {
            let fresh =
                || Tensor::zeros((n_kv_heads, self.room, head_dim), DType::F32, &self.device);
            let both = [fresh()?, fresh()?];
            if self.len > 0 {
                for (fresh, old) in both.iter().zip(&self.layers[layer]) {
                    fresh.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                }
            }
            layers.push(both);
        }
        self.layers = Arc::new(layers);
        Ok(())
    }

    pub(super) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }

    /// Writes the keys and values of tokens that follow, for which there is room.
    ///
    /// keys, values: (n_tokens, kv_heads, head_dim)
    pub(crate) fn write(&self, layer: usize, keys: &Tensor, values: &Tensor) -> Result<()> {
        for (all, new) in self.layers[layer].iter().zip([keys, values]) {
            all.slice_set(&new.transpose(0, 1)?.contiguous()?, 1, self.len)?;
        }
        Ok(())
    }

    /// Keys and values of some tokens; (kv_heads, tokens, head_dim) each
    pub(crate) fn seen(&self, layer: usize, tokens: Range<usize>) -> Result<(Tensor, Tensor)> {
        let [keys, values] = &self.layers[layer];
        let part = |all: &Tensor| all.narrow(1, tokens.start, tokens.len());
        Ok((part(keys)?, part(values)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: CacheShape = CacheShape { n_layers: 2, n_kv_heads: 2, head_dim: 3 };

    /// Adds tokens whose keys are all `value` and whose values are its negative.
    fn add(cache: &mut TensorCache, n_tokens: usize, value: f32) {
        cache.reserve(n_tokens).unwrap();
        let keys = Tensor::full(value, (n_tokens, 2, 3), &Device::Cpu).unwrap();
        for layer in 0..2 {
            cache.write(layer, &keys, &keys.neg().unwrap()).unwrap();
        }
        cache.advance(n_tokens);
    }

    /// The keys of each token, which all heads and layers have alike.
    fn tokens(cache: &TensorCache) -> Vec<f32> {
        let mut res = Vec::new();
        for layer in 0..2 {
            let (keys, values) = cache.seen(layer, 0..cache.len()).unwrap();
            let [all, negated] =
                [&keys, &values.neg().unwrap()].map(|it| it.to_vec3::<f32>().unwrap());
            assert_eq!(all, negated);
            for head in all {
                let of_head: Vec<f32> = head.iter().map(|it| it[0]).collect();
                assert!(res.is_empty() || res == of_head);
                res = of_head;
            }
        }
        res
    }

    #[test]
    fn forks_share_until_one_writes_and_change_each_other_never() {
        let mut cache = TensorCache::new(SHAPE, &Device::Cpu);
        add(&mut cache, 3, 1.0);
        let mut fork = cache.fork(2);
        let bytes = 2 * 2 * 2 * 3 * 4 * ROOM_MIN;
        let mut seen = HashSet::new();
        let both = cache.bytes_unseen(&mut seen) + fork.bytes_unseen(&mut seen);
        assert_eq!(both, bytes, "what is shared counts once");
        add(&mut fork, 1, 2.0);
        add(&mut cache, 1, 3.0);
        assert_eq!(tokens(&cache), [1.0, 1.0, 1.0, 3.0]);
        assert_eq!(tokens(&fork), [1.0, 1.0, 2.0]);
        let both = cache.bytes_unseen(&mut HashSet::new()) + fork.bytes_unseen(&mut HashSet::new());
        assert_eq!(both, 2 * bytes);
    }

    #[test]
    fn what_alone_is_left_is_written_in_place() {
        let mut cache = TensorCache::new(SHAPE, &Device::Cpu);
        add(&mut cache, 3, 1.0);
        let mut fork = cache.fork(3);
        drop(cache);
        let before = Arc::as_ptr(&fork.layers);
        add(&mut fork, 2, 2.0);
        assert_eq!(Arc::as_ptr(&fork.layers), before);
        assert_eq!(tokens(&fork), [1.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn room_doubles_and_keeps_what_is_there() {
        let mut cache = TensorCache::new(SHAPE, &Device::Cpu);
        let mut expected = Vec::new();
        for step in 0..40 {
            add(&mut cache, 7, step as f32);
            expected.extend([step as f32; 7]);
        }
        assert_eq!(tokens(&cache), expected);
        assert_eq!(cache.room, 512);
        cache.truncate(5);
        add(&mut cache, 1, 99.0);
        assert_eq!(tokens(&cache), [0.0, 0.0, 0.0, 0.0, 0.0, 99.0]);
    }
}
