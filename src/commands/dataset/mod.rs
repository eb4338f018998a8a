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
    personal::PersonalPolicy,
    review::read,
    row::{BodyKind, Row},
    split::Split,
    touch,
};

use crate::{
    cli::{DatasetCommand, PersonalArg},
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

/// Refuses to train where the rows that are learnt touch others: those to look at, and those of the
/// files for validation and test beside them, as `dataset split` writes them.
pub(super) fn refuse_leaks(printer: Printer, train: &Path, valid: Option<&Path>) -> Result<()> {
    let rows = |path: &Path| -> Result<Vec<Row>> {
        touch::read(path).with_context(|| format!("could not read `{}`", path.display()))
    };
    let learnt = rows(train)?;
    for (part, path) in others(train, valid)? {
        let parts = [(Split::Train, &learnt[..]), (part, &rows(&path)?[..])];
        parts::check(&parts)
            .map_err(|error| told(printer, error))
            .with_context(|| format!("`{}` touches `{}`", train.display(), path.display()))?;
    }
    Ok(())
}

/// The files of rows that are not learnt, each once.
fn others(train: &Path, valid: Option<&Path>) -> Result<Vec<(Split, PathBuf)>> {
    let mut known = vec![fs_err::canonicalize(train)?];
    let beside = [Split::Valid, Split::Test].map(|part| {
        let path = train.with_file_name(format!("{}.jsonl", part.as_str()));
        (part, path)
    });
    let beside = beside.into_iter().filter(|(_, path)| path.is_file());
    let mut res = Vec::new();
    for (part, path) in valid.map(|it| (Split::Valid, it.to_owned())).into_iter().chain(beside) {
        let real = fs_err::canonicalize(&path)?;
        // Rows that are both learnt and looked at are the worst of leaks.
        let is_validation = res.is_empty() && valid.is_some();
        if is_validation || !known.contains(&real) {
            known.push(real);
            res.push((part, path));
        }
    }
    Ok(res)
}

/// The policy on personal data: that of the flag, else that of the settings.
fn policy(asked: Option<PersonalArg>, of_settings: PersonalPolicy) -> PersonalPolicy {
    match asked {
        Some(PersonalArg::Mask) => PersonalPolicy::Mask,
        Some(PersonalArg::Refuse) => PersonalPolicy::Refuse,
        Some(PersonalArg::Keep) => PersonalPolicy::Keep,
        None => of_settings,
    }
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
