//! What the catalog says of hits of a leg: whether they hold, and how near they are.

use super::read::{columns, facets};
use super::{Catalog, CatalogError, encode};
use crate::filter::Filter;
use crate::hit::Hit;
use crate::unit_vector::UnitVector;

impl Catalog {
    /// Scores hits by the cosine of their vectors with another one. Those without a vector go.
    pub(crate) fn rescore(
        &self,
        vector: &UnitVector,
        mut hits: Vec<Hit>,
    ) -> Result<Vec<Hit>, CatalogError> {
        // In the order in which they are stored.
        hits.sort_unstable_by_key(|it| it.chunk);
        self.read(|connection| {
            let sql = "SELECT vector FROM vectors WHERE chunk = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut res = Vec::with_capacity(hits.len());
            for hit in hits {
                let mut rows = statement.query([hit.chunk.0])?;
                let Some(row) = rows.next()? else { continue };
                let bytes = row.get_ref(0)?.as_blob().map_err(columns)?;
                let score = vector.cosine_of_bytes(bytes);
                let score =
                    score.ok_or_else(|| encode::damaged("the vector of a chunk", hit.chunk.0))?;
                res.push(Hit { score, ..hit });
            }
            Ok(res)
        })
    }

    /// Keeps hits whose chunks are live and pass the filter as the catalog sees them now. A leg
    /// that has yet to hear of a deletion, or of a group that lost its rights, cannot leak them.
    pub(crate) fn keep_valid(
        &self,
        hits: Vec<Hit>,
        filter: &Filter,
    ) -> Result<Vec<Hit>, CatalogError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT path, collection, coalesce(chunks.language, documents.language), modified,
                    groups
                FROM chunks JOIN documents ON documents.id = chunks.document
                WHERE chunks.id = ?1 AND recipe = ?2",
            )?;
            let mut res = Vec::with_capacity(hits.len());
            for hit in hits {
                let mut rows = statement.query([hit.chunk.0, self.recipe_id()])?;
                let Some(row) = rows.next()? else { continue };
                if filter.matches(&facets(row, 0)?) {
                    res.push(hit);
                }
            }
            Ok(res)
        })
    }
}
