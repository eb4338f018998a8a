//! JSON shapes that other tools rely on. The only file whose types appear in output.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use crate::{
    answer::{Answer, Cut, Timings},
    build_index::BuildReport,
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
    sentences: Vec<SentenceOut<'a>>,
    sources: Vec<SourceOut<'a>>,
    context: ContextOut,
    timings_ms: TimingsOut,
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
}

/// A passage of an answer or a search.
#[derive(Debug, Serialize)]
pub struct SourceOut<'a> {
    /// From 1.
    pub index: usize,
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
    passages_used: usize,
    passages_dropped: usize,
    examples: usize,
}

#[derive(Debug, Serialize)]
struct TimingsOut {
    retrieve: f64,
    prompt: f64,
    first_token: f64,
    total: f64,
}

impl<'a> AnswerOut<'a> {
    /// `chars` gives the span of each passage of the answer, in characters of its document.
    #[must_use]
    pub fn new(answer: &'a Answer, chars: &[(usize, usize)]) -> Self {
        let sentences = answer.sentences.iter().map(|it| SentenceOut {
            text: &it.text,
            verdict: it.verdict.as_str(),
            citations: it.citations.iter().map(|it| it + 1).collect(),
            attributed: it.origin == crate::cite::Origin::Attributed,
            support: it.support,
            missing: &it.missing,
        });
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
            sentences: sentences.collect(),
            sources: sources.map(|(i, (it, chars))| SourceOut::new(i + 1, it, *chars)).collect(),
            context: ContextOut {
                tokens: answer.context.as_ref().map_or(0, |it| it.n_tokens),
                passages_used: answer.passages.len(),
                passages_dropped: n_dropped,
                examples: answer.context.as_ref().map_or(0, |it| it.n_examples),
            },
            timings_ms: TimingsOut::from(&answer.timings),
        }
    }
}

impl From<&Timings> for TimingsOut {
    fn from(it: &Timings) -> Self {
        let ms = |it: std::time::Duration| (it.as_secs_f64() * 10_000.0).round() / 10.0;
        Self {
            retrieve: ms(it.retrieve),
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
}

#[derive(Debug, Serialize)]
struct FindingOut {
    path: String,
    finding: String,
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
            reason: it.reason.to_string(),
        });
        let findings = it.findings.iter().map(|(path, finding)| FindingOut {
            path: path.clone(),
            finding: crate::printer::finding_text(finding),
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
