//! Which text a reader of the page sees.

use super::page::{Drawn, Glyph, Run};
use super::paint::Colour;

/// Smallest size that an eye could read at any zoom a reader would think of, in points.
const SIZE_MIN: f64 = 1.0;
/// Share of the page from which an image counts as a scan of it.
const SCAN_SHARE_MIN: f64 = 0.6;

/// Takes the invisible text out of a page, and returns how many characters that were.
///
/// A page that is an image with its text laid unpainted over it is a scan after OCR: there that
/// text stays, as long as it is (nearly) all the text of the page. A page number stamped onto
/// the scan makes no difference. `None` when cancelled.
pub(super) fn remove_invisible(drawn: &mut Drawn, cancelled: &dyn Fn() -> bool) -> Option<usize> {
    let runs = std::mem::take(&mut drawn.runs);
    let (mut seen, mut hidden) = (Vec::new(), Vec::new());
    for (i, run) in runs.into_iter().enumerate() {
        if i.is_multiple_of(256) && cancelled() {
            return None;
        }
        let side = if is_seen(&run, drawn) { &mut seen } else { &mut hidden };
        side.push(run);
    }
    let n_seen: usize = seen.iter().map(n_chars).sum();
    let n_unpainted: usize = hidden.iter().filter(|run| is_ocr(run)).map(n_chars).sum();
    let is_scan = drawn.image_share >= SCAN_SHARE_MIN && n_seen * 4 < n_unpainted;
    drawn.runs = seen;
    let mut n_hidden = 0;
    for run in hidden {
        if is_scan && is_ocr(&run) {
            drawn.runs.push(run);
        } else {
            n_hidden += n_chars(&run);
        }
    }
    Some(n_hidden)
}

fn n_chars(run: &Run) -> usize {
    run.glyphs.iter().filter(|glyph| !glyph.c.is_whitespace()).count()
}

fn is_ocr(run: &Run) -> bool {
    run.is_unpainted && !run.is_switched_off && run.size >= SIZE_MIN
}

fn is_seen(run: &Run, drawn: &Drawn) -> bool {
    if run.is_unpainted || run.is_switched_off || run.size < SIZE_MIN {
        return false;
    }
    let (Some(first), Some(last)) = (run.glyphs.first(), run.glyphs.last()) else { return false };
    let ends = [middle(run, first), middle(run, last)];
    let is_on_page = ends.iter().any(|&(x, y)| run.clip.contains(x, y, run.size));
    is_on_page && !is_covered(run, drawn, ends) && !is_background(run, drawn, ends)
}

/// The middle of a character's body.
fn middle(run: &Run, glyph: &Glyph) -> (f64, f64) {
    let (sin, cos) = run.angle.sin_cos();
    let (along, up) = (glyph.advance / 2.0, run.size * 0.3);
    (glyph.x + along * cos - up * sin, glyph.y + along * sin + up * cos)
}

/// Whether something opaque was painted over all of it later.
fn is_covered(run: &Run, drawn: &Drawn, ends: [(f64, f64); 2]) -> bool {
    let above = drawn.painted.get(run.n_below..).unwrap_or_default();
    above.iter().filter(|it| it.colour.is_some()).any(|it| {
        // Its whole height must lie under it: a line through a word leaves it readable.
        it.area.height().max(it.area.width()) >= run.size
            && it.area.height().min(it.area.width()) >= run.size * 0.7
            && ends.iter().all(|&(x, y)| it.area.contains(x, y, 0.0))
    })
}

/// Whether its colours are the ones that it stands on.
fn is_background(run: &Run, drawn: &Drawn, ends: [(f64, f64); 2]) -> bool {
    let below = drawn.painted.get(..run.n_below).unwrap_or_default();
    !run.colours.is_empty()
        && ends.iter().all(|&(x, y)| {
            let under = below.iter().rev().find(|it| it.area.contains(x, y, 0.0));
            let ground = under.map_or(Some(Colour::WHITE), |it| it.colour);
            let looks_alike = |colour: &Option<Colour>| {
                colour.zip(ground).is_some_and(|(colour, ground)| colour.looks_like(ground))
            };
            run.colours.iter().all(looks_alike)
        })
}
