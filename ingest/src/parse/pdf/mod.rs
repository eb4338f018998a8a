//! PDF: the text layer as Markdown, page by page.
//!
//! lopdf opens and decrypts the file and reads its objects. What is on a page, and in what order
//! it is read, is worked out here, because only positions, colours and lines tell invisible text
//! from visible, a table from columns, and one column from the next
//! (`docs/decisions/0002-pdf-text.md`).
//!
//! The path of a page: [`interpreter`] runs its content, [`visible`] takes out what no reader sees,
//! [`layout`], [`columns`] and [`table`] bring it into reading order, [`markdown`] writes it.

mod bidi;
mod cmap;
mod columns;
mod font;
mod geometry;
mod interpreter;
mod layout;
mod markdown;
mod outline;
mod page;
mod paint;
mod standard_widths;
mod table;
mod visible;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use lopdf::xref::XrefRecovery;
use lopdf::{DecompressError, Dictionary, Document, Error, LoadOptions, Object, ObjectId, Stream};

use super::{Limits, Page, ParseError, Parsed};
use crate::document::{Finding, Hidden, Metadata};
use page::Shared;

/// Bytes that one object stream of the file's structure may decompress to. All of it becomes
/// objects in memory, several at once, so that the limit on the file would be too much for one.
const STRUCTURE_BYTES_MAX: usize = 64 << 20;

/// Bytes that one stream may decompress to: it is held in memory as a whole.
const STREAM_BYTES_MAX: u64 = 128 << 20;

/// Share of a page from which an image without text beside it counts as a scanned page.
const SCANNED_SHARE_MIN: f64 = 0.1;

/// Reads a PDF.
///
/// `passwords` are tried in order after the empty one. `cancelled` is asked at each page and
/// now and then within one; when it says yes, the answer is
/// [`ParseError::TimedOut`].
///
/// One [`Page`] comes out for each page of the file, also when it holds no text, so that page
/// numbers are true. Lines end in `\n` where they end on the page; a blank line parts
/// paragraphs; tables are pipe rows; headings come from the outline, else from size and weight.
///
/// # Errors
///
/// [`ParseError::Encrypted`] or [`ParseError::WrongPassword`] when no password opens it,
/// [`ParseError::Scan`] when no page has text and some show images, [`ParseError::Empty`] when
/// there is nothing on them, [`ParseError::Drawings`] when there are drawings only,
/// [`ParseError::OverLimit`] and [`ParseError::Corrupt`].
pub fn parse(
    bytes: &[u8],
    limits: &Limits,
    passwords: &[String],
    cancelled: &dyn Fn() -> bool,
) -> Result<Parsed, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    if bytes.len() as u64 > limits.bytes_max {
        return Err(over(format!("file of {} bytes", bytes.len()), limits.bytes_max, "bytes"));
    }
    let doc = open(bytes, limits, passwords)?;
    let pages: Vec<ObjectId> = doc.page_iter().take(limits.pages_max as usize + 1).collect();
    if pages.len() > limits.pages_max as usize {
        return Err(over("number of pages".to_owned(), limits.pages_max.into(), "pages"));
    }
    if pages.is_empty() {
        return Err(ParseError::Corrupt { detail: "it has no pages that can be found".to_owned() });
    }
    let mut seen = Seen::default();
    let mut shared = Shared::new(&doc, Budget::new(limits));
    let mut blocks = Vec::with_capacity(pages.len());
    let timed_out = || ParseError::TimedOut { seconds: limits.seconds_max };
    for (page_id, number) in pages.iter().zip(1u32..) {
        if cancelled() {
            return Err(timed_out());
        }
        let mut drawn = page::draw(&mut shared, *page_id, cancelled)?;
        let n_hidden = visible::remove_invisible(&mut drawn, cancelled);
        seen.n_hidden += n_hidden.ok_or_else(timed_out)?;
        seen.note(number, &drawn);
        if seen.n_chars > limits.text_bytes_max {
            return Err(over("text".to_owned(), limits.text_bytes_max as u64, "bytes"));
        }
        blocks.push(layout::blocks(&drawn));
    }
    seen.n_undecoded = shared.budget.n_undecoded;
    let damage = seen.damage(&doc, pages.len());
    if seen.n_chars == 0 && seen.n_hidden == 0 {
        return Err(match damage {
            Some(detail) => ParseError::Corrupt { detail },
            None => seen.without_text(),
        });
    }
    let texts = markdown::write(blocks, &outline::read(&doc, &pages));
    if texts.iter().map(String::len).sum::<usize>() > limits.text_bytes_max {
        return Err(over("text".to_owned(), limits.text_bytes_max as u64, "bytes"));
    }
    let pages = texts.into_iter().zip(1u32..);
    Ok(Parsed {
        title: outline::title(&doc),
        pages: pages.map(|(text, number)| Page { number: Some(number), text }).collect(),
        metadata: Metadata { modified: outline::modified(&doc), ..Metadata::default() },
        findings: damage
            .map(|what| Finding::Damaged { what })
            .into_iter()
            .chain(seen.findings())
            .collect(),
    })
}

fn over(what: String, limit: u64, unit: &str) -> ParseError {
    ParseError::OverLimit { what, limit: format!("{limit} {unit}") }
}

/// Opens a file with the first password that fits.
fn open(bytes: &[u8], limits: &Limits, passwords: &[String]) -> Result<Document, ParseError> {
    let structure_max = usize::try_from(limits.decompressed_bytes_max).unwrap_or(usize::MAX);
    let load = |password: Option<String>| {
        let options = LoadOptions {
            password,
            max_decompressed_size: Some(structure_max.min(STRUCTURE_BYTES_MAX)),
            ..LoadOptions::default()
        };
        Document::load_mem_with_options(bytes, options)
    };
    match load(None) {
        Ok(doc) if !doc.is_encrypted() => return Ok(doc),
        Ok(_) | Err(Error::InvalidPassword) => {}
        Err(err) => return Err(damaged(&err)),
    }
    for password in passwords {
        match load(Some(password.clone())) {
            Ok(doc) if !doc.is_encrypted() => return Ok(doc),
            // Not every failure to decrypt says that the password was the reason.
            Ok(_) | Err(Error::InvalidPassword | Error::Decryption(_)) => {}
            Err(err) => return Err(damaged(&err)),
        }
    }
    Err(if passwords.is_empty() { ParseError::Encrypted } else { ParseError::WrongPassword })
}

fn damaged(err: &Error) -> ParseError {
    match err {
        Error::Decompress(DecompressError::MemoryLimitExceeded { limit }) => {
            over("size after decompression".to_owned(), *limit as u64, "bytes")
        }
        err => ParseError::Corrupt { detail: err.to_string() },
    }
}

/// What the pages' reader should know, gathered page by page.
#[derive(Debug, Default)]
struct Seen {
    n_chars: usize,
    n_hidden: usize,
    scanned: Vec<u32>,
    unreadable: Vec<(u32, String)>,
    /// Pages that are named and are not in the file, or not all of them.
    n_missing: usize,
    /// Streams that could not be decompressed.
    n_undecoded: usize,
    has_drawings: bool,
}

impl Seen {
    fn note(&mut self, number: u32, drawn: &page::Drawn) {
        let glyphs = drawn.runs.iter().flat_map(|run| &run.glyphs);
        let n_chars = glyphs.filter(|glyph| glyph.c != ' ').count();
        self.n_chars += n_chars;
        self.n_missing += usize::from(drawn.is_missing);
        self.has_drawings |= drawn.n_paths > 0 || drawn.image_share > 0.0;
        if n_chars == 0 && drawn.image_share >= SCANNED_SHARE_MIN {
            self.scanned.push(number);
        }
        if let Some(reason) = drawn.left_out {
            self.unreadable.push((number, format!("part of page {number}: {reason}")));
        }
        if drawn.n_unknown > 0 {
            let n = drawn.n_unknown;
            let what = format!("{n} characters of page {number}: their font does not name them");
            self.unreadable.push((number, what));
        }
    }

    /// Why there is no text in a file that is whole.
    fn without_text(&self) -> ParseError {
        match self {
            Self { scanned, unreadable, .. } if !scanned.is_empty() || !unreadable.is_empty() => {
                ParseError::Scan
            }
            Self { has_drawings: true, .. } => ParseError::Drawings,
            _ => ParseError::Empty,
        }
    }

    /// What is missing from a damaged file, in words; `None` when nothing seems to be.
    fn damage(&self, doc: &Document, n_found: usize) -> Option<String> {
        let n_read = n_found - self.n_missing;
        let n_pages = n_found.max(stated_pages(doc).unwrap_or(0));
        let pages = format!("{n_read} of {n_pages} pages read");
        if n_read < n_pages {
            return Some(pages);
        }
        if self.n_undecoded > 0 {
            let n = self.n_undecoded;
            return Some(format!("{pages}, without {n} parts that cannot be decompressed"));
        }
        let is_rebuilt = doc.xref_recovery == Some(XrefRecovery::Reconstructed);
        is_rebuilt.then(|| format!("{pages}; its list of objects is lost, parts may be missing"))
    }

    fn findings(self) -> Vec<Finding> {
        let mut res = Vec::new();
        if self.n_hidden > 0 {
            res.push(Finding::InvisibleText { kind: Hidden::Pdf, n_chars: self.n_hidden });
        }
        if !self.scanned.is_empty() {
            res.push(Finding::NoTextLayer { pages: self.scanned });
        }
        res.extend(self.unreadable.into_iter().map(|(_, what)| Finding::LeftOut { what }));
        res
    }
}

/// The number of pages that the root of the page tree states.
fn stated_pages(doc: &Document) -> Option<usize> {
    let root = doc.catalog().ok()?.get_deref(b"Pages", doc).ok()?.as_dict().ok()?;
    let n = root.get_deref(b"Count", doc).ok()?.as_i64().ok()?;
    // A wild number tells nothing about pages.
    usize::try_from(n).ok().filter(|&n| n <= doc.objects.len().max(100_000))
}

/// What is left of the limit on decompressed bytes. A stream that many pages share counts once.
#[derive(Debug)]
struct Budget {
    left: u64,
    bytes_max: u64,
    seconds_max: u64,
    counted: HashSet<ObjectId>,
    /// Streams that could not be decompressed.
    n_undecoded: usize,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        Self {
            left: limits.decompressed_bytes_max,
            bytes_max: limits.decompressed_bytes_max,
            seconds_max: limits.seconds_max,
            counted: HashSet::new(),
            n_undecoded: 0,
        }
    }

    /// A stream's bytes, decompressed. A damaged one gives what could be read of it.
    fn plain(&mut self, stream: &Stream) -> Result<Vec<u8>, ParseError> {
        let limit = usize::try_from(self.left.min(STREAM_BYTES_MAX)).unwrap_or(usize::MAX);
        match stream.get_plain_content_with_limit(limit) {
            Ok(bytes) => {
                self.left -= (bytes.len() as u64).min(self.left);
                Ok(bytes)
            }
            Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                let limit = self.bytes_max.min(STREAM_BYTES_MAX);
                Err(over("size after decompression".to_owned(), limit, "bytes"))
            }
            Err(_) => {
                self.n_undecoded += 1;
                Ok(Vec::new())
            }
        }
    }

    /// A stream by its reference.
    fn stream(&mut self, entry: &Object, stream: &Stream) -> Result<Vec<u8>, ParseError> {
        let before = self.left;
        let bytes = self.plain(stream)?;
        if entry.as_reference().is_ok_and(|id| !self.counted.insert(id)) {
            self.left = before;
        }
        Ok(bytes)
    }

    /// A page's content: one stream, or several that are one.
    fn page_content(&mut self, doc: &Document, page: &Dictionary) -> Result<Vec<u8>, ParseError> {
        let mut res = Vec::new();
        let Ok(contents) = page.get(b"Contents") else { return Ok(res) };
        let one = [contents.clone()];
        let parts = match geometry::resolve(doc, contents) {
            Some(Object::Array(parts)) => parts.as_slice(),
            _ => one.as_slice(),
        };
        for part in parts {
            if let Some(Object::Stream(stream)) = geometry::resolve(doc, part) {
                res.extend(self.stream(part, stream)?);
                if res.len() as u64 > self.bytes_max {
                    return Err(over("content of a page".to_owned(), self.bytes_max, "bytes"));
                }
                // Tokens never continue from one stream to the next.
                res.push(b'\n');
            }
        }
        Ok(res)
    }
}
