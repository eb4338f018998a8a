//! JSON shapes that other tools rely on. The only file whose types appear in output.

use std::{collections::BTreeMap, path::PathBuf};

use ingest::document::Language;
use serde::Serialize;

use crate::{
    answer::{Answer, Cut},
    build_index::BuildReport,
    places::Place,
    reasons::{finding_text, skip_text},
    rerank::RerankCost,
    retrieve::Passage,
};

/// `ask --json`
#[derive(Debug, Serialize)]
pub struct AnswerOut<'a> {
    answer: &'a str,
    language: &'static str,
    refused: bool,
    generator: Option<&'a str>,
    /// Why the answer quotes where a model should have written it, and what to do about it.
    quoting: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    truncated: bool,
    /// What it was chosen from, where several drafts were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    best_of: Option<BestOfOut<'a>>,
    sentences: Vec<SentenceOut<'a>>,
    sources: Vec<SourceOut<'a>>,
    /// Older versions that say otherwise and were left out.
    older_versions: Vec<OlderOut<'a>>,
    context: ContextOut,
    /// The tokens of the question that the embedder read, where it did not read all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    question_cut_at: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank: Option<RerankOut>,
    timings_ms: TimingsOut,
}

/// How an answer was chosen.
#[derive(Debug, Serialize)]
struct BestOfOut<'a> {
    /// The reward; `null` for the citation check.
    by: Option<&'a str>,
    drafts: &'a [String],
    rewards: &'a [f64],
    /// Which draft it is, from 0.
    chosen: usize,
}

/// What reranking took.
#[derive(Debug, Serialize)]
pub struct RerankOut {
    candidates: usize,
    tokens: usize,
    /// Candidates that were not read to their end.
    truncated: usize,
    ms: f64,
}

impl From<&RerankCost> for RerankOut {
    fn from(it: &RerankCost) -> Self {
        Self {
            candidates: it.n_pairs,
            tokens: it.n_tokens,
            truncated: it.n_truncated,
            ms: ms(it.elapsed),
        }
    }
}

#[derive(Debug, Serialize)]
struct SentenceOut<'a> {
    text: &'a str,
    verdict: &'static str,
    /// From 1, as in the text.
    citations: Vec<usize>,
    /// Whether the model wrote the citations, or they were attributed.
    attributed: bool,
    support: f32,
    missing: &'a [String],
    /// The words that speak for it; `null` where none do.
    evidence: Option<EvidenceOut<'a>>,
}

#[derive(Debug, Serialize)]
struct EvidenceOut<'a> {
    /// From 1, as in the text.
    source: usize,
    /// Unicode characters of the document's text, from 0.
    char_start: usize,
    char_end: usize,
    text: &'a str,
    heading: Option<&'a str>,
    page: Option<u32>,
}

#[derive(Debug, Serialize)]
struct OlderOut<'a> {
    document: &'a str,
    /// The document's date, ISO 8601.
    date: Option<String>,
}

/// A passage of an answer or a search.
#[derive(Debug, Serialize)]
pub struct SourceOut<'a> {
    /// From 1.
    pub index: usize,
    /// The chunk's and the document's number in the index.
    chunk: i64,
    document_id: i64,
    document: &'a str,
    title: &'a str,
    page: Option<u32>,
    heading: String,
    /// Unicode characters of the document's text, from 0.
    char_start: usize,
    char_end: usize,
    text: &'a str,
    score: f32,
    score_bm25: Option<f32>,
    score_dense: Option<f32>,
    /// What the reranker gave it; where there is one, its scores make the order.
    score_rerank: Option<f32>,
    /// From 1.
    rank_bm25: Option<usize>,
    rank_dense: Option<usize>,
    relevance: f32,
    coverage: f32,
    collection: Option<&'a str>,
    language: Option<&'static str>,
    near_duplicates: usize,
}

#[derive(Debug, Serialize)]
struct ContextOut {
    tokens: usize,
    /// Whether `tokens` is an estimate: a server wrote, and did not say how many it read.
    tokens_estimated: bool,
    passages_used: usize,
    passages_dropped: usize,
    examples: usize,
}

#[derive(Debug, Serialize)]
struct TimingsOut {
    /// Reranking included.
    retrieve: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank: Option<f64>,
    prompt: f64,
    first_token: f64,
    total: f64,
}

impl<'a> AnswerOut<'a> {
    /// `chars` gives the span of each passage of the answer, in characters of its document;
    /// `places` that of each sentence's evidence.
    #[must_use]
    pub fn new(answer: &'a Answer, chars: &[(usize, usize)], places: &'a [Option<Place>]) -> Self {
        let sentences = answer.sentences.iter().zip(places).map(|(it, place)| SentenceOut {
            text: &it.text,
            verdict: it.verdict.as_str(),
            citations: it.citations.iter().map(|it| it + 1).collect(),
            attributed: it.origin == crate::cite::Origin::Attributed,
            support: it.support,
            missing: &it.missing,
            evidence: place.as_ref().map(EvidenceOut::from),
        });
        let older = answer.cut.iter().filter(|(_, cut)| *cut == Cut::Outdated);
        let sources = answer.passages.iter().zip(chars).enumerate();
        let n_dropped = answer.cut.iter().filter(|(_, cut)| *cut == Cut::NoRoom).count();
        Self {
            answer: &answer.text,
            language: answer.language.code(),
            refused: answer.refused,
            generator: answer.generator.as_deref(),
            quoting: answer.quote_reason.as_ref().map(crate::printer::quote_reason_text),
            reasoning: answer.reasoning.as_deref(),
            truncated: answer.truncated,
            best_of: answer.best_of.as_ref().map(|it| BestOfOut {
                by: it.by.as_deref(),
                drafts: &it.drafts,
                rewards: &it.rewards,
                chosen: it.chosen,
            }),
            sentences: sentences.collect(),
            sources: sources.map(|(i, (it, chars))| SourceOut::new(i + 1, it, *chars)).collect(),
            older_versions: older.map(|(it, _)| OlderOut::from(it)).collect(),
            context: ContextOut {
                tokens: answer.context.as_ref().map_or(0, |it| it.n_tokens),
                tokens_estimated: answer.context.as_ref().is_some_and(|it| it.is_estimate),
                passages_used: answer.passages.len(),
                passages_dropped: n_dropped,
                examples: answer.context.as_ref().map_or(0, |it| it.n_examples),
            },
            question_cut_at: answer.retrieval.question_cut_at,
            rerank: answer.retrieval.rerank.as_ref().map(RerankOut::from),
            timings_ms: TimingsOut::new(answer),
        }
    }
}

impl<'a> From<&'a Place> for EvidenceOut<'a> {
    fn from(it: &'a Place) -> Self {
        Self {
            source: it.source + 1,
            char_start: it.chars.start,
            char_end: it.chars.end,
            text: &it.text,
            heading: it.heading.as_deref(),
            page: it.page,
        }
    }
}

impl<'a> From<&'a Passage> for OlderOut<'a> {
    fn from(it: &'a Passage) -> Self {
        Self { document: &it.chunk.facets.path, date: it.date() }
    }
}

/// Milliseconds with one digit.
fn ms(it: std::time::Duration) -> f64 {
    (it.as_secs_f64() * 10_000.0).round() / 10.0
}

impl TimingsOut {
    fn new(answer: &Answer) -> Self {
        let it = &answer.timings;
        Self {
            retrieve: ms(it.retrieve),
            rerank: answer.retrieval.rerank.map(|it| ms(it.elapsed)),
            prompt: ms(it.prompt),
            first_token: ms(it.first_token),
            total: ms(it.total),
        }
    }
}

impl<'a> SourceOut<'a> {
    /// A passage with its number and its span in characters of its document.
    #[must_use]
    pub fn new(index: usize, passage: &'a Passage, chars: (usize, usize)) -> Self {
        let chunk = &passage.chunk;
        Self {
            index,
            chunk: chunk.id.0,
            document_id: chunk.document.0,
            document: &chunk.facets.path,
            title: &chunk.title,
            page: chunk.page,
            heading: chunk.heading_path.join(" > "),
            char_start: chars.0,
            char_end: chars.1,
            text: &chunk.text,
            score: passage.score,
            score_bm25: passage.lexical.map(|it| it.score),
            score_dense: passage.dense.map(|it| it.score),
            score_rerank: passage.rerank.map(|it| it.score),
            rank_bm25: passage.lexical.map(|it| it.rank),
            rank_dense: passage.dense.map(|it| it.rank),
            relevance: passage.relevance,
            coverage: passage.signals.coverage,
            collection: chunk.facets.collection.as_deref(),
            language: chunk.facets.language.map(ingest::document::Language::code),
            near_duplicates: passage.n_duplicates,
        }
    }
}

/// A turn of `chat --json`: the answer, and what was asked.
#[derive(Debug, Serialize)]
pub struct TurnOut<'a> {
    /// As the user put it.
    pub question: &'a str,
    /// What a follow-up was understood as; `None` where the question stands alone.
    pub understood_as: Option<&'a str>,
    /// The answer.
    #[serde(flatten)]
    pub answer: AnswerOut<'a>,
}

/// `ingest --json`
#[derive(Debug, Serialize)]
pub struct IngestOut {
    documents: DocumentsOut,
    chunks: usize,
    /// Passages that the embedder did not read to their end.
    chunks_truncated: usize,
    seconds: f64,
    interrupted: bool,
    findings: Vec<FindingOut>,
    duplicates: Vec<DuplicateOut>,
    /// Symbolic links that were not followed.
    links: Vec<String>,
    /// What could not be looked at, and how many documents of it are kept as they were.
    unreachable: Vec<KeptOut>,
    /// Folders that are gone, and how many documents of them are kept.
    gone: Vec<KeptOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<RebuiltOut>,
}

#[derive(Debug, Serialize)]
struct KeptOut {
    path: String,
    documents: usize,
}

#[derive(Debug, Serialize)]
struct RebuiltOut {
    documents: u64,
    chunks: u64,
}

#[derive(Debug, Serialize)]
struct DocumentsOut {
    added: usize,
    updated: usize,
    moved: usize,
    removed: usize,
    unchanged: usize,
    skipped: Vec<SkippedOut>,
}

#[derive(Debug, Serialize)]
struct SkippedOut {
    path: String,
    reason: String,
    reason_fr: String,
}

#[derive(Debug, Serialize)]
struct FindingOut {
    path: String,
    finding: String,
    finding_fr: String,
}

#[derive(Debug, Serialize)]
struct DuplicateOut {
    path: String,
    of: String,
    similarity: f32,
}

impl From<&BuildReport> for IngestOut {
    fn from(it: &BuildReport) -> Self {
        let skipped = it.skipped.iter().map(|it| SkippedOut {
            path: it.path.display().to_string(),
            reason: skip_text(&it.reason, Language::English),
            reason_fr: skip_text(&it.reason, Language::French),
        });
        let findings = it.findings.iter().map(|(path, finding)| FindingOut {
            path: path.clone(),
            finding: finding_text(finding, Language::English),
            finding_fr: finding_text(finding, Language::French),
        });
        let duplicates = it.duplicates.iter().map(|(path, of, similarity)| DuplicateOut {
            path: path.clone(),
            of: of.clone(),
            similarity: *similarity,
        });
        Self {
            documents: DocumentsOut {
                added: it.added,
                updated: it.updated,
                moved: it.moved,
                removed: it.removed,
                unchanged: it.unchanged,
                skipped: skipped.collect(),
            },
            chunks: it.n_chunks,
            chunks_truncated: it.n_truncated,
            seconds: (it.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            interrupted: it.interrupted,
            findings: findings.collect(),
            duplicates: duplicates.collect(),
            links: it.links.iter().map(|it| it.display().to_string()).collect(),
            unreachable: kept(&it.kept),
            gone: kept(&it.gone_roots),
            rebuilt: it
                .rebuilt
                .map(|it| RebuiltOut { documents: it.n_documents, chunks: it.n_chunks }),
        }
    }
}

fn kept(counts: &BTreeMap<PathBuf, usize>) -> Vec<KeptOut> {
    let out =
        |(path, n): (&PathBuf, &usize)| KeptOut { path: path.display().to_string(), documents: *n };
    counts.iter().map(out).collect()
}
