//! The reward of the settings, and those of the data folder.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Session, WrongUsage};
use crate::{
    embedder::OpenedEmbedder,
    reward::{self, Reward},
};

impl Session {
    /// Where rewards are, one folder each.
    #[must_use]
    pub fn rewards_dir(&self) -> PathBuf {
        self.config.data_dir.join("rewards")
    }

    /// The reward of the settings, where they name one: by its folder, or by its name in the data
    /// folder.
    ///
    /// # Errors
    /// When it is not there, or goes with another embedder.
    pub fn reward(&self, embedder: &OpenedEmbedder) -> Result<Option<Reward>> {
        let name = self.config.generation.reward.as_str();
        if name.is_empty() {
            return Ok(None);
        }
        let of_path = Path::new(name);
        let dir = match of_path.join(reward::FILE).is_file() {
            true => of_path.to_owned(),
            false => self.rewards_dir().join(name),
        };
        if !dir.join(reward::FILE).is_file() {
            let what = format!(
                "no reward `{name}`, neither as a folder nor in `{}`: `souffleur tune --method reward` \
                 trains one",
                self.rewards_dir().display()
            );
            return Err(WrongUsage(what.into()).into());
        }
        Ok(Some(Reward::load(&dir, &embedder.print)?))
    }
}
