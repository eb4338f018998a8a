//! `souffleur tune`: rows to an adapter, or to a model.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use indicatif::ProgressBar;
use model::trainable::Precision;
use serde_json::json;
use tune::train::{
    DROPPED,
    ability::{Change, Score},
    encode::Data,
    run::{Event, Outcome, Setup, StepLine, ValidationLine, train},
    settings::{Decay, Method, Settings},
};

use crate::{
    cli::{DecayArg, MethodArg, PrecisionArg, TuneAdapterArgs, TuneArgs, TuneStepArgs},
    commands::{dataset::refuse_leaks, reward},
    printer::{BOLD, DIM, Printer, styled},
    session::{Interrupted, Session},
};

pub(super) fn run(session: &Session, args: &TuneArgs) -> Result<ExitCode> {
    if args.method == Some(MethodArg::Reward) {
        return reward::run(session, args);
    }
    let settings = settings(&session.config.tune, args);
    let base = args.base.as_deref().unwrap_or(&session.config.models.generator);
    let model = session.generator_path(base)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_out(session, &args.data, settings.method),
    };
    refuse_leaks(session.printer, &args.data, args.validation.as_deref())?;
    let setup = Setup {
        model: &model,
        data: &args.data,
        validation: args.validation.as_deref(),
        out: &out,
        settings: &settings,
        device: session.config.models.generator_device,
        restart: args.restart,
    };
    let _stoppable = session.stoppable();
    let mut progress = Progress::new(session.printer);
    let outcome = train(&setup, &mut |event| {
        progress.show(event);
        session.flow()
    });
    progress.clear();
    match outcome? {
        Outcome::Stopped { step, checkpoint } => {
            session.printer.note(match checkpoint {
                Some(path) => format!("stopped after step {step}: {}", path.display()),
                None => "stopped before there was anything to keep".to_owned(),
            });
            Err(Interrupted.into())
        }
        Outcome::Done { step, n_steps, early, ability } => {
            let made = Made { out: &out, method: settings.method, step, n_steps, early, ability };
            progress.report(&made)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn default_out(session: &Session, data: &Path, method: Method) -> PathBuf {
    let name = data.file_stem().unwrap_or(data.as_os_str());
    match method {
        Method::Full => session.config.data_dir.join("tuned").join(name),
        Method::Lora | Method::Dpo | Method::Kto | Method::Cpt => session.adapters_dir().join(name),
    }
}

/// What training has left.
struct Made<'a> {
    out: &'a Path,
    method: Method,
    /// The step that was kept.
    step: u64,
    n_steps: u64,
    early: bool,
    ability: Option<Change>,
}

/// What the settings say, with what the flags say in its place.
fn settings(of_file: &Settings, args: &TuneArgs) -> Settings {
    let mut res = of_file.clone();
    let TuneAdapterArgs { rank, alpha, rslora, targets, dropout, quantised } = &args.adapter;
    set(&mut res.rank, rank.map(std::num::NonZeroUsize::get));
    set(&mut res.alpha, *alpha);
    set(&mut res.dropout, *dropout);
    res.rslora |= rslora;
    res.quantised |= quantised;
    if !targets.is_empty() {
        res.targets.clone_from(targets);
    }
    let steps: &TuneStepArgs = &args.steps;
    set(&mut res.epochs, steps.epochs);
    set(&mut res.steps_max, steps.steps);
    set(&mut res.batch, steps.batch.map(std::num::NonZeroUsize::get));
    set(&mut res.tokens_at_once, steps.tokens_at_once.map(std::num::NonZeroUsize::get));
    set(&mut res.tokens_max, steps.tokens_max.map(std::num::NonZeroUsize::get));
    set(&mut res.learning_rate, steps.learning_rate);
    set(&mut res.warmup, steps.warmup);
    set(&mut res.weight_decay, steps.weight_decay);
    set(&mut res.clip, steps.clip);
    set(&mut res.beta, steps.beta);
    set(&mut res.seed, steps.seed);
    set(&mut res.validate_every, steps.validate_every);
    set(&mut res.patience, steps.patience);
    set(&mut res.save_every, steps.save_every);
    res.recompute |= steps.recompute;
    res.ability &= !steps.no_ability;
    res.drop_long |= steps.drop_long;
    res.skip_bad |= steps.skip_bad;
    let method = |it: MethodArg| match it {
        MethodArg::Lora => Some(Method::Lora),
        MethodArg::Full => Some(Method::Full),
        MethodArg::Dpo => Some(Method::Dpo),
        MethodArg::Kto => Some(Method::Kto),
        MethodArg::Cpt => Some(Method::Cpt),
        // It trains no adapter, and has no settings.
        MethodArg::Reward => None,
    };
    let decay = |it: DecayArg| match it {
        DecayArg::Cosine => Decay::Cosine,
        DecayArg::Linear => Decay::Linear,
        DecayArg::Constant => Decay::Constant,
    };
    let precision = |it: PrecisionArg| match it {
        PrecisionArg::F32 => Precision::F32,
        PrecisionArg::Bf16 => Precision::Bf16,
    };
    set(&mut res.precision, steps.precision.map(precision));
    set(&mut res.method, args.method.and_then(method));
    set(&mut res.decay, steps.decay.map(decay));
    res
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What whoever waits sees.
struct Progress {
    printer: Printer,
    bar: Option<ProgressBar>,
    first: Option<StepLine>,
    last: Option<StepLine>,
    validations: Vec<ValidationLine>,
    rows: usize,
    n_bad: usize,
    n_long: usize,
    n_tokens: usize,
    seconds: f64,
}

impl Progress {
    fn new(printer: Printer) -> Self {
        Self {
            printer,
            bar: None,
            first: None,
            last: None,
            validations: Vec::new(),
            rows: 0,
            n_bad: 0,
            n_long: 0,
            n_tokens: 0,
            seconds: 0.0,
        }
    }

    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Loading => {
                self.bar = Some(self.printer.spinner().with_message("loading the base"));
            }
            Event::Started { data, step, n_steps, n_values } => {
                self.clear();
                self.started(data);
                let millions = n_values as f64 / 1e6;
                let on = if step > 0 { format!(", from step {step}") } else { String::new() };
                self.printer.note(format!(
                    "{} rows, {n_steps} steps{on}, {millions:.2} million values to train",
                    self.rows
                ));
                let bar = self.printer.bar(n_steps, "steps").with_prefix("training");
                bar.set_position(step);
                bar.reset_eta();
                self.bar = Some(bar);
            }
            Event::Measuring => {
                if let Some(bar) = &self.bar {
                    bar.set_message("looking at the general sample");
                }
            }
            Event::Measured(ability) => {
                let Score { perplexity, n_right, n_questions } = ability.all;
                let text = format!(
                    "general sample: perplexity {perplexity:.2}, {n_right} of {n_questions} right"
                );
                self.above_bar(|printer| printer.note(text));
            }
            Event::Step(line) => {
                self.n_tokens += line.n_tokens;
                self.seconds += line.seconds;
                self.first.get_or_insert_with(|| line.clone());
                self.last = Some(line.clone());
                if let Some(bar) = &self.bar {
                    bar.set_position(line.step);
                    bar.set_message(step_text(line));
                }
            }
            Event::Validated(line) => {
                let best = if line.is_best { ", the best so far" } else { "" };
                let text = format!("step {}: validation loss {:.4}{best}", line.step, line.loss);
                self.above_bar(|printer| printer.note(text));
                self.validations.push(line.clone());
            }
            Event::Saved(_) | Event::Looking => {}
            Event::DiskFull(error) => {
                let text = format!("the disk is full, training goes on: {error}");
                self.above_bar(|printer| printer.warn(text));
            }
        }
    }

    fn started(&mut self, data: &Data) {
        (self.rows, self.n_bad, self.n_long) = (data.items.len(), data.bad.len(), data.long.len());
        if data.n_rejected > 0 {
            let what = "rows were rejected by people and are left out";
            self.printer.note(format!("{} {what}", data.n_rejected));
        }
        if let Some((line, reason)) = data.bad.first() {
            self.printer.warn(format!(
                "{} rows are not usable and left out; the first is line {line}: {reason}",
                self.n_bad
            ));
        }
        if let Some(line) = data.long.first() {
            self.printer.warn(format!(
                "{} rows are too long and left out; the first is line {line}",
                self.n_long
            ));
        }
    }

    /// Prints a line without tearing the bar.
    fn above_bar(&self, print: impl FnOnce(Printer)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(self.printer)),
            None => print(self.printer),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn report(&self, made: &Made<'_>) -> Result<()> {
        let Made { out, method, step, n_steps, early, ability } = made;
        let printer = self.printer;
        let speed = self.n_tokens as f64 / self.seconds.max(1e-9);
        let loss = |it: &Option<StepLine>| it.as_ref().map(|it| it.loss);
        printer.line(styled(BOLD, out.display()))?;
        if let (Some(first), Some(last)) = (loss(&self.first), loss(&self.last)) {
            printer.line(format!("loss {first:.4} → {last:.4}, {speed:.0} tokens/s"))?;
        }
        let ended = if *early { "ended early" } else { "ended" };
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        printer.line(styled(DIM, format!("{ended} after step {n_steps}; it is that of {step}")))?;
        if let Some(change) = ability {
            let (before, after) = (change.before.all, change.after.all);
            printer.line(format!(
                "general sample: perplexity {:.2} → {:.2}, right answers {} → {} of {}",
                before.perplexity,
                after.perplexity,
                before.n_right,
                after.n_right,
                before.n_questions
            ))?;
            if change.is_drop() {
                printer.warn(DROPPED);
            }
        }
        let flag = match method {
            Method::Full => "--generator",
            Method::Lora | Method::Dpo | Method::Kto | Method::Cpt => "--adapter",
        };
        printer.line(format!("souffleur ask {flag} {} \"…\"", out.display()))?;
        printer.json(&json!({
            "out": out,
            "name": name,
            "step": step,
            "steps": n_steps,
            "early": early,
            "rows": self.rows,
            "rows_unusable": self.n_bad,
            "rows_too_long": self.n_long,
            "first_loss": loss(&self.first),
            "last_loss": loss(&self.last),
            "validation_losses":
                self.validations.iter().map(|it| (it.step, it.loss)).collect::<Vec<_>>(),
            "ability": ability.as_ref().map(Change::json),
            "tokens": self.n_tokens,
            "tokens_per_second": speed,
            "peak_bytes": self.last.as_ref().and_then(|it| it.peak_bytes),
        }))?;
        Ok(())
    }
}

fn step_text(line: &StepLine) -> String {
    let mut text = format!("loss {:.4}", line.loss);
    if let Some(accuracy) = line.accuracy {
        text.push_str(&format!(" · {:.0} % right", accuracy * 100.0));
    }
    text.push_str(&format!(" · {:.0} tokens/s", line.n_tokens as f64 / line.seconds.max(1e-9)));
    if let Some(bytes) = line.peak_bytes {
        text.push_str(&format!(" · {:.1} GB", bytes as f64 / 1e9));
    }
    text
}
