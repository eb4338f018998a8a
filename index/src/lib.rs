//! Chunks and vectors to hits; the catalog that is the truth.
//!
//! What the engine calls (being built; signatures settled):
//!
//! ```text
//! // Opening. `Preparing` events tell how far a rebuild of derived files is; most opens send none.
//! Index::open(dir, &Recipe, &mut dyn FnMut(Preparing)) -> Result<Index, OpenError>
//! Index::open_or_create(dir, &Recipe, &mut dyn FnMut(Preparing)) -> Result<Index, OpenError>
//! // With another embedder or other chunk limits, from the stored texts: cut and embed again.
//! Index::rebuild(dir, &Recipe,
//!     recut: &mut dyn FnMut(&StoredDocument, &StoredText)
//!         -> Result<Vec<EmbeddedChunk>, Box<dyn Error + Send + Sync>>,
//!     progress: &mut dyn FnMut(Preparing)) -> Result<Index, RebuildError>
//! live_recipe(dir) -> Result<Option<Recipe>, OpenError>   // for `status` and `doctor`, no lock
//! OpenError::{Missing, Locked{path,pid}, EmbedderMismatch{built,running}, LimitsMismatch, ..}
//! OpenError::hint() -> Option<&'static str>
//!
//! // Truth: each call is one durable transaction. All methods take `&self`; `Index` is `Sync`.
//! index.catalog() -> &Catalog
//! catalog.put(&NewDocument) -> Result<DocumentId, CatalogError>       // replaces root + path
//! catalog.delete(DocumentId) -> Result<bool, _>
//! catalog.restate(DocumentId, &Source, &Labels) -> Result<bool, _>    // move, touch, new rights
//! catalog.find(root, path) -> Result<Option<StoredDocument>, _>
//! catalog.get(DocumentId), catalog.list(), catalog.with_hash(content_hash)
//! catalog.text(DocumentId) -> Result<Option<StoredText>, _>
//! catalog.signatures() -> Result<Vec<(DocumentId, Vec<u64>)>, _>
//! catalog.chunk_ids(DocumentId) -> Result<Vec<ChunkId>, _>
//! catalog.chunks(&[ChunkId]) -> Result<Vec<StoredChunk>, _>           // order kept, dead dropped
//! catalog.neighbours(ChunkId, before, after) -> Result<Vec<StoredChunk>, _>
//! catalog.counts() -> Result<Counts, _>
//!
//! // Derived: brings both legs up to the catalog, durably. Cheap when nothing is pending.
//! index.apply() -> Result<Applied, IndexError>
//! index.optimize() -> Result<(), IndexError>                          // after large changes
//! index.search_lexical(query, Option<Language>, &Filter, k) -> Result<Vec<Hit>, IndexError>
//! index.search_dense(&UnitVector, &Filter, k) -> Result<Vec<Hit>, IndexError>
//! ```

pub mod filter;
pub mod fingerprint;
pub mod fuse;
pub mod hit;
pub mod lexical;
pub mod unit_vector;
