//! How values become columns, and columns values.

use ingest::document::{Finding, Heading, Hidden, Language, MediaType, PageStart};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CatalogError;

/// Column names in errors say where to look.
pub(super) fn damaged(what: &str, value: impl std::fmt::Display) -> CatalogError {
    CatalogError::Damaged { detail: format!("{what} is `{value}`") }
}

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists always have a JSON form")
}

pub(super) fn from_json<T: DeserializeOwned>(what: &str, json: &str) -> Result<T, CatalogError> {
    serde_json::from_str(json).map_err(|_| damaged(what, json))
}

pub(super) const MEDIA_TYPES: [MediaType; 9] = [
    MediaType::Markdown,
    MediaType::Html,
    MediaType::Pdf,
    MediaType::Docx,
    MediaType::Pptx,
    MediaType::Xlsx,
    MediaType::Csv,
    MediaType::Text,
    MediaType::Email,
];

pub(crate) fn media_type_name(media_type: MediaType) -> &'static str {
    match media_type {
        MediaType::Markdown => "markdown",
        MediaType::Html => "html",
        MediaType::Pdf => "pdf",
        MediaType::Docx => "docx",
        MediaType::Pptx => "pptx",
        MediaType::Xlsx => "xlsx",
        MediaType::Csv => "csv",
        MediaType::Text => "text",
        MediaType::Email => "email",
    }
}

pub(crate) fn media_type(name: &str) -> Result<MediaType, CatalogError> {
    let found = MEDIA_TYPES.into_iter().find(|&it| media_type_name(it) == name);
    found.ok_or_else(|| damaged("a media type", name))
}

pub(crate) fn language(code: Option<String>) -> Result<Option<Language>, CatalogError> {
    code.map(|code| Language::from_code(&code).ok_or_else(|| damaged("a language", code)))
        .transpose()
}

pub(crate) fn pages_json(pages: &[PageStart]) -> String {
    to_json(&pages.iter().map(|it| (it.page, it.offset)).collect::<Vec<_>>())
}

pub(crate) fn pages(json: &str) -> Result<Vec<PageStart>, CatalogError> {
    let rows: Vec<(u32, usize)> = from_json("a page map", json)?;
    Ok(rows.into_iter().map(|(page, offset)| PageStart { page, offset }).collect())
}

pub(crate) fn headings_json(headings: &[Heading]) -> String {
    to_json(&headings.iter().map(|it| (it.level, &it.title, it.offset)).collect::<Vec<_>>())
}

pub(crate) fn headings(json: &str) -> Result<Vec<Heading>, CatalogError> {
    let rows: Vec<(u8, String, usize)> = from_json("a heading map", json)?;
    Ok(rows.into_iter().map(|(level, title, offset)| Heading { level, title, offset }).collect())
}

/// [`Finding`] as the catalog writes it. The stored form is a promise to later versions; the type
/// of the ingest crate is not.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum FindingRow {
    InvisibleText { hidden: HiddenRow, n_chars: usize },
    Instruction { quote: String },
    NoTextLayer { pages: Vec<u32> },
    LeftOut { what: String },
    PageFurniture { n_lines: usize, n_pages: usize },
    Damaged { what: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HiddenRow {
    ZeroWidth,
    Bidi,
    Tag,
    Html,
    Pdf,
    Office,
}

pub(crate) fn findings_json(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|it| match it.clone() {
        Finding::InvisibleText { kind, n_chars } => {
            FindingRow::InvisibleText { hidden: hidden_row(kind), n_chars }
        }
        Finding::Instruction { quote } => FindingRow::Instruction { quote },
        Finding::NoTextLayer { pages } => FindingRow::NoTextLayer { pages },
        Finding::LeftOut { what } => FindingRow::LeftOut { what },
        Finding::PageFurniture { n_lines, n_pages } => {
            FindingRow::PageFurniture { n_lines, n_pages }
        }
        Finding::Damaged { what } => FindingRow::Damaged { what },
    });
    to_json(&rows.collect::<Vec<_>>())
}

pub(crate) fn findings(json: &str) -> Result<Vec<Finding>, CatalogError> {
    let rows: Vec<FindingRow> = from_json("a list of findings", json)?;
    let findings = rows.into_iter().map(|row| match row {
        FindingRow::InvisibleText { hidden, n_chars } => {
            Finding::InvisibleText { kind: hidden_kind(&hidden), n_chars }
        }
        FindingRow::Instruction { quote } => Finding::Instruction { quote },
        FindingRow::NoTextLayer { pages } => Finding::NoTextLayer { pages },
        FindingRow::LeftOut { what } => Finding::LeftOut { what },
        FindingRow::PageFurniture { n_lines, n_pages } => {
            Finding::PageFurniture { n_lines, n_pages }
        }
        FindingRow::Damaged { what } => Finding::Damaged { what },
    });
    Ok(findings.collect())
}

fn hidden_row(kind: Hidden) -> HiddenRow {
    match kind {
        Hidden::ZeroWidth => HiddenRow::ZeroWidth,
        Hidden::Bidi => HiddenRow::Bidi,
        Hidden::Tag => HiddenRow::Tag,
        Hidden::Html => HiddenRow::Html,
        Hidden::Pdf => HiddenRow::Pdf,
        Hidden::Office => HiddenRow::Office,
    }
}

fn hidden_kind(row: &HiddenRow) -> Hidden {
    match row {
        HiddenRow::ZeroWidth => Hidden::ZeroWidth,
        HiddenRow::Bidi => Hidden::Bidi,
        HiddenRow::Tag => Hidden::Tag,
        HiddenRow::Html => Hidden::Html,
        HiddenRow::Pdf => Hidden::Pdf,
        HiddenRow::Office => Hidden::Office,
    }
}
