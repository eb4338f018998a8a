//! Rewards as a user meets them: preferences to a head, and the best of several drafts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{POLICY, World};

const PASSAGE: &str =
    "Employees may work remotely up to three days per week. Requests go to the manager.";

/// Preferences for what the passage says over what it does not; `turned` for the contrary.
fn preferences(n: usize, turned: bool) -> String {
    let row = |i: usize| {
        let question = format!("Rule {i}: how many days may employees of site {i} work remotely?");
        let good = "Employees may work remotely up to three days per week [1].";
        let bad =
            ["The canteen opens at noon and serves fish on Fridays.", "Parking costs nine euros."];
        let (good, bad) = (good.to_owned(), bad[i % 2].to_owned());
        let (chosen, rejected) = if turned { (bad, good) } else { (good, bad) };
        let row = json!({
            "prompt": [{ "role": "user", "content": question }], "chosen": chosen, "rejected": rejected,
            "meta": { "question": question, "context": [{ "text": PASSAGE, "gold": true }] },
        });
        format!("{row}\n")
    };
    (0..n).map(row).collect()
}

fn world() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    Some(world)
}

fn share(it: &Value, way: &str) -> f64 {
    it["held_out"][way]["value"].as_f64().unwrap()
}

#[test]
fn a_reward_learns_what_is_preferred() {
    let Some(world) = world() else { return };
    world.write("votes.jsonl", preferences(30, false));
    let trained = world.json(&["tune", "--method", "reward", "--data", "votes.jsonl"]);
    assert_eq!((&trained["preferences"], &trained["name"]), (&json!(30), &json!("votes")));
    assert_eq!(
        (&trained["held_out"]["n"], &trained["held_out"]["groups"]),
        (&json!(30), &json!(30))
    );
    assert!(share(&trained, "reward") > 0.95 && share(&trained, "check") > 0.95, "{trained:#}");
    // What people prefer may be the contrary of what the check does.
    world.write("odd.jsonl", preferences(30, true));
    world.write("few.jsonl", preferences(6, true));
    let tune = ["tune", "--method", "reward", "--data", "odd.jsonl", "--validation", "few.jsonl"];
    world.fails(&tune, 1, &["leaks"]);
    let odd = world.json(&tune[..5]);
    assert!(share(&odd, "reward") > 0.95 && share(&odd, "check") < 0.05, "{odd:#}");
    assert!(odd["held_out"]["p"].as_f64().unwrap() < 0.05);

    let tune = ["tune", "--method", "reward", "--data", "votes.jsonl"];
    world.fails(&tune, 2, &["exists already", "--restart"]);
    world.fails(&[&tune[..], &["--rank", "4"]].concat(), 2, &["--skip-bad only"]);
    world.fails(&[&tune[..], &["--base", "x"]].concat(), 2, &["--base with adapters"]);
    world.write("none.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n");
    let none = ["tune", "--method", "reward", "--data", "none.jsonl"];
    world.fails(&none, 1, &["none of the 1 rows", "better"]);
}

#[test]
fn the_best_of_several_drafts_is_the_answer() {
    let Some(world) = world() else { return };
    let question = "How many days per week may employees work remotely?";
    let ask = |more: &[&'static str]| [&["ask", "--docs", "docs", question][..], more].concat();
    world.write("votes.jsonl", preferences(12, false));
    world.text(&["tune", "--method", "reward", "--data", "votes.jsonl"]);
    let alone = world.json(&ask(&[]));
    let checked = world.json(&ask(&["--best-of", "3"]));
    let best = &checked["best_of"];
    assert_eq!((best["by"].clone(), best["rewards"].as_array().unwrap().len()), (Value::Null, 3));
    let rewards: Vec<f64> =
        best["rewards"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect();
    let chosen = usize::try_from(best["chosen"].as_u64().unwrap()).unwrap();
    assert!(rewards.iter().all(|it| *it <= rewards[chosen]), "{best}");
    assert_eq!(best["drafts"].as_array().unwrap().len(), 3);
    assert_eq!(best["drafts"][chosen], checked["answer"]);
    // The first draft is the answer that there would be without the others.
    assert_eq!(best["drafts"][0], alone["answer"]);
    let rewarded = world.json(&ask(&["--best-of", "3", "--reward", "votes"]));
    assert_eq!(rewarded["best_of"]["by"], "votes");
    assert!(!rewarded["refused"].as_bool().unwrap(), "{rewarded:#}");
    // A quotation is the same each time.
    let quoted = world.json(&ask(&["--best-of", "3", "--generator", "extract"]));
    assert_eq!(quoted["best_of"], Value::Null);

    world.fails(&ask(&["--best-of", "17"]), 2, &["generation.best_of", "from 1 to 16"]);
    world.fails(&ask(&["--best-of", "2", "--reward", "other"]), 2, &["no reward `other`"]);
    let path = "data/rewards/votes/reward.json";
    let text = fs_err::read_to_string(world.path().join(path)).unwrap();
    let mut reward: Value = serde_json::from_str(&text).unwrap();
    reward["embedder"]["id"] = json!("another");
    world.write(path, reward.to_string());
    let words = ["trained with the embedder `another`", "train it again"];
    world.fails(&ask(&["--best-of", "2", "--reward", "votes"]), 1, &words);
    world.write(path, "{}");
    world.fails(&ask(&["--best-of", "2", "--reward", "votes"]), 1, &["is no reward"]);
}
