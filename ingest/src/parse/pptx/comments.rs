//! Reviewers' comments on slides, in the form of 2007 and in that of 2021.

use crate::parse::ParseError;
use crate::parse::office::package::{Package, Relations};
use crate::parse::office::text::{Block, comment};
use crate::parse::office::xml::{NodeId, Tree};
use std::collections::HashMap;

/// Names and initials of reviewers, by id.
pub(super) struct Authors(HashMap<String, (String, String)>);

impl Authors {
    pub(super) fn read(
        package: &mut Package<'_>,
        relations: &Relations,
    ) -> Result<Self, ParseError> {
        let mut authors = HashMap::new();
        for kind in ["commentAuthors", "authors"] {
            let tree = package.tree(relations.by_kind(kind))?;
            let Some(root) = tree.root() else { continue };
            for node in tree.children(root) {
                let attr = |name| tree.attr(node, name).unwrap_or_default().to_owned();
                authors.insert(attr("id"), (attr("name"), attr("initials")));
            }
        }
        Ok(Self(authors))
    }

    /// The comments of a slide's part of comments, replies after what they answer.
    pub(super) fn comments(&self, tree: &Tree) -> Vec<Block> {
        let Some(root) = tree.root() else { return Vec::new() };
        let nodes = tree.descendants(root);
        nodes
            .filter(|&it| matches!(tree.name(it), "cm" | "reply"))
            .filter_map(|it| self.comment(tree, it))
            .map(Block::paragraph)
            .collect()
    }

    fn comment(&self, tree: &Tree, node: NodeId) -> Option<String> {
        let unknown = Default::default();
        let id = tree.attr(node, "authorId")?;
        let (name, initials) = self.0.get(id).unwrap_or(&unknown);
        let time = tree.attr(node, "dt").or_else(|| tree.attr(node, "created"));
        let text = tree.child(node, "text").or_else(|| tree.child(node, "txBody"))?;
        comment(name, initials, time.unwrap_or_default(), &tree.text(text))
    }
}
