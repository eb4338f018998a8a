//! One slide: its shapes in reading order, its comments, its notes.

use super::comments::Authors;
use super::order::{Area, Mapping, reading_order};
use super::shapes::{Placeholder, area, area_of, table, text_blocks};
use super::template::{Template, Templates};
use crate::parse::ParseError;
use crate::parse::office::chart;
use crate::parse::office::package::{Package, Relations};
use crate::parse::office::text::{Block, Kind, one_line};
use crate::parse::office::xml::{NodeId, Tree};

/// What a slide gave.
#[derive(Default)]
pub(super) struct Slide {
    pub(super) blocks: Vec<Block>,
    /// It is left out of the show.
    pub(super) is_hidden: bool,
    /// Characters of shapes that are hidden on a shown slide.
    pub(super) n_hidden_chars: usize,
}

/// A shape's text and its place.
struct Item {
    /// The shape or group at the slide's top level that it belongs to.
    unit: usize,
    area: Area,
    blocks: Vec<Block>,
}

/// Reads a slide with all that belongs to it.
pub(super) fn read_slide(
    name: &str,
    package: &mut Package<'_>,
    templates: &mut Templates,
    authors: &Authors,
) -> Result<Slide, ParseError> {
    let tree = crate::parse::office::xml::Tree::parse(&package.required(name)?)?;
    let relations = package.relations(name)?;
    let template = templates.of(relations.by_kind("slideLayout"), package)?;
    let mut walk = Walk { tree: &tree, template: &template, package, relations: &relations };
    let mut slide = walk.slide()?;
    slide.is_hidden =
        tree.root().is_some_and(|it| matches!(tree.attr(it, "show"), Some("0" | "false")));
    for comments in relations.of_kind("comments") {
        slide.blocks.extend(authors.comments(&package.tree(Some(comments))?));
    }
    slide.blocks.extend(notes(&package.tree(relations.by_kind("notesSlide"))?));
    Ok(slide)
}

struct Walk<'a, 'p> {
    tree: &'a Tree,
    template: &'a Template,
    package: &'a mut Package<'p>,
    relations: &'a Relations,
}

/// A group, or a choice between versions, that the walk is inside of.
struct Scope {
    end: NodeId,
    mapping: Mapping,
    is_hidden: bool,
    /// Of a choice: one of its versions was read.
    was_read: bool,
}

impl Walk<'_, '_> {
    fn slide(&mut self) -> Result<Slide, ParseError> {
        let tree = self.tree;
        let mut slide = Slide::default();
        let Some(shapes) = tree.root().and_then(|root| tree.at(root, &["cSld", "spTree"])) else {
            return Ok(slide);
        };
        let mut title = Vec::new();
        let (mut units, mut items) = (Vec::new(), Vec::<Item>::new());
        let mut scopes = vec![Scope {
            end: tree.end(shapes),
            mapping: Mapping::IDENTITY,
            is_hidden: false,
            was_read: false,
        }];
        let mut node = shapes + 1;
        while node < tree.end(shapes) {
            while scopes.len() > 1 && scopes.last().is_some_and(|it| it.end <= node) {
                scopes.pop();
            }
            let n_scopes = scopes.len();
            let scope = scopes.last_mut().expect("the slide's own scope stays");
            let next = node + 1;
            let name = tree.name(node);
            let is_hidden = scope.is_hidden || hides(tree, node);
            let mapping = scope.mapping;
            match name {
                "grpSp" | "AlternateContent" => {
                    let inner = if name == "grpSp" { group(tree, node, mapping) } else { mapping };
                    let end = tree.end(node);
                    if n_scopes == 1 {
                        units.push(area_of_group(tree, node).unwrap_or(Area::UNKNOWN));
                    }
                    scopes.push(Scope { end, mapping: inner, is_hidden, was_read: false });
                    node = next;
                    continue;
                }
                "Choice" | "Fallback" if scope.was_read => {}
                "Choice" | "Fallback" => {
                    scope.was_read = true;
                    node = next;
                    continue;
                }
                "sp" | "graphicFrame" => {
                    let placeholder = Placeholder::of(tree, node);
                    let blocks = self.blocks(node, placeholder.as_ref())?;
                    let own = area_of(tree, node).map(|it| mapping.apply(it));
                    let inherited = || self.template.area(placeholder.as_ref()?);
                    let area = own.or_else(inherited).unwrap_or(Area::UNKNOWN);
                    let role = placeholder.as_ref().map(|it| it.role.as_str());
                    match units.last_mut() {
                        // A choice between versions stands where its first shape does.
                        Some(unit) if n_scopes > 1 && *unit == Area::UNKNOWN => *unit = area,
                        Some(_) if n_scopes > 1 => {}
                        _ => units.push(area),
                    }
                    if is_hidden {
                        slide.n_hidden_chars += super::n_chars(&blocks);
                    } else if role == Some("title") {
                        title.extend(blocks.into_iter().map(|it| it.text));
                    } else if !placeholder.is_some_and(|it| it.is_running()) {
                        items.push(Item { unit: units.len() - 1, area, blocks });
                    }
                }
                _ => {}
            }
            node = tree.end(node);
        }
        let title = one_line(&title.join(" "));
        if !title.is_empty() {
            slide.blocks.push(Block { kind: Kind::Heading(1), text: title });
        }
        slide.blocks.extend(ordered(&units, items));
        Ok(slide)
    }

    /// The blocks of a shape, table, chart or diagram.
    fn blocks(
        &mut self,
        shape: NodeId,
        placeholder: Option<&Placeholder>,
    ) -> Result<Vec<Block>, ParseError> {
        let tree = self.tree;
        if let Some(body) = tree.child(shape, "txBody") {
            return Ok(text_blocks(tree, body, placeholder, self.template));
        }
        let Some(data) = tree.at(shape, &["graphic", "graphicData"]) else { return Ok(Vec::new()) };
        let Some(content) = tree.children(data).next() else { return Ok(Vec::new()) };
        let (attribute, read): (_, fn(&Tree) -> Vec<Block>) = match tree.name(content) {
            "tbl" => return Ok(table(tree, content).into_iter().collect()),
            "chart" => ("id", chart::chart),
            "relIds" => ("dm", chart::diagram),
            _ => return Ok(Vec::new()),
        };
        let id = tree.prefixed_attr(content, attribute);
        match id.and_then(|id| self.relations.by_id(id)) {
            Some(name) => Ok(read(&self.package.tree(Some(name))?)),
            None => Ok(Vec::new()),
        }
    }
}

/// Whether a shape or group is switched off in the selection pane.
fn hides(tree: &Tree, node: NodeId) -> bool {
    let properties = tree.children(node).find(|&it| tree.name(it).starts_with("nv"));
    let own = properties.and_then(|it| tree.child(it, "cNvPr"));
    own.is_some_and(|it| matches!(tree.attr(it, "hidden"), Some("1" | "true")))
}

fn area_of_group(tree: &Tree, group: NodeId) -> Option<Area> {
    area(tree, tree.at(group, &["grpSpPr", "xfrm"])?, ["off", "ext"])
}

/// The mapping of a group's members to the slide.
fn group(tree: &Tree, group: NodeId, parent: Mapping) -> Mapping {
    let frame = tree.at(group, &["grpSpPr", "xfrm"]);
    let inner = frame.and_then(|it| area(tree, it, ["chOff", "chExt"]));
    match (inner, area_of_group(tree, group)) {
        (Some(inner), Some(outer)) => Mapping::between(inner, parent.apply(outer)),
        _ => parent,
    }
}

/// Blocks in reading order. What is grouped stays together.
fn ordered(units: &[Area], items: Vec<Item>) -> Vec<Block> {
    let mut by_unit: Vec<Vec<Item>> = units.iter().map(|_| Vec::new()).collect();
    for item in items {
        by_unit[item.unit].push(item);
    }
    let mut blocks = Vec::new();
    for unit in reading_order(units) {
        let mut items = std::mem::take(&mut by_unit[unit]);
        let areas: Vec<Area> = items.iter().map(|it| it.area).collect();
        for i in reading_order(&areas) {
            blocks.append(&mut items[i].blocks);
        }
    }
    blocks
}

/// The speaker's notes, marked as such.
fn notes(tree: &Tree) -> Vec<Block> {
    let Some(root) = tree.root() else { return Vec::new() };
    let mut blocks = Vec::new();
    for shape in tree.descendants(root).filter(|&it| tree.name(it) == "sp") {
        let placeholder = Placeholder::of(tree, shape);
        if placeholder.as_ref().is_some_and(|it| it.role == "body")
            && let Some(body) = tree.child(shape, "txBody")
        {
            blocks.extend(text_blocks(tree, body, None, &Template::default()));
        }
    }
    match blocks.first_mut() {
        Some(Block { kind: Kind::Paragraph, text }) => *text = format!("Notes: {text}"),
        Some(_) => blocks.insert(0, Block::paragraph("Notes:")),
        None => {}
    }
    blocks
}
