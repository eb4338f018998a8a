//! A file on its way, which is there only once it is whole.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::error::ApiError;
use crate::records::new_id;

/// Bytes that go to the disk at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// A file on its way. Dropped before it is moved, it is deleted.
#[derive(Debug)]
pub(super) struct Received {
    path: PathBuf,
    file: fs_err::File,
    /// What came and is not on the disk yet.
    buffer: Vec<u8>,
}

impl Received {
    /// Opens a file of a new name in a folder, which is made where it is not there.
    pub(super) async fn create(dir: PathBuf) -> Result<Self, ApiError> {
        let path = dir.join(new_id("u_")?);
        on_disk(move || {
            fs_err::create_dir_all(&dir)?;
            let file = fs_err::File::create_new(&path)?;
            Ok(Self { path, file, buffer: Vec::new() })
        })
        .await
    }

    /// Takes in what follows.
    pub(super) async fn write(mut self, piece: &[u8]) -> Result<Self, ApiError> {
        self.buffer.extend_from_slice(piece);
        match self.buffer.len() < BUFFER_BYTES {
            true => Ok(self),
            false => self.flush().await,
        }
    }

    /// Takes in that nothing follows.
    pub(super) async fn end(self) -> Result<Self, ApiError> {
        self.flush().await
    }

    async fn flush(mut self) -> Result<Self, ApiError> {
        on_disk(move || {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
            Ok(self)
        })
        .await
    }

    /// Puts it in its place, instead of what is there. For threads that may wait.
    pub(super) fn move_to(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs_err::rename(&self.path, to)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Moved away, it is not there any more, which is as well.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Does work that waits for the disk, on a thread that may.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| ApiError::of_disk(&error)),
        Err(error) => Err(ApiError::internal(&error)),
    }
}
