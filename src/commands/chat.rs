//! `souffleur chat`: questions that follow each other.

use std::process::ExitCode;

use anyhow::Result;
use ingest::document::Language;
use rustyline::{DefaultEditor, error::ReadlineError};

use super::{ask, filter_of, show};
use crate::{
    cli::ChatArgs,
    engine::Engine,
    places::places,
    printer::{CYAN, DIM, styled},
    retrieve::Question,
    session::Session,
    wire::AnswerOut,
};

/// Earlier turns that a follow-up is understood from.
const TURNS_MAX: usize = 3;

pub(super) fn run(session: &mut Session, args: &ChatArgs) -> Result<ExitCode> {
    let mut engine = ask::open(session, &args.docs, args.answer.generator.as_deref())?;
    let filter = filter_of(&args.filter);
    let mut editor = DefaultEditor::new()?;
    let mut turns: Vec<(String, String)> = Vec::new();
    session
        .printer
        .note("ask in English or French; /new forgets what was said, /quit or Ctrl-D ends");
    loop {
        let line = match editor.readline("› ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        };
        match line.trim() {
            "" => continue,
            "/quit" | "/exit" => return Ok(ExitCode::SUCCESS),
            "/new" => {
                turns.clear();
                continue;
            }
            _ => {}
        }
        // History is a comfort: a terminal without it works all the same.
        let _ = editor.add_history_entry(&line);
        let question = match Question::new(&line) {
            Ok(it) => it,
            Err(error) => {
                session.printer.warn(error);
                continue;
            }
        };
        let standalone = understand(session, &mut engine, &turns, &question)?;
        let answer = ask::ask(session, &mut engine, &standalone, &filter)?;
        let places = places(&engine.index, &answer)?;
        show::answer(session.printer, &answer, &places)?;
        let chars = show::char_spans(&engine.index, &answer.passages)?;
        session.printer.json(&AnswerOut::new(&answer, &chars, &places))?;
        turns.push((standalone.text().to_owned(), answer.text));
        if turns.len() > TURNS_MAX {
            turns.remove(0);
        }
    }
}

/// Makes a follow-up stand alone and shows what it was understood as.
fn understand(
    session: &Session,
    engine: &mut Engine,
    turns: &[(String, String)],
    question: &Question,
) -> Result<Question> {
    let Some(text) = engine.condense(turns, question)? else { return Ok(question.clone()) };
    let words = match question.language {
        Some(Language::French) => "compris comme :",
        Some(Language::English) | None => "understood as:",
    };
    session.printer.line(format!("{} {}", styled(DIM, words), styled(CYAN, &text)))?;
    Ok(Question::new(&text)?)
}
