//! `souffleur tokens`: how a model cuts a text into tokens, in colour.

use std::{borrow::Cow, path::Path, process::ExitCode};

use anstyle::{AnsiColor, Color, Style};
use anyhow::Result;
use model::{
    catalogue::ModelRole,
    tokens::{self, Piece},
};
use serde_json::json;

use super::text_or_stdin;
use crate::{
    cli::TokensArgs,
    printer::{DIM, styled},
    session::{EXTRACT, Session, WrongUsage, model_path},
};

/// Backgrounds that follow each other, so that neighbouring tokens differ.
const COLOURS: [AnsiColor; 4] =
    [AnsiColor::Blue, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Yellow];

pub(super) fn run(session: &Session, args: &TokensArgs) -> Result<ExitCode> {
    let text = text_or_stdin(&args.text)?;
    let name = args.model.as_deref().unwrap_or(&session.config.models.generator);
    if name == EXTRACT {
        return Err(
            WrongUsage(Cow::Borrowed("`extract` is no model: name one with --model")).into()
        );
    }
    let tokens = pieces(session, name, &text)?;
    let painted: String = tokens
        .iter()
        .enumerate()
        .map(|(i, it)| {
            let colour = COLOURS[i % COLOURS.len()];
            let style = Style::new()
                .fg_color(Some(Color::Ansi(AnsiColor::Black)))
                .bg_color(Some(Color::Ansi(colour)));
            styled(style, &it.text)
        })
        .collect();
    let printer = session.printer;
    printer.line(painted)?;
    let n_chars = text.chars().count();
    printer.line(styled(DIM, format!("{} tokens, {n_chars} characters, {name}", tokens.len())))?;
    let rows: Vec<_> = tokens.iter().map(|it| json!({"id": it.id, "text": it.text})).collect();
    printer.json(&json!({"model": name, "n_tokens": tokens.len(), "tokens": rows}))?;
    Ok(ExitCode::SUCCESS)
}

/// A text cut by a model's tokenizer: of a GGUF file, of a folder, or of a `tokenizer.json`.
fn pieces(session: &Session, name: &str, text: &str) -> Result<Vec<Piece>> {
    if let Some(path) = model_path(name) {
        // An encoder's tokenizer may be of a kind that no generator has.
        let is_generator = path.is_file() || !is_encoder(path);
        return Ok(match is_generator {
            true => tokens::of_generator(path, text)?,
            false => tokens::of_file(&path.join("tokenizer.json"), text)?,
        });
    }
    let entry = session.entry(name, None)?;
    match entry.role {
        ModelRole::Generator => Ok(tokens::of_generator(&session.generator_path(name)?, text)?),
        ModelRole::Embedder | ModelRole::Reranker => {
            let files = session.files(entry)?;
            Ok(tokens::of_file(&files.dir.join("tokenizer.json"), text)?)
        }
    }
}

/// Whether a folder says that it holds an encoder.
fn is_encoder(dir: &Path) -> bool {
    let config = fs_err::read_to_string(dir.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    matches!(config["model_type"].as_str(), Some("bert" | "xlm-roberta"))
}
