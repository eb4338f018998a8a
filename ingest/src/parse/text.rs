//! Bytes of unknown encoding to text, and plain text files.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, MACINTOSH, UTF_8, UTF_16BE, UTF_16LE};
use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};

use super::{Limits, Page, ParseError, Parsed};
use crate::document::Finding;

/// A NUL among this many first bytes means that the file is no text; git decides the same way.
const NUL_SEARCH_BYTES: usize = 8_000;

/// Text from bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// The text, its lines ended by `\n`.
    pub(crate) text: Cow<'a, str>,
    /// The encoding's name.
    pub(crate) encoding: &'static str,
    /// Places where bytes meant nothing in that encoding and `U+FFFD` stands instead.
    pub(crate) n_replaced: usize,
}

impl Decoded<'_> {
    /// What a reader should know of the decoding, if anything.
    pub(crate) fn finding(&self) -> Option<Finding> {
        (self.n_replaced > 0).then(|| Finding::LeftOut {
            what: format!(
                "{} byte sequences that are not valid {}, shown as \u{FFFD}",
                self.n_replaced, self.encoding
            ),
        })
    }
}

/// Parses a plain text file: its text as it is. No heading is invented.
///
/// # Errors
///
/// When the file is empty, binary, or over a limit.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let decoded = decode(bytes)?;
    let findings = Vec::from_iter(decoded.finding());
    one_page(Parsed { findings, ..Parsed::default() }, decoded.text.into_owned(), limits)
}

/// Puts the whole text of a format without pages in place.
///
/// # Errors
///
/// When there is no text and nothing to report either, or more text than the limit.
pub(crate) fn one_page(
    parsed: Parsed,
    text: String,
    limits: &Limits,
) -> Result<Parsed, ParseError> {
    check_size(text.len(), limits)?;
    if text.trim().is_empty() && parsed.findings.is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(Parsed { pages: vec![Page { number: None, text }], ..parsed })
}

/// Holds an amount of extracted text against the limit.
pub(crate) fn check_size(n_bytes: usize, limits: &Limits) -> Result<(), ParseError> {
    if n_bytes <= limits.text_bytes_max {
        return Ok(());
    }
    Err(ParseError::OverLimit {
        what: format!("text of {n_bytes} bytes or more"),
        limit: format!("{} bytes", limits.text_bytes_max),
    })
}

/// Decodes text: by its byte order mark, as UTF-8, or by what the bytes look like.
///
/// # Errors
///
/// [`ParseError::Corrupt`] when the bytes are no text, [`ParseError::Empty`] when there are none.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded<'_>, ParseError> {
    decode_as(bytes, None)
}

/// Decodes text that may state its own encoding. The statement counts only where the bytes do
/// not speak for themselves: files are re-encoded more often than their statements are updated.
///
/// # Errors
///
/// As [`decode`].
pub(crate) fn decode_as<'a>(
    bytes: &'a [u8],
    stated: Option<&'static Encoding>,
) -> Result<Decoded<'a>, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    let (encoding, bom_bytes) =
        Encoding::for_bom(bytes).unwrap_or_else(|| (guess(bytes, stated), 0));
    let body = &bytes[bom_bytes..];
    let (text, malformed) = encoding.decode_without_bom_handling(body);
    if is_binary(&text) {
        return Err(ParseError::Corrupt { detail: "binary data, not text".to_owned() });
    }
    let n_replaced = match malformed {
        // Counted in the bytes: a U+FFFD that the file itself holds was lost earlier.
        true if encoding == UTF_8 => body.utf8_chunks().filter(|c| !c.invalid().is_empty()).count(),
        true => text.matches('\u{FFFD}').count(),
        false => 0,
    };
    let n_nul = if text.contains('\0') { text.matches('\0').count() } else { 0 };
    let text = if n_nul > 0 { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { text };
    Ok(Decoded {
        text: unix_lines(text),
        encoding: encoding.name(),
        n_replaced: n_replaced + n_nul,
    })
}

/// The most likely encoding of bytes without a byte order mark.
fn guess(bytes: &[u8], stated: Option<&'static Encoding>) -> &'static Encoding {
    if let Some(utf16) = guess_utf16(bytes) {
        return utf16;
    }
    if mostly_utf8(bytes) {
        return UTF_8;
    }
    if let Some(stated) = stated.filter(|&it| it != UTF_8) {
        return stated;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let guessed = detector.guess(None, Utf8Detection::Deny);
    if guessed.is_single_byte() && looks_like_macintosh(bytes) { MACINTOSH } else { guessed }
}

/// UTF-16 without its mark shows as a NUL in every other byte of Latin text.
fn guess_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(NUL_SEARCH_BYTES)];
    let nuls = |odd: usize| sample.iter().skip(odd).step_by(2).filter(|&&b| b == 0).count();
    let (even, odd) = (nuls(0), nuls(1));
    let many = sample.len() / 4;
    match (even, odd) {
        (0, odd) if odd > many => Some(UTF_16LE),
        (even, 0) if even > many => Some(UTF_16BE),
        _ => None,
    }
}

/// Whether the bytes are UTF-8, perhaps with a few damaged places. In an accented text of another
/// encoding nearly every accented letter is an invalid sequence.
fn mostly_utf8(bytes: &[u8]) -> bool {
    if std::str::from_utf8(bytes).is_ok() {
        return true;
    }
    let (mut n_valid, mut n_invalid) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        n_valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        n_invalid += usize::from(!chunk.invalid().is_empty());
    }
    n_valid > n_invalid
}

/// Whether accented letters are where old Macintosh files have them. The detector does not know
/// that encoding; its `é è à ê ç ù` are controls or rare signs in every other Latin one.
fn looks_like_macintosh(bytes: &[u8]) -> bool {
    let (mut mac, mut other) = (0, 0);
    for pair in bytes.windows(2).filter(|pair| pair[0].is_ascii_alphabetic()) {
        match pair[1] {
            0x88 | 0x8D | 0x8E | 0x8F | 0x90 | 0x9D => mac += 1,
            0xE0..=0xFF => other += 1,
            _ => {}
        }
    }
    mac > other
}

/// Whether decoded text is really some other kind of file.
fn is_binary(text: &str) -> bool {
    let head = &text.as_bytes()[..text.len().min(NUL_SEARCH_BYTES)];
    let n_controls = |bytes: &[u8]| {
        let strange = |b: &&u8| **b < 0x20 && !matches!(**b, b'\t' | b'\n' | 0x0C | b'\r' | 0x1B);
        bytes.iter().filter(strange).count()
    };
    head.contains(&0) || n_controls(text.as_bytes()) > text.len() / 100
}

/// Line ends as `\n`.
fn unix_lines(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        text
    }
}

/// Reads a date as people and programs write it, to seconds since 1970. Without a time zone, UTC.
///
/// Understood: RFC 3339 and what resembles it (`2024-05-01`, `2024-05-01 10:00:00 +0200`), and
/// RFC 2822 (`Wed, 01 May 2024 10:00:00 +0200`). Not `01/05/2024`, which is another day for
/// another reader.
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let utc = |at: civil::DateTime| at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let at = text.parse::<Timestamp>().ok();
    let at = at.or_else(|| Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text).ok());
    let at = at.or_else(|| text.parse::<civil::DateTime>().ok().and_then(utc));
    let at =
        at.or_else(|| text.parse::<civil::Date>().ok().and_then(|day| utc(day.at(0, 0, 0, 0))));
    let at = at.or_else(|| rfc2822::parse(text).ok().map(|at| at.timestamp()));
    at.map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str, n_replaced: usize) {
        let decoded = decode(bytes).unwrap();
        assert_eq!((&*decoded.text, decoded.n_replaced), (expected, n_replaced), "{decoded:?}");
        assert_eq!(decoded.finding().is_some(), n_replaced > 0);
    }

    const FRENCH: &str = "Les congés payés sont posés dès l’été, à Noël ou après : où ça ?";

    #[test]
    fn utf8_stays_with_or_without_a_mark() {
        check(FRENCH.as_bytes(), FRENCH, 0);
        check(format!("\u{FEFF}{FRENCH}").as_bytes(), FRENCH, 0);
    }

    #[test]
    fn utf16_is_read_with_or_without_a_mark() {
        let little: Vec<u8> = FRENCH.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = FRENCH.encode_utf16().flat_map(u16::to_be_bytes).collect();
        check(&little, FRENCH, 0);
        check(&big, FRENCH, 0);
        check(&[b"\xFF\xFE", &*little].concat(), FRENCH, 0);
        check(&[b"\xFE\xFF", &*big].concat(), FRENCH, 0);
    }

    #[test]
    fn windows_1252_is_detected() {
        let (bytes, _, lossy) = encoding_rs::WINDOWS_1252.encode(FRENCH);
        assert!(!lossy);
        check(&bytes, FRENCH, 0);
    }

    #[test]
    fn iso_8859_15_reads_as_its_common_letters() {
        check(b"Les cong\xE9s pay\xE9s d\xE8s l'\xE9t\xE9", "Les congés payés dès l'été", 0);
    }

    #[test]
    fn old_macintosh_files_are_detected() {
        // encoding_rs decodes this encoding but has no encoder for it in the web's sense.
        check(
            b"Les cong\x8Es pay\x8Es sont pos\x8Es d\x8Fs l\xD5\x8Et\x8E, \x88 No\x91l",
            "Les congés payés sont posés dès l’été, à Noël",
            0,
        );
    }

    #[test]
    fn damage_in_utf8_is_counted_and_does_not_change_the_encoding() {
        let mut bytes = FRENCH.as_bytes().to_vec();
        bytes.extend(b" fin \xFF\xFE.");
        check(&bytes, &format!("{FRENCH} fin \u{FFFD}\u{FFFD}."), 2);
    }

    #[test]
    fn a_replacement_character_of_the_file_is_not_reported() {
        check("déjà \u{FFFD} perdu".as_bytes(), "déjà \u{FFFD} perdu", 0);
    }

    #[test]
    fn line_ends_become_newlines() {
        check(b"a\r\nb\rc\n\r\n", "a\nb\nc\n\n", 0);
    }

    #[test]
    fn binary_is_refused_and_nothing_is_empty() {
        for bytes in [&b"MZ\x00\x01\x02"[..], b"\x01\x02\x03\x04text", b"\x89PNG\r\n\x1a\n\x00\x00"]
        {
            assert!(matches!(decode(bytes), Err(ParseError::Corrupt { .. })), "{bytes:?}");
        }
        assert!(matches!(decode(b""), Err(ParseError::Empty)));
        assert!(matches!(parse(b" \r\n ", &Limits::default()), Err(ParseError::Empty)));
    }

    #[test]
    fn a_late_nul_in_a_log_is_replaced_and_reported() {
        let mut bytes = b"ligne de journal\n".repeat(1_000);
        bytes.push(0);
        assert_eq!(decode(&bytes).unwrap().n_replaced, 1);
    }

    #[test]
    fn a_stated_encoding_counts_only_where_bytes_are_not_utf8() {
        let cyrillic = b"\xCF\xF0\xE8";
        let stated = Some(encoding_rs::WINDOWS_1251);
        assert_eq!(decode_as(cyrillic, stated).unwrap().text, "При");
        assert_eq!(decode_as("été".as_bytes(), stated).unwrap().text, "été");
    }

    #[test]
    fn text_over_the_limit_is_refused() {
        let limits = Limits { text_bytes_max: 10, ..Limits::default() };
        assert!(matches!(parse(&[b'a'; 11], &limits), Err(ParseError::OverLimit { .. })));
        assert_eq!(parse(&[b'a'; 10], &limits).unwrap().pages[0].text.len(), 10);
    }

    #[test]
    fn dates_are_read_as_written_and_ambiguous_ones_are_not() {
        let noon = Some(1_714_557_600);
        assert_eq!(timestamp("2024-05-01T10:00:00Z"), noon);
        assert_eq!(timestamp("2024-05-01 12:00:00 +0200"), noon);
        assert_eq!(timestamp("2024-05-01T12:00:00+02:00"), noon);
        assert_eq!(timestamp("2024-05-01 10:00:00"), noon);
        assert_eq!(timestamp("Wed, 01 May 2024 12:00:00 +0200"), noon);
        assert_eq!(timestamp("2024-05-01"), Some(1_714_521_600));
        assert_eq!(timestamp("01/05/2024"), None);
        assert_eq!(timestamp("hier"), None);
    }
}
