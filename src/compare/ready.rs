//! Arms that can answer: models, adapters and index opened, and where their answers are kept.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result};
use model::catalogue::ModelRole;
use serde_json::json;

use super::{
    arms::{Arm, Way},
    reports,
    run::Contestant,
    scores::Footprint,
    trained::{Indexed, Trained, trained},
};
use crate::{
    engine::Engine,
    prompts::Prompts,
    session::{EXTRACT, Session, WrongUsage},
    upstream::OPENAI,
    writer::Writer,
};

/// An arm, and where its adapter is.
pub type Placed = (Arm, Option<PathBuf>);

/// All that a run needs.
#[derive(Debug)]
pub struct Ready {
    /// The arms, ready to answer.
    pub contestants: Vec<Contestant>,
    /// What is known of each arm's adapter.
    pub trained: Vec<Trained>,
    /// What each arm keeps in memory.
    pub footprints: Vec<Option<Footprint>>,
    /// Where answers are kept.
    pub dir: PathBuf,
    /// Who judges, where somebody shall.
    pub judge: Option<Arc<Writer>>,
    /// The prompts that all share.
    pub prompts: Arc<Prompts>,
}

/// Finds the adapters of arms, before anything is loaded.
///
/// # Errors
/// When one is not there.
pub fn place(session: &Session, arms: Vec<Arm>) -> Result<Vec<Placed>> {
    let each = arms.into_iter().map(|arm| place_of(session, &arm).map(|it| (arm, it)));
    each.collect()
}

/// Whether an arm has no model of its own, and needs that of the engine.
#[must_use]
pub fn needs_model(arms: &[Placed]) -> bool {
    arms.iter().any(|(it, _)| it.way != Way::Quotes && it.settings.model.is_none())
}

/// Loads what arms need beside the engine that they share.
///
/// # Errors
/// When a model or an adapter cannot be had, or does not go with its arm.
pub fn open(
    session: &Session,
    engine: &Engine,
    arms: Vec<Placed>,
    judge: Option<&str>,
) -> Result<Ready> {
    let mut writers: BTreeMap<String, Arc<Writer>> = BTreeMap::new();
    let mut contestants = Vec::new();
    let (mut records, mut footprints) = (Vec::new(), Vec::new());
    let documents = match arms.iter().any(|(arm, _)| arm.adapter.is_some()) {
        true => engine.index.catalog().list()?,
        false => Vec::new(),
    };
    let indexed: Vec<(String, String)> =
        documents.into_iter().map(|it| (it.source.path, it.source.content_hash)).collect();
    for (arm, place) in arms {
        let writer = match &arm.settings.model {
            None => Arc::clone(&engine.writer),
            Some(name) => match writers.get(name) {
                Some(it) => Arc::clone(it),
                None => {
                    let new = Arc::new(session.writer(Some(name))?);
                    writers.insert(name.clone(), Arc::clone(&new));
                    new
                }
            },
        };
        check_writer(&arm, &writer)?;
        records.push(load_adapter(&arm, &writer, place.as_deref(), &indexed)?);
        let key = key_of(session, &arm, &writer, place.as_deref())?;
        let contestant = Contestant { engine: arm.engine(engine, &writer), key, arm };
        footprints.push(footprint(session, &contestant, place.as_deref())?);
        contestants.push(contestant);
    }
    let dir = reports::folder(&session.config.data_dir).join(shared_hash(session, engine)?);
    let judge = judge.map(|it| judge_of(session, it, engine)).transpose()?;
    let prompts = Arc::clone(&engine.prompts);
    Ok(Ready { contestants, trained: records, footprints, dir, judge, prompts })
}

/// The judge: a model that writes. That of the arms is not loaded twice.
fn judge_of(session: &Session, name: &str, engine: &Engine) -> Result<Arc<Writer>> {
    let known = match name {
        "local" => &session.config.models.generator,
        _ => name,
    };
    match &*engine.writer {
        Writer::Model(model) if model.name == known => return Ok(Arc::clone(&engine.writer)),
        _ => {}
    }
    let writer = session.writer(Some(known))?;
    if matches!(writer, Writer::Extract { .. }) {
        let what = "--judge needs a language model: `local`, `openai`, an id, a .gguf file or a \
                    folder";
        return Err(WrongUsage(what.into()).into());
    }
    Ok(Arc::new(writer))
}

/// Where an arm's adapter is.
fn place_of(session: &Session, arm: &Arm) -> Result<Option<PathBuf>> {
    let Some(adapter) = &arm.adapter else { return Ok(None) };
    let place = adapter.place(&session.config.data_dir);
    if !place.exists() {
        let what = format!(
            "`{}`: no adapter at `{}`; name a PEFT folder or a .gguf file as {}=PATH",
            arm.label,
            place.display(),
            arm.label.split('[').next().unwrap_or_default()
        );
        return Err(WrongUsage(what.into()).into());
    }
    Ok(Some(place))
}

/// Refuses arms that a writer cannot stand for: all else would be another arm under its name.
fn check_writer(arm: &Arm, writer: &Writer) -> Result<()> {
    if arm.way == Way::Quotes {
        return Ok(());
    }
    match writer {
        Writer::Extract { .. } => {
            let what = format!(
                "`{}` needs a language model, and there is none: name one with --generator, or \
                 fetch that of the settings with `souffleur models pull`",
                arm.label
            );
            Err(WrongUsage(what.into()).into())
        }
        Writer::Upstream(_) if arm.adapter.is_some() => {
            let what = format!(
                "`{}`: adapters go with a model of this machine, and a server writes",
                arm.label
            );
            Err(WrongUsage(what.into()).into())
        }
        Writer::Upstream(_) | Writer::Model(_) => Ok(()),
    }
}

fn load_adapter(
    arm: &Arm,
    writer: &Writer,
    place: Option<&Path>,
    indexed: &Indexed,
) -> Result<Trained> {
    let (Some(adapter), Some(place), Writer::Model(model)) = (&arm.adapter, place, writer) else {
        return Ok(Trained::default());
    };
    if !model.adapters().iter().any(|it| it.name == adapter.name && it.path == place) {
        model
            .load_adapter(&adapter.name, place)
            .with_context(|| format!("could not load the adapter of `{}`", arm.label))?;
    }
    trained(place, indexed)
        .with_context(|| format!("could not read the record of `{}`", place.display()))
}

/// What an arm's answers are kept under: what it does, with which weights.
fn key_of(session: &Session, arm: &Arm, writer: &Writer, place: Option<&Path>) -> Result<String> {
    let writer = match (arm.way, writer) {
        (Way::Quotes, _) | (_, Writer::Extract { .. }) => EXTRACT.to_owned(),
        (_, Writer::Model(model)) => {
            let path = session.generator_path(&model.name)?;
            format!("{} {} {}", model.name, model.insisted, stamp(&path)?)
        }
        (_, Writer::Upstream(chat)) => format!("{} {}", chat.base().host(), chat.model()),
    };
    let adapter = match place {
        Some(place) => stamp(place)?,
        None => String::new(),
    };
    let what = format!("{}\n{writer}\n{adapter}", arm.description());
    let hash = blake3::hash(what.as_bytes()).to_hex();
    let label = arm.label.split('#').next().unwrap_or_default();
    Ok(format!("{label} {}", &hash[..16]))
}

/// What an arm keeps in memory: its model's and its adapter's weights, those of what reads questions
/// and documents, and the cache of its model. `None` where a server writes.
fn footprint(
    session: &Session,
    contestant: &Contestant,
    place: Option<&Path>,
) -> Result<Option<Footprint>> {
    let Contestant { arm, engine, .. } = contestant;
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut token_bytes = 0;
    match &*engine.writer {
        Writer::Upstream(_) => return Ok(None),
        Writer::Extract { .. } => {}
        Writer::Model(model) => {
            paths.push(session.generator_path(&model.name)?);
            paths.extend(place.map(Path::to_owned));
            token_bytes = u64::try_from(model.token_bytes())?;
        }
    }
    if arm.reads_documents() {
        paths.extend(encoder(session, &session.config.models.embedder, ModelRole::Embedder)?);
        if engine.reranker.is_some() {
            let name = &session.config.retrieval.reranker;
            paths.extend(encoder(session, name, ModelRole::Reranker)?);
        }
    }
    let mut weights_bytes = 0;
    for path in paths {
        weights_bytes += weights_of(&path)?;
    }
    Ok(Some(Footprint { weights_bytes, token_bytes }))
}

/// Where the weights of an encoder are; `None` where a server has them.
fn encoder(session: &Session, name: &str, role: ModelRole) -> Result<Option<PathBuf>> {
    if name == OPENAI {
        return Ok(None);
    }
    let folder = Path::new(name);
    if folder.is_dir() {
        return Ok(Some(folder.to_owned()));
    }
    let entry = session.entry(name, Some(role))?;
    Ok(Some(session.files(entry)?.dir))
}

/// Bytes of weights in a file or folder; those of PyTorch's own form where there is no other.
fn weights_of(path: &Path) -> Result<u64> {
    let files = files_of(path)?;
    let bytes_of = |endings: &[&str]| {
        let has = |it: &&PathBuf| {
            it.extension().is_some_and(|it| endings.iter().any(|ending| it == *ending))
        };
        let sizes = files.iter().filter(has).map(|it| fs_err::metadata(it).map(|it| it.len()));
        sizes.sum::<std::io::Result<u64>>()
    };
    Ok(match bytes_of(&["gguf", "safetensors"])? {
        0 => bytes_of(&["bin"])?,
        n => n,
    })
}

/// A file itself, or those of a folder, in order.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut res = Vec::new();
    for entry in fs_err::read_dir(path)? {
        res.push(entry?.path());
    }
    res.sort();
    Ok(res)
}

/// Names, sizes and times of the files of a model: another file is another model.
fn stamp(path: &Path) -> Result<String> {
    let mut res = String::new();
    for file in files_of(path)? {
        let metadata = fs_err::metadata(&file)?;
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (size, nanos) = (metadata.len(), changed.as_nanos());
        res.push_str(&format!("{} {size} {nanos}\n", file.display()));
    }
    Ok(res)
}

/// What all arms share and what makes their answers: program, documents, embedder, settings and
/// prompts. Answers of another state are kept in another folder.
fn shared_hash(session: &Session, engine: &Engine) -> Result<String> {
    let documents = engine.index.catalog().list()?;
    let documents: Vec<_> = documents
        .iter()
        .map(|it| json!([it.source.path, it.source.content_hash, it.made_by]))
        .collect();
    let mut generation = engine.settings.generation.clone();
    // Threads make answers quicker, not other.
    generation.threads = 0;
    let config = &session.config;
    let shared = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "documents": documents,
        "embedder": [json!(config.models.embedder), json!(config.models.embedder_precision)],
        "device": config.models.generator_device,
        "chunks": [config.ingest.chunk_tokens_max, config.ingest.chunk_overlap],
        "retrieval": engine.settings.retrieval,
        "generation": generation,
        "style": engine.settings.prompts,
        "prompts": engine.prompts.hash(),
        "reward": engine.reward.as_deref(),
    });
    Ok(blake3::hash(shared.to_string().as_bytes()).to_hex()[..16].to_owned())
}
