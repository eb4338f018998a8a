//! Room on the disk for what the dense leg reads through memory maps.
//!
//! The shard's bitmaps are files of a megabyte that are mostly holes, and opening it reads all of
//! them. Where reading a hole takes room (tmpfs) and there is none left, that ends the process with
//! SIGBUS. So their room is taken while there is plenty, and a full disk is an error here. Other
//! files of the shard are mapped too, but only writing reaches into their holes, and writing
//! checks the room before it begins.

use std::io;
use std::path::Path;

/// Takes the room of every bitmap below a folder. Cheap where that was done before.
///
/// # Errors
///
/// When the disk is full. A file system that cannot take room ahead is no error.
pub(crate) fn reserve_bitmaps(dir: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            reserve_bitmaps(&path)?;
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !(name.starts_with("flags_") && name.ends_with(".dat")) {
            continue;
        }
        let file = fs_err::OpenOptions::new().write(true).open(&path)?;
        let len = file.metadata()?.len();
        if let Err(error) = fs4::FileExt::allocate(file.file(), len) {
            if error.kind() == io::ErrorKind::StorageFull {
                let detail = format!("no room left for `{}`", path.display());
                return Err(io::Error::new(io::ErrorKind::StorageFull, detail));
            }
            tracing::debug!(%error, path = %path.display(), "room cannot be taken ahead");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn bitmaps_have_their_room_and_other_files_keep_their_holes() {
        use std::os::unix::fs::MetadataExt as _;

        let dir = tempfile::tempdir().unwrap();
        let sparse = |name: &str| {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::File::create(&path).unwrap().set_len(1 << 20).unwrap();
            path
        };
        let (bitmap, page) = (sparse("a/b/flags_a.dat"), sparse("a/page_0.dat"));
        reserve_bitmaps(dir.path()).unwrap();
        reserve_bitmaps(dir.path()).unwrap();
        let room = |path: &Path| fs_err::metadata(path).unwrap().blocks() * 512;
        assert!(room(&bitmap) >= 1 << 20);
        assert!(room(&page) < 1 << 20);
        assert_eq!(fs_err::metadata(&bitmap).unwrap().len(), 1 << 20);
    }
}
