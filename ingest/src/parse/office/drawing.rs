//! Text of DrawingML shapes (ISO/IEC 29500-1, 21.1.2): what slides and sheets share.

use super::math::latex;
use super::xml::{NodeId, Tree};

/// The text of a paragraph. Line breaks stay; equations become LaTeX.
pub(crate) fn paragraph_text(tree: &Tree, paragraph: NodeId) -> String {
    let mut text = String::new();
    let mut node = paragraph + 1;
    while node < tree.end(paragraph) {
        let name = tree.name(node);
        match name {
            "t" => text.push_str(&tree.text(node).replace('\u{B}', "\n")),
            "br" => text.push('\n'),
            "oMath" => text.push_str(&format!("${}$", latex(tree, node))),
            _ => {}
        }
        // Equations come with a picture of themselves as `Fallback`.
        let is_done = matches!(name, "t" | "oMath" | "Fallback");
        node = if is_done { tree.end(node) } else { node + 1 };
    }
    text
}
