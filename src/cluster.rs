//! The Qdrant cluster that may hold the indexes: the shape of `[qdrant]`, and what it means.

use std::{
    num::NonZeroU64,
    sync::{Arc, Once},
    time::Duration,
};

use index::{ClusterError, ClusterSettings, IndexError, OpenError, Patience, Store, StoreKind};
use serde::{Deserialize, Serialize};

use crate::{session::Session, upstream::settings::Secret};

/// A Qdrant cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantConfig {
    /// Addresses of its nodes, with the port of gRPC.
    pub urls: Vec<String>,
    /// The environment variable that holds the key; empty for none.
    pub api_key_env: String,
    /// The key itself, for who wants it in the file.
    pub api_key: Secret,
    /// The name by which searches find the live collection.
    pub collection: String,
    /// Seconds to connect.
    pub connect_seconds: NonZeroU64,
    /// Seconds until a search is answered.
    pub search_seconds: NonZeroU64,
    /// Seconds until a change is acknowledged.
    pub write_seconds: NonZeroU64,
    /// Shards of a new collection; 0 for the server's own number.
    pub shards: u32,
    /// Nodes that hold each shard of a new collection.
    pub replicas: u32,
}

/// What happens while the cluster is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// An error at once.
    Never,
    /// Changes wait until it is back or Ctrl-C is pressed; searches never do.
    Changes,
}

/// Whether an address is of another machine, and without encryption.
fn is_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = rest.split('/').next().unwrap_or(rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    !is_here
}

impl Session {
    /// Where the indexes are kept.
    ///
    /// # Errors
    /// When a connection would be needed and `offline` forbids it.
    pub fn store(&self, wait: Wait) -> Result<Store, OpenError> {
        match self.config.store {
            StoreKind::Embedded => Ok(Store::Embedded),
            StoreKind::Qdrant => Ok(Store::Qdrant(self.cluster(wait)?)),
        }
    }

    /// The cluster of the settings, whether it is the store or not.
    ///
    /// # Errors
    /// As [`Session::store`].
    pub fn cluster(&self, wait: Wait) -> Result<ClusterSettings, OpenError> {
        if self.config.offline {
            return Err(IndexError::Cluster(ClusterError::Offline).into());
        }
        let it = &self.config.qdrant;
        static TOLD: Once = Once::new();
        if let Some(open) = it.urls.iter().find(|it| is_open(it)) {
            TOLD.call_once(|| {
                let what = "texts of documents and the key travel without encryption";
                self.printer
                    .warn(format!("{open}: {what}; use https:// where the cluster has TLS"));
            });
        }
        let seconds = |it: NonZeroU64| Duration::from_secs(it.get());
        let patience = match wait {
            Wait::Never => Patience::None,
            Wait::Changes => {
                let printer = self.printer;
                Patience::Wait {
                    interrupted: Arc::clone(&self.interrupted),
                    tell: Arc::new(move |what| printer.warn(what)),
                }
            }
        };
        Ok(ClusterSettings {
            urls: it.urls.clone(),
            api_key: (!it.api_key.is_empty()).then(|| it.api_key.reveal().to_owned()),
            collection: it.collection.clone(),
            connect: seconds(it.connect_seconds),
            search: seconds(it.search_seconds),
            write: seconds(it.write_seconds),
            shards: it.shards,
            replicas: it.replicas,
            patience,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_to_other_machines_without_encryption_are_told() {
        for here in ["http://127.0.0.1:6334", "http://localhost:6334", "http://[::1]:6334"] {
            assert!(!is_open(here), "{here}");
        }
        assert!(!is_open("https://node1.example:6334"));
        assert!(is_open("http://node1.example:6334"));
        assert!(is_open("http://10.0.0.1:6334/"));
    }
}
