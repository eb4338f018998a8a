//! Long work over HTTP: datasets, training and comparisons, from the request to what they leave.

use std::{
    io::{Read, Write},
    time::Duration,
};

use model::testing::write_tiny_model;
use serde_json::{Value, json};

use crate::{
    server::Server,
    support::{POLICY, World, wait_until},
};

const QUESTION: &str = "How many days per week may employees work remotely?";

fn quoting() -> Option<Server> {
    Server::quoting(&[("remote.md", POLICY)])
}

/// A server whose generator is tiny, knows nothing, and learns in seconds.
fn with_tiny_model() -> Option<Server> {
    let world = World::new()?;
    write_tiny_model(&world.path().join("base"), 3).unwrap();
    let row = |i: usize| {
        json!({
            "id": format!("r{i}"),
            "messages": [
                { "role": "user", "content": format!("Say {i}.") },
                { "role": "assistant", "content": format!("It is {i}.") },
            ],
            "meta": {
                "path": format!("{i}.md"), "made_by": "section", "question": format!("Say {i}."),
                "split": if i < 6 { "train" } else { "valid" },
            },
        })
    };
    let text: String = (0..8).map(|i| format!("{}\n", row(i))).collect();
    world.write("datasets/numbers/supervised.jsonl", text);
    Server::start(world, &[("remote.md", POLICY)], &["--generator", "base"])
}

fn dataset_id(server: &Server) -> String {
    let listed = server.get("/v1/datasets").expect(200);
    listed["data"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_dataset_is_made_and_looked_through() {
    let Some(server) = quoting() else { return };
    let asked = json!({ "kind": "dataset", "name": "handbook" });
    let job = server.post("/v1/jobs", &asked).expect(202);
    assert_eq!(job["kind"], "dataset");
    let job = server.ended(&job);
    assert_eq!(job["state"], "done", "{job:#}");
    let n = job["report"]["rows"].as_u64().unwrap();
    assert!(n > 0, "{job:#}");
    let listed = server.get("/v1/datasets").expect(200);
    assert_eq!(listed["data"][0]["name"], "handbook");
    // Made again, it is there already.
    let again = server.ended(&server.post("/v1/jobs", &asked).expect(202));
    assert_eq!((&again["report"]["rows"], &again["report"]["resumed"]), (&json!(n), &json!(n)));
    let anew = json!({ "kind": "dataset", "name": "handbook", "restart": true });
    let anew = server.ended(&server.post("/v1/jobs", &anew).expect(202));
    assert_eq!((&anew["report"]["rows"], &anew["report"]["resumed"]), (&json!(n), &json!(0)));

    for (name, field) in [("../out", "name"), ("", "name")] {
        let refused = server.post("/v1/jobs", &json!({ "kind": "dataset", "name": name }));
        refused.refuses(400, &["cannot be a name"]);
        assert_eq!(refused.json()["error"]["param"], field);
    }
    let written = json!({ "kind": "dataset", "name": "b", "questions": 2 });
    server.post("/v1/jobs", &written).refuses(400, &["language model"]);
    server.post("/v1/jobs", &json!({ "kind": "dataset" })).refuses(400, &["name"]);
    server.post("/v1/jobs", &json!({ "kind": "nap" })).refuses(400, &["nap"]);
}

#[test]
fn a_comparison_is_run_and_kept() {
    let Some(server) = quoting() else { return };
    let compare = |arms: Value, questions: Value| {
        let asked = json!({ "kind": "compare", "arms": arms, "questions": questions });
        server.post("/v1/jobs", &asked)
    };
    let known = json!([{ "question": QUESTION, "answers": ["three days per week"] }]);
    let arms = json!(["extract", "extract[passages=1]"]);
    let job = server.ended(&compare(arms.clone(), known.clone()).expect(202));
    assert_eq!(job["state"], "done", "{job:#}");
    assert_eq!(job["progress"], json!({ "stage": "answering", "done": 2, "total": 2 }));
    let id = job["report"]["comparison"].as_str().unwrap();
    let kept = server.get(&format!("/v1/comparisons/{id}")).expect(200);
    assert_eq!(kept["verdict"]["en"], job["report"]["verdict"]);
    assert_eq!(kept["verdict"]["fr"], job["report"]["verdict_fr"]);
    assert_eq!(kept["questions"][0]["question"], QUESTION);

    let extract = json!(["extract"]);
    compare(json!(["raag"]), known.clone()).refuses(400, &["no arm `raag`"]);
    compare(json!(["rag"]), known.clone()).refuses(400, &["needs a language model"]);
    compare(json!(["ft:x=/etc"]), known.clone()).refuses(400, &["without a path"]);
    compare(json!(["ft:../x"]), known.clone()).refuses(400, &["no adapter `../x`"]);
    compare(json!(["ft:x"]), known.clone()).refuses(400, &["no adapter at"]);
    compare(json!(["rag[model=/tmp/m.gguf]"]), known.clone()).refuses(400, &["is installed"]);
    compare(extract.clone(), json!([])).refuses(400, &["from 1 to"]);
    compare(extract.clone(), json!("others")).refuses(400, &["`feedback`, or `dataset:ID`"]);
    compare(extract.clone(), json!("feedback")).refuses(400, &["no feedback"]);
    compare(extract.clone(), json!("dataset:0")).refuses(404, &["no dataset"]);
    compare(extract.clone(), json!([{ "question": " ", "answers": [] }])).refuses(400, &[]);
    let twice = json!([known[0], known[0]]);
    compare(extract, twice).refuses(400, &["twice"]);
}

#[test]
fn an_adapter_is_trained_and_served() {
    let Some(server) = with_tiny_model() else { return };
    let settings = json!({ "rank": 2, "batch": 3, "epochs": 2.0 });
    let tune = |fields: Value| {
        let mut asked = json!({ "kind": "tune", "dataset": dataset_id(&server), "name": "n", "settings": settings });
        for (key, value) in fields.as_object().unwrap() {
            asked[key] = value.clone();
        }
        server.post("/v1/jobs", &asked)
    };
    tune(json!({ "dataset": "0" })).refuses(404, &["no dataset"]);
    tune(json!({ "name": "a/b" })).refuses(400, &["cannot be a name"]);
    tune(json!({ "settings": { "ranks": 2 } })).refuses(400, &["no setting `ranks`"]);
    tune(json!({ "settings": { "method": "dpo" } })).refuses(409, &["no preference rows"]);
    let job = server.ended(&tune(json!({})).expect(202));
    assert_eq!(job["state"], "done", "{job:#}");
    let report = &job["report"];
    assert_eq!((&report["name"], &report["loaded"]), (&json!("n"), &json!(true)), "{report:#}");
    assert_eq!(report["n_steps"], 4);
    let run = server.get("/v1/runs/n").expect(200);
    assert_eq!((&run["state"], run["steps"].as_array().unwrap().len()), (&json!("done"), 4));
    assert!(!run["validations"].as_array().unwrap().is_empty());
    let models = server.get("/v1/models").expect(200);
    let ids: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"ft:n"), "{ids:?}");
    tune(json!({})).refuses(409, &["there is an adapter `n`"]);

    let arms = json!(["base", "ft:n"]);
    let known = json!([{ "question": "Say 3.", "answers": ["It is 3."] }]);
    let asked = json!({ "kind": "compare", "arms": arms, "questions": known });
    let job = server.ended(&server.post("/v1/jobs", &asked).expect(202));
    assert_eq!(job["state"], "done", "{job:#}");
}

#[cfg(unix)]
#[test]
fn a_server_stops_though_a_browser_watches_a_job() {
    let Some(server) = with_tiny_model() else { return };
    let settings = json!({ "rank": 2, "batch": 1, "epochs": 1e6 });
    let asked = json!({
        "kind": "tune", "dataset": dataset_id(&server), "name": "endless", "settings": settings,
    });
    let job = server.post("/v1/jobs", &asked).expect(202);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    wait_until("the first steps", Duration::from_secs(120), || {
        server.get(&path).expect(200)["progress"]["stage"] == "training"
    });
    let mut browser = server.connect();
    let head = format!("GET {path}/events HTTP/1.1\r\nhost: {}\r\n\r\n", server.addr);
    browser.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 64];
    assert!(browser.read(&mut first).unwrap() > 0);
    let (code, took) = server.interrupt();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn training_that_is_cancelled_goes_on_where_it_was() {
    let Some(server) = with_tiny_model() else { return };
    let tune = |steps: u64, epochs: f64| {
        let settings = json!({ "rank": 2, "batch": 1, "epochs": epochs, "steps_max": steps });
        let asked = json!({
            "kind": "tune", "dataset": dataset_id(&server), "name": "long", "settings": settings,
        });
        server.post("/v1/jobs", &asked).expect(202)
    };
    let job = tune(0, 1e6);
    let id = job["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/jobs/{id}");
    let step = |job: &Value| job["progress"]["done"].as_u64().unwrap();
    wait_until("the first steps", Duration::from_secs(120), || {
        let job = server.get(&path).expect(200);
        job["progress"]["stage"] == "training" && step(&job) > 2
    });
    // Documents are read while an adapter is trained.
    let read = server.ended(&server.post("/v1/jobs", &json!({ "kind": "ingest" })).expect(202));
    assert_eq!(read["state"], "done");
    assert_eq!(server.get(&path).expect(200)["state"], "running");
    server.post(&format!("{path}/cancel"), &json!({})).expect(200);
    let stopped = server.ended(&job);
    assert_eq!(stopped["state"], "cancelled");
    let made = stopped["report"]["step"].as_u64().unwrap();
    assert!(made > 2, "{stopped:#}");
    let on = tune(0, 1e6);
    let path = format!("/v1/jobs/{}", on["id"].as_str().unwrap());
    wait_until("the run to go on", Duration::from_secs(120), || {
        let job = server.get(&path).expect(200);
        job["progress"]["stage"] == "training" && step(&job) > 0
    });
    let at = step(&server.get(&path).expect(200));
    assert!(at >= made, "from {made}, not from the beginning: {at}");
    server.post(&format!("{path}/cancel"), &json!({})).expect(200);
    server.ended(&on);
}
