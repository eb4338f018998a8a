//! What all requests share.

use std::time::Instant;

use tokio::sync::watch;

use super::{
    access::Reader,
    error::ApiError,
    gate::{Gate, Rates},
    jobs::Jobs,
    metrics::Metrics,
    tools::Tools,
};
use crate::{
    build_index::BuildOptions,
    engine::Engine,
    feedback::forgotten::{ForgottenExamples, Unreached, forget_examples},
    records::{NewEntry, Records},
    session::Session,
};

/// Searches that run at a time for each core. Questions that come together are embedded together,
/// which unpacks the weights once for all of them: of 2, 4 and 8, the more the faster.
const SEARCHES_PER_CORE: usize = 8;

/// Requests at a time whose texts are embedded or reranked: one may have thousands, and a second one
/// must not wait for all of them.
const ENCODINGS: usize = 2;

/// Searches, and requests of that kind, that wait for one of those places.
const SEARCH_QUEUE: usize = 256;

/// Uploads that are received at a time: each takes room on the disk before it is whole.
const UPLOADS: usize = 4;

/// Uploads that wait for one of those places.
const UPLOAD_QUEUE: usize = 32;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    /// Names of models, as settings give them.
    pub(crate) embedder: String,
    pub(crate) reranker: Option<String>,
    /// Settings, and models on disk.
    pub(crate) session: Session,
    pub(crate) records: Records,
    pub(crate) rates: Rates,
    /// Answers.
    pub(crate) answering: Gate,
    /// Searches.
    pub(crate) searching: Gate,
    /// Uploads that are received.
    pub(crate) uploading: Gate,
    /// Texts that clients have embedded or reranked, which takes long: searches do not wait for it.
    pub(crate) encoding: Gate,
    pub(crate) jobs: Jobs,
    pub(crate) metrics: Metrics,
    pub(crate) tools: Tools,
    pub(crate) build: BuildOptions,
    /// Whether others than this machine can connect.
    pub(crate) is_exposed: bool,
    pub(crate) started: Instant,
    /// The same, in seconds since 1970 (UTC).
    pub(crate) started_at: i64,
    /// True once the server takes no more requests.
    stopping: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(
        engine: Engine,
        records: Records,
        session: Session,
        build: BuildOptions,
        embedder: String,
    ) -> Self {
        let config = &session.config;
        let serve = &config.serve;
        let n_searches = SEARCHES_PER_CORE * config.generation.n_threads();
        Self {
            embedder,
            reranker: engine.reranker.is_some().then(|| config.retrieval.reranker.clone()),
            rates: Rates::new(serve.requests_per_minute),
            answering: Gate::new("the model", serve.answers_max.get(), serve.queue_max.get()),
            searching: Gate::new("the search", n_searches, SEARCH_QUEUE),
            uploading: Gate::new("the reception of uploads", UPLOADS, UPLOAD_QUEUE),
            encoding: Gate::new("the embedder", ENCODINGS, SEARCH_QUEUE),
            jobs: Jobs::default(),
            metrics: Metrics::new(),
            tools: Tools::new(),
            is_exposed: !serve.addr.ip().is_loopback(),
            started: Instant::now(),
            started_at: crate::records::now(),
            stopping: watch::Sender::new(false),
            engine,
            records,
            session,
            build,
        }
    }

    /// Whether requests need a key: once one was made, or where others can connect.
    pub(crate) fn needs_keys(&self) -> Result<bool, ApiError> {
        Ok(self.is_exposed || self.records.has_keys()?)
    }

    /// Adds to the audit record what somebody did.
    pub(crate) fn audit(
        &self,
        reader: &Reader,
        action: &str,
        object: Option<&str>,
        detail: Option<&str>,
    ) -> Result<(), ApiError> {
        let key = reader.key.as_ref().map(|it| it.id.as_str());
        let request = Some(reader.request.as_str());
        Ok(self.records.audit(&NewEntry { key, action, object, detail, request })?)
    }

    /// Has the examples go whose answers were deleted: their files, and what this process read of them.
    /// Returns how many files those were.
    pub(crate) fn forget_examples(&self) -> Result<usize, ApiError> {
        let ForgottenExamples { removed, unreached } =
            forget_examples(&self.records, &self.session.config.prompts.dir)?;
        for it in &removed {
            self.engine.prompts.withdraw(it);
            tracing::info!(path = %it.display(), "an example went with its answer");
        }
        for it in &unreached {
            match it {
                Unreached::Copy { .. } => {}
                Unreached::Moved { path } | Unreached::Failed { path, .. } => {
                    self.engine.prompts.withdraw(path);
                }
            }
            tracing::warn!(message = %it, "words of an answer that was deleted may be left");
        }
        Ok(removed.len())
    }

    /// Lets nobody wait who only watches, and asks long work to end where it can.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.jobs.cancel_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Told when the server stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Whether conversations and answers are kept.
    pub(crate) fn keeps_answers(&self) -> bool {
        self.session.config.serve.keep_days > 0
    }
}
