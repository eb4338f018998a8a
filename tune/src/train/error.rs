//! Why an adapter could not be trained.

use std::io;
use std::path::PathBuf;

use model::LoadError;
use model::chat::ChatError;
use model::device::DeviceError;
use model::trainable::TrainError;
use thiserror::Error;

/// Why an adapter could not be trained.
#[derive(Debug, Error)]
pub enum TuneError {
    /// The base could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The model cannot be trained so, or could not compute.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// What it is to be computed on cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A row does not hold what the method needs.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A row, or the whole file, is in a form that other trainers read.
    #[error("`{}`, line {line}: {what}, which training does not read", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What it is.
        what: String,
    },
    /// Rows are both learned and looked at.
    #[error(
        "{n} rows of `{}` are in `{}`, too: the first is line {line}, there line {data_line}",
        path.display(), data.display()
    )]
    Leak {
        /// The rows to look at only.
        path: PathBuf,
        /// The first of them that is learned, from 1.
        line: usize,
        /// The rows to learn.
        data: PathBuf,
        /// Where it stands there, from 1.
        data_line: usize,
        /// How many rows to look at are learned.
        n: usize,
    },
    /// A conversation does not become tokens.
    #[error("`{}`, line {line}", path.display())]
    Chat {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        source: Box<ChatError>,
    },
    /// The sample of general texts does not become tokens.
    #[error("the model's tokenizer cannot read the sample of general texts")]
    Ability {
        /// Why.
        source: Box<ChatError>,
    },
    /// A row is longer than what is trained at once.
    #[error("`{}`, line {line}: {n_tokens} tokens, where a row has {tokens_max} at most",
        path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Tokens of the row.
        n_tokens: usize,
        /// Tokens that it may have.
        tokens_max: usize,
    },
    /// No row is left to train on.
    #[error("`{}` holds no row to train on: {n_bad} are not usable, {n_long} are too long",
        path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Rows that are not usable.
        n_bad: usize,
        /// Rows that are too long.
        n_long: usize,
    },
    /// A setting is out of its range.
    #[error("`{name}` is {value}, and must be {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Numbers of 16 bits, where they would only be slower.
    #[error(
        "`precision` is bf16, which this processor does not multiply (AVX-512 BF16), or not with \
         dropout"
    )]
    Precision,
    /// There is something in the place of the adapter.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// A run with another base, data or settings was stopped there.
    #[error("`{}` holds a run with another {what}", path.display())]
    OtherRun {
        /// Its folder.
        path: PathBuf,
        /// What is different.
        what: &'static str,
    },
    /// A checkpoint does not hold what it should.
    #[error("the checkpoint `{}` is damaged: {reason}", path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The loss or its gradient is no number any more.
    #[error(
        "the loss is {loss} at step {step} (gradient {grad_norm}): training has diverged{}",
        kept(checkpoint)
    )]
    Diverged {
        /// From 1.
        step: u64,
        /// The loss.
        loss: f64,
        /// The length of the gradient.
        grad_norm: f64,
        /// The last checkpoint from before, where there is one.
        checkpoint: Option<PathBuf>,
    },
}

fn kept(checkpoint: &Option<PathBuf>) -> String {
    checkpoint
        .as_ref()
        .map_or_else(String::new, |it| format!("; the last checkpoint is `{}`", it.display()))
}
