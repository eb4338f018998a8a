//! Searches as users make them: the question is embedded, which is most of a search of a small index,
//! while its words are sought; then vectors are compared, and both legs' hits are fused.
//!
//! Embedding and words are the program's own [`retrieve::begin`], and what it finds is fused as the
//! program does. Only the vector that is searched with is made up, like the corpus: an embedder's would
//! have nothing near it there, and a graph search that ends nowhere takes another time. Hits are not
//! read: that takes the same time in an index of any size.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use index::{
    Index,
    filter::Filter,
    fuse::{FuseSettings, fuse},
};
use ingest::document::Language;
use souffleur::{
    config::{Config, Overrides},
    embedder::OpenedEmbedder,
    retrieve::{self, Leg, Question, RetrieveOptions},
};

use crate::{
    corpus::Numbers,
    searches::{K, N_QUERIES, report},
};

/// Tokens of a text at most where the embedder's folder does not say it, as in the program.
const TOKENS_MAX: usize = 256;
/// Searches before any is measured: patterns are built by the first, and helpers begin.
const N_WARM_UP: usize = 50;

/// The embedder of a folder, computing as the program's settings say.
pub(crate) fn embedder(folder: &Path) -> Result<OpenedEmbedder> {
    let config = Config::resolve(&Overrides::default(), None)?;
    OpenedEmbedder::of_folder(folder, TOKENS_MAX, config.models.embedder_precision)
}

pub(crate) fn searches(
    index: &Index,
    embedder: &OpenedEmbedder,
    what: &str,
    filter: &Filter,
    n_documents: usize,
) -> Result<()> {
    let mut numbers = Numbers::of(7, 0);
    let options = RetrieveOptions {
        candidates_max: K,
        passages_max: K,
        filter: filter.clone(),
        embedder_speaks: true,
        cosine_unrelated: embedder.cosine_unrelated,
        leg: Leg::Both,
        rerank_max: 0,
    };
    let (mut all, mut n_tokens, mut n_french) = (Vec::new(), 0, 0);
    for i in 0..N_WARM_UP + N_QUERIES {
        let (text, vector) = (numbers.asked(), numbers.question(n_documents));
        let start = Instant::now();
        let question = Question::new(&text)?;
        let begun = retrieve::begin(index, &embedder.embedder, &question, &options)?;
        let until_begun = start.elapsed();
        let dense = index.search_dense(&vector, filter, K)?;
        let fused = fuse(&begun.lexical, &dense, &FuseSettings::measured(true));
        let times: [Duration; 2] = [start.elapsed(), until_begun];
        assert!(!fused.is_empty(), "a question finds something");
        if i >= N_WARM_UP {
            all.push(times);
            n_tokens += begun.embedded.n_tokens;
            n_french += usize::from(question.language == Some(Language::French));
        }
    }
    report(["question to hits", "question embedded and words sought"], what, &all);
    println!(
        "questions, {what}: {:.1} tokens on average, {n_french} of {N_QUERIES} told to be French",
        n_tokens as f64 / N_QUERIES as f64
    );
    Ok(())
}
