//! The lexical leg: BM25 over the words of chunks, in tantivy.
//!
//! Text becomes terms in [`analyse`](mod@analyse); a chunk becomes a document in `schema`; a
//! question and a filter become a query in `query`. The index is derived: when it cannot be
//! opened, delete its folder and fill it again from the catalog.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ingest::document::Language;
use tantivy::collector::{Count, TopDocs};
use tantivy::directory::MmapDirectory;
use tantivy::index::SegmentId;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::{
    DocAddress, Index, IndexReader, IndexWriter, ReloadPolicy, Searcher, SegmentMeta, TantivyError,
    Term,
};

use crate::filter::{Facets, Filter};
use crate::hit::{ChunkId, Hit, sort_hits};

mod analyse;
mod query;
mod schema;
mod stop_words;

pub use analyse::{StemFinder, analyse, fold};
use query::{Plan, Statistics};
pub(crate) use query::{QuestionTerms, question_terms};
pub use query::{TermKind, TermScore};
use schema::Fields;
pub(crate) use schema::{ChunkTerms, chunk_terms};

/// What tantivy may hold in memory before it writes a segment.
const WRITER_BYTES: usize = 64 << 20;

/// How many hits are read past the last one asked for, so that hits of equal score at the cut are
/// chosen by id in one pass.
const N_TIES: usize = 16;

/// The largest segment is merged with the others once they hold, or it has lost, one in so many of
/// its chunks: an index that grows bit by bit writes each chunk about eleven times.
const STALE_SHARE: u32 = 10;

/// Why the lexical index could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum LexicalError {
    /// The folder could not be made.
    #[error("could not create the lexical index's folder")]
    Folder(#[source] std::io::Error),
    /// The index could not be opened or created: damaged, or of another format.
    #[error("could not open the lexical index at `{}`; it can be rebuilt", path.display())]
    Open {
        /// Its folder.
        path: PathBuf,
        /// What tantivy says.
        source: Box<TantivyError>,
    },
    /// The last commit does not say how far it came.
    #[error(
        "the lexical index at `{}` carries the watermark `{payload}`, not a number; rebuild it",
        path.display()
    )]
    Watermark {
        /// Its folder.
        path: PathBuf,
        /// What stands there instead.
        payload: String,
    },
    /// A change could not be written. Changes since the last commit are lost.
    #[error("could not write to the lexical index at `{}`", path.display())]
    Write {
        /// Its folder.
        path: PathBuf,
        /// What tantivy says.
        source: Box<TantivyError>,
    },
    /// The index could not be read.
    #[error("could not search the lexical index at `{}`", path.display())]
    Search {
        /// Its folder.
        path: PathBuf,
        /// What tantivy says.
        source: Box<TantivyError>,
    },
}

/// A chunk as the lexical leg sees it.
#[derive(Debug, Clone, Copy)]
pub struct LexicalChunk<'a> {
    /// Its identity.
    pub id: ChunkId,
    /// Its document's title.
    pub title: &'a str,
    /// The headings above it.
    pub heading_path: &'a str,
    /// Its text.
    pub text: &'a str,
    /// The language to analyse it in; `None`: in every language.
    pub language: Option<Language>,
    /// What filters ask for.
    pub facets: &'a Facets,
}

/// The lexical index of one generation. One process at a time may write to it.
pub struct Lexical {
    path: PathBuf,
    index: Index,
    fields: Fields,
    reader: IndexReader,
    /// Made by the first change: it takes a lock and a thread, which reading does not need.
    /// Searches do not wait for it.
    writer: Mutex<Option<IndexWriter>>,
    watermark: AtomicU64,
}

impl fmt::Debug for Lexical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lexical")
            .field("path", &self.path)
            .field("watermark", &self.watermark())
            .finish_non_exhaustive()
    }
}

impl Lexical {
    /// Changes whenever an index built before would give other hits: with the analysis, the
    /// fields, or tantivy's format.
    pub const VERSION: u32 = 2;

    /// Opens the index in a folder, or creates an empty one there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or read, or holds something else.
    pub fn open(dir: &Path) -> Result<Self, LexicalError> {
        let failed = |source: TantivyError| LexicalError::Open {
            path: dir.to_owned(),
            source: Box::new(source),
        };
        fs_err::create_dir_all(dir).map_err(LexicalError::Folder)?;
        let (schema, fields) = Fields::new();
        let directory = MmapDirectory::open(dir).map_err(|error| failed(error.into()))?;
        let index = Index::open_or_create(directory, schema).map_err(failed)?;
        index.tokenizers().register(schema::TERMS, schema::Terms::default());
        let manual = index.reader_builder().reload_policy(ReloadPolicy::Manual);
        let reader = manual.try_into().map_err(failed)?;
        let watermark = match index.load_metas().map_err(failed)?.payload {
            None => 0,
            Some(payload) => payload.parse().map_err(|_| LexicalError::Watermark {
                path: dir.to_owned(),
                payload: payload.clone(),
            })?,
        };
        Ok(Self {
            path: dir.to_owned(),
            index,
            fields,
            reader,
            writer: Mutex::new(None),
            watermark: watermark.into(),
        })
    }

    /// The watermark of the last commit; 0 before the first.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// How many chunks searches see.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Whether searches see none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a chunk, or replaces it. Seen by searches after the next commit.
    ///
    /// # Errors
    ///
    /// When tantivy cannot write. Changes since the last commit are then lost.
    pub fn put(&self, chunk: &LexicalChunk<'_>) -> Result<(), LexicalError> {
        let document = self.fields.document(chunk);
        let id = self.id_term(chunk.id);
        self.write(|writer| {
            writer.delete_term(id);
            writer.add_document(document).map(drop)
        })
    }

    /// Removes a chunk, if it is there. Gone from searches after the next commit.
    ///
    /// # Errors
    ///
    /// When tantivy cannot write. Changes since the last commit are then lost.
    pub fn delete(&self, id: ChunkId) -> Result<(), LexicalError> {
        let id = self.id_term(id);
        self.write(|writer| {
            writer.delete_term(id);
            Ok(())
        })
    }

    /// Makes all changes so far durable and visible, together with the watermark.
    ///
    /// # Errors
    ///
    /// When tantivy cannot write. Changes since the last commit are then lost.
    pub fn commit(&self, watermark: u64) -> Result<(), LexicalError> {
        self.write(|writer| {
            let mut commit = writer.prepare_commit()?;
            commit.set_payload(&watermark.to_string());
            commit.commit().map(drop)
        })?;
        self.watermark.store(watermark, Ordering::Release);
        self.reader.reload().map_err(|error| self.search_error(error))
    }

    /// Merges segments, so that searches look into one, or into a large one and a small one.
    ///
    /// # Errors
    ///
    /// When tantivy cannot write.
    pub fn optimize(&self) -> Result<(), LexicalError> {
        self.finish_merges()?;
        let segments = self.segments_to_merge().map_err(|error| self.search_error(error))?;
        if segments.len() > 1 {
            self.write(|writer| writer.merge(&segments).wait().map(drop))?;
            self.reader.reload().map_err(|error| self.search_error(error))?;
        }
        Ok(())
    }

    /// All segments, or all but the largest while the others hold little: a document more must not
    /// cost writing a large index anew.
    fn segments_to_merge(&self) -> tantivy::Result<Vec<SegmentId>> {
        let mut segments = self.index.searchable_segment_metas()?;
        segments.sort_by_key(|it| Reverse(it.num_docs()));
        if let [largest, others @ ..] = &segments[..] {
            let n_others: u32 = others.iter().map(SegmentMeta::num_docs).sum();
            let n_stale = n_others.saturating_add(largest.num_deleted_docs());
            if n_stale < largest.num_docs() / STALE_SHARE {
                segments.remove(0);
            }
        }
        Ok(segments.iter().map(SegmentMeta::id).collect())
    }

    /// The best `k` chunks for a question among those that the filter lets through, best first.
    /// Equal scores are ordered by id. A chunk without any term of the question is no hit.
    ///
    /// The question is plain text: nothing in it is syntax. With a language, chunks of that
    /// language (or of none) match by stems, others only by exact terms; without, each chunk
    /// matches in its own language.
    ///
    /// # Errors
    ///
    /// When the index cannot be read.
    pub fn search(
        &self,
        question: &str,
        language: Option<Language>,
        filter: &Filter,
        k: usize,
    ) -> Result<Vec<Hit>, LexicalError> {
        let searcher = self.reader.searcher();
        let search = || {
            let plan = Plan::new(question, language, &self.fields, &searcher)?;
            match plan.query(filter, &self.fields) {
                Some(query) if k > 0 => {
                    let statistics = plan.statistics(&self.fields, &searcher);
                    top(&searcher, query.as_ref(), &statistics, k)
                }
                _ => Ok(Vec::new()),
            }
        };
        search().map_err(|error| self.search_error(error))
    }

    /// What each term of a question adds to a chunk's score, most first; empty when the chunk is
    /// not in the index or holds none of them.
    ///
    /// # Errors
    ///
    /// When the index cannot be read.
    pub fn explain(
        &self,
        question: &str,
        language: Option<Language>,
        chunk: ChunkId,
    ) -> Result<Vec<TermScore>, LexicalError> {
        let searcher = self.reader.searcher();
        let explain = || {
            let plan = Plan::new(question, language, &self.fields, &searcher)?;
            plan.explain(&self.id_term(chunk), &self.fields, &searcher)
        };
        explain().map_err(|error| self.search_error(error))
    }

    /// The inverse document frequency of each distinct stem of a question, as BM25 has it.
    ///
    /// # Errors
    ///
    /// When the index cannot be read.
    pub fn term_weights(
        &self,
        question: &str,
        language: Option<Language>,
    ) -> Result<BTreeMap<String, f32>, LexicalError> {
        let searcher = self.reader.searcher();
        let weights = || query::term_weights(question, language, &self.fields, &searcher);
        weights().map_err(|error| self.search_error(error))
    }

    /// Chunks that can be found.
    #[must_use]
    pub fn n_chunks(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Whether searches see a chunk.
    ///
    /// # Errors
    ///
    /// When the index cannot be read.
    pub fn holds(&self, id: ChunkId) -> Result<bool, LexicalError> {
        let query = TermQuery::new(self.id_term(id), IndexRecordOption::Basic);
        let n = self.reader.searcher().search(&query, &Count);
        n.map(|it| it > 0).map_err(|error| self.search_error(error))
    }

    fn id_term(&self, id: ChunkId) -> Term {
        Term::from_field_i64(self.fields.id, id.0)
    }

    /// Waits for merges that commits began by themselves: a segment that is being merged already
    /// cannot be merged again.
    fn finish_merges(&self) -> Result<(), LexicalError> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = slot.take() else { return Ok(()) };
        writer.wait_merging_threads().map_err(|source| LexicalError::Write {
            path: self.path.clone(),
            source: Box::new(source),
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&mut IndexWriter) -> tantivy::Result<()>,
    ) -> Result<(), LexicalError> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match slot.as_mut() {
            Some(writer) => change(writer),
            None => self.index.writer_with_num_threads(1, WRITER_BYTES).and_then(|mut writer| {
                // What a killed process left of a commit stands in the way of the next one: names
                // of deletion files repeat.
                writer.garbage_collect_files().wait()?;
                let written = change(&mut writer);
                *slot = Some(writer);
                written
            }),
        };
        written.map_err(|source| {
            // A writer that failed once fails for ever; the next one starts at the last commit.
            *slot = None;
            LexicalError::Write { path: self.path.clone(), source: Box::new(source) }
        })
    }

    fn search_error(&self, source: TantivyError) -> LexicalError {
        LexicalError::Search { path: self.path.clone(), source: Box::new(source) }
    }
}

fn top(
    searcher: &Searcher,
    query: &dyn tantivy::query::Query,
    statistics: &Statistics<'_>,
    k: usize,
) -> tantivy::Result<Vec<Hit>> {
    let n_chunks = usize::try_from(searcher.num_docs()).unwrap_or(usize::MAX);
    let mut limit = k.saturating_add(N_TIES);
    loop {
        // The collector reserves memory for its limit and refuses none.
        limit = limit.min(n_chunks).max(1);
        let top = TopDocs::with_limit(limit).order_by_score();
        let found = searcher.search_with_statistics_provider(query, &top, statistics)?;
        let mut hits = hits(searcher, &found)?;
        sort_hits(&mut hits);
        // Otherwise, hits that tie with the last one wanted may lie beyond the limit.
        let complete = hits.len() < limit || limit >= n_chunks;
        if complete || hits[k - 1].score > hits[limit - 1].score {
            hits.truncate(k);
            return Ok(hits);
        }
        limit = limit.saturating_mul(4);
    }
}

fn hits(searcher: &Searcher, found: &[(f32, DocAddress)]) -> tantivy::Result<Vec<Hit>> {
    let segments = searcher.segment_readers().iter();
    let ids = segments.map(|it| it.fast_fields().i64("id")).collect::<Result<Vec<_>, _>>()?;
    let hit = |&(score, at): &(f32, DocAddress)| {
        let id = ids[at.segment_ord as usize].first(at.doc_id)?;
        Some(Hit { chunk: ChunkId(id), score })
    };
    Ok(found.iter().filter_map(hit).collect())
}

#[cfg(test)]
mod tests;
