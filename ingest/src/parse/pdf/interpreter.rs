//! The interpreter of a page's content: operators in, text, areas and lines out (ISO 32000-1,
//! annex A lists the operators).

mod forms;

use std::rc::Rc;

use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Object};
use unicode_normalization::UnicodeNormalization;

use super::bidi;
use super::font::Font;
use super::geometry::{Matrix, Rect, number, resolve};
use super::page::{Drawn, Glyph, Run, SHAPES_MAX, Shared};
use super::paint::{Colour, ColourSpace, Painted, Path};
use crate::parse::ParseError;

/// Operations of one page. Far above any real page; a page of forms that draw forms that draw
/// forms would otherwise run for ever.
const OPERATIONS_MAX: usize = 5_000_000;
/// Characters of one page.
const GLYPHS_MAX: usize = 500_000;
/// Graphics states saved at once.
const STATES_MAX: usize = 4_096;

/// The graphics state, as far as text needs it.
#[derive(Debug, Clone)]
pub(super) struct State {
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
    pub(super) fn new(ctm: Matrix, clip: Rect) -> Self {
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
pub(super) type Resources<'d> = Option<&'d Dictionary>;

pub(super) struct Interpreter<'a, 'd> {
    shared: &'a mut Shared<'d>,
    cancelled: &'a dyn Fn() -> bool,
    pub(super) drawn: Drawn,
    state: State,
    n_operations: usize,
    n_glyphs: usize,
}

impl<'a, 'd> Interpreter<'a, 'd> {
    /// Ready to run a page that is `drawn` so far.
    pub(super) fn new(
        shared: &'a mut Shared<'d>,
        cancelled: &'a dyn Fn() -> bool,
        drawn: Drawn,
        state: State,
    ) -> Self {
        Self { shared, cancelled, drawn, state, n_operations: 0, n_glyphs: 0 }
    }

    /// Runs one content stream: the page's, or a form's.
    pub(super) fn content(
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
        self.drawn.n_paths += usize::from(fills || strokes);
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
        // Scanners cut a page into strips, so that no single image covers it.
        self.drawn.image_share = (self.drawn.image_share + share.max(0.0)).min(1.0);
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
    if chars.len() > 1 && chars.iter().any(|c| bidi::is_rtl(*c)) {
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
