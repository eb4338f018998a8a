//! Bytes of unknown encoding to text, and plain text files.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, MACINTOSH, UTF_8, UTF_16BE, UTF_16LE};
use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};

use super::{Limits, Page, ParseError, Parsed};
use crate::document::Finding;

/// A NUL among this many first bytes means that the file is no text; git decides the same way.
const NUL_SEARCH_BYTES: usize = 8_000;

/// Control characters that any text may hold. They are dropped and reported.
const CONTROLS_ALLOWED: usize = 3;

/// Text from bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    /// The text, its lines ended by `\n`.
    pub(crate) text: Cow<'a, str>,
    /// The encoding's name.
    pub(crate) encoding: &'static str,
    /// Places where bytes meant nothing in that encoding and `U+FFFD` stands instead.
    pub(crate) n_replaced: usize,
    /// Control characters, and sequences that colour a terminal, that were dropped.
    pub(crate) n_controls: usize,
}

impl Decoded<'_> {
    /// What a reader should know of the decoding, if anything.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut res = Vec::new();
        if self.n_replaced > 0 {
            let (n, encoding) = (self.n_replaced, self.encoding);
            res.push(Finding::LeftOut {
                what: format!(
                    "{n} byte sequences that are not valid {encoding}, shown as \u{FFFD}"
                ),
            });
        }
        if self.n_controls > 0 {
            let what = format!("{} control characters or terminal codes", self.n_controls);
            res.push(Finding::LeftOut { what });
        }
        res
    }
}

/// Parses a plain text file: its text as it is. No heading is invented.
///
/// # Errors
///
/// When the file is empty, binary, or over a limit.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    let decoded = decode(bytes)?;
    let findings = decoded.findings();
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
    let (text, n_controls) = without_controls(unix_lines(text));
    Ok(Decoded { text, encoding: encoding.name(), n_replaced: n_replaced + n_nul, n_controls })
}

/// Drops control characters, and with ESC the rest of a terminal's code (ECMA-48, 5.4): a log of
/// a console is full of them. Returns how many were dropped.
fn without_controls(text: Cow<'_, str>) -> (Cow<'_, str>, usize) {
    // Decoders and the cleaning step have their own use for these.
    let is_control = |c: char| matches!(c, '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}');
    let Some(first) = text.find(is_control) else { return (text, 0) };
    let mut res = String::with_capacity(text.len());
    res.push_str(&text[..first]);
    let (mut rest, mut n_dropped) = (&text[first..], 0);
    while let Some(at) = rest.find(is_control) {
        res.push_str(&rest[..at]);
        n_dropped += 1;
        let after = &rest[at + 1..];
        let code_len = if rest[at..].starts_with('\u{1b}') { terminal_code_len(after) } else { 0 };
        rest = &after[code_len..];
    }
    res.push_str(rest);
    (Cow::Owned(res), n_dropped)
}

/// Length of the code that an ESC begins: `[31m`, with parameters, intermediates and a final byte.
fn terminal_code_len(text: &str) -> usize {
    let Some(code) = text.strip_prefix('[') else { return 0 };
    let n = code.bytes().take(32).take_while(|b| matches!(b, 0x20..=0x3F)).count();
    let is_final = code.as_bytes().get(n).is_some_and(|b| matches!(b, 0x40..=0x7E));
    if is_final { n + 2 } else { 0 }
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
    // A few are a slip of the keyboard or the codes of a terminal, in however short a text.
    let n_allowed = (text.len() / 100).max(CONTROLS_ALLOWED);
    head.contains(&0) || n_controls(text.as_bytes()) > n_allowed
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
/// another reader; [`written_date`] reads it.
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

/// Reads a date as [`timestamp`] does, and as people write it in a document of theirs:
/// `12 mars 2026`, `1er mars 2026`, `12 March 2026`, `March 12, 2026`, and `12/03/2026`
/// (or with `.` or `-`), where the day comes first as in all of Europe.
pub(crate) fn written_date(text: &str) -> Option<i64> {
    timestamp(text).or_else(|| {
        let text = text.to_lowercase();
        let separators = [' ', ',', '/', '.', '-', '\u{a0}'];
        let mut words = text.split(separators).filter(|it| !it.is_empty());
        let weekday = |it: &str| WEEKDAYS.iter().any(|day| it.starts_with(day));
        let mut next = || words.by_ref().find(|it| !weekday(it) && *it != "le");
        let (first, second, year) = (next()?, next()?, next()?);
        if words.next().is_some() || year.len() != 4 {
            return None;
        }
        let ordinal = |it: &str| -> Option<i8> {
            let digits = it.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let suffix = &it[digits.len()..];
            matches!(suffix, "" | "er" | "st" | "nd" | "rd" | "th").then(|| digits.parse().ok())?
        };
        let (day, month) = match (month(first), month(second)) {
            (Some(month), None) => (ordinal(second)?, month),
            (None, Some(month)) => (ordinal(first)?, month),
            (None, None) => (first.parse().ok()?, second.parse().ok()?),
            (Some(_), Some(_)) => return None,
        };
        let date = civil::Date::new(year.parse().ok()?, month, day).ok()?;
        let at = date.at(0, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?;
        Some(at.timestamp().as_second())
    })
}

/// The beginnings of the days' names, French and English.
const WEEKDAYS: [&str; 14] = [
    "lun", "mardi", "mercr", "jeu", "ven", "sam", "dim", "mon", "tue", "wed", "thu", "fri", "sat",
    "sun",
];

/// A month by its name or its usual abbreviation.
fn month(name: &str) -> Option<i8> {
    Some(match name {
        "janvier" | "janv" | "january" | "jan" => 1,
        "février" | "fevrier" | "févr" | "fév" | "february" | "feb" => 2,
        "mars" | "march" | "mar" => 3,
        "avril" | "avr" | "april" | "apr" => 4,
        "mai" | "may" => 5,
        "juin" | "june" | "jun" => 6,
        "juillet" | "juil" | "july" | "jul" => 7,
        "août" | "aout" | "august" | "aug" => 8,
        "septembre" | "sept" | "september" | "sep" => 9,
        "octobre" | "oct" | "october" => 10,
        "novembre" | "nov" | "november" => 11,
        "décembre" | "decembre" | "déc" | "december" | "dec" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str, n_replaced: usize) {
        let decoded = decode(bytes).unwrap();
        assert_eq!((&*decoded.text, decoded.n_replaced), (expected, n_replaced), "{decoded:?}");
        assert_eq!(decoded.findings().is_empty(), n_replaced == 0);
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

    /// One such character once made a whole log damaged.
    #[test]
    fn a_lone_control_character_is_dropped_and_reported() {
        for (bytes, expected) in [
            (&b"Fin\x1b de l'essai."[..], "Fin de l'essai."),
            (b"\x1b[1;31mErreur\x1b[0m : disque plein", "Erreur : disque plein"),
            (b"Un\x07 bip, \x1b(B fin", "Un bip, (B fin"),
            (b"\x1b", ""),
        ] {
            let decoded = decode(bytes).unwrap();
            assert_eq!(decoded.text, expected);
            let [Finding::LeftOut { what }] = &decoded.findings()[..] else {
                panic!("{decoded:?}")
            };
            assert!(what.contains("control characters"), "{what}");
        }
        let coloured = b"\x1b[32mok\x1b[0m\n".repeat(1_000);
        assert_eq!(decode(&coloured).unwrap().text, "ok\n".repeat(1_000));
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
    fn dates_of_people_are_read_with_the_day_first() {
        let day = Some(1_773_273_600);
        for text in [
            "2026-03-12",
            "12 mars 2026",
            "Jeudi 12 mars 2026",
            "le 12 Mars 2026",
            "12/03/2026",
            "12.03.2026",
            "12-03-2026",
            "March 12, 2026",
            "12th March 2026",
            "Thursday, 12 March 2026",
        ] {
            assert_eq!(written_date(text), day, "{text}");
        }
        assert_eq!(written_date("1er août 2026"), timestamp("2026-08-01"));
        assert_eq!(written_date("1 déc. 2026"), timestamp("2026-12-01"));
        for text in [
            "03/13/2026",
            "12/03/26",
            "mars 2026",
            "hier",
            "30 février 2026",
            "12 mars 2026 ou 2027",
        ] {
            assert_eq!(written_date(text), None, "{text}");
        }
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
