//! Long work: its progress, its end, and how it is cancelled. What each kind does stands in a file of
//! its own.

mod compare;
mod dataset;
mod ingest;
pub(crate) mod routes;
mod tune;

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::{error::ApiError, state::App};
use crate::records::{new_id, now};

/// Jobs that wait at most.
const WAITING_MAX: usize = 32;

/// Ended jobs that are remembered.
const REMEMBERED_MAX: usize = 100;

/// All jobs of this process, the last one first.
#[derive(Debug)]
pub(crate) struct Jobs {
    list: Mutex<VecDeque<Arc<Job>>>,
    /// One place: two ingestions at a time would only slow each other.
    ingesting: Arc<Semaphore>,
    /// One place for all else that takes the processor for long. Documents are read meanwhile.
    computing: Arc<Semaphore>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ingest,
    Dataset,
    Tune,
    Compare,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Dataset => "dataset",
            Self::Tune => "tune",
            Self::Compare => "compare",
        }
    }
}

/// A piece of long work.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    kind: Kind,
    /// The key that asked for it.
    pub(crate) owner: String,
    created: i64,
    state: watch::Sender<JobState>,
    cancelled: AtomicBool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobState {
    pub(crate) name: StateName,
    started: Option<i64>,
    ended: Option<i64>,
    stage: &'static str,
    done: usize,
    total: usize,
    report: Option<Value>,
    /// Uploaded files that were left aside, and why.
    skipped: Option<Vec<Value>>,
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateName {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl StateName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl Default for Jobs {
    fn default() -> Self {
        let place = || Arc::new(Semaphore::new(1));
        Self { list: Mutex::default(), ingesting: place(), computing: place() }
    }
}

impl Jobs {
    /// Queues work, which tells its progress to the job and ends where the job says so.
    fn begin(
        &self,
        app: &Arc<App>,
        kind: Kind,
        owner: &str,
        work: impl FnOnce(&App, &Job) -> Result<End> + Send + 'static,
    ) -> Result<Arc<Job>, ApiError> {
        let job = self.add(kind, owner)?;
        let turn = match kind {
            Kind::Ingest => &self.ingesting,
            Kind::Dataset | Kind::Tune | Kind::Compare => &self.computing,
        };
        let (app, turn, queued) = (Arc::clone(app), Arc::clone(turn), Arc::clone(&job));
        tokio::spawn(async move {
            let _turn = turn.acquire_owned().await.expect("turns are never closed");
            let ran = tokio::task::spawn_blocking(move || run(&app, &queued, work)).await;
            if let Err(error) = ran {
                tracing::error!(%error, "a job ended the hard way");
            }
        });
        Ok(job)
    }

    fn add(&self, kind: Kind, owner: &str) -> Result<Arc<Job>, ApiError> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let n_queued = list.iter().filter(|it| it.state().name == StateName::Queued).count();
        if n_queued >= WAITING_MAX {
            return Err(ApiError::overloaded("the queue of jobs"));
        }
        let job = Arc::new(Job {
            id: new_id("j_")?,
            kind,
            owner: owner.to_owned(),
            created: now(),
            state: watch::Sender::new(JobState::default()),
            cancelled: AtomicBool::new(false),
        });
        list.push_front(Arc::clone(&job));
        while list.len() > REMEMBERED_MAX && list.back().is_some_and(|it| it.has_ended()) {
            list.pop_back();
        }
        Ok(job)
    }

    /// All jobs, the last one first.
    pub(crate) fn list(&self) -> Vec<Arc<Job>> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().cloned().collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.list().into_iter().find(|it| it.id == id)
    }

    /// How many run, and how many wait.
    pub(crate) fn load(&self) -> (usize, usize) {
        let count = |name| self.list().iter().filter(|it| it.state().name == name).count();
        (count(StateName::Running), count(StateName::Queued))
    }

    /// Asks all to end where they can.
    pub(crate) fn cancel_all(&self) {
        self.list().iter().for_each(|it| it.cancel());
    }

    /// The same, and waits for that.
    pub(crate) async fn stop(&self) {
        for job in self.list() {
            job.cancel();
            let mut states = job.states();
            // An error means that the job is gone, which is an end too.
            let _ = states.wait_for(|it| it.name.has_ended()).await;
        }
    }
}

impl Default for JobState {
    fn default() -> Self {
        Self {
            name: StateName::Queued,
            started: None,
            ended: None,
            stage: "waiting",
            done: 0,
            total: 0,
            report: None,
            skipped: None,
            error: None,
        }
    }
}

impl Job {
    pub(crate) fn state(&self) -> JobState {
        self.state.borrow().clone()
    }

    fn has_ended(&self) -> bool {
        self.state.borrow().name.has_ended()
    }

    /// Tells each change.
    pub(crate) fn states(&self) -> watch::Receiver<JobState> {
        self.state.subscribe()
    }

    /// Tells how far it is.
    fn tell(&self, stage: &'static str, done: usize, total: usize) {
        self.state.send_modify(|it| (it.stage, it.done, it.total) = (stage, done, total));
    }

    /// Goes on, or stops where it was asked to.
    fn flow(&self) -> ControlFlow<()> {
        match self.cancelled.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Asks it to end where it can. What it did until then stays.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Keeps which of the files that were uploaded for it were left aside, for who uploaded them.
    fn set_skipped(&self, skipped: Vec<Value>) {
        self.state.send_modify(|it| it.skipped = Some(skipped));
    }

    /// As it is told. `whole` tells the report too, which names documents.
    pub(crate) fn json(&self, whole: bool) -> Value {
        let state = self.state();
        let report = if whole { state.report } else { None };
        json!({
            "id": self.id,
            "object": "job",
            "kind": self.kind.as_str(),
            "state": state.name.as_str(),
            "created": self.created,
            "started": state.started,
            "ended": state.ended,
            "progress": { "stage": state.stage, "done": state.done, "total": state.total },
            "report": report,
            "skipped": state.skipped,
            "error": state.error,
        })
    }

    fn end(&self, name: StateName, report: Option<Value>, error: Option<String>) {
        self.state.send_modify(|it| {
            it.name = name;
            it.ended = Some(now());
            it.report = report;
            it.error = error;
        });
    }
}

/// How work ended, with its report.
enum End {
    Done(Option<Value>),
    /// It was asked to; what it did until then stays.
    Cancelled(Option<Value>),
}

fn run(app: &App, job: &Job, work: impl FnOnce(&App, &Job) -> Result<End>) {
    let _ending = Ending(job);
    if job.cancelled.load(Ordering::Relaxed) {
        return job.end(StateName::Cancelled, None, None);
    }
    job.state.send_modify(|it| {
        it.name = StateName::Running;
        it.started = Some(now());
    });
    match work(app, job) {
        Ok(End::Done(report)) => job.end(StateName::Done, report, None),
        Ok(End::Cancelled(report)) => job.end(StateName::Cancelled, report, None),
        Err(error) => {
            tracing::warn!(kind = job.kind.as_str(), error = format!("{error:#}"), "a job failed");
            let hint = crate::hints::of(&error).map(|it| format!("; {it}")).unwrap_or_default();
            job.end(StateName::Failed, None, Some(format!("{error:#}{hint}")));
        }
    }
}

/// Whatever happens, nobody is left waiting for the job's end.
struct Ending<'a>(&'a Job);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.0.end(StateName::Failed, None, Some("it panicked".to_owned()));
        }
    }
}
