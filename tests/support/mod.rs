//! The program as a user runs it: a data folder of its own and the real quick-start models.
//!
//! Reads `SOUFFLEUR_TEST_MODELS`, a models folder; says loudly that a test was skipped without it,
//! and fails in CI.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The default embedder.
pub(crate) const EMBEDDER: &str = "all-minilm-l6-v2";
/// The default generator.
pub(crate) const GENERATOR: &str = "smollm2-135m-instruct";

pub(crate) const POLICY: &str = "# Remote work\n\nEmployees may work remotely up to three days per \
    week.\n\n## Equipment\n\nThe company lends a screen and a chair.\n";
pub(crate) const QUESTION: &str = "How many days per week may employees work remotely?";

#[expect(clippy::disallowed_methods, reason = "a test asks its environment for real models")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Says that a test, or a part of one, was skipped; in CI that is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(variable("CI").is_none(), "CI must not skip: {why}");
    loudly(why);
}

/// Says that something was skipped past the harness, which keeps what a test that passes prints.
pub(crate) fn loudly(why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
}

/// The program, with nothing said yet.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_souffleur"))
}

/// A folder to work in, a data folder inside it, and the shared models.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) models: String,
}

impl World {
    /// `None` where there are no models.
    pub(crate) fn new() -> Option<Self> {
        let Some(models) = variable("SOUFFLEUR_TEST_MODELS") else {
            skipped("set SOUFFLEUR_TEST_MODELS to a models folder to run this test");
            return None;
        };
        Some(Self { dir: tempfile::tempdir().unwrap(), models })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub(crate) fn remove(&self, name: &str) {
        fs_err::remove_file(self.path().join(name)).unwrap();
    }

    /// The program in this world: offline, quiet, with its models and its data folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_on(args, &self.path().join("data"))
    }

    /// As [`World::command`], on another data folder.
    pub(crate) fn command_on(&self, args: &[&str], data: &Path) -> Command {
        let mut command = program();
        command.args(args).args(["--offline", "--quiet", "--models-dir", &self.models]);
        command.arg("--data-dir").arg(data).current_dir(self.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that succeeds prints for people.
    #[track_caller]
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}: {}", out.status, error_of(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Runs with `--json` and gives the one value that it printed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        json_of(self.command(args).arg("--json"))
    }

    /// Expects a failure that says all of `words`, prints no data, and is no panic.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        check_failure(&self.run(args), code, words);
    }

    /// A copy of one of the models in `models/` of this world.
    pub(crate) fn copy_model(&self, id: &str) -> PathBuf {
        let copy = self.path().join("models").join(id);
        fs_err::create_dir_all(&copy).unwrap();
        for entry in fs_err::read_dir(Path::new(&self.models).join(id)).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        copy
    }
}

pub(crate) fn error_of(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// Runs a command that must succeed and print exactly one JSON value.
#[track_caller]
pub(crate) fn json_of(command: &mut Command) -> Value {
    let out = command.output().unwrap();
    // One that was killed from outside says nothing itself.
    assert!(out.status.success(), "{command:?}: {}: {}", out.status, error_of(&out));
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|error| panic!("{command:?}: {error}: {text}"))
}

/// Checks that a run failed as it should.
#[track_caller]
pub(crate) fn check_failure(out: &Output, code: i32, words: &[&str]) {
    let error = error_of(out);
    assert_eq!(out.status.code(), Some(code), "{error}");
    for word in words {
        assert!(error.contains(word), "must say `{word}`: {error}");
    }
    assert!(!error.contains("panicked"), "{error}");
    assert!(out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stdout));
}

/// Runs a command with `input` on its standard input.
pub(crate) fn with_input(mut command: Command, input: &[u8]) -> Output {
    let pipe = || Stdio::piped();
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a thread of its own: a program that fails early does not read all of it.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let out = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    out
}

/// Waits until `ready`, or fails after `limit`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal by its name, such as `INT`.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}");
}

/// Splitmix64: tests need numbers that repeat, not randomness.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }
}

/// Checks that an object has these keys, each of its kind: `string`, `bool`, `int`, `number`,
/// `array` or `object`; a `?` behind allows null. Others may stand beside them.
#[track_caller]
pub(crate) fn check_keys(value: &Value, keys: &[(&str, &str)]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    for (key, kind) in keys {
        let found = object.get(*key).unwrap_or_else(|| panic!("no `{key}`: {value}"));
        let (kind, nullable) = match kind.strip_suffix('?') {
            Some(kind) => (kind, true),
            None => (*kind, false),
        };
        let fits = match kind {
            "string" => found.is_string(),
            "bool" => found.is_boolean(),
            "int" => found.is_u64(),
            "number" => found.is_number(),
            "array" => found.is_array(),
            "object" => found.is_object(),
            _ => panic!("no kind `{kind}`"),
        };
        assert!(fits || (nullable && found.is_null()), "`{key}` is no {kind}: {found}");
    }
}

/// A small file system of its own, taken away at the end.
#[cfg(target_os = "linux")]
pub(crate) struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// `None` where the system does not let us.
    pub(crate) fn mount(path: PathBuf, megabytes: u32) -> Option<Self> {
        fs_err::create_dir_all(&path).unwrap();
        let size = format!("size={megabytes}m");
        let out =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        if !out.is_ok_and(|it| it.status.success()) {
            skipped("a small file system could not be mounted (that takes root)");
            return None;
        }
        Some(Self(path))
    }

    /// Fills it but for some kilobytes.
    pub(crate) fn fill(&self, left: usize) {
        let spare = vec![1; left << 10];
        fs_err::write(self.0.join("spare"), spare).unwrap();
        let mut file = fs_err::File::create(self.0.join("filler")).unwrap();
        let block = vec![1; 1 << 12];
        while file.write_all(&block).is_ok() {}
        fs_err::remove_file(self.0.join("spare")).unwrap();
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
