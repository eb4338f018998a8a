//! The commands, one file each.

mod ask;
mod chat;
mod doctor;
mod eval;
mod ingest;
mod inspect;
mod models;
mod search;
mod show;
mod status;
mod tokens;

use std::{
    io::{self, Read},
    process::ExitCode,
};

use ::ingest::document::Language;
use anyhow::{Context as _, Result};
use clap::CommandFactory;
use index::filter::Filter;

use crate::{
    cli::{AnswerArgs, Cli, Command, FilterArgs, Global, LanguageArg},
    config::{Config, Overrides},
    printer::Printer,
    session::Session,
};

/// Runs one command.
///
/// # Errors
/// Whatever went wrong; `main` prints it with a hint.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let printer = Printer { json: cli.global.json, quiet: cli.global.quiet };
    if let Command::Completions { shell } = &cli.command {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "souffleur", &mut script);
        printer.raw(&String::from_utf8_lossy(&script))?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings(&cli)?;
    let mut session = Session::new(config, printer)?;
    match cli.command {
        Command::Ask(args) => ask::run(&mut session, &args),
        Command::Chat(args) => chat::run(&mut session, &args),
        Command::Search(args) => search::run(&session, &args),
        Command::Ingest(args) => ingest::run(&session, &args),
        Command::Inspect(args) => inspect::run(&mut session, &args),
        Command::Status => status::run(&session),
        Command::Doctor => doctor::run(&session),
        Command::Models(args) => models::run(&session, &args),
        Command::Tokens(args) => tokens::run(&session, &args),
        Command::Eval(args) => eval::run(&mut session, &args),
        Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Settings from the flags, the environment, the file and the defaults.
fn settings(cli: &Cli) -> Result<Config> {
    let Global { data_dir, models_dir, config, offline, .. } = &cli.global;
    let mut overrides = Overrides {
        data_dir: data_dir.clone(),
        models_dir: models_dir.clone(),
        offline: offline.then_some(true),
        ..Overrides::default()
    };
    match &cli.command {
        Command::Ask(args) | Command::Inspect(args) => {
            override_answers(&mut overrides, &args.answer)
        }
        Command::Chat(args) => override_answers(&mut overrides, &args.answer),
        Command::Eval(crate::cli::EvalCommand::Answers { answer, .. }) => {
            override_answers(&mut overrides, answer);
        }
        Command::Search(args) => overrides.retrieval.reranker.clone_from(&args.rerank),
        Command::Eval(crate::cli::EvalCommand::Retrieval { rerank, .. }) => {
            overrides.retrieval.reranker.clone_from(rerank);
        }
        Command::Ingest(_)
        | Command::Status
        | Command::Doctor
        | Command::Models(_)
        | Command::Tokens(_)
        | Command::Completions { .. } => {}
    }
    Ok(Config::resolve(&overrides, config.as_deref())?)
}

fn override_answers(overrides: &mut Overrides, args: &AnswerArgs) {
    overrides.retrieval.passages_max = args.passages;
    overrides.retrieval.reranker.clone_from(&args.rerank);
    overrides.generation.temperature = args.temperature;
    overrides.generation.seed = args.seed;
    overrides.generation.answer_tokens_max = args.answer_tokens;
    overrides.prompts.style = args.style;
}

/// The text itself, or standard input for `-`.
fn text_or_stdin(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut res = String::new();
    io::stdin().read_to_string(&mut res).context("could not read standard input as text")?;
    Ok(res)
}

/// The filter that flags ask for.
fn filter_of(args: &FilterArgs) -> Filter {
    let start = |date: jiff::civil::Date| {
        date.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |it| it.timestamp().as_second())
    };
    Filter {
        collections: args.collections.clone(),
        languages: args
            .languages
            .iter()
            .map(|it| match it {
                LanguageArg::En => Language::English,
                LanguageArg::Fr => Language::French,
            })
            .collect(),
        path_prefix: args.path.clone(),
        modified_from: args.since.map(start),
        // The whole day counts.
        modified_to: args.until.map(|it| start(it) + 86_399),
        groups: (!args.groups.is_empty()).then(|| args.groups.clone()),
    }
}
