//! `souffleur dataset check | show | split | export | import`: files of rows, ours or of others.

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use ingest::document::Language;
use serde_json::{Value, json};
use tune::dataset::{
    check::{self, Checked, bars},
    export::{self, Exported, Trainer},
    format::{self, Format},
    jsonl::RowWriter,
    known::known,
    row::{BodyKind, MadeBy, Row, id_of},
    split::{Shares, Split},
};

use super::{files_of, policy, read_rows, told};
use crate::{
    cli::{
        DatasetCheckArgs, DatasetExportArgs, DatasetImportArgs, DatasetShowArgs, DatasetSplitArgs,
        FormatArg, LanguageArg, TrainerArg,
    },
    dataset::{
        parts::{self, Separated, write_parts, write_rows},
        policy::{Lawful, LawfulCounts, lawful},
    },
    printer::{BOLD, DIM, GREEN, Printer, RED, YELLOW, styled},
    session::{Session, WrongUsage},
    writer::Writer,
};

/// Bytes of a token where no tokenizer counts.
const BYTES_PER_TOKEN: usize = 3;

pub(super) fn check(session: &Session, args: &DatasetCheckArgs) -> Result<ExitCode> {
    let writer = args.model.as_deref().map(|it| session.writer(Some(it))).transpose()?;
    let count = |text: &str| match &writer {
        Some(Writer::Model(model)) => model.encoder().count_tokens(text),
        _ => text.len().div_ceil(BYTES_PER_TOKEN),
    };
    let tokens_max = args.tokens_max.map(std::num::NonZeroUsize::get);
    let printer = session.printer;
    let (mut res, mut is_good) = (Vec::new(), true);
    for path in &args.paths {
        for (_, file) in files_of(path)? {
            let rows = read_rows(session, &file, args.skip_bad)?;
            let checked = check::check(&rows, &count, tokens_max);
            is_good &= checked.rows > 0 && checked.issues.iter().all(|it| !it.is_error);
            show_check(printer, &file, &checked, writer.is_none())?;
            let mut json = serde_json::to_value(&checked)?;
            json["path"] = json!(file.display().to_string());
            json["bad_lines"] = serde_json::to_value(&rows.bad)?;
            json["tokens_are_estimates"] = json!(writer.is_none());
            res.push(json);
        }
    }
    printer.json(&json!({ "files": res, "can_be_trained_on": is_good }))?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_check(printer: Printer, file: &Path, it: &Checked, estimated: bool) -> Result<()> {
    printer.line(styled(BOLD, format!("{}: {} rows", file.display(), it.rows)))?;
    let list = |counts: &std::collections::BTreeMap<&str, usize>| {
        counts.iter().map(|(it, n)| format!("{it} {n}")).collect::<Vec<_>>().join(", ")
    };
    printer.line(format!("formats    {}", list(&it.formats)))?;
    if !it.made_by.is_empty() {
        printer.line(format!("made by    {}", list(&it.made_by)))?;
    }
    let lengths = &it.lengths;
    let about = if estimated { "about " } else { "" };
    printer.line(format!(
        "tokens     {about}{} in all; {} to {}, median {}, 95 % up to {}",
        lengths.sum, lengths.min, lengths.max, lengths.median, lengths.p95
    ))?;
    for line in bars(lengths.bars.iter().map(|(below, n)| (format!("< {below}"), *n))) {
        printer.line(format!("  {line}"))?;
    }
    printer.line("languages")?;
    for line in bars(it.languages.iter().map(|(name, n)| (name.clone(), *n))) {
        printer.line(format!("  {line}"))?;
    }
    for issue in &it.issues {
        let style = if issue.is_error { RED } else { YELLOW };
        let kind = if issue.is_error { "error" } else { "look" };
        let lines: Vec<String> = issue.lines.iter().map(usize::to_string).collect();
        let more = if issue.rows > issue.lines.len() { ", …" } else { "" };
        printer.line(format!(
            "{}  {}: {} rows (lines {}{more})",
            styled(style, kind),
            issue.what,
            issue.rows,
            lines.join(", ")
        ))?;
    }
    if it.issues.is_empty() && it.rows > 0 {
        printer.line(styled(GREEN, "nothing wrong found"))?;
    }
    if it.rows == 0 {
        printer.line(styled(RED, "there are no rows"))?;
    }
    Ok(())
}

pub(super) fn show(session: &Session, args: &DatasetShowArgs) -> Result<ExitCode> {
    let mut rows: Vec<Row> = Vec::new();
    for (_, file) in files_of(&args.path)? {
        rows.extend(read_rows(session, &file, false)?.rows);
    }
    let n_all = rows.len();
    if let Some(id) = &args.id {
        rows.retain(|it| it.id == *id);
    }
    if let Some(made_by) = &args.made_by {
        rows.retain(|it| it.meta.made_by.is_some_and(|it| it.as_str() == made_by));
    }
    if rows.is_empty() {
        bail!("none of the {n_all} rows is like that");
    }
    if let Some(seed) = args.random {
        rows.sort_by_cached_key(|it| id_of(&[&seed.to_string(), &it.id]));
    }
    rows.truncate(args.n.get());
    let printer = session.printer;
    for row in &rows {
        show_row(printer, row)?;
    }
    let own = |it: &Row| format::write(it, Format::own(it.body.kind()));
    let json: Vec<Value> = rows.iter().map(own).collect::<Result<_, _>>()?;
    printer.json(&json!({ "rows": json, "of": n_all }))?;
    Ok(ExitCode::SUCCESS)
}

fn show_row(printer: Printer, row: &Row) -> Result<()> {
    let meta = &row.meta;
    let made_by = meta.made_by.map_or("", MadeBy::as_str);
    let place = meta.path.clone().unwrap_or_default();
    let page = meta.page.map_or(String::new(), |it| format!(", page {it}"));
    let part = meta.split.map_or("", Split::as_str);
    printer.line(styled(BOLD, format!("{} {made_by} {place}{page} {part}", row.id)))?;
    for message in row.body.prompt() {
        printer.line(format!(
            "{} {}",
            styled(DIM, format!("{:?}:", message.role)),
            message.content
        ))?;
    }
    for target in row.body.targets() {
        printer.line(format!("{} {target}", styled(GREEN, "→")))?;
    }
    if let Some(quote) = &meta.quote {
        printer.line(styled(DIM, format!("rests on: {quote}")))?;
    }
    printer.line("")?;
    Ok(())
}

pub(super) fn split(session: &Session, args: &DatasetSplitArgs) -> Result<ExitCode> {
    let config = &session.config.dataset;
    let shares = Shares {
        valid: args.valid.unwrap_or(config.valid_share),
        test: args.test.unwrap_or(config.test_share),
        seed: args.seed.unwrap_or(config.seed),
    };
    let is_share = |it: f64| (0.0..1.0).contains(&it);
    if !is_share(shares.valid) || !is_share(shares.test) || shares.valid + shares.test >= 1.0 {
        let what =
            "the shares of validation and test must be from 0 to 1, and less than 1 together";
        return Err(WrongUsage(what.into()).into());
    }
    let keep = args.valid.is_none() && args.test.is_none() && args.seed.is_none();
    let printer = session.printer;
    let mut res = Vec::new();
    for (kind, file) in files_of(&args.path)? {
        let mut rows = read_rows(session, &file, args.skip_bad)?.rows;
        only_language(&mut rows, args.language);
        let out = kind.map_or(args.out.clone(), |it| args.out.join(it.as_str()));
        let separated = separate(printer, &rows, shares, keep)?;
        write_parts(&separated.parts, &out)?;
        let mut json = json!({"path": file.display().to_string(), "groups": separated.n_groups,
            "left_out": separated.n_crossing});
        for (part, rows) in &separated.parts {
            json[part.as_str()] = json!(rows.len());
            if rows.is_empty() {
                printer.warn(format!("{} of `{}` has no rows", part.as_str(), out.display()));
            }
        }
        printer.line(format!(
            "{}: {} train, {} valid, {} test",
            out.display(),
            json["train"],
            json["valid"],
            json["test"]
        ))?;
        note_crossing(printer, &separated);
        res.push(json);
    }
    printer.json(&json!({ "files": res }))?;
    Ok(ExitCode::SUCCESS)
}

/// Puts rows into parts, naming what they share where they do.
fn separate(printer: Printer, rows: &[Row], shares: Shares, keep: bool) -> Result<Separated> {
    parts::separate(rows, shares, keep).map_err(|error| told(printer, error))
}

fn note_crossing(printer: Printer, separated: &Separated) {
    let n = separated.n_crossing;
    if n > 0 {
        printer.note(format!("{n} rows left out: their prompts show documents of another part"));
    }
}

pub(super) fn export(session: &Session, args: &DatasetExportArgs) -> Result<ExitCode> {
    let files = files_of(&args.path)?;
    let (_, file) = &files[0];
    let mut rows = read_rows(session, file, args.skip_bad)?.rows;
    only_language(&mut rows, args.language);
    let Some(kind) = rows.first().map(|it| it.body.kind()) else {
        bail!("`{}` has no such rows", file.display());
    };
    if rows.iter().any(|it| it.body.kind() != kind) {
        bail!("`{}` holds rows of several kinds: no trainer reads them together", file.display());
    }
    let printer = session.printer;
    let written = match (args.trainer, args.format) {
        (Some(trainer), _) => for_trainer(session, args, trainer, kind, rows)?,
        (None, format) => {
            match format.map_or(Some(Format::own(kind)), of_arg) {
                Some(format) => write_rows(&args.out, &rows, Some(format))?,
                None => write_questions(printer, &args.out, &rows)?,
            }
            vec![args.out.display().to_string()]
        }
    };
    for it in &written {
        printer.line(it)?;
    }
    printer.json(&json!({ "files": written, "kind": kind.as_str() }))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes what words alone can measure, and says how much that is.
fn write_questions(printer: Printer, path: &Path, rows: &[Row]) -> Result<()> {
    let questions: Vec<Value> = rows.iter().filter_map(known).collect();
    if questions.is_empty() {
        bail!("none of the {} rows has a value for its answer, or none at all", rows.len());
    }
    let mut writer = RowWriter::create(path, Format::Text)?;
    for question in &questions {
        writer.write_value(question)?;
    }
    writer.flush()?;
    let n_left_out = rows.len() - questions.len();
    if n_left_out > 0 {
        printer.note(format!("{n_left_out} rows left out: their answers are no value"));
    }
    Ok(())
}

fn for_trainer(
    session: &Session,
    args: &DatasetExportArgs,
    trainer: TrainerArg,
    kind: BodyKind,
    rows: Vec<Row>,
) -> Result<Vec<String>> {
    let shares = session.config.dataset.shares();
    let separated = separate(session.printer, &rows, shares, true)?;
    note_crossing(session.printer, &separated);
    let trainer = match trainer {
        TrainerArg::LlamaFactory => Trainer::LlamaFactory,
        TrainerArg::Axolotl => Trainer::Axolotl,
        TrainerArg::Trl => Trainer::Trl,
    };
    let tokens_max = args.tokens_max.get();
    let exported = Exported { kind, base: &args.base, tokens_max, parts: &separated.parts };
    let files = export::export(&args.out, trainer, &exported)?;
    Ok(files.iter().map(|it| it.display().to_string()).collect())
}

/// Leaves rows whose answers are in another language, or in one that cannot be told.
fn only_language(rows: &mut Vec<Row>, language: Option<LanguageArg>) {
    let wanted = match language {
        Some(LanguageArg::Fr) => Language::French,
        Some(LanguageArg::En) => Language::English,
        None => return,
    };
    rows.retain(|it| it.language() == Some(wanted));
}

/// `None`: questions, which are no rows.
fn of_arg(format: FormatArg) -> Option<Format> {
    Some(match format {
        FormatArg::Messages => Format::Messages,
        FormatArg::PromptCompletion => Format::PromptCompletion,
        FormatArg::Alpaca => Format::Alpaca,
        FormatArg::Sharegpt => Format::ShareGpt,
        FormatArg::Preference => Format::Preference,
        FormatArg::Unpaired => Format::Unpaired,
        FormatArg::Raft => Format::Raft,
        FormatArg::Text => Format::Text,
        FormatArg::Questions => return None,
    })
}

pub(super) fn import(session: &Session, args: &DatasetImportArgs) -> Result<ExitCode> {
    let read = read_rows(session, &args.path, args.skip_bad)?;
    let name = args.path.file_name().map(|it| it.to_string_lossy().into_owned());
    let mut rows = read.rows;
    for (row, line) in rows.iter_mut().zip(&read.lines) {
        if row.id.is_empty() {
            row.id = id_of(&[name.as_deref().unwrap_or_default(), &line.to_string()]);
        }
        row.meta.made_by.get_or_insert(MadeBy::Imported);
        row.meta.path = row.meta.path.take().or(name.clone());
        row.meta.licence = row.meta.licence.take().or(args.licence.clone());
    }
    let config = &session.config.dataset;
    let n_read = rows.len();
    let policy = policy(args.personal_data, config.personal_data);
    let Lawful { rows, counts } = lawful(rows, &config.licences_forbidden, policy);
    let printer = session.printer;
    note_lawful(printer, counts);
    if rows.is_empty() && n_read > 0 {
        bail!("none of the {n_read} rows may be trained on: nothing was written");
    }
    write_rows(&args.out, &rows, None)?;
    let formats: Vec<String> =
        read.formats.iter().map(|(it, n)| format!("{n} {}", it.as_str())).collect();
    printer.line(format!(
        "{} rows in {} ({})",
        rows.len(),
        args.out.display(),
        formats.join(", ")
    ))?;
    printer.json(&json!({
        "rows": rows.len(),
        "masked": counts.masked,
        "left_out": {"licence": counts.licence, "personal_data": counts.personal_data},
        "bad_lines": read.bad,
        "out": args.out.display().to_string(),
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Says what the rules for training data changed.
fn note_lawful(printer: Printer, counts: LawfulCounts) {
    let LawfulCounts { masked, personal_data, licence } = counts;
    if masked > 0 {
        printer.note(format!("{masked} rows had personal data, which is masked"));
    }
    if personal_data > 0 {
        printer.warn(format!("{personal_data} rows left out: they hold or teach personal data"));
    }
    if licence > 0 {
        printer.warn(format!("{licence} rows left out: their licence forbids training"));
    }
}
