//! Lines of a page layout become paragraphs: broken words are joined, broken lines too.

use std::collections::HashMap;

use crate::lines::{Fence, is_list_item, is_prose};

/// A line shorter than this share of the usual width ends on purpose.
const FULL_LINE: f64 = 0.7;

/// Pages whose lines are shorter than this have no usual width worth the name: slides, forms.
const WIDTH_MIN: usize = 40;

/// What PDF files end the first part of a broken word with.
const HYPHENS: [char; 2] = ['-', '\u{2010}'];

/// French words that hang on a verb or a pronoun by a hyphen that is their own.
const CLITICS: [&str; 24] = [
    "ce", "ci", "elle", "elles", "en", "être", "il", "ils", "je", "là", "la", "le", "les", "leur",
    "lui", "moi", "mêmes", "même", "nous", "on", "toi", "tu", "vous", "y",
];

/// How often each word stands unbroken in the document: what decides whether a hyphen at the end
/// of a line belongs to the word. Built only when a line ends with one.
#[derive(Debug, Default)]
pub(super) struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    pub(super) fn of(pages: &[String]) -> Self {
        let mut counts = HashMap::new();
        if !pages.iter().any(|page| page.contains("-\n") || page.contains("\u{2010}\n")) {
            return Self(counts);
        }
        for word in pages.iter().flat_map(|page| page.split(|c| !is_word_part(c))) {
            // What ends with a hyphen is a broken word itself.
            if !word.is_empty() && !word.ends_with(HYPHENS) && !word.starts_with(HYPHENS) {
                *counts.entry(word.to_lowercase()).or_default() += 1;
            }
        }
        Self(counts)
    }

    fn count(&self, word: &str) -> u32 {
        self.0.get(word).copied().unwrap_or(0)
    }

    /// Whether the hyphen between two halves of a broken word stays.
    fn keeps_hyphen(&self, left: &str, right: &str) -> bool {
        let (left, right) = (left.to_lowercase(), right.to_lowercase());
        let joined = self.count(&format!("{left}{right}"));
        let compound = self.count(&format!("{left}-{right}"));
        if joined != compound {
            return compound > joined;
        }
        // Nothing seen: a compound of three parts, a verb and its pronoun, or two long words that
        // both stand alone elsewhere (`politique-maison`, but not `sur-face`).
        let is_word = |part: &str| self.count(part) > 0;
        let is_long_word = |part: &str| part.chars().count() >= 4 && is_word(part);
        left.contains('-')
            || is_word(&left) && right.split('-').next().is_some_and(|it| CLITICS.contains(&it))
            || is_long_word(&left) && is_long_word(&right)
    }
}

fn is_word_part(c: char) -> bool {
    c.is_alphabetic() || HYPHENS.contains(&c)
}

/// Joins the lines of each paragraph of a page. Headings, lists, tables, quotations and code keep
/// their lines, and so do short lines that end on purpose: addresses, signatures.
pub(super) fn reflow(page: &str, vocabulary: &Vocabulary) -> String {
    let width = usual_width(page);
    let mut res = String::with_capacity(page.len());
    let mut fence = Fence::default();
    let mut previous: Option<&str> = None;
    for line in page.lines().map(str::trim_end) {
        let fenced = fence.holds(line);
        let continues = !fenced
            && previous.is_some_and(|it| (is_prose(it) || is_list_item(it)) && is_prose(line))
            && previous.is_some_and(|it| is_continued(it, line, width));
        if continues {
            join(&mut res, line.trim_start(), vocabulary);
        } else {
            if !res.is_empty() || previous.is_some() {
                res.push('\n');
            }
            res.push_str(line);
        }
        previous = if fenced { None } else { Some(line) };
    }
    res
}

/// Whether a paragraph goes on from the end of one page to the start of the next.
pub(super) fn goes_on(text: &str, next_page: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or(text);
    let first = next_page.lines().next().unwrap_or_default();
    is_prose(first)
        && first.trim_start().starts_with(char::is_lowercase)
        && (is_prose(last) || is_list_item(last))
        && !ends_sentence(last)
}

/// Appends a line to the paragraph that `text` ends with.
pub(super) fn join(text: &mut String, line: &str, vocabulary: &Vocabulary) {
    let Some(hyphen) = text.chars().next_back().filter(|c| HYPHENS.contains(c)) else {
        text.push(' ');
        text.push_str(line);
        return;
    };
    let before = &text[..text.len() - hyphen.len_utf8()];
    let left_at = before
        .rfind(|c| !is_word_part(c))
        .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
    let left = &before[left_at..];
    let right_end = line.find(|c| !is_word_part(c)).unwrap_or(line.len());
    let is_broken_word = left.ends_with(char::is_alphabetic)
        && line.starts_with(char::is_lowercase)
        && !vocabulary.keeps_hyphen(left, &line[..right_end]);
    if is_broken_word {
        text.truncate(text.len() - hyphen.len_utf8());
    } else if !before.ends_with(char::is_alphanumeric) || !line.starts_with(char::is_alphanumeric) {
        // A dash, not a hyphen.
        text.push(' ');
    }
    text.push_str(line);
}

fn is_continued(previous: &str, line: &str, width: usize) -> bool {
    if let Some(before) = previous.strip_suffix(HYPHENS)
        && before.ends_with(char::is_alphanumeric)
        && line.starts_with(char::is_alphanumeric)
    {
        return true;
    }
    let n_chars = previous.chars().count();
    let reaches = |share: f64| width >= WIDTH_MIN && n_chars as f64 >= share * width as f64;
    if line.trim_start().starts_with(char::is_lowercase) {
        return !ends_sentence(previous);
    }
    if ends_sentence(previous) { reaches(0.9) } else { reaches(FULL_LINE) }
}

fn ends_sentence(line: &str) -> bool {
    line.trim_end()
        .trim_end_matches(['»', '"', '”', ')', ' '])
        .ends_with(['.', '!', '?', ':', ';', '…'])
}

/// The length that nine lines of running text in ten do not exceed, in characters.
fn usual_width(page: &str) -> usize {
    let prose = page.lines().map(str::trim_end).filter(|line| is_prose(line));
    let mut lengths: Vec<_> = prose.map(|line| line.chars().count()).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() * 9 / 10).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(page: &str, expected: &str) {
        let vocabulary = Vocabulary::of(&[page.to_owned()]);
        assert_eq!(reflow(page, &vocabulary), expected);
    }

    #[test]
    fn lines_of_a_paragraph_are_joined() {
        check(
            "Le télétravail est possible deux jours par semaine\naprès accord du responsable.",
            "Le télétravail est possible deux jours par semaine après accord du responsable.",
        );
    }

    #[test]
    fn lists_tables_headings_and_code_keep_their_lines() {
        for page in [
            "## Titre de la section\nsuite",
            "- premier point\n- second point",
            "| a | b |\n| --- | --- |\n| c | d |",
            "```\nlet a = 1;\nlet b = 2;\n```",
            "> cité\n> encore",
            "un\n\ndeux",
        ] {
            check(page, page);
        }
    }

    #[test]
    fn an_item_takes_its_continuation() {
        check(
            "- un point qui\ncontinue ici\n- un autre",
            "- un point qui continue ici\n- un autre",
        );
    }

    #[test]
    fn short_lines_that_begin_with_a_capital_stay() {
        let page = "Société Exemple\n12 rue des Lilas\nParis";
        check(page, page);
    }

    #[test]
    fn a_broken_word_is_joined() {
        check("une infor-\nmation utile", "une information utile");
        check("le para\u{2010}\ngraphe", "le paragraphe");
    }

    #[test]
    fn a_hyphen_of_the_word_itself_stays() {
        check("peut-\nêtre demain, on peut", "peut-être demain, on peut");
        check("c'est-à-\ndire demain", "c'est-à-dire demain");
        check("en Île-de-\nFrance", "en Île-de-France");
        check(
            "la politique-\nmaison, la politique, la maison",
            "la politique-maison, la politique, la maison",
        );
        check("a long-\nterm plan, a long-term view", "a long-term plan, a long-term view");
    }

    #[test]
    fn the_documents_own_words_decide() {
        check(
            "infor-\nmation. L'information, infor, mation",
            "information. L'information, infor, mation",
        );
        check("le main-\ntien, maintien", "le maintien, maintien");
    }

    #[test]
    fn ranges_and_dashes_are_not_words() {
        let line = "la période d'application de cet accord collectif est 2024-";
        check(&format!("{line}\n2025 au plus"), &format!("{line}2025 au plus"));
        let line = "le texte de cette longue ligne finit par un vrai tiret -";
        check(&format!("{line}\nsuite"), &format!("{line} suite"));
    }

    #[test]
    fn a_paragraph_goes_on_over_a_page_only_in_mid_sentence() {
        assert!(goes_on("le texte continue sur", "la page suivante."));
        assert!(!goes_on("Le texte finit ici.", "la page suivante."));
        assert!(!goes_on("## Titre", "la page suivante."));
        assert!(!goes_on("le texte continue sur", "La page suivante."));
    }
}
