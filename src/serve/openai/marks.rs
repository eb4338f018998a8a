//! Citation marks of a draft that is shown while it is written.

use std::ops::Range;

use crate::cite::{split, without_marks};

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

/// Citations that a draft does not show: for sentences (their text, and the sources that they rest
/// on, from 0) the sources that no mark of theirs names, each with the Unicode characters of its
/// sentence. Where the draft holds no such sentence, a source that it never names stands at its end.
pub(super) fn unmarked(sentences: &[(&str, &[usize])], shown: &str) -> Vec<(usize, Range<usize>)> {
    let written = written(shown);
    let all_marks: Vec<usize> = written.iter().flat_map(|it| it.marks.iter().copied()).collect();
    let n_chars = shown.chars().count();
    let mut from = 0;
    let mut res = Vec::new();
    for (text, sources) in sentences {
        let found = written[from..].iter().position(|it| says_the_same(&it.text, text));
        let (place, marks) = match found {
            Some(i) => {
                from += i + 1;
                let it = &written[from - 1];
                (it.chars.clone(), &it.marks)
            }
            None => (n_chars..n_chars, &all_marks),
        };
        for source in sources.iter().filter(|it| !marks.contains(&(**it + 1))) {
            let citation = (*source, place.clone());
            if !res.contains(&citation) {
                res.push(citation);
            }
        }
    }
    res
}

/// A sentence of a draft.
struct Written {
    /// Without marks.
    text: String,
    /// Numbers of its marks, from 1.
    marks: Vec<usize>,
    /// Where it stands, in Unicode characters, its marks included.
    chars: Range<usize>,
}

/// The sentences of a draft, cut as the check cuts them.
fn written(shown: &str) -> Vec<Written> {
    let mut res: Vec<Written> = Vec::new();
    let (mut at, mut n_chars) = (0, 0);
    for range in split(shown) {
        let sentence = shown[range.clone()].trim_end();
        n_chars += shown[at..range.start].chars().count();
        let chars = n_chars..n_chars + sentence.chars().count();
        (at, n_chars) = (range.start + sentence.len(), chars.end);
        let (text, marks) = without_marks(sentence);
        match res.last_mut() {
            // A line of marks alone belongs to the sentence before it.
            Some(last) if text.is_empty() => last.marks.extend(marks),
            _ if text.is_empty() => {}
            _ => res.push(Written { text, marks, chars }),
        }
    }
    res
}

/// Whether two texts differ in blanks only: a mark that was dropped leaves some behind.
fn says_the_same(a: &str, b: &str) -> bool {
    let letters = |it: &str| it.chars().filter(|it| !it.is_whitespace()).collect::<String>();
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn citations_without_a_mark_span_their_sentence() {
        let shown = "L’été, trois jours. Le mercredi est commun [2]. Rien d’autre.";
        let sentences: [(&str, &[usize]); 3] = [
            ("L’été, trois jours.", &[0]),
            ("Le mercredi est commun.", &[1, 2]),
            ("Rien d’autre.", &[]),
        ];
        let found = unmarked(&sentences, shown);
        let told: Vec<(usize, String)> = found
            .iter()
            .map(|(source, chars)| {
                let text = shown.chars().skip(chars.start).take(chars.len());
                (*source, text.collect())
            })
            .collect();
        let told: Vec<(usize, &str)> = told.iter().map(|(it, text)| (*it, text.as_str())).collect();
        assert_eq!(told, [(0, "L’été, trois jours."), (2, "Le mercredi est commun [2].")]);
    }

    #[test]
    fn what_the_draft_does_not_hold_is_cited_at_its_end() {
        assert_eq!(unmarked(&[("Quatre jours.", &[0])], "Trois jours."), [(0, 12..12)]);
        let twice: [(&str, &[usize]); 2] = [("Quatre jours.", &[0]), ("Cinq jours.", &[0])];
        assert_eq!(unmarked(&twice, "Trois jours."), [(0, 12..12)]);
        // Items that stand on a line are one sentence, whose marks are there.
        let items: [(&str, &[usize]); 2] = [("- un", &[0]), ("- deux", &[1])];
        assert!(unmarked(&items, "- un [1] - deux [2]").is_empty());
        // A dropped mark leaves a blank behind.
        assert_eq!(unmarked(&[("Trois jours.", &[0])], "Trois jours ."), [(0, 0..13)]);
        // All is marked, on a line of its own.
        assert!(unmarked(&[("Trois jours.", &[0, 1])], "Trois jours.\n[1, 2]").is_empty());
    }

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
