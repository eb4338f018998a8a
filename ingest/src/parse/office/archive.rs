//! The zip container of an Office file, read under limits that its headers cannot talk away.

use crate::parse::{Limits, ParseError};
use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

/// Members of one archive. Word, Excel and PowerPoint write a few hundred; the largest decks with
/// one picture each stay far below.
const MEMBERS_MAX: usize = 50_000;

/// Bytes of one part. A part is held in memory as a whole, so that the limit on all of them would
/// be too much for one; a sheet of a million rows is about as long.
const PART_BYTES_MAX: u64 = 128 << 20;

/// Bytes up to which a part is decompressed at once. A longer one is first decompressed to nothing,
/// so that a bomb is known before it is held.
const TRUSTED_BYTES: u64 = 8 << 20;

/// The signature of an entry of a zip's central directory, and its least size (APPNOTE 4.3.12).
const MEMBER_SIGNATURE: &[u8] = b"PK\x01\x02";
const MEMBER_BYTES_MIN: usize = 46;

/// The first bytes of an OLE container (MS-CFB 2.2): an encrypted file, or one of before 2007.
const OLE_SIGNATURE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// An open archive and what may still be decompressed from it.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Members by name: lower case, `/` between folders, none in front.
    members: HashMap<String, usize>,
    bytes_left: u64,
    bytes_max: u64,
}

impl<'a> Archive<'a> {
    /// Opens an archive. Nothing is decompressed yet.
    ///
    /// Errors: [`ParseError::Encrypted`], [`ParseError::Unsupported`] for Office files of before
    /// 2007, [`ParseError::OverLimit`] for too many members, else [`ParseError::Corrupt`].
    pub(crate) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, ParseError> {
        if bytes.is_empty() {
            return Err(ParseError::Empty);
        }
        if bytes.starts_with(OLE_SIGNATURE) {
            return Err(ole_error(bytes));
        }
        // Counted before the directory is read: reading it costs far more memory than its bytes.
        if bytes.len() / MEMBER_BYTES_MIN > MEMBERS_MAX {
            let n_members = bytes.windows(4).filter(|it| *it == MEMBER_SIGNATURE).count();
            if n_members > MEMBERS_MAX {
                return Err(ParseError::OverLimit {
                    what: format!("archive of {n_members} members"),
                    limit: format!("{MEMBERS_MAX} members"),
                });
            }
        }
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| zip_error(&error))?;
        let members = (0..zip.len())
            // A name that cannot be read cannot be asked for either.
            .filter_map(|i| Some((normalized(&zip.name_for_index(i)?.ok()?), i)))
            .collect();
        let bytes_max = limits.decompressed_bytes_max;
        Ok(Self { zip, members, bytes_left: bytes_max, bytes_max })
    }

    /// Decompresses a member as XML text; `None` when the archive has no such member.
    ///
    /// UTF-8, and UTF-16 with a byte order mark, are the encodings that OPC allows.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ParseError> {
        let Some(&member) = self.members.get(&normalized(name)) else { return Ok(None) };
        let bytes = self.read(member, name)?;
        let encoding = encoding_rs::Encoding::for_bom(&bytes).map_or(encoding_rs::UTF_8, |it| it.0);
        if encoding == encoding_rs::UTF_8 && !bytes.starts_with(b"\xEF\xBB\xBF") {
            return match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(ParseError::Corrupt {
                    detail: format!("`{name}` is not UTF-8: {}", error.utf8_error()),
                }),
            };
        }
        let (text, _, had_errors) = encoding.decode(&bytes);
        if had_errors {
            let encoding = encoding.name();
            return Err(ParseError::Corrupt { detail: format!("`{name}` is not {encoding}") });
        }
        Ok(Some(text.into_owned()))
    }

    fn read(&mut self, member: usize, name: &str) -> Result<Vec<u8>, ParseError> {
        let limit = self.bytes_left.min(PART_BYTES_MAX);
        let broken = |error: io::Error| ParseError::Corrupt {
            detail: format!("`{name}` cannot be decompressed: {error}"),
        };
        let mut bytes = Vec::new();
        // Declared sizes are not asked: a bomb would lie.
        let mut file = self.zip.by_index(member).map_err(|error| zip_error(&error))?;
        file.by_ref().take(TRUSTED_BYTES.min(limit)).read_to_end(&mut bytes).map_err(broken)?;
        // One byte more than allowed tells a full budget from an exceeded one.
        let mut rest = file.by_ref().take(limit.saturating_add(1) - bytes.len() as u64);
        let n_rest = io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
        drop(file);
        let n_bytes = bytes.len() as u64 + n_rest;
        if n_bytes > limit {
            let (what, limit) = if limit == PART_BYTES_MAX {
                (format!("decompressed size of `{name}`"), PART_BYTES_MAX)
            } else {
                ("decompressed size".to_owned(), self.bytes_max)
            };
            return Err(ParseError::OverLimit { what, limit: format!("{limit} bytes") });
        }
        if n_rest > 0 {
            bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0));
            let file = self.zip.by_index(member).map_err(|error| zip_error(&error))?;
            file.take(n_bytes).read_to_end(&mut bytes).map_err(broken)?;
        }
        self.bytes_left -= n_bytes;
        Ok(bytes)
    }
}

/// The form in which member names are compared: OPC says without regard to case, and some writers
/// use `\` or a leading `/`.
fn normalized(name: &str) -> String {
    name.trim_start_matches('/').replace('\\', "/").to_lowercase()
}

fn zip_error(error: &ZipError) -> ParseError {
    match error {
        ZipError::InvalidPassword => ParseError::Encrypted,
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => ParseError::Encrypted,
        _ => ParseError::Corrupt { detail: format!("not a readable zip container: {error}") },
    }
}

/// Tells what an OLE container is by the names of its streams, which are UTF-16.
fn ole_error(bytes: &[u8]) -> ParseError {
    let holds = |stream: &str| {
        let name: Vec<u8> = stream.encode_utf16().flat_map(u16::to_le_bytes).collect();
        bytes.windows(name.len()).any(|it| it == name)
    };
    if holds("EncryptedPackage") {
        return ParseError::Encrypted;
    }
    let (format, modern) = if holds("WordDocument") {
        ("doc", "docx")
    } else if holds("PowerPoint Document") {
        ("ppt", "pptx")
    } else if holds("Workbook") || holds("Book") {
        ("xls", "xlsx")
    } else {
        ("OLE container", "docx, pptx or xlsx")
    };
    ParseError::Unsupported {
        extension: format!("{format}` of Office 97-2003, save it as `{modern}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::office::fixture::zip_of;

    fn ole(stream: &str) -> Vec<u8> {
        let mut bytes = OLE_SIGNATURE.to_vec();
        bytes.extend([0; 600]);
        bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Archive<'_>, ParseError> {
        Archive::open(bytes, &Limits::default())
    }

    #[test]
    fn encrypted_office_files_are_named_as_such() {
        assert!(matches!(open(&ole("EncryptedPackage")), Err(ParseError::Encrypted)));
    }

    #[test]
    fn files_of_before_2007_say_what_to_do() {
        for (stream, expected) in [
            ("WordDocument", "unsupported format `doc` of Office 97-2003, save it as `docx`"),
            ("Workbook", "unsupported format `xls` of Office 97-2003, save it as `xlsx`"),
            (
                "PowerPoint Document",
                "unsupported format `ppt` of Office 97-2003, save it as `pptx`",
            ),
        ] {
            assert_eq!(open(&ole(stream)).err().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn members_are_found_whatever_their_case_and_slashes() {
        let bytes = zip_of(&[("Word\\Document.xml", "<a/>")]);
        let mut archive = open(&bytes).unwrap();
        assert_eq!(archive.text("/word/document.xml").unwrap().as_deref(), Some("<a/>"));
        assert_eq!(archive.text("word/other.xml").unwrap(), None);
    }

    #[test]
    fn the_budget_covers_all_members_together() {
        let bytes = zip_of(&[("a", &"x".repeat(60)), ("b", &"y".repeat(60))]);
        let limits = Limits { decompressed_bytes_max: 100, ..Limits::default() };
        let mut archive = Archive::open(&bytes, &limits).unwrap();
        assert!(archive.text("a").is_ok());
        assert!(matches!(archive.text("b"), Err(ParseError::OverLimit { .. })));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit_whatever_its_headers_say() {
        let zeros = vec![0; 1 << 20];
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
        for _ in 0..1024 {
            std::io::Write::write_all(&mut zip, &zeros).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        assert!(bytes.len() < 2 << 20, "1 GiB packs into {} bytes", bytes.len());
        let limits = Limits { decompressed_bytes_max: 4 << 20, ..Limits::default() };
        let mut archive = Archive::open(&bytes, &limits).unwrap();
        assert!(matches!(archive.text("a"), Err(ParseError::OverLimit { .. })));
    }

    #[test]
    fn a_long_part_is_read_whole_and_counts_once() {
        let long = "x".repeat(3 * usize::try_from(TRUSTED_BYTES).unwrap() / 2);
        let bytes = zip_of(&[("a", &long), ("b", &long)]);
        let limits = Limits { decompressed_bytes_max: 2 * TRUSTED_BYTES, ..Limits::default() };
        let mut archive = Archive::open(&bytes, &limits).unwrap();
        assert_eq!(archive.text("a").unwrap().unwrap().len(), long.len());
        assert!(matches!(archive.text("b"), Err(ParseError::OverLimit { .. })));
    }

    #[test]
    fn utf16_members_are_read() {
        let mut utf16 = vec![0xFF, 0xFE];
        utf16.extend("<é/>".encode_utf16().flat_map(u16::to_le_bytes));
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &utf16).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        assert_eq!(open(&bytes).unwrap().text("a").unwrap().as_deref(), Some("<é/>"));
    }

    #[test]
    fn what_is_no_archive_is_damaged() {
        assert!(matches!(open(b"Bonjour"), Err(ParseError::Corrupt { .. })));
        assert!(matches!(open(b""), Err(ParseError::Empty)));
    }
}
