//! The command line of training and adapters: types only, no logic.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// `souffleur tune`
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
#[command(after_help = "Examples:
  souffleur tune --data train.jsonl --validation test.jsonl
  souffleur tune --data train.jsonl --base qwen3-0.6b --out adapters/handbook --epochs 2
  souffleur tune --data preferences.jsonl --method dpo --learning-rate 5e-5
  souffleur tune --data train.jsonl --method full --learning-rate 2e-5
  souffleur tune --data preferences.jsonl --method reward

Rows are JSON, one a line: {\"messages\": […]}, {\"prompt\", \"completion\"}; for dpo and reward
{\"prompt\", \"chosen\", \"rejected\"}, for kto {\"prompt\", \"completion\", \"label\"}, for cpt {\"text\"}. The same
command goes on with a run that was stopped. docs/tune.md says more.")]
pub struct TuneArgs {
    /// Rows to learn (JSONL)
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Rows to look at only: which step's adapter is kept, and when to stop (JSONL)
    #[arg(long, value_name = "FILE")]
    pub validation: Option<PathBuf>,
    /// The model to train on: an id, a .gguf file or a folder [default: that of the settings]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
    /// The folder that the adapter becomes, or with `full` the model [default: adapters/NAME or
    /// tuned/NAME in the data folder, by the data's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Forget a run that was stopped instead of going on with it
    #[arg(long)]
    pub restart: bool,
    /// What is minimised [default: lora]
    #[arg(long, value_name = "METHOD")]
    pub method: Option<MethodArg>,
    /// What is trained.
    #[command(flatten)]
    pub adapter: TuneAdapterArgs,
    /// How it is trained.
    #[command(flatten)]
    pub steps: TuneStepArgs,
}

/// What is trained.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "The adapter")]
pub struct TuneAdapterArgs {
    /// Rank of the factors [default: 16]
    #[arg(long, value_name = "N")]
    pub rank: Option<NonZeroUsize>,
    /// The change counts alpha / rank [default: 32]
    #[arg(long, value_name = "A")]
    pub alpha: Option<f64>,
    /// The change counts alpha / √rank
    #[arg(long)]
    pub rslora: bool,
    /// Train this matrix: q_proj, layers.3.mlp.up_proj of one layer, lm_head; several times for
    /// several [default: all of the layers]
    #[arg(long = "target", value_name = "NAME")]
    pub targets: Vec<String>,
    /// The share of inputs that a step leaves out [default: 0]
    #[arg(long, value_name = "P")]
    pub dropout: Option<f32>,
    /// Keep the base's matrices quantised as its file has them (QLoRA): less memory, more time
    #[arg(long)]
    pub quantised: bool,
}

/// How it is trained.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "The steps")]
pub struct TuneStepArgs {
    /// Times that every row is seen [default: 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// Steps at most
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Rows of one step [default: 8]
    #[arg(long, value_name = "N")]
    pub batch: Option<NonZeroUsize>,
    /// Tokens that are computed together at most: memory grows with it [default: 2048]
    #[arg(long, value_name = "N")]
    pub tokens_at_once: Option<NonZeroUsize>,
    /// Tokens of a row at most [default: the model's context]
    #[arg(long, value_name = "N")]
    pub tokens_max: Option<NonZeroUsize>,
    /// Multiply in this: f32, or bf16 on a GPU or a processor with AVX-512 BF16 [default: f32]
    #[arg(long, value_name = "TYPE")]
    pub precision: Option<PrecisionArg>,
    /// Compute layers again instead of keeping them: a fraction of the memory, a third more time
    #[arg(long)]
    pub recompute: bool,
    /// The highest learning rate [default: 2e-4]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// The share of steps in which it rises to that [default: 0.03]
    #[arg(long, value_name = "SHARE")]
    pub warmup: Option<f64>,
    /// How it falls then [default: cosine]
    #[arg(long, value_name = "DECAY")]
    pub decay: Option<DecayArg>,
    /// AdamW's weight decay [default: 0]
    #[arg(long, value_name = "W")]
    pub weight_decay: Option<f64>,
    /// The length that a gradient is cut to; 0 for none [default: 1]
    #[arg(long, value_name = "NORM")]
    pub clip: Option<f64>,
    /// DPO and KTO: how much straying from the base costs [default: 0.1]
    #[arg(long, value_name = "BETA")]
    pub beta: Option<f64>,
    /// Decides the first factors, the order of rows and dropout [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Steps between validations [default: an epoch]
    #[arg(long, value_name = "N")]
    pub validate_every: Option<u64>,
    /// Stop after so many validations without improvement
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,
    /// Steps between checkpoints [default: 50]
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,
    /// Do not measure before and after what the base can do in general
    #[arg(long)]
    pub no_ability: bool,
    /// Leave out rows that are too long, and count them
    #[arg(long)]
    pub drop_long: bool,
    /// Leave out rows that are not usable, and count them
    #[arg(long)]
    pub skip_bad: bool,
}

/// A method of training on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodArg {
    /// Supervised: what the assistant says becomes likelier
    Lora,
    /// The same of all weights, to a model of its own; for small models
    Full,
    /// Direct preference optimisation
    Dpo,
    /// Kahneman-Tversky optimisation, from single labels
    Kto,
    /// Continued pre-training on plain text
    Cpt,
    /// A reward that ranks answers (`ask --best-of`): a head on the embedder, from preferences
    Reward,
}

/// What training computes in, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32 bits
    F32,
    /// 16 bits, on a GPU
    Bf16,
}

/// How a learning rate falls, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DecayArg {
    /// Half a cosine
    Cosine,
    /// A straight line
    Linear,
    /// It stays
    Constant,
}

/// `souffleur adapters`
#[derive(Debug, Clone, Subcommand)]
pub enum AdaptersCommand {
    /// List the adapters of the data folder
    #[command(after_help = "Examples:
  souffleur adapters list
  souffleur adapters list --json")]
    List,
    /// Show how an adapter was made
    #[command(after_help = "Examples:
  souffleur adapters show handbook")]
    Show {
        /// Its name, or its folder.
        name: String,
    },
    /// Load an adapter into a server that runs: requests choose it by its name from then on
    #[command(after_help = "Examples:
  souffleur adapters load handbook
  souffleur adapters load ./lora-out --name rh --server https://answers.example --key-file key.txt

The folder must be there on the server's machine. A server loads those of its data folder when it
starts.")]
    Load {
        /// Its name, or its folder.
        name: String,
        /// What requests call it [default: the name of its folder]
        #[arg(long = "name", value_name = "NAME")]
        alias: Option<String>,
        /// Where.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Unload adapters from a server that runs: their folders stay
    #[command(after_help = "Examples:
  souffleur adapters unload handbook")]
    Unload {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Where.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take a PEFT folder from another trainer into the data folder
    #[command(after_help = "Examples:
  souffleur adapters import ./saves/handbook/lora --name handbook
  souffleur adapters import ./lora-out --base qwen3-0.6b")]
    Import(AdaptersImportArgs),
    /// Write an adapter as a GGUF file, as llama.cpp reads it
    #[command(after_help = "Examples:
  souffleur adapters export handbook --out handbook.gguf
  llama-server -m base.gguf --lora handbook.gguf")]
    Export(AdaptersExportArgs),
    /// Remove adapters from this machine
    #[command(after_help = "Examples:
  souffleur adapters remove handbook")]
    Remove {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// A server that runs.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Where it listens [default: the address of the settings]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A file that holds a key of an administrator, where the server wants one
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// `souffleur adapters import`
#[derive(Debug, Clone, Args)]
pub struct AdaptersImportArgs {
    /// The folder with `adapter_config.json` and `adapter_model.safetensors`
    pub path: PathBuf,
    /// What to call it [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The model that it was trained on: an id, a .gguf file or a folder [default: that of the
    /// settings]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
}

/// `souffleur adapters export`
#[derive(Debug, Clone, Args)]
pub struct AdaptersExportArgs {
    /// Its name, or its folder
    pub name: String,
    /// The file to write
    #[arg(long, value_name = "FILE.gguf")]
    pub out: PathBuf,
    /// The model that it was trained on: an id, a .gguf file or a folder [default: what its record
    /// names, else that of the settings]
    #[arg(long, value_name = "MODEL")]
    pub base: Option<String>,
}
