//! The command line of `souffleur dataset`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::LanguageArg;

/// `souffleur dataset`
#[derive(Debug, Subcommand)]
pub enum DatasetCommand {
    /// Make training data of the documents that are indexed; goes on where it was stopped
    #[command(after_help = "Examples:
  souffleur dataset build
  souffleur dataset build datasets/handbook --docs ~/handbook
  souffleur dataset build datasets/handbook --questions 2 --generator qwen3-1.7b

Without --questions no language model writes anything. What is made, and what is left out, stands in
the settings ([dataset]) and in docs/dataset.md.")]
    Build(DatasetBuildArgs),
    /// Look at a file of rows: formats, lengths, languages, what is wrong
    #[command(after_help = "Examples:
  souffleur dataset check dataset
  souffleur dataset check rows.jsonl --skip-bad --tokens-max 2048 --model qwen3-1.7b

Exit status: 0 when the rows can be trained on, 1 when not.")]
    Check(DatasetCheckArgs),
    /// Print rows with their provenance
    #[command(after_help = "Examples:
  souffleur dataset show dataset -n 5
  souffleur dataset show dataset/supervised.jsonl --made-by table_cell --random 7")]
    Show(DatasetShowArgs),
    /// Write train.jsonl, valid.jsonl and test.jsonl that share no document and no question
    #[command(after_help = "Examples:
  souffleur dataset split dataset --out dataset/split
  souffleur dataset split rows.jsonl --out parts --valid 0.05 --test 0.2 --seed 3")]
    Split(DatasetSplitArgs),
    /// Write rows in another format, or for another trainer with a ready configuration
    #[command(after_help = "Examples:
  souffleur dataset export dataset --out out --for llama-factory --base Qwen/Qwen3-0.6B
  souffleur dataset export dataset/supervised.jsonl --out rows.json --format alpaca
  souffleur dataset export split/supervised/test.jsonl --out held-out.jsonl --format questions")]
    Export(DatasetExportArgs),
    /// Read a file of any format into rows of ours
    #[command(after_help = "Examples:
  souffleur dataset import alpaca.json --out rows.jsonl
  souffleur dataset import theirs.jsonl --out rows.jsonl --skip-bad --licence CC-BY-4.0")]
    Import(DatasetImportArgs),
}

/// `souffleur dataset build`
#[derive(Debug, Args)]
pub struct DatasetBuildArgs {
    /// Folder to write
    #[arg(default_value = "dataset", value_name = "DIR")]
    pub dir: PathBuf,
    /// Ingest this folder or file first
    #[arg(long, value_name = "PATH")]
    pub docs: Vec<PathBuf>,
    /// Questions that the generator writes from each chunk
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub questions: usize,
    /// The generator: for the form of prompts, and for --questions
    #[arg(long, value_name = "MODEL")]
    pub generator: Option<String>,
    /// The form of prompts [default: what the generator is asked with]
    #[arg(long)]
    pub prompt: Option<PromptArg>,
    /// Train on documents of these groups, too
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// What to do about personal data [default: that of the settings]
    #[arg(long, value_name = "POLICY")]
    pub personal_data: Option<PersonalArg>,
    /// Make it anew, from its beginning
    #[arg(long)]
    pub restart: bool,
}

/// The form of prompts on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PromptArg {
    /// Single sentences, as small models are given
    Small,
    /// Whole passages and examples
    Full,
}

/// A policy on personal data on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PersonalArg {
    /// Mask it where it is shown, refuse rows that would teach it
    Mask,
    /// Refuse rows that hold any
    Refuse,
    /// Leave it
    Keep,
}

/// `souffleur dataset check`
#[derive(Debug, Args)]
pub struct DatasetCheckArgs {
    /// Files of rows, or folders of datasets
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Leave out lines that are no rows, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// Tokens of a row that the model to be trained reads
    #[arg(long, value_name = "N")]
    pub tokens_max: Option<NonZeroUsize>,
    /// Count tokens as this generator does [default: 1 for 3 bytes]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// `souffleur dataset show`
#[derive(Debug, Args)]
pub struct DatasetShowArgs {
    /// A file of rows, or the folder of a dataset
    pub path: PathBuf,
    /// Rows at most
    #[arg(short, long = "rows", default_value = "3", value_name = "N")]
    pub n: NonZeroUsize,
    /// Only the row of this id
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Only rows that were made in this way, as `dataset check` lists them
    #[arg(long, value_name = "WAY")]
    pub made_by: Option<String>,
    /// Rows drawn with this seed, instead of the first ones
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
}

/// `souffleur dataset split`
#[derive(Debug, Args)]
pub struct DatasetSplitArgs {
    /// A file of rows, or the folder of a dataset
    pub path: PathBuf,
    /// Folder to write; a dataset gets one folder below it for each kind of rows
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Share of validation [default: the part that each row was made for]
    #[arg(long, value_name = "SHARE")]
    pub valid: Option<f64>,
    /// Share of test [default: the part that each row was made for]
    #[arg(long, value_name = "SHARE")]
    pub test: Option<f64>,
    /// Other seeds give other parts
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only rows whose answers are in this language
    #[arg(long, value_name = "CODE")]
    pub language: Option<LanguageArg>,
    /// Leave out lines that are no rows, and count them
    #[arg(long)]
    pub skip_bad: bool,
}

/// `souffleur dataset export`
#[derive(Debug, Args)]
pub struct DatasetExportArgs {
    /// A file of rows, or the folder of a dataset (then its conversations)
    pub path: PathBuf,
    /// Folder to write with --for, else a file
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// The trainer
    #[arg(long = "for", value_name = "TRAINER", required_unless_present = "format")]
    pub trainer: Option<TrainerArg>,
    /// The format
    #[arg(long, conflicts_with = "trainer")]
    pub format: Option<FormatArg>,
    /// The model to be trained, as the trainer names it
    #[arg(long, value_name = "MODEL", default_value = "Qwen/Qwen3-0.6B")]
    pub base: String,
    /// Only rows whose answers are in this language
    #[arg(long, value_name = "CODE")]
    pub language: Option<LanguageArg>,
    /// Tokens of a row at most, for the configuration
    #[arg(long, value_name = "N", default_value = "2048")]
    pub tokens_max: NonZeroUsize,
    /// Leave out lines that are no rows, and count them
    #[arg(long)]
    pub skip_bad: bool,
}

/// A trainer of others on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainerArg {
    /// LLaMA-Factory
    LlamaFactory,
    /// axolotl
    Axolotl,
    /// TRL, by Hugging Face
    Trl,
}

/// A format on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// `messages`
    Messages,
    /// `prompt` and `completion`
    PromptCompletion,
    /// `instruction`, `input`, `output`
    Alpaca,
    /// `conversations`
    Sharegpt,
    /// `prompt`, `chosen`, `rejected`
    Preference,
    /// `prompt`, `completion`, `label`
    Unpaired,
    /// A question among documents
    Raft,
    /// `text`
    Text,
    /// `question`, `answers`: rows whose answer is a value, for `souffleur compare`
    Questions,
}

/// `souffleur dataset import`
#[derive(Debug, Args)]
pub struct DatasetImportArgs {
    /// A file of rows: JSON lines or a JSON array
    pub path: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Leave out lines that are no rows, and count them
    #[arg(long)]
    pub skip_bad: bool,
    /// Licence to record with each row that names none
    #[arg(long)]
    pub licence: Option<String>,
    /// What to do about personal data [default: that of the settings]
    #[arg(long, value_name = "POLICY")]
    pub personal_data: Option<PersonalArg>,
}
