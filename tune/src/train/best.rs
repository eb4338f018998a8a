//! What is trained, as of the best validation so far: `best/` in the run's folder.

use std::path::{Path, PathBuf};

use model::trainable::TrainableDecoder;

use super::TuneError;

const BEST: &str = "best";
/// The next one, until it takes the place of the one before.
const NEW: &str = "best.new";

/// Keeps what is trained now as the best. Where it cannot be written, the one before
/// is as it was.
pub(super) fn keep(run: &Path, decoder: &TrainableDecoder) -> Result<(), TuneError> {
    let (best, new) = (run.join(BEST), run.join(NEW));
    remove_half(run)?;
    if let Err(error) = decoder.save(&new) {
        // Half of it takes room that a full disk lacks; that it cannot be removed is no news beside
        // why it is half.
        let _ = remove_half(run);
        return Err(error.into());
    }
    if best.exists() {
        fs_err::remove_dir_all(&best)?;
    }
    Ok(fs_err::rename(&new, &best)?)
}

/// Removes what a new one left, complete or not.
fn remove_half(run: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(run)? {
        let entry = entry?;
        // The decoder writes aside under a name of its own, around this one.
        if entry.file_name().to_string_lossy().contains(NEW) {
            fs_err::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Ends what a kill left between the removal of one and the naming of the next.
pub(super) fn recover(run: &Path) -> std::io::Result<()> {
    let (best, new) = (run.join(BEST), run.join(NEW));
    if !best.exists() && new.is_dir() { fs_err::rename(new, best) } else { Ok(()) }
}

/// The folder of the best, where there is one.
pub(super) fn of(run: &Path) -> Option<PathBuf> {
    Some(run.join(BEST)).filter(|it| it.is_dir())
}
