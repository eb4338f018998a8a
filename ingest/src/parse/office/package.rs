//! An Office package: parts that point to each other through relations (ISO/IEC 29500-2).

use super::archive::Archive;
use super::xml::Tree;
use crate::parse::{Limits, ParseError, Parsed};

/// An open Office file.
pub(crate) struct Package<'a> {
    archive: Archive<'a>,
}

/// One part's pointers to others.
pub(crate) struct Relations(Vec<Relation>);

/// A pointer from one part to another.
pub(crate) struct Relation {
    pub(crate) id: String,
    /// The last word of its type, which "Strict" and "Transitional" share: `styles`, `slide`.
    pub(crate) kind: String,
    /// The name of the part it points to.
    pub(crate) target: String,
}

impl Relations {
    /// The target of the relation of an id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&str> {
        self.0.iter().find(|it| it.id == id).map(|it| it.target.as_str())
    }

    /// The first target of a kind.
    pub(crate) fn by_kind(&self, kind: &str) -> Option<&str> {
        self.of_kind(kind).next()
    }

    /// All targets of a kind.
    pub(crate) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |it| it.kind == kind).map(|it| it.target.as_str())
    }

    /// The kind of the relation of an id.
    pub(crate) fn kind_of(&self, id: &str) -> Option<&str> {
        self.0.iter().find(|it| it.id == id).map(|it| it.kind.as_str())
    }
}

impl<'a> Package<'a> {
    /// Opens a file. Errors are those of [`Archive::open`].
    pub(crate) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, ParseError> {
        Ok(Self { archive: Archive::open(bytes, limits)? })
    }

    /// The name and text of the main part: document, presentation or workbook.
    pub(crate) fn main(&mut self) -> Result<(String, String), ParseError> {
        let relations = self.relations("")?;
        let name = relations.by_kind("officeDocument").ok_or_else(|| ParseError::Corrupt {
            detail: "no Office document in this zip archive".to_owned(),
        })?;
        let text = self.archive.text(name)?.ok_or_else(|| missing(name))?;
        Ok((name.to_owned(), text))
    }

    /// A part's text; `None` when there is no such part.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ParseError> {
        self.archive.text(name)
    }

    /// A part that another one points to; missing ones damage the file.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, ParseError> {
        self.archive.text(name)?.ok_or_else(|| missing(name))
    }

    /// A part as a tree; empty when there is no such part.
    pub(crate) fn tree(&mut self, name: Option<&str>) -> Result<Tree, ParseError> {
        let Some(name) = name else { return Ok(Tree::default()) };
        match self.archive.text(name)? {
            Some(text) => Tree::parse(&text),
            None => Ok(Tree::default()),
        }
    }

    /// Where a part points to. The package itself is the part ``.
    pub(crate) fn relations(&mut self, part: &str) -> Result<Relations, ParseError> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let tree = self.tree(Some(&format!("{folder}/_rels/{file}.rels")))?;
        let mut relations = Vec::new();
        let Some(root) = tree.root() else { return Ok(Relations(relations)) };
        for node in tree.children_named(root, "Relationship") {
            let attr = |name| tree.attr(node, name);
            if attr("TargetMode") == Some("External") {
                continue;
            }
            if let (Some(id), Some(kind), Some(target)) = (attr("Id"), attr("Type"), attr("Target"))
            {
                let kind = kind.rsplit('/').next().unwrap_or(kind).to_owned();
                relations.push(Relation { id: id.to_owned(), kind, target: join(folder, target) });
            }
        }
        Ok(Relations(relations))
    }

    /// Sets title and date of change from the core properties.
    pub(crate) fn read_properties(&mut self, parsed: &mut Parsed) -> Result<(), ParseError> {
        let relations = self.relations("")?;
        let tree = self.tree(Some(relations.by_kind("core-properties").unwrap_or(CORE_PART)))?;
        let Some(root) = tree.root() else { return Ok(()) };
        if let Some(title) = tree.child(root, "title") {
            let title = tree.text(title).split_whitespace().collect::<Vec<_>>().join(" ");
            if !title.is_empty() && !DEFAULT_TITLES.contains(&title.to_lowercase().as_str()) {
                parsed.title = Some(title);
            }
        }
        if let Some(modified) = tree.child(root, "modified") {
            let modified = tree.text(modified).trim().parse::<jiff::Timestamp>();
            parsed.metadata.modified = modified.ok().map(jiff::Timestamp::as_second);
        }
        Ok(())
    }
}

/// Where most writers put the core properties.
const CORE_PART: &str = "docProps/core.xml";

/// Titles that PowerPoint and Word put in when nobody wrote one.
const DEFAULT_TITLES: &[&str] =
    &["powerpoint presentation", "présentation powerpoint", "word document", "document word"];

fn missing(name: &str) -> ParseError {
    ParseError::Corrupt { detail: format!("part `{name}` is missing") }
}

/// A target relative to a folder, without `.` and `..`.
fn join(folder: &str, target: &str) -> String {
    let path = match target.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{folder}/{target}"),
    };
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            _ => steps.push(step),
        }
    }
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::office::fixture::{rels, zip_of};

    #[test]
    fn targets_are_relative_to_the_folder_of_their_part() {
        assert_eq!(join("ppt/slides", "../charts/chart1.xml"), "ppt/charts/chart1.xml");
        assert_eq!(join("ppt/slides", "/ppt/a.xml"), "ppt/a.xml");
        assert_eq!(join("", "word/./document.xml"), "word/document.xml");
        assert_eq!(join("a", "../../../b"), "b");
    }

    #[test]
    fn core_properties_give_title_and_date() {
        let bytes = zip_of(&[(
            "docProps/core.xml",
            "<cp:coreProperties><dc:title> Le  règlement </dc:title>\
             <dcterms:modified>2024-02-29T12:00:00Z</dcterms:modified></cp:coreProperties>",
        )]);
        let mut parsed = Parsed::default();
        let mut package = Package::open(&bytes, &Limits::default()).unwrap();
        package.read_properties(&mut parsed).unwrap();
        assert_eq!(parsed.title.as_deref(), Some("Le règlement"));
        assert_eq!(parsed.metadata.modified, Some(1_709_208_000));
    }

    #[test]
    fn a_zip_without_a_document_is_damaged() {
        let no_main = zip_of(&[("a", "b")]);
        let no_part = zip_of(&[("_rels/.rels", &rels(&[("r1", "officeDocument", "word/d.xml")]))]);
        for bytes in [no_main, no_part] {
            let mut package = Package::open(&bytes, &Limits::default()).unwrap();
            assert!(matches!(package.main(), Err(ParseError::Corrupt { .. })));
        }
    }
}
