//! Comments on cells: notes of the old form, and threads with replies.

use super::super::office::text::comment;
use crate::parse::ParseError;
use crate::parse::office::package::{Package, Relations};
use crate::parse::office::xml::Tree;
use std::collections::HashMap;

/// Names of those who write in threads, by id.
pub(super) type Persons = HashMap<String, String>;

/// Excel repeats each thread as a note that begins so, for versions that know no threads.
const THREAD_NOTICE: &str = "[Threaded comment]";

/// Reads the persons of a workbook.
pub(super) fn persons(tree: &Tree) -> Persons {
    let Some(root) = tree.root() else { return Persons::new() };
    let person = |node| {
        Some((tree.attr(node, "id")?.to_owned(), tree.attr(node, "displayName")?.to_owned()))
    };
    tree.children_named(root, "person").filter_map(person).collect()
}

/// The comments of a sheet, those of the old form first.
pub(super) fn read(
    package: &mut Package<'_>,
    relations: &Relations,
    persons: &Persons,
) -> Result<Vec<String>, ParseError> {
    let threads = package.tree(relations.by_kind("threadedComment"))?;
    let mut comments = notes(&package.tree(relations.by_kind("comments"))?);
    let Some(root) = threads.root() else { return Ok(comments) };
    for node in threads.children_named(root, "threadedComment") {
        let attr = |name| threads.attr(node, name).unwrap_or_default();
        let author = persons.get(attr("personId")).map_or("", String::as_str);
        let text = threads.child(node, "text").map(|it| threads.text(it)).unwrap_or_default();
        let found = comment(author, "", attr("dT"), &text);
        comments.extend(found.map(|it| at_cell(attr("ref"), &it)));
    }
    Ok(comments)
}

fn notes(tree: &Tree) -> Vec<String> {
    let Some(root) = tree.root() else { return Vec::new() };
    let authors: Vec<String> = tree
        .child(root, "authors")
        .map(|it| tree.children_named(it, "author").map(|it| tree.text(it)).collect())
        .unwrap_or_default();
    let Some(list) = tree.child(root, "commentList") else { return Vec::new() };
    let note = |node| {
        let author = tree.attr(node, "authorId").and_then(|it| it.parse::<usize>().ok());
        let author = author.and_then(|it| authors.get(it)).map_or("", String::as_str);
        let text = tree.text(tree.child(node, "text")?);
        if text.trim_start().starts_with(THREAD_NOTICE) {
            return None;
        }
        let cell = tree.attr(node, "ref").unwrap_or_default();
        Some(at_cell(cell, &comment(author, "", "", &text)?))
    };
    tree.children_named(list, "comment").filter_map(note).collect()
}

/// Adds the cell that a comment is on.
fn at_cell(cell: &str, comment: &str) -> String {
    if cell.is_empty() { comment.to_owned() } else { format!("{cell}: {comment}") }
}
