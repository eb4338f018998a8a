//! Beginnings of prompts that were read before, so that a system prompt, its examples and the past
//! of a conversation are computed once.

use std::collections::HashSet;

use crate::kv_cache::KvCache;

/// Caches of what was read before, bounded in memory; the least recently used is dropped first.
pub(crate) struct Prefixes {
    entries: Vec<Entry>,
    bytes_max: usize,
    /// Counts uses, as a clock.
    now: u64,
}

struct Entry {
    /// What the cache holds.
    ids: Vec<u32>,
    /// The id of the adapter that computed it.
    adapter: Option<u64>,
    cache: KvCache,
    used: u64,
}

/// How many tokens two texts share from the start.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Vec::new(), bytes_max, now: 0 }
    }

    /// Changes the bound, at once.
    pub(crate) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.evict();
    }

    /// Forgets what adapters computed that are no longer there.
    pub(crate) fn forget_unless(&mut self, is_there: impl Fn(u64) -> bool) {
        self.entries.retain(|it| it.adapter.is_none_or(&is_there));
    }

    /// The longest known beginning of `ids`, if it is longer than `longer_than` tokens.
    pub(crate) fn find(
        &mut self,
        ids: &[u32],
        adapter: Option<u64>,
        longer_than: usize,
    ) -> Option<KvCache> {
        let shared = |it: &Entry| match it.adapter == adapter {
            true => common(&it.ids, ids),
            false => 0,
        };
        let best = self.entries.iter_mut().max_by_key(|it| shared(it))?;
        let shared = shared(best);
        if shared <= longer_than {
            return None;
        }
        self.now += 1;
        best.used = self.now;
        Some(best.cache.fork(shared))
    }

    /// Keeps what a cache holds. Entries that are beginnings of it are no longer needed.
    pub(crate) fn keep(&mut self, ids: &[u32], adapter: Option<u64>, cache: &KvCache) {
        let ids = &ids[..cache.len()];
        let begins = |a: &[u32], b: &[u32]| common(a, b) == a.len();
        let is_known = |it: &Entry| it.adapter == adapter && begins(ids, &it.ids);
        self.now += 1;
        if let Some(known) = self.entries.iter_mut().find(|it| is_known(it)) {
            known.used = self.now;
            return;
        }
        self.entries.retain(|it| it.adapter != adapter || !begins(&it.ids, ids));
        let cache = cache.fork(ids.len());
        self.entries.push(Entry { ids: ids.to_vec(), adapter, cache, used: self.now });
        self.evict();
    }

    /// Memory held; pages that several entries share count once.
    fn bytes(&self) -> usize {
        let mut seen = HashSet::new();
        self.entries.iter().map(|it| it.cache.bytes_unseen(&mut seen)).sum()
    }

    fn evict(&mut self) {
        while self.bytes() > self.bytes_max {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, it)| it.used);
            let Some((idx, _)) = oldest else { return };
            self.entries.swap_remove(idx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv_cache::{CacheShape, PAGE, PageCache};

    const SHAPE: CacheShape = CacheShape { n_layers: 1, n_kv_heads: 1, head_dim: 32 };
    const PAGE_BYTES: usize = 2 * 32 * 32 * 4;

    fn cache(n_tokens: usize) -> KvCache {
        let mut res = KvCache::Pages(PageCache::new(SHAPE));
        res.reserve(n_tokens).unwrap();
        res.advance(n_tokens);
        res
    }

    fn found(prefixes: &mut Prefixes, ids: &[u32]) -> usize {
        prefixes.find(ids, None, 0).map_or(0, |it| it.len())
    }

    #[test]
    fn the_longest_known_beginning_is_found() {
        let mut prefixes = Prefixes::new(usize::MAX);
        prefixes.keep(&[1, 2, 3, 4], None, &cache(4));
        prefixes.keep(&[1, 2, 9], None, &cache(3));
        assert_eq!(found(&mut prefixes, &[1, 2, 3, 7]), 3);
        assert_eq!(found(&mut prefixes, &[1, 2, 9, 9]), 3);
        assert_eq!(found(&mut prefixes, &[5]), 0);
        assert!(prefixes.find(&[1, 2, 3, 7], None, 3).is_none(), "no longer than what is asked");
        assert!(prefixes.find(&[1, 2, 3], Some(0), 0).is_none(), "another adapter's");
    }

    #[test]
    fn a_longer_text_takes_the_place_of_its_beginning() {
        let mut prefixes = Prefixes::new(usize::MAX);
        prefixes.keep(&[1, 2], None, &cache(2));
        prefixes.keep(&[1, 2, 3], None, &cache(3));
        prefixes.keep(&[1], None, &cache(1));
        assert_eq!(prefixes.entries.len(), 1);
        prefixes.keep(&[1, 2], Some(1), &cache(2));
        assert_eq!(prefixes.entries.len(), 2);
        prefixes.forget_unless(|adapter| adapter != 1);
        assert_eq!(prefixes.entries.len(), 1, "the base's is kept");
    }

    #[test]
    fn the_least_recently_used_is_dropped_when_memory_is_full() {
        let mut prefixes = Prefixes::new(2 * PAGE_BYTES);
        prefixes.keep(&[1, 1], None, &cache(2));
        prefixes.keep(&[2, 2], None, &cache(2));
        assert_eq!(found(&mut prefixes, &[1, 1, 1]), 2);
        prefixes.keep(&[3, 3], None, &cache(2));
        assert_eq!(found(&mut prefixes, &[2, 2]), 0, "dropped");
        assert_eq!(found(&mut prefixes, &[1, 1]), 2);
        prefixes.keep(&[4; 3 * PAGE], None, &cache(3 * PAGE));
        assert_eq!((prefixes.entries.len(), prefixes.bytes()), (0, 0), "one that never fits");
    }

    #[test]
    fn shared_pages_count_once() {
        let mut prefixes = Prefixes::new(usize::MAX);
        let whole = cache(2 * PAGE);
        prefixes.keep(&[7; 2 * PAGE], None, &whole);
        let mut fork = whole.fork(PAGE);
        fork.reserve(1).unwrap();
        fork.advance(1);
        let mut ids = vec![7; PAGE];
        ids.push(8);
        prefixes.keep(&ids, None, &fork);
        assert_eq!(prefixes.bytes(), 3 * PAGE_BYTES);
        prefixes.limit(0);
        assert_eq!(prefixes.bytes(), 0);
    }
}
