//! `souffleur serve`: the engine over HTTP.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use ingest::discover::{DiscoverOptions, discover};
use serde_json::json;

use crate::{
    build_index::BuildOptions,
    cli::ServeArgs,
    records::Records,
    serve::{Serving, serve, tool_warnings},
    session::{Session, WrongUsage},
    writer::Writer,
};

pub(super) fn run(session: &Session, args: &ServeArgs) -> Result<ExitCode> {
    let config = &session.config;
    let settings = &config.serve;
    if settings.tls_cert.as_os_str().is_empty() != settings.tls_key.as_os_str().is_empty() {
        let what = "`serve.tls_cert` and `serve.tls_key` go together";
        return Err(WrongUsage(what.into()).into());
    }
    settings.check_tools().map_err(|error| WrongUsage(error.to_string().into()))?;
    // Before anything is fetched or made.
    if !args.docs.is_empty() {
        discover(&args.docs, &DiscoverOptions::default())?;
    }
    let records = Records::open(&config.data_dir)?;
    if !settings.addr.ip().is_loopback() && !records.has_keys()? {
        let what = format!(
            "others could reach {}, and there is no key: `souffleur keys create --scope admin` \
             makes one, or listen on 127.0.0.1",
            settings.addr
        );
        return Err(WrongUsage(what.into()).into());
    }
    let mut serving = serving(session, records, args.generator.as_deref(), &args.adapter)?;
    serving.docs.clone_from(&args.docs);
    for warning in tool_warnings(config) {
        session.printer.warn(warning);
    }
    let _stoppable = session.stoppable();
    let scheme = if settings.tls_cert.as_os_str().is_empty() { "http" } else { "https" };
    let printer = session.printer;
    serve(serving, &session.interrupted, |addr| {
        let url = format!("{scheme}://{addr}");
        // A closed terminal does not stop a server.
        let _ = printer.line(format!("listening on {url}  (the API is described at {url}/docs)"));
        let _ = printer.json_line(&json!({ "listening": url }));
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that answers, opened.
pub(super) fn serving(
    session: &Session,
    records: Records,
    generator: Option<&str>,
    adapters: &[(String, PathBuf)],
) -> Result<Serving> {
    let config = &session.config;
    let embedder = session.embedder()?;
    let writer = session.writer(generator)?;
    if let Writer::Model(model) = &writer {
        for (name, path) in session.adapters()? {
            // One for another base, or damaged, does not stop the server: requests for it fail.
            if let Err(error) = model.load_adapter(&name, &path) {
                let error = anyhow::Error::new(error);
                session.printer.warn(format!("the adapter `{name}` is not loaded: {error:#}"));
            }
        }
    }
    for (name, path) in adapters {
        let Writer::Model(model) = &writer else {
            let what = "--adapter goes with a generator of this process";
            return Err(WrongUsage(what.into()).into());
        };
        model.load_adapter(name, path).with_context(|| format!("could not load `{name}`"))?;
    }
    let reranker = session.reranker()?;
    let index = session.served_index(&embedder)?;
    let build = BuildOptions {
        discover: DiscoverOptions {
            exclude: Vec::new(),
            hidden: false,
            follow_links: config.ingest.follow_links,
        },
        limits: config.ingest.limits(),
        chunks: session.chunk_limits(&embedder.embedder),
        collection: config.ingest.collection.clone(),
        may_be_empty: true,
    };
    Ok(Serving {
        engine: session.engine(index, embedder, reranker, writer)?,
        embedder: session.embedder_id(),
        build,
        session: session.clone(),
        records,
        docs: Vec::new(),
    })
}
