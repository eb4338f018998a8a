//! `souffleur serve`: the engine over HTTP. The only part that is not synchronous.
//!
//! Handlers read what is asked, check who asks ([`access`]), and hand the work to threads that may
//! wait ([`answering`], [`work`]); bounded queues ([`gate`]) say at once when there is too much. Read
//! [`answering`] first.

mod access;
mod adapters;
mod answering;
mod arena;
mod ask;
mod comparisons;
mod conversations;
mod datasets;
mod documents;
mod error;
mod extract;
mod gate;
mod health;
mod jobs;
mod layers;
mod listen;
mod mcp;
mod metrics;
mod openai;
mod openapi;
mod original;
mod pages;
mod received;
mod runs;
pub mod settings;
mod state;
mod tools;
mod uploads;
mod work;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::Router;

pub use self::mcp::serve_stdio;
use self::state::App;
use crate::{
    build_index::BuildOptions, config::Config, engine::Engine, records::Records, session::Session,
};

/// The header that names a request.
const REQUEST_ID: &str = "x-request-id";

/// How often a stream says that it is still open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How often the server looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);

/// How often conversations that are too old are looked for.
const TIDY: Duration = Duration::from_secs(3_600);

/// What a server needs.
#[derive(Debug)]
pub struct Serving {
    /// Answers questions.
    pub engine: Engine,
    /// The embedder's name, as settings give it.
    pub embedder: String,
    /// How documents are read.
    pub build: BuildOptions,
    /// Settings, and models on disk.
    pub session: Session,
    /// Keys, conversations and the audit record.
    pub records: Records,
    /// Folders to ingest once it listens.
    pub docs: Vec<PathBuf>,
}

/// Serves until `interrupted`, then lets answers that are being written come to their end.
///
/// `on_listening` is told the address once requests are taken.
///
/// # Errors
/// When the address cannot be had or TLS is not set up as it should be.
pub fn serve(
    serving: Serving,
    interrupted: &AtomicBool,
    on_listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("http")
        .enable_all()
        .build()
        .context("could not start the threads of the server")?;
    runtime.block_on(run(serving, interrupted, on_listening))
}

async fn run(
    serving: Serving,
    interrupted: &AtomicBool,
    on_listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    let Serving { engine, embedder, build, session, records, docs } = serving;
    let settings = session.config.serve.clone();
    let tls = match settings.tls_cert.as_os_str().is_empty() {
        true => None,
        false => Some(listen::tls(&settings.tls_cert, &settings.tls_key)?),
    };
    let listener = listen::bind(settings.addr).await?;
    let addr = listener.local_addr()?;
    let app = Arc::new(App::new(engine, records, session, build, embedder));
    uploads::tidy(&app.session.config.data_dir);
    on_listening(addr);
    if !docs.is_empty() {
        let begun = app.jobs.ingest(&app, "", docs, Vec::new());
        begun.map_err(|error| anyhow::anyhow!("{}", error.message()))?;
    }
    let limits = listen::Limits {
        connections_max: settings.connections_max.get(),
        head_max: Duration::from_secs(settings.read_seconds.get()),
        drain_max: Duration::from_secs(settings.drain_seconds),
    };
    let tidying = tokio::spawn(tidy(Arc::clone(&app)));
    let stop = {
        let app = Arc::clone(&app);
        async move {
            while !interrupted.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
            tracing::info!("stopping: answers that are being written come to their end");
            app.stop();
        }
    };
    listen::listen(listener, tls, router(&app), limits, stop).await;
    tidying.abort();
    app.tools.drain(limits.drain_max).await;
    app.jobs.stop().await;
    Ok(())
}

/// Forgets old conversations, with the examples that were made of them.
async fn tidy(app: Arc<App>) {
    loop {
        let days = i64::from(app.session.config.serve.keep_days);
        let forgotten = work::on_thread(&app, move |app| {
            app.records.forget_before(crate::records::now() - days * 86_400)?;
            app.forget_examples()
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(message = error.message(), "old conversations could not be forgotten");
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// What an administrator must know before chat tools can ask.
#[must_use]
pub fn tool_warnings(config: &Config) -> Vec<&'static str> {
    tools::warnings(config)
}

fn router(app: &Arc<App>) -> Router {
    let (api, description) = openapi::routes(app);
    let description = Arc::new(description);
    let pages = Router::new()
        .route("/", axum::routing::get(pages::index))
        .route("/docs", axum::routing::get(pages::docs))
        .route("/judge", axum::routing::get(pages::judge))
        .route(
            "/v1/openapi.json",
            axum::routing::get(move || {
                let description = Arc::clone(&description);
                async move { axum::Json((*description).clone()) }
            }),
        );
    let tools = tools::routes(app).merge(mcp::routes(app));
    let routes = pages.merge(api).merge(tools);
    let routes = routes.fallback(layers::other).method_not_allowed_fallback(layers::not_allowed);
    layers::add(app, routes).with_state(Arc::clone(app))
}
