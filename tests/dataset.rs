//! `souffleur dataset`, as a user runs it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::World;

const LEAVE: &str = "---\ntitle: Leave policy\n---\n\n# Leave policy\n\nReference RH-2026-021. In \
    force from 2 March 2026. Owner: Ada Quill.\n\n## How to ask for leave\n\nFill in the form in \
    the Ruche portal. Your manager answers within five working days.\n\n## Extra days\n\n\
    | Seniority | Extra days | Notice |\n| --- | --- | --- |\n| five years | 1 day | two weeks |\n\
    | ten years | 2 days | one month |\n| twenty years | 5 days | two months |\n";
const TRAVEL: &str = "# Business travel\n\nReference FIN-2026-031. In force from 5 January 2026. \
    Owner: Tom Harrow.\n\n## Trains\n\nTake the train when the journey lasts less than four hours. \
    Second class is the rule.\n\n## Hotels\n\nThe ceiling is 140 euros a night in Paris. Call \
    +33 1 99 00 52 80 at night.\n";
const SECRET: &str = "---\ngroups: [board]\n---\n\n# Takeover\n\n## Price\n\nThe price offered is \
    nine million euros, payable in two parts.\n";
const LICENSED: &str = "---\nlicence: All rights reserved\n---\n\n# Bought report\n\n## Market\n\n\
    The market grows by four percent a year in all regions.\n";

/// A world with a dataset of five documents.
fn built(more: &[&str]) -> Option<(World, Value)> {
    let world = World::new()?;
    world.write("docs/leave.md", LEAVE);
    world.write("docs/travel.md", TRAVEL);
    world.write("docs/secret.md", SECRET);
    world.write("docs/licensed.md", LICENSED);
    world.write(
        "docs/old.md",
        "# Leave policy (2020)\n\nReplaced by RH-2026-021.\n\n## Extra days\n\nNobody \
        gets any extra days at all, whatever the seniority.\n",
    );
    let mut args = vec!["dataset", "build", "d", "--docs", "docs", "--generator", "extract"];
    args.extend(more);
    let report = world.json(&args);
    Some((world, report))
}

fn lines(world: &World, name: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(world.path().join(name)).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[test]
fn a_folder_becomes_rows_with_provenance_and_nothing_forbidden() {
    let Some((world, report)) = built(&[]) else { return };
    assert_eq!(report["complete"], true, "{report}");
    let left_out: Vec<&str> = report["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["path"].as_str())
        .collect();
    assert_eq!(left_out, ["licensed.md", "secret.md"]);
    assert_eq!(report["superseded"], serde_json::json!(["old.md"]));
    let rows = lines(&world, "d/supervised.jsonl");
    assert!(rows.len() > 10, "{report:#}");
    let made: BTreeSet<&str> =
        rows.iter().filter_map(|it| it["meta"]["made_by"].as_str()).collect();
    for way in ["section", "table_cell", "record", "unanswerable"] {
        assert!(made.contains(way), "{made:?}");
    }
    for row in &rows {
        let text = row.to_string();
        assert!(!text.contains("nine million") && !text.contains("four percent"), "{text}");
        assert!(!text.contains("99 00 52 80"), "a telephone number: {text}");
        let answer =
            row["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
        let shown = row["meta"]["context"].as_array().unwrap();
        match row["meta"]["made_by"].as_str().unwrap() {
            "unanswerable" | "gold_removed" => {
                // In the question's language, and these documents are in both.
                let refusals = [
                    "The documents do not answer this question.",
                    "Les documents ne répondent pas à cette question.",
                ];
                assert!(refusals.contains(&answer), "{answer}");
                assert!(shown.iter().all(|it| it["gold"] == false));
            }
            _ => {
                let gold = shown.iter().position(|it| it["gold"] == true).unwrap() + 1;
                assert!(answer.contains(&format!("[{gold}]")), "{answer}");
                let start = row["meta"]["span"][0].as_u64().unwrap();
                assert!(start > 0 && row["meta"]["content_hash"].is_string());
                assert!(!answer.contains("Nobody gets"), "what no longer holds: {answer}");
            }
        }
    }
    let cell = rows.iter().find(|it| it["meta"]["made_by"] == "table_cell").unwrap();
    assert!(cell["meta"]["quote"].as_str().unwrap().contains("years |"), "{cell}");
    let checked = world.json(&["dataset", "check", "d"]);
    assert_eq!(checked["can_be_trained_on"], true, "{checked:#}");
    let shown = world.text(&["dataset", "show", "d", "--made-by", "table_cell", "-n", "1"]);
    assert!(shown.contains("leave.md") && shown.contains("rests on"), "{shown}");
}

#[test]
fn a_build_goes_on_where_it_was_and_refuses_to_mix() {
    let Some((world, report)) = built(&[]) else { return };
    let path = world.path().join("d/supervised.jsonl");
    let whole = fs_err::read_to_string(&path).unwrap();
    let mut half: Vec<&str> = whole.lines().collect();
    half.truncate(half.len() / 2);
    fs_err::write(&path, half.join("\n") + "\n{\"messages\": [").unwrap();
    let args = ["dataset", "build", "d", "--generator", "extract"];
    let again = world.json(&args);
    assert_eq!(again["rows"], report["rows"]);
    assert!(again["resumed"].as_u64().unwrap() >= half.len() as u64);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&fs_err::read_to_string(&path).unwrap()), sorted(&whole));
    world.write(
        "docs/new.md",
        "# New\n\n## Parking\n\nThe car park opens at seven every morning.\n",
    );
    world.json(&["ingest", "docs"]);
    world.fails(&args, 1, &["other documents", "--restart"]);
    let anew = world.json(&["dataset", "build", "d", "--generator", "extract", "--restart"]);
    assert_eq!(anew["resumed"], 0, "{anew}");
    world.fails(
        &["dataset", "build", "x", "--questions", "1", "--generator", "extract"],
        2,
        &["--questions"],
    );
}

#[test]
fn parts_share_no_document() {
    let Some((world, _)) = built(&[]) else { return };
    let report = world.json(&["dataset", "split", "d", "--out", "parts"]);
    let supervised = &report["files"][0];
    assert!(supervised["train"].as_u64().unwrap() > 0, "{report}");
    let documents = |part: &str| -> BTreeSet<String> {
        let rows = lines(&world, &format!("parts/supervised/{part}.jsonl"));
        let of = |row: &Value| {
            let context = row["meta"]["context"].as_array().unwrap().clone();
            context.iter().map(|it| it["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        rows.iter().flat_map(of).collect()
    };
    let (train, valid, test) = (documents("train"), documents("valid"), documents("test"));
    assert!(train.is_disjoint(&test) && train.is_disjoint(&valid) && valid.is_disjoint(&test));
    world.fails(&["dataset", "split", "d", "--out", "p2", "--test", "1.5"], 2, &["shares"]);
}

#[test]
fn files_of_others_come_and_go() {
    let Some(world) = World::new() else { return };
    let alpaca = r#"[{"instruction": "Who pays?", "input": "", "output": "The firm."},
        {"instruction": "Who leads?", "output": "Ada."}]"#;
    world.write("alpaca.json", alpaca);
    let report = world.json(&[
        "dataset",
        "import",
        "alpaca.json",
        "--out",
        "rows.jsonl",
        "--licence",
        "CC0",
    ]);
    assert_eq!(report["rows"], 2);
    let rows = lines(&world, "rows.jsonl");
    assert_eq!(rows[1]["messages"][1]["content"], "Ada.");
    assert_eq!(rows[0]["meta"]["licence"], "CC0");
    world.json(&["dataset", "export", "rows.jsonl", "--out", "s.jsonl", "--format", "sharegpt"]);
    assert_eq!(lines(&world, "s.jsonl")[0]["conversations"][0]["from"], "human");
    world.fails(
        &["dataset", "export", "rows.jsonl", "--out", "x", "--format", "text"],
        1,
        &["`text`"],
    );
    for (trainer, folder) in [("llama-factory", ""), ("axolotl", ""), ("trl", "data/")] {
        let args = ["dataset", "export", "rows.jsonl", "--out", trainer, "--for", trainer];
        world.json(&args);
        assert!(!lines(&world, &format!("{trainer}/{folder}train.jsonl")).is_empty());
    }
    assert!(world.path().join("llama-factory/dataset_info.json").exists());
    world.write("bad.jsonl", "{\"text\": \"good words\"}\n{\"text\": 3}\nno\n");
    world.fails(&["dataset", "check", "bad.jsonl"], 1, &["line 2", "`text`"]);
    let checked = world.json(&["dataset", "check", "bad.jsonl", "--skip-bad"]);
    assert_eq!(checked["files"][0]["bad_lines"].as_array().unwrap().len(), 2, "{checked}");
    world.write("empty.jsonl", "");
    let out = world.run(&["dataset", "check", "empty.jsonl"]);
    assert_eq!(out.status.code(), Some(1));
    world.fails(&["dataset", "show", "nowhere.jsonl"], 1, &["nowhere.jsonl"]);
}

/// The part of a document, as the report tells it.
fn part(report: &Value, path: &str) -> &'static str {
    let is_in = |part: &str| report[part].as_array().unwrap().iter().any(|it| it == path);
    match () {
        () if is_in("test") => "test",
        () if is_in("valid") => "valid",
        () => "train",
    }
}

/// Pages that have nothing in common.
const PAGES: [(&str, &str); 4] = [
    (
        "garage",
        "Cars park below the hall from seven in the morning. Diesel engines must be switched off \
         before the gate opens. A lost card costs twelve euros.",
    ),
    (
        "library",
        "Readers borrow three novels for a month. Reference atlases never leave the reading room. \
         Late returns cost ten cents a day and a letter.",
    ),
    (
        "kitchen",
        "The oven is cleaned every Friday by whoever cooked last. Knives hang on the magnet. \
         Allergens are written on the blackboard in chalk.",
    ),
    (
        "studio",
        "Singers record on Tuesdays with two microphones. Loud drums are allowed after six only. \
         The engineer keeps the tapes for ninety days.",
    ),
];

/// The same rule in two languages.
const RULES: [(&str, &str, &str); 3] = [
    (
        "101",
        "Bicycles are lent for one day to anybody who asks at the desk.",
        "Les vélos sont prêtés une journée à qui les demande à l’accueil.",
    ),
    (
        "202",
        "Choir practice begins when the bell rings twice on Monday evening.",
        "La chorale répète quand la cloche sonne deux fois le lundi soir.",
    ),
    (
        "303",
        "Mushrooms from the garden must be shown to the cook before lunch.",
        "Les champignons du jardin sont montrés au cuisinier avant le repas.",
    ),
];

#[test]
fn documents_that_say_the_same_are_in_one_part() {
    let Some(world) = World::new() else { return };
    for (name, text) in PAGES {
        let page = |title: &str, text: &str| format!("# {title}\n\n## Rules\n\n{text}\n");
        world.write(&format!("docs/{name}.md"), page(&format!("The {name}"), text));
        let copy = text.replacen(" the ", " this ", 1);
        world.write(&format!("docs/zz-{name}.md"), page(&format!("Copied page {name}"), &copy));
    }
    for (number, english, french) in RULES {
        let page = |title: &str, word: &str, text: &str| {
            format!("# {title} {number}\n\n{word} RH-2026-{number}.\n\n## Contents\n\n{text}\n")
        };
        world.write(&format!("docs/en-{number}.md"), page("Rule", "Reference", english));
        world.write(&format!("docs/fr-{number}.md"), page("Consigne", "Référence", french));
    }
    let mut command = world.command(&["dataset", "build", "d", "--docs", "docs"]);
    command.args(["--generator", "extract", "--json"]);
    command.env("SOUFFLEUR_DATASET__TEST_SHARE", "0.4");
    let report = support::json_of(&mut command);
    let mut parts: BTreeSet<&str> = BTreeSet::new();
    for (name, _) in PAGES {
        let of = |prefix: &str| part(&report, &format!("{prefix}{name}.md"));
        assert_eq!(of(""), of("zz-"), "a near duplicate of {name}: {report:#}");
        parts.insert(of(""));
    }
    for (number, _, _) in RULES {
        let of = |prefix: &str| part(&report, &format!("{prefix}{number}.md"));
        assert_eq!(of("en-"), of("fr-"), "a translation of {number}: {report:#}");
    }
    assert!(parts.len() > 1, "all in one part proves nothing: {report:#}");
    // What was split apart by hand is told, and is not trained on.
    world.json(&["dataset", "split", "d", "--out", "parts"]);
    let train = world.path().join("parts/supervised/train.jsonl");
    let test = world.path().join("parts/supervised/test.jsonl");
    let first = fs_err::read_to_string(&train).unwrap().lines().next().unwrap().to_owned();
    let leaky = fs_err::read_to_string(&test).unwrap() + &first + "\n";
    world.write("leaky.jsonl", leaky);
    let tune = ["tune", "--data", "parts/supervised/train.jsonl", "--validation", "leaky.jsonl"];
    world.fails(&tune, 1, &["leaks between the parts", "is in train and in valid"]);
}

#[test]
fn no_file_of_a_dataset_holds_personal_data() {
    let Some(world) = World::new() else { return };
    // Made for the test: keys are computed, numbers are nobody's.
    let secrets = [
        "zoe.lenoir@ormelune.example",
        "Zoe.Lenoir [at] ormelune.example",
        "01 99 00 52 80",
        "+33 (0)1 99 00 52 81",
        "FR76 3000 6000 0112 3456 7890 189",
        "2 55 08 14 168 025 38",
        "732 829 320 00074",
    ];
    let rows: String =
        secrets.iter().enumerate().map(|(i, it)| format!("| Person{i} | {it} |\n")).collect();
    let lines: String = secrets.iter().map(|it| format!("Write to {it} before noon. ")).collect();
    let text = format!(
        "# Contacts\n\n## Whom to write to\n\nAsk the desk first. {lines}\n\n## Table\n\n\
         | Name | Contact |\n| --- | --- |\n{rows}\n## Hours\n\nThe desk opens at seven.\n"
    );
    world.write("docs/contacts.md", text);
    world.write("docs/travel.md", TRAVEL);
    let base = ["dataset", "build", "d", "--docs", "docs", "--generator", "extract"];
    let digits = |it: &str| it.chars().filter(char::is_ascii_digit).collect::<String>();
    for policy in ["mask", "refuse"] {
        let mut args = base.to_vec();
        args.extend(["--restart", "--personal-data", policy]);
        let report = world.json(&args);
        let has = |part: &str| report["dropped"].to_string().contains(part);
        assert!(has("personal_data"), "{policy}: {report:#}");
        for entry in fs_err::read_dir(world.path().join("d")).unwrap() {
            let path = entry.unwrap().path();
            let content = fs_err::read_to_string(&path).unwrap();
            for secret in &secrets {
                assert!(!content.contains(secret), "{policy}: `{secret}` in {}", path.display());
                let is_long = digits(secret).len() > 9;
                let squeezed = content.replace(' ', "");
                assert!(!is_long || !squeezed.contains(&digits(secret)), "{secret} in {path:?}");
            }
            let masks = content.matches("[e-mail]").count();
            let is_text = path.ends_with("text.jsonl");
            assert!(policy != "mask" || !is_text || masks >= 2, "texts are masked, not lost");
        }
    }
}

#[test]
fn sentences_that_a_passage_says_word_for_word_are_quoted_in_a_share_of_answers() {
    let Some((world, _)) = built(&[]) else { return };
    let quotes = |out: &str, share: &str, more: &[&str]| -> (usize, usize) {
        let mut command = world.command(&["dataset", "build", out, "--generator", "extract"]);
        command.args(more).env("SOUFFLEUR_DATASET__QUOTE_SHARE", share).arg("--json");
        support::json_of(&mut command);
        let rows = lines(&world, &format!("{out}/supervised.jsonl"));
        let mut n_quoted = 0;
        for row in &rows {
            let answer =
                row["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
            let is_marked = row["meta"]["checks"].to_string().contains("quoted_word_for_word");
            if !is_marked {
                // Titles stand in quotation marks, too; what a section says does not.
                assert!(row["meta"]["made_by"] != "section" || !answer.contains('“'), "{answer}");
                continue;
            }
            n_quoted += 1;
            let shown = row["meta"]["context"].as_array().unwrap();
            let gold = shown.iter().find(|it| it["gold"] == true).unwrap()["text"].to_string();
            for quote in answer.split('“').skip(1) {
                let (quote, rest) = quote.split_once('”').unwrap();
                assert!(gold.contains(quote), "{quote}: {gold}");
                assert!(rest.starts_with(" ["), "the mark follows: {answer}");
            }
        }
        (n_quoted, rows.len())
    };
    let (all, n_rows) = quotes("all", "1", &[]);
    assert!(all >= 2, "{all} of {n_rows}");
    assert_eq!(quotes("none", "0", &[]), (0, n_rows));
    let (some, _) = quotes("some", "0.1", &[]);
    assert!((1..all).contains(&some), "{some} of {all}");
    // A small model is shown single sentences: they are the answer as they are.
    assert_eq!(quotes("small", "1", &["--prompt", "small"]).0, 0);
    let form =
        |out: &str| lines(&world, &format!("{out}/supervised.jsonl"))[0]["meta"]["prompt"].clone();
    assert_eq!(form("all"), serde_json::json!({"style": "full", "examples_max": 0}));
    assert_eq!(form("small"), serde_json::json!({"style": "small", "examples_max": 0}));
}

#[test]
fn rows_of_others_are_held_to_the_rules_for_documents() {
    let Some(world) = World::new() else { return };
    // Made for the test: nobody's.
    let rows = r#"[{"instruction": "Mail zoe@ormelune.example. To whom?", "output": "To the desk."},
        {"instruction": "Who answers?", "output": "Call 01 99 00 52 80."},
        {"instruction": "Who pays?", "output": "The firm.", "meta": {"licence": "CC-BY-ND 4.0"}},
        {"instruction": "Who leads?", "output": "Ada."}]"#;
    world.write("rows.json", rows);
    let import = |more: &[&str]| {
        let args = ["dataset", "import", "rows.json", "--out", "in.jsonl", "--licence", "CC0"];
        world.json(&[&args[..], more].concat())
    };
    let report = import(&[]);
    assert_eq!((&report["rows"], &report["masked"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(report["left_out"], serde_json::json!({"licence": 1, "personal_data": 1}));
    let text = fs_err::read_to_string(world.path().join("in.jsonl")).unwrap();
    assert!(
        text.contains("[e-mail]") && !text.contains("zoe@") && !text.contains("99 00"),
        "{text}"
    );
    let report = import(&["--personal-data", "refuse"]);
    assert_eq!((&report["rows"], &report["masked"]), (&1.into(), &0.into()), "{report}");
    let report = import(&["--personal-data", "keep"]);
    assert_eq!(report["rows"], 3, "licences hold all the same: {report}");
    let forbidden = ["dataset", "import", "rows.json", "--out", "no.jsonl", "--licence"];
    world.write("rows.json", r#"[{"instruction": "Who leads?", "output": "Ada."}]"#);
    let args = [&forbidden[..], &["All rights reserved"]].concat();
    world.fails(&args, 1, &["may be trained on", "licence"]);
    assert!(!world.path().join("no.jsonl").exists());
}

#[test]
fn rows_that_are_all_for_the_test_are_not_handed_to_a_trainer() {
    let Some(world) = World::new() else { return };
    let row = |n: usize| {
        serde_json::json!({"messages": [{"role": "user", "content": format!("{n}?")},
            {"role": "assistant", "content": "Yes."}], "meta": {"split": "test"}})
    };
    world.write("test.jsonl", format!("{}\n{}\n", row(1), row(2)));
    for trainer in ["llama-factory", "axolotl", "trl"] {
        let args = ["dataset", "export", "test.jsonl", "--out", "out", "--for", trainer];
        world.fails(&args, 1, &["no row is in the part for training", "2 in", "train.jsonl"]);
    }
    assert!(!world.path().join("out").exists());
}
