//! A dataset to an adapter of the server's own model.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tune::{
    dataset::{jsonl::BadLines, review, split::Split},
    train::{
        run::{Event, Outcome, Setup, train},
        settings::{Method, Settings},
    },
};

use super::{End, Job, Jobs, Kind};
use crate::{
    dataset::{
        folder::Folder,
        parts::{separate, write_parts},
    },
    serve::{error::ApiError, state::App},
    session::adapters::is_adapter_name,
};

/// `POST /v1/jobs` with `"kind": "tune"`
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(crate) struct TuneRequest {
    /// The dataset's id, as `GET /v1/datasets` gives it.
    dataset: String,
    /// What the adapter will be called.
    name: String,
    /// What differs from `[tune]` of the settings, such as `{"method": "dpo", "epochs": 1}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// Whether a run of that name that was stopped is forgotten, instead of going on.
    #[serde(default)]
    restart: bool,
}

/// What is trained.
struct Training {
    rows: PathBuf,
    /// Where its parts are written.
    parts: PathBuf,
    name: String,
    settings: Settings,
    restart: bool,
}

impl Jobs {
    /// Queues the training of an adapter.
    pub(crate) fn tune(
        &self,
        app: &Arc<App>,
        owner: &str,
        request: TuneRequest,
    ) -> Result<Arc<Job>, ApiError> {
        app.local_model()?;
        let dir = app.dataset(&request.dataset)?.dir;
        let name = request.name.trim().to_owned();
        if !is_adapter_name(&name) {
            let why = format!(
                "`{}` cannot be a name here: letters, digits, `-`, `_` and `.` can",
                name.escape_debug()
            );
            return Err(ApiError::bad_field("name", why));
        }
        if app.session.adapters_dir().join(&name).exists() {
            return Err(ApiError::conflict(format!("there is an adapter `{name}`")));
        }
        let settings = merged(&app.session.config.tune, request.settings)
            .map_err(|why| ApiError::bad_field("settings", why))?;
        if settings.method == Method::Full {
            let why = "`full` makes a model of its own, and a server keeps the one that it has: train it \
                       with `souffleur tune`";
            return Err(ApiError::bad_field("settings", why));
        }
        let kind = settings.method.rows();
        let rows = Folder::file(&dir, kind);
        if !rows.is_file() {
            let why = format!(
                "the dataset has no {} rows, which the method `{}` reads",
                kind.as_str(),
                settings.method.name()
            );
            return Err(ApiError::conflict(why));
        }
        let parts = dir.join("parts").join(kind.as_str());
        let training = Training { rows, parts, name, settings, restart: request.restart };
        self.begin(app, Kind::Tune, owner, move |app, job| work(app, job, &training))
    }
}

/// Settings with what differs from them.
fn merged(base: &Settings, differing: Map<String, Value>) -> Result<Settings, String> {
    let mut all = serde_json::to_value(base).map_err(|error| error.to_string())?;
    for (key, value) in differing {
        match all.get_mut(&key) {
            Some(it) => *it = value,
            None => return Err(format!("there is no setting `{key}`")),
        }
    }
    let settings: Settings = serde_json::from_value(all).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

fn work(app: &App, job: &Job, it: &Training) -> Result<End> {
    job.tell("splitting", 0, 0);
    let (data, validation) = split(app, it)?;
    let session = &app.session;
    let model = app.local_model().map_err(|error| anyhow::anyhow!("{}", error.message()))?;
    let base = session.generator_path(&model.name)?;
    let out = session.adapters_dir().join(&it.name);
    let setup = Setup {
        model: &base,
        data: &data,
        validation: validation.as_deref(),
        out: &out,
        settings: &it.settings,
        device: session.config.models.generator_device,
        restart: it.restart,
    };
    let outcome = train(&setup, &mut |event| {
        match event {
            Event::Loading => job.tell("loading", 0, 0),
            Event::Started { step, n_steps, .. } => tell(job, step, n_steps),
            Event::Step(line) => tell(job, line.step, line.n_steps),
            Event::Measuring => job.tell("measuring", 0, 0),
            Event::Measured(_) | Event::Validated(_) | Event::Saved(_) | Event::Looking => {}
            Event::DiskFull(error) => tracing::warn!(%error, "no checkpoint was written"),
        }
        job.flow()
    })?;
    match outcome {
        Outcome::Stopped { step, .. } => {
            Ok(End::Cancelled(Some(json!({ "name": it.name, "step": step }))))
        }
        Outcome::Done { step, n_steps, early, ability } => {
            // One that cannot be loaded is there all the same.
            let not_loaded = model.load_adapter(&it.name, &out).err();
            Ok(End::Done(Some(json!({
                "name": it.name,
                "step": step,
                "n_steps": n_steps,
                "early": early,
                "ability": ability.map(|it| it.json()),
                "loaded": not_loaded.is_none(),
                "not_loaded": not_loaded.map(|it| format!("{:#}", anyhow::Error::new(it))),
            }))))
        }
    }
}

fn tell(job: &Job, step: u64, n_steps: u64) {
    let number = |n| usize::try_from(n).unwrap_or(usize::MAX);
    job.tell("training", number(step), number(n_steps));
}

/// Writes the rows to learn and those to look at only, where there are some.
fn split(app: &App, it: &Training) -> Result<(PathBuf, Option<PathBuf>)> {
    let rows = review::read(&it.rows, BadLines::Stop).context("could not read the rows")?.rows;
    let separated = separate(&rows, app.session.config.dataset.shares(), true)?;
    write_parts(&separated.parts, &it.parts)?;
    let file = |wanted: Split| {
        let is_there = |(part, rows): &(Split, Vec<_>)| *part == wanted && !rows.is_empty();
        let found = separated.parts.iter().any(is_there);
        found.then(|| it.parts.join(format!("{}.jsonl", wanted.as_str())))
    };
    match file(Split::Train) {
        Some(train) => Ok((train, file(Split::Valid))),
        None => bail!("no row of the dataset is in its part for training"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_the_server_but_for_what_is_asked() {
        let asked = |text: &str| {
            let differing = serde_json::from_str(text).unwrap();
            merged(&Settings::default(), differing)
        };
        let found = asked(r#"{"rank": 4, "method": "dpo"}"#).unwrap();
        let expected = Settings { rank: 4, method: Method::Dpo, ..Settings::default() };
        assert_eq!(found, expected);
        assert!(asked(r#"{"ranks": 4}"#).unwrap_err().contains("`ranks`"));
        assert!(asked(r#"{"rank": "four"}"#).unwrap_err().contains("four"));
        assert!(asked(r#"{"warmup": 2.0}"#).unwrap_err().contains("warmup"));
    }
}
