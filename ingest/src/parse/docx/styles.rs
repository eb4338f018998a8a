//! Word's styles, resolved: what a paragraph or run of a style is.

use crate::parse::office::xml::{NodeId, Tree};
use std::collections::HashMap;

/// Styles can be based on others. Longer chains than this are cycles.
const CHAIN_MAX: usize = 64;

/// What the styles of a document say, by style id.
#[derive(Default)]
pub(super) struct Styles {
    styles: HashMap<String, Style>,
    default_paragraph: Style,
}

/// What a style says, with all that it inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Style {
    /// Level of a heading, from 1.
    pub(super) heading: Option<u8>,
    /// Whether it is the document's title.
    pub(super) is_title: bool,
    /// Whether it is a program's text.
    pub(super) is_code: bool,
    /// The list that its paragraphs belong to.
    pub(super) list: Option<ListRef>,
    /// Whether its text is hidden.
    pub(super) is_hidden: Option<bool>,
}

/// A list and the depth in it, as paragraphs and styles name them. Each may come without the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ListRef {
    pub(super) id: Option<String>,
    pub(super) level: Option<usize>,
}

impl ListRef {
    /// Reads a `numPr`.
    pub(super) fn read(tree: &Tree, node: NodeId) -> Self {
        let level = tree.child_val(node, "ilvl").and_then(|it| it.parse().ok());
        Self { id: tree.child_val(node, "numId").map(str::to_owned), level }
    }

    /// This one, completed by another one's values.
    pub(super) fn or(&self, other: Option<&Self>) -> Self {
        let Some(other) = other else { return self.clone() };
        Self { id: self.id.clone().or(other.id.clone()), level: self.level.or(other.level) }
    }
}

impl Styles {
    /// Reads `styles.xml`.
    pub(super) fn read(tree: &Tree) -> Self {
        let Some(root) = tree.root() else { return Self::default() };
        let mut nodes = HashMap::new();
        let mut default_paragraph = None;
        for node in tree.children_named(root, "style") {
            let Some(id) = tree.attr(node, "styleId") else { continue };
            nodes.insert(id, node);
            let is_default = matches!(tree.attr(node, "default"), Some("1" | "true"));
            if is_default && tree.attr(node, "type") == Some("paragraph") {
                default_paragraph = Some(id);
            }
        }
        let styles: HashMap<_, _> =
            nodes.keys().map(|id| ((*id).to_owned(), resolve(tree, &nodes, id))).collect();
        let default_paragraph =
            default_paragraph.and_then(|id| styles.get(id)).cloned().unwrap_or_default();
        Self { styles, default_paragraph }
    }

    /// The style of a paragraph that names one, or none.
    pub(super) fn paragraph(&self, id: Option<&str>) -> &Style {
        id.and_then(|id| self.styles.get(id)).unwrap_or(&self.default_paragraph)
    }

    /// Whether runs of a character style are hidden; `None` when it does not say.
    pub(super) fn hides(&self, id: &str) -> Option<bool> {
        self.styles.get(id)?.is_hidden
    }

    /// The list of a style: lists may be defined through one.
    pub(super) fn list(&self, id: &str) -> Option<&ListRef> {
        self.styles.get(id)?.list.as_ref()
    }
}

/// Merges a style with those it is based on; what is nearer wins.
fn resolve(tree: &Tree, nodes: &HashMap<&str, NodeId>, id: &str) -> Style {
    let mut style = Style::default();
    let mut next = Some(id);
    for _ in 0..CHAIN_MAX {
        let Some((id, &node)) = next.and_then(|id| nodes.get_key_value(id)) else { break };
        let own = read(tree, node, id);
        style.heading = style.heading.or(own.heading);
        style.is_title |= own.is_title;
        style.is_code |= own.is_code;
        style.is_hidden = style.is_hidden.or(own.is_hidden);
        style.list = match (style.list, own.list) {
            (Some(near), far) => Some(near.or(far.as_ref())),
            (None, far) => far,
        };
        next = tree.child_val(node, "basedOn");
    }
    // Level 0 stands for "no heading" said explicitly, which hides what is inherited.
    style.heading = style.heading.filter(|level| *level > 0);
    style
}

fn read(tree: &Tree, node: NodeId, id: &str) -> Style {
    let name = tree.child_val(node, "name").unwrap_or(id).to_lowercase();
    let properties = tree.child(node, "pPr");
    let outline = properties.and_then(|it| tree.child_val(it, "outlineLvl"));
    let list = properties.and_then(|it| tree.child(it, "numPr"));
    Style {
        heading: outline.and_then(heading_level).or_else(|| heading_by_name(&name)),
        is_title: TITLES.contains(&name.as_str()),
        is_code: is_code(&name),
        list: list.map(|it| ListRef::read(tree, it)),
        is_hidden: tree.child(node, "rPr").and_then(|it| tree.toggle(it, "vanish")),
    }
}

/// A heading's level from an outline level: 0 to 8, where 9 is body text and gives 0.
pub(super) fn heading_level(outline: &str) -> Option<u8> {
    match outline.parse::<u8>() {
        Ok(level @ 0..=8) => Some(level + 1),
        Ok(_) => Some(0),
        Err(_) => None,
    }
}

/// Word names its own styles in English in every language, but other writers translate them.
fn heading_by_name(name: &str) -> Option<u8> {
    let digit = name.chars().next_back()?.to_digit(10)?;
    let word = name[..name.len() - 1].trim_end();
    let is_heading = HEADINGS.contains(&word) && digit > 0;
    is_heading.then(|| u8::try_from(digit).expect("one digit"))
}

const HEADINGS: &[&str] = &[
    "heading",
    "titre",
    "überschrift",
    "título",
    "titulo",
    "titolo",
    "kop",
    "rubrik",
    "overskrift",
    "nagłówek",
    "nadpis",
    "otsikko",
    "заголовок",
    "标题",
    "標題",
    "見出し",
    "제목",
];

const TITLES: &[&str] = &["title", "titre", "titel", "título", "titolo"];

fn is_code(name: &str) -> bool {
    matches!(
        name,
        "code"
            | "source code"
            | "code block"
            | "code source"
            | "html preformatted"
            | "préformaté html"
            | "preformatted text"
            | "texte préformaté"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn styles(xml: &str) -> Styles {
        Styles::read(&Tree::parse(&format!("<w:styles>{xml}</w:styles>")).unwrap())
    }

    #[test]
    fn headings_are_known_by_level_or_by_name_in_any_language() {
        let styles = styles(
            "<w:style w:styleId=\"a\"><w:name w:val=\"Mine\"/><w:pPr><w:outlineLvl w:val=\"2\"/>\
             </w:pPr></w:style>\
             <w:style w:styleId=\"b\"><w:name w:val=\"Titre 1\"/></w:style>\
             <w:style w:styleId=\"c\"><w:name w:val=\"heading 4\"/></w:style>\
             <w:style w:styleId=\"d\"><w:name w:val=\"Subheading 4\"/></w:style>",
        );
        let level = |id| styles.paragraph(Some(id)).heading;
        assert_eq!(
            [level("a"), level("b"), level("c"), level("d")],
            [Some(3), Some(1), Some(4), None]
        );
    }

    #[test]
    fn what_a_style_is_based_on_counts_until_overridden() {
        let styles = styles(
            "<w:style w:styleId=\"h\"><w:name w:val=\"heading 1\"/><w:rPr><w:vanish/></w:rPr>\
             </w:style><w:style w:styleId=\"x\"><w:basedOn w:val=\"h\"/></w:style>\
             <w:style w:styleId=\"y\"><w:basedOn w:val=\"h\"/><w:pPr><w:outlineLvl w:val=\"9\"/>\
             </w:pPr><w:rPr><w:vanish w:val=\"0\"/></w:rPr></w:style>",
        );
        assert_eq!(styles.paragraph(Some("x")).heading, Some(1));
        assert_eq!(styles.hides("x"), Some(true));
        assert_eq!(styles.paragraph(Some("y")).heading, None);
        assert_eq!(styles.hides("y"), Some(false));
    }

    #[test]
    fn styles_based_on_each_other_end() {
        let styles = styles(
            "<w:style w:styleId=\"a\"><w:basedOn w:val=\"b\"/></w:style>\
             <w:style w:styleId=\"b\"><w:basedOn w:val=\"a\"/></w:style>",
        );
        assert_eq!(styles.paragraph(Some("a")), &Style::default());
    }
}
