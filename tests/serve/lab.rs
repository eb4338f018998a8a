//! Comparisons, datasets and training runs over HTTP.

use serde_json::{Value, json};

use crate::{
    server::Server,
    support::{POLICY, World},
};

fn served(world: World) -> Option<Server> {
    let command = &["serve", "--addr", "127.0.0.1:0", "--json", "--generator", "extract"];
    let command = world.command(command);
    Some(Server::run(world, command))
}

fn indexed() -> Option<World> {
    let world = World::new()?;
    world.write("docs/remote.md", POLICY);
    world.text(&["ingest", "docs"]);
    Some(world)
}

#[test]
fn kept_comparisons_are_listed_and_shown() {
    let Some(world) = indexed() else { return };
    let question = json!({
        "question": "How many days per week may employees work remotely?",
        "answers": ["three days per week"], "document": "remote.md",
    });
    world.write("q.jsonl", format!("{question}\n"));
    let compare = ["compare", "--questions", "q.jsonl", "--arms", "extract,extract[passages=1]"];
    let printed = world.json(&compare);
    let server = served(world).unwrap();
    let listed = server.get("/v1/comparisons").expect(200);
    assert_eq!(listed["total"], 1);
    let it = &listed["data"][0];
    assert_eq!(it["arms"], json!(["extract", "extract[passages=1]"]));
    assert_eq!(it["verdict"], printed["verdict"]);
    let path = format!("/v1/comparisons/{}", it["id"].as_str().unwrap());
    let shown = server.get(&path).expect(200);
    assert_eq!(shown["questions"], printed["questions"]);
    let sentence = &shown["questions"][0]["answers"][0]["sentences"][0];
    assert_eq!(sentence["supported"], true, "{shown:#}");
    assert_eq!(sentence["citations"], json!([1]));
    assert!(sentence["text"].as_str().unwrap().contains("three days"));
    for (query, title) in [("", "Comparison"), ("?language=fr", "Comparaison")] {
        for (form, kind) in [("html", "text/html"), ("md", "text/markdown")] {
            let report = server.get(&format!("{path}/report.{form}{query}"));
            assert_eq!(report.status, 200, "{}", report.text());
            assert!(report.header("content-type").unwrap().starts_with(kind));
            let disposition = report.header("content-disposition").unwrap();
            assert!(disposition.starts_with("attachment") && disposition.contains(form));
            assert!(report.header("content-security-policy").unwrap().contains("'none'"));
            let text = report.text();
            assert!(text.contains(title) && text.contains("extract[passages=1]"), "{text}");
        }
    }
    server.get(&format!("{path}/report.html?language=de")).refuses(400, &["language"]);
    server.get("/v1/comparisons/0-0/report.md").refuses(404, &["no comparison"]);
    server.get("/v1/comparisons/0-0").refuses(404, &["no comparison"]);
    server.get("/v1/comparisons/..%2F..%2Fcatalog.db").refuses(404, &[]);
}

/// A row of a dataset as `dataset build` writes it.
fn row(id: &str, answer: &str) -> Value {
    json!({
        "id": id,
        "messages": [
            { "role": "user", "content": "[1] Three days.\nHow many?" },
            { "role": "assistant", "content": answer },
        ],
        "meta": { "path": "remote.md", "made_by": "section", "question": "How many?" },
    })
}

#[test]
fn rows_are_decided_one_by_one_and_training_data_follows() {
    let Some(world) = indexed() else { return };
    let rows = [row("r1", "Three days [1]."), row("r2", "Four days [1]."), row("r3", "Five [1].")];
    let text: String = rows.iter().map(|it| format!("{it}\n")).collect();
    world.write("datasets/handbook/supervised.jsonl", text);
    let server = served(world).unwrap();
    let dataset = server.get("/v1/datasets").expect(200)["data"][0].clone();
    assert_eq!(dataset["name"], "handbook");
    assert_eq!(dataset["kinds"]["supervised"]["rows"], 3);
    let base = format!("/v1/datasets/{}/rows", dataset["id"].as_str().unwrap());
    let page = server.get(&format!("{base}?limit=2&offset=1")).expect(200);
    assert_eq!(page["total"], 3);
    let ids: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["r2", "r3"]);
    assert_eq!(page["data"][0]["meta"]["path"], "remote.md");
    assert_eq!(page["data"][0]["texts"], json!(["Four days [1]."]));

    let decide = |id: &str, body: Value| server.post(&format!("{base}/{id}"), &body);
    decide("r2", json!({ "decision": "rejected" })).expect(200);
    let changed = json!({ "decision": "approved", "texts": ["Three days a week [1]."] });
    assert_eq!(decide("r3", changed).expect(200)["changed"], json!(["Three days a week [1]."]));
    // As it was made is not changed.
    let same = json!({ "decision": "approved", "texts": ["Three days [1]."] });
    assert_eq!(decide("r1", same).expect(200)["changed"], Value::Null);
    decide("r9", json!({ "decision": "approved" })).refuses(404, &["no row `r9`"]);
    decide("r1", json!({ "decision": "maybe" })).refuses(400, &["maybe"]);
    decide("r1", json!({ "decision": "approved", "texts": ["a", "b"] })).refuses(400, &["texts"]);
    server.get(&format!("{base}?state=odd")).refuses(400, &["state"]);
    server.get("/v1/datasets/0/rows").refuses(404, &["no dataset"]);
    assert_eq!(server.get(&format!("{base}?state=approved")).expect(200)["total"], 2);
    assert_eq!(server.get(&format!("{base}?state=changed&q=a%20WEEK")).expect(200)["total"], 0);
    assert_eq!(server.get(&format!("{base}?q=five")).expect(200)["total"], 1);
    let counts = server.get("/v1/datasets").expect(200)["data"][0]["kinds"]["supervised"].clone();
    assert_eq!((counts["approved"].clone(), counts["rejected"].clone()), (json!(2), json!(1)));

    let shown = server.world.json(&["dataset", "show", "datasets/handbook", "-n", "9"]);
    let answers: Vec<&str> = shown["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["messages"][1]["content"].as_str().unwrap())
        .collect();
    assert_eq!(answers, ["Three days [1].", "Three days a week [1]."]);
}

#[test]
fn a_run_is_seen_while_it_goes_on() {
    let Some(world) = indexed() else { return };
    let step = |i: usize| {
        json!({
            "event": "step", "step": i, "n_steps": 9, "epoch": 0.1, "loss": 2.0 / i as f64,
            "learning_rate": 2e-4, "grad_norm": 1.0, "n_tokens": 10, "seconds": 0.5,
            "peak_bytes": 1_000_000 * i,
        })
        .to_string()
    };
    let validation = json!({ "event": "validation", "step": 0, "loss": 2.5, "is_best": false });
    let log = format!("{validation}\n{}\n{}\n{{\"event\":\"st", step(1), step(2));
    world.write("data/adapters/rh.run/log.jsonl", &log);
    let ability = json!({ "before": {}, "after": {}, "dropped": false });
    let record = json!({ "settings": { "method": "dpo", "rank": 8 }, "ability": ability });
    world.write("data/adapters/rh.run/run.json", record.to_string());
    world.write("data/adapters/no-log/adapter_config.json", "{}");
    let server = served(world).unwrap();
    let listed = server.get("/v1/runs").expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    let it = &listed["data"][0];
    assert_eq!(it["name"], "rh");
    assert_eq!(it["state"], "running");
    assert_eq!((it["step"].clone(), it["n_steps"].clone()), (json!(2), json!(9)));
    assert_eq!(it["validation_loss"], Value::Null, "that of the base is none of the run");
    assert_eq!(it["method"], "dpo");
    assert_eq!((&it["tokens_per_second"], &it["seconds_left"]), (&json!(20.0), &json!(3.5)));
    assert_eq!(it["peak_bytes"], 2_000_000);
    server.world.write("data/adapters/rh.run/log.jsonl", format!("{}\n{}\n", step(1), step(2)));
    let shown = server.get("/v1/runs/rh").expect(200);
    assert_eq!(shown["steps"].as_array().unwrap().len(), 2);
    assert_eq!(shown["steps"][1]["loss"], 1.0);
    assert_eq!((&shown["settings"]["rank"], &shown["ability"]), (&json!(8), &ability));
    assert_eq!(shown["steps"][0]["tokens_per_second"], 20.0);
    assert_eq!(shown["steps"][0]["peak_bytes"], 1_000_000);
    server.get("/v1/runs/..").refuses(404, &[]);
    server.get("/v1/runs/other").refuses(404, &["no training run"]);
}
