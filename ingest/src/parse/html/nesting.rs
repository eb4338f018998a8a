//! Bounds how deep elements stand inside each other, before a tree is made of them: making one
//! takes time that grows with the square of the depth.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Elements inside each other. Blink, the engine of Chrome, stops there too
/// (`kMaximumHTMLParserDOMTreeDepth`).
const DEPTH_MAX: usize = 512;

/// Elements that have no content, and those whose end tag authors may leave out: the next one, or
/// the end of what they stand in, closes them. They nest only by others that are counted.
const UNCOUNTED: [&str; 36] = [
    "area", "base", "body", "br", "col", "colgroup", "dd", "dt", "embed", "frame", "head", "hr",
    "html", "image", "img", "input", "isindex", "li", "link", "meta", "optgroup", "option", "p",
    "param", "rb", "rp", "rt", "rtc", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
    "track",
];

/// Elements that hold no elements, whatever their content looks like.
const RAW: [&str; 8] =
    ["iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"];

/// Elements whose end tag leaves open what stands inside them (HTML standard, "adoption agency").
const FORMATTING: [&str; 14] = [
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
];

/// The page without the tags of elements beyond [`DEPTH_MAX`]; their text stays.
pub(super) fn shallow(html: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut open: Vec<String> = Vec::new();
    let mut dropped: BTreeMap<String, usize> = BTreeMap::new();
    let mut at = 0;
    while let Some(tag) = next_tag(html, at) {
        at = tag.end;
        let drops = if UNCOUNTED.contains(&tag.name.as_str()) {
            false
        } else if !tag.closes && open.len() == DEPTH_MAX {
            *dropped.entry(tag.name).or_default() += 1;
            true
        } else if !tag.closes {
            if RAW.contains(&tag.name.as_str()) {
                let Some(end) = end_of_raw(html, at, &tag.name) else { break };
                at = end;
            } else {
                open.push(tag.name);
            }
            false
        } else if let Some(n) = dropped.get_mut(&tag.name).filter(|n| **n > 0) {
            *n -= 1;
            true
        } else {
            close(&mut open, &tag.name);
            false
        };
        if drops {
            out.push_str(&html[copied..tag.start]);
            copied = tag.end;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(html);
    }
    out.push_str(&html[copied..]);
    Cow::Owned(out)
}

fn close(open: &mut Vec<String>, name: &str) {
    let Some(at) = open.iter().rposition(|it| it == name) else { return };
    if FORMATTING.contains(&name) {
        open.remove(at);
    } else {
        open.truncate(at);
    }
}

struct Tag {
    /// In lower case.
    name: String,
    closes: bool,
    /// Where its `<` is.
    start: usize,
    /// Behind its `>`.
    end: usize,
}

/// The first finished tag from a place on. Comments are passed over.
fn next_tag(html: &str, mut at: usize) -> Option<Tag> {
    loop {
        let start = at + html[at..].find('<')?;
        let inner = &html[start + 1..];
        if let Some(comment) = inner.strip_prefix("!--") {
            at = start + 4 + comment.find("-->")? + 3;
            continue;
        }
        let closes = inner.starts_with('/');
        let inner = &inner[usize::from(closes)..];
        if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
            at = start + 1;
            continue;
        }
        let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>');
        let name = &inner[..inner.find(ends)?];
        let behind = start + 1 + usize::from(closes) + name.len();
        let end = behind + attributes_len(&html[behind..])? + 1;
        return Some(Tag { name: name.to_ascii_lowercase(), closes, start, end });
    }
}

/// Where the `>` of a tag is. Quotes count only where a value begins.
fn attributes_len(attributes: &str) -> Option<usize> {
    let (mut quote, mut before) = (None, b' ');
    for (at, byte) in attributes.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => (quote, before) = (None, b' '),
            (Some(_), _) => {}
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (None, _) if !byte.is_ascii_whitespace() => before = byte,
            (None, _) => {}
        }
    }
    None
}

/// Where the end tag of an element that holds only text begins.
fn end_of_raw(html: &str, from: usize, name: &str) -> Option<usize> {
    html[from..].match_indices("</").map(|(at, _)| from + at).find(|at| {
        let behind = html.as_bytes().get(at + 2..at + 2 + name.len());
        behind.is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_same(html: &str) {
        assert!(matches!(shallow(html), Cow::Borrowed(it) if it == html), "{}", shallow(html));
    }

    #[test]
    fn ordinary_pages_stay() {
        check_same("");
        check_same("a < b <> </> <3 <!-- <div> --> <div class='a>b' id=\"<i>\">x</div> <div");
        check_same(&"<p>un<li>deux<br><td>trois".repeat(2_000));
        check_same(&"<div><b>un</b></div>".repeat(2_000));
        check_same(&format!("<script>{}</script>", "\"<div>\"".repeat(2_000)));
        check_same(&"<b><i></b></i>".repeat(2_000));
    }

    #[test]
    fn tags_beyond_the_depth_go_and_text_stays() {
        let deep = |n| format!("{}fond{}", "<div>a".repeat(n), "</div>b".repeat(n));
        check_same(&deep(DEPTH_MAX));
        let expected = format!(
            "{}{}fond{}{}",
            "<div>a".repeat(DEPTH_MAX),
            "a".repeat(10),
            "b".repeat(10),
            "</div>b".repeat(DEPTH_MAX)
        );
        assert_eq!(shallow(&deep(DEPTH_MAX + 10)), expected);
    }

    #[test]
    fn misnested_tags_do_not_hide_the_depth() {
        for unit in ["<b><div></b>", "<div></span>", "<div \">", "<table><tr><td>"] {
            let page = unit.repeat(20_000);
            let n_before = page.matches("<div").count() + page.matches("<table").count();
            let shallow = shallow(&page);
            let n = shallow.matches("<div").count() + shallow.matches("<table").count();
            assert!(n_before == 20_000 && n <= DEPTH_MAX, "{unit}: {n}");
        }
    }

    #[test]
    fn elements_that_open_after_the_depth_is_left_are_kept() {
        let page = format!(
            "{}{}<table><tr><td>x</table>",
            "<font>".repeat(DEPTH_MAX + 5),
            "</font>".repeat(DEPTH_MAX + 5)
        );
        assert!(shallow(&page).ends_with("</font><table><tr><td>x</table>"));
    }
}
