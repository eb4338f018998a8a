//! Folders into the index, while the server answers from what is there.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;

use super::{End, Job, Jobs, Kind};
use crate::{
    build_index::{BuildEvent, build_index},
    serve::{error::ApiError, state::App},
    wire::IngestOut,
};

impl Jobs {
    /// Queues an ingestion of folders.
    pub(crate) fn ingest(
        &self,
        app: &Arc<App>,
        owner: &str,
        roots: Vec<PathBuf>,
    ) -> Result<Arc<Job>, ApiError> {
        self.begin(app, Kind::Ingest, owner, move |app, job| work(app, job, &roots))
    }
}

fn work(app: &App, job: &Job, roots: &[PathBuf]) -> Result<End> {
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
    let json = serde_json::to_value(IngestOut::from(&report))?;
    Ok(if report.interrupted { End::Cancelled(Some(json)) } else { End::Done(Some(json)) })
}
