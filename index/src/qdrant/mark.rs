//! Collections: what they are made of, the mark that says who made them, and the alias that makes
//! one of them live.
//!
//! A generation is a collection of its own, `NAME-CATALOG-GENERATION`. The alias `NAME` says which
//! one is live, and is moved in one step once a generation is complete. The mark stands in the
//! collection's metadata, which the cluster keeps by consensus: it goes wherever the collection
//! goes, into its snapshots too.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    CreateAliasBuilder, CreateCollection, CreateFieldIndexCollectionBuilder, Distance, FieldType,
    IntegerIndexParamsBuilder, KeywordIndexParamsBuilder, Modifier, ScalarQuantizationBuilder,
    SparseVectorParamsBuilder, UpdateCollection, Value, VectorParamsBuilder,
    payload_index_params::IndexParams,
};
use qdrant_client::qdrant::{SparseVectorsConfigBuilder, VectorsConfigBuilder};
use serde::{Deserialize, Serialize};

use super::client::{Client, Kind};
use super::error::ClusterError;
use super::sparse::Averages;
use crate::fingerprint::Fingerprint;

/// Layout of points and marks. A change of it needs another collection.
pub(super) const SCHEMA_VERSION: u64 = 1;

/// The vector of the embedder.
pub(super) const DENSE: &str = "dense";

/// The vector of words.
pub(super) const SPARSE: &str = "bm25";

/// Who made a collection.
const PROGRAM: &str = "souffleur";

/// Under which name the mark stands among a collection's metadata.
const KEY: &str = "souffleur";

/// Who made a collection, from what, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    program: String,
    schema: u64,
    /// The name by which searches find the live one.
    name: String,
    /// Identity of the catalog that it follows from.
    pub(super) catalog: String,
    pub(super) generation: u64,
    pub(super) fingerprint: Fingerprint,
    /// Outbox entries up to here are acknowledged.
    pub(super) watermark: u64,
    /// Whether it holds all that the catalog held when it was begun.
    pub(super) is_complete: bool,
    pub(super) averages: Averages,
    /// What the catalog held then; for who has none.
    pub(super) n_documents: u64,
    pub(super) n_duplicates: u64,
    pub(super) text_bytes: u64,
}

impl Mark {
    pub(super) fn new(
        name: &str,
        catalog: &str,
        generation: u64,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            program: PROGRAM.to_owned(),
            schema: SCHEMA_VERSION,
            name: name.to_owned(),
            catalog: catalog.to_owned(),
            generation,
            fingerprint,
            watermark: 0,
            is_complete: false,
            averages: Averages::default(),
            n_documents: 0,
            n_duplicates: 0,
            text_bytes: 0,
        }
    }

    /// The collection that it marks.
    pub(super) fn collection(&self) -> String {
        collection(&self.name, &self.catalog, self.generation)
    }

    /// Refuses words that were analysed otherwise than questions are.
    pub(super) fn check_analyser(&self) -> Result<(), ClusterError> {
        let known = Fingerprint::of(&self.fingerprint.recipe);
        if self.fingerprint == known {
            return Ok(());
        }
        let format = |it: &Fingerprint| {
            format!("{}.{}.{}", self.schema, it.format_version, it.analyser_version)
        };
        Err(ClusterError::OtherFormat {
            collection: self.collection(),
            found: format(&self.fingerprint),
            known: format(&known),
        })
    }

    fn metadata(&self) -> HashMap<String, Value> {
        let json = serde_json::to_value(self).expect("strings, numbers and lists are JSON");
        HashMap::from([(KEY.to_owned(), Value::from(json))])
    }

    /// Reads a mark; the format is looked at before anything that depends on it.
    fn read(collection: &str, mut metadata: HashMap<String, Value>) -> Result<Self, ClusterError> {
        let not_ours = || ClusterError::NotOurs { collection: collection.to_owned() };
        let value = metadata.remove(KEY).ok_or_else(not_ours)?;
        let json = serde_json::to_value(value).map_err(|_| not_ours())?;
        if json["program"] != PROGRAM {
            return Err(not_ours());
        }
        let other = |found: String| ClusterError::OtherFormat {
            collection: collection.to_owned(),
            found,
            known: SCHEMA_VERSION.to_string(),
        };
        match json["schema"].as_u64() {
            Some(SCHEMA_VERSION) => {
                serde_json::from_value(json).map_err(|error| other(error.to_string()))
            }
            found => Err(other(found.map_or_else(|| "?".to_owned(), |it| it.to_string()))),
        }
    }
}

fn collection(name: &str, catalog: &str, generation: u64) -> String {
    format!("{}{generation}", prefix(name, catalog))
}

/// How the collections of a catalog begin.
fn prefix(name: &str, catalog: &str) -> String {
    let catalog: String = catalog.chars().take(8).collect();
    format!("{name}-{catalog}-")
}

/// The mark of a collection or of the one that an alias means.
pub(super) fn read(client: &Client, kind: Kind, name: &str) -> Result<Mark, ClusterError> {
    let info = client.call_for(kind, "describe a collection", name, |node| async move {
        node.collection_info(name).await
    })?;
    let metadata = info.result.and_then(|it| it.config).map(|it| it.metadata);
    Mark::read(name, metadata.unwrap_or_default())
}

pub(super) fn write(client: &Client, mark: &Mark) -> Result<(), ClusterError> {
    let name = mark.collection();
    let request = UpdateCollection {
        collection_name: name.clone(),
        metadata: mark.metadata(),
        ..UpdateCollection::default()
    };
    client.call_for(Kind::Change, "keep the mark of a collection", &name, |node| {
        let request = request.clone();
        async move { node.update_collection(request).await }
    })?;
    Ok(())
}

/// Refuses a name that stands for something else than a collection of this catalog.
pub(super) fn check_name(client: &Client, catalog: &str) -> Result<(), ClusterError> {
    let name = &client.settings().collection;
    match read(client, Kind::Open, name) {
        Ok(mark) if mark.catalog == catalog => Ok(()),
        Ok(_) => Err(ClusterError::OtherCatalog { collection: name.clone() }),
        // Whatever its format is, it is of this program, and is replaced.
        Err(ClusterError::Missing { .. } | ClusterError::OtherFormat { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the collection of a mark, empty. One of that name that is there is a leftover.
pub(super) fn create(client: &Client, mark: &Mark, dim: usize) -> Result<(), ClusterError> {
    let name = mark.collection();
    let settings = client.settings();
    drop_collection(client, &name)?;
    let mut vectors = VectorsConfigBuilder::default();
    let quantized = ScalarQuantizationBuilder::default().always_ram(true);
    vectors.add_named_vector_params(
        DENSE,
        VectorParamsBuilder::new(dim as u64, Distance::Cosine)
            .on_disk(true)
            .quantization_config(quantized),
    );
    let mut sparse = SparseVectorsConfigBuilder::default();
    sparse.add_named_vector_params(
        SPARSE,
        SparseVectorParamsBuilder::default().modifier(Modifier::Idf),
    );
    let request = CreateCollection {
        collection_name: name.clone(),
        vectors_config: Some(vectors.into()),
        sparse_vectors_config: Some(sparse.into()),
        shard_number: (settings.shards > 0).then_some(settings.shards),
        replication_factor: Some(settings.replicas.max(1)),
        metadata: mark.metadata(),
        ..CreateCollection::default()
    };
    let created = client.call_for(Kind::Change, "create a collection", &name, |node| {
        let request = request.clone();
        async move { node.create_collection(request).await }
    });
    match created {
        Ok(_) => {}
        // An attempt whose answer was lost made it.
        Err(ClusterError::Refused { .. })
            if read(client, Kind::Change, &name).is_ok_and(|it| it == *mark) => {}
        Err(error) => return Err(error),
    }
    create_indexes(client, &name)
}

/// An index for each field that a filter or a reader asks for. The collection of documents is what
/// tenants are told apart by: the server stores what belongs to one together.
fn create_indexes(client: &Client, name: &str) -> Result<(), ClusterError> {
    let keyword = |is_tenant| {
        let params = KeywordIndexParamsBuilder::default().is_tenant(is_tenant).build();
        (FieldType::Keyword, IndexParams::from(params))
    };
    let integer = |lookup, range| {
        let params = IntegerIndexParamsBuilder::new(lookup, range).build();
        (FieldType::Integer, IndexParams::from(params))
    };
    for (field, (kind, params)) in [
        ("collection", keyword(true)),
        ("language", keyword(false)),
        ("paths", keyword(false)),
        ("groups", keyword(false)),
        ("modified", integer(false, true)),
        ("document", integer(true, false)),
        ("ordinal", integer(true, true)),
    ] {
        let request = CreateFieldIndexCollectionBuilder::new(name, field, kind)
            .field_index_params(params)
            .wait(true)
            .build();
        client.call_for(Kind::Change, "index a field", name, |node| {
            let request = request.clone();
            async move { node.create_field_index(request).await }
        })?;
    }
    Ok(())
}

/// Lets searches find a collection from now on; those that were under way end on the former one.
pub(super) fn publish(client: &Client, name: &str) -> Result<(), ClusterError> {
    let alias = &client.settings().collection;
    // One action: to create an alias that is there moves it.
    client.call_for(Kind::Change, "name the live collection", name, |node| {
        let request = CreateAliasBuilder::new(name, alias);
        async move { node.create_alias(request).await }
    })?;
    Ok(())
}

/// Drops every collection of a catalog but one to keep. Their alias goes with them.
pub(super) fn drop_all(
    client: &Client,
    catalog: &str,
    kept: Option<&str>,
) -> Result<(), ClusterError> {
    let all = client.call(Kind::Change, "list collections", |node| async move {
        node.list_collections().await
    })?;
    let prefix = prefix(&client.settings().collection, catalog);
    for it in all.collections {
        let is_generation = it
            .name
            .strip_prefix(&prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit()));
        if is_generation && Some(it.name.as_str()) != kept {
            drop_collection(client, &it.name)?;
        }
    }
    Ok(())
}

/// Drops a collection, if it is there.
pub(super) fn drop_collection(client: &Client, name: &str) -> Result<(), ClusterError> {
    client.call_for(Kind::Change, "drop a collection", name, |node| async move {
        node.delete_collection(name).await
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{EmbedderPrint, Recipe};

    fn mark() -> Mark {
        let embedder = EmbedderPrint {
            id: "words".to_owned(),
            weights_sha256: "0".repeat(64),
            dim: 16,
            pooling: "mean".to_owned(),
            query_prefix: String::new(),
            passage_prefix: String::new(),
            precision: "f32".to_owned(),
        };
        let recipe = Recipe { embedder, chunk_tokens_max: 128, chunk_overlap: 16 };
        let fingerprint = Fingerprint { format_version: 1, analyser_version: 1, recipe };
        Mark::new("rh", "0123456789abcdef", 3, fingerprint)
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = Mark { watermark: 1 << 40, is_complete: true, ..mark() };
        assert_eq!(Mark::read("rh", mark.metadata()).unwrap(), mark);
        assert_eq!(mark.collection(), "rh-01234567-3");
    }

    #[test]
    fn collections_of_others_and_of_other_formats_are_told() {
        let error = Mark::read("rh", HashMap::new()).unwrap_err();
        assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
        let other = Mark { program: "other".to_owned(), ..mark() };
        let error = Mark::read("rh", other.metadata()).unwrap_err();
        assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
        let newer = Mark { schema: SCHEMA_VERSION + 1, ..mark() };
        let error = Mark::read("rh", newer.metadata()).unwrap_err();
        assert!(
            matches!(&error, ClusterError::OtherFormat { found, .. } if found == "2"),
            "{error}"
        );
    }
}
