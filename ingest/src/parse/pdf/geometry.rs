//! Matrices and boxes of the page. Units are points (1/72 inch), y grows upwards.

use lopdf::{Document, Object};

/// `[a b c d e f]` of ISO 32000-1, 8.3.3: a point is a row vector multiplied from the left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Matrix(pub(super) [f64; 6]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    pub(super) fn translate(x: f64, y: f64) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }

    /// Turns by an angle in radians, counter-clockwise.
    pub(super) fn rotate(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self([cos, sin, -sin, cos, 0.0, 0.0])
    }

    /// Applies `self` first, then `next`.
    pub(super) fn then(self, next: Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [na, nb, nc, nd, ne, nf] = next.0;
        Self([
            a * na + b * nc,
            a * nb + b * nd,
            c * na + d * nc,
            c * nb + d * nd,
            e * na + f * nc + ne,
            e * nb + f * nd + nf,
        ])
    }

    pub(super) fn apply(self, x: f64, y: f64) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + c * y + e, b * x + d * y + f)
    }

    /// The box around the image of a box.
    pub(super) fn apply_rect(self, rect: Rect) -> Rect {
        let mut res = Rect::EMPTY;
        for (x, y) in
            [(rect.x0, rect.y0), (rect.x1, rect.y0), (rect.x0, rect.y1), (rect.x1, rect.y1)]
        {
            let (x, y) = self.apply(x, y);
            res.include(x, y);
        }
        res
    }
}

/// A box with `x0 <= x1` and `y0 <= y1`, except for the empty one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x0: f64,
    pub(super) y0: f64,
    pub(super) x1: f64,
    pub(super) y1: f64,
}

impl Rect {
    /// The box around nothing: including a point makes it that point.
    pub(super) const EMPTY: Self = Self {
        x0: f64::INFINITY,
        y0: f64::INFINITY,
        x1: f64::NEG_INFINITY,
        y1: f64::NEG_INFINITY,
    };

    pub(super) fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0: x0.min(x1), y0: y0.min(y1), x1: x0.max(x1), y1: y0.max(y1) }
    }

    pub(super) fn width(self) -> f64 {
        (self.x1 - self.x0).max(0.0)
    }

    pub(super) fn height(self) -> f64 {
        (self.y1 - self.y0).max(0.0)
    }

    pub(super) fn include(&mut self, x: f64, y: f64) {
        self.x0 = self.x0.min(x);
        self.y0 = self.y0.min(y);
        self.x1 = self.x1.max(x);
        self.y1 = self.y1.max(y);
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
        }
    }

    pub(super) fn intersect(self, other: Self) -> Self {
        Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// Whether a point lies within, with a margin in points.
    pub(super) fn contains(self, x: f64, y: f64, margin: f64) -> bool {
        x >= self.x0 - margin
            && x <= self.x1 + margin
            && y >= self.y0 - margin
            && y <= self.y1 + margin
    }
}

/// Follows a reference, if it is one. `None` when it leads nowhere.
pub(super) fn resolve<'a>(doc: &'a Document, object: &'a Object) -> Option<&'a Object> {
    doc.dereference(object).ok().map(|(_, object)| object)
}

/// The numbers of an array, references followed; `None` when one is not a finite number.
pub(super) fn numbers(doc: &Document, object: &Object) -> Option<Vec<f64>> {
    let array = resolve(doc, object)?.as_array().ok()?;
    array.iter().map(|item| resolve(doc, item).and_then(number)).collect()
}

/// A finite number.
pub(super) fn number(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from).filter(|value| value.is_finite())
}

/// A rectangle written as an array of four numbers.
pub(super) fn rect(doc: &Document, object: &Object) -> Option<Rect> {
    match numbers(doc, object)?[..] {
        [x0, y0, x1, y1] => Some(Rect::new(x0, y0, x1, y1)),
        _ => None,
    }
}

/// A matrix written as an array of six numbers.
pub(super) fn matrix(doc: &Document, object: &Object) -> Option<Matrix> {
    let values = numbers(doc, object)?;
    <[f64; 6]>::try_from(values).ok().map(Matrix)
}
