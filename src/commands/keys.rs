//! `souffleur keys`: who may use the HTTP API.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    cli::KeysCommand,
    printer::{BOLD, DIM, styled},
    records::{Key, NewEntry, NewKey, Records},
    session::Session,
};

pub(super) fn run(session: &Session, command: &KeysCommand) -> Result<ExitCode> {
    let records = Records::open(&session.config.data_dir)?;
    let printer = session.printer;
    match command {
        KeysCommand::Create { name, scope, groups } => {
            let NewKey { key, secret } = records.create_key(name, *scope, groups)?;
            record(&records, "key.create", &key.id)?;
            printer.line(styled(BOLD, &secret))?;
            printer.line(styled(DIM, describe(&key)))?;
            printer.note("it is shown once and stored hashed; requests need a key from now on");
            printer.json(&json!({ "secret": secret, "key": key }))?;
        }
        KeysCommand::List => {
            let keys = records.keys()?;
            for key in &keys {
                printer.line(describe(key))?;
            }
            if keys.is_empty() {
                printer.note("there is no key: `souffleur keys create` makes one");
            }
            printer.json(&json!({ "keys": keys }))?;
        }
        KeysCommand::Revoke { id } => {
            if !records.revoke_key(id)? {
                bail!("no key in use has the id `{id}`: `souffleur keys list` shows all");
            }
            record(&records, "key.revoke", id)?;
            printer.line(format!("{id} is revoked"))?;
            printer.json(&json!({ "id": id, "revoked": true }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn record(records: &Records, action: &str, id: &str) -> Result<()> {
    let entry = NewEntry { action, object: Some(id), ..NewEntry::default() };
    Ok(records.audit(&entry)?)
}

fn describe(key: &Key) -> String {
    let groups = match key.groups.is_empty() {
        true => String::new(),
        false => format!("  groups {}", key.groups.join(", ")),
    };
    let revoked = if key.revoked.is_some() { "  revoked" } else { "" };
    let created = jiff::Timestamp::from_second(key.created)
        .map_or_else(|_| String::new(), |it| it.strftime("%Y-%m-%d").to_string());
    format!("{}  {:5}  {created}  {}{groups}{revoked}", key.id, key.scope.as_str(), key.name)
}
