//! Forms: content within content, and what is filled into form fields.

use lopdf::content::Operation;
use lopdf::{Dictionary, Object};

use super::{Interpreter, Resources, State};
use crate::parse::ParseError;
use crate::parse::pdf::geometry::{Matrix, matrix, rect, resolve};

/// Forms within forms.
const DEPTH_MAX: usize = 16;

impl<'d> Interpreter<'_, 'd> {
    /// `Do`: an image, or a form with its own content.
    pub(super) fn draw_object(
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
        if depth >= DEPTH_MAX {
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
    pub(in crate::parse::pdf) fn annotations(
        &mut self,
        page: &'d Dictionary,
        start: State,
    ) -> Result<(), ParseError> {
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
            let fit =
                Matrix([sx, 0.0, 0.0, sy, place.x0 - bounds.x0 * sx, place.y0 - bounds.y0 * sy]);
            self.state = start.clone();
            self.state.ctm = fit.then(start.ctm);
            self.form(entry, None, 0)?;
        }
        Ok(())
    }
}
