//! Measures `souffleur serve` under load: `cargo bench --bench serve -- [FOLDER]`.
//!
//! Starts the program on the documents of a folder, or on 2,500 made-up ones of eight sections, and
//! prints a line for each figure: searches of one client and of 32, searches during an ingestion,
//! `/health` while the generator and an ingestion are busy, refusals at ten times the rate that it can
//! answer, and memory. Models are those of `SOUFFLEUR_TEST_MODELS`; `SOUFFLEUR_BENCH_DIR` keeps
//! documents and index for the next run, which the ingestions change: put a copy back. With
//! `--searches` it ends after the searches, and changes nothing. Figures worth keeping go to
//! `docs/benchmarks.md`.

#![expect(clippy::print_stdout, reason = "figures are what it is run for")]
#![expect(clippy::disallowed_methods, reason = "a bench asks its environment for models")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

const N_DOCUMENTS: usize = 2_500;

/// Names the folder that documents and index are kept in.
const DIR_VARIABLE: &str = "SOUFFLEUR_BENCH_DIR";

/// Searches before any is measured.
const N_WARM_UP: usize = 50;

/// Rounds of searches, each by one client and then by [`N_CLIENTS`]: a machine's speed changes from
/// minute to minute, and so only neighbours are compared.
const N_ROUNDS: usize = 8;

const N_CLIENTS: usize = 32;

/// Seconds of overload.
const OVERLOAD: Duration = Duration::from_secs(60);

const THEMES: [&str; 12] = [
    "paid leave",
    "expenses",
    "remote work",
    "parking",
    "safety",
    "training",
    "health insurance",
    "purchases",
    "recruiting",
    "laptops",
    "the canteen",
    "travel",
];

const SITES: [&str; 10] =
    ["Lyon", "Nantes", "Lille", "Brest", "Nice", "Rennes", "Metz", "Tours", "Pau", "Dijon"];

fn main() -> Result<()> {
    let Ok(models) = std::env::var("SOUFFLEUR_TEST_MODELS") else {
        println!("SKIPPED: SOUFFLEUR_TEST_MODELS names no folder of models");
        return Ok(());
    };
    let temporary = tempfile::tempdir()?;
    let dir = match std::env::var_os(DIR_VARIABLE) {
        Some(kept) => PathBuf::from(kept),
        None => temporary.path().to_owned(),
    };
    fs_err::create_dir_all(&dir)?;
    let folder = std::env::args().skip(1).find(|it| !it.starts_with("--")).map(PathBuf::from);
    let docs = match folder {
        Some(it) => it.canonicalize()?,
        None => made_up(&dir.join("docs"))?,
    };
    let server = Server::start(&dir, &docs, &models)?;
    let status = server.json("GET", "/v1/status", "")?;
    println!("documents {}, chunks {}", status["index"]["documents"], status["index"]["chunks"]);
    searches_in_rounds(&server)?;
    if std::env::args().any(|it| it == "--searches") {
        return Ok(());
    }
    busy_searches(&server, &docs)?;
    busy_health(&server, &docs)?;
    overload(&server)?;
    Ok(())
}

/// Documents in the manner of a company's, all different; those that are there stay.
fn made_up(dir: &Path) -> Result<PathBuf> {
    if dir.is_dir() {
        return Ok(dir.canonicalize()?);
    }
    for i in 0..N_DOCUMENTS {
        let theme = THEMES[i % THEMES.len()];
        let site = SITES[i / THEMES.len() % SITES.len()];
        let mut text = format!("# Rule {i}: {theme} in {site}\n");
        for section in 0..8 {
            let (days, sum) = (1 + (i * 7 + section) % 30, 10 + (i * 13 + section * 5) % 990);
            text.push_str(&format!(
                "\n## Article {i}.{section}\n\nFor {theme} at the office in {site}, the request is \
                 made {days} days ahead with the department of {}. The amount is limited to {sum} \
                 euros per person, and every exception is decided by the director of the office \
                 once the manager has given an opinion. The reference of this text is \
                 RG-{i:04}-{section}.\n",
                THEMES[(i + section) % THEMES.len()],
            ));
        }
        let path = dir.join(site).join(format!("rule-{i}.md"));
        fs_err::create_dir_all(path.parent().context("a folder")?)?;
        fs_err::write(path, text)?;
    }
    Ok(dir.canonicalize()?)
}

fn question(i: usize) -> String {
    let (theme, site) = (THEMES[i * 5 % THEMES.len()], SITES[i * 3 % SITES.len()]);
    let question = match i % 3 {
        0 => format!("What is the limit for {theme} in {site}?"),
        1 => format!("How many days ahead do I ask for {theme} in {site}?"),
        _ => format!("Who decides on RG-{:04}-2?", i * 37 % N_DOCUMENTS),
    };
    json!({ "query": question }).to_string()
}

/// Searches of one client and of many, in turn.
fn searches_in_rounds(server: &Server) -> Result<()> {
    searches(server, 1, N_WARM_UP)?;
    let (mut of_one, mut of_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..N_ROUNDS {
        let (times, one) = searches(server, 1, 50)?;
        of_one.extend(times);
        let (times, many) = searches(server, N_CLIENTS, 320)?;
        of_many.extend(times);
        ratios.push(many / one);
    }
    report("search, one client", of_one);
    report(&format!("search, {N_CLIENTS} clients"), of_many);
    ratios.sort_by(f64::total_cmp);
    println!(
        "throughput of {N_CLIENTS} clients / of one: median {:.2}, {:.2} to {:.2} in {N_ROUNDS} rounds",
        (ratios[N_ROUNDS / 2 - 1] + ratios[N_ROUNDS / 2]) / 2.0,
        ratios[0],
        ratios[N_ROUNDS - 1]
    );
    Ok(())
}

/// Runs searches, and gives their latencies and how many were answered a second. One that fails ends
/// the bench.
fn searches(server: &Server, n_clients: usize, n: usize) -> Result<(Vec<Duration>, f64)> {
    let times = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..n_clients)
            .map(|client| {
                let times = &times;
                scope.spawn(move || -> Result<()> {
                    let mut connection = Connection::open(server)?;
                    for i in 0..n / n_clients {
                        let took = connection.search(client * 131 + i)?;
                        times.lock().expect("no panic").push(took);
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|it| it.join().expect("no panic"))
    })?;
    let per_second = n as f64 / start.elapsed().as_secs_f64();
    Ok((times.into_inner().expect("no panic"), per_second))
}

/// Searches of one client while documents are read again, ten a second.
fn busy_searches(server: &Server, docs: &Path) -> Result<()> {
    change(docs, "again")?;
    server.json("POST", "/v1/jobs", r#"{"kind":"ingest"}"#)?;
    let mut connection = Connection::open(server)?;
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        times.push(connection.search(times.len())?);
        std::thread::sleep(Duration::from_millis(100));
    }
    report("search, one client, while documents are read again", times);
    Ok(())
}

/// Changes a thousand documents.
fn change(docs: &Path, word: &str) -> Result<()> {
    for entry in first_thousand(docs) {
        let text = fs_err::read_to_string(&entry)?;
        fs_err::write(&entry, format!("{text}\nChanged {word}.\n"))?;
    }
    Ok(())
}

/// `/health` while eight drafts are written and all documents are read again.
fn busy_health(server: &Server, docs: &Path) -> Result<()> {
    change(docs, "once more")?;
    server.json("POST", "/v1/jobs", r#"{"kind":"ingest"}"#)?;
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = server.json("POST", "/v1/chat/completions", &poem());
                }
            });
        }
        let mut connection = Connection::open(server)?;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let start = Instant::now();
            connection.ask("GET", "/health", "")?;
            times.push(start.elapsed());
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    report("/health while the generator and an ingestion are busy", times);
    Ok(())
}

/// The first thousand files of a folder of ours.
fn first_thousand(docs: &Path) -> Vec<PathBuf> {
    let mut res = Vec::new();
    for site in SITES {
        let entries = fs_err::read_dir(docs.join(site)).into_iter().flatten().flatten();
        res.extend(entries.map(|it| it.path()));
    }
    res.truncate(1_000);
    res
}

fn poem() -> String {
    json!({
        "model": "base", "max_tokens": 200, "temperature": 0,
        "messages": [{ "role": "user", "content": "Write a long poem about the sea." }],
    })
    .to_string()
}

/// Requests at ten times the rate that the server can answer, for a minute, however long their
/// answers take.
fn overload(server: &Server) -> Result<()> {
    let capacity = capacity(server)?;
    let pause = Duration::from_secs_f64(0.1 / capacity);
    let (refused, answered) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let before = server.resident_mb()?;
    let mut peak = before;
    let end = Instant::now() + OVERLOAD;
    std::thread::scope(|scope| -> Result<()> {
        while Instant::now() < end {
            scope.spawn(|| {
                let start = Instant::now();
                let code = Connection::open(server)
                    .and_then(|mut it| it.ask("POST", "/v1/chat/completions", &poem()))
                    .map_or(0, |(code, _)| code);
                let times = if code == 200 { &answered } else { &refused };
                times.lock().expect("no panic").push((code, start.elapsed()));
            });
            peak = peak.max(server.resident_mb()?);
            std::thread::sleep(pause);
        }
        Ok(())
    })?;
    let refused = refused.into_inner().expect("no panic");
    let n_answered = answered.into_inner().expect("no panic").len();
    let n_odd = refused.iter().filter(|(code, _)| *code != 503).count();
    println!(
        "overload at 10 x {capacity:.1} requests/s: {n_answered} answered, {} refused, {n_odd} of \
         them otherwise than with 503",
        refused.len()
    );
    report("refusals", refused.into_iter().map(|(_, time)| time).collect());
    println!("memory: {before} MB before, {peak} MB at most");
    server.json("GET", "/ready", "")?;
    Ok(())
}

/// Answers a second with as many clients as there are places.
fn capacity(server: &Server) -> Result<f64> {
    let start = Instant::now();
    let n_answers = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_secs(10) {
                    if server.json("POST", "/v1/chat/completions", &poem()).is_ok() {
                        *n_answers.lock().expect("no panic") += 1;
                    }
                }
            });
        }
    });
    let n_answers: u32 = n_answers.into_inner().expect("no panic");
    Ok(f64::from(n_answers.max(1)) / start.elapsed().as_secs_f64())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        println!("{what}: nothing");
        return;
    };
    let at = |share: f64| times[(last as f64 * share).round() as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms (n = {})",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(dir: &Path, docs: &Path, models: &str) -> Result<Self> {
        let program = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_souffleur"));
            command.args(["--offline", "--quiet", "--json", "--models-dir", models]);
            // It would be taken for a setting.
            command.env_remove(DIR_VARIABLE);
            command.arg("--data-dir").arg(dir.join("data")).current_dir(dir);
            command
        };
        let out = program().arg("ingest").arg(docs).stderr(Stdio::inherit()).output()?;
        anyhow::ensure!(out.status.success(), "the documents could not be ingested");
        let mut child =
            program().args(["serve", "--addr", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let said: Value = serde_json::from_str(&line)?;
        let url = said["listening"].as_str().context("an address")?;
        Ok(Self { child, addr: url.trim_start_matches("http://").to_owned() })
    }

    fn json(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let (code, body) = Connection::open(self)?.ask(method, path, body)?;
        anyhow::ensure!(code < 300, "{path} was answered with {code}");
        Ok(serde_json::from_slice(&body)?)
    }

    /// Resident memory, where the system tells it.
    fn resident_mb(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let Ok(status) = fs_err::read_to_string(path) else { return Ok(0) };
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).context("VmRSS")?;
        let kb: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kb / 1_024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept open.
struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    fn open(server: &Server) -> Result<Self> {
        let stream = TcpStream::connect(&server.addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: server.addr.clone() })
    }

    /// Asks a question, and gives how long the answer took.
    fn search(&mut self, i: usize) -> Result<Duration> {
        let start = Instant::now();
        let (code, _) = self.ask("POST", "/v1/search", &question(i))?;
        anyhow::ensure!(code == 200, "a search was answered with {code}");
        Ok(start.elapsed())
    }

    /// A request and its response's status and body, which must have a length.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut code, mut len) = (0, 0);
        loop {
            let mut line = String::new();
            anyhow::ensure!(self.stream.read_line(&mut line)? > 0, "the server closed");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                code = rest.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                len = rest.trim().parse()?;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok((code, body))
    }
}
