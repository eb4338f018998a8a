//! A small HTTP server that says what a test tells it to say.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc::Receiver},
    thread,
};

use serde_json::Value;

/// A server on a port of its own, until the test ends.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// As they came, names in lowercase.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// What to say.
pub(crate) enum Reply {
    /// A status, headers and a body.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// Status 200 and a stream of events.
    Stream(Vec<Step>),
    /// Bytes that are no HTTP.
    Raw(&'static str),
    /// Nothing: the connection is closed.
    HangUp,
    /// Nothing: the connection stays open.
    Stall,
}

/// A step of a stream.
pub(crate) enum Step {
    /// An event with this data.
    Data(String),
    /// Waits for the test.
    Wait(Receiver<()>),
    /// Closes the connection without the end that the protocol asks for.
    Cut,
    /// Sends nothing more and keeps the connection open.
    Stall,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Whole(status, vec![("Content-Type", "application/json".into())], body.to_string())
    }

    /// A stream of these texts that ends as it should, with token counts.
    pub(crate) fn texts(texts: &[&str]) -> Self {
        let mut steps: Vec<Step> = texts.iter().map(|it| Step::text(it)).collect();
        steps.extend([Step::finish("stop"), Step::usage(), Step::Data("[DONE]".to_owned())]);
        Self::Stream(steps)
    }
}

impl Step {
    pub(crate) fn text(text: &str) -> Self {
        Self::json(&serde_json::json!({"choices": [{"delta": {"content": text}}]}))
    }

    pub(crate) fn finish(reason: &str) -> Self {
        Self::json(&serde_json::json!({"choices": [{"delta": {}, "finish_reason": reason}]}))
    }

    pub(crate) fn usage() -> Self {
        let usage = serde_json::json!({"prompt_tokens": 77, "completion_tokens": 5});
        Self::json(&serde_json::json!({"choices": [], "usage": usage}))
    }

    pub(crate) fn json(data: &Value) -> Self {
        Self::Data(data.to_string())
    }
}

impl Server {
    /// Starts a server; `answer` is given the number of the request, from 0, and the request.
    pub(crate) fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let n = {
                        let mut log = log.lock().unwrap();
                        log.push(request.clone());
                        log.len() - 1
                    };
                    // A client that has left is what some tests are about.
                    let _ = say(stream, answer(n, &request));
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What was asked so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, it)| it.as_str())
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(it, _)| it == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, it)| it.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Some(Request { path, headers, body })
}

fn say(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => {
            write!(stream, "HTTP/1.1 {status} Said\r\nConnection: close\r\n")?;
            for (name, value) in headers {
                write!(stream, "{name}: {value}\r\n")?;
            }
            write!(stream, "Content-Length: {}\r\n\r\n{body}", body.len())
        }
        Reply::Stream(steps) => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
                 Content-Type: text/event-stream; charset=utf-8\r\n\r\n"
            )?;
            for step in steps {
                match step {
                    Step::Data(data) => {
                        let event = format!("data: {data}\n\n");
                        write!(stream, "{:x}\r\n{event}\r\n", event.len())?;
                        stream.flush()?;
                    }
                    Step::Wait(signal) => signal.recv().unwrap(),
                    Step::Cut => return Ok(()),
                    Step::Stall => return wait_for_client(&mut stream),
                }
            }
            write!(stream, "0\r\n\r\n")
        }
        Reply::Raw(bytes) => write!(stream, "{bytes}"),
        Reply::HangUp => Ok(()),
        Reply::Stall => wait_for_client(&mut stream),
    }
}

/// Keeps a connection open until the client closes it.
fn wait_for_client(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {}
    Ok(())
}
