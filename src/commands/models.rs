//! `souffleur models`: list, pull, verify, merge, remove.

use std::{borrow::Cow, path::Path, process::ExitCode};

use anyhow::Result;
use model::{
    catalogue::ModelEntry,
    merge::{MergeOptions, MergedType, merge},
    store::{InstalledModel, StoreError},
};
use serde_json::json;

use crate::{
    cli::{MergeArgs, MergedTypeArg, ModelsCommand},
    printer::{BOLD, DIM, GREEN, YELLOW, styled},
    session::{EXTRACT, Session, WrongUsage, model_path},
};

pub(super) fn run(session: &Session, command: &ModelsCommand) -> Result<ExitCode> {
    match command {
        ModelsCommand::List => list(session)?,
        ModelsCommand::Pull { ids, from } => pull(session, ids, from.as_deref())?,
        ModelsCommand::Verify { ids } => return verify(session, ids),
        ModelsCommand::Merge(args) => merge_adapter(session, args)?,
        ModelsCommand::Remove { ids } => remove(session, ids)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(session: &Session) -> Result<()> {
    let printer = session.printer;
    let mut rows = Vec::new();
    for entry in &session.catalogue.models {
        let (state, style) = match session.store.installed(&entry.id) {
            Ok(Some(_)) => ("installed", GREEN),
            Ok(None) => ("-", DIM),
            Err(_) => ("damaged", YELLOW),
        };
        let checked = entry.files.iter().all(|it| it.sha256.is_some());
        let hash = if checked { "hash known" } else { "hash recorded on first pull" };
        printer.line(format!(
            "{:<24} {:<10} {:<11} {:<13} {}  {}",
            entry.id,
            styled(style, format!("{state:<10}")),
            entry.role.as_str(),
            entry.licence,
            entry.languages.join(","),
            styled(DIM, hash)
        ))?;
        rows.push(json!({
            "id": entry.id,
            "role": entry.role.as_str(),
            "state": state,
            "architecture": entry.architecture,
            "licence": entry.licence,
            "languages": entry.languages,
            "context_length": entry.context_length,
            "hash_known": checked,
        }));
    }
    printer.line(styled(DIM, format!("in {}", session.store.dir().display())))?;
    printer.json(&json!({ "models": rows, "dir": session.store.dir() }))?;
    Ok(())
}

fn pull(session: &Session, ids: &[String], from: Option<&Path>) -> Result<()> {
    let ids = if ids.is_empty() { of_settings(session) } else { ids.to_vec() };
    if from.is_some() && ids.len() != 1 {
        return Err(WrongUsage(Cow::Borrowed("--from holds one model: name it")).into());
    }
    let mut rows = Vec::new();
    for id in &ids {
        let entry = session.entry(id, None)?;
        // Every byte is read: a file of the right length may hold wrong ones.
        let model = match session.store.verify(id) {
            Ok(model) if from.is_none() => model,
            Ok(_) | Err(StoreError::NotInstalled { .. }) => session.pull(entry, from)?,
            Err(error) if error.is_damage() => {
                session.printer.note(format!("{id} is fetched again: {error}"));
                session.pull(entry, from)?
            }
            Err(error) => return Err(error.into()),
        };
        report(session, entry, &model)?;
        rows.push(json!({"id": id, "dir": model.dir, "bytes": model.size()}));
    }
    session.printer.json(&json!({ "models": rows }))?;
    Ok(())
}

fn report(session: &Session, entry: &ModelEntry, model: &InstalledModel) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits")]
    let megabytes = model.size() as f64 / 1e6;
    let line = format!("{} ({megabytes:.0} MB)", model.dir.display());
    session.printer.line(format!("{} {}", styled(BOLD, &entry.id), styled(DIM, line)))?;
    Ok(())
}

/// The models that the settings name by id; those named by path are here already.
fn of_settings(session: &Session) -> Vec<String> {
    let models = &session.config.models;
    let by_id = |it: &&String| *it != EXTRACT && model_path(it).is_none();
    [&models.embedder, &models.generator].into_iter().filter(by_id).cloned().collect()
}

fn verify(session: &Session, ids: &[String]) -> Result<ExitCode> {
    let known = session.catalogue.models.iter().map(|it| it.id.clone());
    let installed = known.filter(|it| session.store.dir().join(it).join("files.json").exists());
    let ids: Vec<String> = if ids.is_empty() { installed.collect() } else { ids.to_vec() };
    let mut failed = false;
    let mut rows = Vec::new();
    for id in &ids {
        session.entry(id, None)?;
        let (ok, detail) = match session.store.verify(id) {
            Ok(_) => (true, None),
            Err(error) => (false, Some(error.to_string())),
        };
        failed |= !ok;
        let state = match &detail {
            None => styled(GREEN, "ok"),
            Some(detail) => {
                styled(YELLOW, format!("{detail}; `souffleur models pull {id}` fetches it again"))
            }
        };
        session.printer.line(format!("{id}: {state}"))?;
        rows.push(json!({"id": id, "ok": ok, "detail": detail}));
    }
    if ids.is_empty() {
        session
            .printer
            .line("no model is installed: `souffleur models pull` fetches the default ones")?;
    }
    session.printer.json(&json!({ "models": rows }))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn merge_adapter(session: &Session, args: &MergeArgs) -> Result<()> {
    let base = session.generator_path(&args.base)?;
    let merged = merge(&MergeOptions {
        base: &base,
        adapter: &args.adapter,
        out: &args.out,
        merged_type: match args.merged_type {
            MergedTypeArg::F32 => MergedType::F32,
            MergedTypeArg::F16 => MergedType::F16,
            MergedTypeArg::Q8 => MergedType::Q8_0,
        },
    })?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits")]
    let megabytes = merged.n_bytes as f64 / 1e6;
    let out = args.out.display();
    let line = format!("({} matrices changed, {megabytes:.0} MB)", merged.n_matrices);
    session.printer.line(format!("{} {}", styled(BOLD, out), styled(DIM, line)))?;
    session.printer.json(&json!({
        "out": args.out, "n_matrices": merged.n_matrices, "bytes": merged.n_bytes,
    }))?;
    Ok(())
}

fn remove(session: &Session, ids: &[String]) -> Result<()> {
    let mut rows = Vec::new();
    for id in ids {
        session.entry(id, None)?;
        let removed = session.store.remove(id)?;
        let text = if removed { "removed" } else { "was not installed" };
        session.printer.line(format!("{id}: {text}"))?;
        rows.push(json!({"id": id, "removed": removed}));
    }
    session.printer.json(&json!({ "models": rows }))?;
    Ok(())
}
