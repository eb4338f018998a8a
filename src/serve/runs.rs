//! Training runs of the data folder: how far they are, and their losses while they go on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use serde_json::{Value, json};
use tune::train::log::{Line, StepLine, ValidationLine};

use super::{access::Admin, error::ApiError, extract::Id, state::App, work::on_thread};

/// A run whose log has not grown for so long has stopped: a step of a large model takes minutes.
const QUIET: Duration = Duration::from_secs(300);

/// The last steps whose speed counts: what the first ones took says little of those to come.
const SPEED_STEPS: usize = 20;

/// Steps of a curve at most: more than a screen has columns.
const STEPS_MAX: usize = 2_000;

/// A run: of an adapter that is there, or is on its way.
struct Run {
    name: String,
    state: &'static str,
    /// Seconds since 1970 (UTC) when it was last written to.
    at: u64,
    steps: Vec<StepLine>,
    validations: Vec<ValidationLine>,
    /// What it is trained on and how, as its folder says.
    record: Value,
}

impl App {
    fn runs(&self) -> std::io::Result<Vec<Run>> {
        // Where `souffleur tune` puts adapters and whole models; what has an `--out` elsewhere is not
        // of this data folder.
        let roots = ["adapters", "tuned"].map(|it| self.session.config.data_dir.join(it));
        let mut res = Vec::new();
        for root in roots.iter().filter(|it| it.is_dir()) {
            for entry in fs_err::read_dir(root)? {
                let dir = entry?.path();
                if dir.is_dir() {
                    res.extend(run_of(&dir)?);
                }
            }
        }
        res.sort_by(|a, b| b.at.cmp(&a.at).then(a.name.cmp(&b.name)));
        Ok(res)
    }
}

/// The run in a folder: that of an adapter, or `NAME.run` beside where it will be.
fn run_of(dir: &Path) -> std::io::Result<Option<Run>> {
    let log: PathBuf = dir.join("log.jsonl");
    if !log.is_file() {
        return Ok(None);
    }
    let folder = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let changed = fs_err::metadata(&log)?.modified()?;
    let (name, record, state) = match folder.strip_suffix(".run") {
        Some(name) => {
            let is_quiet = changed.elapsed().is_ok_and(|it| it > QUIET);
            (name.to_owned(), "run.json", if is_quiet { "stopped" } else { "running" })
        }
        None => (folder, "training.json", "done"),
    };
    let record = dir.join(record);
    let record: Value = match record.is_file() {
        true => serde_json::from_slice(&fs_err::read(record)?)?,
        false => Value::Null,
    };
    let (mut steps, mut validations) = (Vec::new(), Vec::new());
    // The last line may be on its way to the disk.
    for line in fs_err::read_to_string(&log)?.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Step(it)) => steps.push(it),
            Ok(Line::Validation(it)) => validations.push(it),
            Err(_) => break,
        }
    }
    let at = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Some(Run { name, state, at, steps, validations, record }))
}

/// Seconds and tokens of a step, the mean over the last ones; `None` before the first.
fn pace(it: &Run) -> Option<(f64, f64)> {
    let last = &it.steps[it.steps.len().saturating_sub(SPEED_STEPS)..];
    let seconds: f64 = last.iter().map(|it| it.seconds).sum();
    let tokens: f64 = last.iter().map(|it| it.n_tokens as f64).sum();
    let n = last.len() as f64;
    (seconds > 0.0).then(|| (seconds / n, tokens / n))
}

fn summary(it: &Run) -> Value {
    let last = it.steps.last();
    let pace = pace(it);
    let n_left = last.map_or(0, |it| it.n_steps.saturating_sub(it.step));
    let left = pace.filter(|_| it.state == "running").map(|(seconds, _)| seconds * n_left as f64);
    let best = it.validations.iter().filter(|it| it.step > 0).map(|it| it.loss);
    json!({
        "name": it.name,
        "state": it.state,
        "at": it.at,
        "step": last.map_or(0, |it| it.step),
        "n_steps": last.map(|it| it.n_steps),
        "epoch": last.map(|it| it.epoch),
        "loss": last.map(|it| it.loss),
        "validation_loss": best.min_by(f64::total_cmp),
        "seconds": it.steps.iter().map(|it| it.seconds).sum::<f64>(),
        "seconds_left": left,
        "tokens_per_second": pace.map(|(seconds, tokens)| tokens / seconds),
        "peak_bytes": last.and_then(|it| it.peak_bytes),
        "method": it.record["settings"]["method"],
    })
}

/// Lists the training runs, the last one first.
#[utoipa::path(get, path = "/v1/runs", tag = "Training",
    responses((status = 200, description = "`data` with `name`, `state` (`running`, `stopped`, `done`), `at`, `step`, \
                  `n_steps`, `loss`, `validation_loss`, `tokens_per_second`, `seconds_left`, `peak_bytes`", body = Value)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, |app| {
        let runs = app.runs().map_err(|error| ApiError::internal(&error))?;
        let data: Vec<Value> = runs.iter().map(summary).collect();
        Ok(json!({ "object": "list", "data": data }))
    })
    .await?;
    Ok(Json(out))
}

/// A training run with its curves; asked for again, it tells how it went on.
#[utoipa::path(get, path = "/v1/runs/{name}", tag = "Training",
    params(("name" = String, Path, description = "The adapter's name")),
    responses((status = 200, description = "What the list says, with `steps`, `validations`, `settings`, and `ability` before \
                  and after where it was measured; `every` is above 1 where only each so manieth step is given", body = Value),
              (status = 404, description = "There is no such run", body = Value)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _: Admin,
    Id(name): Id<String>,
) -> Result<Json<Value>, ApiError> {
    let out = on_thread(&app, move |app| {
        let runs = app.runs().map_err(|error| ApiError::internal(&error))?;
        let found = runs.iter().find(|it| it.name == name);
        let found = found.ok_or_else(|| ApiError::not_found("training run", &name))?;
        let every = found.steps.len().div_ceil(STEPS_MAX).max(1);
        let last = found.steps.len().saturating_sub(1);
        let shown = found.steps.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
        let steps: Vec<Value> = shown
            .map(|(_, it)| {
                json!({
                    "step": it.step,
                    "loss": it.loss,
                    "accuracy": it.accuracy,
                    "learning_rate": it.learning_rate,
                    "tokens_per_second": it.n_tokens as f64 / it.seconds.max(1e-9),
                    "peak_bytes": it.peak_bytes,
                })
            })
            .collect();
        let mut out = summary(found);
        out["every"] = json!(every);
        out["steps"] = json!(steps);
        out["validations"] = json!(found.validations);
        out["settings"] = found.record["settings"].clone();
        out["ability"] = found.record["ability"].clone();
        Ok(out)
    })
    .await?;
    Ok(Json(out))
}
