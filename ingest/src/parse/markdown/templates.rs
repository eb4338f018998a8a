//! What site generators put into Markdown: GitBook and Liquid tags, Hugo shortcodes, Docusaurus
//! and MkDocs admonitions, MDX components. Their content and titles stay, the markup goes.
//!
//! This runs before Markdown is parsed, because `[leave]({% page "/leave" %})` is a link only
//! once the tag is gone. It walks the text once and looks ahead a bounded distance.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::directives::{
    Module, admonition, callout, component_len, module_line, shown, shown_attributes,
};

/// A tag, a comment or a code span that is longer is text.
const AHEAD_MAX: usize = 2_000;

/// A report shows this much of a tag.
const EXAMPLE_BYTES_MAX: usize = 60;

/// Tags that only steer the generator, or stand where a link's target would.
const SILENT_TAGS: [&str; 36] = [
    "alias",
    "asset",
    "asset_path",
    "assign",
    "block",
    "break",
    "capture",
    "case",
    "continue",
    "cycle",
    "decrement",
    "else",
    "elsif",
    "extends",
    "for",
    "gist",
    "if",
    "increment",
    "layout",
    "link",
    "liquid",
    "page",
    "paginate",
    "post_url",
    "ref",
    "relref",
    "section",
    "set",
    "tablerow",
    "unless",
    "url",
    "video",
    "when",
    "with",
    "youtube",
    "vimeo",
];

/// Components that begin a part of the page wherever they stand.
const BLOCK_COMPONENTS: [&str; 9] = [
    "Accordion",
    "AccordionItem",
    "Card",
    "Details",
    "Step",
    "Tab",
    "TabItem",
    "TabPane",
    "TabPanel",
];

/// Tags for which the generator puts text in that is not in the file.
const INCLUDE_TAGS: [&str; 9] = [
    "include",
    "include_cached",
    "include_relative",
    "includes",
    "param",
    "partial",
    "readfile",
    "render",
    "snippet",
];

/// A text without the markup of site generators.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stripped<'a> {
    pub(super) text: Cow<'a, str>,
    /// Characters of comments, which no reader of the site sees.
    pub(super) n_hidden_chars: usize,
    /// Places where the site shows text that the file does not hold.
    pub(super) n_unresolved: usize,
    /// The first of them.
    pub(super) unresolved: Option<String>,
}

/// Strips the markup of site generators.
pub(super) fn strip(text: &str) -> Stripped<'_> {
    let last_endcomment = text.rfind("endcomment").unwrap_or(0);
    let closed = closed_components(text);
    let mut scan = Scan { text, closed, last_endcomment, ..Scan::default() };
    let mut at = 0;
    while at < text.len() {
        at = scan.line(at);
    }
    let mut res = scan.res;
    if scan.copied > 0 {
        scan.out.push_str(&text[scan.copied..]);
        res.text = Cow::Owned(scan.out);
    } else {
        res.text = Cow::Borrowed(text);
    }
    res
}

/// The names of components (`</Tabs>`) that are closed somewhere: what tells `<Tabs>` from a
/// placeholder such as `<Name>`.
fn closed_components(text: &str) -> BTreeSet<&str> {
    let names = text.match_indices("</").map(|(at, _)| component_name(&text[at + 2..]));
    names.filter(|name| !name.is_empty()).collect()
}

/// The name of an MDX component at the beginning of a text, or nothing. `<REPO>` is a
/// placeholder, not a component.
fn component_name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(text.len());
    let name = &text[..end];
    let is_component = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().any(|b| b.is_ascii_lowercase());
    if is_component { name } else { "" }
}

/// What the lines up to some closing one are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verbatim {
    /// A code block fenced with this many of these marks.
    Fence(u8, usize),
    /// Between `{% highlight %}` and its end.
    Highlight,
    /// Between `{% raw %}` and its end.
    Raw,
}

#[derive(Default)]
struct Scan<'a> {
    text: &'a str,
    out: String,
    /// The text up to here is in `out`.
    copied: usize,
    closed: BTreeSet<&'a str>,
    last_endcomment: usize,
    verbatim: Option<Verbatim>,
    /// Indentation of the MkDocs admonitions that are open.
    admonitions: Vec<usize>,
    res: Stripped<'a>,
}

impl<'a> Scan<'a> {
    fn replace(&mut self, start: usize, end: usize, with: &str) {
        self.out.push_str(&self.text[self.copied..start]);
        self.out.push_str(with);
        self.copied = end;
    }

    /// Takes one line, and those that a tag on it extends over; returns where the next begins.
    fn line(&mut self, start: usize) -> usize {
        let end = self.text[start..].find('\n').map_or(self.text.len(), |len| start + len);
        let next = (end + 1).min(self.text.len());
        let start = self.dedent(start, end);
        let line = &self.text[start..end];
        let trimmed = line.trim();
        match self.verbatim {
            Some(Verbatim::Fence(mark, len)) => {
                let closes = run_len(trimmed, mark) >= len && trimmed.bytes().all(|b| b == mark);
                self.verbatim = self.verbatim.filter(|_| !closes);
                return next;
            }
            Some(Verbatim::Highlight) => {
                if trimmed.starts_with("{%") && trimmed.contains("endhighlight") {
                    self.verbatim = None;
                    self.replace(start, end, "```");
                }
                return next;
            }
            Some(Verbatim::Raw) => return self.raw_line(start, end, next),
            None => {}
        }
        if let Some(fence) = opened_fence(trimmed) {
            self.verbatim = Some(fence);
            return next;
        }
        if let Some(title) = admonition(trimmed) {
            if trimmed.starts_with(['!', '?', '=']) {
                let indent = line.len() - line.trim_start().len();
                self.admonitions.push(indent + self.admonitions.len() * 4);
            }
            let gap = if title.is_empty() { "" } else { "\n" };
            self.replace(start, end, &format!("{title}{gap}"));
            return next;
        }
        if let Some(rest) = callout(trimmed) {
            self.replace(start, end, &format!("> {rest}"));
            return next;
        }
        match module_line(line) {
            Some(Module::Line) => {
                self.replace(start, end, "");
                next
            }
            Some(Module::Statement) => self.statement(start),
            None => self.inline(start),
        }
    }

    /// Leaves out the indentation that MkDocs asks for inside an admonition. Left in, it would
    /// make the content a code block.
    fn dedent(&mut self, start: usize, end: usize) -> usize {
        let line = &self.text[start..end];
        if self.admonitions.is_empty() || line.trim().is_empty() {
            return start;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        while self.admonitions.pop_if(|base| indent < *base + 4).is_some() {}
        let surplus = self.admonitions.len() * 4;
        if surplus == 0 || indent < surplus {
            return start;
        }
        self.replace(start, start + surplus, "");
        start + surplus
    }

    fn raw_line(&mut self, start: usize, end: usize, next: usize) -> usize {
        let line = &self.text[start..end];
        if let Some(at) = line.find("{%")
            && let Some(len) = line[at..].find("%}")
            && line[at..at + len].contains("endraw")
        {
            self.verbatim = None;
            self.replace(start + at, start + at + len + 2, "");
            return self.inline(start + at + len + 2);
        }
        next
    }

    /// Drops an `import` or `export` statement: up to the next blank line.
    fn statement(&mut self, start: usize) -> usize {
        let ahead = ahead(self.text, start);
        let end = ahead.find("\n\n").map_or(start + ahead.len(), |len| start + len);
        self.replace(start, end, "");
        (end + 1).min(self.text.len())
    }

    /// Takes the rest of a line; returns where the next one begins.
    fn inline(&mut self, mut at: usize) -> usize {
        let line_start = at;
        while let Some(len) = self.text[at..].find(['\n', '{', '<', '`']) {
            at += len;
            let rest = ahead(self.text, at);
            at = match rest.as_bytes()[0] {
                b'\n' => return at + 1,
                b'`' => at + code_span_len(rest),
                b'{' => self.braces(line_start, at, rest),
                _ => self.component(at, rest),
            };
            if self.verbatim.is_some() {
                let end = self.text[at..].find('\n').map_or(self.text.len(), |len| at + len);
                let next = (end + 1).min(self.text.len());
                let raw = self.verbatim == Some(Verbatim::Raw);
                return if raw { self.raw_line(at, end, next) } else { next };
            }
        }
        self.text.len()
    }

    /// Takes what begins with `{`; returns where to go on.
    fn braces(&mut self, line_start: usize, at: usize, rest: &str) -> usize {
        let tag_len = |open: &str, close: &str| {
            let inner = rest.strip_prefix(open)?;
            inner.find(close).map(|len| open.len() + len + close.len())
        };
        if let Some(len) = tag_len("{%", "%}") {
            return self.liquid(line_start, at, len);
        }
        if let Some(len) = tag_len("{{", "}}").filter(|_| !in_formula(self.text, at)) {
            return self.shortcode(line_start, at, len);
        }
        if let Some(len) = tag_len("{/*", "*/}") {
            self.res.n_hidden_chars += rest[3..len - 3].trim().chars().count();
            self.replace(at, at + len, "");
            return at + len;
        }
        if let Some(len) = tag_len("{:", "}").filter(|&len| !rest[..len].contains('\n')) {
            self.replace(at, at + len, "");
            return at + len;
        }
        at + 1
    }

    /// Takes `{% name arguments %}`.
    fn liquid(&mut self, line_start: usize, at: usize, len: usize) -> usize {
        let inner = self.text[at + 2..at + len - 2].trim_matches(['-', ' ', '\n']);
        let (name, arguments) = inner.split_once([' ', '\n']).unwrap_or((inner, ""));
        match name {
            "comment" => return self.comment(at, len),
            "raw" => self.verbatim = Some(Verbatim::Raw),
            "highlight" if self.opens_block(line_start, at, len) => {
                self.verbatim = Some(Verbatim::Highlight);
                let language = arguments.split_whitespace().next().unwrap_or_default();
                self.replace(at, at + len, &format!("```{language}"));
                return at + len;
            }
            _ => {}
        }
        self.tag(line_start, at, len, name, arguments)
    }

    /// Whether a tag begins a block that ends on a later line.
    fn opens_block(&self, line_start: usize, at: usize, len: usize) -> bool {
        let rest = self.text[at + len..].trim_start_matches([' ', '\t']);
        self.text[line_start..at].trim().is_empty() && rest.starts_with('\n')
    }

    /// Takes `{{< name arguments >}}`, `{{% name %}}` and `{{ expression }}`.
    fn shortcode(&mut self, line_start: usize, at: usize, len: usize) -> usize {
        let inner = &self.text[at + 2..at + len - 2];
        if inner.starts_with("</*") || inner.starts_with("%/*") {
            // How Hugo's own documentation shows a shortcode to its readers.
            return at + len;
        }
        if inner.starts_with(['!']) || inner.starts_with("/*") {
            self.res.n_hidden_chars +=
                inner.trim_matches(['!', '-', '/', '*', ' ']).chars().count();
            self.replace(at, at + len, "");
            return at + len;
        }
        if !inner.starts_with(['<', '%']) {
            if inner.contains('\n') || inner.trim().is_empty() {
                return at + 2;
            }
            self.unresolved(at, len);
            self.replace(at, at + len, "");
            return at + len;
        }
        let inner = inner[1..].trim_end_matches(['>', '%']).trim_matches(['/', ' ', '\n']);
        let (name, arguments) = inner.split_once([' ', '\n']).unwrap_or((inner, ""));
        self.tag(line_start, at, len, name, arguments)
    }

    /// Replaces a tag by what it shows.
    fn tag(
        &mut self,
        line_start: usize,
        at: usize,
        len: usize,
        name: &str,
        arguments: &str,
    ) -> usize {
        if INCLUDE_TAGS.contains(&name) {
            self.unresolved(at, len);
        }
        let silent = SILENT_TAGS.contains(&name) || INCLUDE_TAGS.contains(&name);
        let shown = if silent { String::new() } else { shown(arguments) };
        let rest = self.text[at + len..].trim_start_matches([' ', '\t']);
        let alone = self.text[line_start..at].trim().is_empty()
            && (rest.is_empty() || rest.starts_with('\n'));
        let gap = if alone && !shown.is_empty() { "\n" } else { "" };
        self.replace(at, at + len, &format!("{shown}{gap}"));
        at + len
    }

    /// Takes a Liquid comment, which nobody sees.
    fn comment(&mut self, at: usize, len: usize) -> usize {
        // Past the last end, there is nothing to look for: each look would go through all the rest.
        let is_closed = at < self.last_endcomment;
        let inside = if is_closed { &self.text[at + len..] } else { "" };
        let closing = inside.match_indices("{%").find_map(|(start, _)| {
            let tag = ahead(self.text, at + len + start);
            let is_end = tag[2..].trim_start_matches(['-', ' ']).starts_with("endcomment");
            is_end.then(|| tag.find("%}").map(|end| (start, start + end + 2)))?
        });
        let (hidden_len, end) = closing.unwrap_or((0, 0));
        self.res.n_hidden_chars += inside[..hidden_len].trim().chars().count();
        self.replace(at, at + len + end, "");
        at + len + end
    }

    fn unresolved(&mut self, at: usize, len: usize) {
        self.res.n_unresolved += 1;
        if self.res.unresolved.is_none() {
            let tag = self.text[at..at + len].split_whitespace().collect::<Vec<_>>().join(" ");
            let short = tag.floor_char_boundary(EXAMPLE_BYTES_MAX);
            self.res.unresolved = Some(match short < tag.len() {
                true => format!("{}…", &tag[..short]),
                false => tag,
            });
        }
    }

    /// Takes an MDX component's tag; returns where to go on.
    fn component(&mut self, at: usize, rest: &str) -> usize {
        let closing = rest.starts_with("</");
        let name = component_name(rest.trim_start_matches(['<', '/']));
        let Some(len) = component_len(rest).filter(|_| !name.is_empty()) else { return at + 1 };
        let attributes = &rest[1 + usize::from(closing) + name.len()..len - 1];
        if attributes.trim().is_empty() && !self.closed.contains(name) {
            return at + len; // A placeholder.
        }
        let shown = shown_attributes(attributes);
        let before = self.line_so_far(at);
        let is_block = before.trim().is_empty() || BLOCK_COMPONENTS.contains(&name);
        let shown = match (shown.is_empty(), is_block) {
            (true, _) => shown,
            // Its own paragraph: it is a label of what follows, not its first word.
            (false, true) if before.trim().is_empty() => format!("{shown}\n\n"),
            (false, true) => format!("\n\n{shown}\n\n"),
            (false, false) => format!("{shown} "),
        };
        self.replace(at, at + len, &shown);
        at + len
    }

    /// What stands on the line before an offset, as far as it is known to be shown.
    fn line_so_far(&self, at: usize) -> &str {
        let pending = &self.text[self.copied..at];
        match pending.rsplit_once('\n') {
            Some((_, line)) => line,
            None if !pending.trim().is_empty() => pending,
            None => self.out.rsplit('\n').next().unwrap_or_default(),
        }
    }
}

/// The text from an offset on, as far as anything looks ahead.
fn ahead(text: &str, at: usize) -> &str {
    &text[at..text.floor_char_boundary(at.saturating_add(AHEAD_MAX))]
}

fn run_len(text: &str, mark: u8) -> usize {
    text.bytes().take_while(|&b| b == mark).count()
}

fn opened_fence(trimmed: &str) -> Option<Verbatim> {
    // A list item may begin with a fence.
    let trimmed = trimmed.trim_start_matches(['-', '*', '+', '>', ' ']);
    let mark = *trimmed.as_bytes().first()?;
    let len = run_len(trimmed, mark);
    let opens = matches!(mark, b'`' | b'~') && len >= 3;
    (opens && (mark == b'~' || !trimmed[len..].contains('`'))).then_some(Verbatim::Fence(mark, len))
}

/// Length of the code span at the beginning of a text, or of the backticks when none closes it.
fn code_span_len(text: &str) -> usize {
    let n_marks = run_len(text, b'`');
    let paragraph = text.find("\n\n").map_or(text, |end| &text[..end]);
    let mut at = n_marks;
    while let Some(len) = paragraph.get(at..).and_then(|it| it.find('`')) {
        at += len;
        let run = run_len(&paragraph[at..], b'`');
        at += run;
        if run == n_marks {
            return at;
        }
    }
    n_marks
}

/// Whether double braces belong to a formula, as in `\frac{{a}}{b}`.
fn in_formula(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let closes_tag = text[..at].ends_with("%}") || text[..at].ends_with("}}");
    before.ends_with('\\') || (text[..at].ends_with(['^', '_', '}']) && !closes_tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<'a>(text: &'a str, expected: &str) -> Stripped<'a> {
        let res = strip(text);
        assert_eq!(res.text, expected);
        assert_eq!(strip(&res.text).text, expected, "stripping again must change nothing");
        res
    }

    #[test]
    fn plain_text_is_not_copied() {
        let text = "# Titre\n\nimport taxes are due; {braces} < and `code`\n";
        assert!(matches!(check(text, text).text, Cow::Borrowed(_)));
    }

    #[test]
    fn gitbook_tags_leave_their_content_and_titles() {
        check(
            "{% hint style=\"info\" %}\nAttention.\n{% endhint %}\n{% tabs %}\n\
             {% tab title=\"macOS X\" %}\nClic.\n{% endtab %}\n{% endtabs %}\n",
            "\nAttention.\n\n\nmacOS X\n\nClic.\n\n\n",
        );
        check(
            "{% content-ref url=\"a.md\" %}\n[a.md](a.md)\n{% endcontent-ref %}",
            "\n[a.md](a.md)\n",
        );
        check("{% embed url=\"https://x.org/a\" %}", "");
    }

    #[test]
    fn liquid_tags_go_and_what_they_would_show_is_counted() {
        check(
            "[leave]({% page \"/a b/\" %}) in {% slack_channel \"people-ops\" %}.",
            "[leave]() in people-ops.",
        );
        check(
            "{% alert \"Guide du 13/07 (bis)\" %}\nA\n{% endalert %}",
            "Guide du 13/07 (bis)\n\nA\n",
        );
        check("{% if x == \"y\" %}Oui{% else %}Non{% endif %}", "OuiNon");
        let res =
            check("Write to {{ site.email }}.\n{% include \"note.html\" %}\n", "Write to .\n\n");
        assert_eq!(res.n_unresolved, 2);
        assert_eq!(res.unresolved.as_deref(), Some("{{ site.email }}"));
    }

    #[test]
    fn comments_are_hidden_text() {
        assert_eq!(check("a{% comment %} bonjour {% endcomment %}b", "ab").n_hidden_chars, 7);
        assert_eq!(check("a{/* note\nà part */}b", "ab").n_hidden_chars, 11);
        assert_eq!(check("a{% comment %}b", "ab").n_hidden_chars, 0);
    }

    #[test]
    fn code_is_kept_as_it_is() {
        for text in [
            "```\n{% x %}\n:::note\nimport a from 'b'\n```\n",
            "~~~\n{{ x }}\n```\n{{ y }}\n~~~\n",
            "Use `{{ x }}` or ``{% a ` b %}``.\n",
            "- ```yaml\n  key: {{ x }}\n  ```\n",
        ] {
            check(text, text);
        }
        assert_eq!(strip("{% raw %}{{ x }}\n{{ y }}{% endraw %}{{ z }}").text, "{{ x }}\n{{ y }}");
    }

    #[test]
    fn highlighted_blocks_become_fences() {
        let text = "{% highlight ruby %}\nputs {{ x }}\n{% endhighlight %}\n";
        check(text, "```ruby\nputs {{ x }}\n```\n");
    }

    #[test]
    fn hugo_shortcodes_go() {
        check("{{< figure src=\"a.png\" caption=\"Le plan\" >}}", "Le plan\n");
        check("{{% notice note %}}\nTexte\n{{% /notice %}}\n", "\nTexte\n\n");
        check("{{</* ref \"x\" */>}}", "{{</* ref \"x\" */>}}");
    }

    #[test]
    fn formulas_keep_their_braces() {
        for text in ["$\\frac{{a}}{b}$", "$x^{{2}}$"] {
            check(text, text);
        }
    }

    #[test]
    fn admonitions_leave_their_titles() {
        check(":::note Bon à savoir\n\nTexte\n\n:::\n", "Bon à savoir\n\n\nTexte\n\n\n");
        check(":::tip[Conseil]\nTexte\n:::\n", "Conseil\n\nTexte\n\n");
        check("::: {.callout title=\"Titre\"}\nTexte\n:::", "Titre\n\nTexte\n");
        check("> [!WARNING]\n> Texte\n", "> \n> Texte\n");
        check(
            "!!! note \"Rappel\"\n    Texte [x](y)\n\n    suite\nHors\n",
            "Rappel\n\nTexte [x](y)\n\nsuite\nHors\n",
        );
    }

    #[test]
    fn mdx_modules_and_components_go() {
        check(
            "import Tabs from '@theme/Tabs';\n\n<Tabs items={['a > b']}>\n\
             <TabItem value=\"m\" label=\"macOS\">Clic</TabItem>\n</Tabs>\n\
             export const x = {\n  a: 1,\n};\n\nFin <Icon name=\"x\" />\n",
            "\n\n\nmacOS\n\nClic\n\n\n\nFin \n",
        );
    }

    /// `ALa visite dure 2 h.` was the text of such a tab.
    #[test]
    fn the_label_of_a_tab_stands_on_a_line_of_its_own() {
        let one_line = "<Tabs><TabItem label=\"A\">La visite dure 2 h.</TabItem>\
            <TabItem label=\"B\">Elle dure 3 h.</TabItem></Tabs>\n";
        check(one_line, "A\n\nLa visite dure 2 h.\n\nB\n\nElle dure 3 h.\n");
        check(
            "Choix :\n<TabItem label=\"A\">\nLa visite.\n</TabItem>\n",
            "Choix :\nA\n\n\nLa visite.\n\n",
        );
        check("Voir <Tip title=\"le plan\">ici</Tip>.\n", "Voir le plan ici.\n");
    }

    #[test]
    fn placeholders_are_no_components() {
        let text = "git clone <Repository> <REPO> a<B and <Name\n";
        check(text, text);
    }

    #[test]
    fn unfinished_markup_is_text() {
        for piece in ["{% x ", "{{ x ", "` ", "<Aa ", "{/* ", "{: ", "{", "<"] {
            let text = piece.repeat(20_000);
            check(&text, &text);
        }
    }
}
