//! `ingest --watch`: files added, changed and deleted while it runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{POLICY, World, signal, wait_until};

/// How soon a change must be followed. It takes about a second; the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

/// A watch under way and the reports that it prints.
struct Watch {
    child: Child,
    reports: Receiver<Value>,
}

impl Watch {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut all = vec!["ingest", "--watch", "--json"];
        all.extend(args);
        let mut child = world.command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, reports) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                let value = serde_json::from_str(&line.unwrap()).unwrap();
                let _ = sender.send(value);
            }
        });
        Self { child, reports }
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.reports.recv_timeout(SOON).expect("a report soon")
    }

    /// The next report tells of one change of a kind.
    #[track_caller]
    fn expect(&self, key: &str) {
        let report = self.next();
        assert_eq!(report["documents"][key], 1, "{key}: {report}");
    }

    fn end(mut self) {
        signal(&self.child, "INT");
        wait_until("it ends", SOON, || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        assert!(self.reports.try_recv().is_err(), "nothing more was reported");
    }
}

#[track_caller]
fn documents(world: &World) -> Vec<String> {
    let status = world.json(&["status"]);
    assert_eq!(status["pending"], 0);
    let list = status["list"].as_array().unwrap();
    list.iter().map(|it| it["document"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_watch_follows_files_and_leaves_a_consistent_index() {
    let Some(world) = World::new() else { return };
    world.write("docs/remote.md", POLICY);
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    let watch = Watch::start(&world, &["docs"]);
    assert_eq!(watch.next()["documents"]["added"], 2);

    world.write("docs/new/canteen.md", "# Canteen\n\nLunch is served from noon.\n");
    watch.expect("added");
    world.write("docs/parking.md", "# Parking\n\nThe car park opens at 6:00.\n");
    watch.expect("updated");
    fs_err::rename(world.path().join("docs/remote.md"), world.path().join("docs/home.md")).unwrap();
    watch.expect("moved");
    world.remove("docs/new/canteen.md");
    watch.expect("removed");
    world.write("docs/broken.pdf", "%PDF-1.4 and then nothing");
    let report = watch.next();
    assert_eq!(report["documents"]["skipped"].as_array().unwrap().len(), 1, "{report}");
    world.fails(&["status"], 1, &["in use by another process"]);
    watch.end();

    assert_eq!(documents(&world), ["home.md", "parking.md"]);
    let hits = world.json(&["search", "When does the car park open?"]);
    assert!(hits["hits"][0]["text"].as_str().unwrap().contains("6:00"), "{hits}");
    let again = world.json(&["ingest", "docs"]);
    assert_eq!(again["documents"]["unchanged"], 2, "{again}");
    assert_eq!(again["chunks"], 0);
}

#[test]
fn a_data_folder_among_the_documents_does_not_wake_the_watch() {
    let Some(world) = World::new() else { return };
    world.write("remote.md", POLICY);
    let watch = Watch::start(&world, &["."]);
    assert_eq!(watch.next()["documents"]["added"], 1);
    world.write("parking.md", "# Parking\n\nThe car park opens at 7:00.\n");
    watch.expect("added");
    watch.end();
    assert_eq!(documents(&world), ["parking.md", "remote.md"]);
}

#[test]
fn ctrl_c_during_the_first_reading_ends_a_watch() {
    let Some(world) = World::new() else { return };
    for i in 0..60 {
        world.write(&format!("docs/{i}.md"), format!("# Sheet {i}\n\n{}", POLICY.repeat(20)));
    }
    let mut child = world
        .command(&["ingest", "docs", "--watch", "--json"])
        .env("SOUFFLEUR_LOG", "index=debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines.find(|it| it.as_ref().unwrap().contains("recording")).unwrap().unwrap();
    signal(&child, "INT");
    let drain = thread::spawn(move || lines.count());
    let out = child.wait_with_output().unwrap();
    drain.join().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    let next = world.json(&["ingest", "docs"]);
    assert_eq!(next["interrupted"], false);
    assert_eq!(documents(&world).len(), 60);
}
