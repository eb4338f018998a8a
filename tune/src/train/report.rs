//! The report of a run: one page without scripts or links, with curves in SVG.

use std::fmt::Write as _;

use serde_json::Value;

use super::ability::{Change, Score};
use super::log::Line;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;
/// How much of the smoothed loss each step keeps.
const SMOOTH: f64 = 0.9;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;\
    padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;\
    margin-top:2rem}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;\
    text-align:left;vertical-align:top}th{font-weight:500;color:#57606a}svg{width:100%;\
    height:auto}text{font:12px system-ui,sans-serif;fill:#57606a}.warning{color:#c2410c}.raw{stroke:#b6c2d1}\
    .line{stroke:#0b57d0}.validation{stroke:#c2410c}polyline{fill:none;stroke-width:1.5}\
    @media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e8ea}\
    th,text{color:#9aa4af;fill:#9aa4af}.raw{stroke:#46505c}.line{stroke:#7cacf8}\
    .validation{stroke:#fb923c}}";

/// What is said where too much was lost.
pub const DROPPED: &str = "the base's general ability dropped: fewer epochs, a lower learning rate \
    or rows of everyday text among the others keep more of it";

/// A curve.
struct Curve<'a> {
    class: &'a str,
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// The page. `record` is what stands in the folder.
pub(super) fn html(record: &Value, lines: &[Line], ability: Option<&Change>) -> String {
    let steps = || {
        lines.iter().filter_map(|it| match it {
            Line::Step(it) => Some(it),
            Line::Validation(_) => None,
        })
    };
    let losses: Vec<(f64, f64)> = steps().map(|it| (it.step as f64, it.loss)).collect();
    let validation: Vec<(f64, f64)> = lines
        .iter()
        .filter_map(|it| match it {
            Line::Validation(it) => Some((it.step as f64, it.loss)),
            Line::Step(_) => None,
        })
        .collect();
    let speeds = |it: &super::log::StepLine| (it.step as f64, it.n_tokens as f64 / it.seconds);
    let mut out = String::new();
    out.push_str("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    let _ = write!(out, "<title>Training report</title><style>{STYLE}</style>");
    out.push_str("<h1>Training report</h1><h2>Loss</h2>");
    out.push_str(&chart(&[
        Curve { class: "raw", name: "each step", points: losses.clone() },
        Curve { class: "line", name: "smoothed", points: smoothed(&losses) },
        Curve { class: "validation", name: "validation", points: validation },
    ]));
    out.push_str("<h2>Learning rate</h2>");
    let rates = steps().map(|it| (it.step as f64, it.learning_rate)).collect();
    out.push_str(&chart(&[Curve { class: "line", name: "", points: rates }]));
    out.push_str("<h2>Tokens per second</h2>");
    let speeds = steps().map(speeds).collect();
    out.push_str(&chart(&[Curve { class: "line", name: "", points: speeds }]));
    if let Some(change) = ability {
        general(&mut out, change);
    }
    out.push_str("<h2>Record</h2><table>");
    table(&mut out, "", record);
    out.push_str("</table></html>\n");
    out
}

/// What the model could do in general, before and after.
fn general(out: &mut String, change: &Change) {
    let Change { before, after } = change;
    out.push_str("<h2>What the base could do, before and after</h2>");
    if change.is_drop() {
        out.push_str("<p class=\"warning\">");
        out.push_str(DROPPED);
        out.push_str("</p>");
    }
    out.push_str(
        "<table><tr><th>General sample</th><th>Perplexity</th><th>Right answers</th></tr>",
    );
    for (name, before, after) in [
        ("all", &before.all, &after.all),
        ("English", &before.en, &after.en),
        ("French", &before.fr, &after.fr),
    ] {
        let Score { perplexity, n_right, n_questions } = before;
        let _ = write!(
            out,
            "<tr><td>{name}</td><td>{} → {}</td><td>{n_right} → {} of {n_questions}</td></tr>",
            short(*perplexity),
            short(after.perplexity),
            after.n_right
        );
    }
    out.push_str("</table>");
}

/// Rows of all plain values of a record; what is drawn or shown above is left out.
fn table(out: &mut String, prefix: &str, value: &Value) {
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}, {key}") };
        match value {
            Value::Object(_) if name == "ability" => {}
            Value::Object(_) => table(out, &name, value),
            Value::Array(items) if items.iter().any(Value::is_array) => {}
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let _ = write!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(&name), items.len());
            }
            Value::Null => {}
            other => {
                let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                let _ = write!(
                    out,
                    "<tr><th>{}</th><td>{}</td></tr>",
                    escaped(&name.replace('_', " ")),
                    escaped(&text)
                );
            }
        }
    }
}

fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut mean = None;
    points
        .iter()
        .map(|&(x, y)| {
            let next = mean.map_or(y, |mean: f64| mean * SMOOTH + y * (1.0 - SMOOTH));
            mean = Some(next);
            (x, next)
        })
        .collect()
}

fn chart(curves: &[Curve<'_>]) -> String {
    let all = || curves.iter().flat_map(|it| &it.points);
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut last = 1.0f64;
    for &(x, y) in all() {
        (low, high, last) = (low.min(y), high.max(y), last.max(x));
    }
    if !low.is_finite() || !high.is_finite() {
        return "<p>Nothing was measured.</p>".to_owned();
    }
    if high - low < 1e-12 {
        (low, high) = (low - 0.5 * low.abs().max(1e-9), high + 0.5 * high.abs().max(1e-9));
    }
    let x_at = |x: f64| LEFT + x / last * (WIDTH - LEFT - 8.0);
    let y_at = |y: f64| TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for tick in 0..=4 {
        let y = low + (high - low) * f64::from(tick) / 4.0;
        let _ = write!(
            out,
            "<line class=\"raw\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{:.1}\" y2=\"{:.1}\" \
             stroke-opacity=\".35\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - 8.0,
            y_at(y),
            y_at(y),
            LEFT - 6.0,
            y_at(y) + 4.0,
            short(y)
        );
        let x = last * f64::from(tick) / 4.0;
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{x:.0}</text>",
            x_at(x),
            HEIGHT - 8.0
        );
    }
    for (idx, curve) in curves.iter().filter(|it| !it.points.is_empty()).enumerate() {
        let points: Vec<String> =
            curve.points.iter().map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y))).collect();
        let (class, points) = (curve.class, points.join(" "));
        let _ = write!(out, "<polyline class=\"{class}\" points=\"{points}\"/>");
        if !curve.name.is_empty() {
            let (x, y) = (WIDTH - 120.0, TOP + 14.0 * (idx as f64 + 1.0));
            let _ = write!(
                out,
                "<line class=\"{class}\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" \
                 stroke-width=\"2\"/><text x=\"{}\" y=\"{y}\">{}</text>",
                x,
                x + 18.0,
                y - 4.0,
                y - 4.0,
                x + 24.0,
                escaped(curve.name)
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// A number with three digits that say something.
fn short(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-3 => format!("{x:.1e}"),
        size if size < 1.0 => format!("{x:.4}"),
        size if size < 100.0 => format!("{x:.2}"),
        _ => format!("{x:.0}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
