//! Word's lists: which number or bullet stands before a paragraph.
//!
//! Word stores no numbers. They follow from counting, so paragraphs must be asked in order.

use super::styles::{ListRef, Styles};
use crate::parse::office::text::Counting;
use crate::parse::office::xml::{NodeId, Tree};
use std::collections::{HashMap, HashSet};

/// Levels of a list (ISO/IEC 29500-1, 17.9).
const LEVELS: usize = 9;

/// The lists of a document and how far each has counted.
#[derive(Default)]
pub(super) struct Numbering {
    definitions: HashMap<String, Definition>,
    lists: HashMap<String, List>,
    counters: HashMap<String, [Option<u32>; LEVELS]>,
    /// Levels whose own start has been used, by list.
    started: HashSet<(String, usize)>,
}

/// An `abstractNum`: what lists have in common, their counters too.
#[derive(Default)]
struct Definition {
    levels: HashMap<usize, Level>,
    /// A list style that defines the levels instead.
    style: Option<String>,
}

#[derive(Clone)]
struct Level {
    start: u32,
    /// `None` shows no number.
    counting: Option<Counting>,
    is_bullet: bool,
    /// `%1.%2`, or a bullet.
    text: String,
    is_legal: bool,
    paragraph_style: Option<String>,
}

/// A `num`: a definition and what it changes in it.
struct List {
    definition: String,
    starts: HashMap<usize, u32>,
    levels: HashMap<usize, Level>,
}

/// What stands before a paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The number as shown; `None` for a bullet.
    pub(super) number: Option<String>,
    /// Depth from 0.
    pub(super) level: u8,
}

impl Numbering {
    /// Reads `numbering.xml`.
    pub(super) fn read(tree: &Tree) -> Self {
        let mut numbering = Self::default();
        let Some(root) = tree.root() else { return numbering };
        for node in tree.children_named(root, "abstractNum") {
            let Some(id) = tree.attr(node, "abstractNumId") else { continue };
            let definition = Definition {
                levels: levels(tree, node),
                style: tree.child_val(node, "numStyleLink").map(str::to_owned),
            };
            numbering.definitions.insert(id.to_owned(), definition);
        }
        for node in tree.children_named(root, "num") {
            let Some(id) = tree.attr(node, "numId") else { continue };
            let Some(definition) = tree.child_val(node, "abstractNumId") else { continue };
            let mut list = List {
                definition: definition.to_owned(),
                starts: HashMap::new(),
                levels: HashMap::new(),
            };
            for change in tree.children_named(node, "lvlOverride") {
                let Some(level) = number(tree.attr(change, "ilvl")) else { continue };
                if let Some(start) = number(tree.child_val(change, "startOverride")) {
                    list.starts.insert(level, start);
                }
                list.levels.extend(levels(tree, change));
            }
            numbering.lists.insert(id.to_owned(), list);
        }
        numbering
    }

    /// Counts a paragraph and gives its label; `None` when it is in no list.
    pub(super) fn label(
        &mut self,
        list: &ListRef,
        style: Option<&str>,
        styles: &Styles,
    ) -> Option<Label> {
        let id = list.id.as_deref()?;
        let own = self.lists.get(id)?;
        let definition = self.definition_of(own, styles)?;
        let levels = &self.definitions.get(&definition)?.levels;
        let by_style = || {
            let style = style?;
            let mut found: Vec<_> = levels
                .iter()
                .filter(|(_, it)| it.paragraph_style.as_deref() == Some(style))
                .map(|(level, _)| *level)
                .collect();
            found.sort_unstable();
            found.first().copied()
        };
        let level = list.level.or_else(by_style).unwrap_or(0).min(LEVELS - 1);
        let at = |i: usize| own.levels.get(&i).or_else(|| levels.get(&i));
        let shape = at(level)?;
        let counters = self.counters.entry(definition).or_default();
        // A level that was skipped counts as begun: after 2.1.1 alone, 2.2 is next.
        for (i, counter) in counters.iter_mut().enumerate().take(level) {
            *counter = counter.or_else(|| at(i).map(|it| it.start));
        }
        let first_use = self.started.insert((id.to_owned(), level));
        counters[level] = Some(match (own.starts.get(&level), counters[level]) {
            (Some(start), _) if first_use => *start,
            (_, Some(n)) => n.saturating_add(1),
            (_, None) => shape.start,
        });
        counters[level + 1..].fill(None);
        let depth = u8::try_from(level).expect("below 9");
        if shape.is_bullet {
            return Some(Label { number: None, level: depth });
        }
        let number = fill(shape, |i| {
            let level = at(i)?;
            let n = counters.get(i).copied().flatten().unwrap_or(level.start);
            let counting = if shape.is_legal { Counting::Decimal } else { level.counting? };
            Some(counting.show(n))
        });
        // The format `none` without a text of its own: an indented paragraph.
        if number.is_empty() {
            return None;
        }
        Some(Label { number: Some(number), level: depth })
    }

    /// The definition of a list, through the list style that may stand between.
    fn definition_of(&self, list: &List, styles: &Styles) -> Option<String> {
        let definition = self.definitions.get(&list.definition)?;
        let Some(style) = definition.style.as_ref().filter(|_| definition.levels.is_empty()) else {
            return Some(list.definition.clone());
        };
        let linked = styles.list(style)?.id.as_ref()?;
        Some(self.lists.get(linked)?.definition.clone())
    }
}

/// Replaces `%1` to `%9` in a level's text by the numbers of the levels.
fn fill(level: &Level, number_at: impl Fn(usize) -> Option<String>) -> String {
    let mut text = String::new();
    let mut chars = level.text.chars().peekable();
    while let Some(c) = chars.next() {
        let digit = chars.peek().and_then(|c| c.to_digit(10)).filter(|d| c == '%' && *d > 0);
        match digit {
            Some(digit) => {
                chars.next();
                text.push_str(&number_at(digit as usize - 1).unwrap_or_default());
            }
            None => text.push(c),
        }
    }
    text.trim().to_owned()
}

fn levels(tree: &Tree, node: NodeId) -> HashMap<usize, Level> {
    tree.children_named(node, "lvl")
        .filter_map(|it| Some((number(tree.attr(it, "ilvl"))?, level(tree, it))))
        .collect()
}

fn level(tree: &Tree, node: NodeId) -> Level {
    let val = |name| tree.child_val(node, name);
    let format = val("numFmt").unwrap_or("decimal");
    let counting = match format {
        "bullet" | "none" => None,
        "decimalZero" => Some(Counting::DecimalZero),
        "lowerLetter" => Some(Counting::LowerLetter),
        "upperLetter" => Some(Counting::UpperLetter),
        "lowerRoman" => Some(Counting::LowerRoman),
        "upperRoman" => Some(Counting::UpperRoman),
        _ => Some(Counting::Decimal),
    };
    Level {
        start: number(val("start")).unwrap_or(1),
        counting,
        is_bullet: format == "bullet",
        text: val("lvlText").unwrap_or_default().to_owned(),
        is_legal: tree.toggle(node, "isLgl").unwrap_or(false),
        paragraph_style: val("pStyle").map(str::to_owned),
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = "<w:numbering><w:abstractNum w:abstractNumId=\"0\">\
        <w:lvl w:ilvl=\"0\"><w:start w:val=\"1\"/><w:numFmt w:val=\"decimal\"/>\
        <w:lvlText w:val=\"%1.\"/></w:lvl>\
        <w:lvl w:ilvl=\"1\"><w:start w:val=\"1\"/><w:numFmt w:val=\"lowerLetter\"/>\
        <w:lvlText w:val=\"%1.%2)\"/></w:lvl>\
        <w:lvl w:ilvl=\"2\"><w:numFmt w:val=\"bullet\"/><w:lvlText w:val=\"o\"/></w:lvl>\
        </w:abstractNum>\
        <w:num w:numId=\"1\"><w:abstractNumId w:val=\"0\"/></w:num>\
        <w:num w:numId=\"2\"><w:abstractNumId w:val=\"0\"/>\
        <w:lvlOverride w:ilvl=\"0\"><w:startOverride w:val=\"5\"/></w:lvlOverride></w:num>\
        </w:numbering>";

    fn check(asked: &[(&str, usize)], expected: &[&str]) {
        let mut numbering = Numbering::read(&Tree::parse(LISTS).unwrap());
        let styles = Styles::default();
        let given: Vec<_> = asked
            .iter()
            .map(|(id, level)| {
                let list = ListRef { id: Some((*id).to_owned()), level: Some(*level) };
                let label = numbering.label(&list, None, &styles);
                label.map_or("none".to_owned(), |it| it.number.unwrap_or("-".to_owned()))
            })
            .collect();
        assert_eq!(given, expected);
    }

    #[test]
    fn deeper_levels_start_again_below_each_item() {
        check(
            &[("1", 0), ("1", 1), ("1", 1), ("1", 0), ("1", 1), ("1", 2)],
            &["1.", "1.a)", "1.b)", "2.", "2.a)", "-"],
        );
    }

    #[test]
    fn lists_of_one_definition_go_on_unless_told_to_start_again() {
        check(&[("1", 0), ("2", 0), ("2", 0), ("1", 0)], &["1.", "5.", "6.", "7."]);
    }

    #[test]
    fn list_zero_and_unknown_lists_are_no_lists() {
        check(&[("0", 0), ("9", 0)], &["none", "none"]);
    }

    #[test]
    fn a_skipped_level_counts_as_begun() {
        check(&[("1", 1), ("1", 0)], &["1.a)", "2."]);
    }
}
