//! Fonts: from the codes of a string to text and widths (ISO 32000-1, 9.6 to 9.10).
//!
//! The order of trust for a code's text: the font's ToUnicode map, then its glyph's name
//! (`Differences` over a base encoding, or the encoding written inside a Type 1 font program).

use std::collections::HashMap;

use lopdf::{Dictionary, Document, Encoding, Object, dictionary};

use super::Budget;
use super::cmap::CMap;
use super::geometry::{matrix, number, numbers, rect, resolve};
use super::standard_widths;
use crate::parse::ParseError;

/// What a code means in a font.
#[derive(Debug, Clone)]
pub(super) struct Code {
    /// Its text; `None` when the font does not tell.
    pub(super) text: Option<String>,
    /// Its advance, in units of the size.
    pub(super) width: f64,
    /// Whether word spacing applies: the one-byte code 32.
    pub(super) is_space: bool,
}

/// A font, as far as text needs it.
#[derive(Debug)]
pub(super) struct Font {
    /// Meaning of one-byte codes; empty for a composite font.
    simple: Vec<Code>,
    composite: Option<Composite>,
    pub(super) is_bold: bool,
    pub(super) is_monospaced: bool,
    /// Height of its glyphs in units of the size: 1, but for Type 3 fonts with odd units.
    pub(super) height: f64,
}

#[derive(Debug)]
struct Composite {
    to_unicode: CMap,
    codes: CMap,
    /// Codes are UTF-16 themselves.
    is_utf16: bool,
    widths: HashMap<u32, f64>,
    width_ranges: Vec<(u32, u32, f64)>,
    width_default: f64,
}

impl Font {
    /// Reads a font. What is missing or damaged in it becomes unknown text, not an error; only
    /// the limit on decompressed bytes is one.
    pub(super) fn read(
        doc: &Document,
        dict: &Dictionary,
        budget: &mut Budget,
    ) -> Result<Self, ParseError> {
        let name = dict.get(b"BaseFont").and_then(Object::as_name).unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let subtype = dict.get(b"Subtype").and_then(Object::as_name).unwrap_or_default();
        let to_unicode = match dict.get_deref(b"ToUnicode", doc).and_then(Object::as_stream) {
            Ok(stream) => CMap::parse(&budget.plain(stream)?),
            Err(_) => CMap::default(),
        };
        if subtype == b"Type0" {
            return read_composite(doc, dict, &name, to_unicode, budget);
        }
        let descriptor = dict.get_deref(b"FontDescriptor", doc).and_then(Object::as_dict).ok();
        let is_bold = is_bold(&name, descriptor);
        let unit = match dict.get(b"FontMatrix").ok().and_then(|it| matrix(doc, it)) {
            Some(matrix) if subtype == b"Type3" => matrix.0[0].abs(),
            _ => 0.001,
        };
        let widths = Widths::read(doc, dict, descriptor);
        let names = glyph_texts(doc, dict, descriptor, &name, budget)?;
        let simple = names.into_iter().zip(0u32..).map(|(named, code)| {
            let text = to_unicode.get(code).or(named);
            let standard = || {
                let c = text.as_deref().and_then(|text| text.chars().next()).unwrap_or('n');
                standard_widths::width(&name, is_bold, c)
            };
            let width = widths.get(code).unwrap_or_else(standard) * unit;
            Code { text, width, is_space: code == 32 }
        });
        Ok(Self {
            simple: simple.collect(),
            composite: None,
            is_bold,
            is_monospaced: is_monospaced(&name, descriptor),
            height: if subtype == b"Type3" { type3_height(doc, dict) } else { 1.0 },
        })
    }

    /// A font that tells nothing, for names that lead nowhere.
    pub(super) fn unknown() -> Self {
        let code = |code: u8| Code { text: None, width: 0.5, is_space: code == 32 };
        Self {
            simple: (0..=255).map(code).collect(),
            composite: None,
            is_bold: false,
            is_monospaced: false,
            height: 1.0,
        }
    }

    /// The codes of a string, in order.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<Code> {
        let Some(composite) = &self.composite else {
            return bytes.iter().map(|byte| self.simple[usize::from(*byte)].clone()).collect();
        };
        let mut res = Vec::with_capacity(bytes.len() / 2);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (code, length) = composite.codes.next_code(rest);
            rest = rest.get(length..).unwrap_or_default();
            res.push(composite.code(code, length));
        }
        res
    }
}

impl Composite {
    fn code(&self, code: u32, length: usize) -> Code {
        let utf16 = || char::from_u32(code).filter(|_| self.is_utf16).map(String::from);
        let in_range = || {
            let after = self.width_ranges.partition_point(|range| range.0 <= code);
            let range = self.width_ranges[..after].last()?;
            (code <= range.1).then_some(range.2)
        };
        let width = self.widths.get(&code).copied().or_else(in_range);
        Code {
            text: self.to_unicode.get(code).or_else(utf16),
            width: width.unwrap_or(self.width_default) / 1000.0,
            is_space: length == 1 && code == 32,
        }
    }
}

fn read_composite(
    doc: &Document,
    dict: &Dictionary,
    name: &str,
    to_unicode: CMap,
    budget: &mut Budget,
) -> Result<Font, ParseError> {
    let empty = Dictionary::new();
    let descendants = dict.get_deref(b"DescendantFonts", doc).and_then(Object::as_array);
    let descendant = descendants
        .ok()
        .and_then(|fonts| resolve(doc, fonts.first()?)?.as_dict().ok())
        .unwrap_or(&empty);
    let descriptor = descendant.get_deref(b"FontDescriptor", doc).and_then(Object::as_dict).ok();
    let encoding = dict.get_deref(b"Encoding", doc).ok();
    let mut codes = CMap::default();
    if let Some(Object::Stream(stream)) = encoding {
        codes = CMap::parse(&budget.plain(stream)?);
    }
    if !codes.has_codespaces() {
        codes = CMap::parse(b"begincodespacerange <0000> <FFFF> endcodespacerange");
    }
    let encoding = encoding.and_then(|it| it.as_name().ok()).unwrap_or_default();
    let encoding = String::from_utf8_lossy(encoding);
    let mut composite = Composite {
        to_unicode,
        codes,
        is_utf16: encoding.contains("UCS2") || encoding.contains("UTF16"),
        widths: HashMap::new(),
        width_ranges: Vec::new(),
        width_default: descendant
            .get_deref(b"DW", doc)
            .ok()
            .and_then(number)
            .unwrap_or(1000.0),
    };
    if let Ok(array) = descendant.get_deref(b"W", doc).and_then(Object::as_array) {
        read_composite_widths(doc, array, &mut composite);
        composite.width_ranges.sort_by_key(|range| range.0);
    }
    Ok(Font {
        simple: Vec::new(),
        composite: Some(composite),
        is_bold: is_bold(name, descriptor),
        is_monospaced: is_monospaced(name, descriptor),
        height: 1.0,
    })
}

/// `c [w1 w2 …]` or `first last w`, repeated (ISO 32000-1, 9.7.4.3).
fn read_composite_widths(doc: &Document, array: &[Object], composite: &mut Composite) {
    let mut items = array.iter().filter_map(|item| resolve(doc, item));
    while let Some(first) = items.next() {
        let Some(first) = first.as_i64().ok().and_then(|it| u32::try_from(it).ok()) else { return };
        match items.next() {
            Some(list @ Object::Array(_)) => {
                let widths = numbers(doc, list).unwrap_or_default();
                composite.widths.extend((first..).zip(widths));
            }
            Some(last) => {
                let last = last.as_i64().ok().and_then(|it| u32::try_from(it).ok());
                let width = items.next().and_then(number);
                let (Some(last), Some(width)) = (last, width) else { return };
                composite.width_ranges.push((first, last, width));
            }
            None => return,
        }
    }
}

/// Widths of one-byte codes, in units of the font.
struct Widths {
    first: u32,
    widths: Vec<f64>,
    missing: Option<f64>,
}

impl Widths {
    fn read(doc: &Document, dict: &Dictionary, descriptor: Option<&Dictionary>) -> Self {
        let first = dict.get_deref(b"FirstChar", doc).and_then(Object::as_i64).unwrap_or(0);
        let widths = dict.get(b"Widths").ok().and_then(|it| numbers(doc, it));
        let missing = descriptor
            .filter(|_| widths.is_some())
            .and_then(|it| it.get_deref(b"MissingWidth", doc).ok())
            .and_then(number);
        Self {
            first: u32::try_from(first).unwrap_or(0),
            widths: widths.unwrap_or_default(),
            missing,
        }
    }

    /// `None` when the font does not state it.
    fn get(&self, code: u32) -> Option<f64> {
        let idx = code.checked_sub(self.first)?;
        self.widths.get(idx as usize).copied().or(self.missing)
    }
}

/// The text of each of the 256 codes by its glyph's name.
fn glyph_texts(
    doc: &Document,
    dict: &Dictionary,
    descriptor: Option<&Dictionary>,
    name: &str,
    budget: &mut Budget,
) -> Result<Vec<Option<String>>, ParseError> {
    let encoding = dict.get_deref(b"Encoding", doc).ok();
    let base = match encoding {
        Some(Object::Name(base)) => Some(base.as_slice()),
        Some(Object::Dictionary(dict)) => {
            dict.get_deref(b"BaseEncoding", doc).and_then(Object::as_name).ok()
        }
        _ => None,
    };
    let subtype = dict.get(b"Subtype").and_then(Object::as_name).unwrap_or_default();
    let mut res = match base {
        Some(base) => base_encoding(base),
        None if subtype == b"TrueType" => base_encoding(b"WinAnsiEncoding"),
        None => base_encoding(b"StandardEncoding"),
    };
    if base.is_none()
        && let Some(descriptor) = descriptor
        && let Ok(program) = descriptor.get_deref(b"FontFile", doc).and_then(Object::as_stream)
    {
        for (code, glyph) in type1_encoding(&budget.plain(program)?) {
            res[usize::from(code)] = glyph_text(&glyph);
        }
    }
    if base.is_none() && ["Symbol", "Wingdings", "Dingbats"].iter().any(|it| name.contains(it)) {
        // Their letters are pictures. Of those, only the bullets matter to a reader.
        res = vec![None; 256];
        for bullet in [0x6c, 0x6e, 0x9f, 0xa7, 0xa8, 0xb7, 0xd8, 0xfc] {
            res[bullet] = Some("•".to_owned());
        }
    }
    if let Some(Object::Dictionary(encoding)) = encoding
        && let Ok(differences) = encoding.get_deref(b"Differences", doc).and_then(Object::as_array)
    {
        let mut code = 0usize;
        for item in differences.iter().filter_map(|item| resolve(doc, item)) {
            match item {
                Object::Name(glyph) => {
                    if let Some(slot) = res.get_mut(code) {
                        *slot = glyph_text(glyph);
                    }
                    code = code.saturating_add(1);
                }
                other => {
                    code = other.as_i64().ok().and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
                }
            }
        }
    }
    Ok(res)
}

/// One of the encodings that the specification names. lopdf has the tables, and shows them
/// through a font's encoding only: hence the font made up for it.
fn base_encoding(name: &[u8]) -> Vec<Option<String>> {
    let font = dictionary! { "Type" => "Font", "Encoding" => Object::Name(name.to_vec()) };
    let doc = Document::new();
    let encoding = font.get_font_encoding(&doc).ok();
    let text = |code: u8| match &encoding {
        Some(encoding @ Encoding::OneByteEncoding(_)) => {
            encoding.bytes_to_string(&[code]).ok().filter(|text| !text.is_empty())
        }
        _ => None,
    };
    (0..=255).map(text).collect()
}

/// The text of a glyph by its name: `uniXXXX`, `uXXXXX`, names joined by `_`, a suffix after a
/// full stop, else Adobe's glyph list (https://github.com/adobe-type-tools/agl-specification).
fn glyph_text(name: &[u8]) -> Option<String> {
    let name = str::from_utf8(name).ok()?;
    let name = name.split('.').next().filter(|name| !name.is_empty())?;
    let mut res = String::new();
    for part in name.split('_') {
        let by_code = part.strip_prefix("uni").or_else(|| part.strip_prefix('u'));
        let code = by_code
            .filter(|hex| (4..=6).contains(&hex.len()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32);
        match code {
            Some(c) => res.push(c),
            None => res.push_str(&listed_glyph(part)?),
        }
    }
    Some(res)
}

/// Adobe's glyph list, again through lopdf's font encodings.
fn listed_glyph(name: &str) -> Option<String> {
    let differences = vec![Object::Integer(1), Object::Name(name.as_bytes().to_vec())];
    let font = dictionary! {
        "Type" => "Font",
        "Encoding" => dictionary! { "Differences" => differences },
    };
    let doc = Document::new();
    match font.get_font_encoding(&doc).ok()? {
        // An unknown name gives the bare standard encoding, which has nothing at code 1.
        encoding @ Encoding::Differences(_) => {
            encoding.bytes_to_string(&[1]).ok().filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// `dup 65 /A put` in the clear part of a Type 1 font program.
fn type1_encoding(program: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let find = |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).position(|it| it == word);
    let Some(start) = find(program, b"/Encoding") else { return Vec::new() };
    let rest = &program[start..];
    let end = find(rest, b"currentfile").unwrap_or(rest.len());
    let is_gap = |byte: &u8| byte.is_ascii_whitespace();
    let words: Vec<&[u8]> =
        rest[..end].split(is_gap).filter(|word| !word.is_empty()).take(2048).collect();
    let entry = |it: &[&[u8]]| match it {
        [b"dup", code, name, b"put"] => {
            let code = str::from_utf8(code).ok()?.parse().ok()?;
            Some((code, name.strip_prefix(b"/")?.to_vec()))
        }
        _ => None,
    };
    words.windows(4).filter_map(entry).collect()
}

fn is_bold(name: &str, descriptor: Option<&Dictionary>) -> bool {
    const FORCE_BOLD: i64 = 1 << 18;
    let lower = name.to_ascii_lowercase();
    let by_name = ["bold", "black", "heavy", "cmbx", "-medi"].iter().any(|it| lower.contains(it));
    let weight = descriptor.and_then(|it| it.get(b"FontWeight").ok()).and_then(number);
    let flags = descriptor.and_then(|it| it.get(b"Flags").and_then(Object::as_i64).ok());
    by_name || weight.is_some_and(|it| it >= 600.0) || flags.unwrap_or(0) & FORCE_BOLD != 0
}

fn is_monospaced(name: &str, descriptor: Option<&Dictionary>) -> bool {
    let lower = name.to_ascii_lowercase();
    let by_name =
        ["courier", "mono", "consol", "cmtt", "menlo"].iter().any(|it| lower.contains(it));
    let flags = descriptor.and_then(|it| it.get(b"Flags").and_then(Object::as_i64).ok());
    by_name || flags.unwrap_or(0) & 1 != 0
}

/// A Type 3 font chooses its units freely, so that its size alone says nothing.
fn type3_height(doc: &Document, dict: &Dictionary) -> f64 {
    let unit = dict.get(b"FontMatrix").ok().and_then(|it| matrix(doc, it));
    let unit = unit.map_or(0.001, |matrix| matrix.0[3].abs());
    let height = dict.get(b"FontBBox").ok().and_then(|it| rect(doc, it)).map_or(0.0, |it| {
        it.height()
    });
    if height > 0.0 { height * unit } else { 1000.0 * unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_glyphs_become_text() {
        for (name, expected) in [
            ("eacute", Some("é")),
            ("f_f_i", Some("ffi")),
            ("uni00E9", Some("é")),
            ("u1F600", Some("😀")),
            ("a.sc", Some("a")),
            ("union", Some("∪")),
            ("g123", None),
            (".notdef", None),
        ] {
            assert_eq!(glyph_text(name.as_bytes()).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn base_encodings_are_those_of_the_specification() {
        let win = base_encoding(b"WinAnsiEncoding");
        assert_eq!(win[0xe9].as_deref(), Some("é"));
        assert_eq!(win[0x80].as_deref(), Some("€"));
        assert_eq!(base_encoding(b"MacRomanEncoding")[0x8e].as_deref(), Some("é"));
        assert_eq!(base_encoding(b"StandardEncoding")[0xae].as_deref(), Some("ﬁ"));
        assert_eq!(base_encoding(b"Nonsense"), vec![None; 256]);
    }

    #[test]
    fn the_encoding_inside_a_type1_program_is_read() {
        let program = b"/FontName /X def /Encoding 256 array\ndup 65 /eacute put\n\
            dup 300 /a put readonly def currentfile eexec dup 66 /b put";
        assert_eq!(type1_encoding(program), vec![(65, b"eacute".to_vec())]);
    }
}
