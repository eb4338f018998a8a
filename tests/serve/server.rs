//! The server, and a client that speaks to it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::World;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server.
pub(crate) struct Server {
    pub(crate) world: World,
    child: Child,
    /// `127.0.0.1:PORT`
    pub(crate) addr: String,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|it| panic!("{it}: {}", self.text()))
    }

    /// Expects a status, and gives what the body says.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Expects an error in OpenAI's shape that says all of `words`.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, words: &[&str]) {
        let error = self.expect(status);
        let message = error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}"));
        assert!(error["error"]["type"].is_string(), "{error}");
        for word in words {
            assert!(message.contains(word), "must say `{word}`: {message}");
        }
    }
}

impl Server {
    /// A server over documents, whose answers are quotations. `None` where there are no models.
    pub(crate) fn quoting(documents: &[(&str, &str)]) -> Option<Self> {
        Self::start(World::new()?, documents, &["--generator", "extract"])
    }

    pub(crate) fn start(world: World, documents: &[(&str, &str)], args: &[&str]) -> Option<Self> {
        for (name, text) in documents {
            world.write(&format!("docs/{name}"), text);
        }
        if !documents.is_empty() {
            world.text(&["ingest", "docs"]);
        }
        let mut command = world.command(&["serve", "--addr", "127.0.0.1:0", "--json"]);
        command.args(args);
        Some(Self::run(world, command))
    }

    /// Starts a server by a command of its own.
    pub(crate) fn run(world: World, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|it| panic!("{it}: {line}"));
        let addr = said["listening"].as_str().unwrap().trim_start_matches("http://").to_owned();
        Self { world, child, addr }
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let json = [("content-type", "application/json")];
        let headers: Vec<_> = json.iter().chain(headers).copied().collect();
        self.request("POST", path, &headers, body.to_string().as_bytes())
    }

    /// Uploads files with fields, as a browser's form does.
    pub(crate) fn upload(
        &self,
        files: &[(&str, &[u8])],
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Response {
        let mut body = Vec::new();
        for (name, value) in fields {
            let head = format!("content-disposition: form-data; name=\"{name}\"");
            body.extend(format!("--frontier\r\n{head}\r\n\r\n{value}\r\n").bytes());
        }
        for (name, content) in files {
            let head =
                format!("content-disposition: form-data; name=\"file\"; filename=\"{name}\"");
            body.extend(format!("--frontier\r\n{head}\r\n\r\n").bytes());
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--frontier--\r\n");
        let form = [("content-type", "multipart/form-data; boundary=frontier")];
        let headers: Vec<_> = form.iter().chain(headers).copied().collect();
        self.request("POST", "/v1/documents", &headers, &body)
    }

    /// Waits for a job to end, and gives it.
    #[track_caller]
    pub(crate) fn ended(&self, job: &Value) -> Value {
        let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
        let start = Instant::now();
        loop {
            let job = self.get(&path).expect(200);
            if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
                return job;
            }
            assert!(start.elapsed() < PATIENCE, "{job}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(it, _)| it.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.addr));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a large body closes before it has read all of it.
        let _ = stream.write_all(body);
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        parse(&raw)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends Ctrl-C, and gives the exit status and how long that took.
    #[cfg(unix)]
    pub(crate) fn interrupt(mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let pid = self.child.id().to_string();
        std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), start.elapsed())
    }
}

impl Server {
    /// Ends it, so that another program may use its data folder.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn parse(raw: &[u8]) -> Response {
    let end = raw.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no response: {}", String::from_utf8_lossy(raw)));
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|it| it.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut body = raw[end + 4..].to_vec();
    let is_chunked = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked")
    });
    if is_chunked {
        body = unchunk(&body);
    }
    Response { status, headers, body }
}

fn unchunk(mut raw: &[u8]) -> Vec<u8> {
    let mut res = Vec::new();
    while let Some(end) = raw.windows(2).position(|it| it == b"\r\n") {
        let size = std::str::from_utf8(&raw[..end]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        res.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 4 + size..];
    }
    res
}

/// The `data:` of server-sent events with their names, comments left out.
pub(crate) fn events(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter_map(|event| {
            let mut name = String::new();
            let mut data = Vec::new();
            for line in event.lines() {
                if let Some(it) = line.strip_prefix("event: ") {
                    it.clone_into(&mut name);
                } else if let Some(it) = line.strip_prefix("data: ") {
                    data.push(it);
                }
            }
            (!data.is_empty()).then(|| (name, data.join("\n")))
        })
        .collect()
}
