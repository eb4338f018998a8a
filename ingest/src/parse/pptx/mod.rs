//! Presentations (PresentationML; ISO/IEC 29500-1, 19): a page for each slide.

mod comments;
mod order;
mod shapes;
mod slide;
mod template;

use crate::document::{Finding, Hidden};
use crate::parse::office::package::Package;
use crate::parse::office::text::{Block, Kind, check_size, markdown};
use crate::parse::{Limits, Page, ParseError, Parsed};
use comments::Authors;
use slide::read_slide;
use template::Templates;

/// Reads a `.pptx` file.
///
/// Each slide is a page with its place in the show as number: title, text in reading order, tables,
/// charts, diagrams, comments, then the speaker's notes after `Notes:`. Hidden slides and shapes
/// are removed and reported; the other slides keep their numbers.
///
/// Errors: those of a damaged, encrypted or oversized file. Never panics on bad input.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let mut package = Package::open(bytes, limits)?;
    let mut parsed = Parsed::default();
    package.read_properties(&mut parsed)?;
    let (main, text) = package.main()?;
    let relations = package.relations(&main)?;
    let authors = Authors::read(&mut package, &relations)?;
    let mut templates = Templates::default();
    let mut n_hidden_chars = 0;
    let mut n_text_bytes = 0;
    for (i, id) in slide_ids(&text)?.iter().enumerate() {
        if i >= limits.pages_max as usize {
            return Err(ParseError::OverLimit {
                what: format!("presentation of {} slides or more", i + 1),
                limit: format!("{} pages", limits.pages_max),
            });
        }
        let name = relations.by_id(id).ok_or_else(|| ParseError::Corrupt {
            detail: format!("slide {} has no part", i + 1),
        })?;
        let slide = read_slide(name, &mut package, &mut templates, &authors)?;
        n_text_bytes += slide.blocks.iter().map(|it| it.text.len()).sum::<usize>();
        check_size(n_text_bytes, limits)?;
        n_hidden_chars += slide.n_hidden_chars;
        if slide.is_hidden {
            n_hidden_chars += n_chars(&slide.blocks);
        } else {
            let number = u32::try_from(i + 1).ok();
            parsed.pages.push(Page { number, text: markdown(&slide.blocks) });
        }
    }
    if n_hidden_chars > 0 {
        let kind = Hidden::Office;
        parsed.findings.push(Finding::InvisibleText { kind, n_chars: n_hidden_chars });
    }
    Ok(parsed)
}

/// The relation ids of the slides, in the order of the show.
fn slide_ids(presentation: &str) -> Result<Vec<String>, ParseError> {
    let tree = crate::parse::office::xml::Tree::parse(presentation)?;
    let Some(list) = tree.root().and_then(|root| tree.child(root, "sldIdLst")) else {
        return Ok(Vec::new());
    };
    let slides = tree.children_named(list, "sldId");
    Ok(slides.filter_map(|it| tree.prefixed_attr(it, "id")).map(str::to_owned).collect())
}

/// Characters that are not white space.
fn n_chars(blocks: &[Block]) -> usize {
    let texts = blocks.iter().filter(|it| it.kind != Kind::Table);
    let n: usize = texts.map(|it| it.text.chars().filter(|c| !c.is_whitespace()).count()).sum();
    let tables = blocks.iter().filter(|it| it.kind == Kind::Table);
    // A table's bars and rules were never in the file.
    n + tables.map(|it| it.text.chars().filter(|c| c.is_alphanumeric()).count()).sum::<usize>()
}

#[cfg(test)]
mod tests;
