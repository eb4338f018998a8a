//! One process a data folder.

use std::fs::TryLockError;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use crate::OpenError;

/// Holds a data folder until dropped. The operating system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: fs_err::File,
}

impl Lock {
    /// Takes a data folder, at once or not at all.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let io = |source| OpenError::Io { source };
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: dir.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // Only others' error messages want the number, and a full disk must not keep readers out.
        if let Err(error) = sign(&mut file) {
            tracing::warn!(%error, "could not write the process id into the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// Who holds it, as far as it has said; the file is not readable everywhere while locked.
fn holder(file: &mut fs_err::File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn sign(file: &mut fs_err::File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(std::process::id().to_string().as_bytes())
}
