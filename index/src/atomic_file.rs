//! Files that are replaced in one step.

use std::io::{self, Write};
use std::path::Path;

/// Replaces a file's content: after a crash at any point it holds all of the old or all of the
/// new. When this returns, the new content is on the disk.
///
/// # Errors
///
/// When it cannot be written. The file has its old content then.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = fs_err::File::create(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs_err::rename(&aside, path)?;
    sync_folder_of(path)
}

/// Makes a rename or a new file durable. Windows has no such call and needs none.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => fs_err::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
