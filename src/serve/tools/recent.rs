//! A memory of the last so many things.

use std::collections::{HashMap, VecDeque};

/// Values by name; the oldest ones are forgotten once there are too many.
#[derive(Debug)]
pub(super) struct Recent<V> {
    values: HashMap<String, V>,
    /// Names, the oldest first.
    order: VecDeque<String>,
    n_max: usize,
}

impl<V> Recent<V> {
    pub(super) fn new(n_max: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), n_max }
    }

    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.values.get(name)
    }

    /// Remembers a value. False where there was one of that name, which it replaces.
    pub(super) fn insert(&mut self, name: &str, value: V) -> bool {
        let is_new = self.values.insert(name.to_owned(), value).is_none();
        if is_new {
            self.order.push_back(name.to_owned());
        }
        if self.order.len() > self.n_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut recent = Recent::new(2);
        assert!(recent.insert("a", 1));
        assert!(recent.insert("b", 2));
        assert!(!recent.insert("a", 3));
        assert_eq!(recent.get("a"), Some(&3));
        assert!(recent.insert("c", 4));
        assert_eq!((recent.get("a"), recent.get("b"), recent.get("c")), (None, Some(&2), Some(&4)));
        assert!(recent.insert("a", 5), "what was forgotten is new again");
        assert_eq!(recent.values.len(), 2);
    }
}
