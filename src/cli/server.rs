//! Commands that serve: types only, no logic.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::records::Scope;

/// `souffleur serve`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  souffleur serve --docs ~/handbook
  souffleur serve --addr 0.0.0.0:7878          needs a key: souffleur keys create

The page is at the address that is printed; /docs describes the API. Ctrl-C ends it, once answers
that are being written are done.")]
pub struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:7878]
    #[arg(long)]
    pub addr: Option<std::net::SocketAddr>,
    /// Folders and files to read into the index once it listens
    #[arg(long, value_name = "PATH")]
    pub docs: Vec<PathBuf>,
    /// The generator: an id of `souffleur models list`, a .gguf file, a folder, `openai` for the
    /// server of the settings, or `extract` for quotations
    #[arg(long, value_name = "MODEL")]
    pub generator: Option<String>,
    /// A LoRA adapter (PEFT folder or GGUF file) that requests can choose by its name
    #[arg(long, value_name = "NAME=PATH", value_parser = named_path)]
    pub adapter: Vec<(String, PathBuf)>,
}

fn named_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err("write it as NAME=PATH".to_owned()),
    }
}

/// `souffleur mcp`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  souffleur mcp --data-dir ~/souffleur/data --group rh

An MCP client starts this command and speaks to it (docs/mcp.md).")]
pub struct McpArgs {
    /// The generator, as for `souffleur serve`
    #[arg(long, value_name = "MODEL")]
    pub generator: Option<String>,
    /// Read as a member of these groups; without it every document answers, restricted ones too
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
}

/// `souffleur keys`
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make a key. It is shown once
    #[command(after_help = "Examples:
  souffleur keys create --name intranet --scope read
  souffleur keys create --name rh-bot --group rh --scope read --json")]
    Create {
        /// What people call it
        #[arg(long, default_value = "")]
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = Scope::Read)]
        scope: Scope,
        /// Groups whose documents it reads, beside those that are open to everyone
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// List all keys, revoked ones included
    #[command(after_help = "Examples:
  souffleur keys list
  souffleur keys list --json")]
    List,
    /// Take a key out of use, with the sessions of browsers that gave it
    #[command(after_help = "Examples:
  souffleur keys revoke k_0123456789abcdef0123")]
    Revoke {
        /// Its id, as `souffleur keys list` shows it
        id: String,
    },
}
