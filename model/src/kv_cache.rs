//! Keys and values of the tokens read so far, which later tokens attend to: in pages for the
//! processor's own attention, or as tensors on a device.

mod pages;
mod tensors;

use std::collections::HashSet;

use candle_core::Result;

pub(crate) use pages::{PAGE, PageCache};
pub(crate) use tensors::TensorCache;

/// What a token takes in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheShape {
    pub(crate) n_layers: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl CacheShape {
    /// Key heads of all layers.
    fn n_heads(self) -> usize {
        self.n_layers * self.n_kv_heads
    }

    /// Memory of a token's keys and values, without what pages pad.
    pub(crate) fn token_bytes(self) -> usize {
        2 * self.n_heads() * self.head_dim * size_of::<f32>()
    }
}

/// The keys and values of one sequence, for all layers, in the form that its decoder attends to.
#[derive(Debug)]
pub(crate) enum KvCache {
    Pages(PageCache),
    Tensors(TensorCache),
}

impl KvCache {
    /// Tokens held.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Pages(it) => it.len(),
            Self::Tensors(it) => it.len(),
        }
    }

    /// Its memory, without what is in `seen`, to which it is added: caches share what they have in
    /// common.
    pub(crate) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        match self {
            Self::Pages(it) => it.bytes_unseen(seen),
            Self::Tensors(it) => it.bytes_unseen(seen),
        }
    }

    /// Forgets all tokens from `len` on. Requests fork instead, so that others keep the rest.
    #[cfg(test)]
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Self::Pages(it) => it.truncate(len),
            Self::Tensors(it) => it.truncate(len),
        }
    }

    /// A cache of the first `len` tokens that goes its own way from there. Copies no values yet.
    pub(crate) fn fork(&self, len: usize) -> Self {
        match self {
            Self::Pages(it) => Self::Pages(it.fork(len)),
            Self::Tensors(it) => Self::Tensors(it.fork(len)),
        }
    }

    /// Makes room for tokens that follow. [`Self::advance`] makes them part of the cache.
    pub(crate) fn reserve(&mut self, n_tokens: usize) -> Result<()> {
        match self {
            Self::Pages(it) => {
                it.reserve(n_tokens);
                Ok(())
            }
            Self::Tensors(it) => it.reserve(n_tokens),
        }
    }

    /// Counts tokens that every layer has written.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        match self {
            Self::Pages(it) => it.advance(n_tokens),
            Self::Tensors(it) => it.advance(n_tokens),
        }
    }

    /// The pages of a decoder on the processor.
    pub(crate) fn pages(&self) -> Result<&PageCache> {
        match self {
            Self::Pages(it) => Ok(it),
            Self::Tensors(_) => {
                candle_core::bail!("a cache of tensors where pages are attended to")
            }
        }
    }

    /// The same, to write to.
    pub(crate) fn pages_mut(&mut self) -> Result<&mut PageCache> {
        match self {
            Self::Pages(it) => Ok(it),
            Self::Tensors(_) => {
                candle_core::bail!("a cache of tensors where pages are attended to")
            }
        }
    }

    /// The tensors of a decoder on a device.
    pub(crate) fn tensors(&self) -> Result<&TensorCache> {
        match self {
            Self::Tensors(it) => Ok(it),
            Self::Pages(_) => candle_core::bail!("a cache of pages where tensors are attended to"),
        }
    }
}
