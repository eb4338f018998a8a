//! `load` and `unload`: adapters of a server that runs.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    cli::ServerArgs,
    session::{Session, WrongUsage},
    upstream::{
        http::{BaseUrl, Http, Timeouts},
        settings::Secret,
    },
};

/// Loading reads a file of some megabytes; requests that run are not waited for.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(60),
    between_chunks: Duration::from_secs(10),
    total: Duration::from_secs(60),
};

/// Loads an adapter into the server, which requests find under `name` from then on.
pub(super) fn load(
    session: &Session,
    (adapter, name): (&str, Option<&str>),
    args: &ServerArgs,
) -> Result<()> {
    let path = session.adapter_path(adapter)?;
    // The server may run in another folder.
    let path = fs_err::canonicalize(path)?;
    let of_path = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.map_or(of_path, str::to_owned);
    let said = post(session, args, "/v1/adapters", &json!({ "name": name, "path": path }))?;
    session.printer.line(format!("{name}: loaded, {} matrices", said["matrices"]))?;
    session.printer.json(&said)?;
    Ok(())
}

/// Unloads adapters from the server; their folders stay.
pub(super) fn unload(session: &Session, names: &[String], args: &ServerArgs) -> Result<()> {
    for name in names {
        post(session, args, "/v1/unload_lora_adapter", &json!({ "lora_name": name }))?;
        session.printer.line(format!("{name}: unloaded"))?;
    }
    session.printer.json(&json!({ "unloaded": names }))?;
    Ok(())
}

fn post(session: &Session, args: &ServerArgs, path: &str, body: &Value) -> Result<Value> {
    if session.config.offline {
        let what = "a server is spoken to over a socket, which `offline` forbids";
        return Err(WrongUsage(what.into()).into());
    }
    let url = match &args.server {
        Some(url) => url.clone(),
        None => format!("http://{}", session.config.serve.addr),
    };
    let key = match &args.key_file {
        Some(file) => Secret::new(fs_err::read_to_string(file)?.trim()),
        None => Secret::default(),
    };
    let http = Http::new(BaseUrl::parse("--server", &url)?, key, TIMEOUTS);
    let mut poll = || session.flow();
    let mut exchange = http.send(path, Some(body.to_string().into_bytes()))?;
    let head = exchange.head(&mut poll)?;
    let text = exchange.text(&mut poll)?;
    let said: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if !(200..300).contains(&head.status) {
        let why = said["error"]["message"].as_str().unwrap_or("it gave no reason");
        bail!("the server at {} answers {}: {why}", http.base().host(), head.status);
    }
    Ok(said)
}
