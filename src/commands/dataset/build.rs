//! `souffleur dataset build`

use std::{ops::ControlFlow, process::ExitCode};

use anyhow::Result;
use indicatif::ProgressBar;
use serde_json::Value;
use tune::dataset::{filter::Dropped, row::PromptStyle};

use crate::{
    cli::{DatasetBuildArgs, PromptArg},
    commands::{ask::open, dataset::policy},
    dataset::{
        build::{BuildOptions, Progress, build},
        teller::style_of,
    },
    printer::{BOLD, DIM, Printer, styled},
    records::Records,
    session::{Session, WrongUsage},
    writer::Writer,
};

pub(super) fn run(session: &mut Session, args: &DatasetBuildArgs) -> Result<ExitCode> {
    let engine = open(session, &args.docs, args.generator.as_deref(), None)?;
    if args.questions > 0 && matches!(*engine.writer, Writer::Extract { .. }) {
        let what = "--questions needs a generator that writes: name one with --generator";
        return Err(WrongUsage(what.into()).into());
    }
    let mut config = session.config.dataset.clone();
    config.groups.extend(args.groups.iter().cloned());
    config.personal_data = policy(args.personal_data, config.personal_data);
    let style = match args.prompt {
        Some(PromptArg::Small) => PromptStyle::Small,
        Some(PromptArg::Full) => PromptStyle::Full,
        None => style_of(&engine),
    };
    let options =
        BuildOptions { config, style, written_per_chunk: args.questions, anew: args.restart };
    let has_records = session.config.data_dir.join(Records::FILE).exists();
    let records = has_records.then(|| Records::open(&session.config.data_dir)).transpose()?;
    let printer = session.printer;
    let _stoppable = session.stoppable();
    let mut open_bar: Option<(&'static str, ProgressBar)> = None;
    let built = build(&engine, records.as_ref(), &args.dir, &options, &mut |it: Progress| {
        if open_bar.as_ref().is_none_or(|(what, _)| *what != it.what) {
            let total = u64::try_from(it.total).unwrap_or(u64::MAX);
            let bar = printer.bar(total, "done").with_prefix(it.what);
            if let Some((_, old)) = open_bar.replace((it.what, bar)) {
                old.finish_and_clear();
            }
        }
        if let Some((_, bar)) = &open_bar {
            bar.set_position(u64::try_from(it.done).unwrap_or(u64::MAX));
        }
        if session.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some((_, bar)) = open_bar {
        bar.finish_and_clear();
    }
    let built = built?;
    show(printer, &built.report, &args.dir.display().to_string())?;
    printer.json(&built.report)?;
    if built.stopped {
        printer.notice("stopped: what was made is kept, and the next run goes on from there");
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(printer: Printer, report: &Value, dir: &str) -> Result<()> {
    printer.line(styled(BOLD, format!("{} rows in {dir}", report["rows"])))?;
    for (kind, ways) in report["by_kind"].as_object().into_iter().flatten() {
        for (way, n) in ways.as_object().into_iter().flatten() {
            printer.line(format!("  {kind:<12} {way:<14} {n}"))?;
        }
    }
    let dropped = report["dropped"].as_array().map_or(&[][..], Vec::as_slice);
    if !dropped.is_empty() {
        printer.line(styled(BOLD, "dropped"))?;
    }
    for it in dropped {
        let why: Option<Dropped> = serde_json::from_value(it["reason"].clone()).ok();
        let (n, why) = (&it["rows"], why.map_or("?", Dropped::as_str));
        let made_by = it["made_by"].as_str().unwrap_or_default();
        printer.line(format!("  {n:>5}  {made_by:<14} {why}"))?;
    }
    for it in report["left_out"].as_array().into_iter().flatten() {
        let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        printer.line(format!("left out  {}: {}", text("path"), text("reason")))?;
    }
    let superseded = report["superseded"].as_array().map_or(0, Vec::len);
    if superseded > 0 {
        let what = "documents that others have replaced: shown as distractors, not asked about";
        printer.line(styled(DIM, format!("{superseded} {what}")))?;
    }
    let n_feedback = report["feedback_left_out"].as_u64().unwrap_or(0);
    if n_feedback > 0 {
        printer.line(format!(
            "{n_feedback} judged answers left out: of documents not allowed, or of two parts"
        ))?;
    }
    Ok(())
}
