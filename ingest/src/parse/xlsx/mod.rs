//! Workbooks (SpreadsheetML; ISO/IEC 29500-1, 18): a heading for each sheet, then its tables.

mod blocks;
mod comments;
mod sheet;
mod styles;

use crate::document::{Finding, Hidden};
use crate::parse::office::chart::chart;
use crate::parse::office::drawing::paragraph_text;
use crate::parse::office::number_format::Epoch;
use crate::parse::office::package::{Package, Relations};
use crate::parse::office::text::{Block, Kind, check_size, markdown};
use crate::parse::office::xml::Tree;
use crate::parse::{Limits, Page, ParseError, Parsed};
use sheet::{Sheet, Workbook};
use styles::{read_formats, read_strings};

/// Reads a `.xlsx` or `.xlsm` file.
///
/// Values are those that were last computed, dates in ISO 8601. Empty rows and columns part the
/// tables of a sheet; merged cells repeat their text; text boxes, charts and comments follow. Hidden
/// sheets, rows, columns and cells are removed and reported.
///
/// Errors: those of a damaged, encrypted or oversized file. Never panics on bad input.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let mut package = Package::open(bytes, limits)?;
    let mut parsed = Parsed::default();
    package.read_properties(&mut parsed)?;
    let (main, text) = package.main()?;
    let relations = package.relations(&main)?;
    let tree = Tree::parse(&text)?;
    let workbook = Workbook {
        strings: read_strings(&mut package, relations.by_kind("sharedStrings"))?,
        formats: read_formats(&package.tree(relations.by_kind("styles"))?),
        epoch: epoch(&tree),
        limits: *limits,
    };
    let persons = comments::persons(&package.tree(relations.by_kind("person"))?);
    let mut reading =
        Reading { package, workbook, persons, blocks: Vec::new(), totals: Totals::default() };
    for entry in entries(&tree) {
        let part = relations.by_id(&entry.id).ok_or_else(|| ParseError::Corrupt {
            detail: format!("sheet `{}` has no part", entry.name),
        })?;
        let kind = relations.kind_of(&entry.id).unwrap_or_default();
        reading.read(&entry, part, kind)?;
    }
    parsed.findings = reading.totals.findings();
    parsed.pages = vec![Page { number: None, text: markdown(&reading.blocks) }];
    Ok(parsed)
}

/// A sheet as the workbook lists it.
struct Entry {
    name: String,
    id: String,
    is_hidden: bool,
}

fn entries(workbook: &Tree) -> Vec<Entry> {
    let Some(sheets) = workbook.root().and_then(|root| workbook.child(root, "sheets")) else {
        return Vec::new();
    };
    let entry = |node| {
        let state = workbook.attr(node, "state");
        Some(Entry {
            name: workbook.attr(node, "name")?.to_owned(),
            id: workbook.prefixed_attr(node, "id")?.to_owned(),
            is_hidden: matches!(state, Some("hidden" | "veryHidden")),
        })
    };
    workbook.children_named(sheets, "sheet").filter_map(entry).collect()
}

fn epoch(workbook: &Tree) -> Epoch {
    let properties = workbook.root().and_then(|root| workbook.child(root, "workbookPr"));
    let is_1904 = properties.and_then(|it| workbook.attr(it, "date1904"));
    if matches!(is_1904, Some("1" | "true")) { Epoch::Y1904 } else { Epoch::Y1900 }
}

/// What the sheets together left out.
#[derive(Default)]
struct Totals {
    n_hidden_chars: usize,
    n_uncomputed: usize,
    n_text_bytes: usize,
}

impl Totals {
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.n_hidden_chars > 0 {
            let kind = Hidden::Office;
            findings.push(Finding::InvisibleText { kind, n_chars: self.n_hidden_chars });
        }
        if self.n_uncomputed > 0 {
            let n = self.n_uncomputed;
            let what = format!(
                "{n} formulas without a stored value: open and save the file in a spreadsheet program"
            );
            findings.push(Finding::LeftOut { what });
        }
        findings
    }
}

/// The sheets read so far.
struct Reading<'a> {
    package: Package<'a>,
    workbook: Workbook,
    persons: comments::Persons,
    blocks: Vec<Block>,
    totals: Totals,
}

impl Reading<'_> {
    fn read(&mut self, entry: &Entry, part: &str, kind: &str) -> Result<(), ParseError> {
        let relations = self.package.relations(part)?;
        let mut blocks = Vec::new();
        if kind == "worksheet" {
            let text = self.package.required(part)?;
            let sheet = Sheet::read(&text, &self.workbook)?;
            self.totals.n_hidden_chars += sheet.n_hidden_chars;
            if entry.is_hidden {
                self.totals.n_hidden_chars += sheet.n_chars();
                return Ok(());
            }
            self.totals.n_uncomputed += sheet.n_uncomputed;
            blocks = blocks::blocks(sheet, &self.workbook.limits)?;
        } else if entry.is_hidden {
            return Ok(());
        }
        if let Some(drawing) = relations.by_kind("drawing") {
            blocks.extend(self.drawing(drawing)?);
        }
        let found = comments::read(&mut self.package, &relations, &self.persons)?;
        blocks.extend(found.into_iter().map(Block::paragraph));
        self.totals.n_text_bytes += blocks.iter().map(|it| it.text.len()).sum::<usize>();
        check_size(self.totals.n_text_bytes, &self.workbook.limits)?;
        self.blocks.push(Block { kind: Kind::Heading(2), text: entry.name.clone() });
        self.blocks.extend(blocks);
        Ok(())
    }

    /// Text boxes and charts that float over a sheet.
    fn drawing(&mut self, part: &str) -> Result<Vec<Block>, ParseError> {
        let tree = self.package.tree(Some(part))?;
        let relations: Relations = self.package.relations(part)?;
        let Some(root) = tree.root() else { return Ok(Vec::new()) };
        let mut blocks = Vec::new();
        for node in tree.descendants(root) {
            match tree.name(node) {
                "p" => {
                    let text = paragraph_text(&tree, node);
                    if !text.trim().is_empty() {
                        blocks.push(Block::paragraph(text));
                    }
                }
                "chart" => {
                    let id = tree.prefixed_attr(node, "id");
                    if let Some(name) = id.and_then(|id| relations.by_id(id)) {
                        blocks.extend(chart(&self.package.tree(Some(name))?));
                    }
                }
                _ => {}
            }
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests;
