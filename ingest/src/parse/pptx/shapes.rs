//! The text of one shape: paragraphs with their bullets, tables.

use super::order::Area;
use super::template::{Bullet, Template, bullet, level_bullet};
use crate::parse::office::drawing::paragraph_text;
use crate::parse::office::text::{Block, Kind, cell};
use crate::parse::office::xml::{NodeId, Tree};
use crate::parse::table::markdown_table;

/// Levels of a slide's list.
const LEVELS: usize = 9;

/// What a shape is for, when it fills a place of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// `title`, `body`, `subTitle`, `ftr` …; a centred title is a title, an object a body.
    pub(super) role: String,
    pub(super) index: Option<String>,
}

impl Placeholder {
    /// Reads a shape's `ph`.
    pub(super) fn of(tree: &Tree, shape: NodeId) -> Option<Self> {
        let properties = tree.children(shape).find(|&it| tree.name(it).starts_with("nv"))?;
        let node = tree.at(properties, &["nvPr", "ph"])?;
        let role = match tree.attr(node, "type").unwrap_or("obj") {
            "ctrTitle" => "title",
            "obj" => "body",
            other => other,
        };
        Some(Self { role: role.to_owned(), index: tree.attr(node, "idx").map(str::to_owned) })
    }

    /// Dates, footers and slide numbers, which repeat on every slide.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.role.as_str(), "dt" | "ftr" | "sldNum" | "hdr")
    }
}

/// Where a shape says that it stands.
pub(super) fn area_of(tree: &Tree, shape: NodeId) -> Option<Area> {
    let frame = tree.child(shape, "xfrm").or_else(|| tree.at(shape, &["spPr", "xfrm"]))?;
    area(tree, frame, ["off", "ext"])
}

/// An area from a point and an extent.
pub(super) fn area(tree: &Tree, frame: NodeId, names: [&str; 2]) -> Option<Area> {
    let [point, extent] = names.map(|name| tree.child(frame, name));
    let number =
        |node, name| tree.attr(node, name)?.parse::<f64>().ok().filter(|it| it.is_finite());
    Some(Area {
        x: number(point?, "x")?,
        y: number(point?, "y")?,
        width: number(extent?, "cx")?,
        height: number(extent?, "cy")?,
    })
}

/// The blocks of a shape's text.
pub(super) fn text_blocks(
    tree: &Tree,
    body: NodeId,
    placeholder: Option<&Placeholder>,
    template: &Template,
) -> Vec<Block> {
    let list = tree.child(body, "lstStyle");
    let mut counters = [None; LEVELS];
    let mut blocks = Vec::new();
    for paragraph in tree.children_named(body, "p") {
        let text = paragraph_text(tree, paragraph);
        if text.trim().is_empty() {
            continue;
        }
        let properties = tree.child(paragraph, "pPr");
        let level = properties.and_then(|it| tree.attr(it, "lvl")?.parse().ok()).unwrap_or(0);
        let level = level.min(LEVELS - 1);
        let bullet = properties
            .and_then(|it| bullet(tree, it))
            .or_else(|| level_bullet(tree, list?, level))
            .or_else(|| template.bullet(placeholder?, level));
        let kind = match marker(bullet.unwrap_or(Bullet::None), level, &mut counters) {
            Some(marker) => Kind::Item { level: u8::try_from(level).expect("below 9"), marker },
            None => Kind::Paragraph,
        };
        blocks.push(Block { kind, text });
    }
    blocks
}

/// Counts a paragraph and gives what stands before it.
fn marker(bullet: Bullet, level: usize, counters: &mut [Option<u32>; LEVELS]) -> Option<String> {
    let deeper = level + usize::from(matches!(bullet, Bullet::Number { .. }));
    counters[deeper..].fill(None);
    match bullet {
        Bullet::None => None,
        Bullet::Sign => Some("-".to_owned()),
        Bullet::Number { counting, before, after, start } => {
            let n = counters[level].map_or(start, |n| n.saturating_add(1));
            counters[level] = Some(n);
            Some(format!("{before}{}{after}", counting.show(n)))
        }
    }
}

/// A table as pipe rows. Merged cells repeat their text.
pub(super) fn table(tree: &Tree, table: NodeId) -> Option<Block> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for tr in tree.children_named(table, "tr") {
        let mut row: Vec<String> = Vec::new();
        for tc in tree.children_named(tr, "tc") {
            let is_on = |name| matches!(tree.attr(tc, name), Some("1" | "true"));
            let left = row.last().filter(|_| is_on("hMerge"));
            let above = || rows.last()?.get(row.len()).filter(|_| is_on("vMerge"));
            let text = match left.or_else(above) {
                Some(merged) => merged.clone(),
                None => {
                    let body = tree.child(tc, "txBody");
                    let blocks = body.map(|it| text_blocks(tree, it, None, &Template::default()));
                    cell(&blocks.unwrap_or_default())
                }
            };
            row.push(text);
        }
        rows.push(row);
    }
    let text = markdown_table(&rows);
    (!text.is_empty()).then_some(Block { kind: Kind::Table, text })
}
