//! `souffleur eval`: retrieval and answers, measured.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cli::EvalCommand, session::Session};

mod answers;
mod retrieval;

pub(super) fn run(session: &mut Session, command: &EvalCommand) -> Result<ExitCode> {
    match command {
        EvalCommand::Retrieval { dir, .. } => retrieval::run(session, dir)?,
        EvalCommand::Answers { file, docs, limit, answer } => {
            answers::run(session, file, docs, *limit, answer)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
