//! `souffleur search`: passages, without an answer.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{filter_of, show, text_or_stdin};
use crate::{
    cli::{SearchArgs, SearchMode},
    places::char_spans,
    printer::{DIM, styled},
    retrieve::{Encoders, Found, Leg, Question, RetrieveOptions, retrieve},
    session::Session,
    wire::{RerankOut, SourceOut},
};

pub(super) fn run(session: &Session, args: &SearchArgs) -> Result<ExitCode> {
    let question = Question::new(&text_or_stdin(&args.query)?)?;
    let embedder = session.embedder()?;
    let reranker = session.reranker()?;
    let index = session.open_index(&embedder)?;
    let options = RetrieveOptions {
        candidates_max: session.config.retrieval.candidates_max.get().max(args.k.get()),
        passages_max: args.k.get(),
        filter: filter_of(&index, &args.filter)?,
        embedder_speaks: question.language.is_none_or(|it| embedder.speaks(it.code())),
        cosine_unrelated: embedder.cosine_unrelated,
        leg: match args.mode {
            SearchMode::Hybrid => Leg::Both,
            SearchMode::Bm25 => Leg::Lexical,
            SearchMode::Dense => Leg::Dense,
        },
        rerank_max: session.config.retrieval.rerank_max.get(),
    };
    let encoders = Encoders { embedder: &embedder.embedder, reranker: reranker.as_ref() };
    let Found { passages, report, .. } = retrieve(&index, encoders, &question, &options)?;
    let printer = session.printer;
    show::cut_notes(printer, &report);
    for (i, it) in passages.iter().enumerate() {
        show::passage(printer, i + 1, it, &[])?;
        printer.line(styled(DIM, format!("    {}", show::scores(it))))?;
    }
    if let Some(cost) = &report.rerank {
        printer.line(styled(DIM, show::rerank_cost(cost)))?;
    }
    if passages.is_empty() {
        printer.line("nothing found")?;
    }
    let chars = char_spans(&index, &passages)?;
    let hits: Vec<SourceOut<'_>> = passages
        .iter()
        .zip(chars)
        .enumerate()
        .map(|(i, (it, chars))| SourceOut::new(i + 1, it, chars))
        .collect();
    printer.json(&json!({
        "query": question.text(),
        "language": question.language.map(ingest::document::Language::code),
        "hits": hits,
        "question_cut_at": report.question_cut_at,
        "rerank": report.rerank.as_ref().map(RerankOut::from),
    }))?;
    Ok(ExitCode::SUCCESS)
}
