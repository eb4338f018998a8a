//! `souffleur doctor`: what is missing, and what to do about it.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::Result;
use index::{Index, OpenError, fingerprint::Recipe};
use model::device::DeviceName;
use serde_json::json;

use super::ingest::{LANGUAGE_FIX, language_advice};
use crate::{
    embedder::OpenedEmbedder,
    hints,
    languages::foreign_languages,
    printer::{BOLD, GREEN, RED, YELLOW, styled},
    session::{EXTRACT, Session},
    upstream::{OPENAI, error::UpstreamError, http::Timeouts, probe::Listed},
};

/// Models of a server that are named, at most.
const MODELS_LISTED_MAX: usize = 8;

/// How long a server may take to say what models it has.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Free space under which a warning is due.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Advice,
    Problem,
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    level: Level,
    detail: String,
    fix: Option<String>,
}

pub(super) fn run(session: &Session) -> Result<ExitCode> {
    let mut checks = vec![processor(), memory()];
    checks.extend(disk(session));
    let (embedder, opened) = embedder(session);
    checks.push(embedder);
    checks.push(generator(session));
    checks.extend(reranker(session));
    checks.extend(index(session, opened.as_ref()));
    let printer = session.printer;
    for it in &checks {
        let mark = match it.level {
            Level::Ok => styled(GREEN, "✓"),
            Level::Advice => styled(YELLOW, "!"),
            Level::Problem => styled(RED, "✗"),
        };
        printer.line(format!("{mark} {:<10} {}", it.name, it.detail))?;
        if let Some(fix) = &it.fix {
            printer.line(format!("             {}", styled(BOLD, fix)))?;
        }
    }
    let healthy = checks.iter().all(|it| it.level != Level::Problem);
    let rows: Vec<_> = checks
        .iter()
        .map(|it| {
            let level = match it.level {
                Level::Ok => "ok",
                Level::Advice => "advice",
                Level::Problem => "problem",
            };
            json!({"check": it.name, "level": level, "detail": it.detail, "fix": it.fix})
        })
        .collect();
    printer.json(&json!({ "healthy": healthy, "checks": rows }))?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn processor() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let (features, fast) = features();
    Check {
        name: "processor",
        level: if fast { Level::Ok } else { Level::Advice },
        detail: format!("{cores} cores, {features}"),
        fix: (!fast).then(|| "without AVX2 or NEON everything works, several times slower".into()),
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> (String, bool) {
    let all = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    let names: Vec<&str> = all.iter().filter(|(_, it)| *it).map(|(name, _)| *name).collect();
    let names = if names.is_empty() { "no vector features".to_owned() } else { names.join(" ") };
    (names, all[0].1 && all[1].1)
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> (String, bool) {
    (std::env::consts::ARCH.to_owned(), cfg!(target_arch = "aarch64"))
}

fn memory() -> Check {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let free = system.available_memory();
    let enough = free >= 1 << 30;
    Check {
        name: "memory",
        level: if enough { Level::Ok } else { Level::Advice },
        detail: format!("{} free", gigabytes(free)),
        fix: (!enough).then(|| "the default models need about 1 GB".into()),
    }
}

/// Free space where data and models live.
fn disk(session: &Session) -> Vec<Check> {
    let disks = sysinfo::Disks::new_with_refreshed_list();
    let free_at = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let holding = disks.iter().filter(|it| path.starts_with(it.mount_point()));
        holding.max_by_key(|it| it.mount_point().as_os_str().len()).map(|it| it.available_space())
    };
    let places = [("data", &session.config.data_dir), ("models", &session.config.models_dir)];
    places
        .into_iter()
        .filter_map(|(name, path)| Some((name, path, free_at(path)?)))
        .map(|(name, path, free)| {
            let enough = free >= FREE_BYTES_MIN;
            Check {
                name,
                level: if enough { Level::Ok } else { Level::Advice },
                detail: format!("{} free at {}", gigabytes(free), path.display()),
                fix: (!enough).then(|| "make room: models and indexes take gigabytes".into()),
            }
        })
        .collect()
}

/// The embedder of the settings, opened where it is here: only then it is known to work.
fn embedder(session: &Session) -> (Check, Option<OpenedEmbedder>) {
    let id = &session.config.models.embedder;
    let mut check = model(session, "embedder", id);
    if check.level != Level::Ok {
        return (check, None);
    }
    match session.embedder() {
        Ok(opened) => (check, Some(opened)),
        Err(error) => {
            check.level = Level::Problem;
            check.detail = format!("{error:#}");
            check.fix = hints::of(&error).map(str::to_owned);
            (check, None)
        }
    }
}

/// The generator of the settings, and what it computes on where that is not the processor.
fn generator(session: &Session) -> Check {
    let config = &session.config.models;
    let mut check = model(session, "generator", &config.generator);
    let device = config.generator_device;
    if device == DeviceName::Cpu || [OPENAI, EXTRACT].contains(&config.generator.as_str()) {
        return check;
    }
    match device.open() {
        Ok(_) => check.detail.push_str(&format!(" on {device}")),
        Err(error) => {
            check.level = Level::Problem;
            check.detail = error.to_string();
            check.fix = Some("set `models.generator_device` to \"cpu\"".into());
        }
    }
    check
}

/// The reranker, where the settings name one: read whole, because only its weights tell whether it
/// can score pairs.
fn reranker(session: &Session) -> Option<Check> {
    const NAME: &str = "reranker";
    let id = &session.config.retrieval.reranker;
    if id.is_empty() {
        return None;
    }
    if !Path::new(id).exists() {
        let check = model(session, NAME, id);
        if check.level != Level::Ok {
            return Some(check);
        }
    }
    Some(match session.reranker() {
        Ok(Some(it)) => Check {
            name: NAME,
            level: Level::Ok,
            detail: format!("{id} (reads {} tokens of a pair)", it.tokens_max()),
            fix: None,
        },
        Ok(None) => return None,
        Err(error) => Check {
            name: NAME,
            level: Level::Problem,
            detail: format!("{error:#}"),
            fix: Some("set `retrieval.reranker` to a cross-encoder, or to nothing".into()),
        },
    })
}

fn model(session: &Session, role: &'static str, id: &str) -> Check {
    if id == OPENAI {
        return server(session, role);
    }
    let pull = || Some(format!("souffleur models pull {id}"));
    if id == EXTRACT || Path::new(id).exists() {
        return Check { name: role, level: Level::Ok, detail: id.to_owned(), fix: None };
    }
    let (level, detail, fix) = match session.entry(id, None) {
        Err(error) => (Level::Problem, error.to_string(), None),
        Ok(entry) => match session.store.installed(id) {
            Ok(Some(_)) => {
                let languages = entry.languages.join(", ");
                (Level::Ok, format!("{id} (languages: {languages})"), None)
            }
            Ok(None) => (Level::Advice, format!("{id} is not installed yet"), pull()),
            Err(error) => (Level::Problem, error.to_string(), pull()),
        },
    };
    Check { name: role, level, detail, fix }
}

/// A server of the settings: whether it answers, and has the model.
fn server(session: &Session, role: &'static str) -> Check {
    let limits = session.timeouts();
    let timeouts = Timeouts {
        connect: limits.connect.min(PROBE_TIME),
        first_byte: limits.first_byte.min(PROBE_TIME),
        between_chunks: limits.between_chunks.min(PROBE_TIME),
        total: limits.total.min(PROBE_TIME),
    };
    let asked = match role {
        "embedder" => ask_embedder(session, timeouts),
        _ => ask_generator(session, timeouts),
    };
    match asked {
        Ok((level, detail, fix)) => Check { name: role, level, detail, fix },
        Err(error) => Check {
            name: role,
            level: Level::Problem,
            detail: error.to_string(),
            fix: hints::upstream(&error).map(str::to_owned),
        },
    }
}

/// How well, in words, and what to do.
type Found = (Level, String, Option<String>);

fn ask_generator(session: &Session, timeouts: Timeouts) -> Result<Found, UpstreamError> {
    match session.upstream_chat(timeouts) {
        Ok(chat) => Ok(found(chat.listed()?, chat.model(), chat.base().host(), "upstream.model")),
        Err(UpstreamError::NotSet { key }) => unset(session, key, timeouts),
        Err(error) => Err(error),
    }
}

fn ask_embedder(session: &Session, timeouts: Timeouts) -> Result<Found, UpstreamError> {
    let embedder = match session.upstream_embeddings(timeouts) {
        Ok(it) => it,
        Err(UpstreamError::NotSet { key }) => return unset(session, key, timeouts),
        Err(error) => return Err(error),
    };
    let (model, host) = (&embedder.options().model, embedder.base().host());
    let listed = found(embedder.listed()?, model, host, "upstream.embeddings.model");
    if listed.0 != Level::Ok {
        return Ok(listed);
    }
    let (given, set) = (embedder.measure()?, embedder.options().dimension);
    if given != set {
        let detail = format!("{model} on {host} gives {given} dimensions, the settings say {set}");
        let fix = format!("set upstream.embeddings.dimension = {given}");
        return Ok((Level::Problem, detail, Some(fix)));
    }
    Ok((Level::Ok, format!("{}, {given} dimensions", listed.1), None))
}

fn found(listed: Listed, model: &str, host: &str, key: &str) -> Found {
    if listed.has_model {
        return (Level::Ok, format!("{model} on {host}"), None);
    }
    let detail = format!("{host} answers, but does not list `{model}`");
    (Level::Problem, detail, Some(format!("set {key} to one of: {}", names(&listed.models))))
}

/// A setting that is empty, with what the server offers for it.
fn unset(session: &Session, key: &'static str, timeouts: Timeouts) -> Result<Found, UpstreamError> {
    let offered = match key {
        "upstream.model" => session.upstream_models(timeouts)?,
        "upstream.embeddings.model" => session.upstream_embedding_models(timeouts)?,
        key => return Err(UpstreamError::NotSet { key }),
    };
    let detail = format!("`{key}` is not set");
    Ok((Level::Problem, detail, Some(format!("set it to one of: {}", names(&offered)))))
}

/// Names of models, the first of them where there are many.
fn names(models: &[String]) -> String {
    let shown: Vec<&str> = models.iter().map(String::as_str).take(MODELS_LISTED_MAX).collect();
    let more = models.len().saturating_sub(MODELS_LISTED_MAX);
    match (shown.len(), more) {
        (0, _) => "(the server lists none)".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The state of the index, and whether the embedder speaks its languages.
fn index(session: &Session, embedder: Option<&OpenedEmbedder>) -> Vec<Check> {
    let problem = |detail: String, fix: Option<&str>| Check {
        name: "index",
        level: Level::Problem,
        detail,
        fix: fix.map(str::to_owned),
    };
    // With the recipe that it was built by: the settings' embedder is compared below.
    let (recipe, opened) = match session.index_as_built() {
        Ok(it) => it,
        Err(OpenError::Missing { path }) => {
            return vec![Check {
                name: "index",
                level: Level::Advice,
                detail: format!("nothing is indexed in {} yet", path.display()),
                fix: Some("souffleur ingest FOLDER".into()),
            }];
        }
        Err(error) => {
            // The causes tell which node of a cluster, or which file, failed.
            let hint = error.hint();
            return vec![problem(format!("{:#}", anyhow::Error::new(error)), hint)];
        }
    };
    let counts = match opened.catalog().counts() {
        Ok(counts) => counts,
        Err(error) => return vec![problem(error.to_string(), None)],
    };
    let other = other_recipe(session, &recipe, embedder);
    let mut detail = format!(
        "{} documents, {} chunks, built with {}",
        counts.documents, counts.chunks, recipe.embedder
    );
    if let Some(other) = &other {
        detail = format!("{detail}; {other}");
    }
    let mut res = vec![Check {
        name: "index",
        level: if other.is_none() { Level::Ok } else { Level::Problem },
        detail,
        fix: other.map(|_| "souffleur ingest --rebuild".to_owned()),
    }];
    res.extend(cluster(session, &opened));
    if counts.pending > 0 {
        res.push(Check {
            name: "pending",
            level: Level::Problem,
            detail: format!("{} changes wait to be indexed", counts.pending),
            fix: Some("make room on the disk, then run any command again".to_owned()),
        });
    }
    if let Ok(languages) = opened.catalog().languages()
        && let Ok(entry) = session.entry(&recipe.embedder.id, None)
    {
        for (language, share) in foreign_languages(&languages, &|it| entry.speaks(it)) {
            res.push(Check {
                name: "languages",
                level: Level::Advice,
                detail: language_advice(&entry.id, language, share),
                fix: Some(LANGUAGE_FIX.to_owned()),
            });
        }
    }
    res
}

/// The cluster that holds the index, where one does.
fn cluster(session: &Session, index: &Index) -> Option<Check> {
    let (level, detail, fix) = match index.cluster_version() {
        Ok(version) => {
            let qdrant = &session.config.qdrant;
            let role = if index.only_reads() { "only read" } else { "filled" };
            let (urls, name) = (qdrant.urls.join(", "), &qdrant.collection);
            let version = version?;
            let detail = format!("Qdrant {version} at {urls}, collection {name}, {role} from here");
            (Level::Ok, detail, None)
        }
        Err(error) => (Level::Problem, error.to_string(), error.hint().map(str::to_owned)),
    };
    Some(Check { name: "store", level, detail, fix })
}

/// What the settings ask for, where the index was built otherwise.
fn other_recipe(
    session: &Session,
    built: &Recipe,
    embedder: Option<&OpenedEmbedder>,
) -> Option<String> {
    let named = session.embedder_id();
    let Some(embedder) = embedder else {
        // One that is not here can be compared by its name only.
        let other = named != built.embedder.id && !Path::new(&named).exists();
        return other.then(|| format!("the settings name {named}"));
    };
    let asked = session.recipe(embedder);
    if asked.embedder != built.embedder {
        return Some(format!("the settings name {}", asked.embedder));
    }
    (asked != *built).then(|| {
        format!(
            "its chunks have {} tokens (neighbours share {}), and the settings ask for {} ({})",
            built.chunk_tokens_max,
            built.chunk_overlap,
            asked.chunk_tokens_max,
            asked.chunk_overlap
        )
    })
}

#[expect(clippy::cast_precision_loss, reason = "gigabytes need no more digits")]
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
