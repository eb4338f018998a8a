//! Vectors as the shard holds them, to compare them with the catalog.

use std::collections::BTreeMap;

use qdrant_edge::{PointId, VectorStructInternal, WithVector};

use super::{Dense, DenseError, guard, point_id};
use crate::hit::ChunkId;
use crate::unit_vector::UnitVector;

impl Dense {
    /// The vectors of chunks, of those that are there.
    pub(crate) fn vectors(
        &self,
        chunks: &[ChunkId],
    ) -> Result<BTreeMap<ChunkId, UnitVector>, DenseError> {
        let ids: Vec<_> = chunks.iter().map(|&it| point_id(it)).collect();
        let with = WithVector::Bool(true);
        let records = self.with(|shard| {
            guard(&self.dir, "be read", || shard.retrieve(&ids, Some(false.into()), Some(with)))
        })?;
        let mut res = BTreeMap::new();
        for record in records {
            if let (PointId::NumId(id), Some(VectorStructInternal::Single(vector))) =
                (record.id, record.vector)
                && let Some(vector) = UnitVector::new(vector)
            {
                res.insert(ChunkId(id.cast_signed()), vector);
            }
        }
        Ok(res)
    }
}
