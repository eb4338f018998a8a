//! `souffleur compare` on the command line.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;

use super::{AnswerArgs, LanguageArg};
use crate::compare::questions::QuestionSource;

/// `souffleur compare`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  souffleur compare --questions examples/questions.jsonl --docs examples/handbook
  souffleur compare --questions q.jsonl --arms base,rag,ft:rh=adapters/rh,rag+ft:rh=adapters/rh
  souffleur compare --questions q.jsonl --arms 'rag,rag[passages=8,style=cot]' --html report.html
  souffleur compare --questions q.jsonl --arms rag --fail-under f1=0.6 --json
  souffleur compare --questions dataset:datasets/handbook --arms rag,rag+ft:rh
  souffleur compare --questions feedback --arms rag,extract --judge local

Answers are kept in DATA_DIR/runs/compare: a run that was interrupted goes on where it ended, and a
question is asked again only when model, documents, prompts or settings have changed.
Exit status: 0 compared; 1 failed, or a metric is under its --fail-under; 130 interrupted.
docs/compare.md explains arms, scores, statistics and the rules of the verdict.")]
pub struct CompareArgs {
    /// SQuAD's JSON, or JSONL with `question`, `answers`, `document`, `language`, `type`; `feedback`
    /// for what people judged; `dataset:DIR` for the test part of a dataset
    #[arg(long, value_name = "FILE")]
    pub questions: QuestionSource,
    /// What to compare: base (the model alone), rag, extract (quotations), ft:NAME=PATH (the model
    /// alone with an adapter), rag+ft:NAME=PATH; settings of one arm stand in brackets
    #[arg(long, default_value = "base,rag,extract", value_name = "ARM,ARM,…")]
    pub arms: String,
    /// Ingest this folder or file first, and answer from it
    #[arg(long, value_name = "PATH")]
    pub docs: Vec<PathBuf>,
    /// Only questions of this language or type
    #[arg(long, value_name = "KEY=VALUE", value_parser = only)]
    pub only: Vec<(String, String)>,
    /// Questions at most
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Write a report that opens in any browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a report as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Fail when a metric of an arm is less: METRIC=NUMBER for every arm, or ARM:METRIC=NUMBER
    #[arg(long, value_name = "[ARM:]METRIC=NUMBER")]
    pub fail_under: Vec<String>,
    /// Have a language model say which answers are better, in both orders: `local` for the generator
    /// of the settings, `openai` for the server of the settings, or an id, a .gguf file or a folder
    #[arg(long, value_name = "MODEL")]
    pub judge: Option<String>,
    /// Refuse questions about documents that an arm's adapter was trained on; without this flag they
    /// are marked
    #[arg(long)]
    pub refuse_trained_on: bool,
    /// Language of reports and verdict [default: that of most questions]
    #[arg(long, value_name = "LANGUAGE")]
    pub report_language: Option<LanguageArg>,
    /// How all arms answer, where they do not say otherwise.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

fn only(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key @ ("language" | "type"), value)) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as language=VALUE or type=VALUE".to_owned()),
    }
}
