//! The Qdrant server that `QDRANT_URL` names, with collections of the test's own.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use index::{ClusterSettings, Patience, Store};
use qdrant_client::Qdrant;

/// A collection's name that no other test uses; what begins with it goes when this is dropped.
pub(crate) struct TestCluster {
    pub(crate) settings: ClusterSettings,
}

impl TestCluster {
    /// `None`, said loudly, where no server is named.
    #[expect(clippy::disallowed_methods, reason = "tests learn from it where servers are")]
    pub(crate) fn named(test: &str) -> Option<Self> {
        static N: AtomicU32 = AtomicU32::new(0);
        let Ok(urls) = std::env::var("QDRANT_URL") else {
            let why =
                "SKIPPED: set QDRANT_URL to the address of a Qdrant server to run this test\n";
            // Past the harness, which keeps what a test that passes prints.
            let _ = std::io::stderr().write_all(why.as_bytes());
            return None;
        };
        let n = N.fetch_add(1, Ordering::Relaxed);
        let settings = ClusterSettings {
            urls: urls.split(',').map(str::to_owned).collect(),
            api_key: std::env::var("QDRANT_API_KEY").ok(),
            collection: format!("test-{test}-{}-{n}", std::process::id()),
            connect: Duration::from_secs(2),
            search: Duration::from_secs(10),
            write: Duration::from_secs(60),
            shards: 0,
            replicas: 1,
            patience: Patience::None,
        };
        Some(Self { settings })
    }

    pub(crate) fn store(&self) -> Store {
        Store::Qdrant(self.settings.clone())
    }

    /// Asks the server without our code in between.
    pub(crate) fn ask<T, F: Future<Output = T>>(&self, question: impl FnOnce(Qdrant) -> F) -> T {
        let client = Qdrant::from_url(&self.settings.urls[0])
            .api_key(self.settings.api_key.clone())
            .timeout(Duration::from_secs(60))
            .skip_compatibility_check()
            .build()
            .expect("QDRANT_URL is an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a test may have a runtime").block_on(question(client))
    }

    /// Names of the collections that there are.
    pub(crate) fn collections(&self) -> Vec<String> {
        let all = self.ask(|it| async move { it.list_collections().await });
        let all = all.expect("the server answers").collections.into_iter().map(|it| it.name);
        let mut res: Vec<_> = all.filter(|it| it.starts_with(&self.settings.collection)).collect();
        res.sort();
        res
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        for it in self.collections() {
            let _ = self.ask(|client| async move { client.delete_collection(it).await });
        }
    }
}
