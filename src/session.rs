//! What a command runs with: settings, models and index, opened when they are needed.

use std::{
    borrow::Cow,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use index::{
    Index, OpenError, Preparing,
    fingerprint::{EmbedderPrint, Recipe},
    fuse::FuseSettings,
};
use indicatif::ProgressBar;
use ingest::chunk::ChunkLimits;
use model::{
    catalogue::{Catalogue, ModelEntry, ModelRole, PoolingKind},
    embed::{Embedder, EmbedderSpec, Pooling},
    generate::Generator,
    store::{InstalledModel, PullEvent, PullOptions, Store, StoreError, sha256_of},
};

use crate::{
    answer::QuoteReason,
    config::Config,
    engine::{AnswerSettings, Engine, Writer},
    printer::Printer,
    prompts::Prompts,
};

/// The catalogue of models, compiled in.
const MODELS: &str = include_str!("../config/models.toml");

/// Tokens of a chunk at most where the settings leave it open: small enough for several passages
/// to fit a small model's attention.
const CHUNK_TOKENS_MAX: usize = 256;

/// Generators of fewer parameters are given sentences instead of passages.
const SMALL_PARAMETERS: usize = 500_000_000;

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

/// What a command runs with.
#[derive(Debug)]
pub struct Session {
    /// Settings.
    pub config: Config,
    /// How to print.
    pub printer: Printer,
    /// Models known by name.
    pub catalogue: Catalogue,
    /// Models on disk.
    pub store: Store,
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

/// An embedder with what the index must know of it.
#[derive(Debug)]
pub struct OpenedEmbedder {
    /// The model.
    pub embedder: Embedder,
    /// What its vectors depend on.
    pub print: EmbedderPrint,
    /// Languages (ISO 639-1) that it handles well; `None` where nobody has said so.
    pub languages: Option<Vec<String>>,
    /// The cosine that it gives to unrelated texts.
    pub cosine_unrelated: f32,
}

impl OpenedEmbedder {
    /// Whether it handles a language well, as far as is known.
    #[must_use]
    pub fn speaks(&self, language: &str) -> bool {
        self.languages.as_ref().is_none_or(|it| it.iter().any(|it| it == language))
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
        let store = Store::new(config.models_dir.clone());
        let n_threads = config.generation.threads;
        if let Some(n_threads) = std::num::NonZeroUsize::new(n_threads) {
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

    /// The embedder of the settings.
    ///
    /// # Errors
    /// When it cannot be had or read.
    pub fn embedder(&self) -> Result<OpenedEmbedder> {
        let name = &self.config.models.embedder;
        let folder = Path::new(name);
        if folder.is_dir() {
            return folder_embedder(folder);
        }
        let entry = self.entry(name, Some(ModelRole::Embedder))?;
        let files = self.files(entry)?;
        let pooling = entry.pooling.unwrap_or(PoolingKind::Mean);
        let spec = EmbedderSpec {
            pooling: pooling_of(pooling),
            query_prefix: entry.query_prefix.clone(),
            passage_prefix: entry.passage_prefix.clone(),
            tokens_max: entry.context_length,
        };
        let embedder = Embedder::load(&files.dir, &spec)
            .with_context(|| format!("could not load the embedder `{name}`"))?;
        let print = print_of(&entry.id, files.fingerprint(), &embedder, &spec);
        Ok(OpenedEmbedder {
            embedder,
            print,
            languages: Some(entry.languages.clone()),
            cosine_unrelated: entry.cosine_unrelated,
        })
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
        ChunkLimits {
            tokens_max: tokens_max.max(ChunkLimits::TOKENS_MIN),
            overlap: self.config.ingest.chunk_overlap.min(tokens_max / 2),
        }
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

    /// The index, made where there is none yet.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn create_index(&self, embedder: &OpenedEmbedder) -> Result<Index, OpenError> {
        let mut progress = self.preparing();
        let recipe = self.recipe(embedder);
        self.told(Index::open_or_create(&self.config.data_dir, &recipe, &mut progress)?)
    }

    /// The index, which must be there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_index(&self, embedder: &OpenedEmbedder) -> Result<Index, OpenError> {
        let mut progress = self.preparing();
        let recipe = self.recipe(embedder);
        self.told(Index::open(&self.config.data_dir, &recipe, &mut progress)?)
    }

    /// The index, after saying what it cannot answer from yet.
    fn told(&self, index: Index) -> Result<Index, OpenError> {
        let n_pending = index.catalog().n_pending()?;
        if n_pending > 0 {
            self.printer.warn(format!(
                "the disk is full: {n_pending} changes of the documents are not indexed yet; make \
                 room, then run any command again"
            ));
        }
        Ok(index)
    }

    /// Shows how far a rebuild of derived files is.
    pub fn preparing(&self) -> impl FnMut(Preparing) + use<> {
        let printer = self.printer;
        let mut open: Option<(&'static str, ProgressBar)> = None;
        move |event: Preparing| {
            let (prefix, unit, done, total) = match event {
                Preparing::Cutting { done, total } => ("embedding", "documents", done, total),
                Preparing::Rebuilding { done, total } => ("rebuilding", "chunks", done, total),
                Preparing::Applying { done, total } => ("indexing", "changes", done, total),
            };
            if open.as_ref().is_none_or(|(it, _)| *it != prefix) {
                open = Some((prefix, printer.bar(total, unit).with_prefix(prefix)));
            }
            if let Some((_, bar)) = &open {
                bar.set_position(done);
                if done >= total {
                    bar.finish_and_clear();
                }
            }
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
        if let Some(path) = model_path(name) {
            return load_writer(path, name, None, asked.is_some());
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
        load_writer(&path, name, Some(entry.languages.clone()), asked.is_some())
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
    /// When prompts are not usable.
    pub fn engine(&self, index: Index, embedder: OpenedEmbedder, writer: Writer) -> Result<Engine> {
        let languages = embedder.languages.unwrap_or_else(|| vec!["en".into(), "fr".into()]);
        Ok(Engine {
            index,
            embedder: embedder.embedder,
            embedder_languages: languages,
            cosine_unrelated: embedder.cosine_unrelated,
            writer,
            prompts: self.prompts()?,
            settings: AnswerSettings {
                retrieval: self.config.retrieval.clone(),
                generation: self.config.generation.clone(),
                prompts: self.config.prompts.clone(),
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

fn load_writer(
    model: &Path,
    name: &str,
    languages: Option<Vec<String>>,
    insisted: bool,
) -> Result<Writer> {
    let generator =
        Generator::load(model).with_context(|| format!("could not load the generator `{name}`"))?;
    let small = generator.n_parameters() < SMALL_PARAMETERS;
    Ok(Writer::Model {
        generator: Box::new(generator),
        name: name.to_owned(),
        languages,
        small,
        insisted,
    })
}

#[expect(clippy::exit, reason = "the user asked twice to stop")]
fn stop_at_once() {
    std::process::exit(130);
}

/// An embedder in a folder of the user's: mean pooling, no prefixes. Other ones need an entry in the
/// catalogue.
fn folder_embedder(folder: &Path) -> Result<OpenedEmbedder> {
    let weights: PathBuf = folder.join("model.safetensors");
    let spec = EmbedderSpec {
        pooling: Pooling::Mean,
        query_prefix: String::new(),
        passage_prefix: String::new(),
        tokens_max: CHUNK_TOKENS_MAX,
    };
    let embedder = Embedder::load(folder, &spec)
        .with_context(|| format!("could not load the embedder in `{}`", folder.display()))?;
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let print = print_of(&name, sha256_of(&weights)?, &embedder, &spec);
    Ok(OpenedEmbedder { embedder, print, languages: None, cosine_unrelated: 0.0 })
}

fn pooling_of(kind: PoolingKind) -> Pooling {
    match kind {
        PoolingKind::Mean => Pooling::Mean,
        PoolingKind::Cls => Pooling::Cls,
    }
}

fn print_of(
    id: &str,
    weights_sha256: String,
    embedder: &Embedder,
    spec: &EmbedderSpec,
) -> EmbedderPrint {
    EmbedderPrint {
        id: id.to_owned(),
        weights_sha256,
        dim: u32::try_from(embedder.dim()).unwrap_or(u32::MAX),
        pooling: match spec.pooling {
            Pooling::Mean => "mean".to_owned(),
            Pooling::Cls => "cls".to_owned(),
        },
        query_prefix: spec.query_prefix.clone(),
        passage_prefix: spec.passage_prefix.clone(),
    }
}
