//! Headings of a text, with their places.

use pulldown_cmark::{Event, Options, Parser};

use crate::document::Heading;
use crate::lines::{Fence, atx_level, is_prose, setext_level};

/// Finds the headings of a Markdown text, outside code: `# …`, and lines underlined with `===` or
/// `---` that stand alone in their paragraph.
pub(crate) fn headings(text: &str) -> Vec<Heading> {
    let mut res = Vec::new();
    let mut fence = Fence::default();
    // The line before, when it can be underlined: it begins a paragraph.
    let mut underlinable: Option<(usize, &str)> = None;
    let mut previous_blank = true;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let fenced = fence.holds(line);
        let line = line.trim_end();
        let found = if fenced {
            None
        } else if let Some(level) = atx_level(line) {
            Some((level, start, line))
        } else if let (Some(level), Some((start, title))) = (setext_level(line), underlinable) {
            Some((level, start, title))
        } else {
            None
        };
        underlinable = None;
        if let Some((level, offset, line)) = found {
            let title = plain_title(line);
            if !title.is_empty() {
                res.push(Heading { level, title, offset });
            }
        } else if !fenced && previous_blank && is_prose(line) {
            underlinable = Some((start, line));
        }
        previous_blank = line.is_empty() || found.is_some();
    }
    res
}

/// The words of a heading's line, without markup.
fn plain_title(line: &str) -> String {
    let bare = line.trim_matches(['#', ' ', '\t']);
    if !bare.contains(['*', '_', '[', '<', '`', '\\', '&', '{', '!', '~']) {
        return bare.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    let as_heading = format!("# {bare}");
    let options = Options::ENABLE_HEADING_ATTRIBUTES | Options::ENABLE_STRIKETHROUGH;
    let mut title = String::new();
    for event in Parser::new_ext(&as_heading, options) {
        match event {
            Event::Text(text) | Event::Code(text) => title.push_str(&text),
            Event::SoftBreak | Event::HardBreak => title.push(' '),
            _ => {}
        }
    }
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(u8, &str)]) {
        let found = headings(text);
        let shown: Vec<_> = found.iter().map(|it| (it.level, it.title.as_str())).collect();
        assert_eq!(shown, expected);
        for heading in &found {
            let first = text[heading.offset..].chars().next().unwrap();
            assert!(!first.is_whitespace() || first == ' ', "an offset is the start of a line");
            assert!(heading.offset == 0 || text[..heading.offset].ends_with('\n'));
        }
    }

    #[test]
    fn finds_headings_outside_code() {
        check("# Un\ntexte\n```\n# pas un titre\n```\n## Deux ##", &[(1, "Un"), (2, "Deux")]);
    }

    #[test]
    fn titles_lose_their_markup() {
        check("# **Gras** et [lien](http://x) `code` {#ancre}", &[(1, "Gras et lien code")]);
        check("## Élan & C<sub>2</sub>", &[(2, "Élan & C2")]);
    }

    #[test]
    fn underlined_lines_are_headings_and_rules_are_not() {
        check("Titre\n=====\n\nSection\n---\n\n---\ntexte", &[(1, "Titre"), (2, "Section")]);
        check("un\ndeux\n---", &[]);
        check("| a |\n| --- |", &[]);
    }

    #[test]
    fn a_heading_without_words_is_none() {
        check("#\n\n# **  **\n\n#tag", &[(1, "** **")]);
    }
}
