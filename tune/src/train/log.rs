//! The log of a run: one JSON object a line, readable while it runs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TuneError;

/// A line of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// A step was made.
    Step(StepLine),
    /// The validation rows were looked at.
    Validation(ValidationLine),
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepLine {
    /// From 1.
    pub step: u64,
    /// Of how many.
    pub n_steps: u64,
    /// How often every row has been seen.
    pub epoch: f64,
    /// The mean loss over the step's rows, before the step.
    pub loss: f64,
    /// Of DPO and KTO: the share of rows on the right side of the base.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accuracy: Option<f64>,
    /// The learning rate.
    pub learning_rate: f64,
    /// The length of the gradient before it was cut.
    pub grad_norm: f64,
    /// Tokens of the step.
    pub n_tokens: usize,
    /// Seconds that it took.
    pub seconds: f64,
    /// Bytes of memory that the program has held at most so far, where the system says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peak_bytes: Option<u64>,
}

/// One validation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ValidationLine {
    /// After which step; 0 for before the first.
    pub step: u64,
    /// The mean loss over the validation rows.
    pub loss: f64,
    /// Of DPO and KTO: the share of rows on the right side of the base.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accuracy: Option<f64>,
    /// Whether it is the best so far.
    pub is_best: bool,
}

impl Line {
    fn step(&self) -> u64 {
        match self {
            Self::Step(it) => it.step,
            Self::Validation(it) => it.step,
        }
    }
}

/// The file, and all of its lines.
pub(super) struct Log {
    path: PathBuf,
    pub(super) lines: Vec<Line>,
    /// What is not in the file yet, because there was no room.
    waiting: String,
}

impl Log {
    /// Opens the log of a run that goes on after a step; later lines are of steps that will be made
    /// again.
    pub(super) fn open(path: PathBuf, step: u64) -> Result<Self, TuneError> {
        let mut lines = Vec::new();
        if path.is_file() {
            let text = fs_err::read_to_string(&path)?;
            // The last line may be cut where the program was killed.
            let parsed = text.lines().map_while(|it| serde_json::from_str::<Line>(it).ok());
            lines.extend(parsed.take_while(|it| it.step() <= step));
        }
        let mut whole = String::new();
        for line in &lines {
            whole.push_str(&as_text(line));
        }
        fs_err::write(&path, whole)?;
        Ok(Self { path, lines, waiting: String::new() })
    }

    /// Adds a line. Where it could not be written, it is tried again with the next one.
    pub(super) fn add(&mut self, line: Line) -> io::Result<()> {
        self.waiting.push_str(&as_text(&line));
        self.lines.push(line);
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(self.waiting.as_bytes()) {
            // Half a line would hide those that follow.
            file.set_len(before)?;
            return Err(error);
        }
        self.waiting.clear();
        Ok(())
    }

    /// Whether all lines are in the file.
    pub(super) fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn as_text(line: &Line) -> String {
    let mut text = serde_json::to_string(line).expect("a line of plain values is JSON");
    text.push('\n');
    text
}

/// Bytes of memory that this program has held at most, where the system says so.
pub fn peak_bytes() -> Option<u64> {
    let status = fs_err::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find(|it| it.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1_024)
}
