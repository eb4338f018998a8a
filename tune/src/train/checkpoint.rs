//! Checkpoints: what is trained, the optimiser's state and the place in the run. Each is a folder that
//! appears under its name when it is complete and on the disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use model::trainable::{AdamW, TrainableDecoder};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::TuneError;
use super::ability::Ability;

const OPTIMISER: &str = "optimiser.safetensors";
const STATE: &str = "state.json";
const TRAINED: &str = "trained";
/// Checkpoints that are kept; the one before the last, should the last be damaged.
const KEPT: usize = 2;

/// Where a run is. Random numbers are functions of the seed and the step, so that the step is the
/// state of all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps that have been made.
    pub(super) step: u64,
    /// Tokens so far.
    pub(super) n_tokens: u64,
    /// Seconds so far.
    pub(super) seconds: f64,
    /// The best validation's loss, in bits, so that it is read as it was written.
    pub(super) best_bits: Option<u64>,
    /// Validations since then.
    pub(super) n_worse: u64,
    /// Whether training has ended early.
    pub(super) ended: bool,
    /// What the base could do, where it was measured.
    pub(super) before: Option<Ability>,
    /// Whether the validation rows are to be looked at before the next step: a run may be stopped
    /// while it does so.
    #[serde(default)]
    pub(super) owes_validation: bool,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            step: 0,
            n_tokens: 0,
            seconds: 0.0,
            best_bits: None,
            n_worse: 0,
            ended: false,
            before: None,
            owes_validation: true,
        }
    }
}

/// The step of a checkpoint, by its name.
pub(super) fn step_of(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches("step-").parse().unwrap_or_default()
}

/// Writes a checkpoint and removes those that it replaces.
pub(super) fn save(
    dir: &Path,
    decoder: &TrainableDecoder,
    optimiser: &AdamW,
    state: &State,
) -> Result<PathBuf, TuneError> {
    let path = dir.join(format!("step-{:08}", state.step));
    let partial = dir.join(format!(".step-{:08}.partial", state.step));
    let written = write(&partial, decoder, optimiser, state);
    if written.is_err() && partial.exists() {
        // Half a checkpoint takes room that a full disk lacks; that it cannot be removed is no
        // news beside why it is half.
        let _ = fs_err::remove_dir_all(&partial);
    }
    written?;
    if path.exists() {
        fs_err::remove_dir_all(&path)?;
    }
    fs_err::rename(&partial, &path)?;
    fs_err::File::open(dir)?.sync_all()?;
    let all = list(dir)?;
    for old in all.iter().rev().skip(KEPT) {
        fs_err::remove_dir_all(old)?;
    }
    Ok(path)
}

fn write(
    dir: &Path,
    decoder: &TrainableDecoder,
    optimiser: &AdamW,
    state: &State,
) -> Result<(), TuneError> {
    if dir.exists() {
        fs_err::remove_dir_all(dir)?;
    }
    fs_err::create_dir_all(dir)?;
    decoder.save(&dir.join(TRAINED))?;
    let mut tensors = Vec::new();
    for (name, all) in ["mean", "square"].iter().zip(optimiser.means(decoder)?) {
        for (idx, values) in all.iter().enumerate() {
            let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
            tensors.push((format!("{name}.{idx}"), values.len(), bytes));
        }
    }
    let views = tensors.iter().map(|(name, n, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![*n], bytes);
        (name, view.expect("four bytes a value"))
    });
    let bytes = safetensors::serialize(views, None).expect("names and sizes are sound");
    for (name, bytes) in [
        (OPTIMISER, bytes),
        (STATE, serde_json::to_vec_pretty(state).expect("plain values are JSON")),
    ] {
        let path = dir.join(name);
        fs_err::write(&path, bytes)?;
        fs_err::File::open(&path)?.sync_all()?;
    }
    Ok(())
}

/// The checkpoints of a folder, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, TuneError> {
    let mut res = Vec::new();
    if !dir.is_dir() {
        return Ok(res);
    }
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("step-") {
            res.push(entry.path());
        }
    }
    res.sort();
    Ok(res)
}

/// Sets what is trained and the optimiser to those of a checkpoint.
pub(super) fn restore(
    path: &Path,
    decoder: &TrainableDecoder,
    optimiser: &mut AdamW,
) -> Result<State, TuneError> {
    let damaged = |reason: String| TuneError::Checkpoint { path: path.to_owned(), reason };
    let text = fs_err::read(path.join(STATE))?;
    let state: State =
        serde_json::from_slice(&text).map_err(|error| damaged(format!("{STATE}: {error}")))?;
    let bytes = fs_err::read(path.join(OPTIMISER))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| damaged(format!("{OPTIMISER}: {error}")))?;
    let stored: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let mut means = optimiser.means(decoder)?;
    for (name, all) in ["mean", "square"].iter().zip(&mut means) {
        for (idx, values) in all.iter_mut().enumerate() {
            let view = stored.get(&format!("{name}.{idx}"));
            let view = view.filter(|it| it.data().len() == values.len() * 4);
            let view =
                view.ok_or_else(|| damaged(format!("{OPTIMISER} lacks {name} {idx} of its size")))?;
            let (bytes, _) = view.data().as_chunks::<4>();
            for (value, bytes) in values.iter_mut().zip(bytes) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
    }
    decoder.restore(&path.join(TRAINED))?;
    optimiser.resume(decoder, means, state.step)?;
    Ok(state)
}
