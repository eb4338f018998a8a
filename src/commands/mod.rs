//! The commands, one file each.

mod adapters;
mod ask;
mod chat;
mod compare;
mod dataset;
mod doctor;
mod eval;
mod feedback;
mod forget;
mod ingest;
mod inspect;
mod keys;
mod mcp;
mod migrate;
mod models;
mod reward;
mod search;
mod serve;
mod show;
mod status;
mod tokens;
mod tune;

use std::{
    io::{self, Read},
    process::ExitCode,
};

use ::ingest::document::Language;
use anyhow::{Context as _, Result};
use clap::CommandFactory;
use index::{Index, filter::Filter};
use serde_json::json;

use crate::{
    cli::{AnswerArgs, Cli, Command, FilterArgs, Global, LanguageArg},
    config::{Config, Overrides},
    printer::Printer,
    session::{Session, WrongUsage},
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
        let script = String::from_utf8_lossy(&script);
        if printer.json {
            printer.json(&json!({ "shell": shell.to_string(), "script": script }))?;
        } else {
            printer.raw(&script)?;
        }
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
        Command::Forget(args) => forget::run(&session, &args),
        Command::Migrate(args) => migrate::run(&session, &args),
        Command::Status => status::run(&session),
        Command::Doctor => doctor::run(&session),
        Command::Models(args) => models::run(&session, &args),
        Command::Tokens(args) => tokens::run(&session, &args),
        Command::Eval(args) => eval::run(&mut session, &args),
        Command::Dataset(args) => dataset::run(&mut session, &args),
        Command::Compare(args) => compare::run(&mut session, &args),
        Command::Feedback(args) => feedback::run(&session, &args),
        Command::Tune(args) => tune::run(&session, &args),
        Command::Adapters(args) => adapters::run(&session, &args),
        Command::Serve(args) => serve::run(&session, &args),
        Command::Mcp(args) => mcp::run(&session, &args),
        Command::Keys(args) => keys::run(&session, &args),
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
        Command::Compare(args) => override_answers(&mut overrides, &args.answer),
        Command::Search(args) => overrides.retrieval.reranker.clone_from(&args.rerank),
        Command::Eval(crate::cli::EvalCommand::Retrieval { rerank, .. }) => {
            overrides.retrieval.reranker.clone_from(rerank);
        }
        Command::Serve(args) => overrides.serve.addr = args.addr,
        Command::Ingest(_)
        | Command::Mcp(_)
        | Command::Dataset(_)
        | Command::Feedback(_)
        | Command::Tune(_)
        | Command::Adapters(_)
        | Command::Keys(_)
        | Command::Forget(_)
        | Command::Migrate(_)
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
    overrides.generation.best_of = args.best_of;
    overrides.generation.reward.clone_from(&args.reward);
    overrides.prompts.style = args.style;
    overrides.prompts.dir.clone_from(&args.prompts_dir);
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

/// A path below the folder ingested, as documents are kept: without `./`.
fn below_root(path: &str) -> String {
    path.trim_start_matches("./").to_owned()
}

/// Refuses a filter by a collection or path that no document of the reader has: nothing would be
/// found, and that would look as if the documents held no answer.
fn check_filter(index: &Index, filter: &Filter) -> Result<()> {
    let catalog = index.catalog();
    let groups = filter.groups.as_deref();
    let known = match filter.collections.as_slice() {
        [] => Vec::new(),
        _ => catalog.collections(groups)?,
    };
    let is_known = |name: &String| known.iter().any(|it| it.name == *name);
    if let Some(name) = filter.collections.iter().find(|it| !is_known(it)) {
        let known = known.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(WrongUsage(format!("no collection `{name}`: known are {known}").into()).into());
    }
    if let Some(prefix) = &filter.path_prefix
        && !catalog.has_path(prefix, groups)?
    {
        let what = format!("no document is `{prefix}` or below it: `souffleur status` lists them");
        return Err(WrongUsage(what.into()).into());
    }
    Ok(())
}

/// The filter that flags ask for, over the documents of an index.
fn filter_of(index: &Index, args: &FilterArgs) -> Result<Filter> {
    let start = |date: jiff::civil::Date| {
        date.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |it| it.timestamp().as_second())
    };
    let filter = Filter {
        collections: args.collections.clone(),
        languages: args
            .languages
            .iter()
            .map(|it| match it {
                LanguageArg::En => Language::English,
                LanguageArg::Fr => Language::French,
            })
            .collect(),
        path_prefix: args.path.as_deref().map(below_root),
        modified_from: args.since.map(start),
        // The whole day counts.
        modified_to: args.until.map(|it| start(it) + 86_399),
        groups: (!args.groups.is_empty()).then(|| args.groups.clone()),
    };
    check_filter(index, &filter)?;
    Ok(filter)
}
