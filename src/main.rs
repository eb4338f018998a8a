//! Arguments to settings to a command to an exit code.

use std::process::ExitCode;

use clap::Parser;
use souffleur::{
    cli::Cli,
    commands, hints,
    printer::{self, Printer},
};
use tracing_subscriber::EnvFilter;

/// glibc's gives each thread an arena of its own, which keep what others could use: an ingestion of
/// many files held twice the memory, and more with each file (`docs/benchmarks.md`, "Many files").
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What libraries say of damaged files is said in the report, in our words.
    let quiet = || EnvFilter::new("error,lopdf=off");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env("SOUFFLEUR_LOG").unwrap_or_else(|_| quiet()))
        .with_writer(std::io::stderr)
        .with_ansi(printer::has_coloured_errors())
        .init();
    let printer = Printer { json: cli.global.json, quiet: cli.global.quiet };
    match commands::run(cli) {
        Ok(code) => code,
        // The reader of our output has left, as `head` does: nothing is wrong.
        Err(error) if hints::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            printer.error(&error, hints::of(&error));
            hints::exit_code(&error)
        }
    }
}
