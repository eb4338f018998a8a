//! The way to a cluster: its nodes, a key, limits of time, and trying again.
//!
//! Qdrant's client is asynchronous and this crate is not, so this file holds the runtime that both
//! meet at, and the one place of this crate where sockets are opened.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use qdrant_client::{Qdrant, QdrantError};
use tokio::runtime::Runtime;

use super::error::{ClusterError, Failure, failure};

/// The oldest server whose answers we know, and what we say to others.
const VERSION_MIN: (u64, u64) = (1, 17);
const VERSIONS: &str = "1.17 or a later 1.x";

/// Waits between attempts: from the first, doubled each time, to the last.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A cluster that answers, but with errors, is asked again for so long; one that is silent, for as
/// long as it takes.
const ERRORS_MAX: Duration = Duration::from_mins(2);

/// How often somebody who waits is told so.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where a cluster is, and how to deal with it.
#[derive(Clone)]
pub struct ClusterSettings {
    /// Addresses of its nodes, with the port of gRPC. The next one is asked when one does not
    /// answer.
    pub urls: Vec<String>,
    /// The key, if it wants one. Sent in the clear over `http://`.
    pub api_key: Option<String>,
    /// The name under which searches find the live collection; those of generations begin with it.
    pub collection: String,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a search may take.
    pub search: Duration,
    /// How long the acknowledgement of a change may take.
    pub write: Duration,
    /// Shards of a new collection; 0 leaves it to the server.
    pub shards: u32,
    /// Nodes that hold each shard of a new collection.
    pub replicas: u32,
    /// What happens while the cluster is away.
    pub patience: Patience,
}

/// What a change does while the cluster is away. Searches never wait.
#[derive(Clone)]
pub enum Patience {
    /// It fails.
    None,
    /// It waits, and goes on when the cluster is back.
    Wait {
        /// Set when the user does not want to wait any more.
        interrupted: Arc<AtomicBool>,
        /// Told now and then that, and why, it waits.
        tell: Arc<dyn Fn(&str) + Send + Sync>,
    },
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Wait { .. } => "Wait",
        })
    }
}

impl fmt::Debug for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSettings")
            .field("urls", &self.urls)
            .field("collection", &self.collection)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What kind of request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody waits for the answer.
    Search,
    /// It reads what a collection is, before anything else is done: answered as soon as a search,
    /// and who ingests waits for a cluster that is not up yet.
    Open,
    /// It changes something, and may be made again at will.
    Change,
}

/// The nodes of one cluster.
pub(super) struct Client {
    settings: ClusterSettings,
    searching: Vec<Qdrant>,
    changing: Vec<Qdrant>,
    /// The node that answered last.
    at: AtomicUsize,
    /// Taken when dropped: a runtime may not wait for its end where another one runs.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Prepares connections and asks for the server's version.
    pub(super) fn connect(settings: ClusterSettings) -> Result<Self, ClusterError> {
        let clients = |timeout| -> Result<Vec<Qdrant>, ClusterError> {
            settings.urls.iter().map(|url| client(url, &settings, timeout)).collect()
        };
        let (searching, changing) = (clients(settings.search)?, clients(settings.write)?);
        if searching.is_empty() {
            return Err(ClusterError::BadUrl { url: String::new() });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("qdrant")
            .enable_all()
            .build()
            .map_err(ClusterError::Client)?;
        // Of many that read, not all ask the same node.
        let first = random() as usize % searching.len();
        let (at, runtime) = (AtomicUsize::new(first), Some(runtime));
        let res = Self { settings, searching, changing, at, runtime };
        res.check_version()?;
        Ok(res)
    }

    pub(super) fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// Whether a node answers, and with which version.
    pub(super) fn check_version(&self) -> Result<String, ClusterError> {
        let reply = self
            .call(Kind::Open, "say its version", |node| async move { node.health_check().await })?;
        let url = &self.settings.urls[self.at.load(Ordering::Relaxed)];
        known_version(url, reply.version)
    }

    /// Makes a request until it is answered, or for as long as its kind is worth.
    pub(super) fn call<T, F>(
        &self,
        kind: Kind,
        doing: &'static str,
        request: impl Fn(Qdrant) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.call_for(kind, doing, &self.settings.collection, request)
    }

    /// As [`Client::call`], about a collection, which may be missing.
    pub(super) fn call_for<T, F>(
        &self,
        kind: Kind,
        doing: &'static str,
        collection: &str,
        request: impl Fn(Qdrant) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        let (nodes, timeout) = match kind {
            Kind::Search | Kind::Open => (&self.searching, self.settings.search),
            Kind::Change => (&self.changing, self.settings.write),
        };
        let mut waiting = Waiting::new(kind, &self.settings);
        loop {
            let at = self.at.load(Ordering::Relaxed);
            let start = Instant::now();
            let attempt = request(nodes[at].clone());
            let runtime = self.runtime.as_ref().expect("it is taken only when dropped");
            // The client's own limit does not hold while a node that was cut off is still believed
            // to be there.
            let limit = timeout + self.settings.connect;
            let ended = runtime.block_on(async { tokio::time::timeout(limit, attempt).await });
            let failure = match ended {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failure(error, doing),
                Err(_) => Failure::Passing {
                    detail: format!("no answer within {} s", limit.as_secs()),
                    is_silent: true,
                    retry_after: None,
                },
            };
            match failure {
                Failure::Final(error) => return Err(error),
                Failure::Missing => {
                    return Err(ClusterError::Missing { collection: collection.to_owned() });
                }
                Failure::Passing { detail, is_silent, retry_after } => {
                    tracing::debug!(doing, node = self.settings.urls[at], %detail, "trying again");
                    let next = (at + 1) % nodes.len();
                    let _ =
                        self.at.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
                    waiting.hangs |= start.elapsed() >= timeout;
                    waiting.again(doing, detail, is_silent, retry_after)?;
                }
            }
        }
    }
}

fn client(
    url: &str,
    settings: &ClusterSettings,
    timeout: Duration,
) -> Result<Qdrant, ClusterError> {
    let is_known = url.starts_with("http://") || url.starts_with("https://");
    let made = Qdrant::from_url(url)
        .api_key(settings.api_key.clone())
        .connect_timeout(settings.connect)
        .timeout(timeout)
        .skip_compatibility_check()
        .build();
    made.ok().filter(|_| is_known).ok_or_else(|| ClusterError::BadUrl { url: url.to_owned() })
}

/// The attempts of one request.
struct Waiting<'a> {
    kind: Kind,
    settings: &'a ClusterSettings,
    n_failed: usize,
    /// Whether a node took all the time that an attempt may take.
    hangs: bool,
    since: Instant,
    heard_at: Option<Instant>,
    told_at: Option<Instant>,
}

impl<'a> Waiting<'a> {
    fn new(kind: Kind, settings: &'a ClusterSettings) -> Self {
        let since = Instant::now();
        Self { kind, settings, n_failed: 0, hangs: false, since, heard_at: None, told_at: None }
    }

    /// Waits before the next attempt, or says why there is none.
    fn again(
        &mut self,
        doing: &'static str,
        detail: String,
        is_silent: bool,
        retry_after: Option<Duration>,
    ) -> Result<(), ClusterError> {
        self.n_failed += 1;
        let n_nodes = self.settings.urls.len();
        let failed = |detail| match is_silent {
            true => ClusterError::Away { nodes: self.settings.urls.join(", "), detail },
            false => ClusterError::Failed { doing, detail },
        };
        // Every node gets its chance, and a single one that was just started anew gets two; not one
        // that hangs, for which somebody would wait twice the limit.
        let n_chances = if self.hangs { n_nodes } else { n_nodes.max(2) };
        if self.n_failed < n_chances && retry_after.is_none() {
            return Ok(());
        }
        let Patience::Wait { interrupted, tell } = &self.settings.patience else {
            return Err(failed(detail));
        };
        if self.kind == Kind::Search {
            return Err(failed(detail));
        }
        if is_silent {
            self.heard_at = None;
        } else if self.heard_at.get_or_insert_with(Instant::now).elapsed() > ERRORS_MAX {
            return Err(failed(detail));
        }
        if self.told_at.is_none_or(|it| it.elapsed() >= TELL_EVERY) {
            let seconds = self.since.elapsed().as_secs();
            tell(&format!("waiting for the Qdrant cluster ({seconds} s): {detail}"));
            self.told_at = Some(Instant::now());
        }
        let rounds = u32::try_from(self.n_failed / n_nodes).unwrap_or(u32::MAX);
        let wait = retry_after.unwrap_or_else(|| jittered(rounds));
        let end = Instant::now() + wait;
        while Instant::now() < end {
            if interrupted.load(Ordering::Relaxed) {
                return Err(ClusterError::Interrupted);
            }
            thread::sleep(end.saturating_duration_since(Instant::now()).min(WAIT_MIN));
        }
        Ok(())
    }
}

/// Doubled with each round, and between half of it and all, so that many that wait for one cluster
/// do not come back at one time.
fn jittered(round: u32) -> Duration {
    let longest = WAIT_MIN.saturating_mul(2_u32.saturating_pow(round.min(10))).min(WAIT_MAX);
    longest.mul_f64(0.5 + random() as f64 / u64::MAX as f64 / 2.0)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The version of a server, if we know what servers of it answer.
fn known_version(url: &str, version: String) -> Result<String, ClusterError> {
    let mut parts = version.split('.').map_while(|it| it.parse::<u64>().ok());
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if major == VERSION_MIN.0 && minor >= VERSION_MIN.1 {
        return Ok(version);
    }
    Err(ClusterError::Version { url: url.to_owned(), found: version, needed: VERSIONS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_versions_that_we_do_not_know_are_refused() {
        let url = "http://node:6334";
        for known in ["1.17.0", "1.17.1-dev", "1.18.2", "1.30"] {
            assert_eq!(known_version(url, known.to_owned()).unwrap(), known);
        }
        for unknown in ["1.16.3", "0.17.0", "2.0.0", "", "none"] {
            let error = known_version(url, unknown.to_owned()).unwrap_err();
            let told = error.to_string();
            assert!(
                told.contains(url) && told.contains(unknown) && told.contains(VERSIONS),
                "{told}"
            );
            assert!(error.hint().is_some(), "{told}");
        }
    }

    fn settings() -> ClusterSettings {
        ClusterSettings {
            urls: Vec::new(),
            api_key: None,
            collection: "rh".to_owned(),
            connect: Duration::from_millis(100),
            search: Duration::from_millis(300),
            write: Duration::from_mins(10),
            shards: 0,
            replicas: 1,
            patience: Patience::None,
        }
    }

    /// A node that hangs takes connections and says nothing.
    #[test]
    fn a_node_that_hangs_is_given_up_within_the_limit_of_a_search() {
        let node = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", node.local_addr().unwrap());
        let settings = ClusterSettings { urls: vec![url.clone()], ..settings() };
        let error = Client::connect(settings).unwrap_err();
        assert!(matches!(&error, ClusterError::Away { nodes, .. } if *nodes == url), "{error}");
    }

    #[test]
    fn every_node_gets_a_chance_and_a_sole_one_two_unless_it_hangs() {
        let url = |i| format!("http://127.0.0.1:{i}");
        for (n_nodes, hangs, n_chances) in
            [(1, false, 2), (1, true, 1), (3, false, 3), (3, true, 3)]
        {
            let settings = ClusterSettings { urls: (0..n_nodes).map(url).collect(), ..settings() };
            let mut waiting = Waiting { hangs, ..Waiting::new(Kind::Search, &settings) };
            let mut again = || waiting.again("search", String::new(), true, None);
            for _ in 1..n_chances {
                again().unwrap();
            }
            assert!(matches!(again(), Err(ClusterError::Away { .. })), "{n_nodes} {hangs}");
        }
    }

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let first: Vec<_> = (0..20).map(|_| jittered(1)).collect();
        assert!(first.iter().all(|it| (WAIT_MIN..=2 * WAIT_MIN).contains(it)), "{first:?}");
        assert!(first.iter().any(|it| it != &first[0]), "{first:?}");
        assert!((WAIT_MAX / 2..=WAIT_MAX).contains(&jittered(u32::MAX)));
    }
}
