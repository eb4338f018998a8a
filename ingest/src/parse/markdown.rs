//! Markdown to plainer Markdown: the author's own lines, without what only a renderer needs.
//!
//! The source text is kept and only cut into, so that a passage reads as its author wrote it.
//! What goes: link targets, reference definitions, emphasis marks, backslashes, HTML tags, hidden
//! HTML, and the markup of site generators. What stays, untouched: code, tables, lists, footnotes.

mod directives;
mod front_matter;
mod html_tags;
mod templates;

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use self::html_tags::HtmlTags;
use super::html::{fragment, hidden_finding};
use super::text::{check_size, decode, one_page};
use super::{Limits, ParseError, Parsed};
use crate::document::Finding;

/// Parses Markdown (md, markdown, mdx) with its front matter.
///
/// # Errors
///
/// When the file is empty, binary, or over a limit; and when it names access groups in a way that
/// cannot be read, because then nobody can tell who may see it.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let decoded = decode(bytes)?;
    check_size(decoded.text.len(), limits)?;
    let front = front_matter::split(&decoded.text)?;
    let stripped = templates::strip(&front.body);
    let plain = plain(&stripped.text, limits)?;

    let mut findings = decoded.findings();
    findings.extend(front.findings);
    findings.extend(hidden_finding(stripped.n_hidden_chars + plain.n_hidden_chars));
    if let Some(example) = stripped.unresolved {
        let n = stripped.n_unresolved;
        findings.push(Finding::LeftOut {
            what: format!("{n} template values that are not in the file, such as `{example}`"),
        });
    }
    one_page(Parsed { metadata: front.metadata, findings, ..Parsed::default() }, plain.text, limits)
}

/// Markdown after cutting.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain {
    text: String,
    n_hidden_chars: usize,
}

/// Cuts the markup out of a Markdown text.
fn plain(text: &str, limits: &Limits) -> Result<Plain, ParseError> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_MATH;
    let events = Parser::new_ext(text, options).into_offset_iter();
    let mut cutter = Cutter::new(text, limits);
    for (_, definition) in events.reference_definitions().iter() {
        cutter.cut(definition.span.clone(), "");
    }
    for (event, range) in events {
        cutter.event(&event, range)?;
    }
    cutter.end_html()?;
    Ok(cutter.finish())
}

/// A range of the source and what stands there instead.
#[derive(Debug)]
struct Cut {
    range: Range<usize>,
    with: String,
    /// The range held text that no reader sees.
    hidden: bool,
}

/// An element that is open, and where its content begins and ends.
#[derive(Debug)]
struct Open {
    range: Range<usize>,
    content: Option<Range<usize>>,
}

/// Collects what to cut, event by event.
struct Cutter<'a> {
    text: &'a str,
    limits: &'a Limits,
    cuts: Vec<Cut>,
    /// Links, images and headings that are open.
    open: Vec<Open>,
    /// Where the last event with text ended.
    seen_to: usize,
    in_code: bool,
    /// In an indented block of HTML that is not code.
    in_html_code: bool,
    in_heading: bool,
    in_table: bool,
    /// The HTML block that is being read, or that the next one may go on with.
    html: Option<(Range<usize>, String)>,
    tags: HtmlTags<'a>,
    n_hidden_chars: usize,
}

impl<'a> Cutter<'a> {
    fn new(text: &'a str, limits: &'a Limits) -> Self {
        Self {
            text,
            limits,
            cuts: Vec::new(),
            open: Vec::new(),
            seen_to: 0,
            in_code: false,
            in_html_code: false,
            in_heading: false,
            in_table: false,
            html: None,
            tags: HtmlTags::new(text),
            n_hidden_chars: 0,
        }
    }

    fn cut(&mut self, range: Range<usize>, with: &str) {
        if self.text[range.clone()] != *with {
            self.cuts.push(Cut { range, with: with.to_owned(), hidden: false });
        }
    }

    fn event(&mut self, event: &Event<'_>, range: Range<usize>) -> Result<(), ParseError> {
        if self.is_html(event, &range) {
            if let Event::Html(html) | Event::Text(html) = event {
                self.html_line(html, range);
            }
            return Ok(());
        }
        self.end_html()?;
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.end(*tag, range),
            Event::InlineHtml(html) => self.inline_html(html, range),
            Event::Text(text) if !self.in_code => self.inline_text(text, range),
            Event::HardBreak if self.text[range.clone()].starts_with('\\') => {
                self.cut(range.start..range.start + 1, "");
            }
            Event::SoftBreak | Event::HardBreak if self.in_heading => self.cut(range, " "),
            Event::Text(_)
            | Event::Code(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_) => self.saw(range),
            Event::Html(_)
            | Event::SoftBreak
            | Event::HardBreak
            | Event::Rule
            | Event::TaskListMarker(_) => {}
        }
        Ok(())
    }

    /// Whether an event belongs to a block of HTML. To Markdown, indented HTML after a blank line
    /// is code; to the author of a table it is the next row.
    fn is_html(&mut self, event: &Event<'_>, range: &Range<usize>) -> bool {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                self.in_html_code =
                    self.html.is_some() && self.text[range.clone()].trim_start().starts_with('<');
                self.in_html_code
            }
            Event::End(TagEnd::CodeBlock) => std::mem::take(&mut self.in_html_code),
            Event::Text(_) => self.in_html_code,
            Event::Start(Tag::HtmlBlock) | Event::Html(_) | Event::End(TagEnd::HtmlBlock) => true,
            _ => false,
        }
    }

    /// Widens the content of what is open over a child of it.
    fn saw(&mut self, range: Range<usize>) {
        self.seen_to = range.end;
        if let Some(open) = self.open.last_mut() {
            let start = open.content.as_ref().map_or(range.start, |content| content.start);
            open.content = Some(start..range.end);
        }
    }

    fn start(&mut self, tag: &Tag<'_>, range: Range<usize>) {
        match tag {
            Tag::Heading { .. } => {
                self.in_heading = true;
                self.open.push(Open { range, content: None });
            }
            Tag::Link { .. } | Tag::Image { .. } => self.open.push(Open { range, content: None }),
            Tag::Emphasis => self.emphasis(range, 1),
            Tag::Strong => self.emphasis(range, 2),
            Tag::CodeBlock(_) => self.in_code = true,
            Tag::Table(_) => {
                self.in_table = true;
                self.narrow_table(range);
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Heading(level) => {
                self.in_heading = false;
                if let Some(open) = self.open.pop() {
                    self.heading(level, open);
                }
            }
            TagEnd::Link | TagEnd::Image => {
                if let Some(open) = self.open.pop() {
                    self.link(tag == TagEnd::Image, open);
                }
                self.saw(range);
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => self.saw(range),
            TagEnd::CodeBlock => self.in_code = false,
            TagEnd::Table => self.in_table = false,
            _ => {}
        }
    }

    /// Cuts the marks of emphasis, unless the text behind them would then begin a block.
    fn emphasis(&mut self, range: Range<usize>, mark_len: usize) {
        let inner = range.start + mark_len..range.end - mark_len;
        if self.text[inner.clone()].starts_with(['#', '>', '+', '-', '=', '|', '`', '~']) {
            return;
        }
        self.cut(range.start..inner.start, "");
        self.cut(inner.end..range.end, "");
    }

    /// Leaves a link its text, an image its description.
    fn link(&mut self, is_image: bool, open: Open) {
        let mark_len = 1 + usize::from(is_image);
        let start = open.range.start + mark_len;
        match open.content {
            Some(content) => {
                self.cut(open.range.start..start.max(open.range.start), "");
                self.cut(content.end.max(start)..open.range.end, "");
            }
            None => self.cut(open.range, ""),
        }
    }

    /// Writes every heading with `#`, on one line, without closing marks or attributes.
    fn heading(&mut self, level: HeadingLevel, open: Open) {
        let source = &self.text[open.range.clone()];
        let end = open.range.start + source.trim_end_matches('\n').len();
        let Some(content) = open.content else {
            return self.cut(open.range.start..end, "");
        };
        if !source.trim_start().starts_with('#') {
            let hashes = "#".repeat(level as usize);
            self.cut(open.range.start..open.range.start, &format!("{hashes} "));
        }
        if content.end < end {
            self.cut(content.end..end, "");
        }
    }

    /// Text: entities become characters, and backslashes go where they are only markup.
    fn inline_text(&mut self, text: &str, range: Range<usize>) {
        let source = &self.text[range.clone()];
        let before = range.start.checked_sub(1).filter(|&at| self.text.as_bytes()[at] == b'\\');
        if let Some(backslash) = before.filter(|&at| at >= self.seen_to)
            && !self.guards_structure(backslash, source)
        {
            self.cut(backslash..range.start, "");
        }
        if source != text && source.starts_with('&') {
            let printable = text.replace(char::is_control, " ");
            let escape_pipe = self.in_table && text == "|";
            self.cut(range.clone(), if escape_pipe { "\\|" } else { &printable });
        }
        self.saw(range);
    }

    /// Whether a backslash keeps the text behind it from being a table cell or a block.
    fn guards_structure(&self, backslash: usize, behind: &str) -> bool {
        if behind.starts_with('|') || behind.starts_with('`') {
            return true;
        }
        // A few bytes back is enough: block marks are short.
        let from = self.text.floor_char_boundary(backslash.saturating_sub(32));
        let line = self.text[from..backslash].rsplit('\n').next().unwrap_or_default();
        line.trim_start_matches(|c: char| c.is_ascii_digit() || " \t>*+-.)#".contains(c)).is_empty()
    }

    /// Narrows cells that the author padded: the padding says nothing and costs tokens.
    fn narrow_table(&mut self, range: Range<usize>) {
        let mut line_start = range.start;
        for line in self.text[range].split_inclusive('\n') {
            let is_rule = line.bytes().all(|b| b"|:- >\r\n".contains(&b));
            let mut at = 0;
            while at < line.len() {
                let (mark, len) = (line.as_bytes()[at], run_len(&line.as_bytes()[at..]));
                let before = at.checked_sub(1).map(|it| line.as_bytes()[it]);
                let after = line.as_bytes().get(at + len).copied().unwrap_or(b'\n');
                let place = line_start + at..line_start + at + len;
                if mark == b' ' && len > 1 && (before == Some(b'|') || after == b'|') && at > 0 {
                    self.cut(place, " ");
                } else if mark == b' ' && after == b'\n' {
                    self.cut(place, "");
                } else if mark == b'-' && len > 3 && is_rule {
                    self.cut(place, "---");
                }
                at += len;
            }
            line_start += line.len();
        }
    }

    fn html_line(&mut self, html: &CowStr<'_>, range: Range<usize>) {
        self.saw(range.clone());
        match &mut self.html {
            Some((block, source)) => {
                // Blank lines end an HTML block but not the table or list in it.
                source.push_str(if block.end < range.start { "\n" } else { "" });
                source.push_str(html);
                block.end = range.end;
            }
            None => self.html = Some((range, html.to_string())),
        }
    }

    /// Replaces the HTML blocks read so far by their text.
    fn end_html(&mut self) -> Result<(), ParseError> {
        let Some((range, source)) = self.html.take() else { return Ok(()) };
        self.hide(range.clone());
        let fragment = fragment(&source, self.limits)?;
        self.n_hidden_chars += fragment.n_hidden_chars;
        let line_start = self.text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        // In a list or a quotation, all lines are indented as the block is.
        let indent: String = self.text[line_start..range.start]
            .chars()
            .map(|c| if c == '>' { '>' } else { ' ' })
            .collect();
        let mut text = fragment.text.trim_end().replace('\n', &format!("\n{indent}"));
        if !text.is_empty() && !self.text[..line_start].ends_with("\n\n") && line_start > 0 {
            // A table or a heading does not begin in the middle of a paragraph.
            text.insert_str(0, &format!("\n{indent}"));
        }
        let end = range.start + self.text[range.clone()].trim_end().len();
        self.cut(range.start..end, &text);
        Ok(())
    }

    fn inline_html(&mut self, html: &CowStr<'_>, range: Range<usize>) {
        self.saw(range.clone());
        self.hide(range.clone());
        if html.starts_with("<!--") {
            self.n_hidden_chars += html.trim_matches(['<', '!', '-', '>', ' ']).chars().count();
            self.cut(range, "");
        } else if let Some(shown) = self.tags.shown(html) {
            self.cut(range, &shown);
        }
    }

    /// Notes elements that hide what follows, up to their end.
    fn hide(&mut self, range: Range<usize>) {
        for hidden in self.tags.hidden(range) {
            self.cuts.push(Cut { range: hidden, with: String::new(), hidden: true });
        }
    }

    /// The text with everything cut. Of cuts inside each other, the outer one counts.
    fn finish(mut self) -> Plain {
        self.cuts.sort_by_key(|cut| (cut.range.start, std::cmp::Reverse(cut.range.end)));
        let mut res = Plain { text: String::with_capacity(self.text.len()), n_hidden_chars: 0 };
        let mut at = 0;
        for cut in &self.cuts {
            if cut.range.end < at || (cut.range.end == at && !cut.range.is_empty()) {
                continue;
            }
            let start = cut.range.start.max(at);
            res.text.push_str(&self.text[at..start]);
            res.text.push_str(&cut.with);
            if cut.hidden {
                res.n_hidden_chars += n_chars_outside_tags(&self.text[start..cut.range.end]);
            }
            at = cut.range.end;
        }
        res.text.push_str(&self.text[at..]);
        res.n_hidden_chars += self.n_hidden_chars;
        res
    }
}

/// Characters of a piece of HTML that are neither white space nor in a tag.
fn n_chars_outside_tags(html: &str) -> usize {
    let mut in_tag = false;
    let outside = html.chars().filter(|&c| {
        in_tag = (in_tag || c == '<') && c != '>';
        !in_tag && c != '>' && !c.is_whitespace()
    });
    outside.count()
}

/// Length of the run of equal bytes at the beginning.
fn run_len(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| b == bytes[0]).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::Hidden;

    #[track_caller]
    fn check(text: &str, expected: &str) -> Parsed {
        let parsed = parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(parsed.pages.len(), 1);
        assert_eq!(parsed.pages[0].text, expected);
        parsed
    }

    #[track_caller]
    fn check_hidden(text: &str, expected: &str, n_chars: usize) {
        let parsed = check(text, expected);
        assert_eq!(parsed.findings, [Finding::InvisibleText { kind: Hidden::Html, n_chars }]);
    }

    #[test]
    fn links_leave_their_text_and_images_their_description() {
        check(
            "Voir [la page](https://example.org/a_b \"titre\") et ![un plan](p.png).",
            "Voir la page et un plan.",
        );
        check("[![Badge](b.svg)](https://example.org) [](x) ![](y)", "Badge  ");
        check(
            "Voir <https://example.org> ou <rh@example.org>.",
            "Voir https://example.org ou rh@example.org.",
        );
        check("[leave]({% page \"/leave\" %}) a", "leave a");
    }

    #[test]
    fn reference_links_leave_their_text_and_definitions_go() {
        check(
            "[Guide][g], [g] et [autre].\n\n[g]: https://example.org\n",
            "Guide, g et [autre].\n\n\n",
        );
    }

    #[test]
    fn emphasis_goes_and_strikethrough_stays() {
        check(
            "Un *mot* **fort**, ***les deux*** et ~~barré~~ snake_case_name.",
            "Un mot fort, les deux et ~~barré~~ snake_case_name.",
        );
        check("**# pas un titre**", "**# pas un titre**");
    }

    #[test]
    fn headings_are_written_with_hashes() {
        check(
            "Titre\n=====\n\nSous *titre*\nsuite\n---\n\n## Fermé ## \n\n### Id {#x .y}\n",
            "# Titre\n\n## Sous titre suite\n\n## Fermé\n\n### Id\n",
        );
    }

    #[test]
    fn backslashes_go_except_where_they_hold_the_structure() {
        check("a\\_b \\[c\\] 2 \\* 3", "a_b [c] 2 * 3");
        check("\\# pas un titre\n\n1\\. pas une liste", "\\# pas un titre\n\n1\\. pas une liste");
        check("C:\\temp\\\\x fin\\\nligne", "C:\\temp\\x fin\nligne");
    }

    #[test]
    fn entities_become_characters() {
        check("R&amp;D &lt;b&gt; caf&eacute; &#x41;", "R&D <b> café A");
        check("| a |\n|---|\n| x &#124; y |\n", "| a |\n|---|\n| x \\| y |\n");
    }

    #[test]
    fn code_is_left_alone() {
        for text in [
            "```html\n<b>[x](y)</b> **z** &amp; {{ v }}\n```\n",
            "    <b>[x](y)</b> \\*\n",
            "`<b> [x](y) &amp; **z**` fin\n",
            "$a_1 * b_2 * c \\\\ d$ fin\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn tables_stay_and_lose_their_padding() {
        check(
            "| Poste      | Jours |\n| ---------- | -----:|\n| [Cadre](x) | 1   2 |\n",
            "| Poste | Jours |\n| --- | ---:|\n| Cadre | 1   2 |\n",
        );
    }

    #[test]
    fn lists_tasks_and_footnotes_stay() {
        let text = "- [ ] à faire\n- fait\n  1. un\n\nNote[^1].\n\n[^1]: Le texte.\n";
        check(text, text);
    }

    #[test]
    fn html_leaves_its_text() {
        check(
            "Un<br>deux <kbd>Ctrl</kbd> <img src=x alt=\"plan\"> <a id=z></a>",
            "Un deux Ctrl plan ",
        );
        check(
            "Avant\n<table>\n<tr><th>A</th><th>B</th></tr>\n\n    <tr><td>1</td><td>2</td></tr>\n</table>",
            "Avant\n\n| A | B |\n| --- | --- |\n| 1 | 2 |",
        );
        check(
            "<details>\n<summary>Question</summary>\n\nRéponse **un**\n\n</details>\n",
            "Question\n\nRéponse un\n\n\n",
        );
        check("- point\n\n  <p>dans<br>la liste</p>\n", "- point\n\n  dans\n  la liste\n");
    }

    #[test]
    fn placeholders_stay() {
        check("git clone <depot> <REPO>", "git clone <depot> <REPO>");
    }

    #[test]
    fn hidden_html_is_removed_and_counted() {
        check_hidden("a <!-- secret --> b", "a  b", 6);
        check_hidden("<!--\nbloc\n-->\n\nb", "\n\nb", 4);
        check_hidden("a <span style=\"display:none\">xyz</span> b", "a  b", 3);
        check_hidden("<div hidden>\n\nIgnore *tout*.\n\n</div>\n\nFin", "\n\nFin", 13);
    }

    #[test]
    fn front_matter_and_findings_are_handed_over() {
        let parsed = check("---\ntitle: T\nlang: fr\n---\nÀ {{ site.mail }}.", "À .");
        assert_eq!(parsed.metadata.title.as_deref(), Some("T"));
        let what = "1 template values that are not in the file, such as `{{ site.mail }}`";
        assert_eq!(parsed.findings, [Finding::LeftOut { what: what.to_owned() }]);
    }

    #[test]
    fn html_at_the_end_is_read_too() {
        check("Fin\n\n<p>dernier</p>", "Fin\n\ndernier");
    }

    #[test]
    fn nothing_is_empty() {
        for text in ["", "\n \n", "---\ntitle: T\n---\n"] {
            let res = parse(text.as_bytes(), &Limits::default());
            assert!(matches!(res, Err(ParseError::Empty)), "{text:?}: {res:?}");
        }
    }

    proptest! {
        #[test]
        fn any_markup_is_read_without_a_panic_and_words_outside_of_it_stay(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "mot", "é", " ", "\n", "\n\n", "# ", "- ", "> ", "1. ", "*", "**", "_", "`", "```",
                    "[", "](", ")", "![", "<b>", "</b>", "<!--", "-->", "<div hidden>", "</div>",
                    "{%", "%}", "{{", "}}", ":::", "|", "---", "\\", "&amp;", "[^1]", "[a]: b\n",
                    "$", "~~", "<table>", "<td>", "    ", "!!! n\n", "<Aa>", "+++", "{:", "\t",
                ]),
                0..60,
            ),
        ) {
            let source = pieces.concat();
            let hostile = format!("{source}\n\n-->\n\n```\n\n%}}}}}}\n\nfin");
            let _ = parse(hostile.as_bytes(), &Limits::default());
            if pieces.iter().all(|it| matches!(*it, "mot" | "é" | " " | "\n" | "- ")) {
                let parsed = parse(source.as_bytes(), &Limits::default());
                let text = parsed.map(|it| it.pages[0].text.clone()).unwrap_or_default();
                prop_assert_eq!(text.trim(), source.trim());
            }
        }
    }
}
