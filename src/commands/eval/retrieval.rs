//! `souffleur eval retrieval`: nDCG@10, recall@10 and MRR of each leg on a judged set.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result};
use index::{
    Asking, Home, Index, Store, StoreKind,
    catalog::{EmbeddedChunk, Labels, NewDocument, Source},
    filter::Filter,
    fuse::fuse,
    hit::{ChunkId, Hit},
    unit_vector::UnitVector,
};
use ingest::{
    chunk::{Chunk, chunk, embedding_text},
    document::{Document, MediaType, Metadata},
    duplicates::SimHash,
    language::detect,
};
use model::{embed::TextRole, rerank::Reranker};
use serde_json::{Value, json};

use crate::{
    cluster::Wait,
    embedder::OpenedEmbedder,
    eval::{
        metrics::{Bootstrap, Mean},
        retrieval::{Beir, BeirDocument, Scores, Summary, documents_by_best_chunk, read_beir},
    },
    printer::{BOLD, DIM, styled},
    rerank,
    session::{Interrupted, Session},
};

/// Documents that are embedded and written together.
const DOCUMENTS_PER_BATCH: usize = 64;

/// The constant of fusion by reciprocal ranks, which a cluster does for comparison: that of Cormack
/// et al. (SIGIR 2009).
const RANK_CONSTANT: u32 = 60;

/// Chunks that each leg brings. A document may have several.
const DEPTH: usize = 200;

pub(super) fn run(session: &Session, dir: &Path) -> Result<()> {
    let beir = read_beir(dir)?;
    let embedder = session.embedder()?;
    // Beside the user's own documents, never among them; kept, so that a second run is quick.
    let digest = blake3::hash(dir.canonicalize()?.as_os_str().as_encoded_bytes()).to_hex();
    let data_dir = session.config.data_dir.join("eval").join(&digest[..12]);
    let recipe = session.recipe(&embedder);
    let mut store = session.store(Wait::Changes)?;
    if let Store::Qdrant(cluster) = &mut store {
        cluster.collection = format!("{}-eval-{}", cluster.collection, &digest[..12]);
    }
    let home = Home { dir: &data_dir, store: &store };
    let index = Index::open_or_create(home, &recipe, &mut session.preparing())?;
    fill(session, &index, &embedder, &beir)?;
    let reranker = session.reranker()?;
    let summaries = scores(session, &index, (&embedder, reranker.as_ref()), &beir)?;
    let printer = session.printer;
    printer.line(styled(
        DIM,
        format!(
            "{} documents, {} questions, embedder {}; 95 % intervals from a bootstrap over questions",
            beir.documents.len(),
            beir.questions.len(),
            embedder.print.id
        ),
    ))?;
    printer.line(styled(
        BOLD,
        format!("{:<8} {:<22} {:<22} {:<22}", "", "nDCG@10", "recall@10", "MRR@10"),
    ))?;
    for (name, it) in &summaries {
        printer.line(format!(
            "{name:<8} {:<22} {:<22} {:<22}",
            shown(it.ndcg_at_10),
            shown(it.recall_at_10),
            shown(it.mrr_at_10)
        ))?;
    }
    if beir.n_missing > 0 {
        printer.warn(format!("{} judged documents are not in the corpus", beir.n_missing));
    }
    let mut json = json!({
        "documents": beir.documents.len(),
        "questions": beir.questions.len(),
        "embedder": embedder.print.id,
        "precision": embedder.print.precision,
        "reranker": reranker.as_ref().map(|_| &session.config.retrieval.reranker),
    });
    for (name, it) in &summaries {
        json[*name] = summary_json(it);
    }
    printer.json(&json)?;
    Ok(())
}

/// Brings the documents of the set into its index; those that are there already stay.
fn fill(session: &Session, index: &Index, embedder: &OpenedEmbedder, beir: &Beir) -> Result<()> {
    let known: HashMap<String, String> = index
        .catalog()
        .list()?
        .into_iter()
        .map(|it| (it.source.path, it.source.content_hash))
        .collect();
    let hash = |it: &BeirDocument| {
        blake3::hash(format!("{}\0{}", it.title, it.text).as_bytes()).to_hex().to_string()
    };
    let new: Vec<&BeirDocument> =
        beir.documents.iter().filter(|it| known.get(&it.id) != Some(&hash(it))).collect();
    let total = u64::try_from(new.len()).unwrap_or(u64::MAX);
    let bar = session.printer.bar(total, "documents").with_prefix("embedding");
    let _stoppable = session.stoppable();
    for batch in new.chunks(DOCUMENTS_PER_BATCH) {
        if session.is_interrupted() {
            return Err(Interrupted.into());
        }
        put(session, index, embedder, batch, &hash)?;
        bar.inc(u64::try_from(batch.len()).unwrap_or(0));
    }
    bar.finish_and_clear();
    index.apply()?;
    index.optimize()?;
    Ok(())
}

fn put(
    session: &Session,
    index: &Index,
    embedder: &OpenedEmbedder,
    batch: &[&BeirDocument],
    hash: &dyn Fn(&BeirDocument) -> String,
) -> Result<()> {
    let limits = session.chunk_limits(&embedder.embedder);
    let mut texts = Vec::new();
    let mut cut: Vec<(&BeirDocument, Document, Vec<Chunk>)> = Vec::new();
    for it in batch {
        let document = Document {
            title: it.title.clone(),
            text: it.text.clone(),
            media_type: MediaType::Text,
            language: detect(&it.text),
            pages: Vec::new(),
            headings: Vec::new(),
            metadata: Metadata::default(),
            findings: Vec::new(),
        };
        let chunks = chunk(&document, &limits, &|text| embedder.embedder.count_tokens(text));
        texts.extend(chunks.iter().map(|chunk| embedding_text(&document, chunk)));
        cut.push((it, document, chunks));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embedded = embedder.embedder.embed(&texts, TextRole::Passage)?;
    warn_cut(session, embedded.n_truncated, "passages");
    let mut rows = embedded.rows();
    for (it, document, chunks) in cut {
        let mut ready = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let row = rows.next().expect("the embedder gives one vector for each text");
            let Some(vector) = UnitVector::new(row.to_vec()) else { continue };
            let simhash = SimHash::of(&document.text[chunk.span.range()]).0;
            ready.push(EmbeddedChunk { chunk, vector, simhash });
        }
        let source = Source {
            root: "beir".to_owned(),
            path: it.id.clone(),
            content_hash: hash(it),
            size: u64::try_from(it.text.len()).unwrap_or(u64::MAX),
            mtime_ns: 0,
        };
        index.catalog().put(&NewDocument {
            source: &source,
            document: &document,
            labels: &Labels::default(),
            made_by: "eval",
            ingested_at: 0,
            duplicate: None,
            signature: &[],
            chunks: &ready,
        })?;
    }
    Ok(())
}

/// Each leg, their fusion, and its first candidates reranked where there is a reranker.
fn scores(
    session: &Session,
    index: &Index,
    (embedder, reranker): (&OpenedEmbedder, Option<&Reranker>),
    beir: &Beir,
) -> Result<Vec<(&'static str, Summary)>> {
    let mut names = vec!["bm25", "dense", "hybrid"];
    let on_cluster = session.config.store == StoreKind::Qdrant;
    names.extend(on_cluster.then_some("ranks"));
    names.extend(reranker.map(|_| "reranked"));
    let mut scores: Vec<Scores> = names.iter().map(|_| Scores::default()).collect();
    let mut paths = Names { index, known: HashMap::new() };
    let texts: Vec<&str> = beir.questions.iter().map(|it| it.text.as_str()).collect();
    let embedded = embedder.embedder.embed(&texts, TextRole::Query)?;
    warn_cut(session, embedded.n_truncated, "questions");
    let mut n_cut = 0;
    for (question, row) in beir.questions.iter().zip(embedded.rows()) {
        let language = detect(&question.text);
        let speaks = language.is_none_or(|it| embedder.speaks(it.code()));
        let filter = Filter::default();
        let lexical = index.search_lexical(&question.text, language, &filter, DEPTH)?;
        let vector = UnitVector::new(row.to_vec());
        let dense = match &vector {
            Some(vector) => index.search_dense(vector, &filter, DEPTH)?,
            None => Vec::new(),
        };
        let fused = fuse(&lexical, &dense, &session.fuse_settings(embedder, speaks));
        let ids = |hits: &[Hit]| hits.iter().map(|it| it.chunk).collect::<Vec<_>>();
        let fused: Vec<ChunkId> = fused.iter().map(|it| it.chunk).collect();
        let mut rankings = vec![ids(&lexical), ids(&dense), fused.clone()];
        let asking = Asking { text: &question.text, language, vector: vector.as_ref() };
        let by_ranks = index.search_by_ranks(&asking, &filter, DEPTH, RANK_CONSTANT)?;
        rankings.extend(by_ranks.map(|it| ids(&it)));
        if let Some(reranker) = reranker {
            let rerank_max = session.config.retrieval.rerank_max.get();
            let (ranking, n) = reranked(index, reranker, &question.text, fused, rerank_max)?;
            rankings.push(ranking);
            n_cut += n;
        }
        for (scores, ranking) in scores.iter_mut().zip(&rankings) {
            let paths = paths.of(ranking)?;
            let documents = documents_by_best_chunk(paths.iter().map(String::as_str));
            scores.add(&documents, &question.grades);
        }
    }
    warn_cut(session, n_cut, "candidates of the reranker");
    let bootstrap = Bootstrap::default();
    let summaries = names.into_iter().zip(&scores).map(|(name, it)| {
        let summary = it.summary(&bootstrap).context("no question was judged")?;
        Ok((name, summary))
    });
    summaries.collect()
}

fn warn_cut(session: &Session, n: usize, what: &str) {
    if n > 0 {
        session.printer.warn(format!("{n} {what} were too long to be read to their end"));
    }
}

/// A ranking with its first `rerank_max` chunks in the reranker's order, and how many of those were
/// cut.
fn reranked(
    index: &Index,
    reranker: &Reranker,
    question: &str,
    ranking: Vec<ChunkId>,
    rerank_max: usize,
) -> Result<(Vec<ChunkId>, usize)> {
    let (first, rest) = ranking.split_at(rerank_max.min(ranking.len()));
    let chunks = index.catalog().chunks(first)?;
    let (scores, cost) = rerank::score(reranker, question, &chunks.iter().collect::<Vec<_>>())?;
    let mut order: Vec<(f32, ChunkId)> =
        scores.iter().zip(&chunks).map(|(score, chunk)| (score.logit, chunk.id)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let ids = order.into_iter().map(|(_, id)| id).chain(rest.iter().copied());
    Ok((ids.collect(), cost.n_truncated))
}

/// Documents of chunks, remembered.
struct Names<'a> {
    index: &'a Index,
    known: HashMap<ChunkId, String>,
}

impl Names<'_> {
    fn of(&mut self, chunks: &[ChunkId]) -> Result<Vec<String>> {
        let unknown: Vec<ChunkId> =
            chunks.iter().filter(|it| !self.known.contains_key(it)).copied().collect();
        for it in self.index.catalog().chunks(&unknown)? {
            self.known.insert(it.id, it.facets.path);
        }
        Ok(chunks.iter().filter_map(|it| self.known.get(it).cloned()).collect())
    }
}

fn shown(mean: Mean) -> String {
    format!("{:.3} [{:.3}, {:.3}]", mean.value, mean.low, mean.high)
}

fn summary_json(it: &Summary) -> Value {
    let round = |it: f64| (it * 1e4).round() / 1e4;
    let interval = |it: Mean| json!([round(it.low), round(it.high)]);
    json!({
        "ndcg_at_10": round(it.ndcg_at_10.value),
        "recall_at_10": round(it.recall_at_10.value),
        "mrr_at_10": round(it.mrr_at_10.value),
        "intervals_95": {
            "ndcg_at_10": interval(it.ndcg_at_10),
            "recall_at_10": interval(it.recall_at_10),
            "mrr_at_10": interval(it.mrr_at_10),
        },
    })
}
