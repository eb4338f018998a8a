//! Rows in files, one a line: read with the number of each bad line, written so that a kill loses
//! at most the line that was being written.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::Serialize;
use serde_json::Value;

use super::{
    format::{self, Format, RowError, Unsupported},
    row::Row,
};

/// Bytes of a line at most: longer ones are no rows, and must not fill the memory.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Why a file of rows could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is no row.
    #[error("line {line} of `{}`: {reason}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: LineError,
    },
    /// A row has no place in the format.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Why a line is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// It is longer than any row.
    #[error("longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// An object of an array is no row.
    #[error("item {item}: {error}")]
    Item {
        /// Which one, from 1.
        item: usize,
        /// What is wrong with it.
        error: RowError,
    },
}

/// A line that is no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What is done about lines that are no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLines {
    /// The first one is an error.
    Stop,
    /// They are left out and counted.
    Skip,
}

/// A file of rows, read.
#[derive(Debug, Default)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Row>,
    /// The line of each, from 1.
    pub lines: Vec<usize>,
    /// How many are in each format.
    pub formats: BTreeMap<Format, usize>,
    /// Lines that are none.
    pub bad: Vec<BadLine>,
}

/// Reads a file of rows: JSON lines of any format, or one JSON array of such objects. Blank lines
/// are none.
///
/// # Errors
/// When the file cannot be read, or a line is no row and bad lines must stop.
pub fn read(path: &Path, bad_lines: BadLines) -> Result<Rows, RowsError> {
    let mut reader = BufReader::new(fs::File::open(path)?);
    let mut res = Rows::default();
    if begins_an_array(&mut reader)? {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| RowsError::Bad {
            path: path.to_owned(),
            line: bytes[..error.valid_up_to()].split(|it| *it == b'\n').count(),
            reason: LineError::NotUtf8,
        })?;
        res.take_array(text, path, bad_lines)?;
        return Ok(res);
    }
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        number += 1;
        let n = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if n == 0 {
            return Ok(res);
        }
        if !line.ends_with(b"\n") && u64::try_from(n).is_ok_and(|n| n == LINE_BYTES_MAX) {
            res.take(number, Err(LineError::TooLong), path, bad_lines)?;
            skip_line(&mut reader)?;
            continue;
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            res.take(number, parse(&line), path, bad_lines)?;
        }
    }
}

impl Rows {
    /// Reads the objects of a JSON array. After one that is no JSON nothing can be read: that is an
    /// error whatever is done about bad rows.
    fn take_array(
        &mut self,
        text: &str,
        path: &Path,
        bad_lines: BadLines,
    ) -> Result<(), RowsError> {
        let line_of = |at: usize| text[..at].matches('\n').count() + 1;
        let broken = |at: usize, detail: String| RowsError::Bad {
            path: path.to_owned(),
            line: line_of(at),
            reason: RowError::NotAnObject { detail }.into(),
        };
        let blank = |at: usize| text.len() - text[at..].trim_start().len();
        // A mark at the beginning of a file is no part of it.
        let mut at = text.find('[').map_or(text.len(), |it| blank(it + 1));
        let mut item = 0;
        while !text[at..].starts_with(']') {
            item += 1;
            let mut stream = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            let value = match stream.next() {
                Some(Ok(value)) => value,
                Some(Err(error)) => return Err(broken(at, format!("item {item}: {error}"))),
                None => return Err(broken(at, "the array does not end".to_owned())),
            };
            let end = blank(at + stream.byte_offset());
            let read = format::read(&value).map_err(|error| LineError::Item { item, error });
            self.take(line_of(at), read, path, bad_lines)?;
            at = match text[end..].chars().next() {
                Some(',') => blank(end + 1),
                Some(']') => end,
                _ => return Err(broken(end, format!("no comma after item {item}"))),
            };
        }
        Ok(())
    }

    fn take(
        &mut self,
        line: usize,
        read: Result<(Format, Row), LineError>,
        path: &Path,
        bad_lines: BadLines,
    ) -> Result<(), RowsError> {
        match read {
            Ok((format, row)) => {
                *self.formats.entry(format).or_default() += 1;
                self.rows.push(row);
                self.lines.push(line);
            }
            Err(reason) if bad_lines == BadLines::Stop => {
                return Err(RowsError::Bad { path: path.to_owned(), line, reason });
            }
            Err(reason) => self.bad.push(BadLine { line, reason: reason.to_string() }),
        }
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<(Format, Row), LineError> {
    let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
    // A mark at the beginning of a file is no part of its first row.
    let text = text.trim_start_matches('\u{feff}');
    let value: Value = serde_json::from_str(text)
        .map_err(|error| RowError::NotAnObject { detail: error.to_string() })?;
    Ok(format::read(&value)?)
}

fn begins_an_array(reader: &mut BufReader<fs::File>) -> io::Result<bool> {
    let start = reader.fill_buf()?;
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    Ok(start.iter().find(|it| !it.is_ascii_whitespace()) == Some(&b'['))
}

fn skip_line(reader: &mut BufReader<fs::File>) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let (n, is_end) = match buffer.iter().position(|it| *it == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        reader.consume(n);
        if is_end {
            return Ok(());
        }
    }
}

/// Adds rows to a file.
#[derive(Debug)]
pub struct RowWriter {
    out: BufWriter<fs::File>,
    format: Format,
}

impl RowWriter {
    /// Makes a file anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, format: Format) -> Result<Self, RowsError> {
        Ok(Self { out: BufWriter::new(fs::File::create(path)?), format })
    }

    /// Goes on with a file of an earlier run, after cutting off a line that a kill left half
    /// written; makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn append(path: &Path, format: Format) -> Result<Self, RowsError> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let whole = whole_lines(&mut file)?;
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        Ok(Self { out: BufWriter::new(file), format })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// When the format has no place for it, or the file cannot be written.
    pub fn write(&mut self, row: &Row) -> Result<(), RowsError> {
        let value = format::write(row, self.format)?;
        self.write_value(&value)
    }

    /// Writes any value on a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_value(&mut self, value: &Value) -> Result<(), RowsError> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Hands what was written to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RowsError> {
        Ok(self.out.flush()?)
    }
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut fs::File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut buffer = [0_u8; 4096];
    while end > 0 {
        let n = end.min(4096);
        file.seek(SeekFrom::Start(end - n))?;
        let part = &mut buffer[..usize::try_from(n).unwrap_or(4096)];
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|it| *it == b'\n') {
            return Ok(end - n + u64::try_from(at).unwrap_or(0) + 1);
        }
        end -= n;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::row::{Body, Meta};

    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn a_bad_line_is_named_or_left_out() {
        let content =
            b"{\"text\": \"a\"}\n\n{\"text\": 1}\n{\"text\": \"b\"\n\xff\n{\"text\": \"c\"}";
        let (_dir, path) = file(content);
        let error = read(&path, BadLines::Stop).unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("`text` must be a text"), "{error}");
        let rows = read(&path, BadLines::Skip).unwrap();
        assert_eq!((rows.rows.len(), &rows.lines[..]), (2, &[1, 6][..]));
        let bad: Vec<usize> = rows.bad.iter().map(|it| it.line).collect();
        assert_eq!(bad, [3, 4, 5]);
    }

    #[test]
    fn an_array_of_objects_is_read_too() {
        let (_dir, path) = file(b" [{\"text\": \"a\"},\n {\"text\": \"b\"}]");
        let rows = read(&path, BadLines::Stop).unwrap();
        assert_eq!(rows.formats, BTreeMap::from([(Format::Text, 2)]));
        assert_eq!(rows.lines, [1, 2]);
        assert_eq!(read(&file(b"[ ]").1, BadLines::Stop).unwrap().rows, []);
    }

    #[test]
    fn bad_items_of_an_array_are_named_by_line_and_number() {
        let (_dir, path) = file(b"[{\"text\": \"a\"}, {\"text\": 1},\n {\"text\": \"b\"}, 3]");
        let error = read(&path, BadLines::Stop).unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("item 2"), "{error}");
        let rows = read(&path, BadLines::Skip).unwrap();
        assert_eq!(rows.rows.len(), 2);
        let bad: Vec<usize> = rows.bad.iter().map(|it| it.line).collect();
        assert_eq!(bad, [1, 2]);
        assert!(rows.bad[1].reason.contains("item 4"), "{:?}", rows.bad);
    }

    #[test]
    fn an_array_that_breaks_off_is_an_error_in_any_case() {
        for text in ["[{\"text\": \"a\"},\n{\"te", "[{\"text\": \"a\"}\n", "[\n3 4]", "[,\n]"] {
            let (_dir, path) = file(text.as_bytes());
            let error = read(&path, BadLines::Skip).unwrap_err().to_string();
            assert!(error.contains("line "), "{text}: {error}");
        }
    }

    #[test]
    fn a_half_written_line_is_cut_off() {
        let (_dir, path) = file(b"{\"text\": \"a\"}\n{\"text\": \"b");
        let mut writer = RowWriter::append(&path, Format::Text).unwrap();
        let row = Row { id: String::new(), body: Body::Text("c".into()), meta: Meta::default() };
        writer.write(&row).unwrap();
        writer.flush().unwrap();
        let content = fs::read_to_string(&path).unwrap();
        assert_eq!(content, "{\"text\": \"a\"}\n{\"text\":\"c\"}\n");
    }
}
