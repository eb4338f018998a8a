//! `souffleur ask`: a question to a cited, checked answer.

use std::process::ExitCode;

use ::ingest::discover::{DiscoverOptions, discover};
use anyhow::Result;
use indicatif::ProgressBar;

use super::{filter_of, ingest::ingest_paths, show, text_or_stdin};
use crate::{
    answer::{Answer, AskEvent},
    cli::{AnswerArgs, AskArgs},
    engine::Engine,
    places::{char_spans, places},
    printer::{Printer, quote_reason_text},
    retrieve::Question,
    session::Session,
    wire::AnswerOut,
};

pub(super) fn run(session: &mut Session, args: &AskArgs) -> Result<ExitCode> {
    // Before anything is fetched or read: a bad question changes nothing.
    let question = Question::new(&text_or_stdin(&args.question)?)?;
    let engine = open_for(session, &args.docs, &args.answer)?;
    let filter = filter_of(&engine.index, &args.filter)?;
    let answer = ask(session, &engine, &question, &filter)?;
    let printer = session.printer;
    let places = places(&engine.index, &answer)?;
    show::answer(printer, &answer, &places)?;
    let chars = char_spans(&engine.index, &answer.passages)?;
    printer.json(&AnswerOut::new(&answer, &chars, &places))?;
    Ok(if session.is_interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS })
}

/// Opens models and index, after ingesting `docs` where some are named.
pub(super) fn open(
    session: &mut Session,
    docs: &[std::path::PathBuf],
    generator: Option<&str>,
    adapter: Option<&str>,
) -> Result<Engine> {
    // Before anything is fetched or made: a folder that cannot be read changes nothing.
    if !docs.is_empty() {
        discover(docs, &DiscoverOptions::default())?;
    }
    let embedder = session.embedder()?;
    // Fetched before the long work, so that its failure does not come after it.
    let writer = session.writer(generator)?;
    let adapter = adapter.map(|it| session.load_adapter(&writer, it)).transpose()?;
    let reranker = session.reranker()?;
    let index = if docs.is_empty() {
        session.open_index(&embedder)?
    } else {
        let index = session.create_index(&embedder)?;
        ingest_paths(session, &index, &embedder, docs)?;
        index
    };
    let mut engine = session.engine(index, embedder, reranker, writer)?;
    engine.choose_adapter(adapter);
    Ok(engine)
}

/// The same, as flags ask for it.
pub(super) fn open_for(
    session: &mut Session,
    docs: &[std::path::PathBuf],
    how: &AnswerArgs,
) -> Result<Engine> {
    open(session, docs, how.generator.as_deref(), how.adapter.as_deref())
}

/// Answers one question, showing the answer as it is written.
pub(super) fn ask(
    session: &Session,
    engine: &Engine,
    question: &Question,
    filter: &index::filter::Filter,
) -> Result<Answer> {
    let printer = session.printer;
    let _stoppable = session.stoppable();
    let mut reading: Option<ProgressBar> = None;
    let mut streaming = Streaming { printer, open: false };
    let answer = engine.ask(question, filter, &mut |event| {
        match event {
            AskEvent::Retrieved { report, .. } => show::cut_notes(printer, report),
            AskEvent::Quoting { reason } => printer.note(quote_reason_text(reason)),
            AskEvent::Reading { n_tokens, n_prompt_tokens } => {
                let total = u64::try_from(n_prompt_tokens).unwrap_or(u64::MAX);
                let bar = reading
                    .get_or_insert_with(|| printer.bar(total, "tokens").with_prefix("reading"));
                bar.set_position(u64::try_from(n_tokens).unwrap_or(u64::MAX));
            }
            AskEvent::Waiting => {
                reading.get_or_insert_with(|| printer.spinner().with_prefix("waiting"));
            }
            AskEvent::Drafts { done, total } => {
                let length = u64::try_from(total).unwrap_or(u64::MAX);
                let bar = reading
                    .get_or_insert_with(|| printer.bar(length, "drafts").with_prefix("writing"));
                bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
            }
            AskEvent::Shortened { host, n_passages } => {
                printer.note(show::shortened(host, n_passages, question.language))
            }
            AskEvent::Text(text) => {
                if let Some(bar) = reading.take() {
                    bar.finish_and_clear();
                }
                streaming.piece(text);
            }
        }
        session.flow()
    });
    if let Some(bar) = reading {
        bar.finish_and_clear();
    }
    streaming.end();
    Ok(answer?)
}

/// The draft as it is written, shown to whoever watches; the checked answer follows.
struct Streaming {
    printer: Printer,
    open: bool,
}

impl Streaming {
    fn piece(&mut self, text: &str) {
        if self.printer.is_watched() {
            self.open = true;
            // A closed terminal shows at the next write that matters.
            let _ = self.printer.piece(text);
        }
    }

    fn end(&mut self) {
        if self.open {
            let _ = self.printer.piece("\n\n");
        }
    }
}
