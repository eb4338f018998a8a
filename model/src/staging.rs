//! Folders and files that appear under their names when they are complete.

use std::io;
use std::path::{Path, PathBuf};

/// Has a folder written aside, and gives it its name once it is complete.
///
/// # Errors
///
/// What `write` returns, or when the disk fails. There is nothing under the name then.
pub fn whole_folder<T, E: From<io::Error>>(
    out: &Path,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let partial = partial_path(out);
    if partial.exists() {
        fs_err::remove_dir_all(&partial)?; // Of a run that was killed.
    }
    fs_err::create_dir_all(&partial)?;
    let written = write(&partial)?;
    fs_err::rename(&partial, out)?;
    Ok(written)
}

/// Where something is until it is complete: beside its place.
pub(crate) fn partial_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.partial"))
}
