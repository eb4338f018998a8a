//! HTML to Markdown: the main content without menus, and without what a reader cannot see.

mod hidden;
mod nesting;
mod walk;
mod writer;

use ego_tree::NodeRef;
use encoding_rs::Encoding;
use scraper::node::Element;
use scraper::{Html, Node};

use self::hidden::HiddenNames;
pub(crate) use self::hidden::Visibility;
use self::nesting::shallow;
use self::walk::{Chrome, Edge, Walk, visit};
use super::text::{decode_as, one_page, timestamp};
use super::{Limits, ParseError, Parsed};
use crate::document::{Finding, Hidden, Language, Metadata};

/// A page states its encoding within this many bytes (HTML standard, "prescan").
const PRESCAN_BYTES: usize = 1024;

/// Parses a page: its main content, its title, and what it states of itself.
///
/// # Errors
///
/// When the file is empty, binary, or over a limit.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let decoded = decode_as(bytes, stated_encoding(bytes))?;
    let page = Html::parse_document(&shallow(&decoded.text));
    let head = Head::read(&page);
    let body = find(&page, "body").unwrap_or_else(|| page.tree.root());
    let mut walk = Walk::new(limits, head.hidden_names, Chrome::LeftOut);
    let mut text = walk.render(main_content(body))?;
    if text.trim().is_empty() {
        // A page of nothing but menus still says something.
        walk.chrome = Chrome::Kept;
        walk.n_hidden_chars = 0;
        text = walk.render(body)?;
    }
    let mut findings = decoded.findings();
    findings.extend(hidden_finding(walk.n_hidden_chars));
    let title = title(head.title, head.shared_title, walk.first_heading);
    one_page(Parsed { title, metadata: head.metadata, findings, pages: Vec::new() }, text, limits)
}

/// A piece of HTML inside another format, as Markdown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Its visible text. Nothing is taken for a menu.
    pub(crate) text: String,
    /// Characters that a reader would not see.
    pub(crate) n_hidden_chars: usize,
}

/// Reads a piece of HTML.
///
/// # Errors
///
/// When its text is over the limit.
pub(crate) fn fragment(html: &str, limits: &Limits) -> Result<Fragment, ParseError> {
    let page = Html::parse_fragment(&shallow(html));
    let mut walk = Walk::new(limits, HiddenNames::default(), Chrome::Kept);
    let text = walk.render(page.tree.root())?;
    Ok(Fragment { text, n_hidden_chars: walk.n_hidden_chars })
}

/// What to report of hidden characters, if any.
pub(crate) fn hidden_finding(n_chars: usize) -> Option<Finding> {
    (n_chars > 0).then_some(Finding::InvisibleText { kind: Hidden::Html, n_chars })
}

/// The encoding that a page states in its `<meta>`.
fn stated_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(PRESCAN_BYTES)].to_ascii_lowercase();
    let at = head.windows(8).position(|it| it == b"charset=")?;
    let label = head[at + 8..].trim_ascii_start();
    let label = label.strip_prefix(b"\"").or(label.strip_prefix(b"'")).unwrap_or(label);
    let end = label.iter().position(|b| matches!(b, b'"' | b'\'' | b'>' | b';' | b'/' | b' '));
    Encoding::for_label(&label[..end.unwrap_or(label.len())])
}

/// What the head of a page says.
#[derive(Debug, Default)]
struct Head {
    title: Option<String>,
    /// The title for social media, which seldom carries the site's name.
    shared_title: Option<String>,
    metadata: Metadata,
    hidden_names: HiddenNames,
}

impl Head {
    fn read(page: &Html) -> Self {
        let mut res = Self::default();
        for node in page.tree.nodes() {
            let Some(element) = node.value().as_element() else { continue };
            match element.name() {
                "html" => {
                    let language = element.attr("lang").or(element.attr("xml:lang"));
                    res.metadata.language = language.and_then(Language::from_code);
                }
                "title" if res.title.is_none() && parent_is(node, "head") => {
                    res.title = non_blank(text_of(node));
                }
                "style" => res.hidden_names.read(&text_of(node)),
                "meta" => res.read_meta(element),
                "time" if element.attr("itemprop") == Some("dateModified") => {
                    let at = element.attr("datetime").and_then(timestamp);
                    res.metadata.modified = res.metadata.modified.or(at);
                }
                _ => {}
            }
        }
        res
    }

    fn read_meta(&mut self, meta: &Element) {
        let name = meta.attr("property").or(meta.attr("name")).or(meta.attr("itemprop"));
        let (Some(name), Some(content)) = (name, meta.attr("content")) else { return };
        match name.to_ascii_lowercase().as_str() {
            "og:title" => self.shared_title = non_blank(content.to_owned()),
            "article:modified_time"
            | "og:updated_time"
            | "last-modified"
            | "datemodified"
            | "dcterms.modified"
            | "dc.date.modified" => {
                self.metadata.modified = self.metadata.modified.or(timestamp(content));
            }
            _ => {}
        }
    }
}

/// The page's title: without the site's name where the first heading tells what that is.
fn title(title: Option<String>, shared: Option<String>, heading: Option<String>) -> Option<String> {
    match (title, heading) {
        (Some(title), Some(heading)) if title.contains(&heading) => Some(heading),
        (title, heading) => shared.or(title).or(heading),
    }
}

/// Collapses white space; `None` when nothing is left.
fn non_blank(text: String) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn find<'a>(page: &'a Html, name: &str) -> Option<NodeRef<'a, Node>> {
    page.tree.nodes().find(|node| name_of(*node) == Some(name))
}

fn name_of(node: NodeRef<'_, Node>) -> Option<&str> {
    node.value().as_element().map(Element::name)
}

fn parent_is(node: NodeRef<'_, Node>, name: &str) -> bool {
    node.parent().and_then(name_of) == Some(name)
}

fn text_of(node: NodeRef<'_, Node>) -> String {
    node.descendants().filter_map(|it| it.value().as_text()).map(|text| &**text).collect()
}

/// Characters of the text under a node, white space and scripts not counted.
fn n_chars(node: NodeRef<'_, Node>, skip: impl Fn(&Element) -> bool) -> usize {
    let mut n_chars = 0;
    visit(node, |edge| {
        match edge {
            Edge::Open(node) => match node.value() {
                Node::Text(text) => n_chars += text.chars().filter(|c| !c.is_whitespace()).count(),
                Node::Element(element) => return !is_silent(element.name()) && !skip(element),
                _ => {}
            },
            Edge::Close(_) => {}
        }
        true
    });
    n_chars
}

/// The element that holds the main content: the page's own mark where it holds a good part of the
/// text (some pages fill an empty `<main>` by script), else all of the body.
fn main_content(body: NodeRef<'_, Node>) -> NodeRef<'_, Node> {
    let is_main = |it: &NodeRef<'_, Node>| {
        it.value()
            .as_element()
            .is_some_and(|e| e.name() == "main" || e.attr("role") == Some("main"))
    };
    let n_body = n_chars(body, |element| is_chrome(element, Place::Outside));
    let long_enough = |it: &NodeRef<'_, Node>, share: usize| {
        n_chars(*it, |element| is_chrome(element, Place::Inside)) * share >= n_body.max(1)
    };
    if let Some(main) = body.descendants().find(is_main)
        && long_enough(&main, 5)
    {
        return main;
    }
    let mut articles = body.descendants().filter(|it| name_of(*it) == Some("article"));
    match (articles.next(), articles.next()) {
        (Some(article), None) if long_enough(&article, 2) => article,
        _ => body,
    }
}

/// Elements whose content is no text for a reader.
fn is_silent(name: &str) -> bool {
    matches!(
        name,
        "script"
            | "style"
            | "noscript"
            | "head"
            | "svg"
            | "canvas"
            | "iframe"
            | "object"
            | "audio"
            | "video"
            | "button"
            | "select"
            | "datalist"
            | "textarea"
            | "input"
            | "annotation"
            | "annotation-xml"
    )
}

/// Where an element stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the main content or in an article.
    Inside,
    /// Around it.
    Outside,
}

/// Whether an element is the site's frame rather than content: menus, banners, cookie notices.
fn is_chrome(element: &Element, place: Place) -> bool {
    match (element.attr("role"), element.name()) {
        (Some("navigation" | "banner" | "contentinfo" | "search" | "menu" | "menubar"), _)
        | (Some("dialog" | "alertdialog"), _)
        | (_, "nav" | "dialog") => return true,
        (Some("complementary"), _) | (_, "header" | "footer" | "aside")
            if place == Place::Outside =>
        {
            return true;
        }
        _ => {}
    }
    let names = [element.attr("id"), element.attr("class")];
    let mut names = names.into_iter().flatten().flat_map(str::split_ascii_whitespace);
    names.any(|name| {
        let name = name.to_ascii_lowercase();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|it| name.starts_with(it));
        starts(&["cookie", "gdpr", "breadcrumb", "skip-to", "skip-link", "skiplink"])
            || starts(&["consent-", "onetrust", "tarteaucitron", "axeptio", "didomi"])
            || (place == Place::Outside && starts(&["navbar", "sidebar", "site-nav", "main-nav"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(html: &str, expected: &str) -> Parsed {
        let parsed = parse(html.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(parsed.pages.len(), 1);
        assert_eq!(parsed.pages[0].text, expected);
        parsed
    }

    #[test]
    fn main_content_is_kept_and_menus_are_not() {
        check(
            "<header><a href=/>Site</a></header><nav><ul><li>Menu</ul></nav>\
             <div class='cookie-banner'>Accepter ?</div>\
             <main><h1>Congés</h1><p>Vingt-cinq <a href=/j>jours</a> par an.</p>\
             <aside>Conseil.</aside><button>Copier</button></main>\
             <footer>Mentions légales</footer><script>x()</script>",
            "# Congés\n\nVingt-cinq jours par an.\n\nConseil.\n",
        );
    }

    #[test]
    fn without_a_mark_the_body_is_the_main_content() {
        check(
            "<header><h1>Titre</h1></header><nav>Menu</nav><div id=breadcrumb>A / B</div>\
             <p>Texte</p><aside>Voir aussi</aside><footer>Pied</footer>",
            "# Titre\n\nTexte\n",
        );
    }

    #[test]
    fn an_empty_main_element_is_not_the_main_content() {
        check("<main></main><div><p>Tout est ici.</p></div>", "Tout est ici.\n");
    }

    #[test]
    fn a_page_of_nothing_but_menus_is_read_whole() {
        check("<nav><a href=a>Accueil</a> <a href=b>Plan</a></nav>", "Accueil Plan\n");
    }

    #[test]
    fn lists_nest_and_count() {
        check(
            "<p>Avant</p><ul><li>a<ul><li>b<li>c</ul><li>d</ul><ol start=3><li>x<p>y</p><li>z</ol>\
             <dl><dt>Terme<dd>Sens</dl>",
            "Avant\n\n- a\n  - b\n  - c\n- d\n\n3. x\n\n   y\n4. z\n\n- Terme\n  - Sens\n",
        );
    }

    #[test]
    fn tables_repeat_what_spans_columns_and_rows() {
        check(
            "<table><caption>Primes</caption><tr><th>Site<th colspan=2>Montant</tr>\
             <tr><td rowspan=2>Lyon<td>a|b<td>2</tr><tr><td>3<td>4<ul><li>x<li>y</ul></table>",
            "Primes\n\n| Site | Montant | Montant |\n| --- | --- | --- |\n\
             | Lyon | a\\|b | 2 |\n| Lyon | 3 | 4; x; y |\n",
        );
    }

    #[test]
    fn rows_that_only_label_others_are_dropped_but_never_the_last() {
        check(
            "<table><tr><th>A<th>B</tr><tr><td rowspan=2>1</tr><tr><td>2</tr></table>",
            "| A | B |\n| --- | --- |\n| 1 | 2 |\n",
        );
        check(
            "<table><tr><th>A<th>B</tr><tr><td rowspan=2>1<td rowspan=2>2</tr></table>",
            "| A | B |\n| --- | --- |\n| 1 | 2 |\n",
        );
    }

    #[test]
    fn layout_tables_are_boxes_and_tables_in_cells_are_text() {
        check(
            "<table><tr><td><h2>Titre</h2><p>Un</p></td><td><p>Deux</p></td></tr></table>",
            "## Titre\n\nUn\n\nDeux\n",
        );
        check(
            "<table><tr><th>A</th><th><table><tr><td>b</td><td>c</td></tr></table></th></tr></table>",
            "| A | b; c |\n| --- | --- |\n",
        );
    }

    #[test]
    fn code_quotations_and_line_breaks_keep_their_form() {
        check(
            "<pre><code class='language-sh'>a\n  b ``` c</code></pre><blockquote><p>Un<p>Deux\
             </blockquote><p>x<br>y <code>z</code><q>w</q>",
            "````sh\na\n  b ``` c\n````\n\n> Un\n>\n> Deux\n\nx\ny `z`\"w\"\n",
        );
    }

    #[test]
    fn exponents_are_not_digits_of_the_number() {
        check(
            "<p>10<sup>6</sup> m<sup>2</sup>, le 1<sup>er</sup> mai</p>",
            "10^6 m^2, le 1er mai\n",
        );
    }

    #[test]
    fn text_is_not_taken_for_markup() {
        check("<p># pas un titre</p><h2>A<br>B</h2>", "\\# pas un titre\n\n## A B\n");
    }

    #[test]
    fn hidden_text_is_removed_and_counted() {
        let parsed = check(
            "<style>.x{font-size:0}</style><p>vu<span style='display:none'>ab</span>\
             <span hidden>cd</span><span class=x>e</span><!-- fg --></p><template>hi</template>\
             <div style='font-size:0'>j<p style='font-size:12px'>revu</p>k</div>",
            "vu\n\nrevu\n",
        );
        assert_eq!(parsed.findings, [Finding::InvisibleText { kind: Hidden::Html, n_chars: 11 }]);
    }

    #[test]
    fn title_language_and_date_are_read() {
        let parsed = check(
            "<html lang=fr-CA><head><title>Congés — Intranet</title>\
             <meta property=article:modified_time content=2024-05-01T10:00:00Z></head>\
             <body><h1>Congés</h1><svg><title>logo</title></svg>",
            "# Congés\n",
        );
        assert_eq!(parsed.title.as_deref(), Some("Congés"));
        assert_eq!(parsed.metadata.language, Some(Language::French));
        assert_eq!(parsed.metadata.modified, Some(1_714_557_600));
        let parsed = check("<title>Site</title><meta property=og:title content=Page><p>x", "x\n");
        assert_eq!(parsed.title.as_deref(), Some("Page"));
    }

    #[test]
    fn the_stated_encoding_is_used() {
        let page = b"<meta charset='windows-1251'><p>\xCF\xF0\xE8</p>";
        let parsed = parse(page, &Limits::default()).unwrap();
        assert_eq!(parsed.pages[0].text, "При\n");
    }

    #[test]
    fn nothing_is_empty() {
        for page in ["", " ", "<html><body></body></html>", "<script>x</script>"] {
            let res = parse(page.as_bytes(), &Limits::default());
            assert!(matches!(res, Err(ParseError::Empty)), "{page}: {res:?}");
        }
    }

    #[test]
    fn deep_nesting_is_flattened_and_does_not_overflow() {
        for tag in ["div", "ul><li", "blockquote", "b", "table><tr><td", "dl><dd"] {
            let page = format!("<{tag}>").repeat(50_000) + "fond";
            let parsed = parse(page.as_bytes(), &Limits::default()).unwrap();
            let text = &parsed.pages[0].text;
            assert!(text.contains("fond") && text.len() < 200, "{tag}: {text}");
        }
    }

    #[test]
    fn spans_cannot_multiply_a_page() {
        let row = "<tr><td colspan=1000 rowspan=65534>une cellule".repeat(2_000);
        let parsed = parse(format!("<table><th>{row}").as_bytes(), &Limits::default()).unwrap();
        assert!(parsed.pages[0].text.len() < 4_000_000, "{}", parsed.pages[0].text.len());
    }

    #[test]
    fn a_page_over_the_limit_is_refused() {
        let limits = Limits { text_bytes_max: 1_000, ..Limits::default() };
        let res = parse("<p>un mot</p>".repeat(1_000).as_bytes(), &limits);
        assert!(matches!(res, Err(ParseError::OverLimit { .. })), "{res:?}");
    }
}
