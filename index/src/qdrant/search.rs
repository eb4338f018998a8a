//! Searches: each leg is one request, filtered inside the server before its best are cut.

use std::collections::{BTreeMap, HashMap};

use ingest::document::Language;
use qdrant_client::qdrant::vector_output::Vector as OutputVector;
use qdrant_client::qdrant::{
    GetPointsBuilder, PrefetchQuery, QuantizationSearchParams, Query, QueryBatchPoints,
    QueryPoints, Rrf, ScoredPoint, SearchParams, VectorInput, VectorsOutput, VectorsSelector,
};
use qdrant_client::{Qdrant, QdrantError};

use super::client::Kind;
use super::error::ClusterError;
use super::point::{chunk_id, conditions, point_id};
use super::sparse::{Asked, readings};
use super::{Cluster, mark};
use crate::filter::Filter;
use crate::hit::{ChunkId, Hit, sort_hits};
use crate::lexical::{TermKind, TermScore, question_terms};
use crate::unit_vector::UnitVector;

/// Candidates of a graph search, as in the embedded leg.
const BEAM: u64 = 256;

/// Hits asked for beyond k, so that ties at the cut are mostly broken by id.
const TIE_SLACK: usize = 16;

/// A question, as both legs need it.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Its words.
    pub text: &'a str,
    /// Their language, where it can be told.
    pub language: Option<Language>,
    /// Its vector, where it has one.
    pub vector: Option<&'a UnitVector>,
}

impl Cluster {
    /// As [`crate::lexical::Lexical::search`].
    pub(crate) fn search_lexical(
        &self,
        question: &str,
        language: Option<Language>,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, ClusterError> {
        let readings = readings(question_terms(question, language));
        let queries: Vec<_> = readings
            .iter()
            .filter(|terms| !terms.is_empty())
            .map(|terms| query(words(terms), mark::SPARSE, filter, k + TIE_SLACK))
            .collect();
        if queries.is_empty() || k == 0 {
            return Ok(Vec::new());
        }
        // A chunk of no known language is found in each, and must not count twice.
        let mut best = BTreeMap::<ChunkId, f32>::new();
        for points in self.ask(queries)? {
            for point in points {
                let score = best.entry(chunk_id(point.id)?).or_insert(point.score);
                *score = score.max(point.score);
            }
        }
        let mut hits: Vec<_> =
            best.into_iter().map(|(chunk, score)| Hit { chunk, score }).collect();
        sort_hits(&mut hits);
        hits.truncate(k);
        Ok(hits)
    }

    /// The `k` chunks nearest to a vector among those that pass the filter, by cosine, best first.
    pub(crate) fn search_dense(
        &self,
        vector: &UnitVector,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, ClusterError> {
        if vector.dim() != self.dim {
            return Err(ClusterError::BadQuery { expected: self.dim, found: vector.dim() });
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let nearest = VectorInput::new_dense(vector.as_slice().to_vec());
        let mut query = query(nearest, mark::DENSE, filter, k + TIE_SLACK);
        query.params = Some(SearchParams {
            hnsw_ef: Some(BEAM),
            quantization: Some(QuantizationSearchParams {
                rescore: Some(true),
                oversampling: Some(2.0),
                ..QuantizationSearchParams::default()
            }),
            ..SearchParams::default()
        });
        let mut hits = Vec::new();
        for point in self.ask(vec![query])?.into_iter().flatten() {
            hits.push(Hit { chunk: chunk_id(point.id)?, score: point.score });
        }
        sort_hits(&mut hits);
        hits.truncate(k);
        Ok(hits)
    }

    /// Both legs in one request, fused by the server by reciprocal ranks: 1 / (`constant` + rank).
    pub(crate) fn search_by_ranks(
        &self,
        question: &Asking<'_>,
        filter: &Filter,
        k: usize,
        constant: u32,
    ) -> Result<Vec<Hit>, ClusterError> {
        let leg = |nearest: VectorInput, using: &str| {
            let it = query(nearest, using, filter, k);
            PrefetchQuery {
                query: it.query,
                using: it.using,
                filter: it.filter,
                limit: it.limit,
                ..PrefetchQuery::default()
            }
        };
        let readings = readings(question_terms(question.text, question.language));
        let mut prefetch: Vec<_> = readings
            .iter()
            .filter(|terms| !terms.is_empty())
            .map(|terms| leg(words(terms), mark::SPARSE))
            .collect();
        if let Some(vector) = question.vector {
            prefetch.push(leg(VectorInput::new_dense(vector.as_slice().to_vec()), mark::DENSE));
        }
        if prefetch.is_empty() || k == 0 {
            return Ok(Vec::new());
        }
        let fused = Rrf { k: Some(constant), ..Rrf::default() };
        let request = QueryPoints {
            prefetch,
            query: Some(Query::new_rrf(fused)),
            limit: Some(k as u64),
            with_payload: Some(false.into()),
            ..QueryPoints::default()
        };
        let mut hits = Vec::new();
        for point in self.ask(vec![request])?.into_iter().flatten() {
            hits.push(Hit { chunk: chunk_id(point.id)?, score: point.score });
        }
        sort_hits(&mut hits);
        Ok(hits)
    }

    /// As [`crate::lexical::Lexical::term_weights`].
    pub(crate) fn term_weights(
        &self,
        question: &str,
        language: Option<Language>,
    ) -> Result<BTreeMap<String, f32>, ClusterError> {
        let terms: Vec<Asked> = readings(question_terms(question, language))
            .into_iter()
            .flatten()
            .filter(|it| it.kind != TermKind::Exact)
            .collect();
        let weights = self.weights(&terms)?;
        Ok(terms.into_iter().map(|it| (it.term, weights[&it.dimension])).collect())
    }

    /// As [`crate::lexical::Lexical::explain`].
    pub(crate) fn explain(
        &self,
        question: &str,
        language: Option<Language>,
        chunk: ChunkId,
    ) -> Result<Vec<TermScore>, ClusterError> {
        let got = self.search("fetch a vector", |node, name| {
            let request = GetPointsBuilder::new(name, vec![point_id(chunk)])
                .with_payload(false)
                .with_vectors(VectorsSelector { names: vec![mark::SPARSE.to_owned()] })
                .build();
            async move { node.get_points(request).await }
        })?;
        let vectors = got.result.into_iter().next().and_then(|it| it.vectors);
        let values = sparse_values(vectors);
        let mut best: Vec<TermScore> = Vec::new();
        for reading in readings(question_terms(question, language)) {
            let held: Vec<Asked> =
                reading.into_iter().filter(|it| values.contains_key(&it.dimension)).collect();
            let weights = self.weights(&held)?;
            let scores: Vec<TermScore> = held
                .into_iter()
                .map(|it| TermScore {
                    score: weights[&it.dimension] * it.weight * values[&it.dimension],
                    term: it.term,
                    kind: it.kind,
                })
                .collect();
            let total = |it: &[TermScore]| it.iter().map(|it| it.score).sum::<f32>();
            if total(&scores) > total(&best) {
                best = scores;
            }
        }
        best.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.term.cmp(&b.term)));
        Ok(best)
    }

    /// The inverse document frequency of terms, as the server counts it. It does not tell it, so
    /// each term is looked for alone: the best chunk's score is the frequency times the chunk's
    /// value.
    fn weights(&self, terms: &[Asked]) -> Result<HashMap<u32, f32>, ClusterError> {
        let mut dimensions: Vec<u32> = terms.iter().map(|it| it.dimension).collect();
        dimensions.sort_unstable();
        dimensions.dedup();
        if dimensions.is_empty() {
            return Ok(HashMap::new());
        }
        let alone = |&dimension: &u32| {
            let one = VectorInput::new_sparse(vec![dimension], vec![1.0]);
            let mut query = query(one, mark::SPARSE, &Filter::default(), 1);
            query.with_vectors = Some(vec![mark::SPARSE].into());
            query
        };
        let answers = self.ask(dimensions.iter().map(alone).collect())?;
        let mut res = HashMap::new();
        let mut unseen = None;
        for (dimension, points) in dimensions.into_iter().zip(answers) {
            let found = points.into_iter().next().and_then(|it| {
                let value = *sparse_values(it.vectors).get(&dimension)?;
                Some(it.score / value)
            });
            let weight = match (found, unseen) {
                (Some(weight), _) | (None, Some(weight)) => weight,
                (None, None) => {
                    let n_chunks = self.len()? as f32;
                    *unseen.insert((1.0 + (n_chunks + 0.5) / 0.5).ln())
                }
            };
            res.insert(dimension, weight);
        }
        Ok(res)
    }

    /// Asks several queries in one request; answers come in their order.
    fn ask(&self, queries: Vec<QueryPoints>) -> Result<Vec<Vec<ScoredPoint>>, ClusterError> {
        let answer = self.search("search", |node, name| {
            let of_name =
                |it: &QueryPoints| QueryPoints { collection_name: name.clone(), ..it.clone() };
            let request = QueryBatchPoints {
                collection_name: name.clone(),
                query_points: queries.iter().map(of_name).collect(),
                ..QueryBatchPoints::default()
            };
            async move { node.query_batch(request).await }
        })?;
        Ok(answer.result.into_iter().map(|it| it.result).collect())
    }

    /// Makes a request of a collection that is searched. Who only reads follows the alias when a
    /// new generation has taken the place of the one that it knew.
    pub(super) fn search<T, F>(
        &self,
        doing: &'static str,
        request: impl Fn(Qdrant, String) -> F,
    ) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        let ask = |name: &str| {
            self.client.call_for(Kind::Search, doing, name, |node| request(node, name.to_owned()))
        };
        match ask(&self.collection()) {
            Err(ClusterError::Missing { .. }) if self.follows => {
                self.follow_alias()?;
                ask(&self.collection())
            }
            answer => answer,
        }
    }
}

fn query(nearest: VectorInput, using: &str, filter: &Filter, limit: usize) -> QueryPoints {
    QueryPoints {
        query: Some(Query::new_nearest(nearest)),
        using: Some(using.to_owned()),
        filter: conditions(filter),
        limit: Some(limit as u64),
        with_payload: Some(false.into()),
        ..QueryPoints::default()
    }
}

fn words(terms: &[Asked]) -> VectorInput {
    // Two terms that share a dimension are one to the server.
    let mut values = BTreeMap::<u32, f32>::new();
    for it in terms {
        *values.entry(it.dimension).or_default() += it.weight;
    }
    let (dimensions, values): (Vec<u32>, Vec<f32>) = values.into_iter().unzip();
    VectorInput::new_sparse(dimensions, values)
}

/// A point's vector of words, by dimension.
fn sparse_values(vectors: Option<VectorsOutput>) -> HashMap<u32, f32> {
    match vectors.and_then(|it| it.get_vector_by_name(mark::SPARSE)) {
        Some(OutputVector::Sparse(it)) => it.indices.into_iter().zip(it.values).collect(),
        _ => HashMap::new(),
    }
}
