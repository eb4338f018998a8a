//! `souffleur eval answers`: answers against known ones.

use std::{num::NonZeroUsize, ops::ControlFlow, path::Path, path::PathBuf};

use anyhow::Result;
use index::filter::Filter;
use serde_json::{Value, json};

use super::super::ask;
use crate::{
    answer::Answer,
    cite::Verdict,
    cli::AnswerArgs,
    engine::Engine,
    eval::{
        answers::{KnownQuestion, QuestionSet, read_questions, same_document, score},
        metrics::{Bootstrap, Mean},
    },
    printer::{BOLD, DIM, styled},
    retrieve::Question,
    session::Session,
};

/// Rank up to which the answering document counts as found.
const RECALL_AT: usize = 5;

/// What one question gave.
#[derive(Default)]
struct Row {
    answerable: bool,
    refused: bool,
    exact_match: f64,
    f1: f64,
    contains: f64,
    /// Share of sentences with a citation whose citation holds, where there is any.
    citation_precision: Option<f64>,
    /// Citations that name no passage: must stay 0.
    n_dangling: usize,
    /// Whether the right document was among the first passages, where it is known.
    found: Option<bool>,
    seconds: f64,
}

pub(super) fn run(
    session: &mut Session,
    file: &Path,
    docs: &[PathBuf],
    limit: Option<NonZeroUsize>,
    answer: &AnswerArgs,
) -> Result<()> {
    let mut set = read_questions(file)?;
    set.questions.truncate(limit.map_or(usize::MAX, NonZeroUsize::get));
    let paragraphs = write_paragraphs(session, file, &set)?;
    let docs: Vec<PathBuf> = docs.iter().cloned().chain(paragraphs).collect();
    let engine = ask::open_for(session, &docs, answer)?;
    let total = u64::try_from(set.questions.len()).unwrap_or(u64::MAX);
    let bar = session.printer.bar(total, "questions").with_prefix("answering");
    let mut rows = Vec::new();
    let mut details = Vec::new();
    for it in &set.questions {
        if session.is_interrupted() {
            session.printer.warn("interrupted: the figures are of the questions answered so far");
            break;
        }
        let question = Question::new(&it.question)?;
        let wide = found(&engine, &question, it)?;
        let answer =
            engine.ask(&question, &Filter::default(), &mut |_| ControlFlow::Continue(()))?;
        let row = Row { found: wide, ..row_of(it, &answer) };
        details.push(detail(it, &answer, &row));
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(session, &rows, details)
}

/// A SQuAD file brings its own documents: they are written beside the data, once, to be ingested
/// like any others.
fn write_paragraphs(
    session: &mut Session,
    file: &Path,
    set: &QuestionSet,
) -> Result<Option<PathBuf>> {
    if set.paragraphs.is_empty() {
        return Ok(None);
    }
    let digest = blake3::hash(file.canonicalize()?.as_os_str().as_encoded_bytes()).to_hex();
    let dir = session.config.data_dir.join("eval").join(&digest[..12]);
    let paragraphs = dir.join("paragraphs");
    fs_err::create_dir_all(&paragraphs)?;
    for (path, title, text) in set.documents() {
        let heading = if title.is_empty() { String::new() } else { format!("# {title}\n\n") };
        fs_err::write(paragraphs.join(path), format!("{heading}{text}\n"))?;
    }
    // An index of their own, so that the user's documents do not answer.
    session.config.data_dir = dir.join("data");
    Ok(Some(paragraphs))
}

/// Whether retrieval brings the right document among the first passages.
fn found(engine: &Engine, question: &Question, known: &KnownQuestion) -> Result<Option<bool>> {
    let Some(document) = &known.document else { return Ok(None) };
    let found = engine.retrieve_top(question, &Filter::default(), RECALL_AT)?;
    Ok(Some(found.passages.iter().any(|it| same_document(document, &it.chunk.facets.path))))
}

fn row_of(known: &KnownQuestion, answer: &Answer) -> Row {
    let score = score(&answer.text_without_marks(), &known.answers);
    let cited: Vec<_> = answer.sentences.iter().filter(|it| !it.citations.is_empty()).collect();
    let hold = cited.iter().filter(|it| it.verdict == Verdict::Supported).count();
    let n_sources = answer.passages.len();
    #[expect(clippy::cast_precision_loss, reason = "sentences of an answer are few")]
    let precision = (!cited.is_empty()).then(|| hold as f64 / cited.len() as f64);
    Row {
        answerable: !known.answers.is_empty(),
        refused: answer.refused,
        exact_match: score.exact_match,
        f1: score.f1,
        contains: score.contains,
        citation_precision: precision,
        n_dangling: answer
            .sentences
            .iter()
            .flat_map(|it| &it.citations)
            .filter(|it| **it >= n_sources)
            .count(),
        found: None,
        seconds: answer.timings.total.as_secs_f64(),
    }
}

fn detail(known: &KnownQuestion, answer: &Answer, row: &Row) -> Value {
    json!({
        "question": known.question,
        "answers": known.answers,
        "answer": answer.text,
        "refused": answer.refused,
        "verdicts": answer.sentences.iter().map(|it| it.verdict.as_str()).collect::<Vec<_>>(),
        "missing": answer.sentences.iter().flat_map(|it| &it.missing).collect::<Vec<_>>(),
        "document": known.document,
        "sources": answer.passages.iter().map(|it| &it.chunk.facets.path).collect::<Vec<_>>(),
        "relevance": answer.passages.first().or(answer.cut.first().map(|(it, _)| it))
            .map(|it| it.relevance),
        "found": row.found,
        "f1": row.f1,
        "contains": row.contains,
        "seconds": row.seconds,
    })
}

fn report(session: &Session, rows: &[Row], details: Vec<Value>) -> Result<()> {
    let bootstrap = Bootstrap::default();
    let of = |value: &dyn Fn(&Row) -> Option<f64>| {
        bootstrap.mean(&rows.iter().filter_map(value).collect::<Vec<f64>>())
    };
    let answerable = |value: fn(&Row) -> f64| move |it: &Row| it.answerable.then(|| value(it));
    let flag = |it: bool| f64::from(u8::from(it));
    let measures = [
        ("exact_match", of(&answerable(|it| it.exact_match))),
        ("f1", of(&answerable(|it| it.f1))),
        ("contains_answer", of(&answerable(|it| it.contains))),
        ("citation_precision", of(&|it| it.citation_precision)),
        ("refusal_accuracy", of(&|it| Some(flag(it.refused != it.answerable)))),
        ("unanswerable_refused", of(&|it| (!it.answerable).then(|| flag(it.refused)))),
        ("answerable_answered", of(&|it| it.answerable.then(|| flag(!it.refused)))),
        ("recall_at_5", of(&|it| it.found.map(flag))),
        ("seconds", of(&|it| Some(it.seconds))),
    ];
    let printer = session.printer;
    let n_dangling: usize = rows.iter().map(|it| it.n_dangling).sum();
    printer.line(styled(DIM, format!("{} questions; 95 % bootstrap intervals", rows.len())))?;
    for (name, mean) in &measures {
        let shown = mean.map_or("-".to_owned(), |it| {
            format!("{:.3} [{:.3}, {:.3}]", it.value, it.low, it.high)
        });
        printer.line(format!("{:<22} {shown}", styled(BOLD, name)))?;
    }
    printer.line(format!("{:<22} {n_dangling}", styled(BOLD, "dangling_citations")))?;
    let mut res = serde_json::Map::new();
    res.insert("n_questions".to_owned(), json!(rows.len()));
    res.insert("dangling_citations".to_owned(), json!(n_dangling));
    for (name, mean) in measures {
        res.insert(name.to_owned(), mean_json(mean));
    }
    res.insert("questions".to_owned(), Value::Array(details));
    printer.json(&res)?;
    Ok(())
}

fn mean_json(mean: Option<Mean>) -> Value {
    let round = |it: f64| (it * 1e4).round() / 1e4;
    mean.map_or(
        Value::Null,
        |it| json!({"mean": round(it.value), "interval_95": [round(it.low), round(it.high)]}),
    )
}
