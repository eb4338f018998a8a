//! `souffleur ingest`: folders into the index.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use index::{Home, Index, OpenError, live_recipe};
use ingest::{
    discover::{DiscoverOptions, Skipped, discover},
    document::Language,
    parse::ParseError,
};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;

use crate::{
    build_index::{BuildEvent, BuildOptions, BuildReport, build_index},
    cli::IngestArgs,
    cluster::Wait,
    embedder::OpenedEmbedder,
    known_roots::{Roots, known_roots},
    languages::foreign_languages,
    printer::{BOLD, DIM, styled},
    reasons::finding_text,
    rebuild::Rebuilt,
    records::Records,
    session::{Interrupted, Session, WrongUsage},
    survey::survey,
    wire::IngestOut,
};

const NOTHING_KNOWN: WrongUsage =
    WrongUsage(Cow::Borrowed("nothing was ingested before: name the folders to read"));

/// How long files must be still before they are read again.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// Skipped files listed in full; the rest is counted.
const LISTED_MAX: usize = 20;

pub(super) fn run(session: &Session, args: &IngestArgs) -> Result<ExitCode> {
    // Before anything is fetched or made: a folder that cannot be read changes nothing.
    if !args.paths.is_empty() {
        let found = discover(&args.paths, &discover_options(session, args))?;
        // An index may hold documents of a folder that is empty by now.
        if live_recipe(&session.config.data_dir)?.is_none() {
            found.refuse_empty(|_| false)?;
        }
    }
    let embedder = session.embedder()?;
    if args.dry_run {
        return dry_run(session, &embedder, args);
    }
    let rebuilt = if args.rebuild { Some(rebuild(session, &embedder)?) } else { None };
    let index = if args.paths.is_empty() {
        match session.open_index(&embedder) {
            Err(OpenError::Missing { .. }) => return Err(NOTHING_KNOWN.into()),
            opened => opened?,
        }
    } else {
        session.create_index(&embedder)?
    };
    let (paths, gone_roots) = match args.paths.is_empty() {
        true => roots_to_read(&index)?,
        false => (args.paths.clone(), Roots::new()),
    };
    let options = options(session, &embedder, args);
    let _stoppable = session.stoppable();
    // Before the first reading, so that no change falls between the two.
    let watched = if args.watch { Some(Watched::new(session, &paths)?) } else { None };
    let report = build(session, &index, &embedder, &paths, &options)?;
    let report = BuildReport { gone_roots, rebuilt, ..report };
    show(session, &report)?;
    print_json(session, args, &report)?;
    warn_of_languages(session, &index, &embedder)?;
    if let Some(watched) = watched {
        session.printer.note("watching for changes; Ctrl-C ends");
        let mut n_skipped = report.skipped.len();
        while let Some(()) = watched.change(session) {
            match build(session, &index, &embedder, &paths, &options) {
                Ok(report) if n_changed(&report) > 0 || report.skipped.len() != n_skipped => {
                    n_skipped = report.skipped.len();
                    show(session, &report)?;
                    print_json(session, args, &report)?;
                }
                Ok(_) => {}
                // A folder that is away for a moment must not end the watch.
                Err(error) => session.printer.warn(format!("{error:#}")),
            }
        }
    }
    Ok(if session.is_interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// One value; while watching, one a line for each time that files were read.
fn print_json(session: &Session, args: &IngestArgs, report: &BuildReport) -> Result<()> {
    let out = IngestOut::from(report);
    if args.watch {
        session.printer.json_line(&out)?
    } else {
        session.printer.json(&out)?
    }
    Ok(())
}

fn n_changed(report: &BuildReport) -> usize {
    report.added + report.updated + report.removed + report.moved
}

/// Reads and cuts, writes nothing.
fn dry_run(session: &Session, embedder: &OpenedEmbedder, args: &IngestArgs) -> Result<ExitCode> {
    if args.paths.is_empty() {
        return Err(WrongUsage(Cow::Borrowed("name the folders to read")).into());
    }
    let _stoppable = session.stoppable();
    let bar = session.printer.bar(0, "files").with_prefix("reading");
    let survey = survey(
        &args.paths,
        &options(session, embedder, args),
        &|text| embedder.embedder.count_tokens(text),
        &session.interrupted,
        &mut |n_done, n_files| {
            bar.set_length(u64::try_from(n_files).unwrap_or(u64::MAX));
            bar.set_position(u64::try_from(n_done).unwrap_or(u64::MAX));
        },
    );
    bar.finish_and_clear();
    let survey = survey?;
    let seconds = survey.elapsed.as_secs_f64();
    session.printer.line(styled(
        BOLD,
        format!(
            "{} documents, {} chunks, {} bytes of text; {seconds:.1} s; nothing was written",
            survey.n_documents, survey.n_chunks, survey.text_bytes
        ),
    ))?;
    list_skipped(session, &survey.skipped)?;
    list_links(session, &survey.links)?;
    session.printer.json(&json!({
        "documents": survey.n_documents,
        "chunks": survey.n_chunks,
        "source_bytes": survey.source_bytes,
        "text_bytes": survey.text_bytes,
        "skipped": survey.skipped.iter().map(|it| {
            json!({"path": it.path, "reason": it.reason.to_string()})
        }).collect::<Vec<_>>(),
        "links": survey.links,
        "seconds": seconds,
        "interrupted": survey.interrupted,
    }))?;
    Ok(if survey.interrupted { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// Ingests `paths` with default options and says briefly what was done: what `ask --docs` does.
pub(super) fn ingest_paths(
    session: &Session,
    index: &Index,
    embedder: &OpenedEmbedder,
    paths: &[PathBuf],
) -> Result<()> {
    let options = options(session, embedder, &IngestArgs::default());
    let _stoppable = session.stoppable();
    let report = build(session, index, embedder, paths, &options)?;
    if session.is_interrupted() {
        return Err(Interrupted.into());
    }
    if n_changed(&report) > 0 {
        session.printer.note(summary(&report));
        for it in report.skipped.iter().filter(|it| is_document(&it.reason)) {
            session.printer.warn(format!("{}: {}", it.path.display(), it.reason));
        }
        warn_of_languages(session, index, embedder)?;
    }
    Ok(())
}

fn discover_options(session: &Session, args: &IngestArgs) -> DiscoverOptions {
    DiscoverOptions {
        exclude: args.exclude.clone(),
        hidden: args.hidden,
        follow_links: args.follow_links || session.config.ingest.follow_links,
    }
}

fn options(session: &Session, embedder: &OpenedEmbedder, args: &IngestArgs) -> BuildOptions {
    BuildOptions {
        discover: discover_options(session, args),
        limits: session.config.ingest.limits(),
        chunks: session.chunk_limits(&embedder.embedder),
        collection: session.config.ingest.collection.clone(),
        may_be_empty: false,
    }
}

fn build(
    session: &Session,
    index: &Index,
    embedder: &OpenedEmbedder,
    paths: &[PathBuf],
    options: &BuildOptions,
) -> Result<BuildReport> {
    let printer = session.printer;
    let mut bar = printer.spinner().with_prefix("looking");
    let report = build_index(
        index,
        &embedder.embedder,
        paths,
        options,
        &session.interrupted,
        &mut |event| match event {
            BuildEvent::Discovered { n_files } => {
                bar.finish_and_clear();
                let n_files = u64::try_from(n_files).unwrap_or(u64::MAX);
                bar = printer.bar(n_files, "files").with_prefix("ingesting");
            }
            BuildEvent::File { path, n_done } => {
                tracing::debug!(n_done, "file");
                bar.set_position(u64::try_from(n_done).unwrap_or(u64::MAX));
                bar.set_message(path.to_owned());
            }
            BuildEvent::Embedded { .. } => bar.tick(),
            BuildEvent::Applying => {
                tracing::debug!("applying");
                bar.set_prefix("indexing");
                bar.set_message("");
            }
        },
    );
    bar.finish_and_clear();
    let report = report?;
    // The page shows what was left aside, whoever read the folders.
    let roots: Vec<PathBuf> =
        paths.iter().map(|it| fs_err::canonicalize(it).unwrap_or_else(|_| it.clone())).collect();
    let recorded = Records::open(&session.config.data_dir)
        .and_then(|it| it.set_skipped(&roots, &report.skipped));
    if let Err(error) = recorded {
        printer.warn(format!("the page will not show what was left aside: {error}"));
    }
    Ok(report)
}

/// Builds the index anew with the embedder and the limits of the settings, then switches.
fn rebuild(session: &Session, embedder: &OpenedEmbedder) -> Result<Rebuilt> {
    let limits = session.chunk_limits(&embedder.embedder);
    let store = session.store(Wait::Changes)?;
    let rebuilt = crate::rebuild::rebuild(
        Home { dir: &session.config.data_dir, store: &store },
        &session.recipe(embedder),
        &embedder.embedder,
        &limits,
        &mut session.preparing(),
    );
    rebuilt.context("could not rebuild the index; the live one is as it was")
}

/// The folders ingested before that are still there, and the others. An error when none is left:
/// then there is nothing to read.
fn roots_to_read(index: &Index) -> Result<(Vec<PathBuf>, Roots)> {
    let (there, gone) = known_roots(index)?;
    if there.is_empty() && gone.is_empty() {
        return Err(NOTHING_KNOWN.into());
    }
    if there.is_empty() {
        let gone: Vec<String> = gone.iter().map(|(path, n)| gone_text(path, *n)).collect();
        bail!("no folder ingested before is there any more: {}", gone.join("; "));
    }
    Ok((there.into_keys().collect(), gone))
}

fn gone_text(path: &Path, n_documents: usize) -> String {
    let path = path.display();
    format!(
        "`{path}` is gone; its {n_documents} documents are kept and still answer, until \
         `souffleur forget {path}`"
    )
}

fn summary(report: &BuildReport) -> String {
    let counts = [
        (report.added, "added"),
        (report.updated, "updated"),
        (report.moved, "moved"),
        (report.removed, "removed"),
        (report.unchanged, "unchanged"),
        (report.skipped.len(), "skipped"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    let seconds = report.elapsed.as_secs_f64();
    format!("documents: {counts}; {} chunks in {seconds:.1} s", report.n_chunks)
}

fn show(session: &Session, report: &BuildReport) -> Result<()> {
    let printer = session.printer;
    if let Some(Rebuilt { n_documents, n_chunks }) = report.rebuilt {
        let text = format!("rebuilt: {n_documents} documents, {n_chunks} chunks");
        printer.line(styled(BOLD, text))?;
    }
    printer.line(styled(BOLD, summary(report)))?;
    for (path, n_documents) in &report.gone_roots {
        printer.warn(gone_text(path, *n_documents));
    }
    list_skipped(session, &report.skipped)?;
    for (path, n_documents) in &report.kept {
        let path = path.display();
        printer.line(format!("  kept {n_documents} documents of {path} as they were"))?;
    }
    list_links(session, &report.links)?;
    for (path, finding) in &report.findings {
        printer.line(format!("  {path}: {}", finding_text(finding, Language::English)))?;
    }
    for (path, of, similarity) in &report.duplicates {
        let percent = (similarity * 100.0).round();
        printer.line(format!("  {path} repeats {of} ({percent} %)"))?;
    }
    if report.n_truncated > 0 {
        printer.warn(format!("the embedder cut {} passages short", report.n_truncated));
    }
    if report.interrupted {
        printer.warn("interrupted: what was read is kept, and the next run goes on from there");
    }
    Ok(())
}

fn list_skipped(session: &Session, skipped: &[Skipped]) -> Result<()> {
    let printer = session.printer;
    let (documents, others): (Vec<_>, Vec<_>) =
        skipped.iter().partition(|it| is_document(&it.reason));
    for it in documents.iter().take(LISTED_MAX) {
        printer.line(format!("  skipped {}: {}", it.path.display(), it.reason))?;
    }
    if documents.len() > LISTED_MAX {
        let more = documents.len() - LISTED_MAX;
        printer.line(format!("  and {more} more: --json lists them all"))?;
    }
    if !others.is_empty() {
        let text = format!("  {} files of other formats left aside", others.len());
        printer.line(styled(DIM, text))?;
    }
    Ok(())
}

fn list_links(session: &Session, links: &[PathBuf]) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = links.iter().take(3).map(|it| it.display().to_string()).collect();
    let more = if links.len() > shown.len() { ", …" } else { "" };
    session.printer.line(format!(
        "  {} symbolic links not followed ({}{more}): --follow-links follows them",
        links.len(),
        shown.join(", ")
    ))?;
    Ok(())
}

/// Whether a skipped file is one that should have been read.
fn is_document(reason: &ParseError) -> bool {
    !matches!(reason, ParseError::Unsupported { .. })
}

/// Says when the documents speak languages in which the embedder is not at home.
pub(super) fn warn_of_languages(
    session: &Session,
    index: &Index,
    embedder: &OpenedEmbedder,
) -> Result<()> {
    let counts = index.catalog().languages()?;
    for (language, share) in foreign_languages(&counts, &|it| embedder.speaks(it)) {
        session.printer.note(language_advice(&embedder.print.id, language, share));
    }
    Ok(())
}

/// What to do about documents in a language that the embedder does not handle.
pub(super) fn language_advice(embedder: &str, language: Language, share: f64) -> String {
    let language = match language {
        Language::English => "English",
        Language::French => "French",
    };
    format!(
        "{:.0} % of the passages are in {language}, which `{embedder}` was not made for: words \
         count more than vectors there. For better answers: {LANGUAGE_FIX}",
        share * 100.0
    )
}

/// How to get an embedder that handles more languages.
pub(super) const LANGUAGE_FIX: &str = "`souffleur models pull multilingual-e5-small`, set \
    `models.embedder = \"multilingual-e5-small\"`, then `souffleur ingest --rebuild`";

/// Folders under watch.
struct Watched {
    inbox: mpsc::Receiver<notify::Result<()>>,
    /// Watches until dropped.
    _watcher: RecommendedWatcher,
}

impl Watched {
    fn new(session: &Session, paths: &[PathBuf]) -> Result<Self> {
        let (changes, inbox) = mpsc::channel();
        // What we write ourselves is no change, where the data folder lies among the documents.
        let ours = fs_err::canonicalize(&session.config.data_dir)?;
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.as_ref().is_ok_and(|it| is_noise(it, &ours)) {
                    return;
                }
                // The receiver is gone only when the program ends.
                let _ = changes.send(event.map(|_| ()));
            })
            .context("could not watch for changes")?;
        for path in paths {
            watcher
                .watch(path, RecursiveMode::Recursive)
                .with_context(|| format!("could not watch `{}`", path.display()))?;
        }
        Ok(Self { inbox, _watcher: watcher })
    }

    /// Waits until files have changed and are still again; `None` after Ctrl-C.
    fn change(&self, session: &Session) -> Option<()> {
        while !session.is_interrupted() {
            match self.inbox.recv_timeout(QUIET_TIME) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Ok(Err(error)) => session.printer.warn(error),
                Ok(Ok(())) => {
                    // Files are often written in several steps.
                    while !session.is_interrupted() && self.inbox.recv_timeout(QUIET_TIME).is_ok() {
                    }
                    return (!session.is_interrupted()).then_some(());
                }
            }
        }
        None
    }
}

/// Reading a file is an event too; it changes nothing.
fn is_noise(event: &notify::Event, ours: &Path) -> bool {
    let own = |it: &PathBuf| it.starts_with(ours);
    event.kind.is_access() || (!event.paths.is_empty() && event.paths.iter().all(own))
}
