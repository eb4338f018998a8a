//! Text to sentences, in French and English.

use std::ops::Range;

/// Words before a full stop that do not end a sentence, in lowercase.
const ABBREVIATIONS: [&str; 42] = [
    "m", "mm", "mme", "mmes", "mlle", "dr", "pr", "me", "st", "ste", "art", "al", "p", "pp", "vol",
    "n", "no", "num", "fig", "chap", "cf", "ex", "env", "etc", "max", "min", "tél", "tel", "av",
    "bd", "réf", "ref", "mr", "mrs", "ms", "jr", "sr", "inc", "ltd", "vs", "approx", "dept",
];

/// Bytes from which a line without an end of sentence is taken to go on in the next one.
const WRAPPED_BYTES_MIN: usize = 60;

/// Splits a text into sentences. Headings, list items and table rows end one too, and so do lines,
/// unless they were wrapped: a sentence may hold line breaks.
///
/// The ranges are byte ranges of `text` without surrounding blanks, in order; together they hold
/// everything that is not blank. Citation marks (`[1]`) that follow the final punctuation belong
/// to the sentence before them.
#[must_use]
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut res = Vec::new();
    let mut open: Option<Range<usize>> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        open = match open {
            Some(before) if goes_on(&text[before.clone()], line) => Some(before.start..range.end),
            before => {
                split_block(text, before, &mut res);
                Some(range)
            }
        };
    }
    split_block(text, open, &mut res);
    res
}

/// Whether a line is a heading of Markdown.
#[must_use]
pub fn is_heading(line: &str) -> bool {
    heading(line).is_some()
}

/// The level, from 1, and the words of a line that is a heading of Markdown.
#[must_use]
pub fn heading(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    (level > 0 && (rest.is_empty() || rest.starts_with(' '))).then_some((level, rest.trim()))
}

/// Whether a line is a row of a table, which is one whatever its cells hold.
pub(super) fn is_row(line: &str) -> bool {
    let line = line.trim();
    line.len() > 1 && line.starts_with('|') && line.ends_with('|')
}

/// Splits lines that belong together.
fn split_block(text: &str, block: Option<Range<usize>>, res: &mut Vec<Range<usize>>) {
    match block {
        Some(block) if is_heading(&text[block.clone()]) || is_row(&text[block.clone()]) => {
            push_trimmed(text, block, res);
        }
        Some(block) => split_line(text, block, res),
        None => {}
    }
}

/// Whether a line goes on with the sentence of the lines before it.
fn goes_on(before: &str, line: &str) -> bool {
    let last = before.lines().last().unwrap_or_default().trim();
    let line = line.trim();
    let ends = last.ends_with(['.', '!', '?', ':', ';', '…', '|', ']', '»', '”', '"', ')', '*']);
    if last.is_empty() || line.is_empty() || ends || stands_alone(line) || is_heading(last) {
        return false;
    }
    line.starts_with(char::is_lowercase) || last.len() >= WRAPPED_BYTES_MIN
}

/// Whether a line begins something of its own: a heading, an item, a row, a fence.
fn stands_alone(line: &str) -> bool {
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = digits.len() < line.len() && digits.starts_with(['.', ')']);
    let marked = ["- ", "* ", "• ", "+ ", "– ", "> ", "|", "```", "~~~", "---"];
    numbered || is_heading(line) || marked.iter().any(|it| line.starts_with(it))
}

fn split_line(text: &str, line: Range<usize>, res: &mut Vec<Range<usize>>) {
    let mut start = line.start;
    let mut chars = text[line.clone()].char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        if !matches!(c, '.' | '!' | '?' | '…') {
            continue;
        }
        while chars.peek().is_some_and(|(_, c)| closes_sentence(*c)) {
            chars.next();
        }
        // French puts a space before the mark that closes a quotation.
        let mut beyond = chars.clone();
        if beyond.next().is_some_and(|(_, c)| c.is_whitespace())
            && beyond.next().is_some_and(|(_, c)| c == '»')
        {
            chars = beyond;
        }
        let end = line.start + chars.peek().map_or(line.len(), |(i, _)| *i);
        let rest = &text[end..line.end];
        let stop = line.start + i;
        if c == '.' && !ends_sentence(&text[start..stop], rest) {
            continue;
        }
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) && !rest.starts_with('[') {
            continue;
        }
        // Marks after the punctuation go with the sentence that they support.
        let end = end + marks_len(rest);
        push_trimmed(text, start..end, res);
        start = end;
        while chars.peek().is_some_and(|(i, _)| line.start + i < end) {
            chars.next();
        }
    }
    push_trimmed(text, start..line.end, res);
}

fn closes_sentence(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '"' | '”' | '’' | ')' | '»' | '*' | '_')
}

/// Whether a full stop ends a sentence, given what stands before and after it.
fn ends_sentence(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(' || c == '’' || c == '\'');
    let word = word.into_iter().next().unwrap_or_default().to_lowercase();
    if ABBREVIATIONS.contains(&word.as_str()) || word.contains('.') && !word.ends_with(')') {
        return starts_like_sentence(after) && word.contains('.') && word.len() > 4;
    }
    // A list number or an initial.
    let list_number = word.chars().all(|c| c.is_ascii_digit()) && before.trim() == word;
    let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic);
    !(list_number || initial) && (after.trim().is_empty() || !starts_in_lowercase(after))
}

fn starts_like_sentence(after: &str) -> bool {
    after.trim_start().chars().next().is_none_or(char::is_uppercase)
}

fn starts_in_lowercase(after: &str) -> bool {
    after.trim_start().chars().next().is_some_and(char::is_lowercase)
}

/// Length of the citation marks that a text begins with, blanks between them included.
fn marks_len(text: &str) -> usize {
    let mut len = 0;
    loop {
        let rest = &text[len..];
        let trimmed = rest.trim_start();
        let Some(inner) = trimmed.strip_prefix('[') else { return len };
        let Some(close) = inner.find(']') else { return len };
        if close == 0 || !inner[..close].chars().all(|c| c.is_ascii_digit() || " ,".contains(c)) {
            return len;
        }
        len += rest.len() - trimmed.len() + close + 2;
        // A full stop may stand after the mark instead of before it.
        if text[len..].starts_with('.') {
            len += 1;
        }
    }
}

fn push_trimmed(text: &str, range: Range<usize>, res: &mut Vec<Range<usize>>) {
    let slice = &text[range.clone()];
    let start = range.start + slice.len() - slice.trim_start().len();
    let end = range.start + slice.trim_end().len();
    if start < end {
        res.push(start..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let ranges = split(text);
        let found: Vec<&str> = ranges.iter().map(|it| &text[it.clone()]).collect();
        assert_eq!(found, expected);
        let blanks = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
        let kept: usize = found.iter().map(|it| blanks(it)).sum();
        assert_eq!(kept, blanks(text), "splitting must lose nothing");
    }

    #[test]
    fn splits_at_full_stops_and_keeps_marks_with_their_sentence() {
        check(
            "Three days a week. [1] Ask first [2]. Then go.[3]",
            &["Three days a week. [1]", "Ask first [2].", "Then go.[3]"],
        );
    }

    #[test]
    fn keeps_abbreviations_initials_and_numbers_whole() {
        check(
            "M. Dupont voit l’art. 5 avec J. Martin. Il paie 3.50 euros.",
            &["M. Dupont voit l’art. 5 avec J. Martin.", "Il paie 3.50 euros."],
        );
        check("See e.g. the annex. Done.", &["See e.g. the annex.", "Done."]);
    }

    #[test]
    fn french_punctuation_with_spaces_ends_sentences() {
        check(
            "Combien de jours ? Trois ! « Jamais plus. » Fin.",
            &["Combien de jours ?", "Trois !", "« Jamais plus. »", "Fin."],
        );
    }

    #[test]
    fn lines_and_list_items_are_sentences() {
        check("Steps:\n1. Log in\n2. Wait\n", &["Steps:", "1. Log in", "2. Wait"]);
    }

    #[test]
    fn wrapped_lines_are_one_sentence() {
        check(
            "The badge is not available to contractors\nor to interns. Ask.\nDone",
            &["The badge is not available to contractors\nor to interns.", "Ask.", "Done"],
        );
        check(
            "Le montant de l’indemnité versée chaque mois aux équipes de la\nCôte d’Azur est fixe.",
            &[
                "Le montant de l’indemnité versée chaque mois aux équipes de la\nCôte d’Azur est fixe.",
            ],
        );
        check("- one item\n  goes on\n- two", &["- one item\n  goes on", "- two"]);
        check("CONTRAT DE BAIL\nArticle 2 - Loyer", &["CONTRAT DE BAIL", "Article 2 - Loyer"]);
    }

    #[test]
    fn headings_are_whole() {
        check("## 3. Fees\nThe fee is due.", &["## 3. Fees", "The fee is due."]);
    }

    #[test]
    fn rows_of_tables_are_whole() {
        check(
            "| Price excl. VAT | Ask. Now! |\n| 3 | 4 |",
            &["| Price excl. VAT | Ask. Now! |", "| 3 | 4 |"],
        );
    }

    #[test]
    fn blank_text_has_none() {
        check(" \n ", &[]);
    }
}
