//! Opening the index: in the data folder, or on the cluster of the settings.

use index::{
    ClusterSettings, Home, Index, OpenError, Preparing, Store, fingerprint::Recipe, live_recipe,
};
use indicatif::ProgressBar;

use super::Session;
use crate::{cluster::Wait, embedder::OpenedEmbedder};

impl Session {
    /// The index, made where there is none yet.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn create_index(&self, embedder: &OpenedEmbedder) -> Result<Index, OpenError> {
        let mut progress = self.preparing();
        let recipe = self.recipe(embedder);
        let store = self.store(Wait::Changes)?;
        let home = Home { dir: &self.config.data_dir, store: &store };
        self.told(Index::open_or_create(home, &recipe, &mut progress)?)
    }

    /// The index, which must be there. Who has none of its own reads that of the cluster, where
    /// one is the store.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_index(&self, embedder: &OpenedEmbedder) -> Result<Index, OpenError> {
        let mut progress = self.preparing();
        let recipe = self.recipe(embedder);
        let store = self.store(Wait::Never)?;
        if let Some(cluster) = self.followed(&store)? {
            return Ok(Index::follow(cluster, Some(&recipe))?.1);
        }
        let home = Home { dir: &self.config.data_dir, store: &store };
        self.told(Index::open(home, &recipe, &mut progress)?)
    }

    /// The index with the recipe that it was built by: to read what is there takes no model.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn index_as_built(&self) -> Result<(Recipe, Index), OpenError> {
        let dir = &self.config.data_dir;
        let store = self.store(Wait::Never)?;
        if let Some(cluster) = self.followed(&store)? {
            return Index::follow(cluster, None);
        }
        let recipe = live_recipe(dir)?.ok_or_else(|| OpenError::Missing { path: dir.clone() })?;
        let index = Index::open(Home { dir, store: &store }, &recipe, &mut self.preparing())?;
        Ok((recipe, index))
    }

    /// The index of a server: as [`Session::create_index`] where documents are ingested, or only
    /// to read from the cluster.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn served_index(&self, embedder: &OpenedEmbedder) -> Result<Index, OpenError> {
        match self.followed(&self.store(Wait::Never)?)? {
            Some(_) => self.open_index(embedder),
            None => self.create_index(embedder),
        }
    }

    /// The cluster to read from, where it is the store and the data folder has no catalog.
    fn followed<'a>(&self, store: &'a Store) -> Result<Option<&'a ClusterSettings>, OpenError> {
        match store {
            Store::Qdrant(cluster) if live_recipe(&self.config.data_dir)?.is_none() => {
                Ok(Some(cluster))
            }
            _ => Ok(None),
        }
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
                Preparing::Comparing { done, total } => ("comparing", "chunks", done, total),
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
}
