//! Where settings come from, and which one wins.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::process::Command;

use support::{POLICY, QUESTION, World, check_failure, json_of, program};

/// A program that needs no models, in an empty folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.0.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.args(args).args(["--offline", "--models-dir", "models"]).current_dir(self.0.path());
        command
    }

    /// `status` names the data folder that the settings give.
    #[track_caller]
    fn check_data_dir(&self, args: &[&str], variable: Option<&str>, expected: &str) {
        let mut command = self.command(&["status"]);
        command.args(args);
        if let Some(value) = variable {
            command.env("SOUFFLEUR_DATA_DIR", value);
        }
        check_failure(&command.output().unwrap(), 1, &[&format!("no index at `{expected}`")]);
    }
}

#[test]
fn flags_win_over_the_environment_that_over_the_file_and_that_over_defaults() {
    let place = Place::new();
    place.check_data_dir(&[], None, "data");
    place.write("souffleur.toml", "data_dir = \"of-file\"\n");
    place.check_data_dir(&[], None, "of-file");
    place.check_data_dir(&[], Some("of-variable"), "of-variable");
    place.check_data_dir(&["--data-dir", "of-flag"], Some("of-variable"), "of-flag");
    place.write("other.toml", "data_dir = \"of-other\"\n");
    place.check_data_dir(&["--config", "other.toml"], None, "of-other");
}

#[test]
fn settings_of_a_section_follow_the_same_order() {
    let Some(world) = World::new() else { return };
    for i in 0..6 {
        world.write(&format!("docs/{i}.md"), format!("{POLICY}\nSheet number {i}.\n"));
    }
    world.json(&["ingest", "docs"]);
    let n_passages = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = world.command(&["ask", "--generator", "extract", "--json", QUESTION]);
        command.args(flag.map(|it| ["--passages", it]).into_iter().flatten());
        command.envs(variable.map(|it| ("SOUFFLEUR_RETRIEVAL__PASSAGES_MAX", it)));
        json_of(&mut command)["sources"].as_array().unwrap().len()
    };
    assert_eq!(n_passages(None, None), 4);
    world.write("souffleur.toml", "[retrieval]\npassages_max = 3\n");
    assert_eq!(n_passages(None, None), 3);
    assert_eq!(n_passages(None, Some("2")), 2);
    assert_eq!(n_passages(Some("1"), Some("2")), 1);
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    let place = Place::new();
    let status = |place: &Place| place.command(&["status"]).output().unwrap();
    place.write("souffleur.toml", "[generation]\nsede = 1\n");
    check_failure(&status(&place), 2, &["generation.sede", "souffleur.toml", "seed"]);
    place.write("souffleur.toml", "data_folder = \"x\"\n");
    check_failure(&status(&place), 2, &["data_folder", "souffleur.toml", "data_dir"]);
    place.write("souffleur.toml", "");
    place.write("mine.toml", "[generator]\nseed = 1\n");
    let out = place.command(&["status", "--config", "mine.toml"]).output().unwrap();
    check_failure(&out, 2, &["generator", "mine.toml"]);
    let out = place.command(&["status"]).env("SOUFFLEUR_GENERATION__SEDE", "1").output().unwrap();
    check_failure(&out, 2, &["generation.sede", "SOUFFLEUR_GENERATION__SEDE"]);
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    let place = Place::new();
    let status = |place: &Place| place.command(&["status"]).output().unwrap();
    place.write("souffleur.toml", "[retrieval]\npassages_max = \"many\"\n");
    check_failure(&status(&place), 2, &["passages_max", "souffleur.toml", "many"]);
    place.write("souffleur.toml", "[retrieval]\npassages_max = 0\n");
    check_failure(&status(&place), 2, &["passages_max", "souffleur.toml"]);
    place.write("souffleur.toml", "[generation]\ntemperature = 9.0\n");
    check_failure(&status(&place), 2, &["generation.temperature", "from 0 to 5"]);
    place.write("souffleur.toml", "[models]\ngenerator_device = \"gpu\"\n");
    check_failure(&status(&place), 2, &["generator_device", "souffleur.toml", "`cuda`"]);
    place.write("souffleur.toml", "[generation\n");
    check_failure(&status(&place), 2, &["souffleur.toml", "TOML"]);
    place.write("souffleur.toml", "");
    let out = place.command(&["status"]).env("SOUFFLEUR_GENERATION__SEED", "x").output().unwrap();
    check_failure(&out, 2, &["GENERATION.SEED", "environment"]);
    let out = place.command(&["status", "--config", "nowhere.toml"]).output().unwrap();
    check_failure(&out, 2, &["nowhere.toml"]);
    let out = place.command(&["ask", "What?", "--generator", "gpt"]).output().unwrap();
    check_failure(&out, 1, &["all-minilm-l6-v2", "--offline"]);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_is_refused_by_a_program_without_code_for_it() {
    let place = Place::new();
    model::testing::write_tiny_model(&place.0.path().join("base"), 1).unwrap();
    place.write("rows.jsonl", "{\"prompt\": \"Say red.\", \"completion\": \"Red.\"}\n");
    let with_gpu = |args: &[&str]| {
        let mut command = place.command(args);
        command.env("SOUFFLEUR_MODELS__GENERATOR_DEVICE", "cuda:1").output().unwrap()
    };
    let out = with_gpu(&["tune", "--data", "rows.jsonl", "--base", "base"]);
    check_failure(&out, 2, &["cuda:1", "--features cuda"]);
    assert!(!place.0.path().join("data/adapters/rows.run").exists());
    let out = with_gpu(&["doctor"]);
    let shown = String::from_utf8_lossy(&out.stdout);
    assert!(shown.contains("--features cuda"), "{shown}");
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let place = Place::new();
    for args in [["--data-dir", "x", "status"], ["status", "--data-dir", "x"]] {
        check_failure(&place.command(&args).output().unwrap(), 1, &["no index at `x`"]);
    }
}
