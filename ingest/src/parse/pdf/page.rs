//! Runs a page's content: what text is drawn where, on what, and which lines and images stand
//! beside it (ISO 32000-1, 8 and 9).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Document, Object, ObjectId};
use unicode_normalization::UnicodeNormalization;

use super::Budget;
use super::font::Font;
use super::geometry::{Matrix, Rect, matrix, number, rect, resolve};
use super::paint::{Colour, ColourSpace, Painted, Path, Rule};
use crate::parse::ParseError;

/// Operations of one page. Far above any real page; a page of forms that draw forms that draw
/// forms would otherwise run for ever.
const OPERATIONS_MAX: usize = 5_000_000;
/// Characters of one page.
const GLYPHS_MAX: usize = 2_000_000;
/// Forms within forms.
const FORM_DEPTH_MAX: usize = 16;
/// Graphics states saved at once.
const STATES_MAX: usize = 4_096;
/// Filled areas, and lines, that are remembered of one page.
pub(super) const SHAPES_MAX: usize = 50_000;

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
    /// The largest image, as a share of the page.
    pub(super) image_share: f64,
    /// Characters that a font draws without saying which they are.
    pub(super) n_unknown: usize,
    /// Why part of the page was not read.
    pub(super) left_out: Option<&'static str>,
}

/// What pages share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) doc: &'a Document,
    fonts: HashMap<ObjectId, Rc<Font>>,
    layers_off: HashSet<ObjectId>,
    pub(super) budget: Budget,
}

impl<'a> Shared<'a> {
    pub(super) fn new(doc: &'a Document, budget: Budget) -> Self {
        Self { doc, fonts: HashMap::new(), layers_off: layers_off(doc), budget }
    }

    fn font(&mut self, entry: &Object) -> Result<Rc<Font>, ParseError> {
        let id = entry.as_reference().ok();
        if let Some(font) = id.and_then(|id| self.fonts.get(&id)) {
            return Ok(Rc::clone(font));
        }
        let font = match resolve(self.doc, entry).map(Object::as_dict) {
            Some(Ok(dict)) => Font::read(self.doc, dict, &mut self.budget)?,
            _ => Font::unknown(),
        };
        let font = Rc::new(font);
        if let Some(id) = id {
            self.fonts.insert(id, Rc::clone(&font));
        }
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
        left_out: None,
    };
    let state = State::new(upright, bounds);
    let mut run = Interpreter { shared, cancelled, drawn, state, n_operations: 0, n_glyphs: 0 };
    let resources = inherited(b"Resources").and_then(|it| it.as_dict().ok());
    if let Some(page) = page {
        let content = run.shared.budget.page_content(doc, page)?;
        run.content(&content, resources, 0)?;
        run.annotations(page, State::new(upright, bounds))?;
    }
    Ok(run.drawn)
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

/// The graphics state, as far as text needs it.
#[derive(Debug, Clone)]
struct State {
    ctm: Matrix,
    clip: Rect,
    /// Whether the clip is that box, rather than a shape within it.
    is_clip_exact: bool,
    fill: Option<Colour>,
    stroke: Option<Colour>,
    fill_space: ColourSpace,
    stroke_space: ColourSpace,
    fill_alpha: f64,
    blends: bool,
    line_width: f64,
    font: Rc<Font>,
    size: f64,
    char_spacing: f64,
    word_spacing: f64,
    scale: f64,
    leading: f64,
    rise: f64,
    mode: i64,
    text: Matrix,
    line: Matrix,
}

impl State {
    fn new(ctm: Matrix, clip: Rect) -> Self {
        Self {
            ctm,
            clip,
            is_clip_exact: true,
            fill: Some(Colour::BLACK),
            stroke: Some(Colour::BLACK),
            fill_space: ColourSpace::Direct,
            stroke_space: ColourSpace::Direct,
            fill_alpha: 1.0,
            blends: false,
            line_width: 1.0,
            font: Rc::new(Font::unknown()),
            size: 0.0,
            char_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
            mode: 0,
            text: Matrix::IDENTITY,
            line: Matrix::IDENTITY,
        }
    }
}

/// Where names in content lead; a damaged page may have nothing.
type Resources<'d> = Option<&'d Dictionary>;

struct Interpreter<'a, 'd> {
    shared: &'a mut Shared<'d>,
    cancelled: &'a dyn Fn() -> bool,
    drawn: Drawn,
    state: State,
    n_operations: usize,
    n_glyphs: usize,
}

impl<'d> Interpreter<'_, 'd> {
    /// Runs one content stream: the page's, or a form's.
    fn content(
        &mut self,
        bytes: &[u8],
        resources: Resources<'d>,
        depth: usize,
    ) -> Result<(), ParseError> {
        let mut saved: Vec<State> = Vec::new();
        // Whether each open marked-content sequence belongs to a layer that is off.
        let mut marked: Vec<bool> = Vec::new();
        let mut path = Path::default();
        for operation in Content::decode_iter(bytes) {
            let Ok(operation) = operation else {
                self.drawn.left_out = Some("its content is damaged");
                break;
            };
            self.n_operations += 1;
            if self.n_operations > OPERATIONS_MAX || saved.len() > STATES_MAX {
                self.drawn.left_out = Some("it draws more than any real page does");
                break;
            }
            if self.n_operations.is_multiple_of(1024) && (self.cancelled)() {
                return Err(ParseError::TimedOut { seconds: self.shared.budget.seconds_max });
            }
            match operation.operator.as_str() {
                "q" => saved.push(self.state.clone()),
                "Q" => {
                    if let Some(state) = saved.pop() {
                        self.state = state;
                    }
                }
                "BMC" => marked.push(false),
                "BDC" => marked.push(self.is_layer_off(&operation, resources)),
                "EMC" => {
                    marked.pop();
                }
                "Do" => {
                    let off = marked.contains(&true);
                    self.draw_object(&operation, resources, depth, off)?;
                }
                "Tf" => self.set_font(&operation, resources)?,
                "gs" => self.set_parameters(&operation, resources),
                "cs" | "CS" => self.set_space(&operation, resources),
                _ => {
                    let off = marked.contains(&true);
                    if !self.text(&operation, off) && !self.set(&operation) {
                        self.path(&operation, &mut path);
                    }
                }
            }
        }
        Ok(())
    }

    /// Text objects and showing. `false`: the operation is of another kind.
    fn text(&mut self, operation: &Operation, is_off: bool) -> bool {
        let args = &operation.operands;
        let value = |idx: usize| args.get(idx).and_then(number).unwrap_or(0.0);
        match operation.operator.as_str() {
            "BT" => {
                self.state.text = Matrix::IDENTITY;
                self.state.line = Matrix::IDENTITY;
            }
            "Td" => self.next_line(value(0), value(1)),
            "TD" => {
                self.state.leading = -value(1);
                self.next_line(value(0), value(1));
            }
            "Tm" => {
                let values = [value(0), value(1), value(2), value(3), value(4), value(5)];
                self.state.text = Matrix(values);
                self.state.line = Matrix(values);
            }
            "T*" => self.next_line(0.0, -self.state.leading),
            "Tj" => self.show(args, is_off),
            "'" => {
                self.next_line(0.0, -self.state.leading);
                self.show(args, is_off);
            }
            "\"" => {
                self.state.word_spacing = value(0);
                self.state.char_spacing = value(1);
                self.next_line(0.0, -self.state.leading);
                self.show(args.get(2..).unwrap_or_default(), is_off);
            }
            "TJ" => {
                if let Some(Object::Array(items)) = args.first() {
                    self.show(items, is_off);
                }
            }
            _ => return false,
        }
        true
    }

    /// State operators. `false`: the operation is of another kind.
    fn set(&mut self, operation: &Operation) -> bool {
        let args = &operation.operands;
        let value = || args.first().and_then(number).unwrap_or(0.0);
        let state = &mut self.state;
        match operation.operator.as_str() {
            "cm" => {
                let values: Vec<f64> = args.iter().filter_map(number).collect();
                if let Ok(values) = <[f64; 6]>::try_from(values) {
                    state.ctm = Matrix(values).then(state.ctm);
                }
            }
            "w" => state.line_width = value(),
            "Tc" => state.char_spacing = value(),
            "Tw" => state.word_spacing = value(),
            "Tz" => state.scale = value() / 100.0,
            "TL" => state.leading = value(),
            "Ts" => state.rise = value(),
            "Tr" => state.mode = value() as i64,
            "g" | "rg" | "k" => {
                state.fill_space = ColourSpace::Direct;
                state.fill = ColourSpace::Direct.colour(args);
            }
            "G" | "RG" | "K" => {
                state.stroke_space = ColourSpace::Direct;
                state.stroke = ColourSpace::Direct.colour(args);
            }
            "sc" | "scn" => state.fill = state.fill_space.colour(args),
            "SC" | "SCN" => state.stroke = state.stroke_space.colour(args),
            _ => return false,
        }
        true
    }

    /// Path construction and painting; everything else is none of ours.
    fn path(&mut self, operation: &Operation, path: &mut Path) {
        if path.construct(operation, self.state.ctm) {
            return;
        }
        let (fills, strokes) = match operation.operator.as_str() {
            "f" | "F" | "f*" => (true, false),
            "S" | "s" => (false, true),
            "B" | "B*" | "b" | "b*" => (true, true),
            "n" => (false, false),
            "sh" => {
                self.paint(self.state.clip, None);
                return;
            }
            "BI" => {
                self.image();
                return;
            }
            _ => return,
        };
        let state = &self.state;
        if fills {
            let is_plain = state.fill_alpha >= 1.0 && !state.blends && state.is_clip_exact;
            let colour = state.fill.filter(|_| is_plain);
            let (clip, alpha) = (state.clip, state.fill_alpha);
            if alpha > 0.0 {
                for (area, is_exact) in path.areas(&mut self.drawn.rules, SHAPES_MAX) {
                    self.paint(area.intersect(clip), colour.filter(|_| is_exact));
                }
            }
        }
        if strokes {
            let [a, b, c, d, ..] = self.state.ctm.0;
            let width = self.state.line_width * (a * d - b * c).abs().sqrt();
            // A line as thick as text is high may be the bar behind white words.
            if width >= 4.0 {
                let half = width / 2.0;
                let it = path.bounds();
                let bar = Rect::new(it.x0 - half, it.y0 - half, it.x1 + half, it.y1 + half);
                self.paint(bar.intersect(self.state.clip), None);
            }
            path.stroke(&mut self.drawn.rules, SHAPES_MAX);
        }
        if path.clips() {
            self.state.clip = self.state.clip.intersect(path.bounds());
            self.state.is_clip_exact &= path.is_one_box();
        }
        *path = Path::default();
    }

    fn paint(&mut self, area: Rect, colour: Option<Colour>) {
        if area.width() >= 2.0 && area.height() >= 2.0 && self.drawn.painted.len() < SHAPES_MAX {
            self.drawn.painted.push(Painted { area, colour });
        }
    }

    /// An image fills the unit square of user space.
    fn image(&mut self) {
        let area = self.state.ctm.apply_rect(Rect::new(0.0, 0.0, 1.0, 1.0));
        let area = area.intersect(self.state.clip);
        let page = self.drawn.bounds;
        let share = area.width() * area.height() / (page.width() * page.height());
        self.drawn.image_share = self.drawn.image_share.max(share);
        self.paint(area, None);
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.state.line = Matrix::translate(x, y).then(self.state.line);
        self.state.text = self.state.line;
    }

    /// Shows strings; numbers between them move on, in thousandths of the size.
    fn show(&mut self, items: &[Object], is_off: bool) {
        let state = &mut self.state;
        let font = Rc::clone(&state.font);
        let mut glyphs: Vec<Glyph> = Vec::new();
        let base = state.text.then(state.ctm).0;
        let along = (base[0] * state.scale).hypot(base[1] * state.scale);
        let size = (state.size * font.height).abs() * base[2].hypot(base[3]);
        for item in items {
            let Object::String(bytes, _) = item else {
                let back = number(item).unwrap_or(0.0) / 1000.0 * state.size * state.scale;
                state.text = Matrix::translate(-back, 0.0).then(state.text);
                continue;
            };
            for code in font.decode(bytes) {
                if self.n_glyphs >= GLYPHS_MAX {
                    self.drawn.left_out = Some("it draws more text than any real page does");
                    break;
                }
                self.n_glyphs += 1;
                let (x, y) = state.text.then(state.ctm).apply(0.0, state.rise);
                let width = code.width * state.size;
                let spacing = if code.is_space { state.word_spacing } else { 0.0 };
                let step = (width + state.char_spacing + spacing) * state.scale;
                state.text = Matrix::translate(step, 0.0).then(state.text);
                let advance = (width + state.char_spacing.max(0.0)) * along;
                if !(x.is_finite() && y.is_finite() && advance.is_finite()) {
                    continue;
                }
                match &code.text {
                    Some(text) => push_text(&mut glyphs, text, (x, y), base, advance.abs()),
                    None if width != 0.0 => self.drawn.n_unknown += 1,
                    None => {}
                }
            }
        }
        if glyphs.is_empty() {
            return;
        }
        let paints_fill = matches!(state.mode, 0 | 2 | 4 | 6);
        let paints_stroke = matches!(state.mode, 1 | 2 | 5 | 6);
        let mut colours = Vec::new();
        if paints_fill {
            colours.push(state.fill);
        }
        if paints_stroke {
            colours.push(state.stroke);
        }
        self.drawn.runs.push(Run {
            glyphs,
            angle: base[1].atan2(base[0]),
            size,
            is_bold: font.is_bold || state.mode == 2,
            is_monospaced: font.is_monospaced,
            is_unpainted: state.mode == 3,
            is_switched_off: is_off || (paints_fill && !paints_stroke && state.fill_alpha <= 0.0),
            colours,
            clip: state.clip,
            n_below: self.drawn.painted.len(),
        });
    }

    fn set_font(
        &mut self,
        operation: &Operation,
        resources: Resources<'d>,
    ) -> Result<(), ParseError> {
        let [name, size] = &operation.operands[..] else { return Ok(()) };
        self.state.size = number(size).unwrap_or(0.0);
        let entry = name.as_name().ok().and_then(|it| self.resource(resources, b"Font", it));
        self.state.font = match entry {
            Some(entry) => self.shared.font(entry)?,
            None => Rc::new(Font::unknown()),
        };
        Ok(())
    }

    fn set_parameters(&mut self, operation: &Operation, resources: Resources<'d>) {
        let name = operation.operands.first().and_then(|it| it.as_name().ok());
        let doc = self.shared.doc;
        let entry = name.and_then(|it| self.resource(resources, b"ExtGState", it));
        let Some(Ok(dict)) = entry.and_then(|it| resolve(doc, it)).map(Object::as_dict) else {
            return;
        };
        if let Some(alpha) = dict.get_deref(b"ca", doc).ok().and_then(number) {
            self.state.fill_alpha = alpha;
        }
        if let Ok(mode) = dict.get_deref(b"BM", doc) {
            let normal = [b"Normal".as_slice(), b"Compatible"];
            self.state.blends = !mode.as_name().is_ok_and(|it| normal.contains(&it));
        }
        if let Ok(mask) = dict.get_deref(b"SMask", doc) {
            self.state.blends |= mask.as_dict().is_ok();
        }
    }

    fn set_space(&mut self, operation: &Operation, resources: Resources<'d>) {
        let Some(Ok(name)) = operation.operands.first().map(Object::as_name) else { return };
        let doc = self.shared.doc;
        let named = self.resource(resources, b"ColorSpace", name);
        let space = ColourSpace::read(doc, name, named.and_then(|it| resolve(doc, it)));
        // A new space begins with its first colour, which is black in those we know.
        let first = Some(Colour::BLACK).filter(|_| space == ColourSpace::Direct);
        if operation.operator == "cs" {
            (self.state.fill_space, self.state.fill) = (space, first);
        } else {
            (self.state.stroke_space, self.state.stroke) = (space, first);
        }
    }

    /// `Do`: an image, or a form with its own content.
    fn draw_object(
        &mut self,
        operation: &Operation,
        resources: Resources<'d>,
        depth: usize,
        is_off: bool,
    ) -> Result<(), ParseError> {
        let Some(Ok(name)) = operation.operands.first().map(Object::as_name) else { return Ok(()) };
        let Some(entry) = self.resource(resources, b"XObject", name) else { return Ok(()) };
        let doc = self.shared.doc;
        let Some(Object::Stream(stream)) = resolve(doc, entry) else { return Ok(()) };
        let layer = stream.dict.get(b"OC").and_then(Object::as_reference);
        if is_off || layer.is_ok_and(|layer| self.shared.layers_off.contains(&layer)) {
            return Ok(());
        }
        match stream.dict.get_deref(b"Subtype", doc).and_then(Object::as_name) {
            Ok(b"Image") => self.image(),
            Ok(b"Form") => self.form(entry, resources, depth)?,
            _ => {}
        }
        Ok(())
    }

    fn form(
        &mut self,
        entry: &'d Object,
        outer: Resources<'d>,
        depth: usize,
    ) -> Result<(), ParseError> {
        let doc = self.shared.doc;
        let Some(Object::Stream(stream)) = resolve(doc, entry) else { return Ok(()) };
        if depth >= FORM_DEPTH_MAX {
            self.drawn.left_out = Some("its forms are nested too deeply");
            return Ok(());
        }
        let own = stream.dict.get_deref(b"Resources", doc).and_then(Object::as_dict);
        let bytes = self.shared.budget.stream(entry, stream)?;
        let before = self.state.clone();
        if let Some(matrix) = stream.dict.get(b"Matrix").ok().and_then(|it| matrix(doc, it)) {
            self.state.ctm = matrix.then(self.state.ctm);
        }
        if let Some(bounds) = stream.dict.get(b"BBox").ok().and_then(|it| rect(doc, it)) {
            let bounds = self.state.ctm.apply_rect(bounds);
            self.state.clip = self.state.clip.intersect(bounds);
        }
        // A form without resources uses those of the page (ISO 32000-1, 8.10.1, note).
        self.content(&bytes, own.ok().or(outer), depth + 1)?;
        self.state = before;
        Ok(())
    }

    /// What a reader sees typed into form fields, stamps and text notes.
    fn annotations(&mut self, page: &'d Dictionary, start: State) -> Result<(), ParseError> {
        const HIDDEN: i64 = 1 << 1 | 1 << 5;
        let doc = self.shared.doc;
        let Ok(items) = page.get_deref(b"Annots", doc).and_then(Object::as_array) else {
            return Ok(());
        };
        for item in items {
            let Some(Ok(note)) = resolve(doc, item).map(Object::as_dict) else { continue };
            let kind = note.get_deref(b"Subtype", doc).and_then(Object::as_name);
            let flags = note.get_deref(b"F", doc).and_then(Object::as_i64).unwrap_or(0);
            let is_shown = matches!(kind, Ok(b"Widget" | b"FreeText" | b"Stamp"));
            if !is_shown || flags & HIDDEN != 0 {
                continue;
            }
            let looks = note.get_deref(b"AP", doc).and_then(Object::as_dict);
            let Some(entry) = looks.ok().and_then(|it| it.get(b"N").ok()) else { continue };
            let Some(Object::Stream(stream)) = resolve(doc, entry) else { continue };
            let place = note.get(b"Rect").ok().and_then(|it| rect(doc, it));
            let bounds = stream.dict.get(b"BBox").ok().and_then(|it| rect(doc, it));
            let (Some(place), Some(bounds)) = (place, bounds) else { continue };
            let own = stream.dict.get(b"Matrix").ok().and_then(|it| matrix(doc, it));
            let bounds = own.unwrap_or(Matrix::IDENTITY).apply_rect(bounds);
            if bounds.width() <= 0.0 || bounds.height() <= 0.0 {
                continue;
            }
            // The box of the appearance is scaled onto the note's (12.5.5, algorithm 8.1).
            let (sx, sy) = (place.width() / bounds.width(), place.height() / bounds.height());
            let fit = Matrix([
                sx,
                0.0,
                0.0,
                sy,
                place.x0 - bounds.x0 * sx,
                place.y0 - bounds.y0 * sy,
            ]);
            self.state = start.clone();
            self.state.ctm = fit.then(start.ctm);
            self.form(entry, None, 0)?;
        }
        Ok(())
    }

    fn is_layer_off(&self, operation: &Operation, resources: Resources<'d>) -> bool {
        let [Object::Name(tag), Object::Name(name)] = &operation.operands[..] else { return false };
        let layer = self.resource(resources, b"Properties", name);
        let layer = layer.and_then(|it| it.as_reference().ok());
        tag == b"OC" && layer.is_some_and(|layer| self.shared.layers_off.contains(&layer))
    }

    /// A named resource, as written: often a reference.
    fn resource(&self, from: Resources<'d>, kind: &[u8], name: &[u8]) -> Option<&'d Object> {
        from?.get_deref(kind, self.shared.doc).ok()?.as_dict().ok()?.get(name).ok()
    }
}

/// Adds a code's text as characters that share its width. Ligatures and presentation forms are
/// taken apart, so that `ﬁn` is found by `fin`.
fn push_text(
    glyphs: &mut Vec<Glyph>,
    text: &str,
    (x, y): (f64, f64),
    base: [f64; 6],
    advance: f64,
) {
    let mut chars: Vec<char> = Vec::new();
    for c in text.chars() {
        match c {
            '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => chars.extend(c.nfkc()),
            '\u{a0}' | '\t' | '\r' | '\n' => chars.push(' '),
            c if c.is_control() => {}
            c => chars.push(c),
        }
    }
    if chars.len() > 1 && chars.iter().any(|c| super::bidi::is_rtl(*c)) {
        // The letters of such a glyph stand from right to left within it.
        chars.reverse();
    }
    let step = advance / chars.len().max(1) as f64;
    let length = base[0].hypot(base[1]).max(f64::MIN_POSITIVE);
    let (cos, sin) = (base[0] / length, base[1] / length);
    for (i, c) in chars.into_iter().enumerate() {
        let far = step * i as f64;
        glyphs.push(Glyph { c, x: x + far * cos, y: y + far * sin, advance: step });
    }
}
