//! Citation marks of a draft that is shown while it is written.

/// Characters of a mark at most, brackets included.
const MARK_CHARS_MAX: usize = 12;

/// Lets text through and holds back what begins like a mark until it is one, or none. A mark of a
/// passage that is not there is dropped: no answer cites what it was not given.
#[derive(Debug)]
pub(crate) struct Marks {
    n_sources: usize,
    held: String,
}

impl Marks {
    pub(crate) fn new(n_sources: usize) -> Self {
        Self { n_sources, held: String::new() }
    }

    /// What can be shown once `text` has come.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut res = String::new();
        for c in text.chars() {
            if c == '[' {
                res.push_str(&std::mem::take(&mut self.held));
                self.held.push(c);
            } else if self.held.is_empty() {
                res.push(c);
            } else {
                self.held.push(c);
                let may_be_mark = c.is_ascii_digit() || matches!(c, ',' | ' ' | ']');
                if c == ']' {
                    let held = std::mem::take(&mut self.held);
                    if self.is_there(&held) {
                        res.push_str(&held);
                    }
                } else if !may_be_mark || self.held.len() > MARK_CHARS_MAX {
                    res.push_str(&std::mem::take(&mut self.held));
                }
            }
        }
        res
    }

    /// What was held back when nothing more comes.
    pub(crate) fn finish(self) -> String {
        self.held
    }

    /// Whether all numbers of `[1, 2]` are sources. What holds no number is no mark, and stays.
    fn is_there(&self, mark: &str) -> bool {
        let inner = mark.trim_matches(['[', ']']);
        inner
            .split([',', ' '])
            .filter(|it| !it.is_empty())
            .all(|it| it.parse::<usize>().is_ok_and(|n| (1..=self.n_sources).contains(&n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&str], expected: &str) {
        let mut marks = Marks::new(2);
        let mut res: String = pieces.iter().map(|it| marks.push(it)).collect();
        res.push_str(&marks.finish());
        assert_eq!(res, expected, "{pieces:?}");
    }

    #[test]
    fn marks_of_passages_that_are_not_there_are_dropped() {
        check(&["Trois jours. [1]"], "Trois jours. [1]");
        check(&["Trois [", "2", "] jours"], "Trois [2] jours");
        check(&["Trois [9] jours [1, 3]"], "Trois  jours ");
        check(&["Voir [l’annexe] et [1"], "Voir [l’annexe] et [1");
        check(&["[[1]] [] [123456789012345]"], "[[1]] [] [123456789012345]");
    }
}
