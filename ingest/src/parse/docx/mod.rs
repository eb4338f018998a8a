//! Word documents (WordprocessingML; ISO/IEC 29500-1, 17).
//!
//! The body is streamed once. Styles and lists are read first, since they say what a paragraph is;
//! then notes and comments, so that each can follow the paragraph that refers to it.

mod body;
mod notes;
mod numbering;
mod paragraph;
mod styles;
mod table;

use crate::document::{Finding, Hidden};
use crate::parse::office::package::Package;
use crate::parse::{Limits, Page, ParseError, Parsed};
use body::Walker;
use numbering::Numbering;
use styles::Styles;

/// Reads a `.docx` file.
///
/// Pages are those that Word last laid out, when it recorded them; otherwise there is one page
/// without a number. Headers and footers are left out: they repeat on every page. Hidden text is
/// removed and reported, deleted text of tracked changes is removed, inserted text stays.
///
/// Errors: those of a damaged, encrypted or oversized file. Never panics on bad input.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let mut package = Package::open(bytes, limits)?;
    let mut parsed = Parsed::default();
    package.read_properties(&mut parsed)?;
    let (main, text) = package.main()?;
    let relations = package.relations(&main)?;
    let styles = Styles::read(&package.tree(relations.by_kind("styles"))?);
    let numbering = Numbering::read(&package.tree(relations.by_kind("numbering"))?);
    let mut walker = Walker::new(&styles, numbering, &relations, limits);
    for kind in ["footnotes", "endnotes", "comments"] {
        let Some(name) = relations.by_kind(kind) else { continue };
        let Some(text) = package.text(name)? else { continue };
        walker.read_notes(&text, &mut package)?;
    }
    let read = walker.read_body(&text, &mut package)?;
    parsed.title = parsed.title.or(read.title);
    if read.n_hidden_chars > 0 {
        let kind = Hidden::Office;
        parsed.findings.push(Finding::InvisibleText { kind, n_chars: read.n_hidden_chars });
    }
    if read.n_embedded > 0 {
        let what = format!("{} embedded documents of other formats", read.n_embedded);
        parsed.findings.push(Finding::LeftOut { what });
    }
    let has_pages = read.pages.len() > 1;
    let number = |i: usize| has_pages.then(|| u32::try_from(i + 1).unwrap_or(u32::MAX));
    let pages = read.pages.into_iter().enumerate();
    parsed.pages = pages.map(|(i, text)| Page { number: number(i), text }).collect();
    Ok(parsed)
}

#[cfg(test)]
mod tests;
