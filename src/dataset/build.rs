//! Documents to a dataset: sources, questions, prompts, rows. Every step can be stopped, and goes
//! on where it was.

use std::{collections::BTreeMap, ops::ControlFlow};

use serde_json::{Value, json};
use tune::dataset::{
    corpus::{Allowed, Source, training_texts},
    filter::Dropped,
    near::{Seen, words_of},
    questions::{Qa, is_superseded, questions, unanswerable::with_other_code},
    row::{Body, MadeBy, Meta, PromptStyle, Row, id_of},
    split::{Split, assign},
};

use super::{
    feedback::{self, FeedbackError},
    folder::{Folder, FolderError},
    policy::without_personal,
    settings::DatasetConfig,
    share_of,
    sources::{self, Sources},
    target::Form,
    teller::Teller,
    written,
};
use crate::{
    cite::split,
    engine::{AskError, Engine},
    records::{Records, RecordsError},
};

/// Questions about codes that do not exist, in each document at most.
const OTHER_CODES_MAX: usize = 3;

/// What to make.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Settings.
    pub config: DatasetConfig,
    /// How the model is asked.
    pub style: PromptStyle,
    /// Questions that the model writes from each chunk; 0 for none.
    pub written_per_chunk: usize,
    /// Whether a dataset that is there is made anew.
    pub anew: bool,
}

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being made.
    pub what: &'static str,
    /// How much of it is done.
    pub done: usize,
    /// How much there is.
    pub total: usize,
}

/// Told what goes on; `Break` stops at the next row.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Why no dataset could be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] index::catalog::CatalogError),
    /// Feedback cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Passages, prompts or a model failed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is nothing to make rows of.
    #[error("no document may be trained on: {n_left_out} are left out")]
    NoSource {
        /// Documents that are there and may not.
        n_left_out: usize,
    },
}

impl From<FeedbackError> for BuildError {
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::Records(it) => Self::Records(it),
            FeedbackError::Catalog(it) => Self::Catalog(it),
            FeedbackError::Ask(it) => Self::Ask(it),
        }
    }
}

/// What was made.
#[derive(Debug)]
pub struct Built {
    /// The report, as it stands in the folder.
    pub report: Value,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// Makes a dataset of all documents of the index that may be trained on.
///
/// # Errors
/// [`BuildError`]
pub fn build(
    engine: &Engine,
    records: Option<&Records>,
    dir: &std::path::Path,
    options: &BuildOptions,
    on_progress: OnProgress<'_>,
) -> Result<Built, BuildError> {
    let config = &options.config;
    let allowed = Allowed {
        licences_forbidden: config.licences_forbidden.clone(),
        groups: config.groups.clone(),
    };
    let sources = sources::read(engine.index.catalog(), &allowed)?;
    if sources.allowed.is_empty() {
        return Err(BuildError::NoSource { n_left_out: sources.left_out.len() });
    }
    let parts = parts(&sources, config);
    let mut folder = Folder::open(dir, &recipe(engine, &sources, options), options.anew)?;
    let teller = Teller {
        engine,
        sources: &sources.allowed,
        parts: &parts,
        style: options.style,
        policy: config.personal_data,
        found_within: config.found_within.get(),
        examples_max: config.examples_max,
        quote_share: config.quote_share,
    };
    let mut work =
        Work { teller, config, folder: &mut folder, on_progress, n_feedback_left_out: 0 };
    let flow = work.all(records, options.written_per_chunk)?;
    let n_feedback_left_out = work.n_feedback_left_out;
    let mut report = report(&folder, &sources, &parts, options);
    report["feedback_left_out"] = json!(n_feedback_left_out);
    report["complete"] = json!(flow.is_continue());
    folder.finish(&report)?;
    Ok(Built { report, stopped: flow.is_break() })
}

/// The part of each cluster, weighted by its chunks.
pub(super) fn parts(sources: &Sources, config: &DatasetConfig) -> BTreeMap<i64, Split> {
    let mut weights: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources.allowed.values() {
        *weights.entry(source.cluster.to_string()).or_default() += source.chunks.len();
    }
    let parts = assign(&weights, config.shares());
    parts.into_iter().filter_map(|(it, part)| Some((it.parse().ok()?, part))).collect()
}

/// What the dataset is made from: the same recipe gives the same rows.
fn recipe(engine: &Engine, sources: &Sources, options: &BuildOptions) -> Value {
    let mut hasher = blake3::Hasher::new();
    for source in sources.allowed.values() {
        hasher.update(source.path.as_bytes());
        hasher.update(source.content_hash.as_bytes());
    }
    let settings = &engine.settings;
    let n_written = options.written_per_chunk;
    json!({
        "version": 2,
        "documents": hasher.finalize().to_hex()[..16],
        "embedder": engine.embedder_print,
        "retrieval": settings.retrieval,
        "prompts": engine.prompts.hash(),
        "prompt_style": options.style.as_str(),
        "style": settings.prompts.style,
        "examples": [settings.prompts.examples_max, settings.prompts.examples_tokens_max],
        "context_tokens": settings.generation.context_tokens_max,
        "answer_tokens": settings.generation.answer_tokens_max,
        // It also counts what fits into a prompt.
        "generator": written::generator(engine),
        "questions_per_chunk": n_written,
        "sampling": (n_written > 0).then(|| written::sampling(engine)),
        "settings": options.config,
    })
}

struct Work<'a> {
    teller: Teller<'a>,
    config: &'a DatasetConfig,
    folder: &'a mut Folder,
    on_progress: OnProgress<'a>,
    n_feedback_left_out: usize,
}

/// Whether to go on.
type Flow = ControlFlow<()>;

impl Work<'_> {
    fn all(&mut self, records: Option<&Records>, n_written: usize) -> Result<Flow, BuildError> {
        let mut seen = Seen::default();
        let asked = self.questions(&mut seen);
        if self.answers(&asked)?.is_break()
            || self.refusals(&asked)?.is_break()
            || self.texts()?.is_break()
        {
            return Ok(Flow::Break(()));
        }
        if let Some(records) = records {
            self.feedback(records)?;
        }
        match n_written {
            0 => Ok(Flow::Continue(())),
            n => self.written(n, &mut seen),
        }
    }

    fn tell(&mut self, what: &'static str, done: usize, total: usize) -> Flow {
        (self.on_progress)(Progress { what, done, total })
    }

    /// The questions of all documents, each once.
    fn questions(&mut self, seen: &mut Seen) -> Vec<(i64, Qa)> {
        let mut res = Vec::new();
        for (id, source) in self.teller.sources {
            for qa in questions(source, &split) {
                let words = words_of(&qa.question);
                if seen.near(&words).is_none() {
                    seen.push(words);
                    res.push((*id, qa));
                }
            }
        }
        res
    }

    /// Each question among its passage and hard negatives; some of them again in another form.
    fn answers(&mut self, asked: &[(i64, Qa)]) -> Result<Flow, BuildError> {
        for (done, (id, qa)) in asked.iter().enumerate() {
            if self.tell("answers", done, asked.len()).is_break() {
                return Ok(Flow::Break(()));
            }
            let source = &self.teller.sources[id];
            self.answer(source, qa, Form::Plain)?;
            if share_of(&["form", &qa.question]) < self.config.instruction_share {
                let form = match qa {
                    _ if qa.answer.len() >= 3 => Form::Bullets,
                    _ if qa.value.as_ref().is_some_and(|it| it.is_enough)
                        && qa.question.len() % 2 == 0 =>
                    {
                        Form::Value
                    }
                    _ => Form::Email,
                };
                let qa = Qa { made_by: MadeBy::Instruction, ..qa.clone() };
                self.answer(source, &qa, form)?;
            }
        }
        Ok(Flow::Continue(()))
    }

    fn answer(&mut self, source: &Source, qa: &Qa, form: Form) -> Result<(), BuildError> {
        let asked = format!("{}{}", qa.question, form.request(qa.language));
        let id = id_of(&[qa.made_by.as_str(), &source.content_hash, &asked]);
        if self.folder.knows(&id) {
            return Ok(());
        }
        let made = self.teller.answered(source, qa, form)?;
        self.take(&id, (qa.made_by, &qa.question), made)
    }

    /// Keeps a row, or says why it is not kept.
    fn take(
        &mut self,
        id: &str,
        (made_by, question): (MadeBy, &str),
        made: Result<Row, Dropped>,
    ) -> Result<(), BuildError> {
        let dropped = match made {
            Ok(row) if self.folder.asked_elsewhere(&row) => Dropped::OtherPart,
            Ok(row) => {
                debug_assert_eq!(row.id, id, "rows are known by what they are made of");
                return Ok(self.folder.keep(&row)?);
            }
            Err(why) => why,
        };
        Ok(self.folder.drop_row(id, made_by.as_str(), question, dropped)?)
    }

    /// Questions without their passage, about codes that do not exist, about other matters.
    fn refusals(&mut self, asked: &[(i64, Qa)]) -> Result<Flow, BuildError> {
        let corpus: String =
            self.teller.sources.values().map(|it| it.text.as_str()).collect::<Vec<_>>().join("\n");
        let mut work: Vec<(i64, Qa)> = Vec::new();
        let mut n_codes: BTreeMap<i64, usize> = BTreeMap::new();
        for (id, qa) in asked {
            if share_of(&["gold", &qa.question]) < self.config.gold_removed_share {
                work.push((*id, Qa { made_by: MadeBy::GoldRemoved, ..qa.clone() }));
            }
            let n = n_codes.entry(*id).or_default();
            if *n < OTHER_CODES_MAX
                && let Some(other) = with_other_code(qa, &corpus)
            {
                *n += 1;
                work.push((*id, other));
            }
        }
        let general = Teller::general();
        let total = work.len() + general.len();
        for (done, (source, qa)) in work.iter().enumerate() {
            if self.tell("refusals", done, total).is_break() {
                return Ok(Flow::Break(()));
            }
            let source = &self.teller.sources[source];
            let id = id_of(&[qa.made_by.as_str(), &source.content_hash, &qa.question]);
            if !self.folder.knows(&id) {
                let made = self.teller.refused(source, qa)?;
                self.take(&id, (qa.made_by, &qa.question), made)?;
            }
        }
        for (done, (id, language, asked)) in general.into_iter().enumerate() {
            if self.tell("refusals", work.len() + done, total).is_break() {
                return Ok(Flow::Break(()));
            }
            if self.folder.knows(&id) {
                continue;
            }
            let made = self.teller.unanswerable(language, asked)?;
            self.take(&id, (MadeBy::Unanswerable, asked), made)?;
        }
        Ok(Flow::Continue(()))
    }

    /// The documents' text, for continued pre-training.
    fn texts(&mut self) -> Result<Flow, BuildError> {
        let total = self.teller.sources.len();
        for (done, source) in self.teller.sources.values().enumerate() {
            if self.tell("texts", done, total).is_break() {
                return Ok(Flow::Break(()));
            }
            for (span, text) in training_texts(source, self.config.text_chars_max.get()) {
                let id = id_of(&["text", &source.content_hash, &span.start.to_string()]);
                if self.folder.knows(&id) {
                    continue;
                }
                let meta = Meta {
                    document: Some(source.id),
                    path: Some(source.path.clone()),
                    content_hash: Some(source.content_hash.clone()),
                    cluster: Some(source.cluster),
                    span: Some([span.start, span.end]),
                    made_by: Some(MadeBy::Text),
                    licence: source.licence.clone(),
                    language: source.language.map(|it| it.code().to_owned()),
                    split: Some(self.teller.part(source.id)),
                    ..Meta::default()
                };
                let row = Row { id: id.clone(), body: Body::Text(text), meta };
                let made = without_personal(row, self.config.personal_data);
                self.take(&id, (MadeBy::Text, &source.path), made)?;
            }
        }
        Ok(Flow::Continue(()))
    }

    fn feedback(&mut self, records: &Records) -> Result<(), BuildError> {
        let Teller { sources, parts, .. } = self.teller;
        let of = feedback::Judged { sources, parts, teller: Some(&self.teller) };
        let found = feedback::rows(records, &of)?;
        self.n_feedback_left_out = found.n_left_out;
        for row in found.rows {
            if self.folder.knows(&row.id) {
                continue;
            }
            let (id, question) = (row.id.clone(), row.question().unwrap_or_default().to_owned());
            let made = without_personal(row, self.config.personal_data);
            self.take(&id, (MadeBy::Feedback, &question), made)?;
        }
        Ok(())
    }

    /// What the model writes, chunk by chunk.
    fn written(&mut self, n: usize, seen: &mut Seen) -> Result<Flow, BuildError> {
        let sources = self.teller.sources;
        let total: usize = sources.values().map(|it| it.chunks.len()).sum();
        let mut done = 0;
        for source in sources.values() {
            for chunk in &source.chunks {
                if self.tell("written", done, total).is_break() {
                    return Ok(Flow::Break(()));
                }
                done += 1;
                let place = format!("{}-{}", chunk.span.start, chunk.span.end);
                let of_chunk = id_of(&["chunk", &source.content_hash, &place, &n.to_string()]);
                if let Some(asked) = self.folder.asked_by(&of_chunk) {
                    asked.iter().for_each(|it| seen.push(words_of(it)));
                    continue;
                }
                if !is_superseded(source) {
                    let tried = written::of_chunk(&self.teller, source, chunk, n, seen)?;
                    self.take_written(source, &of_chunk, tried)?;
                }
            }
        }
        Ok(Flow::Continue(()))
    }

    /// Keeps what held of a chunk. A kill in between leaves a chunk that is not done: it is asked
    /// about again, and what is there already is passed over.
    fn take_written(
        &mut self,
        source: &Source,
        of_chunk: &str,
        tried: Vec<written::Tried>,
    ) -> Result<(), BuildError> {
        let mut asked = Vec::new();
        for (attempt, it) in tried.into_iter().enumerate() {
            match it.outcome {
                Ok(qa) => {
                    self.answer(source, &qa, Form::Plain)?;
                    asked.push(qa.question);
                }
                Err(why) => {
                    let id = id_of(&["model", of_chunk, &attempt.to_string(), &it.question]);
                    if !self.folder.knows(&id) {
                        self.folder.drop_row(&id, "model", &it.question, why)?;
                    }
                }
            }
        }
        Ok(self.folder.done(of_chunk, asked)?)
    }
}

fn report(
    folder: &Folder,
    sources: &Sources,
    parts: &BTreeMap<i64, Split>,
    options: &BuildOptions,
) -> Value {
    let counts = &folder.counts;
    let mut rows = serde_json::Map::new();
    for ((kind, made_by), n) in &counts.rows {
        rows.entry(kind.as_str()).or_insert_with(|| json!({}))[*made_by] = json!(n);
    }
    let dropped: Vec<Value> = counts
        .dropped
        .iter()
        .map(|((made_by, why), n)| json!({"made_by": made_by, "reason": why, "rows": n}))
        .collect();
    let left_out: Vec<Value> = sources
        .left_out
        .iter()
        .map(|(path, why)| json!({"path": path, "reason": why.to_string()}))
        .collect();
    let superseded: Vec<&str> = sources
        .allowed
        .values()
        .filter(|it| is_superseded(it))
        .map(|it| it.path.as_str())
        .collect();
    let of_part = |part: Split| {
        let its = sources.allowed.values();
        let its = its.filter(|it| parts.get(&it.cluster) == Some(&part));
        its.map(|it| it.path.as_str()).collect::<Vec<_>>()
    };
    json!({
        "rows": counts.n_rows(),
        "resumed": counts.n_resumed,
        "by_kind": rows,
        "dropped": dropped,
        "documents": sources.allowed.len(),
        "left_out": left_out,
        "superseded": superseded,
        "prompt_style": options.style.as_str(),
        "valid": of_part(Split::Valid),
        "test": of_part(Split::Test),
    })
}
