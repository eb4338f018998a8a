//! Searches: candidates by their int8 copies, scored again with the full vectors.

use qdrant_edge::{
    AcornSearchParams, Condition, FieldCondition, IsEmptyCondition, Match, NamedQuery, PointId,
    QuantizationSearchParams, QueryEnum, Range, SearchParams, SearchRequest, VectorInternal,
};

use super::{Dense, DenseError, clamp, guard, key};
use crate::filter::Filter;
use crate::hit::{ChunkId, Hit, sort_hits};
use crate::unit_vector::UnitVector;

/// Candidates of a graph search. Twice qdrant's default: recall counts more than the microseconds.
const BEAM: usize = 256;

/// The same in a large index, where there is no filter: with half as many, more than 2 % of the ten
/// nearest were missed among a million.
const BEAM_LARGE: usize = 512;

/// Where a filter passes no more than this share, a graph search also goes on from chunks that do
/// not pass (ACORN, Patel et al., arXiv 2403.04871). Without, the graph falls apart into what passes:
/// with a tenth of a million chunks half of the nearest were missed. It takes ten times as long.
const ACORN_SHARE_MAX: f64 = 0.4;

/// Candidates by int8 copies that the shard scores again for each hit that is asked for.
const CANDIDATES_A_HIT: f64 = 2.0;

/// Hits asked for beyond k, so that ties at the cut are mostly broken by id in one search.
const TIE_SLACK: usize = 16;

/// Bytes of full vectors up to which the shard scores candidates again itself: 170,000 of 384
/// dimensions. It reads them through a memory map, of which the kernel soon maps all, so that
/// they count as memory of the process.
pub(super) const MAPPED_BYTES_MAX: usize = 256 << 20;

/// Scores candidates again with vectors that are not in the shard, and drops those of which there
/// is none.
pub(crate) type Rescore<'a, E> = dyn Fn(Vec<Hit>) -> Result<Vec<Hit>, E> + 'a;

impl Dense {
    /// Whether full vectors are better read from the catalog.
    pub(crate) fn is_large(&self) -> Result<bool, DenseError> {
        Ok(self.len()? * self.dim * size_of::<f32>() > MAPPED_BYTES_MAX)
    }

    /// The `k` chunks nearest to a vector among those that pass the filter, by cosine, best
    /// first; ties go to the smaller id.
    pub(crate) fn search<E: From<DenseError>>(
        &self,
        vector: &UnitVector,
        filter: &Filter,
        k: usize,
        rescore: Option<&Rescore<'_, E>>,
    ) -> Result<Vec<Hit>, E> {
        if vector.dim() != self.dim {
            let (expected, found) = (self.dim, vector.dim());
            return Err(DenseError::BadQuery { expected, found }.into());
        }
        // The shard reserves room for as many hits as are asked for.
        let n_points = self.len()?;
        let k = k.min(n_points);
        if k == 0 {
            return Ok(Vec::new());
        }
        let mut limit = k + TIE_SLACK;
        loop {
            let asked = limit.min(n_points);
            let mut hits = self.nearest(vector, filter, asked, rescore.is_none())?;
            let mut is_complete = hits.len() < asked || asked == n_points;
            if let Some(rescore) = rescore {
                let n_candidates = hits.len();
                hits = rescore(hits)?;
                sort_hits(&mut hits);
                is_complete |= hits.len() >= k && hits.len() < n_candidates;
            }
            // Otherwise, hits that tie with the last one wanted may lie beyond the limit.
            if is_complete || hits.len() > k && hits[k - 1].score > hits[hits.len() - 1].score {
                hits.truncate(k);
                return Ok(hits);
            }
            limit *= 4;
        }
    }

    fn nearest(
        &self,
        vector: &UnitVector,
        filter: &Filter,
        limit: usize,
        rescore: bool,
    ) -> Result<Vec<Hit>, DenseError> {
        let filter = shard_filter(filter);
        let params = search_params(rescore, filter.is_some());
        let request = SearchRequest {
            query: QueryEnum::Nearest(NamedQuery {
                query: VectorInternal::Dense(vector.as_slice().to_vec()),
                using: None,
            }),
            filter,
            params: Some(params),
            limit,
            offset: 0,
            with_payload: None,
            with_vector: None,
            score_threshold: None,
        };
        let points = self.with(|shard| guard(&self.dir, "search", || shard.search(request)))?;
        let hits = points.into_iter().filter_map(|point| match point.id {
            PointId::NumId(id) => {
                Some(Hit { chunk: ChunkId(id.cast_signed()), score: point.score })
            }
            PointId::Uuid(_) => None,
        });
        let mut hits: Vec<Hit> = hits.collect();
        sort_hits(&mut hits);
        Ok(hits)
    }
}

/// `rescores`: whether the shard scores candidates again itself.
fn search_params(rescores: bool, filters: bool) -> SearchParams {
    SearchParams {
        hnsw_ef: Some(if rescores || filters { BEAM } else { BEAM_LARGE }),
        acorn: filters.then_some(AcornSearchParams {
            enable: true,
            max_selectivity: Some(ACORN_SHARE_MAX.into()),
        }),
        quantization: Some(QuantizationSearchParams {
            ignore: false,
            rescore: Some(rescores),
            oversampling: rescores.then_some(CANDIDATES_A_HIT),
        }),
        ..SearchParams::default()
    }
}

/// The same meaning as [`Filter::matches`].
fn shard_filter(filter: &Filter) -> Option<qdrant_edge::Filter> {
    let one_of = |field, values: Vec<String>| {
        Condition::Field(FieldCondition::new_match(key(field), Match::from(values)))
    };
    let mut must = Vec::new();
    if !filter.collections.is_empty() {
        must.push(one_of("collection", filter.collections.clone()));
    }
    if !filter.languages.is_empty() {
        let codes = filter.languages.iter().map(|it| it.code().to_owned()).collect();
        must.push(one_of("language", codes));
    }
    if let Some(prefix) = filter.path_keyword() {
        must.push(one_of("path", vec![prefix.to_owned()]));
    }
    if filter.modified_from.is_some() || filter.modified_to.is_some() {
        let bound = |seconds: Option<i64>| seconds.map(|it| (clamp(it) as f64).into());
        let range = Range {
            gte: bound(filter.modified_from),
            lte: bound(filter.modified_to),
            ..Range::default()
        };
        must.push(Condition::Field(FieldCondition::new_range(key("modified"), range)));
    }
    if let Some(groups) = &filter.groups {
        let everyone = Condition::IsEmpty(IsEmptyCondition::from(key("groups")));
        let shared = one_of("groups", groups.clone());
        must.push(Condition::Filter(qdrant_edge::Filter {
            should: Some(vec![everyone, shared]),
            ..qdrant_edge::Filter::default()
        }));
    }
    (!must.is_empty())
        .then(|| qdrant_edge::Filter { must: Some(must), ..qdrant_edge::Filter::default() })
}
