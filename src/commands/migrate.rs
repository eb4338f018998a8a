//! `souffleur migrate`: the index from the data folder to a Qdrant cluster, and back.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use index::{Home, Index, Store, StoreKind};
use serde_json::json;

use crate::{
    cli::{MigrateArgs, MigrateTo},
    cluster::Wait,
    printer::{BOLD, styled},
    session::Session,
};

pub(super) fn run(session: &Session, args: &MigrateArgs) -> Result<ExitCode> {
    let cluster = Store::Qdrant(session.cluster(Wait::Changes)?);
    let (former, next) = match args.to {
        MigrateTo::Qdrant => (Store::Embedded, cluster),
        MigrateTo::Embedded => {
            // What is on a cluster is not needed, only dropped: one that is away is not waited for.
            (Store::Qdrant(session.cluster(Wait::Never)?), Store::Embedded)
        }
    };
    let home = Home { dir: &session.config.data_dir, store: &next };
    let done = Index::migrate(home, &former, &mut session.preparing())
        .context("the index was not migrated; the live one is as it was")?;
    let (printer, to) = (session.printer, next.kind());
    let what = if done.was_live { "was there already, and is complete" } else { "is there now" };
    printer.line(styled(BOLD, format!("{to}: {} chunks: the index {what}", done.n_chunks)))?;
    printer.line(format!("checksum {}", done.checksum))?;
    if let Some(error) = &done.left_behind {
        printer.warn(format!("what the cluster held is still there: {error}"));
    }
    if session.config.store != to {
        printer.note(format!("now set `store = \"{to}\"` in souffleur.toml"));
    }
    printer.json(&json!({
        "to": to,
        "chunks": done.n_chunks,
        "checksum": done.checksum,
        "was_there": done.was_live,
        "left_behind": done.left_behind.map(|it| it.to_string()),
        "settings": if session.config.store == to { None::<StoreKind> } else { Some(to) },
    }))?;
    Ok(ExitCode::SUCCESS)
}
