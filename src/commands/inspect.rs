//! `souffleur inspect`: why a question is answered as it is.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{ask, filter_of, show, text_or_stdin};
use crate::{
    answer::{Answer, Cut},
    cli::AskArgs,
    places::{Place, char_spans, places},
    printer::{BOLD, DIM, Printer, styled},
    retrieve::{Passage, Question},
    session::Session,
    wire::AnswerOut,
};

pub(super) fn run(session: &mut Session, args: &AskArgs) -> Result<ExitCode> {
    let question = Question::new(&text_or_stdin(&args.question)?)?;
    let engine = ask::open_for(session, &args.docs, &args.answer)?;
    let filter = filter_of(&engine.index, &args.filter)?;
    let answer = ask::ask(session, &engine, &question, &filter)?;
    let printer = session.printer;
    retrieval(printer, session, &question, &answer)?;
    prompt(printer, &answer)?;
    printer.line(styled(BOLD, "\nAnswer"))?;
    let places = places(&engine.index, &answer)?;
    show::answer(printer, &answer, &places)?;
    printer.json(&as_json(&engine.index, &question, &answer, &places)?)?;
    Ok(if session.is_interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

fn retrieval(
    printer: Printer,
    session: &Session,
    question: &Question,
    answer: &Answer,
) -> Result<()> {
    let language = question.language.map_or("unknown", ingest::document::Language::code);
    printer.line(format!("{} {}", styled(BOLD, "Question"), question.text()))?;
    printer.line(format!(
        "language {language}, answered in {}; passages need a relevance of {}",
        answer.language.code(),
        session.config.retrieval.relevance_min
    ))?;
    if let Some(cost) = &answer.retrieval.rerank {
        printer.line(show::rerank_cost(cost))?;
    }
    printer.line(styled(BOLD, "\nPassages in the prompt"))?;
    for (i, it) in answer.passages.iter().enumerate() {
        line(printer, i + 1, it)?;
    }
    if !answer.cut.is_empty() {
        printer.line(styled(BOLD, "\nPassages left out"))?;
    }
    for (i, (it, cut)) in answer.cut.iter().enumerate() {
        line(printer, answer.passages.len() + i + 1, it)?;
        printer.line(styled(DIM, format!("    {}", cut_text(*cut))))?;
    }
    Ok(())
}

fn line(printer: Printer, index: usize, passage: &Passage) -> Result<()> {
    show::passage(printer, index, passage, &[])?;
    printer.line(styled(DIM, format!("    {}", show::scores(passage))))?;
    Ok(())
}

fn prompt(printer: Printer, answer: &Answer) -> Result<()> {
    let Some(context) = &answer.context else {
        printer.line(styled(BOLD, "\nNo prompt: no model was called"))?;
        return Ok(());
    };
    let estimated = if context.is_estimate { "about " } else { "" };
    printer.line(styled(
        BOLD,
        format!(
            "\nPrompt ({estimated}{} tokens, {} examples)",
            context.n_tokens, context.n_examples
        ),
    ))?;
    for turn in &context.turns {
        printer.line(styled(DIM, format!("── {}", turn.role.name())))?;
        printer.line(&turn.content)?;
    }
    Ok(())
}

fn cut_text(cut: Cut) -> &'static str {
    match cut {
        Cut::NotRelevant => "does not seem to bear on the question",
        Cut::NoRoom => "does not fit the prompt",
        Cut::Outdated => "a newer version of its document says otherwise",
    }
}

fn as_json(
    index: &index::Index,
    question: &Question,
    answer: &Answer,
    places: &[Option<Place>],
) -> Result<serde_json::Value> {
    let chars = char_spans(index, &answer.passages)?;
    let cut: Vec<serde_json::Value> = answer
        .cut
        .iter()
        .map(|(it, cut)| {
            json!({
                "document": it.chunk.facets.path,
                "heading": it.chunk.heading_path.join(" > "),
                "score": it.score,
                "score_bm25": it.lexical.map(|it| it.score),
                "score_dense": it.dense.map(|it| it.score),
                "score_rerank": it.rerank.map(|it| it.score),
                "rank_bm25": it.lexical.map(|it| it.rank),
                "rank_dense": it.dense.map(|it| it.rank),
                "relevance": it.relevance,
                "reason": cut_text(*cut),
            })
        })
        .collect();
    let prompt: Option<Vec<serde_json::Value>> = answer.context.as_ref().map(|it| {
        let turn = |it: &model::chat::Turn| json!({"role": it.role.name(), "content": it.content});
        it.turns.iter().map(turn).collect()
    });
    Ok(json!({
        "question": question.text(),
        "answer": AnswerOut::new(answer, &chars, places),
        "cut": cut,
        "prompt": prompt,
    }))
}
