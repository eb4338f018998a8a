//! The command line of `souffleur feedback`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::records::Rating;

/// `souffleur feedback`
#[derive(Debug, Subcommand)]
pub enum FeedbackCommand {
    /// Show what people thought of answers, with what they were shown
    #[command(after_help = "Examples:
  souffleur feedback list
  souffleur feedback list --rating down --json

Thumbs, reasons, corrections and labels come from the page, the API and the chat tools; votes come from
the arena, and from POST /v1/preferences.")]
    List(FeedbackListArgs),
    /// Write feedback as questions with known answers, or as rows to train on
    #[command(after_help = "Examples:
  souffleur feedback export --as questions --out questions.jsonl
  souffleur feedback export --as sft --out corrections.jsonl
  souffleur feedback export --as dpo --out preferences.jsonl

Rows are left out where an answer shows documents that must not be trained on ([dataset] of the settings)
or that are gone, and where they would teach personal data.")]
    Export(FeedbackExportArgs),
    /// Make a few-shot example of an answer that is right; --approve writes it among the prompts
    #[command(after_help = "Examples:
  souffleur feedback promote a_0123456789abcdef0123
  souffleur feedback promote a_0123456789abcdef0123 --prompts-dir prompts --approve

The example goes into `examples/` of the prompts' folder (`prompts.dir` of the settings). Its answer must
be supported by the passages that were shown, and these must be open to everyone: all who ask may be shown
an example. It goes with its answer: when a document that it shows is forgotten, or its conversation is
deleted or too old (`serve.keep_days`).")]
    Promote(FeedbackPromoteArgs),
}

/// `souffleur feedback list`
#[derive(Debug, Args)]
pub struct FeedbackListArgs {
    /// Only answers that were called good (`up`) or not (`down`); no votes then
    #[arg(long)]
    pub rating: Option<RatingArg>,
    /// The last judgements and votes, so many of each
    #[arg(long, default_value = "50", value_name = "N")]
    pub limit: NonZeroUsize,
}

/// A thumb on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RatingArg {
    /// 👍
    Up,
    /// 👎
    Down,
}

impl From<RatingArg> for Rating {
    fn from(it: RatingArg) -> Self {
        match it {
            RatingArg::Up => Self::Up,
            RatingArg::Down => Self::Down,
        }
    }
}

/// `souffleur feedback export`
#[derive(Debug, Args)]
pub struct FeedbackExportArgs {
    /// What it becomes
    #[arg(long = "as", value_name = "FORM")]
    pub form: FeedbackForm,
    /// File to write: one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What feedback becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FeedbackForm {
    /// Questions with accepted answers, for `compare` and `eval answers`
    Questions,
    /// Conversations: corrections, and answers that were called good
    Sft,
    /// Pairs of a better and a worse answer: corrections and votes
    Dpo,
    /// Single answers, good or bad
    Kto,
}

/// `souffleur feedback promote`
#[derive(Debug, Args)]
pub struct FeedbackPromoteArgs {
    /// The answer's id, as `feedback list` shows it
    #[arg(value_name = "ANSWER")]
    pub answer: String,
    /// Write it; without this flag it is only shown
    #[arg(long)]
    pub approve: bool,
    /// Folder of the prompts [default: `prompts.dir` of the settings]
    #[arg(long, value_name = "DIR")]
    pub prompts_dir: Option<PathBuf>,
}
