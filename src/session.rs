//! What a command runs with: settings, models and index, opened when they are needed.

pub mod adapters;
mod opening;
mod rewards;

use std::{
    borrow::Cow,
    num::NonZeroUsize,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use index::{Index, fingerprint::Recipe, fuse::FuseSettings};
use indicatif::ProgressBar;
use ingest::chunk::ChunkLimits;
use model::{
    catalogue::{Catalogue, ModelEntry, ModelRole},
    generate::Generator,
    rerank::Reranker,
    serve::ServeOptions,
    store::{InstalledModel, PullEvent, PullOptions, Store as Models, StoreError},
};

use crate::{
    answer::QuoteReason,
    best_of::DRAFTS_MAX,
    config::Config,
    embedder::{Embedder, OpenedEmbedder},
    engine::{AnswerSettings, Engine},
    printer::Printer,
    prompts::Prompts,
    upstream::OPENAI,
    writer::{LocalModel, Writer},
};

/// The catalogue of models, compiled in.
const MODELS: &str = include_str!("../config/models.toml");

/// Tokens of a chunk at most where the settings leave it open: small enough for several passages
/// to fit a small model's attention.
pub(crate) const CHUNK_TOKENS_MAX: usize = 256;

/// Requests that one answer may be.
const DRAFTS: NonZeroUsize = NonZeroUsize::new(DRAFTS_MAX).expect("several");

/// The name of the generator that quotes.
pub const EXTRACT: &str = "extract";

/// A name that is no model's.
#[derive(Debug, thiserror::Error)]
#[error("{}: known are {}", not_found(id, *is), known.join(", "))]
pub struct UnknownModel {
    /// The name.
    pub id: String,
    /// What the model of that name is, where there is one.
    pub is: Option<ModelRole>,
    /// The models that would do.
    pub known: Vec<String>,
}

fn not_found(id: &str, is: Option<ModelRole>) -> String {
    match is {
        Some(role) => format!("`{id}` is no model for that, it is of the role {}", role.as_str()),
        None => format!("no model `{id}`"),
    }
}

/// Arguments that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub Cow<'static, str>);

/// Long work stopped because of Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: what was done is kept, and the next run goes on from there")]
pub struct Interrupted;

/// What a command runs with. A copy shares what Ctrl-C sets.
#[derive(Debug, Clone)]
pub struct Session {
    /// Settings.
    pub config: Config,
    /// How to print.
    pub printer: Printer,
    /// Models known by name.
    pub catalogue: Catalogue,
    /// Models on disk.
    pub store: Models,
    /// Set by Ctrl-C: long work stops at the next safe point.
    pub interrupted: Arc<AtomicBool>,
    /// How many pieces of work with safe points are going on. Outside of them Ctrl-C ends the
    /// program at once.
    stopping: Arc<AtomicUsize>,
}

/// Work with safe points goes on until this is dropped.
#[derive(Debug)]
pub struct Stoppable(Arc<AtomicUsize>);

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Session {
    /// A session over settings.
    ///
    /// # Errors
    /// When the compiled-in catalogue is not valid or Ctrl-C cannot be handled.
    pub fn new(config: Config, printer: Printer) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let stopping = Arc::new(AtomicUsize::new(0));
        let (flag, safe_points) = (Arc::clone(&interrupted), Arc::clone(&stopping));
        ctrlc::set_handler(move || {
            // Where no safe point will come, and at a second Ctrl-C, there is nothing to wait for:
            // stores recover on the next start.
            if safe_points.load(Ordering::SeqCst) == 0 || flag.swap(true, Ordering::SeqCst) {
                stop_at_once();
            }
        })
        .context("could not handle Ctrl-C")?;
        let catalogue = Catalogue::parse(MODELS)?;
        let store = Models::new(config.models_dir.clone());
        let n_threads = config.generation.threads;
        if let Some(n_threads) = NonZeroUsize::new(n_threads) {
            model::device::set_threads(n_threads)?;
        }
        Ok(Self { config, printer, catalogue, store, interrupted, stopping })
    }

    /// Announces work that looks at [`Session::is_interrupted`] now and then: until the result is
    /// dropped, Ctrl-C waits for it.
    #[must_use]
    pub fn stoppable(&self) -> Stoppable {
        self.stopping.fetch_add(1, Ordering::SeqCst);
        Stoppable(Arc::clone(&self.stopping))
    }

    /// Whether Ctrl-C was pressed.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A model of the catalogue.
    ///
    /// # Errors
    /// When there is none of that name; the message lists those of the role.
    pub fn entry(&self, id: &str, role: Option<ModelRole>) -> Result<&ModelEntry> {
        let of_role = |it: &&ModelEntry| role.is_none_or(|role| it.role == role);
        self.catalogue.find(id).filter(of_role).ok_or_else(|| {
            let known =
                self.catalogue.models.iter().filter(of_role).map(|it| it.id.clone()).collect();
            let is = self.catalogue.find(id).map(|it| it.role);
            UnknownModel { id: id.to_owned(), is, known }.into()
        })
    }

    /// A model's files, fetched first where they are not here.
    ///
    /// # Errors
    /// When they are damaged, cannot be fetched, or `--offline` forbids it.
    pub fn files(&self, entry: &ModelEntry) -> Result<InstalledModel, StoreError> {
        match self.store.installed(&entry.id)? {
            Some(model) => Ok(model),
            None if self.config.offline => Err(StoreError::Offline { id: entry.id.clone() }),
            None => self.pull(entry, None),
        }
    }

    /// Fetches a model, with progress.
    ///
    /// # Errors
    /// When no source has it.
    pub fn pull(
        &self,
        entry: &ModelEntry,
        from: Option<&Path>,
    ) -> Result<InstalledModel, StoreError> {
        if self.config.offline && from.is_none() {
            return Err(StoreError::Offline { id: entry.id.clone() });
        }
        let options = PullOptions {
            from,
            hub_endpoint: &self.config.models.hub_endpoint,
            python: &self.config.models.python,
        };
        let mut bar: Option<(String, ProgressBar)> = None;
        let pulled = self.store.pull(entry, &options, &mut |event| match event {
            PullEvent::Trying { source } => {
                self.printer.note(format!("fetching {} from {source}", entry.id));
            }
            PullEvent::Progress { name, done, total } => {
                if bar.as_ref().is_none_or(|(it, _)| it != name) {
                    let new = self.printer.bytes(total).with_prefix(entry.id.clone());
                    bar = Some((name.to_owned(), new.with_message(name.to_owned())));
                }
                if let Some((_, bar)) = &bar {
                    bar.set_position(done);
                }
            }
            PullEvent::SourceFailed { source, error } => {
                self.printer.note(format!("{source}: {error}"));
            }
        });
        if let Some((_, bar)) = bar {
            bar.finish_and_clear();
        }
        pulled
    }

    /// Sizes of chunks for an embedder.
    #[must_use]
    pub fn chunk_limits(&self, embedder: &Embedder) -> ChunkLimits {
        // Two tokens begin and end every text that the embedder reads.
        let room = embedder.tokens_max().saturating_sub(2);
        let tokens_max = match self.config.ingest.chunk_tokens_max {
            0 => room.min(CHUNK_TOKENS_MAX),
            n => n.min(room),
        };
        let tokens_max = tokens_max.max(ChunkLimits::TOKENS_MIN);
        // Less than half a chunk, so that the next one advances.
        let overlap_max = tokens_max.div_ceil(2) - 1;
        ChunkLimits { tokens_max, overlap: self.config.ingest.chunk_overlap.min(overlap_max) }
    }

    /// How chunks and vectors are made with an embedder.
    #[must_use]
    pub fn recipe(&self, embedder: &OpenedEmbedder) -> Recipe {
        let limits = self.chunk_limits(&embedder.embedder);
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Recipe {
            embedder: embedder.print.clone(),
            chunk_tokens_max: small(limits.tokens_max),
            chunk_overlap: small(limits.overlap),
        }
    }

    /// How the legs are fused for an embedder that speaks the question's language, or not.
    #[must_use]
    pub fn fuse_settings(&self, embedder: &OpenedEmbedder, speaks: bool) -> FuseSettings {
        FuseSettings {
            cosine_unrelated: embedder.cosine_unrelated,
            ..FuseSettings::measured(speaks)
        }
    }

    /// What writes answers: the generator that was asked for, else that of the settings, else
    /// quotations, with the reason.
    ///
    /// # Errors
    /// When the user asked for a generator that cannot be had.
    pub fn writer(&self, asked: Option<&str>) -> Result<Writer> {
        let name = asked.unwrap_or(&self.config.models.generator);
        if name == EXTRACT {
            return Ok(Writer::Extract { reason: None });
        }
        if name == OPENAI {
            return Ok(self.upstream_writer()?);
        }
        if let Some(path) = model_path(name) {
            return self.load_writer(path, name, None, asked.is_some());
        }
        let entry = self.entry(name, Some(ModelRole::Generator))?;
        let files = match self.files(entry) {
            Ok(files) => files,
            Err(error @ (StoreError::Offline { .. } | StoreError::AllSourcesFailed { .. }))
                if asked.is_none() =>
            {
                self.printer.note(error);
                let reason = Some(QuoteReason::NotInstalled { id: entry.id.clone() });
                return Ok(Writer::Extract { reason });
            }
            Err(error) => return Err(error.into()),
        };
        let path = weights_of(&files);
        self.load_writer(&path, name, Some(entry.languages.clone()), asked.is_some())
    }

    fn load_writer(
        &self,
        model: &Path,
        name: &str,
        languages: Option<Vec<String>>,
        insisted: bool,
    ) -> Result<Writer> {
        let failed = || format!("could not load the generator `{name}`");
        let backend = self.config.models.generator_device.backend().with_context(failed)?;
        let generator = Generator::load_on(model, &backend).with_context(failed)?;
        let defaults = ServeOptions::default();
        // One answer may be several requests.
        let queue_max = defaults.queue_max.saturating_mul(DRAFTS);
        let mut model = LocalModel::new(generator, name, ServeOptions { queue_max, ..defaults })
            .context("could not start the generator's thread")?;
        model.languages = languages;
        model.insisted = insisted;
        Ok(Writer::Model(Box::new(model)))
    }

    /// Where a generator's weights are: a GGUF file or a folder, from its id or its path.
    ///
    /// # Errors
    /// When it is not known, or cannot be had.
    pub fn generator_path(&self, name: &str) -> Result<PathBuf> {
        match model_path(name) {
            Some(path) => Ok(path.to_owned()),
            None => {
                let entry = self.entry(name, Some(ModelRole::Generator))?;
                Ok(weights_of(&self.files(entry)?))
            }
        }
    }

    /// Loads an adapter for a model of this process, and gives the name to choose it by.
    ///
    /// # Errors
    /// When it cannot be found or read, is for another base, or there is no such model.
    pub fn load_adapter(&self, writer: &Writer, adapter: &str) -> Result<String> {
        let path = self.adapter_path(adapter)?;
        let Writer::Model(model) = writer else {
            let what = "an adapter goes with a generator of this process";
            return Err(WrongUsage(what.into()).into());
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        model.load_adapter(&name, &path).with_context(|| format!("could not load `{name}`"))?;
        Ok(name)
    }

    /// The prompts of the settings.
    ///
    /// # Errors
    /// When a prompt of the user's folder is not usable.
    pub fn prompts(&self) -> Result<Prompts> {
        let dir = &self.config.prompts.dir;
        if !dir.as_os_str().is_empty() && !dir.is_dir() {
            let what = format!("no folder of prompts at `{}`", dir.display());
            return Err(WrongUsage(what.into()).into());
        }
        Ok(Prompts::load((!dir.as_os_str().is_empty()).then_some(dir.as_path()))?)
    }

    /// Everything that answers questions.
    ///
    /// # Errors
    /// When prompts or the reward of the settings are not usable.
    pub fn engine(
        &self,
        index: Index,
        embedder: OpenedEmbedder,
        reranker: Option<Reranker>,
        writer: Writer,
    ) -> Result<Engine> {
        let reward = self.reward(&embedder)?;
        let languages = embedder.languages.unwrap_or_else(|| vec!["en".into(), "fr".into()]);
        Ok(Engine {
            index: Arc::new(index),
            embedder_print: embedder.print,
            embedder: Arc::new(embedder.embedder),
            embedder_languages: languages,
            cosine_unrelated: embedder.cosine_unrelated,
            reranker: reranker.map(Arc::new),
            writer: Arc::new(writer),
            reward: reward.map(Arc::new),
            prompts: Arc::new(self.prompts()?),
            settings: AnswerSettings {
                retrieval: self.config.retrieval.clone(),
                generation: self.config.generation.clone(),
                prompts: self.config.prompts.clone(),
                adapter: None,
                prompt_style: None,
            },
        })
    }

    /// Goes on, or stops where Ctrl-C was pressed.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The path of a generator that is named by where it is: a GGUF file, or a folder.
#[must_use]
pub fn model_path(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    let is_gguf = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("gguf"));
    (is_gguf || path.is_dir()).then_some(path)
}

/// The GGUF file of an installed generator, or its folder where it has none.
fn weights_of(files: &InstalledModel) -> PathBuf {
    files.file_ending(".gguf").unwrap_or_else(|| files.dir.clone())
}

#[expect(clippy::exit, reason = "the user asked twice to stop")]
fn stop_at_once() {
    std::process::exit(130);
}
