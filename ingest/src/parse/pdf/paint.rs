//! What is painted beside text: colours, filled areas, and the lines of tables.

use lopdf::content::Operation;
use lopdf::{Document, Object};

use super::geometry::{Matrix, Rect, number, resolve};

/// Red, green and blue from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Colour([f64; 3]);

impl Colour {
    pub(super) const BLACK: Self = Self([0.0; 3]);
    pub(super) const WHITE: Self = Self([1.0; 3]);

    /// Whether an eye would not tell them apart.
    pub(super) fn looks_like(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| (a - b).abs() <= 0.05)
    }
}

/// How the operands of a colour operator are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColourSpace {
    /// Grey, RGB or CMYK, by the number of operands.
    Direct,
    /// Amount of black ink.
    BlackInk,
    /// Patterns, palettes and special inks. Text in them counts as visible.
    Unknown,
}

impl ColourSpace {
    /// A space by its name, or by what the page's resources say of that name.
    pub(super) fn read(doc: &Document, name: &[u8], named: Option<&Object>) -> Self {
        if matches!(name, b"DeviceGray" | b"DeviceRGB" | b"DeviceCMYK") {
            return Self::Direct;
        }
        match named {
            Some(Object::Name(name)) => Self::read(doc, name, None),
            Some(Object::Array(items)) => {
                let name = |idx: usize| {
                    let item = items.get(idx).and_then(|it| resolve(doc, it));
                    item.and_then(|it| it.as_name().ok()).unwrap_or_default()
                };
                match (name(0), name(1)) {
                    (b"ICCBased" | b"CalRGB" | b"CalGray", _) => Self::Direct,
                    (b"Separation", b"Black" | b"All") => Self::BlackInk,
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    /// The colour that operands name; `None` when it cannot be known.
    pub(super) fn colour(self, operands: &[Object]) -> Option<Colour> {
        let values: Option<Vec<f64>> =
            operands.iter().map(|it| number(it).map(|it| it.clamp(0.0, 1.0))).collect();
        match (self, &values?[..]) {
            (Self::Direct, &[grey]) => Some(Colour([grey; 3])),
            (Self::Direct, &[r, g, b]) => Some(Colour([r, g, b])),
            (Self::Direct, &[c, m, y, k]) => {
                Some(Colour([c, m, y].map(|ink| (1.0 - ink) * (1.0 - k))))
            }
            (Self::BlackInk, &[tint]) => Some(Colour([1.0 - tint; 3])),
            _ => None,
        }
    }
}

/// A filled area.
#[derive(Debug, Clone, Copy)]
pub(super) struct Painted {
    pub(super) area: Rect,
    /// Its colour, when all of the area has it and nothing shines through.
    pub(super) colour: Option<Colour>,
}

/// A straight line along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rule {
    pub(super) is_horizontal: bool,
    /// Its y when horizontal, else its x.
    pub(super) at: f64,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Thickest filled box that is a line rather than an area, in points.
const RULE_THICKNESS_MAX: f64 = 3.0;

/// The current path, on the page.
#[derive(Debug)]
pub(super) struct Path {
    bounds: Rect,
    rects: Vec<Rect>,
    segments: Vec<(f64, f64, f64, f64)>,
    /// Holds curves or lines that are not along an axis.
    is_free: bool,
    n_moves: usize,
    start: (f64, f64),
    at: (f64, f64),
    clips: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            bounds: Rect::EMPTY,
            rects: Vec::new(),
            segments: Vec::new(),
            is_free: false,
            n_moves: 0,
            start: (0.0, 0.0),
            at: (0.0, 0.0),
            clips: false,
        }
    }
}

impl Path {
    /// Adds to the path. `false`: the operation is of another kind.
    pub(super) fn construct(&mut self, operation: &Operation, ctm: Matrix) -> bool {
        let args = &operation.operands;
        let value = |idx: usize| args.get(idx).and_then(number).unwrap_or(0.0);
        match operation.operator.as_str() {
            "m" => {
                self.at = ctm.apply(value(0), value(1));
                self.start = self.at;
                self.n_moves += 1;
            }
            "l" => self.line_to(ctm.apply(value(0), value(1))),
            "h" => self.line_to(self.start),
            "c" | "v" | "y" => {
                for pair in args.chunks_exact(2) {
                    let [x, y] = [&pair[0], &pair[1]].map(|it| number(it).unwrap_or(0.0));
                    self.at = ctm.apply(x, y);
                    self.bounds.include(self.at.0, self.at.1);
                }
                self.is_free = true;
            }
            "re" => {
                let (x, y, width, height) = (value(0), value(1), value(2), value(3));
                let rect = ctm.apply_rect(Rect::new(x, y, x + width, y + height));
                self.bounds = self.bounds.union(rect);
                let [a, b, c, d, ..] = ctm.0;
                let is_turned = (b.abs() > 1e-6 || c.abs() > 1e-6)
                    && (a.abs() > 1e-6 || d.abs() > 1e-6);
                self.is_free |= is_turned;
                if self.rects.len() < super::page::SHAPES_MAX {
                    self.rects.push(rect);
                }
            }
            "W" | "W*" => self.clips = true,
            _ => return false,
        }
        true
    }

    fn line_to(&mut self, to: (f64, f64)) {
        let (x, y) = self.at;
        self.bounds.include(x, y);
        self.bounds.include(to.0, to.1);
        let is_straight = (x - to.0).abs() < 0.5 || (y - to.1).abs() < 0.5;
        if is_straight && self.segments.len() < super::page::SHAPES_MAX {
            self.segments.push((x, y, to.0, to.1));
        } else {
            self.is_free = true;
        }
        self.at = to;
    }

    pub(super) fn bounds(&self) -> Rect {
        self.bounds
    }

    pub(super) fn clips(&self) -> bool {
        self.clips
    }

    /// Whether it is one box and nothing else. Two boxes may leave a hole.
    pub(super) fn is_one_box(&self) -> bool {
        let by_lines = self.rects.is_empty() && self.n_moves == 1 && self.segments.len() <= 5;
        let by_box = self.rects.len() == 1 && self.segments.is_empty();
        !self.is_free && (by_lines || by_box)
    }

    /// The areas that filling it covers, each with whether it is exactly that box. Thin ones
    /// are lines, and go to `rules`.
    pub(super) fn areas(&self, rules: &mut Vec<Rule>, rules_max: usize) -> Vec<(Rect, bool)> {
        let has_lines = !self.segments.is_empty() || self.is_free;
        let mut boxes = self.rects.clone();
        if has_lines {
            boxes.push(self.bounds);
        }
        let is_exact = self.is_one_box();
        let mut res = Vec::new();
        for it in boxes {
            let (width, height) = (it.width(), it.height());
            if width.min(height) > RULE_THICKNESS_MAX || self.is_free {
                res.push((it, is_exact));
            } else if rules.len() < rules_max {
                rules.push(if width >= height {
                    let at = f64::midpoint(it.y0, it.y1);
                    Rule { is_horizontal: true, at, from: it.x0, to: it.x1 }
                } else {
                    let at = f64::midpoint(it.x0, it.x1);
                    Rule { is_horizontal: false, at, from: it.y0, to: it.y1 }
                });
            }
        }
        res
    }

    /// The lines that stroking it draws.
    pub(super) fn stroke(&self, rules: &mut Vec<Rule>, rules_max: usize) {
        let mut segments = self.segments.clone();
        for it in &self.rects {
            segments.push((it.x0, it.y0, it.x1, it.y0));
            segments.push((it.x0, it.y1, it.x1, it.y1));
            segments.push((it.x0, it.y0, it.x0, it.y1));
            segments.push((it.x1, it.y0, it.x1, it.y1));
        }
        for (x0, y0, x1, y1) in segments {
            if rules.len() >= rules_max {
                return;
            }
            let is_horizontal = (x1 - x0).abs() >= (y1 - y0).abs();
            let (at, from, to) = if is_horizontal { (y0, x0, x1) } else { (x0, y0, y1) };
            rules.push(Rule { is_horizontal, at, from: from.min(to), to: from.max(to) });
        }
    }
}
