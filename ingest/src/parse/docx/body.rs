//! The walk over a document's body: tags in, blocks out.

use super::notes::{NoteKind, NoteStart, Notes};
use super::numbering::Numbering;
use super::paragraph::Paragraph;
use super::styles::Styles;
use super::table::Table;
use crate::parse::office::chart;
use crate::parse::office::math::latex;
use crate::parse::office::package::{Package, Relations};
use crate::parse::office::text::{Block, check_size, markdown, one_line};
use crate::parse::office::xml::{Tag, Token, Tree, Xml, is_on};
use crate::parse::{Limits, ParseError};

/// What a body gave.
#[derive(Default)]
pub(super) struct Read {
    /// Markdown by page; one when Word recorded no page breaks.
    pub(super) pages: Vec<String>,
    /// The first paragraph in the style of a title.
    pub(super) title: Option<String>,
    pub(super) n_hidden_chars: usize,
    /// Documents of other formats inside this one.
    pub(super) n_embedded: usize,
}

/// Reads notes, then the body. Its stacks stand for the nesting, so nothing recurses.
pub(super) struct Walker<'a> {
    styles: &'a Styles,
    numbering: Numbering,
    relations: &'a Relations,
    limits: &'a Limits,
    notes: Notes,
    read: Read,
    /// Places that hold paragraphs, outermost first: the body, cells, text boxes.
    places: Vec<Place>,
    tables: Vec<Table>,
    /// For each open `AlternateContent`, whether one of its versions was read.
    alternatives: Vec<bool>,
    in_text: bool,
    /// A page break was met inside the current block, which must end first.
    breaks_page: bool,
    n_text_bytes: usize,
    /// Properties of paragraphs and runs, one after the other.
    scratch: Tree,
}

/// A place that holds paragraphs.
#[derive(Default)]
struct Place {
    blocks: Vec<Block>,
    paragraph: Option<Paragraph>,
    note: Option<NoteStart>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(
        styles: &'a Styles,
        numbering: Numbering,
        relations: &'a Relations,
        limits: &'a Limits,
    ) -> Self {
        Self {
            styles,
            numbering,
            relations,
            limits,
            notes: Notes::default(),
            read: Read::default(),
            places: vec![Place::default()],
            tables: Vec::new(),
            alternatives: Vec::new(),
            in_text: false,
            breaks_page: false,
            n_text_bytes: 0,
            scratch: Tree::default(),
        }
    }

    /// Reads a part of notes or comments.
    pub(super) fn read_notes(
        &mut self,
        text: &str,
        package: &mut Package<'_>,
    ) -> Result<(), ParseError> {
        self.walk(text, package)?;
        self.breaks_page = false;
        self.read.pages.clear();
        self.places = vec![Place::default()];
        Ok(())
    }

    /// Reads the main part.
    pub(super) fn read_body(
        mut self,
        text: &str,
        package: &mut Package<'_>,
    ) -> Result<Read, ParseError> {
        self.walk(text, package)?;
        self.close_paragraph()?;
        self.notes.refer_to_rest();
        let rest: Vec<_> = self.notes.take().collect();
        self.place().blocks.extend(rest);
        self.end_page()?;
        Ok(self.read)
    }

    fn walk(&mut self, text: &str, package: &mut Package<'_>) -> Result<(), ParseError> {
        let mut xml = Xml::new(text);
        loop {
            match xml.next()? {
                Token::Open(tag) => self.open(&tag, &mut xml, package)?,
                Token::Close(tag) => self.close(tag.name())?,
                Token::Text(text) if self.in_text => self.push(&text)?,
                Token::Text(_) => {}
                Token::End => return Ok(()),
            }
        }
    }

    fn open(
        &mut self,
        tag: &Tag<'_>,
        xml: &mut Xml<'_>,
        package: &mut Package<'_>,
    ) -> Result<(), ParseError> {
        match tag.name() {
            // What was deleted or moved away, phonetic hints, codes of fields, the page's setup.
            "del" | "moveFrom" | "rt" | "instrText" | "sectPr" | "pPrChange" => xml.skip()?,
            "AlternateContent" => self.alternatives.push(false),
            "Choice" | "Fallback" => match self.alternatives.last_mut() {
                Some(was_read) if *was_read => xml.skip()?,
                Some(was_read) => *was_read = true,
                None => {}
            },
            "p" => self.open_paragraph()?,
            "pPr" => {
                let mut tree = std::mem::take(&mut self.scratch);
                xml.subtree_into(tag, &mut tree)?;
                if let Some(paragraph) = self.paragraph() {
                    paragraph.set_properties(&tree);
                }
                self.scratch = tree;
            }
            "rPr" => {
                let mut tree = std::mem::take(&mut self.scratch);
                xml.subtree_into(tag, &mut tree)?;
                let by_style = tree.child_val(0, "rStyle").and_then(|id| self.styles.hides(id));
                let hidden = tree.toggle(0, "vanish").or(by_style);
                if let Some(paragraph) = self.paragraph() {
                    paragraph.run_hidden = hidden;
                }
                self.scratch = tree;
            }
            "t" => self.in_text = true,
            "tab" => self.push("\t")?,
            "br" if tag.attr("type").is_none_or(|it| it == "textWrapping") => self.push("\n")?,
            "cr" => self.push("\n")?,
            "noBreakHyphen" => self.push("-")?,
            "sym" => self.open_symbol(tag)?,
            "lastRenderedPageBreak" => self.break_page()?,
            "oMathPara" | "oMath" => self.equation(tag, xml)?,
            "sdtPr" => self.open_control(tag, xml)?,
            "tbl" => self.tables.push(Table::default()),
            "trPr" | "tcPr" => self.set_table(tag, xml)?,
            "tc" | "txbxContent" | "txBody" => self.places.push(Place::default()),
            "footnote" | "endnote" | "comment" => self.open_note(tag, xml)?,
            "footnoteReference" | "endnoteReference" | "commentReference" => self.refer(tag)?,
            "chart" | "relIds" => self.drawing(tag, package)?,
            "altChunk" => self.read.n_embedded += 1,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Result<(), ParseError> {
        match name {
            "p" => self.close_paragraph()?,
            "r" => {
                if let Some(paragraph) = self.paragraph() {
                    paragraph.run_hidden = None;
                }
            }
            "t" => self.in_text = false,
            "AlternateContent" => drop(self.alternatives.pop()),
            "tc" => {
                let blocks = self.close_place()?;
                match self.tables.last_mut() {
                    Some(table) => {
                        let n_bytes = table.end_cell(blocks);
                        self.count(n_bytes)?;
                    }
                    None => self.place().blocks.extend(blocks),
                }
            }
            "tr" => self.close_row()?,
            "tbl" => self.close_table()?,
            "txbxContent" | "txBody" => {
                let blocks = self.close_place()?;
                match self.paragraph() {
                    Some(paragraph) => paragraph.boxes.extend(blocks),
                    None => self.place().blocks.extend(blocks),
                }
            }
            "footnote" | "endnote" | "comment" => {
                let note = self.place().note.take();
                let blocks = self.close_place()?;
                if let Some(note) = note {
                    self.notes.add(note, &blocks);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn place(&mut self) -> &mut Place {
        if self.places.is_empty() {
            self.places.push(Place::default());
        }
        self.places.last_mut().expect("pushed when empty")
    }

    fn paragraph(&mut self) -> Option<&mut Paragraph> {
        self.place().paragraph.as_mut()
    }

    fn close_place(&mut self) -> Result<Vec<Block>, ParseError> {
        if self.place().paragraph.is_some() {
            self.close_paragraph()?;
        }
        Ok(self.places.pop().map(|it| it.blocks).unwrap_or_default())
    }

    fn open_paragraph(&mut self) -> Result<(), ParseError> {
        let before = self.place().paragraph.take();
        let mut paragraph = Paragraph::default();
        // The paragraph before was left open: its end is deleted.
        if let Some(before) = before {
            paragraph.text = before.text;
            paragraph.boxes = before.boxes;
        }
        self.place().paragraph = Some(paragraph);
        Ok(())
    }

    fn close_paragraph(&mut self) -> Result<(), ParseError> {
        let Some(mut paragraph) = self.place().paragraph.take() else { return Ok(()) };
        if paragraph.is_joined {
            paragraph.is_joined = false;
            self.place().paragraph = Some(paragraph);
            return Ok(());
        }
        let block = paragraph.block(self.styles, &mut self.numbering);
        if let Some(block) = &block
            && self.read.title.is_none()
            && paragraph.style(self.styles).is_title
        {
            self.read.title = Some(one_line(&block.text));
        }
        let place = self.place();
        place.blocks.extend(block);
        place.blocks.append(&mut paragraph.boxes);
        self.end_block()
    }

    /// After a block of the body itself, its notes follow and a page may end.
    fn end_block(&mut self) -> Result<(), ParseError> {
        if self.places.len() > 1 {
            return Ok(());
        }
        let notes = self.notes.take();
        let blocks: Vec<_> = notes.collect();
        self.place().blocks.extend(blocks);
        if std::mem::take(&mut self.breaks_page) {
            self.end_page()?;
        }
        Ok(())
    }

    fn break_page(&mut self) -> Result<(), ParseError> {
        if let Some(table) = self.tables.first_mut() {
            table.breaks_page = true;
            return Ok(());
        }
        let is_body = self.places.len() == 1;
        let has_text = self.paragraph().is_some_and(|it| !it.text.trim().is_empty());
        if is_body && !has_text {
            return self.end_page();
        }
        // A paragraph that goes over the edge stays whole, on the page where it began.
        self.breaks_page = true;
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), ParseError> {
        let blocks = match self.places.first_mut() {
            Some(body) => std::mem::take(&mut body.blocks),
            None => Vec::new(),
        };
        if self.read.pages.len() >= self.limits.pages_max as usize {
            let what = format!("document of {} pages or more", self.read.pages.len() + 1);
            let limit = format!("{} pages", self.limits.pages_max);
            return Err(ParseError::OverLimit { what, limit });
        }
        self.read.pages.push(markdown(&blocks));
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), ParseError> {
        let styles = self.styles;
        let Some(paragraph) = self.paragraph() else { return Ok(()) };
        if paragraph.hides(styles) {
            self.read.n_hidden_chars += text.chars().filter(|c| !c.is_whitespace()).count();
            return Ok(());
        }
        paragraph.text.push_str(text);
        self.count(text.len())
    }

    fn count(&mut self, n_bytes: usize) -> Result<(), ParseError> {
        self.n_text_bytes = self.n_text_bytes.saturating_add(n_bytes);
        check_size(self.n_text_bytes, self.limits)
    }

    /// A character by its code in a symbol font. Those fonts' own codes have no meaning elsewhere.
    fn open_symbol(&mut self, tag: &Tag<'_>) -> Result<(), ParseError> {
        let code = tag.attr("char").and_then(|it| u32::from_str_radix(&it, 16).ok());
        let is_private = code.is_some_and(|it| (0xE000..=0xF8FF).contains(&it));
        match code.and_then(char::from_u32) {
            Some(c) if !is_private => self.push(c.encode_utf8(&mut [0; 4])),
            _ => Ok(()),
        }
    }

    fn equation(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), ParseError> {
        let is_display = tag.name() == "oMathPara";
        let tree = xml.subtree(tag)?;
        let equations: Vec<_> = match is_display {
            true => tree.children_named(0, "oMath").collect(),
            false => vec![0],
        };
        let alone = self.place().paragraph.is_none();
        if alone {
            self.open_paragraph()?;
        }
        for equation in equations {
            let latex = latex(&tree, equation);
            if latex.is_empty() {
                continue;
            }
            let fence = if is_display { "$$" } else { "$" };
            let follows = self.paragraph().is_some_and(|it| it.text.ends_with('$'));
            let before = match (is_display, follows) {
                (true, _) => "\n",
                // `$a$$b$` would read as one equation on a line of its own.
                (false, true) => " ",
                (false, false) => "",
            };
            self.push(&format!("{before}{fence}{latex}{fence}"))?;
        }
        if alone { self.close_paragraph() } else { Ok(()) }
    }

    /// A content control. A check box becomes `[x]` or `[ ]` in place of its drawn character.
    fn open_control(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), ParseError> {
        let tree = xml.subtree(tag)?;
        let Some(checkbox) = tree.child(0, "checkbox") else { return Ok(()) };
        if self.place().paragraph.is_none() {
            return Ok(());
        }
        let is_checked = tree.child_val(checkbox, "checked").is_some_and(is_on);
        self.push(if is_checked { "[x]" } else { "[ ]" })?;
        // Only the control's content, which is the drawn box, is passed over.
        loop {
            match xml.next()? {
                Token::Open(tag) if tag.name() == "sdtContent" => return xml.skip(),
                Token::Open(_) => xml.skip()?,
                Token::Text(_) => {}
                Token::Close(_) | Token::End => return Ok(()),
            }
        }
    }

    fn set_table(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), ParseError> {
        let tree = xml.subtree(tag)?;
        let Some(table) = self.tables.last_mut() else { return Ok(()) };
        match tag.name() {
            "trPr" => table.set_row(&tree),
            _ => table.set_cell(&tree),
        }
        Ok(())
    }

    fn close_row(&mut self) -> Result<(), ParseError> {
        let is_outer = self.tables.len() == 1 && self.places.len() == 1;
        let Some(table) = self.tables.last_mut() else { return Ok(()) };
        // A row that Word broke across pages counts as one of the page where it ends up.
        let blocks = match is_outer && std::mem::take(&mut table.breaks_page) {
            true => Some(table.split()),
            false => None,
        };
        self.read.n_hidden_chars += table.end_row();
        if let Some(blocks) = blocks {
            self.place().blocks.extend(blocks);
            self.end_page()?;
        }
        Ok(())
    }

    fn close_table(&mut self) -> Result<(), ParseError> {
        let Some(mut table) = self.tables.pop() else { return Ok(()) };
        self.place().blocks.extend(table.blocks());
        self.end_block()
    }

    fn open_note(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), ParseError> {
        // The lines that separate notes from the text are stored as notes of a type.
        if tag.attr("type").is_some_and(|it| it != "normal") {
            return xml.skip();
        }
        let note = NoteKind::of_element(tag.name()).map(|kind| NoteStart::read(kind, tag));
        self.places.push(Place { note, ..Place::default() });
        Ok(())
    }

    fn refer(&mut self, tag: &Tag<'_>) -> Result<(), ParseError> {
        let kind = NoteKind::of_reference(tag.name());
        if let (Some(kind), Some(id)) = (kind, tag.attr("id"))
            && let Some(mark) = self.notes.refer(kind, &id)
        {
            self.push(&mark)?;
        }
        Ok(())
    }

    /// A chart or diagram, which is a part of its own.
    fn drawing(&mut self, tag: &Tag<'_>, package: &mut Package<'_>) -> Result<(), ParseError> {
        let (id, read): (_, fn(&_) -> _) = match tag.name() {
            "chart" => (tag.attr("id"), chart::chart),
            _ => (tag.attr("dm"), chart::diagram),
        };
        let Some(name) = id.and_then(|id| self.relations.by_id(&id)) else { return Ok(()) };
        let blocks = read(&package.tree(Some(name))?);
        self.count(blocks.iter().map(|it| it.text.len()).sum())?;
        match self.paragraph() {
            Some(paragraph) => paragraph.boxes.extend(blocks),
            None => self.place().blocks.extend(blocks),
        }
        Ok(())
    }
}
