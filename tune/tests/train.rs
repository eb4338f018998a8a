//! Runs from rows to adapters, on a tiny model: what is learned, that a run resumes to the same
//! numbers, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use model::device::{DeviceName, multiplies_bf16};
use model::generate::Generator;
use model::prompt::ModelText;
use model::testing::write_tiny_model;
use model::trainable::{Precision, TrainOptions, TrainableDecoder};
use serde_json::{Value, json};
use tune::train::TuneError;
use tune::train::encode::{Data, Item};
use tune::train::run::{Event, Outcome, Setup, StepLine, run_dir, train};
use tune::train::settings::{Decay, Method, Settings};

/// A folder with a tiny model and data.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_tiny_model(&dir.path().join("base"), 3).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rows(&self, name: &str, rows: &[Value]) -> PathBuf {
        let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
        fs_err::write(self.at(name), text).unwrap();
        self.at(name)
    }

    /// Conversations whose answers repeat the question's word.
    fn echoes(&self) -> PathBuf {
        let words = ["red", "blue", "green", "black", "white", "pink", "grey"];
        let row = |word: &&str| {
            json!({"messages": [
                {"role": "user", "content": format!("Say {word}.")},
                {"role": "assistant", "content": format!("{word}!")},
            ]})
        };
        self.rows("echoes.jsonl", &words.iter().map(row).collect::<Vec<_>>())
    }

    /// More of the same, to look at only.
    fn other_echoes(&self) -> PathBuf {
        let row = |word: &str| json!({"prompt": format!("Say {word}."), "completion": format!("{word}!")});
        self.rows("others.jsonl", &[row("mauve"), row("ochre"), row("beige"), row("khaki")])
    }

    fn text(&self) -> ModelText {
        ModelText::load(&self.at("base")).unwrap()
    }

    /// Trains into `out`; stops after `stop` steps where that is above zero.
    fn train(
        &self,
        files: (&Path, Option<&Path>),
        out: &str,
        settings: &Settings,
        stop: u64,
    ) -> (Result<Outcome, TuneError>, Vec<StepLine>) {
        let stops = |event: &Event<'_>| matches!(event, Event::Step(it) if it.step == stop);
        self.train_until(files, out, settings, stops)
    }

    /// Trains into `out`, until something happens at which it stops.
    fn train_until(
        &self,
        (data, validation): (&Path, Option<&Path>),
        out: &str,
        settings: &Settings,
        mut stops: impl FnMut(&Event<'_>) -> bool,
    ) -> (Result<Outcome, TuneError>, Vec<StepLine>) {
        let mut lines = Vec::new();
        let (model, out) = (self.at("base"), self.at(out));
        let setup = Setup {
            model: &model,
            data,
            validation,
            out: &out,
            settings,
            device: DeviceName::Cpu,
            restart: false,
        };
        let outcome = train(&setup, &mut |event| {
            if let Event::Step(line) = &event {
                lines.push((*line).clone());
            }
            if stops(&event) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (outcome, lines)
    }
}

fn settings() -> Settings {
    Settings {
        rank: 4,
        alpha: 8.0,
        epochs: 6.0,
        batch: 3,
        learning_rate: 2e-2,
        tokens_at_once: 60,
        ..Settings::default()
    }
}

fn losses(lines: &[StepLine]) -> Vec<f64> {
    lines.iter().map(|it| it.loss).collect()
}

fn weights(dir: &Path) -> Vec<u8> {
    fs_err::read(dir.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn the_answer_is_learned_and_nothing_else() {
    let world = World::new();
    let data = world.rows(
        "turns.jsonl",
        &[json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two <|im_end|>"},
            {"role": "user", "content": "Three?"},
            {"role": "assistant", "content": "Four"},
        ]})],
    );
    let text = world.text();
    let items = Data::read(&data, &text, &Settings::default()).unwrap().items;
    let [Item::Whole(example)] = items.as_slice() else { panic!("{items:?}") };
    let ids: Vec<u32> = example.learned.iter().map(|&it| example.ids[it]).collect();
    let mut expected: Vec<u32> = b"Two <|im_end|>".iter().map(|&it| u32::from(it)).collect();
    expected.push(257);
    expected.extend(b"Four".iter().map(|&it| u32::from(it)));
    expected.push(257);
    assert_eq!(ids, expected, "what the assistant says, to the token that ends its turn");
}

#[test]
fn training_lowers_the_loss_and_leaves_an_adapter_that_serves() {
    let world = World::new();
    let data = world.echoes();
    let others = world.other_echoes();
    let (outcome, lines) = world.train((&data, Some(&others)), "out/echo", &settings(), 0);
    let Outcome::Done { n_steps: 18, early: false, .. } = outcome.unwrap() else { panic!() };
    let losses = losses(&lines);
    assert!(losses[17] < losses[0] * 0.75, "{losses:?}");
    assert!(!run_dir(&world.at("out/echo")).exists());

    let out = world.at("out/echo");
    for name in [
        "adapter_config.json",
        "training.json",
        "report.html",
        "log.jsonl",
        "chat_template.jinja",
        "tokenizer.json",
        "souffleur.json",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let record: Value =
        serde_json::from_slice(&fs_err::read(out.join("training.json")).unwrap()).unwrap();
    assert_eq!(record["data"]["rows"], 7);
    assert_eq!(record["loss"].as_array().unwrap().len(), 18);
    assert_eq!(record["validation_loss"].as_array().unwrap().len(), 7);
    let report = fs_err::read_to_string(out.join("report.html")).unwrap();
    assert!(report.matches("<polyline").count() >= 5 && !report.contains("http"), "{report}");

    let mut generator = Generator::load(&world.at("base")).unwrap();
    let adapter = generator.load_adapter(&out).unwrap();
    generator.add_adapter("echo", &adapter).unwrap();
    // No second adapter takes the place of the first.
    let (again, _) = world.train((&data, None), "out/echo", &settings(), 0);
    assert!(matches!(again, Err(TuneError::Exists { .. })));
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_numbers() {
    let world = World::new();
    let (data, others) = (world.echoes(), world.other_echoes());
    for method_settings in [
        settings(),
        Settings { dropout: 0.2, save_every: 4, ..settings() },
        Settings { recompute: true, rslora: true, ..settings() },
    ] {
        let name = format!("whole-{}", method_settings.dropout);
        let files = (data.as_path(), Some(others.as_path()));
        let (whole, lines) = world.train(files, &name, &method_settings, 0);
        whole.unwrap();
        let (first, mut parts) = world.train(files, "parts", &method_settings, 7);
        assert!(matches!(first, Ok(Outcome::Stopped { step: 7, .. })), "{first:?}");
        let (second, more) = world.train(files, "parts", &method_settings, 0);
        second.unwrap();
        assert_eq!(more[0].step, 8);
        parts.extend(more);
        assert_eq!(losses(&parts), losses(&lines));
        assert_eq!(weights(&world.at("parts")), weights(&world.at(&name)));
        for name in [name.as_str(), "parts"] {
            fs_err::remove_dir_all(world.at(name)).unwrap();
        }
    }
}

#[test]
fn a_run_can_be_stopped_wherever_it_takes_long() {
    let world = World::new();
    let (data, others) = (world.echoes(), world.other_echoes());
    let files = (data.as_path(), Some(others.as_path()));
    let settings = Settings { validate_every: 2, ..settings() };
    world.train(files, "whole", &settings, 0).0.unwrap();
    let log = |dir: &Path| -> Vec<Value> {
        let text = fs_err::read_to_string(dir.join("log.jsonl")).unwrap();
        let line = |it: &str| {
            let mut line: Value = serde_json::from_str(it).unwrap();
            for measured in ["seconds", "peak_bytes"] {
                line.as_object_mut().unwrap().remove(measured);
            }
            line
        };
        text.lines().map(line).collect()
    };
    // Before the base is loaded there is nothing to keep.
    let loading = world.train_until(files, "parts", &settings, |it| matches!(it, Event::Loading));
    assert_eq!(loading.0.unwrap(), Outcome::Stopped { step: 0, checkpoint: None });
    assert!(!run_dir(&world.at("parts")).exists());
    let measuring = world.train_until(files, "parts", &settings, |it| matches!(it, Event::Looking));
    assert!(matches!(measuring.0, Ok(Outcome::Stopped { step: 0, checkpoint: Some(_) })));
    // Validations look at two batches each: at the first and at the second one, each run going on
    // from the one before.
    for (stop_at, expected) in [(1, 0), (2, 0), (3, 2), (4, 4), (5, 8)] {
        let (mut n_looks, mut is_measuring) = (0, false);
        let (outcome, _) = world.train_until(files, "parts", &settings, |it| {
            is_measuring = match it {
                Event::Measuring => true,
                Event::Measured(_) => false,
                _ => is_measuring,
            };
            n_looks += usize::from(matches!(it, Event::Looking) && !is_measuring);
            n_looks == stop_at
        });
        let Ok(Outcome::Stopped { step, checkpoint: Some(_) }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(step, expected, "stopped at look {stop_at}");
    }
    // The last stop is while it is measured what was forgotten.
    let mut is_trained = false;
    let (outcome, _) = world.train_until(files, "last", &settings, |it| {
        is_trained |= matches!(it, Event::Step(it) if it.step == it.n_steps);
        is_trained && matches!(it, Event::Measuring)
    });
    assert!(matches!(outcome, Ok(Outcome::Stopped { step: 18, .. })), "{outcome:?}");
    for name in ["parts", "last"] {
        if !world.at(name).exists() {
            world.train(files, name, &settings, 0).0.unwrap();
        }
        assert_eq!(log(&world.at(name)), log(&world.at("whole")), "{name}");
        assert_eq!(weights(&world.at(name)), weights(&world.at("whole")), "{name}");
    }
}

#[test]
fn what_is_learned_is_not_looked_at() {
    let world = World::new();
    let data = world.echoes();
    let refused = |rows: &[Value], (settings, at, n): (&Settings, (usize, usize), usize)| {
        let other = world.rows("leaky.jsonl", rows);
        let data = if settings.method == Method::Lora { data.clone() } else { other.clone() };
        let error = world.train((&data, Some(&other)), "out", settings, 0).0.unwrap_err();
        let TuneError::Leak { line, data_line, n: found, .. } = &error else { panic!("{error}") };
        assert_eq!(((*line, *data_line), *found), (at, n), "{error}");
        assert!(!run_dir(&world.at("out")).exists());
    };
    // Other words for the same tokens: what a comparison of questions alone cannot know.
    let same = json!({"prompt": "Say green.", "completion": "green!", "meta": {"path": "z.md"}});
    let other = json!({"prompt": "Say mauve.", "completion": "mauve!"});
    let lora = settings();
    refused(&[other.clone(), same.clone(), same], (&lora, (2, 3), 2));
    let dpo = Settings { method: Method::Dpo, ..settings() };
    refused(&pairs(), (&dpo, (1, 1), 4));
    let cpt = Settings { method: Method::Cpt, tokens_max: 40, ..settings() };
    refused(&[json!({"text": "A long text in several rows. ".repeat(9)})], (&cpt, (1, 1), 1));
    // A piece of a text may stand in two.
    let a = world.rows("a.jsonl", &[json!({"text": format!("{}.", "a".repeat(40))})]);
    let b = world.rows("b.jsonl", &[json!({"text": format!("{}.", "b".repeat(40))})]);
    world.train((&a, Some(&b)), "out", &cpt, 0).0.unwrap();
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let world = World::new();
    let data = world.echoes();
    let settings = Settings { save_every: 5, ..settings() };
    let (whole, lines) = world.train((&data, None), "whole", &settings, 0);
    whole.unwrap();
    // As if it had been killed after step 7: the log is further than the checkpoint, and half a
    // checkpoint lies beside it.
    world.train((&data, None), "killed", &settings, 7).0.unwrap();
    let run = run_dir(&world.at("killed"));
    fs_err::remove_dir_all(run.join("checkpoints/step-00000007")).unwrap();
    fs_err::create_dir_all(run.join("checkpoints/.step-00000007.partial")).unwrap();
    let log = run.join("log.jsonl");
    let text = fs_err::read_to_string(&log).unwrap();
    fs_err::write(&log, &text[..text.len() - 9]).unwrap();
    let (outcome, more) = world.train((&data, None), "killed", &settings, 0);
    outcome.unwrap();
    assert_eq!(losses(&more), losses(&lines[5..]));
    assert_eq!(weights(&world.at("killed")), weights(&world.at("whole")));
    let log = fs_err::read_to_string(world.at("killed/log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 18, "each step once");

    // Another run does not take over what was left.
    world.train((&data, None), "other", &settings, 3).0.unwrap();
    let changed = Settings { seed: 1, ..settings };
    let error = world.train((&data, None), "other", &changed, 0).0.unwrap_err();
    assert!(matches!(error, TuneError::OtherRun { what: "settings", .. }), "{error}");
}

#[test]
fn the_size_of_a_group_changes_nothing_but_rounding() {
    let world = World::new();
    let data = world.echoes();
    let all: Vec<Vec<f64>> = [1, 100, 10_000]
        .map(|tokens_at_once| {
            let settings = Settings { tokens_at_once, ..settings() };
            let name = format!("out-{tokens_at_once}");
            losses(&world.train((&data, None), &name, &settings, 0).1)
        })
        .to_vec();
    for other in &all[1..] {
        for (a, b) in all[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-3 * a, "{a} {b}");
        }
    }
}

#[test]
fn training_ends_when_validation_gets_no_better() {
    let world = World::new();
    let data = world.echoes();
    let other = world
        .rows("other.jsonl", &[json!({"prompt": "Count.", "completion": "1 2 3 4 5 6 7 8 9"})]);
    let settings = Settings {
        epochs: 60.0,
        learning_rate: 0.1,
        decay: Decay::Constant,
        validate_every: 2,
        patience: 3,
        ..settings()
    };
    let (outcome, lines) = world.train((&data, Some(&other)), "out", &settings, 0);
    let Ok(Outcome::Done { step, n_steps, early: true, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(n_steps, lines.len() as u64);
    assert_eq!(n_steps - step, 6, "the best is kept, three validations before the end");
}

#[test]
fn a_diverging_run_stops_and_keeps_its_checkpoint() {
    let world = World::new();
    let data = world.echoes();
    let settings = Settings {
        learning_rate: 1e30,
        warmup: 0.0,
        decay: Decay::Constant,
        save_every: 1,
        ..settings()
    };
    let error = world.train((&data, None), "out", &settings, 0).0.unwrap_err();
    let TuneError::Diverged { step, checkpoint: Some(path), .. } = &error else {
        panic!("{error}")
    };
    assert!(*step >= 2 && path.is_dir(), "{error}");
    assert!(!world.at("out").exists());
}

/// Answers of which one is to be preferred.
fn pairs() -> Vec<Value> {
    let row = |it: &(&str, &str, &str)| json!({"prompt": it.0, "chosen": it.1, "rejected": it.2});
    [("A?", "Yes.", "No."), ("B?", "Yes, b.", "No, b."), ("C?", "Yes: c", "Nope"), ("D?", "Y", "N")]
        .iter()
        .map(row)
        .collect()
}

#[test]
fn preferences_are_learned() {
    let world = World::new();
    let data = world.rows("pairs.jsonl", &pairs());
    let settings =
        Settings { method: Method::Dpo, epochs: 10.0, batch: 2, beta: 0.5, ..settings() };
    let other = json!({"prompt": "E?", "chosen": "Yes, e.", "rejected": "No, e."});
    let others = world.rows("other-pairs.jsonl", &[other]);
    let (outcome, lines) = world.train((&data, Some(&others)), "dpo", &settings, 0);
    outcome.unwrap();
    // B is zero: the adapter is the base, and every pair costs ln 2.
    assert!((lines[0].loss - std::f64::consts::LN_2).abs() < 1e-6, "{}", lines[0].loss);
    let last = &lines[lines.len() - 1];
    assert!(last.loss < 0.4 && last.accuracy == Some(1.0), "{last:?}");
}

#[test]
fn labels_are_learned() {
    let world = World::new();
    let rows: Vec<Value> = pairs()
        .iter()
        .flat_map(|it| {
            [("chosen", true), ("rejected", false)].map(|(key, label)| {
                json!({"prompt": it["prompt"], "completion": it[key], "label": label})
            })
        })
        .collect();
    let data = world.rows("labels.jsonl", &rows);
    let settings =
        Settings { method: Method::Kto, epochs: 15.0, batch: 4, beta: 0.5, ..settings() };
    let (outcome, lines) = world.train((&data, None), "kto", &settings, 0);
    outcome.unwrap();
    assert!((lines[0].loss - 0.5).abs() < 1e-6, "{}", lines[0].loss);
    let last = &lines[lines.len() - 1];
    assert!(last.loss < 0.35 && last.accuracy == Some(1.0), "{last:?}");
}

#[test]
fn texts_are_cut_into_rows_and_learned_whole() {
    let world = World::new();
    let data = world.rows(
        "texts.jsonl",
        &[json!({"text": "The handbook says: ask first. ".repeat(30)}), json!({"text": "x"})],
    );
    let settings = Settings { method: Method::Cpt, tokens_max: 100, batch: 4, ..settings() };
    let items = Data::read(&data, &world.text(), &settings).unwrap().items;
    let lengths: Vec<usize> = items.iter().map(Item::n_tokens).collect();
    assert_eq!(lengths, [100, 100, 100, 100, 100, 100, 100, 100, 100, 2]);
    let (outcome, lines) = world.train((&data, None), "cpt", &settings, 0);
    outcome.unwrap();
    assert!(lines[lines.len() - 1].loss < lines[0].loss * 0.9);
}

#[test]
fn rows_that_do_not_fit_are_refused_or_counted() {
    let world = World::new();
    let long = "word ".repeat(200);
    let data = world.rows(
        "mixed.jsonl",
        &[
            json!({"prompt": "A?", "completion": "B."}),
            json!({"prompt": "A?", "completion": long}),
            json!({"prompt": "A?"}),
        ],
    );
    let text = world.text();
    #[expect(clippy::result_large_err, reason = "an error here is a failed test")]
    let read = |settings: &Settings| Data::read(&data, &text, settings);
    let error = read(&settings()).unwrap_err();
    assert!(matches!(error, TuneError::Row { line: 3, .. }), "{error}");
    let error = read(&Settings { skip_bad: true, ..settings() }).unwrap_err();
    assert!(matches!(error, TuneError::TooLong { line: 2, tokens_max: 512, .. }), "{error}");
    let kept = read(&Settings { skip_bad: true, drop_long: true, ..settings() }).unwrap();
    assert_eq!((kept.items.len(), kept.bad.len(), kept.long.len()), (1, 1, 1));
    let none = Settings { skip_bad: true, drop_long: true, tokens_max: 5, ..settings() };
    assert!(matches!(read(&none), Err(TuneError::Empty { n_bad: 1, n_long: 2, .. })));
    assert!(matches!(
        Settings { warmup: 2.0, ..settings() }.check(),
        Err(TuneError::Setting { name: "warmup", .. })
    ));
}

#[test]
fn learning_rates_rise_and_fall() {
    let rate = |decay, step| {
        let settings = Settings { decay, warmup: 0.2, learning_rate: 1.0, ..Settings::default() };
        settings.learning_rate_at(step, 10)
    };
    assert_eq!(rate(Decay::Cosine, 0), 0.5);
    assert_eq!(rate(Decay::Cosine, 1), 1.0);
    assert_eq!(rate(Decay::Cosine, 2), 1.0);
    assert!((rate(Decay::Cosine, 6) - 0.5).abs() < 1e-12);
    assert!((rate(Decay::Linear, 8) - 0.25).abs() < 1e-12);
    assert_eq!(rate(Decay::Constant, 9), 1.0);
}

#[test]
fn all_weights_are_trained_to_a_model_of_its_own() {
    let world = World::new();
    let data = world.echoes();
    let others = world.other_echoes();
    let settings = Settings { method: Method::Full, learning_rate: 3e-3, ..settings() };
    let (outcome, lines) = world.train((&data, Some(&others)), "whole", &settings, 0);
    outcome.unwrap();
    let losses = losses(&lines);
    assert!(losses[17] < losses[0] * 0.75, "{losses:?}");
    let whole = world.at("whole");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "training.json"] {
        assert!(whole.join(name).is_file(), "{name}");
    }
    Generator::load(&whole).unwrap();

    // It resumes as an adapter does.
    let (first, _) = world.train((&data, Some(&others)), "parts", &settings, 7);
    assert!(matches!(first, Ok(Outcome::Stopped { step: 7, .. })), "{first:?}");
    world.train((&data, Some(&others)), "parts", &settings, 0).0.unwrap();
    let weights = |name: &str| fs_err::read(world.at(name).join("model.safetensors")).unwrap();
    assert_eq!(weights("parts"), weights("whole"));
}

#[test]
fn what_the_base_could_do_is_measured_before_and_after() {
    let world = World::new();
    let data = world.echoes();
    // Stopped in between: what was measured before is kept with the checkpoint.
    world.train((&data, None), "out", &settings(), 5).0.unwrap();
    let outcome = world.train((&data, None), "out", &settings(), 0).0.unwrap();
    let Outcome::Done { ability: Some(change), .. } = outcome else { panic!("{outcome:?}") };
    let (whole, _) = world.train((&data, None), "whole", &settings(), 0);
    let Ok(Outcome::Done { ability: Some(of_whole), .. }) = whole else { panic!("{whole:?}") };
    assert_eq!(change, of_whole);
    assert!(change.before.all.perplexity > 50.0, "random weights know nothing: {change:?}");
    assert_ne!(change.before, change.after);
    assert_eq!(change.before.all.n_questions, 40);
    let record = fs_err::read(world.at("out/training.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let before = record["ability"]["before"]["all"]["perplexity"].as_f64().unwrap();
    assert!((before / change.before.all.perplexity - 1.0).abs() < 1e-9);
    let report = fs_err::read_to_string(world.at("out/report.html")).unwrap();
    assert!(report.contains("Right answers"), "{report}");

    let none = Settings { ability: false, ..settings() };
    let outcome = world.train((&data, None), "none", &none, 0).0;
    assert!(matches!(outcome, Ok(Outcome::Done { ability: None, .. })), "{outcome:?}");
}

#[test]
fn a_run_that_has_saved_nothing_makes_room_for_another() {
    let world = World::new();
    let data = world.echoes();
    let run = run_dir(&world.at("out"));
    // As if it had been killed before its first checkpoint.
    world.train((&data, None), "out", &settings(), 2).0.unwrap();
    fs_err::remove_dir_all(run.join("checkpoints")).unwrap();
    let changed = Settings { seed: 1, ..settings() };
    let (outcome, lines) = world.train((&data, None), "out", &changed, 0);
    outcome.unwrap();
    assert_eq!((lines[0].step, lines.len()), (1, 18));
}

#[test]
fn sixteen_bits_train_nearly_alike_where_the_processor_multiplies_them() {
    let world = World::new();
    let data = world.echoes();
    let halves = Settings { precision: Precision::Bf16, ..settings() };
    let (outcome, lines) = world.train((&data, None), "out", &halves, 0);
    if !multiplies_bf16() {
        let error = outcome.unwrap_err();
        assert!(matches!(error, TuneError::Precision), "{error}");
        assert!(!run_dir(&world.at("out")).exists(), "nothing is left");
        return;
    }
    outcome.unwrap();
    // With dropout it would only be slower.
    let dropping = Settings { dropout: 0.1, ..halves.clone() };
    let (outcome, _) = world.train((&data, None), "dropping", &dropping, 0);
    assert!(matches!(outcome.unwrap_err(), TuneError::Precision));
    let (outcome, expected) = world.train((&data, None), "f32", &settings(), 0);
    outcome.unwrap();
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(&expected) {
        let off = (line.loss - expected.loss).abs() / expected.loss;
        assert!(off < 0.02, "step {}: {} instead of {}", line.step, line.loss, expected.loss);
    }
    // Stopped and gone on with, the numbers are those of one run.
    world.train((&data, None), "parts", &halves, 5).0.unwrap();
    world.train((&data, None), "parts", &halves, 0).0.unwrap();
    assert_eq!(weights(&world.at("out")), weights(&world.at("parts")));
}

#[test]
fn every_factor_moves_in_two_steps() {
    let world = World::new();
    let data = world.echoes();
    let settings = Settings { steps_max: 2, warmup: 0.0, decay: Decay::Constant, ..settings() };
    world.train((&data, None), "out", &settings, 0).0.unwrap();
    let options =
        TrainOptions { trained: settings.trained(), seed: settings.seed, ..Default::default() };
    let decoder = TrainableDecoder::load(&world.at("base"), &options).unwrap();
    let before = decoder.values().unwrap();
    decoder.restore(&world.at("out")).unwrap();
    let names = decoder.vars().unwrap();
    for ((before, after), (name, _)) in before.iter().zip(decoder.values().unwrap()).zip(names) {
        assert_ne!(*before, after, "{name}");
    }
}
