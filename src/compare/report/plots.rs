//! Plots as SVG: sizes in pixels, colours from the page's style sheet.

use std::fmt::Write as _;

use super::html::escape;
use crate::eval::metrics::Mean;

/// Width of a plot.
const WIDTH: f64 = 720.0;
/// Width of the names on its left.
const NAMES: f64 = 230.0;
/// Width of the figures on its right.
const FIGURES: f64 = 130.0;
/// Height of a line.
const LINE: f64 = 24.0;

/// A line of a plot.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) mean: Mean,
    pub(super) figures: String,
    /// The class that colours it.
    pub(super) class: String,
}

/// Where a value stands.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        NAMES + share.clamp(0.0, 1.0) * (WIDTH - NAMES - FIGURES)
    }
}

fn open(title: &str, n_lines: usize) -> String {
    let height = (n_lines as f64 + 1.5) * LINE;
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>"
    )
}

fn text(res: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = escape(text);
    let _ = write!(res, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn line(res: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = write!(
        res,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn names(res: &mut String, mark: &Mark, y: f64) {
    text(res, (NAMES - 10.0, y + 4.0), "end", &mark.name);
    text(res, (WIDTH - FIGURES + 10.0, y + 4.0), "start", &mark.figures);
}

/// Differences with their intervals around 0, in points of a share.
pub(super) fn intervals(title: &str, marks: &[Mark]) -> String {
    let reach = marks.iter().flat_map(|it| [it.mean.low.abs(), it.mean.high.abs()]);
    let reach = reach.fold(0.05, f64::max) * 1.05;
    let scale = Scale { low: -reach, high: reach };
    let mut res = open(title, marks.len());
    let bottom = (marks.len() as f64 + 0.4) * LINE;
    line(&mut res, "zero", (scale.x(0.0), 4.0), (scale.x(0.0), bottom));
    for value in [-reach, 0.0, reach] {
        let shown = format!("{:+.0}", 100.0 * value).replace("+0", "0").replace("-0", "0");
        text(&mut res, (scale.x(value), bottom + 16.0), "middle", &shown);
    }
    for (i, mark) in marks.iter().enumerate() {
        let y = (i as f64 + 0.7) * LINE;
        let (low, high) = (scale.x(mark.mean.low), scale.x(mark.mean.high));
        line(&mut res, &mark.class, (low, y), (high, y));
        for end in [low, high] {
            line(&mut res, &mark.class, (end, y - 4.0), (end, y + 4.0));
        }
        let (x, class) = (scale.x(mark.mean.value), &mark.class);
        let _ = write!(res, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"/>");
        names(&mut res, mark, y);
    }
    res + "</svg>"
}

/// Bars from 0 to the mean, with a line over the interval. `high` is the end of the scale.
pub(super) fn bars(title: &str, marks: &[Mark], high: f64) -> String {
    let scale = Scale { low: 0.0, high: if high > 0.0 { high } else { 1.0 } };
    let mut res = open(title, marks.len());
    for (i, mark) in marks.iter().enumerate() {
        let y = (i as f64 + 0.7) * LINE;
        let (x, width) = (scale.x(0.0), scale.x(mark.mean.value) - scale.x(0.0));
        let (class, top) = (&mark.class, y - 7.0);
        let _ = write!(
            res,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"14\" rx=\"2\"/>"
        );
        line(&mut res, "whisker", (scale.x(mark.mean.low), y), (scale.x(mark.mean.high), y));
        names(&mut res, mark, y);
    }
    res + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_where_its_value_is() {
        let mark = |value: f64| Mark {
            name: "a < b".to_owned(),
            mean: Mean { value, low: value - 0.1, high: value + 0.1 },
            figures: String::new(),
            class: "arm0".to_owned(),
        };
        let middle = NAMES + (WIDTH - NAMES - FIGURES) / 2.0;
        let plot = intervals("t", &[mark(0.0)]);
        assert!(plot.contains(&format!("cx=\"{middle:.1}\"")), "{plot}");
        assert!(plot.contains("a &lt; b"), "{plot}");
        let plot = bars("t", &[mark(0.5)], 1.0);
        let width = (WIDTH - NAMES - FIGURES) / 2.0;
        assert!(plot.contains(&format!("width=\"{width:.1}\"")), "{plot}");
    }
}
