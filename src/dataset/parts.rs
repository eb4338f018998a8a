//! The parts of a dataset as files: `OUT/train.jsonl`, `OUT/valid.jsonl`, `OUT/test.jsonl`.

use std::path::Path;

use tune::dataset::{
    format::{self, Format, Unsupported},
    jsonl::{RowWriter, RowsError},
    row::Row,
    split::{Leak, Shares, Split, leaks, split},
};

/// Why there are no parts.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// Parts touch: what is measured on them would mean nothing.
    #[error("{} leaks between the parts; the first: {}", found.len(), shown(found))]
    Leaks {
        /// What they share, not empty.
        found: Vec<Leak>,
    },
    /// A file of rows cannot be read or written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A row has no form in the format that was asked for.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The folder cannot be made.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn shown(found: &[Leak]) -> String {
    found.first().map(ToString::to_string).unwrap_or_default()
}

/// Rows in their parts.
#[derive(Debug)]
pub struct Separated {
    /// The rows of each part.
    pub parts: Vec<(Split, Vec<Row>)>,
    /// Groups of documents and of rows that stand alone.
    pub n_groups: usize,
    /// Rows that are in no part: their prompts show documents of another one.
    pub n_crossing: usize,
}

/// Puts rows into parts that share nothing. Rows that were made for a part keep it, where `keep` is
/// set.
///
/// # Errors
/// [`PartsError::Leaks`]
pub fn separate(rows: &[Row], shares: Shares, keep: bool) -> Result<Separated, PartsError> {
    let found = split(rows, shares, keep);
    let parts = found.of(rows);
    check(&parts.iter().map(|(part, rows)| (*part, &rows[..])).collect::<Vec<_>>())?;
    Ok(Separated { parts, n_groups: found.n_groups, n_crossing: found.n_crossing() })
}

/// Refuses parts that touch.
///
/// # Errors
/// [`PartsError::Leaks`]
pub fn check(parts: &[(Split, &[Row])]) -> Result<(), PartsError> {
    let found = leaks(parts);
    if found.is_empty() { Ok(()) } else { Err(PartsError::Leaks { found }) }
}

/// Writes each part into a file of its own.
///
/// # Errors
/// [`PartsError`]
pub fn write_parts(parts: &[(Split, Vec<Row>)], out: &Path) -> Result<(), PartsError> {
    fs_err::create_dir_all(out)?;
    for (part, rows) in parts {
        write_rows(&out.join(format!("{}.jsonl", part.as_str())), rows, None)?;
    }
    Ok(())
}

/// Writes rows: each in the format of its kind, or all in one.
///
/// # Errors
/// [`PartsError`]
pub fn write_rows(path: &Path, rows: &[Row], format: Option<Format>) -> Result<(), PartsError> {
    let mut writer = RowWriter::create(path, Format::Messages)?;
    for row in rows {
        let format = format.unwrap_or_else(|| Format::own(row.body.kind()));
        writer.write_value(&format::write(row, format)?)?;
    }
    Ok(writer.flush()?)
}
