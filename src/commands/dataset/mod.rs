//! `souffleur dataset`: documents to training data, and files of training data of others.

mod build;
mod files;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use tune::dataset::{
    jsonl::{BadLines, Rows},
    review::read,
    row::BodyKind,
    split::Split,
};

use crate::{
    cli::DatasetCommand,
    dataset::{
        folder::Folder,
        parts::{self, PartsError},
    },
    printer::Printer,
    session::{Session, WrongUsage},
};

pub(super) fn run(session: &mut Session, command: &DatasetCommand) -> Result<ExitCode> {
    match command {
        DatasetCommand::Build(args) => build::run(session, args),
        DatasetCommand::Check(args) => files::check(session, args),
        DatasetCommand::Show(args) => files::show(session, args),
        DatasetCommand::Split(args) => files::split(session, args),
        DatasetCommand::Export(args) => files::export(session, args),
        DatasetCommand::Import(args) => files::import(session, args),
    }
}

/// An error, after what parts share was named one by one where it is that.
fn told(printer: Printer, error: PartsError) -> anyhow::Error {
    if let PartsError::Leaks { found } = &error {
        for leak in found.iter().take(LEAKS_SHOWN) {
            printer.warn(leak);
        }
    }
    error.into()
}

/// Leaks named one by one.
const LEAKS_SHOWN: usize = 10;

/// Refuses to train where the rows that are learnt and those that are looked at touch. What cannot
/// be read as rows of a dataset is for the trainer to name.
pub(super) fn refuse_leaks_between(printer: Printer, train: &Path, valid: &Path) -> Result<()> {
    let (train, valid) = (read(train, BadLines::Skip), read(valid, BadLines::Skip));
    let (Ok(train), Ok(valid)) = (train, valid) else { return Ok(()) };
    let parts = [(Split::Train, &train.rows[..]), (Split::Valid, &valid.rows[..])];
    parts::check(&parts).map_err(|error| told(printer, error))
}

/// The files of rows that a path names: itself, or those of the dataset in the folder.
fn files_of(path: &Path) -> Result<Vec<(Option<BodyKind>, PathBuf)>> {
    if !path.is_dir() {
        return Ok(vec![(None, path.to_owned())]);
    }
    let all = BodyKind::ALL.iter().map(|it| (Some(*it), Folder::file(path, *it)));
    let found: Vec<_> = all.filter(|(_, it)| it.exists()).collect();
    if found.is_empty() {
        let what = format!(
            "no dataset in `{}`: name a file of rows, or the folder that `souffleur dataset build` \
             wrote",
            path.display()
        );
        return Err(WrongUsage(what.into()).into());
    }
    Ok(found)
}

/// Reads a file, and says which lines were left out.
fn read_rows(session: &Session, path: &Path, skip_bad: bool) -> Result<Rows> {
    let bad_lines = if skip_bad { BadLines::Skip } else { BadLines::Stop };
    let rows = read(path, bad_lines).context("could not read the rows")?;
    let printer = session.printer;
    for bad in rows.bad.iter().take(BAD_LINES_SHOWN) {
        printer.note(format!("line {}: {}", bad.line, bad.reason));
    }
    if !rows.bad.is_empty() {
        printer.warn(format!("{} lines of `{}` left out", rows.bad.len(), path.display()));
    }
    Ok(rows)
}

/// Lines left out that are named one by one.
const BAD_LINES_SHOWN: usize = 10;
