//! The loop: rows to gradients to steps, until an adapter is done or somebody stops it.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::device::{DeviceName, multiplies_bf16};
use model::prompt::ModelText;
use model::trainable::{AdamW, BaseForm, Precision, TrainError, TrainOptions, TrainableDecoder};
use serde_json::{Value, json};

use super::TuneError;
use super::ability::{self, Ability, Change};
use super::best;
use super::checkpoint::{self, State};
use super::encode::Data;
pub use super::event::{Event, Outcome, Setup};
use super::log::Log;
pub use super::log::peak_bytes;
pub use super::log::{Line, StepLine, ValidationLine};
use super::objective::{Objective, Step};
use super::order::{mixed, rows_of_step, steps_per_epoch};
pub use super::result::RECORD;
use super::result::{self, Made};
use super::settings::Method;

/// Trains an adapter. `on_event` may stop it after each step, before the base is loaded, and while
/// the general sample and the validation rows are looked at; what was done is kept then.
///
/// # Errors
/// [`TuneError`]. A run that failed goes on from its last checkpoint when it is called again.
pub fn train(
    setup: &Setup<'_>,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome, TuneError> {
    let settings = setup.settings;
    settings.check()?;
    // Dropout goes over tensors, where every product would widen its matrices first.
    let is_slow = setup.device == DeviceName::Cpu && (!multiplies_bf16() || settings.dropout > 0.0);
    if settings.precision == Precision::Bf16 && is_slow {
        return Err(TuneError::Precision);
    }
    if setup.out.exists() {
        return Err(TuneError::Exists { path: setup.out.to_owned() });
    }
    let text = ModelText::load(setup.model)?;
    let data = Data::read(setup.data, &text, settings)?;
    let validation = setup.validation.map(|it| Data::read(it, &text, settings)).transpose()?;
    if let (Some(path), Some(validation)) = (setup.validation, &validation) {
        refuse_leak((setup.data, &data), (path, validation))?;
    }
    let run_dir = run_dir(setup.out);
    let own = identity(setup, &text, (&data, validation.as_ref()))?;
    let goes_on = !setup.restart && is_known(&run_dir, &own)?;
    if on_event(Event::Loading).is_break() {
        let checkpoint = match goes_on {
            true => checkpoint::list(&run_dir.join(CHECKPOINTS))?.pop(),
            false => None,
        };
        let step = checkpoint.as_deref().map_or(0, checkpoint::step_of);
        return Ok(Outcome::Stopped { step, checkpoint });
    }
    let decoder = TrainableDecoder::load(
        setup.model,
        &TrainOptions {
            device: setup.device.open()?,
            dtype: settings.precision.dtype(),
            base: if settings.quantised { BaseForm::Stored } else { BaseForm::Dense },
            trained: settings.trained(),
            recompute: settings.recompute,
            seed: settings.seed,
        },
    )?;
    // Only now, so that what cannot be trained leaves nothing and takes nothing away.
    if !goes_on {
        claim(&run_dir, &own)?;
    }
    let mut run = Run::open(setup, &decoder, (&text, &data, validation.as_ref()), run_dir)?;
    let started = Event::Started {
        data: &data,
        step: run.state.step,
        n_steps: run.n_steps,
        n_values: decoder.n_values(),
    };
    if on_event(started).is_break() || run.go(on_event)?.is_break() {
        let checkpoint = Some(run.save()?);
        return Ok(Outcome::Stopped { step: run.state.step, checkpoint });
    }
    run.finish(on_event)
}

/// Refuses rows that are learned and looked at: what is measured on them means nothing.
fn refuse_leak(
    (data_path, data): (&Path, &Data),
    (path, validation): (&Path, &Data),
) -> Result<(), TuneError> {
    match data.shared_with(validation) {
        None => Ok(()),
        Some((line, data_line, n)) => Err(TuneError::Leak {
            path: path.to_owned(),
            line,
            data: data_path.to_owned(),
            data_line,
            n,
        }),
    }
}

/// Where a run's log and checkpoints are while it goes on.
pub fn run_dir(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".run");
    out.with_file_name(name)
}

/// What makes a run this very one.
fn identity(
    setup: &Setup<'_>,
    text: &ModelText,
    (data, validation): (&Data, Option<&Data>),
) -> Result<Value, TuneError> {
    let own = json!({
        "base": text.fingerprint,
        "data": data.hash,
        "validation data": validation.map(|it| &it.hash),
        "settings": setup.settings,
    });
    // Numbers come back from their text as they went into it.
    Ok(serde_json::from_str(&own.to_string()).map_err(io::Error::from)?)
}

/// Its checkpoints, below its folder.
const CHECKPOINTS: &str = "checkpoints";

/// The file that says which run a folder holds.
const IDENTITY: &str = "run.json";

/// Whether a folder holds this very run already. Another one is an error, if there is something of
/// it to be lost.
fn is_known(dir: &Path, own: &Value) -> Result<bool, TuneError> {
    let path = dir.join(IDENTITY);
    if !path.is_file() {
        return Ok(false);
    }
    let stored: Value = serde_json::from_slice(&fs_err::read(&path)?).map_err(io::Error::from)?;
    let what = ["base", "data", "validation data", "settings"];
    match what.into_iter().find(|it| stored[it] != own[it]) {
        Some(_) if checkpoint::list(&dir.join(CHECKPOINTS))?.is_empty() => Ok(false),
        Some(what) => Err(TuneError::OtherRun { path: dir.to_owned(), what }),
        None => Ok(true),
    }
}

/// Makes the run's folder, instead of one of another run that is there.
fn claim(dir: &Path, own: &Value) -> Result<(), TuneError> {
    if dir.join(IDENTITY).is_file() {
        fs_err::remove_dir_all(dir)?;
    }
    fs_err::create_dir_all(dir)?;
    fs_err::write(dir.join(IDENTITY), format!("{own:#}\n"))?;
    Ok(())
}

/// A run that goes on.
struct Run<'a> {
    setup: &'a Setup<'a>,
    decoder: &'a TrainableDecoder,
    text: &'a ModelText,
    data: &'a Data,
    validation: Option<&'a Data>,
    dir: PathBuf,
    objective: Objective<'a>,
    validating: Option<Objective<'a>>,
    optimiser: AdamW,
    state: State,
    log: Log,
    n_steps: u64,
}

impl<'a> Run<'a> {
    fn open(
        setup: &'a Setup<'a>,
        decoder: &'a TrainableDecoder,
        (text, data, validation): (&'a ModelText, &'a Data, Option<&'a Data>),
        dir: PathBuf,
    ) -> Result<Self, TuneError> {
        let settings = setup.settings;
        let mut optimiser = AdamW::new(decoder, settings.weight_decay)?;
        let last = checkpoint::list(&dir.join(CHECKPOINTS))?.pop();
        let has_checkpoint = last.is_some();
        let mut state = match last {
            Some(path) => checkpoint::restore(&path, decoder, &mut optimiser)?,
            None => State::new(),
        };
        best::recover(&dir)?;
        let log = Log::open(dir.join("log.jsonl"), state.step)?;
        if !has_checkpoint {
            // Killed after the base was looked at, and before there was a checkpoint to say so.
            state.owes_validation = log.lines.is_empty();
        }
        Ok(Self {
            setup,
            decoder,
            text,
            data,
            validation,
            objective: Objective::new(settings, decoder, &data.items),
            validating: validation.map(|it| Objective::new(settings, decoder, &it.items)),
            optimiser,
            state,
            log,
            n_steps: settings.n_steps(data.items.len()),
            dir,
        })
    }

    /// Goes to the end, or until somebody stops it.
    fn go(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TuneError> {
        let settings = self.setup.settings;
        let per_epoch = steps_per_epoch(self.data.items.len(), settings.batch);
        let validate_every = match settings.validate_every {
            0 => per_epoch,
            n => n,
        };
        if self.state.step == 0 && settings.ability && self.state.before.is_none() {
            self.state.before = self.measure(on_event)?;
            if self.state.before.is_none() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.validate(on_event)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        while self.state.step < self.n_steps && !self.state.ended {
            let line = self.step()?;
            let step = self.state.step;
            self.state.owes_validation =
                step.is_multiple_of(validate_every) || step == self.n_steps;
            let stops = on_event(Event::Step(&line)).is_break();
            self.add_to_log(Line::Step(line), on_event)?;
            if stops || self.validate(on_event)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if settings.save_every > 0 && step.is_multiple_of(settings.save_every) {
                self.try_to_save(on_event)?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// One step.
    fn step(&mut self) -> Result<StepLine, TuneError> {
        let settings = self.setup.settings;
        let start = Instant::now();
        let (step, n_rows) = (self.state.step, self.data.items.len());
        let rows = rows_of_step(n_rows, settings.batch, settings.seed, step);
        let seed = mixed(settings.seed, step, 0xd0_5eed);
        let Step { loss, grads, n_tokens, accuracy } = self.objective.step(&rows, seed)?;
        let mut grads = grads.expect("a step has rows");
        let grad_norm = grads.clip(settings.clip)?;
        if !loss.is_finite() || !grad_norm.is_finite() {
            let checkpoint = checkpoint::list(&self.dir.join(CHECKPOINTS))?.pop();
            return Err(TuneError::Diverged { step: step + 1, loss, grad_norm, checkpoint });
        }
        let learning_rate = settings.learning_rate_at(step, self.n_steps);
        self.optimiser.step(self.decoder, &grads, learning_rate)?;
        self.state.step += 1;
        self.state.n_tokens += n_tokens as u64;
        let seconds = start.elapsed().as_secs_f64();
        self.state.seconds += seconds;
        let per_epoch = steps_per_epoch(n_rows, settings.batch);
        Ok(StepLine {
            step: self.state.step,
            n_steps: self.n_steps,
            epoch: self.state.step as f64 / per_epoch as f64,
            loss,
            accuracy,
            learning_rate,
            grad_norm,
            n_tokens,
            seconds,
            peak_bytes: peak_bytes(),
        })
    }

    /// What the model can do in general, as it is now; `None` where somebody stops it.
    fn measure(
        &self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ability>, TuneError> {
        if on_event(Event::Measuring).is_break() {
            return Ok(None);
        }
        let at_once = self.setup.settings.tokens_at_once;
        let flow = &mut || on_event(Event::Looking);
        let ability = ability::measure(self.decoder, self.text, at_once, flow)?;
        if let Some(ability) = &ability {
            let _ = on_event(Event::Measured(ability));
        }
        Ok(ability)
    }

    /// Looks at the validation rows where it is time to, keeps the factors where they are the best
    /// so far, and ends training where they have not been for long.
    fn validate(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, TuneError> {
        let (Some(objective), Some(data)) = (&mut self.validating, self.validation) else {
            return Ok(ControlFlow::Continue(()));
        };
        if !self.state.owes_validation {
            return Ok(ControlFlow::Continue(()));
        }
        let start = Instant::now();
        let rows: Vec<usize> = (0..data.items.len()).collect();
        let flow = &mut || on_event(Event::Looking);
        let Some((loss, accuracy)) = objective.loss(&rows, flow)? else {
            return Ok(ControlFlow::Break(()));
        };
        self.state.owes_validation = false;
        let best = self.state.best_bits.map(f64::from_bits);
        // Before the first step it is the base that is looked at, which is no adapter to keep.
        let is_better = self.state.step > 0 && best.is_none_or(|best| loss < best);
        let is_best = is_better && self.keep_best(on_event)?;
        if is_best {
            self.state.best_bits = Some(loss.to_bits());
            self.state.n_worse = 0;
        } else if self.state.step > 0 && !is_better {
            self.state.n_worse += 1;
            let patience = self.setup.settings.patience;
            self.state.ended = patience > 0 && self.state.n_worse >= patience;
        }
        self.state.seconds += start.elapsed().as_secs_f64();
        let line = ValidationLine { step: self.state.step, loss, accuracy, is_best };
        let _ = on_event(Event::Validated(&line));
        self.add_to_log(Line::Validation(line), on_event)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Adds a line to the log; a full disk is told once, and training goes on.
    fn add_to_log(
        &mut self,
        line: Line,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), TuneError> {
        let is_news = self.log.is_written();
        match self.log.add(line).map_err(TuneError::from) {
            Err(error) if is_disk_full(&error) => {
                if is_news {
                    let _ = on_event(Event::DiskFull(&error));
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Keeps what is trained at this step as the best. A full disk is told, and the one before
    /// stays the best: false.
    fn keep_best(
        &self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool, TuneError> {
        match best::keep(&self.dir, self.decoder) {
            Ok(()) => Ok(true),
            Err(error) if is_disk_full(&error) => {
                let _ = on_event(Event::DiskFull(&error));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn save(&self) -> Result<PathBuf, TuneError> {
        let dir = self.dir.join(CHECKPOINTS);
        checkpoint::save(&dir, self.decoder, &self.optimiser, &self.state)
    }

    /// Writes a checkpoint; a full disk is told, and training goes on.
    fn try_to_save(
        &self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), TuneError> {
        match self.save() {
            Ok(path) => {
                let _ = on_event(Event::Saved(&path));
                Ok(())
            }
            Err(error) if is_disk_full(&error) => {
                let _ = on_event(Event::DiskFull(&error));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Puts what was trained in its place.
    fn finish(
        self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, TuneError> {
        // Should the place not take it, the run goes on from its very end.
        let checkpoint = self.save()?;
        let mut step = self.state.step;
        if let Some(best) = best::of(&self.dir) {
            self.decoder.restore(&best)?;
            let of_best = |it: &Line| match it {
                Line::Validation(it) if it.is_best => Some(it.step),
                Line::Validation(_) | Line::Step(_) => None,
            };
            step = self.log.lines.iter().rev().find_map(of_best).unwrap_or(step);
        }
        let ability = match self.state.before {
            Some(before) => match self.measure(on_event)? {
                Some(after) => Some(Change { before, after }),
                None => {
                    let (step, checkpoint) = (self.state.step, Some(checkpoint));
                    return Ok(Outcome::Stopped { step, checkpoint });
                }
            },
            None => None,
        };
        let made = Made {
            setup: self.setup,
            text: self.text,
            data: self.data,
            validation: self.validation,
            lines: &self.log.lines,
            step,
            n_tokens: self.state.n_tokens,
            seconds: self.state.seconds,
            ability,
        };
        result::save(&self.dir.join("result"), self.decoder, &made)?;
        fs_err::copy(self.dir.join("log.jsonl"), self.setup.out.join("log.jsonl"))?;
        fs_err::remove_dir_all(&self.dir)?;
        Ok(Outcome::Done { step, n_steps: self.state.step, early: self.state.ended, ability })
    }
}

/// Whether there is no room left on the disk.
pub fn is_disk_full(error: &TuneError) -> bool {
    let full = |error: &io::Error| error.kind() == io::ErrorKind::StorageFull;
    match error {
        TuneError::Io(error) | TuneError::Train(TrainError::Write(error)) => full(error),
        TuneError::Train(TrainError::Tensors(error)) => {
            // The tensor library wraps what the system says.
            error.to_string().contains("No space left on device")
        }
        _ => false,
    }
}

/// Whether a method compares answers.
pub fn compares(method: Method) -> bool {
    matches!(method, Method::Dpo | Method::Kto)
}
