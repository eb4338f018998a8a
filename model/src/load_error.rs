//! Why a model could not be opened. Every variant names the file and what to do about it.

use std::path::PathBuf;

use thiserror::Error;

/// A model folder or file that cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file is missing or cannot be read.
    #[error("could not read `{}`: fetch the model again with `souffleur models pull`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file ends too early or does not follow its format.
    #[error(
        "`{}` is damaged: {reason}; fetch it again with `souffleur models pull`", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is sound, but describes a network that is not implemented.
    #[error("`{}` holds a model that is not supported: {what}; choose one of `souffleur models list`", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The architecture or option that is missing here.
        what: String,
    },
    /// A tensor is missing, or its shape is not the one that the configuration promises.
    #[error("`{}` does not fit its configuration: tensor `{tensor}` {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Expected and found.
        reason: String,
    },
    /// The tokenizer can produce ids that the weights have no row for.
    #[error(
        "the tokenizer of `{}` has {n_tokens} tokens, but the weights have rows for {n_rows}: \
         take both files from the same model", path.display()
    )]
    TokenizerMismatch {
        /// The model's file or folder.
        path: PathBuf,
        /// Size of the tokenizer's vocabulary.
        n_tokens: usize,
        /// Rows of the embedding table.
        n_rows: usize,
    },
    /// A model in several files, of which one is not there.
    #[error(
        "`{}` is missing, which holds {n_tensors} of the model's tensors: fetch the model's folder \
         again, or copy all of it", path.display()
    )]
    MissingPart {
        /// The file.
        path: PathBuf,
        /// Tensors that it should hold.
        n_tensors: usize,
    },
    /// The tensor library failed.
    #[error("could not load `{}`", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: candle_core::Error,
    },
}
