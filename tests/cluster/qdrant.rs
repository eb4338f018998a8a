//! A Qdrant server of the test's own: the program that `QDRANT_BIN` names.

use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{World, loudly, program, signal, variable, wait_until};

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, ended when dropped. Its storage is where the test says.
pub(crate) struct Qdrant {
    binary: PathBuf,
    storage: PathBuf,
    ports: (u16, u16),
    settings: Vec<(String, String)>,
    child: Option<Child>,
    /// What the program is told of it.
    pub(crate) url: String,
}

impl Qdrant {
    /// `None`, said loudly, where no program is named.
    pub(crate) fn start(storage: &Path, settings: &[(&str, &str)]) -> Option<Self> {
        let Some(binary) = variable("QDRANT_BIN") else {
            loudly("set QDRANT_BIN to a Qdrant program to run this test");
            return None;
        };
        let ports = (free_port(), free_port());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut it = Self {
            binary: binary.into(),
            storage: storage.to_owned(),
            ports,
            settings: settings.iter().map(owned).collect(),
            child: None,
            url: format!("http://127.0.0.1:{}", ports.1),
        };
        it.begin();
        Some(it)
    }

    /// Starts it, again perhaps, and waits until it listens.
    pub(crate) fn begin(&mut self) {
        fs_err::create_dir_all(&self.storage).unwrap();
        let child = Command::new(&self.binary)
            .args(["--disable-telemetry"])
            .current_dir(&self.storage)
            .env("QDRANT__SERVICE__HOST", "127.0.0.1")
            .env("QDRANT__SERVICE__HTTP_PORT", self.ports.0.to_string())
            .env("QDRANT__SERVICE__GRPC_PORT", self.ports.1.to_string())
            .env("QDRANT__STORAGE__STORAGE_PATH", self.storage.join("storage"))
            .env("QDRANT__STORAGE__SNAPSHOTS_PATH", self.storage.join("snapshots"))
            .envs(self.settings.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.ports.1;
        wait_until("Qdrant listens", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    /// Ends it at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it without ending it: connections stay, and nothing is answered.
    pub(crate) fn hang(&self) {
        signal(self.child.as_ref().unwrap(), "STOP");
    }

    /// Lets it go on after it hung.
    pub(crate) fn go_on(&self) {
        signal(self.child.as_ref().unwrap(), "CONT");
    }

    /// Our program, on a data folder of this world, with this server as its store.
    pub(crate) fn command(&self, world: &World, data: &str, args: &[&str]) -> Command {
        let mut command = program();
        command
            .args(args)
            .args(["--quiet", "--models-dir", &world.models])
            .args(["--data-dir", data])
            .current_dir(world.path())
            .env("SOUFFLEUR_STORE", "qdrant")
            .env("SOUFFLEUR_QDRANT__URLS", format!("[\"{}\"]", self.url));
        command
    }
}

impl Drop for Qdrant {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
