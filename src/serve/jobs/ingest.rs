//! Folders into the index, while the server answers from what is there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use ingest::{discover::Skipped, document::Language};
use serde_json::{Value, json};

use super::{End, Job, Jobs, Kind};
use crate::{
    build_index::{BuildEvent, build_index},
    reasons::skip_text,
    serve::{error::ApiError, state::App, uploads},
    wire::IngestOut,
};

impl Jobs {
    /// Queues an ingestion of folders. `uploaded` are the files that it is for, if it is for some, as
    /// paths below the folder of uploads.
    pub(crate) fn ingest(
        &self,
        app: &Arc<App>,
        owner: &str,
        roots: Vec<PathBuf>,
        uploaded: Vec<String>,
    ) -> Result<Arc<Job>, ApiError> {
        self.begin(app, Kind::Ingest, owner, move |app, job| work(app, job, &roots, &uploaded))
    }
}

fn work(app: &App, job: &Job, roots: &[PathBuf], uploaded: &[String]) -> Result<End> {
    let (mut n_done, mut n_all) = (0, 0);
    job.tell("looking", 0, 0);
    let mut on_event = |event: BuildEvent<'_>| match event {
        BuildEvent::Discovered { n_files } => {
            n_all = n_files;
            job.tell("reading", 0, n_all);
        }
        BuildEvent::File { n_done: done, .. } => {
            n_done = done;
            job.tell("reading", n_done, n_all);
        }
        BuildEvent::Embedded { .. } => {}
        BuildEvent::Applying => job.tell("indexing", n_done, n_all),
    };
    let engine = &app.engine;
    let report = build_index(
        &engine.index,
        &engine.embedder,
        roots,
        &app.build,
        &job.cancelled,
        &mut on_event,
    )?;
    if let Err(error) = app.records.set_skipped(roots, &report.skipped) {
        tracing::warn!(%error, "what was left aside could not be recorded");
    }
    if !uploaded.is_empty() {
        let root = uploads::root(&app.session.config.data_dir);
        job.set_skipped(skipped_of(&report.skipped, &root, uploaded));
    }
    let json = serde_json::to_value(IngestOut::from(&report))?;
    Ok(if report.interrupted { End::Cancelled(Some(json)) } else { End::Done(Some(json)) })
}

/// Which of the uploaded files were left aside, and why. Others that were left aside may be of other
/// groups.
fn skipped_of(skipped: &[Skipped], root: &Path, uploaded: &[String]) -> Vec<Value> {
    let told = uploaded.iter().filter_map(|path| {
        let found = skipped.iter().find(|it| it.path == root.join(path))?;
        Some(json!({
            "path": path,
            "reason": skip_text(&found.reason, Language::English),
            "reason_fr": skip_text(&found.reason, Language::French),
        }))
    });
    told.collect()
}
