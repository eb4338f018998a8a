//! What stands in front of a chunk when it is embedded.

use crate::document::{Document, Heading};

/// Characters of a title or a heading: more than any reader would call one.
const TITLE_CHARS_MAX: usize = 240;

/// Headings by nesting.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    headings: &'a [Heading],
    /// For each heading, the one that it stands under.
    parents: Vec<Option<usize>>,
}

impl<'a> Outline<'a> {
    pub(super) fn of(headings: &'a [Heading]) -> Self {
        let mut parents = Vec::with_capacity(headings.len());
        let mut open: Vec<usize> = Vec::new();
        for (heading_idx, heading) in headings.iter().enumerate() {
            while open.pop_if(|outer| headings[*outer].level >= heading.level).is_some() {}
            parents.push(open.last().copied());
            open.push(heading_idx);
        }
        Self { headings, parents }
    }

    /// The headings from the outermost to this one.
    pub(super) fn path(&self, heading: Option<usize>) -> Vec<&'a Heading> {
        let up = std::iter::successors(heading, |&heading_idx| self.parents[heading_idx]);
        let mut path: Vec<_> = up.map(|heading_idx| &self.headings[heading_idx]).collect();
        path.reverse();
        path
    }
}

/// A document's title and the headings above a place, of `tokens_max` tokens at most: outer
/// headings are dropped first, then the title's last words. With the number of its tokens.
pub(super) fn context(
    document: &Document,
    above: &[&Heading],
    tokens_max: usize,
    count_tokens: &dyn Fn(&str) -> usize,
) -> (String, usize) {
    let title = first_words(&document.title, TITLE_CHARS_MAX);
    let mut parts: Vec<&str> = Vec::with_capacity(above.len() + 1);
    parts.extend(above.iter().map(|heading| first_words(&heading.title, TITLE_CHARS_MAX)));
    // The first heading of most documents is their title.
    if parts.first().is_some_and(|first| first.to_lowercase() == title.to_lowercase()) {
        parts.remove(0);
    }
    for n_dropped in 0..=parts.len() {
        let mut shown = vec![title];
        shown.extend_from_slice(&parts[n_dropped..]);
        shown.retain(|part| !part.is_empty());
        let shown = shown.join(" > ");
        let n_tokens = count_tokens(&shown);
        if n_tokens <= tokens_max {
            return (shown, n_tokens);
        }
    }
    let mut shown = title;
    loop {
        let n_tokens = count_tokens(shown);
        if shown.is_empty() || n_tokens <= tokens_max {
            return (shown.to_owned(), n_tokens);
        }
        let last_word = shown.rfind(char::is_whitespace).unwrap_or(0);
        shown = shown[..last_word].trim_end();
    }
}

/// A text up to the last whole word within `chars_max` characters.
fn first_words(text: &str, chars_max: usize) -> &str {
    let text = text.trim();
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return text };
    let last_word = text[..end].rfind(char::is_whitespace).unwrap_or(end);
    text[..last_word].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::tests::{count_words, document};

    #[track_caller]
    fn check(title: &str, above: &[&str], tokens_max: usize, expected: &str) {
        let mut document = document("");
        document.title = title.to_owned();
        let headings: Vec<_> = above
            .iter()
            .map(|title| Heading { level: 1, title: (*title).to_owned(), offset: 0 })
            .collect();
        let above: Vec<_> = headings.iter().collect();
        let (shown, n_tokens) = context(&document, &above, tokens_max, &count_words);
        assert_eq!(shown, expected);
        assert_eq!(n_tokens, count_words(expected));
    }

    #[test]
    fn joins_title_and_headings() {
        check("Guide", &["Congés", "Parental"], 10, "Guide > Congés > Parental");
        check("Guide", &[], 10, "Guide");
        check("", &["Congés"], 10, "Congés");
    }

    #[test]
    fn the_title_stands_there_once() {
        check("Guide RH", &["Guide rh", "Congés"], 10, "Guide RH > Congés");
    }

    #[test]
    fn drops_outer_headings_then_words_of_the_title() {
        check("Guide", &["Un", "Deux", "Trois"], 5, "Guide > Deux > Trois");
        check("Guide", &["Un", "Deux", "Trois"], 3, "Guide > Trois");
        check("Guide des bons usages", &["Un"], 2, "Guide des");
        check("Anticonstitutionnellement", &["Un"], 0, "");
    }

    #[test]
    fn deeper_headings_stand_under_the_nearest_outer_one() {
        let heading = |level| Heading { level, title: level.to_string(), offset: 0 };
        let headings = [heading(1), heading(3), heading(2), heading(3), heading(1)];
        let outline = Outline::of(&headings);
        let levels = |heading_idx| -> Vec<u8> {
            outline.path(Some(heading_idx)).iter().map(|it| it.level).collect()
        };
        assert_eq!(levels(1), [1, 3]);
        assert_eq!(levels(3), [1, 2, 3]);
        assert_eq!(levels(4), [1]);
        assert!(outline.path(None).is_empty());
    }
}
