//! One pass over a page's tree, telling the writer what a reader would see.

use std::collections::HashMap;

use ego_tree::{NodeId, NodeRef};
use scraper::Node;
use scraper::node::Element;

use super::hidden::{HiddenNames, Visibility};
use super::writer::Writer;
use super::{Place, is_chrome, is_silent, n_chars, name_of, non_blank, text_of};
use crate::parse::text::check_size;
use crate::parse::{Limits, ParseError};

/// Whether what frames the main content is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chrome {
    LeftOut,
    Kept,
}

/// A step of [`visit`].
pub(super) enum Edge<'a> {
    Open(NodeRef<'a, Node>),
    Close(NodeRef<'a, Node>),
}

/// Visits a node and all below it, in order, without recursion: nesting is up to the file. The
/// answer to an opening tells whether to go in; a node that was not gone into is not closed.
pub(super) fn visit<'a>(root: NodeRef<'a, Node>, mut step: impl FnMut(Edge<'a>) -> bool) {
    let mut node = root;
    loop {
        let entered = step(Edge::Open(node));
        if entered && let Some(child) = node.first_child() {
            node = child;
            continue;
        }
        if entered {
            step(Edge::Close(node));
        }
        loop {
            if node.id() == root.id() {
                return;
            }
            if let Some(sibling) = node.next_sibling() {
                node = sibling;
                break;
            }
            let Some(parent) = node.parent() else { return };
            node = parent;
            step(Edge::Close(node));
        }
    }
}

/// What the text in an element inherits from it.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited {
    tiny: bool,
    unpainted: bool,
}

/// One pass over a tree.
pub(super) struct Walk<'l> {
    limits: &'l Limits,
    hidden_names: HiddenNames,
    pub(super) chrome: Chrome,
    /// How many elements of main content the walk is in.
    n_inside: usize,
    inherited: Inherited,
    /// What to go back to after the elements that changed what is inherited.
    outer: Vec<(NodeId, Inherited)>,
    tables: HashMap<NodeId, TableKind>,
    /// The data table that is open. Tables inside it are text.
    data_table: Option<NodeId>,
    /// Characters left out because nobody sees them.
    pub(super) n_hidden_chars: usize,
    /// The first heading of the first level.
    pub(super) first_heading: Option<String>,
    writer: Writer,
}

impl<'l> Walk<'l> {
    pub(super) fn new(limits: &'l Limits, hidden_names: HiddenNames, chrome: Chrome) -> Self {
        Self {
            limits,
            hidden_names,
            chrome,
            n_inside: 0,
            inherited: Inherited::default(),
            outer: Vec::new(),
            tables: HashMap::new(),
            data_table: None,
            n_hidden_chars: 0,
            first_heading: None,
            writer: Writer::default(),
        }
    }

    /// The visible text under a node as Markdown.
    pub(super) fn render(&mut self, root: NodeRef<'_, Node>) -> Result<String, ParseError> {
        self.tables = table_kinds(root);
        let mut over = false;
        visit(root, |edge| {
            over |= self.writer.len() > self.limits.text_bytes_max;
            match edge {
                Edge::Open(node) => !over && self.open(node, node.id() == root.id()),
                Edge::Close(node) => {
                    self.close(node);
                    true
                }
            }
        });
        check_size(self.writer.len(), self.limits)?;
        Ok(std::mem::take(&mut self.writer).finish())
    }

    /// Takes a node's beginning; says whether to go into it.
    fn open(&mut self, node: NodeRef<'_, Node>, is_root: bool) -> bool {
        match node.value() {
            Node::Text(text) => self.text(text),
            // Conditional comments are markup for old mail programs, not text.
            Node::Comment(comment) if !comment.starts_with("[if") && &**comment != "<![endif]" => {
                self.n_hidden_chars += comment.trim().chars().count();
            }
            Node::Element(element) => return self.open_element(node, element, is_root),
            Node::Document | Node::Fragment => return true,
            Node::Comment(_) | Node::Doctype(_) | Node::ProcessingInstruction(_) => {}
        }
        false
    }

    fn text(&mut self, text: &str) {
        if self.inherited.tiny || self.inherited.unpainted {
            self.n_hidden_chars += text.chars().filter(|c| !c.is_whitespace()).count();
        } else {
            self.writer.text(text);
        }
    }

    fn open_element(&mut self, node: NodeRef<'_, Node>, element: &Element, is_root: bool) -> bool {
        let visibility = Visibility::of(element.attrs());
        let (id, class) = (element.attr("id"), element.attr("class"));
        if visibility.removed || element.name() == "template" || self.hidden_names.hide(id, class) {
            self.n_hidden_chars += n_chars(node, |_| false);
            return false;
        }
        let place = if self.n_inside > 0 { Place::Inside } else { Place::Outside };
        if is_silent(element.name())
            || (self.chrome == Chrome::LeftOut && !is_root && self.is_frame(node, element, place))
        {
            return false;
        }
        if visibility.tiny.is_some() || visibility.unpainted.is_some() {
            self.outer.push((node.id(), self.inherited));
            self.inherited.tiny = visibility.tiny.unwrap_or(self.inherited.tiny);
            self.inherited.unpainted = visibility.unpainted.unwrap_or(self.inherited.unpainted);
        }
        if is_inside(element) {
            self.n_inside += 1;
        }
        self.open_by_name(node, element)
    }

    /// Whether an element frames the main content. A header that holds the page's first heading
    /// does not.
    fn is_frame(&self, node: NodeRef<'_, Node>, element: &Element, place: Place) -> bool {
        is_chrome(element, place)
            && !(element.name() == "header"
                && element.attr("role").is_none()
                && self.first_heading.is_none()
                && node.descendants().any(|it| name_of(it) == Some("h1")))
    }

    fn open_by_name(&mut self, node: NodeRef<'_, Node>, element: &Element) -> bool {
        let writer = &mut self.writer;
        match element.name() {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                if element.name() == "h1" && self.first_heading.is_none() {
                    self.first_heading = non_blank(text_of(node));
                }
                writer.open_heading(element.name().as_bytes()[1] - b'0');
            }
            "ul" | "menu" | "dl" => writer.open_list(false, 1),
            "ol" => {
                let start = element.attr("start").and_then(|it| it.trim().parse().ok());
                writer.open_list(true, start.unwrap_or(1));
            }
            "li" | "dt" => writer.open_item(),
            "dd" => writer.open_description(),
            "blockquote" => writer.open_quote(),
            "pre" => writer.open_code_block(&code_language(node).unwrap_or_default()),
            "code" | "kbd" | "samp" | "tt" if !writer.in_code_block() => writer.mark("`"),
            "q" => writer.mark("\""),
            "sup" if is_exponent(node) => writer.mark_after("^"),
            "br" => writer.line_break(),
            "img" => writer.text(element.attr("alt").unwrap_or_default()),
            "math" if element.attr("alttext").is_some() => {
                writer.text(element.attr("alttext").unwrap_or_default());
                return false;
            }
            "a" if is_anchor_mark(node) => return false,
            "table" | "tr" | "td" | "th" => self.open_table_part(node, element),
            name if is_block(name) => writer.end_block(),
            _ => {}
        }
        true
    }

    fn open_table_part(&mut self, node: NodeRef<'_, Node>, element: &Element) {
        let in_data_table = self.data_table.is_some_and(|table| table_of(node) == Some(table));
        let span = |name| element.attr(name).and_then(|it| it.trim().parse().ok()).unwrap_or(1);
        match element.name() {
            "table" if self.data_table.is_none() => {
                if self.tables.get(&node.id()) == Some(&TableKind::Data) {
                    self.data_table = Some(node.id());
                    self.writer.open_table();
                } else {
                    self.writer.end_block();
                }
            }
            "tr" if in_data_table => self.writer.open_row(),
            "td" | "th" if in_data_table => self.writer.open_cell(span("colspan"), span("rowspan")),
            _ => self.writer.end_part(),
        }
    }

    /// Takes a node's end.
    fn close(&mut self, node: NodeRef<'_, Node>) {
        let Some(element) = node.value().as_element() else { return };
        if let Some((_, inherited)) = self.outer.pop_if(|(id, _)| *id == node.id()) {
            self.inherited = inherited;
        }
        if is_inside(element) {
            self.n_inside -= 1;
        }
        let writer = &mut self.writer;
        match element.name() {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => writer.close_heading(),
            "ul" | "menu" | "dl" | "ol" => writer.close_list(),
            "li" | "dt" | "dd" | "blockquote" => writer.close_container(),
            "pre" => writer.close_code_block(),
            "code" | "kbd" | "samp" | "tt" if !writer.in_code_block() => {
                writer.close_mark("`");
            }
            "q" => writer.close_mark("\""),
            "table" if self.data_table == Some(node.id()) => {
                self.data_table = None;
                writer.close_table();
            }
            "td" | "th" if self.data_table.is_some_and(|it| table_of(node) == Some(it)) => {
                writer.close_cell();
            }
            "table" | "tr" | "td" | "th" => writer.end_part(),
            name if is_block(name) => writer.end_block(),
            _ => {}
        }
    }
}

/// Whether an element holds main content.
fn is_inside(element: &Element) -> bool {
    matches!(element.name(), "main" | "article") || element.attr("role") == Some("main")
}

/// Elements that begin on a line of their own and have no form of their own in Markdown.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "body"
            | "caption"
            | "center"
            | "details"
            | "dialog"
            | "div"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "main"
            | "nav"
            | "p"
            | "section"
            | "summary"
            | "tbody"
            | "tfoot"
            | "thead"
    )
}

/// Whether a node is small enough to look into before the walk does.
fn has_few_nodes(node: NodeRef<'_, Node>) -> bool {
    node.descendants().nth(8).is_none()
}

/// Digits above the line: `10<sup>6</sup>` is not 106. Letters (`1<sup>er</sup>`) just follow.
fn is_exponent(sup: NodeRef<'_, Node>) -> bool {
    if !has_few_nodes(sup) {
        return false;
    }
    let text = text_of(sup);
    let text = text.trim();
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// A link that only shows a mark to copy a heading's address from.
fn is_anchor_mark(link: NodeRef<'_, Node>) -> bool {
    has_few_nodes(link) && matches!(text_of(link).trim(), "#" | "¶" | "§" | "🔗")
}

/// The language that a code block's class names, as highlighters write it.
fn code_language(pre: NodeRef<'_, Node>) -> Option<String> {
    let code = pre.first_child().filter(|child| name_of(*child) == Some("code"));
    let classes = [Some(pre), code].into_iter().flatten();
    let classes = classes.filter_map(|node| node.value().as_element()?.attr("class"));
    let mut names = classes.flat_map(str::split_ascii_whitespace);
    let name = names.find_map(|it| it.strip_prefix("language-").or(it.strip_prefix("lang-")))?;
    let plain = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '+' | '-' | '#' | '_'));
    plain.then(|| name.to_owned())
}

/// The table that a row or a cell belongs to.
fn table_of(node: NodeRef<'_, Node>) -> Option<NodeId> {
    // At most cell, row, body, table: the parser puts them right.
    node.ancestors().take(3).find(|it| name_of(*it) == Some("table")).map(|it| it.id())
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TableKind {
    /// Rows and columns of values.
    Data,
    /// Boxes on a page, as in most mails.
    Layout,
}

/// Tells tables of values from tables that only arrange a page, in one pass over the tree.
fn table_kinds(root: NodeRef<'_, Node>) -> HashMap<NodeId, TableKind> {
    #[derive(Default)]
    struct Seen {
        has_header: bool,
        has_blocks: bool,
        n_cells: usize,
        n_columns_max: usize,
    }
    let mut kinds = HashMap::new();
    let mut open: Vec<Seen> = Vec::new();
    visit(root, |edge| {
        let (node, opens) = match edge {
            Edge::Open(node) => (node, true),
            Edge::Close(node) => (node, false),
        };
        let Some(element) = node.value().as_element() else { return true };
        match (element.name(), opens, open.last_mut()) {
            ("table", true, outer) => {
                if let Some(outer) = outer {
                    outer.has_blocks = true;
                }
                open.push(Seen::default());
            }
            ("table", false, Some(seen)) => {
                let presentation = matches!(element.attr("role"), Some("presentation" | "none"));
                let arranges = !seen.has_header && (seen.has_blocks || seen.n_columns_max <= 1);
                let layout = presentation || arranges;
                kinds.insert(node.id(), if layout { TableKind::Layout } else { TableKind::Data });
                open.pop();
            }
            ("th" | "caption" | "thead", true, Some(seen)) => {
                seen.has_header = true;
                seen.n_cells += 1;
            }
            ("td", true, Some(seen)) => seen.n_cells += 1,
            ("h1" | "h2" | "h3" | "h4" | "h5" | "h6", true, Some(seen)) => seen.has_blocks = true,
            ("tr", true, Some(seen)) => seen.n_cells = 0,
            ("tr", false, Some(seen)) => seen.n_columns_max = seen.n_columns_max.max(seen.n_cells),
            _ => {}
        }
        true
    });
    kinds
}
