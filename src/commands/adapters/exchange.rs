//! Adapters from other programs, and for them: `import` and `export`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use model::{adapter::Adapter, export::export, staging::whole_folder};
use serde_json::{Value, json};
use tune::train::run::RECORD;

use super::record;
use crate::{
    cli::{AdaptersExportArgs, AdaptersImportArgs},
    printer::{BOLD, DIM, styled},
    session::{Session, WrongUsage, adapters::is_adapter_name},
};

/// Files of an adapter's folder; what trainers leave besides (checkpoints, optimisers) stays there.
const FILES: [&str; 12] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "souffleur.json",
    RECORD,
    "report.html",
    "log.jsonl",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "README.md",
];

/// Takes a PEFT folder into the data folder, once it is sure that the base can write with it.
pub(super) fn import_folder(session: &Session, args: &AdaptersImportArgs) -> Result<()> {
    let AdaptersImportArgs { path, name, base } = args;
    if !path.join("adapter_config.json").is_file() {
        let what = format!("no adapter at `{}`: it has no adapter_config.json", path.display());
        return Err(WrongUsage(what.into()).into());
    }
    let of_path = || path.file_name().map(|it| it.to_string_lossy().into_owned());
    let name = name.clone().or_else(of_path).unwrap_or_default();
    if !is_adapter_name(&name) {
        let what = format!("`{name}` is no name: letters, digits, `-`, `_` and `.` are");
        return Err(WrongUsage(what.into()).into());
    }
    let out = session.adapters_dir().join(&name);
    if out.exists() {
        let what = format!("there is an adapter `{name}` already: choose another --name");
        return Err(WrongUsage(what.into()).into());
    }
    let base = base_of(session, path, base.as_deref())?;
    let adapter = Adapter::open(path, &base)?;

    whole_folder(&out, |partial| {
        for file in FILES.iter().filter(|it| path.join(it).is_file()) {
            fs_err::copy(path.join(file), partial.join(file))?;
        }
        let own = partial.join("souffleur.json");
        if !own.exists() {
            // From now on it goes with the base that it was checked against, and with no other.
            let own_record = json!({ "base": adapter.base_fingerprint() });
            fs_err::write(own, format!("{own_record:#}\n"))?;
        }
        std::io::Result::Ok(())
    })?;
    let printer = session.printer;
    printer.line(format!("{} {}", styled(BOLD, &name), styled(DIM, out.display())))?;
    printer.json(&json!({ "name": name, "path": out, "base": base }))?;
    Ok(())
}

/// Writes an adapter as a GGUF file.
pub(super) fn export_gguf(session: &Session, args: &AdaptersExportArgs) -> Result<()> {
    let AdaptersExportArgs { name, out, base } = args;
    if out.extension().is_none_or(|it| !it.eq_ignore_ascii_case("gguf")) {
        let what = format!("`{}` is to be a .gguf file", out.display());
        return Err(WrongUsage(what.into()).into());
    }
    let path = session.adapter_path(name)?;
    let base = base_of(session, &path, base.as_deref())?;
    let exported = export(&path, &base, out)?;
    #[expect(clippy::cast_precision_loss, reason = "megabytes need no more digits")]
    let megabytes = exported.n_bytes as f64 / 1e6;
    let printer = session.printer;
    let line = format!("({} matrices, {megabytes:.1} MB)", exported.n_matrices);
    printer.line(format!("{} {}", styled(BOLD, out.display()), styled(DIM, line)))?;
    printer.json(&json!({
        "out": out, "n_matrices": exported.n_matrices, "bytes": exported.n_bytes,
    }))?;
    Ok(())
}

/// The base that is asked for, else the one that the adapter's record names, else that of the
/// settings.
fn base_of(session: &Session, adapter: &Path, asked: Option<&str>) -> Result<PathBuf> {
    if let Some(asked) = asked {
        return session.generator_path(asked);
    }
    let record = if adapter.is_dir() { record(adapter)? } else { None };
    let of_record = record.and_then(|it| match &it["base"]["model"] {
        Value::String(path) => Some(PathBuf::from(path)),
        _ => None,
    });
    match of_record.filter(|it| it.exists()) {
        Some(path) => Ok(path),
        None => session.generator_path(&session.config.models.generator),
    }
}
