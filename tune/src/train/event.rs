//! What a run is told to do, what it tells while it goes on, and how it ends.

use std::path::{Path, PathBuf};

use model::device::DeviceName;

use super::TuneError;
use super::ability::{Ability, Change};
use super::encode::Data;
use super::log::{StepLine, ValidationLine};
use super::settings::Settings;

/// What to train on what.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The base: a GGUF file or a folder.
    pub model: &'a Path,
    /// Rows to learn.
    pub data: &'a Path,
    /// Rows to look at only.
    pub validation: Option<&'a Path>,
    /// The folder that the adapter or the model becomes; it must not exist. While it is trained,
    /// `OUT.run` beside it holds the log and the checkpoints.
    pub out: &'a Path,
    /// How.
    pub settings: &'a Settings,
    /// On what it is computed.
    pub device: DeviceName,
    /// Whether a run that was stopped is forgotten instead of going on.
    pub restart: bool,
}

/// What happens while training.
#[derive(Debug)]
pub enum Event<'a> {
    /// The base is being loaded.
    Loading,
    /// Training begins, or goes on.
    Started {
        /// What is trained on.
        data: &'a Data,
        /// Steps that have been made before.
        step: u64,
        /// Of all.
        n_steps: u64,
        /// Values that are trained.
        n_values: usize,
    },
    /// It is measured what the model can do in general.
    Measuring,
    /// That was measured, before the first step or after the last.
    Measured(&'a Ability),
    /// A step was made.
    Step(&'a StepLine),
    /// The validation rows were looked at.
    Validated(&'a ValidationLine),
    /// Some of the general sample or of the validation rows was looked at: a place to stop.
    Looking,
    /// A checkpoint was written.
    Saved(&'a Path),
    /// The disk is full: training goes on without the checkpoint, the best so far or the line of the
    /// log.
    DiskFull(&'a TuneError),
}

/// How training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The adapter is in its folder.
    Done {
        /// The step whose factors it holds: the last, or the one with the best validation.
        step: u64,
        /// The last step.
        n_steps: u64,
        /// Whether it ended before its time, because the validation got no better.
        early: bool,
        /// What the model could do in general before, and after; where it was measured.
        ability: Option<Change>,
    },
    /// It was stopped; the same call goes on.
    Stopped {
        /// Steps made.
        step: u64,
        /// The checkpoint; none where it was stopped before there was anything to keep.
        checkpoint: Option<PathBuf>,
    },
}
