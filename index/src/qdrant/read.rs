//! What readers ask of a catalog, from the cluster: for those that have nothing else.
//!
//! A document is known by its first chunk. One without any chunk, such as an empty file, is known
//! only where it was ingested.

use std::collections::{BTreeMap, HashMap};

use ingest::document::Language;
use qdrant_client::qdrant::vector_output::Vector as OutputVector;
use qdrant_client::qdrant::{
    Condition, CountPoints, FacetCountsBuilder, Filter, GetPointsBuilder, PointId, Range,
    RetrievedPoint, ScrollPoints, VectorsSelector, WithPayloadSelector, facet_value,
};

use super::error::ClusterError;
use super::point::{Row, chunk_id, conditions, point_id};
use super::{Cluster, mark};
use crate::catalog::{
    CollectionCounts, Counts, ReadableCounts, StoredChunk, StoredDocument, StoredText, encode,
};
use crate::filter;
use crate::hit::{ChunkId, DocumentId};
use crate::unit_vector::UnitVector;

/// Points of one answer.
const PAGE: u32 = 256;

/// Values of a field that are told apart, at most: collections, languages.
const VALUES_MAX: u64 = 10_000;

impl Cluster {
    /// As [`crate::Catalog::chunks`].
    pub(crate) fn chunks(&self, ids: &[ChunkId]) -> Result<Vec<StoredChunk>, ClusterError> {
        let points: Vec<PointId> = ids.iter().map(|&it| point_id(it)).collect();
        let got = self.search("fetch points", |node, name| {
            let request = GetPointsBuilder::new(name, points.clone())
                .with_payload(true)
                .with_vectors(false)
                .build();
            async move { node.get_points(request).await }
        })?;
        let mut found = HashMap::new();
        for point in got.result {
            let id = chunk_id(point.id)?;
            found.insert(id, Row::chunk(id, point.payload)?);
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Points as they are, of those that are there, with the embedder's vector.
    pub(crate) fn points(
        &self,
        ids: &[ChunkId],
    ) -> Result<HashMap<ChunkId, (StoredChunk, Option<UnitVector>)>, ClusterError> {
        let points: Vec<PointId> = ids.iter().map(|&it| point_id(it)).collect();
        let got = self.search("fetch points", |node, name| {
            let request = GetPointsBuilder::new(name, points.clone())
                .with_payload(true)
                .with_vectors(VectorsSelector { names: vec![mark::DENSE.to_owned()] })
                .build();
            async move { node.get_points(request).await }
        })?;
        let mut res = HashMap::new();
        for point in got.result {
            let id = chunk_id(point.id)?;
            let vector = match point.vectors.and_then(|it| it.get_vector_by_name(mark::DENSE)) {
                Some(OutputVector::Dense(it)) => UnitVector::new(it.data),
                _ => None,
            };
            res.insert(id, (Row::chunk(id, point.payload)?, vector));
        }
        Ok(res)
    }

    /// As [`crate::Catalog::neighbours`].
    pub(crate) fn neighbours(
        &self,
        id: ChunkId,
        before: u32,
        after: u32,
    ) -> Result<Vec<StoredChunk>, ClusterError> {
        let Some(chunk) = self.chunks(&[id])?.pop() else { return Ok(Vec::new()) };
        let ordinal = f64::from(chunk.ordinal);
        let range = Range {
            gte: Some(ordinal - f64::from(before)),
            lte: Some(ordinal + f64::from(after)),
            ..Range::default()
        };
        self.chunks_of(chunk.document, Some(Condition::range("ordinal", range)))
    }

    /// As [`crate::Catalog::chunk_ids`].
    pub(crate) fn chunk_ids(&self, id: DocumentId) -> Result<Vec<ChunkId>, ClusterError> {
        let of_document = Filter::must([Condition::matches("document", id.0)]);
        let points = self.scroll(of_document, &false.into())?;
        points.into_iter().map(|it| chunk_id(it.id)).collect()
    }

    /// As [`crate::Catalog::get`].
    pub(crate) fn document(&self, id: DocumentId) -> Result<Option<StoredDocument>, ClusterError> {
        let found = self.first_chunks(Some(Condition::matches("document", id.0)))?;
        Ok(found.into_iter().next().map(|it| it.document))
    }

    /// As [`crate::Catalog::list`].
    pub(crate) fn documents(&self) -> Result<Vec<StoredDocument>, ClusterError> {
        let found = self.first_chunks(None)?;
        let mut res: Vec<_> = found.into_iter().map(|it| it.document).collect();
        res.sort_by_key(|it| it.id);
        Ok(res)
    }

    /// As [`crate::Catalog::text`], put together from the document's chunks: these hold all of it
    /// but blank characters, which become line ends. So every offset means what it meant.
    pub(crate) fn text(&self, id: DocumentId) -> Result<Option<StoredText>, ClusterError> {
        let of_document = Condition::matches("document", id.0);
        let Some(first) = self.first_chunks(Some(of_document))?.into_iter().next() else {
            return Ok(None);
        };
        let mut text = String::new();
        for chunk in self.chunks_of(id, None)? {
            text.extend(std::iter::repeat_n('\n', chunk.span.start.saturating_sub(text.len())));
            // Neighbours overlap.
            let known = text.len() - chunk.span.start;
            text.push_str(chunk.text.get(known..).unwrap_or_default());
        }
        Ok(Some(StoredText { text, ..first.maps }))
    }

    /// As [`crate::Catalog::collections`].
    pub(crate) fn collections(
        &self,
        groups: Option<&[String]>,
    ) -> Result<Vec<CollectionCounts>, ClusterError> {
        let chunks = self.facet("collection", &readable(groups))?;
        let documents = self.facet("collection", &first_chunks_of(readable(groups)))?;
        Ok(chunks
            .into_iter()
            .map(|(name, chunks)| {
                let documents = documents.get(&name).copied().unwrap_or(0);
                CollectionCounts { name, documents, chunks }
            })
            .collect())
    }

    /// As [`crate::Catalog::collection_names`].
    pub(crate) fn collection_names(
        &self,
        groups: Option<&[String]>,
    ) -> Result<Vec<String>, ClusterError> {
        let names = self.facet("collection", &first_chunks_of(readable(groups)))?;
        Ok(names.into_keys().collect())
    }

    /// As [`crate::Catalog::has_collection`].
    pub(crate) fn has_collection(
        &self,
        name: &str,
        groups: Option<&[String]>,
    ) -> Result<bool, ClusterError> {
        let filter = filter::Filter {
            collections: vec![name.to_owned()],
            groups: groups.map(<[_]>::to_vec),
            ..filter::Filter::default()
        };
        let first = first_chunks_of(conditions(&filter).unwrap_or_default());
        Ok(self.count(&first)? > 0)
    }

    /// As [`crate::Catalog::readable`].
    pub(crate) fn readable(
        &self,
        groups: Option<&[String]>,
    ) -> Result<ReadableCounts, ClusterError> {
        Ok(ReadableCounts {
            documents: self.count(&first_chunks_of(readable(groups)))?,
            chunks: self.count(&readable(groups))?,
        })
    }

    /// As [`crate::Catalog::has_path`].
    pub(crate) fn has_path(
        &self,
        prefix: &str,
        groups: Option<&[String]>,
    ) -> Result<bool, ClusterError> {
        let filter = filter::Filter {
            path_prefix: Some(prefix.to_owned()),
            groups: groups.map(<[_]>::to_vec),
            ..filter::Filter::default()
        };
        Ok(self.count(&conditions(&filter).unwrap_or_default())? > 0)
    }

    /// As [`crate::Catalog::languages`].
    pub(crate) fn languages(&self) -> Result<Vec<(Option<Language>, u64)>, ClusterError> {
        let known = self.facet("language", &Filter::default())?;
        let n_known: u64 = known.values().sum();
        let n_unknown = self.len()?.saturating_sub(n_known);
        let mut res = Vec::new();
        res.extend((n_unknown > 0).then_some((None, n_unknown)));
        for (code, n) in known {
            let language = encode::language(Some(code))
                .map_err(|it| ClusterError::Damaged { detail: it.to_string() })?;
            res.push((language, n));
        }
        Ok(res)
    }

    /// As [`crate::Catalog::counts`], as they were when the watermark was moved last.
    pub(crate) fn counts(&self) -> Result<Counts, ClusterError> {
        let mark = self.mark_now()?;
        Ok(Counts {
            documents: mark.n_documents,
            chunks: self.len()?,
            duplicates: mark.n_duplicates,
            text_bytes: mark.text_bytes,
            pending: 0,
        })
    }

    fn chunks_of(
        &self,
        id: DocumentId,
        condition: Option<Condition>,
    ) -> Result<Vec<StoredChunk>, ClusterError> {
        let of_document = Condition::matches("document", id.0);
        let filter = Filter::must([of_document].into_iter().chain(condition));
        let mut res = Vec::new();
        for point in self.scroll(filter, &true.into())? {
            res.push(Row::chunk(chunk_id(point.id)?, point.payload)?);
        }
        res.sort_by_key(|it| it.ordinal);
        Ok(res)
    }

    fn first_chunks(
        &self,
        condition: Option<Condition>,
    ) -> Result<Vec<super::point::Known>, ClusterError> {
        let filter = Filter::must([first_chunk()].into_iter().chain(condition));
        let mut res = Vec::new();
        for point in self.scroll(filter, &true.into())? {
            res.push(Row::document(chunk_id(point.id)?, point.payload)?);
        }
        Ok(res)
    }

    /// All points that pass a filter, by id.
    fn scroll(
        &self,
        filter: Filter,
        payload: &WithPayloadSelector,
    ) -> Result<Vec<RetrievedPoint>, ClusterError> {
        let mut request = ScrollPoints {
            filter: Some(filter),
            limit: Some(PAGE),
            with_payload: Some(payload.clone()),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        let mut res = Vec::new();
        loop {
            let page = self.search("list points", |node, name| {
                let request = ScrollPoints { collection_name: name, ..request.clone() };
                async move { node.scroll(request).await }
            })?;
            res.extend(page.result);
            match page.next_page_offset {
                Some(next) => request.offset = Some(next),
                None => return Ok(res),
            }
        }
    }

    /// How many points have each value of a field, among those that pass a filter.
    fn facet(&self, field: &str, filter: &Filter) -> Result<BTreeMap<String, u64>, ClusterError> {
        let answer = self.search("count values", |node, name| {
            let request = FacetCountsBuilder::new(name, field)
                .filter(filter.clone())
                .limit(VALUES_MAX)
                .exact(true)
                .build();
            async move { node.facet(request).await }
        })?;
        let values = answer.hits.into_iter().filter_map(|it| match it.value?.variant? {
            facet_value::Variant::StringValue(value) => Some((value, it.count)),
            _ => None,
        });
        Ok(values.collect())
    }

    fn count(&self, filter: &Filter) -> Result<u64, ClusterError> {
        let answer = self.search("count points", |node, name| {
            let request = CountPoints {
                collection_name: name,
                filter: Some(filter.clone()),
                exact: Some(true),
                ..CountPoints::default()
            };
            async move { node.count(request).await }
        })?;
        Ok(answer.result.map_or(0, |it| it.count))
    }
}

/// What is open to a reader of these groups.
fn readable(groups: Option<&[String]>) -> Filter {
    let filter = filter::Filter { groups: groups.map(<[_]>::to_vec), ..filter::Filter::default() };
    conditions(&filter).unwrap_or_default()
}

/// One chunk of each document.
fn first_chunks_of(mut filter: Filter) -> Filter {
    filter.must.push(first_chunk());
    filter
}

fn first_chunk() -> Condition {
    Condition::matches("ordinal", 0_i64)
}
