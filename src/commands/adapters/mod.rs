//! `souffleur adapters`: list, show, load, unload, import, export, remove.

mod exchange;
mod server;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    cli::AdaptersCommand,
    printer::{BOLD, DIM, YELLOW, styled},
    session::{Session, WrongUsage},
    stale::{Documents, Stale, record_of},
};

pub(super) fn run(session: &Session, command: &AdaptersCommand) -> Result<ExitCode> {
    match command {
        AdaptersCommand::List => list(session)?,
        AdaptersCommand::Show { name } => show(session, name)?,
        AdaptersCommand::Load { name, alias, server } => {
            server::load(session, (name, alias.as_deref()), server)?;
        }
        AdaptersCommand::Unload { names, server } => server::unload(session, names, server)?,
        AdaptersCommand::Import(args) => exchange::import_folder(session, args)?,
        AdaptersCommand::Export(args) => exchange::export_gguf(session, args)?,
        AdaptersCommand::Remove { names } => remove(session, names)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(session: &Session) -> Result<()> {
    let printer = session.printer;
    let documents = Documents::of_index(&session.config.data_dir)?;
    let mut rows = Vec::new();
    for (name, path) in session.adapters()? {
        let (config, record) = (read(&path.join("adapter_config.json"))?, record(&path)?);
        let rank = config["r"].as_u64();
        let base = config["base_model_name_or_path"].as_str().unwrap_or("?").to_owned();
        let made = record.as_ref().map(|it| {
            let method = it["settings"]["method"].as_str().unwrap_or("?");
            format!("{method}, {} rows, step {}", it["data"]["rows"], it["step"])
        });
        printer.line(format!(
            "{:<24} rank {:<4} {base}  {}",
            styled(BOLD, format!("{name:<24}")),
            rank.map_or_else(|| "?".to_owned(), |it| it.to_string()),
            styled(DIM, made.as_deref().unwrap_or("trained elsewhere"))
        ))?;
        let stale = documents.as_ref().zip(record.as_ref()).and_then(|(all, it)| all.stale(it));
        if let Some(stale) = stale.as_ref().filter(|it| !it.is_fresh()) {
            printer.line(format!("{:<24} {}", "", styled(YELLOW, stale_text(stale))))?;
        }
        rows.push(json!({
            "name": name,
            "path": path,
            "rank": rank,
            "base": base,
            "method": record.as_ref().map(|it| it["settings"]["method"].clone()),
            "data": record.as_ref().map(|it| it["data"].clone()),
            "stale": stale.map(|it| it.json(true)),
        }));
    }
    let dir = session.adapters_dir();
    if rows.is_empty() {
        printer.line(format!("no adapter in {}", dir.display()))?;
    }
    printer.json(&json!({ "adapters": rows, "dir": dir }))?;
    Ok(())
}

fn show(session: &Session, name: &str) -> Result<()> {
    let path = session.adapter_path(name)?;
    let config = read(&path.join("adapter_config.json"))?;
    let record = record(&path)?;
    let printer = session.printer;
    printer.line(styled(BOLD, path.display()))?;
    printer.line(format!("{config:#}"))?;
    match &record {
        // The curves are drawn in the report.
        Some(Value::Object(map)) => {
            let curves = ["loss", "validation_loss"];
            let plain: serde_json::Map<String, Value> = map
                .clone()
                .into_iter()
                .filter(|(key, _)| !curves.contains(&key.as_str()))
                .collect();
            printer.line(format!("{:#}", Value::Object(plain)))?;
            printer.line(styled(DIM, path.join("report.html").display()))?;
        }
        _ => printer.line(styled(DIM, "trained elsewhere: there is no record"))?,
    }
    let documents = Documents::of_index(&session.config.data_dir)?;
    let stale = documents.as_ref().zip(record.as_ref()).and_then(|(all, it)| all.stale(it));
    match &stale {
        Some(stale) if !stale.is_fresh() => {
            printer.line(styled(YELLOW, stale_text(stale)))?;
            for (paths, what) in [(&stale.changed, "changed"), (&stale.deleted, "deleted")] {
                for path in paths {
                    printer.line(format!("  {what}: {path}"))?;
                }
            }
        }
        Some(stale) => {
            let text = format!("all {} documents are as they were", stale.n_documents);
            printer.line(styled(DIM, text))?;
        }
        None => {}
    }
    printer.json(&json!({
        "path": path,
        "config": config,
        "training": record,
        "stale": stale.map(|it| it.json(true)),
    }))?;
    Ok(())
}

fn remove(session: &Session, names: &[String]) -> Result<()> {
    let known = session.adapters()?;
    let find = |name: &String| known.iter().find(|(it, _)| it == name);
    // All are looked for before one is removed; those elsewhere are not ours to remove.
    if let Some(name) = names.iter().find(|it| find(it).is_none()) {
        let dir = session.adapters_dir();
        let what = format!("no adapter `{name}` in {}", dir.display());
        return Err(WrongUsage(what.into()).into());
    }
    let found: Vec<&(String, PathBuf)> = names.iter().filter_map(find).collect();
    for (name, path) in &found {
        fs_err::remove_dir_all(path)?;
        session.printer.line(format!("{name}: removed"))?;
    }
    let names: Vec<&String> = found.iter().map(|(name, _)| name).collect();
    session.printer.json(&json!({ "removed": names }))?;
    Ok(())
}

fn record(dir: &Path) -> Result<Option<Value>> {
    let of_dir = || format!("could not read the record of `{}`", dir.display());
    record_of(dir).with_context(of_dir)
}

/// How many documents are another by now, in words.
fn stale_text(stale: &Stale) -> String {
    let parts = [(stale.changed.len(), "changed"), (stale.deleted.len(), "deleted")];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    format!("stale: of {} documents {}", stale.n_documents, parts.join(", "))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs_err::read(path)?;
    serde_json::from_slice(&text).with_context(|| format!("`{}` is not JSON", path.display()))
}
