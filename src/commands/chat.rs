//! `souffleur chat`: questions that follow each other.

use std::{fmt::Display, io, process::ExitCode, sync::atomic::Ordering};

use anyhow::Result;
use index::filter::Filter;
use ingest::document::Language;
use rustyline::{DefaultEditor, error::ReadlineError};
use serde_json::json;

use super::{ask, filter_of, show};
use crate::{
    cli::ChatArgs,
    engine::Engine,
    hints,
    places::{char_spans, places},
    printer::{CYAN, DIM, styled},
    retrieve::{Question, QuestionError},
    session::Session,
    wire::{AnswerOut, TurnOut},
};

/// Earlier turns that a follow-up is understood from.
const TURNS_MAX: usize = 3;

const HELP: &str = "ask in English or French; /new forgets what was said, /help shows this, \
    /quit or Ctrl-D ends";

/// A conversation.
struct Chat<'a> {
    session: &'a Session,
    engine: Engine,
    filter: Filter,
    /// Questions that stand alone and their answers, oldest first.
    turns: Vec<(String, String)>,
}

pub(super) fn run(session: &mut Session, args: &ChatArgs) -> Result<ExitCode> {
    let engine = ask::open_for(session, &args.docs, &args.answer)?;
    let mut editor = DefaultEditor::new()?;
    let filter = filter_of(&engine.index, &args.filter)?;
    let mut chat = Chat { session, engine, filter, turns: Vec::new() };
    session.printer.note(HELP);
    loop {
        let line = match editor.readline("› ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(ExitCode::SUCCESS),
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                chat.refuse("", &error)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // History is a comfort: a terminal without it works all the same.
        let _ = editor.add_history_entry(&line);
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => return Ok(ExitCode::SUCCESS),
            "/new" => chat.turns.clear(),
            "/help" => session.printer.line(HELP)?,
            word if word.starts_with('/') && !word.contains(char::is_whitespace) => {
                session.printer.warn(format!("no command `{word}`: {HELP}"));
            }
            text => match chat.turn(text) {
                Ok(()) => {}
                // Ctrl-C while a server was asked ends the question, not the conversation.
                Err(error) if hints::is_interrupted(&error) => chat.failed(text, &error)?,
                // So does a server that fails once.
                Err(error) if hints::is_of_server(&error) => {
                    session.printer.error(&error, hints::of(&error));
                    chat.failed(text, &error)?;
                }
                Err(error) => return Err(error),
            },
        }
        // Ctrl-C ended the answer, not the conversation.
        session.interrupted.store(false, Ordering::SeqCst);
    }
}

impl Chat<'_> {
    /// One question and its answer.
    fn turn(&mut self, text: &str) -> Result<()> {
        let question = match Question::new(text) {
            Ok(it) => it,
            Err(error) => return self.refuse(text, &error),
        };
        let _stoppable = self.session.stoppable();
        let understood = self.understand(&question)?;
        let standalone = understood.as_ref().unwrap_or(&question);
        let answer = ask::ask(self.session, &self.engine, standalone, &self.filter)?;
        let places = places(&self.engine.index, &answer)?;
        show::answer(self.session.printer, &answer, &places)?;
        let chars = char_spans(&self.engine.index, &answer.passages)?;
        self.session.printer.json_line(&TurnOut {
            question: question.text(),
            understood_as: understood.as_ref().map(Question::text),
            answer: AnswerOut::new(&answer, &chars, &places),
        })?;
        self.turns.push((standalone.text().to_owned(), answer.text));
        if self.turns.len() > TURNS_MAX {
            self.turns.remove(0);
        }
        Ok(())
    }

    /// Makes a follow-up stand alone and shows what it was understood as.
    fn understand(&mut self, question: &Question) -> Result<Option<Question>> {
        let Some(text) = self.engine.condense(&self.turns, question)? else { return Ok(None) };
        let standalone = match Question::new(&text) {
            Ok(it) => it,
            Err(error @ (QuestionError::Empty | QuestionError::TooLong { .. })) => {
                self.session
                    .printer
                    .warn(format!("asked as it stands: with the one before, {error}"));
                return Ok(None);
            }
        };
        let words = match question.language {
            Some(Language::French) => "compris comme :",
            Some(Language::English) | None => "understood as:",
        };
        let shown = format!("{} {}", styled(DIM, words), styled(CYAN, standalone.text()));
        self.session.printer.line(shown)?;
        Ok(Some(standalone))
    }

    /// Says that a line is no question. Whoever reads JSON gets a value for it too.
    fn refuse(&self, text: &str, error: &dyn Display) -> Result<()> {
        self.session.printer.warn(error);
        self.failed(text, error)
    }

    /// Gives whoever reads JSON a value for a line without an answer.
    fn failed(&self, text: &str, error: &dyn Display) -> Result<()> {
        self.session.printer.json_line(&json!({ "question": text, "error": error.to_string() }))?;
        Ok(())
    }
}
