//! Several drafts of one answer, of which the best is taken: best-of-n sampling, as in Stiennon et al.
//! 2020 (arXiv 2009.01325).
//!
//! They are written at once, so that a model of this process reads its weights once for all of them.
//! A reward says which is best, where there is one; else the citation check does.

use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use crate::{
    answer::{Answer, AskEvent, BestOf, Clock},
    asked::Asked,
    embedder::EmbedError,
    engine::{AskError, Engine},
    retrieve::Question,
    reward::{Judged, support},
};

/// Drafts of one answer at most.
pub const DRAFTS_MAX: usize = 16;

/// The temperature of all drafts but the first, where that of the settings is 0: they would all be
/// the same.
const SAMPLED_AT: f32 = 0.7;

/// How often whoever asked is told how many drafts there are, and may end it.
const TOLD_EVERY: Duration = Duration::from_millis(500);

impl Engine {
    /// Has several drafts written, and takes the best. `found` holds what all of them rest on. `None`
    /// where nothing could be written.
    pub(crate) fn best_of(
        &self,
        (question, asked): (&Question, &Asked),
        found: &Answer,
        mut clock: Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Answer>, AskError> {
        let drafts = self.drafts((question, asked), found, clock, on_event)?;
        let n_tokens = drafts.iter().map(|(it, _)| it.n_tokens).sum();
        let mut answers = Vec::new();
        for (mut answer, draft) in drafts {
            self.check(&draft, question.language, &mut answer)?;
            answers.push((answer, draft));
        }
        let rewards = self.rewards(question, &answers)?;
        let drafts = answers.iter().map(|(it, _)| it.text.clone()).collect();
        let better = |a: &usize, b: &usize| rewards[*a].total_cmp(&rewards[*b]).then(b.cmp(a));
        let Some(chosen) = (0..rewards.len()).max_by(better) else { return Ok(None) };
        let (mut answer, draft) = answers.swap_remove(chosen);
        clock.first_piece();
        // The answer is complete: a reader who leaves now has lost nothing.
        let _ = on_event(AskEvent::Text(&draft));
        answer.n_tokens = n_tokens;
        let by = self.reward.as_ref().map(|it| it.name.clone());
        answer.best_of = Some(BestOf { by, drafts, rewards, chosen });
        answer.timings = clock.stop();
        Ok(Some(answer))
    }

    /// The drafts, each with the answer that it belongs to, in the order of their seeds.
    fn drafts(
        &self,
        (question, asked): (&Question, &Asked),
        found: &Answer,
        clock: Clock,
        on_event: &mut dyn FnMut(AskEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<(Answer, String)>, AskError> {
        let n = self.settings.generation.best_of.get();
        let stop = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel();
        let written = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n)
                .map(|at| {
                    let (stop, sender) = (&stop, sender.clone());
                    scope.spawn(move || {
                        let mut flow = |_: AskEvent<'_>| match stop.load(Ordering::Relaxed) {
                            true => ControlFlow::Break(()),
                            false => ControlFlow::Continue(()),
                        };
                        let (mut answer, mut clock) = (found.clone(), clock);
                        let engine = self.drafting(at);
                        let draft =
                            engine.write(question, asked, &mut answer, &mut clock, &mut flow);
                        // Nobody listens where the asking thread panicked.
                        let _ = sender.send(());
                        draft.map(|draft| draft.map(|draft| (answer, draft)))
                    })
                })
                .collect();
            drop(sender);
            let mut done = 0;
            loop {
                if on_event(AskEvent::Drafts { done, total: n }).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
                match receiver.recv_timeout(TOLD_EVERY) {
                    Ok(()) => done += 1,
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
            }
            let joined = threads.into_iter().map(|it| match it.join() {
                Ok(draft) => draft,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect::<Result<Vec<_>, AskError>>()
        })?;
        Ok(written.into_iter().flatten().collect())
    }

    /// The engine that writes a draft, from 0: each has a seed of its own, and all but the first are
    /// sampled.
    pub(crate) fn drafting(&self, at: usize) -> Self {
        let mut res = self.clone();
        let generation = &mut res.settings.generation;
        generation.seed = generation.seed.wrapping_add(at as u64);
        if at > 0 && generation.temperature == 0.0 {
            generation.temperature = SAMPLED_AT;
        }
        res
    }

    fn rewards(
        &self,
        question: &Question,
        answers: &[(Answer, String)],
    ) -> Result<Vec<f64>, EmbedError> {
        let Some(reward) = &self.reward else {
            let of = |(it, _): &(Answer, String)| f64::from(support(&it.sentences));
            return Ok(answers.iter().map(of).collect());
        };
        let judged: Vec<Judged<'_>> = answers
            .iter()
            .map(|(it, _)| Judged {
                question: question.text(),
                answer: &it.text,
                sentences: &it.sentences,
                refused: it.refused,
            })
            .collect();
        reward.rewards(&self.embedder, &judged)
    }
}
