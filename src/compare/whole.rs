//! A comparison from its first question to the report that is kept.

use std::{ops::ControlFlow, path::Path};

use anyhow::Result;

use super::{
    judge::{Judge, Judged, Judgements, n_judgements},
    kept::{Answers, Reply},
    questions::Questions,
    ready::Ready,
    report::json,
    report_files, reports,
    result::{Comparison, Entrant, compare},
    run::run,
};
use crate::{
    eval::answers::KnownQuestion,
    records::Records,
    retrieve::{Question, QuestionError},
    session::WrongUsage,
};

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Arms answer.
    Answering,
    /// The judge judges.
    Judging,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What goes on.
    pub stage: Stage,
    /// The arm that has answered; empty before the first, and while judging.
    pub label: &'a str,
    /// Answers or judgements that are there.
    pub done: usize,
    /// Of all.
    pub total: usize,
}

/// A comparison that is done.
#[derive(Debug)]
pub struct Compared {
    /// Its figures, answers and verdict.
    pub comparison: Comparison,
    /// What its report is kept under.
    pub id: String,
}

/// Refuses questions that cannot be asked, that no answer could be right to, or that would count
/// twice. `from` says whose they are.
///
/// # Errors
/// [`QuestionError`], or [`WrongUsage`] where one is asked twice or accepts no word.
pub fn check_questions(known: &[KnownQuestion], from: &str) -> Result<Vec<Question>> {
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = known.iter().find(|it| !seen.insert(it.question.trim())) {
        let what = format!(
            "`{from}` asks \u{201c}{}\u{201d} twice: it would count twice",
            twice.question.trim()
        );
        return Err(WrongUsage(what.into()).into());
    }
    let is_hopeless =
        |it: &&KnownQuestion| !it.answers.is_empty() && it.wordless().count() == it.answers.len();
    if let Some(hopeless) = known.iter().find(is_hopeless) {
        let what = format!(
            "`{from}`: no accepted answer to \u{201c}{}\u{201d} has a word beside articles, so that \
             none could be right",
            hopeless.question.trim()
        );
        return Err(WrongUsage(what.into()).into());
    }
    let asked = known.iter().map(|it| Question::new(&it.question));
    Ok(asked.collect::<Result<Vec<_>, QuestionError>>()?)
}

impl Ready {
    /// Refuses questions about documents that an adapter was trained on: they would flatter it.
    ///
    /// # Errors
    /// [`WrongUsage`], which names the first.
    pub fn refuse_trained_on(&self, known: &[KnownQuestion]) -> Result<()> {
        for (contestant, trained) in self.contestants.iter().zip(&self.trained) {
            let label = &contestant.arm.label;
            if contestant.arm.adapter.is_some() && !trained.tells_documents {
                let what = format!(
                    "`{label}`: its adapter does not say what it was trained on, or not of every \
                     row"
                );
                return Err(WrongUsage(what.into()).into());
            }
            let seen: Vec<&KnownQuestion> = known.iter().filter(|it| trained.saw(it)).collect();
            if let Some(first) = seen.first() {
                let (n, document) = (seen.len(), first.document.as_deref().unwrap_or_default());
                let what = format!(
                    "{n} questions are about documents that `{label}` was trained on; the first \
                     is \u{201c}{}\u{201d} about `{document}`",
                    first.question
                );
                return Err(WrongUsage(what.into()).into());
            }
        }
        Ok(())
    }

    /// Has all arms answer, and the judge judge where there is one; keeps the report among those of
    /// the data folder. `None` when `flow` breaks before the end: what was answered is kept, and the
    /// same call goes on from there.
    ///
    /// # Errors
    /// When an answer fails or cannot be kept; those before it are kept.
    pub fn compare(
        self,
        data_dir: &Path,
        (questions, asked): (Questions, &[Question]),
        flow: &dyn Fn() -> ControlFlow<()>,
        on_progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Option<Compared>> {
        let mut answers = Answers::open(&self.dir)?;
        let (mut done, total) = (0, asked.len() * self.contestants.len());
        let stage = Stage::Answering;
        on_progress(Progress { stage, label: "", done, total });
        let replies = run(&self.contestants, asked, &mut answers, flow, &mut |label| {
            done += 1;
            on_progress(Progress { stage, label, done, total });
        });
        let Some(replies) = replies? else { return Ok(None) };
        let mut keys: Vec<String> = self.contestants.iter().map(|it| it.key.clone()).collect();
        keys.extend(questions.asked.iter().map(|it| format!("{it:?}")));
        let judge = |writer| Judge { writer, prompts: &self.prompts };
        keys.extend(self.judge.iter().map(|it| judge(it).name()));
        let judged = match self.judged(data_dir, (&questions.asked, &replies), flow, on_progress)? {
            ControlFlow::Continue(it) => it,
            ControlFlow::Break(()) => return Ok(None),
        };
        let known_of = self.trained.into_iter().zip(self.footprints);
        let arms = self.contestants.into_iter().map(|it| it.arm).zip(known_of);
        let arms = arms.map(|(arm, (trained, footprint))| Entrant { arm, trained, footprint });
        let comparison = Comparison { judged, ..compare(arms.collect(), questions, replies) };
        let id = reports::keep(&self.dir, &keys, &json::comparison(&comparison))?;
        report_files::write(data_dir, &id, &comparison)?;
        Ok(Some(Compared { comparison, id }))
    }

    fn judged(
        &self,
        data_dir: &Path,
        (known, replies): (&[KnownQuestion], &[Vec<Reply>]),
        flow: &dyn Fn() -> ControlFlow<()>,
        on_progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<ControlFlow<(), Option<Judged>>> {
        let Some(writer) = &self.judge else { return Ok(ControlFlow::Continue(None)) };
        let votes = match data_dir.join(Records::FILE).exists() {
            true => Records::open(data_dir)?.votes()?,
            false => Vec::new(),
        };
        let mut kept = Judgements::open(&self.dir)?;
        let judge = Judge { writer, prompts: &self.prompts };
        let (mut done, total) = (0, n_judgements(self.contestants.len(), known.len(), &votes));
        let mut tell = |done| {
            on_progress(Progress { stage: Stage::Judging, label: "", done, total });
        };
        tell(done);
        let judged = judge.judge((known, replies), &votes, &mut kept, flow, &mut || {
            done += 1;
            tell(done);
        });
        Ok(match judged? {
            Some(it) => ControlFlow::Continue(Some(it)),
            None => ControlFlow::Break(()),
        })
    }
}
