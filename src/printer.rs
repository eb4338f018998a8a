//! The only file that prints. Data goes to standard output, everything else to standard error.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ingest::document::Language;
use serde::Serialize;

use crate::answer::QuoteReason;

/// Bold, for what matters.
pub const BOLD: Style = Style::new().bold();
/// Faint, for what can be passed over.
pub const DIM: Style = Style::new().dimmed();
/// Green, for what is well.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Yellow, for what deserves a look.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Red, for what is wrong.
pub const RED: Style = AnsiColor::Red.on_default();
/// Cyan, for names.
pub const CYAN: Style = AnsiColor::Cyan.on_default();

/// A text in a style.
pub fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Whether what goes to standard error may have colours: nobody reads their codes in a file.
#[must_use]
pub fn has_coloured_errors() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Prints, in the form that the user asked for.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// Whether results are JSON.
    pub json: bool,
    /// Whether nothing but results and errors is printed.
    pub quiet: bool,
}

impl Printer {
    /// A line of the result, for people: not printed when the result is JSON.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn line(self, text: impl Display) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        writeln!(anstream::stdout(), "{text}")
    }

    /// A piece of a result that is being written, for people.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn piece(self, text: impl Display) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = anstream::stdout();
        write!(out, "{text}")?;
        out.flush()
    }

    /// Text for another program, whatever the form.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn raw(self, text: &str) -> io::Result<()> {
        io::stdout().write_all(text.as_bytes())
    }

    /// The result as JSON: printed only when it was asked for.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)
    }

    /// One of several results as JSON, on a line of its own: printed only when it was asked for.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, value)?;
        writeln!(out)
    }

    /// Something that the user may want to know.
    pub fn note(self, text: impl Display) {
        if !self.quiet {
            self.say(styled(CYAN, "note"), text);
        }
    }

    /// Something that is in order and that the user must know, even when quiet.
    pub fn notice(self, text: impl Display) {
        self.say(styled(CYAN, "note"), text);
    }

    /// Something that the user should know, even when quiet.
    pub fn warn(self, text: impl Display) {
        self.say(styled(YELLOW, "warning"), text);
    }

    /// Why it failed, with every cause, and what to do about it.
    pub fn error(self, error: &anyhow::Error, hint: Option<&str>) {
        let mut text = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        self.say(styled(RED, "error"), text);
        if let Some(hint) = hint {
            self.say(styled(CYAN, "hint"), hint);
        }
    }

    fn say(self, kind: String, text: impl Display) {
        // Where standard error is closed, there is nobody to tell.
        let _ = writeln!(anstream::stderr(), "{kind}: {text}");
    }

    /// A bar over `n` things. Hidden when quiet or when nobody watches.
    #[must_use]
    pub fn bar(self, n: u64, unit: &str) -> ProgressBar {
        let template = format!(
            "{{prefix:>12.cyan}} [{{bar:28}}] {{human_pos}}/{{human_len}} {unit} {{eta:>4}} {{wide_msg:.dim}}"
        );
        self.progress(Some(n), &template)
    }

    /// A bar over bytes; a count while the total is not known.
    #[must_use]
    pub fn bytes(self, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => {
                "{prefix:>12.cyan} [{bar:28}] {bytes}/{total_bytes} {bytes_per_sec} {eta:>4} {wide_msg:.dim}"
            }
            None => "{prefix:>12.cyan} {spinner} {bytes} {bytes_per_sec} {wide_msg:.dim}",
        };
        self.progress(total, template)
    }

    /// A spinner, for work of unknown length.
    #[must_use]
    pub fn spinner(self) -> ProgressBar {
        let bar = self.progress(None, "{prefix:>12.cyan} {spinner} {wide_msg}");
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    fn progress(self, n: Option<u64>, template: &str) -> ProgressBar {
        let target =
            if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template(template)
            .expect("templates of this file are valid")
            .progress_chars("━╸ ");
        ProgressBar::with_draw_target(n, target).with_style(style)
    }

    /// Whether a person reads the result as it is written.
    #[must_use]
    pub fn is_watched(self) -> bool {
        !self.json && io::stdout().is_terminal()
    }
}

/// Why an answer quotes, and what to do about it.
#[must_use]
pub fn quote_reason_text(reason: &QuoteReason) -> String {
    match reason {
        QuoteReason::NotInstalled { id } => format!(
            "no language model is installed, so the answer quotes the documents; \
             `souffleur models pull {id}` fetches one"
        ),
        QuoteReason::WrongLanguage { id, language: Language::French } => format!(
            "{id} n'écrit pas le français : la réponse cite les documents mot pour mot. \
             Pour une réponse rédigée : `souffleur models pull qwen3-1.7b`, puis \
             `--generator qwen3-1.7b`"
        ),
        QuoteReason::WrongLanguage { id, language: Language::English } => format!(
            "{id} does not write English: the answer quotes the documents word for word. \
             For a written one: `souffleur models pull qwen3-1.7b`, then `--generator qwen3-1.7b`"
        ),
    }
}
