//! `souffleur forget`: documents out of the index for good, whether their files still exist or not.

use std::{
    io,
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use index::{Home, Index, catalog::StoredDocument, hit::DocumentId};
use serde_json::json;

use crate::{
    build_index::place,
    cli::ForgetArgs,
    cluster::Wait,
    feedback::forgotten::{ForgottenExamples, Unreached, forget_examples},
    printer::{BOLD, styled},
    records::Records,
    session::Session,
};

/// Documents listed in full; the rest is counted.
const LISTED_MAX: usize = 20;

pub(super) fn run(session: &Session, args: &ForgetArgs) -> Result<ExitCode> {
    let mut asked = Vec::with_capacity(args.paths.len());
    for path in &args.paths {
        let places = places(path).with_context(|| format!("`{}`", path.display()))?;
        asked.push((path, places));
    }
    let (mut forgotten, mut unknown) = (Vec::new(), Vec::new());
    let mut choose = |documents: &[StoredDocument]| {
        for (path, places) in &asked {
            let is_in = |it: &&StoredDocument| places.iter().any(|at| place(it).starts_with(at));
            let found: Vec<StoredDocument> = documents.iter().filter(is_in).cloned().collect();
            if found.is_empty() {
                unknown.push(path.display().to_string());
            }
            forgotten.extend(found);
        }
        forgotten.sort_by_key(|it| it.id);
        forgotten.dedup_by_key(|it| it.id);
        // All that was asked for, or nothing: a misspelt path must not pass for an erasure.
        if unknown.is_empty() { forgotten.iter().map(|it| it.id).collect() } else { Vec::new() }
    };
    let store = session.store(Wait::Changes)?;
    let home = Home { dir: &session.config.data_dir, store: &store };
    Index::forget(home, &mut choose, &mut session.preparing())?;
    if !unknown.is_empty() {
        bail!(
            "no document of `{}` is indexed, so nothing was forgotten: `souffleur status` lists \
             what is",
            unknown.join("`, `")
        );
    }
    let records = Records::open(&session.config.data_dir)?;
    let ids: Vec<DocumentId> = forgotten.iter().map(|it| it.id).collect();
    let n_answers = records.forget_documents(&ids)?;
    let examples = forget_examples(&records, &session.config.prompts.dir)?;
    show(session, &forgotten, &examples)?;
    if n_answers > 0 {
        session
            .printer
            .note(format!("with {n_answers} answers, of conversations that quoted them"));
    }
    for path in &examples.removed {
        session.printer.note(format!("with the example `{}`", path.display()));
    }
    for it in &examples.unreached {
        session.printer.warn(it);
    }
    for path in args.paths.iter().filter(|it| it.exists()) {
        session.printer.note(format!(
            "`{}` still exists: it is read again when a folder that holds it is ingested",
            path.display()
        ));
    }
    // What was ours to remove is still there: a script must not take that for an erasure.
    let has_failed = examples.unreached.iter().any(|it| matches!(it, Unreached::Failed { .. }));
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(
    session: &Session,
    forgotten: &[StoredDocument],
    examples: &ForgottenExamples,
) -> Result<()> {
    let printer = session.printer;
    let n_chunks: u64 = forgotten.iter().map(|it| it.n_chunks).sum();
    printer.line(styled(
        BOLD,
        format!("forgotten: {} documents, {n_chunks} chunks", forgotten.len()),
    ))?;
    for document in forgotten.iter().take(LISTED_MAX) {
        printer.line(format!("  {}", place(document).display()))?;
    }
    if forgotten.len() > LISTED_MAX {
        let more = forgotten.len() - LISTED_MAX;
        printer.line(format!("  and {more} more: --json lists them all"))?;
    }
    printer.json(&json!({
        "documents": forgotten.len(),
        "chunks": n_chunks,
        "forgotten": forgotten.iter().map(|it| {
            json!({"root": it.source.root, "path": it.source.path})
        }).collect::<Vec<_>>(),
        "examples": examples.removed,
        "unreached": examples.unreached.iter().map(Unreached::path).collect::<Vec<_>>(),
    }))?;
    Ok(())
}

/// The paths by which the catalog may know what a user names: absolute, with the links above it
/// resolved as far as they still exist, and with it being a link itself or not.
fn places(path: &Path) -> io::Result<Vec<PathBuf>> {
    let absolute = without_dots(&std::path::absolute(path)?);
    let mut res = vec![real(&absolute)];
    if let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) {
        res.push(real(folder).join(name));
    }
    Ok(res)
}

/// The longest part of a path that exists, links resolved, and the rest as it is.
fn real(absolute: &Path) -> PathBuf {
    let found = absolute.ancestors().find_map(|above| {
        let rest = absolute.strip_prefix(above).ok()?;
        Some(fs_err::canonicalize(above).ok()?.join(rest))
    });
    found.unwrap_or_else(|| absolute.to_owned())
}

/// `/a/b/../c` → `/a/c`.
fn without_dots(absolute: &Path) -> PathBuf {
    let mut res = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                res.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => res.push(part),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_gone_is_named_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let found = places(&dir.path().join("gone/x/../a.md")).unwrap();
        assert_eq!(found[0], real.join("gone/a.md"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_what_it_leads_to_and_itself() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        fs_err::create_dir(real.join("a")).unwrap();
        std::os::unix::fs::symlink(real.join("a"), real.join("b")).unwrap();
        let found = places(&dir.path().join("b")).unwrap();
        assert_eq!(found, [real.join("a"), real.join("b")]);
    }
}
