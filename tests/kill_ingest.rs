//! `ingest` is killed at random moments while the folder goes on changing. Afterwards nothing may
//! be lost, doubled or brought back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Numbers, World, check_keys, json_of, signal, wait_until};

/// Kills that hit a process at work. One that had ended before does not count.
const KILLS: u64 = 36;
/// Files at the beginning.
const N_FILES: u64 = 40;
/// A word of every passage.
const COMMON: &str = "souffleur";
/// More passages than the folder ever holds.
const ALL: &str = "2000";
/// What the program says of where it is, in its order. A line holds until the next one.
const PHASES: [&str; 4] = ["file", "recording", "applying", "optimising"];

/// What a file of the folder is: its number, and how often it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    number: u64,
    version: u64,
}

/// The folder as it is now, and what is known of what the index has shown of it.
struct Folder<'a> {
    world: &'a World,
    numbers: Numbers,
    files: BTreeMap<String, Content>,
    n_made: u64,
    /// Files deleted, until they were seen to be gone or were moved back.
    deleted: BTreeSet<String>,
    /// Files deleted and seen to be gone from the index: they must not come back.
    gone: BTreeSet<String>,
    /// The newest version that a search has shown of a file.
    shown: BTreeMap<String, u64>,
}

const FRENCH: [&str; 12] = [
    "le congé annuel est compté en jours ouvrés",
    "la note de frais est remboursée sous trente jours",
    "le badge ouvre la porte du parking",
    "la salle de réunion se réserve la veille",
    "le tuteur reçoit l'apprenti chaque lundi",
    "la facture porte le numéro de commande",
    "le matériel prêté reste à la société",
    "la mutuelle couvre les enfants à charge",
    "l'astreinte commence le vendredi soir",
    "le contrat de prestation se relit chaque année",
    "la sauvegarde tourne pendant la nuit",
    "le réfectoire ferme à quatorze heures",
];

const ENGLISH: [&str; 12] = [
    "annual leave is counted in working days",
    "expense claims are paid within thirty days",
    "the badge opens the gate of the car park",
    "meeting rooms are booked the day before",
    "a mentor sees the apprentice every Monday",
    "an invoice bears the number of its order",
    "equipment that is lent remains the company's",
    "health insurance covers dependent children",
    "on-call duty begins on Friday evening",
    "a supplier's contract is read again each year",
    "the backup runs during the night",
    "the canteen closes at two in the afternoon",
];

impl Content {
    fn code(self) -> String {
        format!("REF-{:04}-{:04}", self.number, self.version)
    }

    /// Several passages, each with the file's code and with figures of its own.
    fn text(self) -> String {
        let sentences = if self.number.is_multiple_of(2) { FRENCH } else { ENGLISH };
        let mut numbers = Numbers(self.number * 1_000 + self.version);
        let code = self.code();
        let mut text = format!("# {COMMON} {code}\n");
        for part in 0..2 + numbers.next(3) {
            text.push_str(&format!("\n## {COMMON} {code} {part}\n\n"));
            for _ in 0..8 {
                let sentence = sentences[usize::try_from(numbers.next(12)).unwrap()];
                let figure = numbers.next(100_000);
                text.push_str(&format!("{sentence} ({COMMON} {code}, {figure}). "));
            }
            text.push('\n');
        }
        text
    }
}

impl<'a> Folder<'a> {
    fn new(world: &'a World) -> Self {
        let mut res = Self {
            world,
            numbers: Numbers(7),
            files: BTreeMap::new(),
            n_made: 0,
            deleted: BTreeSet::new(),
            gone: BTreeSet::new(),
            shown: BTreeMap::new(),
        };
        (0..N_FILES).for_each(|_| res.add());
        res
    }

    fn write(&mut self, path: &str, content: Content) {
        self.world.write(&format!("docs/{path}"), content.text());
        self.files.insert(path.to_owned(), content);
        self.deleted.remove(path);
        self.gone.remove(path);
        self.shown.remove(path);
    }

    fn add(&mut self) {
        let content = Content { number: self.n_made, version: 0 };
        let ending = if content.number.is_multiple_of(3) { "txt" } else { "md" };
        self.n_made += 1;
        self.write(&format!("{}/{:03}.{ending}", content.number % 4, content.number), content);
    }

    fn any(&mut self) -> (String, Content) {
        let at = self.numbers.next(self.files.len() as u64);
        let (path, content) = self.files.iter().nth(usize::try_from(at).unwrap()).unwrap();
        (path.clone(), *content)
    }

    fn change(&mut self) {
        let (path, content) = self.any();
        let shown = self.shown.get(&path).copied();
        self.write(&path, Content { version: content.version + 1, ..content });
        self.shown.extend(shown.map(|it| (path, it)));
    }

    fn delete(&mut self) {
        let (path, _) = self.any();
        self.world.remove(&format!("docs/{path}"));
        self.files.remove(&path);
        self.shown.remove(&path);
        self.deleted.insert(path);
    }

    fn r#move(&mut self) {
        let (path, content) = self.any();
        self.delete_named(&path);
        let ending = path.rsplit('.').next().unwrap();
        let to = format!("moved/{:03}-{}.{ending}", content.number, self.numbers.next(1_000_000));
        self.write(&to, content);
    }

    fn delete_named(&mut self, path: &str) {
        self.world.remove(&format!("docs/{path}"));
        self.files.remove(path);
        self.shown.remove(path);
        self.deleted.insert(path.to_owned());
    }

    /// What happens to the folder between two runs.
    fn live_on(&mut self) {
        for _ in 0..1 + self.numbers.next(5) {
            self.change();
        }
        for _ in 0..1 + self.numbers.next(2) {
            self.add();
            self.r#move();
        }
        self.delete();
    }

    /// Checks what a search after a kill shows: nothing that was gone, nothing older than what
    /// was shown before, nothing that no file ever said.
    fn check_hits(&mut self, hits: &BTreeSet<Hit>) {
        let paths: BTreeSet<&str> = hits.iter().map(|it| it.path.as_str()).collect();
        for path in &self.gone {
            assert!(!paths.contains(path.as_str()), "`{path}` was deleted and came back");
        }
        let unseen = self.deleted.iter().filter(|it| !paths.contains(it.as_str())).cloned();
        self.gone.extend(unseen.collect::<Vec<_>>());
        self.deleted.retain(|it| paths.contains(it.as_str()));
        for hit in hits {
            assert!(words(&hit.content.text()).contains(&words(&hit.text)), "nobody wrote {hit:?}");
            let Some(now) = self.files.get(&hit.path) else { continue };
            assert!(hit.content.version <= now.version, "{hit:?}");
            let shown = self.shown.entry(hit.path.clone()).or_insert(hit.content.version);
            assert!(hit.content.version >= *shown, "an older version came back: {hit:?}");
            *shown = hit.content.version;
        }
        let versions: BTreeMap<&str, BTreeSet<Content>> =
            hits.iter().fold(BTreeMap::new(), |mut res, it| {
                res.entry(it.path.as_str()).or_insert_with(BTreeSet::new).insert(it.content);
                res
            });
        assert!(versions.values().all(|it| it.len() == 1), "two versions of a file: {versions:?}");
    }
}

/// The words of a text: reading drops blanks at ends of lines.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A passage that a search showed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    path: String,
    start: u64,
    text: String,
    content: Content,
}

/// All passages that a search finds; each once.
fn search(world: &World, data: &Path, mode: &str) -> BTreeSet<Hit> {
    let args = ["search", COMMON, "--json", "-k", ALL, "--mode", mode];
    let found = json_of(&mut world.command_on(&args, data));
    let hits = found["hits"].as_array().unwrap();
    let set: BTreeSet<Hit> = hits.iter().map(hit).collect();
    assert_eq!(set.len(), hits.len(), "a passage was found twice");
    set
}

fn hit(hit: &Value) -> Hit {
    let text = hit["text"].as_str().unwrap();
    let code = text.split("REF-").skip(1).find(|it| it.len() > 8);
    let code = code.unwrap_or_else(|| panic!("no code in {hit}"));
    Hit {
        path: hit["document"].as_str().unwrap().to_owned(),
        start: hit["char_start"].as_u64().unwrap(),
        text: text.to_owned(),
        content: Content {
            number: code[..4].parse().unwrap(),
            version: code[5..9].parse().unwrap(),
        },
    }
}

/// A run of `ingest` that tells where it is.
struct Run {
    child: Child,
    lines: Receiver<String>,
    phase: String,
}

impl Run {
    fn start(world: &World) -> Self {
        let mut command: Command = world.command(&["ingest", "docs", "--json"]);
        let mut child = command
            .env("SOUFFLEUR_LOG", "souffleur=debug,index=debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, phase: "starting".to_owned() }
    }

    fn hear(&mut self, line: &str) {
        assert!(!line.contains("panicked"), "{line}");
        if let Some(phase) = PHASES.iter().chain(&["optimised"]).find(|it| line.contains(**it)) {
            self.phase = (*phase).to_owned();
        }
    }

    /// Waits for a moment, or for the `nth` announcement of a phase; says whether the process was
    /// still there then.
    fn wait(&mut self, until: &Until) -> bool {
        let start = Instant::now();
        let (limit, phase, mut nth) = match until {
            Until::After(delay) => (*delay, "nothing", 1),
            Until::Phase(phase, nth) => (Duration::from_secs(60), *phase, *nth),
        };
        loop {
            let left = limit.saturating_sub(start.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.hear(&line);
                    if line.contains(phase) {
                        nth -= 1;
                        if nth == 0 {
                            return true;
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Kills it; gives the phase that it was in, or `None` where it had ended by itself.
    fn kill(mut self) -> Option<String> {
        // On Unix this is SIGKILL.
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv() {
            self.hear(&line);
        }
        assert!(status.success() || status.code().is_none(), "it failed by itself: {status}");
        (!status.success()).then_some(self.phase)
    }
}

/// When to kill.
enum Until {
    After(Duration),
    Phase(&'static str, u64),
}

#[test]
fn a_kill_at_any_moment_loses_nothing_doubles_nothing_and_brings_nothing_back() {
    let Some(world) = World::new() else { return };
    let mut folder = Folder::new(&world);
    let data = world.path().join("data");
    let start = Instant::now();
    let whole =
        json_of(&mut world.command_on(&["ingest", "docs", "--json"], &world.path().join("timed")));
    assert_eq!(whole["documents"]["added"], N_FILES);
    let mut duration = start.elapsed();

    let mut numbers = Numbers(42);
    let mut phases: BTreeMap<String, u64> = BTreeMap::new();
    let mut n_finished = 0;
    while phases.values().sum::<u64>() < KILLS {
        let n_kills = phases.values().sum::<u64>();
        assert!(n_finished < 3 * KILLS, "runs end before they are killed");
        let (mut run, start) = (Run::start(&world), Instant::now());
        let until = if n_kills % 2 == 0 {
            Until::After(duration * u32::try_from(numbers.next(1_000)).unwrap() / 1_000)
        } else {
            let phase = PHASES[usize::try_from(n_kills / 2 % 4).unwrap()];
            let nth = if matches!(phase, "file" | "recording") { 1 + numbers.next(5) } else { 1 };
            Until::Phase(phase, nth)
        };
        if run.wait(&until) && matches!(until, Until::Phase("file" | "recording", _)) {
            thread::sleep(Duration::from_millis(numbers.next(8)));
        }
        let elapsed = start.elapsed();
        match run.kill() {
            Some(phase) => *phases.entry(phase).or_default() += 1,
            // Later runs have less to do than the first: kills must fall into those.
            None => {
                n_finished += 1;
                duration = (duration + elapsed) / 2;
            }
        }
        // The very first kills may leave no index yet.
        if data.join("generations").exists() {
            folder.check_hits(&search(&world, &data, "hybrid"));
        }
        folder.live_on();
    }
    println!("kills by phase {phases:?}; {n_finished} runs had ended before");
    for phase in PHASES {
        assert!(phases.contains_key(phase), "no kill hit `{phase}`: {phases:?}");
    }
    check_final(&world, &mut folder);
}

/// One undisturbed run, and all is as in a data folder that was never disturbed.
fn check_final(world: &World, folder: &mut Folder<'_>) {
    let (data, fresh) = (world.path().join("data"), world.path().join("fresh"));
    let last = world.json(&["ingest", "docs"]);
    check_keys(&last, &[("documents", "object"), ("chunks", "int")]);
    let first = json_of(&mut world.command_on(&["ingest", "docs", "--json"], &fresh));
    assert_eq!(first["documents"]["added"], folder.files.len());
    compare(world, &data, &fresh);
    for mode in ["bm25", "dense"] {
        let hits = search(world, &data, mode);
        folder.check_hits(&hits);
        assert!(folder.deleted.is_empty(), "not gone: {:?}", folder.deleted);
        let found: BTreeMap<String, Content> =
            hits.into_iter().map(|it| (it.path, it.content)).collect();
        assert_eq!(found, folder.files, "{mode}");
    }
}

/// Two data folders hold the same documents and passages, and searches find the same.
fn compare(world: &World, a: &Path, b: &Path) {
    let status = |data| json_of(&mut world.command_on(&["status", "--json"], data));
    let (one, other) = (status(a), status(b));
    for key in ["documents", "chunks", "text_bytes", "pending"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    assert_eq!(one["pending"], 0);
    for mode in ["bm25", "dense", "hybrid"] {
        assert_eq!(search(world, a, mode), search(world, b, mode), "{mode}");
    }
}

#[test]
fn ctrl_c_keeps_what_was_done_and_the_next_run_goes_on() {
    let Some(world) = World::new() else { return };
    let folder = Folder::new(&world);
    let mut run = Run::start(&world);
    assert!(run.wait(&Until::Phase("recording", 3)), "it ended before");
    signal(&run.child, "INT");
    let limit = Duration::from_secs(20);
    wait_until("it ends", limit, || run.child.try_wait().unwrap().is_some());
    let out = run.child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    let n_before = report["documents"]["added"].as_u64().unwrap();
    assert!((3..N_FILES).contains(&n_before), "{report}");
    assert_eq!(world.json(&["status"])["documents"], n_before);

    let next = world.json(&["ingest", "docs"]);
    assert_eq!(next["documents"]["unchanged"], n_before, "{next}");
    assert_eq!(next["documents"]["added"], folder.files.len() as u64 - n_before, "{next}");
    let fresh = world.path().join("fresh");
    json_of(&mut world.command_on(&["ingest", "docs", "--json"], &fresh));
    compare(&world, &world.path().join("data"), &fresh);
}

#[test]
fn ctrl_c_twice_ends_at_once() {
    let Some(world) = World::new() else { return };
    Folder::new(&world);
    let mut run = Run::start(&world);
    assert!(run.wait(&Until::Phase("recording", 1)), "it ended before");
    signal(&run.child, "INT");
    signal(&run.child, "INT");
    let status = run.child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let next = world.json(&["ingest", "docs"]);
    assert_eq!(next["interrupted"], false);
    assert_eq!(world.json(&["status"])["documents"], N_FILES);
}
