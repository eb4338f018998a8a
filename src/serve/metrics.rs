//! Figures for Prometheus, and recent ones for the page.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use serde_json::{Value, json};

use super::{error::ApiError, state::App};

/// Values of each kind that recent figures are made of.
const RECENT_MAX: usize = 512;

/// All figures.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Those of the index.
    of_index: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    answers: Family<AnswerLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_token: Histogram,
    running: Family<WorkLabels, Gauge>,
    waiting: Family<WorkLabels, Gauge>,
    indexed: Gauge<i64>,
    pending: Gauge<i64>,
    /// Recent answers, searches and first tokens.
    recent: [Recent; 3],
}

/// Which figures of the recent past.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Ask,
    Search,
    FirstToken,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkLabels {
    work: &'static str,
}

/// The last values of one kind.
#[derive(Debug, Default)]
struct Recent(Mutex<VecDeque<Duration>>);

impl Recent {
    fn push(&self, value: Duration) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() == RECENT_MAX {
            values.pop_front();
        }
        values.push_back(value);
    }

    fn json(&self) -> Value {
        let mut values: Vec<Duration> = {
            let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            values.iter().copied().collect()
        };
        values.sort_unstable();
        let at = |share: f64| {
            let last = values.len().checked_sub(1)?;
            let value = values[(last as f64 * share).round() as usize];
            Some((value.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        json!({ "p50": at(0.5), "p95": at(0.95), "n": values.len() })
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut registry = Registry::with_prefix("souffleur");
        let requests: Family<RequestLabels, Counter> = Family::default();
        registry.register("http_requests", "HTTP requests", requests.clone());
        let durations: Family<RouteLabels, Histogram> = Family::new_with_constructor(seconds);
        registry.register_with_unit(
            "http_request_duration",
            "Time until the response began",
            Unit::Seconds,
            durations.clone(),
        );
        let answers: Family<AnswerLabels, Counter> = Family::default();
        registry.register("answers", "Answers by outcome", answers.clone());
        let tokens: Family<TokenLabels, Counter> = Family::default();
        registry.register("tokens", "Tokens that the generator read and wrote", tokens.clone());
        let first_token = seconds();
        registry.register_with_unit(
            "first_token",
            "Time from a question to the first piece of its answer",
            Unit::Seconds,
            first_token.clone(),
        );
        let running: Family<WorkLabels, Gauge> = Family::default();
        registry.register("running", "Work that runs", running.clone());
        let waiting: Family<WorkLabels, Gauge> = Family::default();
        registry.register("waiting", "Work that waits", waiting.clone());
        let (indexed, pending) = (Gauge::default(), Gauge::default());
        let mut of_index = Registry::with_prefix("souffleur");
        of_index.register("chunks", "Chunks in the index", indexed.clone());
        of_index.register("changes_pending", "Changes not yet in the index", pending.clone());
        Self {
            registry,
            of_index,
            requests,
            durations,
            answers,
            tokens,
            first_token,
            running,
            waiting,
            indexed,
            pending,
            recent: Default::default(),
        }
    }

    pub(crate) fn request(&self, method: &str, route: &str, status: u16, elapsed: Duration) {
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { route: route.to_owned() };
        self.durations.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    pub(crate) fn answer(&self, outcome: &'static str, n_read: usize, n_written: usize) {
        self.answers.get_or_create(&AnswerLabels { outcome }).inc();
        let add = |kind, n: usize| {
            self.tokens.get_or_create(&TokenLabels { kind }).inc_by(n as u64);
        };
        add("read", n_read);
        add("written", n_written);
    }

    pub(crate) fn took(&self, kind: Kind, elapsed: Duration) {
        self.recent[kind as usize].push(elapsed);
        if matches!(kind, Kind::FirstToken) {
            self.first_token.observe(elapsed.as_secs_f64());
        }
    }

    /// Recent figures for the page.
    pub(crate) fn recent(&self) -> Value {
        json!({
            "ask": self.recent[Kind::Ask as usize].json(),
            "search": self.recent[Kind::Search as usize].json(),
            "first_token": self.recent[Kind::FirstToken as usize].json(),
        })
    }

    /// All figures in Prometheus' text format, those of the index where they are asked for.
    pub(crate) fn text(&self, app: &App, of_index: bool) -> Result<String, ApiError> {
        let set = |work, (running, waiting): (usize, usize)| {
            let labels = WorkLabels { work };
            self.running.get_or_create(&labels).set(running as i64);
            self.waiting.get_or_create(&labels).set(waiting as i64);
        };
        set("answers", app.answering.load());
        set("searches", app.searching.load());
        set("encodings", app.encoding.load());
        set("jobs", app.jobs.load());
        let failed = |error: std::fmt::Error| ApiError::internal(&error);
        let mut res = String::new();
        encode_registry(&mut res, &self.registry).map_err(failed)?;
        if of_index {
            let counts = app.engine.index.catalog().counts()?;
            self.indexed.set(i64::try_from(counts.chunks).unwrap_or(i64::MAX));
            self.pending.set(i64::try_from(counts.pending).unwrap_or(i64::MAX));
            encode_registry(&mut res, &self.of_index).map_err(failed)?;
        }
        encode_eof(&mut res).map_err(failed)?;
        Ok(res)
    }
}
