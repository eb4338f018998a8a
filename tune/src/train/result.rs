//! What training leaves: a PEFT folder, or a model's, that says how it was made.

use std::path::Path;

use model::prompt::ModelText;
use model::trainable::TrainableDecoder;
use serde_json::{Value, json};

use super::TuneError;
use super::ability::Change;
use super::encode::Data;
use super::log::{Line, peak_bytes};
use super::report;
use super::run::Setup;

/// How it was made; beside PEFT's files or the model's.
pub const RECORD: &str = "training.json";

/// What a record is made of.
pub(super) struct Made<'a> {
    pub(super) setup: &'a Setup<'a>,
    pub(super) text: &'a ModelText,
    pub(super) data: &'a Data,
    pub(super) validation: Option<&'a Data>,
    pub(super) lines: &'a [Line],
    /// The step whose factors these are.
    pub(super) step: u64,
    pub(super) n_tokens: u64,
    pub(super) seconds: f64,
    pub(super) ability: Option<Change>,
}

/// Writes the folder, which appears under its name when it is complete.
pub(super) fn save(
    staging: &Path,
    decoder: &TrainableDecoder,
    made: &Made<'_>,
) -> Result<(), TuneError> {
    if staging.exists() {
        fs_err::remove_dir_all(staging)?;
    }
    decoder.save(staging)?;
    let record = record(made);
    fs_err::write(staging.join(RECORD), format!("{record:#}\n"))?;
    fs_err::write(
        staging.join("report.html"),
        report::html(&record, made.lines, made.ability.as_ref()),
    )?;
    if let Some(template) = made.text.encoder.chat_template() {
        fs_err::write(staging.join("chat_template.jinja"), template)?;
    }
    // A base that is a file carries its tokenizer; of a folder's, PEFT's users look for a copy.
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        let path = made.setup.model.join(name);
        if path.is_file() {
            fs_err::copy(path, staging.join(name))?;
        }
    }
    let out = made.setup.out;
    if let Some(parent) = out.parent().filter(|it| !it.as_os_str().is_empty()) {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::rename(staging, out)?;
    Ok(())
}

fn record(made: &Made<'_>) -> Value {
    let Made { setup, text, data, validation, lines, step, n_tokens, seconds, ability } = made;
    let curve = |pick: &dyn Fn(&Line) -> Option<(u64, f64)>| -> Vec<(u64, f64)> {
        lines.iter().filter_map(pick).collect()
    };
    let of_data = |path: &Path, data: &Data| {
        json!({
            "file": path,
            "blake3": data.hash,
            "rows": data.items.len(),
            "rows_unusable": data.bad.len(),
            "rows_too_long": data.long.len(),
            "documents": data.documents,
            "rows_without_document": data.n_unnamed,
        })
    };
    json!({
        "format": 1,
        "program": concat!("souffleur ", env!("CARGO_PKG_VERSION")),
        "base": { "model": setup.model, "fingerprint": text.fingerprint },
        "chat_template_blake3":
            text.encoder.chat_template().map(|it| blake3::hash(it.as_bytes()).to_hex().to_string()),
        "data": of_data(setup.data, data),
        "validation": validation.zip(setup.validation).map(|(data, path)| of_data(path, data)),
        // How answering makes the prompts that it was taught with, where all rows say the same.
        "prompt": data.prompt,
        "settings": setup.settings,
        "step": step,
        "ability": ability.as_ref().map(Change::json),
        "tokens": n_tokens,
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "loss": curve(&|it| match it {
            Line::Step(it) => Some((it.step, it.loss)),
            Line::Validation(_) => None,
        }),
        "validation_loss": curve(&|it| match it {
            Line::Validation(it) => Some((it.step, it.loss)),
            Line::Step(_) => None,
        }),
    })
}
