//! Measures the two flows on the sample handbook, with the quick-start models:
//! `cargo bench --bench handbook`.
//!
//! Prints one line a figure: reading and cutting, a whole ingestion, a second one, a search, an
//! answer of quotations, an answer of the language model. Models are looked for where the program
//! looks for them, or in the folder that `SOUFFLEUR_TEST_MODELS` names. Figures that are worth
//! keeping go to `docs/benchmarks.md` with command, machine and date.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::Result;
use index::filter::Filter;
use ingest::discover::DiscoverOptions;
use souffleur::{
    build_index::{BuildOptions, build_index},
    config::{Config, Overrides},
    engine::Engine,
    printer::Printer,
    retrieve::Question,
    session::Session,
    survey::survey,
    writer::Writer,
};

/// Times that each quick thing is done.
const N_ROUNDS: usize = 20;

const QUESTIONS: [&str; 4] = [
    "How many days of remote work are allowed per week?",
    "Who approves a purchase of 8,000 euros?",
    "Combien de jours de télétravail par semaine ?",
    "Quel est le plafond de remboursement d'un repas ?",
];

fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let overrides = Overrides {
        data_dir: Some(dir.path().join("data")),
        models_dir: models_dir(),
        offline: Some(true),
        ..Overrides::default()
    };
    let session =
        Session::new(Config::resolve(&overrides, None)?, Printer { json: false, quiet: true })?;
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/handbook");
    let Ok(embedder) = session.embedder() else {
        println!("SKIPPED: the quick-start models are not here; `souffleur models pull` first");
        return Ok(());
    };

    let roots = [handbook];
    let options = BuildOptions {
        discover: DiscoverOptions::default(),
        limits: session.config.ingest.limits(),
        chunks: session.chunk_limits(&embedder.embedder),
        collection: session.config.ingest.collection.clone(),
        may_be_empty: false,
    };
    let never = AtomicBool::new(false);
    let count = |text: &str| embedder.embedder.count_tokens(text);
    let read = survey(&roots, &options, &count, &never, &mut |_, _| {})?;
    let seconds = read.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let rate = read.source_bytes as f64 / 1e6 / seconds;
    println!("read and cut: {} documents, {rate:.1} MB/s", read.n_documents);

    let index = session.create_index(&embedder)?;
    let first = build_index(&index, &embedder.embedder, &roots, &options, &never, &mut |_| {})?;
    println!("ingest: {} chunks in {:.2} s", first.n_chunks, first.elapsed.as_secs_f64());
    let second = build_index(&index, &embedder.embedder, &roots, &options, &never, &mut |_| {})?;
    println!("ingest again: {:.3} s", second.elapsed.as_secs_f64());

    let mut engine = session.engine(index, embedder, None, Writer::Extract { reason: None })?;
    let search = |engine: &Engine, question: &Question| -> Result<()> {
        Ok(engine.retrieve(question, &Filter::default()).map(|_| ())?)
    };
    report("search", &times(&engine, N_ROUNDS, search)?);
    report("answer with quotations", &times(&engine, N_ROUNDS, ask)?);
    engine.writer = Arc::new(session.writer(Some(&session.config.models.generator))?);
    report("answer with the language model", &times(&engine, 1, ask)?);
    Ok(())
}

fn ask(engine: &Engine, question: &Question) -> Result<()> {
    engine.ask(question, &Filter::default(), &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// How long something takes for each of the questions, `n_rounds` times.
fn times(
    engine: &Engine,
    n_rounds: usize,
    what: impl Fn(&Engine, &Question) -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut res = Vec::new();
    for _ in 0..n_rounds {
        for text in QUESTIONS {
            let question = Question::new(text)?;
            let start = Instant::now();
            what(engine, &question)?;
            res.push(start.elapsed());
        }
    }
    res.sort();
    Ok(res)
}

fn report(name: &str, sorted: &[Duration]) {
    let ms = |it: Duration| it.as_secs_f64() * 1e3;
    let (median, last) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    println!("{name}: median {:.1} ms, worst {:.1} ms of {}", ms(median), ms(last), sorted.len());
}

#[expect(clippy::disallowed_methods, reason = "a bench asks its environment for real models")]
fn models_dir() -> Option<PathBuf> {
    std::env::var_os("SOUFFLEUR_TEST_MODELS").map(PathBuf::from)
}
