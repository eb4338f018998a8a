//! HTML tags between Markdown: what they show by themselves, and what they hide.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::parse::html::Visibility;

/// Elements without content, which hide nothing and close nothing.
const VOID_TAGS: [&str; 14] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
];

/// HTML's inline elements. Another name may be a component's, or a placeholder such as `<name>`.
const INLINE_TAGS: [&str; 49] = [
    "a", "abbr", "acronym", "audio", "b", "bdi", "bdo", "big", "button", "center", "cite", "code",
    "data", "del", "details", "dfn", "div", "em", "font", "i", "iframe", "ins", "kbd", "label",
    "li", "mark", "meter", "object", "p", "picture", "pre", "q", "s", "samp", "small", "span",
    "strike", "strong", "sub", "summary", "sup", "svg", "table", "td", "time", "tr", "u", "ul",
    "video",
];

/// Reads the tags of a Markdown text in its order.
#[derive(Debug)]
pub(super) struct HtmlTags<'a> {
    text: &'a str,
    /// Names that are closed somewhere in the text, in lower case; gathered when first asked for.
    closed: Option<BTreeSet<String>>,
    /// The element that hides what is being read.
    hiding: Option<Hiding>,
}

#[derive(Debug)]
struct Hiding {
    name: String,
    /// Elements of the same name that are open inside each other.
    depth: usize,
    start: usize,
}

impl<'a> HtmlTags<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, closed: None, hiding: None }
    }

    /// What an inline tag shows by itself; `None` when it is no markup but a placeholder.
    pub(super) fn shown(&mut self, html: &str) -> Option<String> {
        let Some(tag) = tags(html).next() else { return Some(String::new()) };
        match tag.name.as_str() {
            "br" => return Some(" ".to_owned()),
            "img" => {
                let alt =
                    attributes(tag.attributes).find(|(name, _)| name.eq_ignore_ascii_case("alt"));
                return Some(alt.map(|(_, alt)| alt.trim().to_owned()).unwrap_or_default());
            }
            _ => {}
        }
        let is_markup = tag.closes
            || !tag.attributes.trim().is_empty()
            || VOID_TAGS.contains(&tag.name.as_str())
            || INLINE_TAGS.contains(&tag.name.as_str());
        (is_markup || self.is_closed(&tag.name)).then(String::new)
    }

    fn is_closed(&mut self, name: &str) -> bool {
        let text = self.text;
        let closed = self.closed.get_or_insert_with(|| {
            let names = text.match_indices("</").map(|(at, _)| tag_name(&text[at + 2..]));
            names.map(str::to_ascii_lowercase).collect()
        });
        closed.contains(name)
    }

    /// Reads the tags in a range of the text; returns the ranges, hidden element and all, that
    /// were hidden and end there.
    pub(super) fn hidden(&mut self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut res = Vec::new();
        for tag in tags(&self.text[range.clone()]) {
            let (start, end) = (range.start + tag.range.start, range.start + tag.range.end);
            match &mut self.hiding {
                Some(hiding) if hiding.name == tag.name => {
                    hiding.depth = if tag.closes { hiding.depth - 1 } else { hiding.depth + 1 };
                    if hiding.depth == 0 {
                        res.push(hiding.start..end);
                        self.hiding = None;
                    }
                }
                None if !tag.closes
                    && !tag.attributes.ends_with('/')
                    && !VOID_TAGS.contains(&tag.name.as_str())
                    && Visibility::of(attributes(tag.attributes)).hides() =>
                {
                    self.hiding = Some(Hiding { name: tag.name, depth: 1, start });
                }
                _ => {}
            }
        }
        res
    }
}

/// One tag.
#[derive(Debug)]
struct HtmlTag<'a> {
    /// In lower case.
    name: String,
    attributes: &'a str,
    closes: bool,
    range: Range<usize>,
}

fn tag_name(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '<' | '='));
    &text[..end.unwrap_or(text.len())]
}

/// The tags in a piece of HTML. Comments and unfinished tags are passed over.
fn tags(html: &str) -> impl Iterator<Item = HtmlTag<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + html.get(at..)?.find('<')?;
            let closes = html[start + 1..].starts_with('/');
            let name_at = start + 1 + usize::from(closes);
            let name = tag_name(&html[name_at..]);
            at = name_at;
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let attributes_at = name_at + name.len();
            let len = tag_end(&html[attributes_at..])?;
            at = attributes_at + len + 1;
            return Some(HtmlTag {
                name: name.to_ascii_lowercase(),
                attributes: &html[attributes_at..attributes_at + len],
                closes,
                range: start..at,
            });
        }
    })
}

/// Where the `>` of a tag is, outside of quotes.
fn tag_end(attributes: &str) -> Option<usize> {
    let mut quote = None;
    attributes.bytes().position(|b| match (quote, b) {
        (Some(open), b) if b == open => {
            quote = None;
            false
        }
        (None, b'"' | b'\'') => {
            quote = Some(b);
            false
        }
        (None, b'>') => true,
        _ => false,
    })
}

/// The attributes of a tag as name and value; the value is empty where there is none.
fn attributes(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '/'));
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) else {
            rest = after;
            return (!name.is_empty()).then_some((name, ""));
        };
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            None => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
        };
        rest = after;
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_every_form() {
        let read: Vec<_> = attributes(" a=\"x y\" b = 'z' c=1 hidden /").collect();
        assert_eq!(read, [("a", "x y"), ("b", "z"), ("c", "1"), ("hidden", "")]);
        assert_eq!(attributes("=").collect::<Vec<_>>(), [("", "")]);
        assert_eq!(attributes("a=\"x").collect::<Vec<_>>(), [("a", "x")]);
    }

    #[test]
    fn tags_show_their_description_or_nothing_and_placeholders_stay() {
        let mut tags = HtmlTags::new("<Box>x</Box> <name>");
        let mut shown = |html: &str| tags.shown(html);
        assert_eq!(shown("<span class='x'>").as_deref(), Some(""));
        assert_eq!(shown("<BR/>").as_deref(), Some(" "));
        assert_eq!(shown("<img src=a alt='Un plan'>").as_deref(), Some("Un plan"));
        assert_eq!(shown("<Box>").as_deref(), Some(""));
        assert_eq!(shown("</Box>").as_deref(), Some(""));
        assert_eq!(shown("<name>"), None);
    }

    #[test]
    fn hidden_elements_reach_to_their_own_end() {
        let text = "a <div hidden>b <div>c</div> d</div> e";
        let hidden = HtmlTags::new(text).hidden(0..text.len());
        assert_eq!(hidden.iter().map(|it| &text[it.clone()]).collect::<Vec<_>>(), [&text[2..36]]);
        let open = "a <div hidden>b";
        assert!(HtmlTags::new(open).hidden(0..open.len()).is_empty());
    }
}
