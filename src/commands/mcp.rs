//! `souffleur mcp`: the tools of the Model Context Protocol over standard input and output, which
//! carry nothing else.

use std::process::ExitCode;

use anyhow::Result;

use super::serve::serving;
use crate::{cli::McpArgs, records::Records, serve::serve_stdio, session::Session};

pub(super) fn run(session: &Session, args: &McpArgs) -> Result<ExitCode> {
    let records = Records::open(&session.config.data_dir)?;
    let serving = serving(session, records, args.generator.as_deref(), &[])?;
    let groups = (!args.groups.is_empty()).then(|| args.groups.clone());
    serve_stdio(serving, groups)?;
    Ok(ExitCode::SUCCESS)
}
