//! The documents to a dataset, in the folder `datasets` of the data folder.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use serde::Deserialize;

use super::{End, Job, Jobs, Kind};
use crate::{
    dataset::{
        build::{BuildOptions, Progress, build},
        teller::style_of,
    },
    serve::{error::ApiError, state::App, uploads::folder_name},
    writer::Writer,
};

/// Questions that the model writes from each passage, at most.
const QUESTIONS_MAX: usize = 20;

/// `POST /v1/jobs` with `"kind": "dataset"`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct DatasetRequest {
    /// What it will be called.
    name: String,
    /// Groups whose documents may be trained on, beside those of the settings.
    #[serde(default)]
    groups: Vec<String>,
    /// Questions that the language model writes from each passage, beside those that need none.
    #[serde(default)]
    questions: usize,
    /// Whether a dataset of that name is made anew, instead of going on where it is unfinished.
    #[serde(default)]
    restart: bool,
}

impl Jobs {
    /// Queues the making of a dataset.
    pub(crate) fn dataset(
        &self,
        app: &Arc<App>,
        owner: &str,
        request: DatasetRequest,
    ) -> Result<Arc<Job>, ApiError> {
        let dir = app.own_datasets().join(folder_name("name", request.name.trim())?);
        if request.questions > QUESTIONS_MAX {
            let why = format!("questions must be from 0 to {QUESTIONS_MAX}");
            return Err(ApiError::bad_field("questions", why));
        }
        if request.questions > 0 && matches!(*app.engine.writer, Writer::Extract { .. }) {
            let why = "a language model must write the questions, and there is none";
            return Err(ApiError::bad_field("questions", why));
        }
        let mut config = app.session.config.dataset.clone();
        config.groups.extend(request.groups);
        let options = BuildOptions {
            config,
            style: style_of(&app.engine),
            written_per_chunk: request.questions,
            anew: request.restart,
        };
        self.begin(app, Kind::Dataset, owner, move |app, job| work(app, job, &dir, &options))
    }
}

fn work(app: &App, job: &Job, dir: &Path, options: &BuildOptions) -> Result<End> {
    let mut on_progress = |Progress { what, done, total }| {
        job.tell(what, done, total);
        job.flow()
    };
    let built = build(&app.engine, Some(&app.records), dir, options, &mut on_progress)?;
    let report = Some(built.report);
    Ok(if built.stopped { End::Cancelled(report) } else { End::Done(report) })
}
