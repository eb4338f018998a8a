//! What a page draws: text where and on what, and the lines and images beside it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use lopdf::{Dictionary, Document, Object, ObjectId};

use super::Budget;
use super::font::Font;
use super::geometry::{Matrix, Rect, rect, resolve};
use super::interpreter::{Interpreter, State};
use super::paint::{Colour, Painted, Rule};
use crate::parse::ParseError;

/// Filled areas, and lines, that are remembered of one page.
pub(super) const SHAPES_MAX: usize = 20_000;

/// A character on the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    pub(super) c: char,
    /// Where its baseline begins, in points from the page's lower left corner.
    pub(super) x: f64,
    pub(super) y: f64,
    /// How far it advances along its baseline.
    pub(super) advance: f64,
}

/// The characters of one string operand: one font, one colour, one baseline.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) glyphs: Vec<Glyph>,
    /// Direction of the baseline in radians, counter-clockwise.
    pub(super) angle: f64,
    /// Size in points, as drawn.
    pub(super) size: f64,
    pub(super) is_bold: bool,
    pub(super) is_monospaced: bool,
    /// Rendering mode 3.
    pub(super) is_unpainted: bool,
    /// In a layer that is switched off, or fully transparent.
    pub(super) is_switched_off: bool,
    /// Colours of its interior and outline, as far as they are drawn and known.
    pub(super) colours: Vec<Option<Colour>>,
    /// The box that it is clipped to.
    pub(super) clip: Rect,
    /// How many areas were painted before it.
    pub(super) n_below: usize,
}

/// What one page draws.
#[derive(Debug)]
pub(super) struct Drawn {
    /// The visible part of the page, turned upright, with its lower left corner at 0, 0.
    pub(super) bounds: Rect,
    pub(super) runs: Vec<Run>,
    pub(super) painted: Vec<Painted>,
    pub(super) rules: Vec<Rule>,
    /// The images together, as a share of the page, at most 1.
    pub(super) image_share: f64,
    /// Characters that a font draws without saying which they are.
    pub(super) n_unknown: usize,
    /// Shapes that were filled or stroked.
    pub(super) n_paths: usize,
    /// Whether the page, or what it draws, is not in the file.
    pub(super) is_missing: bool,
    /// Why part of the page was not read.
    pub(super) left_out: Option<&'static str>,
}

/// What pages share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) doc: &'a Document,
    /// By the place of their dictionary: some files write fonts without a reference.
    fonts: HashMap<*const Dictionary, Rc<Font>>,
    pub(super) layers_off: HashSet<ObjectId>,
    pub(super) budget: Budget,
}

impl<'a> Shared<'a> {
    pub(super) fn new(doc: &'a Document, budget: Budget) -> Self {
        Self { doc, fonts: HashMap::new(), layers_off: layers_off(doc), budget }
    }

    pub(super) fn font(&mut self, entry: &'a Object) -> Result<Rc<Font>, ParseError> {
        let Some(Ok(dict)) = resolve(self.doc, entry).map(Object::as_dict) else {
            return Ok(Rc::new(Font::unknown()));
        };
        let key = std::ptr::from_ref(dict);
        if let Some(font) = self.fonts.get(&key) {
            return Ok(Rc::clone(font));
        }
        let font = Rc::new(Font::read(self.doc, dict, &mut self.budget)?);
        self.fonts.insert(key, Rc::clone(&font));
        Ok(font)
    }
}

/// Runs a page's content and the appearance of its filled form fields and notes.
pub(super) fn draw(
    shared: &mut Shared<'_>,
    page_id: ObjectId,
    cancelled: &dyn Fn() -> bool,
) -> Result<Drawn, ParseError> {
    let doc = shared.doc;
    // A page that is missing from the file is a blank one, so that the others keep their numbers.
    let page = doc.get_dictionary(page_id).ok();
    let inherited = |key: &[u8]| page.and_then(|page| inherited(doc, page, key));
    let media = inherited(b"MediaBox").and_then(|it| rect(doc, it));
    let crop = inherited(b"CropBox").and_then(|it| rect(doc, it));
    let letter = Rect::new(0.0, 0.0, 612.0, 792.0);
    let media = media.filter(|it| it.width() > 0.0 && it.height() > 0.0).unwrap_or(letter);
    let bounds = crop.map_or(media, |it| it.intersect(media));
    let bounds = if bounds.width() > 0.0 && bounds.height() > 0.0 { bounds } else { media };
    let turns = inherited(b"Rotate").and_then(|it| it.as_i64().ok()).unwrap_or(0);
    // `Rotate` turns clockwise; then the lower left corner goes to 0, 0.
    let quarter = -std::f64::consts::FRAC_PI_2 * turns.div_euclid(90).rem_euclid(4) as f64;
    let turned = Matrix::rotate(quarter).apply_rect(bounds);
    let upright = Matrix::rotate(quarter).then(Matrix::translate(-turned.x0, -turned.y0));
    let bounds = Rect::new(0.0, 0.0, turned.width(), turned.height());
    let drawn = Drawn {
        bounds,
        runs: Vec::new(),
        painted: Vec::new(),
        rules: Vec::new(),
        image_share: 0.0,
        n_unknown: 0,
        n_paths: 0,
        is_missing: page.is_none_or(|page| is_content_missing(doc, page)),
        left_out: None,
    };
    let content = match page {
        Some(page) => shared.budget.page_content(doc, page)?,
        None => Vec::new(),
    };
    let state = State::new(upright, bounds);
    let mut run = Interpreter::new(shared, cancelled, drawn, state);
    let resources = inherited(b"Resources").and_then(|it| it.as_dict().ok());
    if let Some(page) = page {
        run.content(&content, resources, 0)?;
        run.annotations(page, State::new(upright, bounds))?;
    }
    Ok(run.drawn)
}

/// Whether part of a page's content is named and not there, as in a file that was cut short.
fn is_content_missing(doc: &Document, page: &Dictionary) -> bool {
    let Ok(contents) = page.get(b"Contents") else { return false };
    match resolve(doc, contents) {
        Some(Object::Array(parts)) => parts.iter().any(|it| resolve(doc, it).is_none()),
        found => found.is_none(),
    }
}

/// A page's attribute, its own or inherited from the tree above it.
fn inherited<'a>(doc: &'a Document, page: &'a Dictionary, key: &[u8]) -> Option<&'a Object> {
    let mut node = page;
    // A bound, because a damaged tree may be a ring.
    for _ in 0..64 {
        if let Ok(value) = node.get_deref(key, doc) {
            return Some(value);
        }
        node = node.get_deref(b"Parent", doc).and_then(Object::as_dict).ok()?;
    }
    None
}

/// Layers that are off when the document opens (ISO 32000-1, 8.11.4.3).
fn layers_off(doc: &Document) -> HashSet<ObjectId> {
    let off = || {
        let properties = doc.catalog().ok()?.get_deref(b"OCProperties", doc).ok()?;
        let default = properties.as_dict().ok()?.get_deref(b"D", doc).ok()?.as_dict().ok()?;
        let off = default.get_deref(b"OFF", doc).ok()?.as_array().ok()?;
        Some(off.iter().filter_map(|layer| layer.as_reference().ok()).collect())
    };
    off().unwrap_or_default()
}
