//! XML as Office writes it: a stream of tags for long parts, and a flat tree for short ones.
//!
//! Names are compared without their prefix. The prefixes are only a habit of writers, and the
//! "Strict" and "Transitional" variants of a format differ in namespaces alone.
//!
//! Entities are never expanded: only the five of XML itself and character references are read.

use crate::parse::ParseError;
use quick_xml::events::{BytesEnd, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::borrow::Cow;
use std::ops::Range;

/// Depth of nesting. Word needs about fifteen levels for each table inside a table.
const DEPTH_MAX: usize = 1_000;

/// Nodes of one tree: about 200 MB of memory, more than any honest slide needs.
const NODES_MAX: usize = 5_000_000;

/// A stream of [`Token`]s over a part's text.
pub(crate) struct Xml<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

/// One step of the stream. An empty element gives `Open` and `Close`.
pub(crate) enum Token<'a> {
    /// A start tag.
    Open(Tag<'a>),
    /// An end tag.
    Close(EndTag<'a>),
    /// Text, with references resolved. A long text comes in pieces.
    Text(Cow<'a, str>),
    /// The end of the part.
    End,
}

/// A start tag.
pub(crate) struct Tag<'a>(BytesStart<'a>);

impl Tag<'_> {
    /// The local name.
    pub(crate) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// An attribute's value by local name.
    pub(crate) fn attr(&self, name: &str) -> Option<String> {
        let mut attributes = self.0.attributes();
        let found = attributes
            .with_checks(false)
            .filter_map(Result::ok)
            .find(|it| it.key.local_name().into_inner() == name)?;
        Some(attribute_value(&found).into_owned())
    }
}

/// An end tag.
pub(crate) struct EndTag<'a>(BytesEnd<'a>);

impl EndTag<'_> {
    /// The local name.
    pub(crate) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }
}

/// A value with its references resolved; as written when it has one that XML does not define.
fn attribute_value<'a>(attribute: &quick_xml::events::attributes::Attribute<'a>) -> Cow<'a, str> {
    attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or_else(|_| attribute.value.clone())
}

impl<'a> Xml<'a> {
    /// Starts at the beginning of a part.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, depth: 0 }
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, ParseError> {
        loop {
            return Ok(match self.reader.read_event().map_err(|error| self.corrupt(&error))? {
                Event::Start(tag) | Event::Empty(tag) => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err(ParseError::OverLimit {
                            what: "nesting of XML elements".to_owned(),
                            limit: format!("{DEPTH_MAX} levels"),
                        });
                    }
                    Token::Open(Tag(tag))
                }
                Event::End(tag) => {
                    self.depth = self.depth.saturating_sub(1);
                    Token::Close(EndTag(tag))
                }
                Event::Text(text) => Token::Text(text.xml10_content()),
                Event::CData(text) => Token::Text(text.into_inner()),
                Event::GeneralRef(reference) => Token::Text(Cow::Owned(resolve(&reference))),
                Event::Eof if self.depth == 0 => Token::End,
                Event::Eof => {
                    return Err(ParseError::Corrupt { detail: "XML ends too early".to_owned() });
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            });
        }
    }

    fn corrupt(&self, error: &quick_xml::Error) -> ParseError {
        let position = self.reader.error_position();
        ParseError::Corrupt { detail: format!("XML at byte {position}: {error}") }
    }

    /// Passes over the element whose start tag was read last.
    pub(crate) fn skip(&mut self) -> Result<(), ParseError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            self.next()?;
        }
        Ok(())
    }

    /// Reads the element whose start tag was read last, into a tree.
    pub(crate) fn subtree(&mut self, tag: &Tag<'_>) -> Result<Tree, ParseError> {
        let outside = self.depth.saturating_sub(1);
        let mut tree = Tree::default();
        let mut open = vec![tree.push_element(tag)?];
        while self.depth > outside {
            match self.next()? {
                Token::Open(tag) => open.push(tree.push_element(&tag)?),
                Token::Close(_) => {
                    let end = tree.nodes.len();
                    if let Some(node) = open.pop() {
                        tree.nodes[node].end = end;
                    }
                }
                Token::Text(text) => tree.push_text(&text)?,
                Token::End => break,
            }
        }
        Ok(tree)
    }
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> String {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return c.to_string();
    }
    match quick_xml::escape::resolve_predefined_entity(reference) {
        Some(text) => text.to_owned(),
        // An entity of a document type. Left as written: expanding it is how XML bombs work.
        None => format!("&{};", &**reference),
    }
}

/// A small piece of XML in document order: a node's descendants directly follow it.
///
/// So a walk is a loop, and a loop backwards sees children before their parents. No step recurses,
/// however deep the nesting.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    attributes: Vec<(Piece, Piece)>,
    /// All names, values and texts: one allocation instead of one each.
    buffer: String,
}

/// A range of a tree's buffer.
type Piece = Range<usize>;

/// An element or, with an empty name, a text.
struct Node {
    name: Piece,
    text: Piece,
    attributes: Range<usize>,
    /// One past the last descendant.
    end: usize,
}

/// A node of a tree: its position in document order.
pub(crate) type NodeId = usize;

impl Tree {
    /// Reads a whole part. A part without elements gives an empty tree.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let mut xml = Xml::new(text);
        loop {
            match xml.next()? {
                Token::Open(tag) => return xml.subtree(&tag),
                Token::End => return Ok(Self::default()),
                Token::Text(_) | Token::Close(_) => {}
            }
        }
    }

    fn push_element(&mut self, tag: &Tag<'_>) -> Result<NodeId, ParseError> {
        let name = self.keep(tag.name());
        let first = self.attributes.len();
        for attribute in tag.0.attributes().with_checks(false).filter_map(Result::ok) {
            // Revision marks fill half of a Word file, and nothing asks for them.
            if attribute.key.local_name().into_inner().starts_with("rsid") {
                continue;
            }
            let key = self.keep(attribute.key.into_inner());
            let value = self.keep(&attribute_value(&attribute));
            self.attributes.push((key, value));
        }
        let attributes = first..self.attributes.len();
        self.push(Node { name, text: 0..0, attributes, end: 0 })
    }

    fn push_text(&mut self, text: &str) -> Result<(), ParseError> {
        let text = self.keep(text);
        let end = self.nodes.len() + 1;
        self.push(Node { name: 0..0, text, attributes: 0..0, end })?;
        Ok(())
    }

    fn keep(&mut self, text: &str) -> Piece {
        let start = self.buffer.len();
        self.buffer.push_str(text);
        start..self.buffer.len()
    }

    fn push(&mut self, node: Node) -> Result<NodeId, ParseError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(ParseError::OverLimit {
                what: "XML elements of one part".to_owned(),
                limit: format!("{NODES_MAX}"),
            });
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// The root, when there is one.
    pub(crate) fn root(&self) -> Option<NodeId> {
        (!self.nodes.is_empty()).then_some(0)
    }

    /// The local name; empty for a text.
    pub(crate) fn name(&self, node: NodeId) -> &str {
        &self.buffer[self.nodes[node].name.clone()]
    }

    /// One past the last descendant of a node.
    pub(crate) fn end(&self, node: NodeId) -> NodeId {
        self.nodes[node].end.max(node + 1)
    }

    /// The text that stands at a node itself.
    pub(crate) fn own_text(&self, node: NodeId) -> &str {
        &self.buffer[self.nodes[node].text.clone()]
    }

    /// The elements and texts directly below a node.
    pub(crate) fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let end = self.end(node);
        let first = (node + 1 < end).then_some(node + 1);
        std::iter::successors(first, move |&child| {
            let next = self.end(child);
            (next < end).then_some(next)
        })
    }

    /// The children of a name.
    pub(crate) fn children_named<'t>(
        &'t self,
        node: NodeId,
        name: &'t str,
    ) -> impl Iterator<Item = NodeId> + 't {
        self.children(node).filter(move |&child| self.name(child) == name)
    }

    /// The first child of a name.
    pub(crate) fn child(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.children(node).find(|&child| self.name(child) == name)
    }

    /// The node at the end of a path of names.
    pub(crate) fn at(&self, node: NodeId, path: &[&str]) -> Option<NodeId> {
        path.iter().try_fold(node, |node, name| self.child(node, name))
    }

    /// All nodes below a node, in document order.
    pub(crate) fn descendants(&self, node: NodeId) -> Range<NodeId> {
        node + 1..self.end(node)
    }

    /// The first descendant of a name.
    pub(crate) fn find(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.descendants(node).find(|&it| self.name(it) == name)
    }

    /// All text below a node, joined.
    pub(crate) fn text(&self, node: NodeId) -> String {
        self.descendants(node).map(|it| self.own_text(it)).collect()
    }

    fn attributes(&self, node: NodeId) -> impl Iterator<Item = (&str, &str)> {
        let attributes = &self.attributes[self.nodes[node].attributes.clone()];
        attributes
            .iter()
            .map(|(key, value)| (&self.buffer[key.clone()], &self.buffer[value.clone()]))
    }

    /// An attribute's value by local name. One without a prefix wins: `id` is not `r:id`.
    pub(crate) fn attr(&self, node: NodeId, name: &str) -> Option<&str> {
        let plain = self.attributes(node).find(|(key, _)| *key == name);
        plain.map(|(_, value)| value).or_else(|| self.prefixed_attr(node, name))
    }

    /// The value of an attribute that has a prefix: `r:id`, whatever the prefix is called.
    pub(crate) fn prefixed_attr(&self, node: NodeId, name: &str) -> Option<&str> {
        self.attributes(node).find(|(key, _)| local(key) == Some(name)).map(|(_, value)| value)
    }

    /// The `val` of a child: how Word writes most properties.
    pub(crate) fn child_val(&self, node: NodeId, name: &str) -> Option<&str> {
        self.attr(self.child(node, name)?, "val")
    }

    /// A property that is on or off; `None` when it is not there. Without a value it is on.
    pub(crate) fn toggle(&self, node: NodeId, name: &str) -> Option<bool> {
        let child = self.child(node, name)?;
        Some(is_on(self.attr(child, "val").unwrap_or("1")))
    }
}

/// The name behind a prefix; `None` without one.
fn local(key: &str) -> Option<&str> {
    key.split_once(':').map(|(_, name)| name)
}

/// Reads the forms of ST_OnOff (ISO/IEC 29500-1, 22.9.2.7).
pub(crate) fn is_on(value: &str) -> bool {
    !matches!(value, "0" | "false" | "off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        Tree::parse(text).unwrap()
    }

    #[test]
    fn prefixes_do_not_matter_for_elements() {
        let tree = tree(r#"<x:a xmlns:x="u"><y:b v="1"/><b v="2"/></x:a>"#);
        let values: Vec<_> = tree.children_named(0, "b").map(|it| tree.attr(it, "v")).collect();
        assert_eq!(values, [Some("1"), Some("2")]);
    }

    #[test]
    fn a_prefixed_attribute_is_told_from_a_plain_one() {
        let tree = tree(r#"<a id="256" r:id="rId2"/>"#);
        assert_eq!(tree.attr(0, "id"), Some("256"));
        assert_eq!(tree.prefixed_attr(0, "id"), Some("rId2"));
    }

    #[test]
    fn references_of_xml_are_resolved_and_no_others() {
        let tree = tree("<!DOCTYPE a [<!ENTITY b \"bomb\">]><a t=\"&lt;é\">&amp;&#233;&b;</a>");
        assert_eq!(tree.text(0), "&é&b;");
        assert_eq!(tree.attr(0, "t"), Some("<é"));
    }

    #[test]
    fn siblings_are_walked_without_their_descendants() {
        let tree = tree("<a><b><c/>t</b><d/></a>");
        let names: Vec<_> = tree.children(0).map(|it| tree.name(it)).collect();
        assert_eq!(names, ["b", "d"]);
        assert_eq!(tree.text(0), "t");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = "<a>".repeat(2 * DEPTH_MAX);
        assert!(matches!(Tree::parse(&text), Err(ParseError::OverLimit { .. })));
    }

    #[test]
    fn unfinished_xml_is_damaged() {
        for text in ["<a><b></b>", "<a", "<a></b>"] {
            assert!(matches!(Tree::parse(text), Err(ParseError::Corrupt { .. })), "{text}");
        }
    }
}
