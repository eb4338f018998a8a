//! Caches for the processor: pages of 32 tokens (Kwon et al. 2023, "PagedAttention").
//!
//! Caches that begin alike share pages: a fork copies a list of them, and a page is copied only when
//! one of its owners writes to it. Inside a page keys and values lie as the panels that attention
//! multiplies with.

use std::collections::HashSet;
use std::sync::Arc;

use super::CacheShape;
use crate::panels::PANEL;

/// Tokens per page: the width of a panel of keys.
pub(crate) const PAGE: usize = PANEL;

/// The keys and values of one sequence, for all layers.
#[derive(Debug)]
pub(crate) struct PageCache {
    shape: CacheShape,
    pages: Vec<Arc<Page>>,
    /// Tokens that every layer has.
    len: usize,
}

/// The keys and values of 32 consecutive tokens, for all layers.
#[derive(Debug, Clone)]
struct Page {
    /// (layers, kv_heads, head_dim, 32 tokens)
    keys: Vec<f32>,
    /// (layers, kv_heads, head_dim / 32, 32 tokens, 32 values)
    values: Vec<f32>,
}

impl CacheShape {
    /// Values of one head of one layer in a page's keys.
    fn key_len(self) -> usize {
        self.head_dim * PAGE
    }

    /// The same for its values, whose panels are padded.
    fn value_len(self) -> usize {
        self.head_dim.next_multiple_of(PANEL) * PAGE
    }

    /// Memory of a page.
    fn page_bytes(self) -> usize {
        self.n_heads() * (self.key_len() + self.value_len()) * size_of::<f32>()
    }
}

impl PageCache {
    /// An empty cache.
    pub(crate) fn new(shape: CacheShape) -> Self {
        Self { shape, pages: Vec::new(), len: 0 }
    }

    /// Tokens held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Memory of its pages, without those in `seen`, to which they are added.
    pub(crate) fn bytes_unseen(&self, seen: &mut HashSet<usize>) -> usize {
        let new = self.pages.iter().filter(|it| seen.insert(Arc::as_ptr(it) as usize));
        new.count() * self.shape.page_bytes()
    }

    /// Forgets all tokens from `len` on. Requests fork instead, so that others keep the rest.
    #[cfg(test)]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// A cache of the first `len` tokens that goes its own way from there. Copies no values.
    pub(crate) fn fork(&self, len: usize) -> Self {
        let len = self.len.min(len);
        let pages = self.pages[..len.div_ceil(PAGE)].to_vec();
        Self { shape: self.shape, pages, len }
    }

    /// Makes room for tokens that follow. [`Self::advance`] makes them part of the cache.
    pub(crate) fn reserve(&mut self, n_tokens: usize) {
        let n_pages = (self.len + n_tokens).div_ceil(PAGE);
        let n_heads = self.shape.n_heads();
        self.pages.resize_with(n_pages.max(self.pages.len()), || {
            Arc::new(Page {
                keys: vec![0.0; n_heads * self.shape.key_len()],
                values: vec![0.0; n_heads * self.shape.value_len()],
            })
        });
    }

    /// Writes the key and value of one head of the token at `position`, for which there is room.
    ///
    /// key, value: (head_dim)
    pub(crate) fn write(
        &mut self,
        (layer, head): (usize, usize),
        position: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let shape = self.shape;
        let at = layer * shape.n_kv_heads + head;
        let slot = position % PAGE;
        // A page that a fork looks at, too, is copied here.
        let page = Arc::make_mut(&mut self.pages[position / PAGE]);
        let keys = &mut page.keys[at * shape.key_len()..][..shape.key_len()];
        for (out, key) in keys.iter_mut().skip(slot).step_by(PAGE).zip(key) {
            *out = *key;
        }
        let values = &mut page.values[at * shape.value_len()..][..shape.value_len()];
        for (panel, value) in values.chunks_exact_mut(PAGE * PANEL).zip(value.chunks(PANEL)) {
            panel[slot * PANEL..][..value.len()].copy_from_slice(value);
        }
    }

    /// Counts tokens that every layer has written.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }

    /// One head's keys in a page; (head_dim, 32 tokens)
    pub(crate) fn keys(&self, page: usize, (layer, head): (usize, usize)) -> &[f32] {
        let (at, len) = (layer * self.shape.n_kv_heads + head, self.shape.key_len());
        &self.pages[page].keys[at * len..][..len]
    }

    /// One head's values in a page; (head_dim / 32, 32 tokens, 32 values)
    pub(crate) fn values(&self, page: usize, (layer, head): (usize, usize)) -> &[f32] {
        let (at, len) = (layer * self.shape.n_kv_heads + head, self.shape.value_len());
        &self.pages[page].values[at * len..][..len]
    }

    /// Whether the caches hold the same page at the same place.
    #[cfg(test)]
    pub(crate) fn shares_page(&self, other: &Self, page: usize) -> bool {
        Arc::ptr_eq(&self.pages[page], &other.pages[page])
    }
}
