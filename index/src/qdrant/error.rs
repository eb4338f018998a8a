//! Why a cluster could not do what it was asked, and whether it is worth asking again.

use std::time::Duration;

use qdrant_client::QdrantError;

/// Why the cluster could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An address cannot be one.
    #[error("`{url}` is no address of a Qdrant server")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// The client could not be made.
    #[error("no connection to a Qdrant cluster could be prepared")]
    Client(#[source] std::io::Error),
    /// Connections are forbidden.
    #[error("the index is kept on a Qdrant cluster, and `offline` forbids every connection")]
    Offline,
    /// No node answers, or none in time.
    #[error("the Qdrant cluster ({nodes}) does not answer: {detail}")]
    Away {
        /// Addresses that were tried.
        nodes: String,
        /// What the last attempt ended with.
        detail: String,
    },
    /// The server speaks another version of its protocol.
    #[error("the Qdrant server at {url} has version {found}, and this program needs {needed}")]
    Version {
        /// The server.
        url: String,
        /// Its version.
        found: String,
        /// Versions that will do.
        needed: &'static str,
    },
    /// The key is missing or wrong, or may not do this.
    #[error("the Qdrant cluster refuses the API key: {detail}")]
    Key {
        /// What it said.
        detail: String,
    },
    /// The connection is encrypted for somebody whom we do not know.
    #[error("the certificate of the Qdrant cluster is not trusted: {detail}")]
    Certificate {
        /// What is wrong with it.
        detail: String,
    },
    /// What was asked for is not there.
    #[error("the Qdrant cluster has no collection `{collection}`")]
    Missing {
        /// Its name.
        collection: String,
    },
    /// The collection was not made by this program.
    #[error("the collection `{collection}` on the Qdrant cluster was not made by Souffleur")]
    NotOurs {
        /// Its name.
        collection: String,
    },
    /// The collection follows from another catalog.
    #[error("the collection `{collection}` on the Qdrant cluster belongs to another data folder")]
    OtherCatalog {
        /// Its name.
        collection: String,
    },
    /// The collection was made by another version of this program.
    #[error(
        "the collection `{collection}` on the Qdrant cluster has format {found}, and this program \
         knows {known}"
    )]
    OtherFormat {
        /// Its name.
        collection: String,
        /// Its format.
        found: String,
        /// The format that this program reads.
        known: String,
    },
    /// Questions would be embedded otherwise than the documents were.
    #[error("the collection was built with `{built}`, but this run embeds with `{running}`")]
    EmbedderMismatch {
        /// What the documents were embedded with.
        built: String,
        /// What questions would be embedded with.
        running: String,
    },
    /// It answers, but with errors, which may pass.
    #[error("the Qdrant cluster failed to {doing}: {detail}")]
    Failed {
        /// What was asked.
        doing: &'static str,
        /// What it said.
        detail: String,
    },
    /// The server's disk is full.
    #[error("the Qdrant cluster has no room left on its disks: {detail}")]
    DiskFull {
        /// What it said.
        detail: String,
    },
    /// The server does not take the request.
    #[error("the Qdrant cluster refused to {doing}: {detail}")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// What it said.
        detail: String,
    },
    /// What the server sent cannot be understood.
    #[error("a point of the Qdrant cluster is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// A question's vector is not one of this index's embedder.
    #[error("the question has {found} dimensions, and the index has {expected}")]
    BadQuery {
        /// Dimensions of the index.
        expected: usize,
        /// Dimensions of the question.
        found: usize,
    },
    /// Only the process that ingests, which has the catalog, can do that.
    #[error("this process only reads from the Qdrant cluster: it has no catalog of its own")]
    ReadsOnly,
    /// Ctrl-C while waiting.
    #[error("interrupted while waiting for the Qdrant cluster")]
    Interrupted,
}

impl ClusterError {
    /// Whether the same request may be answered in a while, with nothing changed by anybody here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Failed { .. })
    }

    /// What the user can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::BadUrl { .. } => "write it as http://127.0.0.1:6334, with the port of gRPC",
            Self::Offline => {
                "run without --offline (and with `offline = false`), or keep the index in the \
                 data folder: `souffleur migrate --to embedded`"
            }
            Self::Away { .. } => {
                "check that the cluster runs and that `qdrant.urls` names its hosts with the port \
                 of gRPC (6334 mostly); `souffleur doctor` asks it. Nothing is lost: what was \
                 ingested is in the catalog, and goes on from there"
            }
            Self::Failed { .. } => {
                "check that `qdrant.urls` names the port of gRPC (6334 mostly), see the logs of \
                 the cluster's nodes, then run the same command again. Nothing is lost: what was \
                 ingested is in the catalog, and goes on from there"
            }
            Self::Version { .. } => "update the server, or use a version of souffleur that fits it",
            Self::Key { .. } => {
                "put the cluster's key into an environment variable and name it in \
                 `qdrant.api_key_env`"
            }
            Self::Certificate { .. } => {
                "https:// trusts the certificates that the system trusts: add the cluster's to \
                 them, or name a file of those to trust in the environment variable SSL_CERT_FILE"
            }
            Self::Missing { .. } => "run `souffleur ingest FOLDER`, which makes it",
            Self::NotOurs { .. } | Self::OtherCatalog { .. } => {
                "set `qdrant.collection` to another name; nothing was changed"
            }
            Self::OtherFormat { .. } | Self::EmbedderMismatch { .. } => {
                "run `souffleur ingest --rebuild` where the documents are ingested, or go back to \
                 the former settings"
            }
            Self::DiskFull { .. } => {
                "make room on the cluster, then run the same command again: it goes on from there"
            }
            Self::Refused { .. } => "the server's words say what it wants; see its log",
            Self::ReadsOnly => "run it where the documents are ingested",
            Self::Client(_) | Self::Damaged { .. } | Self::BadQuery { .. } | Self::Interrupted => {
                return None;
            }
        })
    }
}

/// How an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The node or the way to it: another node, or a later try, may do.
    Passing { detail: String, is_silent: bool, retry_after: Option<Duration> },
    /// The answer is no, whoever is asked.
    Final(ClusterError),
    /// There is no such collection.
    Missing,
}

/// Sorts what the client reports.
pub(super) fn failure(error: QdrantError, doing: &'static str) -> Failure {
    match error {
        // The type of a code belongs to a crate that only the client depends on; its name does
        // not change.
        QdrantError::ResponseError { status } => {
            sorted(&format!("{:?}", status.code()), status.message(), None, doing)
        }
        QdrantError::ResourceExhaustedError { status, retry_after_seconds } => {
            let retry_after = Some(Duration::from_secs(retry_after_seconds));
            sorted("ResourceExhausted", status.message(), retry_after, doing)
        }
        error => Failure::Final(ClusterError::Refused { doing, detail: error.to_string() }),
    }
}

/// Sorts an answer of the server. Codes are those of gRPC; where a full disk is meant, the server
/// says so only in words.
fn sorted(
    code: &str,
    message: &str,
    retry_after: Option<Duration>,
    doing: &'static str,
) -> Failure {
    let detail = plain(message);
    let lower = message.to_lowercase();
    if lower.contains("no space left") || lower.contains("out of disk") {
        return Failure::Final(ClusterError::DiskFull { detail });
    }
    match code {
        "Unauthenticated" | "PermissionDenied" => Failure::Final(ClusterError::Key { detail }),
        "NotFound" => Failure::Missing,
        "ResourceExhausted" if retry_after.is_some() => {
            Failure::Passing { detail, is_silent: false, retry_after }
        }
        "InvalidArgument" | "OutOfRange" | "ResourceExhausted" | "Unimplemented"
        | "AlreadyExists" => Failure::Final(ClusterError::Refused { doing, detail }),
        "Unavailable" | "DeadlineExceeded" | "Cancelled" => {
            Failure::Passing { detail, is_silent: true, retry_after }
        }
        _ if lower.contains("invalidcertificate") => {
            Failure::Final(ClusterError::Certificate { detail })
        }
        // The client calls a refused connection an internal error.
        _ => {
            let is_silent =
                lower.contains("failed to connect") || lower.contains("transport error");
            Failure::Passing { detail, is_silent, retry_after }
        }
    }
}

/// What the client says where there was no answer, or no connection, without the names of its types.
fn plain(message: &str) -> String {
    if message == "Timeout expired" {
        return "no answer in time".to_owned();
    }
    if !message.starts_with("Failed to connect to ") {
        return message.to_owned();
    }
    let between =
        |start: &str, end: &str| message.split_once(start)?.1.split_once(end).map(|it| it.0);
    let found = between("message: \"", "\"").or_else(|| between("InvalidCertificate(", ")"));
    match found {
        Some(it) => it.to_owned(),
        None if message.contains("TimedOut") => "no connection in time".to_owned(),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_is_refused() {
        let passes = |code, message, silent| {
            let it = sorted(code, message, None, "search");
            matches!(it, Failure::Passing { is_silent, .. } if is_silent == silent)
        };
        assert!(passes("Unavailable", "", true));
        assert!(passes("Internal", "Failed to connect to http://127.0.0.1:1/", true));
        assert!(passes("Internal", "Service internal error: 1 of 2 shards failed", false));
        assert!(passes("FailedPrecondition", "locked", false));
        let refused = |code, message| match sorted(code, message, None, "search") {
            Failure::Final(error) => error,
            other => panic!("{other:?}"),
        };
        let unknown = "Failed to connect to https://a/: InvalidCertificate(UnknownIssuer))";
        let error = refused("Internal", unknown);
        assert!(
            matches!(&error, ClusterError::Certificate { detail } if detail == "UnknownIssuer")
        );
        assert!(matches!(refused("Unauthenticated", "no"), ClusterError::Key { .. }));
        assert!(matches!(refused("PermissionDenied", "no"), ClusterError::Key { .. }));
        assert!(matches!(refused("InvalidArgument", "no"), ClusterError::Refused { .. }));
        let full = "Service internal error: No space left on device (os error 28)";
        assert!(matches!(refused("Internal", full), ClusterError::DiskFull { .. }));
        let busy = sorted("ResourceExhausted", "slower", Some(Duration::from_secs(3)), "search");
        assert!(matches!(busy, Failure::Passing { retry_after: Some(_), .. }));
        assert!(matches!(sorted("NotFound", "none", None, "search"), Failure::Missing));
    }
}
