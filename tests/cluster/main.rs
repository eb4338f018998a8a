//! The program with its index on a real Qdrant server, which the tests start themselves. Skipped,
//! loudly, unless `QDRANT_BIN` names one. `three_nodes.py` beside this does so with a cluster.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod qdrant;
#[path = "../serve/server.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod server;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each test program uses a part of it")]
mod support;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    ops::Range,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use qdrant::Qdrant;
use serde_json::{Value, json};
use server::Server;
use support::{POLICY, QUESTION, SmallDisk, World, check_failure, json_of, signal, wait_until};

/// Files of which each is a chunk.
const N_FILES: u64 = 60;

/// Limits of time, short because a test waits for them.
const LIMITS: [(&str, &str); 3] = [
    ("SOUFFLEUR_QDRANT__CONNECT_SECONDS", "1"),
    ("SOUFFLEUR_QDRANT__SEARCH_SECONDS", "2"),
    ("SOUFFLEUR_QDRANT__WRITE_SECONDS", "2"),
];
/// Within that, one request is given up, and not two.
const LIMIT: Duration = Duration::from_secs(5);

fn started(settings: &[(&str, &str)]) -> Option<(World, Qdrant)> {
    let world = World::new()?;
    let qdrant = Qdrant::start(&world.path().join("qdrant"), settings)?;
    Some((world, qdrant))
}

fn write_files(world: &World) {
    world.write("docs/remote.md", POLICY);
    write_rooms(world, 1..N_FILES);
}

fn write_rooms(world: &World, rooms: Range<u64>) {
    for i in rooms {
        let text = format!("# Salle {i}\n\nLa salle {i} se réserve au guichet {}.\n", i * 7);
        world.write(&format!("docs/salle-{i}.md"), text);
    }
}

/// The documents that a search finds, best first.
#[track_caller]
fn found(command: &mut Command) -> Vec<String> {
    let out = json_of(command.arg("--json"));
    let hits = out["hits"].as_array().unwrap_or_else(|| panic!("{out}"));
    hits.iter().map(|it| it["document"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_index_moves_to_the_cluster_and_back_though_it_is_killed() {
    let Some((world, qdrant)) = started(&[]) else { return };
    write_files(&world);
    world.text(&["ingest", "docs"]);
    let embedded = found(&mut world.command(&["search", QUESTION]));
    assert_eq!(embedded[0], "remote.md");

    let data = "data";
    let migrate = |to: &str| {
        let mut it = qdrant.command(&world, data, &["migrate", "--to", to, "--json"]);
        it.stdout(Stdio::piped()).stderr(Stdio::piped());
        it
    };
    // Killed later and later, until it comes to its end.
    let mut n_killed = 0;
    let there = loop {
        let mut child = migrate("qdrant").spawn().unwrap();
        thread::sleep(Duration::from_millis(40 * (n_killed + 1)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
            n_killed += 1;
            // What was live until then still is.
            if n_killed == 3 {
                assert_eq!(found(&mut world.command(&["search", QUESTION])), embedded);
            }
            continue;
        }
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", support::error_of(&out));
        break serde_json::from_slice::<Value>(&out.stdout).unwrap();
    };
    assert!(n_killed > 0, "it was too fast to be killed");
    let again = json_of(&mut migrate("qdrant"));
    assert_eq!(again["was_there"], true);
    for key in ["chunks", "checksum"] {
        assert_eq!(again[key], there[key], "{key}");
    }
    assert_eq!(found(&mut qdrant.command(&world, data, &["search", QUESTION])), embedded);
    world.fails(&["search", QUESTION], 1, &["kept in the store `qdrant`", "migrate"]);

    let back = json_of(&mut migrate("embedded"));
    assert_eq!(back["checksum"], there["checksum"]);
    assert_eq!(back["left_behind"], Value::Null);
    assert_eq!(found(&mut world.command(&["search", QUESTION])), embedded);
    check_failure(
        &qdrant.command(&world, "elsewhere", &["search", QUESTION]).output().unwrap(),
        1,
        &["has no collection `souffleur`", "ingest"],
    );
}

#[test]
fn a_reader_answers_without_a_catalog_and_says_when_the_cluster_is_away() {
    let Some((world, mut qdrant)) = started(&[]) else { return };
    write_files(&world);
    let report = json_of(qdrant.command(&world, "data", &["ingest", "docs"]).arg("--json"));
    assert_eq!(report["documents"]["added"], N_FILES, "{report}");
    let status = json_of(qdrant.command(&world, "data", &["status"]).arg("--json"));
    assert_eq!((&status["store"], &status["pending"]), (&json!("qdrant"), &json!(0)));

    let serve = ["serve", "--addr", "127.0.0.1:0", "--json", "--generator", "extract"];
    let reader = qdrant.command(&world, "reader", &serve);
    let reader = Server::run(world, reader);
    let query = json!({ "query": QUESTION });
    assert_eq!(reader.get("/ready").expect(200)["status"], "ready");
    let results = reader.post("/v1/search", &query).expect(200);
    assert_eq!(results["results"][0]["document"], "remote.md", "{results}");
    let answer = reader.post("/v1/ask", &json!({ "question": QUESTION })).expect(200);
    assert!(answer["answer"].as_str().unwrap().contains("three days per week"), "{answer}");
    let models = reader.get("/v1/models").expect(200);
    assert_eq!(models["data"][1]["id"], "rag:default", "{models}");
    reader.get("/v1/models/rag:default").expect(200);
    reader.get("/v1/models/rag:nowhere").refuses(404, &["rag:nowhere"]);
    let messages = json!([{ "role": "user", "content": QUESTION }]);
    let completion = json!({ "model": "rag:default", "messages": messages });
    let completion = reader.post("/v1/chat/completions", &completion).expect(200);
    assert_eq!(completion["sources"][0]["document"], "remote.md", "{completion}");
    let elsewhere = json!({ "query": QUESTION, "collection": "nowhere" });
    reader.post("/v1/search", &elsewhere).refuses(404, &["nowhere"]);
    let listed = reader.get("/v1/documents?query=remote").expect(200);
    let path = format!("/v1/documents/{}", listed["data"][0]["id"]);
    assert_eq!(reader.get("/v1/documents").expect(200)["total"], N_FILES);
    assert_eq!(reader.get(&format!("{path}/text")).expect(200)["text"], POLICY.trim_end());
    let refused = reader.upload(&[("a.md", b"# A")], &[], &[]);
    refused.refuses(409, &["only reads"]);
    assert_eq!(refused.json()["error"]["code"], "reads_only");
    reader.delete(&path).refuses(409, &["only reads"]);
    assert_eq!(reader.get("/v1/status").expect(200)["index"]["documents"], N_FILES);

    qdrant.kill();
    let start = Instant::now();
    let refused = reader.post("/v1/search", &query);
    refused.refuses(503, &["does not answer"]);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(refused.json()["error"]["code"], "index_unavailable");
    assert!(!refused.text().contains(&qdrant.url), "where nodes are is not for everybody");
    assert_eq!(reader.get("/ready").expect(503)["status"], "not ready");
    assert_eq!(reader.get("/health").expect(200)["status"], "ok");
    let search = |data| {
        let out = qdrant.command(&reader.world, data, &["search", QUESTION]).output().unwrap();
        check_failure(&out, 1, &["does not answer", &qdrant.url, "qdrant.urls"]);
    };
    search("reader");
    search("data");
    qdrant.begin();
    wait_until("the reader is ready again", Duration::from_secs(20), || {
        reader.get("/ready").status == 200
    });
    assert_eq!(reader.post("/v1/search", &query).expect(200)["results"], results["results"]);
}

#[test]
fn ingestion_waits_for_the_cluster_and_goes_on() {
    let Some((world, mut qdrant)) = started(&[]) else { return };
    world.write("docs/remote.md", POLICY);
    qdrant.kill();
    let ingest = || {
        let mut command = qdrant.command(&world, "data", &["ingest", "docs"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("waiting for the Qdrant cluster"), "{line}");
        (child, stderr)
    };
    let (mut child, _stderr) = ingest();
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let (mut child, _stderr) = ingest();
    qdrant.begin();
    assert!(child.wait().unwrap().success());
    let found = found(&mut qdrant.command(&world, "data", &["search", QUESTION]));
    assert_eq!(found[0], "remote.md");
}

#[test]
fn a_server_that_hangs_is_given_up_in_time_and_answers_once_it_goes_on() {
    let Some((world, qdrant)) = started(&[]) else { return };
    world.write("docs/remote.md", POLICY);
    json_of(qdrant.command(&world, "data", &["ingest", "docs"]).arg("--json"));
    let serve = ["serve", "--addr", "127.0.0.1:0", "--json", "--generator", "extract"];
    let mut reader = qdrant.command(&world, "reader", &serve);
    reader.envs(LIMITS);
    let reader = Server::run(world, reader);
    let query = json!({ "query": QUESTION });
    let results = reader.post("/v1/search", &query).expect(200);

    qdrant.hang();
    let start = Instant::now();
    let refused = reader.post("/v1/search", &query);
    refused.refuses(503, &["does not answer"]);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    assert_eq!(refused.json()["error"]["code"], "index_unavailable");
    assert_eq!(reader.get("/ready").expect(503)["status"], "not ready");
    assert_eq!(reader.get("/health").expect(200)["status"], "ok");
    let search = |data| {
        let mut command = qdrant.command(&reader.world, data, &["search", QUESTION]);
        command.envs(LIMITS);
        command
    };
    for data in ["reader", "data"] {
        let words = ["does not answer", &qdrant.url, "no answer", "qdrant.urls"];
        check_failure(&search(data).output().unwrap(), 1, &words);
    }
    qdrant.go_on();
    wait_until("the reader is ready again", Duration::from_secs(20), || {
        reader.get("/ready").status == 200
    });
    assert_eq!(reader.post("/v1/search", &query).expect(200)["results"], results["results"]);

    // It takes connections and never answers; which node is asked first is left to chance.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = json!([format!("http://{}", hangs.local_addr().unwrap()), qdrant.url]);
    for _ in 0..4 {
        let mut command = search("reader");
        command.env("SOUFFLEUR_QDRANT__URLS", urls.to_string());
        assert_eq!(found(&mut command), ["remote.md"], "the other one answers");
    }
}

#[test]
fn ingestion_waits_for_a_server_that_hangs_and_goes_on() {
    let Some((world, qdrant)) = started(&[]) else { return };
    world.write("docs/remote.md", POLICY);
    json_of(qdrant.command(&world, "data", &["ingest", "docs"]).arg("--json"));
    let ingest = || {
        let mut command = qdrant.command(&world, "data", &["ingest", "docs"]);
        command.envs(LIMITS).env("SOUFFLEUR_LOG", "souffleur=debug");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        (child, stderr)
    };
    // Before the index is opened.
    write_rooms(&world, 1..N_FILES);
    qdrant.hang();
    let (mut child, mut stderr) = ingest();
    read_until(&mut stderr, "waiting for the Qdrant cluster");
    qdrant.go_on();
    assert!(child.wait().unwrap().success());
    // While files are read, so that it is found out when their chunks are written.
    write_rooms(&world, N_FILES..2 * N_FILES);
    let (mut child, mut stderr) = ingest();
    read_until(&mut stderr, "n_done=1");
    qdrant.hang();
    read_until(&mut stderr, "waiting for the Qdrant cluster");
    qdrant.go_on();
    assert!(child.wait().unwrap().success());

    let status = json_of(qdrant.command(&world, "data", &["status"]).arg("--json"));
    assert_eq!((&status["documents"], &status["pending"]), (&json!(2 * N_FILES), &json!(0)));
    // Each chunk is read back and compared.
    json_of(&mut qdrant.command(&world, "data", &["migrate", "--to", "qdrant", "--json"]));
    let found = found(&mut qdrant.command(&world, "reader", &["search", QUESTION]));
    assert_eq!(found[0], "remote.md");
}

/// Reads until a line says `words`.
#[track_caller]
fn read_until(lines: &mut impl BufRead, words: &str) {
    let mut read = String::new();
    loop {
        let start = read.len();
        assert!(lines.read_line(&mut read).unwrap() > 0, "must say `{words}`: {read}");
        if read[start..].contains(words) {
            return;
        }
    }
}

#[test]
fn a_wrong_key_changes_nothing_and_the_right_one_is_taken() {
    let Some((world, qdrant)) = started(&[("QDRANT__SERVICE__API_KEY", "open sesame")]) else {
        return;
    };
    world.write("docs/remote.md", POLICY);
    let ingest = |key: Option<&str>| {
        let mut command = qdrant.command(&world, "data", &["ingest", "docs"]);
        command.env("SOUFFLEUR_QDRANT__API_KEY_ENV", "QDRANT_KEY");
        command.envs(key.map(|it| ("QDRANT_KEY", it)));
        command.output().unwrap()
    };
    for key in [None, Some("open barley")] {
        check_failure(&ingest(key), 1, &["refuses the API key", "qdrant.api_key_env"]);
    }
    let out = ingest(Some("open sesame"));
    assert!(out.status.success(), "{}", support::error_of(&out));
    assert!(!support::error_of(&out).contains("open"), "a key is not shown");
}

#[test]
fn a_server_with_tls_is_trusted_by_its_certificate() {
    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let (certificate, key) = (format!("{FIXTURES}/cert.pem"), format!("{FIXTURES}/key.pem"));
    let settings = [
        ("QDRANT__SERVICE__ENABLE_TLS", "true"),
        ("QDRANT__TLS__CERT", &certificate),
        ("QDRANT__TLS__KEY", &key),
    ];
    let Some((world, mut qdrant)) = started(&settings) else { return };
    // The certificate is for that name.
    qdrant.url = qdrant.url.replace("http://127.0.0.1", "https://localhost");
    world.write("docs/remote.md", POLICY);
    let search = || qdrant.command(&world, "reader", &["search", QUESTION]);
    check_failure(&search().output().unwrap(), 1, &["certificate", "SSL_CERT_FILE"]);
    let mut ingest = qdrant.command(&world, "data", &["ingest", "docs", "--json"]);
    json_of(ingest.env("SSL_CERT_FILE", &certificate));
    assert_eq!(found(search().env("SSL_CERT_FILE", &certificate)), ["remote.md"]);
}

#[test]
fn a_cluster_whose_disk_is_full_says_so_and_goes_on_once_there_is_room() {
    let Some(world) = World::new() else { return };
    let Some(disk) = SmallDisk::mount(world.path().join("disk"), 256) else { return };
    let Some(qdrant) = Qdrant::start(&world.path().join("disk"), &[]) else { return };
    world.write("docs/remote.md", POLICY);
    let ingest = || qdrant.command(&world, "data", &["ingest", "docs"]);
    assert!(ingest().status().unwrap().success());
    disk.fill(16);
    write_files(&world);
    check_failure(&ingest().output().unwrap(), 1, &["no room left", "make room on the cluster"]);
    let search = || found(&mut qdrant.command(&world, "data", &["search", QUESTION]));
    assert_eq!(search()[0], "remote.md", "what was there answers all the same");
    world.remove("disk/filler");
    assert!(ingest().status().unwrap().success());
    let status = json_of(qdrant.command(&world, "data", &["status"]).arg("--json"));
    assert_eq!((&status["documents"], &status["pending"]), (&json!(N_FILES), &json!(0)));
    assert_eq!(search()[0], "remote.md");
    drop(qdrant);
}

#[test]
fn a_change_over_the_limits_of_the_cluster_is_told_and_what_was_there_answers() {
    let strict = [
        ("QDRANT__STORAGE__COLLECTION__STRICT_MODE__ENABLED", "true"),
        ("QDRANT__STORAGE__COLLECTION__STRICT_MODE__UPSERT_MAX_BATCHSIZE", "20"),
    ];
    let Some((world, qdrant)) = started(&strict) else { return };
    world.write("docs/remote.md", POLICY);
    let ingest = || qdrant.command(&world, "data", &["ingest", "docs"]).output().unwrap();
    assert!(ingest().status.success());
    write_files(&world);
    check_failure(&ingest(), 1, &["refused to take points", "limit"]);
    let found = found(&mut qdrant.command(&world, "reader", &["search", QUESTION]));
    assert_eq!(found, ["remote.md"], "none of the change is there");
}
