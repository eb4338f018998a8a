//! Question to passages: both legs, fused, reranked where that is asked for, near duplicates
//! collapsed, judged for relevance.

use index::{
    Index, IndexError,
    catalog::{CatalogError, StoredChunk},
    filter::Filter,
    fuse::{FuseSettings, FusedHit, Place, fuse},
    hit::{ChunkId, Hit},
    unit_vector::UnitVector,
};
use ingest::{document::Language, duplicates::SimHash, language::detect};
use model::{
    embed::Embeddings,
    rerank::{PairScore, RerankError, Reranker},
};

use crate::{
    asked::{Asked, Reader, Reading},
    crowd::{CROWD, Present},
    embedder::{EmbedError, Embedder},
    relevance::Signals,
    rerank::{RerankCost, rerank},
};

/// Characters of a question at most.
pub const QUESTION_CHARS_MAX: usize = 4_000;

/// Passages that are looked at for one that is shown: near duplicates fall out.
const LOOKED_AT_PER_SHOWN: usize = 4;

/// A question that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    text: String,
    /// Its language, where it can be told.
    pub language: Option<Language>,
}

/// Why a text is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// There is nothing in it.
    #[error("the question is empty")]
    Empty,
    /// It is longer than any question.
    #[error(
        "the question has {n_chars} characters, and the limit is {QUESTION_CHARS_MAX}: put long \
         texts among the documents and ask about them"
    )]
    TooLong {
        /// Its characters.
        n_chars: usize,
    },
}

impl Question {
    /// Checks a question and tells its language.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn new(text: &str) -> Result<Self, QuestionError> {
        let text = text.trim();
        let n_chars = text.chars().count();
        match n_chars {
            0 => Err(QuestionError::Empty),
            n if n > QUESTION_CHARS_MAX => Err(QuestionError::TooLong { n_chars }),
            _ => Ok(Self { text: text.to_owned(), language: detect(text) }),
        }
    }

    /// Its words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Which legs rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// Words and vectors, fused.
    Both,
    /// Words.
    Lexical,
    /// Vectors.
    Dense,
}

/// How to retrieve.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrieveOptions {
    /// Candidates of each leg.
    pub candidates_max: usize,
    /// Passages returned at most.
    pub passages_max: usize,
    /// Which documents.
    pub filter: Filter,
    /// Whether the embedder speaks the question's language.
    pub embedder_speaks: bool,
    /// The cosine that the embedder gives to unrelated texts.
    pub cosine_unrelated: f32,
    /// Which legs rank.
    pub leg: Leg,
    /// Candidates that a reranker reads at most.
    pub rerank_max: usize,
}

/// What turns texts into numbers.
#[derive(Debug, Clone, Copy)]
pub struct Encoders<'a> {
    /// Texts to vectors.
    pub embedder: &'a Embedder,
    /// A question and a passage to a score, where candidates are reranked.
    pub reranker: Option<&'a Reranker>,
}

/// A search that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The question's vector.
    pub embedded: Embeddings,
    /// What its words found, best first.
    pub lexical: Vec<Hit>,
    /// The question, as the documents weigh its words.
    pub asked: Asked,
    /// One of those who search, for as long as it is kept.
    _present: Present<'static>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The question, as the documents weigh its words.
    pub asked: Asked,
    /// Best first.
    pub passages: Vec<Passage>,
    /// What went on.
    pub report: RetrievalReport,
}

/// What went on while passages were sought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetrievalReport {
    /// Where the question is too long for the embedder: the tokens that it read of it. Words are
    /// sought for the whole question all the same.
    pub question_cut_at: Option<usize>,
    /// What reranking took, where it was asked for.
    pub rerank: Option<RerankCost>,
}

/// A chunk that was found, with everything that speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// The chunk.
    pub chunk: StoredChunk,
    /// Its sentences, and how each bears on the question.
    pub reading: Reading,
    /// Fused score; larger is better.
    pub score: f32,
    /// Rank (from 1) and score among the lexical leg's.
    pub lexical: Option<Place>,
    /// Rank (from 1) and cosine among the dense leg's.
    pub dense: Option<Place>,
    /// What the reranker gave it, if it was among the candidates that were reranked: their order is
    /// then that of its logit.
    pub rerank: Option<PairScore>,
    /// How sure it is that the passage bears on the question, from 0 to 1.
    pub relevance: f32,
    /// What that rests on.
    pub signals: Signals,
    /// Passages that say the same and were left out.
    pub n_duplicates: usize,
}

impl Passage {
    /// Its document's date (UTC), ISO 8601.
    #[must_use]
    pub fn date(&self) -> Option<String> {
        let modified = jiff::Timestamp::from_second(self.chunk.facets.modified?).ok()?;
        Some(modified.strftime("%Y-%m-%d").to_string())
    }
}

/// Why retrieval failed.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// A leg failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The question could not be embedded.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The candidates could not be reranked.
    #[error(transparent)]
    Rerank(#[from] RerankError),
}

/// Finds passages for a question, best first.
///
/// # Errors
/// When the index or a model fails.
pub fn retrieve(
    index: &Index,
    encoders: Encoders<'_>,
    question: &Question,
    options: &RetrieveOptions,
) -> Result<Found, RetrieveError> {
    let Begun { embedded, lexical, asked, _present } =
        begin(index, encoders.embedder, question, options)?;
    let question_cut_at = (embedded.n_truncated > 0).then_some(embedded.n_tokens);
    let dense = match UnitVector::new(embedded.row(0).to_vec()) {
        Some(vector) => index.search_dense(&vector, &options.filter, options.candidates_max)?,
        None => Vec::new(),
    };
    let (lexical, dense) = match options.leg {
        Leg::Both => (lexical, dense),
        Leg::Lexical => (lexical, Vec::new()),
        Leg::Dense => (Vec::new(), dense),
    };
    let settings = FuseSettings {
        cosine_unrelated: options.cosine_unrelated,
        ..FuseSettings::measured(options.embedder_speaks)
    };
    let mut fused = fuse(&lexical, &dense, &settings);
    let looked_at = options.passages_max * LOOKED_AT_PER_SHOWN;
    fused.truncate(encoders.reranker.map_or(looked_at, |_| looked_at.max(options.rerank_max)));
    let mut candidates = candidates(index, &fused, &options.filter)?;
    let rerank = match encoders.reranker {
        Some(it) => Some(rerank(it, question.text(), &mut candidates, options.rerank_max)?),
        None => None,
    };
    let mut candidates = collapse(candidates);
    candidates.truncate(options.passages_max);
    let mut reader = asked.reader();
    let passages =
        candidates.into_iter().map(|it| judged(it, &asked, &mut reader, options)).collect();
    Ok(Found { asked, passages, report: RetrievalReport { question_cut_at, rerank } })
}

/// Begins a search: embeds the question, which is most of it, and seeks its words meanwhile.
///
/// # Errors
/// When the index or the embedder fails.
pub fn begin(
    index: &Index,
    embedder: &Embedder,
    question: &Question,
    options: &RetrieveOptions,
) -> Result<Begun, RetrieveError> {
    let present = CROWD.enter();
    let mut sought = None;
    let seek = || sought = Some(seek_words(index, question, options));
    let embedded = embedder.embed_question(question.text(), present.is_alone(), seek)?;
    let (lexical, asked) = sought.expect("it is done whenever a question is embedded")?;
    Ok(Begun { embedded, lexical, asked, _present: present })
}

/// What the words of a question find, and the question as the documents of an index weigh them.
fn seek_words(
    index: &Index,
    question: &Question,
    options: &RetrieveOptions,
) -> Result<(Vec<Hit>, Asked), IndexError> {
    let (text, language) = (question.text(), question.language);
    let lexical = index.search_lexical(text, language, &options.filter, options.candidates_max)?;
    let idf = index.term_weights(text, language)?;
    Ok((lexical, Asked::new(text, language, &idf, index.n_searchable()?)))
}

/// A chunk that was found and has not been read yet.
#[derive(Debug)]
pub struct Candidate {
    /// The chunk.
    pub chunk: StoredChunk,
    hit: FusedHit,
    /// What the reranker says of it.
    pub rerank: Option<PairScore>,
    n_duplicates: usize,
    /// Its numbers, once they were asked for.
    digits: Option<Vec<String>>,
}

/// The chunks of hits, in their order. A document may have lost its rights since it was found.
fn candidates(
    index: &Index,
    fused: &[FusedHit],
    filter: &Filter,
) -> Result<Vec<Candidate>, CatalogError> {
    let ids: Vec<ChunkId> = fused.iter().map(|it| it.chunk).collect();
    let chunks = index.catalog().chunks(&ids)?.into_iter();
    let found = chunks.filter(|it| filter.matches(&it.facets)).filter_map(|chunk| {
        let hit = *fused.iter().find(|it| it.chunk == chunk.id)?;
        Some(Candidate { chunk, hit, rerank: None, n_duplicates: 0, digits: None })
    });
    Ok(found.collect())
}

/// A candidate with what speaks for it.
fn judged(
    candidate: Candidate,
    asked: &Asked,
    reader: &mut Reader<'_>,
    options: &RetrieveOptions,
) -> Passage {
    let Candidate { chunk, hit, rerank, n_duplicates, .. } = candidate;
    let reading = reader.read(&chunk);
    let signals = Signals {
        cosine: hit.dense.map(|it| it.score),
        embedder_speaks: options.embedder_speaks,
        ..Signals::of(&chunk, &reading, asked)
    };
    Passage {
        chunk,
        reading,
        score: hit.score,
        lexical: hit.lexical,
        dense: hit.dense,
        rerank,
        relevance: signals.relevance(),
        signals,
        n_duplicates,
    }
}

/// Keeps the first of candidates that say the same: nearly the same words with other figures are two
/// versions of a rule, and one must not hide the other.
fn collapse(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let mut of_candidate = None;
        let first = kept.iter_mut().position(|it| {
            let is_near = SimHash(it.chunk.simhash).is_near(SimHash(candidate.chunk.simhash));
            is_near && {
                let figures = of_candidate.get_or_insert_with(|| digits(&candidate.chunk.text));
                it.digits.get_or_insert_with(|| digits(&it.chunk.text)) == figures
            }
        });
        match first {
            Some(first) => kept[first].n_duplicates += 1,
            None => kept.push(Candidate { digits: of_candidate, ..candidate }),
        }
    }
    kept
}

/// The numbers of a text, in order.
fn digits(text: &str) -> Vec<String> {
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|it| !it.is_empty());
    numbers.map(str::to_owned).collect()
}
