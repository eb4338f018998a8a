//! `souffleur tune --method reward`: preferences to a reward.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::json;
use tune::dataset::{
    jsonl::{BadLines, Rows},
    review,
};

use super::dataset::refuse_leaks;
use crate::{
    cli::{TuneAdapterArgs, TuneArgs, TuneStepArgs},
    eval::metrics::Mean,
    printer::{BOLD, DIM, styled},
    reward::train::{Measured, Readers, json as measured_json, train},
    session::{Session, WrongUsage},
};

pub(super) fn run(session: &Session, args: &TuneArgs) -> Result<ExitCode> {
    let skip_bad = args.steps.skip_bad;
    let steps = TuneStepArgs { skip_bad: false, ..args.steps.clone() };
    if args.adapter != TuneAdapterArgs::default() || steps != TuneStepArgs::default() {
        let what = "--method reward fits a head on the embedder: of the flags for adapters and steps \
                    it takes --skip-bad only";
        return Err(WrongUsage(what.into()).into());
    }
    if args.base.is_some() {
        let what = "--method reward goes with the embedder of the settings, --base with adapters";
        return Err(WrongUsage(what.into()).into());
    }
    let name = match &args.out {
        Some(out) => out.file_name().unwrap_or(out.as_os_str()),
        None => args.data.file_stem().unwrap_or(args.data.as_os_str()),
    };
    let name = name.to_string_lossy().into_owned();
    let out = args.out.clone().unwrap_or_else(|| session.rewards_dir().join(&name));
    if out.exists() && !args.restart {
        let what =
            format!("`{}` exists already: name another --out, or take --restart", out.display());
        return Err(WrongUsage(what.into()).into());
    }
    refuse_leaks(session.printer, &args.data, args.validation.as_deref())?;
    let bad_lines = if skip_bad { BadLines::Skip } else { BadLines::Stop };
    let read = |path| review::read(path, bad_lines).context("could not read the rows");
    let rows = read(&args.data)?;
    let validation = args.validation.as_deref().map(read).transpose()?.unwrap_or_default();
    tell_bad(session, &rows);
    let embedder = session.embedder()?;
    let prompts = session.prompts()?;
    let readers =
        Readers { embedder: &embedder.embedder, print: &embedder.print, prompts: &prompts };
    let bar = session.printer.bar(0, "rows").with_prefix("reading");
    let trained = train(&name, readers, (&rows.rows, &validation.rows), &mut |done, total| {
        bar.set_length(u64::try_from(total).unwrap_or(u64::MAX));
        bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    });
    bar.finish_and_clear();
    let trained = trained?;
    trained.save(&out)?;
    let printer = session.printer;
    printer.line(styled(BOLD, out.display()))?;
    for (what, measured) in
        [("held out in turn", &trained.held_out), ("validation rows", &trained.validation)]
    {
        let Some(it) = measured else { continue };
        for line in lines(what, it) {
            printer.line(line)?;
        }
    }
    if trained.held_out.is_none() && trained.validation.is_none() {
        printer.warn("all rows are of one group: nothing tells how far this reward can be trusted");
    }
    printer.line(styled(DIM, format!("souffleur ask --best-of 4 --reward {name} \"…\"")))?;
    printer.json(&json!({
        "out": out,
        "name": name,
        "rows_unusable": rows.bad.len(),
        "preferences": trained.reward.record["preferences"],
        "penalty": trained.reward.record["penalty"],
        "held_out": trained.held_out.as_ref().map(measured_json),
        "validation": trained.validation.as_ref().map(measured_json),
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn tell_bad(session: &Session, rows: &Rows) {
    if let Some(first) = rows.bad.first() {
        session.printer.warn(format!(
            "{} rows are not usable and left out; the first is line {}: {}",
            rows.bad.len(),
            first.line,
            first.reason
        ));
    }
}

fn lines(what: &str, it: &Measured) -> Vec<String> {
    let percent = |it: &Mean| {
        format!("{:.1} % [{:.1}, {:.1}]", 100.0 * it.value, 100.0 * it.low, 100.0 * it.high)
    };
    let points = &it.difference;
    vec![
        styled(
            BOLD,
            format!(
                "{} preferences in {} groups, {what}: the better answer is told right",
                it.n, it.n_groups
            ),
        ),
        format!("  by the reward          {}", percent(&it.reward)),
        format!("  by the citation check  {}", percent(&it.check)),
        "  by chance              50.0 %".to_owned(),
        format!(
            "  difference             {:+.1} points [{:+.1}, {:+.1}], p = {:.3}",
            100.0 * points.value,
            100.0 * points.low,
            100.0 * points.high,
            it.p
        ),
    ]
}
