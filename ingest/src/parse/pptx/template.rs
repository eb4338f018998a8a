//! Layouts and masters: where a slide's placeholders stand and which bullets they show.

use super::order::Area;
use super::shapes::{Placeholder, area_of};
use crate::parse::ParseError;
use crate::parse::office::package::Package;
use crate::parse::office::text::Counting;
use crate::parse::office::xml::{NodeId, Tree};
use std::collections::HashMap;
use std::rc::Rc;

/// Layouts and masters that were read, by name of their part.
#[derive(Default)]
pub(super) struct Templates {
    sheets: HashMap<String, Rc<Sheet>>,
    masters: HashMap<String, Option<String>>,
}

/// What a slide inherits from: its layout, then its master.
#[derive(Default)]
pub(super) struct Template {
    sheets: Vec<Rc<Sheet>>,
}

/// A layout or a master.
struct Sheet {
    tree: Tree,
    by_index: HashMap<String, NodeId>,
    by_type: HashMap<String, NodeId>,
}

/// What stands before a paragraph on a slide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bullet {
    None,
    Sign,
    Number { counting: Counting, before: &'static str, after: &'static str, start: u32 },
}

impl Templates {
    /// The template of a slide that has a layout.
    pub(super) fn of(
        &mut self,
        layout: Option<&str>,
        package: &mut Package<'_>,
    ) -> Result<Template, ParseError> {
        let Some(layout) = layout else { return Ok(Template::default()) };
        let mut sheets = vec![self.sheet(layout, package)?];
        if !self.masters.contains_key(layout) {
            let master = package.relations(layout)?.by_kind("slideMaster").map(str::to_owned);
            self.masters.insert(layout.to_owned(), master);
        }
        if let Some(Some(master)) = self.masters.get(layout).cloned() {
            sheets.push(self.sheet(&master, package)?);
        }
        Ok(Template { sheets })
    }

    fn sheet(&mut self, name: &str, package: &mut Package<'_>) -> Result<Rc<Sheet>, ParseError> {
        if let Some(sheet) = self.sheets.get(name) {
            return Ok(Rc::clone(sheet));
        }
        let sheet = Rc::new(Sheet::new(package.tree(Some(name))?));
        self.sheets.insert(name.to_owned(), Rc::clone(&sheet));
        Ok(sheet)
    }
}

impl Sheet {
    fn new(tree: Tree) -> Self {
        let (mut by_index, mut by_type) = (HashMap::new(), HashMap::new());
        if let Some(root) = tree.root() {
            for shape in tree.descendants(root).filter(|&it| tree.name(it) == "sp") {
                let Some(placeholder) = Placeholder::of(&tree, shape) else { continue };
                if let Some(index) = placeholder.index {
                    by_index.entry(index).or_insert(shape);
                }
                by_type.entry(placeholder.role).or_insert(shape);
            }
        }
        Self { tree, by_index, by_type }
    }

    fn shape(&self, placeholder: &Placeholder) -> Option<NodeId> {
        let by_index = placeholder.index.as_ref().and_then(|index| self.by_index.get(index));
        by_index.or_else(|| self.by_type.get(&placeholder.role)).copied()
    }

    /// Bullets of the master's own text styles, by role.
    fn text_style(&self, role: &str) -> Option<NodeId> {
        let styles = self.tree.child(self.tree.root()?, "txStyles")?;
        let name = match role {
            "title" => "titleStyle",
            "body" | "subTitle" => "bodyStyle",
            _ => "otherStyle",
        };
        self.tree.child(styles, name)
    }
}

impl Template {
    /// Where a placeholder stands that does not say so itself.
    pub(super) fn area(&self, placeholder: &Placeholder) -> Option<Area> {
        self.sheets.iter().find_map(|it| area_of(&it.tree, it.shape(placeholder)?))
    }

    /// The bullet of a placeholder's paragraphs that do not state any.
    pub(super) fn bullet(&self, placeholder: &Placeholder, level: usize) -> Option<Bullet> {
        let own = self.sheets.iter().find_map(|it| {
            let list = it.tree.at(it.shape(placeholder)?, &["txBody", "lstStyle"])?;
            level_bullet(&it.tree, list, level)
        });
        own.or_else(|| {
            let role = placeholder.role.as_str();
            self.sheets.iter().find_map(|it| level_bullet(&it.tree, it.text_style(role)?, level))
        })
    }
}

/// The bullet that a list of levels states for one of them.
pub(super) fn level_bullet(tree: &Tree, list: NodeId, level: usize) -> Option<Bullet> {
    bullet(tree, tree.child(list, &format!("lvl{}pPr", level + 1))?)
}

/// The bullet that paragraph properties state (ISO/IEC 29500-1, 21.1.2.4).
pub(super) fn bullet(tree: &Tree, properties: NodeId) -> Option<Bullet> {
    tree.children(properties).find_map(|it| match tree.name(it) {
        "buNone" => Some(Bullet::None),
        "buChar" | "buBlip" => Some(Bullet::Sign),
        "buAutoNum" => {
            let start = tree.attr(it, "startAt").and_then(|it| it.parse().ok()).unwrap_or(1);
            Some(numbered(tree.attr(it, "type").unwrap_or("arabicPeriod"), start))
        }
        _ => None,
    })
}

fn numbered(scheme: &str, start: u32) -> Bullet {
    let counting = if scheme.starts_with("alphaLc") {
        Counting::LowerLetter
    } else if scheme.starts_with("alphaUc") {
        Counting::UpperLetter
    } else if scheme.starts_with("romanLc") {
        Counting::LowerRoman
    } else if scheme.starts_with("romanUc") {
        Counting::UpperRoman
    } else {
        Counting::Decimal
    };
    let (before, after) = if scheme.ends_with("ParenBoth") {
        ("(", ")")
    } else if scheme.ends_with("ParenR") {
        ("", ")")
    } else {
        ("", ".")
    };
    Bullet::Number { counting, before, after, start }
}
